#include "config.h"

#include "broker/store_cache.h"
#include "broker/store_joint.h"
#include "common/mem.h"
#include "common/banned.h"

int cache_init(struct cache *c, uint64_t bytes_max)
{
	*c = (struct cache){.bytes_max = bytes_max};
	c->last = &c->first;
	return table_init(&c->records);
}

static void drop(struct cache *c, struct record *r)
{
	if (!r->is_loose)
		table_remove(&c->records, &r->node);
	if (r->row)
		buf_release(r->row);
	mem_free(r->row);
	mem_free(r);
}

static void drop_node(struct table_node *n, void *c)
{
	drop(c, TABLE_OF(n, struct record, node));
}

void cache_release(struct cache *c)
{
	table_each(&c->records, drop_node, c);
	table_release(&c->records);
}

struct record *cache_find(const struct cache *c, uint64_t position)
{
	struct table_node *n = table_find(&c->records, table_hash_u64(&c->records, position, 0));

	for (; n; n = table_find_next(n)) {
		struct record *r = TABLE_OF(n, struct record, node);

		if (r->position == position)
			return r;
	}
	return NULL;
}

void cache_add(struct cache *c, struct record *r)
{
	table_add(&c->records, &r->node, table_hash_u64(&c->records, r->position, 0));
}

void cache_each(const struct cache *c, void (*visit)(struct record *r, void *arg), void *arg)
{
	for (struct record *r = c->first; r; r = r->next)
		visit(r, arg);
}

static uint64_t cost(const struct record *r)
{
	return sizeof(*r) + r->len + (r->row ? r->row->cap : 0);
}

static void leave(struct cache *c, struct record *r)
{
	if (!r->at)
		return;
	*r->at = r->next;
	if (r->next)
		r->next->at = r->at;
	else
		c->last = r->at;
	r->at = NULL;
	c->bytes -= cost(r);
}

void cache_unpin(struct cache *c, struct record *r)
{
	r->pins--;
	if (r->is_forgotten && r->pins == 0)
		drop(c, r);
}

void cache_forget(struct cache *c, struct record *r)
{
	DIE_UNLESS(!r->is_forgotten);
	r->is_forgotten = true;
	leave(c, r);
	if (r->pins == 0)
		drop(c, r);
}

/* All of it in the row, if there is none yet. */
static int make_row(struct record *r)
{
	struct buf *row = mem_alloc(1, sizeof(*row));

	if (!row)
		return -1;
	buf_init(row, SIZE_MAX / 2);
	buf_add(row, r->bytes, r->len);
	if (buf_check(row, NULL) || joint_put_place(row, r->stream, r->seq)) {
		buf_release(row);
		mem_free(row);
		return -1;
	}
	r->row = row;
	return 0;
}

int cache_join(struct record *r, uint64_t stream, uint64_t seq)
{
	if (!r->row && make_row(r))
		return -1;
	if (r->row->len - r->len >= JOINT_PLACES_MAX * JOINT_PLACE_LEN)
		return -1;
	return joint_put_place(r->row, stream, seq);
}

void cache_committed(struct cache *c, struct record *r)
{
	struct record *oldest;

	if (!r->is_forgotten && !r->at) {
		r->at = c->last;
		r->next = NULL;
		*r->at = r;
		c->last = &r->next;
		c->bytes += cost(r);
	}
	cache_unpin(c, r);
	while (c->bytes > c->bytes_max && (oldest = c->first) != NULL && oldest->pins == 0) {
		leave(c, oldest);
		drop(c, oldest);
	}
}
