/* broker/bus_line.h - what waits for a worker, in order, until the data channel takes it. */
#ifndef MCP_BROKER_BUS_LINE_H
#define MCP_BROKER_BUS_LINE_H

#include "broker/producer.h"

struct bus_message {
	struct bus_message *next;
	size_t key_len, body_len;
	bool is_hold;
	char bytes[]; /* header, key, body */
};

/* To its end. header is LINK_HEADER_LEN bytes. -1: no memory. */
int line_add(struct producer *p, const void *header, struct slice key, struct slice body, bool is_hold);
void line_take_first(struct producer *p); /* there is one */

/* For the program that takes our place (snapshot.h), and from the one before. */
void line_save(const struct producer *p, struct buf *out);
int line_load(struct producer *p, struct slice *in);

#endif
