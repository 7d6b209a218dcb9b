/* broker/handover_snapshot.c - the snapshot as a whole: a head, then records, each a part's number, a length, and what
 * that part's module has to say. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/admin.h"
#include "broker/call.h"
#include "broker/conn.h"
#include "broker/ctl.h"
#include "broker/handover.h"
#include "broker/once.h"
#include "broker/producer.h"
#include "broker/session.h"
#include "broker/snapshot.h"
#include "broker/stream.h"
#include "broker/task.h"
#include "common/mem.h"
#include "common/banned.h"

#define MAGIC     "MCPH"
#define WRITE_MAX (1 << 20) /* bytes that are collected before they are written */

/* In the order in which they stand: what others refer to comes first. */
enum part {
	PART_BROKER = 1,
	PART_STATS,
	PART_STORE,
	PART_PRODUCER,
	PART_SESSION,
	PART_STREAM,
	PART_TOPICS,
	PART_CALL,
	PART_TASK,
	PART_MARKS,
	PART_CTL,
	PART_CONN,
	PART_END,
};

/* ---- saving */

struct saving {
	struct buf out, record;
	int fd;
	int failed; /* errno; 0: all is well */
};

static void flush(struct saving *s)
{
	size_t sent = 0;

	while (!s->failed && !s->out.fault && sent < s->out.len) {
		ssize_t n = write(s->fd, s->out.data + sent, s->out.len - sent);

		if (n == -1 && errno != EINTR)
			s->failed = errno;
		sent += n > 0 ? (size_t)n : 0;
	}
	if (!s->out.fault)
		buf_clear(&s->out);
}

/* What stands in record. */
static void add_record(struct saving *s, enum part part)
{
	link_put_u8(&s->out, (uint8_t)part);
	link_put_u64(&s->out, s->record.len);
	buf_add_slice(&s->out, buf_slice(&s->record));
	if (s->record.fault)
		s->out.fault = s->record.fault;
	buf_clear(&s->record);
	if (s->out.len >= WRITE_MAX)
		flush(s);
}

static void save_broker(const struct handover *h, struct buf *out)
{
	const struct broker *b = h->broker;

	snapshot_put_fd(out, h->lock_fd);
	admin_save(h->admin, out);
	link_put_u64(out, h->began_ms);
	link_put_u64(out, b->own_fds);
	link_put_u64(out, b->next_handle);
	link_put_u64(out, b->last_unowned);
}

static void save_producer(const struct producer *p, struct saving *s)
{
	producer_save(p, &s->record);
	add_record(s, PART_PRODUCER);
}

static void save_worker(struct table_node *n, void *arg)
{
	const struct producer *p = TABLE_OF(n, struct producer, node);

	if (p->role != LINK_ROLE_RUNNER)
		save_producer(p, arg);
}

static void save_session(struct table_node *n, void *arg)
{
	struct saving *s = arg;

	session_save(TABLE_OF(n, struct session, node), &s->record);
	add_record(s, PART_SESSION);
}

static void save_stream(struct table_node *n, void *arg)
{
	struct saving *s = arg;

	stream_save(TABLE_OF(n, struct stream, node), &s->record);
	add_record(s, PART_STREAM);
}

static void save_topics(struct table_node *n, void *arg)
{
	const struct stream *stream = TABLE_OF(n, struct stream, node);
	struct saving *s = arg;

	if (!stream->subscriber.subscriptions && !stream->subscriber.insert.p)
		return;
	topic_save(stream, &s->record);
	add_record(s, PART_TOPICS);
}

static void save_call(struct table_node *n, void *arg)
{
	struct saving *s = arg;

	call_save(TABLE_OF(n, struct call, node), &s->record);
	add_record(s, PART_CALL);
}

/* Runners and tasks in the order of their lists, which is theirs. */
static void save_objects(const struct broker *b, struct saving *s)
{
	for (const struct producer *p = b->runners; p; p = p->next_runner)
		save_producer(p, s);
	table_each(&b->producers, save_worker, s);
	table_each(&b->sessions, save_session, s);
	table_each(&b->streams, save_stream, s);
	table_each(&b->streams, save_topics, s);
	table_each(&b->calls, save_call, s);
	for (const struct task *t = b->first_task; t; t = t->next) {
		task_save(t, &s->record);
		add_record(s, PART_TASK);
	}
	once_save(b, &s->record);
	add_record(s, PART_MARKS);
}

int handover_save(const struct handover *h, int fd, struct err *err)
{
	struct broker *b = h->broker;
	struct saving s = {.fd = fd};
	int rc;

	buf_init(&s.out, SIZE_MAX / 2);
	buf_init(&s.record, SIZE_MAX / 2);
	buf_adds(&s.out, MAGIC);
	link_put_u32(&s.out, HANDOVER_VERSION);
	save_broker(h, &s.record);
	add_record(&s, PART_BROKER);
	stats_save(&b->stats, &s.record);
	add_record(&s, PART_STATS);
	b->store->save(b->store, &s.record);
	add_record(&s, PART_STORE);
	save_objects(b, &s);
	ctl_save(h->listener, &s.record);
	add_record(&s, PART_CTL);
	for (const struct conn *c = b->conns; c; c = conn_next(c)) {
		conn_save(c, &s.record);
		add_record(&s, PART_CONN);
	}
	add_record(&s, PART_END);
	flush(&s);
	errno = s.failed;
	rc = s.failed ? err_sys(err, "write the snapshot") : buf_check(&s.out, err);
	buf_release(&s.out);
	buf_release(&s.record);
	return rc;
}

/* ---- loading */

/* Takes a record off the front. False: there is none, or none that is whole. */
static bool cut_record(struct slice *in, unsigned *part, struct slice *record)
{
	bool bad = false;
	uint64_t len;

	*part = link_get_u8(in, &bad);
	len = link_get_u64(in, &bad);
	if (bad || len > in->len)
		return false;
	*record = (struct slice){in->p, (size_t)len};
	in->p += len;
	in->len -= (size_t)len;
	return true;
}

static bool cut_head(struct slice *in)
{
	bool bad = in->len < strlen(MAGIC) || memcmp(in->p, MAGIC, strlen(MAGIC)) != 0;

	if (bad)
		return false;
	in->p += strlen(MAGIC);
	in->len -= strlen(MAGIC);
	return link_get_u32(in, &bad) == HANDOVER_VERSION && !bad;
}

static int load_broker(struct broker *b, struct slice in, struct handover_taken *taken, struct err *err)
{
	bool bad = false;

	taken->lock_fd = snapshot_get_fd(&in, true, &bad);
	if (bad)
		return err_set(err, ERR_LINK, "the lock is missing");
	taken->admin = admin_load(b, &in, err);
	if (!taken->admin)
		return -1;
	taken->began_ms = link_get_u64(&in, &bad);
	b->own_fds = (size_t)link_get_u64(&in, &bad);
	b->next_handle = link_get_u64(&in, &bad);
	b->last_unowned = link_get_u64(&in, &bad);
	if (bad || in.len > 0 || b->own_fds == 0 || b->own_fds > OWN_FDS_MAX)
		return err_set(err, ERR_LINK, "the first record");
	return broker_budget_fds(b, err);
}

/* Those that need nothing but the broker. */
static int (*const loads[PART_END])(struct broker *b, struct slice in) = {
    [PART_PRODUCER] = producer_load,
    [PART_SESSION] = session_load,
    [PART_STREAM] = stream_load,
    [PART_TOPICS] = topic_load,
    [PART_CALL] = call_load,
    [PART_TASK] = task_load,
    [PART_MARKS] = once_load,
    [PART_CONN] = conn_load,
};

static int load_record(struct broker *b, unsigned part, struct slice in, struct handover_taken *taken, struct err *err)
{
	if (part == PART_BROKER && !taken->admin)
		return load_broker(b, in, taken, err);
	if (part == PART_STATS)
		return stats_load(&b->stats, in) ? err_set(err, ERR_LINK, "the counters") : 0;
	if (part == PART_STORE && taken->admin)
		return broker_resume(b, in, err);
	if (part == PART_CTL && b->store && !taken->listener) {
		taken->listener = ctl_load(b, in, err);
		return taken->listener ? 0 : -1;
	}
	if (part >= PART_END || !loads[part] || !b->store)
		return err_set(err, ERR_LINK, "part %u has no place there", part);
	return loads[part](b, in) ? err_set(err, ERR_LINK, "a record of part %u", part) : 0;
}

static void check_session(struct table_node *n, void *arg)
{
	bool *bad = arg;

	*bad = *bad || !TABLE_OF(n, struct session, node)->own;
}

static void check_stream(struct table_node *n, void *arg)
{
	const struct stream *s = TABLE_OF(n, struct stream, node);
	bool *bad = arg;

	*bad = *bad || (s->state == STREAM_LIVE && !s->conn);
}

int handover_load(struct broker *b, struct slice in, struct handover_taken *taken, struct err *err)
{
	struct slice record;
	unsigned part = 0;
	bool bad = false;

	*taken = (struct handover_taken){.lock_fd = -1};
	b->is_leaving = true; /* the store has all of it already */
	b->is_loading = true;
	if (!cut_head(&in))
		return err_set(err, ERR_LINK, "it is of another version");
	while (cut_record(&in, &part, &record) && part != PART_END) {
		if (load_record(b, part, record, taken, err))
			return err_wrap(err, "snapshot");
	}
	table_each(&b->sessions, check_session, &bad);
	table_each(&b->streams, check_stream, &bad);
	if (part != PART_END || in.len > 0 || bad || !taken->listener)
		return err_set(err, ERR_LINK, "the snapshot is not whole");
	b->is_leaving = false;
	b->is_loading = false;
	return 0;
}

/* Of no use but for this. */
static void end_conns(struct slice in)
{
	struct slice record;
	unsigned part;

	if (!cut_head(&in))
		return;
	while (cut_record(&in, &part, &record)) {
		if (part == PART_CONN)
			conn_end_saved(record);
	}
}

int handover_take(struct broker *b, const char *number, struct handover_taken *taken, struct err *err)
{
	struct slice snapshot = {0};
	char *end;
	long fd = strtol(number, &end, 10);
	struct stat st;
	void *p;
	int rc;

	if (*end || fd <= STDERR_FILENO || fd > INT_MAX || fstat((int)fd, &st))
		return err_set(err, ERR_CONFIG, "--" HANDOVER_OPTION " is for mcp-broker itself");
	p = st.st_size > 0 ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, (int)fd, 0) : MAP_FAILED;
	close((int)fd);
	if (p == MAP_FAILED)
		return err_set(err, ERR_LINK, "no snapshot");
	snapshot = (struct slice){p, (size_t)st.st_size};
	rc = handover_load(b, snapshot, taken, err);
	if (rc)
		end_conns(snapshot);
	munmap(p, (size_t)st.st_size);
	return rc;
}
