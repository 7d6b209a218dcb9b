/* broker/once.h - marks that can be set once: what a client carries for us, and must not use twice. */
#ifndef MCP_BROKER_ONCE_H
#define MCP_BROKER_ONCE_H

#include "broker/broker.h"

/* For keep_s. 0, or LINK_NACK_*: DUPLICATE_ID (it is set), LIMIT (once_max), BUSY. */
unsigned once_mark(struct broker *b, struct slice name, uint32_t keep_s);
bool once_restore(struct broker *b, struct slice name, struct slice value); /* as the store has it */
/* All of them, for the program that takes our place (snapshot.h), and from the one before. */
void once_save(const struct broker *b, struct buf *out);
int once_load(struct broker *b, struct slice in);
void once_keep_all(struct broker *b);
void once_forget(struct broker *b, struct slice name); /* of one that is not set: harmless */
void once_forget_all(struct broker *b);

#endif
