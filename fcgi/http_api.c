#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/http_api_priv.h"
#include "fcgi/placeholder.h"
#include "common/banned.h"

/* ---- the definition ---- */

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

/* Of the definition, else of its API, else of the configuration. */
static int read_policy(struct http_api *api, json_object *def, struct cfg *cfg, const char *pointer)
{
	const struct http_base *base = http_def_base(api->def);

	if (base)
		api->policy = base->policy;
	if (!http_def_only_reads(api->def))
		api->policy.ttl_ms = 0;
	if (http_policy_read(&api->policy, def, cfg, pointer))
		return -1;
	if (api->policy.ttl_ms && http_def_names_call(api->def))
		return cfg_complain_at(cfg, pointer, "cache", "what was asked with {" HTTP_CALL "} is of one call only");
	if (api->policy.ttl_ms && !http_def_may_be_cached(api->def))
		return cfg_complain_at(cfg, pointer, "cache", "only answers to GET, HEAD and POST can be kept");
	return 0;
}

struct http_api *http_api_new(json_object *def, const struct http_names *names, int64_t *timeout_s, struct cfg *cfg,
    const char *pointer, struct err *err)
{
	struct http_api *api = mem_alloc(1, sizeof(*api));
	int bad;

	if (!api) {
		err_set(err, ERR_NOMEM, "http");
		return NULL;
	}
	api->policy = http_policy_of(cfg);
	api->def = http_def_new(def, names, cfg, pointer, err);
	bad = api->def ? read_policy(api, def, cfg, pointer) : -1;
	if (!jx_has(def, "timeout_s"))
		*timeout_s = api->policy.timeout_s;
	bad |= http_client_check(cfg, pointer, err);
	bad |= read_result(api, def, cfg, pointer);
	bad |= read_template(api, def, names, cfg, pointer);
	if (api->def)
		api->breaker = http_breaker_get(cfg, http_def_host(api->def));
	if (api->def && !api->breaker)
		bad = err_set(err, ERR_NOMEM, "http");
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
	http_breaker_release(&api->breaker);
	http_def_free(&api->def);
	mem_free(api);
}

bool http_api_needs_json(const struct http_api *api)
{
	return api->needs_json;
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
		    answer, "%s: its answer is not the JSON that it should be: %s", http_def_name(api->def), err->msg);
	if (!jx_find(*root, api->result, result))
		return http_answer_fail(
		    answer, "%s: its answer has nothing at %s", http_def_name(api->def), api->result.p);
	return 0;
}

int http_answer_add_meta(const struct http_answer *answer, json_object *obj, struct err *err)
{
	json_object *cache, *meta;
	int bad;

	if (answer->age_ms < 0)
		return 0;
	cache = json_object_new_object();
	meta = json_object_new_object();
	bad = jx_add(cache, "age_s", json_object_new_int64(answer->age_ms / 1000), err);
	bad |= jx_add(cache, "stale", json_object_new_boolean(answer->is_stale), err);
	bad |= jx_add(meta, "mcp-fcgi/cache", cache, err);
	return jx_add(obj, "_meta", meta, err) | bad;
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
