/* fcgi/worker.h - what all threads of a worker process share: made before the first request, then only read.
 *
 * The order in which a request is checked is endpoint.c; what a session or a stateless client may ask is legacy.c,
 * oldsse.c and modern.c. */
#ifndef MCP_FCGI_WORKER_H
#define MCP_FCGI_WORKER_H

#include <stdatomic.h>

#include "common/cfg.h"
#include "fcgi/address.h"
#include "fcgi/keys.h"
#include "fcgi/link_client.h"
#include "fcgi/promptset.h"
#include "fcgi/rate.h"
#include "fcgi/req.h"
#include "fcgi/resourceset.h"
#include "fcgi/seal.h"
#include "fcgi/toolset.h"

struct exchange;

struct worker {
	atomic_bool is_full; /* worker_calls_max calls take long: no other begins. The one thing that changes */
	struct cfg cfg;
	struct toolset tools;
	struct resourceset resources;
	struct promptset prompts;
	struct keys keys, publish_keys;
	struct address_nets proxies;
	struct rate *rate;   /* owned; NULL: nothing is limited. Made by the program that serves, before fork */
	struct seal *seal;   /* owned */
	struct link *link;   /* made in the process that serves, after fork */
	char *public_host;   /* host of server_public_url, lower case, without port; "" without it */
	char *public_origin; /* its scheme://host[:port], as browsers send it */
	char *server_info;   /* JSON text: who we are, for clients of 2026-07-28 */
	char *cors_headers;  /* for Access-Control-Allow-Headers: with every Mcp-Param-* of the tools */
};

/* Reads the configuration and everything that hangs on it. Complaints are logged. To be released in any case. */
int worker_init(struct worker *w, const char *file, const char *const *sets, size_t sets_count, struct err *err);
void worker_release(struct worker *w);

/* Somebody wants to hear of changes: of resource, or of the list of resources (NULL). Where they are files, or scripts
 * may publish, that takes a runner; that it can't be started is logged. */
void worker_watch(const struct worker *w, const struct resource *resource);

/* Whether a call that may take long may begin: neither all that may are under way, nor owner's share of them.
 * ERR_LIMIT. */
int worker_check_calls(const struct worker *w, struct slice owner, struct err *err);
/* x takes long from now on, and no longer. Twice is no harm. */
void worker_add_slow(struct exchange *x);
void worker_drop_slow(struct exchange *x);

/* Answers one request, whatever it is. busy is called at most once, when the request stops counting as one that
 * occupies an accepting thread (it became a stream, was answered 202, or takes long), before the rest of its work. */
void worker_serve(struct worker *w, struct req *req, void (*busy)(void *arg), void *busy_arg);

#endif
