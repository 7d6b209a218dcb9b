/* common/source.h - what a configuration was read from, so that somebody can see that it is another one by now. */
#ifndef MCP_COMMON_SOURCE_H
#define MCP_COMMON_SOURCE_H

#include "common/buf.h"

struct sources {
	char **paths; /* owned; files, and directories in which files were looked for */
	size_t count;
	uint64_t mark; /* of all of them as they were when they were added */
};

/* To be called just before path is read: what changes while it is read counts as a change. It need not be there. */
int sources_add(struct sources *s, const char *path, struct err *err);
/* The same, and appends what is in the file at path to out. */
int sources_read(struct sources *s, const char *path, struct buf *out, struct err *err);
void sources_release(struct sources *s);

/* The same over what is there now: another number means that something was changed, made or removed. */
uint64_t sources_mark(const struct sources *s);

#endif
