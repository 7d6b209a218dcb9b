/* fcgi/exec_strings.h - arrays of strings as programs take them: words of a command, and environments. */
#ifndef MCP_FCGI_EXEC_STRINGS_H
#define MCP_FCGI_EXEC_STRINGS_H

#include "common/buf.h"

struct exec_strings {
	char **items;        /* owned, NULL-terminated; NULL while empty */
	size_t count, bytes; /* bytes: of all items, with their NULs */
};

/* Both take item, which may be NULL (no memory to make it). exec_strings_put: item is NAME=VALUE, and takes the place
 * of one with that name. */
int exec_strings_add(struct exec_strings *s, char *item, struct err *err);
int exec_strings_put(struct exec_strings *env, char *item, struct err *err);
int exec_strings_set(struct exec_strings *env, const char *name, struct slice value, struct err *err);
void exec_strings_release(struct exec_strings *s);

#endif
