/* common/link.h - what worker and broker say to each other, as bytes. The grammar and the reasons are in doc/link.md.
 *
 * Two channels, one header:
 *   control  SOCK_SEQPACKET at run_dir/broker.ctl; one packet is header + body; carries descriptors. Its EOF tells the
 *            broker that a worker died, and a worker that the broker died.
 *   data     ZeroMQ DEALER (worker) to ROUTER (broker) at ipc://run_dir/broker.zmq; frames [header][key][body].
 *            The DEALER's routing id is 'P', the 8 bytes of the producer id as in the header, and 4 of the number of
 *            the connection, so nobody speaks as another; data of an unknown producer is dropped.
 *
 * All numbers are little-endian. Times are milliseconds of CLOCK_MONOTONIC, which every process of a host shares.
 * key is the session id, or empty. "bytes" in a body is u32 length + that many bytes. */
#ifndef MCP_COMMON_LINK_H
#define MCP_COMMON_LINK_H

#include "common/cfg.h"

#define LINK_MAGIC	  0x4c50434du /* "MCPL" */
#define LINK_VERSION	  2
#define LINK_VERSION_HELLO 1 /* of the headers of HELLO and of the NACK to it, for ever: any two versions understand them */
#define LINK_HEADER_LEN	  56
#define LINK_CTL_NAME	  "broker.ctl"
#define LINK_ZMQ_NAME	  "broker.zmq"
#define LINK_LOCK_NAME	  "broker.lock"
#define LINK_STALLED_NAME "broker.stalled" /* is there while the broker's store can't write */
#define LINK_ADMIN_NAME	  "broker.admin" /* not of the link: where people look, see mcp-broker(8) */
#define LINK_KEY_MAX	  128	      /* bytes of a session id */
#define LINK_PACKET_MAX	  16384	      /* bytes of a packet of the control channel */
#define LINK_FRAME_SLACK  65536	      /* what stands around the large thing in a body, see link_body_max() */
#define LINK_ROUTING_LEN  13

enum link_type {
#define LINK(name, number, sender, channel) LINK_##name = number,
#include "common/link_tbl.h"
#undef LINK
};

enum link_flag {
	LINK_DURABLE = 1,  /* goes to a client only after its commit */
	LINK_WANT_ACK = 2, /* the sender waits for ACK or NACK of this sequence */
	LINK_RETRY = 4,	   /* it was sent before, and spends no credit now */
};

struct link_header {
	uint8_t version, type; /* LINK_VERSION, enum link_type */
	uint16_t flags;	       /* enum link_flag */
	uint64_t producer;     /* random per process, made after fork; 0 from the broker */
	uint64_t seq;	       /* of this message, from 1, per producer; a retry has the seq of the first try */
	uint64_t corr;	       /* what this is about: see each message */
	uint64_t deadline_ms;  /* past it the broker answers NACK EXPIRED; 0: none */
	uint64_t stream;       /* stream handle, or 0 */
	uint32_t body_len;     /* bytes */
	uint32_t count;	       /* events in the body */
};

/* Why a NACK. */
enum link_nack {
	LINK_NACK_BUSY = 1,	 /* try again after retry_ms */
	LINK_NACK_NO_SESSION,	 /* unknown, ended, or of another principal */
	LINK_NACK_DUPLICATE_ID,	 /* a client's request id is open in this session already */
	LINK_NACK_CLOSED,	 /* stream or call is gone */
	LINK_NACK_TOO_BIG,	 /* event, blob or frame over its limit */
	LINK_NACK_EXPIRED,	 /* deadline passed before it was handled */
	LINK_NACK_VERSION,	 /* SESSION_PUT: somebody else changed the session; HELLO: no common version */
	LINK_NACK_LIMIT,	 /* sessions, streams, calls or descriptors are at their limit */
	LINK_NACK_GAP,		 /* ATTACH: events after that id are lost, or the id is not of this session */
	LINK_NACK_DELIVERED,	 /* ATTACH: everything after that id was delivered, the stream is finished */
	LINK_NACK_BAD,		 /* malformed; a bug of the sender or garbage */
	LINK_NACK_NO_TASK,	 /* unknown, expired, or of another principal */
	LINK_NACK_NO_RUNNER,	 /* nobody here runs tasks: start a runner, then ask again */
	LINK_NACK__COUNT
};

/* How an adopted connection wants its bytes. */
enum link_kind {
	LINK_KIND_FCGI = 1,   /* FastCGI records, END_REQUEST, close */
	LINK_KIND_PIPE,	      /* plain CGI: raw bytes, close */
	LINK_KIND_CGI_SOCKET, /* plain CGI on a socket whose peer half-closes at once: POLLRDHUP means nothing */
	LINK_KIND__COUNT
};

enum link_session_flag {
	LINK_SESSION_ENDS_WITH_CONN = 1, /* HTTP+SSE: ends session_grace_s after its connection */
	LINK_SESSION_HEARS_LISTS = 2,	 /* NOTIFY with LINK_NOTIFY_LIST reaches its own stream */
};
/* Upper bits of session flags: the least urgent level of log lines that it hears (without it: none), and of notify
 * flags: NOTIFY is a log line of this level. 0 is the least urgent; the names are the workers'. */
#define LINK_LEVEL_MAX	   14
#define LINK_LEVEL(level)  (((unsigned)(level) + 1) << 4)
#define LINK_LEVEL_OF(flags) ((flags) >> 4 & 15) /* 0: there is none */
enum link_call_flag { LINK_CALL_ON_SESSION_STREAM = 1 }; /* HTTP+SSE: events of the call go to the session's stream */
enum link_stream_flag {
	LINK_STREAM_MODERN = 1, /* no event ids, no replay; hang-up cancels */
	LINK_STREAM_LISTEN = 2, /* subscriptions/listen, beside MODERN: belongs to its client, not to the producer, whose
				 * end or CALL_END leaves it; its will is what it reads when the broker goes */
};
enum link_notify_flag {
	LINK_NOTIFY_LIST = 1, /* also to each session that LINK_SESSION_HEARS_LISTS */
	LINK_NOTIFY_EACH = 2, /* it says more than that something changed: never left out */
};
enum link_task_flag { LINK_TASK_HIDDEN = 1 };	/* not for TASK_LIST: a call that waits, not a task of the client */

/* What a producer is, in HELLO. */
enum link_role { LINK_ROLE_WORKER = 1, LINK_ROLE_RUNNER, LINK_ROLE__COUNT };

/* Where CALL_BEGIN and CALL_END may come beside the data channel: on the control connection, and by a CALLER. */
enum link_calls { LINK_CALLS_BY_DATA, LINK_CALLS_BY_CTL, LINK_CALLS_BY_CALLER };
#define LINK_CALLERS_MAX 32 /* of one connection */
/* Whether APPEND and FINISH may come by a CALLER. */
enum link_events { LINK_EVENTS_BY_DATA, LINK_EVENTS_BY_CALLER };

/* The life of a task; the last three are for ever (broker/task_tbl.h has the legal moves). */
enum link_task_state {
	LINK_TASK_WORKING = 1,
	LINK_TASK_INPUT_REQUIRED,
	LINK_TASK_COMPLETED,
	LINK_TASK_FAILED,
	LINK_TASK_CANCELLED,
	LINK_TASK__COUNT
};

enum link_task_what { LINK_TASK_ANSWERS = 1, LINK_TASK_CANCEL }; /* of TASK_SEND and TASK_INPUT */
enum link_answer_state {
	LINK_ANSWER_IGNORED, /* nobody waits for it: unknown, answered before, ended */
	LINK_ANSWER_KEPT,    /* others are still missing */
	LINK_ANSWER_TAKEN,   /* it was the last: the call is this producer's now */
};

/* What came of something that STATS counts: of a request, or of a task that a runner works on. */
enum link_outcome {
	LINK_OUTCOME_OK,
	LINK_OUTCOME_ERROR,     /* a JSON-RPC error; a task that failed */
	LINK_OUTCOME_CANCELLED, /* nobody wants the answer any more */
	LINK_OUTCOME_ASKED,     /* its client is asked first; what follows is counted anew */
	LINK_OUTCOME_REFUSED,   /* by an HTTP status of 400 or more */
	LINK_OUTCOME__COUNT
};
#define LINK_STATS_NAME_MAX 48
#define LINK_STATS_JOB	    "job"  /* the name of what a runner does; the others are methods, and "none" */
#define LINK_STATS_API	    "api/" /* begins the names of answers of HTTP APIs: where they were from */

#define LINK_CURSOR_UNDELIVERED UINT64_MAX /* ADOPT: start at the first event that no connection has been sent */

/* Bodies. ACK and NACK carry the seq of what they answer in corr.
 *
 *  HELLO        corr = number of the connection, from 1 per producer, rising; u16 version_min, u16 version_max, u32 pid,
 *               bytes program_version, u8 role (without it: a worker)
 *  WELCOME      u16 version, u64 epoch, u64 credit_bytes, u32 body_max (largest body_len), u8 is_known (1: this broker had a
 *               connection of this producer before, and knows all of its calls), u8 takes_calls (enum link_calls; without
 *               it: LINK_CALLS_BY_DATA), u8 takes_events (enum link_events, likewise)
 *               (or NACK VERSION on the control channel)
 *  ADOPT        stream; u8 kind, u16 request_id, u64 cursor, u32 heartbeat_ms, u32 retry_ms, bytes head; descriptor in
 *               SCM_RIGHTS. retry_ms: how late the client comes back when it loses the connection, as far as it was told
 *               (0: it was not, and must not be). head is everything to write first: response head, and the first event of HTTP+SSE. Not answered.
 *               Spends the descriptor that OPEN_STREAM or ATTACH reserved.
 *  CALLER       One end of a pair of SEQPACKET sockets in SCM_RIGHTS, by which packets of the control channel may come
 *               too. It ends with this connection. Not answered; one that is closed at once was one too many.
 *  SESSION_PUT  key; u64 version_expected (0: create), u32 idle_s, u8 session flags, bytes principal, bytes blob
 *               -> ACK u64 version
 *  SESSION_DEL  key; bytes principal -> ACK. Its streams end, its calls are CANCELLED.
 *  CALL_BEGIN   key; bytes principal, u8 call flags, u16 n, n * (bytes id, bytes will)
 *               -> ACK stream = the session's own stream; u64 version, bytes blob
 *               The call's number is the seq of this message. id is the JSON text of the client's request id. n = 0
 *               asks for the session only and begins no call. Renews the session's idle time. NACK NO_SESSION also when
 *               LINK_CALL_ON_SESSION_STREAM is asked of a session that was not made with LINK_SESSION_ENDS_WITH_CONN.
 *               Without flags it may come by the control channel: bytes key is the beginning of its body there, and it is
 *               answered there. As it is repeated by the data channel, nothing happens when it is late.
 *  CALL_END     corr = call. Not answered; ending what is gone is no error. Without FINISH before it the wills go to the
 *               call's stream, if it has one. By the control channel, with bytes key, of calls that began there.
 *  OPEN_STREAM  key (legacy) or empty; corr = call, or 0: then this begins a call, whose number is the seq of this
 *               message; u8 stream flags, u16 n, n * (bytes id, bytes will); n = 0 when corr is not 0
 *               -> ACK stream. Reserves a descriptor for 2 s.
 *  ATTACH       key; bytes principal, bytes last_event_id (empty: the session's own stream)
 *               -> ACK stream; u64 cursor. Reserves a descriptor for 2 s.
 *  APPEND       stream; count * bytes event (one JSON-RPC message each, no line break needed)
 *               -> ACK when LINK_WANT_ACK. This and FINISH may come by a CALLER too, with LINK_WANT_ACK, without
 *               credit, but with their place in the window of sequences.
 *  FINISH       corr = call, stream; count * bytes event. The call's last events; its will is void. Ends the stream
 *               unless it is the session's own. -> ACK when LINK_WANT_ACK
 *  CANCEL       key; bytes principal, bytes id -> ACK. Sends CANCELLED to the producer of that call, if there is one.
 *               A parked call has no producer: its stream ends without an answer.
 *  PARK         corr = call, stream = where its events go; u32 wait_ms, bytes too_late, bytes head, bytes tail, bytes blob,
 *               u16 n, n * (bytes ask_id, bytes event). Appends the events (our requests to the client) and takes the
 *               call from its producer: nobody runs it until all n answers are there. After wait_ms head + ask_id + tail
 *               for each that was not answered, then too_late, one event each, end it; its session's end and CANCEL end
 *               it too. blob is the worker's. ask_id is the JSON text of our request's id, new in its session.
 *               -> ACK when the events are committed; the call is gone for its producer
 *  ANSWER       key; bytes principal, bytes ask_id, bytes answer -> ACK stream; u8 answer state. With TAKEN the call
 *               is this producer's, its number the seq of this message, its wills as they were, and there follow
 *               u8 call flags, bytes blob, u16 n, n * (bytes ask_id, bytes answer), u16 m, m * (bytes id, bytes will).
 *               NACK TOO_BIG, and not kept: with it all that would not fit into one body.
 *  CLOSE_CONN   stream; bytes last. Writes last (an SSE text) and ends the connection that reads the stream, once it
 *               has all events; the stream, a legacy one, lives on, to be resumed. Nobody reads it: nothing happens; or BUSY
 *               while the ADOPT of one who attaches may be on its way. -> ACK
 *  SUBSCRIBE    stream (of subscriptions/listen), or key and bytes principal (a legacy session's own stream); body:
 *               bytes principal, u8 reset (1: forget the topics of before), bytes insert, u16 n, n * bytes topic
 *               -> ACK u64 topics now. NACK LIMIT past session_topics_max, with nothing done.
 *  UNSUBSCRIBE  the same less insert and reset: bytes principal, u16 n, n * bytes topic -> ACK. Unknown ones are no error.
 *  NOTIFY       key = empty, or the beginning of a session's id: only to that one (NACK NO_SESSION, or DUPLICATE_ID when
 *               several ids begin so); u8 flags, bytes topic, bytes legacy, bytes head, bytes tail [, bytes owner: only to
 *               what is his, as OPEN_STREAM and SESSION_PUT name him]. To each stream that subscribed to topic: a
 *               session's gets legacy, a listen stream head + its insert + tail; an empty one is not sent. With a
 *               LINK_LEVEL it is instead for each session that hears such lines and reads its own stream now. While the
 *               last one of the same topic waits undelivered at a stream, the new one replaces nothing and is left out
 *               (conflation), unless it is LINK_NOTIFY_EACH: topics say that something changed. -> ACK u64 streams
 *               reached
 *  TASK_NEW     key = task id; bytes principal, u64 ttl_ms, u8 task flags, bytes blob, bytes job. Keeps the task as
 *               WORKING, then gives job to a runner. -> ACK u64 version. NACK NO_RUNNER, LIMIT (task_max, or ttl_ms over
 *               task_ttl_max_ms), DUPLICATE_ID with nothing kept. ttl_ms is not 0.
 *  TASK_PUT     key; u8 task state, bytes blob, from the runner that has it -> ACK u64 version. NACK CLOSED: it ended (was
 *               cancelled, expired): stop.
 *  TASK_GET     key; bytes principal, u64 seen -> ACK u64 version, u8 task state, u64 created_ms, u64 updated_ms,
 *               u64 ttl_ms, bytes blob. Times are wall clock. With seen not 0 and equal to version this producer is told
 *               by TASK_CHANGED of the next change (or of its being forgotten), once. NACK NO_TASK.
 *  TASK_LIST    bytes principal, bytes after (task id; empty: from the first), u16 max -> ACK u16 n, n * (bytes id,
 *               u8 state, u64 created_ms, u64 updated_ms, u64 ttl_ms, bytes blob), u8 more (1: there are further ones).
 *               In the order of creation, as many as fit into one body, but one at least if there is one.
 *  TASK_SEND    key; bytes principal, u8 what, bytes body. CANCEL makes it CANCELLED at once (NACK CLOSED: it has ended)
 *               and tells its runner; ANSWERS only goes to the runner. A hidden task is forgotten by CANCEL, ended or not.
 *               -> ACK
 *  ONCE         key = any mark of 1 to LINK_KEY_MAX bytes; u32 keep_s -> ACK the first time; NACK DUPLICATE_ID as long as
 *               it is kept. LIMIT past once_max.
 *  STATS        u64 credit_waits, u16 n, n * (bytes name, u8 outcome, u64 sum_us, u8 k, k * (u8 bucket, u32 count)). What
 *               the producer did since its last STATS: how often it waited for credit; and of each name how often, with
 *               what outcome, how long in all, and in which buckets of histogram.h. Not answered.
 *  RETURN       u32 n, n * (u64 call, u64 stream), u32 m, m * bytes task id. The first message on each connection but the
 *               first: the calls that the producer still runs, with the stream that each of them has (0: none), and the
 *               tasks. Others of its calls end (as by CALL_END). CANCELLED comes for those that have a stream and are not
 *               known, or were cancelled meanwhile. Of its tasks those that it lacks are given to it (again) if their job is
 *               still there, or fail; those that are over are cancelled. Not answered.
 *  TASK_RUN     key = task id; bytes principal, u64 ttl_ms, bytes job
 *  TASK_INPUT   key = task id; u8 what, bytes body. Also sent, as CANCEL, when the task expires.
 *  TASK_CHANGED key = task id
 *  CANCELLED    corr = call; bytes id (empty: the whole call)
 *  NACK         u16 code, u32 retry_ms, bytes text (for the log)
 *  CREDIT       u64 bytes: event bytes that this producer may send in addition
 *  DRAIN        the broker is going: open no stream, expect the control connection's EOF
 *  HOLD         send nothing more on the data channel but HELD, once: all that was sent before, either way, has arrived
 *               then. The broker gives its place to another program, the control connection stays.
 *  HELD         not answered; no seq
 *  RELEASE      the end of HOLD
 *
 * A task that its runner leaves (EOF of the control socket, or no RETURN in time) becomes FAILED with an empty blob. A task is forgotten ttl_ms
 * after its creation; one that still runs is cancelled then.
 *
 * Credit: the bodies of APPEND and FINISH spend a producer's credit; the broker gives it back as it has logged them. */

/* Largest body, either way: of a request, a session's blob, or a task's blob and job. */
size_t link_body_max(const struct cfg *cfg);

void link_put_header(struct buf *out, const struct link_header *h);
/* ERR_LINK: shorter than a header, wrong magic, other version, unknown type. HELLO and NACK may have the version of
 * HELLO. */
int link_get_header(struct slice in, struct link_header *h, struct err *err);

void link_put_u8(struct buf *out, uint8_t n);
void link_put_u16(struct buf *out, uint16_t n);
void link_put_u32(struct buf *out, uint32_t n);
void link_put_u64(struct buf *out, uint64_t n);
void link_put_bytes(struct buf *out, struct slice s);

/* Each takes its value off the front of *in. Short input gives zero or empty and sets *bad, which callers ask once, at
 * the end: a reader needs no check per field. Bytes are lent out of in. */
uint8_t link_get_u8(struct slice *in, bool *bad);
uint16_t link_get_u16(struct slice *in, bool *bad);
uint32_t link_get_u32(struct slice *in, bool *bad);
uint64_t link_get_u64(struct slice *in, bool *bad);
struct slice link_get_bytes(struct slice *in, bool *bad);

/* Id of an event of a legacy stream; seq 0 is the place before the first one. */
#define LINK_EVENT_ID_SIZE 64
void link_event_id(uint64_t stream, uint64_t epoch, uint64_t seq, char out[LINK_EVENT_ID_SIZE]);

/* A ROUTER ignores a second peer of a routing id that it still knows, so each connection has its own. */
void link_routing_id(uint64_t producer, uint32_t connection, unsigned char out[LINK_ROUTING_LEN]);
const char *link_type_name(unsigned type);	/* "CALL_BEGIN"; "?" for an unknown one */
const char *link_nack_name(unsigned code);	/* "busy" */
const char *link_outcome_name(unsigned outcome);	/* "ok" */
enum err_code link_nack_err(unsigned code);	/* what a worker makes of it */

#endif
