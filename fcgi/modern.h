/* fcgi/modern.h - 2026-07-28: stateless requests. */
#ifndef MCP_FCGI_MODERN_H
#define MCP_FCGI_MODERN_H

#include "fcgi/exchange.h"

#define MODERN_CAPABILITIES "io.modelcontextprotocol/clientCapabilities" /* in params._meta */

/* Answers a request or notification that has a claim, or a modern version header. */
void modern_serve(struct exchange *x, struct rpc *rpc);

/* A claim is the key io.modelcontextprotocol/protocolVersion in params._meta, whatever its value (V-07). meta may be
 * NULL. */
bool modern_has_claim(json_object *meta);
bool modern_claim_inside(json_object *array); /* in any message of a batch */

#endif
