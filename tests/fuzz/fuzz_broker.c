/* Messages of the data channel as a worker or runner gone mad would send them, to the broker's objects: each that wants
 * an answer has exactly one, and no state is left that the end can't release.
 *
 * A message is TYPE FLAGS KEY CORR STREAM LENGTH(2) and its body; KEY, CORR and STREAM choose among those that are, or
 * were. */
#include "config.h"

#include <stdlib.h>

#include "broker/handle.h"
#include "broker/session.h"
#include "broker/stream.h"
#include "tests/fuzz/target.h"
#include "tests/lib/no_bus.h"
#include "common/banned.h"

#define MESSAGES_MAX 64
#define HEAD_LEN     7

static const char *const keys[] = {"s", "t", "", "a session that nobody opened"};

struct past {
	uint64_t seqs[MESSAGES_MAX], streams[MESSAGES_MAX];
	size_t count;
};

/* The types that there are, and some more. */
#define TYPES_COUNT (LINK_ONCE + 2)

static void send_one(struct producer *p, const uint8_t *head, struct slice body, struct past *past)
{
	struct link_header h = {.version = LINK_VERSION,
	    .type = head[0] % TYPES_COUNT,
	    .flags = head[1] & (LINK_DURABLE | LINK_WANT_ACK | LINK_RETRY),
	    .producer = p->id,
	    .seq = past->count + 1,
	    .corr = past->seqs[head[3] % MESSAGES_MAX],
	    .stream = past->streams[head[4] % MESSAGES_MAX],
	    .body_len = (uint32_t)body.len,
	    .count = head[1] >> 6};
	bool wanted;

	if (h.flags & LINK_RETRY && past->count)
		h.seq = past->count; /* of the message before, whatever that was */
	no_bus_seq = h.seq;
	no_bus_answers_count = 0;
	no_bus_sent = (struct link_header){0};
	handle_message(p, &h, slice_str(keys[head[2] % COUNT_OF(keys)]), body);
	no_bus_run(p->broker);
	wanted = h.flags & LINK_WANT_ACK &&
		 ((h.type >= LINK_SESSION_PUT && h.type <= LINK_TASK_SEND) || h.type == LINK_ONCE);
	if (no_bus_answers_count > 1 || (wanted && !(h.flags & LINK_RETRY) && no_bus_answers_count != 1))
		abort();
	past->seqs[past->count] = h.seq;
	past->streams[past->count++] = no_bus_sent.stream;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int ctl;
	struct slice rest = {(const char *)data, size};
	struct past past = {0};
	struct producer *p;
	struct cfg cfg;
	struct broker b;

	if (size == 0 || cfg_init(&cfg, NULL))
		return 0;
	cfg.stream_log_max_bytes = 600;
	cfg.broker_log_max_bytes = 3000;
	cfg.link_credit_bytes = 1000;
	cfg.session_max = 2;
	cfg.stream_max = 4;
	if (no_bus_open(&b, &cfg))
		abort();
	b.fd_max = 4;
	p = producer_connect(&b, 42, 1, (struct ctl *)(void *)&ctl, 1, rest.p[0] & 1 ? LINK_ROLE_RUNNER : LINK_ROLE_WORKER);
	if (!p)
		abort();
	rest.p++, rest.len--;
	while (rest.len >= HEAD_LEN && past.count < MESSAGES_MAX) {
		const uint8_t *head = (const uint8_t *)rest.p;
		size_t len = head[5] | (size_t)head[6] << 8;

		rest.p += HEAD_LEN, rest.len -= HEAD_LEN;
		len = len < rest.len ? len : rest.len;
		send_one(p, head, (struct slice){rest.p, len}, &past);
		rest.p += len, rest.len -= len;
	}
	broker_release(&b);
	cfg_release(&cfg);
	return 0;
}
