/* Both ends of the link as they are: links of a worker, of another worker and of a runner, and a real mcp-broker. */
#include "config.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "fcgi/link_client.h"
#include "tests/lib/fake_admin.h"
#include "tests/lib/fake_worker.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define SESSION SLICE("a-session")

static const struct link_will will = {TEXT("1"), TEXT("{\"will\":1}")};
static const struct link_ask asks[2] = {{TEXT("\"a1\""), TEXT("{\"ask\":1}")}, {TEXT("\"a2\""), TEXT("{\"ask\":2}")}};

/* What a runner heard, one a line. */
struct heard {
	pthread_mutex_t mtx;
	char text[512];
};

struct ends {
	struct fake_broker_process broker;
	struct cfg cfg;
	char *run_dir; /* cfg's own */
	struct link *worker, *other, *runner;
	struct heard heard;
	struct link_runner callbacks;
	struct err err;
};

static void hear(struct heard *h, const char *what, struct slice id, struct slice text)
{
	size_t len;

	pthread_mutex_lock(&h->mtx);
	len = strlen(h->text);
	snprintf(
	    h->text + len, sizeof(h->text) - len, "%s %.*s %.*s\n", what, (int)id.len, id.p, (int)text.len, text.p);
	pthread_mutex_unlock(&h->mtx);
}

static void on_run(void *arg, struct slice id, struct slice principal, uint64_t ttl_ms, struct slice job)
{
	DIE_UNLESS(slice_is(principal, "me") && ttl_ms == 60000);
	hear(arg, "run", id, job);
}

static void on_input(void *arg, struct slice id, enum link_task_what what, struct slice body)
{
	hear(arg, what == LINK_TASK_CANCEL ? "cancel" : "answers", id, body);
}

static void on_lost(void *arg)
{
	hear(arg, "lost", SLICE(""), SLICE(""));
}

static void on_list(void *arg, struct buf *out)
{
	(void)arg;
	link_put_u32(out, 0);
}

static void expect_heard(struct ends *e, const char *want)
{
	const struct timespec step = {.tv_nsec = 5000000};
	bool is_there = false;

	for (int i = 0; i < 1000 && !is_there; i++) {
		pthread_mutex_lock(&e->heard.mtx);
		is_there = strcmp(e->heard.text, want) == 0;
		pthread_mutex_unlock(&e->heard.mtx);
		if (!is_there)
			nanosleep(&step, NULL);
	}
	if (!is_there)
		fail_msg("heard \"%s\", want \"%s\"", e->heard.text, want);
}

static int setup(void **state)
{
	struct ends *e = calloc(1, sizeof(*e));

	assert_non_null(e);
	fake_broker_start(&e->broker, NULL, 0, 0);
	assert_int_equal(cfg_init(&e->cfg, &e->err), 0);
	e->run_dir = e->cfg.run_dir;
	e->cfg.run_dir = e->broker.dir;
	e->cfg.broker_autostart = false;
	e->cfg.runner_autostart = false;
	e->worker = link_new(&e->cfg);
	e->other = link_new(&e->cfg);
	e->runner = link_new(&e->cfg);
	assert_true(e->worker && e->other && e->runner);
	pthread_mutex_init(&e->heard.mtx, NULL);
	e->callbacks = (struct link_runner){on_run, on_input, on_lost, on_list, &e->heard};
	*state = e;
	return 0;
}

static int teardown(void **state)
{
	struct ends *e = *state;

	link_free(&e->worker);
	link_free(&e->other);
	link_free(&e->runner);
	if (e->broker.pid)
		fake_broker_stop(&e->broker);
	e->cfg.run_dir = e->run_dir;
	cfg_release(&e->cfg);
	pthread_mutex_destroy(&e->heard.mtx);
	free(e);
	return 0;
}

/* rc is 0 for ERR_NONE, else -1 with e->err of that code. */
static void expect(const struct ends *e, int rc, enum err_code want, const char *what)
{
	if (rc != (want == ERR_NONE ? 0 : -1) || (rc && e->err.code != want))
		fail_msg("%s: got %d %s (%s), want %s", what, rc, rc ? err_name(e->err.code) : "NONE",
		    rc ? e->err.msg : "", err_name(want));
}

static void make_session(struct ends *e)
{
	expect(e, link_session_put(e->worker, SESSION, "me", SLICE(""), 0, LINK_SESSION_HEARS_LISTS, SLICE("{}"), NULL, &e->err),
	    ERR_NONE, "session");
}

static bool becomes_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 5000) == 1;
}

/* --- calls that wait --- */

static const struct link_late late = {TEXT("{\"too\":\"late\"}"), TEXT(""), TEXT("")};

static void make_parked(struct ends *e, uint64_t *stream)
{
	struct link_call *call;

	expect(e, link_call_begin(e->worker, SESSION, "me", 0, &will, 1, &call, &e->err), ERR_NONE, "begin");
	expect(e, link_open_stream(e->worker, SESSION, 0, NULL, 0, &call, stream, &e->err), ERR_NONE, "open");
	expect(
	    e, link_park(e->worker, &call, *stream, 60000, &late, SLICE("state"), asks, 2, &e->err), ERR_NONE, "park");
	assert_null(call);
}

static enum link_answer_state give(struct ends *e, const char *id, const char *answer, struct link_taken *taken)
{
	expect(e, link_answer(e->other, SESSION, "me", slice_str(id), slice_str(answer), taken, &e->err), ERR_NONE,
	    "answer");
	return taken->state;
}

static void a_parked_call_goes_on_elsewhere(void **state)
{
	struct slice events[1] = {SLICE("{\"result\":1}")};
	struct ends *e = *state;
	struct link_taken taken;
	uint64_t stream;

	make_session(e);
	for (unsigned round = 0; round < 2; round++) { /* its id is free again afterwards */
		make_parked(e, &stream);
		assert_int_equal(give(e, "\"a2\"", "two", &taken), LINK_ANSWER_KEPT);
		assert_int_equal(give(e, "\"a2\"", "two", &taken), LINK_ANSWER_IGNORED);
		assert_int_equal(give(e, "\"a1\"", "one", &taken), LINK_ANSWER_TAKEN);
		assert_int_equal(taken.stream, stream);
		assert_true(slice_is(taken.blob, "state"));
		assert_int_equal(taken.answers_count, 2);
		assert_true(slice_is(taken.answers[0].id, "\"a1\"") && slice_is(taken.answers[0].text, "one"));
		assert_true(slice_is(taken.answers[1].id, "\"a2\"") && slice_is(taken.answers[1].text, "two"));
		assert_int_equal(taken.wills_count, 1);
		assert_true(slice_eq(taken.wills[0].id, will.id) && slice_eq(taken.wills[0].event, will.event));
		expect(e, link_finish(e->other, taken.call, stream, events, 1, &e->err), ERR_NONE, "finish");
		link_taken_release(e->other, &taken);
	}
}

static void a_parked_call_may_wait_again(void **state)
{
	struct ends *e = *state;
	struct link_taken taken;
	struct link_call *call;
	uint64_t stream;

	make_session(e);
	make_parked(e, &stream);
	give(e, "\"a1\"", "one", &taken);
	assert_int_equal(give(e, "\"a2\"", "two", &taken), LINK_ANSWER_TAKEN);
	expect(e, link_park(e->other, &taken.call, stream, 60000, &late, SLICE("more state"), asks, 1, &e->err),
	    ERR_NONE, "park");
	link_taken_release(e->other, &taken);
	assert_int_equal(give(e, "\"a1\"", "three", &taken), LINK_ANSWER_TAKEN);
	assert_true(slice_is(taken.blob, "more state"));
	expect(e, link_cancel(e->worker, SESSION, "me", SLICE("1"), &e->err), ERR_NONE, "cancel");
	assert_true(becomes_readable(taken.call->cancel_fd));
	assert_true(atomic_load(&taken.call->cancelled));
	expect(e, link_park(e->other, &taken.call, stream, 60000, &late, SLICE(""), asks, 1, &e->err), ERR_GONE,
	    "park what is cancelled");
	expect(e, link_finish(e->other, taken.call, stream, NULL, 0, &e->err), ERR_NONE, "finish");
	link_taken_release(e->other, &taken);

	make_parked(e, &stream);
	expect(e, link_cancel(e->other, SESSION, "me", SLICE("1"), &e->err), ERR_NONE, "cancel a parked one");
	assert_int_equal(give(e, "\"a1\"", "late", &taken), LINK_ANSWER_IGNORED);
	expect(e, link_call_begin(e->other, SESSION, "me", 0, &will, 1, &call, &e->err), ERR_NONE, "its id is free");
	link_call_end(e->other, &call);
}

/* --- topics --- */

static void expect_reached(struct ends *e, unsigned flags, const char *topic, unsigned want)
{
	uint64_t reached = 99;

	const struct link_news news = {.flags = flags,
	    .topic = slice_str(topic),
	    .legacy = SLICE("{}"),
	    .head = SLICE("{\"id\":"),
	    .tail = SLICE("}")};

	expect(e, link_notify(e->other, &news, &reached, &e->err), ERR_NONE, topic);
	assert_int_equal(reached, want);
}

static void topics_reach_who_subscribed(void **state)
{
	const struct slice topics[] = {SLICE("uri:x"), SLICE("uri:y")};
	struct link_call *call = NULL;
	struct ends *e = *state;
	uint64_t stream;

	make_session(e);
	expect_reached(e, 0, "uri:x", 0);
	expect_reached(e, LINK_NOTIFY_LIST, "tools", 1); /* the session hears of lists by itself */
	expect(e, link_subscribe(e->worker, 0, SESSION, "me", false, SLICE(""), topics, 2, &e->err), ERR_NONE,
	    "subscribe");
	expect(e,
	    link_open_stream(
		e->worker, SLICE(""), LINK_STREAM_MODERN | LINK_STREAM_LISTEN, &will, 1, &call, &stream, &e->err),
	    ERR_NONE, "listen");
	expect(e, link_subscribe(e->worker, stream, SLICE(""), "me", true, SLICE("1"), topics, 1, &e->err), ERR_NONE,
	    "listen to one");
	link_call_end(e->worker, &call); /* the stream is its client's */
	expect_reached(e, 0, "uri:x", 2);
	expect_reached(e, 0, "uri:y", 1);
	expect(e, link_unsubscribe(e->worker, SESSION, "me", topics, 2, &e->err), ERR_NONE, "unsubscribe");
	expect(e, link_subscribe(e->worker, 0, SESSION, "mallory", false, SLICE(""), topics, 2, &e->err),
	    ERR_NO_SESSION, "another's session");
	expect_reached(e, 0, "uri:y", 0);
}

static void marks_are_set_once(void **state)
{
	struct ends *e = *state;

	expect(e, link_once(e->worker, SLICE("a mark"), 60, &e->err), ERR_NONE, "once");
	expect(e, link_once(e->other, SLICE("a mark"), 60, &e->err), ERR_DUPLICATE, "twice");
	expect(e, link_once(e->other, SLICE("another"), 60, &e->err), ERR_NONE, "another");
}

/* --- tasks --- */

static int task_new(struct ends *e, const char *id, unsigned flags)
{
	return link_task_new(e->worker, slice_str(id), "me", SLICE(""), 60000, flags, SLICE("{}"), SLICE("job"), &e->err);
}

static void expect_task(
    struct ends *e, const char *id, int watch_fd, enum link_task_state want, const char *blob, uint64_t *version)
{
	struct link_task task;

	expect(e, link_task_get(e->other, slice_str(id), "me", watch_fd == -1 ? 0 : *version, watch_fd, &task, &e->err),
	    ERR_NONE, id);
	assert_int_equal(task.state, want);
	assert_true(slice_is(buf_slice(&task.blob), blob));
	assert_int_equal(task.ttl_ms, 60000);
	assert_true(task.created_ms > 0 && task.updated_ms >= task.created_ms);
	*version = task.version;
	link_task_release(&task);
}

static void join(struct ends *e)
{
	expect(e, link_join(e->runner, &e->callbacks, &e->err), ERR_NONE, "join");
}

static void a_task_runs(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct ends *e = *state;
	uint64_t version, first;

	expect(e, task_new(e, "t1", 0), ERR_RUNNER, "nobody takes it");
	join(e);
	expect(e, task_new(e, "t1", 0), ERR_NONE, "new");
	expect_heard(e, "run t1 job\n");
	expect_task(e, "t1", -1, LINK_TASK_WORKING, "{}", &first);
	version = first;
	expect_task(e, "t1", fd, LINK_TASK_WORKING, "{}", &version);
	expect(e, link_task_put(e->runner, SLICE("t1"), LINK_TASK_INPUT_REQUIRED, SLICE("{\"ask\":1}"), &e->err),
	    ERR_NONE, "asks");
	assert_true(becomes_readable(fd));
	expect_task(e, "t1", -1, LINK_TASK_INPUT_REQUIRED, "{\"ask\":1}", &version);
	assert_true(version > first);
	expect(e, link_task_send(e->other, SLICE("t1"), "me", LINK_TASK_ANSWERS, SLICE("yes"), &e->err), ERR_NONE,
	    "answer");
	expect_heard(e, "run t1 job\nanswers t1 yes\n");
	expect(e, link_task_put(e->runner, SLICE("t1"), LINK_TASK_COMPLETED, SLICE("{\"done\":1}"), &e->err), ERR_NONE,
	    "completed");
	expect_task(e, "t1", -1, LINK_TASK_COMPLETED, "{\"done\":1}", &version);
	expect(
	    e, link_task_put(e->runner, SLICE("t1"), LINK_TASK_FAILED, SLICE("{}"), &e->err), ERR_GONE, "it has ended");
	expect(e, link_task_send(e->other, SLICE("t1"), "me", LINK_TASK_CANCEL, SLICE(""), &e->err), ERR_GONE,
	    "cancel what has ended");
	close(fd);
}

static void a_task_is_cancelled(void **state)
{
	struct ends *e = *state;
	struct link_task task;
	uint64_t version;

	join(e);
	expect(e, task_new(e, "t1", 0), ERR_NONE, "new");
	expect(e, link_task_send(e->other, SLICE("t1"), "mallory", LINK_TASK_CANCEL, SLICE(""), &e->err), ERR_NO_TASK,
	    "another's");
	expect(e, link_task_get(e->other, SLICE("t1"), "mallory", 0, -1, &task, &e->err), ERR_NO_TASK, "another's");
	expect(
	    e, link_task_send(e->other, SLICE("t1"), "me", LINK_TASK_CANCEL, SLICE(""), &e->err), ERR_NONE, "cancel");
	expect_task(e, "t1", -1, LINK_TASK_CANCELLED, "{}", &version);
	expect_heard(e, "run t1 job\ncancel t1 \n");
	expect(
	    e, link_task_put(e->runner, SLICE("t1"), LINK_TASK_COMPLETED, SLICE("{}"), &e->err), ERR_GONE, "too late");
}

static void tasks_are_listed(void **state)
{
	struct ends *e = *state;
	struct link_task *tasks;
	char after[8] = "";
	size_t count;
	bool more;
	unsigned seen = 0;

	join(e);
	for (unsigned i = 0; i < 5; i++) {
		char id[8];

		snprintf(id, sizeof(id), "t%u", i);
		expect(e, task_new(e, id, i == 2 ? LINK_TASK_HIDDEN : 0), ERR_NONE, id);
	}
	do {
		expect(e, link_task_list(e->other, "me", slice_str(after), 3, &tasks, &count, &more, &e->err), ERR_NONE,
		    "list");
		for (size_t i = 0; i < count; i++) {
			seen = seen * 10 + (unsigned)(tasks[i].id[1] - '0');
			snprintf(after, sizeof(after), "%.7s", tasks[i].id);
			assert_true(slice_is(buf_slice(&tasks[i].blob), "{}"));
			link_task_release(&tasks[i]);
		}
		mem_free(tasks);
		assert_int_equal(count, more ? 3 : 1);
	} while (more);
	assert_int_equal(seen, 134);
	expect(
	    e, link_task_list(e->other, "nobody", SLICE(""), 3, &tasks, &count, &more, &e->err), ERR_NONE, "another's");
	assert_true(count == 0 && !more);
	mem_free(tasks);
	expect(e, link_task_list(e->other, "me", SLICE("t9"), 3, &tasks, &count, &more, &e->err), ERR_NO_TASK,
	    "after one that is none");
}

static void a_runner_that_leaves_fails_its_tasks(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct ends *e = *state;
	uint64_t version;

	join(e);
	expect(e, task_new(e, "t1", 0), ERR_NONE, "new");
	expect_task(e, "t1", -1, LINK_TASK_WORKING, "{}", &version);
	expect_task(e, "t1", fd, LINK_TASK_WORKING, "{}", &version);
	link_free(&e->runner);
	assert_true(becomes_readable(fd));
	expect_task(e, "t1", -1, LINK_TASK_FAILED, "", &version);
	expect(e, task_new(e, "t2", 0), ERR_RUNNER, "nobody is left");
	close(fd);
}

static void a_broker_that_dies_is_noticed(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct ends *e = *state;
	uint64_t version;

	join(e);
	expect(e, task_new(e, "t1", 0), ERR_NONE, "new");
	expect_task(e, "t1", -1, LINK_TASK_WORKING, "{}", &version);
	expect_task(e, "t1", fd, LINK_TASK_WORKING, "{}", &version);
	expect_heard(e, "run t1 job\n");
	kill(e->broker.pid, SIGSTOP); /* or it may say more before it dies */
	kill(e->broker.pid, SIGKILL);
	assert_true(becomes_readable(fd));
	expect_heard(e, "run t1 job\nlost  \n");
	e->cfg.link_timeout_ms = 200;
	e->cfg.link_return_ms = 200;
	expect(e, link_task_put(e->runner, SLICE("t1"), LINK_TASK_COMPLETED, SLICE("{}"), &e->err), ERR_EXPIRED, "put");
	assert_int_equal(fake_broker_wait(&e->broker), 128 + SIGKILL);
	close(fd);
}

#define COUNTERS 4
#define COUNTS   1000

static void *count_calls(void *worker)
{
	for (int i = 0; i < COUNTS; i++)
		link_count(worker, "tools/call", LINK_OUTCOME_OK, 100);
	return NULL;
}

static void expect_metric(const struct ends *e, const char *sample, double want)
{
	const struct timespec step = {.tv_nsec = 50000000};
	double value = fake_admin_metric(e->broker.dir, sample);

	for (int i = 0; i < 100 && value != want; i++) {
		nanosleep(&step, NULL);
		value = fake_admin_metric(e->broker.dir, sample);
	}
	if (value != want)
		fail_msg("%s: %g, want %g", sample, value, want);
}

/* What was counted before the link was up, while it is, and since the last STATS of a worker that ends. */
static void what_was_counted_adds_up(void **state)
{
	struct ends *e = *state;
	struct link_call *call = NULL;
	pthread_t threads[COUNTERS];

	for (int i = 0; i < COUNTERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_calls, e->worker), 0);
	assert_int_equal(link_session_put(e->worker, SESSION, "me", SLICE(""), 0, 0, SLICE("{}"), NULL, &e->err), 0);
	assert_int_equal(link_call_begin(e->worker, SESSION, "me", 0, &will, 1, &call, &e->err), 0);
	for (int i = 0; i < COUNTERS; i++)
		pthread_join(threads[i], NULL);
	expect_metric(e, "request_seconds_count{method=\"tools/call\",outcome=\"ok\"}", COUNTERS * COUNTS);
	count_calls(e->worker);
	link_count(e->worker, "prompts/get", LINK_OUTCOME_ERROR, 100);
	link_call_end(e->worker, &call);
	link_free(&e->worker);
	expect_metric(e, "request_seconds_count{method=\"tools/call\",outcome=\"ok\"}", (COUNTERS + 1) * COUNTS);
	expect_metric(e, "request_seconds_count{method=\"prompts/get\",outcome=\"error\"}", 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_parked_call_goes_on_elsewhere),
	    TEST(a_parked_call_may_wait_again),
	    TEST(topics_reach_who_subscribed),
	    TEST(marks_are_set_once),
	    TEST(a_task_runs),
	    TEST(a_task_is_cancelled),
	    TEST(tasks_are_listed),
	    TEST(a_runner_that_leaves_fails_its_tasks),
	    TEST(a_broker_that_dies_is_noticed),
	    TEST(what_was_counted_adds_up),
	};

	log_init("test_link_ends", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
