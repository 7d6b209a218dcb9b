/* fcgi/broker_start.h - starts a broker for a worker that found none. */
#ifndef MCP_FCGI_BROKER_START_H
#define MCP_FCGI_BROKER_START_H

#include "common/cfg.h"

/* Runs mcp-broker with the configuration of this process and waits until it is in the background: then its socket is
 * there, or another process's broker was faster and its socket is there soon. Fails (ERR_BROKER) when the program can't
 * be run, says no, or isn't ready at deadline_ms. */
int broker_start(const struct cfg *cfg, uint64_t deadline_ms, struct err *err);

#endif
