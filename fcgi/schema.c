/* A schema becomes a graph of nodes, one for each subschema: keywords are fields, references are pointers, so that
 * checking follows no names and touches nothing of json-c that counts. Constants are private copies, only ever read.
 *
 * Compiling walks the document by the table of keywords below. References are resolved after that walk, when every
 * $id and anchor is known; a target that no keyword led to (a pointer may lead anywhere) is compiled then. A cycle of
 * references that never goes deeper into the instance is refused, or checking would not end; where only the instance
 * decides ($dynamicRef), the bounds of a check end it.
 *
 * A subschema with an $id, and the root, is a resource: the base of the references in it, and the room in which an
 * anchor has a meaning. What $dynamicRef means is decided by the resources through which the check came, outermost
 * first.
 *
 * unevaluated* needs to know which members and items other keywords looked at. Only below such a keyword this is
 * recorded, in a map of one byte for each member or item of the value at hand. What fails leaves no record; where a
 * failure of a part is a failure of the whole (allOf, $ref), both write to the same map.
 *
 * A hostile string could keep a pattern busy for years. PCRE2's own limits count neither the places where a match is
 * tried nor the characters that a repeat runs over, so patterns are compiled with callouts, which count both as steps.
 *
 * Checking reports into why only what its caller asserts: below not and if, and while alternatives are tried, it is
 * quiet. When all alternatives fail, those of the outermost anyOf or oneOf are run once more to tell why. */
#include "config.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/schema.h"
#include "fcgi/uri.h"
#include "common/banned.h"

#define TEXT_MAX_LEN 300 /* bytes of a value, a name or a list of them inside a problem's text */
#define DIALECT      "https://json-schema.org/draft/2020-12/schema"

/* As ECMA-262's with the flag u, which the specification recommends: \d and \w are ASCII, $ is the very end. What no
 * flag does, translate_pattern() does. */
#define PATTERN_FLAGS                                                                                                  \
	(PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALLOW_EMPTY_CLASS | PCRE2_MATCH_UNSET_BACKREF | PCRE2_ALT_BSUX |     \
	    PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT)
#define PATTERN_HEAP_KIB   16384
#define PATTERN_STEP_BYTES 64 /* that a pattern runs over for the price of a step */

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

static const struct {
	const char *name, *code;
} categories[] = {
    {"Letter", "L"},
    {"Cased_Letter", "L&"},
    {"Uppercase_Letter", "Lu"},
    {"Lowercase_Letter", "Ll"},
    {"Titlecase_Letter", "Lt"},
    {"Modifier_Letter", "Lm"},
    {"Other_Letter", "Lo"},
    {"Mark", "M"},
    {"Combining_Mark", "M"},
    {"Nonspacing_Mark", "Mn"},
    {"Spacing_Mark", "Mc"},
    {"Enclosing_Mark", "Me"},
    {"Number", "N"},
    {"Decimal_Number", "Nd"},
    {"digit", "Nd"},
    {"Letter_Number", "Nl"},
    {"Other_Number", "No"},
    {"Punctuation", "P"},
    {"punct", "P"},
    {"Connector_Punctuation", "Pc"},
    {"Dash_Punctuation", "Pd"},
    {"Open_Punctuation", "Ps"},
    {"Close_Punctuation", "Pe"},
    {"Initial_Punctuation", "Pi"},
    {"Final_Punctuation", "Pf"},
    {"Other_Punctuation", "Po"},
    {"Symbol", "S"},
    {"Math_Symbol", "Sm"},
    {"Currency_Symbol", "Sc"},
    {"Modifier_Symbol", "Sk"},
    {"Other_Symbol", "So"},
    {"Separator", "Z"},
    {"Space_Separator", "Zs"},
    {"Line_Separator", "Zl"},
    {"Paragraph_Separator", "Zp"},
    {"Other", "C"},
    {"Control", "Cc"},
    {"cntrl", "Cc"},
    {"Format", "Cf"},
    {"Surrogate", "Cs"},
    {"Private_Use", "Co"},
    {"Unassigned", "Cn"},
};

/* The inside of the braces of \p{...}: PCRE2 knows the categories by their short names only. */
static void translate_property(struct buf *out, struct slice name)
{
	static const char *const prefixes[] = {"General_Category=", "gc="};

	for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
		size_t len = strlen(prefixes[i]);

		if (name.len > len && memcmp(name.p, prefixes[i], len) == 0)
			name = (struct slice){name.p + len, name.len - len};
	}
	for (size_t i = 0; i < COUNT_OF(categories); i++) {
		if (slice_is(name, categories[i].name))
			name = slice_str(categories[i].code);
	}
	buf_add_slice(out, name);
}

/* What stands behind a backslash; returns its length. */
static size_t translate_escape(struct buf *out, struct slice text, bool in_class)
{
	static const char spaces[] = "\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff\\s";
	const char *end = text.len > 1 && text.p[1] == '{' ? memchr(text.p, '}', text.len) : NULL;

	if (text.len == 0) {
		buf_adds(out, "\\");
		return 0;
	}
	if (text.p[0] == 'v') { /* one character, not a class */
		buf_adds(out, "\\x0b");
	} else if (text.p[0] == 's') {
		buf_addf(out, in_class ? "%s" : "[%s]", spaces);
	} else if (text.p[0] == 'S' && !in_class) {
		buf_addf(out, "[^%s]", spaces);
	} else if ((text.p[0] == 'p' || text.p[0] == 'P') && end) {
		buf_addf(out, "\\%c{", text.p[0]);
		translate_property(out, (struct slice){text.p + 2, (size_t)(end - text.p) - 2});
		return (size_t)(end - text.p);
	} else {
		buf_adds(out, "\\");
		buf_add(out, text.p, 1);
	}
	return 1;
}

/* ECMA-262 into PCRE2, where the same letters mean something else. */
static void translate_pattern(struct buf *out, struct slice text)
{
	bool in_class = false;

	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] == '\\') {
			i += translate_escape(out, (struct slice){text.p + i + 1, text.len - i - 1}, in_class);
			continue;
		}
		if (text.p[i] == '[' && in_class)
			buf_adds(out, "\\"); /* no [:alpha:] */
		in_class = text.p[i] == '[' || (in_class && text.p[i] != ']');
		buf_add(out, text.p + i, 1);
	}
}

static int pattern_compile(struct compiler *c, struct pattern *pattern, struct slice text, struct err *err)
{
	PCRE2_UCHAR why[120];
	PCRE2_SIZE at;
	struct buf translated;
	int code = PCRE2_ERROR_HEAP_FAILED;

	pattern->text = mem_dup(text.p, text.len);
	if (!pattern->text)
		return out_of_memory(err);
	buf_init(&translated, SIZE_MAX / 2);
	translate_pattern(&translated, text);
	if (!translated.fault)
		pattern->code = pcre2_compile((PCRE2_SPTR)(translated.data ? translated.data : ""), translated.len,
		    PATTERN_FLAGS, &code, &at, c->dialect);
	buf_release(&translated);
	if (pattern->code)
		return 0;
	if (code == PCRE2_ERROR_HEAP_FAILED)
		return out_of_memory(err);
	pcre2_get_error_message(code, why, sizeof(why));
	return err_set(err, ERR_CONFIG, "the pattern is no regular expression: %s", (char *)why);
}

static int read_pattern(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	struct slice text = jx_str(value);

	if (!text.p)
		return err_set(err, ERR_CONFIG, "%s must be a string", kw->name);
	return pattern_compile(c, field(node, kw), text, err);
}

static int read_pattern_properties(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	struct pattern_list *list = field(node, kw);

	if (!json_object_is_type(value, json_type_object))
		return err_set(err, ERR_CONFIG, "%s must be an object", kw->name);
	list->items = mem_alloc((size_t)json_object_object_length(value) + 1, sizeof(*list->items));
	if (!list->items)
		return out_of_memory(err);
	json_object_object_foreach(value, name, member) {
		struct pattern *pattern = &list->items[list->count++];
		size_t mark = push(c, name);

		if (pattern_compile(c, pattern, slice_str(name), err))
			return -1;
		pattern->node = compile(c, member, err);
		if (!pattern->node)
			return -1;
		pop(c, mark);
	}
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

	(void)c;
	if (!json_object_is_type(value, json_type_string))
		return err_set(err, ERR_CONFIG, "%s must be a string", kw->name);
	*text = json_object_get_string(value);
	return 0;
}

static int read_dynamic_anchor(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	struct slice name = jx_str(value);

	(void)c;
	if (!name.p)
		return err_set(err, ERR_CONFIG, "%s must be a string", kw->name);
	node->dynamic_anchor = mem_dup(name.p, name.len);
	return node->dynamic_anchor ? 0 : out_of_memory(err);
}

/* A URI reference, resolved and without its fragment, as a string of its own. */
static char *resolve(struct slice base, struct slice ref, struct err *err)
{
	struct buf uri;
	char *text = NULL;

	buf_init(&uri, SIZE_MAX / 2);
	uri_resolve(&uri, base, ref);
	if (buf_check(&uri, err) == 0) {
		text = mem_dup(uri.data ? uri.data : "", uri.len);
		if (!text)
			out_of_memory(err);
	}
	buf_release(&uri);
	return text;
}

/* The $id comes before all other keywords, for it is the base of what they say. */
static int read_id(struct compiler *c, struct node *node, struct err *err)
{
	json_object *value;
	struct slice id = SLICE(""), base = SLICE("");
	bool is_set = json_object_object_get_ex(node->doc, "$id", &value);

	node->resource = c->resource;
	if (!is_set && node->resource)
		return 0;
	if (is_set) {
		size_t mark = push(c, "$id"), len;

		id = jx_str(value);
		if (!id.p)
			return err_set(err, ERR_CONFIG, "$id must be a string");
		len = strcspn(id.p, "#");
		if (len + 1 < id.len)
			return err_set(err, ERR_CONFIG, "$id must have no fragment; $anchor gives a place a name");
		pop(c, mark);
	}
	if (node->resource)
		base = slice_str(node->resource->id);
	node->resource = node;
	node->id = resolve(base, id, err);
	return node->id ? 0 : -1;
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
    {"pattern", read_pattern, FIELD(pattern)},
    {"patternProperties", read_pattern_properties, FIELD(pattern_properties)},
    {"unevaluatedItems", read_node, FIELD(unevaluated_items)},
    {"unevaluatedProperties", read_node, FIELD(unevaluated_properties)},
    {"$ref", read_text, FIELD(ref_text)},
    {"$dynamicRef", read_text, FIELD(dynamic_text)},
    {"$anchor", read_text, FIELD(anchor)},
    {"$dynamicAnchor", read_dynamic_anchor, 0},
    {"$defs", read_properties, FIELD(defs)},
    {"$schema", read_dialect, 0},
};

static int compile_keywords(struct compiler *c, struct node *node, struct err *err)
{
	if (read_id(c, node, err))
		return -1;
	c->resource = node->resource;
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
	if (!node->ref_text && !node->dynamic_text && !node->id)
		return 0;
	node->at = mem_dup(c->at.data ? c->at.data : "", c->at.len);
	return node->at ? 0 : out_of_memory(err);
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
	struct node *node, *resource = c->resource;

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
		node->resource = resource;
		return node;
	}
	c->depth++;
	if (compile_keywords(c, node, err))
		node = NULL; /* schema_free() finds it */
	c->depth--;
	c->resource = resource;
	return node;
}

/* One token of a pointer in a URI fragment: percent-encoding first, then ~0 and ~1. Cuts it off *text. NULL: bad. */
static char *cut_token(const char **text)
{
	size_t len = strcspn(*text, "/"), used = 0;
	char *token = mem_dup(*text, len);

	for (size_t i = 0; token && i < len; i++) {
		int byte = uri_encoded_byte((struct slice){token + i, len - i});
		char c = byte < 0 ? token[i] : (char)byte;

		i += byte < 0 ? 0 : 2;
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

static struct node *find_resource(struct compiler *c, struct slice base, struct slice ref, struct err *err)
{
	struct node *node = c->schema->all;
	char *id = resolve(base, ref, err);

	if (!id)
		return NULL;
	while (node && !(node->id && strcmp(node->id, id) == 0))
		node = node->next;
	if (!node)
		err_set(err, ERR_CONFIG, "a reference out of this schema is not supported (to %.80s)", id);
	mem_free(id);
	return node;
}

static struct node *find_anchor(struct compiler *c, const struct node *resource, const char *name, struct err *err)
{
	for (struct node *node = c->schema->all; node; node = node->next) {
		if (node->resource == resource &&
		    ((node->anchor && strcmp(node->anchor, name) == 0) ||
			(node->dynamic_anchor && strcmp(node->dynamic_anchor, name) == 0)))
			return node;
	}
	err_set(err, ERR_CONFIG, "there is no $anchor \"%.100s\"", name);
	return NULL;
}

/* The member or item that a token of a pointer names. */
static json_object *descend(json_object *at, const char **text, struct err *err)
{
	json_object *next = NULL;
	char *token, *end;

	token = cut_token(text);
	if (!token) {
		out_of_memory(err);
		return NULL;
	}
	if (json_object_is_type(at, json_type_array)) {
		size_t index = strtoul(token, &end, 10);

		if (end != token && !*end && index < json_object_array_length(at))
			next = json_object_array_get_idx(at, index);
	} else if (json_object_is_type(at, json_type_object)) {
		json_object_object_get_ex(at, token, &next);
	}
	mem_free(token);
	if (!next)
		err_set(err, ERR_CONFIG, "it leads nowhere");
	return next;
}

/* Follows a pointer from the root of a resource; what it comes through may be the root of another one. */
static struct node *find_place(struct compiler *c, struct node *resource, const char *text, struct err *err)
{
	struct slice place = slice_str(text);
	struct node *node = resource, *from = resource;
	json_object *at = resource->doc;

	while (at && *text == '/') {
		text++;
		at = descend(at, &text, err);
		node = at ? compiled(c, at) : NULL;
		if (node)
			resource = node->resource;
	}
	if (!at || node)
		return at ? node : NULL;
	pop(c, 0);
	buf_adds(&c->at, from->at);
	buf_add_slice(&c->at, place);
	c->resource = resource;
	node = compile(c, at, err);
	c->resource = NULL;
	return node;
}

static struct node *ref_target(struct compiler *c, const struct node *from, const char *text, struct err *err)
{
	size_t len = strcspn(text, "#");
	const char *fragment = text + len + (text[len] == '#');
	struct node *resource = from->resource;

	if (len)
		resource = find_resource(c, slice_str(resource->id), (struct slice){text, len}, err);
	if (!resource || !*fragment)
		return resource;
	return *fragment == '/' ? find_place(c, resource, fragment, err) : find_anchor(c, resource, fragment, err);
}

/* A reference of a node, under the keyword's name. */
static struct node *resolve_ref(
    struct compiler *c, const struct node *node, const char *keyword, const char *text, struct err *err)
{
	struct node *target;

	pop(c, 0);
	buf_adds(&c->at, node->at);
	push(c, keyword);
	target = ref_target(c, node, text, err);
	if (!target)
		err_wrap(err, "%s \"%.100s\"", keyword, text);
	return target;
}

static int resolve_dynamic_ref(struct compiler *c, struct node *node, const char *text, struct err *err)
{
	const char *fragment = strchr(text, '#');

	node->dynamic_ref = resolve_ref(c, node, "$dynamicRef", text, err);
	if (!node->dynamic_ref)
		return -1;
	if (fragment && node->dynamic_ref->dynamic_anchor &&
	    strcmp(fragment + 1, node->dynamic_ref->dynamic_anchor) == 0)
		node->dynamic_name = node->dynamic_ref->dynamic_anchor;
	return 0;
}

/* New nodes come to the front of the list, so it is read again from there until nothing is left to resolve. */
static int resolve_refs(struct compiler *c, struct err *err)
{
	struct node *node = c->schema->all;

	while (node) {
		const char *text = node->ref_text, *dynamic_text = node->dynamic_text;

		if (!text && !dynamic_text) {
			node = node->next;
			continue;
		}
		node->ref_text = node->dynamic_text = NULL;
		if (text) {
			node->ref = resolve_ref(c, node, "$ref", text, err);
			if (!node->ref)
				return -1;
		}
		if (dynamic_text && resolve_dynamic_ref(c, node, dynamic_text, err))
			return -1;
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
	struct node *dynamic = node->dynamic_name ? NULL : node->dynamic_ref;
	struct node *const same[] = {node->ref, dynamic, node->not, node->if_, node->then, node->else_};

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
		if (node->dynamic_anchor && node->resource != node) {
			node->next_dynamic = node->resource->next_dynamic;
			node->resource->next_dynamic = node;
		}
	}
	return 0;
}

static void *pattern_alloc(size_t len, void *arg)
{
	(void)arg;
	return mem_alloc(1, len);
}

static void pattern_free(void *p, void *arg)
{
	(void)arg;
	mem_free(p);
}

struct schema *schema_new(json_object *doc, struct buf *where, struct err *err)
{
	struct compiler c = {.doc = doc};

	buf_init(&c.at, SIZE_MAX / 2); /* bounded by the depth and the document's own names */
	c.memory = pcre2_general_context_create(pattern_alloc, pattern_free, NULL);
	c.dialect = pcre2_compile_context_create(c.memory);
	c.schema = mem_alloc(1, sizeof(*c.schema));
	if (c.dialect) {
		pcre2_set_newline(c.dialect, PCRE2_NEWLINE_ANYCRLF);
		pcre2_set_compile_extra_options(c.dialect, PCRE2_EXTRA_ALT_BSUX);
	}
	if (!c.schema || !c.memory || !c.dialect) {
		schema_free(&c.schema);
		out_of_memory(err);
	}
	if (c.schema && compile_all(&c, err))
		schema_free(&c.schema);
	if (!c.schema && where)
		buf_add_slice(where, buf_slice(&c.at));
	pcre2_compile_context_free(c.dialect);
	pcre2_general_context_free(c.memory);
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

static void pattern_release(struct pattern *pattern)
{
	pcre2_code_free(pattern->code);
	mem_free(pattern->text);
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
	pattern_release(&node->pattern);
	for (size_t i = 0; i < node->pattern_properties.count; i++)
		pattern_release(&node->pattern_properties.items[i]);
	mem_free(node->pattern_properties.items);
	mem_free(node->id);
	mem_free(node->dynamic_anchor);
	mem_free(node->at);
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

static bool run_no_memory(struct run *run)
{
	if (!run->failed)
		out_of_memory(run->err);
	run->failed = true;
	return false;
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

/* Another value than the one at hand: what is evaluated of it is no business of those who ask about this one. */
static bool check_child(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	struct seen *seen = run->seen;
	bool ok;

	run->seen = NULL;
	ok = check(run, node, val, path);
	run->seen = seen;
	return ok;
}

static bool check_child_quietly(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	struct seen *seen = run->seen;
	bool ok;

	run->seen = NULL;
	ok = check_quietly(run, node, val, path);
	run->seen = seen;
	return ok;
}

static void mark_seen(struct run *run, size_t index)
{
	if (run->seen)
		run->seen->bytes[index] = 1;
}

static bool seen_init(struct run *run, struct seen *seen, json_object *val)
{
	*seen = (struct seen){NULL, 0};
	if (json_object_is_type(val, json_type_object))
		seen->count = (size_t)json_object_object_length(val);
	else if (json_object_is_type(val, json_type_array))
		seen->count = json_object_array_length(val);
	run->steps += (unsigned)(seen->count / 256);
	seen->bytes = mem_alloc(seen->count + 1, 1);
	return seen->bytes || run_no_memory(run);
}

static void seen_merge(struct seen *into, const struct seen *from)
{
	for (size_t i = 0; i < from->count; i++)
		into->bytes[i] |= from->bytes[i];
}

/* Quietly, and what it has evaluated counts only if it fits. */
static bool try_same(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	struct seen own, *seen = run->seen;
	bool ok;

	if (!seen)
		return check_quietly(run, node, val, path);
	if (!seen_init(run, &own, val))
		return false;
	run->seen = &own;
	ok = check_quietly(run, node, val, path);
	run->seen = seen;
	if (ok)
		seen_merge(seen, &own);
	mem_free(own.bytes);
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

static int on_pattern_item(pcre2_callout_block *block, void *arg)
{
	struct run *run = arg;
	size_t at = block->current_position, was = run->matcher.at;

	run->matcher.at = at;
	run->steps += (unsigned)((at > was ? at - was : was - at) / PATTERN_STEP_BYTES);
	return ++run->steps > SCHEMA_STEPS_MAX ? PCRE2_ERROR_MATCHLIMIT : 0;
}

static bool matcher_init(struct run *run)
{
	struct matcher *m = &run->matcher;

	if (m->data)
		return true;
	m->memory = pcre2_general_context_create(pattern_alloc, pattern_free, NULL);
	m->limits = m->memory ? pcre2_match_context_create(m->memory) : NULL;
	m->data = m->limits ? pcre2_match_data_create(1, m->memory) : NULL;
	if (!m->data)
		return run_no_memory(run);
	pcre2_set_heap_limit(m->limits, PATTERN_HEAP_KIB);
	pcre2_set_match_limit(m->limits, SCHEMA_STEPS_MAX);
	pcre2_set_callout(m->limits, on_pattern_item, run);
	return true;
}

static void matcher_release(struct matcher *m)
{
	pcre2_match_data_free(m->data);
	pcre2_match_context_free(m->limits);
	pcre2_general_context_free(m->memory);
}

/* False too when the run has failed. */
static bool matches(struct run *run, const struct pattern *pattern, struct slice text)
{
	int code;

	if (run->failed || !step(run) || !matcher_init(run))
		return false;
	run->matcher.at = 0;
	code = pcre2_match(pattern->code, (PCRE2_SPTR)text.p, text.len, 0, 0, run->matcher.data, run->matcher.limits);
	if (code == PCRE2_ERROR_NOMEMORY)
		return run_no_memory(run);
	if (code < 0 && code != PCRE2_ERROR_NOMATCH)
		return run_fail(run, "a text of the value takes too long to be compared with its pattern");
	return code >= 0;
}

static bool check_pattern(struct run *run, const struct node *node, struct slice text, const struct path *path)
{
	size_t mark;

	if (!node->pattern.code || matches(run, &node->pattern, text))
		return true;
	if (run->failed || is_quiet(run))
		return false;
	mark = problem_begin(run, path, NULL);
	buf_adds(run->why, "must match the pattern ");
	say_name(run->why, node->pattern.text);
	return problem_end(run, mark);
}

static bool check_string(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	struct slice text = jx_str(val);
	uint64_t chars = 0;
	bool ok = check_pattern(run, node, text, path);

	if (!node->min_length.is_set && !node->max_length.is_set)
		return ok;
	for (size_t i = 0; i < text.len; i++)
		chars += ((unsigned char)text.p[i] & 0xc0) != 0x80;
	return check_limits(run, &node->min_length, &node->max_length, chars, "character(s)", path) && ok;
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

		if (check_child_quietly(run, node->contains, json_object_array_get_idx(val, i), &leaf)) {
			mark_seen(run, i);
			found++;
		}
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
		mark_seen(run, i);
		ok = check_child(run, item, json_object_array_get_idx(val, i), &leaf) && ok;
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
		return check_child(run, node->additional_properties, val, &leaf);
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

	if (!val)
		return run_no_memory(run);
	ok = check_child_quietly(run, names, val, &leaf);
	json_object_put(val);
	if (!ok)
		PROBLEM_AT(run, path, name, "is not an allowed name");
	return ok;
}

static bool check_member(
    struct run *run, const struct node *node, const char *name, json_object *val, size_t index, const struct path *path)
{
	const struct property *property = property_find(&node->properties, name);
	struct path leaf = {path, name, 0};
	bool ok = true, is_known = property;

	if (property)
		ok = check_child(run, property->node, val, &leaf);
	for (size_t i = 0; i < node->pattern_properties.count; i++) {
		const struct pattern *pattern = &node->pattern_properties.items[i];

		if (!matches(run, pattern, slice_str(name)))
			continue;
		is_known = true;
		ok = check_child(run, pattern->node, val, &leaf) && ok;
	}
	if (!is_known && node->additional_properties && !run->failed) {
		is_known = true;
		ok = check_unknown_member(run, node, name, val, path) && ok;
	}
	if (is_known)
		mark_seen(run, index);
	return ok;
}

static bool check_members(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	size_t index = 0;
	bool ok = true;

	json_object_object_foreach(val, name, member) {
		ok = check_member(run, node, name, member, index++, path) && ok;
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
	if (node->properties.count || node->pattern_properties.count || node->additional_properties ||
	    node->property_names)
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
		fits += try_same(run, list->nodes[i], val, path);
		if (fits && max == SIZE_MAX && !run->seen)
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

/* Whom a $dynamicRef means: the node of that name in the outermost resource that has one. */
static const struct node *dynamic_target(struct run *run, const struct node *node)
{
	const struct node *target = node->dynamic_ref;

	if (!node->dynamic_name)
		return target;
	for (const struct scope *scope = run->scope; scope; scope = scope->outer) {
		for (const struct node *at = scope->resource; at && step(run); at = at->next_dynamic) {
			if (at->dynamic_anchor && strcmp(at->dynamic_anchor, node->dynamic_name) == 0) {
				target = at;
				break;
			}
		}
	}
	return target;
}

/* The keywords that apply other schemas to the same value. */
static bool check_same(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	bool ok = !node->ref || check(run, node->ref, val, path);

	if (node->dynamic_ref && (ok || !is_quiet(run)))
		ok = check(run, dynamic_target(run, node), val, path) && ok;
	for (size_t i = 0; i < node->all_of.count && (ok || !is_quiet(run)); i++)
		ok = check(run, node->all_of.nodes[i], val, path) && ok;
	ok = check_alternatives(run, &node->any_of, SIZE_MAX, val, path) && ok;
	ok = check_alternatives(run, &node->one_of, 1, val, path) && ok;
	if (node->not &&check_child_quietly(run, node->not, val, path)) {
		PROBLEM(run, path, "must not be of the form that its schema excludes");
		ok = false;
	}
	if (node->if_ && (node->then || node->else_ || run->seen)) {
		const struct node *next = try_same(run, node->if_, val, path) ? node->then : node->else_;

		ok = (!next || check(run, next, val, path)) && ok;
	}
	return ok;
}

static bool check_unevaluated(struct run *run, const struct node *node, json_object *val, const struct path *leaf)
{
	if (!node->is_false)
		return check_child(run, node, val, leaf);
	PROBLEM(run, leaf, "is not known to any part of the schema that applies here");
	return false;
}

static bool check_unevaluated_items(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	bool ok = true;

	for (size_t i = 0; i < run->seen->count && (ok || !is_quiet(run)); i++) {
		struct path leaf = {path, NULL, i};

		if (run->seen->bytes[i])
			continue;
		mark_seen(run, i);
		ok = check_unevaluated(run, node->unevaluated_items, json_object_array_get_idx(val, i), &leaf) && ok;
	}
	return ok;
}

static bool check_unevaluated_members(
    struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	size_t index = 0;
	bool ok = true;

	json_object_object_foreach(val, name, member) {
		struct path leaf = {path, name, 0};
		size_t i = index++;

		if (run->seen->bytes[i] || (!ok && is_quiet(run)))
			continue;
		mark_seen(run, i);
		ok = check_unevaluated(run, node->unevaluated_properties, member, &leaf) && ok;
	}
	return ok;
}

static bool check_keywords(struct run *run, const struct node *node, json_object *val, const struct path *path)
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

static bool check_node(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	bool is_array = node->unevaluated_items && json_object_is_type(val, json_type_array);
	bool is_object = node->unevaluated_properties && json_object_is_type(val, json_type_object);
	struct seen own, *seen = run->seen;
	bool ok;

	if (!is_array && !is_object)
		return check_keywords(run, node, val, path);
	if (!seen_init(run, &own, val))
		return false;
	run->seen = &own;
	ok = check_keywords(run, node, val, path);
	if (ok) /* else what a failed part knows would be called unknown */
		ok = is_array ? check_unevaluated_items(run, node, val, path)
			      : check_unevaluated_members(run, node, val, path);
	run->seen = seen;
	if (seen)
		seen_merge(seen, &own);
	mem_free(own.bytes);
	return ok;
}

static bool check(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	struct scope scope = {run->scope, node->resource};
	bool ok;

	if (run->failed || !step(run))
		return false;
	if (run->frames >= SCHEMA_FRAMES_MAX)
		return run_fail(run, "the value is nested too deep for its schema");
	run->frames++;
	if (!scope.outer || scope.outer->resource != scope.resource)
		run->scope = &scope;
	ok = check_node(run, node, val, path);
	run->scope = scope.outer;
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
	matcher_release(&run.matcher);
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
	struct err err;
	struct run run = {.err = &err};
	bool allows = false;

	if (!root->additional_properties || !root->additional_properties->is_false)
		return true;
	for (size_t i = 0; i < root->properties.count; i++) {
		if (slice_is(name, root->properties.items[i].name))
			return true;
	}
	for (size_t i = 0; i < root->pattern_properties.count && !allows; i++)
		allows = matches(&run, &root->pattern_properties.items[i], name) || run.failed;
	matcher_release(&run.matcher);
	return allows;
}

bool schema_requires_member(const struct schema *schema, struct slice name)
{
	for (size_t i = 0; i < schema->root->required.count; i++) {
		if (slice_is(name, schema->root->required.names[i]))
			return true;
	}
	return false;
}
