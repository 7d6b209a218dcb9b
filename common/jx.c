/* Reading is one strict pass of our own over the bytes (scan_*), then json-c, then a walk over what json-c made.
 *
 * The scan is the grammar of RFC 8259 and UTF-8, with nothing added. json-c lets pass or changes silently: {'a':1},
 * raw control characters, NaN, bytes after a NUL, overlong UTF-8, half a surrogate pair (it becomes U+FFFD), a name
 * with \u0000 (cut there), an integer of more than 64 bits (it becomes the largest of them). Such an integer is given
 * to json-c with ".0" behind it: then it is a double that keeps its digits.
 *
 * Duplicate names: the scan counts the members of all objects, the walk counts those that are left. In a tree that
 * was read from an earlier duplicate nothing remains, so the counts differ exactly if a name came twice, and nobody
 * needs a second table of names. */
#include "config.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/jx.h"
#include "common/utf8.h"
#include "common/banned.h"

#define SCAN_DEPTH_MAX 512 /* the upper end of body_depth_max; json_object_put() recurses */

struct scan {
	const unsigned char *p, *start, *end;
	size_t member_count;         /* of all objects */
	const unsigned char *copied; /* up to here the text is in wide too, once wide is not empty */
	struct buf wide;             /* owned: the text, with ".0" after each integer of more than 64 bits */
	unsigned depth, depth_max;
	unsigned char open[SCAN_DEPTH_MAX]; /* '{' or '[' of each level */
	struct err *err;
};

static int scan_bad(const struct scan *s, const char *what)
{
	return err_set(s->err, ERR_PARSE, "%s at byte %zu", what, (size_t)(s->p - s->start));
}

static inline bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

/* The value of the four hex digits at p, or -1. */
static int hex4(const unsigned char *p, const unsigned char *end)
{
	int n = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int c = p[i];
		int digit = is_digit(c) ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;

		if (digit < 0)
			return -1;
		n = n * 16 + digit;
	}
	return n;
}

/* At the backslash. */
static int scan_escape(struct scan *s, bool is_name)
{
	int unit;

	if (s->end - s->p < 2)
		return scan_bad(s, "end inside a string");
	if (s->p[1] != 'u') {
		if (!strchr("\"\\/bfnrt", s->p[1]) || s->p[1] == '\0')
			return scan_bad(s, "unknown escape");
		s->p += 2;
		return 0;
	}
	unit = hex4(s->p + 2, s->end);
	if (unit < 0)
		return scan_bad(s, "bad \\u escape");
	if (unit == 0 && is_name)
		return scan_bad(s, "NUL in a member name");
	if (unit >= 0xdc00 && unit <= 0xdfff)
		return scan_bad(s, "half a surrogate pair");
	if (unit >= 0xd800 && unit <= 0xdbff) {
		int low = s->end - s->p >= 12 && s->p[6] == '\\' && s->p[7] == 'u' ? hex4(s->p + 8, s->end) : -1;

		if (low < 0xdc00 || low > 0xdfff)
			return scan_bad(s, "half a surrogate pair");
		s->p += 6;
	}
	s->p += 6;
	return 0;
}

/* At the first byte after the quote; leaves p after the last quote. */
static int scan_string(struct scan *s, bool is_name)
{
	while (s->p < s->end) {
		unsigned char c = *s->p;

		if (c == '"') {
			s->p++;
			return 0;
		}
		if (c == '\\') {
			if (scan_escape(s, is_name))
				return -1;
		} else if (c < 0x20) {
			return scan_bad(s, "control character in a string");
		} else if (c < 0x80) {
			s->p++;
		} else {
			size_t len = utf8_len((struct slice){(const char *)s->p, (size_t)(s->end - s->p)});

			if (len == 0)
				return scan_bad(s, "not UTF-8");
			s->p += len;
		}
	}
	return scan_bad(s, "end inside a string");
}

static bool scan_digits(struct scan *s)
{
	const unsigned char *from = s->p;

	while (s->p < s->end && is_digit(*s->p))
		s->p++;
	return s->p > from;
}

static bool fits_64_bits(struct slice digits, bool is_negative)
{
	struct slice most = is_negative ? SLICE("9223372036854775808") : SLICE("18446744073709551615");

	return digits.len < most.len || (digits.len == most.len && memcmp(digits.p, most.p, most.len) <= 0);
}

static int scan_number(struct scan *s)
{
	bool is_negative = *s->p == '-', is_int = true;
	struct slice digits;

	if (is_negative)
		s->p++;
	digits.p = (const char *)s->p;
	if (!scan_digits(s))
		return scan_bad(s, "number without digits");
	digits.len = (size_t)((const char *)s->p - digits.p);
	if (digits.p[0] == '0' && digits.len > 1)
		return scan_bad(s, "number with a leading zero");
	if (s->p < s->end && *s->p == '.') {
		is_int = false;
		s->p++;
		if (!scan_digits(s))
			return scan_bad(s, "number without digits after the point");
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		is_int = false;
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		if (!scan_digits(s))
			return scan_bad(s, "number without digits in the exponent");
	}
	if (is_int && !fits_64_bits(digits, is_negative)) {
		buf_add(&s->wide, s->copied, (size_t)(s->p - s->copied));
		buf_adds(&s->wide, ".0");
		s->copied = s->p;
	}
	return 0;
}

static int scan_word(struct scan *s, struct slice word)
{
	if ((size_t)(s->end - s->p) < word.len || memcmp(s->p, word.p, word.len) != 0)
		return scan_bad(s, "unexpected character");
	s->p += word.len;
	return 0;
}

static void scan_space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
		s->p++;
}

/* The next byte that is no white space, or -1 at the end. */
static int scan_peek(struct scan *s)
{
	scan_space(s);
	return s->p < s->end ? *s->p : -1;
}

/* "name": of a member; p is where a name should be. */
static int scan_name(struct scan *s)
{
	if (scan_peek(s) != '"')
		return scan_bad(s, "no member name");
	s->p++;
	if (scan_string(s, true))
		return -1;
	if (scan_peek(s) != ':')
		return scan_bad(s, "no colon after a member name");
	s->p++;
	s->member_count++;
	return 0;
}

static int scan_open(struct scan *s, unsigned char kind)
{
	if (s->depth == s->depth_max)
		return scan_bad(s, "too deep");
	s->open[s->depth++] = kind;
	s->p++;
	return 0;
}

/* After a value: commas and ends of what is open, up to where the next value begins. *done: the text is over. */
static int scan_after_value(struct scan *s, bool *done)
{
	for (;;) {
		int c = scan_peek(s);

		if (s->depth == 0) {
			*done = true;
			return c < 0 ? 0 : scan_bad(s, "bytes after the JSON text");
		}
		if (c == ',') {
			s->p++;
			return s->open[s->depth - 1] == '{' ? scan_name(s) : 0;
		}
		if (c != s->open[s->depth - 1] + 2) /* '}' is '{' + 2, ']' is '[' + 2 */
			return scan_bad(s, c < 0 ? "end of text" : "no comma or end");
		s->depth--;
		s->p++;
	}
}

static int scan_text(struct scan *s)
{
	bool done = false;

	while (!done) {
		int c = scan_peek(s), ret;

		if (c == '{' || c == '[') {
			if (scan_open(s, (unsigned char)c))
				return -1;
			if (scan_peek(s) != c + 2) {
				if (c == '{' && scan_name(s))
					return -1;
				continue;
			}
			s->depth--;
			s->p++;
			ret = 0;
		} else if (c == '"') {
			s->p++;
			ret = scan_string(s, false);
		} else if (c == '-' || is_digit(c)) {
			ret = scan_number(s);
		} else if (c == 't') {
			ret = scan_word(s, SLICE("true"));
		} else if (c == 'f') {
			ret = scan_word(s, SLICE("false"));
		} else if (c == 'n') {
			ret = scan_word(s, SLICE("null"));
		} else {
			ret = scan_bad(s, c < 0 ? "end of text" : "unexpected character");
		}
		if (ret || scan_after_value(s, &done))
			return -1;
	}
	return 0;
}

/* Subtracts the members of val from *left; sets *is_infinite at a number that a double can't hold. */
static void walk(json_object *val, size_t *left, bool *is_infinite)
{
	switch (json_object_get_type(val)) {
	case json_type_object: {
		json_object_object_foreach(val, name, member) {
			(void)name;
			(*left)--;
			walk(member, left, is_infinite);
		}
		break;
	}
	case json_type_array:
		for (size_t i = 0, n = json_object_array_length(val); i < n; i++)
			walk(json_object_array_get_idx(val, i), left, is_infinite);
		break;
	case json_type_double:
		if (!isfinite(json_object_get_double(val)))
			*is_infinite = true;
		break;
	default:
		break;
	}
}

static json_object *parse_scanned(struct slice text, unsigned depth_max, struct err *err)
{
	/* One level for json-c's way of counting, one for a scalar inside the deepest level. */
	json_tokener *tok = json_tokener_new_ex((int)depth_max + 2);
	json_object *root;
	enum json_tokener_error why;

	if (!tok) {
		err_set(err, ERR_NOMEM, "JSON parser");
		return NULL;
	}
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
	root = json_tokener_parse_ex(tok, text.p, (int)text.len);
	why = json_tokener_get_error(tok);
	if (why == json_tokener_continue) { /* a number at the top could go on */
		root = json_tokener_parse_ex(tok, " ", 1);
		why = json_tokener_get_error(tok);
	}
	if (why != json_tokener_success)
		err_set(err, ERR_PARSE, "%s", json_tokener_error_desc(why));
	else if (!root)
		err_set(err, ERR_INVALID, "null");
	json_tokener_free(tok);
	return root;
}

json_object *jx_parse(struct slice text, int depth_max, struct err *err)
{
	const unsigned char *p = (const unsigned char *)(text.len > 0 ? text.p : "");
	struct scan s = {.p = p, .start = p, .copied = p, .end = p + text.len, .err = err};
	json_object *root = NULL;
	bool is_infinite = false;

	s.depth_max = depth_max > SCAN_DEPTH_MAX ? SCAN_DEPTH_MAX : (unsigned)depth_max;
	if (text.len > INT_MAX / 4) {
		err_set(err, ERR_TOO_BIG, "JSON text of %zu bytes", text.len);
		return NULL;
	}
	buf_init(&s.wide, text.len * 2); /* ".0" is less than any integer that needs it */
	if (scan_text(&s))
		goto out;
	if (s.wide.len > 0 || s.wide.fault) {
		buf_add(&s.wide, s.copied, (size_t)(s.end - s.copied));
		if (buf_check(&s.wide, err))
			goto out;
		text = buf_slice(&s.wide);
	}
	root = parse_scanned(text, s.depth_max, err);
	if (!root)
		goto out;
	walk(root, &s.member_count, &is_infinite);
	if (is_infinite || s.member_count > 0) {
		json_object_put(root);
		root = NULL;
		if (is_infinite)
			err_set(err, ERR_PARSE, "number out of range");
		else
			err_set(err, ERR_INVALID, "a member name twice in one object");
	}
out:
	buf_release(&s.wide);
	return root;
}

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

struct slice jx_str(json_object *str)
{
	if (!json_object_is_type(str, json_type_string))
		return (struct slice){NULL, 0};
	return (struct slice){json_object_get_string(str), (size_t)json_object_get_string_len(str)};
}

/* How a byte of a string is written: 0 as it is, 'u' as \u00XX, 1 after a look at its UTF-8, else after a backslash. */
static char write_as(unsigned char c)
{
	if (c >= 0x80)
		return 1;
	if (c >= 0x20)
		return c == '"' || c == '\\' ? (char)c : 0;
	switch (c) {
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	default:
		return 'u';
	}
}

void jx_write_str(struct buf *out, struct slice str)
{
	const unsigned char *p = (const unsigned char *)(str.len > 0 ? str.p : ""), *end = p + str.len, *from = p;

	buf_add(out, "\"", 1);
	while (p < end) {
		char as = write_as(*p);
		size_t len = 1;

		if (as == 1) {
			len = utf8_len((struct slice){(const char *)p, (size_t)(end - p)});
			if (len > 0)
				as = 0;
		}
		if (as == 0) {
			p += len;
			continue;
		}
		buf_add(out, from, (size_t)(p - from));
		if (as == 'u')
			buf_addf(out, "\\u%04x", *p);
		else if (as == 1)
			buf_adds(out, "\xef\xbf\xbd"); /* U+FFFD for a byte that is not UTF-8 */
		else
			buf_add(out, (char[]){'\\', as}, 2);
		from = ++p;
	}
	buf_add(out, from, (size_t)(p - from));
	buf_add(out, "\"", 1);
}

static void write_int(struct buf *out, json_object *val)
{
	int64_t n = json_object_get_int64(val); /* INT64_MAX for what only an uint64_t holds */

	if (n < 0)
		buf_addf(out, "%lld", (long long)n);
	else
		buf_addf(out, "%llu", (unsigned long long)json_object_get_uint64(val));
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
