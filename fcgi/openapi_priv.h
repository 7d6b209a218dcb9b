/* fcgi/openapi_priv.h - what these share: openapi.c (a description, its operations), openapi_choose.c (which, and their
 * names), openapi_load.c (for a configuration), openapi_request.c (parameters and bodies), openapi_schema.c (schemas,
 * references), openapi_security.c (who asks). */
#ifndef MCP_FCGI_OPENAPI_PRIV_H
#define MCP_FCGI_OPENAPI_PRIV_H

#include "fcgi/openapi.h"

#define OPENAPI_NAME_MAX 64 /* of tools and arguments: what all clients take */

struct openapi {
	json_object *root; /* owned: the description */
	json_object *def;  /* borrowed */
	bool is_30;
	const struct openapi_listener *listener;
	json_object *unmet; /* owned: security schemes without a secret -> how many operations need them */
};

/* An operation while it becomes a tool. Who can't go on returns -1 with ERR_CONFIG, the reason, and lets "at" stand
 * where that is; the operation is left out. Anything else in err stops all. */
struct operation {
	struct openapi *api;
	const char *method;     /* as http definitions have it */
	const char *path, *key; /* in the description; borrowed, as what follows */
	json_object *item, *op;
	struct buf at; /* pointer to what is being read, as if references were what they refer to */
	json_object *properties, *required;    /* owned: of the input */
	json_object *defs;                     /* owned: its $defs */
	json_object *def_names, *def_pointers; /* owned: pointer -> name in there; all pointers in order */
	json_object *query, *headers;          /* owned: of the request */
	json_object *header_names;             /* owned: of these, in small letters, as members */
	json_object *json, *form, *text;       /* owned: what it sends, at most one */
	size_t steps;                          /* of openapi_step() */
};

/* An operation before it is chosen. */
struct openapi_entry {
	const char *path, *key, *method; /* borrowed */
	json_object *item, *op;          /* borrowed */
	char name[OPENAPI_NAME_MAX + 1];
};

struct openapi_entries {
	struct openapi_entry *items; /* owned */
	size_t count, cap;
};

int openapi_refuse(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3); /* -1, ERR_CONFIG */
/* Whether a text is whole. -1: what is too long, as openapi_refuse(), or ERR_NOMEM. */
int openapi_check(const struct buf *text, const char *what, struct err *err);
/* A part of the operation is left out. */
void openapi_warn(const struct operation *o, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Bytes of text, at most max, with no character cut. */
size_t openapi_cut(struct slice text, size_t max);

/* Steps of "at": leave takes what enter gave. */
size_t openapi_enter(struct operation *o, const char *key);
size_t openapi_enter_index(struct operation *o, size_t index);
void openapi_leave(struct operation *o, size_t mark);

/* Before each piece of the work that an operation is: schemas that refer to each other many times, or names that many
 * have, would make it endless. -1: that is enough, as openapi_refuse(). */
int openapi_step(struct operation *o, struct err *err);

/* Follows "$ref" until there is none; *val is an object then. */
int openapi_resolve(const struct openapi *api, json_object **val, struct err *err);

/* openapi_choose.c */

bool openapi_is_text(json_object *val); /* a string without NUL */
/* Whether the members of the definition are what they must be, but those that tools have too. Says what not: -1. */
int openapi_check_members(const struct openapi *api);
bool openapi_is_chosen(const struct openapi *api, const struct openapi_entry *e);
/* e->name is what it is called, unless others are too: then openapi_tell_apart() makes another of it. */
int openapi_name(const struct openapi *api, struct openapi_entry *e, struct err *err);
int openapi_tell_apart(struct openapi_entries *all, struct err *err);

/* openapi_schema.c */

/* Types that values of a schema may have; 0: it doesn't say. */
enum { OPENAPI_SCALAR = 1, OPENAPI_ARRAY = 2, OPENAPI_OBJECT = 4 };
unsigned openapi_types(struct operation *o, json_object *schema);
/* The schema as JSON Schema 2020-12, with references into $defs; the caller's. NULL: failed. */
json_object *openapi_schema(struct operation *o, json_object *schema, struct err *err);
/* Once all schemas are made: what they refer to. */
int openapi_add_defs(struct operation *o, struct err *err);

/* openapi_request.c */

/* Text of a definition that is to stand for itself in a template. */
void openapi_put_plain(struct buf *out, struct slice text);
/* All of url but what is before the path, arguments, query, headers, body. */
int openapi_add_request(struct operation *o, struct buf *url, struct err *err);
bool openapi_has_header(const struct operation *o, const char *name); /* in whatever letters */
int openapi_add_header(struct operation *o, const char *name, json_object *template, struct err *err); /* takes it */
bool openapi_is_header(const char *name); /* one that can be set; the two others are for such only */

/* openapi_security.c */

/* Header, query or cookie of the first requirement that can be met. Before openapi_add_request(). */
int openapi_add_security(struct operation *o, struct err *err);
/* Whether "secrets" names schemes of the description alone. Says what not. */
int openapi_check_secrets(const struct openapi *api);

#endif
