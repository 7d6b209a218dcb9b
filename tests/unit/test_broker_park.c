/* PARK and ANSWER: calls that wait in the broker for their client, without a worker (doc/link.md, Asking the client).
 */
#include "config.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/lib/broker_fixture.h"
#include "common/banned.h"

#define TOO_LATE "{\"too\":\"late\"}"
#define LONG_MS  60000

static const char *const one_ask[] = {"\"a1\"", "{\"ask\":1}", NULL};
static const char *const two_asks[] = {"\"a1\"", "{\"ask\":1}", "\"a2\"", "{\"ask\":2}", NULL};

/* A call that waits, as far as its client can see. */
static void park(struct fixture *f, uint32_t wait_ms, const char *const *asks, uint64_t *stream, struct fake_server *s)
{
	uint64_t call;

	make_session(f);
	make_stream(f, &call, stream, s);
	assert_int_equal(fake_park(&f->w, call, *stream, wait_ms, TOO_LATE, "state", asks), 0);
	expect_text(s, "{\"ask\":1}");
	assert_int_equal(fake_finish(&f->w, call, *stream, "{}"), LINK_NACK_CLOSED); /* not the worker's any more */
}

static enum link_answer_state give(struct fake_worker *w, const char *id, const char *answer)
{
	struct fake_answer a;
	enum link_answer_state state;

	assert_int_equal(fake_give(w, KEY, HIM, id, answer, &a), 0);
	assert_true(a.body.len >= 1);
	state = (enum link_answer_state)a.body.data[0];
	assert_true(state == LINK_ANSWER_TAKEN || a.body.len == 1);
	fake_answer_release(&a);
	return state;
}

static void expect_bytes(struct slice *in, const char *want)
{
	bool bad = false;

	assert_true(slice_is(link_get_bytes(in, &bad), want));
	assert_false(bad);
}

static void expect_count(struct slice *in, unsigned want)
{
	bool bad = false;

	assert_int_equal(link_get_u16(in, &bad), want);
	assert_false(bad);
}

static void the_last_answer_brings_the_call(void **state)
{
	struct fixture *f = *state;
	struct link_header h = {.type = LINK_ANSWER};
	struct fake_server s;
	struct fake_worker other;
	struct fake_answer a;
	struct buf body;
	uint64_t stream;

	park(f, LONG_MS, two_asks, &stream, &s);
	fake_worker_die(&f->w); /* nobody has to live for it */
	fake_worker_connect(&f->w, f->broker.dir);
	fake_worker_connect(&other, f->broker.dir);
	usleep(300000);
	assert_int_equal(give(&f->w, "\"a2\"", "no"), LINK_ANSWER_KEPT);
	assert_int_equal(give(&other, "\"a2\"", "again"), LINK_ANSWER_IGNORED);
	assert_int_equal(give(&other, "\"nobody's\"", "x"), LINK_ANSWER_IGNORED);
	buf_init(&body, 1024);
	link_put_bytes(&body, SLICE(HIM));
	link_put_bytes(&body, SLICE("\"a1\""));
	link_put_bytes(&body, SLICE("yes"));
	for (unsigned tries = 0; tries < 2; tries++) { /* a retry reads the same */
		struct slice in;

		assert_int_equal(fake_worker_ask(&other, &h, SLICE(KEY), buf_slice(&body), &a), 0);
		assert_int_equal(a.h.stream, stream);
		in = buf_slice(&a.body);
		assert_memory_equal(in.p, "\2\0", 2); /* TAKEN, no flags */
		in.p += 2;
		in.len -= 2;
		expect_bytes(&in, "state");
		expect_count(&in, 2);
		expect_bytes(&in, "\"a1\"");
		expect_bytes(&in, "yes");
		expect_bytes(&in, "\"a2\"");
		expect_bytes(&in, "no");
		expect_count(&in, 1);
		expect_bytes(&in, "1");
		expect_bytes(&in, WILL);
		assert_int_equal(in.len, 0);
		h.seq = a.h.corr;
		h.flags = LINK_RETRY;
		fake_answer_release(&a);
	}
	buf_release(&body);
	assert_int_equal(give(&f->w, "\"a1\"", "me too"), LINK_ANSWER_IGNORED);
	assert_int_equal(fake_finish(&other, h.seq, stream, "{\"done\":1}"), 0);
	expect_text(&s, "{\"done\":1}");
	expect_end(&s);
	fake_server_release(&s);
	fake_worker_die(&other);
}

static void who_took_it_leaves_its_wills(void **state)
{
	struct fixture *f = *state;
	struct fake_worker other;
	struct fake_server s;
	uint64_t stream;

	park(f, LONG_MS, one_ask, &stream, &s);
	fake_worker_connect(&other, f->broker.dir);
	assert_int_equal(give(&other, "\"a1\"", "yes"), LINK_ANSWER_TAKEN);
	fake_worker_die(&other);
	expect_text(&s, "worker died");
	expect_end(&s);
	fake_server_release(&s);
}

static void it_may_be_parked_again(void **state)
{
	static const char *const more[] = {"\"a1\"", "{\"more\":1}", NULL};
	struct fixture *f = *state;
	struct fake_server s;
	struct fake_answer a;
	uint64_t stream;

	park(f, LONG_MS, one_ask, &stream, &s);
	for (unsigned round = 0; round < 3; round++) {
		assert_int_equal(fake_give(&f->w, KEY, HIM, "\"a1\"", "yes", &a), 0);
		assert_int_equal(a.body.data[0], LINK_ANSWER_TAKEN);
		assert_int_equal(fake_park(&f->w, a.h.corr, stream, LONG_MS, TOO_LATE, "more state", more), 0);
		fake_answer_release(&a);
	}
	expect_text(&s, "{\"more\":1}");
	fake_server_release(&s);
}

static void too_late_ends_it(void **state)
{
	struct fixture *f = *state;
	struct fake_server s;
	uint64_t stream;

	park(f, 200, two_asks, &stream, &s);
	assert_int_equal(give(&f->w, "\"a1\"", "one is not enough"), LINK_ANSWER_KEPT);
	expect_text(&s, "{\"withdrawn\":\"a2\"}");
	expect_text(&s, TOO_LATE);
	expect_end(&s);
	assert_int_equal(give(&f->w, "\"a2\"", "x"), LINK_ANSWER_IGNORED);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, NULL, NULL), 0); /* its id is free */
	fake_server_release(&s);
}

static void cancel_ends_it_without_an_answer(void **state)
{
	struct fixture *f = *state;
	struct fake_server s;
	uint64_t stream;
	char id[80];

	park(f, 300, one_ask, &stream, &s);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, NULL, NULL), LINK_NACK_DUPLICATE_ID);
	assert_int_equal(fake_cancel(&f->w, KEY, HIM, "1"), 0);
	expect_end(&s);
	assert_null(strstr(s.text.data, "worker died"));
	snprintf(id, sizeof(id), "%" PRIu64 ".%" PRIu64 ".0", stream, f->w.epoch);
	assert_int_equal(fake_attach(&f->w, KEY, HIM, id, &stream, NULL), LINK_NACK_DELIVERED); /* none will come */
	assert_int_equal(give(&f->w, "\"a1\"", "x"), LINK_ANSWER_IGNORED);
	expect_silence(&f->w);
	usleep(400000); /* wait_ms passes, and finds nothing */
	assert_null(strstr(s.text.data, TOO_LATE));
	fake_server_release(&s);
}

static void cancel_of_one_leaves_the_wills_of_its_batch(void **state)
{
	static const char *const batch[] = {"1", "will-of-1", "2", "will-of-2", NULL};
	struct fixture *f = *state;
	struct fake_server s;
	uint64_t call, stream;

	make_session(f);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, batch, &call, NULL), 0);
	assert_int_equal(fake_open(&f->w, KEY, 0, call, NULL, NULL, &stream), 0);
	fake_server_init(&s, fake_adopt(&f->w, stream, LINK_KIND_FCGI, 0, 15000));
	assert_int_equal(fake_park(&f->w, call, stream, LONG_MS, TOO_LATE, "", one_ask), 0);
	assert_int_equal(fake_cancel(&f->w, KEY, HIM, "1"), 0);
	expect_end(&s);
	assert_null(strstr(s.text.data, "will-of-1"));
	assert_non_null(strstr(s.text.data, "will-of-2"));
	fake_server_release(&s);
}

static void on_a_sessions_own_stream(void **state)
{
	struct fixture *f = *state;
	struct fake_server s;
	struct fake_answer a;
	uint64_t call, own;

	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 0, LINK_SESSION_ENDS_WITH_CONN, "{}", NULL), 0);
	attach_own(f, &own, &s);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, LINK_CALL_ON_SESSION_STREAM, one_id, &call, NULL), 0);
	assert_int_equal(fake_park(&f->w, call, own, 200, TOO_LATE, "", one_ask), 0);
	expect_text(&s, "{\"ask\":1}");
	assert_int_equal(fake_cancel(&f->w, KEY, HIM, "1"), 0);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, LINK_CALL_ON_SESSION_STREAM, one_id, &call, NULL), 0);
	assert_int_equal(fake_park(&f->w, call, own, 200, TOO_LATE, "", one_ask), 0);
	expect_text(&s, TOO_LATE);
	assert_null(strstr(s.text.data, "worker died"));
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, LINK_CALL_ON_SESSION_STREAM, one_id, &call, NULL), 0);
	assert_int_equal(fake_park(&f->w, call, own, LONG_MS, TOO_LATE, "", one_ask), 0);
	assert_int_equal(fake_give(&f->w, KEY, HIM, "\"a1\"", "", &a), 0);
	assert_memory_equal(a.body.data, "\2\1", 2); /* TAKEN, on the session's stream */
	assert_int_equal(a.h.stream, own);
	assert_int_equal(fake_finish(&f->w, a.h.corr, own, "{\"done\":1}"), 0);
	fake_answer_release(&a);
	expect_text(&s, "{\"done\":1}");
	fake_server_release(&s);
}

static void its_sessions_end_ends_it(void **state)
{
	struct fixture *f = *state;
	struct fake_server s;
	uint64_t stream;

	park(f, 300, one_ask, &stream, &s);
	assert_int_equal(fake_session_del(&f->w, KEY, HIM), 0);
	expect_end(&s);
	assert_int_equal(fake_give(&f->w, KEY, HIM, "\"a1\"", "x", NULL), LINK_NACK_NO_SESSION);
	expect_silence(&f->w);
	usleep(400000);
	fake_server_release(&s);
}

static int setup_memory(void **state)
{
	static const char *const sets[] = {"store_kind=memory"};

	return fixture_start(state, sets, COUNT_OF(sets), 0);
}

/* With a store that outlives the broker it waits there: test_broker_restart.c. */
static void a_drain_ends_it_with_its_will(void **state)
{
	struct fixture *f = *state;
	struct fake_server s;
	uint64_t stream, begin = now_ms();

	park(f, LONG_MS, one_ask, &stream, &s);
	kill(f->broker.pid, SIGTERM);
	expect_text(&s, "worker died");
	expect_end(&s);
	assert_int_equal(fake_broker_wait(&f->broker), 0);
	assert_true(now_ms() - begin < 3000); /* broker_drain_ms is for those who run */
	fake_server_release(&s);
}

/* CANCEL was faster than PARK. */
static void a_cancelled_call_is_not_parked(void **state)
{
	struct fixture *f = *state;
	struct fake_worker other;
	struct fake_server s;
	uint64_t call, stream;

	make_session(f);
	make_stream(f, &call, &stream, &s);
	fake_worker_connect(&other, f->broker.dir);
	assert_int_equal(fake_cancel(&other, KEY, HIM, "1"), 0);
	expect_cancelled(&f->w, call, "1");
	assert_int_equal(fake_park(&f->w, call, stream, LONG_MS, TOO_LATE, "state", one_ask), LINK_NACK_CLOSED);
	assert_int_equal(fake_finish(&f->w, call, stream, NULL), 0);
	expect_end(&s);
	assert_null(strstr(s.text.data, "ask"));
	fake_server_release(&s);
	fake_worker_die(&other);
}

static int setup_small(void **state)
{
	static const char *const sets[] = {"body_max_bytes=65536", "task_blob_max_bytes=65536"};

	return fixture_start(state, sets, 2, 0);
}

static void answers_fit_into_one_body(void **state)
{
	struct fixture *f = *state;
	struct fake_server s;
	uint64_t stream;
	char big[100000];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	park(f, LONG_MS, two_asks, &stream, &s);
	assert_int_equal(give(&f->w, "\"a1\"", big), LINK_ANSWER_KEPT);
	assert_int_equal(fake_give(&f->w, KEY, HIM, "\"a2\"", big, NULL), LINK_NACK_TOO_BIG);
	assert_int_equal(give(&f->w, "\"a2\"", "small"), LINK_ANSWER_TAKEN);
	fake_server_release(&s);
}

static int setup_few(void **state)
{
	static const char *const sets[] = {"session_calls_max=3", "broker_park_max_bytes=65536"};

	return fixture_start(state, sets, 2, 0);
}

static void what_is_refused_has_no_effect(void **state)
{
	static const char *const twice[] = {"5", "x", "5", "x", NULL}, *const other[] = {"6", "{}", NULL},
				 *const more[] = {"6", "{}", "7", "{}", "8", "{}", NULL}, *const none[] = {NULL},
				 *const second[] = {"2", WILL, NULL};
	struct fixture *f = *state;
	struct fake_server s, t;
	uint64_t first, stream, call;
	char big[65536];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	park(f, LONG_MS, one_ask, &first, &s);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, second, &call, NULL), 0);
	assert_int_equal(fake_park(&f->w, call, 0, LONG_MS, TOO_LATE, "", other), LINK_NACK_CLOSED);
	assert_int_equal(fake_park(&f->w, call, first, LONG_MS, TOO_LATE, "", other), LINK_NACK_BAD);
	assert_int_equal(fake_open(&f->w, KEY, 0, call, NULL, NULL, &stream), 0);
	fake_server_init(&t, fake_adopt(&f->w, stream, LINK_KIND_FCGI, 0, 15000));
	assert_int_equal(fake_park(&f->w, call + 99, stream, LONG_MS, TOO_LATE, "", other), LINK_NACK_CLOSED);
	assert_int_equal(fake_park(&f->w, call, stream, LONG_MS, TOO_LATE, "", none), LINK_NACK_BAD);
	assert_int_equal(fake_park(&f->w, call, stream, LONG_MS, TOO_LATE, "", one_ask), LINK_NACK_DUPLICATE_ID);
	assert_int_equal(fake_park(&f->w, call, stream, LONG_MS, TOO_LATE, "", twice), LINK_NACK_DUPLICATE_ID);
	assert_int_equal(fake_park(&f->w, call, stream, LONG_MS, TOO_LATE, "", more), LINK_NACK_LIMIT);
	assert_int_equal(fake_park(&f->w, call, stream, LONG_MS, TOO_LATE, big, other), LINK_NACK_LIMIT);
	assert_int_equal(fake_give(&f->w, KEY, HIM, "\"a1\"", big, NULL), LINK_NACK_LIMIT);
	assert_int_equal(fake_give(&f->w, KEY, "mallory", "\"a1\"", "x", NULL), LINK_NACK_NO_SESSION);
	assert_int_equal(fake_finish(&f->w, call, stream, "{\"still\":\"mine\"}"), 0);
	expect_text(&t, "{\"still\":\"mine\"}");
	assert_null(strstr(t.text.data, "data: x"));
	assert_int_equal(give(&f->w, "\"a1\"", "yes"), LINK_ANSWER_TAKEN);
	fake_server_release(&s);
	fake_server_release(&t);
}

/* What was taken counts until its call ends, and no longer. */
static void room_comes_back(void **state)
{
	struct fixture *f = *state;
	struct fake_server s;
	struct fake_answer a;
	uint64_t call, stream;
	char half[32768];

	memset(half, 'x', sizeof(half) - 1);
	half[sizeof(half) - 1] = '\0';
	make_session(f);
	for (unsigned round = 0; round < 5; round++) {
		make_stream(f, &call, &stream, &s);
		assert_int_equal(fake_park(&f->w, call, stream, LONG_MS, TOO_LATE, half, one_ask), 0);
		assert_int_equal(fake_give(&f->w, KEY, HIM, "\"a1\"", "yes", &a), 0);
		assert_int_equal(fake_finish(&f->w, a.h.corr, stream, "{}"), 0);
		fake_answer_release(&a);
		expect_end(&s);
		fake_server_release(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(the_last_answer_brings_the_call),
	    TEST(who_took_it_leaves_its_wills),
	    TEST(it_may_be_parked_again),
	    TEST(too_late_ends_it),
	    TEST(cancel_ends_it_without_an_answer),
	    TEST(cancel_of_one_leaves_the_wills_of_its_batch),
	    TEST(on_a_sessions_own_stream),
	    TEST(its_sessions_end_ends_it),
	    TEST_WITH(a_drain_ends_it_with_its_will, setup_memory),
	    TEST(a_cancelled_call_is_not_parked),
	    TEST_WITH(answers_fit_into_one_body, setup_small),
	    TEST_WITH(what_is_refused_has_no_effect, setup_few),
	    TEST_WITH(room_comes_back, setup_few),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
