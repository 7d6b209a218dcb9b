#include "config.h"

#include "common/jx.h"
#include "fcgi/ask.h"
#include "fcgi/call_priv.h"
#include "fcgi/level.h"
#include "fcgi/topic.h"
#include "fcgi/worker.h"
#include "common/banned.h"

void call_init(struct call *call, struct call_priv *priv, const struct call_ops *ops, const struct worker *w,
    const struct rpc *rpc)
{
	json_object *token = jx_get(rpc->meta, "progressToken");

	*priv = (struct call_priv){.ops = ops, .id = rpc->id};
	*call = (struct call){
	    .w = w,
	    .cfg = &w->cfg,
	    .principal = "",
	    .session = "",
	    .log_level = MCP_LEVEL__COUNT,
	    .priv = priv,
	};
	if (json_object_is_type(token, json_type_string) || json_object_is_type(token, json_type_int))
		call->progress_token = token;
}

void call_release(struct call *call)
{
	json_object_put(call->priv->asks);
	json_object_put(call->priv->taken);
	json_object_put(call->priv->keep);
	json_object_put(call->priv->error_data);
	call->priv->asks = call->priv->taken = call->priv->keep = call->priv->error_data = NULL;
	report_free(&call->priv->report);
}

bool call_can_wait(const struct call *call)
{
	return call->priv->ops->publish != NULL;
}

int call_publish(struct call *call, struct err *err)
{
	return call->priv->ops->publish(call, err);
}

void call_set_error_data(struct call *call, json_object *data)
{
	json_object_put(call->priv->error_data);
	call->priv->error_data = data;
}

bool call_is_cancelled(struct call *call)
{
	return call->priv->ops->is_cancelled(call);
}

/* Reports are taken meanwhile. */
static int poll_and_take(struct call *call, struct pollfd *fds, nfds_t count, int timeout_ms, struct err *err)
{
	uint64_t end_ms = timeout_ms < 0 ? UINT64_MAX : now_ms() + (uint64_t)timeout_ms;
	struct pollfd all[CALL_OPS_POLL_MAX];
	bool is_reported;
	int ready;

	do {
		if (count)
			memcpy(all, fds, count * sizeof(*fds));
		all[count] = (struct pollfd){.fd = report_fd(call->priv->report), .events = POLLIN};
		ready = call->priv->ops->poll(call, all, count + 1, ms_until(end_ms, now_ms()), err);
		if (ready == -1)
			return -1;
		for (nfds_t i = 0; i < count; i++)
			fds[i].revents = all[i].revents;
		is_reported = ready > 0 && all[count].revents;
		if (is_reported)
			report_take(call);
	} while (is_reported && ready == 1 && now_ms() < end_ms);
	return ready - is_reported;
}

int call_poll(struct call *call, struct pollfd *fds, nfds_t count, int timeout_ms, struct err *err)
{
	DIE_UNLESS(count <= CALL_POLL_MAX);
	if (call->priv->report)
		return poll_and_take(call, fds, count, timeout_ms, err);
	return call->priv->ops->poll(call, fds, count, timeout_ms, err);
}

/* P-03: progress grows. ERR_PARAMS when params are not those of notifications/progress. */
static int check_progress(const struct call *call, json_object *params, enum report_fate *fate, struct err *err)
{
	json_object *progress = jx_get(params, "progress"), *total = jx_get(params, "total");
	const struct call_priv *priv = call->priv;

	if (!jx_is_number(progress))
		return err_set(err, ERR_PARAMS, "progress must be a number");
	if (total && !jx_is_number(total))
		return err_set(err, ERR_PARAMS, "total must be a number");
	if (jx_has(params, "message") && !jx_get_str(params, "message").p)
		return err_set(err, ERR_PARAMS, "message must be a string");
	if (!call->progress_token)
		*fate = REPORT_UNASKED;
	else if (priv->progress_started && json_object_get_double(progress) <= priv->progress_last)
		*fate = REPORT_NOT_MORE;
	else
		*fate = REPORT_SENT;
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

/* One notification to the client of this call: params, after progressToken if there is one. 1: nobody could read it. */
static int send_params(
    struct call *call, const char *method, json_object *progress_token, json_object *params, struct err *err)
{
	const char *comma = "";
	struct buf event;
	int ret;

	buf_init(&event, (size_t)call->cfg->body_max_bytes);
	buf_adds(&event, "{\"jsonrpc\":\"2.0\",\"method\":");
	jx_write_str(&event, slice_str(method));
	buf_adds(&event, ",\"params\":{");
	if (progress_token) {
		buf_adds(&event, "\"progressToken\":");
		jx_write(&event, progress_token);
		comma = ",";
	}
	json_object_object_foreach(params, key, value) {
		if (progress_token && strcmp(key, "progressToken") == 0)
			continue;
		buf_adds(&event, comma);
		comma = ",";
		jx_write_str(&event, slice_str(key));
		buf_adds(&event, ":");
		jx_write(&event, value);
	}
	buf_adds(&event, "}}");
	ret = buf_check(&event, err);
	if (ret == 0)
		ret = call->priv->ops->send(call, buf_slice(&event), err);
	buf_release(&event);
	return ret;
}

int call_say_progress(struct call *call, json_object *params, enum report_fate *fate, struct err *err)
{
	int ret;

	if (check_progress(call, params, fate, err))
		return -1;
	if (*fate != REPORT_SENT)
		return 0;
	ret = send_params(call, "notifications/progress", call->progress_token, params, err);
	if (ret == -1) /* then the same number may be said again */
		return -1;
	call->priv->progress_started = true;
	call->priv->progress_last = json_object_get_double(jx_get(params, "progress"));
	if (ret == 1)
		*fate = REPORT_UNHEARD;
	return 0;
}

static int notify_progress(struct call *call, const char *method, json_object *params, struct err *err)
{
	enum report_fate ignored;

	(void)method;
	return call_say_progress(call, params, &ignored, err);
}

static int notify_message(struct call *call, const char *method, json_object *params, struct err *err)
{
	bool send = false;

	if (check_message(call, params, &send, err))
		return -1;
	return send && send_params(call, method, NULL, params, err) == -1 ? -1 : 0;
}

static int notify_updated(struct call *call, const char *method, json_object *params, struct err *err)
{
	struct slice uri = jx_get_str(params, "uri");

	(void)method;
	if (!uri.p || uri.len == 0)
		return err_set(err, ERR_PARAMS, "uri must be a string");
	return topic_publish_resource(call->w->link, uri, NULL, NULL, err);
}

static int close_connection(struct call *call, const char *method, json_object *params, struct err *err)
{
	(void)method, (void)params;
	return call_close_connection(call, err);
}

int call_notify(struct call *call, const char *method, json_object *params, struct err *err)
{
	static const struct {
		const char *method;
		bool needs_params;
		int (*notify)(struct call *call, const char *method, json_object *params, struct err *err);
	} kinds[] = {
	    {"notifications/progress", true, notify_progress},
	    {"notifications/message", true, notify_message},
	    {"notifications/resources/updated", true, notify_updated},
	    {"connection/close", false, close_connection},
	};
	int list = topic_find_list(slice_str(method)), ret;
	size_t i = 0;

	while (i < COUNT_OF(kinds) && strcmp(method, kinds[i].method) != 0)
		i++;
	if (call_is_cancelled(call))
		ret = err_set(err, ERR_CANCELLED, "cancelled by the client");
	else if (list >= 0 && !topic_list_offered(call->w, (enum topic_list)list))
		ret = err_set(err, ERR_PARAMS, "this site has no such list");
	else if (list >= 0)
		ret = topic_publish_list(call->w->link, (enum topic_list)list, NULL, NULL, err);
	else if (i == COUNT_OF(kinds))
		ret = err_set(err, ERR_PARAMS, "nothing that a tool may say");
	else if (params ? !json_object_is_type(params, json_type_object) : kinds[i].needs_params)
		ret = err_set(err, ERR_PARAMS, "params must be an object");
	else
		ret = kinds[i].notify(call, method, params, err);
	json_object_put(params);
	return ret;
}

int call_close_connection(struct call *call, struct err *err)
{
	return call->priv->ops->close ? call->priv->ops->close(call, err) : 0;
}

/* Takes required. */
static void set_required(struct call *call, json_object *required)
{
	json_object *data = json_object_new_object();
	struct err ignored; /* without memory the error goes out without it */

	if (jx_add(data, "requiredCapabilities", required, &ignored) == 0)
		call_set_error_data(call, data);
	else
		json_object_put(data);
}

/* Takes params. */
static int add_ask(struct call *call, const char *key, const char *method, json_object *params, struct err *err)
{
	json_object *ask = json_object_new_object();

	if (!call->priv->asks)
		call->priv->asks = json_object_new_object();
	if (call->priv->asks && json_object_object_length(call->priv->asks) == ASK_MAX) {
		json_object_put(ask);
		json_object_put(params);
		return err_set(err, ERR_PARAMS, "more than %d questions at a time", ASK_MAX);
	}
	if (jx_add(ask, "params", params, err) || jx_add_str(ask, "method", method, err)) {
		json_object_put(ask);
		return -1;
	}
	return jx_add(call->priv->asks, key, ask, err);
}

int call_ask(struct call *call, const char *key, const char *method, json_object *params, struct err *err)
{
	json_object *prepared = NULL, *required = NULL;
	int ret;

	if (!ask_is_key(key)) {
		ret = err_set(err, ERR_PARAMS, "the key of a question is " ASK_KEY_WORDS);
	} else if (jx_has(call->answers, key)) {
		ret = 1;
	} else {
		ret = ask_prepare(call, method, params, &prepared, &required, err);
		if (ret == 0)
			ret = add_ask(call, key, method, prepared, err);
	}
	if (required)
		set_required(call, required);
	json_object_put(params);
	return ret;
}

int call_ask_early(struct call *call, const char *key, const char *method, json_object *params, struct err *err)
{
	json_object *val = jx_get(call->priv->offered, key);
	int ret = val && ask_check(method, params, err) == 0
		      ? ask_is_answer(slice_str(method), jx_get(params, "requestedSchema"), val, err)
		      : 0;

	if (ret == 1) {
		if (!call->priv->taken)
			call->priv->taken = json_object_new_object();
		ret = jx_add(call->priv->taken, key, json_object_get(val), err);
		call->answers = call->priv->taken;
	}
	if (ret == 0)
		return call_ask(call, key, method, params, err);
	json_object_put(params);
	return ret;
}

void call_drop_asks(struct call *call)
{
	json_object_put(call->priv->asks);
	call->priv->asks = NULL;
}

int call_keep(struct call *call, json_object *val, struct err *err)
{
	json_object_put(call->priv->keep);
	call->priv->keep = val;
	return val ? 0 : err_set(err, ERR_NOMEM, "what a handler keeps");
}

bool call_is_asking(const struct call *call)
{
	return call->priv->asks != NULL;
}
