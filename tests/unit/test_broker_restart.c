/* A broker that dies, or stops, and the one after it: what its workers and clients find again (doc/store.md). */
#include "config.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/lib/broker_fixture.h"
#include "tests/lib/scratch.h"
#include "common/banned.h"

#define TTL_MS  60000
#define LONG_MS 60000
#define OTHER   "session-2"

static const char *const sets[] = {"broker_drain_ms=100", "link_return_ms=300"};
static const int ways[] = {SIGKILL, SIGABRT, SIGTERM};

static int setup(void **state)
{
	return fixture_start(state, sets, COUNT_OF(sets), 0);
}

static void restart(struct fixture *f, int number)
{
	int status = fake_broker_end(&f->broker, number);

	assert_int_equal(status, number == SIGTERM ? 0 : 128 + number);
	fake_worker_die(&f->w);
	fake_broker_again(&f->broker, sets, COUNT_OF(sets), 0);
	fake_worker_connect(&f->w, f->broker.dir);
}

/* What a client reads that comes with this id; NULL: it is refused, with *nack. */
static char *read_after(struct fixture *f, const char *id, unsigned *nack)
{
	uint64_t stream, cursor;
	struct fake_server s;
	char *text;

	*nack = fake_attach(&f->w, KEY, HIM, id, &stream, &cursor);
	if (*nack)
		return NULL;
	fake_server_init(&s, fake_adopt(&f->w, stream, LINK_KIND_FCGI, cursor, 15000));
	expect_end(&s);
	text = strdup(s.text.data + strlen(FAKE_HEAD));
	fake_server_release(&s);
	return text;
}

static void id_of(char *out, size_t size, uint64_t stream, uint64_t epoch, uint64_t seq)
{
	snprintf(out, size, "%" PRIu64 ".%" PRIu64 ".%" PRIu64, stream, epoch, seq);
}

static void a_session_goes_on(void **state)
{
	struct fixture *f = *state;
	uint64_t version, own, again, call;
	struct slice in;
	struct fake_answer a;
	struct link_header h = {.type = LINK_CALL_BEGIN};
	struct buf body;
	bool bad = false;

	make_session(f);
	assert_int_equal(fake_session_put(&f->w, OTHER, HIM, 0, 0, "{}", NULL), 0);
	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 1, 0, "{\"new\":1}", &version), 0);
	assert_int_equal(version, 2);
	assert_int_equal(fake_session_del(&f->w, OTHER, HIM), 0);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, &own), 0);
	for (size_t i = 0; i < COUNT_OF(ways); i++) {
		restart(f, ways[i]);
		buf_init(&body, 100);
		link_put_bytes(&body, SLICE(HIM));
		link_put_u8(&body, 0);
		link_put_u16(&body, 0);
		assert_int_equal(fake_worker_ask(&f->w, &h, SLICE(KEY), buf_slice(&body), &a), 0);
		in = buf_slice(&a.body);
		assert_int_equal(link_get_u64(&in, &bad), 2);
		assert_true(slice_is(link_get_bytes(&in, &bad), "{\"new\":1}"));
		assert_int_equal(a.h.stream, own);
		fake_answer_release(&a);
		buf_release(&body);
		assert_int_equal(fake_call_begin(&f->w, KEY, "mallory", 0, NULL, NULL, &again), LINK_NACK_NO_SESSION);
		assert_int_equal(fake_call_begin(&f->w, OTHER, HIM, 0, NULL, NULL, &again), LINK_NACK_NO_SESSION);
		assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, &call, &again), 0);
	}
	assert_int_equal(fake_session_del(&f->w, KEY, HIM), 0);
	restart(f, SIGKILL);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, &again), LINK_NACK_NO_SESSION);
}

static void a_finished_stream_is_read_from_each_place(void **state)
{
	enum { EVENTS = 5 };
	struct fixture *f = *state;
	uint64_t call, stream, epoch = f->w.epoch;
	struct fake_server s;
	char id[80], *whole, *part;
	unsigned nack;

	make_session(f);
	make_stream(f, &call, &stream, &s);
	for (unsigned n = 1; n < EVENTS; n++) {
		char event[16];

		snprintf(event, sizeof(event), "{\"n\":%u}", n);
		assert_int_equal(fake_append(&f->w, stream, event), 0);
	}
	assert_int_equal(fake_finish(&f->w, call, stream, "{\"last\":1}"), 0);
	expect_end(&s);
	whole = strdup(s.text.data + strlen(FAKE_HEAD));
	fake_server_release(&s);
	for (size_t i = 0; i < COUNT_OF(ways); i++) {
		restart(f, ways[i]);
		assert_true(f->w.epoch > epoch);
		for (uint64_t seq = 0; seq < EVENTS; seq++) {
			id_of(id, sizeof(id), stream, epoch, seq);
			part = read_after(f, id, &nack);
			assert_non_null(part);
			assert_true(strlen(part) <= strlen(whole)); /* byte for byte: the end of what was read before */
			assert_string_equal(part, whole + strlen(whole) - strlen(part));
			assert_true(seq > 0 || strcmp(part, whole) == 0);
			assert_true(seq == 0 || strlen(part) < strlen(whole));
			free(part);
		}
		id_of(id, sizeof(id), stream, epoch, EVENTS);
		assert_null(read_after(f, id, &nack));
		assert_int_equal(nack, LINK_NACK_DELIVERED);
		id_of(id, sizeof(id), stream, epoch - 1, 1);
		assert_null(read_after(f, id, &nack));
		assert_int_equal(nack, LINK_NACK_GAP);
	}
	free(whole);
}

/* Whose worker was at work: the will; what its client saw of progress and nobody kept is no gap. */
static void a_call_under_way_ends_with_its_will(void **state)
{
	for (size_t i = 0; i < COUNT_OF(ways); i++) {
		struct fixture *f = *state;
		uint64_t call, stream, epoch = f->w.epoch;
		struct fake_server s;
		char id[80], *part;
		unsigned nack;

		if (i == 0)
			make_session(f);
		make_stream(f, &call, &stream, &s);
		assert_int_equal(fake_append(&f->w, stream, "{\"n\":1}"), 0);
		expect_text(&s, "{\"n\":1}");
		fake_server_release(&s);
		restart(f, ways[i]);
		id_of(id, sizeof(id), stream, epoch, 1);
		part = read_after(f, id, &nack);
		assert_non_null(part);
		assert_non_null(strstr(part, "worker died"));
		assert_null(strstr(part, "{\"n\":1}"));
		free(part);
		id_of(id, sizeof(id), stream, epoch, 3); /* beyond the log, in an epoch of which nothing was lost */
		part = read_after(f, id, &nack);
		if (ways[i] == SIGTERM) { /* there the will is of that epoch */
			assert_null(part);
			assert_int_equal(nack, LINK_NACK_DELIVERED);
		} else {
			assert_non_null(part);
			assert_non_null(strstr(part, "worker died"));
		}
		free(part);
	}
}

static void calls_on_a_session_stream_have_wills_too(void **state)
{
	struct fixture *f = *state;
	uint64_t call, own;
	struct fake_server s;

	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 0, LINK_SESSION_ENDS_WITH_CONN, "{}", NULL), 0);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, LINK_CALL_ON_SESSION_STREAM, one_id, &call, &own), 0);
	restart(f, SIGKILL);
	attach_own(f, &own, &s);
	expect_text(&s, "worker died");
	fake_server_release(&s);
	restart(f, SIGKILL); /* it was said, once */
	usleep(700000);
	restart(f, SIGKILL);
	attach_own(f, &own, &s);
	assert_false(fake_server_expect(&s, "worker died", 300) &&
		     strstr(strstr(s.text.data, "worker died") + 1, "worker died"));
	fake_server_release(&s);
}

static void what_nobody_has_read_is_there(void **state)
{
	struct fixture *f = *state;
	uint64_t own;
	struct fake_server s;

	make_session(f);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, &own), 0);
	assert_int_equal(fake_append(&f->w, own, "{\"n\":1}"), 0);
	attach_own(f, &own, &s);
	expect_text(&s, "{\"n\":1}");
	fake_server_release(&s);
	usleep(1000000); /* that it was read is kept a little later */
	assert_int_equal(fake_append(&f->w, own, "{\"n\":2}"), 0);
	restart(f, SIGKILL);
	assert_int_equal(fake_append(&f->w, own, "{\"n\":3}"), 0);
	attach_own(f, &own, &s);
	expect_text(&s, "{\"n\":3}");
	assert_non_null(strstr(s.text.data, "{\"n\":2}"));
	assert_null(strstr(s.text.data, "{\"n\":1}"));
	fake_server_release(&s);
}

static enum link_answer_state give(struct fixture *f, const char *id, const char *answer)
{
	struct fake_answer a;
	enum link_answer_state got;

	assert_int_equal(fake_give(&f->w, KEY, HIM, id, answer, &a), 0);
	got = (enum link_answer_state)a.body.data[0];
	if (got == LINK_ANSWER_TAKEN) {
		assert_non_null(memmem(a.body.data, a.body.len, "state", 5));
		assert_non_null(memmem(a.body.data, a.body.len, "yes", 3));
		assert_int_equal(fake_finish(&f->w, a.h.corr, a.h.stream, "{\"done\":1}"), 0);
	}
	fake_answer_release(&a);
	return got;
}

static void a_question_can_still_be_answered(void **state)
{
	static const char *const asks[] = {"\"a1\"", "{\"ask\":1}", "\"a2\"", "{\"ask\":2}", NULL};
	struct fixture *f = *state;
	uint64_t call, stream, epoch = f->w.epoch;
	struct fake_server s;
	char id[80], *part;
	unsigned nack;

	make_session(f);
	make_stream(f, &call, &stream, &s);
	assert_int_equal(fake_park(&f->w, call, stream, LONG_MS, "{\"too\":\"late\"}", "state", asks), 0);
	expect_text(&s, "{\"ask\":2}");
	fake_server_release(&s);
	restart(f, SIGKILL);
	assert_int_equal(give(f, "\"a1\"", "yes"), LINK_ANSWER_KEPT);
	restart(f, SIGTERM);
	assert_int_equal(give(f, "\"a1\"", "again"), LINK_ANSWER_IGNORED);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, &call, NULL), LINK_NACK_DUPLICATE_ID);
	restart(f, SIGABRT);
	assert_int_equal(give(f, "\"a2\"", "no"), LINK_ANSWER_TAKEN);
	restart(f, SIGKILL);
	id_of(id, sizeof(id), stream, epoch, 2);
	part = read_after(f, id, &nack);
	assert_non_null(part);
	assert_non_null(strstr(part, "{\"done\":1}"));
	assert_null(strstr(part, "worker died"));
	free(part);
}

static int setup_long_drain(void **state)
{
	static const char *const more[] = {"broker_drain_ms=3000"};

	return fixture_start(state, more, COUNT_OF(more), 0);
}

/* Who takes it up would be cancelled with all that the broker had said the wills of. */
static void a_broker_that_goes_takes_no_answer(void **state)
{
	static const char *const asks[] = {"\"a1\"", "{\"ask\":1}", NULL};
	struct fixture *f = *state;
	uint64_t call, stream, other, modern;
	struct fake_server s;
	struct fake_answer a;

	make_session(f);
	make_stream(f, &call, &stream, &s);
	assert_int_equal(fake_park(&f->w, call, stream, LONG_MS, "{\"too\":\"late\"}", "state", asks), 0);
	fake_server_release(&s);
	assert_int_equal(fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, &other, &modern), 0); /* is waited for */
	kill(f->broker.pid, SIGTERM);
	expect_message(&f->w, LINK_DRAIN, &a);
	fake_answer_release(&a);
	assert_int_equal(fake_give(&f->w, KEY, HIM, "\"a1\"", "yes", &a), LINK_NACK_BUSY);
	fake_answer_release(&a);
	assert_int_equal(fake_finish(&f->w, other, modern, "{}"), 0);
	restart(f, SIGTERM);
	assert_int_equal(give(f, "\"a1\"", "yes"), LINK_ANSWER_TAKEN);
}

static void a_question_has_its_time(void **state)
{
	static const char *const asks[] = {"\"a1\"", "{\"ask\":1}", NULL};
	struct fixture *f = *state;
	uint64_t call, stream, epoch = f->w.epoch;
	struct fake_server s;
	char id[80], *part;
	unsigned nack;

	make_session(f);
	make_stream(f, &call, &stream, &s);
	assert_int_equal(fake_park(&f->w, call, stream, 300, "{\"too\":\"late\"}", "state", asks), 0);
	fake_server_release(&s);
	assert_int_equal(fake_broker_end(&f->broker, SIGKILL), 128 + SIGKILL);
	usleep(400000);
	f->broker.pid = 0;
	fake_worker_die(&f->w);
	fake_broker_again(&f->broker, sets, COUNT_OF(sets), 0);
	fake_worker_connect(&f->w, f->broker.dir);
	id_of(id, sizeof(id), stream, epoch, 1);
	part = read_after(f, id, &nack);
	assert_non_null(part);
	assert_non_null(strstr(part, "{\"too\":\"late\"}"));
	free(part);
}

static void subscriptions_still_work(void **state)
{
	static const char *const topics[] = {"a", "b", NULL}, *const b_only[] = {"b", NULL};
	struct fixture *f = *state;
	struct fake_server s;
	uint64_t own, count;

	make_session(f);
	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 1, LINK_LEVEL(3), "{}", NULL), 0);
	assert_int_equal(fake_session_put(&f->w, OTHER, HIM, 0, LINK_SESSION_HEARS_LISTS, "{}", NULL), 0);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, false, "", topics, &count), 0);
	assert_int_equal(fake_unsubscribe(&f->w, 0, KEY, HIM, b_only), 0);
	for (size_t i = 0; i < COUNT_OF(ways); i++) {
		char event[32];

		restart(f, ways[i]);
		snprintf(event, sizeof(event), "news %zu", i);
		assert_int_equal(fake_notify(&f->w, 0, "a", event, "", ""), 1);
		assert_int_equal(fake_notify(&f->w, 0, "b", event, "", ""), 0);
		assert_int_equal(fake_notify(&f->w, LINK_NOTIFY_LIST, "list", event, "", ""), 1);
		attach_own(f, &own, &s);
		expect_text(&s, event);
		assert_int_equal(fake_notify(&f->w, LINK_LEVEL(2), "", "a line", "", ""), 0);
		assert_int_equal(fake_notify(&f->w, LINK_LEVEL(3), "", "a line", "", ""), 1);
		fake_server_release(&s);
	}
	assert_int_equal(fake_session_del(&f->w, KEY, HIM), 0);
	restart(f, SIGKILL);
	assert_int_equal(fake_notify(&f->w, 0, "a", "x", "", ""), 0);
}

static void expect_task(struct fixture *f, const char *id, unsigned want, const char *blob)
{
	struct fake_task task;

	assert_int_equal(fake_task_get(&f->w, id, HIM, 0, &task), 0);
	assert_int_equal(task.state, want);
	assert_string_equal(task.blob, blob);
	assert_int_equal(task.ttl_ms, TTL_MS);
}

static void tasks_are_there_or_have_failed(void **state)
{
	struct fixture *f = *state;
	struct fake_worker runner;
	struct fake_answer a;
	char ids[64];

	fake_runner_connect(&runner, f->broker.dir);
	for (const char *const *id = (const char *const[]){"zero", "one", "two", "short", NULL}; *id; id++) {
		assert_int_equal(
		    fake_task_new(&f->w, *id, HIM, strcmp(*id, "short") ? TTL_MS : 300, 0, "begun", "job"), 0);
		expect_message(&runner, LINK_TASK_RUN, &a);
		fake_answer_release(&a);
		usleep(2000); /* or they are as old as each other */
	}
	assert_int_equal(fake_task_put(&runner, "one", LINK_TASK_COMPLETED, "result", NULL), 0);
	assert_int_equal(fake_task_put(&runner, "two", LINK_TASK_INPUT_REQUIRED, "asks", NULL), 0);
	for (size_t i = 0; i < COUNT_OF(ways); i++) {
		restart(f, ways[i]);
		usleep(700000); /* for their runner, which does not come, and for what is short */
		expect_task(f, "zero", LINK_TASK_FAILED, "");
		expect_task(f, "one", LINK_TASK_COMPLETED, "result");
		expect_task(f, "two", LINK_TASK_FAILED, "");
		assert_int_equal(fake_task_get(&f->w, "one", "mallory", 0, NULL), LINK_NACK_NO_TASK);
		assert_int_equal(fake_task_list(&f->w, HIM, "", 10, ids, sizeof(ids)), 0);
		assert_string_equal(ids, "zero,one,two,");
	}
	fake_worker_die(&runner);
}

static void marks_stay(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fake_once(&f->w, "used", 60), 0);
	assert_int_equal(fake_once(&f->w, "short", 1), 0);
	usleep(1100000);
	restart(f, SIGKILL);
	assert_int_equal(fake_once(&f->w, "used", 60), LINK_NACK_DUPLICATE_ID);
	assert_int_equal(fake_once(&f->w, "short", 60), 0);
	assert_int_equal(fake_once(&f->w, "new", 60), 0);
	restart(f, SIGTERM);
	assert_int_equal(fake_once(&f->w, "new", 60), LINK_NACK_DUPLICATE_ID);
}

static void modern_streams_are_of_one_broker(void **state)
{
	struct fixture *f = *state;
	struct fake_server s;
	uint64_t call, stream;

	assert_int_equal(fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, &call, &stream), 0);
	fake_server_init(&s, fake_adopt(&f->w, stream, LINK_KIND_FCGI, 0, 15000));
	assert_int_equal(fake_append(&f->w, stream, "{\"n\":1}"), 0);
	expect_text(&s, "{\"n\":1}");
	fake_server_release(&s);
	restart(f, SIGKILL);
	assert_int_equal(fake_append(&f->w, stream, "{\"n\":2}"), LINK_NACK_CLOSED);
}

/* What this epoch has given out after the last restart is told apart from what the one before had given out. */
static void sequences_of_each_epoch(void **state)
{
	struct fixture *f = *state;
	uint64_t epochs[3], own;
	struct fake_server s;
	char id[80];

	make_session(f);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, &own), 0);
	for (unsigned i = 0; i < 3; i++) {
		epochs[i] = f->w.epoch;
		for (unsigned n = 0; n < 2; n++) {
			char event[32];

			snprintf(event, sizeof(event), "{\"of\":%u,\"n\":%u}", i, n);
			assert_int_equal(fake_append(&f->w, own, event), 0);
		}
		if (i < 2)
			restart(f, SIGKILL);
	}
	attach_own(f, &own, &s);
	expect_text(&s, "{\"of\":2,\"n\":1}");
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned n = 0; n < 2; n++) {
			id_of(id, sizeof(id), own, epochs[i], 2 * i + n + 1);
			assert_non_null(strstr(s.text.data, id));
		}
	}
	fake_server_release(&s);
	for (unsigned i = 0; i < 3; i++) {
		for (uint64_t seq = 0; seq <= 8; seq++) {
			uint64_t stream, cursor, last = 2 * (i + 1);
			unsigned nack;

			id_of(id, sizeof(id), own, epochs[i], seq);
			nack = fake_attach(&f->w, KEY, HIM, id, &stream, &cursor);
			if (i == 2 && seq > last)
				assert_int_equal(nack, LINK_NACK_GAP); /* not given out yet */
			else
				assert_int_equal(nack, 0);
			if (!nack)
				assert_int_equal(cursor, seq < last ? seq : last);
			usleep(1000);
		}
	}
}

static void one_store_has_one_broker(void **state)
{
	struct fixture *f = *state;
	struct scratch other;
	char store_dir[128];
	const char *const other_sets[] = {store_dir};

	scratch_init(&other);
	scratch_write(&other, "mcp.json", SLICE("{}"));
	snprintf(store_dir, sizeof(store_dir), "store_dir=%s", f->broker.dir);
	assert_int_not_equal(fake_broker_run(other.dir, other_sets, COUNT_OF(other_sets)), 0);
	scratch_release(&other);
	make_session(f); /* the first one goes on */
}

/* No file may grow any more: what is acknowledged is kept, what can't be is refused, and then all goes on. */
static void a_full_disk_is_told_and_waited_for(void **state)
{
	const struct link_header h = {.type = LINK_APPEND, .flags = LINK_DURABLE | LINK_WANT_ACK};
	struct fixture *f = *state;
	struct link_header append = h;
	struct rlimit was, none;
	struct fake_answer a;
	uint64_t own, call, modern;
	struct fake_server s;
	char stalled[128];
	struct buf body;

	make_session(f);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, &own), 0);
	assert_int_equal(prlimit(f->broker.pid, RLIMIT_FSIZE, NULL, &was), 0);
	none = (struct rlimit){0, was.rlim_max};
	assert_int_equal(prlimit(f->broker.pid, RLIMIT_FSIZE, &none, NULL), 0);
	append.stream = own;
	append.count = 1;
	buf_init(&body, 100);
	link_put_bytes(&body, SLICE("{\"n\":1}"));
	fake_worker_send(&f->w, &append, SLICE(""), buf_slice(&body));
	snprintf(stalled, sizeof(stalled), "%s/" LINK_STALLED_NAME, f->broker.dir);
	for (int waited = 0; access(stalled, F_OK) && waited < FAKE_WAIT_MS; waited += 10)
		usleep(10000);
	assert_int_equal(access(stalled, F_OK), 0);
	assert_int_equal(fake_append(&f->w, own, "{\"n\":2}"), LINK_NACK_BUSY);
	assert_int_equal(fake_session_put(&f->w, OTHER, HIM, 0, 0, "{}", NULL), LINK_NACK_BUSY);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, &own), 0); /* calls without streams go on */
	assert_int_equal(fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, &call, &modern), 0); /* modern ones too */
	assert_int_equal(fake_finish(&f->w, call, modern, "{}"), 0);
	assert_int_equal(prlimit(f->broker.pid, RLIMIT_FSIZE, &was, NULL), 0);
	expect_message(&f->w, LINK_ACK, &a); /* of the first one */
	fake_answer_release(&a);
	buf_release(&body);
	for (int waited = 0; access(stalled, F_OK) == 0 && waited < FAKE_WAIT_MS; waited += 10)
		usleep(10000);
	assert_int_not_equal(access(stalled, F_OK), 0);
	assert_int_equal(fake_append(&f->w, own, "{\"n\":3}"), 0);
	restart(f, SIGKILL);
	attach_own(f, &own, &s);
	expect_text(&s, "{\"n\":3}");
	assert_non_null(strstr(s.text.data, "{\"n\":1}"));
	assert_null(strstr(s.text.data, "{\"n\":2}"));
	fake_server_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST_WITH(a_session_goes_on, setup),
	    TEST_WITH(a_finished_stream_is_read_from_each_place, setup),
	    TEST_WITH(a_call_under_way_ends_with_its_will, setup),
	    TEST_WITH(calls_on_a_session_stream_have_wills_too, setup),
	    TEST_WITH(what_nobody_has_read_is_there, setup),
	    TEST_WITH(a_question_can_still_be_answered, setup),
	    TEST_WITH(a_broker_that_goes_takes_no_answer, setup_long_drain),
	    TEST_WITH(a_question_has_its_time, setup),
	    TEST_WITH(subscriptions_still_work, setup),
	    TEST_WITH(tasks_are_there_or_have_failed, setup),
	    TEST_WITH(marks_stay, setup),
	    TEST_WITH(modern_streams_are_of_one_broker, setup),
	    TEST_WITH(sequences_of_each_epoch, setup),
	    TEST_WITH(one_store_has_one_broker, setup),
	    TEST_WITH(a_full_disk_is_told_and_waited_for, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
