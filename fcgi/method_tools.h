/* fcgi/method_tools.h - tools/list and tools/call. */
#ifndef MCP_FCGI_METHOD_TOOLS_H
#define MCP_FCGI_METHOD_TOOLS_H

#include "fcgi/method.h"
#include "fcgi/provider.h"

int method_tools_list(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);
int method_tools_call(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);

/* Everything before a tool runs, or becomes a task: checks args against its schema, asks what its definition asks
 * first. 0: it may run. 1: not (now): *result, owned by the caller, says why, or is NULL when the call is asking. -1:
 * as below. */
int method_tools_prepare(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err);
/* Prepares and runs a tool, for a request or for a task. args is an object. 0: *result is
 * a CallToolResult, owned by the caller, or NULL when the call is asking. -1: the JSON-RPC error to answer with, or
 * ERR_CANCELLED. */
int method_tools_run(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err);

#endif
