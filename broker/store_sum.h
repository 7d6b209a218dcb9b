/* broker/store_sum.h - the checksums of what is on the disk: SQLite has none. */
#ifndef MCP_BROKER_STORE_SUM_H
#define MCP_BROKER_STORE_SUM_H

#include "broker/store.h"

uint64_t sum_event(uint64_t position, uint64_t stream, uint64_t seq, struct slice event);
uint64_t sum_object(enum store_kind kind, struct slice key, struct slice value);

#endif
