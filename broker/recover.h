/* broker/recover.h - the broker's objects as an earlier broker left them in the store. */
#ifndef MCP_BROKER_RECOVER_H
#define MCP_BROKER_RECOVER_H

#include "broker/broker.h"

/* Makes them anew, and ends what can't go on: calls whose worker was connected to that broker, and tasks. -1: *err. */
int recover(struct broker *b, struct err *err);
/* Puts them all again, for a store that had to begin a new file: its on_renewed; arg is the broker. */
void recover_again(void *arg);

#endif
