#include "config.h"

#include <strings.h>

#include "common/http_head.h"
#include "common/banned.h"

int http_cut_line(struct slice *in, struct slice *line)
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

struct slice http_cut_word(struct slice *line)
{
	const char *blank = line->len ? memchr(line->p, ' ', line->len) : NULL;
	struct slice word = {line->p, blank ? (size_t)(blank - line->p) : line->len};
	size_t taken = word.len + (blank != NULL);

	line->p += taken;
	line->len -= taken;
	return word;
}

bool http_cut_start(struct slice *s, const char *start)
{
	size_t len = strlen(start);

	if (s->len < len || memcmp(s->p, start, len) != 0)
		return false;
	s->p += len;
	s->len -= len;
	return true;
}

static bool is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

size_t http_token_len(struct slice s)
{
	size_t len = 0;

	while (len < s.len && is_token_char(s.p[len]))
		len++;
	return len;
}

int http_read_request_line(struct slice line, struct slice *method, struct slice *path)
{
	*method = http_cut_word(&line);
	*path = http_cut_word(&line);
	if (method->len == 0 || http_token_len(*method) != method->len || path->len == 0 || path->p[0] != '/')
		return 400;
	if (slice_is(line, "HTTP/1.1") || slice_is(line, "HTTP/1.0"))
		return 200;
	return line.len == strlen("HTTP/1.1") && http_cut_start(&line, "HTTP/") ? 505 : 400;
}

bool http_read_field(struct slice line, struct slice *name, struct slice *value)
{
	size_t name_len = http_token_len(line);

	if (name_len == 0 || name_len == line.len || line.p[name_len] != ':')
		return false;
	*name = (struct slice){line.p, name_len};
	*value = (struct slice){line.p + name_len + 1, line.len - name_len - 1};
	while (value->len && (value->p[0] == ' ' || value->p[0] == '\t'))
		value->p++, value->len--;
	while (value->len && (value->p[value->len - 1] == ' ' || value->p[value->len - 1] == '\t'))
		value->len--;
	return true;
}

bool http_is_name(struct slice name, const char *is)
{
	return name.len == strlen(is) && strncasecmp(name.p, is, name.len) == 0;
}

const char *http_reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 401:
		return "Unauthorized";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 409:
		return "Conflict";
	case 411:
		return "Length Required";
	case 413:
		return "Content Too Large";
	case 429:
		return "Too Many Requests";
	case 431:
		return "Request Header Fields Too Large";
	case 500:
		return "Internal Server Error";
	case 503:
		return "Service Unavailable";
	case 505:
		return "HTTP Version Not Supported";
	default:
		return "Bad Request";
	}
}
