/* fcgi/content.h - what tools, prompts and resources are made of, checked: whether an author's program wrote it or the
 * configuration has it, a client must get nothing that its schema refuses.
 *
 * where begins the words of a complaint: "content[2]". is_draft: strings may hold {placeholders} yet, so that only the
 * types of members are looked at. All return -1 with ERR_INVALID, and err says what is wrong. */
#ifndef MCP_FCGI_CONTENT_H
#define MCP_FCGI_CONTENT_H

#include <json-c/json.h>

#include "common/buf.h"

/* A block: text, image, audio, resource_link or resource. */
int content_check_block(json_object *block, const char *where, bool is_draft, struct err *err);
/* What is in a resource: uri, text or blob, perhaps mimeType. */
int content_check_resource(json_object *resource, const char *where, bool is_draft, struct err *err);
/* audience, priority, lastModified; NULL: none. */
int content_check_annotations(json_object *annotations, const char *where, struct err *err);
/* What a tool's annotations know: title, a string, and the hints, booleans. */
int content_check_hints(json_object *annotations, const char *where, struct err *err);
/* An array of icons (ME-03); NULL: none. */
int content_check_icons(json_object *icons, const char *where, struct err *err);

bool content_is_mime_type(struct slice text); /* "text/plain; charset=utf-8" */
bool content_is_json(struct slice mime_type);  /* application/json, or +json */

#endif
