/* runner/reporter.h - takes a script's report on a call to the process that works on it (fcgi/report.h). */
#ifndef MCP_RUNNER_REPORTER_H
#define MCP_RUNNER_REPORTER_H

#include "common/cfg.h"
#include "fcgi/report.h"

/* params is JSON of at most REPORT_MAX_BYTES. Waits for the answer, link_timeout_ms at most. ERR_PARAMS: no call has
 * such a handle, or nothing can come of params. ERR_NOT_FOUND: the call has ended, or never was. ERR_BUSY. */
int reporter_send(
    const struct cfg *cfg, struct slice handle, struct slice params, enum report_fate *fate, struct err *err);

/* Removes the sockets of calls whose process was killed. */
void reporter_sweep(const struct cfg *cfg);

#endif
