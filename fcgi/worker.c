#include "config.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/capabilities.h"
#include "fcgi/exchange.h"
#include "fcgi/guard.h"
#include "common/banned.h"

#define CORS_ALLOWED                                                                                                   \
	"Authorization, X-API-Key, Content-Type, Accept, Last-Event-ID, MCP-Protocol-Version, Mcp-Session-Id, "        \
	"Mcp-Method, Mcp-Name"

static int make_server_info(struct worker *w, struct err *err)
{
	struct buf text;

	buf_init(&text, 65536);
	if (capabilities_put_server(&text, &w->cfg, REV_2026_07, err) || buf_check(&text, err)) {
		buf_release(&text);
		return err_wrap(err, "what is said about the server");
	}
	w->server_info = text.data; /* the buffer's memory is ours now */
	return 0;
}

static bool is_listed(const struct worker *w, size_t tools_count, size_t headers_count, const char *annotation)
{
	for (size_t t = 0; t <= tools_count && t < w->tools.count; t++) {
		size_t end = t == tools_count ? headers_count : w->tools.tools[t].headers_count;

		for (size_t h = 0; h < end; h++) {
			if (strcmp(w->tools.tools[t].headers[h].annotation, annotation) == 0)
				return true;
		}
	}
	return false;
}

static int make_cors_headers(struct worker *w, struct err *err)
{
	struct buf text;

	buf_init(&text, 4096);
	buf_adds(&text, CORS_ALLOWED);
	for (size_t t = 0; t < w->tools.count; t++) {
		for (size_t h = 0; h < w->tools.tools[t].headers_count; h++) {
			const char *annotation = w->tools.tools[t].headers[h].annotation;

			if (!is_listed(w, t, h, annotation))
				buf_addf(&text, ", Mcp-Param-%s", annotation);
		}
	}
	if (buf_check(&text, err)) {
		buf_release(&text);
		return err_wrap(err, "names of x-mcp-header");
	}
	w->cors_headers = text.data;
	return 0;
}

/* What settings say about our own address and those of web pages, in the form in which browsers write it. */
static int read_origins(struct worker *w, struct err *err)
{
	const char *url = w->cfg.server_public_url;

	if (url[0] && guard_split_url(url, &w->public_host, &w->public_origin, err))
		return err_wrap(err, "server_public_url");
	if (!w->public_host)
		w->public_host = mem_dup("", 0);
	if (!w->public_origin)
		w->public_origin = mem_dup("", 0);
	if (!w->public_host || !w->public_origin)
		return err_set(err, ERR_NOMEM, "no memory to start");
	for (size_t i = 0; i < w->cfg.cors_origins.count; i++) {
		char **item = &w->cfg.cors_origins.items[i], *host, *origin;

		if (guard_split_url(*item, &host, &origin, err))
			return err_wrap(err, "cors_origins");
		mem_free(host);
		mem_free(*item);
		*item = origin;
	}
	return 0;
}

/* Nobody publishes over TCP without a key: any user, and any page in a browser, could. */
static int read_publish(struct worker *w, struct err *err)
{
	const char *file = w->cfg.publish_keys_file;
	struct sockaddr_storage address;
	socklen_t len;

	if (!w->cfg.publish_listen[0])
		return 0;
	if (address_read_listen(w->cfg.publish_listen, &address, &len, err))
		return err_wrap(err, "publish_listen");
	if (!file[0])
		return err_set(err, ERR_CONFIG, "publish_listen needs publish_keys_file, a file with name:key a line");
	if (sources_add(&w->cfg.sources, file, err))
		return -1;
	return keys_load(&w->publish_keys, file, err) ? err_wrap(err, "publish_keys_file") : 0;
}

int worker_init(struct worker *w, const char *file, const char *const *sets, size_t sets_count, struct err *err)
{
	enum log_level level;

	*w = (struct worker){0};
	if (cfg_init(&w->cfg, err))
		return -1;
	if (cfg_load(&w->cfg, file, sets, sets_count, err))
		return -1;
	if (log_parse_level(w->cfg.log_level, &level))
		log_level_max = level;
	if (toolset_init(&w->tools, &w->cfg, err) || resourceset_init(&w->resources, &w->cfg, err) ||
	    promptset_init(&w->prompts, &w->cfg, err))
		return -1;
	if (w->cfg.auth_api_keys_file[0] && sources_add(&w->cfg.sources, w->cfg.auth_api_keys_file, err))
		return -1;
	if (w->cfg.auth_api_keys_file[0] && keys_load(&w->keys, w->cfg.auth_api_keys_file, err))
		return err_wrap(err, "auth_api_keys_file");
	if (read_publish(w, err) || read_origins(w, err))
		return -1;
	if (address_nets_read(&w->proxies, &w->cfg.rate_proxies, err))
		return err_wrap(err, "rate_proxies");
	w->seal = seal_new(&w->cfg);
	if (!w->seal)
		return err_set(err, ERR_NOMEM, "seal");
	return make_server_info(w, err) || make_cors_headers(w, err) ? -1 : 0;
}

void worker_release(struct worker *w)
{
	link_free(&w->link);
	seal_free(&w->seal);
	rate_close(&w->rate);
	address_nets_release(&w->proxies);
	toolset_release(&w->tools);
	resourceset_release(&w->resources);
	promptset_release(&w->prompts);
	keys_release(&w->keys);
	keys_release(&w->publish_keys);
	mem_free(w->public_host);
	mem_free(w->public_origin);
	mem_free(w->server_info);
	mem_free(w->cors_headers);
	cfg_release(&w->cfg);
	*w = (struct worker){0};
}

void worker_watch(const struct worker *w, const struct resource *resource)
{
	bool may_publish = w->cfg.publish_socket[0] || w->cfg.publish_listen[0];
	struct err err = {0};

	if ((may_publish || resourceset_is_watched(&w->resources, resource)) && link_runner_ensure(w->link, &err))
		LOG(WARN, "watch.failed", "why=\"%s\" effect=\"changes are not told\"", err.msg);
}

static pthread_mutex_t slow_mtx = PTHREAD_MUTEX_INITIALIZER;
static struct exchange *slow; /* by slow_mtx: a list of all requests that take long */

/* So many of worker_calls_max, rounded up. */
static size_t calls_share(const struct cfg *cfg)
{
	return (size_t)(cfg->worker_calls_max * cfg->principal_share_percent + 99) / 100;
}

int worker_check_calls(const struct worker *w, struct slice owner, struct err *err)
{
	size_t count = 0;

	if (w->is_full)
		return err_set(err, ERR_LIMIT, "as many calls as worker_calls_max take long already");
	if (owner.len == 0)
		return 0;
	pthread_mutex_lock(&slow_mtx);
	for (const struct exchange *x = slow; x; x = x->next)
		count += slice_eq(x->owner, owner);
	pthread_mutex_unlock(&slow_mtx);
	if (count < calls_share(&w->cfg))
		return 0;
	return err_set(err, ERR_LIMIT,
	    "%zu calls of this client take long already, its share of worker_calls_max (principal_share_percent)",
	    count);
}

void worker_add_slow(struct exchange *x)
{
	if (x->at)
		return;
	pthread_mutex_lock(&slow_mtx);
	x->next = slow;
	x->at = &slow;
	if (x->next)
		x->next->at = &x->next;
	slow = x;
	pthread_mutex_unlock(&slow_mtx);
}

void worker_drop_slow(struct exchange *x)
{
	if (!x->at)
		return;
	pthread_mutex_lock(&slow_mtx);
	*x->at = x->next;
	if (x->next)
		x->next->at = x->at;
	x->at = NULL;
	pthread_mutex_unlock(&slow_mtx);
}

void worker_serve(struct worker *w, struct req *req, void (*busy)(void *arg), void *busy_arg)
{
	uint64_t started_us = now_us();
	struct exchange x = {
	    .w = w,
	    .req = req,
	    .phase = EXCHANGE_OPEN,
	    .busy = busy,
	    .busy_arg = busy_arg,
	    .started_ms = started_us / 1000,
	    .started_us = started_us,
	};

	endpoint_serve(&x);
	if (x.phase == EXCHANGE_OPEN) /* no path leads here; a client must not wait for the proof */
		exchange_reply_later(&x);
	worker_drop_slow(&x);
}
