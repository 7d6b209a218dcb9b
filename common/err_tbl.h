/* common/err_tbl.h - every way to fail:  name, HTTP status, JSON-RPC code, what the peer is told.
 * Included with ERR() defined; err.h makes the enum of it, err.c the table. The codes are those of JSON-RPC 2.0
 * and of MCP 2026-07-28 (-32020 .. -32022); -32000 and -32001 go to legacy clients only. */
ERR(NONE, 200, 0, "")
/* A peer's mistake: what arrived is wrong. */
ERR(PARSE, 400, -32700, "Parse error")
ERR(INVALID, 400, -32600, "Invalid Request")
ERR(METHOD, 404, -32601, "Method not found")
ERR(PARAMS, 400, -32602, "Invalid params")
ERR(MISMATCH, 400, -32020, "Header mismatch")
ERR(CAPABILITY, 400, -32021, "Missing required client capability")
ERR(VERSION, 400, -32022, "Unsupported protocol version")
ERR(FORBIDDEN, 403, -32600, "Forbidden")
ERR(UNAUTHORIZED, 401, -32600, "Unauthorized")
ERR(TOO_BIG, 413, -32600, "Request too large")
ERR(LEGACY, 400, -32000, "Bad Request")
ERR(NO_SESSION, 404, -32001, "Session not found")
ERR(DUPLICATE, 400, -32600, "Request id already in use")
ERR(GAP, 400, -32000, "Events are no longer available")
ERR(DELIVERED, 405, -32600, "Stream was delivered completely")
ERR(NOT_FOUND, 404, -32600, "Not found")
ERR(CONFIG, 500, -32603, "Internal error")
/* Ours, or the machine's. */
ERR(NOMEM, 500, -32603, "Internal error")
ERR(SYS, 500, -32603, "Internal error")
ERR(INTERNAL, 500, -32603, "Internal error")
ERR(LIMIT, 503, -32603, "Server is at a limit")
ERR(BUSY, 503, -32603, "Server is busy")
ERR(BROKER, 503, -32603, "Broker is not reachable")
ERR(EXPIRED, 503, -32603, "Deadline passed")
ERR(LINK, 500, -32603, "Internal error")
/* Not failures to report: the caller stops. */
ERR(CANCELLED, 200, -32603, "Request was cancelled")
ERR(GONE, 200, -32603, "Client is gone")
