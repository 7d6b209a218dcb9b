/* fcgi/call_priv.h - what stands behind a handler's call. For those who make calls: call_http.c, and the runner. */
#ifndef MCP_FCGI_CALL_PRIV_H
#define MCP_FCGI_CALL_PRIV_H

#include "fcgi/call.h"
#include "fcgi/report.h"
#include "fcgi/rpc.h"

/* How a client is reached. */
struct call_ops {
	bool (*is_cancelled)(struct call *call);
	/* One notification, as JSON text, on the stream of the call. 1: nobody could read it. */
	int (*send)(struct call *call, struct slice event, struct err *err);
	/* As call_close_connection(). NULL: no connection waits. */
	int (*close)(struct call *call, struct err *err);
	/* As call_poll(), for at most CALL_OPS_POLL_MAX fds. */
	int (*poll)(struct call *call, struct pollfd *fds, nfds_t count, int timeout_ms, struct err *err);
	/* As call_publish(). NULL: nobody can wait here. */
	int (*publish)(struct call *call, struct err *err);
};

#define CALL_OPS_POLL_MAX (CALL_POLL_MAX + 1)

struct call_priv {
	const struct call_ops *ops;
	const char *id;       /* JSON text of the request's id; borrowed */
	double progress_last; /* the last one sent; progress has to grow */
	bool progress_started;
	json_object *offered;    /* borrowed; answers that came unasked; NULL: none */
	json_object *taken;      /* owned; those of them that were taken: call->answers; NULL: none */
	bool may_ask;            /* the client can be reached with a question; for who makes the call to say */
	int round;               /* runs of the handler that asked before this one */
	bool is_task;            /* the result is a task, not yet what was asked for */
	json_object *asks;       /* owned; key -> {"method": ..., "params": ...} of this round; NULL: none */
	json_object *keep;       /* owned; for the next round; NULL: nothing */
	json_object *error_data; /* owned; NULL: none */
	struct report *report;   /* owned; NULL: others can't report on it */
};

/* Fills call and priv for the request rpc. The caller sets era, revision, principal, session, capabilities, log level,
 * answers and kept. */
void call_init(struct call *call, struct call_priv *priv, const struct call_ops *ops, const struct worker *w,
    const struct rpc *rpc);
void call_release(struct call *call);

/* As call_notify() of notifications/progress, but params, any JSON, are borrowed. What is dropped is 0 too; *fate
 * tells. */
int call_say_progress(struct call *call, json_object *params, enum report_fate *fate, struct err *err);

#endif
