/* fcgi/resourceset.h - all resources of a site: those of one URI in the order of their URIs, then templates in that of
 * the configuration, in which they are tried: the first one that a URI fits has to know it.
 *
 * A definition's name is the URI ("notes://today"), or a template when it has {variables} (fcgi/uri_template.h). It has
 * exactly one provider member (provider_template.c, provider_file.c, exec_offers.c), and beside those of all definitions
 * (fcgi/definition.h):
 *   "name"        for people and models; without it the last segment of the URI
 *   "mime_type"   as in "text/markdown"
 *   "size"        bytes, of one URI
 *   "annotations" audience, priority, lastModified
 *   "variables"   of a template: name -> {"values": ["...", ...]}, what completion suggests */
#ifndef MCP_FCGI_RESOURCESET_H
#define MCP_FCGI_RESOURCESET_H

#include "fcgi/provider.h"

struct resourceset {
	struct resource *fixed; /* owned, sorted by uri (strcmp) */
	size_t fixed_count;
	struct resource *templates; /* owned */
	size_t templates_count;
	char digest[17]; /* hex of a hash over the listings: part of a cursor */
};

/* Complains through cfg about every bad definition; -1 with ERR_CONFIG if there was one. */
int resourceset_init(struct resourceset *set, struct cfg *cfg, struct err *err);
void resourceset_release(struct resourceset *set);

/* What uri belongs to. *vars is the caller's then: the variables of its template. NULL: ERR_NOT_FOUND, or ERR_NOMEM. */
const struct resource *resourceset_find(
    const struct resourceset *set, struct slice uri, json_object **vars, struct err *err);
/* The template that is written like this; NULL: none. */
const struct resource *resourceset_find_template(const struct resourceset *set, struct slice text);

/* Whether files stand behind resource, or behind any of the set (NULL), whose changes can be seen. */
bool resourceset_is_watched(const struct resourceset *set, const struct resource *resource);

#endif
