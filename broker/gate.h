/* broker/gate.h - the broker's Unix sockets, and who may connect to them: its own user, root, broker_peer_uids. */
#ifndef MCP_BROKER_GATE_H
#define MCP_BROKER_GATE_H

#include <sys/socket.h>

#include "common/cfg.h"

struct gate {
	uid_t *uids; /* owned: broker_peer_uids */
	size_t uids_count;
};

/* -1: *err; gate_release() is harmless then. */
int gate_init(struct gate *g, const struct cfg *cfg, struct err *err);
void gate_release(struct gate *g);
/* *peer is who connected, zeroed if nobody knows. */
bool gate_may_pass(const struct gate *g, int fd, struct ucred *peer);

/* A listening socket of this type at path, mode 0660. What was bound there before is removed: only for who holds the
 * lock of the directory. -1: *err. */
int gate_listen(const char *path, int type, struct err *err);

#endif
