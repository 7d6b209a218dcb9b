#include "config.h"

#include <strings.h>

#include "broker/admin_request.h"
#include "common/link.h"
#include "common/banned.h"

#define KILL_PATH    "/sessions/"
#define RESTART_PATH "/restart"

static const struct {
	const char *path;
	enum admin_page page;
} pages[] = {
    {"/metrics", ADMIN_METRICS},
    {"/status", ADMIN_STATUS},
    {"/sessions", ADMIN_SESSIONS},
    {"/streams", ADMIN_STREAMS},
};

/* Cuts a line that ends with CR LF. 1: *line; 0: its end is missing; -1: it has a byte that no line has. */
static int cut_line(struct slice *in, struct slice *line)
{
	for (size_t i = 0; i < in->len; i++) {
		unsigned char c = (unsigned char)in->p[i];

		if (c == '\r' && i + 1 == in->len)
			return 0;
		if (c == '\r' && in->p[i + 1] == '\n') {
			*line = (struct slice){in->p, i};
			in->p += i + 2;
			in->len -= i + 2;
			return 1;
		}
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return -1;
	}
	return 0;
}

/* Up to the blank, which is taken too, or the end. */
static struct slice cut_word(struct slice *line)
{
	const char *blank = line->len ? memchr(line->p, ' ', line->len) : NULL;
	struct slice word = {line->p, blank ? (size_t)(blank - line->p) : line->len};
	size_t taken = word.len + (blank != NULL);

	line->p += taken;
	line->len -= taken;
	return word;
}

static bool is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static size_t token_len(struct slice s)
{
	size_t len = 0;

	while (len < s.len && is_token_char(s.p[len]))
		len++;
	return len;
}

static bool is_prefix(struct slice s)
{
	return s.len >= ADMIN_PREFIX_MIN && s.len <= LINK_KEY_MAX && token_len(s) == s.len;
}

static bool cut_start(struct slice *s, const char *start)
{
	size_t len = strlen(start);

	if (s->len < len || memcmp(s->p, start, len) != 0)
		return false;
	s->p += len;
	s->len -= len;
	return true;
}

static int read_request_line(struct slice line, struct admin_request *r)
{
	struct slice method = cut_word(&line), path = cut_word(&line);
	bool is_get = slice_is(method, "GET"), is_delete = slice_is(method, "DELETE");

	if (method.len == 0 || token_len(method) != method.len || path.len == 0 || path.p[0] != '/')
		return 400;
	if (!slice_is(line, "HTTP/1.1") && !slice_is(line, "HTTP/1.0"))
		return line.len == strlen("HTTP/1.1") && cut_start(&line, "HTTP/") ? 505 : 400;
	for (size_t i = 0; i < COUNT_OF(pages); i++) {
		if (!slice_is(path, pages[i].path))
			continue;
		r->page = pages[i].page;
		return is_get ? 200 : 405;
	}
	if (slice_is(path, RESTART_PATH)) {
		r->page = ADMIN_RESTART;
		return slice_is(method, "POST") ? 200 : 405;
	}
	if (!cut_start(&path, KILL_PATH))
		return 404;
	r->page = ADMIN_KILL;
	r->prefix = path;
	return !is_delete ? 405 : is_prefix(path) ? 200 : 400;
}

/* Fields mean nothing here, but those that announce a body, which nothing here takes. */
static int read_field(struct slice line)
{
	size_t name_len = token_len(line);
	struct slice value;

	if (name_len == 0 || name_len == line.len || line.p[name_len] != ':')
		return 400;
	value = (struct slice){line.p + name_len + 1, line.len - name_len - 1};
	while (value.len && (value.p[0] == ' ' || value.p[0] == '\t'))
		value.p++, value.len--;
	while (value.len && (value.p[value.len - 1] == ' ' || value.p[value.len - 1] == '\t'))
		value.len--;
	if (name_len == strlen("Content-Length") && strncasecmp(line.p, "Content-Length", name_len) == 0)
		return slice_is(value, "0") ? 200 : 413;
	if (name_len == strlen("Transfer-Encoding") && strncasecmp(line.p, "Transfer-Encoding", name_len) == 0)
		return 413;
	return 200;
}

int admin_request_read(struct slice in, struct admin_request *r)
{
	bool is_full = in.len >= ADMIN_HEAD_MAX;
	int status = 200, found = 0;
	struct slice line;

	*r = (struct admin_request){0};
	for (size_t n = 0; status == 200; n++) {
		found = cut_line(&in, &line);
		if (found <= 0)
			break;
		if (line.len == 0)
			return n == 0 || in.len > 0 ? 400 : 200;
		status = n == 0 ? read_request_line(line, r) : read_field(line);
	}
	if (status != 200)
		return status;
	return found < 0 ? 400 : is_full ? 431 : 0;
}
