#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/rnd.h"
#include "common/sse.h"
#include "fcgi/ask_legacy.h"
#include "fcgi/call_http.h"
#include "fcgi/capabilities.h"
#include "fcgi/guard.h"
#include "fcgi/legacy.h"
#include "fcgi/method.h"
#include "fcgi/oldsse.h"
#include "fcgi/revision.h"
#include "common/banned.h"

#define INITIALIZE      "initialize"
#define STORE_TRIES_MAX 10

int legacy_check_version(const char *version, struct err *err)
{
	if (version && revision_find(slice_str(version)) < 0)
		return err_set(err, ERR_LEGACY,
		    "unsupported protocol version; supported: 2025-11-25, 2025-06-18, 2025-03-26, 2024-11-05, "
		    "2026-07-28");
	return 0;
}

static int by_id(const void *a, const void *b)
{
	return strcmp((*(const struct rpc *const *)a)->id, (*(const struct rpc *const *)b)->id);
}

static int check_distinct(const struct legacy_batch *batch, struct err *err)
{
	const struct rpc **sorted;
	size_t n = 0;
	int ret = 0;

	if (batch->requests < 2)
		return 0;
	sorted = mem_alloc(batch->requests, sizeof(*sorted));
	if (!sorted)
		return err_set(err, ERR_NOMEM, "batch of %zu", batch->requests);
	for (size_t i = 0; i < batch->count; i++) {
		if (batch->items[i].kind == RPC_REQUEST)
			sorted[n++] = &batch->items[i];
	}
	qsort(sorted, n, sizeof(*sorted), by_id);
	for (size_t i = 1; i < n && ret == 0; i++) {
		if (strcmp(sorted[i - 1]->id, sorted[i]->id) == 0)
			ret = err_set(err, ERR_INVALID, "a batch has one id twice");
	}
	mem_free(sorted);
	return ret;
}

static void count_item(struct legacy_batch *batch, const struct rpc *rpc)
{
	batch->requests += rpc->kind == RPC_REQUEST;
	batch->notifications += rpc->kind == RPC_NOTIFICATION;
	batch->responses += rpc->kind == RPC_RESPONSE;
	batch->has_initialize =
	    batch->has_initialize || (rpc->kind == RPC_REQUEST && slice_is(rpc->method, INITIALIZE));
}

static int reserve_answers(struct legacy_batch *batch, struct err *err)
{
	size_t n = 0;

	if (batch->requests == 0)
		return 0;
	batch->ids = mem_alloc(batch->requests, sizeof(*batch->ids));
	batch->answers = mem_alloc(batch->requests, sizeof(*batch->answers));
	batch->messages = mem_alloc(batch->requests, sizeof(*batch->messages));
	if (!batch->ids || !batch->answers || !batch->messages)
		return err_set(err, ERR_NOMEM, "answers to %zu requests", batch->requests);
	for (size_t i = 0; i < batch->count; i++) {
		if (batch->items[i].kind != RPC_REQUEST)
			continue;
		buf_init(&batch->answers[n], METHOD_ANSWER_MAX);
		batch->ids[n++] = batch->items[i].id;
	}
	return 0;
}

int legacy_batch_read(
    struct legacy_batch *batch, json_object *json, const struct rpc *rpc, size_t count_max, struct err *err)
{
	size_t count = rpc ? 1 : json_object_array_length(json);

	*batch = (struct legacy_batch){0};
	if (count == 0 || count > count_max)
		return err_set(err, ERR_INVALID, "a batch has 1 to %zu messages, this one %zu", count_max, count);
	batch->items = mem_alloc(count, sizeof(*batch->items));
	if (!batch->items)
		return err_set(err, ERR_NOMEM, "batch of %zu", count);
	if (rpc) {
		batch->items[0] = *rpc;
		batch->count = 1;
		count_item(batch, rpc);
		return reserve_answers(batch, err);
	}
	for (size_t i = 0; i < count; i++) {
		if (rpc_read(json_object_array_get_idx(json, i), &batch->items[i], err))
			return err_wrap(err, "message %zu of the batch", i + 1);
		batch->count++;
		count_item(batch, &batch->items[i]);
	}
	if (batch->has_initialize)
		return err_set(err, ERR_INVALID, "initialize cannot be part of a batch");
	if (batch->responses && batch->responses < count)
		return err_set(err, ERR_INVALID, "a batch holds responses or requests, not both");
	return check_distinct(batch, err) ? -1 : reserve_answers(batch, err);
}

void legacy_batch_release(struct legacy_batch *batch)
{
	for (size_t i = 0; batch->answers && i < batch->requests; i++)
		buf_release(&batch->answers[i]);
	mem_free(batch->items);
	mem_free(batch->ids);
	mem_free(batch->answers);
	mem_free(batch->messages);
	*batch = (struct legacy_batch){0};
}

static int begin_with_wills(struct exchange *x, const struct legacy_batch *batch, unsigned flags, struct err *err)
{
	struct link_will *wills = mem_alloc(batch->requests, sizeof(*wills));
	struct buf text;
	size_t n = 0, at = 0;
	int ret;

	if (!wills)
		return err_set(err, ERR_NOMEM, "wills of %zu requests", batch->requests);
	buf_init(&text, batch->requests * (RPC_ID_MAX + 256));
	for (size_t i = 0; i < batch->count; i++) {
		if (batch->items[i].kind != RPC_REQUEST)
			continue;
		exchange_put_will(&text, batch->items[i].id);
		wills[n].id = slice_str(batch->items[i].id);
		wills[n++].event.len = text.len - at; /* where it lies is known when text has stopped moving */
		at = text.len;
	}
	for (size_t i = 0, from = 0; i < n; i++) {
		wills[i].event.p = text.data + from;
		from += wills[i].event.len;
	}
	ret = buf_check(&text, err);
	if (ret == 0)
		ret = link_call_begin(x->w->link, slice_str(x->session), x->principal, flags, wills, n, &x->lcall, err);
	buf_release(&text);
	mem_free(wills);
	return ret;
}

int legacy_begin(
    struct exchange *x, const struct legacy_batch *batch, unsigned flags, struct session *session, struct err *err)
{
	int ret;

	if (batch->requests)
		ret = begin_with_wills(x, batch, flags, err);
	else
		ret = link_call_begin(x->w->link, slice_str(x->session), x->principal, flags, NULL, 0, &x->lcall, err);
	if (ret)
		return -1;
	if (session_read(buf_slice(&x->lcall->blob), session, err)) {
		link_call_end(x->w->link, &x->lcall);
		return -1;
	}
	x->revision = session->revision;
	return 0;
}

void legacy_refuse(struct exchange *x, const char *id, const struct err *err)
{
	struct err told = {.code = err->code}; /* the broker's words are for the log */

	switch (err->code) {
	case ERR_NO_SESSION:
		err_set(&told, err->code, "it ended, or was never this client's; initialize again");
		FALLTHROUGH;
	case ERR_GAP:
	case ERR_DUPLICATE:
		exchange_reply_error(x, err_http(err->code), NULL, "", &told, NULL);
		break;
	case ERR_INVALID:
	case ERR_LEGACY:
		exchange_reply_error(x, err_http(err->code), NULL, "", err, NULL);
		break;
	case ERR_DELIVERED:
		exchange_reply(x, 405, NULL, "Allow: POST, DELETE\r\n", SLICE(""));
		break;
	case ERR_LIMIT:
		if (id[0]) {
			exchange_reply_error(x, 200, NULL, id, err, NULL);
			break;
		}
		FALLTHROUGH;
	default:
		LOG(WARN, "request.failed", "status=503 why=\"%s\"", err->msg);
		exchange_reply_later(x);
		break;
	}
}

/* K-11 */
static void log_cancel(const struct exchange *x, const struct rpc *rpc, const char *id)
{
	static struct log_rate rate;
	char quoted_id[80], quoted[200];
	unsigned dropped;

	if (log_rate_ok(&rate, 10, 1000, &dropped))
		LOG(INFO, "request.cancelled", "session=%.8s id=%s why=\"%s\" dropped=%u", x->session,
		    log_quote(quoted_id, sizeof(quoted_id), slice_str(id)),
		    log_quote(quoted, sizeof(quoted), jx_get_str(rpc->params, "reason")), dropped);
}

int legacy_take_notifications(struct exchange *x, const struct legacy_batch *batch, struct err *err)
{
	for (size_t i = 0; i < batch->count; i++) {
		const struct rpc *rpc = &batch->items[i];
		char id[RPC_ID_MAX + 1];
		struct err malformed;

		if (rpc->kind != RPC_NOTIFICATION || !slice_is(rpc->method, "notifications/cancelled"))
			continue;
		if (rpc_id_text(jx_get(rpc->params, "requestId"), id, &malformed)) /* K-03: ignored */
			continue;
		log_cancel(x, rpc, id);
		if (link_cancel(x->w->link, slice_str(x->session), x->principal, slice_str(id), err))
			return -1;
	}
	return 0;
}

int legacy_read_initialize(const struct rpc *rpc, struct session *session, struct err *err)
{
	struct slice version = jx_get_str(rpc->params, "protocolVersion");
	json_object *info = jx_get_object(rpc->params, "clientInfo");
	int revision = revision_find(version);

	*session = (struct session){.log_level = MCP_LEVEL_INFO};
	if (!version.p)
		return err_set(err, ERR_PARAMS, "protocolVersion must be a string");
	if (!jx_get_object(rpc->params, "capabilities"))
		return err_set(err, ERR_PARAMS, "capabilities must be an object");
	if (!jx_get_str(info, "name").p || !jx_get_str(info, "version").p)
		return err_set(err, ERR_PARAMS, "clientInfo must be an object with name and version");
	session->initialized = true;
	session->revision =
	    revision < 0 || revision > REVISION_NEWEST_LEGACY ? REVISION_NEWEST_LEGACY : (enum revision)revision;
	session->capabilities = json_object_get(jx_get_object(rpc->params, "capabilities"));
	return 0;
}

void legacy_put_initialize_result(
    const struct worker *w, const struct rpc *rpc, const struct session *session, struct buf *out)
{
	struct err err;

	rpc_put_result_head(out, rpc->id);
	buf_addf(out, "\"protocolVersion\":\"%s\",\"capabilities\":", revision_name(session->revision));
	capabilities_put(out, w, session->revision);
	buf_adds(out, ",\"serverInfo\":");
	if (capabilities_put_server(out, &w->cfg, session->revision, &err))
		out->fault = err.code;
	if (w->cfg.server_instructions[0]) {
		buf_adds(out, ",\"instructions\":");
		jx_write_str(out, slice_str(w->cfg.server_instructions));
	}
	buf_adds(out, "}}");
}

int legacy_store_session(struct exchange *x, const struct session *session, struct err *err)
{
	uint64_t version = x->lcall ? x->lcall->session_version : 0;
	struct buf blob;
	int ret;

	buf_init(&blob, (size_t)x->w->cfg.session_blob_max_bytes);
	session_put(session, &blob);
	ret = buf_check(&blob, err);
	if (ret == 0)
		ret = link_session_put(x->w->link, slice_str(x->session), x->principal, x->owner, version,
		    LINK_SESSION_HEARS_LISTS | LINK_LEVEL(session->log_level), buf_slice(&blob), &version, err);
	if (ret == 0 && x->lcall)
		x->lcall->session_version = version;
	buf_release(&blob);
	return ret;
}

/* DT-51 .. DT-53 */
static void serve_initialize(struct exchange *x, const struct rpc *rpc)
{
	struct session session;
	struct buf answer;
	struct err err = {0};
	char extra[64 + LINK_KEY_MAX];

	if (legacy_read_initialize(rpc, &session, &err)) {
		exchange_count(x, INITIALIZE, LINK_OUTCOME_ERROR);
		exchange_reply_error(x, 200, NULL, rpc->id, &err, NULL);
		return;
	}
	buf_init(&answer, METHOD_ANSWER_MAX);
	rnd_token(x->session, SESSION_ID_LEN + 1);
	if (exchange_await_broker(x, true, &err) || legacy_store_session(x, &session, &err)) {
		if (err.code == ERR_TOO_BIG) {
			err_set(&err, ERR_PARAMS,
			    "capabilities are larger than this server keeps (session_blob_max_bytes)");
			exchange_reply_error(x, 200, NULL, rpc->id, &err, NULL);
		} else {
			legacy_refuse(x, rpc->id, &err);
		}
	} else {
		legacy_put_initialize_result(x->w, rpc, &session, &answer);
		snprintf(extra, sizeof(extra), "Mcp-Session-Id: %s\r\n", x->session);
		if (buf_check(&answer, &err))
			legacy_refuse(x, "", &err);
		else
			exchange_reply_message(x, 200, extra, buf_slice(&answer));
	}
	exchange_count(x, INITIALIZE, err.code ? LINK_OUTCOME_ERROR : LINK_OUTCOME_OK);
	buf_release(&answer);
	session_release(&session);
}

/* Sends what the handler asks. false: then the call is the broker's; else out has the error that came in between. */
static bool park(struct exchange *x, const struct call *call, const struct rpc *rpc, struct buf *out)
{
	struct err err = {0};

	if (ask_legacy_park(x, call, rpc, &err) == 0)
		return false;
	LOG(WARN, "ask.failed", "session=%.8s why=\"%s\"", x->session, err.msg);
	rpc_put_error(out, rpc->id, &err, NULL);
	return true;
}

/* Another request may store its level at the same time; whoever comes later overwrites it. */
static int store_level(struct exchange *x, const struct session *session, struct err *err)
{
	for (int tries = 1; legacy_store_session(x, session, err); tries++) {
		struct link_call *now;

		if (err->code != ERR_BUSY || tries == STORE_TRIES_MAX ||
		    link_call_begin(x->w->link, slice_str(x->session), x->principal, 0, NULL, 0, &now, err))
			return -1;
		x->lcall->session_version = now->session_version;
		link_call_end(x->w->link, &now);
	}
	return 0;
}

/* Runs one request: its answer goes to out. false: there is none, for it was cancelled, or asks its client. */
static bool run_one(struct exchange *x, const struct rpc *rpc, struct session *session, bool is_first, bool is_alone,
    const struct ask_round *round, struct buf *out)
{
	const struct method *m = method_find(x->w, ERA_LEGACY, rpc->method);
	int level = session->log_level;
	struct call_http h;
	struct call *call = &h.call;
	struct err err = {0};
	bool is_answered;
	int ret;

	if (guard_message(x, rpc->method, is_first, &err)) {
		rpc_put_error(out, rpc->id, &err, NULL);
		return true;
	}
	if (!session->initialized && !slice_is(rpc->method, "ping")) { /* DT-122 */
		err_set(&err, ERR_LEGACY, "this stream has no session yet: initialize comes first");
		rpc_put_error(out, rpc->id, &err, NULL);
		return true;
	}
	if (!m) {
		err_set(&err, ERR_METHOD, "%.*s", rpc->method.len > 100 ? 100 : (int)rpc->method.len, rpc->method.p);
		exchange_count(x, "none", LINK_OUTCOME_ERROR);
		rpc_put_error(out, rpc->id, &err, NULL);
		return true;
	}
	call_http_init(&h, x, rpc);
	call->capabilities = session->capabilities;
	call->log_level = session->log_level;
	/* Where an answer holds several responses, none of them can wait (doc/decisions.md). */
	call->priv->may_ask = is_alone && (x->phase != EXCHANGE_OPEN || x->accept.sse);
	if (round)
		ask_round_lend(round, call);
	ret = call_is_cancelled(call) ? -1 : method_run(m, call, rpc, session, out, &err);
	is_answered = ret == 0 || (ret == 1 && !call_is_cancelled(call) && park(x, call, rpc, out));
	if (is_answered && session->log_level != level && store_level(x, session, &err)) {
		buf_clear(out);
		rpc_put_error(out, rpc->id, &err, NULL);
	}
	is_answered = is_answered && !call_is_cancelled(call);
	call_release(call);
	return is_answered;
}

void legacy_run(struct exchange *x, struct legacy_batch *batch, struct session *session, const struct ask_round *round)
{
	size_t n = 0, count = 0;

	x->ids = batch->ids;
	x->ids_count = batch->requests;
	for (size_t i = 0; i < batch->count; i++) {
		if (batch->items[i].kind != RPC_REQUEST)
			continue;
		if (run_one(x, &batch->items[i], session, n == 0, batch->requests == 1, round, &batch->answers[n]))
			batch->messages[count++] = exchange_message(&batch->answers[n]);
		n++;
	}
	if (x->phase == EXCHANGE_OPEN) /* first, so that a client that has its answer may use the id again */
		link_call_end(x->w->link, &x->lcall);
	if (x->phase != EXCHANGE_ANSWERED) /* not parked */
		exchange_finish(x, batch->messages, count);
	link_call_end(x->w->link, &x->lcall);
	x->ids = NULL;
}

static void serve_in_session(struct exchange *x, struct legacy_batch *batch, const struct err *bad)
{
	static const struct legacy_batch none;
	const char *id = batch->requests == 1 && !x->is_batch ? batch->items[0].id : "";
	bool only_check = bad->code != ERR_NONE || batch->has_initialize;
	struct ask_legacy_taken taken = {0};
	struct session session = {0};
	struct err err = {0};

	if (exchange_await_broker(x, batch->requests > 0, &err) ||
	    legacy_begin(x, only_check ? &none : batch, 0, &session, &err)) {
		legacy_refuse(x, id, &err);
		return;
	}
	if (bad->code != ERR_NONE)
		err = *bad;
	else if (batch->has_initialize) /* DT-56 */
		err_set(&err, ERR_INVALID, "this session is initialized already");
	else if (x->is_batch && session.revision >= REV_2025_06) /* DT-65 */
		err_set(&err, ERR_INVALID, "revision %s knows no batches", revision_name(session.revision));
	else if (legacy_take_notifications(x, batch, &err) == 0)
		ask_legacy_answer(x, batch, &taken, &err);
	if (err.code != ERR_NONE)
		legacy_refuse(x, id, &err);
	else if (batch->requests)
		legacy_run(x, batch, &session, NULL);
	else
		exchange_reply(x, 202, NULL, NULL, SLICE("")); /* DT-61 .. DT-63, DT-67 */
	ask_legacy_run(x, &session, &taken);
	link_call_end(x->w->link, &x->lcall);
	session_release(&session);
}

/* The session header, if it can be one of ours: visible ASCII of a bounded length. */
static int read_session_header(struct exchange *x, const char *header, struct err *err)
{
	size_t len = strlen(header);

	if (len == 0 || len > LINK_KEY_MAX)
		return err_set(err, ERR_NO_SESSION, "this server gave out no such id");
	for (size_t i = 0; i < len; i++) {
		if (header[i] < 0x21 || header[i] > 0x7e)
			return err_set(err, ERR_NO_SESSION, "this server gave out no such id");
	}
	memcpy(x->session, header, len + 1);
	return 0;
}

void legacy_post(struct exchange *x, json_object *json, struct rpc *rpc, const char *version)
{
	const char *header = req_env(x->req, "HTTP_MCP_SESSION_ID");
	struct legacy_batch batch;
	struct err err = {0}, bad = {0};

	x->era = ERA_LEGACY;
	x->is_batch = rpc == NULL;
	if (legacy_check_version(version, &err)) {
		legacy_refuse(x, "", &err);
		return;
	}
	if (!header && rpc && rpc->kind == RPC_REQUEST && slice_is(rpc->method, INITIALIZE)) {
		serve_initialize(x, rpc);
		return;
	}
	if (!header)
		err_set(
		    &err, ERR_LEGACY, "session required: send initialize first, and its Mcp-Session-Id from then on");
	else
		read_session_header(x, header, &err);
	if (err.code != ERR_NONE) {
		legacy_refuse(x, "", &err);
		return;
	}
	legacy_batch_read(&batch, json, rpc, (size_t)x->w->cfg.batch_max, &bad);
	serve_in_session(x, &batch, &bad);
	legacy_batch_release(&batch);
}

void legacy_get(struct exchange *x, const char *version)
{
	const char *header = req_env(x->req, "HTTP_MCP_SESSION_ID"), *last = req_env(x->req, "HTTP_LAST_EVENT_ID");
	uint64_t stream, cursor;
	struct err err = {0};
	struct buf head;

	x->era = ERA_LEGACY;
	if (!header && !version && !last) { /* DT-83: nothing but a client of 2024-11-05 */
		oldsse_get(x);
		return;
	}
	buf_init(&head, 8192);
	if (legacy_check_version(version, &err) == 0) {
		if (!header)
			err_set(&err, ERR_LEGACY,
			    "session required: send initialize first, and its Mcp-Session-Id from then on");
		else if (read_session_header(x, header, &err) == 0 && exchange_await_broker(x, true, &err) == 0 &&
			 link_attach(x->w->link, slice_str(x->session), x->principal, slice_str(last), &stream, &cursor,
			     &err) == 0) {
			exchange_stream_head(x, &head);
			if (version && strcmp(version, revision_name(REV_2025_11)) == 0)
				exchange_put_retry(x, &head);
			else
				buf_adds(&head, SSE_HEARTBEAT);
			if (buf_check(&head, &err) == 0 &&
			    exchange_hand_over(x, stream, cursor, buf_slice(&head), &err) == 0)
				worker_watch(x->w, NULL);
		}
	}
	buf_release(&head);
	if (x->phase == EXCHANGE_OPEN)
		legacy_refuse(x, "", &err);
}

void legacy_delete(struct exchange *x, const char *version)
{
	const char *header = req_env(x->req, "HTTP_MCP_SESSION_ID");
	struct err err = {0};

	x->era = ERA_LEGACY;
	if (legacy_check_version(version, &err) == 0) {
		if (!header)
			err_set(&err, ERR_LEGACY, "session required: which one is to end?");
		else if (read_session_header(x, header, &err) == 0 && exchange_await_broker(x, false, &err) == 0 &&
			 link_session_del(x->w->link, slice_str(x->session), x->principal, &err) == 0) {
			exchange_reply(x, 200, NULL, NULL, SLICE(""));
			return;
		}
	}
	legacy_refuse(x, "", &err);
}
