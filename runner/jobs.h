/* runner/jobs.h - all tasks of this process, and the threads that work on them: as many as there is work for, up to
 * runner_jobs_max; further jobs wait in a queue, those that wait for answers need no thread. */
#ifndef MCP_RUNNER_JOBS_H
#define MCP_RUNNER_JOBS_H

#include "fcgi/worker.h"

struct jobs; /* opaque */

struct jobs *jobs_new(const struct worker *w); /* w is borrowed; NULL: no memory */
/* No thread works any more (jobs_end()). */
void jobs_free(struct jobs **jobsp);

/* For link_join(): takes tasks, and what is sent to them. Two eventfds are written: lost_fd when the connection to the
 * broker is lost; the jobs go on, and the next broker is told of them. stale_fd when there is a job of a tool that w
 * does not have; it waits for jobs_use(). */
struct link_runner jobs_runner(struct jobs *jobs, int lost_fd, int stale_fd);

/* Takes no more, and gives those that run drain_ms to finish; the others end, and the broker is told. False: some of
 * them would not end. */
bool jobs_end(struct jobs *jobs, uint64_t drain_ms);

bool jobs_has_any(struct jobs *jobs);

/* Jobs that come from here on are w's, and those that waited for it; the others stay with the one that they have. */
void jobs_use(struct jobs *jobs, const struct worker *w);

#endif
