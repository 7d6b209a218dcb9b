/* broker/admin.h - the admin socket, run_dir/broker.admin: what the broker does, over HTTP/1.0, for mcpctl, curl and,
 * through a web server, Prometheus.
 *
 *   GET /metrics           Prometheus text
 *   GET /status            JSON: the same numbers, and what this broker is
 *   GET /sessions          JSON: all sessions
 *   GET /streams           JSON: all streams
 *   DELETE /sessions/ID    ends the session whose id begins with ID; 404: none does, 409: more than one
 *   POST /restart          another program takes our place (handover.h), and answers: JSON; 503: why it does not
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
/* Answers who asked for a restart, if anybody did. */
void admin_tell_restart(struct admin *a, int status, struct slice text);
/* The listener and who asked for a restart, for the program that takes our place (snapshot.h), and from the one before.
 * Other connections end. */
void admin_save(const struct admin *a, struct buf *out);
struct admin *admin_load(struct broker *b, struct slice *in, struct err *err);

#endif
