/* broker/ctl.h - the control channel: the SEQPACKET listener, who may connect, HELLO, ADOPT, and calls that begin and
 * end. */
#ifndef MCP_BROKER_CTL_H
#define MCP_BROKER_CTL_H

#include "broker/broker.h"

struct ctl; /* a control connection */
struct ctl_listener;

/* Binds, listens (mode 0660). NULL: *err. */
struct ctl_listener *ctl_listen(struct broker *b, const char *path, struct err *err);
void ctl_listener_close(struct ctl_listener **lp); /* its connections too */
/* With its connections, for the program that takes our place (snapshot.h), and from the one before, its producers being
 * there. */
void ctl_save(const struct ctl_listener *l, struct buf *out);
struct ctl_listener *ctl_load(struct broker *b, struct slice in, struct err *err);
void ctl_stop_accepting(struct ctl_listener *l);
/* An answer to what came there. h needs type, corr and stream only. -1: it has no room for it; c may be NULL. */
int ctl_send(struct ctl *c, struct link_header *h, struct slice body);
/* Closes a worker's control connection, so that it begins anew. Its producer is lost. */
void ctl_close(struct ctl *c, const char *why);

#endif
