/* fcgi/exchange.h - one HTTP exchange from routing to answer: the worker's side of a request, shared by the files that
 * handle it in turn (endpoint, guard, modern, legacy, oldsse, call).
 *
 * Its door to the client: exactly one of exchange_reply*, exchange_stream + exchange_finish, or exchange_hand_over is
 * used. The phase says which. */
#ifndef MCP_FCGI_EXCHANGE_H
#define MCP_FCGI_EXCHANGE_H

#include "fcgi/address.h"
#include "fcgi/call.h"
#include "fcgi/header.h"
#include "fcgi/route.h"
#include "fcgi/rpc.h"
#include "fcgi/worker.h"

enum exchange_phase {
	EXCHANGE_OPEN,     /* nothing was sent; the connection is ours */
	EXCHANGE_ANSWERED, /* done */
	EXCHANGE_STREAM,   /* the broker has the connection; events go to stream */
	EXCHANGE_ACCEPTED, /* HTTP+SSE: 202 is out; events go to the session's stream */
};

struct exchange {
	struct worker *w;
	struct req *req;
	enum exchange_phase phase;
	enum era era;
	enum revision revision;
	struct route route;
	struct header_accept accept;
	const char *origin;    /* allowed Origin, to be echoed; NULL without one. Borrowed: dies with the connection */
	const char *principal; /* "" when no key is asked for; borrowed from the worker's keys */
	struct slice who;      /* whose requests are counted together: principal, or address, which is below */
	enum rate_limit limit; /* by which */
	struct address address;
	struct slice owner; /* whose share of what is limited it uses; empty: nobody's. May lie in owner_text */
	char owner_text[ADDRESS_TEXT_SIZE];
	struct exchange *next, **at;     /* worker.c's: among those that take long; at NULL: it isn't */
	char session[LINK_KEY_MAX + 1];  /* legacy: id; "" otherwise */
	struct link_call *lcall;         /* what the broker knows of this request; NULL: nothing */
	uint64_t stream;                 /* where its events go, once it is EXCHANGE_STREAM or EXCHANGE_ACCEPTED */
	uint32_t retry_ms;               /* its client was told to come back so late; 0: it was told nothing */
	uint64_t started_ms, started_us; /* the same moment */
	bool stream_refused;    /* no stream could be had, or the client takes none: the answer stays one JSON object */
	const char *const *ids; /* JSON texts of the requests it answers */
	size_t ids_count;
	bool is_batch; /* the answer is an array, even of one */
	void (*busy)(void *arg);
	void *busy_arg;
};

/* One whole answer. extra is more head lines ("Allow: POST\r\n") or NULL; type NULL means no body. All need
 * EXCHANGE_OPEN. */
void exchange_reply(struct exchange *x, int status, const char *type, const char *extra, struct slice body);
/* JSON-RPC error as the whole answer, at the HTTP status given; id "" leaves it out. At 200 it is as any message (see
 * below). */
void exchange_reply_error(
    struct exchange *x, int status, const char *extra, const char *id, const struct err *err, const char *data);
/* A finished answer of any content: JSON, or an event stream of its one message when the client admits only that. */
void exchange_reply_message(struct exchange *x, int status, const char *extra, struct slice message);

/* 503, to be tried again in a moment, which is another one for each client. */
void exchange_reply_later(struct exchange *x);

/* Head of an event stream, with the empty line. Something must follow at once: Apache passes the head on with the first
 * byte behind it, which might be a heartbeat away. */
void exchange_stream_head(const struct exchange *x, struct buf *out);

/* Tells the client when to come back once it has lost the connection, and remembers it for exchange_hand_over(). Each
 * client is told another time, from stream_retry_lost_ms to twice as much: those that a restart cuts off together come back
 * one by one. Not for clients of before 2025-11-25, of which some take a retry for an event without data. */
void exchange_put_retry(struct exchange *x, struct buf *out);

/* Turns an open exchange into a stream owned by the broker: opens it there, gives the connection away. 0: the phase is
 * EXCHANGE_STREAM. -1: the exchange is still open and stays so (stream_refused). */
int exchange_stream(struct exchange *x, struct err *err);

/* Its client can be told to come back for the rest of a stream: a session whose negotiated revision is 2025-11-25,
 * whatever its headers say. Older ones stumble over an event without data (E-07). */
bool exchange_may_poll(const struct exchange *x);

/* Closes the connection of a stream of such a client (EXCHANGE_STREAM), which goes on without. */
int exchange_let_go(struct exchange *x, struct err *err);

/* The message that b holds, for exchange_finish(); empty when there was no memory for all of it. */
static inline struct slice exchange_message(const struct buf *b)
{
	return b->fault ? SLICE("") : buf_slice(b);
}

/* Before what needs the broker: waits for one that restarts, out of the way of others (link_await). */
int exchange_await_broker(struct exchange *x, bool begins, struct err *err);

/* The thread no longer counts as one that waits for requests. Twice is no harm. */
void exchange_set_aside(struct exchange *x);

/* Ends a request in whichever phase: messages (responses; none when it was cancelled) go to the client. An empty one
 * stands for an answer that is lost: the client is told that something failed. */
void exchange_finish(struct exchange *x, const struct slice *messages, size_t messages_count);

/* Gives the connection to the broker as reader of a stream that exists (GET): head is everything to write first. */
int exchange_hand_over(struct exchange *x, uint64_t stream, uint64_t cursor, struct slice head, struct err *err);

/* Counts a request by its method (a literal), with the time since it came. What a status of 400 or more refuses is
 * counted as "none" already, whatever it asked for. */
void exchange_count(const struct exchange *x, const char *method, enum link_outcome outcome);

/* The will: what the client reads if this process dies before it answered id. */
void exchange_put_will(struct buf *out, const char *id);

/* Finds out what a request is and answers it; the other entrances are in modern.h, legacy.h and oldsse.h. */
void endpoint_serve(struct exchange *x);

#endif
