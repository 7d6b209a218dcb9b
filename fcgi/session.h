/* fcgi/session.h - what a legacy session remembers: the blob that the broker keeps and never reads. */
#ifndef MCP_FCGI_SESSION_H
#define MCP_FCGI_SESSION_H

#include "common/buf.h"
#include "fcgi/call.h"

#define SESSION_ID_LEN 32 /* characters of an id that we make: 192 random bits (S-02) */

struct session {
	bool initialized; /* false: an HTTP+SSE stream whose client has not said initialize */
	enum revision revision;
	int log_level;             /* enum mcp_level */
	json_object *capabilities; /* owned; what the client declared at initialize */
};

/* JSON text: {"revision":"2025-11-25","logLevel":1,"capabilities":{...}}; {} before initialize. */
void session_put(const struct session *s, struct buf *out);
/* What session_put() wrote; anything else is ERR_INTERNAL, or what jx_parse() says. out is to be released
 * in any case. */
int session_read(struct slice blob, struct session *out, struct err *err);
void session_release(struct session *s);

#endif
