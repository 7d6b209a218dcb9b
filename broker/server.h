/* broker/server.h - the broker as a running thing: lock, sockets, signals, drain. */
#ifndef MCP_BROKER_SERVER_H
#define MCP_BROKER_SERVER_H

#include "broker/handover.h"
#include "common/cfg.h"

struct server; /* opaque */

enum server_start { SERVER_READY, SERVER_OTHER_RUNS, SERVER_FAILED, SERVER_NO_SNAPSHOT };

/* Locks run_dir (made if it is missing), binds and listens: when this returns SERVER_READY, workers can connect.
 * SERVER_OTHER_RUNS: another broker holds the lock and answers. SERVER_FAILED: *err.
 *
 * With snapshot_fd, as --handover has it, it goes on where the program before it stopped. SERVER_NO_SNAPSHOT: it can't:
 * *err; clients' connections were ended, and the process is to be begun anew. program is borrowed. */
enum server_start server_start(const struct cfg *cfg, const struct handover_program *program, const char *snapshot_fd,
    struct server **server, struct err *err);
/* Until SIGTERM or SIGINT, and the drain after it; SIGUSR2 hands over. */
void server_run(struct server *s);
/* Removes the sockets, frees all, NULLs *sp. */
void server_free(struct server **sp);

#endif
