/* ctl/publish.h - mcpctl publish: says what changed at the publishing socket (runner/publisher.h). */
#ifndef MCP_CTL_PUBLISH_H
#define MCP_CTL_PUBLISH_H

#include "common/cfg.h"

/* What is published, with the words behind "publish", and beside it whom it is for. NULL: not given. */
struct publish_args {
	char **words; /* "resource" URI; "lists" NAME...; "log" LEVEL TEXT; "progress" CALL NUMBER[/TOTAL] [TEXT] */
	int count;
	const char *session, *principal, *logger;
};

/* Whether the words are as they should be; else says how. It needs no configuration. */
bool publish_check(const struct publish_args *args);
/* Prints how many it reached, or says on standard error why it can't; returns the exit status. as_json: what came
 * back, as it came. */
int publish_send(const struct cfg *cfg, const struct publish_args *args, bool as_json);

#endif
