/* TASK_* and ONCE: work that outlives its request, between workers, the broker and runners (doc/link.md, Tasks). */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/task.h"
#include "tests/lib/broker_fixture.h"
#include "common/banned.h"

#define TTL_MS 60000

static void the_table_of_states(void **state)
{
	static const char want[LINK_TASK__COUNT][LINK_TASK__COUNT + 1] = {
	    /* to: WORKING INPUT_REQUIRED COMPLETED FAILED CANCELLED */
	    [LINK_TASK_WORKING] = ".xxxxx",
	    [LINK_TASK_INPUT_REQUIRED] = ".xxxxx",
	    [LINK_TASK_COMPLETED] = "......",
	    [LINK_TASK_FAILED] = "......",
	    [LINK_TASK_CANCELLED] = "......",
	};

	(void)state;
	for (int from = LINK_TASK_WORKING; from < LINK_TASK__COUNT; from++) {
		for (int to = LINK_TASK_WORKING; to < LINK_TASK__COUNT; to++) {
			if (task_may_go((enum link_task_state)from, (enum link_task_state)to) !=
			    (want[from][to] == 'x'))
				fail_msg("%s -> %s", task_state_name((enum link_task_state)from),
				    task_state_name((enum link_task_state)to));
		}
	}
}

/* A runner that has got the task. */
static void run_task(struct fixture *f, const char *id, uint64_t ttl_ms, struct fake_worker *runner)
{
	struct fake_answer a;
	struct slice in;
	bool bad = false;

	fake_runner_connect(runner, f->broker.dir);
	assert_int_equal(fake_task_new(&f->w, id, HIM, ttl_ms, 0, "blob", "job"), 0);
	expect_message(runner, LINK_TASK_RUN, &a);
	assert_string_equal(a.key, id);
	in = buf_slice(&a.body);
	assert_true(slice_is(link_get_bytes(&in, &bad), HIM));
	assert_int_equal(link_get_u64(&in, &bad), ttl_ms);
	assert_true(slice_is(link_get_bytes(&in, &bad), "job"));
	assert_true(!bad && in.len == 0);
	fake_answer_release(&a);
}

static void expect_task(struct fake_worker *w, const char *id, unsigned state, uint64_t version, const char *blob)
{
	struct fake_task task;

	assert_int_equal(fake_task_get(w, id, HIM, 0, &task), 0);
	if (task.state != state || task.version != version || strcmp(task.blob, blob) != 0)
		fail_msg("%s is %u, version %" PRIu64 ", \"%s\"", id, task.state, task.version, task.blob);
}

static void expect_input(struct fake_worker *runner, const char *id, unsigned what, const char *body)
{
	struct fake_answer a;
	struct slice in;
	bool bad = false;

	expect_message(runner, LINK_TASK_INPUT, &a);
	assert_string_equal(a.key, id);
	in = buf_slice(&a.body);
	assert_int_equal(link_get_u8(&in, &bad), what);
	assert_true(slice_is(link_get_bytes(&in, &bad), body));
	assert_true(!bad && in.len == 0);
	fake_answer_release(&a);
}

static void expect_changed(struct fake_worker *w, const char *id)
{
	struct fake_answer a;

	expect_message(w, LINK_TASK_CHANGED, &a);
	assert_string_equal(a.key, id);
	fake_answer_release(&a);
}

static void a_task_goes_its_way(void **state)
{
	struct fixture *f = *state;
	struct fake_worker runner;
	struct fake_task task;
	uint64_t version = 0, now = clock_ms(CLOCK_REALTIME);

	run_task(f, "t", TTL_MS, &runner);
	assert_int_equal(fake_task_get(&f->w, "t", HIM, 0, &task), 0);
	assert_in_range(task.created_ms, now - 5000, now + 5000);
	assert_int_equal(task.updated_ms, task.created_ms);
	assert_int_equal(task.ttl_ms, TTL_MS);
	expect_task(&f->w, "t", LINK_TASK_WORKING, 1, "blob");
	assert_int_equal(fake_task_put(&runner, "t", LINK_TASK_WORKING, "half", &version), 0);
	assert_int_equal(version, 2);
	assert_int_equal(fake_task_put(&runner, "t", LINK_TASK_INPUT_REQUIRED, "asks", NULL), 0);
	expect_task(&f->w, "t", LINK_TASK_INPUT_REQUIRED, 3, "asks");
	assert_int_equal(fake_task_send(&f->w, "t", HIM, LINK_TASK_ANSWERS, "answers"), 0);
	expect_input(&runner, "t", LINK_TASK_ANSWERS, "answers");
	assert_int_equal(fake_task_put(&runner, "t", LINK_TASK_WORKING, "", NULL), 0);
	assert_int_equal(fake_task_put(&runner, "t", LINK_TASK_COMPLETED, "result", NULL), 0);
	fake_worker_die(&runner);
	usleep(300000);
	expect_task(&f->w, "t", LINK_TASK_COMPLETED, 5, "result"); /* for ever */
	assert_int_equal(fake_task_send(&f->w, "t", HIM, LINK_TASK_ANSWERS, "x"), LINK_NACK_CLOSED);
	assert_int_equal(fake_task_send(&f->w, "t", HIM, LINK_TASK_CANCEL, "x"), LINK_NACK_CLOSED);
}

static void what_has_ended_stays_so(void **state)
{
	static const unsigned ends[] = {LINK_TASK_COMPLETED, LINK_TASK_FAILED, LINK_TASK_CANCELLED};
	struct fixture *f = *state;
	struct fake_worker runner;

	for (size_t i = 0; i < COUNT_OF(ends); i++) {
		char id[8];

		snprintf(id, sizeof(id), "t%zu", i);
		run_task(f, id, TTL_MS, &runner);
		assert_int_equal(fake_task_put(&runner, id, ends[i], "end", NULL), 0);
		for (unsigned to = LINK_TASK_WORKING; to < LINK_TASK__COUNT; to++)
			assert_int_equal(fake_task_put(&runner, id, to, "x", NULL), LINK_NACK_CLOSED);
		expect_task(&f->w, id, ends[i], 2, "end");
		fake_worker_die(&runner);
		usleep(200000); /* or it would be asked in turn */
	}
}

static void a_client_cancels(void **state)
{
	struct fixture *f = *state;
	struct fake_worker runner;

	run_task(f, "t", TTL_MS, &runner);
	assert_int_equal(fake_task_send(&f->w, "t", "mallory", LINK_TASK_CANCEL, ""), LINK_NACK_NO_TASK);
	assert_int_equal(fake_task_send(&f->w, "t", HIM, LINK_TASK_CANCEL, "why"), 0);
	expect_task(&f->w, "t", LINK_TASK_CANCELLED, 2, "blob");
	expect_input(&runner, "t", LINK_TASK_CANCEL, "why");
	assert_int_equal(fake_task_put(&runner, "t", LINK_TASK_COMPLETED, "x", NULL), LINK_NACK_CLOSED);
	assert_int_equal(fake_task_send(&f->w, "t", HIM, LINK_TASK_CANCEL, ""), LINK_NACK_CLOSED);
	fake_worker_die(&runner);
}

static void a_runners_death_fails_its_tasks(void **state)
{
	struct fixture *f = *state;
	struct fake_worker runner;

	run_task(f, "t", TTL_MS, &runner);
	assert_int_equal(fake_task_new(&f->w, "done", HIM, TTL_MS, 0, "", ""), 0);
	assert_int_equal(fake_task_put(&runner, "done", LINK_TASK_COMPLETED, "result", NULL), 0);
	expect_task(&f->w, "t", LINK_TASK_WORKING, 1, "blob");
	assert_int_equal(fake_task_get(&f->w, "t", HIM, 1, NULL), 0);
	fake_worker_die(&runner);
	expect_changed(&f->w, "t");
	expect_task(&f->w, "t", LINK_TASK_FAILED, 2, "");
	expect_task(&f->w, "done", LINK_TASK_COMPLETED, 2, "result");
	assert_int_equal(fake_task_new(&f->w, "t2", HIM, TTL_MS, 0, "", ""), LINK_NACK_NO_RUNNER);
	assert_int_equal(fake_task_get(&f->w, "t2", HIM, 0, NULL), LINK_NACK_NO_TASK);
}

static void its_time_passes(void **state)
{
	struct fixture *f = *state;
	struct fake_worker runner;

	run_task(f, "t", 1000, &runner);
	assert_int_equal(fake_task_new(&f->w, "done", HIM, 1000, 0, "", ""), 0);
	assert_int_equal(fake_task_put(&runner, "done", LINK_TASK_COMPLETED, "result", NULL), 0);
	assert_int_equal(fake_task_get(&f->w, "t", HIM, 1, NULL), 0);
	expect_input(&runner, "t", LINK_TASK_CANCEL, "");
	expect_changed(&f->w, "t");
	usleep(200000);
	assert_int_equal(fake_task_get(&f->w, "t", HIM, 1, NULL), LINK_NACK_NO_TASK);
	assert_int_equal(fake_task_get(&f->w, "done", HIM, 0, NULL), LINK_NACK_NO_TASK);
	assert_int_equal(fake_task_put(&runner, "t", LINK_TASK_COMPLETED, "x", NULL), LINK_NACK_CLOSED);
	assert_int_equal(fake_task_send(&f->w, "t", HIM, LINK_TASK_CANCEL, ""), LINK_NACK_NO_TASK);
	expect_silence(&runner); /* of the one that was done it hears nothing */
	fake_worker_die(&runner);
}

static void who_watches_is_told_once(void **state)
{
	struct fixture *f = *state;
	struct fake_worker runner, other;

	run_task(f, "t", TTL_MS, &runner);
	fake_worker_connect(&other, f->broker.dir);
	for (unsigned i = 0; i < 3; i++) /* asking again is not asking twice */
		assert_int_equal(fake_task_get(&f->w, "t", HIM, 1, NULL), 0);
	assert_int_equal(fake_task_get(&other, "t", HIM, 1, NULL), 0);
	for (unsigned i = 0; i < 9; i++) { /* those who died are forgotten */
		struct fake_worker gone;

		fake_worker_connect(&gone, f->broker.dir);
		assert_int_equal(fake_task_get(&gone, "t", HIM, 1, NULL), 0);
		fake_worker_die(&gone);
	}
	assert_int_equal(fake_task_put(&runner, "t", LINK_TASK_WORKING, "", NULL), 0);
	expect_changed(&f->w, "t");
	expect_changed(&other, "t");
	assert_int_equal(fake_task_get(&f->w, "t", HIM, 1, NULL), 0); /* an old version: the answer tells it */
	assert_int_equal(fake_task_put(&runner, "t", LINK_TASK_WORKING, "", NULL), 0);
	expect_silence(&f->w);
	expect_silence(&other);
	fake_worker_die(&other);
	fake_worker_die(&runner);
}

static void runners_take_turns(void **state)
{
	struct fixture *f = *state;
	struct fake_worker runners[3];
	struct fake_answer a;
	char id[8];

	for (size_t i = 0; i < 3; i++)
		fake_runner_connect(&runners[i], f->broker.dir);
	for (size_t i = 0; i < 6; i++) {
		snprintf(id, sizeof(id), "t%zu", i);
		assert_int_equal(fake_task_new(&f->w, id, HIM, TTL_MS, 0, "", ""), 0);
		expect_message(&runners[i % 3], LINK_TASK_RUN, &a);
		assert_string_equal(a.key, id);
		fake_answer_release(&a);
	}
	assert_int_equal(
	    fake_task_put(&runners[1], "t0", LINK_TASK_FAILED, "", NULL), LINK_NACK_CLOSED); /* another's */
	fake_worker_die(&runners[0]);
	usleep(300000);
	for (size_t i = 1; i < 3; i++) {
		snprintf(id, sizeof(id), "u%zu", i);
		assert_int_equal(fake_task_new(&f->w, id, HIM, TTL_MS, 0, "", ""), 0);
		expect_message(&runners[i], LINK_TASK_RUN, &a);
		fake_answer_release(&a);
		fake_worker_die(&runners[i]);
	}
}

static int setup_few(void **state)
{
	static const char *const sets[] = {"task_max=3", "task_blob_max_bytes=65536", "task_ttl_max_ms=100000",
	    "body_max_bytes=65536", "session_blob_max_bytes=65536"};

	return fixture_start(state, sets, 5, 0);
}

static void what_is_refused_has_no_effect(void **state)
{
	struct fixture *f = *state;
	struct fake_worker runner;
	char big[65538];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	run_task(f, "t1", TTL_MS, &runner);
	assert_int_equal(fake_task_new(&f->w, "t1", "mallory", TTL_MS, 0, "", ""), LINK_NACK_DUPLICATE_ID);
	assert_int_equal(fake_task_new(&f->w, "t2", HIM, TTL_MS, 0, big, ""), LINK_NACK_TOO_BIG);
	assert_int_equal(fake_task_new(&f->w, "t2", HIM, TTL_MS, 0, "", big), LINK_NACK_TOO_BIG);
	assert_int_equal(fake_task_new(&f->w, "t2", HIM, 0, 0, "", ""), LINK_NACK_BAD);
	assert_int_equal(fake_task_new(&f->w, "t2", HIM, 100001, 0, "", ""), LINK_NACK_LIMIT);
	assert_int_equal(fake_task_new(&f->w, "", HIM, TTL_MS, 0, "", ""), LINK_NACK_BAD);
	assert_int_equal(fake_task_new(&f->w, "t2", HIM, 1000, 0, "", ""), 0);
	assert_int_equal(fake_task_new(&f->w, "t3", HIM, TTL_MS, 0, "", ""), 0);
	assert_int_equal(fake_task_new(&f->w, "t4", HIM, TTL_MS, 0, "", ""), LINK_NACK_LIMIT);
	assert_int_equal(fake_task_put(&runner, "t1", LINK_TASK_FAILED, big, NULL), LINK_NACK_TOO_BIG);
	assert_int_equal(fake_task_put(&runner, "t1", 0, "", NULL), LINK_NACK_BAD);
	assert_int_equal(fake_task_put(&runner, "t1", LINK_TASK__COUNT, "", NULL), LINK_NACK_BAD);
	assert_int_equal(fake_task_put(&f->w, "t1", LINK_TASK_FAILED, "", NULL), LINK_NACK_CLOSED);
	assert_int_equal(fake_task_send(&f->w, "t1", HIM, 0, ""), LINK_NACK_BAD);
	assert_int_equal(fake_task_get(&f->w, "t1", "mallory", 0, NULL), LINK_NACK_NO_TASK);
	expect_task(&f->w, "t1", LINK_TASK_WORKING, 1, "blob");
	usleep(1200000); /* t2's time is over */
	assert_int_equal(fake_task_new(&f->w, "t4", HIM, TTL_MS, 0, "", ""), 0);
	fake_worker_die(&runner);
}

static int setup_bytes(void **state)
{
	static const char *const sets[] = {"broker_tasks_max_bytes=1048576", "task_blob_max_bytes=1048576"};

	return fixture_start(state, sets, 2, 0);
}

static void all_tasks_together_meet_the_limit(void **state)
{
	static char big[600000];
	struct fixture *f = *state;
	struct fake_worker runner;
	struct fake_answer a;

	memset(big, 'x', sizeof(big) - 1);
	fake_runner_connect(&runner, f->broker.dir);
	assert_int_equal(fake_task_new(&f->w, "t0", HIM, TTL_MS, 0, big, big), LINK_NACK_LIMIT);
	assert_int_equal(fake_task_new(&f->w, "t1", HIM, TTL_MS, 0, "", big), 0);
	expect_message(&runner, LINK_TASK_RUN, &a);
	fake_answer_release(&a);
	assert_int_equal(fake_task_put(&runner, "t1", LINK_TASK_WORKING, "", NULL), 0); /* now the job is the runner's */
	assert_int_equal(fake_task_new(&f->w, "t2", HIM, 1000, 0, big, ""), 0);
	assert_int_equal(fake_task_new(&f->w, "t3", HIM, TTL_MS, 0, big, ""), LINK_NACK_LIMIT);
	assert_int_equal(fake_task_put(&runner, "t1", LINK_TASK_COMPLETED, big, NULL), LINK_NACK_TOO_BIG);
	assert_int_equal(fake_task_put(&runner, "t2", LINK_TASK_WORKING, big, NULL), 0); /* no more than before */
	usleep(1300000);
	assert_int_equal(fake_task_put(&runner, "t1", LINK_TASK_COMPLETED, big, NULL), 0);
	fake_worker_die(&runner);
}

static void lists_are_of_one_principal_and_in_order(void **state)
{
	struct fixture *f = *state;
	struct fake_worker runner;
	char ids[256];

	fake_runner_connect(&runner, f->broker.dir);
	assert_int_equal(fake_task_list(&f->w, HIM, "", 10, ids, sizeof(ids)), 0);
	assert_string_equal(ids, "");
	assert_int_equal(fake_task_new(&f->w, "z", HIM, TTL_MS, 0, "", ""), 0);
	assert_int_equal(fake_task_new(&f->w, "his", "bob", TTL_MS, 0, "", ""), 0);
	assert_int_equal(fake_task_new(&f->w, "y", HIM, TTL_MS, 0, "", ""), 0);
	assert_int_equal(fake_task_new(&f->w, "hidden", HIM, TTL_MS, LINK_TASK_HIDDEN, "", ""), 0);
	assert_int_equal(fake_task_new(&f->w, "x", HIM, TTL_MS, 0, "", ""), 0);
	assert_int_equal(fake_task_list(&f->w, HIM, "", 10, ids, sizeof(ids)), 0);
	assert_string_equal(ids, "z,y,x,");
	assert_int_equal(fake_task_list(&f->w, HIM, "", 3, ids, sizeof(ids)), 0);
	assert_string_equal(ids, "z,y,x,");
	assert_int_equal(fake_task_list(&f->w, HIM, "", 2, ids, sizeof(ids)), 0);
	assert_string_equal(ids, "z,y,more");
	assert_int_equal(fake_task_list(&f->w, HIM, "y", 2, ids, sizeof(ids)), 0);
	assert_string_equal(ids, "x,");
	assert_int_equal(fake_task_list(&f->w, HIM, "x", 2, ids, sizeof(ids)), 0);
	assert_string_equal(ids, "");
	assert_int_equal(fake_task_list(&f->w, HIM, "his", 2, ids, sizeof(ids)), LINK_NACK_NO_TASK);
	assert_int_equal(fake_task_get(&f->w, "hidden", HIM, 0, NULL), 0);
	fake_worker_die(&runner);
}

static int setup_small(void **state)
{
	static const char *const sets[] = {
	    "task_blob_max_bytes=65536", "body_max_bytes=65536", "session_blob_max_bytes=65536"};

	return fixture_start(state, sets, 3, 0);
}

static void a_list_fits_into_one_body(void **state)
{
	struct fixture *f = *state;
	struct fake_worker runner;
	char big[65537], ids[256];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	fake_runner_connect(&runner, f->broker.dir);
	for (char id[2] = "a"; id[0] <= 'e'; id[0]++)
		assert_int_equal(fake_task_new(&f->w, id, HIM, TTL_MS, 0, big, ""), 0);
	assert_int_equal(fake_task_list(&f->w, HIM, "", 10, ids, sizeof(ids)), 0);
	assert_string_equal(ids, "a,b,more");
	assert_int_equal(fake_task_list(&f->w, HIM, "b", 10, ids, sizeof(ids)), 0);
	assert_string_equal(ids, "c,d,more");
	assert_int_equal(fake_task_list(&f->w, HIM, "d", 10, ids, sizeof(ids)), 0);
	assert_string_equal(ids, "e,");
	fake_worker_die(&runner);
}

static void a_retry_makes_no_second_task(void **state)
{
	struct fixture *f = *state;
	struct link_header h = {.type = LINK_TASK_NEW};
	struct fake_worker runner;
	struct fake_answer a;
	struct buf body;

	fake_runner_connect(&runner, f->broker.dir);
	buf_init(&body, 1024);
	link_put_bytes(&body, SLICE(HIM));
	link_put_u64(&body, TTL_MS);
	link_put_u8(&body, 0);
	link_put_bytes(&body, SLICE("blob"));
	link_put_bytes(&body, SLICE("job"));
	for (unsigned tries = 0; tries < 3; tries++) {
		assert_int_equal(fake_worker_ask(&f->w, &h, SLICE("t"), buf_slice(&body), &a), 0);
		h.seq = a.h.corr;
		h.flags = LINK_RETRY;
		fake_answer_release(&a);
	}
	expect_message(&runner, LINK_TASK_RUN, &a);
	fake_answer_release(&a);
	expect_silence(&runner);
	/* A question that is repeated is asked anew. */
	buf_clear(&body);
	link_put_bytes(&body, SLICE(HIM));
	link_put_u64(&body, 0);
	h = (struct link_header){.type = LINK_TASK_GET};
	for (unsigned version = 1; version <= 3; version++) {
		struct slice in;
		bool bad = false;

		assert_int_equal(fake_worker_ask(&f->w, &h, SLICE("t"), buf_slice(&body), &a), 0);
		in = buf_slice(&a.body);
		assert_int_equal(link_get_u64(&in, &bad), version);
		h.seq = a.h.corr;
		h.flags = LINK_RETRY;
		fake_answer_release(&a);
		assert_int_equal(fake_task_put(&runner, "t", LINK_TASK_WORKING, "", NULL), 0);
	}
	buf_release(&body);
	fake_worker_die(&runner);
}

static int setup_marks(void **state)
{
	static const char *const sets[] = {"once_max=2"};

	return fixture_start(state, sets, 1, 0);
}

static void a_mark_is_set_once(void **state)
{
	struct fixture *f = *state;
	struct fake_worker other;

	fake_worker_connect(&other, f->broker.dir);
	assert_int_equal(fake_once(&f->w, "a", 60), 0);
	assert_int_equal(fake_once(&f->w, "a", 60), LINK_NACK_DUPLICATE_ID);
	assert_int_equal(fake_once(&other, "a", 60), LINK_NACK_DUPLICATE_ID);
	assert_int_equal(fake_once(&other, "b", 1), 0);
	assert_int_equal(fake_once(&other, "b", 1), LINK_NACK_DUPLICATE_ID);
	assert_int_equal(fake_once(&other, "c", 1), LINK_NACK_LIMIT);
	assert_int_equal(fake_once(&other, "", 1), LINK_NACK_BAD);
	usleep(1300000);
	assert_int_equal(fake_once(&other, "b", 60), 0);
	assert_int_equal(fake_once(&other, "a", 60), LINK_NACK_DUPLICATE_ID);
	fake_worker_die(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_table_of_states),
	    TEST(a_task_goes_its_way),
	    TEST(what_has_ended_stays_so),
	    TEST(a_client_cancels),
	    TEST(a_runners_death_fails_its_tasks),
	    TEST(its_time_passes),
	    TEST(who_watches_is_told_once),
	    TEST(runners_take_turns),
	    TEST_WITH(what_is_refused_has_no_effect, setup_few),
	    TEST_WITH(all_tasks_together_meet_the_limit, setup_bytes),
	    TEST(lists_are_of_one_principal_and_in_order),
	    TEST_WITH(a_list_fits_into_one_body, setup_small),
	    TEST(a_retry_makes_no_second_task),
	    TEST_WITH(a_mark_is_set_once, setup_marks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
