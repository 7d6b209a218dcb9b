/* tests/lib/toolfile.h - a configuration file in a scratch directory, read into what it offers. */
#ifndef MCP_TESTS_TOOLFILE_H
#define MCP_TESTS_TOOLFILE_H

#include "fcgi/promptset.h"
#include "fcgi/resourceset.h"
#include "fcgi/toolset.h"
#include "tests/lib/unit.h"

struct toolfile {
	char dir[64];
	struct cfg cfg;
	struct toolset set;
	struct resourceset resources;
	struct promptset prompts;
	struct buf complaints; /* a line each, without the directory */
	bool is_loaded;
};

void toolfile_init(struct toolfile *f); /* makes the directory */
/* A file there; mode as chmod() has it. */
void toolfile_write(struct toolfile *f, const char *name, const char *text, unsigned mode);
/* Reads text as mcp.json. 0: the sets are there. */
int toolfile_load(struct toolfile *f, const char *text, struct err *err);
/* A text that is wrong, and all that is said about it. */
struct toolfile_complaint {
	const char *text, *want;
};
/* Loads each. is_wanted: whether got is; NULL: it has to be the same. */
void toolfile_check_complaints(struct toolfile *f, const struct toolfile_complaint *complaints, size_t count,
    bool (*is_wanted)(const char *got, const char *want));
void toolfile_release(struct toolfile *f); /* removes the directory */

#endif
