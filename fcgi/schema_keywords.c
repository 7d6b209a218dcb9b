/* What a schema's keywords say becomes the fields of its node. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "fcgi/schema_priv.h"
#include "common/banned.h"

#define DIALECT "https://json-schema.org/draft/2020-12/schema"

struct keyword {
	const char *name;
	int (*read)(
	    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err);
	size_t offset; /* of the field in struct node */
};

static void *field(struct node *node, const struct keyword *kw)
{
	return (char *)node + kw->offset;
}

size_t compiler_push(struct compiler *c, const char *key)
{
	size_t mark = c->at.len;

	jx_add_pointer(&c->at, slice_str(key));
	return mark;
}

size_t compiler_push_index(struct compiler *c, size_t index)
{
	char text[24];

	snprintf(text, sizeof(text), "%zu", index);
	return compiler_push(c, text);
}

void compiler_pop(struct compiler *c, size_t mark)
{
	if (c->at.data)
		c->at.data[mark] = '\0';
	c->at.len = mark;
}

/* A copy for ourselves. NULL is a value too (null), so failure is the return value. */
static int copy_value(json_object *val, json_object **copy, struct err *err)
{
	*copy = NULL;
	return val && json_object_deep_copy(val, copy, NULL) != 0 ? schema_no_memory(err) : 0;
}

static int read_bound(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	struct bound *bound = field(node, kw);

	(void)c;
	if (!jx_is_number(value))
		return err_set(err, ERR_CONFIG, "%s must be a number", kw->name);
	*bound = (struct bound){true, value_number(value)};
	if (bound == &node->multiple_of && bound->value <= 0)
		return err_set(err, ERR_CONFIG, "multipleOf must be more than 0");
	return 0;
}

static int read_limit(
    struct compiler *c, struct node *node, const struct keyword *kw, json_object *value, struct err *err)
{
	struct limit *limit = field(node, kw);
	long double number = jx_is_number(value) ? value_number(value) : -1;

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
	struct node *child = compile_schema(c, value, err);

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
		return schema_no_memory(err);
	for (; list->count < count; list->count++) {
		size_t mark = compiler_push_index(c, list->count);

		list->nodes[list->count] = compile_schema(c, json_object_array_get_idx(value, list->count), err);
		if (!list->nodes[list->count])
			return -1;
		compiler_pop(c, mark);
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
		return schema_no_memory(err);
	for (size_t i = 0; i < count; i++) {
		struct slice name = jx_str(json_object_array_get_idx(value, i));

		if (!name.p)
			return err_set(err, ERR_CONFIG, "%s must be an array of strings", what);
		names->names[i] = mem_dup(name.p, name.len);
		if (!names->names[i])
			return schema_no_memory(err);
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

int property_by_name(const void *a, const void *b)
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
		return schema_no_memory(err);
	json_object_object_foreach(value, name, member) {
		struct property *property = &list->items[list->count];
		size_t mark = compiler_push(c, name);

		property->name = mem_dup(name, strlen(name));
		if (!property->name)
			return schema_no_memory(err);
		list->count++;
		if (list == &node->dependent_required) {
			if (read_names(&property->required, name, member, err))
				return -1;
		} else {
			property->node = compile_schema(c, member, err);
			if (!property->node)
				return -1;
		}
		compiler_pop(c, mark);
	}
	qsort(list->items, list->count, sizeof(*list->items), property_by_name);
	return 0;
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
		return schema_no_memory(err);
	json_object_object_foreach(value, name, member) {
		struct pattern *pattern = &list->items[list->count++];
		size_t mark = compiler_push(c, name);

		if (pattern_compile(c, pattern, slice_str(name), err))
			return -1;
		pattern->node = compile_schema(c, member, err);
		if (!pattern->node)
			return -1;
		compiler_pop(c, mark);
	}
	return 0;
}

static unsigned type_bit(json_object *name)
{
	for (size_t i = 0; i < COUNT_OF(schema_types); i++) {
		if (slice_is(jx_str(name), schema_types[i].name))
			return schema_types[i].bit;
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
			schema_no_memory(err);
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
	return node->dynamic_anchor ? 0 : schema_no_memory(err);
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
		size_t mark = compiler_push(c, "$id"), len;

		id = jx_str(value);
		if (!id.p)
			return err_set(err, ERR_CONFIG, "$id must be a string");
		len = strcspn(id.p, "#");
		if (len + 1 < id.len)
			return err_set(err, ERR_CONFIG, "$id must have no fragment; $anchor gives a place a name");
		compiler_pop(c, mark);
	}
	if (node->resource)
		base = slice_str(node->resource->id);
	node->resource = node;
	node->id = schema_resolve_uri(base, id, err);
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
			mark = compiler_push(c, name);
			if (keywords[i].read(c, node, &keywords[i], value, err))
				return -1;
			compiler_pop(c, mark);
		}
	}
	if (!node->ref_text && !node->dynamic_text && !node->id)
		return 0;
	node->at = mem_dup(c->at.data ? c->at.data : "", c->at.len);
	return node->at ? 0 : schema_no_memory(err);
}

struct node *compile_schema(struct compiler *c, json_object *doc, struct err *err)
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
		schema_no_memory(err);
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
