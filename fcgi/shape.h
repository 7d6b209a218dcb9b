/* fcgi/shape.h - what a revision knows. Members and kinds of content that came later never reach a client of an older
 * one: one table for definitions, results and their contents. */
#ifndef MCP_FCGI_SHAPE_H
#define MCP_FCGI_SHAPE_H

#include "fcgi/call.h"

/* What an object is. */
enum shape {
	SHAPE_TOOL,
	SHAPE_RESOURCE, /* also a template, and a link to a resource */
	SHAPE_PROMPT,
	SHAPE_ARGUMENT, /* of a prompt */
	SHAPE_SERVER,   /* who we are: an Implementation */
	SHAPE_RESULT,   /* of tools/call, prompts/get, resources/read; without its _meta and resultType */
	SHAPE_MESSAGE,
	SHAPE_CONTENT,  /* a block: one that the revision doesn't know becomes a text that says what is missing */
	SHAPE_CONTENTS, /* of a resource */
	SHAPE_ANNOTATIONS,
};

/* Appends val, an object of this kind or an array of such, as JSON text. Members that no row names pass. */
void shape_put(struct buf *out, enum shape kind, json_object *val, enum revision revision);
/* The same without braces: the members of an object alone. */
void shape_put_members(struct buf *out, enum shape kind, json_object *val, enum revision revision);

#endif
