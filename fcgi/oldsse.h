/* fcgi/oldsse.h - HTTP+SSE of 2024-11-05: a stream by GET, whose first event says where to post; answers come on it.
 * Rows DT-110 .. DT-123 of differences.md. */
#ifndef MCP_FCGI_OLDSSE_H
#define MCP_FCGI_OLDSSE_H

#include "fcgi/exchange.h"

void oldsse_get(struct exchange *x);  /* makes a session that ends with its connection */
void oldsse_post(struct exchange *x); /* BASE/messages?sessionId=ID */

#endif
