/* What is bounded in a real broker: shares of one owner, lives of sessions, events, connections that wait. */
#include "config.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/broker_fixture.h"
#include "tests/lib/fake_admin.h"
#include "common/banned.h"

#define LISTEN (LINK_STREAM_MODERN | LINK_STREAM_LISTEN)

static const char *const shares[] = {"principal_share_percent=50", "session_max=4", "stream_max=8", "stream_open_max=3",
    "task_max=2", "broker_log_max_bytes=1048576"};

static int setup_shares(void **state)
{
	return fixture_start(state, shares, COUNT_OF(shares), 0);
}

static unsigned put_session(struct fixture *f, const char *key, const char *owner)
{
	return fake_session_put_for(&f->w, key, HIM, owner);
}

static void expect_metric(struct fixture *f, const char *sample, double want)
{
	double is = fake_admin_metric(f->broker.dir, sample);

	if (is != want)
		fail_msg("%s is %f, not %f", sample, is, want);
}

static void sessions_of_one_owner(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put_session(f, "a1", "ann"), 0);
	assert_int_equal(put_session(f, "a2", "ann"), 0);
	assert_int_equal(put_session(f, "a3", "ann"), LINK_NACK_LIMIT); /* though it fits in all */
	expect_metric(f, "shares_reached_total{limit=\"session_max\"}", 1);
	expect_metric(f, "limits_reached_total{limit=\"session_max\"}", 0);
	assert_int_equal(put_session(f, "b1", "bob"), 0);
	assert_int_equal(put_session(f, "b2", "bob"), 0);
	assert_int_equal(put_session(f, "c1", "carl"), LINK_NACK_LIMIT);
	expect_metric(f, "limits_reached_total{limit=\"session_max\"}", 1);
	assert_int_equal(fake_session_del(&f->w, "a1", HIM), 0);
	assert_int_equal(put_session(f, "b3", "bob"), LINK_NACK_LIMIT);
	assert_int_equal(put_session(f, "a3", "ann"), 0);
}

/* Who can't be told apart from others is limited together with them only. */
static void sessions_of_nobody(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 4; i++)
		assert_int_equal(put_session(f, (const char *[]){"1", "2", "3", "4"}[i], ""), 0);
	assert_int_equal(put_session(f, "5", ""), LINK_NACK_LIMIT);
}

static void a_share_outlives_the_broker(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put_session(f, "a1", "ann"), 0);
	assert_int_equal(put_session(f, "a2", "ann"), 0);
	assert_int_equal(fake_broker_end(&f->broker, SIGKILL), 128 + SIGKILL);
	fake_worker_die(&f->w);
	fake_broker_again(&f->broker, shares, COUNT_OF(shares), 0);
	fake_worker_connect(&f->w, f->broker.dir);
	assert_int_equal(put_session(f, "a3", "ann"), LINK_NACK_LIMIT);
	assert_int_equal(put_session(f, "b1", "bob"), 0);
}

static void streams_of_one_owner(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(fake_open(&f->w, "ann", LINK_STREAM_MODERN, 0, one_id, NULL, &stream[i]), 0);
	assert_int_equal(fake_open(&f->w, "ann", LINK_STREAM_MODERN, 0, one_id, NULL, NULL), LINK_NACK_LIMIT);
	expect_metric(f, "shares_reached_total{limit=\"stream_max\"}", 1);
	assert_int_equal(put_session(f, KEY, "ann"), 0);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, &call, NULL), 0);
	assert_int_equal(fake_open(&f->w, KEY, 0, call, NULL, NULL, NULL), LINK_NACK_LIMIT); /* in either era */
	assert_int_equal(fake_open(&f->w, "bob", LINK_STREAM_MODERN, 0, one_id, NULL, NULL), 0);
}

static void connections_of_one_owner_that_wait(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put_session(f, KEY, "ann"), 0);
	assert_int_equal(fake_open(&f->w, "ann", LISTEN, 0, one_id, NULL, NULL), 0);
	assert_int_equal(fake_attach(&f->w, KEY, HIM, "", NULL, NULL), 0); /* half of three, rounded up */
	assert_int_equal(fake_open(&f->w, "ann", LISTEN, 0, one_id, NULL, NULL), LINK_NACK_LIMIT);
	expect_metric(f, "shares_reached_total{limit=\"stream_open_max\"}", 1);
	assert_int_equal(fake_attach(&f->w, KEY, HIM, "", NULL, NULL), 0); /* the same place */
	assert_int_equal(fake_open(&f->w, "bob", LISTEN, 0, one_id, NULL, NULL), 0);
}

static void tasks_of_one_owner(void **state)
{
	struct fixture *f = *state;
	struct fake_worker runner;

	fake_runner_connect(&runner, f->broker.dir);
	assert_int_equal(fake_task_new_for(&f->w, "t1", HIM, "ann"), 0);
	assert_int_equal(fake_task_new_for(&f->w, "t2", HIM, "ann"), LINK_NACK_LIMIT);
	expect_metric(f, "shares_reached_total{limit=\"task_max\"}", 1);
	assert_int_equal(fake_task_new_for(&f->w, "t3", HIM, "bob"), 0);
	assert_int_equal(fake_task_new_for(&f->w, "t4", HIM, "carl"), LINK_NACK_LIMIT);
	expect_metric(f, "limits_reached_total{limit=\"task_max\"}", 1);
	fake_worker_die(&runner);
}

/* Appends until it is refused; how many events that were. But an end can always be told. */
static size_t fill(struct fixture *f, const char *key, const char *owner, const char *event, size_t count_max)
{
	uint64_t call, stream;
	size_t count = 0;

	assert_int_equal(put_session(f, key, owner), 0);
	assert_int_equal(fake_call_begin(&f->w, key, HIM, 0, one_id, &call, NULL), 0);
	assert_int_equal(fake_open(&f->w, key, 0, call, NULL, NULL, &stream), 0);
	while (count < count_max && fake_append(&f->w, stream, event) == 0)
		count++;
	assert_in_range(count, 0, count_max - 1);
	assert_int_equal(fake_finish(&f->w, call, stream, WILL), 0);
	return count;
}

static void events_of_one_owner(void **state)
{
	struct fixture *f = *state;
	static char event[65536 - 64 + 1];

	memset(event, 'x', sizeof(event) - 1);
	assert_int_equal(fill(f, "a1", "ann", event, 100), 8);
	expect_metric(f, "shares_reached_total{limit=\"broker_log_max_bytes\"}", 1);
	assert_in_range(fill(f, "b1", "bob", event, 100), 7, 8); /* ann's end took some of it */
	assert_int_equal(fill(f, "c1", "carl", event, 100), 0);  /* all is full */
}

static int setup_tiny(void **state)
{
	static const char *const sets[] = {"broker_log_max_bytes=1048576", "stream_log_max_bytes=65536"};

	return fixture_start(state, sets, COUNT_OF(sets), 0);
}

/* Events of a byte cost memory for their place in the log: it is counted, so their number is bounded too. */
static void tiny_events(void **state)
{
	struct fixture *f = *state;

	assert_in_range(fill(f, KEY, "", "1", 2000), 65536 / 65 - 1, 65536 / 65);
}

static int setup_streams(void **state)
{
	static const char *const sets[] = {"session_streams_max=2"};

	return fixture_start(state, sets, COUNT_OF(sets), 0);
}

static void streams_of_one_session(void **state)
{
	static const char *const ids[][3] = {{"1", WILL, NULL}, {"2", WILL, NULL}, {"3", WILL, NULL}};
	struct fixture *f = *state;
	uint64_t call[3], stream;

	make_session(f);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, ids[i], &call[i], NULL), 0);
		assert_int_equal(fake_open(&f->w, KEY, 0, call[i], NULL, NULL, &stream), i < 2 ? 0 : LINK_NACK_LIMIT);
	}
	assert_int_equal(fake_session_put(&f->w, "other", HIM, 0, 0, "{}", NULL), 0);
	assert_int_equal(fake_call_begin(&f->w, "other", HIM, 0, one_id, &call[0], NULL), 0);
	assert_int_equal(fake_open(&f->w, "other", 0, call[0], NULL, NULL, &stream), 0);
}

static const char *const life[] = {"session_life_s=5"};

static int setup_life(void **state)
{
	return fixture_start(state, life, COUNT_OF(life), 0);
}

static bool lives(struct fixture *f)
{
	unsigned nack = fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, NULL);

	assert_true(nack == 0 || nack == LINK_NACK_NO_SESSION);
	return nack == 0;
}

/* However busy, and whichever broker it began at. */
static void a_session_has_an_end(void **state)
{
	struct fixture *f = *state;
	uint64_t begun_ms = now_ms(), own;
	struct fake_server s;

	make_session(f);
	usleep(3500000);
	assert_int_equal(fake_broker_end(&f->broker, SIGKILL), 128 + SIGKILL);
	fake_worker_die(&f->w);
	fake_broker_again(&f->broker, life, COUNT_OF(life), 0);
	fake_worker_connect(&f->w, f->broker.dir);
	attach_own(f, &own, &s);
	while (lives(f) && now_ms() < begun_ms + 10000)
		usleep(50000);
	assert_in_range(now_ms() - begun_ms, 4500, 8000); /* by the second broker's time it would be more */
	expect_end(&s);
	fake_server_release(&s);
}

static const char *const idle[] = {"session_idle_s=4"};

static int setup_idle(void **state)
{
	return fixture_start(state, idle, COUNT_OF(idle), 0);
}

static void idle_time_goes_on_while_no_broker_runs(void **state)
{
	struct fixture *f = *state;

	make_session(f);
	assert_int_equal(fake_session_put(&f->w, "kept", HIM, 0, 0, "{}", NULL), 0);
	usleep(2800000);
	assert_int_equal(fake_call_begin(&f->w, "kept", HIM, 0, NULL, NULL, NULL), 0); /* renews it */
	usleep(1000000);                                                               /* which is marked by now */
	assert_int_equal(fake_broker_end(&f->broker, SIGKILL), 128 + SIGKILL);
	fake_worker_die(&f->w);
	usleep(700000);
	fake_broker_again(&f->broker, idle, COUNT_OF(idle), 0);
	fake_worker_connect(&f->w, f->broker.dir);
	assert_false(lives(f));
	assert_int_equal(fake_call_begin(&f->w, "kept", HIM, 0, NULL, NULL, NULL), 0);
}

static int setup_late(void **state)
{
	static const char *const sets[] = {"call_timeout_s=1", "link_timeout_ms=200"};

	return fixture_start(state, sets, COUNT_OF(sets), 0);
}

/* A worker that hangs: its client is answered, and the worker told. */
static void a_call_has_an_end(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream, modern, told = 0, begun_ms = now_ms();
	struct fake_server s, m;

	make_session(f);
	make_stream(f, &call, &stream, &s);
	assert_int_equal(fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, &modern, &stream), 0);
	fake_server_init(&m, fake_adopt(&f->w, stream, LINK_KIND_FCGI, 0, 15000));
	expect_text(&s, WILL);
	expect_end(&s);
	expect_text(&m, WILL);
	expect_end(&m);
	assert_in_range(now_ms() - begun_ms, 1200, 2200);
	for (int i = 0; i < 2; i++) { /* in either order */
		struct fake_answer a;

		expect_message(&f->w, LINK_CANCELLED, &a);
		told += a.h.corr;
		fake_answer_release(&a);
	}
	assert_int_equal(told, call + modern);
	assert_int_equal(fake_finish(&f->w, call, stream, "{}"), LINK_NACK_CLOSED);
	fake_server_release(&s);
	fake_server_release(&m);
}

static int setup_rotate(void **state)
{
	static const char *const sets[] = {"stream_rotate_s=1"};

	return fixture_start(state, sets, COUNT_OF(sets), 0);
}

/* A GET ends, its client comes back and has missed nothing; what can't come back stays. */
static void a_get_is_rotated(void **state)
{
	struct fixture *f = *state;
	uint64_t own, old_own, call, stream, cursor, begun_ms = now_ms();
	struct fake_server s, old, answer;

	make_session(f);
	assert_int_equal(fake_session_put(&f->w, "old", HIM, 0, LINK_SESSION_ENDS_WITH_CONN, "{}", NULL), 0);
	assert_int_equal(fake_attach(&f->w, "old", HIM, "", &old_own, &cursor), 0);
	fake_server_init(&old, fake_adopt(&f->w, old_own, LINK_KIND_FCGI, cursor, 15000));
	make_stream(f, &call, &stream, &answer);
	attach_own(f, &own, &s);
	assert_int_equal(fake_append(&f->w, own, "{\"n\":1}"), 0);
	expect_end(&s);
	assert_in_range(now_ms() - begun_ms, 900, 1900);
	assert_non_null(strstr(s.text.data, "{\"n\":1}"));
	assert_non_null(strstr(s.text.data, "retry: "));
	fake_server_release(&s);
	expect_metric(f, "closes_total{reason=\"polled\"}", 1);
	assert_int_equal(fake_append(&f->w, own, "{\"n\":2}"), 0);
	attach_own(f, &own, &s);
	expect_text(&s, "{\"n\":2}");
	assert_null(strstr(s.text.data, "{\"n\":1}"));
	assert_int_equal(fake_append(&f->w, old_own, "{\"n\":3}"), 0);
	expect_text(&old, "{\"n\":3}");
	assert_int_equal(fake_finish(&f->w, call, stream, "{\"n\":4}"), 0);
	expect_text(&answer, "{\"n\":4}");
	expect_end(&answer);
	fake_server_release(&s);
	fake_server_release(&old);
	fake_server_release(&answer);
}

static int setup_sndbuf(void **state)
{
	static const char *const sets[] = {"stream_sndbuf_bytes=8192"};

	return fixture_start(state, sets, COUNT_OF(sets), 0);
}

static void the_kernel_keeps_no_more_than_it_is_told(void **state)
{
	struct fixture *f = *state;
	uint64_t stream;
	struct fake_server s;
	socklen_t len = sizeof(int);
	int pair[2], bytes = 0;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, NULL, &stream), 0);
	fake_adopt_fd(&f->w, stream, LINK_KIND_FCGI, 0, 15000, pair[0]);
	fake_server_init(&s, pair[1]);
	expect_text(&s, FAKE_HEAD);
	assert_int_equal(getsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, &len), 0);
	assert_int_equal(bytes, 2 * 8192); /* socket(7): it counts twice, for its own bookkeeping */
	close(pair[0]);
	fake_server_release(&s);
}

#define IDLE           1000
#define IDLE_MAX_BYTES 1536 /* a session with its stream, and a connection that waits */

static int setup_idle_streams(void **state)
{
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	return fixture_start(state, NULL, 0, 0);
}

/* Of the broker, which it shares with nobody. */
static uint64_t private_bytes(const struct fixture *f)
{
	char name[64], line[256];
	uint64_t kb = 0;
	FILE *file;

	snprintf(name, sizeof(name), "/proc/%d/smaps_rollup", (int)f->broker.pid);
	file = fopen(name, "r");
	if (!file)
		skip(); /* a kernel before 4.14, or none that is Linux */
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, "Private_", 8) == 0)
			kb += strtoull(strchr(line, ':') + 1, NULL, 10);
	fclose(file);
	return kb * 1024;
}

static void an_idle_stream_takes_little(void **state)
{
	struct fixture *f = *state;
	int clients[IDLE];
	uint64_t before = 0, stream, cursor, bytes;
	struct fake_server s;
	char key[32];

	for (int i = 0; i < IDLE; i++) {
		if (i == IDLE / 10) /* by then it has done everything once */
			before = private_bytes(f);
		snprintf(key, sizeof(key), "idle-%d", i);
		assert_int_equal(
		    fake_session_put(&f->w, key, HIM, 0, 0, "{\"client\":\"a name of usual length\"}", NULL), 0);
		assert_int_equal(fake_attach(&f->w, key, HIM, "", &stream, &cursor), 0);
		clients[i] = fake_adopt(&f->w, stream, LINK_KIND_FCGI, cursor, 15000);
	}
	fake_server_init(&s, clients[IDLE - 1]);
	expect_text(&s, FAKE_HEAD);
	bytes = (private_bytes(f) - before) / (IDLE - IDLE / 10);
	print_message("# an idle stream takes %" PRIu64 " bytes\n", bytes);
#ifndef __SANITIZE_ADDRESS__ /* which have bytes of their own around each of ours */
	assert_in_range(bytes, 100, IDLE_MAX_BYTES);
#endif
	fake_server_release(&s);
	for (int i = 0; i < IDLE - 1; i++)
		close(clients[i]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    TEST_WITH(sessions_of_one_owner, setup_shares),
	    TEST_WITH(sessions_of_nobody, setup_shares),
	    TEST_WITH(a_share_outlives_the_broker, setup_shares),
	    TEST_WITH(streams_of_one_owner, setup_shares),
	    TEST_WITH(connections_of_one_owner_that_wait, setup_shares),
	    TEST_WITH(tasks_of_one_owner, setup_shares),
	    TEST_WITH(events_of_one_owner, setup_shares),
	    TEST_WITH(tiny_events, setup_tiny),
	    TEST_WITH(streams_of_one_session, setup_streams),
	    TEST_WITH(a_session_has_an_end, setup_life),
	    TEST_WITH(idle_time_goes_on_while_no_broker_runs, setup_idle),
	    TEST_WITH(a_call_has_an_end, setup_late),
	    TEST_WITH(a_get_is_rotated, setup_rotate),
	    TEST_WITH(the_kernel_keeps_no_more_than_it_is_told, setup_sndbuf),
	    TEST_WITH(an_idle_stream_takes_little, setup_idle_streams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
