/* fcgi/cursor.h - where a page of a list ended (PG-01 .. PG-05). Stateless: any worker takes any worker's.
 *
 * A cursor is DIGEST.INDEX, or DIGEST.INDEX.AFTER with AFTER in base64url. DIGEST is that of the list as configured, so
 * that a cursor of another configuration is refused, not skewed. It names nothing that its client could not list, so
 * forging one gains nothing, and it isn't sealed. */
#ifndef MCP_FCGI_CURSOR_H
#define MCP_FCGI_CURSOR_H

#include "fcgi/call.h"

struct cursor {
	size_t index;     /* of the entry that comes next */
	struct buf after; /* the last item of a part of the list that is not known beforehand; empty without */
};

/* Reads params.cursor of a list of count entries; without it the beginning. ERR_PARAMS. c is to be released in any
 * case. */
int cursor_read(struct cursor *c, json_object *params, const char *digest, size_t count, struct err *err);
void cursor_release(struct cursor *c);

/* Appends ,"nextCursor":"..." */
void cursor_put(struct buf *out, const char *digest, size_t index, struct slice after);

/* A list whose entries are known. */
struct cursor_list {
	const char *name; /* "tools" */
	const char *digest;
	size_t count;
	const char *(*entry)(const void *set, size_t i, enum revision revision); /* its JSON text */
	const void *set;
};

/* Appends "NAME":[...], and nextCursor unless these were the last: the page that params ask for. ERR_PARAMS. */
int cursor_put_page(
    const struct cursor_list *list, const struct call *call, json_object *params, struct buf *out, struct err *err);

#endif
