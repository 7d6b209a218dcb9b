/* The worker's end of the link against a broker that a test bends to its will (tests/lib/fake_broker.h). */
#include "config.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "tests/lib/linked.h"
#include "common/banned.h"

static void test_each_message(void **state)
{
	struct linked *b = *state;
	struct slice events[2] = {SLICE("{\"a\":1}"), SLICE("{\"b\":2}")};
	uint64_t version = 0, stream = 0, cursor = 0;
	struct link_call *call = NULL, *modern = NULL;
	struct err err;

	linked_start(b, NULL);
	assert_false(link_is_up(b->link));
	linked_expect(
	    link_session_put(b->link, LINKED_SESSION, "me", SLICE(""), 0, 0, SLICE("{}"), &version, &err), &err, ERR_NONE, "put");
	assert_true(link_is_up(b->link));
	assert_int_equal(version, 1);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
	assert_int_equal(call->session_stream, 7);
	assert_int_equal(call->session_version, call->number);
	assert_true(slice_is(buf_slice(&call->blob), "{\"blob\":1}"));
	linked_expect(
	    link_open_stream(b->link, LINKED_SESSION, 0, NULL, 0, &call, &stream, &err), &err, ERR_NONE, "open");
	assert_int_equal(stream, 101);
	linked_expect(link_append(b->link, stream, SLICE("{}"), false, &err), &err, ERR_NONE, "append");
	linked_expect(link_append(b->link, stream, SLICE("{}"), true, &err), &err, ERR_NONE, "durable append");
	linked_expect(link_finish(b->link, call, stream, events, 2, &err), &err, ERR_NONE, "finish");
	link_call_end(b->link, &call);
	assert_null(call);
	linked_expect(link_open_stream(b->link, SLICE(""), LINK_STREAM_MODERN, &linked_will, 1, &modern, &stream, &err),
	    &err, ERR_NONE, "open modern");
	assert_non_null(modern);
	link_call_end(b->link, &modern);
	linked_expect(
	    link_attach(b->link, LINKED_SESSION, "me", SLICE("9"), &stream, &cursor, &err), &err, ERR_NONE, "attach");
	assert_int_equal(stream, 8);
	assert_int_equal(cursor, 5);
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("1"), &err), &err, ERR_NONE, "cancel");
	linked_expect(link_session_del(b->link, LINKED_SESSION, "me", &err), &err, ERR_NONE, "del");
	/* The modern call was not finished, the legacy one was. */
	assert_int_equal(fake_broker_wait(b->broker, LINK_CALL_END, 1), 1);
	assert_int_equal(fake_broker_count(b->broker, LINK_APPEND), 2);
	assert_int_equal(fake_broker_count(b->broker, LINK_HELLO), 1);
}

static void test_session_only(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	struct err err;

	linked_start(b, NULL);
	linked_expect(link_call_begin(b->link, LINKED_SESSION, "me", 0, NULL, 0, &call, &err), &err, ERR_NONE, "begin");
	assert_int_equal(call->number, 0);
	assert_int_equal(call->cancel_fd, -1);
	link_call_end(b->link, &call);
	linked_expect(
	    link_cancel(b->link, LINKED_SESSION, "me", SLICE("1"), &err), &err, ERR_NONE, "something after it");
	assert_int_equal(fake_broker_count(b->broker, LINK_CALL_END), 0);
}

static void *caller(void *arg)
{
	struct linked *b = arg;
	struct link_call *call;
	struct err err;
	uintptr_t bad = 0;

	for (int i = 0; i < 200; i++) {
		if (linked_begin(b, &call, &err) || call->session_version != call->number)
			bad++;
		link_call_end(b->link, &call);
	}
	return (void *)bad;
}

/* All of them need the first connection at once, and each must get its own answers. */
static void run_threads(struct linked *b)
{
	pthread_t threads[16];
	void *bad;

	linked_start(b, NULL);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, caller, b), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++) {
		pthread_join(threads[i], &bad);
		assert_ptr_equal(bad, NULL);
	}
	assert_int_equal(fake_broker_count(b->broker, LINK_HELLO), 1);
	assert_int_equal(fake_broker_wait(b->broker, LINK_CALL_END, 3200), 3200);
}

static void test_threads(void **state)
{
	run_threads(*state);
}

/* --- calls by sockets of their own --- */

static void test_threads_by_ctl(void **state)
{
	struct linked *b = *state;

	b->options.takes_calls = true;
	run_threads(b);
}

static atomic_uint by_ctl_count;
static struct link_header by_ctl_last, by_data_last;

static bool note_way(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	(void)fb, (void)arg;
	if (msg->by_ctl) {
		by_ctl_last = msg->head;
		by_ctl_count++;
	} else {
		by_data_last = msg->head;
	}
	return false;
}

/* Without a connection a question goes by the data channel, behind the handshake. */
static void connect_to(struct linked *b, bool (*hook)(struct fake_broker *fb, const struct fake_msg *msg, void *arg))
{
	struct err err;

	by_ctl_count = 0;
	b->options.takes_calls = true;
	linked_start(b, hook);
	linked_expect(link_session_del(b->link, LINKED_SESSION, "me", &err), &err, ERR_NONE, "del");
}

static void test_by_ctl(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	uint64_t stream;
	struct err err;

	connect_to(b, note_way);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
	assert_int_equal(by_ctl_count, 1);
	assert_int_equal(call->number, by_ctl_last.seq);
	assert_int_equal(call->session_stream, 7);
	assert_int_equal(call->session_version, call->number);
	assert_true(slice_is(buf_slice(&call->blob), "{\"blob\":1}"));
	link_call_end(b->link, &call);
	assert_int_equal(fake_broker_wait(b->broker, LINK_CALL_END, 1), 1);
	assert_int_equal(by_ctl_count, 2);

	/* What has a stream ends behind what was said of it on the data channel. */
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
	linked_expect(link_open_stream(b->link, LINKED_SESSION, 0, NULL, 0, &call, &stream, &err), &err, ERR_NONE, "open");
	assert_int_equal(by_ctl_count, 3);
	link_call_end(b->link, &call);
	assert_int_equal(fake_broker_wait(b->broker, LINK_CALL_END, 2), 2);
	assert_int_equal(by_ctl_count, 3);
	assert_int_equal(by_data_last.type, LINK_CALL_END);

	/* What the store has to keep. */
	linked_expect(link_call_begin(b->link, LINKED_SESSION, "me", LINK_CALL_ON_SESSION_STREAM, &linked_will, 1, &call,
			  &err), &err, ERR_NONE, "on the session's stream");
	assert_int_equal(by_ctl_count, 3);
	link_call_end(b->link, &call);

	/* What only asks for the session, more often than there may be sockets. */
	for (int i = 0; i < 2 * LINK_CALLERS_MAX; i++) {
		linked_expect(link_call_begin(b->link, LINKED_SESSION, "me", 0, NULL, 0, &call, &err), &err, ERR_NONE, "ask");
		link_call_end(b->link, &call);
	}
	assert_int_equal(by_ctl_count, 3 + 2 * LINK_CALLERS_MAX);
	assert_int_equal(fake_broker_count(b->broker, LINK_CALLER), 1);
}

static bool lose_by_ctl(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	note_way(fb, msg, arg);
	return msg->by_ctl;
}

/* It is said again the other way, not before the first try has lost its effect; and so is the end. */
static void test_lost_by_ctl(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	uint64_t began_ms = now_ms();
	struct err err;

	connect_to(b, lose_by_ctl);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
	assert_true(now_ms() >= by_ctl_last.deadline_ms);
	assert_true(by_ctl_last.deadline_ms > began_ms);
	assert_int_equal(by_data_last.seq, by_ctl_last.seq);
	assert_int_equal(by_data_last.flags & LINK_RETRY, LINK_RETRY);
	assert_true(by_data_last.deadline_ms > by_ctl_last.deadline_ms);
	link_call_end(b->link, &call);
	assert_int_equal(fake_broker_wait(b->broker, LINK_CALL_END, 1), 1);
	assert_int_equal(by_ctl_count, 1);
}

static bool hang_up_once(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	note_way(fb, msg, arg);
	if (by_ctl_count != 2 || !msg->by_ctl)
		return false;
	fake_broker_hang_up(fb);
	return true;
}

/* A call that began on an earlier connection may be begun again on this one's data channel: there it ends. A question
 * whose connection is gone is asked on the next one, at once. */
static void test_next_connection_by_ctl(void **state)
{
	struct linked *b = *state;
	struct link_call *old, *young;
	struct err err;

	connect_to(b, hang_up_once);
	linked_expect(linked_begin(b, &old, &err), &err, ERR_NONE, "begin");
	linked_expect(linked_begin(b, &young, &err), &err, ERR_NONE, "begin on a connection that breaks");
	assert_int_equal(fake_broker_count(b->broker, LINK_HELLO), 2);
	assert_int_equal(young->number, by_data_last.seq);
	link_call_end(b->link, &old);
	link_call_end(b->link, &young);
	assert_int_equal(fake_broker_wait(b->broker, LINK_CALL_END, 2), 2);
	assert_int_equal(by_ctl_count, 2);
	linked_expect(linked_begin(b, &young, &err), &err, ERR_NONE, "begin by the next one");
	assert_int_equal(by_ctl_count, 3);
	link_call_end(b->link, &young);
}

/* --- events by such sockets --- */

static void connect_for_events(
    struct linked *b, bool (*hook)(struct fake_broker *fb, const struct fake_msg *msg, void *arg))
{
	b->options.takes_events = true;
	connect_to(b, hook);
}

static void append(struct linked *b, uint64_t stream, bool durable)
{
	struct err err;

	linked_expect(link_append(b->link, stream, SLICE("{}"), durable, &err), &err, ERR_NONE, "append");
}

static void test_events_by_ctl(void **state)
{
	struct linked *b = *state;
	struct slice event = SLICE("{}");
	static char much[LINK_PACKET_MAX];
	struct link_call *call;
	uint64_t stream;
	struct err err;

	connect_for_events(b, note_way);
	append(b, 7, true);
	assert_int_equal(by_ctl_count, 1);
	assert_int_equal(by_ctl_last.flags, LINK_DURABLE | LINK_WANT_ACK);

	/* Behind one that nobody waits for, until that must have been read; one of another stream is none. */
	append(b, 7, false);
	append(b, 8, true);
	assert_int_equal(by_ctl_count, 2);
	append(b, 7, true);
	assert_int_equal(by_ctl_count, 2);
	append(b, 7, true);
	assert_int_equal(by_ctl_count, 3);

	linked_expect(link_append(b->link, 7, (struct slice){much, sizeof(much)}, true, &err), &err, ERR_NONE, "long");
	assert_int_equal(by_ctl_count, 3);
	assert_int_equal(fake_broker_count(b->broker, LINK_CALLER), 1);

	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
	linked_expect(
	    link_open_stream(b->link, LINKED_SESSION, 0, NULL, 0, &call, &stream, &err), &err, ERR_NONE, "open");
	linked_expect(link_finish(b->link, call, stream, &event, 1, &err), &err, ERR_NONE, "finish");
	assert_int_equal(by_ctl_last.type, LINK_FINISH);
	assert_int_equal(by_ctl_last.corr, call->number);
	link_call_end(b->link, &call);
}

/* It is the same event, and spends no credit, whichever of the two is read first. */
static void test_event_lost_by_ctl(void **state)
{
	struct linked *b = *state;

	connect_for_events(b, lose_by_ctl);
	append(b, 7, true);
	assert_int_equal(by_ctl_count, 1);
	assert_int_equal(by_data_last.seq, by_ctl_last.seq);
	assert_int_equal(by_data_last.flags & LINK_RETRY, LINK_RETRY);
	assert_true(now_ms() >= by_ctl_last.deadline_ms);
	assert_true(by_data_last.deadline_ms > by_ctl_last.deadline_ms);
}

static unsigned refusal;

static bool refuse_by_ctl(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	note_way(fb, msg, arg);
	if (msg->by_ctl)
		fake_broker_nack(fb, msg->head.seq, refusal, 0);
	return msg->by_ctl;
}

/* It had no effect: the same is said again; but under another number if this one's place in the window is gone. */
static void test_event_refused_by_ctl(void **state)
{
	static const struct {
		enum link_nack nack;
		bool is_renamed;
	} cases[] = {{LINK_NACK_BUSY, false}, {LINK_NACK_BAD, false}, {LINK_NACK_EXPIRED, true}};
	struct linked *b = *state;
	struct err err;

	connect_for_events(b, refuse_by_ctl);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		refusal = cases[i].nack;
		append(b, 7, true);
		assert_int_equal(by_ctl_count, i + 1);
		assert_int_equal(by_data_last.seq > by_ctl_last.seq, cases[i].is_renamed);
		assert_true(by_data_last.seq >= by_ctl_last.seq);
		assert_int_equal(by_data_last.flags & LINK_RETRY, LINK_RETRY);
	}
	refusal = LINK_NACK_CLOSED;
	linked_expect(link_append(b->link, 7, SLICE("{}"), true, &err), &err, ERR_GONE, "closed");
}

static bool hang_up_on_event(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	note_way(fb, msg, arg);
	if (by_ctl_count != 1 || !msg->by_ctl)
		return false;
	fake_broker_hang_up(fb);
	return true;
}

/* On the next connection nothing goes this way before RETURN was read. */
static void test_event_on_next_connection(void **state)
{
	struct linked *b = *state;

	connect_for_events(b, hang_up_on_event);
	append(b, 7, true);
	assert_int_equal(fake_broker_count(b->broker, LINK_HELLO), 2);
	assert_int_equal(by_data_last.seq, by_ctl_last.seq); /* named before RETURN: it tells nothing of that */
	append(b, 7, true);
	assert_int_equal(by_ctl_count, 1);
	append(b, 7, true);
	assert_int_equal(by_ctl_count, 2);
}

/* --- what gets lost --- */

static struct link_header first_try, second_try;

static bool lose_first(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	(void)arg;
	if (msg->head.type != LINK_CALL_BEGIN)
		return false;
	if (fake_broker_count(fb, LINK_CALL_BEGIN) == 0) {
		first_try = msg->head;
		return true;
	}
	second_try = msg->head;
	return false;
}

static void test_lost_ack(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	struct err err;

	linked_start(b, lose_first);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
	assert_int_equal(fake_broker_wait(b->broker, LINK_CALL_BEGIN, 2), 2);
	assert_int_equal(first_try.seq, second_try.seq);
	assert_int_equal(first_try.producer, second_try.producer);
	assert_int_equal(first_try.deadline_ms, second_try.deadline_ms);
	assert_int_equal(first_try.flags & LINK_RETRY, 0);
	assert_int_equal(second_try.flags & LINK_RETRY, LINK_RETRY);
	link_call_end(b->link, &call);
}

static bool be_silent(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	(void)fb;
	(void)arg;
	return msg->head.type == LINK_CALL_BEGIN;
}

/* Whether the broker began the call is not known, so it is told the end. */
static void test_deadline(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	uint64_t began_ms;
	struct err err;

	b->cfg.link_timeout_ms = 1500;
	linked_start(b, be_silent);
	began_ms = now_ms();
	linked_expect(linked_begin(b, &call, &err), &err, ERR_EXPIRED, "begin");
	assert_null(call);
	assert_in_range(now_ms() - began_ms, 1490, 2500);
	assert_in_range(fake_broker_count(b->broker, LINK_CALL_BEGIN), 2, 4); /* at 0, 250, 750 ms or somewhat later */
	assert_int_equal(fake_broker_wait(b->broker, LINK_CALL_END, 1), 1);
}

static _Atomic enum link_nack nack_code;

static bool say_no(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	(void)arg;
	if (msg->head.type == LINK_CALL_END)
		return false;
	fake_broker_nack(fb, msg->head.seq, nack_code, 0);
	return true;
}

static void test_nacks(void **state)
{
	static const enum err_code want[LINK_NACK__COUNT] = {
	    [LINK_NACK_BUSY] = ERR_BUSY,
	    [LINK_NACK_NO_SESSION] = ERR_NO_SESSION,
	    [LINK_NACK_DUPLICATE_ID] = ERR_DUPLICATE,
	    [LINK_NACK_CLOSED] = ERR_GONE,
	    [LINK_NACK_TOO_BIG] = ERR_TOO_BIG,
	    [LINK_NACK_EXPIRED] = ERR_EXPIRED,
	    [LINK_NACK_VERSION] = ERR_BUSY,
	    [LINK_NACK_LIMIT] = ERR_LIMIT,
	    [LINK_NACK_GAP] = ERR_GAP,
	    [LINK_NACK_DELIVERED] = ERR_DELIVERED,
	    [LINK_NACK_BAD] = ERR_LINK,
	    [LINK_NACK_NO_TASK] = ERR_NO_TASK,
	    [LINK_NACK_NO_RUNNER] = ERR_RUNNER,
	};
	struct linked *b = *state;
	struct link_call *call = NULL;
	uint64_t stream, cursor, version;
	struct err err;

	linked_start(b, say_no);
	for (unsigned code = LINK_NACK_BUSY; code < LINK_NACK__COUNT; code++) {
		nack_code = (enum link_nack)code;
		linked_expect(linked_begin(b, &call, &err), &err, want[code], link_nack_name(code));
		assert_null(call);
		linked_expect(link_attach(b->link, LINKED_SESSION, "me", SLICE(""), &stream, &cursor, &err), &err,
		    want[code], "attach");
		linked_expect(link_session_put(b->link, LINKED_SESSION, "me", SLICE(""), 1, 0, SLICE("{}"), &version, &err), &err,
		    want[code], "put");
		linked_expect(link_open_stream(b->link, SLICE(""), 0, &linked_will, 1, &call, &stream, &err), &err,
		    want[code], "open");
		assert_null(call);
	}
	assert_int_equal(fake_broker_count(b->broker, LINK_CALL_END), 0); /* what was refused never began */
}

static bool be_busy(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	(void)arg;
	if (msg->head.type != LINK_CALL_BEGIN || fake_broker_count(fb, LINK_CALL_BEGIN) == 3)
		return false;
	fake_broker_nack(fb, msg->head.seq, LINK_NACK_BUSY, 30);
	return true;
}

static void test_busy(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	uint64_t began_ms;
	struct err err;

	linked_start(b, be_busy);
	began_ms = now_ms();
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "busy three times");
	assert_in_range(now_ms() - began_ms, 89, 2000);
	link_call_end(b->link, &call);
}

static bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static bool cancel_begun(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	static uint64_t begun;

	(void)arg;
	if (msg->head.type == LINK_CALL_BEGIN)
		begun = msg->head.seq;
	if (msg->head.type == LINK_CANCEL)
		fake_broker_cancelled(fb, begun, "1");
	return false;
}

/* A call's eventfd is the next one's, unless it was written. */
static void test_spare_descriptors(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	struct err err;
	int fd;

	linked_start(b, cancel_begun);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
	fd = call->cancel_fd;
	link_call_end(b->link, &call);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
	assert_int_equal(call->cancel_fd, fd);
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("1"), &err), &err, ERR_NONE, "cancel");
	assert_true(is_readable(fd));
	link_call_end(b->link, &call);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
	assert_false(is_readable(call->cancel_fd));
	link_call_end(b->link, &call);
}

/* --- a broker that goes, or was never there --- */

/* What the last RETURN said of calls. */
static struct {
	uint32_t calls, tasks;
	uint64_t number[4], stream[4];
} returned;
static struct link_header begun_last;

static void note_return(const struct fake_msg *msg)
{
	struct slice in = msg->body;
	bool bad = false;

	returned.calls = link_get_u32(&in, &bad);
	for (uint32_t i = 0; i < returned.calls && i < COUNT_OF(returned.number); i++) {
		returned.number[i] = link_get_u64(&in, &bad);
		returned.stream[i] = link_get_u64(&in, &bad);
	}
	returned.tasks = link_get_u32(&in, &bad);
	DIE_UNLESS(!bad && in.len == 0);
}

static bool hang_up(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	(void)arg;
	if (msg->head.type == LINK_CANCEL && !(msg->head.flags & LINK_RETRY)) {
		first_try = msg->head;
		fake_broker_hang_up(fb);
		return true;
	}
	if (msg->head.type == LINK_CANCEL)
		second_try = msg->head;
	if (msg->head.type == LINK_CALL_BEGIN)
		begun_last = msg->head;
	if (msg->head.type == LINK_RETURN)
		note_return(msg);
	return false;
}

static void *finisher(void *arg)
{
	struct linked *b = arg;
	struct err err = {0};

	return (void *)(uintptr_t)(link_finish(b->link, b->call, 101, NULL, 0, &err) ? err.code : ERR_NONE);
}

/* A call, and a question without an answer, go on with the connection that follows, and with the broker that follows. */
static void test_broker_gone(void **state)
{
	struct linked *b = *state;
	struct link_call *young;
	pthread_t thread;
	struct err err;
	void *code;

	linked_start(b, hang_up);
	linked_expect(linked_begin(b, &b->call, &err), &err, ERR_NONE, "begin");
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("1"), &err), &err, ERR_NONE, "a waiter");
	assert_int_equal(first_try.seq, second_try.seq);
	assert_int_equal(first_try.producer, second_try.producer);
	assert_int_equal(fake_broker_count(b->broker, LINK_HELLO), 2);
	assert_int_equal(fake_broker_wait(b->broker, LINK_RETURN, 1), 1);
	assert_int_equal(returned.calls, 1);
	assert_int_equal(returned.number[0], b->call->number);
	assert_int_equal(returned.stream[0], 0);
	assert_int_equal(fake_broker_count(b->broker, LINK_CALL_BEGIN), 2); /* it was not known there */
	assert_int_equal(begun_last.seq, b->call->number);

	b->options.is_known = true;
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("1"), &err), &err, ERR_NONE, "another waiter");
	assert_int_equal(fake_broker_wait(b->broker, LINK_RETURN, 2), 2);
	assert_int_equal(fake_broker_count(b->broker, LINK_CALL_BEGIN), 2);

	fake_broker_stop(&b->broker);
	linked_expect(linked_begin(b, &young, &err), &err, ERR_BROKER, "nobody is there");
	assert_int_equal(pthread_create(&thread, NULL, finisher, b), 0);
	b->broker = fake_broker_start(b->dir, &b->options);
	pthread_join(thread, &code);
	assert_int_equal((uintptr_t)code, ERR_NONE);
	link_call_end(b->link, &b->call);
	linked_expect(linked_begin(b, &young, &err), &err, ERR_NONE, "the next one");
	link_call_end(b->link, &young);
	assert_int_equal(fake_broker_wait(b->broker, LINK_CALL_END, 1), 1); /* only of the young one */
}

/* /health: a broker that nobody has needed is not missed; one that is gone is, and is looked for. */
static void test_check(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	struct err err;

	linked_expect(link_check(b->link, &err), &err, ERR_NONE, "nobody has asked");
	linked_expect(linked_begin(b, &call, &err), &err, ERR_BROKER, "nobody is there");
	linked_expect(link_check(b->link, &err), &err, ERR_BROKER, "it is missed");
	linked_start(b, hang_up);
	linked_expect(link_check(b->link, &err), &err, ERR_NONE, "it is back");
	assert_true(link_is_up(b->link));
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("1"), &err), &err, ERR_NONE, "it goes, and is back");
	linked_expect(link_check(b->link, &err), &err, ERR_NONE, "another connection");
	fake_broker_stop(&b->broker);
	for (int i = 0; i < 4000 && link_is_up(b->link); i++)
		poll(NULL, 0, 5);
	linked_expect(link_check(b->link, &err), &err, ERR_BROKER, "it is gone");
}

static bool be_busy_without_end(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	(void)arg;
	if (msg->head.type != LINK_CALL_BEGIN)
		return false;
	fake_broker_nack(fb, msg->head.seq, LINK_NACK_BUSY, 0);
	return true;
}

static bool stay_silent(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	(void)fb, (void)arg;
	return msg->head.type == LINK_CALL_BEGIN;
}

static void test_check_busy(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	struct err err;

	linked_start(b, be_busy_without_end);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_BUSY, "busy");
	linked_expect(link_check(b->link, &err), &err, ERR_BUSY, "it was busy");
}

static void test_check_silent(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	struct err err;

	b->cfg.link_timeout_ms = 200;
	linked_start(b, stay_silent);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_EXPIRED, "no answer");
	linked_expect(link_check(b->link, &err), &err, ERR_BUSY, "it did not answer");
}

/* The next broker says which streams it does not have. */
static void test_broker_gone_with_streams(void **state)
{
	struct linked *b = *state;
	struct link_call *plain, *streamed, *modern = NULL;
	uint64_t stream;
	struct err err;

	linked_start(b, hang_up);
	linked_expect(linked_begin(b, &plain, &err), &err, ERR_NONE, "begin");
	linked_expect(linked_begin(b, &streamed, &err), &err, ERR_NONE, "begin another");
	linked_expect(
	    link_open_stream(b->link, LINKED_SESSION, 0, NULL, 0, &streamed, &stream, &err), &err, ERR_NONE, "open");
	linked_expect(link_open_stream(b->link, SLICE(""), LINK_STREAM_MODERN, &linked_will, 1, &modern, &stream, &err),
	    &err, ERR_NONE, "open modern");
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("1"), &err), &err, ERR_NONE, "a waiter");
	assert_int_equal(returned.calls, 3);
	for (unsigned i = 0; i < 3; i++) {
		if ((returned.number[i] == plain->number) != (returned.stream[i] == 0))
			fail_msg("call %u has stream %u", (unsigned)returned.number[i], (unsigned)returned.stream[i]);
	}
	assert_int_equal(fake_broker_count(b->broker, LINK_CALL_BEGIN), 3); /* the plain one again */
	assert_int_equal(begun_last.seq, plain->number);
	assert_false(link_call_id_cancelled(b->link, streamed, SLICE("1")));
	assert_false(link_call_id_cancelled(b->link, modern, SLICE("1")));
	link_call_end(b->link, &plain);
	link_call_end(b->link, &streamed);
	link_call_end(b->link, &modern);
}

/* 16 threads wait while it goes: each gets its error, and then its answer from the next one. */
static void *insister(void *arg)
{
	struct linked *b = arg;
	struct link_call *call;
	struct err err = {0};
	uint64_t until_ms = now_ms() + 4000;
	uintptr_t good = 0;

	while (good < 50 && now_ms() < until_ms) {
		const struct timespec step = {.tv_nsec = 2000000};

		if (linked_begin(b, &call, &err) == 0)
			good++;
		else if (err.code != ERR_BROKER)
			return (void *)(uintptr_t)1000;
		link_call_end(b->link, &call);
		nanosleep(&step, NULL);
	}
	return (void *)good;
}

static void test_broker_gone_under_load(void **state)
{
	const struct timespec pause = {.tv_nsec = 30000000};
	struct linked *b = *state;
	pthread_t threads[16];
	void *good;

	linked_start(b, NULL);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, insister, b), 0);
	for (int i = 0; i < 3; i++) {
		nanosleep(&pause, NULL);
		fake_broker_stop(&b->broker);
		b->broker = fake_broker_start(b->dir, &b->options);
	}
	for (size_t i = 0; i < COUNT_OF(threads); i++) {
		pthread_join(threads[i], &good);
		assert_int_equal((uintptr_t)good, 50);
	}
}

static void test_handshakes(void **state)
{
	static const char nack_version[] =
	    "MCPL\1\37\0\0" /* NACK is 31 */
	    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
	    "\14\0\0\0\0\0\0\0"
	    "\7\0\0\0\0\0\2\0\0\0no";
	static const struct {
		const char *name;
		struct slice welcome;
		unsigned version;
		const char *says;
	} cases[] = {
	    {"an older version", {NULL, 0}, 99, "link version 99"},
	    {"no common version", {nack_version, sizeof(nack_version) - 1}, 0, "broker says version: no"},
	    {"end of file", {"", 0}, 0, "closed instead of WELCOME"},
	    {"garbage", {"HTTP/1.0 400 Bad Request\r\n\r\n0123456789012345678901234567890123456789", 67}, 0, "magic"},
	    {"short", {"M", 1}, 0, "short header"},
	    {"WELCOME without a body", {nack_version, LINK_HEADER_LEN}, 0, "handshake"},
	};
	struct linked *b = *state;
	struct link_call *call;
	struct err err;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		b->options.welcome = cases[i].welcome;
		b->options.version = cases[i].version;
		linked_start(b, NULL);
		linked_expect(linked_begin(b, &call, &err), &err, ERR_BROKER, cases[i].name);
		if (!strstr(err.msg, cases[i].says))
			fail_msg("%s: said \"%s\"", cases[i].name, err.msg);
		fake_broker_stop(&b->broker);
	}
}

static void test_no_broker(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	char long_dir[256];
	struct err err;

	linked_expect(linked_begin(b, &call, &err), &err, ERR_BROKER, "nobody there, none may be started");
	linked_expect(link_append(b->link, 1, SLICE("{}"), true, &err), &err, ERR_BROKER, "append");
	linked_expect(
	    link_adopt(b->link, 0, LINK_KIND_FCGI, 1, 1, 0, 1000, 500, SLICE(""), &err), &err, ERR_BROKER, "adopt");
	memset(long_dir, 'x', sizeof(long_dir) - 1);
	long_dir[sizeof(long_dir) - 1] = '\0';
	b->cfg.run_dir = long_dir;
	linked_expect(linked_begin(b, &call, &err), &err, ERR_BROKER, "a run_dir that is no socket's name");
}

/* A program that can't start must not be started by each request. */
static void test_start_fails(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	struct err err;

	b->cfg.broker_autostart = true;
	snprintf(b->broker_program, sizeof(b->broker_program), "%s/absent", b->dir);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_BROKER, "absent program");
	link_free(&b->link);
	b->link = link_new(&b->cfg);

	linked_program(b, "broker", "exit 3", b->broker_program);
	for (int i = 0; i < 20; i++)
		linked_expect(linked_begin(b, &call, &err), &err, ERR_BROKER, "failing program");
	assert_int_equal(linked_starts(b), 1);
}

/* One that starts, but never gets into the background. */
static void test_start_hangs(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	uint64_t began_ms = now_ms();
	struct err err;

	b->cfg.broker_autostart = true;
	b->cfg.link_timeout_ms = 300;
	linked_program(b, "broker", "exec sleep 60", b->broker_program);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_BROKER, "hanging program");
	assert_in_range(now_ms() - began_ms, 290, 3000);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* it left no child */
}

static bool chatter(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	static const char bad_head[LINK_HEADER_LEN] = "MCPL\1\377";
	static const char short_nack[LINK_HEADER_LEN] = "MCPL\1\37";
	struct slice frames[5] = {SLICE("x"), SLICE(""), SLICE("y"), SLICE(""), SLICE("z")};

	(void)arg;
	if (msg->head.type != LINK_CALL_BEGIN)
		return false;
	fake_broker_send_raw(fb, frames, 1);
	fake_broker_send_raw(fb, frames, 3);
	fake_broker_send_raw(fb, frames, 5);
	frames[0] = (struct slice){bad_head, sizeof(bad_head)};
	fake_broker_send_raw(fb, frames, 3); /* unknown type */
	frames[0] = (struct slice){short_nack, sizeof(short_nack)};
	fake_broker_send_raw(fb, frames, 3);                 /* body length that isn't so */
	fake_broker_send(fb, LINK_HELLO, 0, 0, SLICE(""));   /* not for a worker */
	fake_broker_send(fb, LINK_CREDIT, 0, 0, SLICE("1")); /* short bodies */
	fake_broker_send(fb, LINK_CANCELLED, msg->head.seq, 0, SLICE("\377\377\377\377"));
	fake_broker_send(fb, LINK_NACK, msg->head.seq, 0, SLICE("\1"));
	fake_broker_send(fb, LINK_ACK, 123456, 0, SLICE("")); /* for nobody */
	fake_broker_cancelled(fb, 123456, "");
	return false;
}

static void test_garbage(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	struct err err;

	linked_start(b, chatter);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "the answer after the garbage");
	assert_false(atomic_load(&call->cancelled));
	link_call_end(b->link, &call);
}

static bool short_ack(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	(void)arg;
	if (msg->head.type == LINK_CALL_END)
		return false;
	fake_broker_send(fb, LINK_ACK, msg->head.seq, 1, SLICE("\1\2"));
	return true;
}

static void test_short_answers(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	uint64_t stream, cursor, version;
	struct err err;

	linked_start(b, short_ack);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_LINK, "begin");
	linked_expect(
	    link_attach(b->link, LINKED_SESSION, "me", SLICE(""), &stream, &cursor, &err), &err, ERR_LINK, "attach");
	linked_expect(
	    link_session_put(b->link, LINKED_SESSION, "me", SLICE(""), 0, 0, SLICE(""), &version, &err), &err, ERR_LINK, "put");
	assert_int_equal(fake_broker_wait(b->broker, LINK_CALL_END, 1), 1); /* it was begun */
}

/* --- cancelling --- */

/* CANCEL's id is "first" or "later": CANCELLED comes before the ACK of CALL_BEGIN, or when CANCEL arrives. */
static uint64_t begun;

static bool cancel_some(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	const struct linked *b = arg;
	struct slice body = msg->body;
	bool bad = false;
	char id[64];
	struct slice text;

	if (msg->head.type == LINK_CALL_BEGIN) {
		begun = msg->head.seq;
		if (b->options.credit_bytes == 1) /* this test's way to say "first" */
			fake_broker_cancelled(fb, begun, "1");
	}
	if (msg->head.type == LINK_CANCEL) {
		link_get_bytes(&body, &bad);
		text = link_get_bytes(&body, &bad);
		snprintf(id, sizeof(id), "%.*s", (int)text.len, text.p);
		fake_broker_cancelled(fb, begun, id);
	}
	return false;
}

static void test_cancel_before_ack(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	struct err err;

	b->options.credit_bytes = 1;
	linked_start(b, cancel_some);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
	assert_true(atomic_load(&call->cancelled));
	assert_true(is_readable(call->cancel_fd));
	assert_true(link_call_id_cancelled(b->link, call, SLICE("1")));
	link_call_end(b->link, &call);
}

static void test_cancel(void **state)
{
	struct link_will wills[3] = {
	    {SLICE("1"), SLICE("{}")}, {SLICE("\"a\""), SLICE("{}")}, {SLICE("11"), SLICE("{}")}};
	struct linked *b = *state;
	struct link_call *call;
	struct err err;

	linked_start(b, cancel_some);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin one");
	assert_false(is_readable(call->cancel_fd));
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("1"), &err), &err, ERR_NONE, "cancel");
	assert_true(atomic_load(&call->cancelled));
	link_call_end(b->link, &call);

	linked_expect(
	    link_call_begin(b->link, LINKED_SESSION, "me", 0, wills, 3, &call, &err), &err, ERR_NONE, "begin batch");
	linked_expect(
	    link_cancel(b->link, LINKED_SESSION, "me", SLICE("\"a\""), &err), &err, ERR_NONE, "cancel one of it");
	assert_false(atomic_load(&call->cancelled));
	assert_true(is_readable(call->cancel_fd));
	assert_true(link_call_id_cancelled(b->link, call, SLICE("\"a\"")));
	assert_false(link_call_id_cancelled(b->link, call, SLICE("1")));
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("11"), &err), &err, ERR_NONE, "another");
	assert_true(link_call_id_cancelled(b->link, call, SLICE("11")));
	assert_false(link_call_id_cancelled(b->link, call, SLICE("1")));
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE(""), &err), &err, ERR_NONE, "all of it");
	assert_true(link_call_id_cancelled(b->link, call, SLICE("1")));
	link_call_end(b->link, &call);
	/* Its number is nobody's now. */
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("1"), &err), &err, ERR_NONE, "too late");
}

/* --- limits --- */

static bool keep_credit(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	(void)arg;
	if (msg->head.type == LINK_CANCEL)
		fake_broker_credit(fb, 64);
	if (msg->head.type != LINK_APPEND)
		return false;
	if (msg->head.flags & LINK_WANT_ACK)
		fake_broker_send(fb, LINK_ACK, msg->head.seq, 0, SLICE(""));
	return true;
}

static void test_credit(void **state)
{
	static const char text[60] = "{";
	struct slice event = {text, sizeof(text)}, large = {text, 0};
	struct linked *b = *state;
	char *much = calloc(1, 200);
	struct err err;

	assert_non_null(much);
	large = (struct slice){much, 200};
	b->options.credit_bytes = 100;
	b->cfg.link_timeout_ms = 200;
	linked_start(b, keep_credit);
	linked_expect(link_session_del(b->link, LINKED_SESSION, "me", &err), &err, ERR_NONE, "connect");
	linked_expect(link_append(b->link, 1, event, true, &err), &err, ERR_NONE, "64 of 100 bytes");
	linked_expect(link_append(b->link, 1, event, true, &err), &err, ERR_BUSY, "64 of 36 bytes");
	linked_expect(link_append(b->link, 1, event, false, &err), &err, ERR_BUSY, "the same without an answer");
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("1"), &err), &err, ERR_NONE, "credit comes");
	linked_expect(link_append(b->link, 1, event, false, &err), &err, ERR_NONE, "64 of 100 bytes again");
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("1"), &err), &err, ERR_NONE, "credit comes");
	linked_expect(
	    link_append(b->link, 1, large, false, &err), &err, ERR_NONE, "204 bytes when nothing is under way");
	linked_expect(link_append(b->link, 1, SLICE("{}"), false, &err), &err, ERR_BUSY, "and then nothing");
	free(much);
}

static void test_sizes(void **state)
{
	struct linked *b = *state;
	size_t len = (size_t)b->cfg.body_max_bytes + LINK_FRAME_SLACK;
	char *much = calloc(1, len);
	struct slice large = {much, len};
	struct link_call *call;
	uint64_t version;
	struct err err;

	assert_non_null(much);
	linked_start(b, NULL);
	linked_expect(
	    link_session_put(b->link, LINKED_SESSION, "me", SLICE(""), 0, 0, large, &version, &err), &err, ERR_TOO_BIG, "blob");
	linked_expect(link_append(b->link, 1, large, false, &err), &err, ERR_TOO_BIG, "event");
	large.len = LINK_KEY_MAX + 1;
	linked_expect(
	    link_call_begin(b->link, large, "me", 0, &linked_will, 1, &call, &err), &err, ERR_NO_SESSION, "session id");
	free(much);
}

static bool drain(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	(void)arg;
	if (msg->head.type == LINK_CANCEL)
		fake_broker_send(fb, LINK_DRAIN, 0, 0, SLICE(""));
	return false;
}

static void test_drain(void **state)
{
	struct linked *b = *state;
	struct link_call *call, *modern = NULL;
	uint64_t stream, cursor;
	struct err err;

	linked_start(b, drain);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("1"), &err), &err, ERR_NONE, "cancel");
	linked_expect(
	    link_open_stream(b->link, LINKED_SESSION, 0, NULL, 0, &call, &stream, &err), &err, ERR_BUSY, "open");
	linked_expect(
	    link_open_stream(b->link, SLICE(""), 1, &linked_will, 1, &modern, &stream, &err), &err, ERR_BUSY, "modern");
	assert_null(modern);
	linked_expect(
	    link_attach(b->link, LINKED_SESSION, "me", SLICE(""), &stream, &cursor, &err), &err, ERR_BUSY, "attach");
	linked_expect(link_finish(b->link, call, 7, NULL, 0, &err), &err, ERR_NONE, "finish");
	link_call_end(b->link, &call);
}

/* --- who waits for a broker --- */

struct awaiting {
	struct linked *b;
	bool begins;
	atomic_int asides;
	int rc;
	struct err err;
	uint64_t took_ms;
};

static void on_aside(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

static void *await(void *arg)
{
	struct awaiting *w = arg;
	uint64_t began_ms = now_ms();

	w->rc = link_await(w->b->link, w->begins, on_aside, &w->asides, &w->err);
	w->took_ms = now_ms() - began_ms;
	return NULL;
}

static void await_aside(struct awaiting *w)
{
	for (uint64_t until_ms = now_ms() + 5000; atomic_load(&w->asides) == 0; usleep(1000))
		assert_true(now_ms() < until_ms);
}

static void test_await(void **state)
{
	struct linked *b = *state;
	struct awaiting w = {.b = b}, late = {.b = b}, many = {.b = b};
	pthread_t thread;

	b->cfg.worker_calls_max = 2; /* of which one may wait */
	b->cfg.link_timeout_ms = 300;
	await(&w);
	linked_expect(w.rc, &w.err, ERR_BROKER, "nobody comes");
	assert_int_equal(atomic_load(&w.asides), 1);
	assert_in_range(w.took_ms, 290, 5000);

	b->cfg.link_timeout_ms = 20000;
	assert_int_equal(pthread_create(&thread, NULL, await, &late), 0);
	await_aside(&late);
	await(&many);
	linked_expect(many.rc, &many.err, ERR_BUSY, "one waits already");
	assert_int_equal(atomic_load(&many.asides), 0);
	assert_in_range(many.took_ms, 0, 5000);
	linked_start(b, NULL);
	pthread_join(thread, NULL);
	linked_expect(late.rc, &late.err, ERR_NONE, "one came");
	assert_int_equal(atomic_load(&late.asides), 1);

	await(&many);
	linked_expect(many.rc, &many.err, ERR_NONE, "it is there");
	assert_int_equal(atomic_load(&many.asides), 0);
}

/* A broker that goes down serves what it has, and begins nothing. */
static void test_await_draining(void **state)
{
	struct linked *b = *state;
	struct awaiting old = {.b = b}, new = {.b = b, .begins = true};
	struct link_call *call;
	struct err err;

	b->cfg.worker_calls_max = 2;
	linked_start(b, drain);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
	linked_expect(link_cancel(b->link, LINKED_SESSION, "me", SLICE("1"), &err), &err, ERR_NONE, "cancel");
	await(&old);
	linked_expect(old.rc, &old.err, ERR_NONE, "what goes on");
	assert_int_equal(atomic_load(&old.asides), 0);
	b->cfg.link_timeout_ms = 300;
	await(&new);
	linked_expect(new.rc, &new.err, ERR_BUSY, "what begins");
	assert_int_equal(atomic_load(&new.asides), 1);
	assert_in_range(new.took_ms, 290, 5000);
	link_call_end(b->link, &call);
}

/* --- descriptors and processes --- */

static bool echo_head(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	struct slice in = msg->body;
	bool bad = false;

	(void)fb;
	(void)arg;
	if (msg->head.type != LINK_ADOPT)
		return false;
	if (msg->fd == -1 || link_get_u8(&in, &bad) != LINK_KIND_PIPE || link_get_u16(&in, &bad) != 3 ||
	    msg->head.stream != 101 || link_get_u64(&in, &bad) != 4 || link_get_u32(&in, &bad) != 1000 ||
	    link_get_u32(&in, &bad) != 500)
		return true;
	in = link_get_bytes(&in, &bad);
	(void)!write(msg->fd, in.p, in.len);
	return true;
}

static void test_adopt(void **state)
{
	struct linked *b = *state;
	static char much[LINK_PACKET_MAX];
	char got[16] = "";
	struct err err;
	int fds[2];

	linked_start(b, echo_head);
	linked_expect(link_session_del(b->link, LINKED_SESSION, "me", &err), &err, ERR_NONE, "connect");
	assert_int_equal(pipe(fds), 0);
	linked_expect(link_adopt(b->link, fds[1], LINK_KIND_PIPE, 3, 101, 4, 1000, 500, SLICE("head"), &err), &err,
	    ERR_NONE, "adopt");
	close(fds[1]);
	assert_int_equal(read(fds[0], got, sizeof(got)), 4);
	assert_string_equal(got, "head");
	assert_int_equal(read(fds[0], got, sizeof(got)), 0); /* the only copy was the broker's */
	close(fds[0]);
	linked_expect(
	    link_adopt(b->link, 0, LINK_KIND_PIPE, 3, 101, 4, 1000, 500, (struct slice){much, sizeof(much)}, &err),
	    &err, ERR_TOO_BIG, "head too large");
	linked_expect(link_adopt(b->link, 999, LINK_KIND_PIPE, 3, 101, 4, 1000, 500, SLICE(""), &err), &err, ERR_BUSY,
	    "no descriptor");
	linked_expect(
	    link_session_del(b->link, LINKED_SESSION, "me", &err), &err, ERR_NONE, "the connection is in order");
}

/* A socket that the broker doesn't read is refused, not waited for. */
static bool stop_reading(struct fake_broker *fb, const struct fake_msg *msg, void *arg)
{
	const struct timespec nap = {.tv_nsec = 500000000};

	(void)fb;
	(void)arg;
	if (msg->head.type == LINK_ADOPT && fake_broker_count(fb, LINK_ADOPT) == 0)
		nanosleep(&nap, NULL);
	return msg->head.type == LINK_ADOPT;
}

static void test_adopt_full(void **state)
{
	struct linked *b = *state;
	static char much[16000];
	uint64_t began_ms;
	struct err err;
	int rc = 0, fds[2];

	linked_start(b, stop_reading);
	linked_expect(link_session_del(b->link, LINKED_SESSION, "me", &err), &err, ERR_NONE, "connect");
	assert_int_equal(pipe(fds), 0);
	began_ms = now_ms();
	for (int i = 0; i < 1000 && !rc; i++)
		rc = link_adopt(
		    b->link, fds[1], LINK_KIND_PIPE, 3, 101, 4, 1000, 500, (struct slice){much, sizeof(much)}, &err);
	linked_expect(rc, &err, ERR_BUSY, "full socket");
	assert_in_range(now_ms() - began_ms, 0, 450);
	close(fds[0]);
	close(fds[1]);
}

static void test_fork(void **state)
{
	struct linked *b = *state;
	struct link_call *call;
	struct err err;
	int status;
	pid_t pid;

	linked_start(b, NULL);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin");
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		struct link_call *other;

		if (linked_begin(b, &other, &err) != -1 || err.code != ERR_BROKER)
			_exit(1);
		link_free(&b->link);
		b->link = link_new(&b->cfg);
		if (linked_begin(b, &other, &err) != 0)
			_exit(2);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	link_call_end(b->link, &call);
	linked_expect(linked_begin(b, &call, &err), &err, ERR_NONE, "begin again");
	link_call_end(b->link, &call);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, linked_setup, linked_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_each_message),
	    TEST(test_session_only),
	    TEST(test_threads),
	    TEST(test_threads_by_ctl),
	    TEST(test_by_ctl),
	    TEST(test_lost_by_ctl),
	    TEST(test_next_connection_by_ctl),
	    TEST(test_events_by_ctl),
	    TEST(test_event_lost_by_ctl),
	    TEST(test_event_refused_by_ctl),
	    TEST(test_event_on_next_connection),
	    TEST(test_spare_descriptors),
	    TEST(test_lost_ack),
	    TEST(test_deadline),
	    TEST(test_nacks),
	    TEST(test_busy),
	    TEST(test_broker_gone),
	    TEST(test_check),
	    TEST(test_check_busy),
	    TEST(test_check_silent),
	    TEST(test_broker_gone_with_streams),
	    TEST(test_broker_gone_under_load),
	    TEST(test_handshakes),
	    TEST(test_no_broker),
	    TEST(test_start_fails),
	    TEST(test_start_hangs),
	    TEST(test_garbage),
	    TEST(test_short_answers),
	    TEST(test_cancel_before_ack),
	    TEST(test_cancel),
	    TEST(test_credit),
	    TEST(test_sizes),
	    TEST(test_drain),
	    TEST(test_await),
	    TEST(test_await_draining),
	    TEST(test_adopt),
	    TEST(test_adopt_full),
	    TEST(test_fork),
	};

	log_init("test_link_client", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
