/* fcgi/req.h - one HTTP request as a web server hands it to us: FastCGI (req_fcgi.c) or plain CGI (req_cgi.c).
 *
 * Order of use: req_env, req_read_body, then either req_reply once, or req_detach. Strings of req_env die with either. */
#ifndef MCP_FCGI_REQ_H
#define MCP_FCGI_REQ_H

#include "common/buf.h"
#include "common/link.h"

struct req; /* opaque */

/* CGI variable: "REQUEST_METHOD", "HTTP_ORIGIN". NULL when absent. */
const char *req_env(struct req *req, const char *name);

/* Calls fn for each variable whose name begins with prefix. */
void req_env_each(struct req *req, const char *prefix, void (*fn)(void *arg, const char *name, const char *value), void *arg);

/* Reads all of the body into out, whose ceiling is the limit. ERR_TOO_BIG; ERR_GONE: the web server broke off
 * (fewer bytes than CONTENT_LENGTH, or an error on the connection): nobody is there to be answered. */
int req_read_body(struct req *req, struct buf *out, struct err *err);

/* The whole answer: head lines ("Status: 200\r\nContent-Type: ...\r\n", without the empty line) and body. Ends the request
 * as far as the peer is concerned. ERR_GONE when the peer left. */
int req_reply(struct req *req, struct slice head, struct slice body, struct err *err);

/* For the handoff: descriptor, kind and FastCGI request id of the connection. Only between req_read_body and
 * req_reply. The descriptor stays the request's until req_detach. */
int req_fd(struct req *req, enum link_kind *kind, uint16_t *request_id);

/* The connection now belongs to the broker: closes our copy without a shutdown and forgets it. */
void req_detach(struct req *req);

/* True when the web server closed the connection (the client left), asked without blocking. Legacy code never asks. */
bool req_is_gone(struct req *req);

#endif
