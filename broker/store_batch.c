#include "config.h"

#include "broker/store_batch.h"
#include "common/mem.h"
#include "common/banned.h"

#define BATCH_COUNT 64 /* changes for which a new batch has room */

struct batch *batch_new(void)
{
	struct batch *b = mem_alloc(1, sizeof(*b));

	if (!b)
		return NULL;
	buf_init(&b->bytes, SIZE_MAX / 2);
	b->last_sync = &b->syncs;
	return b;
}

void batch_free(struct batch *b)
{
	mem_free(b->changes);
	buf_release(&b->bytes);
	mem_free(b);
}

struct change *batch_change(struct batch *b, enum change_type type)
{
	if (b->count == b->cap) {
		size_t cap = b->cap ? 2 * b->cap : BATCH_COUNT;
		struct change *changes = mem_realloc(b->changes, cap * sizeof(*changes));

		if (!changes)
			return NULL;
		b->changes = changes;
		b->cap = cap;
	}
	b->changes[b->count] = (struct change){.type = (uint8_t)type};
	return &b->changes[b->count++];
}

int batch_object(struct batch *b, enum change_type type, enum store_kind kind, struct slice key, struct slice value)
{
	struct change *c = batch_change(b, type);

	if (!c)
		return -1;
	c->kind = (uint8_t)kind;
	c->at = b->bytes.len;
	c->key_len = (uint32_t)key.len;
	c->value_len = (uint32_t)value.len;
	if (buf_reserve(&b->bytes, key.len + value.len + 1)) {
		buf_add_slice(&b->bytes, key);
		buf_add_slice(&b->bytes, value);
		return 0;
	}
	b->bytes.fault = ERR_NONE; /* what it has is whole */
	b->count--;
	return -1;
}

struct slice batch_key(const struct batch *b, const struct change *c)
{
	return (struct slice){b->bytes.data + c->at, c->key_len};
}

struct slice batch_value(const struct batch *b, const struct change *c)
{
	return (struct slice){b->bytes.data + c->at + c->key_len, c->value_len};
}
