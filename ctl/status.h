/* ctl/status.h - mcpctl's questions to a broker that runs (broker/admin.h): what it does, and ending a session. */
#ifndef MCP_CTL_STATUS_H
#define MCP_CTL_STATUS_H

#include "common/cfg.h"

/* Each prints to standard output, or says on standard error why it can't, and returns the exit status. as_json: what
 * the broker said, as it said it. */
int status_show(const struct cfg *cfg, bool as_json);
int status_sessions(const struct cfg *cfg, bool as_json);
int status_streams(const struct cfg *cfg, bool as_json);
int status_metrics(const struct cfg *cfg);
int status_kill(const struct cfg *cfg, const char *prefix);
/* The program that is on disk by now takes the place of the one that runs; waits until it serves. */
int status_restart(const struct cfg *cfg, bool as_json);

/* The list of mcp-broker(8): what is counted. */
void status_put_mdoc(struct buf *out);

#endif
