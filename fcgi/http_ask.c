/* One answer of an API: out of the cache, by a request that is under way already, or by one of our own, which may be
 * repeated. */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/log.h"
#include "common/rnd.h"
#include "common/utf8.h"
#include "fcgi/http_api_priv.h"
#include "fcgi/http_cache.h"
#include "fcgi/report.h"
#include "fcgi/worker.h"
#include "common/banned.h"

#define WHY_MAX_BYTES  4096
#define SAID_MAX_BYTES 1000 /* of what an API says about a failure */
#define BACK_OFF_MS    200  /* before the first retry, on average; then twice as much each time */
#define LOOK_AGAIN_MS  25   /* while another process asks for the same */

static struct log_rate fail_rate;

/* One call while it waits. */
struct asking {
	const struct http_api *api;
	struct call *call;
	const char *name;
	json_object *args; /* owned */
	uint64_t deadline_ms;
	struct http_answer *answer;
	struct http_cache_key key;
	struct http_response kept; /* out of the cache */
	int64_t kept_age_ms;       /* -1: there is none */
	bool is_left_alone;        /* the breaker is open */
	bool is_ours;              /* the request under way: what comes of it counts for the breaker */
};

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
		http_answer_fail(answer, "%s: %s", http_def_name(api->def), response->why);
		return;
	}
	answer->is_missing = response->status == 404 || response->status == 410;
	answer->is_refusal = response->status < 500 && response->status != 408 && response->status != 429;
	http_answer_fail(answer, "%s answered with status %d: %s", http_def_name(api->def), response->status,
	    words_of_status(response->status));
	if (response->retry_after_s > 0)
		buf_addf(&answer->why, " (in %lld s)", (long long)response->retry_after_s);
	put_said(api, response, &answer->why);
}

/* ---- what is kept ---- */

static void use_kept(struct asking *a, bool has_failed)
{
	struct http_answer *answer = a->answer;

	snprintf(answer->content_type, sizeof(answer->content_type), "%s", a->kept.content_type);
	answer->body = a->kept.body;
	buf_init(&a->kept.body, 0);
	answer->age_ms = a->kept_age_ms;
	answer->is_stale = a->kept_age_ms > a->api->policy.ttl_ms;
	answer->has_failed = has_failed;
	answer->is_missing = false;
	buf_clear(&answer->why);
}

static void look(struct asking *a)
{
	buf_release(&a->kept.body);
	buf_init(&a->kept.body, (size_t)a->api->policy.output_max_bytes);
	if (!http_cache_read(a->call->cfg, &a->key, &a->kept, &a->kept_age_ms))
		a->kept_age_ms = -1;
}

static bool is_kept_for(const struct asking *a, int64_t longer_ms)
{
	return a->kept_age_ms >= 0 && a->kept_age_ms <= a->api->policy.ttl_ms + longer_ms;
}

/* ---- a request ---- */

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

/* 1: answer->why says why not. */
static int make(struct asking *a, struct http_request *request, struct err *err)
{
	int ret;

	http_request_init(request);
	ret = http_def_make(a->api->def, a->args, request, &a->answer->why, err);
	a->answer->is_unfit = ret == 1;
	if (ret)
		http_request_release(request);
	return ret;
}

/* A request of our own, unless the host is left alone: then 1. */
static int begin(struct asking *a, int lock_fd, struct http_transfer **t, struct err *err)
{
	struct http_request request;
	uint64_t wait_ms;
	int ret = make(a, &request, err);

	if (ret == 0 && !http_breaker_enter(a->api->breaker, &wait_ms)) {
		http_request_release(&request);
		a->is_left_alone = true;
		ret = http_answer_fail(a->answer, "%s: it failed too often just now; it is not asked for %llu s",
		    http_def_name(a->api->def), (unsigned long long)(wait_ms + 999) / 1000);
	}
	if (ret) {
		if (lock_fd != -1)
			close(lock_fd);
		return ret;
	}
	*t = lock_fd == -1 ? http_client_begin(
				 a->call->cfg, &request, a->deadline_ms, (size_t)a->api->policy.output_max_bytes, err)
			   : http_client_begin_shared(a->call->cfg, &request, a->deadline_ms,
				 (size_t)a->api->policy.output_max_bytes, &a->key, lock_fd, err);
	if (!*t)
		http_breaker_leave(a->api->breaker, HTTP_OUTCOME_NONE);
	a->is_ours = *t != NULL;
	return *t ? 0 : -1;
}

/* The same for an answer that is to be kept: whoever asks for it already, in this process or another, asks for all. 1
 * also: it is in the cache now, without a why. */
static int begin_or_join(struct asking *a, struct http_transfer **t, struct err *err)
{
	while (now_ms() < a->deadline_ms) {
		int lock_fd;

		*t = http_client_join(&a->key);
		a->is_ours = false;
		if (*t)
			return 0;
		lock_fd = http_cache_lock(a->call->cfg, &a->key, err);
		look(a); /* who had the lock before may have filled it */
		if (is_kept_for(a, 0)) {
			if (lock_fd != -1)
				close(lock_fd);
			return 1;
		}
		if (lock_fd != -1 || err->code)
			return begin(a, lock_fd, t, err); /* without locks everybody asks */
		if (wait_until(a->call, now_ms() + LOOK_AGAIN_MS, err))
			return -1;
	}
	return http_answer_fail(a->answer, "%s: it did not answer in time", http_def_name(a->api->def));
}

/* A stale answer is given; who finds nobody at it asks for a new one, and does not wait. */
static void refresh(struct asking *a)
{
	int lock_fd;
	struct http_transfer *t = NULL;
	struct err ignored; /* the next one tries again */

	lock_fd = http_cache_lock(a->call->cfg, &a->key, &ignored);
	if (lock_fd == -1)
		return;
	if (begin(a, lock_fd, &t, &ignored) == 0)
		http_breaker_leave(a->api->breaker, HTTP_OUTCOME_NONE);
	http_transfer_detach(&t);
	buf_clear(&a->answer->why);
}

/* Waits for its end. *t is released when it fails. */
static int await(struct asking *a, struct http_transfer **t, struct err *err)
{
	if (http_transfer_wait(*t, a->call, err) == 0)
		return 0;
	if (a->is_ours)
		http_breaker_leave(a->api->breaker, HTTP_OUTCOME_NONE);
	http_transfer_release(t);
	return -1;
}

static void log_failure(const struct http_api *api, const char *name, const struct http_response *response)
{
	unsigned dropped;

	if (log_rate_ok(&fail_rate, 10, 1000, &dropped))
		LOG(WARN, "http.failed", "name=%s host=%s status=%d dropped=%u why=\"%s\"", name,
		    http_def_host(api->def), response->status, dropped, response->why);
}

static void tell_breaker(const struct asking *a, const struct http_response *response)
{
	bool is_bad = response->failure == HTTP_DONE
			  ? response->status >= 500
			  : response->failure != HTTP_TOO_BIG && response->failure != HTTP_NO_MEMORY;

	if (a->is_ours)
		http_breaker_leave(a->api->breaker, is_bad ? HTTP_OUTCOME_BAD : HTTP_OUTCOME_GOOD);
}

/* One request and what comes of it: in answer. *again_ms: when it is to be repeated; UINT64_MAX: not. */
static int try(struct asking *a, int64_t retries, uint64_t *again_ms, struct err *err)
{
	struct http_transfer *t = NULL;
	const struct http_response *response;
	int ret = a->api->policy.ttl_ms ? begin_or_join(a, &t, err) : begin(a, -1, &t, err);

	*again_ms = UINT64_MAX;
	if (ret || await(a, &t, err))
		return ret == 1 ? 0 : -1;
	response = http_transfer_response(t);
	tell_breaker(a, response);
	if (is_good(response)) {
		snprintf(a->answer->content_type, sizeof(a->answer->content_type), "%s", response->content_type);
		buf_init(&a->answer->body, response->body.max);
		buf_add_slice(&a->answer->body, buf_slice(&response->body));
		ret = buf_check(&a->answer->body, err);
	} else {
		log_failure(a->api, a->name, response);
		explain(a->api, response, a->answer);
		if (retries < a->api->policy.retries && is_worth_a_retry(a->api, response))
			*again_ms = retry_at_ms(response, retries, a->deadline_ms);
	}
	http_transfer_release(&t);
	return ret;
}

static int ask(struct asking *a, struct err *err)
{
	for (int64_t retries = 0;; retries++) {
		uint64_t again_ms;

		if (try(a, retries, &again_ms, err))
			return -1;
		if (again_ms == UINT64_MAX)
			return 0;
		if (wait_until(a->call, again_ms, err))
			return -1;
		buf_clear(&a->answer->why);
		a->answer->is_missing = false;
	}
}

static int ask_or_look(struct asking *a, struct err *err)
{
	struct http_request request;
	int ret = make(a, &request, err);

	if (ret)
		return ret == 1 ? 0 : -1;
	if (!http_cache_make_key(&a->key, &request)) {
		http_request_release(&request);
		return err_set(err, ERR_NOMEM, "http");
	}
	http_request_release(&request);
	look(a);
	if (is_kept_for(a, 0)) {
		use_kept(a, false);
		return 0;
	}
	if (is_kept_for(a, a->api->policy.revalidate_ms)) {
		refresh(a);
		use_kept(a, false);
		return 0;
	}
	ret = ask(a, err);
	if (ret == 0 && a->answer->why.len == 0 && is_kept_for(a, 0))
		use_kept(a, false); /* it came while we waited */
	else if (ret == 0 && a->answer->why.len && !a->answer->is_refusal && is_kept_for(a, a->api->policy.error_ms))
		use_kept(a, true);
	return ret;
}

static void count(const struct asking *a, int ret, uint64_t us)
{
	const char *from = a->answer->is_stale      ? LINK_STATS_API "stale"
			   : a->answer->age_ms >= 0 ? LINK_STATS_API "cached"
			   : a->is_left_alone       ? LINK_STATS_API "left_alone"
						    : LINK_STATS_API "asked";

	if (a->call->w)
		link_count(a->call->w->link, from,
		    ret == -1            ? LINK_OUTCOME_CANCELLED
		    : a->answer->why.len ? LINK_OUTCOME_ERROR
					 : LINK_OUTCOME_OK,
		    us);
}

/* The arguments of a request that names its call. The caller owns them. NULL: *err. */
static json_object *name_call(struct call *call, json_object *args, struct err *err)
{
	json_object *full = json_object_new_object();
	const char *handle;
	int bad = report_open(call, &handle, err);

	json_object_object_foreach(args, name, arg) { /* one may be null: jx_add() takes none */
		if (!bad && full)
			bad = json_object_object_add(full, name, json_object_get(arg));
	}
	if (!bad)
		bad = jx_add_str(full, HTTP_CALL, handle ? handle : REPORT_NOBODY, err);
	if (!bad)
		return full;
	json_object_put(full);
	err_set(err, ERR_NOMEM, "http");
	return NULL;
}

int http_api_call(const struct http_api *api, struct call *call, const char *name, json_object *args, int64_t timeout_s,
    struct http_answer *answer, struct err *err)
{
	struct asking a = {.api = api, .call = call, .name = name, .answer = answer, .kept_age_ms = -1};
	uint64_t begun_us = now_us();
	int ret;

	a.deadline_ms = now_ms() + (uint64_t)timeout_s * 1000;
	*answer = (struct http_answer){.age_ms = -1};
	buf_init(&answer->why, 2 * WHY_MAX_BYTES);
	a.args = http_def_names_call(api->def) ? name_call(call, args, err) : json_object_get(args);
	ret = !a.args && args ? -1 : api->policy.ttl_ms ? ask_or_look(&a, err) : ask(&a, err);
	json_object_put(a.args);
	buf_release(&a.kept.body);
	ret = ret ? ret : buf_check(&answer->why, err);
	count(&a, ret, now_us() - begun_us);
	return ret;
}
