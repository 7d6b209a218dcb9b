/* SUBSCRIBE, NOTIFY and the streams of subscriptions/listen (doc/link.md, Topics). */
#include "config.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/lib/broker_fixture.h"
#include "common/banned.h"

#define LISTEN (LINK_STREAM_MODERN | LINK_STREAM_LISTEN)

static const char *const a_only[] = {"a", NULL}, *const a_and_b[] = {"a", "b", "a", NULL},
			 *const b_only[] = {"b", NULL}, *const four[] = {"1", "2", "3", "4", NULL},
			 *const none[] = {NULL};

static void open_listen(struct fixture *f, const char *const *topics, uint64_t *stream, struct fake_server *s)
{
	assert_int_equal(fake_open(&f->w, "", LISTEN, 0, one_id, NULL, stream), 0);
	fake_server_init(s, fake_adopt(&f->w, *stream, LINK_KIND_FCGI, 0, 15000));
	expect_text(s, FAKE_HEAD);
	assert_int_equal(fake_subscribe(&f->w, *stream, "", "", false, "-insert-", topics, NULL), 0);
}

static unsigned count(const struct fake_server *s, const char *what)
{
	unsigned n = 0;

	for (const char *p = s->text.data; p && (p = strstr(p, what)) != NULL; p++)
		n++;
	return n;
}

static void each_era_reads_its_own(void **state)
{
	struct fixture *f = *state;
	struct fake_server own, listen;
	uint64_t stream, topics = 0;

	make_session(f);
	attach_own(f, &stream, &own);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, false, "", a_and_b, &topics), 0);
	assert_int_equal(topics, 2);
	open_listen(f, a_only, &stream, &listen);
	assert_int_equal(fake_notify(&f->w, 0, "a", "legacy", "head", "tail"), 2);
	expect_text(&own, ".1\nevent: message\ndata: legacy\n\n");
	expect_text(&listen, "event: message\ndata: head-insert-tail\n\n");
	assert_int_equal(fake_notify(&f->w, 0, "b", "of b", "head", "tail"), 1);
	expect_text(&own, "data: of b\n\n");
	assert_int_equal(fake_notify(&f->w, 0, "a", "", "only", "listen"), 1);
	expect_text(&listen, "data: only-insert-listen\n\n");
	assert_int_equal(fake_notify(&f->w, 0, "a", "only legacy", "", ""), 1);
	expect_text(&own, "data: only legacy\n\n");
	assert_int_equal(fake_notify(&f->w, 0, "nobody's", "x", "x", "x"), 0);
	assert_int_equal(fake_unsubscribe(&f->w, 0, KEY, HIM, a_only), 0);
	assert_int_equal(fake_unsubscribe(&f->w, 0, KEY, HIM, a_only), 0);
	assert_int_equal(fake_unsubscribe(&f->w, stream, "", "", a_only), 0);
	assert_int_equal(fake_notify(&f->w, 0, "a", "x", "x", "x"), 0);
	fake_server_release(&own);
	fake_server_release(&listen);
}

static void reset_forgets_the_topics_of_before(void **state)
{
	struct fixture *f = *state;
	uint64_t topics = 0;

	make_session(f);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, false, "", a_and_b, NULL), 0);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, true, "", b_only, &topics), 0);
	assert_int_equal(topics, 1);
	assert_int_equal(fake_notify(&f->w, 0, "a", "x", "", ""), 0);
	assert_int_equal(fake_notify(&f->w, 0, "b", "x", "", ""), 1);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, true, "", none, &topics), 0);
	assert_int_equal(topics, 0);
	assert_int_equal(fake_notify(&f->w, 0, "b", "x", "", ""), 0);
}

/* Nobody reads: one event for each topic stands in the stream, and not one more. */
static void news_of_news_is_left_out(void **state)
{
	struct fixture *f = *state;
	struct fake_server s;
	uint64_t stream;

	make_session(f);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, false, "", a_and_b, NULL), 0);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(fake_notify(&f->w, 0, "a", "news of a", "", ""), 1);
		assert_int_equal(fake_notify(&f->w, 0, "b", "news of b", "", ""), 1);
	}
	attach_own(f, &stream, &s);
	expect_text(&s, "news of b");
	assert_int_equal(count(&s, "news of a"), 1);
	assert_int_equal(count(&s, "news of b"), 1);
	usleep(50000);
	assert_int_equal(fake_notify(&f->w, 0, "a", "later news", "", ""), 1);
	expect_text(&s, "later news");
	fake_server_release(&s);
}

static int setup_small_sndbuf(void **state)
{
	static const char *const sets[] = {"stream_sndbuf_bytes=4096"};

	return fixture_start(state, sets, 1, 0);
}

/* A client that doesn't read costs one event a topic, and misses no change. */
static void a_client_that_stalls_holds_one_event(void **state)
{
	struct fixture *f = *state;
	struct fake_server s;
	uint64_t stream;
	char head[3001];

	memset(head, 'h', sizeof(head) - 1);
	head[sizeof(head) - 1] = '\0';
	open_listen(f, a_only, &stream, &s);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(fake_notify(&f->w, 0, "a", "", head, "tail"), 1);
	assert_true(fake_server_expect(&s, "hh-insert-tail", FAKE_WAIT_MS));
	usleep(100000);
	assert_int_equal(fake_notify(&f->w, 0, "a", "", "later", "tail"), 1);
	expect_text(&s, "later-insert-tail");
	assert_true(count(&s, "-insert-tail") > 1 && count(&s, "-insert-tail") < 50);
	fake_server_release(&s);
}

/* ... but not what says more than that something changed. */
static void each_state_is_told(void **state)
{
	struct fixture *f = *state;
	struct fake_server s;
	uint64_t stream;

	make_session(f);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, false, "", a_only, NULL), 0);
	assert_int_equal(fake_notify(&f->w, LINK_NOTIFY_EACH, "a", "working", "", ""), 1);
	assert_int_equal(fake_notify(&f->w, LINK_NOTIFY_EACH, "a", "completed", "", ""), 1);
	attach_own(f, &stream, &s);
	expect_text(&s, "completed");
	assert_int_equal(count(&s, "working"), 1);
	fake_server_release(&s);
}

static void lists_are_heard_without_asking(void **state)
{
	struct fixture *f = *state;
	struct fake_server s, t;
	uint64_t own, stream, topics = 0;

	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 0, 0, "{}", NULL), 0);
	assert_int_equal(fake_notify(&f->w, LINK_NOTIFY_LIST, "a", "x", "", ""), 0);
	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 1, LINK_SESSION_HEARS_LISTS, "{}", NULL), 0);
	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 2, 0, "{}", NULL), 0); /* it stays */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fake_notify(&f->w, LINK_NOTIFY_LIST, "a", "list", "", ""), 1);
	assert_int_equal(fake_notify(&f->w, LINK_NOTIFY_LIST, "a", "", "head", "tail"), 0);
	assert_int_equal(fake_notify(&f->w, 0, "a", "no list", "", ""), 0);
	attach_own(f, &own, &s);
	expect_text(&s, "data: list\n\n");
	assert_int_equal(count(&s, "list"), 1);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, false, "", a_only, &topics), 0); /* heard, and asked for */
	assert_int_equal(topics, 1);
	open_listen(f, a_only, &stream, &t);
	assert_int_equal(fake_notify(&f->w, LINK_NOTIFY_LIST, "a", "once", "", ""), 1);
	expect_text(&s, "once");
	assert_int_equal(fake_notify(&f->w, 0, "a", "not of a list", "", ""), 1);
	expect_text(&s, "not of a list");
	assert_int_equal(count(&s, "once"), 1);
	assert_int_equal(fake_session_del(&f->w, KEY, HIM), 0);
	assert_int_equal(fake_notify(&f->w, LINK_NOTIFY_LIST, "a", "x", "", ""), 0);
	fake_server_release(&s);
	fake_server_release(&t);
}

static uint64_t notify_to(struct fixture *f, const char *session, const char *owner, unsigned flags, const char *text)
{
	uint64_t reached = 99;

	assert_int_equal(
	    fake_notify_to(&f->w, session, owner, flags, flags & 0xf0 ? "" : "a", text, "head", "tail", &reached), 0);
	return reached;
}

static void news_may_be_for_some_only(void **state)
{
	static const char *const keys[] = {"S-ann-1", "S-ann-2", "T-bob"}, *const owners[] = {"ann", "ann", "bob"};
	struct fixture *f = *state;
	uint64_t reached;

	for (unsigned i = 0; i < COUNT_OF(keys); i++) {
		assert_int_equal(fake_session_put_for(&f->w, keys[i], owners[i], owners[i]), 0);
		assert_int_equal(fake_subscribe(&f->w, 0, keys[i], owners[i], false, "", a_only, NULL), 0);
	}
	assert_int_equal(notify_to(f, "", "", LINK_NOTIFY_EACH, "x"), 3);
	assert_int_equal(notify_to(f, "", "ann", LINK_NOTIFY_EACH, "x"), 2);
	assert_int_equal(notify_to(f, "", "an", LINK_NOTIFY_EACH, "x"), 0);
	assert_int_equal(notify_to(f, "S-ann-1", "", LINK_NOTIFY_EACH, "x"), 1);
	assert_int_equal(notify_to(f, "T", "", LINK_NOTIFY_EACH, "x"), 1); /* no other one's begins so */
	assert_int_equal(notify_to(f, "T", "ann", LINK_NOTIFY_EACH, "x"), 0);
	assert_int_equal(fake_notify_to(&f->w, "S-ann", "", 0, "a", "x", "", "", &reached), LINK_NACK_DUPLICATE_ID);
	assert_int_equal(fake_notify_to(&f->w, "U", "", 0, "a", "x", "", "", &reached), LINK_NACK_NO_SESSION);
	assert_int_equal(fake_notify_to(&f->w, "T-bobs", "", 0, "a", "x", "", "", &reached), LINK_NACK_NO_SESSION);
}

/* A level: log lines, for who hears such, and reads. */
static void lines_are_heard_by_who_reads(void **state)
{
	struct fixture *f = *state;
	struct fake_server s, t;
	uint64_t own;

	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 0, LINK_LEVEL(3), "{}", NULL), 0);
	assert_int_equal(notify_to(f, "", "", LINK_LEVEL(7), "unread"), 0);
	attach_own(f, &own, &s);
	assert_int_equal(notify_to(f, "", "", LINK_LEVEL(2), "too low"), 0);
	assert_int_equal(notify_to(f, "", "", LINK_LEVEL(3), "just right"), 1);
	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 1, 0, "{}", NULL), 0); /* says nothing of the level */
	assert_int_equal(notify_to(f, "", "", LINK_LEVEL(2), "too low"), 0);
	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 2, LINK_LEVEL(0), "{}", NULL), 0);
	assert_int_equal(notify_to(f, KEY, "", LINK_LEVEL(0), "the lowest"), 1);
	expect_text(&s, "the lowest");
	assert_int_equal(count(&s, "just right"), 1);
	assert_int_equal(count(&s, "too low") + count(&s, "unread"), 0);
	assert_int_equal(fake_session_put(&f->w, "other", HIM, 0, 0, "{}", NULL), 0); /* hears none */
	assert_int_equal(fake_attach(&f->w, "other", HIM, "", &own, NULL), 0);
	fake_server_init(&t, fake_adopt(&f->w, own, LINK_KIND_FCGI, LINK_CURSOR_UNDELIVERED, 15000));
	expect_text(&t, FAKE_HEAD);
	assert_int_equal(notify_to(f, "", "", LINK_LEVEL(7), "urgent"), 1);
	fake_server_release(&t);
	fake_server_release(&s);
}

static int setup_three(void **state)
{
	static const char *const sets[] = {"session_topics_max=3"};

	return fixture_start(state, sets, 1, 0);
}

static void too_many_topics_meet_the_limit(void **state)
{
	static const char *const three[] = {"1", "2", "3", NULL}, *const again[] = {"3", "2", "1", "1", "2", NULL};
	struct fixture *f = *state;
	uint64_t topics = 0;

	make_session(f);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, false, "", a_and_b, NULL), 0);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, false, "", three, NULL), LINK_NACK_LIMIT);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, true, "", four, NULL), LINK_NACK_LIMIT);
	assert_int_equal(fake_notify(&f->w, 0, "1", "x", "", ""), 0); /* nothing was done */
	assert_int_equal(fake_notify(&f->w, 0, "a", "x", "", ""), 1);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, true, "", three, &topics), 0);
	assert_int_equal(topics, 3);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, false, "", again, &topics), 0);
	assert_int_equal(topics, 3);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, false, "", a_only, NULL), LINK_NACK_LIMIT);
}

static int setup_bytes(void **state)
{
	static const char *const sets[] = {"broker_topics_max_bytes=65536"};

	return fixture_start(state, sets, 1, 0);
}

static void all_topics_together_meet_the_limit(void **state)
{
	static char x[40000], y[40000];
	const char *const both[] = {x, y, NULL}, *const one[] = {x, NULL}, *const other[] = {y, NULL};
	struct fixture *f = *state;
	struct fake_server s;
	uint64_t stream;

	memset(x, 'x', sizeof(x) - 1);
	memset(y, 'y', sizeof(y) - 1);
	make_session(f);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, false, "", both, NULL), LINK_NACK_LIMIT);
	for (unsigned round = 0; round < 5; round++) { /* the room comes back */
		assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, false, "", one, NULL), 0);
		assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, false, "", other, NULL), LINK_NACK_LIMIT);
		assert_int_equal(fake_unsubscribe(&f->w, 0, KEY, HIM, one), 0);
		open_listen(f, a_only, &stream, &s);
		assert_int_equal(fake_subscribe(&f->w, stream, "", "", true, x, a_only, NULL), 0);
		assert_int_equal(fake_subscribe(&f->w, stream, "", "", true, y, a_only, NULL), LINK_NACK_LIMIT);
		fake_server_release(&s);
		usleep(50000);
	}
}

static void only_listen_streams_and_sessions_subscribe(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream;
	struct fake_server s;

	make_session(f);
	make_stream(f, &call, &stream, &s);
	assert_int_equal(fake_subscribe(&f->w, stream, "", HIM, false, "", a_only, NULL), LINK_NACK_BAD);
	assert_int_equal(fake_unsubscribe(&f->w, stream, "", HIM, a_only), LINK_NACK_BAD);
	assert_int_equal(fake_subscribe(&f->w, 3, "", HIM, false, "", a_only, NULL), LINK_NACK_CLOSED);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, "mallory", false, "", a_only, NULL), LINK_NACK_NO_SESSION);
	assert_int_equal(fake_subscribe(&f->w, 0, "other", HIM, false, "", a_only, NULL), LINK_NACK_NO_SESSION);
	assert_int_equal(fake_unsubscribe(&f->w, 0, KEY, "mallory", a_only), LINK_NACK_NO_SESSION);
	fake_server_release(&s);
}

static void a_listen_stream_belongs_to_its_client(void **state)
{
	struct fixture *f = *state;
	struct fake_worker other;
	uint64_t stream, call = 0;
	struct fake_server s;

	open_listen(f, a_only, &stream, &s);
	assert_int_equal(fake_append(&f->w, stream, "{\"acknowledged\":1}"), 0);
	call = f->w.seq - 2; /* OPEN_STREAM, ADOPT, SUBSCRIBE, APPEND; any number will do: there is no such call */
	fake_worker_send(&f->w, &(struct link_header){.type = LINK_CALL_END, .corr = call}, SLICE(""), SLICE(""));
	fake_worker_die(&f->w);
	fake_worker_connect(&other, f->broker.dir);
	usleep(300000);
	assert_int_equal(fake_notify(&other, 0, "a", "", "head", "tail"), 1);
	expect_text(&s, "{\"acknowledged\":1}");
	expect_text(&s, "head-insert-tail");
	assert_int_equal(count(&s, "worker died"), 0);
	fake_server_release(&s);
	for (unsigned tries = 0; fake_notify(&other, 0, "a", "", "head", "tail") > 0; tries++) {
		assert_true(tries < 100);
		usleep(10000);
	}
	expect_silence(&other);
	assert_int_equal(fake_subscribe(&other, stream, "", "", false, "", a_only, NULL), LINK_NACK_CLOSED);
	fake_worker_die(&other);
}

static int setup_one_stream(void **state)
{
	static const char *const sets[] = {"stream_max=1"};

	return fixture_start(state, sets, 1, 0);
}

static void a_listen_stream_without_a_connection_is_freed(void **state)
{
	struct fixture *f = *state;
	uint64_t stream;

	assert_int_equal(fake_open(&f->w, "", LISTEN, 0, one_id, NULL, &stream), 0);
	assert_int_equal(fake_subscribe(&f->w, stream, "", "", false, "", a_only, NULL), 0);
	assert_int_equal(fake_open(&f->w, "", LISTEN, 0, one_id, NULL, NULL), LINK_NACK_LIMIT);
	usleep(2300000);
	assert_int_equal(fake_notify(&f->w, 0, "a", "", "head", "tail"), 0);
	expect_silence(&f->w);
	assert_int_equal(fake_open(&f->w, "", LISTEN, 0, one_id, NULL, NULL), 0);
	assert_int_equal(fake_open(&f->w, "", LINK_STREAM_LISTEN, 0, one_id, NULL, NULL), LINK_NACK_BAD);
}

static void at_a_drain_a_listen_stream_ends_gracefully(void **state)
{
	struct fixture *f = *state;
	uint64_t stream, begin = now_ms();
	struct fake_server s;

	open_listen(f, a_only, &stream, &s);
	kill(f->broker.pid, SIGTERM);
	expect_text(&s, "data: " WILL "\n\n");
	expect_end(&s);
	assert_int_equal(fake_broker_wait(&f->broker), 0);
	assert_true(now_ms() - begin < 3000); /* it is not waited for */
	fake_server_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(each_era_reads_its_own),
	    TEST(reset_forgets_the_topics_of_before),
	    TEST(news_of_news_is_left_out),
	    TEST_WITH(a_client_that_stalls_holds_one_event, setup_small_sndbuf),
	    TEST(each_state_is_told),
	    TEST(lists_are_heard_without_asking),
	    TEST(news_may_be_for_some_only),
	    TEST(lines_are_heard_by_who_reads),
	    TEST_WITH(too_many_topics_meet_the_limit, setup_three),
	    TEST_WITH(all_topics_together_meet_the_limit, setup_bytes),
	    TEST(only_listen_streams_and_sessions_subscribe),
	    TEST(a_listen_stream_belongs_to_its_client),
	    TEST_WITH(a_listen_stream_without_a_connection_is_freed, setup_one_stream),
	    TEST(at_a_drain_a_listen_stream_ends_gracefully),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
