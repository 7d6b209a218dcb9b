/* fcgi/listen.h - subscriptions/listen of 2026-07-28: a stream of changes, which the broker keeps. */
#ifndef MCP_FCGI_LISTEN_H
#define MCP_FCGI_LISTEN_H

#include "fcgi/exchange.h"

#define LISTEN_METHOD "subscriptions/listen"

/* Answers rpc, whose head was checked: the connection becomes the broker's, or x is answered. */
void listen_serve(struct exchange *x, const struct rpc *rpc);

#endif
