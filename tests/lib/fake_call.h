/* tests/lib/fake_call.h - a call without a client: its notifications are kept, cancelling is a flag. */
#ifndef MCP_TESTS_FAKE_CALL_H
#define MCP_TESTS_FAKE_CALL_H

#include "common/buf.h"
#include "fcgi/call_priv.h"

struct fake_call {
	struct call call; /* what providers see; first, so that they are the same pointer */
	struct call_priv priv;
	struct buf notified; /* "METHOD PARAMS\n" each */
	int cancel_fd;       /* readable: the client cancelled */
	int cancel_writer;
	bool cancel_on_notify;
};

/* The client wants progress and all logs, and can't be asked. */
void fake_call_init(struct fake_call *f, const struct cfg *cfg, enum era era);
void fake_call_cancel(struct fake_call *f);
void fake_call_release(struct fake_call *f);

#endif
