#include "config.h"

#include <stdio.h>

#include "common/log.h"
#include "common/rnd.h"
#include "common/sse.h"
#include "fcgi/exchange.h"
#include "common/banned.h"

#define HEAD_MAX      16384
#define RETRY_AFTER_S 1 /* to twice as much */

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} rows[] = {
	    {200, "OK"},
	    {202, "Accepted"},
	    {204, "No Content"},
	    {400, "Bad Request"},
	    {401, "Unauthorized"},
	    {403, "Forbidden"},
	    {404, "Not Found"},
	    {405, "Method Not Allowed"},
	    {406, "Not Acceptable"},
	    {413, "Content Too Large"},
	    {415, "Unsupported Media Type"},
	    {429, "Too Many Requests"},
	    {503, "Service Unavailable"},
	};

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (rows[i].status == status)
			return rows[i].text;
	}
	return "Error";
}

/* What every answer to a browser carries (T-26). */
static void put_cors(const struct exchange *x, struct buf *out)
{
	if (!x->origin)
		return;
	buf_addf(out,
	    "Access-Control-Allow-Origin: %s\r\nVary: Origin\r\n"
	    "Access-Control-Expose-Headers: Mcp-Session-Id, Retry-After, WWW-Authenticate\r\n",
	    x->origin);
}

static void put_head(const struct exchange *x, int status, const char *type, const char *extra, struct buf *out)
{
	buf_adds(out, "Status: ");
	buf_addu(out, (uint64_t)status);
	buf_adds(out, " ");
	buf_adds(out, reason(status));
	buf_adds(out, "\r\n");
	if (type) {
		buf_adds(out, "Content-Type: ");
		buf_adds(out, type);
		buf_adds(out, "\r\n");
	}
	put_cors(x, out);
	if (extra)
		buf_adds(out, extra);
}

static void put_length(size_t len, struct buf *out)
{
	buf_adds(out, "Content-Length: ");
	buf_addu(out, len);
	buf_adds(out, "\r\n");
}

void exchange_reply(struct exchange *x, int status, const char *type, const char *extra, struct slice body)
{
	const char *method = req_env(x->req, "REQUEST_METHOD");
	struct buf head;
	struct err err = {0};

	DIE_UNLESS(x->phase == EXCHANGE_OPEN);
	x->phase = EXCHANGE_ANSWERED;
	if (status >= 400)
		exchange_count(x, "none", LINK_OUTCOME_REFUSED);
	buf_init(&head, HEAD_MAX);
	put_head(x, status, type, extra, &head);
	if (type || (status != 204 && status < 500))
		put_length(type ? body.len : 0, &head);
	if (method && strcmp(method, "HEAD") == 0)
		body = SLICE(""); /* but its length was told */
	if (buf_check(&head, &err)) {
		LOG(ERROR, "reply.failed", "status=%d why=\"%s\"", status, err.msg);
		req_reply(x->req, SLICE("Status: 503 Service Unavailable\r\nRetry-After: 1\r\n"), SLICE(""), NULL);
	} else if (req_reply(x->req, buf_slice(&head), body, &err)) {
		LOG(DEBUG, "reply.failed", "status=%d why=\"%s\"", status, err.msg);
	}
	x->origin = NULL; /* died with the request's variables */
	buf_release(&head);
}

void exchange_reply_later(struct exchange *x)
{
	char extra[64];

	snprintf(extra, sizeof(extra), "Retry-After: %u\r\n", (unsigned)rnd_spread(RETRY_AFTER_S));
	exchange_reply(x, 503, NULL, extra, SLICE(""));
}

void exchange_reply_error(
    struct exchange *x, int status, const char *extra, const char *id, const struct err *err, const char *data)
{
	struct buf body;

	buf_init(&body, 65536);
	rpc_put_error(&body, id, err, data);
	if (body.fault)
		exchange_reply_later(x);
	else if (status == 200)
		exchange_reply_message(x, status, extra, buf_slice(&body));
	else
		exchange_reply(x, status, "application/json", extra, buf_slice(&body));
	buf_release(&body);
}

void exchange_reply_message(struct exchange *x, int status, const char *extra, struct slice message)
{
	struct buf event;

	if (x->accept.json || status != 200) {
		exchange_reply(x, status, "application/json", extra, message);
		return;
	}
	buf_init(&event, message.len + 4096);
	sse_add_event(&event, SLICE(""), "message", message);
	if (event.fault)
		exchange_reply_later(x);
	else
		exchange_reply(x, 200, "text/event-stream", extra, buf_slice(&event));
	buf_release(&event);
}

void exchange_stream_head(const struct exchange *x, struct buf *out)
{
	put_head(x, 200, "text/event-stream", NULL, out);
	buf_adds(out, "Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n\r\n");
}

static uint32_t choose_retry(struct exchange *x)
{
	if (x->retry_ms == 0)
		x->retry_ms = rnd_spread((uint32_t)x->w->cfg.stream_retry_lost_ms);
	return x->retry_ms;
}

void exchange_put_retry(struct exchange *x, struct buf *out)
{
	sse_add_retry(out, choose_retry(x));
}

void exchange_count(const struct exchange *x, const char *method, enum link_outcome outcome)
{
	link_count(x->w->link, method, outcome, now_us() - x->started_us);
}

void exchange_put_will(struct buf *out, const char *id)
{
	struct err err = {.code = ERR_INTERNAL};

	rpc_put_error(out, id, &err, NULL);
}

int exchange_hand_over(struct exchange *x, uint64_t stream, uint64_t cursor, struct slice head, struct err *err)
{
	const struct cfg *cfg = &x->w->cfg;
	enum link_kind kind;
	uint16_t request_id;
	int fd = req_fd(x->req, &kind, &request_id);
	int64_t heartbeat_ms = x->era == ERA_MODERN ? cfg->stream_heartbeat_modern_ms : cfg->stream_heartbeat_ms;

	DIE_UNLESS(x->phase == EXCHANGE_OPEN);
	if (link_adopt(
		x->w->link, fd, kind, request_id, stream, cursor, (uint32_t)heartbeat_ms, x->retry_ms, head, err))
		return -1;
	x->origin = NULL; /* died with the request's variables */
	req_detach(x->req);
	x->phase = EXCHANGE_STREAM;
	x->stream = stream;
	return 0;
}

/* A modern call that the broker does not know yet leaves its wills when it opens its stream. */
static int open_stream(struct exchange *x, uint64_t *stream, struct err *err)
{
	struct link_will will;
	struct buf event;
	int ret;

	if (x->lcall)
		return link_open_stream(x->w->link, slice_str(x->session), 0, NULL, 0, &x->lcall, stream, err);
	buf_init(&event, 4096);
	exchange_put_will(&event, x->ids[0]);
	will = (struct link_will){slice_str(x->ids[0]), buf_slice(&event)};
	ret = buf_check(&event, err);
	if (ret == 0)
		ret = link_open_stream(x->w->link, x->owner, LINK_STREAM_MODERN, &will, 1, &x->lcall, stream, err);
	buf_release(&event);
	return ret;
}

bool exchange_may_poll(const struct exchange *x)
{
	return x->era == ERA_LEGACY && x->revision >= REV_2025_11;
}

/* Everything before the first event of the answer. */
static void put_stream_begin(struct exchange *x, uint64_t stream, struct buf *out)
{
	char id[LINK_EVENT_ID_SIZE];

	exchange_stream_head(x, out);
	if (exchange_may_poll(x)) {
		link_event_id(stream, x->lcall->epoch, 0, id);
		sse_add_priming(out, slice_str(id), choose_retry(x));
	} else {
		buf_adds(out, SSE_HEARTBEAT);
	}
}

void exchange_set_aside(struct exchange *x)
{
	worker_add_slow(x);
	if (x->busy)
		x->busy(x->busy_arg);
	x->busy = NULL;
}

static void step_aside(void *arg)
{
	exchange_set_aside(arg);
}

int exchange_await_broker(struct exchange *x, bool begins, struct err *err)
{
	return link_await(x->w->link, begins, step_aside, x, err);
}

int exchange_stream(struct exchange *x, struct err *err)
{
	struct buf head;
	uint64_t stream = 0;
	int ret;

	DIE_UNLESS(x->phase == EXCHANGE_OPEN);
	x->stream_refused = x->stream_refused || !x->accept.sse;
	if (x->stream_refused)
		return err_set(err, ERR_LIMIT, "this answer is one JSON object");
	buf_init(&head, HEAD_MAX);
	ret = open_stream(x, &stream, err);
	if (ret == 0) {
		put_stream_begin(x, stream, &head);
		ret = buf_check(&head, err);
		if (ret == 0)
			ret = exchange_hand_over(x, stream, 0, buf_slice(&head), err);
		if (ret) {
			struct err ignored;

			link_finish(x->w->link, x->lcall, stream, NULL, 0, &ignored); /* nobody will read it */
			if (x->era == ERA_MODERN)
				link_call_end(x->w->link, &x->lcall);
		}
	}
	buf_release(&head);
	if (ret) {
		x->stream_refused = true;
		LOG(WARN, "stream.refused", "why=\"%s\" effect=\"answered as JSON\"", err->msg);
		return -1;
	}
	exchange_set_aside(x);
	return 0;
}

int exchange_let_go(struct exchange *x, struct err *err)
{
	struct buf last;
	int ret;

	DIE_UNLESS(x->phase == EXCHANGE_STREAM);
	buf_init(&last, HEAD_MAX);
	sse_add_retry(&last, rnd_spread((uint32_t)x->w->cfg.stream_retry_ms));
	ret = buf_check(&last, err);
	if (ret == 0)
		ret = link_close_conn(x->w->link, x->stream, buf_slice(&last), err);
	buf_release(&last);
	return ret;
}

static bool is_any_lost(const struct slice *messages, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (messages[i].len == 0)
			return true;
	}
	return false;
}

/* What can't be finished (too large for the broker, no memory, the broker is gone) is answered by the will, when the
 * call ends. */
static void finish_on_stream(struct exchange *x, const struct slice *messages, size_t count)
{
	struct err err = {0};

	if (is_any_lost(messages, count))
		err_set(&err, ERR_NOMEM, "no memory for the answer");
	else if (link_finish(x->w->link, x->lcall, x->stream, messages, count, &err) == 0)
		return;
	LOG(WARN, "finish.failed", "session=%.8s stream=%llu why=\"%s\"", x->session, (unsigned long long)x->stream,
	    err.msg);
}

/* As one JSON object, or for a batch as an array; nothing at all as an empty event stream (DT-72). */
static void finish_as_json(struct exchange *x, const struct slice *messages, size_t count)
{
	struct buf array;

	if (is_any_lost(messages, count)) {
		exchange_reply_later(x);
		return;
	}
	if (count == 0) {
		exchange_reply(x, 200, "text/event-stream", NULL, SLICE(""));
		return;
	}
	if (!x->is_batch) {
		exchange_reply_message(x, 200, NULL, messages[0]);
		return;
	}
	buf_init(&array, SIZE_MAX / 2);
	for (size_t i = 0; i < count; i++) {
		if (x->accept.json) {
			buf_adds(&array, i ? "," : "[");
			buf_add_slice(&array, messages[i]);
		} else {
			sse_add_event(&array, SLICE(""), "message", messages[i]);
		}
	}
	if (x->accept.json)
		buf_adds(&array, "]");
	if (array.fault)
		exchange_reply_later(x);
	else
		exchange_reply(
		    x, 200, x->accept.json ? "application/json" : "text/event-stream", NULL, buf_slice(&array));
	buf_release(&array);
}

void exchange_finish(struct exchange *x, const struct slice *messages, size_t messages_count)
{
	switch (x->phase) {
	case EXCHANGE_OPEN:
		finish_as_json(x, messages, messages_count);
		break;
	case EXCHANGE_STREAM:
	case EXCHANGE_ACCEPTED:
		finish_on_stream(x, messages, messages_count);
		break;
	case EXCHANGE_ANSWERED:
		die(__FILE__, __LINE__, "answered twice");
	}
	x->phase = EXCHANGE_ANSWERED;
}
