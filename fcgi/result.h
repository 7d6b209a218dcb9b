/* fcgi/result.h - CallToolResult objects: providers make them, clients get them. */
#ifndef MCP_FCGI_RESULT_H
#define MCP_FCGI_RESULT_H

#include <json-c/json.h>

#include "common/buf.h"
#include "fcgi/call.h"

#define RESULT_SERVER_INFO  "io.modelcontextprotocol/serverInfo"   /* in _meta: modern */
#define RESULT_RELATED_TASK "io.modelcontextprotocol/related-task" /* in _meta: 2025-11-25 */

/* {"content":[{"type":"text","text":text}]}, and "isError":true for a tool that failed. text is UTF-8. */
json_object *result_new_text(struct slice text, bool is_error, struct err *err);

/* Checks that val, which a tool wrote, has the shape of a CallToolResult: content is an array of blocks, each of a
 * known type with the members that this type needs; isError is a boolean, _meta an object. ERR_INVALID: err says how
 * not. */
int result_check_shape(json_object *val, struct err *err);

/* Appends the members of a CallToolResult with what is added for a client: server_info in _meta (modern), and the task
 * that it comes from, unless related_task is empty. */
void result_put_members(
    struct buf *out, json_object *result, enum era era, const char *server_info, struct slice related_task);

#endif
