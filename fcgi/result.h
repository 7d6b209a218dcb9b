/* fcgi/result.h - results of tools/call, prompts/get and resources/read: providers make them, clients get them as their
 * revision knows them. */
#ifndef MCP_FCGI_RESULT_H
#define MCP_FCGI_RESULT_H

#include <json-c/json.h>

#include "common/buf.h"
#include "fcgi/call.h"

#define RESULT_SERVER_INFO  "io.modelcontextprotocol/serverInfo"   /* in _meta: modern */
#define RESULT_RELATED_TASK "io.modelcontextprotocol/related-task" /* in _meta: 2025-11-25 */

/* {"content":[{"type":"text","text":text}]}, and "isError":true for a tool that failed. text is UTF-8. */
json_object *result_new_text(struct slice text, bool is_error, struct err *err);

/* The GetPromptResult of one message that the user says. */
json_object *result_new_prompt(struct slice text, struct err *err);

/* Checks that val, which a program wrote, has the shape of a CallToolResult: content is an array of blocks, each good
 * in itself (fcgi/content.h); isError is a boolean, _meta an object. ERR_INVALID: err says how not. */
int result_check_shape(json_object *val, struct err *err);
/* The same for a GetPromptResult, and for its messages alone. is_draft: as in fcgi/content.h. */
int result_check_prompt(json_object *val, struct err *err);
int result_check_messages(json_object *messages, bool is_draft, struct err *err);

/* Appends the members of a result that has at least one, as a client of this revision may get them, and what is added
 * for it: server_info in _meta (modern), and the task that it comes from, unless related_task is empty. */
void result_put_members(
    struct buf *out, json_object *result, enum revision revision, const char *server_info, struct slice related_task);

/* Says in the _meta of params, of a message, which task that is about (TK-11). */
int result_add_related(json_object *params, struct slice task, struct err *err);

#endif
