/* fcgi/route.h - which of our resources a request asks for, by the tail of its path.
 *
 * The path is that of REQUEST_URI; when no tail of it is ours, SCRIPT_NAME + PATH_INFO (a rewritten URL). So the worker
 * serves below any mount, also as /cgi-bin/x.fcgi/mcp. One trailing slash is ignored. */
#ifndef MCP_FCGI_ROUTE_H
#define MCP_FCGI_ROUTE_H

#include "fcgi/req.h"

enum route_kind {
	ROUTE_NONE,
	ROUTE_MCP,      /* BASE/mcp: Streamable HTTP, all revisions */
	ROUTE_SSE,      /* BASE/mcp/sse or BASE/sse: HTTP+SSE of 2024-11-05, its stream */
	ROUTE_MESSAGES, /* BASE/mcp/messages or BASE/messages: its posts */
	ROUTE_HEALTH,   /* BASE/health or BASE/mcp/health */
};

struct route {
	enum route_kind kind;
	struct slice mount; /* what stands before "/sse", "/messages" or the end of "/mcp": where posts go is mount +
			     * "/messages". Borrowed from the request, or from store. */
	char store[1024];
};

void route_find(const struct req *req, struct route *out);

/* Value of a parameter in QUERY_STRING, percent-decoded into out (terminated); false: absent or too long. */
bool route_query(const struct req *req, const char *name, char *out, size_t size);

#endif
