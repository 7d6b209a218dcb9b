/* fcgi/req_fcgi.h - FastCGI requests by libfcgi. One req_fcgi belongs to one thread for life. */
#ifndef MCP_FCGI_REQ_FCGI_H
#define MCP_FCGI_REQ_FCGI_H

#include <fcgiapp.h>

#include "fcgi/req_ops.h"

struct req_fcgi {
	struct req base;
	FCGX_Request fcgx;
	bool is_unix; /* its socket */
};

int req_fcgi_init(struct req_fcgi *r, int listen_fd, struct err *err); /* after FCGX_Init() */

/* Waits for the next request, finishing the one before. ERR_GONE: the process is to end (a signal interrupted the
 * wait); ERR_SYS: accept failed otherwise. */
int req_fcgi_accept(struct req_fcgi *r, struct err *err);
void req_fcgi_finish(struct req_fcgi *r);

#endif
