/* Values of JSON as JSON Schema sees them: their types, when two are equal. */
#include "config.h"

#include "fcgi/schema_priv.h"
#include "common/banned.h"

const struct schema_type schema_types[] = {
    {"string", "a string", T_STRING},
    {"integer", "an integer", T_INTEGER},
    {"number", "a number", T_NUMBER},
    {"boolean", "a boolean", T_BOOLEAN},
    {"object", "an object", T_OBJECT},
    {"array", "an array", T_ARRAY},
    {"null", "null", T_NULL},
};

/* json-c has one type for both signs and three getters that saturate differently. */
long double value_number(json_object *val)
{
	int64_t i;

	if (json_object_is_type(val, json_type_double))
		return (long double)json_object_get_double(val);
	i = json_object_get_int64(val);
	return i < 0 ? (long double)i : (long double)json_object_get_uint64(val);
}

unsigned value_types(json_object *val)
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
bool value_equal(struct run *run, json_object *a, json_object *b)
{
	json_object *other;

	if (!run_step(run))
		return false;
	if (jx_is_number(a) && jx_is_number(b))
		return value_number(a) == value_number(b);
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
			if (!value_equal(run, json_object_array_get_idx(a, i), json_object_array_get_idx(b, i)))
				return false;
		}
		return true;
	case json_type_object:
		if (json_object_object_length(a) != json_object_object_length(b))
			return false;
		json_object_object_foreach(a, name, member) {
			if (!json_object_object_get_ex(b, name, &other) || !value_equal(run, member, other))
				return false;
		}
		return true;
	default:
		return true; /* null */
	}
}

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
uint64_t value_hash(struct run *run, json_object *val)
{
	uint64_t hash = (uint64_t)value_types(val) & ~(uint64_t)T_INTEGER;
	double number;

	if (!run_step(run))
		return 0;
	switch (json_object_get_type(val)) {
	case json_type_boolean:
		return mix(hash, (uint64_t)json_object_get_boolean(val));
	case json_type_int:
	case json_type_double:
		number = (double)value_number(val) + 0.0; /* -0.0 is 0.0 */
		return mix_bytes(hash, (struct slice){(const char *)&number, sizeof(number)});
	case json_type_string:
		return mix_bytes(hash, jx_str(val));
	case json_type_array:
		for (size_t i = 0; i < json_object_array_length(val); i++)
			hash = mix(hash, value_hash(run, json_object_array_get_idx(val, i)));
		return hash;
	case json_type_object: {
		json_object_object_foreach(val, name, member) /* in any order: a sum */
		{
			hash += mix(mix_bytes(0, slice_str(name)), value_hash(run, member));
		}
		return mix(hash, 1);
	}
	default:
		return hash;
	}
}
