/* tests/lib/no_bus.h - the broker's objects without sockets: what they send is counted. In place of broker/bus.c and
 * broker/ctl.c. */
#ifndef MCP_TESTS_NO_BUS_H
#define MCP_TESTS_NO_BUS_H

#include "broker/bus.h"
#include "broker/ctl.h"

/* What was sent last, and how often; of ACK and NACK those that answer no_bus_seq. */
extern struct link_header no_bus_sent;
extern unsigned no_bus_sent_count, no_bus_answers_count, no_bus_closed_count;
extern uint64_t no_bus_seq;

int no_bus_open(struct broker *b, struct cfg *cfg); /* with the store of memory */
bool no_bus_turn(void *broker);    /* for broker_init(): lets the store answer */
void no_bus_run(struct broker *b); /* until nothing is left to be done */

#endif
