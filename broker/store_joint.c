#include "config.h"

#include "broker/store_joint.h"
#include "common/link.h"
#include "common/mem.h"
#include "common/banned.h"

struct joint {
	struct table_node node;
	uint64_t position;
	uint32_t count; /* of those that have it: two at least */
};

int joints_init(struct joints *j)
{
	return table_init(&j->table);
}

static void drop(struct joints *j, struct joint *joint)
{
	table_remove(&j->table, &joint->node);
	mem_free(joint);
}

static void drop_node(struct table_node *n, void *j)
{
	drop(j, TABLE_OF(n, struct joint, node));
}

void joints_release(struct joints *j)
{
	table_each(&j->table, drop_node, j);
	table_release(&j->table);
}

static uint64_t hash_of(const struct joints *j, uint64_t position)
{
	return table_hash_u64(&j->table, position, 0);
}

static struct joint *find(const struct joints *j, uint64_t position)
{
	struct table_node *n = j->table.count ? table_find(&j->table, hash_of(j, position)) : NULL;

	for (; n; n = table_find_next(n)) {
		struct joint *joint = TABLE_OF(n, struct joint, node);

		if (joint->position == position)
			return joint;
	}
	return NULL;
}

int joints_add(struct joints *j, uint64_t position, uint32_t count)
{
	struct joint *joint = find(j, position);

	if (!joint) {
		joint = mem_alloc(1, sizeof(*joint));
		if (!joint)
			return -1;
		joint->position = position;
		joint->count = 1;
		table_add(&j->table, &joint->node, hash_of(j, position));
	}
	joint->count += count;
	return 0;
}

bool joints_leave(struct joints *j, uint64_t position)
{
	struct joint *joint = find(j, position);

	if (!joint)
		return false;
	if (--joint->count == 1)
		drop(j, joint);
	return true;
}

static void save_node(struct table_node *n, void *out)
{
	const struct joint *joint = TABLE_OF(n, struct joint, node);

	link_put_u64(out, joint->position);
	link_put_u32(out, joint->count);
}

void joints_save(const struct joints *j, struct buf *out)
{
	link_put_u32(out, (uint32_t)j->table.count);
	table_each(&j->table, save_node, out);
}

int joints_load(struct joints *j, struct slice *in)
{
	bool bad = false;

	for (uint32_t i = link_get_u32(in, &bad); i > 0 && !bad; i--) {
		uint64_t position = link_get_u64(in, &bad);
		uint32_t count = link_get_u32(in, &bad);

		bad = bad || count < 2 || find(j, position) || joints_add(j, position, count - 1);
	}
	return bad ? -1 : 0;
}

int joint_put_place(struct buf *row, uint64_t stream, uint64_t seq)
{
	if (!buf_reserve(row, JOINT_PLACE_LEN)) {
		row->fault = ERR_NONE; /* what it has is whole */
		return -1;
	}
	link_put_u64(row, stream);
	link_put_u64(row, seq);
	return 0;
}

uint64_t joint_seq(const struct buf *row, size_t len)
{
	return -(uint64_t)((row->len - len) / JOINT_PLACE_LEN);
}

struct slice joint_cut_places(uint64_t seq, struct slice *bytes)
{
	uint64_t count = -seq;
	struct slice places = SLICE("");

	if (seq <= INT64_MAX || count > bytes->len / JOINT_PLACE_LEN)
		return places;
	places.len = (size_t)count * JOINT_PLACE_LEN;
	bytes->len -= places.len;
	places.p = bytes->p + bytes->len;
	return places;
}
