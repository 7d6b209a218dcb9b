#include "config.h"

#include "broker/once.h"
#include "broker/snapshot.h"
#include "common/link.h"
#include "common/mem.h"
#include "common/banned.h"

struct mark {
	struct table_node node; /* in broker->marks */
	struct wheel_timer timer;
	struct broker *broker; /* borrowed */
	uint64_t until_ms;     /* of CLOCK_REALTIME, as the store has it */
	size_t len;
	char name[];
};

static struct mark *find(const struct broker *b, struct slice name)
{
	struct table_node *n = table_find(&b->marks, table_hash_bytes(&b->marks, name));

	for (; n; n = table_find_next(n)) {
		struct mark *mark = TABLE_OF(n, struct mark, node);

		if (slice_eq((struct slice){mark->name, mark->len}, name))
			return mark;
	}
	return NULL;
}

/* Nobody else knows of it: no need to wait for the end of the turn. */
static void drop(struct mark *mark)
{
	broker_unkeep(mark->broker, STORE_MARK, (struct slice){mark->name, mark->len});
	table_remove(&mark->broker->marks, &mark->node);
	loop_untimer(&mark->broker->loop, &mark->timer);
	mem_free(mark);
}

static void on_time(struct wheel_timer *t)
{
	drop(TABLE_OF(t, struct mark, timer));
}

/* One that there is not. -1: no memory. */
static int set(struct broker *b, struct slice name, uint64_t until_ms, uint64_t keep_ms)
{
	struct mark *mark = mem_alloc(1, sizeof(*mark) + name.len);

	if (!mark)
		return -1;
	mark->broker = b;
	mark->until_ms = until_ms;
	mark->len = name.len;
	memcpy(mark->name, name.p, name.len);
	mark->timer.fire = on_time;
	table_add(&b->marks, &mark->node, table_hash_bytes(&b->marks, name));
	loop_timer(&b->loop, &mark->timer, keep_ms);
	return 0;
}

static void keep(const struct mark *mark)
{
	struct buf value;

	if (!broker_keeps(mark->broker))
		return;
	buf_init(&value, sizeof(uint64_t));
	link_put_u64(&value, mark->until_ms);
	broker_keep(mark->broker, STORE_MARK, (struct slice){mark->name, mark->len}, &value);
}

static void keep_node(struct table_node *n, void *arg)
{
	(void)arg;
	keep(TABLE_OF(n, struct mark, node));
}

void once_keep_all(struct broker *b)
{
	table_each(&b->marks, keep_node, NULL);
}

unsigned once_mark(struct broker *b, struct slice name, uint32_t keep_s)
{
	uint64_t keep_ms = (uint64_t)keep_s * 1000;

	if (find(b, name))
		return LINK_NACK_DUPLICATE_ID;
	if (b->marks.count >= (size_t)b->cfg->once_max)
		return LINK_NACK_LIMIT;
	if (set(b, name, clock_ms(CLOCK_REALTIME) + keep_ms, keep_ms))
		return LINK_NACK_BUSY;
	keep(find(b, name));
	return 0;
}

/* However few there may be by now: what was used must stay used. */
bool once_restore(struct broker *b, struct slice name, struct slice value)
{
	bool bad = false;
	uint64_t until_ms = link_get_u64(&value, &bad), now = clock_ms(CLOCK_REALTIME);

	return !bad && until_ms > now && set(b, name, until_ms, until_ms - now) == 0;
}

static void save(struct table_node *n, void *arg)
{
	const struct mark *mark = TABLE_OF(n, struct mark, node);
	struct buf *out = arg;

	link_put_bytes(out, (struct slice){mark->name, mark->len});
	link_put_u64(out, mark->until_ms);
	snapshot_put_timer(out, &mark->broker->loop, &mark->timer);
}

void once_save(const struct broker *b, struct buf *out)
{
	table_each(&b->marks, save, out);
}

int once_load(struct broker *b, struct slice in)
{
	bool bad = false;

	while (in.len > 0 && !bad) {
		struct slice name = link_get_bytes(&in, &bad);
		uint64_t until_ms = link_get_u64(&in, &bad);

		if (bad || name.len == 0 || find(b, name) || set(b, name, until_ms, 0))
			return -1;
		snapshot_get_timer(&in, &b->loop, &find(b, name)->timer, &bad);
	}
	return bad ? -1 : 0;
}

void once_forget(struct broker *b, struct slice name)
{
	struct mark *mark = find(b, name);

	if (mark)
		drop(mark);
}

static void forget(struct table_node *n, void *arg)
{
	(void)arg;
	drop(TABLE_OF(n, struct mark, node));
}

void once_forget_all(struct broker *b)
{
	table_each(&b->marks, forget, NULL);
}
