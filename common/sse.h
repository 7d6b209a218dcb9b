/* common/sse.h - server-sent events as bytes (WHATWG HTML, 9.2; MCP transports, event streams). */
#ifndef MCP_COMMON_SSE_H
#define MCP_COMMON_SSE_H

#include "common/buf.h"

/* Appends one event: "id: ID\n" unless id is empty, "event: EVENT\n", "data: LINE\n" for each line of data, "\n".
 * Every line needs its own "data:", or a newline inside it would let the sender forge fields of the event: LF, CR and
 * CRLF each end a line. id and event are ours and hold no line break. */
void sse_add_event(struct buf *out, struct slice id, const char *event, struct slice data);

/* "retry: MS\n\n": how long a client that lost its connection waits before it comes back. */
void sse_add_retry(struct buf *out, int64_t retry_ms);
/* "id: ID\nretry: MS\ndata: \n\n": what a client can come back with before it was sent anything (2025-11-25). */
void sse_add_priming(struct buf *out, struct slice id, int64_t retry_ms);

/* A comment: keeps proxies awake and shows a client that left. */
#define SSE_HEARTBEAT ": keepalive\n\n"

#endif
