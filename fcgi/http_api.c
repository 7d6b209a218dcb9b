#include "config.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/ascii.h"
#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/rnd.h"
#include "common/utf8.h"
#include "fcgi/content.h"
#include "fcgi/http_api.h"
#include "fcgi/placeholder.h"
#include "common/banned.h"

#define WHY_MAX_BYTES  4096
#define SAID_MAX_BYTES 1000 /* of what an API says about a failure */
#define BACK_OFF_MS    200  /* before the first retry, on average; then twice as much each time */

struct http_api {
	struct http_def *def; /* owned */
	struct slice result;  /* borrowed from the configuration, as template */
	const char *template;
	bool needs_json;
	size_t output_max_bytes;
	int64_t retries;
};

static struct log_rate fail_rate;

/* ---- the definition ---- */

static int read_number(
    json_object *def, const char *name, int64_t min, int64_t max, int64_t *number, struct cfg *cfg, const char *pointer)
{
	json_object *val = jx_get(def, name);

	if (!jx_has(def, name))
		return 0;
	*number = jx_is_integer(val) ? json_object_get_int64(val) : min - 1;
	if (*number < min || *number > max)
		return cfg_complain_at(cfg, pointer, name, "%s must be a whole number, %lld to %lld", name,
		    (long long)min, (long long)max);
	return 0;
}

static int read_template(
    struct http_api *api, json_object *def, const struct http_names *names, struct cfg *cfg, const char *pointer)
{
	struct slice text = jx_get_str(def, "template"), part;
	size_t at = 0;

	if (!jx_has(def, "template"))
		return 0;
	if (!text.p || strlen(text.p) != text.len)
		return cfg_complain_at(cfg, pointer, "template", "template must be a string");
	while (text.p[at]) {
		int kind = placeholder_next(text.p, &at, &part);
		int len = part.len > 100 ? 100 : (int)part.len;

		if (kind == -1)
			return cfg_complain_at(cfg, pointer, "template", "%s", PLACEHOLDER_SYNTAX);
		if (kind == 1 && part.p[0] == '/' && !jx_is_pointer(part))
			return cfg_complain_at(
			    cfg, pointer, "template", "{%.*s} is no JSON pointer as in {/data/0}", len, part.p);
		if (kind == 1 && part.p[0] != '/' && !names->has(names->arg, part))
			return cfg_complain_at(cfg, pointer, "template",
			    "{%.*s} is not one of its arguments; a place of the answer begins with /", len, part.p);
	}
	api->template = text.p;
	return 0;
}

static int read_result(struct http_api *api, json_object *def, struct cfg *cfg, const char *pointer)
{
	api->result = jx_get_str(def, "result");
	if (jx_has(def, "result") && (!api->result.p || !jx_is_pointer(api->result)))
		return cfg_complain_at(cfg, pointer, "result", "result must be a JSON pointer as in \"/data/0\"");
	return 0;
}

struct http_api *http_api_new(
    json_object *def, const struct http_names *names, struct cfg *cfg, const char *pointer, struct err *err)
{
	struct http_api *api = mem_alloc(1, sizeof(*api));
	int64_t output_max_bytes = cfg->http_output_max_bytes;
	int bad;

	if (!api) {
		err_set(err, ERR_NOMEM, "http");
		return NULL;
	}
	api->retries = cfg->http_retries;
	api->def = http_def_new(def, names, cfg, pointer, err);
	bad = api->def ? 0 : -1;
	bad |= read_result(api, def, cfg, pointer);
	bad |= read_template(api, def, names, cfg, pointer);
	bad |= read_number(def, "output_max_bytes", 1024, 67108864, &output_max_bytes, cfg, pointer);
	bad |= read_number(def, "retries", 0, 10, &api->retries, cfg, pointer);
	api->output_max_bytes = (size_t)output_max_bytes;
	api->needs_json = api->result.p || api->template;
	if (bad)
		http_api_free(&api);
	return api;
}

void http_api_free(struct http_api **apip)
{
	struct http_api *api = *apip;

	if (!api)
		return;
	*apip = NULL;
	http_def_free(&api->def);
	mem_free(api);
}

bool http_api_needs_json(const struct http_api *api)
{
	return api->needs_json;
}

/* ---- how it failed ---- */

int http_answer_fail(struct http_answer *answer, const char *fmt, ...)
{
	char words[WHY_MAX_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	buf_clear(&answer->why);
	buf_adds(&answer->why, words);
	return 1;
}

void http_answer_release(struct http_answer *answer)
{
	buf_release(&answer->why);
	buf_release(&answer->body);
}

/* What a model can make of a status. */
static const char *words_of_status(int status)
{
	switch (status) {
	case 400:
	case 422:
		return "it does not accept these arguments";
	case 401:
	case 403:
		return "this server may not do that there; trying again will not help";
	case 404:
	case 410:
		return "there is no such thing";
	case 409:
		return "it contradicts what is there";
	case 429:
		return "it was asked too often; try again later";
	}
	return status >= 500 ? "it has a problem of its own; try again later" : "it refuses";
}

/* What it says itself, unless that is a page for people. */
static void put_said(const struct http_api *api, const struct http_response *response, struct buf *why)
{
	struct slice said = buf_slice(&response->body);
	struct buf clean;

	if (said.len == 0 || memchr(said.p, '\0', said.len) || strstr(response->content_type, "html"))
		return;
	buf_init(&clean, 16 * response->body.len + 64);
	http_def_put_clean(api->def, &clean, said); /* first, or a secret that is cut would pass */
	said = buf_slice(&clean);
	if (said.len > SAID_MAX_BYTES)
		said.len = SAID_MAX_BYTES;
	if (!clean.fault) {
		buf_adds(why, "\n");
		utf8_add_repaired(why, said);
	}
	buf_release(&clean);
}

static void explain(const struct http_api *api, const struct http_response *response, struct http_answer *answer)
{
	if (response->failure != HTTP_DONE) {
		http_answer_fail(answer, "%s: %s", http_def_host(api->def), response->why);
		return;
	}
	answer->is_missing = response->status == 404 || response->status == 410;
	http_answer_fail(answer, "%s answered with status %d: %s", http_def_host(api->def), response->status,
	    words_of_status(response->status));
	if (response->retry_after_s > 0)
		buf_addf(&answer->why, " (in %lld s)", (long long)response->retry_after_s);
	put_said(api, response, &answer->why);
}

/* ---- one call ---- */

static bool is_good(const struct http_response *response)
{
	return response->failure == HTTP_DONE && response->status >= 200 && response->status < 300;
}

static bool is_worth_a_retry(const struct http_api *api, const struct http_response *response)
{
	if (response->failure == HTTP_UNREACHABLE)
		return true;
	if (!http_def_is_repeatable(api->def))
		return false;
	if (response->failure == HTTP_DONE)
		return response->status == 429 || (response->status >= 502 && response->status <= 504);
	return response->failure == HTTP_BROKEN;
}

/* When the retry after so many may begin; UINT64_MAX: not before the deadline. */
static uint64_t retry_at_ms(const struct http_response *response, int64_t retries, uint64_t deadline_ms)
{
	uint64_t mean_ms = (uint64_t)BACK_OFF_MS << retries, now = now_ms();
	uint64_t wait_ms = mean_ms / 2 + rnd_u64() % mean_ms;

	if (response->retry_after_s > 0 && (uint64_t)response->retry_after_s > wait_ms / 1000)
		wait_ms = (uint64_t)response->retry_after_s * 1000;
	return now < deadline_ms && wait_ms < deadline_ms - now ? now + wait_ms : UINT64_MAX;
}

static int wait_until(struct call *call, uint64_t end_ms, struct err *err)
{
	struct pollfd none = {.fd = -1};
	uint64_t now;

	while ((now = now_ms()) < end_ms) {
		if (call_poll(call, &none, 1, ms_until(end_ms, now), err) == -1)
			return -1;
	}
	return 0;
}

/* Begins a transfer and waits for its end. NULL: *err. */
static struct http_transfer *transfer(const struct http_api *api, struct call *call, json_object *args,
    uint64_t deadline_ms, struct http_answer *answer, struct err *err)
{
	struct http_request request;
	struct http_transfer *t = NULL;
	struct pollfd fd;
	int ret;

	http_request_init(&request);
	ret = http_def_make(api->def, args, &request, &answer->why, err);
	if (ret)
		http_request_release(&request);
	else
		t = http_client_begin(call->cfg, &request, deadline_ms, api->output_max_bytes, err);
	if (!t)
		return NULL;
	fd = (struct pollfd){.fd = http_transfer_fd(t), .events = POLLIN};
	do
		ret = call_poll(call, &fd, 1, -1, err); /* the transfer has its own end */
	while (ret == 0);
	if (ret == -1)
		http_transfer_release(&t);
	return t;
}

static void log_failure(const struct http_api *api, const char *name, const struct http_response *response)
{
	unsigned dropped;

	if (log_rate_ok(&fail_rate, 10, 1000, &dropped))
		LOG(WARN, "http.failed", "name=%s host=%s status=%d dropped=%u why=\"%s\"", name,
		    http_def_host(api->def), response->status, dropped, response->why);
}

static int keep(const struct http_response *response, struct http_answer *answer, struct err *err)
{
	snprintf(answer->content_type, sizeof(answer->content_type), "%s", response->content_type);
	buf_init(&answer->body, response->body.max);
	buf_add_slice(&answer->body, buf_slice(&response->body));
	return buf_check(&answer->body, err);
}

int http_api_call(const struct http_api *api, struct call *call, const char *name, json_object *args, int64_t timeout_s,
    struct http_answer *answer, struct err *err)
{
	uint64_t deadline_ms = now_ms() + (uint64_t)timeout_s * 1000, again_ms = UINT64_MAX;
	int ret = 0;

	*answer = (struct http_answer){.is_missing = false};
	buf_init(&answer->why, 2 * WHY_MAX_BYTES);
	for (int64_t retries = 0;; retries++) {
		struct http_transfer *t = transfer(api, call, args, deadline_ms, answer, err);
		const struct http_response *response;

		if (!t)
			return answer->why.len ? 0 : -1;
		response = http_transfer_response(t);
		again_ms = UINT64_MAX;
		if (is_good(response)) {
			ret = keep(response, answer, err);
		} else {
			log_failure(api, name, response);
			explain(api, response, answer);
			if (retries < api->retries && is_worth_a_retry(api, response))
				again_ms = retry_at_ms(response, retries, deadline_ms);
		}
		http_transfer_release(&t);
		if (again_ms == UINT64_MAX)
			return ret;
		buf_clear(&answer->why);
		if (wait_until(call, again_ms, err))
			return -1;
	}
}

/* ---- what it means ---- */

int http_api_parse(const struct http_api *api, struct call *call, struct http_answer *answer, json_object **root,
    json_object **result, struct err *err)
{
	*root = jx_parse(buf_slice(&answer->body), (int)call->cfg->body_depth_max, err);
	*result = NULL;
	if (!*root && err->code == ERR_NOMEM)
		return -1;
	if (!*root)
		return http_answer_fail(
		    answer, "%s: its answer is not the JSON that it should be: %s", http_def_host(api->def), err->msg);
	if (!jx_find(*root, api->result, result))
		return http_answer_fail(
		    answer, "%s: its answer has nothing at %s", http_def_host(api->def), api->result.p);
	return 0;
}

static void put_value(struct buf *out, json_object *val)
{
	if (json_object_is_type(val, json_type_string))
		buf_add_slice(out, jx_str(val));
	else if (val)
		jx_write(out, val);
}

void http_api_put_text(const struct http_api *api, json_object *args, json_object *result, struct buf *out)
{
	struct slice part;
	size_t at = 0;

	if (!api->template && !result)
		jx_write(out, result);
	else if (!api->template)
		put_value(out, result);
	while (api->template && api->template[at]) {
		json_object *val;

		if (placeholder_next(api->template, &at, &part) == 0)
			buf_add_slice(out, part);
		else if (part.p[0] != '/')
			put_value(out, http_def_value(api->def, args, part));
		else if (jx_find(result, part, &val))
			put_value(out, val);
	}
}
