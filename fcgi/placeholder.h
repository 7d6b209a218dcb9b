/* fcgi/placeholder.h - texts of a configuration with {placeholders}: the words of a command, templates. "{{" is a plain
 * "{"; a "}" needs no care. */
#ifndef MCP_FCGI_PLACEHOLDER_H
#define MCP_FCGI_PLACEHOLDER_H

#include <json-c/json.h>

#include "common/buf.h"

#define PLACEHOLDER_SYNTAX "a { begins a placeholder, as in {path}; a plain { is written {{"

/* What stands at text[*at], which is not its end: a placeholder (1, *part is its name), or plain text of at least one
 * byte (0, *part is that). -1: a { that is neither. Moves *at past it. */
int placeholder_next(const char *text, size_t *at, struct slice *part);

/* Appends text, which placeholder_next() found good, with the members of values, an object, in place: strings as they
 * are, others as JSON; one that is missing is empty. in_json: they, all strings, stand inside the strings of a JSON
 * text, and are escaped for it. */
void placeholder_expand(struct buf *out, const char *text, json_object *values, bool in_json);

#endif
