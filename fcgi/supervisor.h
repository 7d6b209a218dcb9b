/* fcgi/supervisor.h - mcp-worker --socket: opens the socket, keeps worker_processes children that serve it, and
 * restarts those that die. It never touches a request itself. When there is something new to serve, new children take
 * the old ones' places, which accept nothing more and end when their calls have. */
#ifndef MCP_FCGI_SUPERVISOR_H
#define MCP_FCGI_SUPERVISOR_H

#include "common/err.h"

/* "PATH" of a Unix socket (mode 0660; a stale one is replaced, a live one is an error) or "HOST:PORT". The descriptor,
 * or -1. */
int supervisor_listen(const char *address, struct err *err);

#define SUPERVISED_MAX 256 /* processes at a time, without those that only end */

struct supervised {
	int (*serve)(void *arg, int listen_fd); /* in each child; the result is its exit status */
	/* Whether there is something new to serve: asked at SIGHUP (is_told), and each look_ms. */
	bool (*renew)(void *arg, bool is_told);
	int64_t (*look_ms)(void *arg); /* 0: never */
	unsigned (*processes)(void *arg);
	void *arg;
};

/* Until SIGTERM or SIGINT. The result is the exit status of the program. */
int supervisor_run(const struct supervised *s, int listen_fd);

#endif
