/* fcgi/launcher.h - the worker's side of mcp-launch: starts programs, each on a leash.
 *
 * There is one mcp-launch for a worker process. It is started at the first need, and again when it died; a process that
 * was forked from a worker starts its own. Safe from any thread. */
#ifndef MCP_FCGI_LAUNCHER_H
#define MCP_FCGI_LAUNCHER_H

#include "common/buf.h"
#include "common/cfg.h"
#include "fcgi/launch.h"

struct launcher_job {
	char *const *argv; /* NULL-terminated; argv[0] is the path of the program */
	char *const *env;  /* NULL-terminated: "NAME=VALUE" */
	const char *cwd;
	uint32_t cpu_s;        /* 0: no limit */
	uint32_t grace_ms;     /* between SIGTERM and SIGKILL */
	uint64_t memory_bytes; /* 0: no limit */
	bool tells_pid;        /* there is a report of its pid too, most often the first one */
	/* Lent: of the program, and our ends of its pipes. [LAUNCH_LEASH] is not looked at, [LAUNCH_ANSWERS] may be -1.
	 */
	int fds[LAUNCH_FD_COUNT];
};

/* Returns the leash, readable when there is a report; closing it ends the program's process group. -1: ERR_TOO_BIG
 * (argv and environment are more than LAUNCH_MAX_BYTES), or *err says why no program could be asked for. */
int launcher_start(const struct cfg *cfg, const struct launcher_job *job, struct err *err);

/* 1: *report is filled. 0: nothing yet. -1: mcp-launch is gone (ERR_INTERNAL). Never waits. */
int launcher_read(int leash, struct launch_report *report, struct err *err);

/* How it ended, in words that follow the program's name: "was ended by signal 11 (Segmentation fault)". */
void launcher_put_end(const struct launch_report *report, struct buf *words);

/* A file in memory with this text, for a program to read from its beginning. -1: none could be made. */
int launcher_open_text(struct slice text, struct err *err);

#endif
