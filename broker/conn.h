/* broker/conn.h - one client's connection, handed over by a worker, that reads one stream.
 *
 * It owns its descriptor, a cursor, and what the kernel did not take of the last write. The stream's log is the queue:
 * a client that reads slowly makes its cursor lag, nothing more. Its end is always a proper one (FCGI_END_REQUEST)
 * unless the peer is gone or takes no bytes for stream_stall_s. */
#ifndef MCP_BROKER_CONN_H
#define MCP_BROKER_CONN_H

#include "broker/broker.h"
#include "common/link.h"

struct conn;
struct stream;

struct conn_how {
	enum link_kind kind;
	uint16_t request_id;
	uint64_t cursor;
	uint32_t heartbeat_ms; /* 0: none */
	uint32_t retry_ms;     /* how late its client comes back; 0: the client must not be told */
};

/* Takes fd (a failure closes it), and one descriptor of the budget, which the caller has taken. head is copied. The
 * stream's earlier connection is ended. */
void conn_new(struct stream *s, int fd, const struct conn_how *how, struct slice head);
/* Answers a connection that has no stream, 404 (is_gone: it will never have one) or 503, and ends it. As conn_new() for
 * fd and the budget. */
void conn_refuse(struct broker *b, int fd, const struct conn_how *how, bool is_gone);

/* Something about its stream changed: looks at it soon. */
void conn_kick(struct conn *c);
/* Leaves its stream, writes what is half written and the end, closes. Any number of times. why: STAT_CLOSE_*, the first
 * one counts. */
void conn_end(struct conn *c, enum stats_row why);
/* When it has taken all that its stream has now: last (an SSE text), then as conn_end(). -1: no memory. */
int conn_end_after(struct conn *c, struct slice last);
/* The same, and tells the client to come back in_ms later than it would, for then there is a broker again. */
void conn_end_until(struct conn *c, uint64_t in_ms);
/* At once. Safe from any callback, any number of times. */
void conn_close(struct conn *c, enum stats_row why);

/* Goes on after seq: what is before it is gone. */
void conn_skip(struct conn *c, uint64_t seq);
struct conn *conn_next(const struct conn *c); /* in the broker's list */
bool conn_is_reading(const struct broker *b); /* one of them waits for the store */
/* For the program that takes our place (snapshot.h), when none of them waits; and from the one before, its stream being
 * there. */
void conn_save(const struct conn *c, struct buf *out);
int conn_load(struct broker *b, struct slice in);
/* Of a snapshot that is of no use otherwise: writes the end. The descriptor stays open. */
void conn_end_saved(struct slice in);

uint64_t conn_cursor(const struct conn *c); /* the last sequence that it took from the log */

#endif
