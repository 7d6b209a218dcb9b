/* fcgi/promptset.h - all prompts of a site, in the order of their names.
 *
 * A definition has exactly one provider member (provider_template.c, exec_offers.c), and beside those of all
 * definitions (fcgi/definition.h):
 *   "arguments"   name -> {"title", "description", "optional": true, "values": ["...", ...]}. Each is a string. Its
 *                 values are what completion suggests; others may come too.
 * A name is 1 to 128 of A-Z a-z 0-9 _ - . */
#ifndef MCP_FCGI_PROMPTSET_H
#define MCP_FCGI_PROMPTSET_H

#include "fcgi/provider.h"

struct promptset {
	struct prompt *prompts; /* owned, sorted by name (strcmp) */
	size_t count;
	char digest[17]; /* hex of a hash over the listings: part of a cursor */
};

/* Complains through cfg about every bad definition; -1 with ERR_CONFIG if there was one. */
int promptset_init(struct promptset *set, struct cfg *cfg, struct err *err);
void promptset_release(struct promptset *set);
const struct prompt *promptset_find(const struct promptset *set, struct slice name); /* NULL: no such prompt */

#endif
