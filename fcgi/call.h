/* fcgi/call.h - one request of a client while a tool works on it: what both eras have in common.
 *
 * Handlers and providers are written once. They see the arguments, may tell the client something (call_notify), wait
 * only in call_poll, and stop when it says ERR_CANCELLED. Whether the answer becomes one JSON object or an event
 * stream, and where that stream lives, is decided in call.c: the first notification, or stream_after_ms of silence,
 * hands the connection to the broker (lazy streaming). */
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

struct call {
	const struct cfg *cfg; /* borrowed */
	enum era era;
	enum revision revision;
	const char *principal;       /* borrowed; "" when no key is asked for */
	json_object *capabilities;   /* borrowed; what the client can do; may be NULL */
	json_object *progress_token; /* borrowed; NULL: the client wants no progress */
	int log_level;               /* enum mcp_level and above are sent; MCP_LEVEL__COUNT: none */
	struct call_priv *priv;      /* call.c's */
};

/* Sends notifications/progress or notifications/message to the client of this call. params is taken. Fills
 * progressToken in. Silently drops (returns 0) progress without a token, progress that does not grow, logs below the
 * level. ERR_PARAMS: another method, or params of the wrong shape (err says how). ERR_CANCELLED, ERR_BROKER. */
int call_notify(struct call *call, const char *method, json_object *params, struct err *err);

/* poll() for providers: waits for fds at most timeout_ms (-1: no limit) while it also watches for cancellation, for a
 * client that left (modern), and for stream_after_ms. Returns as poll() does; -1 means *err: ERR_CANCELLED or ERR_SYS.
 * count_max of fds is 13. */
int call_poll(struct call *call, struct pollfd *fds, nfds_t count, int timeout_ms, struct err *err);

bool call_is_cancelled(struct call *call);

#endif
