/* fcgi/call.h - one request of a client while a tool works on it: what both eras have in common.
 *
 * Handlers and providers are written once. They see the arguments, may tell the client something (call_notify) or ask
 * it (call_ask), wait only in call_poll, and stop when it says ERR_CANCELLED. Where the client is, and how it is
 * reached, is behind struct call_ops (call_priv.h): an HTTP exchange (call_http.c), or nobody who waits, when a task
 * runs in the runner.
 *
 * Asking is re-entrant: nobody waits for a person. A handler that needs input calls call_ask(), perhaps several times,
 * perhaps call_keep(), and returns 0 without a result. Once the client has answered, in whichever process that arrives,
 * the handler runs again from its beginning with the same arguments, and finds what was answered in call->answers and
 * what it kept in call->kept. It may then ask more. */
#ifndef MCP_FCGI_CALL_H
#define MCP_FCGI_CALL_H

#include <poll.h>

#include <json-c/json.h>

#include "common/cfg.h"

enum era { ERA_LEGACY, ERA_MODERN };

/* A revision by age, so that "revision >= REV_2025_06" reads well. */
enum revision { REV_2024_11, REV_2025_03, REV_2025_06, REV_2025_11, REV_2026_07, REV__COUNT };

/* RFC 5424 severities as MCP names them, least urgent first. */
enum mcp_level {
	MCP_LEVEL_DEBUG,
	MCP_LEVEL_INFO,
	MCP_LEVEL_NOTICE,
	MCP_LEVEL_WARNING,
	MCP_LEVEL_ERROR,
	MCP_LEVEL_CRITICAL,
	MCP_LEVEL_ALERT,
	MCP_LEVEL_EMERGENCY,
	MCP_LEVEL__COUNT
};

struct worker;

struct call {
	const struct worker *w; /* borrowed */
	const struct cfg *cfg;  /* borrowed; w's */
	enum era era;
	enum revision revision;
	const char *principal;       /* borrowed; "" when no key is asked for */
	struct slice owner;          /* borrowed; whose share of what is limited it uses; empty: nobody's */
	const char *session;         /* borrowed; id of the legacy session, "" in the modern era */
	json_object *capabilities;   /* borrowed; what the client can do; may be NULL */
	json_object *progress_token; /* borrowed; NULL: the client wants no progress */
	bool is_job;                 /* it is a task's, in the runner, beside those of others */
	int log_level;               /* enum mcp_level and above are sent; MCP_LEVEL__COUNT: none */
	json_object *answers;   /* borrowed; by key of call_ask(), the result objects that the client gave in all rounds
				 * so far; NULL in the first round */
	json_object *kept;      /* borrowed; what the round before gave to call_keep(); NULL without */
	struct call_priv *priv; /* call.c's */
};

/* What a handler says without an answer. params is taken, and may be NULL where nothing is needed in it. ERR_PARAMS:
 * another method, or params of the wrong shape (err says how). ERR_CANCELLED, ERR_BROKER. The methods:
 *   - notifications/progress, to the client of this call; progressToken is filled in. Dropped without a word: progress
 *     without a token, or that does not grow.
 *   - notifications/message, to the client of this call; dropped without a word below its level.
 *   - notifications/tools/list_changed, and the same of prompts and resources, and notifications/resources/updated: to
 *     everybody who subscribed.
 *   - connection/close: call_close_connection(). */
int call_notify(struct call *call, const char *method, json_object *params, struct err *err);

/* Lets go of the client's connection while the call goes on: a client of 2025-11-25 comes back for its answer, after
 * stream_retry_ms. Others, and those that can be sent no stream, keep theirs: 0. */
int call_close_connection(struct call *call, struct err *err);

/* Asks the client: method is elicitation/create, sampling/createMessage or roots/list; key names the question among
 * those of this request (1 to 64 characters A-Za-z0-9_.-). params is taken. What was asked and answered before is not
 * asked again: 1 says that call->answers has key. 0: the question goes out when the handler returns. -1: ERR_CAPABILITY
 * (the client did not declare that it can; or it can't be asked at all), ERR_PARAMS (malformed). */
int call_ask(struct call *call, const char *key, const char *method, json_object *params, struct err *err);
/* As call_ask(), for a question that comes before the handler runs: an answer that the client sent unasked will do. */
int call_ask_early(struct call *call, const char *key, const char *method, json_object *params, struct err *err);
/* What the next round finds in call->kept: any JSON value, which is taken. The client carries it, sealed. */
int call_keep(struct call *call, json_object *val, struct err *err);
bool call_is_asking(const struct call *call); /* a question is to go out: the handler's result does not count */
void call_drop_asks(struct call *call);       /* the handler's result counts after all */

/* Where a tool may wait alive for a person (the runner): sends what was asked at once. The answers come into
 * call->answers while the handler waits in call_poll(), which then returns, as at its timeout. */
bool call_can_wait(const struct call *call);
int call_publish(struct call *call, struct err *err); /* only if it can wait */

/* What the error that this request ends with has as its data, if it ends with one. data is taken; NULL: none. */
void call_set_error_data(struct call *call, json_object *data);

#define CALL_POLL_MAX 13 /* descriptors of a provider */

/* poll() for providers: waits for fds at most timeout_ms (-1: no limit) while it also watches for cancellation, for a
 * client that left (modern), and for stream_after_ms. Returns as poll() does; -1 means *err: ERR_CANCELLED or ERR_SYS.
 * At most CALL_POLL_MAX fds. */
int call_poll(struct call *call, struct pollfd *fds, nfds_t count, int timeout_ms, struct err *err);

bool call_is_cancelled(struct call *call);

#endif
