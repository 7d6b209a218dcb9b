#include "config.h"

#include "common/ascii.h"
#include "fcgi/uri.h"
#include "common/banned.h"

bool uri_is_unreserved(char c)
{
	return ascii_is_letter(c) || ascii_is_digit(c) || ascii_is_among(c, "-._~");
}

bool uri_is_in_path(char c)
{
	return ascii_is_among(c, "/:@!$&'()*+,;=");
}

bool uri_is_reserved(char c)
{
	return uri_is_in_path(c) || ascii_is_among(c, "?#[]");
}

static int hex(char c)
{
	if (ascii_is_digit(c))
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int uri_encoded_byte(struct slice text)
{
	if (text.len < 3 || text.p[0] != '%' || hex(text.p[1]) < 0 || hex(text.p[2]) < 0)
		return -1;
	return hex(text.p[1]) << 4 | hex(text.p[2]);
}

bool uri_is_valid(struct slice text)
{
	size_t i = 0;

	while (i < text.len &&
	       (ascii_is_letter(text.p[i]) || (i && (ascii_is_digit(text.p[i]) || ascii_is_among(text.p[i], "+-.")))))
		i++;
	if (i == 0 || i == text.len || text.p[i] != ':')
		return false;
	for (; i < text.len; i++) {
		if (!uri_is_unreserved(text.p[i]) && !uri_is_reserved(text.p[i]) &&
		    uri_encoded_byte((struct slice){text.p + i, text.len - i}) < 0)
			return false;
	}
	return true;
}

/* Each part with its delimiter ("http:", "//host", "/path", "?query"); p is NULL where there is none. */
struct uri {
	struct slice scheme, authority, path, query;
};

static struct slice cut(struct slice *text, size_t len)
{
	struct slice head = {text->p, len};

	text->p += len;
	text->len -= len;
	return head;
}

static size_t span_until(struct slice text, size_t from, const char *ends)
{
	while (from < text.len && !(text.p[from] && strchr(ends, text.p[from])))
		from++;
	return from;
}

static struct uri split(struct slice text)
{
	struct uri uri = {0};
	size_t len;

	if (!text.p)
		text = (struct slice){"", 0};
	text.len = span_until(text, 0, "#");
	len = span_until(text, 0, ":/?");
	if (len && len < text.len && text.p[len] == ':')
		uri.scheme = cut(&text, len + 1);
	if (text.len >= 2 && memcmp(text.p, "//", 2) == 0)
		uri.authority = cut(&text, span_until(text, 2, "/?"));
	uri.path = cut(&text, span_until(text, 0, "?"));
	if (text.len)
		uri.query = text;
	return uri;
}

static bool is_last_dir(const struct buf *out, size_t start)
{
	return out->len > start && out->data[out->len - 1] == '/';
}

/* Takes the last segment of what stands behind start away again, and its slash too if it has one behind it. */
static void drop_segment(struct buf *out, size_t start)
{
	if (is_last_dir(out, start))
		out->len--;
	while (out->len > start && out->data[out->len - 1] != '/')
		out->len--;
}

/* Appends the segments of a path, without those that are "." or "..". start: where the path begins in out. */
static void add_path(struct buf *out, size_t start, struct slice path)
{
	while (path.len) {
		size_t len = span_until(path, 0, "/");
		struct slice segment = cut(&path, len < path.len ? len + 1 : len);

		if (len == 2 && memcmp(segment.p, "..", 2) == 0) {
			bool is_rooted = out->len > start && out->data[start] == '/';

			drop_segment(out, start);
			if (is_rooted && out->len == start)
				buf_adds(out, "/");
		} else if (len != 1 || *segment.p != '.') {
			buf_add_slice(out, segment);
		}
	}
}

void uri_resolve(struct buf *out, struct slice base_text, struct slice ref_text)
{
	struct uri base = split(base_text), ref = split(ref_text);
	size_t start;

	buf_add_slice(out, ref.scheme.p ? ref.scheme : base.scheme);
	buf_add_slice(out, ref.scheme.p || ref.authority.p ? ref.authority : base.authority);
	start = out->len;
	if (ref.scheme.p || ref.authority.p || (ref.path.len && *ref.path.p == '/')) {
		add_path(out, start, ref.path);
	} else if (ref.path.len == 0) {
		buf_add_slice(out, base.path);
		if (!ref.query.p)
			ref.query = base.query;
	} else {
		while (base.path.len && base.path.p[base.path.len - 1] != '/')
			base.path.len--;
		if (base.path.len == 0 && base.authority.p)
			base.path = SLICE("/");
		add_path(out, start, base.path);
		add_path(out, start, ref.path);
	}
	buf_add_slice(out, ref.query);
}
