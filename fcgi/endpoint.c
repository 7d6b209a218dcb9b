/* The order of checks for every request (differences.md 2.1): path, method, Host and Origin, OPTIONS, size, key, rate,
 * media type, Accept, JSON, era. Nothing here looks at Mcp-Method, Mcp-Name or Mcp-Param-*: they mean something only
 * once the body is known. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/link.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/exchange.h"
#include "fcgi/guard.h"
#include "fcgi/legacy.h"
#include "fcgi/modern.h"
#include "fcgi/oldsse.h"
#include "fcgi/post.h"
#include "fcgi/revision.h"
#include "common/banned.h"

/* Bytes of a refused body that are read so that the web server sees our answer. */
#define DISCARD_MAX ((size_t)256 << 20)

#define WHAT_THIS_IS                                                                                                   \
	"This is the address of an MCP server (Model Context Protocol). Give it to an MCP client; a browser shows "    \
	"nothing here.\n"

static void refuse(struct exchange *x, int status, const char *extra)
{
	req_discard_body(x->req, DISCARD_MAX);
	exchange_reply(x, status, NULL, extra, SLICE(""));
}

/* To a person who opened one of our addresses in a browser. */
static void refuse_person(struct exchange *x, int status, const char *text)
{
	req_discard_body(x->req, DISCARD_MAX);
	exchange_reply(x, status, "text/plain; charset=utf-8", NULL, slice_str(text));
}

static void refuse_error(struct exchange *x, int status, const char *extra, const struct err *err)
{
	req_discard_body(x->req, DISCARD_MAX);
	exchange_reply_error(x, status, extra, "", err, NULL);
}

/* DT-105: what a browser may send here. */
static void serve_options(struct exchange *x)
{
	struct buf extra;

	buf_init(&extra, 8192);
	buf_adds(&extra, "Allow: GET, POST, DELETE, OPTIONS\r\n");
	if (x->origin)
		buf_addf(&extra,
		    "Access-Control-Allow-Methods: GET, POST, DELETE, OPTIONS\r\nAccess-Control-Max-Age: 600\r\n"
		    "Access-Control-Allow-Headers: %s\r\n",
		    x->w->cors_headers);
	refuse(x, extra.fault ? 503 : 204, extra.fault ? "Retry-After: 1\r\n" : extra.data);
	buf_release(&extra);
}

/* Its broker can't write into its store: no session can begin, and nothing that must outlive the broker. */
static int check_store(const struct cfg *cfg, struct err *err)
{
	char *path = cfg_path_join(cfg->run_dir, LINK_STALLED_NAME);
	bool is_stalled = path && access(path, F_OK) == 0;

	mem_free(path);
	return is_stalled ? err_set(err, ERR_BUSY, "the broker's store can't be written: its log says why") : 0;
}

static void serve_health(struct exchange *x)
{
	static struct log_rate rate;
	struct err err = {0};
	bool is_ok = check_store(&x->w->cfg, &err) == 0 && link_check(x->w->link, &err) == 0;
	unsigned dropped;
	struct buf body;

	if (!is_ok && log_rate_ok(&rate, 1, 10000, &dropped))
		LOG(WARN, "health.unavailable", "why=\"%s\" not_logged=%u", err.msg, dropped);
	buf_init(&body, 4096);
	buf_adds(&body, "{\"status\":");
	buf_adds(&body, is_ok ? "\"ok\"" : "\"unavailable\",\"reason\":");
	if (!is_ok)
		jx_write_str(&body, slice_str(err_text(err.code)));
	buf_adds(&body, ",\"service\":");
	jx_write_str(&body, slice_str(x->w->cfg.server_name));
	buf_adds(&body, ",\"version\":");
	jx_write_str(&body, slice_str(x->w->cfg.server_version[0] ? x->w->cfg.server_version : PACKAGE_VERSION));
	buf_adds(&body, "}\n");
	if (body.fault)
		exchange_reply(x, 503, NULL, "Retry-After: 1\r\n", SLICE(""));
	else
		exchange_reply(x, is_ok ? 200 : 503, "application/json",
		    is_ok ? "Cache-Control: no-store\r\n" : "Cache-Control: no-store\r\nRetry-After: 1\r\n",
		    buf_slice(&body));
	buf_release(&body);
}

/* What Allow says of a path (DT-107, DT-112, DT-113); NULL: this method is served. OPTIONS is, everywhere. */
static const char *allowed(enum route_kind kind, const char *method)
{
	static const struct {
		enum route_kind kind;
		const char *allow;
	} rows[] = {
	    {ROUTE_MCP, "GET, POST, DELETE, OPTIONS"},
	    {ROUTE_SSE, "GET"},
	    {ROUTE_MESSAGES, "POST"},
	    {ROUTE_HEALTH, "GET, HEAD"},
	};
	size_t len = strlen(method);

	if (strcmp(method, "OPTIONS") == 0)
		return NULL;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const char *p = rows[i].allow;

		if (rows[i].kind != kind)
			continue;
		while (*p) {
			size_t n = strcspn(p, ",");

			if (n == len && strncmp(p, method, n) == 0)
				return NULL;
			p += n + strspn(p + n, ", ");
		}
		return rows[i].allow;
	}
	return "";
}

/* DT-10: headers of one value arrive joined with a comma when they were sent twice. */
static int check_single(const struct exchange *x, struct err *err)
{
	static const char *const names[] = {
	    "HTTP_MCP_PROTOCOL_VERSION", "HTTP_MCP_SESSION_ID", "HTTP_MCP_METHOD", "HTTP_LAST_EVENT_ID"};

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		const char *value = req_env(x->req, names[i]);

		if (value && strchr(value, ','))
			return err_set(err, ERR_INVALID, "header %s was sent twice", names[i] + 5);
	}
	return 0;
}

/* A POST's headers, before its body is read. Refuses by itself: -1. */
static int check_post_head(struct exchange *x)
{
	const char *type = req_env(x->req, "CONTENT_TYPE"), *encoding = req_env(x->req, "HTTP_CONTENT_ENCODING");

	if (!type || !*type)
		type = req_env(x->req, "HTTP_CONTENT_TYPE");
	if (!type || !header_is_media_type(type, "application/json") ||
	    (encoding && *encoding && !header_is_media_type(encoding, "identity"))) {
		refuse(x, 415, "Accept-Post: application/json\r\n");
		return -1;
	}
	if (x->route.kind == ROUTE_MESSAGES) /* L-07: its clients send any Accept */
		return 0;
	x->accept = header_accept(req_env(x->req, "HTTP_ACCEPT"));
	if (!x->accept.json && !x->accept.sse) {
		refuse(x, 406, NULL);
		return -1;
	}
	return 0;
}

json_object *post_read(struct exchange *x)
{
	const struct cfg *cfg = &x->w->cfg;
	struct err err = {0};
	struct buf body;
	json_object *json = NULL;

	buf_init(&body, (size_t)cfg->body_max_bytes);
	if (req_read_body(x->req, &body, &err)) {
		if (err.code == ERR_GONE) {
			LOG(DEBUG, "request.broken", "why=\"%s\"", err.msg);
			exchange_reply(x, 400, NULL, NULL, SLICE("")); /* to nobody; it ends the request */
		} else {
			refuse_error(x, err_http(err.code), NULL, &err);
		}
	} else {
		json = jx_parse(buf_slice(&body), (int)cfg->body_depth_max, &err);
		if (!json)
			exchange_reply_error(x, err_http(err.code), NULL, "", &err, NULL);
	}
	buf_release(&body);
	return json;
}

static bool is_modern_header(const char *version)
{
	return version && strcmp(version, revision_name(REV_2026_07)) == 0;
}

/* differences.md 2.2: the era is settled by the claim, the key protocolVersion in params._meta, before any status is
 * chosen. */
static void classify(struct exchange *x, json_object *json)
{
	const char *version = req_env(x->req, "HTTP_MCP_PROTOCOL_VERSION");
	struct err err = {0};
	struct rpc rpc;

	if (json_object_is_type(json, json_type_array)) {
		if (is_modern_header(version) || modern_claim_inside(json)) { /* DT-43 */
			err_set(&err, ERR_INVALID, "2026-07-28 knows no batches");
			exchange_reply_error(x, 400, NULL, "", &err, NULL);
			return;
		}
		legacy_post(x, json, NULL, version);
		return;
	}
	if (rpc_read(json, &rpc, &err)) {
		exchange_reply_error(x, 400, NULL, rpc.id, &err, NULL);
		return;
	}
	if (rpc.kind != RPC_RESPONSE && (modern_has_claim(rpc.meta) || is_modern_header(version))) {
		modern_serve(x, &rpc);
	} else if (is_modern_header(version)) { /* DT-42 */
		err_set(&err, ERR_INVALID, "a server of 2026-07-28 asks nothing, so it takes no answers");
		exchange_reply_error(x, 400, NULL, "", &err, NULL);
	} else {
		legacy_post(x, json, &rpc, version);
	}
}

static void serve_mcp(struct exchange *x, const char *method)
{
	const char *version = req_env(x->req, "HTTP_MCP_PROTOCOL_VERSION");
	struct err err = {0};
	json_object *json;

	if (check_single(x, &err)) {
		refuse_error(x, 400, NULL, &err);
		return;
	}
	if (strcmp(method, "POST") == 0) {
		if (check_post_head(x))
			return;
		json = post_read(x);
		if (!json)
			return;
		classify(x, json);
		json_object_put(json);
		return;
	}
	req_discard_body(x->req, DISCARD_MAX);
	x->accept = header_accept(req_env(x->req, "HTTP_ACCEPT"));
	if (strcmp(method, "GET") == 0 && !x->accept.sse_named) { /* DT-80: no stream by a link in a browser */
		refuse_person(x, 406, WHAT_THIS_IS);
	} else if (is_modern_header(version)) {
		refuse(x, 405, "Allow: POST\r\n");
	} else if (strcmp(method, "GET") == 0) {
		legacy_get(x, version);
	} else {
		legacy_delete(x, version);
	}
}

/* DT-04, DT-05, DT-11 */
static int check_client(struct exchange *x)
{
	const char *challenge;
	struct err err = {0};
	char extra[256];
	unsigned wait_s;

	if (guard_client(x, &challenge, &wait_s, &err) == 0)
		return 0;
	if (err.code == ERR_RATE)
		snprintf(extra, sizeof(extra), "Retry-After: %u\r\n", wait_s);
	else
		snprintf(extra, sizeof(extra), "WWW-Authenticate: %s\r\n", challenge);
	refuse_error(x, err_http(err.code), extra, &err);
	return -1;
}

void endpoint_serve(struct exchange *x)
{
	const char *method = req_env(x->req, "REQUEST_METHOD"), *allow;
	bool is_modern = is_modern_header(req_env(x->req, "HTTP_MCP_PROTOCOL_VERSION"));
	const char *length = req_env(x->req, "CONTENT_LENGTH");
	struct err err = {0};

	x->principal = "";
	route_find(x->req, &x->route);
	if (!method || x->route.kind == ROUTE_NONE) {
		refuse_person(x, 404, "There is nothing here. The address of an MCP server ends in /mcp.\n");
		return;
	}
	allow = allowed(x->route.kind, method);
	if (allow) {
		char extra[128];

		snprintf(
		    extra, sizeof(extra), "Allow: %s\r\n", is_modern && x->route.kind == ROUTE_MCP ? "POST" : allow);
		refuse(x, 405, extra);
		return;
	}
	if (guard_origin(x, &err)) {
		refuse_error(x, 403, NULL, &err);
		return;
	}
	if (strcmp(method, "OPTIONS") == 0) {
		serve_options(x);
		return;
	}
	if (x->route.kind == ROUTE_HEALTH) {
		serve_health(x);
		return;
	}
	if (length && strtoull(length, NULL, 10) > (unsigned long long)x->w->cfg.body_max_bytes) {
		err_set(&err, ERR_TOO_BIG, "body of %s bytes, at most %lld are read (body_max_bytes)", length,
		    (long long)x->w->cfg.body_max_bytes);
		refuse_error(x, 413, NULL, &err);
		return;
	}
	if (check_client(x))
		return;
	switch (x->route.kind) {
	case ROUTE_MCP:
		serve_mcp(x, method);
		break;
	case ROUTE_SSE:
		req_discard_body(x->req, DISCARD_MAX);
		x->accept = header_accept(req_env(x->req, "HTTP_ACCEPT"));
		if (x->accept.sse)
			oldsse_get(x);
		else
			refuse_person(x, 406, WHAT_THIS_IS); /* DT-111 */
		break;
	case ROUTE_MESSAGES:
		if (check_post_head(x) == 0)
			oldsse_post(x);
		break;
	case ROUTE_HEALTH:
	case ROUTE_NONE:
		break;
	}
}
