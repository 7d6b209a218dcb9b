/* broker/park.h - what a parked call waits for: the client's answers to our requests (asks), which any worker may
 * receive. Nobody runs the call meanwhile; it has no producer, and dies with none.
 *
 * A park belongs to its call, as call->park, from PARK on. When the last answer is there the call is taken by the
 * worker that brought it, and the park stays until the call ends or parks again: a retry of that ANSWER reads it once
 * more. What all parks keep is bounded by broker_park_max_bytes, their open asks by session_calls_max for each session.
 */
#ifndef MCP_BROKER_PARK_H
#define MCP_BROKER_PARK_H

#include "broker/broker.h"
#include "common/link.h"

struct call;
struct park;
struct producer;
struct session;

struct park_order {
	uint32_t wait_ms;
	struct slice too_late, head, tail, blob;
	uint16_t asks_count;
	struct slice asks; /* asks_count * (bytes ask_id, bytes event) */
};

/* Does nothing to c yet. 0 and *park; or LINK_NACK_*: DUPLICATE_ID, LIMIT, BUSY. c has a session. */
unsigned park_new(struct call *c, const struct park_order *order, struct park **park);
/* Takes the call from its producer, and park: it is the call's now. */
void park_begin(struct call *c, struct park *park);
/* The parked call of this session that waits for the answer to ask_id; NULL: none does. */
struct call *park_find(struct session *session, struct slice ask_id);
/* Keeps the answer, of which c was found. With the last one the call is p's, by that number. 0 and *state; or LIMIT,
 * TOO_BIG, BUSY. */
unsigned park_answer(struct call *c, struct slice ask_id, struct slice answer, struct producer *p, uint64_t number,
    enum link_answer_state *state);
/* For the store or a snapshot, and back from it: c waits again, or, if all was answered, has that; or, if it was not to be
 * understood, has no park. */
void park_keep(const struct park *park, struct buf *out);
void park_restore(struct call *c, struct slice value);
bool park_is_open(const struct park *park); /* answers are missing */
/* bytes blob, u16 n, n * (bytes ask_id, bytes answer), of a call that was taken. */
void park_put(const struct park *park, struct buf *out);

void park_stop(struct park *park); /* nothing is waited for any more; NULL is harmless, as below */
void park_free(struct park *park);

#endif
