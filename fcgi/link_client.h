/* fcgi/link_client.h - a worker process's end of the link to the broker (common/link.h, doc/link.md).
 *
 * One per process, used by all its threads. Nothing happens before the first need: then it connects (starting a broker
 * when there is none and broker_autostart allows it), shakes hands on the control socket, and starts the link thread,
 * which owns the DEALER, reads all that comes in, wakes who waits, repeats what was not acknowledged with the same
 * identity, and marks calls cancelled. After the broker's death every waiter gets ERR_BROKER, and the next need begins
 * anew, as another producer: calls and streams of before are gone. Made after fork; a child that inherits one in use
 * gets ERR_BROKER (pid is checked) and may only link_free() it.
 *
 * Each function waits at most link_timeout_ms, in which a busy broker is asked again. Errors: ERR_BROKER (not
 * reachable), ERR_EXPIRED, or what the NACK says: link_nack_err() (ERR_NO_SESSION, ERR_DUPLICATE, ERR_LIMIT, ERR_BUSY,
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

/* A call that the broker knows: begun by link_call_begin() or by link_open_stream() without one. Read-only for users.
 */
struct link_call {
	uint64_t producer, number; /* the broker's name for it; number is 0 when only the session was asked for */
	uint64_t session_version;
	uint64_t session_stream; /* handle of the session's own stream */
	struct buf blob;         /* of the session */
	int cancel_fd;           /* eventfd, readable once anything is cancelled; -1 without a number */
	atomic_bool cancelled;   /* the whole call: the client wants so, or its stream died with the broker. Set before cancel_fd
				  * is written */
};

struct link *link_new(const struct cfg *cfg); /* allocates only; cfg is borrowed; NULL: no memory */
/* Tells the broker nothing: EOF is the message. No other thread uses it any more, all calls are ended. */
void link_free(struct link **linkp);

/* Sessions. version_expected 0 creates. version may be NULL. */
int link_session_put(struct link *l, struct slice session, const char *principal, uint64_t version_expected,
    unsigned flags, struct slice blob, uint64_t *version, struct err *err);
int link_session_del(struct link *l, struct slice session, const char *principal, struct err *err);

/* Calls. wills_count 0: asks for the session only (blob, version, stream); *call must still be ended, which then costs
 * nothing. On failure *call is NULL. */
int link_call_begin(struct link *l, struct slice session, const char *principal, unsigned flags,
    const struct link_will *wills, size_t wills_count, struct link_call **call, struct err *err);
/* Ends and frees *callp. Unless link_finish() did it the wills answer, if the call has a stream. */
void link_call_end(struct link *l, struct link_call **callp);
int link_cancel(struct link *l, struct slice session, const char *principal, struct slice id, struct err *err);
bool link_call_id_cancelled(struct link *l, struct link_call *call, struct slice id); /* id, or the whole call */

/* Streams. link_open_stream: *callp NULL begins a (modern) call with wills, and sets it; else wills_count is 0. While
 * the broker drains, both of these are ERR_BUSY. */
int link_open_stream(struct link *l, struct slice session, unsigned flags, const struct link_will *wills,
    size_t wills_count, struct link_call **callp, uint64_t *stream, struct err *err);
int link_attach(struct link *l, struct slice session, const char *principal, struct slice last_event_id,
    uint64_t *stream, uint64_t *cursor, struct err *err);
/* Passes fd; the caller still closes its own copy. Never blocks: a full socket is ERR_BUSY. */
int link_adopt(struct link *l, int fd, enum link_kind kind, uint16_t request_id, uint64_t stream, uint64_t cursor,
    uint32_t heartbeat_ms, struct slice head, struct err *err);
/* durable: waits for the acknowledgement; otherwise returns when it is on its way. Waits for credit (ERR_BUSY when
 * none came). */
int link_append(struct link *l, uint64_t stream, struct slice event, bool durable, struct err *err);
/* The call's last events; waits for credit and the acknowledgement. events_count may be 0: ends without an answer. */
int link_finish(struct link *l, struct link_call *call, uint64_t stream, const struct slice *events,
    size_t events_count, struct err *err);

bool link_is_up(struct link *l); /* for /health's log only: connected now */

#endif
