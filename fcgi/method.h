/* fcgi/method.h - the methods a client may call, each written once for both eras.
 *
 * A handler appends the members of its result to out, as JSON text without braces; method_run puts what the era asks
 * for (resultType, _meta, ttlMs, cacheScope) before them. Rows: method.c. */
#ifndef MCP_FCGI_METHOD_H
#define MCP_FCGI_METHOD_H

#include "fcgi/call_priv.h"
#include "fcgi/session.h"

#define METHOD_ANSWER_MAX ((size_t)512 << 20) /* bytes of an answer; providers have tighter limits of their own */

struct method;

/* NULL: no method of this name in this era, or of something that this site doesn't offer. */
const struct method *method_find(const struct worker *w, enum era era, struct slice name);

/* For handlers: what params of tools/call and prompts/get say. *name is borrowed; *args is an object, the caller's,
 * empty when there are none. ERR_PARAMS, ERR_NOMEM. */
int method_read_call(const struct rpc *rpc, struct slice *name, json_object **args, struct err *err);

/* For a handler whose hints are its own: appends "ttlMs":...,"cacheScope":..., */
void method_put_cache_hints(struct buf *out, const struct call *call, int64_t ttl_ms);

/* Whether its handler may ask the client (MR-01). */
bool method_may_ask(const struct method *m);

/* Runs it: out gets the whole JSON-RPC answer, result or error, for the request rpc. session is the legacy session,
 * NULL in the modern era. 1: the handler asks the client first (call_is_asking()), out got nothing: the era sends the
 * questions. -1 with ERR_CANCELLED: nothing is to be answered. Any other outcome is an answer (0), and when that is an
 * error *err holds it. */
int method_run(const struct method *m, struct call *call, const struct rpc *rpc, struct session *session,
    struct buf *out, struct err *err);

/* Appends the error that answers rpc, with the data that the call was given for it. */
void method_put_error(const struct call *call, const struct rpc *rpc, const struct err *err, struct buf *out);

#endif
