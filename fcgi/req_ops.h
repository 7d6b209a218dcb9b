/* fcgi/req_ops.h - what req_fcgi.c and req_cgi.c each implement behind req.h. Nobody else includes it. */
#ifndef MCP_FCGI_REQ_OPS_H
#define MCP_FCGI_REQ_OPS_H

#include "fcgi/req.h"

struct req_ops {
	/* As read(): 0 at the end of the body, -1 when the peer broke off. */
	long (*read)(struct req *req, char *to, size_t len);
	int (*reply)(struct req *req, struct slice head, struct slice body, struct err *err);
	int (*fd)(struct req *req, enum link_kind *kind, uint16_t *request_id);
	void (*detach)(struct req *req);
};

#define REQ_SLOTS 256 /* half of them stay free */

struct req {
	const struct req_ops *ops;
	char **env; /* borrowed; "NAME=value", NULL-terminated; NULL once the request is over */
	/* Where in env a variable is, plus 1, at a hash of its name or behind it; 0: free. A request asks for many that
	 * are not there. env_rest: the first one that is not here, because there were too many. */
	uint8_t slots[REQ_SLOTS];
	size_t env_rest;
};

void req_set_env(struct req *req, char **env);

#endif
