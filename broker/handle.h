/* broker/handle.h - what each message of the data channel and of callers does, and its answer. The meaning is in common/link.h. */
#ifndef MCP_BROKER_HANDLE_H
#define MCP_BROKER_HANDLE_H

#include "broker/producer.h"

/* A well-formed header from a producer that is known. body's length was checked against the header. */
void handle_message(struct producer *p, const struct link_header *h, struct slice key, struct slice body);
/* One of the control channel, answered where it came. Its body, begun with its key, has the length that the header says.
 */
void handle_by_ctl(struct producer *p, struct ctl *ctl, const struct link_header *h, struct slice body);
bool handle_comes_by_ctl(unsigned type); /* whether it may */
bool handle_has(unsigned type);          /* whether it is a message of producers */

#endif
