/* broker/call.h - a request under way: which worker, which session, which of the client's ids, and its will.
 *
 * Two kinds of calls have no producer: a parked one, that waits for answers (park.h), and that of a listen stream,
 * which belongs to its client. They outlive every worker.
 *
 * A will is a ready-made event per id. It is appended when the call's producer dies, or ends the call, while an answer
 * is owed on a stream: so the client never waits for an answer that nobody will write. */
#ifndef MCP_BROKER_CALL_H
#define MCP_BROKER_CALL_H

#include "broker/broker.h"
#include "common/link.h"

struct park;
struct producer;
struct session;
struct stream;

struct call {
	struct table_node node;
	struct broker *broker;     /* borrowed, as all that follow */
	struct producer *producer; /* has it in its list, so it lives longer; NULL: nobody runs it */
	struct session *session;   /* NULL: modern, or the session is over */
	struct stream *stream;     /* its response stream, while that is not finished */
	struct park *park;         /* owned: what it waits for, or was answered; NULL: it never waited */
	uint64_t number;           /* the producer's; without one: ours */
	uint64_t kept_as;          /* in the store; 0: it isn't */
	struct call *next_of_producer, **at_producer;
	struct call *next_of_session, **at_session;
	bool on_session_stream, is_closed;
	bool is_held;      /* while RETURN is handled: its producer still runs it */
	bool is_cancelled; /* as a whole: its producer was told */
	uint16_t ids_count;
	struct slice wills; /* owned: ids_count * (bytes id, bytes will) */
	struct wheel_timer late_timer; /* of a call that has a producer: it has taken too long */
	struct loop_doom doom;
};

/* p NULL: nobody runs it, number is ignored. wills is the tail of CALL_BEGIN or OPEN_STREAM: n * (bytes id, bytes
 * will). 0 or LINK_NACK_*: DUPLICATE_ID, LIMIT, BAD. */
unsigned call_new(struct broker *b, struct producer *p, uint64_t number, struct session *session, unsigned flags,
    uint16_t n, struct slice wills, struct call **call);
struct call *call_find(struct broker *b, const struct producer *p, uint64_t number);
struct call *call_find_id(struct session *session, struct slice id); /* the call in which the client's id is open */
/* Another producer runs it from now on, or nobody (p NULL). */
void call_give(struct call *c, struct producer *p, uint64_t number);
/* (Again) into the store, if it owes an answer that somebody can come back for. */
void call_keep(struct call *c);
/* As the store has it, its session and streams being there. */
bool call_restore(struct broker *b, struct slice key, struct slice value);
/* For the program that takes our place (snapshot.h), and from the one before; producers, sessions, streams being there.
 */
void call_save(const struct call *c, struct buf *out);
int call_load(struct broker *b, struct slice in);
void call_keep_all(struct broker *b);
bool call_is_parked(const struct call *c);        /* it waits for answers */
struct stream *call_stream(const struct call *c); /* where an answer is owed; NULL: nowhere */
/* Tells the producer: CANCELLED, of one id, or of the whole call if id is empty. A call that nobody runs ends: without
 * a word, but for the wills of the other ids. */
void call_cancel(struct call *c, struct slice id, const char *why);
/* Ends it. If an answer is owed on a stream, the will is appended there and the call's own stream finishes. */
void call_end(struct call *c, const char *why);
/* The same with this event (empty: none) in the place of the will. */
void call_end_with(struct call *c, struct slice event, const char *why);
/* Ends it without a word. */
void call_close(struct call *c);

#endif
