/* fcgi/post.h - reading the body of a POST (endpoint.c), for the two endpoints that take one. */
#ifndef MCP_FCGI_POST_H
#define MCP_FCGI_POST_H

#include "fcgi/exchange.h"

/* The parsed body, owned by the caller. NULL: it was too large, broken off or not JSON, and that was answered. */
json_object *post_read(struct exchange *x);

#endif
