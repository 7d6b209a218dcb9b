/* fcgi/exec_pool.h - the resident programs of one tool in one process, while they are not at work, and the line of
 * those who wait for one.
 *
 * exec_resident_max of them work at a time. Who comes when all do stands in line: a further program would be one more
 * interpreter to start, just when there is much to do. One without work is kept for exec_resident_idle_s; a thread that
 * is there as long as any program is idle ends it then. The last one that was used is the first to be used again, so
 * that those that are too many get to that age.
 *
 * Each is on a leash of this process's mcp-launch, so none outlives its worker or runner. All functions are safe from
 * any thread. */
#ifndef MCP_FCGI_EXEC_POOL_H
#define MCP_FCGI_EXEC_POOL_H

#include "fcgi/exec.h"

struct exec_pool;

struct exec_program {
	int fds[EXEC_FD_COUNT]; /* while it is idle; else they are the run's */
	pid_t pid;              /* 0: not known yet */
	int statm_fd;           /* its /proc/PID/statm; -1: not known yet, or there is none */
	int64_t calls;          /* that it has begun */

	/* exec_pool.c's, while it is idle */
	struct exec_program *next;
	const struct exec_pool *pool;
	uint64_t ends_at_ms;
};

struct exec_program *exec_program_new(void); /* NULL: no memory */
/* Ends it and logs why; NULL is harmless. */
void exec_program_end(struct exec_program **programp, const char *why);

struct exec_pool *exec_pool_new(void); /* NULL: no memory */
/* When nobody uses it any more; ends its idle programs. */
void exec_pool_free(struct exec_pool **poolp);

/* Takes a place, of which there are max, and waits for one until until_ms: exec_pool_leave() is due then. 1: the time
 * was over. -1: ERR_CANCELLED, or what went wrong inside us. */
int exec_pool_enter(struct exec_pool *pool, struct call *call, size_t max, uint64_t until_ms, struct err *err);
void exec_pool_leave(struct exec_pool *pool);

/* An idle program, the caller's from now on. NULL: there is none. */
struct exec_program *exec_pool_take(struct exec_pool *pool);
/* Takes program, which is idle from now on. */
void exec_pool_put(struct exec_pool *pool, struct exec_program *program, int64_t idle_s);

#endif
