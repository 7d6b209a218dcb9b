/* fcgi/header.h - values of HTTP headers, as MCP uses them. */
#ifndef MCP_FCGI_HEADER_H
#define MCP_FCGI_HEADER_H

#include "common/buf.h"

/* What an Accept header admits (RFC 9110, 12.5.1). NULL or empty admits everything. q=0 excludes. */
struct header_accept {
	bool json, sse;
	bool sse_named; /* "text/event-stream" itself, not a wildcard: DT-80 */
};
struct header_accept header_accept(const char *value);

/* True for "type/subtype", whatever parameters follow and in any case. */
bool header_is_media_type(const char *value, const char *type);

/* Mcp-Name and Mcp-Param-* (2026-07-28, basic/transports/streamable-http): a value "=?base64?...?=" is decoded,
 * anything else is literal. ERR_MISMATCH: undecodable, not UTF-8, or characters outside 0x20-0x7E and HTAB. */
int header_decode(const char *value, struct buf *out, struct err *err);

#endif
