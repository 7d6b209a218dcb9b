/* fcgi/result.h - the CallToolResult objects that providers make. */
#ifndef MCP_FCGI_RESULT_H
#define MCP_FCGI_RESULT_H

#include <json-c/json.h>

#include "common/buf.h"

/* {"content":[{"type":"text","text":text}]}, and "isError":true for a tool that failed. text is UTF-8. */
json_object *result_new_text(struct slice text, bool is_error, struct err *err);

/* Checks that val, which a tool wrote, has the shape of a CallToolResult: content is an array of blocks, each of a
 * known type with the members that this type needs; isError is a boolean, _meta an object. ERR_INVALID: err says how
 * not. */
int result_check_shape(json_object *val, struct err *err);

#endif
