/* Last-Event-ID: taken only if it is the id of an event of this session that was given out, leading zeros aside; else
 * it is a gap. From an odd size on, the input stands behind the stream and epoch of such an id. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/session.h"
#include "broker/stream.h"
#include "tests/fuzz/target.h"
#include "tests/lib/no_bus.h"
#include "common/banned.h"

static struct cfg cfg;
static struct broker b;
static struct session *mine;
static struct stream *stream, *foreign;

static void clean_up(void)
{
	broker_release(&b);
	cfg_release(&cfg);
}

static struct stream *add_stream(const char *key)
{
	struct slice events[3] = {SLICE("{}"), SLICE("{}"), SLICE("{}")};
	struct session *session;
	struct stream *s;
	uint64_t last;

	if (session_new(&b, slice_str(key), SLICE("a"), SLICE(""), 0, 0, SLICE("{}"), &session))
		abort();
	s = stream_new(&b, session, NULL, false);
	if (!s || stream_append(s, events, 3, false, false, &last))
		abort();
	mine = session;
	return s;
}

static void set_up(void)
{
	if (stream)
		return;
	if (cfg_init(&cfg, NULL) || no_bus_open(&b, &cfg))
		abort();
	foreign = add_stream("foreign");
	stream = add_stream("mine");
	atexit(clean_up);
}

/* The text without leading zeros in each of its numbers. */
static void put_canonical(struct buf *out, struct slice text)
{
	bool begins = true;

	for (size_t i = 0; i < text.len; i++) {
		bool is_digit_next = i + 1 < text.len && text.p[i + 1] != '.';

		if (!begins || text.p[i] != '0' || !is_digit_next) {
			buf_add(out, &text.p[i], 1);
			begins = text.p[i] == '.';
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stream *found = NULL;
	struct stream_id made = {0};
	char text[LINK_EVENT_ID_SIZE];
	struct buf id, canonical;
	uint64_t seq = 0;
	unsigned nack;

	if (size > 4096)
		return 0;
	set_up();
	buf_init(&id, size + LINK_EVENT_ID_SIZE);
	buf_init(&canonical, size + LINK_EVENT_ID_SIZE);
	if (size % 2) {
		link_event_id(data[0] % 4 ? stream->handle : foreign->handle, b.store->epoch, 0, text);
		buf_add(&id, text, strlen(text) - 1);
	}
	buf_add(&id, data + size % 2, size - size % 2);
	nack = stream_find_event_id(mine, buf_slice(&id), &found, &seq);
	if (nack == 0) {
		if (found != stream || seq > stream->last_seq)
			abort();
		put_canonical(&canonical, buf_slice(&id));
		if (!slice_eq(stream_put_event_id(stream, 0, seq, &made), buf_slice(&canonical)))
			abort();
	} else if (nack != LINK_NACK_GAP) {
		abort();
	}
	buf_release(&id);
	buf_release(&canonical);
	return 0;
}
