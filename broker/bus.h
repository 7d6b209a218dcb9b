/* broker/bus.h - the data channel: the ROUTER socket and the frames on it.
 *
 * ZMQ_FD is edge-triggered and only means "look again", and sending eats the edge as well: so the socket is asked for
 * its events in every turn of the loop, after the sending too, and ZMQ_FD only wakes the loop. */
#ifndef MCP_BROKER_BUS_H
#define MCP_BROKER_BUS_H

#include "broker/broker.h"
#include "common/link.h"

struct producer;

/* Binds at path (a Unix socket). */
int bus_open(struct broker *b, const char *path, struct err *err);
void bus_close(struct broker *b); /* harmless without one */
/* Receives, with a quota, and sends what waited. Returns whether more is to be done. */
bool bus_turn(struct broker *b);
/* Whether something was sent since: a turn is needed before the loop may sleep. */
bool bus_is_due(const struct broker *b);
/* Sends to the producer's worker; waits in line, up to link_backlog_max, when the socket takes no more. h needs type,
 * corr and stream only. */
void bus_send(struct producer *p, const struct link_header *h, struct slice key, struct slice body);
void bus_forget(struct producer *p); /* what waits for it */

/* So that closing the socket loses nothing: asks the workers to send nothing more, and what is sent to them after that
 * waits in line. How many have not answered yet; and they may go on. */
void bus_hold(struct broker *b);
size_t bus_unheld(const struct broker *b);
void bus_release(struct broker *b);
void bus_linger(struct broker *b, int ms); /* how long close may wait for what was sent */

#endif
