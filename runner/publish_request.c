#include "config.h"

#include <stdlib.h>

#include "common/http_head.h"
#include "runner/publish_request.h"
#include "common/banned.h"

#define LENGTH_DIGITS_MAX 9 /* what 32 bits hold */

struct fields {
	bool has_length, is_encoded;
};

static int read_length(struct slice value, struct fields *f, struct publish_request *r)
{
	size_t len = 0;

	if (value.len == 0 || value.len > LENGTH_DIGITS_MAX)
		return value.len ? 413 : 400;
	for (size_t i = 0; i < value.len; i++) {
		if (value.p[i] < '0' || value.p[i] > '9')
			return 400;
		len = len * 10 + (size_t)(value.p[i] - '0');
	}
	if (f->has_length && len != r->body_len)
		return 400;
	f->has_length = true;
	r->body_len = len;
	return 200;
}

/* Two that differ: one of them was not meant for us. */
static int read_key(struct slice value, struct publish_request *r)
{
	if (r->key.len && !slice_eq(r->key, value))
		return 400;
	r->key = value;
	return 200;
}

static int read_field(struct slice line, struct fields *f, struct publish_request *r)
{
	struct slice name, value;

	if (!http_read_field(line, &name, &value))
		return 400;
	if (http_is_name(name, "Content-Length"))
		return read_length(value, f, r);
	if (http_is_name(name, "X-API-Key"))
		return read_key(value, r);
	if (http_is_name(name, "Authorization")) {
		struct slice scheme = http_cut_word(&value);

		return http_is_name(scheme, "Bearer") ? read_key(value, r) : 200;
	}
	if (http_is_name(name, "Expect"))
		r->wants_continue = http_is_name(value, "100-continue");
	if (http_is_name(name, "Transfer-Encoding"))
		f->is_encoded = true;
	return 200;
}

static int read_request_line(struct slice line)
{
	struct slice method, path;
	int status = http_read_request_line(line, &method, &path);

	if (status != 200)
		return status;
	if (!slice_is(path, PUBLISH_PATH))
		return 404;
	return slice_is(method, "POST") ? 200 : 405;
}

int publish_request_read(struct slice in, struct publish_request *r)
{
	struct slice rest = {in.p, in.len < PUBLISH_HEAD_MAX ? in.len : PUBLISH_HEAD_MAX}, line;
	bool is_full = in.len >= PUBLISH_HEAD_MAX;
	struct fields f = {0};
	int found = 0;

	*r = (struct publish_request){0};
	for (size_t n = 0; (found = http_cut_line(&rest, &line)) > 0; n++) {
		int status;

		if (n > 0 && line.len == 0) {
			r->head_len = (size_t)(rest.p - in.p);
			return f.is_encoded || !f.has_length ? 411 : 200;
		}
		status = n == 0 ? read_request_line(line) : read_field(line, &f, r);
		if (status != 200)
			return status;
	}
	return found < 0 ? 400 : is_full ? 431 : 0;
}
