/* fcgi/method_tools.h - tools/list and tools/call. */
#ifndef MCP_FCGI_METHOD_TOOLS_H
#define MCP_FCGI_METHOD_TOOLS_H

#include "fcgi/method.h"
#include "fcgi/provider.h"

int method_tools_list(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);
int method_tools_call(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);

/* Runs a tool, for a request or for a task: checks args (an object; NULL: none) against its schema first. 0: *result is
 * a CallToolResult, owned by the caller, or NULL when the call is asking. -1: the JSON-RPC error to answer with, or
 * ERR_CANCELLED. */
int method_tools_run(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err);

#endif
