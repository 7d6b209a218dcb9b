#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/definition.h"
#include "fcgi/http_base.h"
#include "fcgi/http_def_priv.h"
#include "common/banned.h"

#define CACHE_MAX_S   31536000
#define NAMES_MAX     64 /* among which the nearest is looked for */
#define ADDRESSES_MAX 64

static const char *const members[] = {
    "url", "query", "headers", "timeout_s", "retries", "output_max_bytes", "cache", "allow_addresses", NULL};
static const char *const cache_members[] = {"ttl_s", "stale_while_revalidate_s", "stale_if_error_s", NULL};

/* ---- how it is asked ---- */

/* Seconds for which an answer is kept, or an object of such. */
static int read_cache(struct http_policy *policy, json_object *def, struct cfg *cfg, const char *pointer)
{
	json_object *cache = jx_get(def, "cache");
	int64_t ttl_s = 0, revalidate_s = 0, error_s = 0;
	struct buf at;
	int bad;

	if (!jx_has(def, "cache"))
		return 0;
	if (!json_object_is_type(cache, json_type_object)) {
		bad = cfg_read_number(cfg, pointer, def, "cache", 0, CACHE_MAX_S, &ttl_s);
	} else {
		buf_init(&at, DEFINITION_POINTER_MAX);
		buf_addf(&at, "%s/cache", pointer);
		bad = cfg_complain_unknown(cfg, at.data, cache, cache_members);
		if (!jx_has(cache, "ttl_s"))
			bad = cfg_complain_at(cfg, pointer, "cache", "cache needs ttl_s");
		bad |= cfg_read_number(cfg, at.data, cache, "ttl_s", 1, CACHE_MAX_S, &ttl_s);
		bad |= cfg_read_number(cfg, at.data, cache, "stale_while_revalidate_s", 0, CACHE_MAX_S, &revalidate_s);
		bad |= cfg_read_number(cfg, at.data, cache, "stale_if_error_s", 0, CACHE_MAX_S, &error_s);
		buf_release(&at);
	}
	policy->ttl_ms = 1000 * ttl_s;
	policy->revalidate_ms = 1000 * revalidate_s;
	policy->error_ms = 1000 * error_s;
	return bad;
}

struct http_policy http_policy_of(const struct cfg *cfg)
{
	return (struct http_policy){
	    .timeout_s = cfg->http_timeout_s,
	    .output_max_bytes = cfg->http_output_max_bytes,
	    .retries = cfg->http_retries,
	};
}

int http_policy_read(struct http_policy *policy, json_object *def, struct cfg *cfg, const char *pointer)
{
	int bad = read_cache(policy, def, cfg, pointer);

	bad |= cfg_read_number(cfg, pointer, def, "output_max_bytes", 1024, 67108864, &policy->output_max_bytes);
	return bad | cfg_read_number(cfg, pointer, def, "retries", 0, 10, &policy->retries);
}

/* ---- an API ---- */

static int read_allowed(struct http_base *base, json_object *api, struct cfg *cfg, const char *pointer, struct err *err)
{
	json_object *texts = jx_get_array(api, "allow_addresses");
	size_t count = texts ? json_object_array_length(texts) : 0;
	char *items[ADDRESSES_MAX];

	if (!jx_has(api, "allow_addresses"))
		return 0;
	if (!texts || count > ADDRESSES_MAX)
		return cfg_complain_at(cfg, pointer, "allow_addresses",
		    "allow_addresses must be an array of at most %d addresses or networks", ADDRESSES_MAX);
	for (size_t i = 0; i < count; i++) {
		const char *text = jx_str(json_object_array_get_idx(texts, i)).p;

		items[i] = (char *)(uintptr_t)(text ? text : ""); /* only read */
	}
	if (address_nets_read(&base->allowed, &(struct cfg_list){items, count}, err) == 0)
		return 0;
	return err->code == ERR_NOMEM ? -1 : cfg_complain_at(cfg, pointer, "allow_addresses", "%s", err->msg);
}

static struct http_base *base_new(
    json_object *api, const char *name, struct cfg *cfg, const char *pointer, struct err *err)
{
	struct http_base *base;
	int bad;

	if (!json_object_is_type(api, json_type_object)) {
		cfg_complain(
		    cfg, pointer, "an API is described by an object, as in {\"url\": \"https://api.example/v1\"}");
		return NULL;
	}
	base = mem_alloc(1, sizeof(*base));
	if (base)
		base->name = mem_dup(name, strlen(name));
	if (!base || !base->name) {
		mem_free(base);
		err_set(err, ERR_NOMEM, "http");
		return NULL;
	}
	base->policy = http_policy_of(cfg);
	bad = cfg_complain_unknown(cfg, pointer, api, members);
	base->def = http_def_new_base(api, cfg, pointer, err);
	bad |= http_policy_read(&base->policy, api, cfg, pointer);
	bad |= cfg_read_number(cfg, pointer, api, "timeout_s", 1, 86400, &base->policy.timeout_s);
	bad |= read_allowed(base, api, cfg, pointer, err);
	if (bad || !base->def)
		http_base_free(&base);
	return base;
}

void http_base_free(struct http_base **basep)
{
	struct http_base *base = *basep;

	if (!base)
		return;
	*basep = NULL;
	address_nets_release(&base->allowed);
	http_def_free(&base->def);
	mem_free(base->name);
	mem_free(base);
}

/* ---- which one ---- */

/* Its name. NULL: complained about, at def. */
static const char *find_name(struct slice wanted, bool is_named, struct cfg *cfg, const char *pointer)
{
	const char *names[NAMES_MAX + 1] = {NULL}, *near;
	size_t count = 0;

	json_object_object_foreach(cfg->apis, name, api) {
		(void)api;
		if (wanted.p && slice_is(wanted, name))
			return name;
		if (count < NAMES_MAX)
			names[count++] = name;
	}
	if (!is_named && count == 1)
		return names[0];
	near = wanted.p ? cfg_nearest(wanted.p, names) : NULL;
	if (near)
		cfg_complain_at(cfg, pointer, "http/api", "there is no such API; did you mean \"%s\"?", near);
	else if (is_named)
		cfg_complain_at(cfg, pointer, "http/api", "there is no such API in \"apis\"");
	else if (count)
		cfg_complain_at(cfg, pointer, "http", "\"api\" must say which of the %zu the path belongs to", count);
	else
		cfg_complain_at(cfg, pointer, "http",
		    "url must be a URL as in \"https://api.example/v1/{city}\", or \"apis\" define what it is of");
	return NULL;
}

int http_base_get(json_object *def, struct http_base **base, struct cfg *cfg, const char *pointer, struct err *err)
{
	json_object *http = jx_get(def, "http");
	bool is_object = json_object_is_type(http, json_type_object), is_named = is_object && jx_has(http, "api");
	struct slice url = is_object ? jx_get_str(http, "url") : jx_str(http);
	int complaints = cfg->complaint_count;
	const char *name;
	struct buf at;

	*base = NULL;
	if (!is_named && (!url.p || url.p[0] != '/'))
		return 0;
	name = find_name(is_object ? jx_get_str(http, "api") : (struct slice){NULL, 0}, is_named, cfg, pointer);
	if (!name || !jx_get(cfg->apis, name))
		return -1;
	buf_init(&at, DEFINITION_POINTER_MAX);
	buf_adds(&at, "/apis");
	jx_add_pointer(&at, slice_str(name));
	if (buf_check(&at, err) == 0)
		*base = base_new(jx_get(cfg->apis, name), name, cfg, at.data, err);
	if (cfg->complaint_count > complaints) /* it is null from here on, and nobody complains again */
		json_object_object_add(cfg->apis, name, NULL);
	buf_release(&at);
	return *base ? 0 : -1;
}
