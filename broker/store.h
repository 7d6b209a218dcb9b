/* broker/store.h - where events (and what a session is) outlive a moment: a log in global order.
 *
 * The broker's objects keep positions, the store keeps bytes. It is asynchronous: whatever takes time is an operation
 * that the caller owns and that comes back through the completion queue, in store->reap(), in the order of submission;
 * never from within the call that submitted it. So a disk can take the place of memory, with a thread of its own that
 * writes and syncs in groups, and the broker still never waits.
 *
 *   append  gives the event its position at once. What was appended can be read at once too: a store that writes in
 *           groups serves it from the group. That it is safe is known when a sync, submitted later, completes.
 *   sync    completes when all that was appended or put before is committed: one sync serves a whole frame of events.
 *   read    lends the bytes of several events. They stay valid until done() returns, forgotten in the meantime or not.
 *   forget  the event is not needed any more.
 *
 * An operation that was submitted must live until it is done; close() completes what is under way with status -1. */
#ifndef MCP_BROKER_STORE_H
#define MCP_BROKER_STORE_H

#include "common/err.h"

#define STORE_READ_MAX 32 /* events in one read */

struct store_op {
	struct store_op *next; /* the store's, as is is_read */
	bool is_read;
	/* status 0, or -1: could not be committed (sync) or read. Owns the operation again, may submit it anew. */
	void (*done)(struct store_op *op, int status);
};

struct store_read {
	struct store_op op;
	uint64_t positions[STORE_READ_MAX];  /* in: from append */
	struct slice events[STORE_READ_MAX]; /* out */
	size_t count;
};

struct store {
	const char *name;
	uint64_t epoch;      /* of this start: higher than that of every earlier one */
	uint64_t bytes_used; /* of events that were not forgotten */
	/* 0: no memory, or over bytes_max. */
	uint64_t (*append)(struct store *s, uint64_t stream, uint64_t seq, struct slice event);
	void (*sync)(struct store *s, struct store_op *op);
	void (*read)(struct store *s, struct store_read *r);
	void (*forget)(struct store *s, uint64_t position);
	/* What a session remembers. Both are covered by the next sync, which tells of a failure too. */
	void (*session_put)(struct store *s, struct slice id, struct slice principal, struct slice blob);
	void (*session_del)(struct store *s, struct slice id);
	/* Completes what is ready. Returns whether more is. */
	bool (*reap)(struct store *s);
	void (*close)(struct store **sp);
};

/* wake is called, from any thread, when reap() has become worth calling. NULL: *err. */
struct store *store_memory_open(void (*wake)(void *arg), void *arg, struct err *err);

#endif
