/* broker/store_batch.h - changes that are committed together: filled by the loop's thread, written by the writer's, and
 * then freed by the loop's. */
#ifndef MCP_BROKER_STORE_BATCH_H
#define MCP_BROKER_STORE_BATCH_H

#include "broker/store_cache.h"

enum change_type { CHANGE_APPEND, CHANGE_FORGET, CHANGE_PUT, CHANGE_DEL };

struct change {
	uint8_t type, kind;
	uint32_t key_len, value_len;
	union {
		struct record *record; /* APPEND; the batch pins it */
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
	bool has_all; /* objects and events in memory, for a new file */
};

struct batch *batch_new(void); /* NULL: no memory */
void batch_free(struct batch *b);
struct change *batch_change(struct batch *b, enum change_type type);
/* PUT or DEL. -1: no memory, and nothing was noted. */
int batch_object(struct batch *b, enum change_type type, enum store_kind kind, struct slice key, struct slice value);
struct slice batch_key(const struct batch *b, const struct change *c);
struct slice batch_value(const struct batch *b, const struct change *c);

#endif
