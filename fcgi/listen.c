/* The stream has no producer: once it is subscribed and its connection handed over, this process is done with it. What
 * comes on it is published by whoever sees a change (topic.h), and its will is the result that ends it in order, when
 * the broker goes down. */
#include "config.h"

#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/sse.h"
#include "fcgi/listen.h"
#include "fcgi/method.h"
#include "fcgi/modern.h"
#include "fcgi/task.h"
#include "fcgi/topic.h"
#include "common/banned.h"

#define HEAD_MAX 16384

/* What a client asked for, as far as it is honoured. */
struct filter {
	struct buf json;      /* the object of the acknowledgement, still open */
	struct buf text;      /* the topics, end to end */
	struct slice *topics; /* owned; p is set once text is complete */
	size_t count;
};

static const struct {
	const char *member;
	enum topic_list list;
} lists[] = {
    {"toolsListChanged", TOPIC_TOOLS},
    {"promptsListChanged", TOPIC_PROMPTS},
    {"resourcesListChanged", TOPIC_RESOURCES},
};

static void filter_init(struct filter *f, const struct cfg *cfg)
{
	*f = (struct filter){0};
	buf_init(&f->json, (size_t)cfg->body_max_bytes);
	buf_init(&f->text, (size_t)cfg->body_max_bytes);
	buf_adds(&f->json, "{");
}

static void filter_release(struct filter *f)
{
	buf_release(&f->json);
	buf_release(&f->text);
	mem_free(f->topics);
}

/* What was appended to text since from is a topic. */
static void filter_end_topic(struct filter *f, size_t from)
{
	f->topics[f->count++].len = f->text.len - from;
}

static const char *filter_comma(const struct filter *f)
{
	return f->json.len > 1 ? "," : "";
}

/* Checks the shape of what was asked for, and makes room for all of it. */
static int filter_reserve(struct filter *f, json_object *wanted, size_t topics_max, struct err *err)
{
	static const char *const arrays[] = {"resourceSubscriptions", "taskIds"};
	size_t max = COUNT_OF(lists);

	for (size_t i = 0; i < COUNT_OF(lists); i++) {
		if (jx_has(wanted, lists[i].member) &&
		    !json_object_is_type(jx_get(wanted, lists[i].member), json_type_boolean))
			return err_set(err, ERR_PARAMS, "notifications.%s must be true or false", lists[i].member);
	}
	for (size_t i = 0; i < COUNT_OF(arrays); i++) {
		json_object *names = jx_get_array(wanted, arrays[i]);

		if (jx_has(wanted, arrays[i]) && !names)
			return err_set(err, ERR_PARAMS, "notifications.%s must be an array", arrays[i]);
		for (size_t n = 0; names && n < json_object_array_length(names); n++, max++) {
			if (!jx_str(json_object_array_get_idx(names, n)).p)
				return err_set(err, ERR_PARAMS, "notifications.%s must hold strings", arrays[i]);
		}
	}
	if (max - COUNT_OF(lists) > topics_max)
		return err_set(err, ERR_LIMIT, "more than %zu topics (session_topics_max)", topics_max);
	f->topics = mem_alloc(max, sizeof(*f->topics));
	return f->topics ? 0 : err_set(err, ERR_NOMEM, "%zu topics", max);
}

static void take_lists(const struct exchange *x, json_object *wanted, struct filter *f)
{
	for (size_t i = 0; i < COUNT_OF(lists); i++) {
		size_t from = f->text.len;

		if (!json_object_get_boolean(jx_get(wanted, lists[i].member)) ||
		    !topic_list_offered(x->w, lists[i].list))
			continue;
		if (lists[i].list == TOPIC_RESOURCES)
			worker_watch(x->w, NULL);
		buf_addf(&f->json, "%s\"%s\":true", filter_comma(f), lists[i].member);
		buf_add_slice(&f->text, topic_list_name(lists[i].list));
		filter_end_topic(f, from);
	}
}

/* 1: there is, or may come to be, something at that URI; 0: no resource of ours. */
static int has_resource(struct exchange *x, struct slice uri, struct err *err)
{
	json_object *vars = NULL;
	const struct resource *resource = resourceset_find(&x->w->resources, uri, &vars, err);

	json_object_put(vars);
	if (!resource)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	worker_watch(x->w, resource);
	return 1;
}

/* 1: the client may hear of that task; 0: there is none that it may know of. */
static int has_task(struct exchange *x, struct slice id, struct err *err)
{
	struct link_task task;

	if (link_task_get(x->w->link, id, x->principal, 0, -1, &task, err))
		return err->code == ERR_NO_TASK ? 0 : -1;
	link_task_release(&task);
	return 1;
}

/* Those of an array of names that has() knows (1; 0: not; -1). */
static int take_names(struct exchange *x, json_object *wanted, const char *member,
    int (*has)(struct exchange *x, struct slice name, struct err *err),
    void (*put_topic)(struct buf *out, struct slice name), struct filter *f, struct err *err)
{
	json_object *names = jx_get_array(wanted, member);
	size_t taken = 0;

	for (size_t i = 0; names && i < json_object_array_length(names); i++) {
		struct slice name = jx_str(json_object_array_get_idx(names, i));
		size_t from = f->text.len;
		int found = has(x, name, err);

		if (found < 0)
			return -1;
		if (found == 0)
			continue;
		if (taken++ == 0)
			buf_addf(&f->json, "%s\"%s\":[", filter_comma(f), member);
		else
			buf_adds(&f->json, ",");
		jx_write_str(&f->json, name);
		put_topic(&f->text, name);
		filter_end_topic(f, from);
	}
	buf_adds(&f->json, taken ? "]" : "");
	return 0;
}

static int read_filter(struct exchange *x, json_object *wanted, struct filter *f, struct err *err)
{
	const char *at;

	if (filter_reserve(f, wanted, (size_t)x->w->cfg.session_topics_max, err))
		return -1;
	take_lists(x, wanted, f);
	if (take_names(x, wanted, "resourceSubscriptions", has_resource, topic_put_resource, f, err) ||
	    take_names(x, wanted, "taskIds", has_task, topic_put_task, f, err))
		return -1;
	buf_adds(&f->json, "}");
	if (buf_check(&f->json, err) || buf_check(&f->text, err))
		return -1;
	at = f->text.data;
	for (size_t i = 0; i < f->count; at += f->topics[i++].len)
		f->topics[i].p = at;
	return 0;
}

/* The stream, with its subscriptions, at the broker. When that fails x stays open, and what was opened ends by itself,
 * for nobody comes to read it. */
static int open_stream(struct exchange *x, const struct rpc *rpc, const struct filter *f, struct slice first,
    struct slice last, struct err *err)
{
	const struct link_will will = {slice_str(rpc->id), last};
	struct link *l = x->w->link;
	uint64_t stream;
	struct buf head;
	int ret;

	if (exchange_await_broker(x, true, err) ||
	    link_open_stream(l, x->owner, LINK_STREAM_MODERN | LINK_STREAM_LISTEN, &will, 1, &x->lcall, &stream, err))
		return -1;
	buf_init(&head, HEAD_MAX);
	exchange_stream_head(x, &head);
	buf_adds(&head, SSE_HEARTBEAT);
	ret = buf_check(&head, err);
	if (ret == 0)
		ret = link_append(l, stream, first, false, err);
	if (ret == 0)
		ret = link_subscribe(
		    l, stream, SLICE(""), x->principal, true, slice_str(rpc->id), f->topics, f->count, err);
	if (ret == 0)
		ret = exchange_hand_over(x, stream, 0, buf_slice(&head), err);
	link_call_end(l, &x->lcall);
	buf_release(&head);
	return ret;
}

/* Nothing can ever come: acknowledged and ended at once (SU-11). */
static void reply_at_once(struct exchange *x, struct slice first, struct slice last)
{
	struct buf events;

	buf_init(&events, first.len + last.len + 4096);
	sse_add_event(&events, SLICE(""), "message", first);
	sse_add_event(&events, SLICE(""), "message", last);
	if (events.fault)
		exchange_reply_later(x);
	else
		exchange_reply(
		    x, 200, "text/event-stream", "Cache-Control: no-cache, no-transform\r\n", buf_slice(&events));
	buf_release(&events);
}

static int serve(struct exchange *x, const struct rpc *rpc, json_object *wanted, struct err *err)
{
	struct buf first, last;
	struct filter f;
	int ret;

	filter_init(&f, &x->w->cfg);
	buf_init(&first, (size_t)x->w->cfg.body_max_bytes + 4096);
	buf_init(&last, METHOD_ANSWER_MAX);
	ret = read_filter(x, wanted, &f, err);
	if (ret == 0) {
		topic_put_acknowledged(&first, rpc->id, buf_slice(&f.json));
		topic_put_end(&last, rpc->id, x->w->server_info);
		ret = buf_check(&first, err) || buf_check(&last, err) ? -1 : 0;
	}
	if (ret == 0 && f.count > 0)
		ret = open_stream(x, rpc, &f, buf_slice(&first), buf_slice(&last), err);
	else if (ret == 0)
		reply_at_once(x, buf_slice(&first), buf_slice(&last));
	filter_release(&f);
	buf_release(&first);
	buf_release(&last);
	return ret;
}

void listen_serve(struct exchange *x, const struct rpc *rpc)
{
	json_object *wanted = jx_get_object(rpc->params, "notifications");
	struct err err = {0};

	if (!x->accept.sse) {
		err_set(&err, ERR_INVALID, LISTEN_METHOD " is answered by text/event-stream only");
		exchange_reply_error(x, 406, NULL, rpc->id, &err, NULL);
	} else if (!wanted) {
		err_set(&err, ERR_PARAMS, "params.notifications must be an object");
		exchange_reply_error(x, 200, NULL, rpc->id, &err, NULL);
	} else if (jx_has(wanted, "taskIds") &&
		   !task_is_declared(jx_get_object(rpc->meta, MODERN_CAPABILITIES))) { /* SU-13 */
		err_set(&err, ERR_CAPABILITY, "taskIds are for clients that declare " TASK_EXTENSION);
		exchange_reply_error(x, 400, NULL, rpc->id, &err,
		    "{\"requiredCapabilities\":{\"extensions\":{\"" TASK_EXTENSION "\":{}}}}");
	} else if (serve(x, rpc, wanted, &err)) { /* SU-12: in-band, or a probe would take it for another era */
		if (err.code != ERR_PARAMS)
			LOG(WARN, "listen.refused", "why=\"%s\"", err.msg);
		exchange_reply_error(x, 200, NULL, rpc->id, &err, NULL);
	}
	exchange_count(x, LISTEN_METHOD, err.code ? LINK_OUTCOME_ERROR : LINK_OUTCOME_OK);
}
