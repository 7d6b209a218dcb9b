#include "config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "tests/lib/fake_req.h"
#include "common/banned.h"

#define R(req) ((struct fake_req *)(req)) /* base is the first member */

static long fake_read(struct req *req, char *to, size_t len)
{
	struct slice *body = &R(req)->body;

	if (len > 1000) /* in pieces, as from a socket */
		len = 1000;
	if (len > body->len)
		len = body->len;
	if (len == 0)
		return R(req)->breaks_off ? -1 : 0;
	memcpy(to, body->p, len);
	body->p += len;
	body->len -= len;
	return (long)len;
}

static int fake_reply(struct req *req, struct slice head, struct slice body, struct err *err)
{
	struct fake_req *r = R(req);

	(void)err;
	r->answers_count++;
	buf_add_slice(&r->head, head);
	buf_add_slice(&r->answer, body);
	req->env = NULL;
	return 0;
}

static int fake_fd(struct req *req, enum link_kind *kind, uint16_t *request_id)
{
	*kind = LINK_KIND_FCGI;
	*request_id = 1;
	return R(req)->fd;
}

static void fake_detach(struct req *req)
{
	R(req)->answers_count++;
	R(req)->is_detached = true;
}

static const struct req_ops fake_ops = {fake_read, fake_reply, fake_fd, fake_detach};

void fake_req_init(struct fake_req *r)
{
	*r = (struct fake_req){.base.ops = &fake_ops, .fd = -1};
	req_set_env(&r->base, r->env);
	buf_init(&r->head, 1 << 16);
	buf_init(&r->answer, 1 << 20);
	buf_reserve(&r->head, r->head.max); /* now: later a test may let the worker's allocations fail */
	buf_reserve(&r->answer, r->answer.max);
}

void fake_req_release(struct fake_req *r)
{
	for (size_t i = 0; i < r->env_count; i++)
		free(r->env[i]);
	buf_release(&r->head);
	buf_release(&r->answer);
}

void fake_req_set(struct fake_req *r, const char *name, const char *value)
{
	size_t len = strlen(name), at = 0;

	while (at < r->env_count && !(strncmp(r->env[at], name, len) == 0 && r->env[at][len] == '='))
		at++;
	if (at < r->env_count) {
		free(r->env[at]);
		r->env[at] = r->env[--r->env_count];
		r->env[r->env_count] = NULL;
	}
	if (value) {
		DIE_UNLESS(r->env_count < FAKE_REQ_ENV_MAX);
		if (asprintf(&r->env[r->env_count], "%s=%s", name, value) < 0)
			die(__FILE__, __LINE__, "out of memory");
		r->env_count++;
	}
	if (r->base.env) /* else it is over */
		req_set_env(&r->base, r->env);
}

/* What a web server says under a name of its own. */
static bool is_of_server(const char *name)
{
	return strcmp(name, "HTTP_CONTENT_TYPE") == 0 || strcmp(name, "HTTP_CONTENT_LENGTH") == 0 ||
	       strcmp(name, "HTTP_REMOTE_ADDR") == 0;
}

void fake_req_set_headers(struct fake_req *r, const char *lines)
{
	while (lines && *lines) {
		size_t len = strcspn(lines, "\n"), name_len = strcspn(lines, ":");
		char name[256], value[16384];

		DIE_UNLESS(name_len < len && name_len < 200 && len - name_len < sizeof(value));
		snprintf(name, sizeof(name), "HTTP_%.*s", (int)name_len, lines);
		for (char *p = name; *p; p++)
			*p = isalnum((unsigned char)*p) ? (char)toupper((unsigned char)*p) : '_';
		lines += name_len + 1;
		len -= name_len + 1;
		while (len > 0 && *lines == ' ')
			lines++, len--;
		snprintf(value, sizeof(value), "%.*s", (int)len, lines);
		fake_req_set(r, is_of_server(name) ? name + 5 : name, value);
		lines += len + (lines[len] == '\n');
	}
}

void fake_req_set_body(struct fake_req *r, struct slice body)
{
	char len[32];

	r->body = body;
	snprintf(len, sizeof(len), "%zu", body.len);
	fake_req_set(r, "CONTENT_LENGTH", len);
}

bool fake_head_get(const char *head, const char *name, char *out, size_t size)
{
	size_t len = strlen(name);

	for (const char *p = head; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		if (strncasecmp(p, name, len) != 0 || p[len] != ':')
			continue;
		p += len + 1 + strspn(p + len + 1, " ");
		snprintf(out, size, "%.*s", (int)strcspn(p, "\r\n"), p);
		return true;
	}
	return false;
}
