#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/http_api_priv.h"
#include "fcgi/placeholder.h"
#include "common/banned.h"

#define CACHE_MAX_S 31536000

static const char *const cache_members[] = {"ttl_s", "stale_while_revalidate_s", "stale_if_error_s", NULL};

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

/* Seconds for which an answer is kept, or an object of such. */
static int read_cache(struct http_api *api, json_object *def, struct cfg *cfg, const char *pointer)
{
	json_object *cache = jx_get(def, "cache");
	int64_t ttl_s = 0, revalidate_s = 0, error_s = 0;
	char at[1024];
	int bad;

	if (!jx_has(def, "cache"))
		return 0;
	if (!http_def_may_be_cached(api->def))
		return cfg_complain_at(cfg, pointer, "cache", "only answers to GET, HEAD and POST can be kept");
	if (!json_object_is_type(cache, json_type_object)) {
		bad = read_number(def, "cache", 1, CACHE_MAX_S, &ttl_s, cfg, pointer);
	} else {
		snprintf(at, sizeof(at), "%s/cache", pointer);
		bad = cfg_complain_unknown(cfg, at, cache, cache_members);
		if (!jx_has(cache, "ttl_s"))
			bad = cfg_complain_at(cfg, pointer, "cache", "cache needs ttl_s");
		bad |= read_number(cache, "ttl_s", 1, CACHE_MAX_S, &ttl_s, cfg, at);
		bad |= read_number(cache, "stale_while_revalidate_s", 0, CACHE_MAX_S, &revalidate_s, cfg, at);
		bad |= read_number(cache, "stale_if_error_s", 0, CACHE_MAX_S, &error_s, cfg, at);
	}
	api->ttl_ms = 1000 * ttl_s;
	api->revalidate_ms = 1000 * revalidate_s;
	api->error_ms = 1000 * error_s;
	return bad;
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
	bad = api->def ? read_cache(api, def, cfg, pointer) : -1;
	bad |= http_client_check(cfg, err);
	bad |= read_result(api, def, cfg, pointer);
	bad |= read_template(api, def, names, cfg, pointer);
	bad |= read_number(def, "output_max_bytes", 1024, 67108864, &output_max_bytes, cfg, pointer);
	bad |= read_number(def, "retries", 0, 10, &api->retries, cfg, pointer);
	if (api->def)
		api->breaker = http_breaker_get(cfg, http_def_host(api->def));
	if (api->def && !api->breaker)
		bad = err_set(err, ERR_NOMEM, "http");
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
		    answer, "%s: its answer is not the JSON that it should be: %s", http_def_host(api->def), err->msg);
	if (!jx_find(*root, api->result, result))
		return http_answer_fail(
		    answer, "%s: its answer has nothing at %s", http_def_host(api->def), api->result.p);
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
