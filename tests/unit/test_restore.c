/* What a store gives back to the broker's objects, with no socket in between: one broker after another in this process.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/call.h"
#include "broker/once.h"
#include "broker/park.h"
#include "broker/session.h"
#include "broker/stream.h"
#include "broker/topic.h"
#include "common/mem.h"
#include "tests/lib/no_bus.h"
#include "tests/lib/scratch.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define WAIT_MS 5000

struct fixture {
	struct scratch dir;
	struct cfg cfg;
	struct broker b;
	struct session *session;
};

static void start(struct fixture *f)
{
	struct err err = {0};

	if (broker_init(&f->b, &f->cfg, no_bus_turn, &f->b, &err) || broker_open(&f->b, &err))
		fail_msg("%s", err.msg);
	f->b.fd_max = 100;
	f->session = session_find(&f->b, SLICE("s"), NULL);
}

/* As in a process that is stopped: what was submitted is committed, nothing is said to anybody. */
static void restart(struct fixture *f)
{
	broker_release(&f->b);
	start(f);
	assert_non_null(f->session);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	scratch_init(&f->dir);
	assert_int_equal(cfg_init(&f->cfg, NULL), 0);
	mem_free(f->cfg.store_kind);
	f->cfg.store_kind = mem_dup("sqlite", 6);
	mem_free(f->cfg.store_dir);
	f->cfg.store_dir = mem_dup(f->dir.dir, strlen(f->dir.dir));
	start(f);
	assert_int_equal(session_new(&f->b, SLICE("s"), SLICE("alice"), SLICE(""), 0, 0, SLICE("{}"), &f->session), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	broker_release(&f->b);
	cfg_release(&f->cfg);
	scratch_release(&f->dir);
	free(f);
	return 0;
}

/* Runs the broker until the stream has come so far; false: it does not. */
static bool reaches(struct fixture *f, const struct stream *s, uint64_t ready_seq)
{
	for (uint64_t until = now_ms() + WAIT_MS; s->ready_seq < ready_seq && now_ms() < until; usleep(1000))
		no_bus_run(&f->b);
	return s->ready_seq >= ready_seq;
}

static void append(struct fixture *f, unsigned count)
{
	uint64_t last;

	while (count-- > 0)
		assert_int_equal(stream_append(f->session->own, &SLICE("event"), 1, true, false, &last), 0);
}

static unsigned find(struct fixture *f, uint64_t epoch, uint64_t n, uint64_t *seq)
{
	char id[LINK_EVENT_ID_SIZE];
	struct stream *s;

	link_event_id(f->session->own->handle, epoch, n, id);
	return stream_find_event_id(f->session, slice_str(id), &s, seq);
}

/* 1 to 4 are of the first epoch, 5 to 8 of the second, 9 and 10 of the third, and those up to `forgotten` are gone: a
 * client goes on behind what it has seen, or hears of a gap. */
static void an_id_skips_nothing_that_was_forgotten(void **state)
{
	enum { GAP = 0 };
	static const struct {
		const char *name;
		unsigned epoch; /* 0, 1, 2 */
		uint64_t n, forgotten, want;
	} cases[] = {
	    {"the last one of its epoch", 0, 4, 4, 5},
	    {"what its epoch had not committed", 0, 6, 4, 5},
	    {"what came before what is there", 0, 3, 4, GAP},
	    {"the last one of its epoch, others are gone", 0, 4, 8, GAP},
	    {"not of its epoch, and what is was forgotten", 0, 8, 8, GAP},
	    {"not of its epoch, whose end is not known any more", 0, 9, 8, GAP},
	    {"the same of the next epoch", 1, 8, 8, 9},
	    {"beyond that", 1, 9, 8, 9},
	    {"all is gone", 2, 10, 10, 11},
	    {"all is gone, of the epoch before", 1, 10, 10, GAP},
	    {"all is gone, long ago", 0, 10, 10, GAP},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		static const unsigned counts[] = {4, 4, 2};
		uint64_t epochs[COUNT_OF(counts)], seq = 0;
		struct fixture *f;
		unsigned nack;

		assert_int_equal(setup(state), 0);
		f = *state;
		for (size_t e = 0; e < COUNT_OF(counts); e++) {
			epochs[e] = f->b.store->epoch;
			append(f, counts[e]);
			restart(f);
		}
		f->cfg.stream_keep_s = 0;
		stream_delivered(f->session->own, cases[i].forgotten);
		restart(f);
		assert_int_equal(f->session->own->first_seq, cases[i].forgotten + 1);
		nack = find(f, epochs[cases[i].epoch], cases[i].n, &seq);
		if (nack != (cases[i].want == GAP ? LINK_NACK_GAP : 0) || (!nack && seq + 1 != cases[i].want))
			fail_msg("%s: nack %u, goes on at %ju", cases[i].name, nack, (uintmax_t)seq + 1);
		teardown(state);
	}
}

/* A call, and the stream on which it is to be answered. */
static struct stream *begin(struct fixture *f, const char *id, struct call **call)
{
	struct stream *s = stream_new(&f->b, f->session, NULL, false);
	struct buf wills;

	assert_non_null(s);
	buf_init(&wills, 100);
	link_put_bytes(&wills, slice_str(id));
	link_put_bytes(&wills, SLICE("will"));
	assert_int_equal(call_new(&f->b, NULL, 0, f->session, 0, 1, buf_slice(&wills), call), 0);
	buf_release(&wills);
	s->call = *call;
	(*call)->stream = s;
	call_keep(*call);
	return s;
}

static void no_stream_waits_for_a_call_that_is_not_there(void **state)
{
	struct fixture *f = *state;
	uint64_t handles[2];
	struct call *call;

	handles[0] = begin(f, "1", &call)->handle;
	handles[1] = begin(f, "2", &call)->handle;
	f->cfg.session_calls_max = 1; /* so that one of them does not come back */
	restart(f);
	for (size_t i = 0; i < COUNT_OF(handles); i++)
		assert_true(stream_is_over(stream_find(&f->b, handles[i])));
}

/* Whoever waited too long, before or after the restart, hears that nobody waits for the answer any more. */
static void a_question_is_withdrawn(void **state)
{
	struct fixture *f = *state;
	struct park_order order = {.wait_ms = 300,
	    .too_late = SLICE("too late"),
	    .head = SLICE("forget "),
	    .tail = SLICE("!"),
	    .blob = SLICE("{}"),
	    .asks_count = 1};
	struct park *park;
	struct call *call;
	struct stream *s;
	struct buf asks;
	uint64_t handle;

	s = begin(f, "1", &call);
	handle = s->handle;
	buf_init(&asks, 100);
	link_put_bytes(&asks, SLICE("\"a1\""));
	link_put_bytes(&asks, SLICE("{}"));
	order.asks = buf_slice(&asks);
	assert_int_equal(park_new(call, &order, &park), 0);
	buf_release(&asks);
	park_begin(call, park);
	restart(f);
	s = stream_find(&f->b, handle);
	assert_non_null(s);
	assert_true(reaches(f, s, 2));
	assert_int_equal(s->events[0].len, strlen("forget \"a1\"!"));
	assert_int_equal(s->events[1].len, strlen("too late"));
	assert_true(stream_is_over(s));
}

/* However few there may be now: what was used stays used. */
static void no_mark_is_lost(void **state)
{
	static const char *const names[] = {"a", "b", "c"};
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT_OF(names); i++)
		assert_int_equal(once_mark(&f->b, slice_str(names[i]), 60), 0);
	f->cfg.once_max = 1;
	restart(f);
	for (size_t i = 0; i < COUNT_OF(names); i++)
		assert_int_equal(once_mark(&f->b, slice_str(names[i]), 60), LINK_NACK_DUPLICATE_ID);
	assert_int_equal(once_mark(&f->b, SLICE("d"), 60), LINK_NACK_LIMIT);
}

/* What a full disk can't take must not gather in memory: news come again, answers don't. */
static void a_stalled_store_hears_no_news(void **state)
{
	const struct topic_news news = {.topic = SLICE("t"), .legacy = SLICE("changed")};
	struct fixture *f = *state;
	struct stream *own = f->session->own;
	struct buf topics;

	buf_init(&topics, 100);
	link_put_bytes(&topics, SLICE("t"));
	assert_int_equal(topic_subscribe(own, false, SLICE(""), 1, buf_slice(&topics)), 0);
	buf_release(&topics);
	f->b.store->is_stalled = true;
	assert_int_equal(topic_notify(&f->b, &news), 0);
	assert_int_equal(own->last_seq, 0);
	stream_say(own, SLICE("an answer"));
	assert_int_equal(own->last_seq, 1);
	f->b.store->is_stalled = false;
	assert_int_equal(topic_notify(&f->b, &news), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	    cmocka_unit_test(an_id_skips_nothing_that_was_forgotten),
	    TEST(no_stream_waits_for_a_call_that_is_not_there),
	    TEST(a_question_is_withdrawn),
	    TEST(no_mark_is_lost),
	    TEST(a_stalled_store_hears_no_news),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
