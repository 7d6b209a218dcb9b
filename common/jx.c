/* What is done with JSON that was read: members, writing, pointers. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/jx.h"
#include "common/jx_plain.h"
#include "common/utf8.h"
#include "common/banned.h"

int jx_add(json_object *obj, const char *key, json_object *val, struct err *err)
{
	/* json-c shows a failed json_object_new_*() as NULL, which it would write as null; on failure val stays ours.
	 */
	if (obj && val && json_object_object_add(obj, key, val) == 0)
		return 0;
	json_object_put(val);
	return err_set(err, ERR_NOMEM, "add member %s", key);
}

int jx_add_str(json_object *obj, const char *key, const char *val, struct err *err)
{
	return jx_add(obj, key, json_object_new_string(val), err);
}

json_object *jx_new_str(struct slice s)
{
	return s.len > INT_MAX ? NULL : json_object_new_string_len(s.p ? s.p : "", (int)s.len);
}

int jx_append(json_object *array, json_object *val, struct err *err)
{
	if (array && val && json_object_array_add(array, val) == 0)
		return 0;
	json_object_put(val);
	return err_set(err, ERR_NOMEM, "append to an array");
}

static json_object *get_typed(json_object *obj, const char *key, json_type type)
{
	json_object *val = jx_get(obj, key);

	return json_object_is_type(val, type) ? val : NULL;
}

json_object *jx_get(json_object *obj, const char *key)
{
	json_object *val = NULL;

	if (json_object_is_type(obj, json_type_object))
		json_object_object_get_ex(obj, key, &val);
	return val;
}

json_object *jx_get_object(json_object *obj, const char *key)
{
	return get_typed(obj, key, json_type_object);
}

json_object *jx_get_array(json_object *obj, const char *key)
{
	return get_typed(obj, key, json_type_array);
}

struct slice jx_get_str(json_object *obj, const char *key)
{
	return jx_str(jx_get(obj, key));
}

bool jx_has(json_object *obj, const char *key)
{
	return json_object_is_type(obj, json_type_object) && json_object_object_get_ex(obj, key, NULL);
}

void jx_find_members(json_object *obj, const char *const *names, size_t count, struct jx_member *members)
{
	memset(members, 0, count * sizeof(*members));
	if (!json_object_is_type(obj, json_type_object))
		return;
	json_object_object_foreach(obj, name, val) {
		for (size_t i = 0; i < count; i++) {
			if (strcmp(name, names[i]) == 0)
				members[i] = (struct jx_member){true, val};
		}
	}
}

struct slice jx_str(json_object *str)
{
	if (!json_object_is_type(str, json_type_string))
		return (struct slice){NULL, 0};
	return (struct slice){json_object_get_string(str), (size_t)json_object_get_string_len(str)};
}

/* A byte of a string that does not stand for itself. */
static void write_escaped(struct buf *out, unsigned char c)
{
	static const char meanings[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
	const char *at = memchr(meanings, c, sizeof(meanings) - 1);

	if (at)
		buf_add(out, (char[]){'\\', names[at - meanings]}, 2);
	else if (c < 0x20)
		buf_addf(out, "\\u%04x", c);
	else
		buf_adds(out, "\xef\xbf\xbd"); /* U+FFFD for a byte that is not UTF-8 */
}

void jx_write_str(struct buf *out, struct slice str)
{
	const unsigned char *p = (const unsigned char *)(str.len > 0 ? str.p : ""), *end = p + str.len, *from = p;

	buf_add(out, "\"", 1);
	while ((p = jx_plain_end(p, end)) < end) {
		size_t len = *p < 0x80 ? 0 : utf8_len((struct slice){(const char *)p, (size_t)(end - p)});

		if (len > 0) {
			p += len;
			continue;
		}
		buf_add(out, from, (size_t)(p - from));
		write_escaped(out, *p);
		from = ++p;
	}
	buf_add(out, from, (size_t)(end - from));
	buf_add(out, "\"", 1);
}

static void write_int(struct buf *out, json_object *val)
{
	int64_t n = json_object_get_int64(val); /* INT64_MAX for what only an uint64_t holds */

	if (n < 0)
		buf_adds(out, "-");
	buf_addu(out, n < 0 ? 0 - (uint64_t)n : json_object_get_uint64(val));
}

static void write_double(struct buf *out, json_object *val)
{
	const char *source = json_object_get_userdata(val); /* what json_object_new_double_s() was given */
	double n = json_object_get_double(val);
	char text[32];

	if (source) {
		buf_adds(out, source);
		return;
	}
	if (!isfinite(n)) {
		buf_adds(out, "null"); /* as JavaScript does: JSON has no word for it */
		return;
	}
	for (int digits = 15; digits <= 17; digits++) { /* the fewest that read back as the same number */
		snprintf(text, sizeof(text), "%.*g", digits, n);
		if (strtod(text, NULL) == n)
			break;
	}
	buf_adds(out, text);
}

static void write_object(struct buf *out, json_object *obj)
{
	const char *before = "{";

	json_object_object_foreach(obj, name, member) {
		buf_add(out, before, 1);
		jx_write_str(out, slice_str(name));
		buf_add(out, ":", 1);
		jx_write(out, member);
		before = ",";
	}
	buf_adds(out, before[0] == '{' ? "{}" : "}");
}

void jx_write(struct buf *out, json_object *val)
{
	switch (json_object_get_type(val)) {
	case json_type_null:
		buf_adds(out, "null");
		break;
	case json_type_boolean:
		buf_adds(out, json_object_get_boolean(val) ? "true" : "false");
		break;
	case json_type_int:
		write_int(out, val);
		break;
	case json_type_double:
		write_double(out, val);
		break;
	case json_type_string:
		jx_write_str(out, jx_str(val));
		break;
	case json_type_array:
		buf_add(out, "[", 1);
		for (size_t i = 0, n = json_object_array_length(val); i < n; i++) {
			if (i > 0)
				buf_add(out, ",", 1);
			jx_write(out, json_object_array_get_idx(val, i));
		}
		buf_add(out, "]", 1);
		break;
	case json_type_object:
		write_object(out, val);
		break;
	}
}

bool jx_is_number(json_object *val)
{
	return json_object_is_type(val, json_type_int) || json_object_is_type(val, json_type_double);
}

bool jx_is_integer(json_object *val)
{
	double n;

	if (json_object_is_type(val, json_type_int))
		return true;
	if (!json_object_is_type(val, json_type_double))
		return false;
	n = json_object_get_double(val);
	return isfinite(n) && floor(n) == n;
}

void jx_add_pointer(struct buf *out, struct slice key)
{
	buf_adds(out, "/");
	for (size_t i = 0; i < key.len; i++) {
		if (key.p[i] == '~')
			buf_adds(out, "~0");
		else if (key.p[i] == '/')
			buf_adds(out, "~1");
		else
			buf_add(out, key.p + i, 1);
	}
}

bool jx_is_pointer(struct slice text)
{
	if (text.len && text.p[0] != '/')
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] == '~' && (i + 1 == text.len || (text.p[i + 1] != '0' && text.p[i + 1] != '1')))
			return false;
	}
	return true;
}

/* Whether a step, still escaped, means this name. */
static bool step_is(struct slice step, const char *name)
{
	for (size_t i = 0; i < step.len; i++, name++) {
		char c = step.p[i];

		if (c == '~')
			c = step.p[++i] == '1' ? '/' : '~';
		if (*name != c || c == '\0')
			return false;
	}
	return *name == '\0';
}

static bool find_member(json_object *obj, struct slice step, json_object **val)
{
	json_object_object_foreach(obj, name, member) {
		if (step_is(step, name)) {
			*val = member;
			return true;
		}
	}
	return false;
}

static bool find_item(json_object *array, struct slice step, json_object **val)
{
	size_t index = 0, count = json_object_array_length(array);

	if (step.len == 0 || step.len > 9 || (step.len > 1 && step.p[0] == '0'))
		return false;
	for (size_t i = 0; i < step.len; i++) {
		if (step.p[i] < '0' || step.p[i] > '9')
			return false;
		index = 10 * index + (size_t)(step.p[i] - '0');
	}
	*val = index < count ? json_object_array_get_idx(array, index) : NULL;
	return index < count;
}

bool jx_find(json_object *root, struct slice pointer, json_object **val)
{
	*val = root;
	while (pointer.len) {
		const char *end = memchr(pointer.p + 1, '/', pointer.len - 1);
		struct slice step = {pointer.p + 1, (end ? (size_t)(end - pointer.p) : pointer.len) - 1};
		bool is_there = false;

		if (json_object_is_type(*val, json_type_object))
			is_there = find_member(*val, step, val);
		else if (json_object_is_type(*val, json_type_array))
			is_there = find_item(*val, step, val);
		if (!is_there)
			return false;
		pointer.p += step.len + 1;
		pointer.len -= step.len + 1;
	}
	return true;
}
