/* Reading JSON: one pass that checks and makes json-c's objects.
 *
 * The grammar is RFC 8259 and UTF-8, with nothing added. json-c's own parser, even when it is told to be strict, lets
 * pass or changes silently: {'a':1}, raw control characters, NaN, bytes after a NUL, overlong UTF-8, half a surrogate
 * pair (it becomes U+FFFD), a name with \u0000 (cut there), a name that comes twice, an integer of more than 64 bits
 * (it becomes the largest of them). A check of our own before it would read everything twice. */
#include "config.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "common/jx.h"
#include "common/jx_plain.h"
#include "common/utf8.h"
#include "common/banned.h"

#define DEPTH_MAX  512 /* the upper end of body_depth_max; json_object_put() recurses */
#define ARRAY_ROOM 4   /* values that an array has room for before it grows */

struct reader {
	const unsigned char *p, *start, *end;
	unsigned depth, depth_max;
	bool is_twice;                /* a name came twice in one object; what is no JSON at all is told first */
	struct buf name;              /* owned: of the member whose value comes next */
	struct buf text;              /* owned: the characters of a string with escapes, the digits of a number */
	json_object *root;            /* owned */
	json_object *open[DEPTH_MAX]; /* borrowed: the objects and arrays that p is in */
	struct err *err;
};

static int bad(const struct reader *r, const char *what)
{
	return err_set(r->err, ERR_PARSE, "%s at byte %zu", what, (size_t)(r->p - r->start));
}

static int no_memory(const struct reader *r)
{
	return err_set(r->err, ERR_NOMEM, "JSON text of %zu bytes", (size_t)(r->end - r->start));
}

/* Moves val to where p is; NULL is JSON's null. */
static int put(struct reader *r, json_object *val)
{
	json_object *in = r->depth > 0 ? r->open[r->depth - 1] : NULL;
	int failed;

	if (!in) {
		r->root = val;
		return 0;
	}
	if (json_object_is_type(in, json_type_array)) {
		failed = json_object_array_add(in, val);
	} else {
		int count = json_object_object_length(in);

		failed = json_object_object_add(in, r->name.data, val);
		r->is_twice = r->is_twice || json_object_object_length(in) == count;
	}
	if (!failed)
		return 0;
	json_object_put(val);
	return no_memory(r);
}

/* The same of what a constructor has returned. */
static int put_made(struct reader *r, json_object *val)
{
	return val ? put(r, val) : no_memory(r);
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

/* At the backslash of \uXXXX. */
static int read_unicode(struct reader *r, struct buf *out)
{
	int unit = hex4(r->p + 2, r->end), low;

	if (unit < 0)
		return bad(r, "bad \\u escape");
	if (unit >= 0xdc00 && unit <= 0xdfff)
		return bad(r, "half a surrogate pair");
	if (unit >= 0xd800 && unit <= 0xdbff) {
		low = r->end - r->p >= 12 && r->p[6] == '\\' && r->p[7] == 'u' ? hex4(r->p + 8, r->end) : -1;
		if (low < 0xdc00 || low > 0xdfff)
			return bad(r, "half a surrogate pair");
		unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
		r->p += 6;
	}
	r->p += 6;
	utf8_add(out, (uint32_t)unit);
	return 0;
}

/* At the backslash. */
static int read_escape(struct reader *r, struct buf *out)
{
	static const char names[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
	const char *at;

	if (r->end - r->p < 2)
		return bad(r, "end inside a string");
	if (r->p[1] == 'u')
		return read_unicode(r, out);
	at = memchr(names, r->p[1], sizeof(names) - 1);
	if (!at)
		return bad(r, "unknown escape");
	buf_add(out, &means[at - names], 1);
	r->p += 2;
	return 0;
}

/* At the first byte after the quote; leaves p after the last quote. What was read is lent: a part of the text, or
 * *out, if there were escapes. */
static int read_string(struct reader *r, struct buf *out, struct slice *string)
{
	const unsigned char *from = r->p; /* what is not in *out */

	buf_clear(out);
	while ((r->p = jx_plain_end(r->p, r->end)) < r->end && *r->p != '"') {
		size_t len;

		if (*r->p == '\\') {
			buf_add(out, from, (size_t)(r->p - from));
			if (read_escape(r, out))
				return -1;
			from = r->p;
			continue;
		}
		if (*r->p < 0x20)
			return bad(r, "control character in a string");
		len = utf8_len((struct slice){(const char *)r->p, (size_t)(r->end - r->p)});
		if (len == 0)
			return bad(r, "not UTF-8");
		r->p += len;
	}
	if (r->p == r->end)
		return bad(r, "end inside a string");
	*string = (struct slice){(const char *)from, (size_t)(r->p - from)};
	r->p++;
	if (out->len > 0) { /* no escape stands for nothing */
		buf_add_slice(out, *string);
		*string = buf_slice(out);
	}
	return out->fault ? no_memory(r) : 0;
}

static bool skip_digits(struct reader *r)
{
	const unsigned char *from = r->p;

	while (r->p < r->end && is_digit(*r->p))
		r->p++;
	return r->p > from;
}

static bool fits_64_bits(struct slice digits, bool is_negative)
{
	struct slice most = is_negative ? SLICE("9223372036854775808") : SLICE("18446744073709551615");

	return digits.len < most.len || (digits.len == most.len && memcmp(digits.p, most.p, most.len) <= 0);
}

static json_object *make_int(struct slice digits, bool is_negative)
{
	uint64_t n = 0;

	for (size_t i = 0; i < digits.len; i++)
		n = 10 * n + (uint64_t)(digits.p[i] - '0');
	if (is_negative)
		return json_object_new_int64((int64_t)(0 - n));
	return n <= INT64_MAX ? json_object_new_int64((int64_t)n) : json_object_new_uint64(n);
}

/* Keeps its digits; of an integer beyond 64 bits with ".0" behind them. */
static int put_double(struct reader *r, struct slice digits, const char *more)
{
	double n;

	buf_clear(&r->text);
	buf_add_slice(&r->text, digits);
	buf_adds(&r->text, more);
	if (r->text.fault)
		return no_memory(r);
	n = strtod(r->text.data, NULL);
	return isfinite(n) ? put_made(r, json_object_new_double_s(n, r->text.data)) : bad(r, "number out of range");
}

static int read_number(struct reader *r)
{
	const unsigned char *from = r->p;
	bool is_negative = *r->p == '-', is_int = true;
	struct slice digits;

	if (is_negative)
		r->p++;
	digits.p = (const char *)r->p;
	if (!skip_digits(r))
		return bad(r, "number without digits");
	digits.len = (size_t)((const char *)r->p - digits.p);
	if (digits.p[0] == '0' && digits.len > 1)
		return bad(r, "number with a leading zero");
	if (r->p < r->end && *r->p == '.') {
		is_int = false;
		r->p++;
		if (!skip_digits(r))
			return bad(r, "number without digits after the point");
	}
	if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
		is_int = false;
		r->p++;
		if (r->p < r->end && (*r->p == '+' || *r->p == '-'))
			r->p++;
		if (!skip_digits(r))
			return bad(r, "number without digits in the exponent");
	}
	if (is_int && fits_64_bits(digits, is_negative))
		return put_made(r, make_int(digits, is_negative));
	return put_double(r, (struct slice){(const char *)from, (size_t)(r->p - from)}, is_int ? ".0" : "");
}

static int read_word(struct reader *r, struct slice word)
{
	if ((size_t)(r->end - r->p) < word.len || memcmp(r->p, word.p, word.len) != 0)
		return bad(r, "unexpected character");
	r->p += word.len;
	return 0;
}

/* The next byte that is no white space, or -1 at the end. */
static int peek(struct reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r'))
		r->p++;
	return r->p < r->end ? *r->p : -1;
}

/* "name": of a member; p is where a name should be. */
static int read_name(struct reader *r)
{
	struct slice name;

	if (peek(r) != '"')
		return bad(r, "no member name");
	r->p++;
	if (read_string(r, &r->name, &name))
		return -1;
	if (memchr(name.p, '\0', name.len))
		return bad(r, "NUL in a member name");
	if (name.p != r->name.data)
		buf_add_slice(&r->name, name);
	if (r->name.fault)
		return no_memory(r);
	if (peek(r) != ':')
		return bad(r, "no colon after a member name");
	r->p++;
	return 0;
}

/* An object or an array, up to where its first value begins; *is_empty: it has none, and p is behind it. */
static int read_open(struct reader *r, int kind, bool *is_empty)
{
	json_object *made;

	if (r->depth == r->depth_max)
		return bad(r, "too deep");
	made = kind == '{' ? json_object_new_object() : json_object_new_array_ext(ARRAY_ROOM);
	if (put_made(r, made))
		return -1;
	r->p++;
	*is_empty = peek(r) == kind + 2; /* '}' is '{' + 2, ']' is '[' + 2 */
	if (*is_empty) {
		r->p++;
		return 0;
	}
	r->open[r->depth++] = made;
	return kind == '{' ? read_name(r) : 0;
}

/* After a value: commas and ends of what is open, up to where the next value begins. *done: the text is over. */
static int read_after_value(struct reader *r, bool *done)
{
	for (;;) {
		int c = peek(r);
		bool is_object;

		if (r->depth == 0) {
			*done = true;
			return c < 0 ? 0 : bad(r, "bytes after the JSON text");
		}
		is_object = json_object_is_type(r->open[r->depth - 1], json_type_object);
		if (c == ',') {
			r->p++;
			return is_object ? read_name(r) : 0;
		}
		if (c != (is_object ? '}' : ']'))
			return bad(r, c < 0 ? "end of text" : "no comma or end");
		r->depth--;
		r->p++;
	}
}

/* A value that is no object and no array. */
static int read_scalar(struct reader *r, int c)
{
	struct slice string;

	switch (c) {
	case '"':
		r->p++;
		return read_string(r, &r->text, &string) ? -1 : put_made(r, jx_new_str(string));
	case 't':
		return read_word(r, SLICE("true")) ? -1 : put_made(r, json_object_new_boolean(true));
	case 'f':
		return read_word(r, SLICE("false")) ? -1 : put_made(r, json_object_new_boolean(false));
	case 'n':
		return read_word(r, SLICE("null")) ? -1 : put(r, NULL);
	default:
		if (c == '-' || is_digit(c))
			return read_number(r);
		return bad(r, c < 0 ? "end of text" : "unexpected character");
	}
}

static int read_text(struct reader *r)
{
	bool done = false;

	while (!done) {
		int c = peek(r);
		bool is_whole = true; /* a value, and not the beginning of one */

		if (c == '{' || c == '[' ? read_open(r, c, &is_whole) : read_scalar(r, c))
			return -1;
		if (is_whole && read_after_value(r, &done))
			return -1;
	}
	if (r->is_twice)
		return err_set(r->err, ERR_INVALID, "a member name twice in one object");
	return r->root ? 0 : err_set(r->err, ERR_INVALID, "null");
}

json_object *jx_parse(struct slice text, int depth_max, struct err *err)
{
	const unsigned char *p = (const unsigned char *)(text.len > 0 ? text.p : "");
	struct reader r;

	if (text.len > INT_MAX / 4) {
		err_set(err, ERR_TOO_BIG, "JSON text of %zu bytes", text.len);
		return NULL;
	}
	r.p = r.start = p;
	r.end = p + text.len;
	r.depth = 0;
	r.depth_max = depth_max > DEPTH_MAX ? DEPTH_MAX : (unsigned)depth_max;
	r.is_twice = false;
	buf_init(&r.name, SIZE_MAX / 2);
	buf_init(&r.text, SIZE_MAX / 2);
	r.root = NULL;
	r.err = err;
	if (read_text(&r)) {
		json_object_put(r.root);
		r.root = NULL;
	}
	buf_release(&r.name);
	buf_release(&r.text);
	return r.root;
}
