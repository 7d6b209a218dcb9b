/* fcgi/schema_priv.h - what the parts of schema.h share: the graph of a schema, its compiler, a run over a value. */
#ifndef MCP_FCGI_SCHEMA_PRIV_H
#define MCP_FCGI_SCHEMA_PRIV_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/schema.h"

#define TEXT_MAX_LEN 300 /* bytes of a value, a name or a list of them inside a problem's text */

enum { T_NULL = 1, T_BOOLEAN = 2, T_INTEGER = 4, T_NUMBER = 8, T_STRING = 16, T_ARRAY = 32, T_OBJECT = 64 };

extern const struct schema_type {
	const char *name, *words;
	unsigned bit;
} schema_types[7];

struct bound { /* of a number; long double holds every int64_t, uint64_t and double */
	bool is_set;
	long double value;
};

struct limit { /* of a count */
	bool is_set;
	uint64_t value;
};

struct node;

struct node_list {
	struct node **nodes; /* the list is owned, the nodes are the schema's */
	size_t count;
};

struct names {
	char **names; /* owned */
	size_t count;
};

struct property {
	char *name; /* owned */
	struct node *node;
	struct names required; /* of dependentRequired */
};

struct property_list {
	struct property *items; /* owned */
	size_t count;
};

struct pattern {
	pcre2_code *code; /* owned; NULL: none */
	char *text;       /* owned: what a problem says */
	struct node *node;
};

struct pattern_list {
	struct pattern *items; /* owned */
	size_t count;
};

struct constant {
	json_object *value; /* owned, a copy of our own; NULL is JSON's null */
	bool is_set;
	char *text; /* owned: what a problem says */
};

struct node {
	struct node *next; /* of all, in the schema */
	json_object *doc;  /* borrowed, while compiling only */
	bool is_false;     /* the schema false */
	bool unique_items;
	unsigned types; /* 0: any */
	struct bound minimum, maximum, exclusive_minimum, exclusive_maximum, multiple_of;
	struct limit min_length, max_length, min_items, max_items, min_properties, max_properties, min_contains,
	    max_contains;
	struct property_list properties; /* sorted by name */
	struct property_list dependent_schemas, dependent_required, defs;
	struct names required;
	struct constant constant, enumeration; /* enumeration.value is an array */
	struct node_list prefix_items, all_of, any_of, one_of;
	struct pattern pattern;
	struct pattern_list pattern_properties;
	struct node *additional_properties, *property_names, *items, *contains, *not, *if_, *then, *else_, *ref;
	struct node *unevaluated_properties, *unevaluated_items;
	struct node *dynamic_ref;                      /* or, if that has dynamic_name, whom this names in the scope */
	const char *dynamic_name;                      /* borrowed from dynamic_ref; NULL: it is like ref */
	struct node *resource;                         /* in which it is: itself, if it has an $id */
	char *id;                                      /* owned: absolute as far as known; of a resource only */
	char *dynamic_anchor;                          /* owned */
	struct node *next_dynamic;                     /* of a resource the first, then the next node with an anchor */
	const char *anchor;                            /* borrowed, while compiling only */
	const char *ref_text, *dynamic_text;           /* borrowed, while compiling only */
	char *at;                                      /* owned: the pointer to it, if it has an $id or references */
	enum { MARK_NONE, MARK_OPEN, MARK_DONE } mark; /* for the search of cycles */
};

struct schema {
	struct node *root;
	struct node *all; /* owned */
};

int schema_no_memory(struct err *err);              /* -1 */
int property_by_name(const void *a, const void *b); /* for qsort(), bsearch() */

/* Compiling. */

struct compiler {
	struct schema *schema;
	json_object *doc;
	struct buf at; /* JSON pointer of what is being read; stays where an error was found */
	struct node *resource;
	pcre2_general_context *memory;
	pcre2_compile_context *dialect; /* of patterns */
	int depth;
};

/* c->at goes one name deeper, and back to the mark that this returned. */
size_t compiler_push(struct compiler *c, const char *key);
size_t compiler_push_index(struct compiler *c, size_t index);
void compiler_pop(struct compiler *c, size_t mark);
/* A node for doc and all below it. NULL: *err, and c->at stays where it is wrong. */
struct node *compile_schema(struct compiler *c, json_object *doc, struct err *err);
/* A URI reference, resolved and without its fragment, as a string of its own. */
char *schema_resolve_uri(struct slice base, struct slice ref, struct err *err);
/* When every $id and anchor is known. New nodes may come by it. */
int schema_resolve_refs(struct compiler *c, struct err *err);
/* -1: one that never goes deeper into the instance. */
int schema_find_cycle(struct node *node, int depth, struct err *err);

/* Patterns: ECMA-262, by PCRE2. */

void *pattern_alloc(size_t len, void *arg);
void pattern_free(void *p, void *arg);
int pattern_compile(struct compiler *c, struct pattern *pattern, struct slice text, struct err *err);
void pattern_release(struct pattern *pattern);

/* Values of JSON. */

long double value_number(json_object *val);
unsigned value_types(json_object *val); /* T_* */

/* Checking. */

struct path { /* of the instance; on the stack, from the leaf to the root */
	const struct path *parent;
	const char *key; /* NULL: index */
	size_t index;
};

struct scope { /* on the stack, from the innermost resource to the outermost */
	const struct scope *outer;
	const struct node *resource;
};

struct seen {        /* a byte for each member or item of the value that is checked: some keyword has evaluated it */
	char *bytes; /* owned */
	size_t count;
};

struct matcher {
	pcre2_general_context *memory;
	pcre2_match_context *limits;
	pcre2_match_data *data;
	size_t at; /* where in the text the last callout was */
};

struct run {
	struct buf *why;   /* NULL: quiet */
	struct seen *seen; /* NULL: nobody asks */
	const struct scope *scope;
	struct matcher matcher; /* made for the first pattern that is met */
	bool why_is_full;
	bool tells_alternatives; /* inside the second run of an anyOf or oneOf */
	unsigned steps, frames;
	struct err *err; /* set when the check itself failed: ends everything */
	bool failed;
};

/* The check itself fails, and ends: both return false. */
bool run_fail(struct run *run, const char *what);
bool run_no_memory(struct run *run);
/* One check more; false past the bound. */
bool run_step(struct run *run);
bool run_is_quiet(const struct run *run);

/* Against a node: the value at hand, and the same without a word; a member or item of it, of which nobody who asks
 * about the value wants to know what was evaluated. */
bool run_check(struct run *run, const struct node *node, json_object *val, const struct path *path);
bool run_check_quietly(struct run *run, const struct node *node, json_object *val, const struct path *path);
bool run_check_child(struct run *run, const struct node *node, json_object *val, const struct path *path);
bool run_check_child_quietly(struct run *run, const struct node *node, json_object *val, const struct path *path);

/* The keywords of one type. */
bool run_check_limits(struct run *run, const struct limit *min, const struct limit *max, uint64_t count,
    const char *what, const struct path *path);
bool run_check_array(struct run *run, const struct node *node, json_object *val, const struct path *path);
bool run_check_object(struct run *run, const struct node *node, json_object *val, const struct path *path);

/* What was evaluated: if somebody asks; *seen is val's, and its bytes the caller's. */
void run_mark_seen(struct run *run, size_t index);
bool run_seen_init(struct run *run, struct seen *seen, json_object *val);
void run_seen_merge(struct seen *into, const struct seen *from);

/* JSON's equality: 1 is 1.0, the order of members does not count. Too many steps: false, and the run has failed. */
bool value_equal(struct run *run, json_object *a, json_object *b);
/* Equal values have equal hashes. */
uint64_t value_hash(struct run *run, json_object *val);
/* False too when the run has failed. */
bool pattern_matches(struct run *run, const struct pattern *pattern, struct slice text);
void matcher_release(struct matcher *m);

/* At most TEXT_MAX_LEN bytes of s, cut between characters. */
void problem_add_name(struct buf *why, const char *s);
/* Begins a problem; problem_end() takes it back if it did not fit as a whole, and is false. */
size_t problem_begin(struct run *run, const struct path *path, const char *member);
bool problem_end(struct run *run, size_t mark);

#define PROBLEM_AT(run, path, member, ...)                                                                             \
	do {                                                                                                           \
		if (!run_is_quiet(run)) {                                                                              \
			size_t problem_mark = problem_begin(run, path, member);                                        \
			buf_addf((run)->why, __VA_ARGS__);                                                             \
			problem_end(run, problem_mark);                                                                \
		}                                                                                                      \
	} while (0)
#define PROBLEM(run, path, ...) PROBLEM_AT(run, path, NULL, __VA_ARGS__)

#endif
