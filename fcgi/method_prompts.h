/* fcgi/method_prompts.h - prompts/list and prompts/get. */
#ifndef MCP_FCGI_METHOD_PROMPTS_H
#define MCP_FCGI_METHOD_PROMPTS_H

#include "fcgi/method.h"

int method_prompts_list(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);
int method_prompts_get(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);

#endif
