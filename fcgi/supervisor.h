/* fcgi/supervisor.h - mcp-worker --socket: opens the socket, keeps worker_processes children that serve it, and
 * restarts those that die. It never touches a request itself. */
#ifndef MCP_FCGI_SUPERVISOR_H
#define MCP_FCGI_SUPERVISOR_H

#include "common/err.h"

/* "PATH" of a Unix socket (mode 0660; a stale one is replaced, a live one is an error) or "HOST:PORT". The descriptor,
 * or -1. */
int supervisor_listen(const char *address, struct err *err);

/* Runs serve(arg, listen_fd) in processes_count children until SIGTERM or SIGINT; serve's result is the child's exit
 * status. The result is the exit status of the program. */
int supervisor_run(int listen_fd, unsigned processes_count, int (*serve)(void *arg, int listen_fd), void *arg);

#endif
