/* broker/store_sqlite.c - the store that outlives the process: the loop's side of it.
 *
 * Changes are collected in a batch, which reap() hands to the writer's thread, once per turn. Events stay in memory
 * until they are committed, and then as long as there is room. Reads of others go to the thread. */
#include "config.h"

#include <inttypes.h>

#include "broker/snapshot.h"
#include "broker/store_joint.h"
#include "broker/store_writer.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define REAP_MAX 256 /* completions per turn */

struct sqlite {
	struct store store;
	struct disk *disk;     /* the writer's while there is one */
	struct writer *writer; /* NULL: not recovered yet, or closing */
	struct cache cache;
	struct joints joints;
	uint64_t next_position;
	uint64_t batch_from;                  /* the batch has events from this position on */
	struct batch *batch;                  /* is being filled; NULL: nothing was changed */
	struct store_op *reads;               /* to be handed over */
	size_t away_count;                    /* batches and reads that the writer has */
	struct store_op *ready, **last_ready; /* completed, not yet told */
	bool is_short;                        /* of memory: a change was not noted */
	bool is_renewed;                      /* what there is in memory is to be given to the new file */
	struct disk_copied copied;            /* what that has already */
	struct disk_loaded loaded;
	uint64_t sync_ms;
	void (*wake)(void *arg);
	void *wake_arg;
};

static struct sqlite *sqlite_of(struct store *s)
{
	return (struct sqlite *)(void *)s;
}

static struct store_read *read_of(struct store_op *op)
{
	return (struct store_read *)(void *)op;
}

/* The batch that is being filled. NULL: no memory. */
static struct batch *batch_get(struct sqlite *m)
{
	if (!m->batch)
		m->batch = batch_new();
	return m->batch;
}

/* A new change, or NULL: no memory. */
static struct change *change_new(struct sqlite *m, enum change_type type)
{
	struct batch *b = batch_get(m);

	return b ? batch_change(b, type) : NULL;
}

static uint64_t sqlite_append(struct store *s, uint64_t stream, uint64_t seq, struct slice event, bool is_fleeting)
{
	struct sqlite *m = sqlite_of(s);
	struct record *r = event.len > UINT32_MAX ? NULL : mem_alloc(1, sizeof(*r) + event.len);
	struct change *c = r && !is_fleeting ? change_new(m, CHANGE_APPEND) : NULL;

	if (!r || (!is_fleeting && !c)) {
		mem_free(r);
		return 0;
	}
	if (c) {
		c->record = r;
		r->pins = 1;
	}
	r->position = m->next_position++;
	r->stream = stream;
	r->seq = seq;
	r->is_fleeting = is_fleeting;
	r->len = (uint32_t)event.len;
	if (event.len)
		memcpy(r->bytes, event.p, event.len);
	cache_add(&m->cache, r);
	s->bytes_used += r->len;
	return r->position;
}

/* Only while the writer does not have it. */
static bool sqlite_join(struct store *s, uint64_t position, uint64_t stream, uint64_t seq)
{
	struct sqlite *m = sqlite_of(s);
	struct record *r = position < m->batch_from ? NULL : cache_find(&m->cache, position);

	if (!r || r->is_fleeting || r->is_forgotten || joints_add(&m->joints, position, 1))
		return false;
	if (cache_join(r, stream, seq)) {
		joints_leave(&m->joints, position);
		return false;
	}
	s->bytes_used += r->len;
	return true;
}

static void sqlite_forget(struct store *s, uint64_t position, uint32_t len)
{
	struct sqlite *m = sqlite_of(s);
	struct record *r;
	struct change *c;

	s->bytes_used -= len;
	if (joints_leave(&m->joints, position))
		return;
	r = cache_find(&m->cache, position);
	if (!r || !r->is_fleeting) {
		c = change_new(m, CHANGE_FORGET); /* without memory it is forgotten at the next start */
		if (c)
			c->position = position;
	}
	if (r)
		cache_forget(&m->cache, r);
}

static void sqlite_put(struct store *s, enum store_kind kind, struct slice key, const struct buf *value)
{
	struct sqlite *m = sqlite_of(s);
	struct batch *b = batch_get(m);

	if (buf_check(value, NULL) || !b || batch_object(b, CHANGE_PUT, kind, key, buf_slice(value)))
		m->is_short = true;
}

static void sqlite_del(struct store *s, enum store_kind kind, struct slice key)
{
	struct sqlite *m = sqlite_of(s);
	struct batch *b = batch_get(m);

	if (!b || batch_object(b, CHANGE_DEL, kind, key, SLICE("")))
		m->is_short = true;
}

static bool sqlite_has(const struct store *s, uint64_t position)
{
	const struct sqlite *m = (const struct sqlite *)(const void *)s;

	return position <= m->copied.first_end || (position >= m->copied.begin && position <= m->copied.end) ||
	       cache_find(&m->cache, position);
}

static void append_again(struct record *r, void *arg)
{
	struct sqlite *m = arg;
	struct change *c = change_new(m, CHANGE_APPEND);

	if (!c) {
		m->is_short = true;
		return;
	}
	c->record = r;
	r->pins++;
}

/* All of it in one batch, or, when memory is short, another time. */
static void give_all(struct sqlite *m)
{
	bool was_short = m->is_short;

	m->is_short = false;
	cache_each(&m->cache, append_again, m);
	if (m->store.on_renewed)
		m->store.on_renewed(m->store.on_renewed_arg);
	m->is_renewed = m->is_short || !batch_get(m);
	if (!m->is_renewed)
		m->batch->has_all = true;
	m->is_short |= was_short;
}

static void make_ready(struct sqlite *m, struct store_op *op)
{
	op->next = NULL;
	*m->last_ready = op;
	m->last_ready = &op->next;
}

static void sqlite_sync(struct store *s, struct store_op *op)
{
	struct sqlite *m = sqlite_of(s);
	struct batch *b = batch_get(m);

	op->is_read = false;
	op->status = !b || m->is_short ? -1 : 0;
	m->is_short = false;
	if (!b) {
		make_ready(m, op);
		return;
	}
	op->next = NULL;
	*b->last_sync = op;
	b->last_sync = &op->next;
}

static void sqlite_read(struct store *s, struct store_read *read)
{
	struct sqlite *m = sqlite_of(s);
	bool is_whole = true;

	for (size_t i = 0; i < read->count; i++) {
		struct record *r = cache_find(&m->cache, read->positions[i]);

		read->lent[i] = r;
		is_whole = is_whole && r;
		if (!r)
			continue;
		DIE_UNLESS(!r->is_forgotten);
		r->pins++;
		read->events[i] = (struct slice){r->bytes, r->len};
	}
	read->op.is_read = true;
	read->op.status = 0;
	read->good = read->count;
	read->is_damaged = false;
	if (is_whole) {
		make_ready(m, &read->op);
		return;
	}
	read->op.next = m->reads;
	m->reads = &read->op;
}

static void tell(struct sqlite *m, struct store_op *op)
{
	void *lent[STORE_READ_MAX];
	size_t count = 0;

	if (op->is_read) {
		count = read_of(op)->count;
		memcpy(lent, read_of(op)->lent, count * sizeof(*lent));
	}
	op->done(op, op->status);
	for (size_t i = 0; i < count; i++) {
		if (lent[i]) /* else it could not be read */
			cache_unpin(&m->cache, lent[i]);
	}
}

static void take_batch(struct sqlite *m, struct batch *b)
{
	struct store_op *next;

	for (size_t i = 0; i < b->count; i++) {
		if (b->changes[i].type == CHANGE_APPEND)
			cache_committed(&m->cache, b->changes[i].record);
	}
	for (struct store_op *op = b->syncs; op; op = next) {
		next = op->next;
		if (b->status)
			op->status = b->status;
		make_ready(m, op);
	}
	batch_free(b);
}

static void hand_over(struct sqlite *m)
{
	if (!m->batch && !m->reads)
		return;
	m->away_count += m->batch != NULL;
	for (const struct store_op *op = m->reads; op; op = op->next)
		m->away_count++;
	writer_give(m->writer, m->batch, m->reads);
	m->batch = NULL;
	m->batch_from = m->next_position;
	m->reads = NULL;
}

static void take_back(struct sqlite *m, const struct writer_news *news)
{
	struct batch *after;
	struct store_op *next;

	m->store.is_stalled = news->is_failing;
	if (news->is_renewed) {
		m->is_renewed = true;
		m->copied = news->copied;
	}
	for (struct batch *b = news->done; b; b = after) {
		after = b->next;
		m->away_count--;
		take_batch(m, b);
	}
	for (struct store_op *op = news->reads; op; op = next) {
		next = op->next;
		m->away_count--;
		make_ready(m, op);
	}
}

static struct store_op *take_ready(struct sqlite *m)
{
	struct store_op *op = m->ready;

	m->ready = op->next;
	if (!m->ready)
		m->last_ready = &m->ready;
	return op;
}

static bool sqlite_reap(struct store *s)
{
	struct sqlite *m = sqlite_of(s);
	struct writer_news news;

	hand_over(m);
	writer_take(m->writer, &news);
	take_back(m, &news);
	if (m->is_renewed)
		give_all(m);
	for (int n = 0; n < REAP_MAX && m->ready; n++)
		tell(m, take_ready(m));
	return m->ready || m->batch || m->reads; /* the last two: submitted by those that were told */
}

static int sqlite_recover(struct store *s, const struct store_keeper *keeper, struct err *err)
{
	struct sqlite *m = sqlite_of(s);
	uint64_t began_ms = now_ms();

	/* Before the keeper is called, which may forget and put. */
	if (disk_load(m->disk, keeper, &m->joints, &m->loaded, err))
		return -1;
	s->epoch = m->loaded.epoch;
	s->bytes_used += m->loaded.bytes;
	s->epochs = m->loaded.epochs;
	s->epochs_count = m->loaded.epochs_count;
	m->next_position = m->loaded.next_position;
	LOG(INFO, "store.recovered", "epoch=%" PRIu64 " event_bytes=%" PRIu64 " ms=%" PRIu64, s->epoch, m->loaded.bytes,
	    now_ms() - began_ms);
	m->writer = writer_start(m->disk, &m->loaded, m->sync_ms, m->wake, m->wake_arg, err);
	return m->writer ? 0 : -1;
}

static bool sqlite_is_busy(const struct store *s)
{
	const struct sqlite *m = (const struct sqlite *)(const void *)s;

	return m->batch || m->reads || m->away_count > 0 || m->ready || m->is_renewed || writer_is_renewed(m->writer);
}

static void sqlite_save(struct store *s, struct buf *out)
{
	const struct sqlite *m = sqlite_of(s);

	snapshot_put_fd(out, disk_lock_fd(m->disk));
	link_put_u64(out, s->epoch);
	link_put_u64(out, m->next_position);
	joints_save(&m->joints, out);
	for (size_t i = 0; i < s->epochs_count; i++) {
		link_put_u64(out, s->epochs[i].epoch);
		link_put_u64(out, s->epochs[i].end);
		link_put_u8(out, s->epochs[i].is_whole);
	}
}

static int sqlite_resume(struct store *s, struct slice saved, struct err *err)
{
	struct sqlite *m = sqlite_of(s);
	struct disk_loaded *l = &m->loaded;
	bool bad = false;

	s->epoch = link_get_u64(&saved, &bad);
	m->next_position = link_get_u64(&saved, &bad);
	bad = bad || joints_load(&m->joints, &saved);
	while (saved.len > 0 && l->epochs_count < DISK_EPOCHS_MAX && !bad) {
		struct store_epoch *e = &l->epochs[l->epochs_count++];

		e->epoch = link_get_u64(&saved, &bad);
		e->end = link_get_u64(&saved, &bad);
		e->is_whole = link_get_u8(&saved, &bad);
	}
	if (bad || saved.len > 0 || m->next_position == 0)
		return err_set(err, ERR_LINK, "not of a store on disk");
	s->epochs = l->epochs;
	s->epochs_count = l->epochs_count;
	if (disk_resume(m->disk, err))
		return -1;
	l->epoch = s->epoch;
	l->next_position = l->epochs_count ? l->epochs[l->epochs_count - 1].end : 1;
	m->writer = writer_start(m->disk, l, m->sync_ms, m->wake, m->wake_arg, err);
	return m->writer ? 0 : -1;
}

static bool sqlite_peek(struct store *s, uint64_t position, struct slice *event)
{
	const struct record *r = cache_find(&sqlite_of(s)->cache, position);

	if (r)
		*event = (struct slice){r->bytes, r->len};
	return r;
}

/* What is submitted by those that close() tells comes too late. */
static void end_batch(struct sqlite *m)
{
	struct batch *b = m->batch;

	m->batch = NULL;
	for (struct store_op *next; m->reads; m->reads = next) {
		next = m->reads->next;
		m->reads->status = -1;
		make_ready(m, m->reads);
	}
	if (!b)
		return;
	b->status = -1;
	take_batch(m, b);
}

static void sqlite_close(struct store **sp)
{
	struct sqlite *m = sqlite_of(*sp);
	struct writer_news news;

	*sp = NULL;
	if (m->writer) {
		hand_over(m);
		writer_stop(&m->writer, &news);
		take_back(m, &news);
	}
	for (; m->ready || m->batch || m->reads; end_batch(m)) {
		while (m->ready)
			tell(m, take_ready(m));
	}
	cache_release(&m->cache);
	joints_release(&m->joints);
	disk_close(&m->disk);
	mem_free(m);
}

struct store *store_sqlite_open(const struct store_sqlite_how *how, void (*wake)(void *arg), void *arg, struct err *err)
{
	struct sqlite *m = mem_alloc(1, sizeof(*m));

	if (m && cache_init(&m->cache, how->cache_bytes) == 0 && joints_init(&m->joints) == 0)
		m->disk = disk_open(how->dir, how->sync_each, how->lock_fd, err);
	else
		err_set(err, ERR_NOMEM, "store");
	if (!m || !m->disk) {
		if (m) {
			cache_release(&m->cache);
			joints_release(&m->joints);
		}
		mem_free(m);
		return NULL;
	}
	m->last_ready = &m->ready;
	m->sync_ms = how->sync_each ? 0 : how->sync_ms;
	m->next_position = 1;
	m->wake = wake;
	m->wake_arg = arg;
	m->store = (struct store){
	    .name = "sqlite",
	    .is_durable = true,
	    .recover = sqlite_recover,
	    .is_busy = sqlite_is_busy,
	    .save = sqlite_save,
	    .resume = sqlite_resume,
	    .peek = sqlite_peek,
	    .append = sqlite_append,
	    .join = sqlite_join,
	    .sync = sqlite_sync,
	    .read = sqlite_read,
	    .forget = sqlite_forget,
	    .has = sqlite_has,
	    .put = sqlite_put,
	    .del = sqlite_del,
	    .reap = sqlite_reap,
	    .close = sqlite_close,
	};
	return &m->store;
}
