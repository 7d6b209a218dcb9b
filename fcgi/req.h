/* fcgi/req.h - one HTTP request as a web server hands it to us: FastCGI (req_fcgi.c) or plain CGI (req_cgi.c).
 *
 * Order of use: req_env, req_read_body (or req_discard_body), then one of req_reply and req_detach. What req_env lent
 * dies with either. */
#ifndef MCP_FCGI_REQ_H
#define MCP_FCGI_REQ_H

#include "common/buf.h"
#include "common/link.h"

struct req; /* opaque */

/* CGI variable: "REQUEST_METHOD", "HTTP_ORIGIN". NULL when absent. */
const char *req_env(const struct req *req, const char *name);

/* Reads all of the body into out, whose ceiling is the limit. ERR_TOO_BIG; ERR_GONE: the web server broke off
 * (fewer bytes than CONTENT_LENGTH, or an error on the connection), so nobody is there to be answered. */
int req_read_body(struct req *req, struct buf *out, struct err *err);

/* Reads and forgets the body, max_bytes of it at most: a web server that is still sending would take an early answer
 * for a broken worker. */
void req_discard_body(struct req *req, size_t max_bytes);

/* The whole answer: head lines ("Status: 200 OK\r\nContent-Type: ...\r\n", without the empty line) and body. Ends the
 * request as far as the peer is concerned. ERR_GONE when the peer left. */
int req_reply(struct req *req, struct slice head, struct slice body, struct err *err);

/* For the handoff: descriptor, kind and FastCGI request id of the connection. Only after the body was read, before
 * req_reply. The descriptor stays the request's. */
int req_fd(struct req *req, enum link_kind *kind, uint16_t *request_id);

/* The connection is the broker's now: closes our copy without a shutdown and forgets it. */
void req_detach(struct req *req);

#endif
