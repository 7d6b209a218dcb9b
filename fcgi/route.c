#include "config.h"

#include <stdio.h>

#include "fcgi/route.h"
#include "fcgi/uri.h"
#include "common/banned.h"

static const struct {
	struct slice tail;
	enum route_kind kind;
	size_t mount_cut; /* bytes of the tail that are not part of the mount */
} tails[] = {
    {{"/mcp/sse", 8}, ROUTE_SSE, 4},
    {{"/mcp/messages", 13}, ROUTE_MESSAGES, 9},
    {{"/mcp/health", 11}, ROUTE_HEALTH, 7},
    {{"/mcp", 4}, ROUTE_MCP, 0},
    {{"/sse", 4}, ROUTE_SSE, 4},
    {{"/messages", 9}, ROUTE_MESSAGES, 9},
    {{"/health", 7}, ROUTE_HEALTH, 7},
};

static bool match(struct slice path, struct route *out)
{
	/* RFC 8615 paths end with the path they tell about: /.well-known/oauth-protected-resource/mcp is not /mcp. */
	if (path.len && memmem(path.p, path.len, "/.well-known/", strlen("/.well-known/")))
		return false;
	if (path.len > 1 && path.p[path.len - 1] == '/')
		path.len--;
	for (size_t i = 0; i < COUNT_OF(tails); i++) {
		struct slice tail = tails[i].tail;

		if (path.len < tail.len || memcmp(path.p + path.len - tail.len, tail.p, tail.len) != 0)
			continue;
		out->kind = tails[i].kind;
		out->mount = (struct slice){path.p, path.len - tails[i].mount_cut};
		return true;
	}
	return false;
}

void route_find(const struct req *req, struct route *out)
{
	const char *uri = req_env(req, "REQUEST_URI");
	const char *script = req_env(req, "SCRIPT_NAME"), *info = req_env(req, "PATH_INFO");
	int len;

	out->kind = ROUTE_NONE;
	/* Not "http://host/...", which names an origin. */
	if (uri && uri[0] == '/' && match((struct slice){uri, strcspn(uri, "?#")}, out))
		return;
	len = snprintf(out->store, sizeof(out->store), "%s%s", script ? script : "", info ? info : "");
	if (len > 0 && (size_t)len < sizeof(out->store))
		match((struct slice){out->store, (size_t)len}, out);
}

bool route_query(const struct req *req, const char *name, char *out, size_t size)
{
	const char *p = req_env(req, "QUERY_STRING");
	size_t name_len = strlen(name), used = 0;

	while (p && *p && !(strncmp(p, name, name_len) == 0 && p[name_len] == '=')) {
		p = strchr(p, '&');
		p = p ? p + 1 : NULL;
	}
	if (!p || !*p)
		return false;
	for (p += name_len + 1; *p && *p != '&'; p++) {
		int byte = uri_encoded_byte((struct slice){p, strnlen(p, 3)});
		char c = byte < 0 ? *p : (char)byte;

		p += byte < 0 ? 0 : 2;
		if (used + 1 >= size || c == '\0')
			return false;
		out[used++] = c;
	}
	out[used] = '\0';
	return used > 0;
}
