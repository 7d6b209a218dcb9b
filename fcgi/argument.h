/* fcgi/argument.h - what prompts and URI templates take: named strings, perhaps with values to suggest. */
#ifndef MCP_FCGI_ARGUMENT_H
#define MCP_FCGI_ARGUMENT_H

#include "common/cfg.h"

struct definition;

struct argument {
	char *name;
	bool is_required;
	char **values; /* what completion suggests */
	size_t values_count;
};

struct arguments {
	struct argument *items; /* owned, as all in it */
	size_t count;
};

/* Reads member of d, an object: name -> object with some of the known (NULL-terminated) members: title and description,
 * strings; optional, a boolean; values, an array of strings. Without the member there are none. -1: complained about,
 * or ERR_NOMEM; list is to be released in any case. */
int arguments_read(
    struct arguments *list, const struct definition *d, const char *member, const char *const *known, struct err *err);
void arguments_release(struct arguments *list);
const struct argument *arguments_find(const struct arguments *list, struct slice name); /* or NULL */

#endif
