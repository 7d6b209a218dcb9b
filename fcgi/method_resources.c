#include "config.h"

#include "common/jx.h"
#include "fcgi/content.h"
#include "fcgi/cursor.h"
#include "fcgi/method_resources.h"
#include "fcgi/result.h"
#include "fcgi/shape.h"
#include "fcgi/topic.h"
#include "fcgi/uri.h"
#include "fcgi/worker.h"
#include "common/banned.h"

/* A page of resources/list while it is written. The list is all resources of one URI, then what each template stands
 * for; cursors count them in this order, and inside a template name the last item. */
struct page {
	struct call *call;
	struct buf *out;
	size_t left; /* items that fit yet */
	const char *comma;
};

static void put_item(struct page *page, json_object *item)
{
	buf_adds(page->out, page->comma);
	shape_put(page->out, SHAPE_RESOURCE, item, page->call->revision);
	page->comma = ",";
	page->left--;
}

/* Puts what fits of a template, from after on. 1: there is more, and after is where the page ends. */
static int put_template(struct page *page, const struct resource *resource, struct buf *after, struct err *err)
{
	struct slice from = {after->len ? after->data : NULL, after->len};
	json_object *items = json_object_new_array();
	size_t count, fit;
	int ret;

	if (!items)
		return err_set(err, ERR_NOMEM, "no memory for a list");
	ret = resource->provider->list(page->call, resource, from, page->left + 1, items, err);
	if (ret)
		err_wrap(err, "list %s", resource->uri);
	count = json_object_array_length(items);
	fit = count > page->left ? page->left : count;
	for (size_t i = 0; i < fit; i++)
		put_item(page, json_object_array_get_idx(items, i));
	if (ret == 0 && fit < count) {
		ret = 1;
		if (fit) {
			buf_clear(after);
			buf_add_slice(after, jx_get_str(json_object_array_get_idx(items, fit - 1), "uri"));
		}
	}
	json_object_put(items);
	return ret;
}

int method_resources_list(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	const struct resourceset *set = &call->w->resources;
	struct page page = {.call = call, .out = out, .left = (size_t)call->cfg->page_size, .comma = ""};
	size_t count = set->fixed_count + set->templates_count;
	struct cursor c;
	int ret = cursor_read(&c, rpc->params, set->digest, count, err);

	(void)session;
	buf_adds(out, "\"resources\":[");
	for (; ret == 0 && c.index < set->fixed_count && page.left; c.index++, page.left--) {
		buf_adds(out, page.comma);
		buf_adds(out, set->fixed[c.index].listing[call->revision]);
		page.comma = ",";
	}
	while (ret == 0 && c.index >= set->fixed_count && c.index < count) {
		const struct resource *resource = &set->templates[c.index - set->fixed_count];

		if (resource->provider->list)
			ret = put_template(&page, resource, &c.after, err);
		if (ret == 0) {
			buf_clear(&c.after);
			c.index++;
		}
	}
	buf_adds(out, "]");
	if (ret == 1 || (ret == 0 && c.index < count))
		cursor_put(out, set->digest, c.index, buf_slice(&c.after));
	if (ret != -1)
		ret = buf_check(&c.after, err);
	cursor_release(&c);
	return ret;
}

static const char *template_entry(const void *set, size_t i, enum revision revision)
{
	return ((const struct resourceset *)set)->templates[i].listing[revision];
}

int method_resources_templates(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	const struct resourceset *set = &call->w->resources;
	struct cursor_list list = {"resourceTemplates", set->digest, set->templates_count, template_entry, set};

	(void)session;
	return cursor_put_page(&list, call, rpc->params, out, err);
}

/* What the provider left out of the objects in contents. */
static int complete_contents(json_object *contents, const struct resource *resource, struct slice uri, struct err *err)
{
	int bad = 0;

	for (size_t i = 0; i < json_object_array_length(contents); i++) {
		json_object *object = json_object_array_get_idx(contents, i);

		if (!jx_has(object, "uri"))
			bad |= jx_add(object, "uri", jx_new_str(uri), err);
		if (!jx_has(object, "mimeType") && resource->mime_type)
			bad |= jx_add_str(object, "mimeType", resource->mime_type, err);
	}
	return bad;
}

/* Takes contents. */
static int put_contents(struct call *call, const struct resource *resource, struct slice uri, json_object *contents,
    struct buf *out, struct err *err)
{
	json_object *result = json_object_new_object();
	int ret = complete_contents(contents, resource, uri, err);

	if (jx_add(result, "contents", contents, err))
		ret = -1;
	if (ret == 0) {
		if (call->era == ERA_MODERN)
			method_put_cache_hints(out, call, resource->ttl_ms);
		result_put_members(out, result, call->revision, call->w->server_info, SLICE(""));
	}
	json_object_put(result);
	return ret;
}

/* what is not there has a code of its own for clients with sessions, and its URI with it for all. */
static int refuse_uri(struct call *call, struct slice uri, struct err *err)
{
	json_object *data = json_object_new_object();

	if (jx_add(data, "uri", jx_new_str(uri), err)) {
		json_object_put(data);
		return -1;
	}
	call_set_error_data(call, data);
	if (call->era == ERA_LEGACY)
		err->code = ERR_NOT_FOUND_LEGACY;
	return -1;
}

int method_resources_read(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	struct slice uri = jx_get_str(rpc->params, "uri");
	json_object *vars = NULL, *contents = NULL;
	const struct resource *resource;
	int ret = -1;

	(void)session;
	if (!uri.p || !uri_is_valid(uri))
		return err_set(err, ERR_PARAMS, "params.uri must be a URI");
	resource = resourceset_find(&call->w->resources, uri, &vars, err);
	if (resource) {
		contents = json_object_new_array();
		ret = contents ? resource->provider->read(call, resource, uri, vars, contents, err)
			       : err_set(err, ERR_NOMEM, "no memory for a resource");
		if (ret == 0 && json_object_array_length(contents) == 0 && !call_is_asking(call))
			ret = err_set(err, ERR_NOT_FOUND, "there is nothing at this URI"); /* RS-06 */
	}
	if (ret == 0 && !call_is_asking(call))
		ret = put_contents(call, resource, uri, json_object_get(contents), out, err);
	if (ret && err->code == ERR_NOT_FOUND)
		refuse_uri(call, uri, err);
	json_object_put(contents);
	json_object_put(vars);
	return ret;
}

/* The topic of params.uri, which belongs to a resource of ours. */
static int read_topic(struct call *call, const struct rpc *rpc, struct buf *topic, struct err *err)
{
	struct slice uri = jx_get_str(rpc->params, "uri");
	const struct resource *resource;
	json_object *vars = NULL;

	if (!uri.p || !uri_is_valid(uri))
		return err_set(err, ERR_PARAMS, "params.uri must be a URI");
	resource = resourceset_find(&call->w->resources, uri, &vars, err);
	json_object_put(vars);
	if (!resource) {
		if (err->code == ERR_NOT_FOUND)
			refuse_uri(call, uri, err);
		return -1;
	}
	worker_watch(call->w, resource);
	topic_put_resource(topic, uri);
	return buf_check(topic, err);
}

int method_resources_subscribe(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	struct slice topics[1];
	struct buf topic;
	int ret;

	(void)session, (void)out;
	buf_init(&topic, (size_t)call->cfg->body_max_bytes);
	ret = read_topic(call, rpc, &topic, err);
	topics[0] = buf_slice(&topic);
	if (ret == 0)
		ret = link_subscribe(call->w->link, 0, slice_str(call->session), call->principal, false, SLICE(""),
		    topics, COUNT_OF(topics), err);
	buf_release(&topic);
	return ret;
}

/* What was never subscribed to, or is not there any more, is no error. */
int method_resources_unsubscribe(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	struct slice uri = jx_get_str(rpc->params, "uri"), topics[1];
	struct buf topic;
	int ret;

	(void)session, (void)out;
	if (!uri.p)
		return err_set(err, ERR_PARAMS, "params.uri must be a URI");
	buf_init(&topic, (size_t)call->cfg->body_max_bytes);
	topic_put_resource(&topic, uri);
	topics[0] = buf_slice(&topic);
	ret = buf_check(&topic, err);
	if (ret == 0)
		ret = link_unsubscribe(
		    call->w->link, slice_str(call->session), call->principal, topics, COUNT_OF(topics), err);
	buf_release(&topic);
	return ret;
}
