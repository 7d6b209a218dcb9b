/* Workers and runners that lose their broker, or only their connection, and come back (doc/link.md, "Coming back"). */
#include "config.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/broker_fixture.h"
#include "common/banned.h"

#define TTL_MS 60000
#define LOST   "session-2"

static const char *const sets[] = {"link_return_ms=4000"};

/* How a connection ends: with its broker, or by a newer one. */
enum way { KILLED, ABORTED, SUPERSEDED, WAYS };

static int setup(void **state)
{
	return fixture_start(state, sets, COUNT_OF(sets), 0);
}

/* f->w comes back, and says which of its calls go on. */
static void come_back(struct fixture *f, enum way way, const uint64_t *calls)
{
	int old = f->w.ctl;

	fake_worker_close_data(&f->w);
	if (way != SUPERSEDED) {
		int number = way == KILLED ? SIGKILL : SIGABRT;

		assert_int_equal(fake_broker_end(&f->broker, number), 128 + number);
		fake_broker_again(&f->broker, sets, COUNT_OF(sets), 0);
	}
	fake_worker_again(&f->w, f->broker.dir, LINK_ROLE_WORKER);
	close(old);
	assert_int_equal(f->w.is_known, way == SUPERSEDED);
	fake_return(&f->w, calls, NULL);
}

static char *read_all(struct fixture *f, uint64_t stream, uint64_t epoch)
{
	uint64_t same, cursor;
	struct fake_server s;
	char id[80], *text;

	link_event_id(stream, epoch, 0, id);
	assert_int_equal(fake_attach(&f->w, KEY, HIM, id, &same, &cursor), 0);
	fake_server_init(&s, fake_adopt(&f->w, stream, LINK_KIND_FCGI, cursor, 15000));
	expect_end(&s);
	text = strdup(s.text.data);
	fake_server_release(&s);
	return text;
}

static unsigned times(const char *text, const char *what)
{
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
		n++;
	return n;
}

/* One with a stream and no connection. */
static void begin(struct fixture *f, const char *id, uint64_t *call, uint64_t *stream)
{
	const char *const wills[] = {id, WILL, NULL};

	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, wills, call, NULL), 0);
	assert_int_equal(fake_open(&f->w, KEY, 0, *call, NULL, NULL, stream), 0);
}

/* A call that goes on ends with its result; one that has ended unheard with its will. */
static void calls_go_on(void **state)
{
	struct fixture *f = *state;

	make_session(f);
	for (enum way way = KILLED; way < WAYS; way++) {
		uint64_t goes_on, ended, stream, other, epoch = f->w.epoch;
		char *text;

		begin(f, "1", &goes_on, &stream);
		begin(f, "2", &ended, &other);
		assert_int_equal(fake_append(&f->w, stream, "{\"n\":1}"), 0);
		come_back(f, way, (uint64_t[]){goes_on, stream, 0});
		text = read_all(f, other, epoch);
		assert_int_equal(times(text, "worker died"), 1);
		free(text);
		assert_int_equal(fake_append(&f->w, stream, "{\"n\":2}"), 0);
		assert_int_equal(fake_finish(&f->w, goes_on, stream, "{\"result\":1}"), 0);
		text = read_all(f, stream, epoch);
		assert_true(times(text, "{\"n\":1}") == 1 && times(text, "{\"n\":2}") == 1);
		assert_true(times(text, "{\"result\":1}") == 1 && times(text, "worker died") == 0);
		free(text);
	}
}

/* The answer is owed on the session's own stream. */
static void calls_of_a_session_stream_go_on(void **state)
{
	struct fixture *f = *state;
	struct fake_server s;
	uint64_t call, own;

	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 0, LINK_SESSION_ENDS_WITH_CONN, "{}", NULL), 0);
	for (enum way way = KILLED; way < WAYS; way++) {
		assert_int_equal(fake_call_begin(&f->w, KEY, HIM, LINK_CALL_ON_SESSION_STREAM, one_id, &call, &own), 0);
		come_back(f, way, (uint64_t[]){call, own, 0});
		attach_own(f, &own, &s);
		assert_int_equal(fake_finish(&f->w, call, own, "{\"result\":1}"), 0);
		expect_text(&s, "{\"result\":1}");
		assert_int_equal(times(s.text.data, "worker died"), 0);
		fake_server_release(&s);
	}
}

/* While its worker is away a call can be cancelled, and its id is taken. */
static void what_happens_meanwhile_is_told(void **state)
{
	struct fixture *f = *state;
	struct fake_worker other;
	uint64_t call, stream, ignored;

	make_session(f);
	begin(f, "1", &call, &stream);
	fake_worker_close_data(&f->w);
	fake_broker_end(&f->broker, SIGKILL);
	fake_broker_again(&f->broker, sets, COUNT_OF(sets), 0);
	fake_worker_connect(&other, f->broker.dir);
	assert_int_equal(fake_call_begin(&other, KEY, HIM, 0, one_id, &ignored, NULL), LINK_NACK_DUPLICATE_ID);
	assert_int_equal(fake_cancel(&other, KEY, HIM, "1"), 0);
	close(f->w.ctl);
	fake_worker_again(&f->w, f->broker.dir, LINK_ROLE_WORKER);
	expect_cancelled(&f->w, call, "1"); /* it waited in line */
	fake_return(&f->w, (uint64_t[]){call, stream, 0}, NULL);
	expect_cancelled(&f->w, call, ""); /* and in case that was lost */
	assert_int_equal(fake_finish(&f->w, call, stream, NULL), 0);
	fake_worker_die(&other);
}

/* Modern streams are of one broker. Calls that owe nothing on a stream are begun again, and those alone. */
static void what_a_broker_does_not_know(void **state)
{
	struct fixture *f = *state;
	struct fake_server s;
	uint64_t call, stream, modern, plain;

	make_session(f);
	assert_int_equal(fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, &modern, &stream), 0);
	fake_server_init(&s, fake_adopt(&f->w, stream, LINK_KIND_FCGI, 0, 15000));
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, &plain, NULL), 0);
	come_back(f, SUPERSEDED, (uint64_t[]){modern, stream, plain, 0, 0});
	expect_silence(&f->w);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, &call, NULL), LINK_NACK_DUPLICATE_ID);
	come_back(f, KILLED, (uint64_t[]){modern, stream, plain, 0, 0});
	expect_cancelled(&f->w, modern, "");
	expect_silence(&f->w);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, &call, NULL), 0);
	fake_server_release(&s);
}

/* Only a newer connection takes the place of another one. */
static void an_old_connection_is_refused(void **state)
{
	struct fixture *f = *state;
	struct buf hello;
	char byte;
	int ctl = fake_ctl_connect(f->broker.dir);

	make_session(f);
	buf_init(&hello, 512);
	fake_worker_put_hello(&hello, f->w.producer, 1, LINK_VERSION, LINK_VERSION, LINK_ROLE_WORKER);
	assert_int_equal(send(ctl, hello.data, hello.len, 0), hello.len);
	assert_int_equal(recv(ctl, &byte, 1, 0), 0);
	assert_int_equal(fake_session_put(&f->w, LOST, HIM, 0, 0, "{}", NULL), 0);
	buf_release(&hello);
	close(ctl);
}

/* --- said again --- */

#define SAID_MAX 16

/* What f->w said, and what it was answered. */
static struct said {
	struct link_header h;
	char key[LINK_KEY_MAX];
	size_t key_len;
	struct buf body, answer;
	uint64_t stream;
} said[SAID_MAX];
static size_t said_count;

static void put_ids(struct buf *body, const char *id)
{
	link_put_u16(body, 1);
	link_put_bytes(body, slice_str(id));
	link_put_bytes(body, SLICE(WILL));
}

static struct said *say(struct fixture *f, struct link_header h, const char *key, struct buf *body)
{
	struct said *s = &said[said_count++];
	struct fake_answer a;
	unsigned nack;

	assert_in_range(said_count, 1, SAID_MAX);
	*s = (struct said){.key_len = strlen(key), .body = *body};
	memcpy(s->key, key, s->key_len);
	h.flags |= LINK_WANT_ACK;
	nack = fake_worker_ask(&f->w, &h, slice_str(key), buf_slice(body), &a);
	if (nack)
		fail_msg("%s: NACK %s", link_type_name(h.type), link_nack_name(nack));
	h.seq = a.h.corr;
	h.flags |= LINK_RETRY;
	s->h = h;
	s->answer = a.body;
	s->stream = a.h.stream;
	return s;
}

static void say_session_put(struct fixture *f, const char *key)
{
	struct buf body;

	buf_init(&body, 4096);
	link_put_u64(&body, 0);
	link_put_u32(&body, 0);
	link_put_u8(&body, 0);
	link_put_bytes(&body, SLICE(HIM));
	link_put_bytes(&body, SLICE("{}"));
	say(f, (struct link_header){.type = LINK_SESSION_PUT}, key, &body);
}

static void say_session_del(struct fixture *f, const char *key)
{
	struct buf body;

	buf_init(&body, 4096);
	link_put_bytes(&body, SLICE(HIM));
	say(f, (struct link_header){.type = LINK_SESSION_DEL}, key, &body);
}

/* A call that begins with its stream. */
static struct said *say_open(struct fixture *f, const char *id)
{
	struct buf body;

	buf_init(&body, 4096);
	link_put_u8(&body, 0);
	put_ids(&body, id);
	return say(f, (struct link_header){.type = LINK_OPEN_STREAM}, KEY, &body);
}

static void say_event(struct fixture *f, enum link_type type, const struct said *call, const char *event)
{
	struct buf body;

	buf_init(&body, 4096);
	link_put_bytes(&body, slice_str(event));
	say(f,
	    (struct link_header){
		.type = (uint8_t)type, .flags = LINK_DURABLE, .corr = call->h.seq, .stream = call->stream, .count = 1},
	    "", &body);
}

static void say_park(struct fixture *f, const struct said *call)
{
	struct buf body;

	buf_init(&body, 4096);
	link_put_u32(&body, TTL_MS);
	for (unsigned i = 0; i < 4; i++)
		link_put_bytes(&body, SLICE("state"));
	link_put_u16(&body, 1);
	link_put_bytes(&body, SLICE("\"ask\""));
	link_put_bytes(&body, SLICE("{\"ask\":1}"));
	say(f,
	    (struct link_header){.type = LINK_PARK, .flags = LINK_DURABLE, .corr = call->h.seq, .stream = call->stream},
	    "", &body);
}

static struct said *say_answer(struct fixture *f)
{
	struct buf body;

	buf_init(&body, 4096);
	link_put_bytes(&body, SLICE(HIM));
	link_put_bytes(&body, SLICE("\"ask\""));
	link_put_bytes(&body, SLICE("yes"));
	return say(f, (struct link_header){.type = LINK_ANSWER}, KEY, &body);
}

static void say_task_new(struct fixture *f)
{
	struct buf body;

	buf_init(&body, 4096);
	link_put_bytes(&body, SLICE(HIM));
	link_put_u64(&body, TTL_MS);
	link_put_u8(&body, 0);
	link_put_bytes(&body, SLICE("begun"));
	link_put_bytes(&body, SLICE("job"));
	say(f, (struct link_header){.type = LINK_TASK_NEW}, "task", &body);
}

static void say_once(struct fixture *f)
{
	struct buf body;

	buf_init(&body, 4096);
	link_put_u32(&body, 60);
	say(f, (struct link_header){.type = LINK_ONCE}, "mark", &body);
}

/* Each is answered as before. */
static void repeat_all(struct fixture *f)
{
	for (size_t i = 0; i < said_count; i++) {
		const struct said *s = &said[i];
		struct fake_answer a;
		unsigned nack =
		    fake_worker_ask(&f->w, &s->h, (struct slice){s->key, s->key_len}, buf_slice(&s->body), &a);

		if (nack || a.h.stream != s->stream || !slice_eq(buf_slice(&a.body), buf_slice(&s->answer)))
			fail_msg("%s, said again: %s, %zu bytes instead of %zu", link_type_name(s->h.type),
			    nack ? link_nack_name(nack) : "ACK", a.body.len, s->answer.len);
		fake_answer_release(&a);
	}
}

static void forget_said(void)
{
	for (; said_count > 0; said_count--) {
		buf_release(&said[said_count - 1].body);
		buf_release(&said[said_count - 1].answer);
	}
}

/* All that has an effect, with its ACK lost: one effect, the same answer, at whichever broker. */
static void nothing_is_done_twice(void **state)
{
	struct fixture *f = *state;
	const struct said *call, *asked, *taken;
	struct fake_worker runner;
	struct fake_answer a;
	uint64_t epoch = f->w.epoch;
	char *text;

	fake_runner_connect(&runner, f->broker.dir);
	say_session_put(f, KEY);
	say_session_put(f, LOST);
	say_session_del(f, LOST);
	call = say_open(f, "1");
	say_event(f, LINK_APPEND, call, "{\"n\":1}");
	say_event(f, LINK_FINISH, call, "{\"result\":1}");
	asked = say_open(f, "2");
	say_park(f, asked);
	taken = say_answer(f);
	assert_int_equal(taken->answer.data[0], LINK_ANSWER_TAKEN);
	say_task_new(f);
	expect_message(&runner, LINK_TASK_RUN, &a);
	fake_answer_release(&a);
	say_once(f);
	for (unsigned i = 0; i < 2 * WAYS; i++) { /* twice each: what was restored is kept again */
		come_back(f, i % WAYS, (uint64_t[]){taken->h.seq, taken->stream, 0});
		repeat_all(f);
	}
	assert_int_equal(fake_finish(&f->w, taken->h.seq, taken->stream, "{\"result\":2}"), 0);
	text = read_all(f, call->stream, epoch);
	assert_true(times(text, "{\"n\":1}") == 1 && times(text, "{\"result\":1}") == 1);
	free(text);
	text = read_all(f, asked->stream, epoch);
	assert_true(times(text, "{\"ask\":1}") == 1 && times(text, "{\"result\":2}") == 1);
	free(text);
	forget_said();
	fake_worker_die(&runner);
}

/* What was refused did nothing: it is asked anew. And an outcome goes with its producer. */
static void outcomes_have_their_limits(void **state)
{
	struct fixture *f = *state;
	struct said again;
	struct fake_answer a;

	say_session_put(f, KEY);
	again = said[0];
	assert_int_equal(fake_session_del(&f->w, KEY, HIM), 0);
	come_back(f, KILLED, NULL);
	repeat_all(f); /* it was made, once: it is not made anew */
	assert_int_equal(fake_session_del(&f->w, KEY, HIM), LINK_NACK_NO_SESSION);
	fake_worker_die(&f->w);
	fake_broker_end(&f->broker, SIGKILL);
	fake_broker_again(&f->broker, sets, COUNT_OF(sets), 0);
	usleep(5000000); /* it did not come back in time */
	fake_worker_again(&f->w, f->broker.dir, LINK_ROLE_WORKER);
	assert_false(f->w.is_known);
	assert_int_equal(fake_worker_ask(&f->w, &again.h, slice_str(KEY), buf_slice(&again.body), &a), 0);
	fake_answer_release(&a);
	assert_int_equal(fake_session_del(&f->w, KEY, HIM), 0); /* so there was one */
	forget_said();
}

/* --- tasks --- */

static void expect_state(struct fixture *f, const char *id, unsigned want, const char *blob)
{
	struct fake_task task;

	assert_int_equal(fake_task_get(&f->w, id, HIM, 0, &task), 0);
	if (task.state != want || strcmp(task.blob, blob) != 0)
		fail_msg("%s is %u \"%s\"", id, task.state, task.blob);
}

static void expect_about(struct fake_worker *runner, enum link_type type, const char *id)
{
	struct fake_answer a;

	expect_message(runner, type, &a);
	assert_string_equal(a.key, id);
	fake_answer_release(&a);
}

static void tasks_go_on(void **state)
{
	static const char *const ids[] = {"goes", "asks", "unheard", "lost", "cancelled", NULL};
	static const char *const held[] = {"goes", "asks", "cancelled", "never", NULL};
	struct fixture *f = *state;
	struct fake_worker runner;

	fake_runner_connect(&runner, f->broker.dir);
	for (const char *const *id = ids; *id; id++) {
		assert_int_equal(fake_task_new(&f->w, *id, HIM, TTL_MS, 0, "begun", "job"), 0);
		expect_about(&runner, LINK_TASK_RUN, *id);
	}
	assert_int_equal(fake_task_put(&runner, "asks", LINK_TASK_INPUT_REQUIRED, "asks", NULL), 0);
	assert_int_equal(fake_task_put(&runner, "lost", LINK_TASK_WORKING, "begun", NULL), 0);
	fake_worker_close_data(&runner);
	come_back(f, KILLED, NULL);
	assert_int_equal(fake_task_send(&f->w, "asks", HIM, LINK_TASK_ANSWERS, "yes"), 0);
	assert_int_equal(fake_task_send(&f->w, "cancelled", HIM, LINK_TASK_CANCEL, ""), 0);
	close(runner.ctl);
	fake_worker_again(&runner, f->broker.dir, LINK_ROLE_RUNNER);
	fake_return(&runner, NULL, held);
	expect_about(&runner, LINK_TASK_INPUT, "asks"); /* these two waited in line */
	expect_about(&runner, LINK_TASK_INPUT, "cancelled");
	expect_about(&runner, LINK_TASK_INPUT, "cancelled");
	expect_about(&runner, LINK_TASK_INPUT, "never");
	expect_about(&runner, LINK_TASK_RUN, "unheard"); /* nobody has begun it */
	expect_silence(&runner);
	expect_state(f, "lost", LINK_TASK_FAILED, "");
	expect_state(f, "goes", LINK_TASK_WORKING, "begun");
	assert_int_equal(fake_task_put(&runner, "goes", LINK_TASK_COMPLETED, "result", NULL), 0);
	assert_int_equal(fake_task_put(&runner, "unheard", LINK_TASK_COMPLETED, "result", NULL), 0);
	assert_int_equal(fake_task_put(&runner, "asks", LINK_TASK_WORKING, "goes on", NULL), 0);
	come_back(f, KILLED, NULL);
	usleep(5000000); /* its runner does not come */
	expect_state(f, "goes", LINK_TASK_COMPLETED, "result");
	expect_state(f, "unheard", LINK_TASK_COMPLETED, "result");
	expect_state(f, "asks", LINK_TASK_FAILED, "");
	expect_state(f, "cancelled", LINK_TASK_CANCELLED, "begun");
	fake_worker_die(&runner);
}

/* A RETURN that is none changes nothing. */
static void garbage_is_refused(void **state)
{
	static const struct slice bodies[] = {
	    TEXT(""),
	    TEXT("\1\0\0\0"),
	    TEXT("\0\0\0\0"),
	    TEXT("\xff\xff\xff\xff\0\0\0\0"),
	    TEXT("\0\0\0\0\1\0\0\0\2\0\0\0x"),
	    TEXT("\0\0\0\0\0\0\0\0x"),
	};
	struct link_header h = {.type = LINK_RETURN, .flags = LINK_WANT_ACK};
	struct fixture *f = *state;
	uint64_t call, stream;

	make_session(f);
	begin(f, "1", &call, &stream);
	for (size_t i = 0; i < COUNT_OF(bodies); i++)
		assert_int_equal(fake_worker_ask(&f->w, &h, SLICE(""), bodies[i], NULL), LINK_NACK_BAD);
	assert_int_equal(fake_finish(&f->w, call, stream, "{}"), 0);
}

#undef TEST
#define TEST(name) TEST_WITH(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(calls_go_on),
	    TEST(calls_of_a_session_stream_go_on),
	    TEST(what_happens_meanwhile_is_told),
	    TEST(what_a_broker_does_not_know),
	    TEST(an_old_connection_is_refused),
	    TEST(nothing_is_done_twice),
	    TEST(outcomes_have_their_limits),
	    TEST(tasks_go_on),
	    TEST(garbage_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
