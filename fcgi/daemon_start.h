/* fcgi/daemon_start.h - starts a daemon of ours that was not there: mcp-broker, mcp-runner. */
#ifndef MCP_FCGI_DAEMON_START_H
#define MCP_FCGI_DAEMON_START_H

#include "common/cfg.h"

/* Runs name (at path; "": beside this program, else where it was installed) with the configuration of this process, and
 * waits until it is in the background: then it can be reached, or another process's one was faster and can be soon.
 * Fails (ERR_SYS) when it can't be run, says no, or isn't ready at deadline_ms. */
int daemon_start(const struct cfg *cfg, const char *name, const char *path, uint64_t deadline_ms, struct err *err);

#endif
