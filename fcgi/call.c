#include "config.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <sys/eventfd.h>

#include "common/jx.h"
#include "common/log.h"
#include "fcgi/call_priv.h"
#include "fcgi/level.h"
#include "common/banned.h"

#define POLL_MAX 16 /* the provider's 13 and our two, and one to spare */

void call_init(struct call *call, struct call_priv *priv, struct exchange *x, const struct rpc *rpc)
{
	json_object *token = jx_get(rpc->meta, "progressToken");

	*priv = (struct call_priv){.x = x, .id = rpc->id};
	priv->stream_at_ms = x->started_ms + (uint64_t)x->w->cfg.stream_after_ms;
	*call = (struct call){
	    .cfg = &x->w->cfg,
	    .era = x->era,
	    .revision = x->revision,
	    .principal = x->principal,
	    .log_level = MCP_LEVEL__COUNT,
	    .priv = priv,
	};
	if (json_object_is_type(token, json_type_string) || json_object_is_type(token, json_type_int))
		call->progress_token = token;
}

bool call_is_cancelled(struct call *call)
{
	struct exchange *x = call->priv->x;

	return x->lcall && link_call_id_cancelled(x->w->link, x->lcall, slice_str(call->priv->id));
}

/* P-03: progress grows. ERR_PARAMS when params are not those of notifications/progress. */
static int check_progress(struct call *call, json_object *params, bool *send, struct err *err)
{
	json_object *progress = jx_get(params, "progress"), *total = jx_get(params, "total");
	double now;

	if (!json_object_is_type(progress, json_type_int) && !json_object_is_type(progress, json_type_double))
		return err_set(err, ERR_PARAMS, "progress must be a number");
	if (total && !json_object_is_type(total, json_type_int) && !json_object_is_type(total, json_type_double))
		return err_set(err, ERR_PARAMS, "total must be a number");
	if (jx_has(params, "message") && !jx_get_str(params, "message").p)
		return err_set(err, ERR_PARAMS, "message must be a string");
	now = json_object_get_double(progress);
	*send = call->progress_token && (!call->priv->progress_started || now > call->priv->progress_last);
	if (*send) {
		call->priv->progress_started = true;
		call->priv->progress_last = now;
	}
	return 0;
}

static int check_message(struct call *call, json_object *params, bool *send, struct err *err)
{
	int level = level_find(jx_get_str(params, "level"));

	if (level < 0)
		return err_set(err, ERR_PARAMS,
		    "level must be one of debug, info, notice, warning, error, critical, alert, emergency");
	if (!jx_has(params, "data"))
		return err_set(err, ERR_PARAMS, "data is missing");
	*send = level >= call->log_level;
	return 0;
}

static int send_event(struct call *call, struct slice event, struct err *err)
{
	struct exchange *x = call->priv->x;

	struct err refused;

	if (x->phase == EXCHANGE_OPEN && exchange_stream(x, &refused))
		return 0; /* a client that gets one JSON object does without notifications */
	return link_append(
	    x->w->link, x->phase == EXCHANGE_ACCEPTED ? x->lcall->session_stream : x->stream, event, false, err);
}

int call_notify(struct call *call, const char *method, json_object *params, struct err *err)
{
	bool is_progress = strcmp(method, "notifications/progress") == 0, send = false;
	struct buf event;
	bool first = true;
	int ret;

	if (call_is_cancelled(call)) {
		json_object_put(params);
		return err_set(err, ERR_CANCELLED, "cancelled by the client");
	}
	if (!json_object_is_type(params, json_type_object))
		ret = err_set(err, ERR_PARAMS, "params must be an object");
	else if (is_progress)
		ret = check_progress(call, params, &send, err);
	else if (strcmp(method, "notifications/message") == 0)
		ret = check_message(call, params, &send, err);
	else
		ret = err_set(err, ERR_PARAMS, "a tool may send notifications/progress and notifications/message");
	if (ret || !send) {
		json_object_put(params);
		return ret;
	}
	buf_init(&event, (size_t)call->cfg->body_max_bytes);
	buf_adds(&event, "{\"jsonrpc\":\"2.0\",\"method\":");
	jx_write_str(&event, slice_str(method));
	buf_adds(&event, ",\"params\":{");
	if (is_progress) {
		buf_adds(&event, "\"progressToken\":");
		jx_write(&event, call->progress_token);
		first = false;
	}
	json_object_object_foreach(params, key, value) {
		if (is_progress && strcmp(key, "progressToken") == 0)
			continue;
		if (!first)
			buf_adds(&event, ",");
		first = false;
		jx_write_str(&event, slice_str(key));
		buf_adds(&event, ":");
		jx_write(&event, value);
	}
	buf_adds(&event, "}}");
	ret = buf_check(&event, err);
	if (ret == 0)
		ret = send_event(call, buf_slice(&event), err);
	buf_release(&event);
	json_object_put(params);
	return ret;
}

/* Adds what we watch ourselves behind the provider's descriptors; returns how many there are now. */
static nfds_t add_own(struct call *call, struct pollfd *fds, nfds_t count)
{
	struct exchange *x = call->priv->x;

	if (x->lcall)
		fds[count++] = (struct pollfd){.fd = x->lcall->cancel_fd, .events = POLLIN};
	/* Before the handoff a client that leaves shows here. */
	if (x->era == ERA_MODERN && x->phase == EXCHANGE_OPEN) {
		enum link_kind kind;
		uint16_t request_id;
		int fd = req_fd(x->req, &kind, &request_id);

		fds[count++] = (struct pollfd){.fd = fd, .events = kind == LINK_KIND_FCGI ? POLLRDHUP : 0};
	}
	return count;
}

/* For poll(): -1 without an end. */
static int ms_until(uint64_t end_ms, uint64_t now)
{
	if (end_ms == UINT64_MAX)
		return -1;
	if (end_ms <= now)
		return 0;
	return end_ms - now > INT_MAX ? INT_MAX : (int)(end_ms - now);
}

int call_poll(struct call *call, struct pollfd *fds, nfds_t count, int timeout_ms, struct err *err)
{
	struct exchange *x = call->priv->x;
	uint64_t end_ms = timeout_ms < 0 ? UINT64_MAX : now_ms() + (uint64_t)timeout_ms;
	struct pollfd all[POLL_MAX];

	DIE_UNLESS(count <= POLL_MAX - 3);
	for (;;) {
		bool may_stream = x->phase == EXCHANGE_OPEN && x->accept.sse && !x->stream_refused;
		uint64_t now = now_ms(), until = end_ms;
		nfds_t total;
		int n, ready = 0;

		if (call_is_cancelled(call))
			return err_set(err, ERR_CANCELLED, "cancelled by the client");
		if (may_stream && call->priv->stream_at_ms < until)
			until = call->priv->stream_at_ms;
		if (count)
			memcpy(all, fds, count * sizeof(*fds));
		total = add_own(call, all, count);
		n = poll(all, total, ms_until(until, now));
		if (n < 0 && errno != EINTR)
			return err_sys(err, "poll");
		if (n > 0) {
			for (nfds_t i = 0; i < count; i++) {
				fds[i].revents = all[i].revents;
				ready += all[i].revents != 0;
			}
			for (nfds_t i = count; i < total; i++) {
				if (x->lcall && all[i].fd == x->lcall->cancel_fd) {
					eventfd_t ignored;

					/* another request of the batch? */
					if (all[i].revents && !call_is_cancelled(call))
						eventfd_read(all[i].fd, &ignored);
				} else if (all[i].revents) {
					return err_set(err, ERR_CANCELLED, "the client left");
				}
			}
			if (ready)
				return ready;
		}
		now = now_ms();
		if (now >= end_ms) {
			for (nfds_t i = 0; i < count; i++)
				fds[i].revents = 0;
			return 0;
		}
		if (may_stream && now >= call->priv->stream_at_ms) {
			struct err refused = {0};

			exchange_stream(x, &refused); /* refused: it stays one JSON object, and was logged */
		}
	}
}
