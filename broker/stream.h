/* broker/stream.h - a stream: a log of events, one reader at most, and who feeds it.
 *
 * The bytes are in the store; the stream keeps an index (position, length, flags) of the events from first_seq to
 * last_seq. Four sequence numbers tell all about it, first_seq - 1 <= delivered_seq <= ready_seq <= last_seq:
 *
 *   last_seq       the newest event
 *   ready_seq      may go to a client: all durable events up to here are committed
 *   delivered_seq  some connection has been sent all up to here
 *   first_seq      the oldest that is kept: stream_keep_s after it was delivered, store_keep_s when nobody reads it
 *
 * The stream outlives its connections. A legacy stream without one waits for the client to come back; a modern one is
 * over with its connection, and its producer is told (CANCELLED). A finished stream delivers what is left, ends its
 * connection, and, when it is a legacy one, stays for stream_keep_s.
 *
 * Event ids of legacy streams are those of link_event_id(). Of an earlier epoch, an id is good for what that epoch is
 * known to have committed (store.h). */
#ifndef MCP_BROKER_STREAM_H
#define MCP_BROKER_STREAM_H

#include "broker/topic.h"
#include "common/link.h"

struct call;
struct conn;
struct owner;
struct session;

enum stream_state {
#define STREAM(name, next) STREAM_##name,
#include "broker/stream_tbl.h"
#undef STREAM
	STREAM__COUNT
};

struct stream_event {
	uint64_t position; /* in the store */
	uint32_t len;      /* bytes */
	uint32_t since_s;  /* second of CLOCK_MONOTONIC when a connection had been sent it; not yet: when it came */
	uint64_t appended_us : 62; /* now_us(), if somebody read the stream then; else 0 */
	uint64_t is_durable : 1;
	uint64_t is_lost : 1; /* the store could not commit it; never shown to anybody */
};

struct stream {
	struct table_node node;
	struct broker *broker; /* borrowed */
	uint64_t handle;
	struct session *session;   /* borrowed; NULL: modern, or the session is over */
	struct stream *next, **at; /* in the session's list */
	struct owner *owner;       /* held: whose share it uses */
	struct call *call;         /* borrowed: it owes this stream an end; NULL: a session's own, or finished */
	struct conn *conn;         /* borrowed: the reader */
	enum stream_state state;   /* assigned by stream_go() only */
	bool is_modern, is_own, is_listen;
	bool is_counted; /* in the broker's waiting_count */
	bool has_place;  /* a descriptor of its owner's share */
	bool is_void;    /* finished without an answer, for a call that was cancelled: nothing of it is replayed */
	struct subscriber subscriber; /* topic.c's */
	uint64_t first_seq, last_seq, ready_seq, delivered_seq, committed_seq;
	uint64_t gone_epoch;         /* of the event before first_seq, which was forgotten; 0: there was none */
	struct stream_event *events; /* owned; last_seq + 1 - first_seq of them, from events_start */
	size_t events_start, events_cap;
	uint64_t log_bytes, undelivered_bytes; /* as events are counted, with STREAM_EVENT_COST */
	unsigned reserved; /* descriptors: answers to OPEN_STREAM and ATTACH that ADOPT has not spent */
	struct wheel_timer reserve_timer, keep_timer, mark_timer;
	struct loop_doom doom;
};

#define STREAM_RESERVE_MS          2000
#define STREAM_MARK_MS             500     /* how old the delivered_seq may be that a later start finds */
#define STREAM_HANDLE_IS_MODERN(h) ((h)&1) /* so that an ADOPT that comes too late still tells the era */

bool stream_may_go(enum stream_state from, enum stream_state to);
const char *stream_state_name(enum stream_state state);

/* What an event costs beside its bytes: its place in the index, and what the store has for it. */
#define STREAM_EVENT_COST 64

/* session NULL: modern. owner, which is then held once more, has it in its share. is_own: the session's; those are not
 * counted against stream_max. NULL: no memory. */
struct stream *stream_new(struct broker *b, struct session *session, struct owner *owner, bool is_own);
struct stream *stream_find(struct broker *b, uint64_t handle);
bool stream_is_over(const struct stream *s); /* FINISHED or CLOSED */

/* As the store has it, its session being there; then its events in their order; then it is made whole. False: nobody
 * wants it. */
bool stream_restore(struct broker *b, struct slice key, struct slice value);
bool stream_restore_event(struct broker *b, const struct store_event *e);
void stream_restored(struct stream *s);
void stream_keep_all(struct broker *b); /* what the store has lost of them is a gap */
void stream_put_key(const struct stream *s, struct buf *key);

/* For the program that takes our place (snapshot.h), and from the one before; then the connection that reads it. */
void stream_save(const struct stream *s, struct buf *out);
int stream_load(struct broker *b, struct slice in);
int stream_load_reader(struct stream *s, struct conn *conn);

/* Appends all or nothing. 0, or an enum link_nack: TOO_BIG, BUSY (log full), CLOSED. is_final: this is a call's answer,
 * accepted over stream_log_max_bytes too. Events that are not durable may be dropped when the log is full. What was
 * appended becomes ready with stream_commit(), events that are not durable earlier. *last is the last sequence. */
unsigned stream_append(
    struct stream *s, const struct slice *events, size_t count, bool is_durable, bool is_final, uint64_t *last);
/* The same of an event, not durable, that goes to many streams, one after the other in one callback. */
struct stream_joint {
	struct slice bytes;
	uint64_t position; /* where the store has it; 0: nowhere yet */
};
unsigned stream_append_joint(struct stream *s, struct stream_joint *event, uint64_t *last);
/* Appends a durable event that nobody waits for, such as a will, as is_final. What is lost is logged. */
void stream_say(struct stream *s, struct slice event);
/* The store committed (status 0) or lost all events from first to last. */
void stream_commit(struct stream *s, uint64_t first, uint64_t last, int status);
/* All up to seq is lost to clients: who asks for it meets a gap. A call that owes its answer there ends with its will,
 * which a connection is still sent; any other connection ends, for it would skip something. */
void stream_lose(struct stream *s, uint64_t seq, const char *why);
/* No more events will come. */
void stream_finish(struct stream *s, const char *why);
/* Out of the table, log forgotten, connection ended, producer not told. s is good until the end of the turn. */
void stream_close(struct stream *s, const char *why);
/* As when the client left before it ever came or after: modern streams end, and their producer is told. */
void stream_hangup(struct stream *s, const char *why);

/* Reserves a descriptor for a connection that is to come. -1: none is left, or too many connections wait for news. */
int stream_reserve(struct stream *s);
bool stream_spend_reserve(struct stream *s); /* false: there was none */

/* What a connection reports. attach: an older connection is ended. detach: of conn, if it still is the reader. */
void stream_attach(struct stream *s, struct conn *conn);
void stream_detach(struct stream *s, struct conn *conn, const char *why);
void stream_delivered(struct stream *s, uint64_t seq);

/* Fills r with the events after *cursor, as many as are ready and fit; *cursor becomes the last one's sequence. 0
 * events: there was nothing, or only what the store lost. */
void stream_fill_read(const struct stream *s, uint64_t *cursor, struct store_read *r, uint64_t *seqs);

/* The id of an event of one stream; zeroed, then as often as is wanted: what the last one had too is not made anew. */
struct stream_id {
	uint64_t epoch;
	size_t head_len; /* what stands before the sequence */
	char text[LINK_EVENT_ID_SIZE];
};

/* Always the same for an event: its epoch is that in which it was appended. Lends id->text. */
struct slice stream_put_event_id(const struct stream *s, uint64_t position, uint64_t seq, struct stream_id *id);
/* 0 and *stream, *seq; or why a client can't go on after that id: enum link_nack GAP or DELIVERED. */
unsigned stream_find_event_id(struct session *session, struct slice id, struct stream **stream, uint64_t *seq);

#endif
