/* fcgi/reload.h - a site whose configuration is read anew when it changes, while the old one serves.
 *
 * What was read from is looked at each worker_reload_ms. A change that stands for that long is tried: one without a
 * mistake takes the old one's place, whole; one with mistakes is logged, and the old one stays. */
#ifndef MCP_FCGI_RELOAD_H
#define MCP_FCGI_RELOAD_H

#include "fcgi/worker.h"

struct reload {
	const char *file; /* borrowed, as the two that follow: those of worker_init() */
	const char *const *sets;
	size_t sets_count;
	struct worker *now;   /* owned */
	struct sources tried; /* owned: of what was read last, be it good or bad */
	uint64_t seen;        /* their mark at the last look */
};

/* Reads it for the first time. -1: the mistakes were logged. To be released in any case. */
int reload_init(struct reload *r, const char *file, const char *const *sets, size_t sets_count, struct err *err);
void reload_release(struct reload *r);

/* Whether what it was read from is something else by now, perhaps half of it. */
bool reload_has_changed(const struct reload *r);
/* Whether it is time to try: something has changed, and is as it was at the last look. */
bool reload_is_due(struct reload *r);
/* Reads it anew. *old is the caller's then, to be released when nobody uses it any more. -1: logged, and now stays. */
int reload_try(struct reload *r, struct worker **old);

/* worker_release() and the memory of one that reload_try() gave. */
void reload_free_worker(struct worker *w);

#endif
