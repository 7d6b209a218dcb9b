/* fcgi/definition.h - what the definitions of tools, resources and prompts have in common while they are read.
 *
 * Each is an object with exactly one member that is named like a provider and chooses it, the members that this
 * provider knows, and common ones: "title", "description", "icons", "_meta", "timeout_s". Whoever reads one complains
 * about every mistake with its place and goes on, so that one check shows them all. */
#ifndef MCP_FCGI_DEFINITION_H
#define MCP_FCGI_DEFINITION_H

#include "fcgi/provider.h"
#include "fcgi/shape.h"

#define DEFINITION_NAME_MAX    128
#define DEFINITION_POINTER_MAX 16384   /* bytes of a place in the configuration */
#define DEFINITION_LISTING_MAX 1048576 /* bytes of an entry in a list */
#define DEFINITION_DEPTH_MAX   64

struct definition {
	struct cfg *cfg;
	const char *pointer; /* where it stands in the configuration */
	json_object *def;    /* borrowed */
};

/* Complains about member of the definition, further below (a pointer, may be NULL); with member NULL about all of it.
 * Returns -1. */
int definition_complain(const struct definition *d, const char *member, const char *below, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

enum definition_kind { DEFINITION_TOOL, DEFINITION_RESOURCE, DEFINITION_PROMPT };

/* The provider that the definition chooses, after a look at the names of all its members: own (NULL-terminated) are
 * those that this kind has beside the common ones. NULL: complained about; *bad is set if any member was unknown. */
const struct provider *definition_provider(
    const struct definition *d, enum definition_kind kind, const char *const *own, bool *bad);

/* Types of the common members, and of "annotations"; that icons are icons. */
int definition_check_common(const struct definition *d);
int definition_read_timeout(const struct definition *d, int64_t *timeout_s);

/* A name as those of tools and prompts: 1 to DEFINITION_NAME_MAX of A-Z a-z 0-9 _ - . */
bool definition_name_is_valid(struct slice name);

/* The entry of a list: entry as JSON text for each revision. NULL members of listing are filled. -1: too long,
 * complained about, or ERR_NOMEM. */
int definition_make_listing(
    const struct definition *d, enum shape kind, json_object *entry, char *listing[REV__COUNT], struct err *err);

/* Adds member of the definition, when it is there, to entry as name. */
int definition_copy(
    const struct definition *d, const char *member, json_object *entry, const char *name, struct err *err);

/* Calls add for each definition of all (cfg->tools ...), which stands at "/CATALOG" of the configuration. Goes on after
 * -1, unless it is for lack of memory. */
int definition_each(struct cfg *cfg, json_object *all, const char *catalog,
    int (*add)(void *set, const struct definition *d, struct slice name, struct err *err), void *set, struct err *err);

/* As strcmp(): for looking names up that don't end with a NUL. */
int definition_order(struct slice name, const char *other);

/* FNV-1a, to tell one configuration's lists from another's: a mark, not a secret. */
#define DEFINITION_HASH_SEED 0xcbf29ce484222325u
uint64_t definition_hash(uint64_t hash, const char *text);

#endif
