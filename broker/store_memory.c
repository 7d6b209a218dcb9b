/* broker/store_memory.c - the store that ends with the process. A position is the address of the event's record, so the
 * streams' indexes are the only index. Objects are kept by the broker's own tables: nothing of them would come back. */
#include "config.h"

#include "broker/store.h"
#include "common/link.h"
#include "common/mem.h"
#include "common/banned.h"

#define REAP_MAX 256 /* completions per turn */

struct record {
	uint32_t len, pins; /* pins: reads that lend its bytes */
	uint32_t holders;   /* streams that have it; 0: forgotten */
	char bytes[];
};

struct memory {
	struct store store;
	struct store_op *head, **tail; /* completed, not yet told */
};

static struct memory *memory_of(struct store *s)
{
	return (struct memory *)(void *)s;
}

static struct record *record_at(uint64_t position)
{
	DIE_UNLESS(position != 0);
	return (struct record *)(uintptr_t)position;
}

static int memory_recover(struct store *s, const struct store_keeper *keeper, struct err *err)
{
	(void)s, (void)keeper, (void)err;
	return 0;
}

static bool memory_is_busy(const struct store *s)
{
	return ((const struct memory *)(const void *)s)->head;
}

static void memory_save(struct store *s, struct buf *out)
{
	link_put_u32(out, 0);
	link_put_u64(out, s->epoch);
}

static int memory_resume(struct store *s, struct slice saved, struct err *err)
{
	bool bad = false;

	s->epoch = link_get_u64(&saved, &bad);
	return bad || saved.len > 0 ? err_set(err, ERR_LINK, "not of a store in memory") : 0;
}

static bool memory_peek(struct store *s, uint64_t position, struct slice *event)
{
	const struct record *r = record_at(position);

	(void)s;
	*event = (struct slice){r->bytes, r->len};
	return true;
}

static uint64_t memory_append(struct store *s, uint64_t stream, uint64_t seq, struct slice event, bool is_fleeting)
{
	struct record *r;

	(void)stream, (void)seq, (void)is_fleeting;
	if (event.len > UINT32_MAX)
		return 0;
	r = mem_alloc(1, sizeof(*r) + event.len);
	if (!r)
		return 0;
	r->len = (uint32_t)event.len;
	r->holders = 1;
	if (event.len)
		memcpy(r->bytes, event.p, event.len);
	s->bytes_used += event.len;
	return (uint64_t)(uintptr_t)r;
}

static bool memory_join(struct store *s, uint64_t position, uint64_t stream, uint64_t seq)
{
	struct record *r = record_at(position);

	(void)stream, (void)seq;
	DIE_UNLESS(r->holders > 0);
	r->holders++;
	s->bytes_used += r->len;
	return true;
}

static void complete(struct memory *m, struct store_op *op, bool is_read)
{
	op->next = NULL;
	op->is_read = is_read;
	*m->tail = op;
	m->tail = &op->next;
}

static void memory_sync(struct store *s, struct store_op *op)
{
	complete(memory_of(s), op, false);
}

static void unpin(struct record *r)
{
	r->pins--;
	if (r->holders == 0 && r->pins == 0)
		mem_free(r);
}

static void memory_read(struct store *s, struct store_read *read)
{
	for (size_t i = 0; i < read->count; i++) {
		struct record *r = record_at(read->positions[i]);

		DIE_UNLESS(r->holders > 0);
		r->pins++;
		read->events[i] = (struct slice){r->bytes, r->len};
		read->lent[i] = r;
	}
	read->good = read->count;
	complete(memory_of(s), &read->op, true);
}

static bool memory_has(const struct store *s, uint64_t position)
{
	(void)s;
	return position != 0;
}

static void memory_forget(struct store *s, uint64_t position, uint32_t len)
{
	struct record *r = record_at(position);

	DIE_UNLESS(r->holders > 0 && r->len == len);
	s->bytes_used -= len;
	r->holders--;
	if (r->holders == 0 && r->pins == 0)
		mem_free(r);
}

static void memory_put(struct store *s, enum store_kind kind, struct slice key, const struct buf *value)
{
	(void)s, (void)kind, (void)key, (void)value;
}

static void memory_del(struct store *s, enum store_kind kind, struct slice key)
{
	(void)s, (void)kind, (void)key;
}

/* done() may free the operation: what it lent is noted before. */
static void tell(struct store_op *op, int status)
{
	void *lent[STORE_READ_MAX];
	size_t count = 0;

	if (op->is_read) {
		struct store_read *read = (struct store_read *)(void *)op;

		count = read->count;
		memcpy(lent, read->lent, count * sizeof(*lent));
	}
	op->done(op, status);
	while (count > 0)
		unpin(lent[--count]);
}

static struct store_op *take(struct memory *m)
{
	struct store_op *op = m->head;

	m->head = op->next;
	if (!m->head)
		m->tail = &m->head;
	return op;
}

static bool memory_reap(struct store *s)
{
	struct memory *m = memory_of(s);

	for (int n = 0; n < REAP_MAX && m->head; n++)
		tell(take(m), 0);
	return m->head != NULL;
}

static void memory_close(struct store **sp)
{
	struct memory *m = memory_of(*sp);

	*sp = NULL;
	while (m->head)
		tell(take(m), -1);
	mem_free(m);
}

struct store *store_memory_open(struct err *err)
{
	struct memory *m = mem_alloc(1, sizeof(*m));

	if (!m) {
		err_set(err, ERR_NOMEM, "store");
		return NULL;
	}
	m->tail = &m->head;
	m->store = (struct store){
	    .name = "memory",
	    .epoch = clock_ms(CLOCK_REALTIME), /* nothing is kept that could say which epoch was the last */
	    .recover = memory_recover,
	    .is_busy = memory_is_busy,
	    .save = memory_save,
	    .resume = memory_resume,
	    .peek = memory_peek,
	    .append = memory_append,
	    .join = memory_join,
	    .sync = memory_sync,
	    .read = memory_read,
	    .forget = memory_forget,
	    .has = memory_has,
	    .put = memory_put,
	    .del = memory_del,
	    .reap = memory_reap,
	    .close = memory_close,
	};
	return &m->store;
}
