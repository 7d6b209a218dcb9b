/* broker/store_wal.h - what SQLite does not say of its write-ahead log: that its end was cut off by damage. */
#ifndef MCP_BROKER_STORE_WAL_H
#define MCP_BROKER_STORE_WAL_H

#include <stdbool.h>
#include <stdint.h>

/* SQLite read the first frames of it and takes the rest for the remains of a transaction that was not committed.
 * Whether there is a commit among that rest. That may also be one at which the process was killed, of which nobody was
 * told: what can't be told apart counts as lost. False if the file is not there. */
bool wal_has_more(const char *path, uint64_t frames);

#endif
