/* common/jx.h - json-c, with the checks that STYLE 2.7 asks for. Not used by the broker's message paths.
 *
 * json-c's reference counts are not atomic, and writing an object as text changes it: an object that several threads
 * see is only ever read by type, _get_ex, iteration, scalar getters and jx_write() (never json_object_get, _put or
 * _to_json_string; never _get_string of what is no string). */
#ifndef MCP_COMMON_JX_H
#define MCP_COMMON_JX_H

#include <json-c/json.h>

#include "common/buf.h"

/* Parses one JSON text of any type, UTF-8, at most depth_max levels. Refused with ERR_PARSE: what is not strictly JSON
 * (single quotes, comments, NaN, Infinity, raw control characters in strings, bytes after the text, a NUL), too deep, half
 * a surrogate pair, \u0000 in a name, a number beyond a double's range. Refused with ERR_INVALID: a member name twice in
 * one object. Integers beyond 64 bits become doubles that keep their digits. NULL means *err is set (JSON null at the top is
 * ERR_INVALID). The caller owns the result. In jx_read.c, which says why not json-c's parser. */
json_object *jx_parse(struct slice text, int depth_max, struct err *err);

/* Moves val into obj; takes val even on failure. A NULL val or obj (a failed constructor) is ERR_NOMEM. */
int jx_add(json_object *obj, const char *key, json_object *val, struct err *err);
int jx_add_str(json_object *obj, const char *key, const char *val, struct err *err);
int jx_append(json_object *array, json_object *val, struct err *err); /* takes val too */
json_object *jx_new_str(struct slice s);			       /* NULL: no memory, as json_object_new_string() */

/* Lend a member of that type, or NULL if it is missing or of another type. obj may be NULL. */
json_object *jx_get(json_object *obj, const char *key); /* any type; a JSON null is NULL too: use jx_has */
json_object *jx_get_object(json_object *obj, const char *key);
json_object *jx_get_array(json_object *obj, const char *key);
struct slice jx_get_str(json_object *obj, const char *key); /* p is NULL if it is not a string */
bool jx_has(json_object *obj, const char *key);		    /* also with the value null */
struct slice jx_str(json_object *str);			    /* the bytes of a string value; p NULL otherwise */

/* The members of these names, in one pass over obj, which may be anything: cheaper than to look for each. */
struct jx_member {
	bool is_there;	  /* also with the value null */
	json_object *val; /* lent; NULL for a null */
};
void jx_find_members(json_object *obj, const char *const *names, size_t count, struct jx_member *members);

/* Appends the JSON text of val, compact, '/' not escaped, numbers as they were read. NULL is "null".
 * One writer for all our output; unlike json-c's it only reads val. */
void jx_write(struct buf *out, json_object *val);
/* Appends s as a JSON string with its quotes. A byte that is not UTF-8 (of a text that was cut, or of a program's) becomes U+FFFD. */
void jx_write_str(struct buf *out, struct slice s);

/* What a JSON pointer (RFC 6901; "" is all of it) means in root. False: nothing is there. *val is lent, NULL for a null. */
bool jx_find(json_object *root, struct slice pointer, json_object **val);
/* Whether text is a pointer at all: empty, or steps that begin with '/'; ~ only as ~0 and ~1. */
bool jx_is_pointer(struct slice text);

/* Appends a step of a JSON pointer: '/' and the key, escaped. */
void jx_add_pointer(struct buf *out, struct slice key);

/* Whether it is a number without a fraction, as JSON Schema means "integer": 1, 1.0 and 1e3 are. */
bool jx_is_integer(json_object *val);
bool jx_is_number(json_object *val); /* with a fraction or without */

#endif
