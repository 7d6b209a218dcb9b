/* fcgi/method_completion.h - completion/complete: what an argument of a prompt, or a variable of a template, could be.
 */
#ifndef MCP_FCGI_METHOD_COMPLETION_H
#define MCP_FCGI_METHOD_COMPLETION_H

#include "fcgi/method.h"

int method_complete(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);

#endif
