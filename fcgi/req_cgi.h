/* fcgi/req_cgi.h - one plain CGI request: environment, descriptor 0 and descriptor 1. */
#ifndef MCP_FCGI_REQ_CGI_H
#define MCP_FCGI_REQ_CGI_H

#include "fcgi/req_ops.h"

struct req_cgi {
	struct req base;
	size_t body_left; /* bytes of CONTENT_LENGTH not read yet: a CGI body has no other end */
	int over_fd;	  /* owned; closed when the web server has its answer, or the broker its connection */
};

/* env is borrowed. over_fd as above, -1 for none. */
void req_cgi_init(struct req_cgi *r, char **env, int over_fd);

#endif
