/* fcgi/link_client.h - a worker process's end of the link to the broker (common/link.h, doc/link.md).
 *
 * One per process, used by all its threads. Nothing happens before the first need: then a link thread starts, which
 * connects (starting a broker when there is none and broker_autostart allows it), shakes hands on the control socket,
 * owns the DEALER, reads all that comes in, wakes who waits, repeats what was not acknowledged with the same identity,
 * and marks calls cancelled. After the broker's death it looks for the next one as long as there are calls or waiters:
 * what had no answer is said again there, calls and streams that can go on do so (doc/link.md), the others are cancelled.
 * Made after fork; a child that inherits one in use gets ERR_BROKER (pid is checked) and may only link_free() it.
 *
 * Each function waits at most link_timeout_ms, in which a busy broker is asked again; what goes on with something that the
 * broker has acknowledged (an event, an end, a task's state) link_return_ms longer, for the next broker. Errors: ERR_BROKER
 * (not reachable), ERR_EXPIRED, or what the NACK says: link_nack_err() (ERR_NO_SESSION, ERR_DUPLICATE, ERR_LIMIT, ERR_BUSY,
 * ERR_GAP, ERR_DELIVERED, ERR_GONE ...). */
#ifndef MCP_FCGI_LINK_CLIENT_H
#define MCP_FCGI_LINK_CLIENT_H

#include <stdatomic.h>

#include "common/cfg.h"
#include "common/link.h"

struct link; /* opaque */

/* What one client request leaves with the broker. */
struct link_will {
	struct slice id;    /* JSON text of the request's id */
	struct slice event; /* JSON-RPC error that answers it if this worker dies */
};

/* A call that the broker knows: begun by link_call_begin(), by link_open_stream() without one, or taken over by
 * link_answer(). Read-only for users. */
struct link_call {
	uint64_t number;           /* the broker's name for it; 0 when only the session was asked for */
	uint64_t epoch;            /* of the broker's run: part of its event ids */
	uint64_t session_version;
	uint64_t session_stream; /* handle of the session's own stream */
	struct buf blob;         /* of the session */
	int cancel_fd;           /* eventfd, readable once anything is cancelled; -1 without a number */
	atomic_bool cancelled;   /* the whole call: the client wants so, or its stream is gone. Set before
				  * cancel_fd is written */
};

struct link *link_new(const struct cfg *cfg); /* allocates only; cfg is borrowed; NULL: no memory */
/* Tells the broker nothing: EOF is the message. No other thread uses it any more, all calls are ended. */
void link_free(struct link **linkp);

/* Sessions. version_expected 0 creates, in the share of owner: whom the broker shall not let take everything (a
 * principal, an address; empty: nobody). version may be NULL. */
int link_session_put(struct link *l, struct slice session, const char *principal, struct slice owner,
    uint64_t version_expected, unsigned flags, struct slice blob, uint64_t *version, struct err *err);
int link_session_del(struct link *l, struct slice session, const char *principal, struct err *err);

/* Calls. wills_count 0: asks for the session only (blob, version, stream); *call must still be ended, which then costs
 * nothing. On failure *call is NULL. */
int link_call_begin(struct link *l, struct slice session, const char *principal, unsigned flags,
    const struct link_will *wills, size_t wills_count, struct link_call **call, struct err *err);
/* Ends and frees *callp. Unless link_finish() did it the wills answer, if the call has a stream. */
void link_call_end(struct link *l, struct link_call **callp);
int link_cancel(struct link *l, struct slice session, const char *principal, struct slice id, struct err *err);
bool link_call_id_cancelled(struct link *l, struct link_call *call, struct slice id); /* id, or the whole call */

/* Streams. link_open_stream: *callp NULL begins a (modern) call with wills, and sets it; else wills_count is 0. With
 * LINK_STREAM_MODERN there is no session, but an owner. While the broker drains, both of these are ERR_BUSY. */
int link_open_stream(struct link *l, struct slice session_or_owner, unsigned flags, const struct link_will *wills,
    size_t wills_count, struct link_call **callp, uint64_t *stream, struct err *err);
int link_attach(struct link *l, struct slice session, const char *principal, struct slice last_event_id,
    uint64_t *stream, uint64_t *cursor, struct err *err);
/* Passes fd; the caller still closes its own copy. Never blocks: a full socket is ERR_BUSY. */
int link_adopt(struct link *l, int fd, enum link_kind kind, uint16_t request_id, uint64_t stream, uint64_t cursor,
    uint32_t heartbeat_ms, uint32_t retry_ms, struct slice head, struct err *err);
/* durable: waits for the acknowledgement; otherwise returns when it is on its way. Waits for credit (ERR_BUSY when
 * none came). */
int link_append(struct link *l, uint64_t stream, struct slice event, bool durable, struct err *err);
/* The call's last events; waits for credit and the acknowledgement. events_count may be 0: ends without an answer. */
int link_finish(struct link *l, struct link_call *call, uint64_t stream, const struct slice *events,
    size_t events_count, struct err *err);

/* Asking a legacy client. link_park: our requests go out on stream, and the call waits in the broker without anybody
 * who runs it; on success *callp is freed and NULL. After wait_ms late is what the client gets. */
struct link_late {
	struct slice event;      /* answers the client's request, at last */
	struct slice head, tail; /* of an event that withdraws a request of ours; its id stands between */
};
struct link_ask {
	struct slice id;   /* JSON text of our request's id, new in its session */
	struct slice text; /* link_park: the request as an event; in a struct link_taken: what was answered */
};
int link_park(struct link *l, struct link_call **callp, uint64_t stream, uint32_t wait_ms, const struct link_late *late,
    struct slice blob, const struct link_ask *asks, size_t asks_count, struct err *err);

/* What an answer led to. With LINK_ANSWER_TAKEN the parked call goes on here; else nothing but state is set. */
struct link_taken {
	enum link_answer_state state;
	struct link_call *call; /* owned; NULL unless taken; has no session blob of its own */
	uint64_t stream;        /* where its events go */
	unsigned call_flags;    /* enum link_call_flag */
	struct buf bytes;       /* what the slices below point into */
	struct slice blob;
	struct link_ask *answers; /* owned; as link_park() had them */
	size_t answers_count;
	struct link_will *wills; /* owned; those of link_call_begin() */
	size_t wills_count;
};
int link_answer(struct link *l, struct slice session, const char *principal, struct slice ask_id, struct slice answer,
    struct link_taken *taken, struct err *err);
void link_taken_release(struct link *l, struct link_taken *taken); /* ends the call, if it is still there */

/* Writes last to the connection that reads stream and ends it; the stream lives on. */
int link_close_conn(struct link *l, uint64_t stream, struct slice last, struct err *err);

/* Subscriptions of a listen stream (session empty), or of a session (stream 0). reset: the topics of before are
 * forgotten. ERR_LIMIT past session_topics_max. */
int link_subscribe(struct link *l, uint64_t stream, struct slice session, const char *principal, bool reset,
    struct slice insert, const struct slice *topics, size_t topics_count, struct err *err);
int link_unsubscribe(struct link *l, struct slice session, const char *principal, const struct slice *topics,
    size_t topics_count, struct err *err);
/* Tells everybody who subscribed to topic, or with LINK_LEVEL() each session that hears such lines. reached may be NULL.
 * ERR_NO_SESSION, ERR_DUPLICATE: no session's id begins so, or several do. */
struct link_news {
	unsigned flags; /* enum link_notify_flag, or LINK_LEVEL() */
	struct slice topic;
	struct slice legacy;     /* what sessions read; empty: they are told nothing */
	struct slice head, tail; /* what listen streams read, their insert between them; an empty head: nothing */
	struct slice session;    /* only to the one whose id begins so; empty: to any */
	struct slice owner;      /* only to what is his; empty: anybody's */
};
int link_notify(struct link *l, const struct link_news *news, uint64_t *reached, struct err *err);

/* Marks a name as used for keep_s: what may be done once. ERR_DUPLICATE: it was marked before. */
int link_once(struct link *l, struct slice mark, uint32_t keep_s, struct err *err);

/* Tasks. link_task_new starts a runner when there is none and runner_autostart allows it; ERR_RUNNER: there is none.
 * ERR_NO_TASK: unknown, expired or another principal's. */
struct link_task {
	char id[LINK_KEY_MAX + 1];
	uint64_t version;
	enum link_task_state state;
	uint64_t created_ms, updated_ms; /* wall clock */
	uint64_t ttl_ms;
	struct buf blob;
};
int link_task_new(struct link *l, struct slice id, const char *principal, struct slice owner, uint64_t ttl_ms,
    unsigned flags, struct slice blob, struct slice job, struct err *err);
/* changed_fd: an eventfd that is written once the task is another than version seen, or the link is lost; -1: none. */
int link_task_get(struct link *l, struct slice id, const char *principal, uint64_t seen, int changed_fd,
    struct link_task *task, struct err *err);
void link_task_unwatch(struct link *l, struct slice id, int changed_fd); /* before changed_fd is closed */
void link_task_release(struct link_task *task);
/* In the order of creation, behind after. tasks: to be freed by the caller, with link_task_release() for each. more:
 * there are others after them, even with fewer than max, when the next one would make the answer too large.
 * ERR_NO_TASK: after is none. */
int link_task_list(struct link *l, const char *principal, struct slice after, size_t max, struct link_task **tasks,
    size_t *count, bool *more, struct err *err);
int link_task_send(struct link *l, struct slice id, const char *principal, enum link_task_what what, struct slice body,
    struct err *err);

/* The runner's side. The functions are called in the link thread and must not wait; what they are given is lent. */
struct link_runner {
	void (*run)(void *arg, struct slice id, struct slice principal, uint64_t ttl_ms, struct slice job);
	void (*input)(void *arg, struct slice id, enum link_task_what what, struct slice body);
	/* The connection is lost; the tasks are not: they are given back when there is another one. link_join() in another
	 * thread waits for it. */
	void (*lost)(void *arg);
	/* Appends u32 count, count * bytes id: the tasks that it works on. */
	void (*list)(void *arg, struct buf *out);
	void *arg;
};
/* Connects as a runner, which takes tasks from then on. The first that is asked of l; runner is borrowed. */
int link_join(struct link *l, const struct link_runner *runner, struct err *err);
int link_task_put(struct link *l, struct slice id, enum link_task_state state, struct slice blob, struct err *err);
/* For what a runner does without being asked (it watches files): sees to it that there is one. The broker is not asked:
 * this starts the program, whose lock lets it find out that another one runs; once in ten seconds per process. Does
 * nothing without runner_autostart, or where link_join() was asked. ERR_RUNNER: it could not be started, or there is no
 * broker that it could join. */
int link_runner_ensure(struct link *l, struct err *err);

/* Counts something that was done, for STATS: a method, or LINK_STATS_JOB. name is a literal. Never waits, and never
 * says anything to the broker by itself. */
void link_count(struct link *l, const char *name, enum link_outcome outcome, uint64_t us);

bool link_is_up(struct link *l); /* connected now */

/* Waits, link_timeout_ms at most, for a broker that can be asked: one that is about to restart, or is away for the moment
 * its restart takes. begins: for something new, which a broker that goes down does not begin. Calls aside(arg) once before
 * it waits. ERR_BROKER, ERR_BUSY: it did not come, or half of worker_calls_max threads wait for it already, so that others
 * are served. */
int link_await(struct link *l, bool begins, void (*aside)(void *arg), void *arg, struct err *err);

/* Whether this process could do now what needs a broker, as far as it knows. 0: nothing has needed one yet, or it is there
 * and answers. ERR_BROKER: it can't be reached, which was tried just now, with a start if that is allowed, or nobody would
 * ever try again where a load balancer believes us. ERR_BUSY: it has left a question without an answer, or said to the end
 * that it is busy (LINK_STUCK_MS ago at most). */
#define LINK_STUCK_MS 10000
int link_check(struct link *l, struct err *err);

#endif
