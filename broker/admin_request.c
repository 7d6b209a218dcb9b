#include "config.h"

#include "broker/admin_request.h"
#include "common/http_head.h"
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

static bool is_prefix(struct slice s)
{
	return s.len >= ADMIN_PREFIX_MIN && s.len <= LINK_KEY_MAX && http_token_len(s) == s.len;
}

static int read_request_line(struct slice line, struct admin_request *r)
{
	struct slice method, path;
	int status = http_read_request_line(line, &method, &path);

	if (status != 200)
		return status;
	for (size_t i = 0; i < COUNT_OF(pages); i++) {
		if (!slice_is(path, pages[i].path))
			continue;
		r->page = pages[i].page;
		return slice_is(method, "GET") ? 200 : 405;
	}
	if (slice_is(path, RESTART_PATH)) {
		r->page = ADMIN_RESTART;
		return slice_is(method, "POST") ? 200 : 405;
	}
	if (!http_cut_start(&path, KILL_PATH))
		return 404;
	r->page = ADMIN_KILL;
	r->prefix = path;
	return !slice_is(method, "DELETE") ? 405 : is_prefix(path) ? 200 : 400;
}

/* Fields mean nothing here, but those that announce a body, which nothing here takes. */
static int read_field(struct slice line)
{
	struct slice name, value;

	if (!http_read_field(line, &name, &value))
		return 400;
	if (http_is_name(name, "Content-Length"))
		return slice_is(value, "0") ? 200 : 413;
	return http_is_name(name, "Transfer-Encoding") ? 413 : 200;
}

int admin_request_read(struct slice in, struct admin_request *r)
{
	bool is_full = in.len >= ADMIN_HEAD_MAX;
	int status = 200, found = 0;
	struct slice line;

	*r = (struct admin_request){0};
	for (size_t n = 0; status == 200; n++) {
		found = http_cut_line(&in, &line);
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
