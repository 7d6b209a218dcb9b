/* Schemas of a description become JSON Schema 2020-12. A table says which keywords there are and where schemas are in
 * them; what is not in it is dropped: extensions (x-...), xml, discriminator and whatever else says nothing of a value.
 */
#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/openapi_priv.h"
#include "fcgi/uri.h"
#include "common/banned.h"

#define HOPS_MAX        32 /* of references to references */
#define REF_MAX         4096
#define DEPTH_MAX       48 /* of a schema, without what it refers to */
#define STEPS_MAX       50000
#define TYPES_DEPTH_MAX 8

enum kind { KIND_VALUE, KIND_SCHEMA, KIND_MAP, KIND_LIST, KIND_REFUSED };

static const struct {
	const char *name;
	enum kind kind;
} keywords[] = {
    {"type", KIND_VALUE},
    {"title", KIND_VALUE},
    {"description", KIND_VALUE},
    {"enum", KIND_VALUE},
    {"const", KIND_VALUE},
    {"default", KIND_VALUE},
    {"examples", KIND_VALUE},
    {"format", KIND_VALUE},
    {"deprecated", KIND_VALUE},
    {"multipleOf", KIND_VALUE},
    {"maximum", KIND_VALUE},
    {"exclusiveMaximum", KIND_VALUE},
    {"minimum", KIND_VALUE},
    {"exclusiveMinimum", KIND_VALUE},
    {"maxLength", KIND_VALUE},
    {"minLength", KIND_VALUE},
    {"pattern", KIND_VALUE},
    {"maxItems", KIND_VALUE},
    {"minItems", KIND_VALUE},
    {"uniqueItems", KIND_VALUE},
    {"maxContains", KIND_VALUE},
    {"minContains", KIND_VALUE},
    {"maxProperties", KIND_VALUE},
    {"minProperties", KIND_VALUE},
    {"required", KIND_VALUE},
    {"dependentRequired", KIND_VALUE},
    {"contentEncoding", KIND_VALUE},
    {"contentMediaType", KIND_VALUE},
    {"properties", KIND_MAP},
    {"patternProperties", KIND_MAP},
    {"dependentSchemas", KIND_MAP},
    {"additionalProperties", KIND_SCHEMA},
    {"propertyNames", KIND_SCHEMA},
    {"unevaluatedProperties", KIND_SCHEMA},
    {"items", KIND_SCHEMA},
    {"contains", KIND_SCHEMA},
    {"unevaluatedItems", KIND_SCHEMA},
    {"not", KIND_SCHEMA},
    {"if", KIND_SCHEMA},
    {"then", KIND_SCHEMA},
    {"else", KIND_SCHEMA},
    {"prefixItems", KIND_LIST},
    {"allOf", KIND_LIST},
    {"anyOf", KIND_LIST},
    {"oneOf", KIND_LIST},
    {"$id", KIND_REFUSED}, /* would change what the references in it mean */
    {"$dynamicRef", KIND_REFUSED},
    {"$recursiveRef", KIND_REFUSED},
};

int openapi_step(struct operation *o, struct err *err)
{
	return ++o->steps > STEPS_MAX ? openapi_refuse(err, "its parameters and schemas are too many") : 0;
}

/* ---- references ---- */

/* The pointer that a reference is. Without memory of its own: who only looks what is there can't run out of it. */
static int read_ref(struct slice ref, char pointer[REF_MAX], struct err *err)
{
	int shown = ref.len > 80 ? 80 : (int)ref.len;
	size_t len = 0;

	if (!ref.p)
		return openapi_refuse(err, "$ref must be a string");
	if (!ref.len || ref.p[0] != '#')
		return openapi_refuse(err, "$ref %.*s: only references within the file are followed", shown, ref.p);
	if (ref.len > REF_MAX)
		return openapi_refuse(err, "$ref %.*s...: it is too long", shown, ref.p);
	for (size_t i = 1; i < ref.len; i++) {
		int byte = uri_encoded_byte((struct slice){ref.p + i, ref.len - i});

		pointer[len++] = byte < 0 ? ref.p[i] : (char)byte;
		i += byte < 0 ? 0 : 2;
	}
	pointer[len] = '\0';
	if (strlen(pointer) != len || !jx_is_pointer((struct slice){pointer, len}))
		return openapi_refuse(err, "$ref %.*s: this is no JSON pointer", shown, ref.p);
	return 0;
}

static int find_target(
    const struct openapi *api, struct slice ref, char pointer[REF_MAX], json_object **target, struct err *err)
{
	if (read_ref(ref, pointer, err))
		return -1;
	if (jx_find(api->root, slice_str(pointer), target) && *target)
		return 0;
	return openapi_refuse(err, "$ref %.*s: nothing is there", ref.len > 80 ? 80 : (int)ref.len, ref.p);
}

int openapi_resolve(const struct openapi *api, json_object **val, struct err *err)
{
	char pointer[REF_MAX];
	int ret = 0;

	for (int hops = 0; ret == 0 && jx_has(*val, "$ref"); hops++)
		ret = hops < HOPS_MAX ? find_target(api, jx_get_str(*val, "$ref"), pointer, val, err)
				      : openapi_refuse(err, "$ref leads round in circles");
	if (ret == 0 && !json_object_is_type(*val, json_type_object))
		ret = openapi_refuse(err, "this must be an object");
	return ret;
}

/* A name for what is at pointer that is not in $defs: its last step, as far as it will do. */
static int put_def_name(struct operation *o, const char *pointer, struct buf *name, struct err *err)
{
	const char *last = strrchr(pointer, '/');
	size_t mark;

	for (last = last ? last + 1 : "root"; *last && name->len < OPENAPI_NAME_MAX; last++)
		buf_add(name, uri_is_unreserved(*last) && *last != '~' ? last : "_", 1);
	if (!name->len)
		buf_adds(name, "_");
	mark = name->len;
	for (int n = 2; !name->fault && jx_has(o->defs, name->data); n++) {
		if (openapi_step(o, err))
			return -1;
		name->len = mark;
		buf_addf(name, "_%d", n);
	}
	return buf_check(name, err);
}

/* {"$ref": "#/$defs/NAME"} */
static json_object *make_ref(struct operation *o, struct slice ref, struct err *err)
{
	json_object *target, *out = NULL;
	char pointer[REF_MAX];
	struct slice known;
	struct buf name;
	int bad;

	buf_init(&name, 256);
	bad = find_target(o->api, ref, pointer, &target, err);
	known = bad ? SLICE("") : jx_get_str(o->def_names, pointer);
	if (!bad && !known.p) {
		bad = put_def_name(o, pointer, &name, err);
		/* null until openapi_add_defs(): the name is taken */
		bad = bad || json_object_object_add(o->defs, name.data, NULL) != 0 ||
		      jx_add(o->def_names, pointer, jx_new_str(buf_slice(&name)), err) ||
		      jx_append(o->def_pointers, json_object_new_string(pointer), err);
		known = buf_slice(&name);
	}
	if (!bad) {
		struct buf text;

		buf_init(&text, 512);
		buf_adds(&text, "#/$defs/");
		buf_add_slice(&text, known);
		out = json_object_new_object();
		bad = buf_check(&text, err) || jx_add(out, "$ref", jx_new_str(buf_slice(&text)), err);
		buf_release(&text);
	}
	buf_release(&name);
	if (!bad)
		return out;
	json_object_put(out);
	if (err->code == ERR_NONE)
		err_set(err, ERR_NOMEM, "openapi");
	return NULL;
}

/* ---- types ---- */

static unsigned type_of(struct slice name)
{
	if (!name.p || slice_is(name, "null"))
		return 0;
	return slice_is(name, "array") ? OPENAPI_ARRAY : slice_is(name, "object") ? OPENAPI_OBJECT : OPENAPI_SCALAR;
}

static unsigned types_at(struct operation *o, json_object *schema, int depth)
{
	static const char *const lists[] = {"allOf", "anyOf", "oneOf"};
	json_object *type;
	unsigned types = 0;
	struct err err;

	if (depth > TYPES_DEPTH_MAX || !json_object_is_type(schema, json_type_object) || openapi_step(o, &err) ||
	    openapi_resolve(o->api, &schema, &err))
		return 0;
	type = jx_get(schema, "type");
	types = type_of(jx_str(type));
	for (size_t i = 0; json_object_is_type(type, json_type_array) && i < json_object_array_length(type); i++)
		types |= type_of(jx_str(json_object_array_get_idx(type, i)));
	if (types)
		return types;
	for (size_t k = 0; k < COUNT_OF(lists); k++) {
		json_object *list = jx_get_array(schema, lists[k]);

		for (size_t i = 0; list && i < json_object_array_length(list); i++)
			types |= types_at(o, json_object_array_get_idx(list, i), depth + 1);
	}
	if (jx_has(schema, "properties"))
		types |= OPENAPI_OBJECT;
	if (jx_has(schema, "items"))
		types |= OPENAPI_ARRAY;
	return types;
}

unsigned openapi_types(struct operation *o, json_object *schema)
{
	return types_at(o, schema, 0);
}

/* ---- schemas ---- */

static json_object *convert(struct operation *o, json_object *schema, int depth, struct err *err);

static int convert_into(
    struct operation *o, json_object *out, const char *key, json_object *schema, int depth, struct err *err)
{
	size_t mark = openapi_enter(o, key);
	json_object *made = convert(o, schema, depth + 1, err);

	if (!made)
		return -1;
	openapi_leave(o, mark);
	return jx_add(out, key, made, err);
}

/* Only for answers: it is not to be sent. */
static bool is_read_only(json_object *schema)
{
	return json_object_is_type(schema, json_type_object) && json_object_get_boolean(jx_get(schema, "readOnly"));
}

static int convert_map(
    struct operation *o, json_object *out, const char *name, json_object *map, int depth, struct err *err)
{
	json_object *made = json_object_new_object();
	size_t mark = openapi_enter(o, name);

	if (jx_add(out, name, made, err))
		return -1;
	if (!json_object_is_type(map, json_type_object))
		return openapi_refuse(err, "%s must be an object", name);
	json_object_object_foreach(map, key, schema) {
		if (!is_read_only(schema) && convert_into(o, made, key, schema, depth, err))
			return -1;
	}
	openapi_leave(o, mark);
	return 0;
}

static int convert_list(
    struct operation *o, json_object *out, const char *name, json_object *list, int depth, struct err *err)
{
	json_object *made = json_object_new_array();
	size_t mark = openapi_enter(o, name);

	if (jx_add(out, name, made, err))
		return -1;
	if (!json_object_is_type(list, json_type_array))
		return openapi_refuse(err, "%s must be an array", name);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		size_t inner = openapi_enter_index(o, i);
		json_object *schema = convert(o, json_object_array_get_idx(list, i), depth + 1, err);

		if (!schema || jx_append(made, schema, err))
			return -1;
		openapi_leave(o, inner);
	}
	openapi_leave(o, mark);
	return 0;
}

/* "required" without what is only for answers. */
static int convert_required(json_object *out, json_object *schema, struct err *err)
{
	json_object *required = jx_get_array(schema, "required"), *properties = jx_get_object(schema, "properties");
	json_object *made = json_object_new_array();
	int bad = 0;

	for (size_t i = 0; required && !bad && i < json_object_array_length(required); i++) {
		json_object *name = json_object_array_get_idx(required, i);

		if (!jx_str(name).p || !is_read_only(jx_get(properties, jx_str(name).p)))
			bad = jx_append(made, json_object_get(name), err);
	}
	return jx_add(out, "required", made, err) | bad;
}

static int convert_keyword(
    struct operation *o, json_object *out, json_object *schema, size_t keyword, int depth, struct err *err)
{
	const char *name = keywords[keyword].name;
	json_object *val = jx_get(schema, name);

	switch (keywords[keyword].kind) {
	case KIND_SCHEMA:
		return convert_into(o, out, name, val, depth, err);
	case KIND_MAP:
		return convert_map(o, out, name, val, depth, err);
	case KIND_LIST:
		return convert_list(o, out, name, val, depth, err);
	case KIND_REFUSED:
		return openapi_refuse(err, "%s is not supported", name);
	case KIND_VALUE:
		break;
	}
	if (strcmp(name, "required") == 0 && json_object_is_type(val, json_type_array))
		return convert_required(out, schema, err);
	if (json_object_object_add(out, name, json_object_get(val)) == 0)
		return 0;
	json_object_put(val);
	return err_set(err, ERR_NOMEM, "openapi");
}

/* 3.0: "exclusiveMinimum": true says of which kind "minimum" is. */
static int convert_bound(json_object *out, const char *name, const char *exclusive, struct err *err)
{
	json_object *is_exclusive = jx_get(out, exclusive), *bound = jx_get(out, name);
	bool moves = bound && json_object_get_boolean(is_exclusive);

	if (!json_object_is_type(is_exclusive, json_type_boolean))
		return 0;
	json_object_object_del(out, exclusive);
	if (moves && jx_add(out, exclusive, json_object_get(bound), err))
		return -1;
	if (moves)
		json_object_object_del(out, name);
	return 0;
}

/* {"anyOf": [schema, {"type": "null"}]}; takes schema. */
static json_object *make_either(json_object *schema, struct err *err)
{
	json_object *out = json_object_new_object(), *null = json_object_new_object(), *list = json_object_new_array();
	int bad = jx_append(list, schema, err);

	bad |= jx_add_str(null, "type", "null", err);
	bad |= jx_append(list, null, err);
	if ((jx_add(out, "anyOf", list, err) | bad) == 0)
		return out;
	json_object_put(out);
	return NULL;
}

/* A copy of list with null. */
static json_object *with_null(json_object *list, json_object *null, struct err *err)
{
	json_object *made = json_object_new_array();
	int bad = made ? 0 : err_set(err, ERR_NOMEM, "openapi");
	bool has_null = false;

	for (size_t i = 0; !bad && i < json_object_array_length(list); i++) {
		json_object *val = json_object_array_get_idx(list, i);

		has_null |= !val || (null && json_object_equal(val, null));
		bad = json_object_array_add(made, json_object_get(val));
	}
	if (!bad && !has_null)
		bad = json_object_array_add(made, json_object_get(null));
	json_object_put(null);
	if (!bad)
		return made;
	json_object_put(made);
	return NULL;
}

/* 3.0: "nullable": true. Takes out. */
static json_object *make_nullable(json_object *out, struct err *err)
{
	json_object *type = jx_get(out, "type"), *list = jx_get_array(out, "enum");
	int bad = 0;

	if (!type)
		return jx_has(out, "$ref") || list || jx_has(out, "allOf") || jx_has(out, "anyOf") ||
			       jx_has(out, "oneOf")
			   ? make_either(out, err)
			   : out;
	if (json_object_is_type(type, json_type_string)) {
		json_object *types = json_object_new_array();

		bad = jx_append(types, json_object_get(type), err) |
		      jx_append(types, json_object_new_string("null"), err);
		bad |= jx_add(out, "type", types, err);
	} else if (json_object_is_type(type, json_type_array)) {
		bad = jx_add(out, "type", with_null(type, json_object_new_string("null"), err), err);
	}
	if (!bad && list)
		bad = jx_add(out, "enum", with_null(list, NULL, err), err);
	if (!bad)
		return out;
	json_object_put(out);
	return NULL;
}

static int convert_example(json_object *out, json_object *schema, struct err *err)
{
	json_object *example = jx_get(schema, "example"), *list;

	if (!example || jx_has(out, "examples"))
		return 0;
	list = json_object_new_array();
	return jx_append(list, json_object_get(example), err) | jx_add(out, "examples", list, err);
}

/* In 3.0 nothing beside a $ref counts; a description does no harm. */
static json_object *begin_schema(struct operation *o, json_object *schema, struct err *err)
{
	json_object *out, *description = jx_get(schema, "description");

	if (!jx_has(schema, "$ref")) {
		out = json_object_new_object();
		if (!out)
			err_set(err, ERR_NOMEM, "openapi");
		return out;
	}
	out = make_ref(o, jx_get_str(schema, "$ref"), err);
	if (out && o->api->is_30 && description && jx_add(out, "description", json_object_get(description), err)) {
		json_object_put(out);
		return NULL;
	}
	return out;
}

static json_object *convert(struct operation *o, json_object *schema, int depth, struct err *err)
{
	json_object *out;
	int bad = 0;

	if (openapi_step(o, err))
		return NULL;
	if (depth > DEPTH_MAX) {
		openapi_refuse(err, "its schemas are too deep");
		return NULL;
	}
	if (json_object_is_type(schema, json_type_boolean))
		return json_object_get(schema);
	if (!json_object_is_type(schema, json_type_object)) {
		openapi_refuse(err, "a schema must be an object");
		return NULL;
	}
	out = begin_schema(o, schema, err);
	if (!out || (o->api->is_30 && jx_has(schema, "$ref")))
		return out;
	for (size_t i = 0; !bad && i < COUNT_OF(keywords); i++) {
		if (jx_has(schema, keywords[i].name))
			bad = convert_keyword(o, out, schema, i, depth, err);
	}
	bad = bad || convert_bound(out, "minimum", "exclusiveMinimum", err) ||
	      convert_bound(out, "maximum", "exclusiveMaximum", err) || convert_example(out, schema, err);
	if (bad) {
		json_object_put(out);
		return NULL;
	}
	return json_object_get_boolean(jx_get(schema, "nullable")) ? make_nullable(out, err) : out;
}

json_object *openapi_schema(struct operation *o, json_object *schema, struct err *err)
{
	return convert(o, schema, 0, err);
}

/* def_pointers grows meanwhile. */
int openapi_add_defs(struct operation *o, struct err *err)
{
	for (size_t i = 0; i < json_object_array_length(o->def_pointers); i++) {
		struct slice pointer = jx_str(json_object_array_get_idx(o->def_pointers, i));
		json_object *target, *made;

		buf_clear(&o->at);
		buf_add_slice(&o->at, pointer);
		if (!jx_find(o->api->root, pointer, &target))
			return openapi_refuse(err, "nothing is there");
		made = convert(o, target, 0, err);
		if (!made || jx_add(o->defs, jx_get_str(o->def_names, pointer.p).p, made, err))
			return -1;
	}
	return 0;
}
