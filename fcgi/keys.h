/* fcgi/keys.h - API keys: a file with "principal:key" a line; empty lines and lines that begin with '#' don't count.
 * principal is 1 to 64 of A-Z a-z 0-9 _ - . @, key is 16 to 256 visible characters. */
#ifndef MCP_FCGI_KEYS_H
#define MCP_FCGI_KEYS_H

#include "common/err.h"

struct keys {
	struct key *items; /* owned */
	size_t count;
};

/* ERR_CONFIG names file and line; a file that others than its owner and group can read is refused. */
int keys_load(struct keys *keys, const char *file, struct err *err);
void keys_release(struct keys *keys); /* wipes */

const char *keys_principal(const struct keys *keys, size_t i); /* of the one with this number */

/* The principal of this key, borrowed from keys; NULL: none. Takes the same time for every wrong key of a length. */
const char *keys_find(const struct keys *keys, struct slice key);

#endif
