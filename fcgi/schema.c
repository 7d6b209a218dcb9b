/* A schema becomes a graph of nodes, one for each subschema: keywords are fields, references are pointers, so that
 * checking follows no names and touches nothing of json-c that counts. Constants are private copies, only ever read.
 *
 * Compiling walks the document by the table of keywords below. References are resolved after that walk, when every
 * anchor is known; a target that no keyword led to (a pointer may lead anywhere) is compiled then. A cycle of
 * references that never goes deeper into the instance is refused, or checking would not end.
 *
 * Checking reports into why only what its caller asserts: below not and if, and while alternatives are tried, it is
 * quiet. When all alternatives fail, those of the outermost anyOf or oneOf are run once more to tell why. */
#include "config.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/schema.h"
#include "common/banned.h"

#define TEXT_MAX_LEN 300 /* bytes of a value, a name or a list of them inside a problem's text */
#define DIALECT      "https://json-schema.org/draft/2020-12/schema"

enum { T_NULL = 1, T_BOOLEAN = 2, T_INTEGER = 4, T_NUMBER = 8, T_STRING = 16, T_ARRAY = 32, T_OBJECT = 64 };

static const struct {
	const char *name, *words;
	unsigned bit;
} types[] = {
    {"string", "a string", T_STRING},
    {"integer", "an integer", T_INTEGER},
    {"number", "a number", T_NUMBER},
    {"boolean", "a boolean", T_BOOLEAN},
    {"object", "an object", T_OBJECT},
    {"array", "an array", T_ARRAY},
    {"null", "null", T_NULL},
};

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
	struct node *additional_properties, *property_names, *items, *contains, *not, *if_, *then, *else_, *ref;
	const char *anchor, *ref_text;                 /* borrowed, while compiling only */
	char *ref_at;                                  /* owned: the pointer to $ref */
	enum { MARK_NONE, MARK_OPEN, MARK_DONE } mark; /* for the search of cycles */
};

struct schema {
	struct node *root;
	struct node *all; /* owned */
};

/* Compiling. */

struct compiler {
	struct schema *schema;
	json_object *doc;
	struct buf at; /* JSON pointer of what is being read; stays where an error was found */
	int depth;
};

struct keyword {
	const char *name;
	int (*read)(
	    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err);
	size_t offset; /* of the field in struct node */
};

static struct node *compile(struct compiler *c, json_object *doc, struct err *err);

static void *field(struct node *node, const struct keyword *kw)
{
	return (char *)node + kw->offset;
}

static size_t push(struct compiler *c, const char *key)
{
	size_t mark = c->at.len;

	jx_add_pointer(&c->at, slice_str(key));
	return mark;
}

static size_t push_index(struct compiler *c, size_t index)
{
	char text[24];

	snprintf(text, sizeof(text), "%zu", index);
	return push(c, text);
}

static void pop(struct compiler *c, size_t mark)
{
	if (c->at.data)
		c->at.data[mark] = '\0';
	c->at.len = mark;
}

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "schema");
}

/* json-c has one type for both signs and three getters that saturate differently. */
static long double number_of(json_object *val)
{
	int64_t i;

	if (json_object_is_type(val, json_type_double))
		return (long double)json_object_get_double(val);
	i = json_object_get_int64(val);
	return i < 0 ? (long double)i : (long double)json_object_get_uint64(val);
}

static bool is_number(json_object *val)
{
	return json_object_is_type(val, json_type_int) || json_object_is_type(val, json_type_double);
}

/* A copy for ourselves. NULL is a value too (null), so failure is the return value. */
static int copy_value(json_object *val, json_object **copy, struct err *err)
{
	*copy = NULL;
	return val && json_object_deep_copy(val, copy, NULL) != 0 ? out_of_memory(err) : 0;
}

static int read_bound(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	struct bound *bound = field(node, kw);

	(void)c;
	if (!is_number(value))
		return err_set(err, ERR_CONFIG, "%s must be a number", kw->name);
	*bound = (struct bound){true, number_of(value)};
	if (bound == &node->multiple_of && bound->value <= 0)
		return err_set(err, ERR_CONFIG, "multipleOf must be more than 0");
	return 0;
}

static int read_limit(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	struct limit *limit = field(node, kw);
	long double number = is_number(value) ? number_of(value) : -1;

	(void)c;
	if (!jx_is_integer(value) || number < 0 || number > (long double)INT64_MAX)
		return err_set(err, ERR_CONFIG, "%s must be a whole number, 0 or more", kw->name);
	*limit = (struct limit){true, (uint64_t)number};
	return 0;
}

static int read_flag(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	(void)c;
	if (!json_object_is_type(value, json_type_boolean))
		return err_set(err, ERR_CONFIG, "%s must be true or false", kw->name);
	*(bool *)field(node, kw) = json_object_get_boolean(value);
	return 0;
}

static int read_node(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	struct node *child = compile(c, value, err);

	*(struct node **)field(node, kw) = child;
	return child ? 0 : -1;
}

static int read_node_list(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	struct node_list *list = field(node, kw);
	size_t count = json_object_is_type(value, json_type_array) ? json_object_array_length(value) : 0;

	if (count == 0)
		return err_set(err, ERR_CONFIG, "%s must be an array of at least one schema", kw->name);
	list->nodes = mem_alloc(count, sizeof(*list->nodes));
	if (!list->nodes)
		return out_of_memory(err);
	for (; list->count < count; list->count++) {
		size_t mark = push_index(c, list->count);

		list->nodes[list->count] = compile(c, json_object_array_get_idx(value, list->count), err);
		if (!list->nodes[list->count])
			return -1;
		pop(c, mark);
	}
	return 0;
}

static int read_names(struct names *names, const char *what, json_object *value, struct err *err)
{
	size_t count;

	if (!json_object_is_type(value, json_type_array))
		return err_set(err, ERR_CONFIG, "%s must be an array of strings", what);
	count = json_object_array_length(value);
	names->names = mem_alloc(count ? count : 1, sizeof(*names->names));
	if (!names->names)
		return out_of_memory(err);
	for (size_t i = 0; i < count; i++) {
		struct slice name = jx_str(json_object_array_get_idx(value, i));

		if (!name.p)
			return err_set(err, ERR_CONFIG, "%s must be an array of strings", what);
		names->names[i] = mem_dup(name.p, name.len);
		if (!names->names[i])
			return out_of_memory(err);
		names->count++;
	}
	return 0;
}

static int read_required(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	(void)c;
	return read_names(field(node, kw), kw->name, value, err);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct property *)a)->name, ((const struct property *)b)->name);
}

/* An object whose members are schemas, or lists of names for dependentRequired. */
static int read_properties(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	struct property_list *list = field(node, kw);

	if (!json_object_is_type(value, json_type_object))
		return err_set(err, ERR_CONFIG, "%s must be an object", kw->name);
	list->items = mem_alloc((size_t)json_object_object_length(value) + 1, sizeof(*list->items));
	if (!list->items)
		return out_of_memory(err);
	json_object_object_foreach(value, name, member) {
		struct property *property = &list->items[list->count];
		size_t mark = push(c, name);

		property->name = mem_dup(name, strlen(name));
		if (!property->name)
			return out_of_memory(err);
		list->count++;
		if (list == &node->dependent_required) {
			if (read_names(&property->required, name, member, err))
				return -1;
		} else {
			property->node = compile(c, member, err);
			if (!property->node)
				return -1;
		}
		pop(c, mark);
	}
	qsort(list->items, list->count, sizeof(*list->items), by_name);
	return 0;
}

static unsigned type_bit(json_object *name)
{
	for (size_t i = 0; i < COUNT_OF(types); i++) {
		if (slice_is(jx_str(name), types[i].name))
			return types[i].bit;
	}
	return 0;
}

static int read_type(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	bool is_list = json_object_is_type(value, json_type_array);
	size_t count = is_list ? json_object_array_length(value) : 1;

	(void)c;
	for (size_t i = 0; i < count; i++) {
		unsigned bit = type_bit(is_list ? json_object_array_get_idx(value, i) : value);

		if (!bit)
			break;
		node->types |= bit;
	}
	if (node->types && (!is_list || (size_t)__builtin_popcount(node->types) == count))
		return 0;
	return err_set(err, ERR_CONFIG,
	    "%s must be string, integer, number, boolean, object, array or null, or an array of these", kw->name);
}

/* The text of a value, or of the members of an array, as a problem shows it. */
static int constant_text(struct constant *constant, bool is_list, struct err *err)
{
	size_t count = is_list ? json_object_array_length(constant->value) : 1;
	struct buf text;

	buf_init(&text, TEXT_MAX_LEN);
	for (size_t i = 0; i < count; i++) {
		size_t mark = text.len;

		if (i)
			buf_adds(&text, ", ");
		jx_write(&text, is_list ? json_object_array_get_idx(constant->value, i) : constant->value);
		if (text.fault == ERR_TOO_BIG) {
			text.len = mark;
			text.fault = ERR_NONE;
			text.max += 8;
			buf_adds(&text, mark ? ", ..." : "...");
			break;
		}
	}
	if (buf_check(&text, err) == 0) {
		constant->text = mem_dup(text.data, text.len);
		if (!constant->text)
			out_of_memory(err);
	}
	buf_release(&text);
	return constant->text ? 0 : -1;
}

static int read_constant(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	struct constant *constant = field(node, kw);
	bool is_list = constant == &node->enumeration;

	(void)c;
	if (is_list && !json_object_is_type(value, json_type_array))
		return err_set(err, ERR_CONFIG, "%s must be an array", kw->name);
	if (copy_value(value, &constant->value, err))
		return -1;
	constant->is_set = true;
	return constant_text(constant, is_list, err);
}

static int read_text(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	const char **text = field(node, kw);

	if (!json_object_is_type(value, json_type_string))
		return err_set(err, ERR_CONFIG, "%s must be a string", kw->name);
	*text = json_object_get_string(value);
	if (text != &node->ref_text)
		return 0;
	if (**text && **text != '#')
		return err_set(err, ERR_CONFIG, "a $ref out of this schema is not supported yet");
	node->ref_at = mem_dup(c->at.data, c->at.len);
	return node->ref_at ? 0 : out_of_memory(err);
}

static int read_id(struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	if (!json_object_is_type(value, json_type_string))
		return err_set(err, ERR_CONFIG, "%s must be a string", kw->name);
	if (node->doc != c->doc)
		return err_set(err, ERR_CONFIG, "$id inside a schema is not supported yet");
	return 0;
}

static int read_dialect(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	(void)c;
	(void)node;
	if (!slice_is(jx_str(value), DIALECT) && !slice_is(jx_str(value), DIALECT "#"))
		return err_set(
		    err, ERR_CONFIG, "%s must be \"" DIALECT "\", the only dialect that is supported", kw->name);
	return 0;
}

static int read_unsupported(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	(void)c;
	(void)node;
	(void)value;
	return err_set(err, ERR_CONFIG, "%s is not supported yet", kw->name);
}

#define FIELD(name) offsetof(struct node, name)
static const struct keyword keywords[] = {
    {"type", read_type, 0},
    {"enum", read_constant, FIELD(enumeration)},
    {"const", read_constant, FIELD(constant)},
    {"minimum", read_bound, FIELD(minimum)},
    {"maximum", read_bound, FIELD(maximum)},
    {"exclusiveMinimum", read_bound, FIELD(exclusive_minimum)},
    {"exclusiveMaximum", read_bound, FIELD(exclusive_maximum)},
    {"multipleOf", read_bound, FIELD(multiple_of)},
    {"minLength", read_limit, FIELD(min_length)},
    {"maxLength", read_limit, FIELD(max_length)},
    {"minItems", read_limit, FIELD(min_items)},
    {"maxItems", read_limit, FIELD(max_items)},
    {"uniqueItems", read_flag, FIELD(unique_items)},
    {"minContains", read_limit, FIELD(min_contains)},
    {"maxContains", read_limit, FIELD(max_contains)},
    {"minProperties", read_limit, FIELD(min_properties)},
    {"maxProperties", read_limit, FIELD(max_properties)},
    {"required", read_required, FIELD(required)},
    {"dependentRequired", read_properties, FIELD(dependent_required)},
    {"properties", read_properties, FIELD(properties)},
    {"additionalProperties", read_node, FIELD(additional_properties)},
    {"propertyNames", read_node, FIELD(property_names)},
    {"dependentSchemas", read_properties, FIELD(dependent_schemas)},
    {"prefixItems", read_node_list, FIELD(prefix_items)},
    {"items", read_node, FIELD(items)},
    {"contains", read_node, FIELD(contains)},
    {"allOf", read_node_list, FIELD(all_of)},
    {"anyOf", read_node_list, FIELD(any_of)},
    {"oneOf", read_node_list, FIELD(one_of)},
    {"not", read_node, FIELD(not )},
    {"if", read_node, FIELD(if_)},
    {"then", read_node, FIELD(then)},
    {"else", read_node, FIELD(else_)},
    {"$ref", read_text, FIELD(ref_text)},
    {"$anchor", read_text, FIELD(anchor)},
    {"$defs", read_properties, FIELD(defs)},
    {"$id", read_id, 0},
    {"$schema", read_dialect, 0},
    {"pattern", read_unsupported, 0},
    {"patternProperties", read_unsupported, 0},
    {"unevaluatedItems", read_unsupported, 0},
    {"unevaluatedProperties", read_unsupported, 0},
    {"$dynamicRef", read_unsupported, 0},
    {"$dynamicAnchor", read_unsupported, 0},
    {"$vocabulary", read_unsupported, 0},
};

static int compile_keywords(struct compiler *c, struct node *node, struct err *err)
{
	json_object_object_foreach(node->doc, name, value) {
		for (size_t i = 0; i < COUNT_OF(keywords); i++) {
			size_t mark;

			if (strcmp(keywords[i].name, name) != 0)
				continue;
			mark = push(c, name);
			if (keywords[i].read(c, node, &keywords[i], value, err))
				return -1;
			pop(c, mark);
		}
	}
	return 0;
}

static struct node *compiled(struct compiler *c, json_object *doc)
{
	struct node *node = c->schema->all;

	while (node && node->doc != doc)
		node = node->next;
	return node;
}

static struct node *compile(struct compiler *c, json_object *doc, struct err *err)
{
	struct node *node;

	if (!json_object_is_type(doc, json_type_object) && !json_object_is_type(doc, json_type_boolean)) {
		err_set(err, ERR_CONFIG, "a schema must be an object, true or false");
		return NULL;
	}
	if (c->depth >= SCHEMA_DEPTH_MAX) {
		err_set(err, ERR_CONFIG, "the schema is nested more than %d levels deep", SCHEMA_DEPTH_MAX);
		return NULL;
	}
	node = mem_alloc(1, sizeof(*node));
	if (!node) {
		out_of_memory(err);
		return NULL;
	}
	node->doc = doc;
	node->next = c->schema->all;
	c->schema->all = node;
	if (json_object_is_type(doc, json_type_boolean)) {
		node->is_false = !json_object_get_boolean(doc);
		return node;
	}
	c->depth++;
	if (compile_keywords(c, node, err))
		node = NULL; /* schema_free() finds it */
	c->depth--;
	return node;
}

/* One token of a pointer in a URI fragment: percent-encoding first, then ~0 and ~1. Cuts it off *text. NULL: bad. */
static char *cut_token(const char **text)
{
	size_t len = strcspn(*text, "/"), used = 0;
	char *token = mem_dup(*text, len);

	for (size_t i = 0; token && i < len; i++) {
		char c = token[i], hex[3] = {0};

		if (c == '%' && len - i > 2) {
			memcpy(hex, token + i + 1, 2);
			c = (char)strtol(hex, NULL, 16);
			i += 2;
		}
		if (used && token[used - 1] == '~' && (c == '0' || c == '1'))
			token[used - 1] = c == '0' ? '\1' : '/'; /* \1: a ~ that is done */
		else
			token[used++] = c;
	}
	if (token) {
		token[used] = '\0';
		for (char *p = token; *p; p++) {
			if (*p == '\1')
				*p = '~';
		}
	}
	*text += len;
	return token;
}

static struct node *ref_target(struct compiler *c, const char *text, struct err *err)
{
	json_object *at = c->doc;
	struct slice place;
	struct node *node;

	if (*text == '#')
		text++;
	place = slice_str(text);
	if (*text && *text != '/') {
		for (node = c->schema->all; node; node = node->next) {
			if (node->anchor && strcmp(node->anchor, text) == 0)
				return node;
		}
		err_set(err, ERR_CONFIG, "there is no $anchor \"%.100s\"", text);
		return NULL;
	}
	while (at && *text == '/') {
		char *token, *end;
		bool found = false;

		text++;
		token = cut_token(&text);
		if (!token) {
			out_of_memory(err);
			return NULL;
		}
		if (json_object_is_type(at, json_type_array)) {
			size_t index = strtoul(token, &end, 10);

			found = end != token && !*end && index < json_object_array_length(at);
			at = found ? json_object_array_get_idx(at, index) : NULL;
		} else {
			found = json_object_is_type(at, json_type_object) && json_object_object_get_ex(at, token, &at);
			at = found ? at : NULL;
		}
		mem_free(token);
	}
	if (!at) {
		err_set(err, ERR_CONFIG, "$ref leads nowhere");
		return NULL;
	}
	node = compiled(c, at);
	if (!node) {
		pop(c, 0);
		buf_add_slice(&c->at, place);
		node = compile(c, at, err);
	}
	return node;
}

/* New nodes come to the front of the list, so it is read again from there until nothing is left to resolve. */
static int resolve_refs(struct compiler *c, struct err *err)
{
	struct node *node = c->schema->all;

	while (node) {
		const char *text = node->ref_text;

		if (!text) {
			node = node->next;
			continue;
		}
		node->ref_text = NULL;
		pop(c, 0);
		buf_adds(&c->at, node->ref_at);
		node->ref = ref_target(c, text, err);
		if (!node->ref)
			return err_wrap(err, "$ref \"%.100s\"", text);
		node = c->schema->all;
	}
	return 0;
}

static int find_cycle(struct node *node, int depth, struct err *err);

static int find_cycle_list(const struct node_list *list, int depth, struct err *err)
{
	for (size_t i = 0; i < list->count; i++) {
		if (find_cycle(list->nodes[i], depth, err))
			return -1;
	}
	return 0;
}

/* Follows what looks at the same instance. */
static int find_cycle_below(struct node *node, int depth, struct err *err)
{
	struct node *const same[] = {node->ref, node->not, node->if_, node->then, node->else_};

	for (size_t i = 0; i < COUNT_OF(same); i++) {
		if (same[i] && find_cycle(same[i], depth, err))
			return -1;
	}
	for (size_t i = 0; i < node->dependent_schemas.count; i++) {
		if (find_cycle(node->dependent_schemas.items[i].node, depth, err))
			return -1;
	}
	if (find_cycle_list(&node->all_of, depth, err) || find_cycle_list(&node->any_of, depth, err) ||
	    find_cycle_list(&node->one_of, depth, err))
		return -1;
	return 0;
}

static int find_cycle(struct node *node, int depth, struct err *err)
{
	if (node->mark == MARK_DONE)
		return 0;
	if (node->mark == MARK_OPEN)
		return err_set(err, ERR_CONFIG, "a $ref leads back to itself without looking deeper into the value");
	if (depth >= SCHEMA_FRAMES_MAX)
		return err_set(err, ERR_CONFIG, "a chain of more than %d references", SCHEMA_FRAMES_MAX);
	node->mark = MARK_OPEN;
	if (find_cycle_below(node, depth + 1, err))
		return -1;
	node->mark = MARK_DONE;
	return 0;
}

static int compile_all(struct compiler *c, struct err *err)
{
	c->schema->root = compile(c, c->doc, err);
	if (!c->schema->root || resolve_refs(c, err))
		return -1;
	for (struct node *node = c->schema->all; node; node = node->next) {
		if (find_cycle(node, 0, err))
			return -1;
	}
	for (struct node *node = c->schema->all; node; node = node->next) {
		node->doc = NULL; /* the caller's: not ours from here on */
		node->anchor = NULL;
	}
	return 0;
}

struct schema *schema_new(json_object *doc, struct buf *where, struct err *err)
{
	struct compiler c = {.doc = doc};

	buf_init(&c.at, SIZE_MAX / 2); /* bounded by the depth and the document's own names */
	c.schema = mem_alloc(1, sizeof(*c.schema));
	if (!c.schema)
		out_of_memory(err);
	else if (compile_all(&c, err))
		schema_free(&c.schema);
	if (!c.schema && where)
		buf_add_slice(where, buf_slice(&c.at));
	buf_release(&c.at);
	return c.schema;
}

static void names_release(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		mem_free(names->names[i]);
	mem_free(names->names);
}

static void properties_release(struct property_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		names_release(&list->items[i].required);
		mem_free(list->items[i].name);
	}
	mem_free(list->items);
}

static void constant_release(struct constant *constant)
{
	json_object_put(constant->value);
	mem_free(constant->text);
}

static void node_free(struct node *node)
{
	properties_release(&node->properties);
	properties_release(&node->dependent_schemas);
	properties_release(&node->dependent_required);
	properties_release(&node->defs);
	names_release(&node->required);
	mem_free(node->ref_at);
	constant_release(&node->constant);
	constant_release(&node->enumeration);
	mem_free(node->prefix_items.nodes);
	mem_free(node->all_of.nodes);
	mem_free(node->any_of.nodes);
	mem_free(node->one_of.nodes);
	mem_free(node);
}

void schema_free(struct schema **schemap)
{
	struct schema *schema = *schemap;
	struct node *node, *next;

	if (!schema)
		return;
	*schemap = NULL;
	for (node = schema->all; node; node = next) {
		next = node->next;
		node_free(node);
	}
	mem_free(schema);
}

/* Checking. */

struct path { /* of the instance; on the stack, from the leaf to the root */
	const struct path *parent;
	const char *key; /* NULL: index */
	size_t index;
};

struct run {
	struct buf *why; /* NULL: quiet */
	bool why_is_full;
	bool tells_alternatives; /* inside the second run of an anyOf or oneOf */
	unsigned steps, frames;
	struct err *err; /* set when the check itself failed: ends everything */
	bool failed;
};

static bool check(struct run *run, const struct node *node, json_object *val, const struct path *path);

static bool run_fail(struct run *run, const char *what)
{
	if (!run->failed)
		err_set(run->err, ERR_LIMIT, "%s", what);
	run->failed = true;
	return false;
}

static bool step(struct run *run)
{
	return ++run->steps <= SCHEMA_STEPS_MAX || run_fail(run, "the value needs too many checks");
}

static bool is_quiet(const struct run *run)
{
	return !run->why || run->why_is_full;
}

static bool check_quietly(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	struct buf *why = run->why;
	bool ok;

	run->why = NULL;
	ok = check(run, node, val, path);
	run->why = why;
	return ok;
}

/* At most TEXT_MAX_LEN bytes of s, cut between characters. */
static void say_name(struct buf *why, const char *s)
{
	size_t len = strlen(s);

	if (len > TEXT_MAX_LEN) {
		len = TEXT_MAX_LEN;
		while (len && ((unsigned char)s[len] & 0xc0) == 0x80)
			len--;
	}
	buf_add(why, s, len);
}

static void say_path(struct buf *why, const struct path *path)
{
	if (!path)
		return;
	say_path(why, path->parent);
	buf_adds(why, "/");
	if (path->key)
		say_name(why, path->key);
	else
		buf_addf(why, "%zu", path->index);
}

/* Begins a problem; problem_end() takes it back if it did not fit as a whole. */
static size_t problem_begin(struct run *run, const struct path *path, const char *member)
{
	size_t mark = run->why->len;
	struct path leaf = {path, member, 0};

	if (mark && run->why->data[mark - 1] != ' ')
		buf_adds(run->why, "; ");
	say_path(run->why, member ? &leaf : path);
	if (run->why->len == mark || run->why->data[run->why->len - 1] == ' ')
		buf_adds(run->why, "the value");
	buf_adds(run->why, ": ");
	return mark;
}

static bool problem_end(struct run *run, size_t mark)
{
	if (run->why->fault) {
		run->why->len = mark;
		run->why->fault = ERR_NONE; /* NOMEM too: the verdict counts, the words may be fewer */
		if (run->why->data)
			run->why->data[mark] = '\0';
		run->why_is_full = true;
	}
	return false;
}

#define PROBLEM_AT(run, path, member, ...)                                                                             \
	do {                                                                                                           \
		if (!is_quiet(run)) {                                                                                  \
			size_t problem_mark = problem_begin(run, path, member);                                        \
			buf_addf((run)->why, __VA_ARGS__);                                                             \
			problem_end(run, problem_mark);                                                                \
		}                                                                                                      \
	} while (0)
#define PROBLEM(run, path, ...) PROBLEM_AT(run, path, NULL, __VA_ARGS__)

static unsigned type_of(json_object *val)
{
	switch (json_object_get_type(val)) {
	case json_type_null:
		return T_NULL;
	case json_type_boolean:
		return T_BOOLEAN;
	case json_type_int:
		return T_INTEGER | T_NUMBER;
	case json_type_double:
		return jx_is_integer(val) ? T_INTEGER | T_NUMBER : T_NUMBER;
	case json_type_string:
		return T_STRING;
	case json_type_array:
		return T_ARRAY;
	case json_type_object:
		return T_OBJECT;
	}
	return 0;
}

/* JSON's equality: 1 is 1.0, the order of members does not count. Too many steps: false, and the run has failed. */
static bool equal(struct run *run, json_object *a, json_object *b)
{
	json_object *other;

	if (!step(run))
		return false;
	if (is_number(a) && is_number(b))
		return number_of(a) == number_of(b);
	if (json_object_get_type(a) != json_object_get_type(b))
		return false;
	switch (json_object_get_type(a)) {
	case json_type_boolean:
		return json_object_get_boolean(a) == json_object_get_boolean(b);
	case json_type_string:
		return slice_eq(jx_str(a), jx_str(b));
	case json_type_array:
		if (json_object_array_length(a) != json_object_array_length(b))
			return false;
		for (size_t i = 0; i < json_object_array_length(a); i++) {
			if (!equal(run, json_object_array_get_idx(a, i), json_object_array_get_idx(b, i)))
				return false;
		}
		return true;
	case json_type_object:
		if (json_object_object_length(a) != json_object_object_length(b))
			return false;
		json_object_object_foreach(a, name, member) {
			if (!json_object_object_get_ex(b, name, &other) || !equal(run, member, other))
				return false;
		}
		return true;
	default:
		return true; /* null */
	}
}

static bool check_type(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	unsigned is = type_of(val);
	size_t mark, count = 0;

	if (!node->types || (node->types & is))
		return true;
	if (is_quiet(run))
		return false;
	mark = problem_begin(run, path, NULL);
	buf_adds(run->why, "must be ");
	for (size_t i = 0; i < COUNT_OF(types); i++) {
		if (node->types & types[i].bit)
			buf_addf(run->why, "%s%s", count++ ? " or " : "", types[i].words);
	}
	for (size_t i = 0; i < COUNT_OF(types); i++) {
		if (is & types[i].bit) { /* integer stands before number */
			buf_addf(run->why, ", not %s", types[i].words);
			break;
		}
	}
	return problem_end(run, mark);
}

static bool check_constants(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	bool ok = true;

	if (node->constant.is_set && !equal(run, node->constant.value, val)) {
		PROBLEM(run, path, "must be %s", node->constant.text);
		ok = false;
	}
	if (node->enumeration.is_set) {
		size_t count = json_object_array_length(node->enumeration.value), i = 0;

		while (i < count && !equal(run, json_object_array_get_idx(node->enumeration.value, i), val))
			i++;
		if (i == count) {
			PROBLEM(run, path, "must be one of %s", node->enumeration.text);
			ok = false;
		}
	}
	return ok;
}

static const char *number_text(char *text, size_t size, long double number)
{
	if (fabsl(number) < 1e18L && truncl(number) == number)
		snprintf(text, size, "%.0Lf", number);
	else
		snprintf(text, size, "%.15Lg", number);
	return text;
}

/* Binary fractions are rarely what their decimal text says (0.0075 / 0.0001 is not 75), so a quotient that misses a
 * whole number by no more than its own rounding counts as whole. */
static bool is_nearly_whole(long double number)
{
	return fabsl(number) < 9007199254740992.0L &&
	       fabsl(number - roundl(number)) <= fabsl(number) * 2 * (long double)DBL_EPSILON;
}

static bool is_multiple(long double number, long double of)
{
	if (fmodl(number, of) == 0 || is_nearly_whole(number / of))
		return true;
	return of < 1 && truncl(number) == number &&
	       is_nearly_whole(1 / of); /* 12391239123 of 1e-8: all whole ones are */
}

static bool check_number(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	long double number = number_of(val);
	const struct {
		const struct bound *bound;
		bool ok;
		const char *words;
	} rows[] = {
	    {&node->minimum, number >= node->minimum.value, "at least"},
	    {&node->maximum, number <= node->maximum.value, "at most"},
	    {&node->exclusive_minimum, number > node->exclusive_minimum.value, "more than"},
	    {&node->exclusive_maximum, number < node->exclusive_maximum.value, "less than"},
	    {&node->multiple_of, !node->multiple_of.is_set || is_multiple(number, node->multiple_of.value),
		"a multiple of"},
	};
	char text[64];
	bool ok = true;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (!rows[i].bound->is_set || rows[i].ok)
			continue;
		PROBLEM(
		    run, path, "must be %s %s", rows[i].words, number_text(text, sizeof(text), rows[i].bound->value));
		ok = false;
	}
	return ok;
}

static bool check_limits(struct run *run, const struct limit *min, const struct limit *max, uint64_t count,
    const char *what, const struct path *path)
{
	if (min->is_set && count < min->value)
		PROBLEM(run, path, "must have at least %llu %s", (unsigned long long)min->value, what);
	else if (max->is_set && count > max->value)
		PROBLEM(run, path, "must have at most %llu %s", (unsigned long long)max->value, what);
	else
		return true;
	return false;
}

static bool check_string(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	struct slice text = jx_str(val);
	uint64_t chars = 0;

	if (!node->min_length.is_set && !node->max_length.is_set)
		return true;
	for (size_t i = 0; i < text.len; i++)
		chars += ((unsigned char)text.p[i] & 0xc0) != 0x80;
	return check_limits(run, &node->min_length, &node->max_length, chars, "character(s)", path);
}

struct hashed {
	uint64_t hash;
	size_t index;
};

static uint64_t mix(uint64_t hash, uint64_t with)
{
	hash = (hash ^ with) * 0x9e3779b97f4a7c15u;
	return hash ^ (hash >> 29);
}

static uint64_t mix_bytes(uint64_t hash, struct slice bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		hash = (hash ^ (unsigned char)bytes.p[i]) * 0x100000001b3u;
	return mix(hash, bytes.len);
}

/* Equal values have equal hashes. */
static uint64_t hash_of(struct run *run, json_object *val)
{
	uint64_t hash = (uint64_t)type_of(val) & ~(uint64_t)T_INTEGER;
	double number;

	if (!step(run))
		return 0;
	switch (json_object_get_type(val)) {
	case json_type_boolean:
		return mix(hash, (uint64_t)json_object_get_boolean(val));
	case json_type_int:
	case json_type_double:
		number = (double)number_of(val) + 0.0; /* -0.0 is 0.0 */
		return mix_bytes(hash, (struct slice){(const char *)&number, sizeof(number)});
	case json_type_string:
		return mix_bytes(hash, jx_str(val));
	case json_type_array:
		for (size_t i = 0; i < json_object_array_length(val); i++)
			hash = mix(hash, hash_of(run, json_object_array_get_idx(val, i)));
		return hash;
	case json_type_object: {
		json_object_object_foreach(val, name, member) /* in any order: a sum */
		{
			hash += mix(mix_bytes(0, slice_str(name)), hash_of(run, member));
		}
		return mix(hash, 1);
	}
	default:
		return hash;
	}
}

static int by_hash(const void *a, const void *b)
{
	const struct hashed *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->index < y->index ? -1 : 1;
}

static bool check_unique(struct run *run, json_object *val, const struct path *path)
{
	size_t count = json_object_array_length(val);
	struct hashed *items = mem_alloc(count ? count : 1, sizeof(*items));
	bool ok = true;

	if (!items) {
		run->failed = true;
		out_of_memory(run->err);
		return false;
	}
	for (size_t i = 0; i < count; i++)
		items[i] = (struct hashed){hash_of(run, json_object_array_get_idx(val, i)), i};
	qsort(items, count, sizeof(*items), by_hash);
	for (size_t i = 0; ok && i < count; i++) {
		for (size_t j = i + 1; ok && j < count && items[j].hash == items[i].hash; j++) {
			if (!equal(run, json_object_array_get_idx(val, items[i].index),
				json_object_array_get_idx(val, items[j].index)))
				continue;
			PROBLEM(run, path, "must have no item twice (%zu and %zu are the same)", items[i].index,
			    items[j].index);
			ok = false;
		}
	}
	mem_free(items);
	return ok && !run->failed;
}

static bool check_contains(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	struct limit min = node->min_contains.is_set ? node->min_contains : (struct limit){true, 1};
	uint64_t found = 0;

	for (size_t i = 0; i < json_object_array_length(val); i++) {
		struct path leaf = {path, NULL, i};

		found += check_quietly(run, node->contains, json_object_array_get_idx(val, i), &leaf);
	}
	return check_limits(run, &min, &node->max_contains, found, "item(s) of the kind that it must contain", path);
}

static bool check_array(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	size_t count = json_object_array_length(val);
	bool ok = check_limits(run, &node->min_items, &node->max_items, count, "item(s)", path);

	for (size_t i = 0; i < count && (ok || !is_quiet(run)); i++) {
		const struct node *item = i < node->prefix_items.count ? node->prefix_items.nodes[i] : node->items;
		struct path leaf = {path, NULL, i};

		if (!item)
			break;
		ok = check(run, item, json_object_array_get_idx(val, i), &leaf) && ok;
	}
	if (node->unique_items && (ok || !is_quiet(run)))
		ok = check_unique(run, val, path) && ok;
	if (node->contains && (ok || !is_quiet(run)))
		ok = check_contains(run, node, val, path) && ok;
	return ok;
}

static const struct property *property_find(const struct property_list *list, const char *name)
{
	struct property key = {.name = (char *)(uintptr_t)name};

	return list->count ? bsearch(&key, list->items, list->count, sizeof(key), by_name) : NULL;
}

static bool check_required(
    struct run *run, const struct names *names, json_object *val, const struct path *path, const char *because)
{
	bool ok = true;

	for (size_t i = 0; i < names->count; i++) {
		if (json_object_object_get_ex(val, names->names[i], NULL))
			continue;
		ok = false;
		if (because)
			PROBLEM_AT(run, path, names->names[i], "is required with \"%.*s\"", TEXT_MAX_LEN, because);
		else
			PROBLEM_AT(run, path, names->names[i], "is required");
	}
	return ok;
}

static bool check_unknown_member(
    struct run *run, const struct node *node, const char *name, json_object *val, const struct path *path)
{
	struct path leaf = {path, name, 0};
	size_t mark;

	if (!node->additional_properties->is_false)
		return check(run, node->additional_properties, val, &leaf);
	if (is_quiet(run))
		return false;
	mark = problem_begin(run, path, name);
	buf_adds(run->why, "is not known");
	for (size_t i = 0; i < node->properties.count; i++) {
		if (run->why->len - mark > 2 * TEXT_MAX_LEN) {
			buf_adds(run->why, ", ...");
			break;
		}
		buf_adds(run->why, i ? ", " : " (known: ");
		say_name(run->why, node->properties.items[i].name);
	}
	if (node->properties.count)
		buf_adds(run->why, ")");
	return problem_end(run, mark);
}

/* The name as a value of its own, for propertyNames. */
static bool check_name(struct run *run, const struct node *names, const char *name, const struct path *path)
{
	struct path leaf = {path, name, 0};
	json_object *val = json_object_new_string(name);
	bool ok;

	if (!val) {
		run->failed = true;
		out_of_memory(run->err);
		return false;
	}
	ok = check_quietly(run, names, val, &leaf);
	json_object_put(val);
	if (!ok)
		PROBLEM_AT(run, path, name, "is not an allowed name");
	return ok;
}

static bool check_members(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	bool ok = true;

	json_object_object_foreach(val, name, member) {
		const struct property *property = property_find(&node->properties, name);
		struct path leaf = {path, name, 0};

		if (property)
			ok = check(run, property->node, member, &leaf) && ok;
		else if (node->additional_properties)
			ok = check_unknown_member(run, node, name, member, path) && ok;
		if (node->property_names)
			ok = check_name(run, node->property_names, name, path) && ok;
		if (run->failed || (!ok && is_quiet(run)))
			return false;
	}
	return ok;
}

static bool check_object(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	bool ok = check_limits(run, &node->min_properties, &node->max_properties,
	    (uint64_t)json_object_object_length(val), "member(s)", path);

	ok = check_required(run, &node->required, val, path, NULL) && ok;
	for (size_t i = 0; i < node->dependent_required.count; i++) {
		const struct property *dependent = &node->dependent_required.items[i];

		if (json_object_object_get_ex(val, dependent->name, NULL))
			ok = check_required(run, &dependent->required, val, path, dependent->name) && ok;
	}
	if (!ok && is_quiet(run))
		return false;
	if (node->properties.count || node->additional_properties || node->property_names)
		ok = check_members(run, node, val, path) && ok;
	for (size_t i = 0; i < node->dependent_schemas.count; i++) {
		const struct property *dependent = &node->dependent_schemas.items[i];

		if (json_object_object_get_ex(val, dependent->name, NULL))
			ok = check(run, dependent->node, val, path) && ok;
	}
	return ok;
}

/* Why no alternative fits, unless that would be an explanation within an explanation. */
static void tell_alternatives(struct run *run, const struct node_list *list, json_object *val, const struct path *path)
{
	size_t mark;

	if (is_quiet(run))
		return;
	mark = problem_begin(run, path, NULL);
	buf_addf(run->why, "fits none of %zu alternatives", list->count);
	if (!run->tells_alternatives) {
		run->tells_alternatives = true;
		for (size_t i = 0; i < list->count && !run->why_is_full; i++) {
			buf_addf(run->why, "%s%zu) ", i ? ", " : ": ", i + 1);
			check(run, list->nodes[i], val, path);
		}
		run->tells_alternatives = false;
	}
	problem_end(run, mark);
}

static bool check_alternatives(
    struct run *run, const struct node_list *list, size_t max, json_object *val, const struct path *path)
{
	size_t fits = 0;

	if (list->count == 0)
		return true;
	for (size_t i = 0; i < list->count && fits <= max && !run->failed; i++) {
		fits += check_quietly(run, list->nodes[i], val, path);
		if (fits && max == SIZE_MAX)
			return true;
	}
	if (run->failed)
		return false;
	if (fits == 0)
		tell_alternatives(run, list, val, path);
	else if (fits > max)
		PROBLEM(run, path, "fits more than one of %zu alternatives, must fit exactly one", list->count);
	return fits > 0 && fits <= max;
}

/* The keywords that apply other schemas to the same value. */
static bool check_same(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	bool ok = !node->ref || check(run, node->ref, val, path);

	for (size_t i = 0; i < node->all_of.count && (ok || !is_quiet(run)); i++)
		ok = check(run, node->all_of.nodes[i], val, path) && ok;
	ok = check_alternatives(run, &node->any_of, SIZE_MAX, val, path) && ok;
	ok = check_alternatives(run, &node->one_of, 1, val, path) && ok;
	if (node->not &&check_quietly(run, node->not, val, path)) {
		PROBLEM(run, path, "must not be of the form that its schema excludes");
		ok = false;
	}
	if (node->if_ && (node->then || node->else_)) {
		const struct node *next = check_quietly(run, node->if_, val, path) ? node->then : node->else_;

		ok = (!next || check(run, next, val, path)) && ok;
	}
	return ok;
}

static bool check_node(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	bool ok;

	if (node->is_false) {
		PROBLEM(run, path, "is not allowed");
		return false;
	}
	ok = check_type(run, node, val, path);
	if (!ok) /* what else it is not would only distract */
		return false;
	ok = check_constants(run, node, val, path);
	if (!ok && is_quiet(run))
		return false;
	if (is_number(val))
		ok = check_number(run, node, val, path) && ok;
	else if (json_object_is_type(val, json_type_string))
		ok = check_string(run, node, val, path) && ok;
	else if (json_object_is_type(val, json_type_array))
		ok = check_array(run, node, val, path) && ok;
	else if (json_object_is_type(val, json_type_object))
		ok = check_object(run, node, val, path) && ok;
	if (!ok && is_quiet(run))
		return false;
	return check_same(run, node, val, path) && ok;
}

static bool check(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	bool ok;

	if (run->failed || !step(run))
		return false;
	if (run->frames >= SCHEMA_FRAMES_MAX)
		return run_fail(run, "the value is nested too deep for its schema");
	run->frames++;
	ok = check_node(run, node, val, path);
	run->frames--;
	return ok && !run->failed;
}

int schema_check(const struct schema *schema, json_object *instance, struct buf *why, struct err *err)
{
	static const char more[] = "; ...";
	struct run run = {.why = why, .err = err};
	size_t room = why->max > sizeof(more) ? sizeof(more) : 0;
	bool ok;

	why->max -= room;
	ok = check(&run, schema->root, instance, NULL);
	why->max += room;
	if (run.why_is_full && room)
		buf_adds(why, why->len ? more : "...");
	if (run.failed)
		return -1;
	return ok ? 0 : err_set(err, ERR_PARAMS, "%s", why->data ? why->data : "the value is not valid");
}

bool schema_allows_member(const struct schema *schema, struct slice name)
{
	const struct node *root = schema->root;

	if (!root->additional_properties || !root->additional_properties->is_false)
		return true;
	for (size_t i = 0; i < root->properties.count; i++) {
		if (slice_is(name, root->properties.items[i].name))
			return true;
	}
	return false;
}
