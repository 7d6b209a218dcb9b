/* fcgi/capabilities.h - what this server says about itself, in one place for initialize and server/discover. */
#ifndef MCP_FCGI_CAPABILITIES_H
#define MCP_FCGI_CAPABILITIES_H

#include "fcgi/worker.h"

enum capability {
	CAPABILITY_CORE, /* what every server can */
	CAPABILITY_TOOLS,
	CAPABILITY_RESOURCES,
	CAPABILITY_PROMPTS,
	CAPABILITY_COMPLETIONS,
	CAPABILITY_LOGGING,
	CAPABILITY_TASKS,
};

/* Whether this site offers it: the methods of what it doesn't are unknown (DT-29, DT-58). */
bool capabilities_offered(const struct worker *w, enum capability capability);

/* Appends the ServerCapabilities object for clients of a revision. */
void capabilities_put(struct buf *out, const struct worker *w, enum revision revision);

/* Appends who we are, an Implementation object, for clients of a revision. */
int capabilities_put_server(struct buf *out, const struct cfg *cfg, enum revision revision, struct err *err);

#endif
