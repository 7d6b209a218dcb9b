/* common/cfg_priv.h - what these share: cfg.c (a configuration is read), cfg_complain.c (what is wrong with it, and
 * where). */
#ifndef MCP_COMMON_CFG_PRIV_H
#define MCP_COMMON_CFG_PRIV_H

#include "common/cfg.h"

#define CFG_NAME_MAX 96 /* bytes of a name that counts */

/* One file that was read. Kept whole, for the lines of later complaints. */
struct cfg_origin {
	char *file, *dir; /* owned, as text */
	char *text;
	size_t len;
	struct cfg_origin *next;
};

static inline struct slice cfg_origin_text(const struct cfg_origin *o)
{
	return (struct slice){o->text, o->len};
}

/* A complaint about a place that is known. */
void cfg_report(struct cfg *cfg, const char *file, unsigned line, const char *pointer, const char *message);

#endif
