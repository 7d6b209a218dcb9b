/* fcgi/pool.h - the threads of a worker process that take FastCGI requests from one listening socket. */
#ifndef MCP_FCGI_POOL_H
#define MCP_FCGI_POOL_H

#include "fcgi/worker.h"

/* Serves until SIGTERM or SIGINT, then lets running calls finish for worker_drain_ms; or until SIGQUIT, then for as
 * long as they take. To be called in the process that
 * serves, by its only thread, whose signal mask has these blocked. 0: ended in order, all requests answered. -1: it
 * could not start, or calls were still running (then the caller has to _exit: their threads are there still). */
int pool_run(struct worker *w, int listen_fd, struct err *err);

#endif
