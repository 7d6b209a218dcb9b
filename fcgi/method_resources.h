/* fcgi/method_resources.h - resources/list, resources/templates/list, resources/read, and for sessions
 * resources/subscribe and resources/unsubscribe. */
#ifndef MCP_FCGI_METHOD_RESOURCES_H
#define MCP_FCGI_METHOD_RESOURCES_H

#include "fcgi/method.h"

int method_resources_list(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);
int method_resources_templates(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);
int method_resources_read(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);
int method_resources_subscribe(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);
int method_resources_unsubscribe(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);

#endif
