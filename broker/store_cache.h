/* broker/store_cache.h - events in memory: those that are not committed yet, fleeting ones, and, oldest out first, as
 * many of the others as fit. Of the loop's thread. */
#ifndef MCP_BROKER_STORE_CACHE_H
#define MCP_BROKER_STORE_CACHE_H

#include "broker/store.h"
#include "broker/table.h"

struct record {
	struct table_node node;    /* unless it is loose */
	struct record *next, **at; /* among those that may be left out, oldest first */
	uint64_t position, stream, seq;
	struct buf *row;    /* owned: of several streams, what store_joint.h makes of it; NULL: of one */
	uint32_t len, pins; /* pins: reads that lend its bytes, a batch that has it */
	bool is_forgotten, is_fleeting;
	bool is_loose; /* read from the disk, for one read */
	char bytes[];
};

struct cache {
	struct table records;
	struct record *first, **last; /* those that are on disk too */
	uint64_t bytes, bytes_max;
};

int cache_init(struct cache *c, uint64_t bytes_max); /* -1: no memory */
void cache_release(struct cache *c);

struct record *cache_find(const struct cache *c, uint64_t position);
/* Those that are on disk too. */
void cache_each(const struct cache *c, void (*visit)(struct record *r, void *arg), void *arg);
void cache_add(struct cache *c, struct record *r);
/* It is on disk now; its batch's pin goes. */
void cache_committed(struct cache *c, struct record *r);
/* Goes with its last pin. */
void cache_forget(struct cache *c, struct record *r);
void cache_unpin(struct cache *c, struct record *r);
/* Another stream has it too. -1: no memory, or its row is full. */
int cache_join(struct record *r, uint64_t stream, uint64_t seq);

#endif
