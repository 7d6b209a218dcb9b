/* What the worker says to the broker of parked calls, topics and tasks, and what a runner hears. */
#include "config.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "tests/lib/linked.h"
#include "tests/lib/mem_fault.h"
#include "common/banned.h"

static bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static bool becomes_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 5000) == 1;
}

/* --- each message --- */

/* What the broker got last, until the next message of another kind than CALL_END comes. */
static struct {
	struct link_header head;
	char key[LINK_KEY_MAX + 1];
	struct buf body;
} last;

static bool remember(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	(void)fb, (void)arg;
	last.head = msg->head;
	snprintf(last.key, sizeof(last.key), "%.*s", (int)msg->key.len, msg->key.p);
	buf_clear(&last.body);
	buf_add_slice(&last.body, msg->body);
	return false;
}

/* Compares it with want, and empties that. */
static void expect_message(enum link_type type, const char *key, struct buf *want)
{
	if (last.head.type != type || strcmp(last.key, key) != 0 || !slice_eq(buf_slice(want), buf_slice(&last.body)))
		fail_msg("%s: key \"%s\", %zu bytes, not %zu", link_type_name(last.head.type), last.key, last.body.len,
		    want->len);
	assert_true(last.head.flags & LINK_WANT_ACK);
	buf_clear(want);
}

static void put_all(struct buf *out, const struct slice *texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		link_put_bytes(out, texts[i]);
}

#define PUT(out, ...) put_all(out, (struct slice[]){__VA_ARGS__}, COUNT_OF(((struct slice[]){__VA_ARGS__})))

static const struct link_late late = {TEXT("late"), TEXT("head"), TEXT("tail")};
static const struct link_ask two_asks[2] = {{TEXT("\"a\""), TEXT("{\"ask\":1}")}, {TEXT("\"b\""), TEXT("{\"ask\":2}")}};
static const struct link_news some_news = {.flags = LINK_NOTIFY_LIST,
    .topic = {"tools", 5},
    .legacy = {"{}", 2},
    .head = {"{", 1},
    .tail = {"}", 1},
    .session = {"the-s", 5},
    .owner = {"ann", 3}};
static const struct slice two_topics[2] = {TEXT("tools"), TEXT("uri:x")};

static void test_bodies_of_calls(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	struct link_taken taken;
	struct err err;
	struct buf want;
	uint64_t number;

	buf_init(&want, 4096);
	buf_init(&last.body, 4096);
	linked_start(b, remember);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
	number = call->number;
	linked_expect(
	    link_park(b->link, &call, 101, 5000, &late, SLICE("blob"), two_asks, 2, &err), &err, ERR_NONE, "park");
	assert_null(call);
	link_put_u32(&want, 5000);
	PUT(&want, SLICE("late"), SLICE("head"), SLICE("tail"), SLICE("blob"));
	link_put_u16(&want, 2);
	PUT(&want, SLICE("\"a\""), SLICE("{\"ask\":1}"), SLICE("\"b\""), SLICE("{\"ask\":2}"));
	assert_int_equal(last.head.corr, number);
	assert_int_equal(last.head.stream, 101);
	expect_message(LINK_PARK, "", &want);

	linked_expect(
	    link_answer(b->link, LINKED_SESSION, "me", SLICE("\"a\""), SLICE("{\"result\":{}}"), &taken, &err), &err,
	    ERR_NONE, "answer");
	PUT(&want, SLICE("me"), SLICE("\"a\""), SLICE("{\"result\":{}}"));
	number = last.head.seq;
	expect_message(LINK_ANSWER, "the-session", &want);
	assert_int_equal(taken.state, LINK_ANSWER_TAKEN);
	assert_int_equal(taken.call->number, number);
	assert_int_equal(taken.stream, 101);
	assert_int_equal(taken.call_flags, LINK_CALL_ON_SESSION_STREAM);
	assert_true(slice_is(taken.blob, "kept"));
	assert_int_equal(taken.answers_count, 1);
	assert_true(slice_is(taken.answers[0].id, "\"a\""));
	assert_true(slice_is(taken.answers[0].text, "{\"result\":{}}"));
	assert_int_equal(taken.wills_count, 1);
	assert_true(slice_is(taken.wills[0].id, "1"));
	assert_true(slice_is(taken.wills[0].event, "{\"will\":1}"));
	assert_int_equal(fake_broker_count(b->broker, LINK_CALL_END), 0); /* the parked one was not ours to end */
	link_taken_release(b->link, &taken);
	assert_null(taken.call);
	assert_int_equal(fake_broker_wait(b->broker, LINK_CALL_END, 1), 1);
	assert_int_equal(last.head.corr, number);
	link_taken_release(b->link, &taken);
	buf_release(&want);
	buf_release(&last.body);
}

static void test_bodies_of_topics(void **state)
{
	struct linked *b = *state;
	uint64_t reached = 0;
	struct err err;
	struct buf want;

	buf_init(&want, 4096);
	buf_init(&last.body, 4096);
	linked_start(b, remember);
	linked_expect(link_subscribe(b->link, 0, LINKED_SESSION, "me", false, SLICE(""), two_topics, 1, &err), &err,
	    ERR_NONE, "one");
	PUT(&want, SLICE("me"));
	link_put_u8(&want, 0);
	PUT(&want, SLICE(""));
	link_put_u16(&want, 1);
	PUT(&want, SLICE("tools"));
	assert_int_equal(last.head.stream, 0);
	expect_message(LINK_SUBSCRIBE, "the-session", &want);

	linked_expect(link_subscribe(b->link, 101, SLICE(""), "me", true, SLICE("42"), two_topics, 2, &err), &err,
	    ERR_NONE, "of a stream");
	PUT(&want, SLICE("me"));
	link_put_u8(&want, 1);
	PUT(&want, SLICE("42"));
	link_put_u16(&want, 2);
	PUT(&want, SLICE("tools"), SLICE("uri:x"));
	assert_int_equal(last.head.stream, 101);
	expect_message(LINK_SUBSCRIBE, "", &want);

	linked_expect(
	    link_unsubscribe(b->link, LINKED_SESSION, "me", two_topics, 2, &err), &err, ERR_NONE, "unsubscribe");
	PUT(&want, SLICE("me"));
	link_put_u16(&want, 2);
	PUT(&want, SLICE("tools"), SLICE("uri:x"));
	expect_message(LINK_UNSUBSCRIBE, "the-session", &want);

	linked_expect(link_notify(b->link, &some_news, &reached, &err), &err, ERR_NONE, "notify");
	link_put_u8(&want, LINK_NOTIFY_LIST);
	PUT(&want, SLICE("tools"), SLICE("{}"), SLICE("{"), SLICE("}"), SLICE("ann"));
	expect_message(LINK_NOTIFY, "the-s", &want);
	assert_int_equal(reached, 2);

	linked_expect(link_close_conn(b->link, 101, SLICE("retry: 1\n\n"), &err), &err, ERR_NONE, "close");
	PUT(&want, SLICE("retry: 1\n\n"));
	assert_int_equal(last.head.stream, 101);
	expect_message(LINK_CLOSE_CONN, "", &want);

	linked_expect(link_once(b->link, SLICE("mark"), 60, &err), &err, ERR_NONE, "once");
	link_put_u32(&want, 60);
	expect_message(LINK_ONCE, "mark", &want);
	buf_release(&want);
	buf_release(&last.body);
}

static void expect_task(const struct link_task *task, const char *id, const char *blob)
{
	assert_string_equal(task->id, id);
	assert_int_equal(task->state, LINK_TASK_WORKING);
	assert_int_equal(task->created_ms, 1000);
	assert_int_equal(task->updated_ms, 2000);
	assert_int_equal(task->ttl_ms, 60000);
	assert_true(slice_is(buf_slice(&task->blob), blob));
}

static void test_bodies_of_tasks(void **state)
{
	struct linked *b = *state;
	struct link_task task, *tasks;
	bool more;
	size_t count;
	struct err err;
	struct buf want;

	buf_init(&want, 4096);
	buf_init(&last.body, 4096);
	linked_start(b, remember);
	linked_expect(
	    link_task_new(b->link, SLICE("t1"), "me", SLICE("them"), 60000, LINK_TASK_HIDDEN, SLICE("{}"), SLICE("job"), &err), &err,
	    ERR_NONE, "new");
	PUT(&want, SLICE("me"));
	link_put_u64(&want, 60000);
	link_put_u8(&want, LINK_TASK_HIDDEN);
	PUT(&want, SLICE("{}"), SLICE("job"), SLICE("them"));
	expect_message(LINK_TASK_NEW, "t1", &want);

	linked_expect(
	    link_task_get(b->link, SLICE("t1"), "me", 3, -1, &task, &err), &err, ERR_NONE, "get without watching");
	PUT(&want, SLICE("me"));
	link_put_u64(&want, 0);
	expect_message(LINK_TASK_GET, "t1", &want);
	assert_int_equal(task.version, 3);
	expect_task(&task, "t1", "{\"task\":1}");
	link_task_release(&task);

	linked_expect(
	    link_task_list(b->link, "me", SLICE("t0"), 9, &tasks, &count, &more, &err), &err, ERR_NONE, "list");
	PUT(&want, SLICE("me"), SLICE("t0"));
	link_put_u16(&want, 9);
	expect_message(LINK_TASK_LIST, "", &want);
	assert_int_equal(count, 2);
	assert_true(more);
	expect_task(&tasks[0], "t1", "{\"task\":1}");
	expect_task(&tasks[1], "t2", "{\"task\":2}");
	for (size_t i = 0; i < count; i++)
		link_task_release(&tasks[i]);
	mem_free(tasks);

	linked_expect(
	    link_task_send(b->link, SLICE("t1"), "me", LINK_TASK_ANSWERS, SLICE("{}"), &err), &err, ERR_NONE, "send");
	PUT(&want, SLICE("me"));
	link_put_u8(&want, LINK_TASK_ANSWERS);
	PUT(&want, SLICE("{}"));
	expect_message(LINK_TASK_SEND, "t1", &want);

	linked_expect(
	    link_task_put(b->link, SLICE("t1"), LINK_TASK_COMPLETED, SLICE("{}"), &err), &err, ERR_NONE, "put");
	link_put_u8(&want, LINK_TASK_COMPLETED);
	PUT(&want, SLICE("{}"));
	expect_message(LINK_TASK_PUT, "t1", &want);
	buf_release(&want);
	buf_release(&last.body);
}

/* --- what the broker may answer --- */

/* One of each, with a call that park may take. */
static int say(struct linked *b, enum link_type type, struct link_call **call, struct err *err)
{
	struct link_task task, *tasks;
	bool more;
	struct link_taken taken;
	uint64_t reached;
	size_t count;
	int rc;

	switch (type) {
	case LINK_PARK:
		return link_park(b->link, call, 101, 5000, &late, SLICE("blob"), two_asks, 2, err);
	case LINK_ANSWER:
		rc = link_answer(b->link, LINKED_SESSION, "me", SLICE("1"), SLICE("{}"), &taken, err);
		link_taken_release(b->link, &taken);
		return rc;
	case LINK_CLOSE_CONN:
		return link_close_conn(b->link, 101, SLICE("bye"), err);
	case LINK_SUBSCRIBE:
		return link_subscribe(b->link, 0, LINKED_SESSION, "me", false, SLICE(""), two_topics, 2, err);
	case LINK_UNSUBSCRIBE:
		return link_unsubscribe(b->link, LINKED_SESSION, "me", two_topics, 2, err);
	case LINK_NOTIFY:
		return link_notify(b->link, &some_news, &reached, err);
	case LINK_ONCE:
		return link_once(b->link, SLICE("mark"), 60, err);
	case LINK_TASK_NEW:
		return link_task_new(b->link, SLICE("t1"), "me", SLICE(""), 60000, 0, SLICE("{}"), SLICE("job"), err);
	case LINK_TASK_GET:
		rc = link_task_get(b->link, SLICE("t1"), "me", 0, -1, &task, err);
		link_task_release(&task);
		return rc;
	case LINK_TASK_LIST:
		rc = link_task_list(b->link, "me", SLICE(""), 9, &tasks, &count, &more, err);
		for (size_t i = 0; i < count; i++)
			link_task_release(&tasks[i]);
		mem_free(tasks);
		return rc;
	case LINK_TASK_SEND:
		return link_task_send(b->link, SLICE("t1"), "me", LINK_TASK_CANCEL, SLICE(""), err);
	case LINK_TASK_PUT:
		return link_task_put(b->link, SLICE("t1"), LINK_TASK_COMPLETED, SLICE("{}"), err);
	default:
		fail_msg("no function for %s", link_type_name(type));
	}
	return -1;
}

static const enum link_type all_types[] = {LINK_PARK, LINK_ANSWER, LINK_CLOSE_CONN, LINK_SUBSCRIBE, LINK_UNSUBSCRIBE,
    LINK_NOTIFY, LINK_ONCE, LINK_TASK_NEW, LINK_TASK_GET, LINK_TASK_LIST, LINK_TASK_SEND, LINK_TASK_PUT};

static bool is_ours(const struct fake_msg *msg)
{
	return msg->head.type >= LINK_PARK;
}

static bool lose_first(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	static struct link_header first;

	(void)arg;
	if (!is_ours(msg))
		return false;
	if (fake_broker_count(fb, msg->head.type) == 0) {
		first = msg->head;
		return true;
	}
	DIE_UNLESS(msg->head.seq == first.seq && msg->head.producer == first.producer);
	DIE_UNLESS(!(first.flags & LINK_RETRY) && msg->head.flags & LINK_RETRY);
	return false;
}

static void test_lost_acks(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	struct err err;

	linked_start(b, lose_first);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
	for (size_t i = 0; i < COUNT_OF(all_types); i++) {
		linked_expect(say(b, all_types[i], &call, &err), &err, ERR_NONE, link_type_name(all_types[i]));
		assert_int_equal(fake_broker_wait(b->broker, all_types[i], 2), 2);
	}
	assert_null(call);
}

static _Atomic enum link_nack nack_code;

static bool say_no(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	(void)arg;
	if (!is_ours(msg))
		return false;
	fake_broker_nack(fb, msg->head.seq, nack_code, 0);
	return true;
}

/* Nothing was done: a call stays ours, an answer began none. */
static void test_nacks(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	struct err err;

	linked_start(b, say_no);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
	for (unsigned code = LINK_NACK_BUSY; code < LINK_NACK__COUNT; code++) {
		nack_code = (enum link_nack)code;
		for (size_t i = 0; i < COUNT_OF(all_types); i++)
			linked_expect(
			    say(b, all_types[i], &call, &err), &err, link_nack_err(code), link_type_name(all_types[i]));
		assert_non_null(call);
	}
	assert_int_equal(fake_broker_count(b->broker, LINK_CALL_END), 0);
	link_call_end(b->link, &call);
	assert_int_equal(fake_broker_wait(b->broker, LINK_CALL_END, 1), 1);
}

static struct slice short_body;

static bool answer_short(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	(void)arg;
	if (!is_ours(msg))
		return false;
	fake_broker_send(fb, LINK_ACK, msg->head.seq, 1, short_body);
	return true;
}

static void test_short_answers(void **state)
{
	static const struct {
		enum link_type type;
		struct slice body;
		const char *name;
	} cases[] = {
	    {LINK_NOTIFY, TEXT("\1"), "number"},
	    {LINK_ANSWER, TEXT(""), "no state"},
	    {LINK_ANSWER, TEXT("\3"), "unknown state"},
	    {LINK_ANSWER, TEXT("\2"), "taken, but nothing more"},
	    {LINK_ANSWER, TEXT("\2\0\0\0\0\0\377\377"), "65535 answers that are not there"},
	    {LINK_ANSWER, TEXT("\2\0\0\0\0\0\0\0\1\0\1\0\0\0"), "half of a will"},
	    {LINK_ANSWER, TEXT("\2\0\0\0\0\0\0\0\0\0"), "a call that answers nobody"},
	    {LINK_TASK_GET, TEXT("\1\0\0\0\0\0\0\0\1"), "half of a task"},
	    {LINK_TASK_GET, TEXT("\1\0\0\0\0\0\0\0\0........................\0\0\0\0"), "a state that is none"},
	    {LINK_TASK_GET, TEXT("\1\0\0\0\0\0\0\0\6........................\0\0\0\0"), "another"},
	    {LINK_TASK_LIST, TEXT("\1"), "half a number"},
	    {LINK_TASK_LIST, TEXT("\0\0"), "not a word about more"},
	    {LINK_TASK_LIST, TEXT("\12\0"), "more than were asked for"},
	    {LINK_TASK_LIST, TEXT("\1\0"), "one that is not there"},
	    {LINK_TASK_LIST, TEXT("\1\0\1\0\0\0t\1........................\1\0\0\0"), "a blob that is not there"},
	    {LINK_TASK_LIST, TEXT("\1\0\377\0\0\0t\1........................\0\0\0\0"), "an id that is not there"},
	};
	struct linked *b = *state;
	unsigned ends = 0;
	struct err err;

	linked_start(b, answer_short);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		short_body = cases[i].body;
		linked_expect(say(b, cases[i].type, NULL, &err), &err, ERR_LINK, cases[i].name);
		ends += cases[i].type == LINK_ANSWER; /* the call may have been given to us */
	}
	assert_int_equal(fake_broker_wait(b->broker, LINK_CALL_END, ends), ends);
}

static bool answer_state(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	(void)arg;
	if (msg->head.type == LINK_ANSWER)
		fake_broker_send(fb, LINK_ACK, msg->head.seq, 0, short_body);
	return msg->head.type == LINK_ANSWER;
}

static void test_answers_that_take_nothing(void **state)
{
	static const struct slice states[] = {TEXT("\0"), TEXT("\1")};
	struct linked *b = *state;
	struct link_taken taken;
	struct err err;

	linked_start(b, answer_state);
	for (unsigned i = 0; i < 2; i++) {
		short_body = states[i];
		linked_expect(link_answer(b->link, LINKED_SESSION, "me", SLICE("1"), SLICE("{}"), &taken, &err), &err,
		    ERR_NONE, "answer");
		assert_int_equal(taken.state, i ? LINK_ANSWER_KEPT : LINK_ANSWER_IGNORED);
		assert_null(taken.call);
		link_taken_release(b->link, &taken);
	}
	linked_expect(link_session_del(b->link, LINKED_SESSION, "me", &err), &err, ERR_NONE, "something after it");
	assert_int_equal(fake_broker_count(b->broker, LINK_CALL_END), 0);
}

/* --- a call that was given back --- */

static atomic_bool cancels_early; /* before the answer */

static bool cancel_taken(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	static uint64_t call;

	(void)arg;
	if (msg->head.type == LINK_ANSWER) {
		call = msg->head.seq;
		if (cancels_early)
			fake_broker_cancelled(fb, call, "1");
	}
	if (msg->head.type == LINK_CANCEL)
		fake_broker_cancelled(fb, call, "1");
	return false;
}

static void test_cancel_taken(void **state)
{
	struct linked *b = *state;
	struct link_taken taken;
	struct err err;

	for (int is_early = 0; is_early < 2; is_early++) {
		cancels_early = is_early;
		linked_start(b, cancel_taken);
		linked_expect(link_answer(b->link, LINKED_SESSION, "me", SLICE("9"), SLICE("{}"), &taken, &err), &err,
		    ERR_NONE, "answer");
		assert_int_equal(atomic_load(&taken.call->cancelled), is_early);
		linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("1"), &err), &err, ERR_NONE, "cancel");
		assert_true(atomic_load(&taken.call->cancelled));
		assert_true(is_readable(taken.call->cancel_fd));
		link_taken_release(b->link, &taken);
		link_free(&b->link);
		b->link = link_new(&b->cfg);
		fake_broker_stop(&b->broker);
	}
}

/* --- a broker that goes --- */

static atomic_int hangs_up_at; /* enum link_type */

static bool hang_up(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	(void)arg;
	if (msg->head.type != hangs_up_at || (msg->head.flags & LINK_RETRY))
		return false;
	fake_broker_hang_up(fb);
	return true;
}

/* What had no answer has it on the next connection. */
static void test_broker_gone(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	struct link_taken taken;
	struct link_task task;
	uint64_t began_ms = now_ms();
	struct err err;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	linked_start(b, hang_up);
	for (size_t i = 0; i < COUNT_OF(all_types); i++) {
		linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
		hangs_up_at = all_types[i];
		linked_expect(say(b, all_types[i], &call, &err), &err, ERR_NONE, link_type_name(all_types[i]));
		assert_int_equal(fake_broker_count(b->broker, LINK_RETURN), i + 1);
		hangs_up_at = 0;
		link_call_end(b->link, &call);
	}
	assert_in_range(now_ms() - began_ms, 0, 8000);
	linked_expect(link_answer(b->link, LINKED_SESSION, "me", SLICE("9"), SLICE("{}"), &taken, &err), &err, ERR_NONE,
	    "answer");
	linked_expect(link_task_get(b->link, SLICE("t1"), "me", 3, fd, &task, &err), &err, ERR_NONE, "watch");
	link_task_release(&task);
	assert_false(is_readable(fd));
	hangs_up_at = LINK_CANCEL;
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("1"), &err), &err, ERR_NONE, "cancel");
	assert_false(atomic_load(&taken.call->cancelled)); /* nobody has said so */
	assert_true(is_readable(fd));
	link_task_unwatch(b->link, SLICE("t1"), fd);
	link_taken_release(b->link, &taken);
	close(fd);
}

/* --- watching a task --- */

/* CANCEL's id is the task that changes. */
static bool change_some(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	struct slice body = msg->body;
	bool bad = false;

	(void)arg;
	if (msg->head.type == LINK_CANCEL) {
		link_get_bytes(&body, &bad);
		fake_broker_tell(fb, LINK_TASK_CHANGED, link_get_bytes(&body, &bad), SLICE(""));
	}
	if (msg->head.type == LINK_TASK_GET && slice_is(msg->key, "early"))
		fake_broker_tell(fb, LINK_TASK_CHANGED, msg->key, SLICE(""));
	return false;
}

static void test_watch(void **state)
{
	struct linked *b = *state;
	struct link_task task;
	struct err err;
	int fds[3];

	for (size_t i = 0; i < COUNT_OF(fds); i++)
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	linked_start(b, change_some);
	for (size_t i = 0; i < COUNT_OF(fds); i++) {
		linked_expect(link_task_get(b->link, i < 2 ? SLICE("t1") : SLICE("t2"), "me", 3, fds[i], &task, &err),
		    &err, ERR_NONE, "watch");
		link_task_release(&task);
	}
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("t"), &err), &err, ERR_NONE, "another changes");
	assert_false(is_readable(fds[0]));
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("t1"), &err), &err, ERR_NONE, "it changes");
	assert_true(becomes_readable(fds[0]));
	assert_true(becomes_readable(fds[1]));
	assert_false(is_readable(fds[2]));
	linked_expect(link_task_get(b->link, SLICE("t2"), "me", 3, fds[2], &task, &err), &err, ERR_NONE, "once more");
	link_task_release(&task);
	link_task_unwatch(b->link, SLICE("t2"), fds[0]); /* not that one */
	link_task_unwatch(b->link, SLICE("t2"), fds[2]);
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("t2"), &err), &err, ERR_NONE, "t2 changes");
	assert_false(is_readable(fds[2]));

	linked_expect(
	    link_task_get(b->link, SLICE("early"), "me", 3, fds[2], &task, &err), &err, ERR_NONE, "before the answer");
	link_task_release(&task);
	assert_true(is_readable(fds[2]));
	assert_int_equal(read(fds[2], &(uint64_t){0}, 8), 8);
	linked_expect(
	    link_task_get(b->link, SLICE("t2"), "me", 2, fds[2], &task, &err), &err, ERR_NONE, "an older one");
	link_task_release(&task);
	assert_true(is_readable(fds[2]));
	link_task_unwatch(b->link, SLICE("t2"), fds[2]);
	for (size_t i = 0; i < COUNT_OF(fds); i++)
		close(fds[i]);
}

static void test_ids_of_clients(void **state)
{
	static char much[LINK_KEY_MAX + 1];
	const struct slice ids[2] = {SLICE(""), {much, sizeof(much)}};
	struct linked *b = *state;
	struct link_task task;
	struct err err;

	memset(much, 'x', sizeof(much));
	for (size_t i = 0; i < COUNT_OF(ids); i++) { /* there is not even a broker */
		linked_expect(link_task_get(b->link, ids[i], "me", 0, -1, &task, &err), &err, ERR_NO_TASK, "get");
		linked_expect(link_task_get(b->link, ids[i], "me", 0, 1, &task, &err), &err, ERR_NO_TASK, "watch");
		linked_expect(link_task_send(b->link, ids[i], "me", LINK_TASK_CANCEL, SLICE(""), &err), &err,
		    ERR_NO_TASK, "send");
		linked_expect(
		    link_task_new(b->link, ids[i], "me", SLICE(""), 1, 0, SLICE(""), SLICE(""), &err), &err, ERR_NO_TASK, "new");
	}
}

/* Blob and job as large as a task may have them. */
static void test_large_tasks(void **state)
{
	const size_t len = 4194304;
	struct linked *b = *state;
	char *much = calloc(1, len);
	struct slice large = {much, len};
	struct link_call *call = NULL;
	struct err err;

	assert_non_null(much);
	b->cfg.task_blob_max_bytes = (int64_t)len;
	b->options.body_max = (uint32_t)link_body_max(&b->cfg);
	linked_start(b, NULL);
	linked_expect(
	    link_task_new(b->link, SLICE("t1"), "me", SLICE(""), 1, 0, large, large, &err), &err, ERR_NONE, "as large as may be");
	large.len = len + LINK_FRAME_SLACK;
	linked_expect(link_task_new(b->link, SLICE("t1"), "me", SLICE(""), 1, 0, large, large, &err), &err, ERR_TOO_BIG, "more");
	linked_expect(link_park(b->link, &call, 1, 1, &late, large, two_asks, UINT16_MAX + 1, &err), &err, ERR_TOO_BIG,
	    "questions that nobody can count");
	linked_expect(link_subscribe(b->link, 1, SLICE(""), "me", true, SLICE(""), &large, UINT16_MAX + 1, &err), &err,
	    ERR_LIMIT, "as many topics");
	linked_expect(link_unsubscribe(b->link, LINKED_SESSION, "me", &large, UINT16_MAX + 1, &err), &err, ERR_LIMIT,
	    "as many topics");
	free(much);
}

/* --- no memory --- */

static void expect_no_leak(long live, const char *what)
{
	const struct timespec step = {.tv_nsec = 2000000};

	for (int i = 0; i < 1000 && mem_fault_live() > live; i++)
		nanosleep(&step, NULL); /* the link thread and the broker may still hold something */
	if (mem_fault_live() > live)
		fail_msg("%s: %ld allocations more than before", what, mem_fault_live() - live);
}

static int watch(struct linked *b, struct err *err)
{
	struct link_task task;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), rc;

	rc = link_task_get(b->link, SLICE("t1"), "me", 3, fd, &task, err);
	link_task_release(&task);
	link_task_unwatch(b->link, SLICE("t1"), fd);
	close(fd);
	return rc;
}

static void test_no_memory(void **state)
{
	struct linked *b = *state;
	struct link_call *call = NULL;
	bool is_reached;
	long live;
	struct err err;
	int rc;

	linked_start(b, NULL);
	linked_expect(link_session_del(b->link, LINKED_SESSION, "me", &err), &err, ERR_NONE, "connect");
	for (size_t i = 0; i <= COUNT_OF(all_types); i++) {
		enum link_type type = i < COUNT_OF(all_types) ? all_types[i] : LINK_TASK_CHANGED;
		long nth = 0;

		live = mem_fault_live();
		if (type == LINK_PARK)
			linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
		do {
			mem_fault_at(nth++, 1);
			rc = type == LINK_TASK_CHANGED ? watch(b, &err) : say(b, type, &call, &err);
			is_reached = mem_fault_end();
			linked_expect(rc, &err, is_reached ? ERR_NOMEM : ERR_NONE, link_type_name(type));
		} while (is_reached);
		assert_true(nth > 1);
		expect_no_leak(live, link_type_name(type));
	}
}

/* --- the runner's side --- */

struct heard {
	pthread_mutex_t mtx;
	int runs, inputs, lost;
	char text[256];
};

static void on_run(void *arg, struct slice id, struct slice principal, uint64_t ttl_ms, struct slice job)
{
	struct heard *h = arg;

	pthread_mutex_lock(&h->mtx);
	h->runs++;
	snprintf(h->text, sizeof(h->text), "%.*s %.*s %d %.*s", (int)id.len, id.p, (int)principal.len, principal.p,
	    (int)ttl_ms, (int)job.len, job.p);
	pthread_mutex_unlock(&h->mtx);
}

static void on_input(void *arg, struct slice id, enum link_task_what what, struct slice body)
{
	struct heard *h = arg;

	pthread_mutex_lock(&h->mtx);
	h->inputs++;
	snprintf(h->text, sizeof(h->text), "%.*s %d %.*s", (int)id.len, id.p, what, (int)body.len, body.p);
	pthread_mutex_unlock(&h->mtx);
}

static void on_lost(void *arg)
{
	struct heard *h = arg;

	pthread_mutex_lock(&h->mtx);
	h->lost++;
	pthread_mutex_unlock(&h->mtx);
}

static void expect_heard(struct heard *h, const int *count, int want, const char *text)
{
	const struct timespec step = {.tv_nsec = 5000000};
	bool is_there = false;

	for (int i = 0; i < 1000 && !is_there; i++) {
		pthread_mutex_lock(&h->mtx);
		is_there = *count == want && (!text || strcmp(h->text, text) == 0);
		pthread_mutex_unlock(&h->mtx);
		if (!is_there)
			nanosleep(&step, NULL);
	}
	if (!is_there)
		fail_msg("heard \"%s\" %d times, want \"%s\" %d times", h->text, *count, text ? text : "", want);
}

static void on_list(void *arg, struct buf *out)
{
	(void)arg;
	link_put_u32(out, 1);
	link_put_bytes(out, SLICE("t1"));
}

/* CANCEL's id says what. */
static bool give_work(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	static const char long_key[LINK_KEY_MAX + 1] = "long";
	struct slice body = msg->body, id;
	bool bad = false;
	struct buf out;

	(void)arg;
	if (msg->head.type != LINK_CANCEL)
		return false;
	link_get_bytes(&body, &bad);
	id = link_get_bytes(&body, &bad);
	buf_init(&out, 256);
	if (slice_is(id, "run")) {
		link_put_bytes(&out, SLICE("me"));
		link_put_u64(&out, 60000);
		link_put_bytes(&out, SLICE("job"));
		fake_broker_tell(fb, LINK_TASK_RUN, (struct slice){long_key, sizeof(long_key)}, buf_slice(&out));
		fake_broker_tell(fb, LINK_TASK_RUN, SLICE("t1"), buf_slice(&out));
	} else if (slice_is(id, "input")) {
		link_put_u8(&out, LINK_TASK_ANSWERS);
		link_put_bytes(&out, SLICE("{}"));
		fake_broker_tell(fb, LINK_TASK_INPUT, SLICE("t1"), buf_slice(&out));
	} else if (slice_is(id, "garbage")) {
		fake_broker_tell(fb, LINK_TASK_RUN, SLICE("t1"), SLICE("short"));
		fake_broker_tell(fb, LINK_TASK_INPUT, SLICE("t1"), SLICE("\1"));
		fake_broker_tell(fb, LINK_TASK_INPUT, SLICE("t1"), SLICE("\3\0\0\0\0"));
		fake_broker_tell(fb, LINK_TASK_CHANGED, SLICE(""), SLICE("?"));
	} else if (!(msg->head.flags & LINK_RETRY)) {
		fake_broker_hang_up(fb);
	}
	buf_release(&out);
	return false;
}

static void order(struct linked *b, const char *what, enum err_code want)
{
	struct err err;

	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", slice_str(what), &err), &err, want, what);
}

static void test_runner(void **state)
{
	struct linked *b = *state;
	struct heard h = {.mtx = PTHREAD_MUTEX_INITIALIZER};
	const struct link_runner runner = {on_run, on_input, on_lost, on_list, &h};
	struct err err;

	linked_expect(link_join(b->link, &runner, &err), &err, ERR_BROKER, "nobody there");
	linked_start(b, give_work);
	linked_expect(link_join(b->link, &runner, &err), &err, ERR_NONE, "join");
	assert_int_equal(fake_broker_role(b->broker), LINK_ROLE_RUNNER);
	linked_expect(link_join(b->link, &runner, &err), &err, ERR_NONE, "joined already");
	order(b, "garbage", ERR_NONE);
	order(b, "run", ERR_NONE);
	expect_heard(&h, &h.runs, 1, "t1 me 60000 job");
	order(b, "input", ERR_NONE);
	expect_heard(&h, &h.inputs, 1, "t1 1 {}");
	order(b, "leave", ERR_NONE);
	expect_heard(&h, &h.lost, 1, NULL);
	linked_expect(link_join(b->link, &runner, &err), &err, ERR_NONE, "join again");
	assert_int_equal(fake_broker_role(b->broker), LINK_ROLE_RUNNER);
	assert_int_equal(fake_broker_count(b->broker, LINK_HELLO), 2);
	order(b, "run", ERR_NONE);
	expect_heard(&h, &h.runs, 2, "t1 me 60000 job");
	link_free(&b->link);
	assert_int_equal(h.lost, 1); /* who leaves by itself knows */
	pthread_mutex_destroy(&h.mtx);
}

static void test_worker_gets_work(void **state)
{
	struct linked *b = *state;
	struct err err;

	linked_start(b, give_work);
	order(b, "run", ERR_NONE);
	order(b, "input", ERR_NONE);
	order(b, "garbage", ERR_NONE);
	linked_expect(link_session_del(b->link, LINKED_SESSION, "me", &err), &err, ERR_NONE, "it lives on");
	assert_int_equal(fake_broker_role(b->broker), LINK_ROLE_WORKER);
}

/* --- starting a runner --- */

/* One has joined when the file is there. */
static bool need_runner(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	const struct linked *b = arg;
	char path[128];

	snprintf(path, sizeof(path), "%s/there", b->dir);
	if (msg->head.type != LINK_TASK_NEW || access(path, F_OK) == 0)
		return false;
	fake_broker_nack(fb, msg->head.seq, LINK_NACK_NO_RUNNER, 0);
	return true;
}

static void *task_maker(void *arg)
{
	struct err err;

	return (void *)(uintptr_t)say(arg, LINK_TASK_NEW, NULL, &err);
}

static void test_start_runner(void **state)
{
	struct linked *b = *state;
	pthread_t threads[8];
	struct err err;
	void *rc;

	linked_program(b, "runner", "sleep 0.1; : >there", b->runner_program);
	linked_start(b, need_runner);
	linked_expect(say(b, LINK_TASK_NEW, NULL, &err), &err, ERR_RUNNER, "none may be started");
	linked_expect(link_runner_ensure(b->link, &err), &err, ERR_NONE, "somebody else's business");
	assert_int_equal(linked_starts(b), 0);
	b->cfg.runner_autostart = true;
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, task_maker, b), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++) {
		pthread_join(threads[i], &rc);
		assert_int_equal((uintptr_t)rc, 0);
	}
	assert_int_equal(linked_starts(b), 1);
	linked_expect(link_runner_ensure(b->link, &err), &err, ERR_NONE, "it is there");
	assert_int_equal(linked_starts(b), 1);
}

/* The one that was started found another one, which joins somewhat later. */
static void test_runner_joins_later(void **state)
{
	struct linked *b = *state;
	struct err err;

	b->cfg.runner_autostart = true;
	linked_program(b, "runner", "(sleep 0.2; : >there) >/dev/null 2>&1 &", b->runner_program);
	linked_start(b, need_runner);
	linked_expect(say(b, LINK_TASK_NEW, NULL, &err), &err, ERR_NONE, "later");
	assert_int_equal(linked_starts(b), 1);
	assert_in_range(fake_broker_count(b->broker, LINK_TASK_NEW), 3, 30);
}

static void test_runner_does_not_start(void **state)
{
	struct linked *b = *state;
	uint64_t began_ms = now_ms();
	struct err err;

	b->cfg.runner_autostart = true;
	linked_program(b, "runner", "exit 3", b->runner_program);
	linked_start(b, need_runner);
	for (int i = 0; i < 5; i++)
		linked_expect(say(b, LINK_TASK_NEW, NULL, &err), &err, ERR_RUNNER, "it fails");
	linked_expect(link_runner_ensure(b->link, &err), &err, ERR_RUNNER, "it fails");
	if (!strstr(err.msg, "mcp-runner ended with status 3"))
		fail_msg("said \"%s\"", err.msg);
	assert_int_equal(linked_starts(b), 1);
	assert_in_range(now_ms() - began_ms, 0, 900);
}

/* It would wait in vain. Where there is a broker nobody needs to have asked it anything; and who is the runner starts
 * none. */
static void test_runner_needs_a_broker(void **state)
{
	struct linked *b = *state;
	struct heard h = {.mtx = PTHREAD_MUTEX_INITIALIZER};
	const struct link_runner runner = {on_run, on_input, on_lost, on_list, &h};
	struct err err;

	b->cfg.runner_autostart = true;
	linked_program(b, "runner", ": >there", b->runner_program);
	linked_expect(link_runner_ensure(b->link, &err), &err, ERR_RUNNER, "no broker");
	assert_int_equal(linked_starts(b), 0);
	linked_start(b, need_runner);
	for (int i = 0; i < 2; i++) { /* one that knows of no start yet */
		link_free(&b->link);
		b->link = link_new(&b->cfg);
		assert_non_null(b->link);
		if (i == 1)
			linked_expect(link_join(b->link, &runner, &err), &err, ERR_NONE, "join");
		linked_expect(link_runner_ensure(b->link, &err), &err, ERR_NONE, i ? "it is one" : "a broker");
		assert_int_equal(linked_starts(b), 1);
	}
}

/* It says that all is well, but no runner comes: no longer than any other question. */
static void test_runner_never_joins(void **state)
{
	struct linked *b = *state;
	uint64_t began_ms = now_ms();
	struct err err;

	b->cfg.runner_autostart = true;
	b->cfg.link_timeout_ms = 300;
	linked_program(b, "runner", "exit 0", b->runner_program);
	linked_start(b, need_runner);
	linked_expect(say(b, LINK_TASK_NEW, NULL, &err), &err, ERR_RUNNER, "none");
	assert_in_range(now_ms() - began_ms, 290, 3000);
	assert_int_equal(linked_starts(b), 1);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, linked_setup, linked_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_bodies_of_calls),
	    TEST(test_bodies_of_topics),
	    TEST(test_bodies_of_tasks),
	    TEST(test_lost_acks),
	    TEST(test_nacks),
	    TEST(test_short_answers),
	    TEST(test_answers_that_take_nothing),
	    TEST(test_cancel_taken),
	    TEST(test_broker_gone),
	    TEST(test_watch),
	    TEST(test_ids_of_clients),
	    TEST(test_large_tasks),
	    TEST(test_no_memory),
	    TEST(test_runner),
	    TEST(test_worker_gets_work),
	    TEST(test_start_runner),
	    TEST(test_runner_joins_later),
	    TEST(test_runner_does_not_start),
	    TEST(test_runner_needs_a_broker),
	    TEST(test_runner_never_joins),
	};

	log_init("test_link_task", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
