/* runner/publisher.h - where scripts of this machine say what changed: POST /publish over HTTP/1.1, at a Unix socket
 * (publish_socket) and, for who holds a key, at a port of loopback (publish_listen).
 *
 * One thread reads from all of its clients at a time and publishes what is whole, one after the other; each waits for
 * the broker, or for the process that works on a call, link_timeout_ms at most. A connection is one request. How many
 * there are, how long and how large they are is bounded: publish_connections_max, publish_wait_ms,
 * publish_body_max_bytes, publish_rate. */
#ifndef MCP_RUNNER_PUBLISHER_H
#define MCP_RUNNER_PUBLISHER_H

#include "fcgi/worker.h"

struct publisher; /* opaque */

/* From now on what comes is about w, which is borrowed, its link in use. Listens where w's settings say; where they say
 * what they said before, nobody is refused meanwhile. When this returns the worker of before is not used any more.
 * Without a setting that says where, or after a failure, *pp is NULL. */
int publisher_use(struct publisher **pp, const struct worker *w, struct err *err);
void publisher_end(struct publisher **pp);

#endif
