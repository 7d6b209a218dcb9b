/* runner/watcher.h - tells clients who subscribed that files changed: the thread between runner/watch.h and
 * fcgi/topic.h. */
#ifndef MCP_RUNNER_WATCHER_H
#define MCP_RUNNER_WATCHER_H

#include "fcgi/worker.h"

struct watcher; /* opaque */

/* Begins with the files of w's resources as they are now; w is borrowed, its link is in use. A site without files to
 * watch costs nothing: *wp is NULL then, and after a failure. */
int watcher_start(struct watcher **wp, const struct worker *w, struct err *err);
void watcher_end(struct watcher **wp); /* waits for the thread */

#endif
