/* fcgi/openapi.h - an OpenAPI description (3.0 or 3.1) becomes http tools (fcgi/http_api.h), one for each operation.
 *
 * The definition that says how is an object:
 *   "file"        the description, JSON or YAML
 *   "server"      its URL, instead of the first one of "servers"; with it those of paths and operations don't count
 *   "variables"   values for the variables of such a server: name -> text
 *   "prefix"      what the names of all its tools begin with
 *   "tags", "paths", "methods", "operations"   which operations: texts with * and ?, one or an array; "!..." is one
 * that is not meant. An operation has to fit all of the four that are there "secrets"     security scheme -> file with
 * its secret ("user:password" for basic), relative to the configuration; null: requests go without it "timeout_s",
 * "retries", "cache", "output_max_bytes"   as in the definition of a tool, for each; cache for GET alone
 *
 * A tool is named as its operationId, or by method and path: at most 64 of A-Z a-z 0-9 _ -, the same whatever else is
 * in the file or chosen, but when two would have one name; then both end with a hash of method and path. Arguments are
 * the parameters, "body" for a JSON body, and the fields of a form. $refs in schemas become $defs, so that circles stay
 * circles. What can't be sent as the description wants it is left out, and said; nothing of a description is ever
 * taken for a placeholder, a secret or a variable of the environment. */
#ifndef MCP_FCGI_OPENAPI_H
#define MCP_FCGI_OPENAPI_H

#include "common/cfg.h"

/* Where words about it go. The first two stop all. */
struct openapi_listener {
	void (*wrong_member)(void *arg, const char *member, const char *text); /* of the definition */
	void (*wrong_file)(void *arg, const char *pointer, const char *text);  /* pointer into the description */
	void (*left_out)(void *arg, const char *pointer, const char *text);    /* an operation, or a part of one */
	void *arg;
};

struct openapi_counts {
	size_t operations; /* of the description */
	size_t chosen;     /* of these, those that fit the filters; not all of them may have become tools */
};

extern const char *const openapi_members[]; /* NULL-terminated: what a definition may hold */

/* text is the description. An object: name -> definition of a tool, the caller's; it needs neither text nor def. NULL:
 * the listener was told, or *err is ERR_NOMEM. */
json_object *openapi_convert(struct slice text, json_object *def, const struct openapi_listener *listener,
    struct openapi_counts *counts, struct err *err);

/* The same of a definition of the configuration, which stands at pointer. */
json_object *openapi_load(struct cfg *cfg, const char *pointer, json_object *def, struct err *err);

#define OPENAPI_FILE_MAX_BYTES 33554432

#endif
