/* json-c in strict mode still takes single quotes, control characters in strings, NaN, Infinity, duplicate names, bytes after a
 * NUL and UTF-8 with surrogates, and clamps integers that it can't hold (measured on 0.16). So the text is read twice: scan() checks every token by the
 * grammar of RFC 8259 and counts the members; json-c checks how the tokens stand together and builds the values. An object
 * that holds fewer members than its text wrote has lost one to a duplicate name. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "common/jx.h"
#include "common/utf8.h"
#include "common/banned.h"

struct scan {
	const char *p, *end, *start;
	size_t members; /* names written, in all objects */
};

static int bad(const struct scan *s, struct err *err, const char *what)
{
	return err_set(err, ERR_PARSE, "%s at byte %zu", what, (size_t)(s->p - s->start));
}

/* Behind the opening quote. A name that hides a NUL would be cut there by json-c: it must not be one. */
static int scan_string(struct scan *s, struct err *err)
{
	bool has_nul = false;

	for (; s->p < s->end && *s->p != '"'; s->p++) {
		if ((unsigned char)*s->p < 0x20)
			return bad(s, err, "control character in a string");
		if ((unsigned char)*s->p >= 0x80) {
			size_t len = utf8_len((struct slice){s->p, (size_t)(s->end - s->p)});

			if (len == 0)
				return bad(s, err, "invalid UTF-8");
			s->p += len - 1;
			continue;
		}
		if (*s->p != '\\')
			continue;
		if (s->end - s->p >= 6 && memcmp(s->p, "\\u0000", 6) == 0)
			has_nul = true;
		s->p++;
		if (s->p == s->end || !memchr("\"\\/bfnrtu", *s->p, 9))
			return bad(s, err, "unknown escape in a string");
	}
	if (s->p == s->end)
		return bad(s, err, "string without end");
	s->p++;
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
		s->p++;
	if (has_nul && s->p < s->end && *s->p == ':')
		return bad(s, err, "NUL in a member's name");
	return 0;
}

static size_t scan_digits(struct scan *s)
{
	const char *from = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return (size_t)(s->p - from);
}

static int scan_number(struct scan *s, struct err *err)
{
	const char *from = s->p;
	bool negative = *s->p == '-', is_integer = true;
	size_t digits;

	s->p += negative;
	digits = scan_digits(s);
	if (digits == 0 || (digits > 1 && from[negative] == '0'))
		return bad(s, err, "malformed number");
	if (s->p < s->end && *s->p == '.') {
		is_integer = false;
		s->p++;
		if (scan_digits(s) == 0)
			return bad(s, err, "malformed number");
	}
	if (s->p < s->end && (*s->p | 0x20) == 'e') {
		is_integer = false;
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		if (scan_digits(s) == 0)
			return bad(s, err, "malformed number");
	}
	if (is_integer && digits >= 19) {
		static const char int64_min[] = "9223372036854775808", uint64_max[] = "18446744073709551615";
		const char *max = negative ? int64_min : uint64_max;
		size_t max_len = strlen(max);

		if (digits > max_len || (digits == max_len && memcmp(from + negative, max, digits) > 0))
			return bad(s, err, "integer of more than 64 bits");
	}
	return 0;
}

static int scan(struct scan *s, struct err *err)
{
	static const struct slice words[] = {{"true", 4}, {"false", 5}, {"null", 4}};

	while (s->p < s->end) {
		char c = *s->p;
		size_t i;

		if (c == '"') {
			s->p++;
			if (scan_string(s, err))
				return -1;
			continue;
		}
		if (c == '-' || (c >= '0' && c <= '9')) {
			if (scan_number(s, err))
				return -1;
			continue;
		}
		if (c == ':')
			s->members++;
		if (c != '\0' && strchr("{}[]:, \t\n\r", c)) {
			s->p++;
			continue;
		}
		for (i = 0; i < COUNT_OF(words); i++) {
			if ((size_t)(s->end - s->p) >= words[i].len && memcmp(s->p, words[i].p, words[i].len) == 0)
				break;
		}
		if (i == COUNT_OF(words))
			return bad(s, err, "unexpected character");
		s->p += words[i].len;
	}
	return 0;
}

/* Members of all objects in val; the depth was bounded by the tokener. */
static size_t count_members(json_object *val)
{
	size_t n = 0;

	if (json_object_is_type(val, json_type_object)) {
		n = (size_t)json_object_object_length(val);
		json_object_object_foreach(val, key, member) {
			(void)key;
			n += count_members(member);
		}
	} else if (json_object_is_type(val, json_type_array)) {
		size_t len = json_object_array_length(val);

		for (size_t i = 0; i < len; i++)
			n += count_members(json_object_array_get_idx(val, i));
	}
	return n;
}

json_object *jx_parse(struct slice text, int depth_max, struct err *err)
{
	struct scan s = {.p = text.p, .start = text.p, .end = text.p + text.len};
	enum json_tokener_error why;
	json_object *root = NULL;
	json_tokener *tok;

	if (text.len == 0 || text.len > INT_MAX) {
		err_set(err, ERR_PARSE, text.len ? "more than 2 GiB" : "empty text");
		return NULL;
	}
	if (scan(&s, err))
		return NULL;
	tok = json_tokener_new_ex(depth_max);
	if (!tok) {
		err_set(err, ERR_NOMEM, "no memory to parse %zu bytes", text.len);
		return NULL;
	}
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT); /* UTF-8 was checked */
	root = json_tokener_parse_ex(tok, text.p, (int)text.len);
	why = json_tokener_get_error(tok);
	if (why == json_tokener_continue && !root) /* a number at the top ends only when something follows it */
		root = json_tokener_parse_ex(tok, "", 1), why = json_tokener_get_error(tok);
	if (why != json_tokener_success)
		err_set(err, ERR_PARSE, "%s at byte %zu", why == json_tokener_continue ? "text ends too early" : json_tokener_error_desc(why),
		    json_tokener_get_parse_end(tok));
	else if (json_tokener_get_parse_end(tok) < text.len && json_tokener_get_parse_end(tok) != 0 &&
	    strspn(text.p + json_tokener_get_parse_end(tok), " \t\r\n") < text.len - json_tokener_get_parse_end(tok))
		err_set(err, ERR_PARSE, "bytes after the JSON text");
	else if (!root)
		err_set(err, ERR_INVALID, "null");
	else if (count_members(root) != s.members)
		err_set(err, ERR_INVALID, "a member's name stands twice in one object");
	else {
		json_tokener_free(tok);
		return root;
	}
	json_tokener_free(tok);
	json_object_put(root);
	return NULL;
}

int jx_add(json_object *obj, const char *key, json_object *val, struct err *err)
{
	if (obj && val && json_object_object_add(obj, key, val) == 0)
		return 0;
	json_object_put(val);
	return err_set(err, ERR_NOMEM, "add member %s", key);
}

int jx_add_str(json_object *obj, const char *key, const char *val, struct err *err)
{
	return jx_add(obj, key, json_object_new_string(val), err);
}

int jx_append(json_object *array, json_object *val, struct err *err)
{
	if (array && val && json_object_array_add(array, val) == 0)
		return 0;
	json_object_put(val);
	return err_set(err, ERR_NOMEM, "append to an array");
}

json_object *jx_get(json_object *obj, const char *key)
{
	json_object *val = NULL;

	if (json_object_is_type(obj, json_type_object))
		json_object_object_get_ex(obj, key, &val);
	return val;
}

static json_object *get_typed(json_object *obj, const char *key, json_type type)
{
	json_object *val = jx_get(obj, key);

	return json_object_is_type(val, type) && val ? val : NULL;
}

json_object *jx_get_object(json_object *obj, const char *key)
{
	return get_typed(obj, key, json_type_object);
}

json_object *jx_get_array(json_object *obj, const char *key)
{
	return get_typed(obj, key, json_type_array);
}

struct slice jx_str(json_object *str)
{
	if (!json_object_is_type(str, json_type_string))
		return (struct slice){NULL, 0};
	return (struct slice){json_object_get_string(str), (size_t)json_object_get_string_len(str)};
}

struct slice jx_get_str(json_object *obj, const char *key)
{
	return jx_str(jx_get(obj, key));
}

bool jx_has(json_object *obj, const char *key)
{
	return json_object_is_type(obj, json_type_object) && json_object_object_get_ex(obj, key, NULL);
}

bool jx_is_integer(json_object *val)
{
	double d;

	if (json_object_is_type(val, json_type_int))
		return true;
	if (!json_object_is_type(val, json_type_double))
		return false;
	d = json_object_get_double(val);
	return isfinite(d) && floor(d) == d;
}

void jx_write_str(struct buf *out, struct slice s)
{
	const char *run = s.p, *end = s.p + s.len;

	buf_add(out, "\"", 1);
	for (const char *p = s.p; p < end; p++) {
		static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
		unsigned char c = (unsigned char)*p;
		size_t len = c < 0x80 ? 1 : utf8_len((struct slice){p, (size_t)(end - p)});
		const char *at;

		if (len > 0 && c >= 0x20 && c != '"' && c != '\\') {
			p += len - 1;
			continue;
		}
		buf_add(out, run, (size_t)(p - run));
		run = p + 1;
		at = c ? strchr(from, c) : NULL;
		if (len == 0)
			buf_adds(out, "\357\277\275");
		else if (at)
			buf_addf(out, "\\%c", to[at - from]);
		else
			buf_addf(out, "\\u%04x", c);
	}
	if (run < end)
		buf_add(out, run, (size_t)(end - run));
	buf_add(out, "\"", 1);
}

static void write_int(struct buf *out, json_object *val)
{
	int64_t n = json_object_get_int64(val);

	if (n == INT64_MAX) /* also what a larger one is clamped to */
		buf_addf(out, "%" PRIu64, json_object_get_uint64(val));
	else
		buf_addf(out, "%" PRId64, n);
}

static void write_members(struct buf *out, json_object *val)
{
	bool first = true;

	json_object_object_foreach(val, key, member) {
		if (!first)
			buf_add(out, ",", 1);
		first = false;
		jx_write_str(out, slice_str(key));
		buf_add(out, ":", 1);
		jx_write(out, member);
	}
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
	case json_type_double: /* json-c keeps the text it read */
		buf_adds(out, json_object_to_json_string_ext(val, JSON_C_TO_STRING_PLAIN));
		break;
	case json_type_string:
		jx_write_str(out, jx_str(val));
		break;
	case json_type_array:
		buf_add(out, "[", 1);
		for (size_t i = 0; i < json_object_array_length(val); i++) {
			if (i)
				buf_add(out, ",", 1);
			jx_write(out, json_object_array_get_idx(val, i));
		}
		buf_add(out, "]", 1);
		break;
	case json_type_object:
		buf_add(out, "{", 1);
		write_members(out, val);
		buf_add(out, "}", 1);
		break;
	}
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
