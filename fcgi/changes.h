/* fcgi/changes.h - a site that is started with another configuration tells the clients that are still there. */
#ifndef MCP_FCGI_CHANGES_H
#define MCP_FCGI_CHANGES_H

#include "fcgi/worker.h"

/* Publishes each list that is not what it was when this site was served last, which run_dir/offered says. For a process
 * that is about to serve, before its first request. What goes wrong is no reason not to serve. */
void changes_tell(const struct worker *w);

#endif
