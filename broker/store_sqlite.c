/* broker/store_sqlite.c - the store that outlives the process: what the loop's side of it keeps, and the log thread.
 *
 * The loop's thread collects changes in a batch and hands it over, once per turn, in reap(). The log thread takes all
 * batches that are there, makes one transaction of them, and gives them back. So a commit serves whatever came while
 * the one before was under way. It alone uses the file; batches and reads belong to one thread at a time, and what both
 * look at is marked "by mtx".
 *
 * Events stay in memory until they are committed, and then, oldest out first, as long as cache_bytes allow; fleeting
 * ones never leave it. Reads of others go to the thread, which serves them before it writes: an event that is forgotten
 * later is still there. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>

#include "broker/store_disk.h"
#include "broker/table.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define REAP_MAX    256   /* completions per turn */
#define RETRY_MS    500   /* after a transaction that failed */
#define REMIND_MS   60000 /* between two lines of the log about the same trouble */
#define BATCH_COUNT 64    /* changes for which a new batch has room */

struct record {
	struct table_node node;    /* in records, unless it is loose */
	struct record *next, **at; /* in the cache, oldest first */
	uint64_t position, stream, seq;
	uint32_t len, pins; /* pins: reads that lend its bytes, a batch that has it */
	bool is_forgotten, is_fleeting;
	bool is_loose; /* read from the disk, for one read */
	char bytes[];
};

enum change_type { CHANGE_APPEND, CHANGE_FORGET, CHANGE_PUT, CHANGE_DEL };

struct change {
	uint8_t type, kind;
	uint32_t key_len, value_len;
	union {
		struct record *record; /* APPEND */
		uint64_t position;     /* FORGET */
		size_t at;             /* PUT, DEL: of key and value in the batch's bytes */
	};
};

struct batch {
	struct batch *next;
	struct change *changes; /* owned */
	size_t count, cap;
	struct buf bytes;
	struct store_op *syncs, **last_sync;
	int status;
};

struct sqlite {
	struct store store;
	struct disk *disk; /* the log thread's while it runs */
	struct table records;
	struct record *cache, **last_cached; /* those that are on disk too */
	uint64_t cache_bytes, cache_bytes_max, next_position;
	struct batch *batch;                  /* is being filled; NULL: nothing was changed */
	struct store_op *reads;               /* to be handed over */
	struct store_op *ready, **last_ready; /* completed, not yet told */
	bool is_short;                        /* of memory: a change was not noted */
	struct disk_loaded loaded;
	uint64_t sync_ms;
	void (*wake)(void *arg);
	void *wake_arg;
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t mtx;
	pthread_cond_t cond;
	struct batch *inbox, **last_in, *outbox, **last_out; /* by mtx, as all that follows */
	struct store_op *asked, *read;                       /* reads: to the thread, from it */
	bool is_stopping, is_failing;
};

static struct sqlite *sqlite_of(struct store *s)
{
	return (struct sqlite *)(void *)s;
}

static struct store_read *read_of(struct store_op *op)
{
	return (struct store_read *)(void *)op;
}

/* ---- the log thread */

static int write_change(struct disk *d, const struct batch *b, const struct change *c, struct err *err)
{
	struct slice key, value;

	switch ((enum change_type)c->type) {
	case CHANGE_APPEND:
		return disk_append(d, c->record->position, c->record->stream, c->record->seq,
		    (struct slice){c->record->bytes, c->record->len}, err);
	case CHANGE_FORGET:
		return disk_forget(d, c->position, err);
	case CHANGE_PUT:
	case CHANGE_DEL:
		break;
	}
	key = (struct slice){b->bytes.data + c->at, c->key_len};
	value = (struct slice){key.p + key.len, c->value_len};
	return c->type == CHANGE_PUT ? disk_put(d, (enum store_kind)c->kind, key, value, err)
				     : disk_del(d, (enum store_kind)c->kind, key, err);
}

/* All batches in one transaction. */
static int write_batches(struct disk *d, const struct batch *first, struct err *err)
{
	int rc = disk_begin(d, err);

	for (const struct batch *b = first; b && !rc; b = b->next) {
		for (size_t i = 0; i < b->count && !rc; i++)
			rc = write_change(d, b, &b->changes[i], err);
	}
	if (!rc)
		rc = disk_commit(d, err);
	if (rc)
		disk_undo(d);
	return rc;
}

/* An event in a record of its own, for one read. NULL: *err. */
static struct record *read_loose(struct disk *d, uint64_t position, struct err *err)
{
	struct record *r = NULL;
	struct slice event;

	if (disk_read(d, position, &event, err))
		return NULL;
	r = mem_alloc(1, sizeof(*r) + event.len);
	if (r) {
		r->is_loose = true;
		r->is_forgotten = true;
		r->pins = 1;
		r->len = (uint32_t)event.len;
		if (event.len)
			memcpy(r->bytes, event.p, event.len);
	} else {
		err_set(err, ERR_NOMEM, "event of %zu bytes", event.len);
	}
	return r;
}

static int fetch(struct sqlite *m, struct store_read *read, struct err *err)
{
	for (size_t i = 0; i < read->count; i++) {
		struct record *r = read->lent[i];

		if (r)
			continue;
		r = read_loose(m->disk, read->positions[i], err);
		disk_read_end(m->disk);
		if (!r)
			return -1;
		read->lent[i] = r;
		read->events[i] = (struct slice){r->bytes, r->len};
	}
	return 0;
}

static void serve_reads(struct sqlite *m, struct store_op *reads)
{
	static struct log_rate rate;
	struct store_op *next;
	struct err err;
	unsigned dropped;

	for (struct store_op *op = reads; op; op = next) {
		next = op->next;
		op->status = fetch(m, read_of(op), &err);
		if (op->status && log_rate_ok(&rate, 1, REMIND_MS, &dropped))
			LOG(ERROR, "store.unreadable", "why=\"%s\" not_logged=%u", err.msg, dropped);
		pthread_mutex_lock(&m->mtx);
		op->next = m->read;
		m->read = op;
		pthread_mutex_unlock(&m->mtx);
	}
	if (reads)
		m->wake(m->wake_arg);
}

/* What the thread knows beside m. */
struct log_thread {
	struct batch *todo, **last_todo;
	uint64_t retry_at_ms; /* 0: nothing failed */
	uint64_t said_at_ms;  /* when the log was told last */
	uint64_t sync_at_ms;  /* 0: all is on the disk */
};

static void give_back(struct sqlite *m, struct log_thread *t, int status)
{
	for (struct batch *b = t->todo; b; b = b->next)
		b->status = status;
	pthread_mutex_lock(&m->mtx);
	*m->last_out = t->todo;
	m->last_out = t->last_todo;
	m->is_failing = status != 0;
	pthread_mutex_unlock(&m->mtx);
	t->todo = NULL;
	t->last_todo = &t->todo;
	m->wake(m->wake_arg);
}

static void write_todo(struct sqlite *m, struct log_thread *t, bool is_last)
{
	uint64_t now = now_ms();
	struct err err;

	if (write_batches(m->disk, t->todo, &err) == 0) {
		if (t->retry_at_ms)
			LOG(INFO, "store.resumed", "why=\"it can be written again\"");
		t->retry_at_ms = 0;
		if (m->sync_ms && !t->sync_at_ms)
			t->sync_at_ms = now + m->sync_ms;
		give_back(m, t, 0);
		return;
	}
	if (!t->retry_at_ms || now - t->said_at_ms >= REMIND_MS || is_last) {
		LOG(ERROR, "store.stalled", "why=\"%s\"%s", err.msg, is_last ? " lost=\"what was not committed\"" : "");
		t->said_at_ms = now;
	}
	t->retry_at_ms = now + RETRY_MS;
	if (is_last) {
		give_back(m, t, -1);
		return;
	}
	pthread_mutex_lock(&m->mtx);
	m->is_failing = true;
	pthread_mutex_unlock(&m->mtx);
	m->wake(m->wake_arg);
}

static void sync_file(struct sqlite *m, struct log_thread *t)
{
	static struct log_rate rate;
	struct err err;
	unsigned dropped;

	t->sync_at_ms = 0;
	if (disk_sync(m->disk, &err) && log_rate_ok(&rate, 1, REMIND_MS, &dropped))
		LOG(ERROR, "store.sync", "why=\"%s\" not_logged=%u", err.msg, dropped);
}

/* Waits until there is something to do. mtx is held. */
static void wait_for_work(struct sqlite *m, const struct log_thread *t)
{
	while (!m->inbox && !m->asked && !m->is_stopping) {
		uint64_t until = t->retry_at_ms && t->todo ? t->retry_at_ms : t->sync_at_ms;
		struct timespec ts = {.tv_sec = (time_t)(until / 1000), .tv_nsec = (long)(until % 1000) * 1000000L};

		if (!until)
			pthread_cond_wait(&m->cond, &m->mtx);
		else if (now_ms() >= until)
			return;
		else
			pthread_cond_timedwait(&m->cond, &m->mtx, &ts);
	}
}

static void *log_thread(void *arg)
{
	struct sqlite *m = arg;
	struct log_thread t = {.last_todo = &t.todo};
	bool is_stopping;

	do {
		struct store_op *reads;
		uint64_t now;

		pthread_mutex_lock(&m->mtx);
		wait_for_work(m, &t);
		reads = m->asked;
		m->asked = NULL;
		is_stopping = m->is_stopping;
		if (m->inbox) {
			*t.last_todo = m->inbox;
			t.last_todo = m->last_in;
			m->inbox = NULL;
			m->last_in = &m->inbox;
		}
		pthread_mutex_unlock(&m->mtx);
		now = now_ms();
		serve_reads(m, reads);
		if (t.todo && (now >= t.retry_at_ms || is_stopping))
			write_todo(m, &t, is_stopping);
		if (t.sync_at_ms && (now >= t.sync_at_ms || is_stopping))
			sync_file(m, &t);
	} while (!is_stopping);
	return NULL;
}

/* ---- the loop's side */

static struct record *find(struct sqlite *m, uint64_t position)
{
	struct table_node *n = table_find(&m->records, table_hash_u64(&m->records, position, 0));

	for (; n; n = table_find_next(n)) {
		struct record *r = TABLE_OF(n, struct record, node);

		if (r->position == position)
			return r;
	}
	return NULL;
}

static void leave_cache(struct sqlite *m, struct record *r)
{
	if (!r->at)
		return;
	*r->at = r->next;
	if (r->next)
		r->next->at = r->at;
	else
		m->last_cached = r->at;
	r->at = NULL;
	m->cache_bytes -= sizeof(*r) + r->len;
}

static void drop(struct sqlite *m, struct record *r)
{
	if (!r->is_loose)
		table_remove(&m->records, &r->node);
	mem_free(r);
}

static void unpin(struct sqlite *m, struct record *r)
{
	r->pins--;
	if (r->is_forgotten && r->pins == 0)
		drop(m, r);
}

/* It is on disk now. */
static void enter_cache(struct sqlite *m, struct record *r)
{
	struct record *oldest;

	if (!r->is_forgotten) {
		r->at = m->last_cached;
		r->next = NULL;
		*r->at = r;
		m->last_cached = &r->next;
		m->cache_bytes += sizeof(*r) + r->len;
	}
	unpin(m, r);
	while (m->cache_bytes > m->cache_bytes_max && (oldest = m->cache) != NULL && oldest->pins == 0) {
		leave_cache(m, oldest);
		drop(m, oldest);
	}
}

static void batch_free(struct batch *b)
{
	mem_free(b->changes);
	buf_release(&b->bytes);
	mem_free(b);
}

/* The batch that is being filled. NULL: no memory. */
static struct batch *batch_get(struct sqlite *m)
{
	struct batch *b = m->batch;

	if (b)
		return b;
	b = mem_alloc(1, sizeof(*b));
	if (!b)
		return NULL;
	buf_init(&b->bytes, SIZE_MAX / 2);
	b->last_sync = &b->syncs;
	m->batch = b;
	m->wake(m->wake_arg); /* for the reap() that hands it over */
	return b;
}

/* A new change of it, or NULL: no memory. */
static struct change *change_new(struct sqlite *m, enum change_type type)
{
	struct batch *b = batch_get(m);

	if (b && b->count == b->cap) {
		size_t cap = b->cap ? 2 * b->cap : BATCH_COUNT;
		struct change *changes = mem_realloc(b->changes, cap * sizeof(*changes));

		if (!changes)
			return NULL;
		b->changes = changes;
		b->cap = cap;
	}
	if (!b)
		return NULL;
	b->changes[b->count] = (struct change){.type = (uint8_t)type};
	return &b->changes[b->count++];
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
	table_add(&m->records, &r->node, table_hash_u64(&m->records, r->position, 0));
	s->bytes_used += r->len;
	return r->position;
}

static void sqlite_forget(struct store *s, uint64_t position, uint32_t len)
{
	struct sqlite *m = sqlite_of(s);
	struct record *r = find(m, position);
	struct change *c;

	s->bytes_used -= len;
	if (!r || !r->is_fleeting) {
		c = change_new(m, CHANGE_FORGET); /* without memory it is forgotten at the next start */
		if (c)
			c->position = position;
	}
	if (!r)
		return;
	DIE_UNLESS(!r->is_forgotten);
	r->is_forgotten = true;
	leave_cache(m, r);
	if (r->pins == 0)
		drop(m, r);
}

static void note_object(
    struct sqlite *m, enum change_type type, enum store_kind kind, struct slice key, struct slice value)
{
	struct change *c = change_new(m, type);
	struct buf *bytes;

	if (!c) {
		m->is_short = true;
		return;
	}
	bytes = &m->batch->bytes;
	c->kind = (uint8_t)kind;
	c->at = bytes->len;
	c->key_len = (uint32_t)key.len;
	c->value_len = (uint32_t)value.len;
	if (buf_reserve(bytes, key.len + value.len + 1)) {
		buf_add_slice(bytes, key);
		buf_add_slice(bytes, value);
		return;
	}
	bytes->fault = ERR_NONE; /* what it has is whole */
	m->batch->count--;
	m->is_short = true;
}

static void sqlite_put(struct store *s, enum store_kind kind, struct slice key, const struct buf *value)
{
	if (buf_check(value, NULL))
		sqlite_of(s)->is_short = true;
	else
		note_object(sqlite_of(s), CHANGE_PUT, kind, key, buf_slice(value));
}

static void sqlite_del(struct store *s, enum store_kind kind, struct slice key)
{
	note_object(sqlite_of(s), CHANGE_DEL, kind, key, SLICE(""));
}

static void make_ready(struct sqlite *m, struct store_op *op)
{
	if (!m->ready)
		m->wake(m->wake_arg);
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
		struct record *r = find(m, read->positions[i]);

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
	if (is_whole) {
		make_ready(m, &read->op);
		return;
	}
	if (!m->reads)
		m->wake(m->wake_arg);
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
			unpin(m, lent[i]);
	}
}

static void take_batch(struct sqlite *m, struct batch *b)
{
	struct store_op *next;

	for (size_t i = 0; i < b->count; i++) {
		if (b->changes[i].type == CHANGE_APPEND)
			enter_cache(m, b->changes[i].record);
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
	struct store_op *next;

	if (!m->batch && !m->reads)
		return;
	pthread_mutex_lock(&m->mtx);
	if (m->batch) {
		*m->last_in = m->batch;
		m->last_in = &m->batch->next;
	}
	m->batch = NULL;
	for (; m->reads; m->reads = next) {
		next = m->reads->next;
		m->reads->next = m->asked;
		m->asked = m->reads;
	}
	pthread_cond_signal(&m->cond);
	pthread_mutex_unlock(&m->mtx);
}

static void take_back(struct sqlite *m)
{
	struct store_op *next, *read;
	struct batch *done, *after;

	pthread_mutex_lock(&m->mtx);
	done = m->outbox;
	m->outbox = NULL;
	m->last_out = &m->outbox;
	read = m->read;
	m->read = NULL;
	m->store.is_stalled = m->is_failing;
	pthread_mutex_unlock(&m->mtx);
	for (; done; done = after) {
		after = done->next;
		take_batch(m, done);
	}
	for (; read; read = next) {
		next = read->next;
		make_ready(m, read);
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

	hand_over(m);
	take_back(m);
	for (int n = 0; n < REAP_MAX && m->ready; n++)
		tell(m, take_ready(m));
	return m->ready || m->batch || m->reads; /* the last two: submitted by those that were told */
}

static int start_thread(struct sqlite *m, struct err *err)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the loop's */
	rc = pthread_create(&m->thread, NULL, log_thread, m);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc) {
		errno = rc;
		return err_sys(err, "start the log thread");
	}
	m->has_thread = true;
	return 0;
}

static int sqlite_recover(struct store *s, const struct store_keeper *keeper, struct err *err)
{
	struct sqlite *m = sqlite_of(s);
	uint64_t began_ms = now_ms();

	/* Before the keeper is called, which may forget and put. */
	if (disk_load(m->disk, keeper, &m->loaded, err))
		return -1;
	s->epoch = m->loaded.epoch;
	s->bytes_used += m->loaded.bytes;
	s->epochs = m->loaded.epochs;
	s->epochs_count = m->loaded.epochs_count;
	m->next_position = m->loaded.next_position;
	LOG(INFO, "store.recovered", "epoch=%" PRIu64 " event_bytes=%" PRIu64 " ms=%" PRIu64, s->epoch, m->loaded.bytes,
	    now_ms() - began_ms);
	return start_thread(m, err);
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

static void drop_node(struct table_node *n, void *m)
{
	drop(m, TABLE_OF(n, struct record, node));
}

static void sqlite_close(struct store **sp)
{
	struct sqlite *m = sqlite_of(*sp);

	*sp = NULL;
	if (m->has_thread) {
		hand_over(m);
		pthread_mutex_lock(&m->mtx);
		m->is_stopping = true;
		pthread_cond_signal(&m->cond);
		pthread_mutex_unlock(&m->mtx);
		pthread_join(m->thread, NULL);
		take_back(m);
	}
	for (; m->ready || m->batch || m->reads; end_batch(m)) {
		while (m->ready)
			tell(m, take_ready(m));
	}
	table_each(&m->records, drop_node, m);
	table_release(&m->records);
	disk_close(&m->disk);
	pthread_cond_destroy(&m->cond);
	pthread_mutex_destroy(&m->mtx);
	mem_free(m);
}

struct store *store_sqlite_open(const struct store_sqlite_how *how, void (*wake)(void *arg), void *arg, struct err *err)
{
	struct sqlite *m = mem_alloc(1, sizeof(*m));
	pthread_condattr_t attr;

	if (!m || table_init(&m->records)) {
		mem_free(m);
		err_set(err, ERR_NOMEM, "store");
		return NULL;
	}
	m->disk = disk_open(how->dir, how->sync_each, err);
	if (!m->disk) {
		table_release(&m->records);
		mem_free(m);
		return NULL;
	}
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&m->cond, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&m->mtx, NULL);
	m->last_cached = &m->cache;
	m->last_ready = &m->ready;
	m->last_in = &m->inbox;
	m->last_out = &m->outbox;
	m->cache_bytes_max = how->cache_bytes;
	m->sync_ms = how->sync_each ? 0 : how->sync_ms;
	m->next_position = 1;
	m->wake = wake;
	m->wake_arg = arg;
	m->store = (struct store){
	    .name = "sqlite",
	    .is_durable = true,
	    .recover = sqlite_recover,
	    .append = sqlite_append,
	    .sync = sqlite_sync,
	    .read = sqlite_read,
	    .forget = sqlite_forget,
	    .put = sqlite_put,
	    .del = sqlite_del,
	    .reap = sqlite_reap,
	    .close = sqlite_close,
	};
	return &m->store;
}
