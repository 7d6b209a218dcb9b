#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "fcgi/req.h"
#include "fcgi/req_ops.h"
#include "common/banned.h"

/* Names of CGI variables differ at their ends, and in the middle. */
static size_t slot_of(const char *name, size_t len)
{
	size_t hash = len * 5;

	if (len)
		hash += (unsigned char)name[len - 1] * 7u + (unsigned char)name[len / 2] * 31u;
	return hash % REQ_SLOTS;
}

static const char *value_if(const char *variable, const char *name, size_t len)
{
	return strncmp(variable, name, len) == 0 && variable[len] == '=' ? variable + len + 1 : NULL;
}

const char *req_env(const struct req *req, const char *name)
{
	size_t len = strlen(name);
	const char *value = NULL;

	if (!req->env)
		return NULL;
	for (size_t slot = slot_of(name, len); req->slots[slot] && !value; slot = (slot + 1) % REQ_SLOTS)
		value = value_if(req->env[req->slots[slot] - 1], name, len);
	for (size_t i = req->env_rest; req->env[i] && !value; i++)
		value = value_if(req->env[i], name, len);
	return value;
}

void req_set_env(struct req *req, char **env)
{
	size_t i;

	_Static_assert(REQ_SLOTS / 2 <= UINT8_MAX, "a slot holds the number of a variable");
	memset(req->slots, 0, sizeof(req->slots));
	for (i = 0; i < REQ_SLOTS / 2 && env[i]; i++) {
		size_t slot = slot_of(env[i], strcspn(env[i], "="));

		while (req->slots[slot])
			slot = (slot + 1) % REQ_SLOTS;
		req->slots[slot] = (uint8_t)(i + 1);
	}
	req->env = env;
	req->env_rest = i;
}

/* Bytes that the web server promised; SIZE_MAX when it promised nothing. */
static size_t content_length(const struct req *req)
{
	const char *text = req_env(req, "CONTENT_LENGTH");
	unsigned long long n;
	char *end;

	if (!text || !*text)
		return SIZE_MAX;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (*end || errno || text[0] == '-')
		return SIZE_MAX;
	return (size_t)n;
}

int req_read_body(struct req *req, struct buf *out, struct err *err)
{
	size_t want = content_length(req);

	if (want != SIZE_MAX && want > out->max)
		return err_set(err, ERR_TOO_BIG, "body of %zu bytes, at most %zu are read", want, out->max);
	for (;;) {
		size_t room = want != SIZE_MAX && want > out->len ? want - out->len : 4096;
		char *to;
		long n;

		if (room > out->max - out->len)
			room = out->max - out->len;
		if (room == 0) { /* full: one byte more is one too many */
			char extra;

			n = req->ops->read(req, &extra, 1);
			if (n > 0)
				return err_set(err, ERR_TOO_BIG, "body of more than %zu bytes", out->max);
		} else {
			to = buf_reserve(out, room);
			if (!to)
				return buf_check(out, err);
			n = req->ops->read(req, to, room);
			if (n > 0) {
				out->len += (size_t)n;
				out->data[out->len] = '\0';
			}
		}
		if (n < 0)
			return err_set(err, ERR_GONE, "web server broke off within the body");
		if (n == 0)
			break;
	}
	if (want != SIZE_MAX && out->len != want)
		return err_set(err, ERR_GONE, "body of %zu bytes ended after %zu", want, out->len);
	return 0;
}

void req_discard_body(struct req *req, size_t max_bytes)
{
	char waste[16384];
	long n;

	while (max_bytes > 0 && (n = req->ops->read(req, waste, sizeof(waste))) > 0)
		max_bytes -= (size_t)n < max_bytes ? (size_t)n : max_bytes;
}

int req_reply(struct req *req, struct slice head, struct slice body, struct err *err)
{
	return req->ops->reply(req, head, body, err);
}

int req_fd(struct req *req, enum link_kind *kind, uint16_t *request_id)
{
	return req->ops->fd(req, kind, request_id);
}

void req_detach(struct req *req)
{
	req->ops->detach(req);
	req->env = NULL;
}
