/* fcgi/method_tools.h - tools/list and tools/call. */
#ifndef MCP_FCGI_METHOD_TOOLS_H
#define MCP_FCGI_METHOD_TOOLS_H

#include "fcgi/method.h"

int method_tools_list(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);
int method_tools_call(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);

#endif
