#include "config.h"

#include "broker/table.h"
#include "common/mem.h"
#include "common/rnd.h"
#include "common/banned.h"

#define BUCKETS_MIN 64

int table_init(struct table *t)
{
	*t = (struct table){.mask = BUCKETS_MIN - 1, .seed = rnd_u64()};
	t->buckets = mem_alloc(BUCKETS_MIN, sizeof(*t->buckets));
	return t->buckets ? 0 : -1;
}

void table_release(struct table *t)
{
	mem_free(t->buckets);
	*t = (struct table){0};
}

static void grow(struct table *t)
{
	size_t count = (t->mask + 1) * 2;
	struct table_node **buckets = mem_alloc(count, sizeof(*buckets)), *n;

	if (!buckets)
		return;
	for (size_t i = 0; i <= t->mask; i++) {
		while ((n = t->buckets[i]) != NULL) {
			t->buckets[i] = n->next;
			n->next = buckets[n->hash & (count - 1)];
			buckets[n->hash & (count - 1)] = n;
		}
	}
	mem_free(t->buckets);
	t->empty = 0;
	t->buckets = buckets;
	t->mask = count - 1;
}

void table_add(struct table *t, struct table_node *n, uint64_t hash)
{
	struct table_node **at;

	if (t->count > t->mask)
		grow(t);
	at = &t->buckets[hash & t->mask];
	if (t->empty > (hash & t->mask))
		t->empty = hash & t->mask;
	n->hash = hash;
	n->next = *at;
	*at = n;
	t->count++;
}

void table_remove(struct table *t, struct table_node *n)
{
	struct table_node **at = &t->buckets[n->hash & t->mask];

	while (*at != n) {
		DIE_UNLESS(*at != NULL);
		at = &(*at)->next;
	}
	*at = n->next;
	n->next = NULL;
	t->count--;
}

struct table_node *table_find(const struct table *t, uint64_t hash)
{
	struct table_node *n = t->buckets[hash & t->mask];

	while (n && n->hash != hash)
		n = n->next;
	return n;
}

struct table_node *table_find_next(const struct table_node *n)
{
	uint64_t hash = n->hash;

	do
		n = n->next;
	while (n && n->hash != hash);
	return (struct table_node *)n;
}

struct table_node *table_any(struct table *t)
{
	if (t->count == 0)
		return NULL;
	while (!t->buckets[t->empty])
		t->empty++;
	return t->buckets[t->empty];
}

void table_each(const struct table *t, void (*visit)(struct table_node *n, void *arg), void *arg)
{
	for (size_t i = 0; t->buckets && i <= t->mask; i++) {
		struct table_node *next;

		for (struct table_node *n = t->buckets[i]; n; n = next) {
			next = n->next;
			visit(n, arg);
		}
	}
}

static uint64_t reverse(uint64_t n)
{
	n = (n & 0x5555555555555555u) << 1 | (n >> 1 & 0x5555555555555555u);
	n = (n & 0x3333333333333333u) << 2 | (n >> 2 & 0x3333333333333333u);
	n = (n & 0x0f0f0f0f0f0f0f0fu) << 4 | (n >> 4 & 0x0f0f0f0f0f0f0f0fu);
	return __builtin_bswap64(n);
}

/* Counts with the bits reversed, the highest bit of the mask first: where a bucket is split by growing, its two halves
 * follow each other, on the side of the cursor on which the bucket was. */
uint64_t table_scan(const struct table *t, uint64_t cursor, void (*visit)(struct table_node *n, void *arg), void *arg)
{
	for (struct table_node *n = t->buckets[cursor & t->mask]; n; n = n->next)
		visit(n, arg);
	return reverse(reverse(cursor | ~(uint64_t)t->mask) + 1);
}

static uint64_t mix(uint64_t h)
{
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93u;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93u;
	return h ^ h >> 32;
}

uint64_t table_hash_bytes(const struct table *t, struct slice key)
{
	uint64_t h = t->seed ^ key.len;

	for (size_t i = 0; i < key.len; i++)
		h = (h ^ (unsigned char)key.p[i]) * 0x100000001b3u + (h >> 47);
	return mix(h);
}

uint64_t table_hash_u64(const struct table *t, uint64_t a, uint64_t b)
{
	return mix(mix(a ^ t->seed) ^ b);
}
