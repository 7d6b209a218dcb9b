/* fcgi/method_tasks.h - what clients ask about tasks: those of 2025-11-25, and the extension of 2026-07-28. */
#ifndef MCP_FCGI_METHOD_TASKS_H
#define MCP_FCGI_METHOD_TASKS_H

#include "fcgi/method.h"

int method_tasks_get(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);
int method_tasks_cancel(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);
/* 2025-11-25 */
int method_tasks_result(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);
int method_tasks_list(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);
/* 2026-07-28 */
int method_tasks_update(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);

#endif
