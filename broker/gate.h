/* broker/gate.h - the broker's Unix sockets, and who may connect to them: its own user, root, broker_peer_uids. */
#ifndef MCP_BROKER_GATE_H
#define MCP_BROKER_GATE_H

#include <sys/socket.h>

#include "broker/loop.h"
#include "common/cfg.h"
#include "common/log.h"

struct gate {
	uid_t *uids; /* owned: broker_peer_uids */
	size_t uids_count;
	struct loop *loop; /* borrowed, as what follows; gate_watch()'s */
	uv_poll_t *watch;
	uv_poll_cb on_connect;
	struct wheel_timer pause; /* runs while nobody is let in because there is no descriptor */
	struct log_rate rate;
};

/* -1: *err; gate_release() is harmless then. */
int gate_init(struct gate *g, const struct cfg *cfg, struct err *err);
void gate_release(struct gate *g);
/* *peer is who connected, zeroed if nobody knows. */
bool gate_may_pass(const struct gate *g, int fd, struct ucred *peer);

/* on_connect is called while somebody waits at the listening socket of watch. Twice, either, is no harm. */
void gate_watch(struct gate *g, struct loop *loop, uv_poll_t *watch, uv_poll_cb on_connect);
void gate_unwatch(struct gate *g);
/* accept(). -1: nobody is there any more; or no descriptor is, which is logged, and then nobody is looked for during a
 * moment: who waits still waits, and the loop must not spin on that. */
int gate_accept(struct gate *g, int fd);

/* A listening socket of this type at path, mode 0660. What was bound there before is removed: only for who holds the
 * lock of the directory. -1: *err. */
int gate_listen(const char *path, int type, struct err *err);

#endif
