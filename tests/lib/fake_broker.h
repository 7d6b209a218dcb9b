/* tests/lib/fake_broker.h - a broker that does what a test wants: both channels of the link, and a hook that sees each
 * message first. What the hook leaves is acknowledged, so that a test says only what is special about it.
 *
 * It runs in a thread of the test. Hooks run in that thread; everything else here is called by the test's. */
#ifndef MCP_TESTS_FAKE_BROKER_H
#define MCP_TESTS_FAKE_BROKER_H

#include "common/link.h"

struct fake_broker;

struct fake_msg {
	struct link_header head;
	struct slice key, body; /* borrowed */
	int fd;                 /* of ADOPT; the fake closes it afterwards; -1 elsewhere */
	bool by_ctl;            /* by a caller: ACK and NACK go back the same way */
};

struct fake_options {
	/* true: handled, the fake does nothing more. May be NULL. */
	bool (*on_message)(struct fake_broker *fb, const struct fake_msg *msg, void *arg);
	void *arg;
	uint64_t credit_bytes; /* 0: 1 MiB */
	uint32_t body_max;     /* of WELCOME; 0: 64 KiB */
	bool is_known;         /* of WELCOME */
	bool takes_calls;      /* of WELCOME, which ends before it if not: by callers */
	bool takes_events;     /* the same, behind it */
	unsigned version;      /* of WELCOME; 0: LINK_VERSION */
	/* Instead of WELCOME: this packet; with len 0 but p set, a closed connection. */
	struct slice welcome;
};

/* Fails the test when it can't. run_dir and options are borrowed until the stop. */
struct fake_broker *fake_broker_start(const char *run_dir, const struct fake_options *options);
void fake_broker_stop(struct fake_broker **fbp);

unsigned fake_broker_count(struct fake_broker *fb, enum link_type type); /* messages so far, retries too */
unsigned fake_broker_wait(struct fake_broker *fb, enum link_type type, unsigned count); /* for count, 5 s at most */

enum link_role fake_broker_role(struct fake_broker *fb); /* of who came last */

/* For hooks: to the producer of the message that is being handled. */
void fake_broker_send(struct fake_broker *fb, enum link_type type, uint64_t corr, uint64_t stream, struct slice body);
void fake_broker_tell(struct fake_broker *fb, enum link_type type, struct slice key, struct slice body);
void fake_broker_nack(struct fake_broker *fb, uint64_t corr, enum link_nack code, uint32_t retry_ms);
void fake_broker_cancelled(struct fake_broker *fb, uint64_t call, const char *id);
void fake_broker_credit(struct fake_broker *fb, uint64_t bytes);
void fake_broker_send_raw(struct fake_broker *fb, const struct slice *frames, size_t count);
void fake_broker_hang_up(struct fake_broker *fb); /* closes all control connections */

#endif
