/* broker/table.h - a hash table of things that carry their own node: no allocation per entry, no failure to insert once
 * the table exists. Hash and equality are the user's: it walks the bucket of a hash. Grows by doubling; when memory for
 * that is short it stays, slower, as it is. */
#ifndef MCP_BROKER_TABLE_H
#define MCP_BROKER_TABLE_H

#include "common/util.h"

struct table_node {
	struct table_node *next;
	uint64_t hash;
};

struct table {
	struct table_node **buckets; /* owned; a power of two of them */
	size_t mask, count;
	size_t empty; /* so many buckets, from the first on, are known to be empty */
	uint64_t seed; /* so that nobody who chooses keys chooses the buckets */
};

int table_init(struct table *t); /* -1: no memory */
void table_release(struct table *t);
void table_add(struct table *t, struct table_node *n, uint64_t hash);
void table_remove(struct table *t, struct table_node *n);
/* The first node of this hash, and the next one after n; NULL: no more. */
struct table_node *table_find(const struct table *t, uint64_t hash);
struct table_node *table_find_next(const struct table_node *n);
/* Any node, or NULL when empty: for emptying it. */
struct table_node *table_any(struct table *t);
/* Calls visit for each node; visit may remove that node, but no other, and add none. */
void table_each(const struct table *t, void (*visit)(struct table_node *n, void *arg), void *arg);

/* Calls visit, as table_each() does, for a part of the table, and returns where to go on; 0: that was all, and where to
 * begin. Between two parts nodes may come and go, and the table grow: what is there all the time is visited once. */
uint64_t table_scan(const struct table *t, uint64_t cursor, void (*visit)(struct table_node *n, void *arg), void *arg);

uint64_t table_hash_bytes(const struct table *t, struct slice key);
uint64_t table_hash_u64(const struct table *t, uint64_t a, uint64_t b);

#define TABLE_OF(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))

#endif
