/* broker/admin.h - the admin socket, run_dir/broker.admin: what the broker does, over HTTP/1.0, for mcpctl, curl and,
 * through a web server, Prometheus.
 *
 *   GET /metrics           Prometheus text
 *   GET /status            JSON: the same numbers, and what this broker is
 *   GET /sessions          JSON: all sessions
 *   GET /streams           JSON: all streams
 *   DELETE /sessions/ID    ends the session whose id begins with ID; 404: none does, 409: more than one
 *
 * Each connection is one request. A list is made and written in parts, one in a turn of the loop, and the next one when
 * the peer has taken the last: however long it is, it delays nobody and takes little memory. */
#ifndef MCP_BROKER_ADMIN_H
#define MCP_BROKER_ADMIN_H

#include "broker/broker.h"

#define ADMIN_CONNS_MAX 8 /* at a time; the others wait. Their descriptors are not of the clients' budget */

struct admin; /* opaque */

/* Binds, listens (mode 0660). Who may connect to the control channel may here. NULL: *err. */
struct admin *admin_listen(struct broker *b, const char *path, struct err *err);
void admin_close(struct admin **ap); /* its connections too */

#endif
