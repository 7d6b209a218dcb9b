/* Calls that begin and end by the control channel: as by the data channel, and with it. */
#include "config.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/broker_fixture.h"
#include "common/banned.h"

#define OTHER "session-2"

/* One packet; h->seq 0: the next one, which is returned. */
static uint64_t send_by_ctl(struct fake_worker *w, struct link_header h, const char *key, struct slice body)
{
	struct buf packet;

	h.version = LINK_VERSION;
	h.producer = h.producer ? h.producer : w->producer;
	h.seq = h.seq ? h.seq : ++w->seq;
	h.body_len = (uint32_t)(4 + strlen(key) + body.len);
	buf_init(&packet, LINK_PACKET_MAX);
	link_put_header(&packet, &h);
	link_put_bytes(&packet, slice_str(key));
	buf_add_slice(&packet, body);
	assert_int_equal(send(w->ctl, packet.data, packet.len, 0), packet.len);
	buf_release(&packet);
	return h.seq;
}

/* What comes next by the control channel. The code of a NACK, or 0. */
static unsigned receive_by_ctl(struct fake_worker *w, struct link_header *h, uint64_t *version)
{
	struct pollfd p = {.fd = w->ctl, .events = POLLIN};
	char packet[LINK_PACKET_MAX];
	bool bad = false;
	struct slice in;
	unsigned nack = 0;

	assert_int_equal(poll(&p, 1, FAKE_WAIT_MS), 1);
	in = (struct slice){packet, (size_t)recv(w->ctl, packet, sizeof(packet), 0)};
	assert_in_range(in.len, LINK_HEADER_LEN, sizeof(packet));
	assert_int_equal(link_get_header(in, h, NULL), 0);
	in.p += LINK_HEADER_LEN;
	in.len -= LINK_HEADER_LEN;
	assert_int_equal(h->body_len, in.len);
	if (h->type == LINK_NACK)
		nack = link_get_u16(&in, &bad);
	else if (version)
		*version = link_get_u64(&in, &bad);
	assert_false(bad);
	return nack;
}

/* The request 1. seq 0: the next one. */
static uint64_t send_begin(struct fake_worker *w, const char *key, uint64_t seq, uint64_t deadline_ms, unsigned flags)
{
	struct buf body;

	buf_init(&body, 1024);
	link_put_bytes(&body, slice_str(HIM));
	link_put_u8(&body, (uint8_t)flags);
	link_put_u16(&body, 1);
	link_put_bytes(&body, SLICE("1"));
	link_put_bytes(&body, SLICE(WILL));
	seq = send_by_ctl(w,
	    (struct link_header){
		.type = LINK_CALL_BEGIN, .flags = LINK_WANT_ACK, .seq = seq, .deadline_ms = deadline_ms},
	    key, buf_slice(&body));
	buf_release(&body);
	return seq;
}

static unsigned begin(struct fake_worker *w, uint64_t *call)
{
	struct link_header h;
	uint64_t version = 0;
	unsigned nack;

	*call = send_begin(w, KEY, 0, 0, 0);
	nack = receive_by_ctl(w, &h, &version);
	assert_int_equal(h.corr, *call);
	assert_int_equal(version, nack ? 0 : 1);
	return nack;
}

static void end(struct fake_worker *w, uint64_t call)
{
	send_by_ctl(w, (struct link_header){.type = LINK_CALL_END, .corr = call}, "", SLICE(""));
}

/* As many times as one likes: a second connection's is refused in between, on whichever channel it comes. */
static void a_call_begins_and_ends(void **state)
{
	struct fixture *f = *state;
	struct fake_worker other;
	uint64_t call, second;

	make_session(f);
	fake_worker_connect(&other, f->broker.dir);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(begin(&f->w, &call), 0);
		assert_int_equal(begin(&other, &second), LINK_NACK_BUSY); /* it is to be said the other way */
		assert_int_equal(fake_call_begin(&other, KEY, HIM, 0, one_id, NULL, NULL), LINK_NACK_DUPLICATE_ID);
		end(&f->w, call);
	}
	assert_int_equal(begin(&f->w, &call), 0);
	assert_int_equal(fake_cancel(&other, KEY, HIM, "1"), 0);
	expect_cancelled(&f->w, call, "1");
	assert_int_equal(fake_session_del(&other, KEY, HIM), 0);
	assert_int_equal(begin(&f->w, &call), LINK_NACK_NO_SESSION);
	fake_worker_die(&other);
}

/* It began there, and goes on here. */
static void it_has_a_stream(void **state)
{
	struct fixture *f = *state;
	struct fake_server s;
	uint64_t call, stream;

	make_session(f);
	assert_int_equal(begin(&f->w, &call), 0);
	assert_int_equal(fake_open(&f->w, KEY, 0, call, NULL, NULL, &stream), 0);
	fake_server_init(&s, fake_adopt(&f->w, stream, LINK_KIND_FCGI, 0, 15000));
	end(&f->w, call); /* without FINISH */
	expect_text(&s, "worker died");
	expect_end(&s);
	fake_server_release(&s);
}

/* Its answer was lost: it is repeated by the data channel. */
static void a_repetition_is_no_duplicate(void **state)
{
	struct fixture *f = *state;
	uint64_t call, again;

	make_session(f);
	assert_int_equal(begin(&f->w, &call), 0);
	f->w.seq = call - 1;
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, &again, NULL), 0);
	assert_int_equal(again, call);
	end(&f->w, call);
	assert_int_equal(begin(&f->w, &call), 0); /* there was but one */
	end(&f->w, call);
}

/* By then it may have been repeated, and have ended. */
static void one_that_is_late_has_no_effect(void **state)
{
	struct fixture *f = *state;
	uint64_t call;

	make_session(f);
	send_begin(&f->w, KEY, 0, now_ms() - 1, 0);
	assert_int_equal(begin(&f->w, &call), 0);
}

/* RETURN is on its way on the data channel, and lists what went on when the connection began. */
static void one_that_began_since_is_not_ended(void **state)
{
	struct fixture *f = *state;
	uint64_t old, young, seq = ++f->w.seq;

	make_session(f);
	assert_int_equal(begin(&f->w, &young), 0);
	fake_worker_send(&f->w, &(struct link_header){.type = LINK_RETURN, .seq = seq}, SLICE(""),
	    (struct slice){"\0\0\0\0\0\0\0\0", 8});
	assert_int_equal(fake_cancel(&f->w, KEY, HIM, "2"), 0); /* behind it */
	assert_int_equal(begin(&f->w, &old), LINK_NACK_BUSY);   /* its id is open */
	fake_return(&f->w, NULL, NULL);
	assert_int_equal(fake_cancel(&f->w, KEY, HIM, "2"), 0);
	assert_int_equal(begin(&f->w, &old), 0);
}

/* true: nothing more comes there. */
static bool is_closed(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;

	return poll(&p, 1, FAKE_WAIT_MS) == 1 && recv(fd, &byte, 1, 0) <= 0;
}

/* Each of one worker's threads asks by a socket of its own: there it is answered, and told where the answer is too long
 * for that. */
static void each_caller_has_its_answer(void **state)
{
	struct fixture *f = *state;
	struct fake_worker first = f->w, second = f->w;
	struct link_header h;
	char blob[LINK_PACKET_MAX];
	uint64_t call, other;

	make_session(f);
	first.ctl = fake_caller(&f->w);
	second.ctl = fake_caller(&f->w);
	second.seq += 100;
	assert_int_equal(begin(&first, &call), 0);
	assert_int_equal(begin(&second, &other), LINK_NACK_BUSY);
	end(&second, call);
	assert_int_equal(begin(&second, &other), 0);
	end(&first, other);
	memset(blob, 'b', sizeof(blob));
	blob[sizeof(blob) - 1] = '\0';
	f->w.seq = second.seq + 100;
	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 1, 0, blob, NULL), 0);
	call = send_begin(&first, KEY, 0, 0, 0);
	assert_int_equal(receive_by_ctl(&first, &h, NULL), LINK_NACK_BUSY);
	assert_int_equal(h.corr, call);
	f->w.seq = call - 1;
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, &other, NULL), 0);
	assert_int_equal(other, call);
	close(second.ctl);
	fake_worker_die(&f->w);
	assert_true(is_closed(first.ctl));
	close(first.ctl);
	fake_worker_connect(&f->w, f->broker.dir);
}

static uint64_t event_by_ctl(struct fake_worker *w, struct link_header h, const char *event)
{
	struct buf body;
	uint64_t seq;

	h.flags = LINK_DURABLE | LINK_WANT_ACK;
	h.count = 1;
	buf_init(&body, 1024);
	link_put_bytes(&body, slice_str(event));
	seq = send_by_ctl(w, h, "", buf_slice(&body));
	buf_release(&body);
	return seq;
}

static uint64_t append_by_ctl(struct fake_worker *w, uint64_t seq, uint64_t stream, const char *event)
{
	return event_by_ctl(w, (struct link_header){.type = LINK_APPEND, .seq = seq, .stream = stream}, event);
}

static unsigned append_by_data(struct fake_worker *w, uint64_t seq, uint64_t stream, const char *event)
{
	w->seq = seq - 1;
	return fake_append(w, stream, event);
}

/* Its own, with the numbers that follow. */
static struct fake_worker caller_of(struct fake_worker *w)
{
	struct fake_worker caller = *w;

	caller.ctl = fake_caller(w);
	caller.seq = w->seq + 100;
	return caller;
}

static void expect_once(const struct fake_server *s, const char *event)
{
	const char *first = strstr(s->text.data, event);

	assert_non_null(first);
	assert_null(strstr(first + 1, event));
}

/* Whichever way an event comes first: it is there once, and answered where it was said last. */
static void events_come_by_callers(void **state)
{
	struct fixture *f = *state;
	struct fake_worker caller;
	struct link_header h;
	struct fake_server s;
	uint64_t own, seq;

	make_session(f);
	attach_own(f, &own, &s);
	caller = caller_of(&f->w);
	seq = append_by_ctl(&caller, 0, own, "{\"n\":1}");
	assert_int_equal(receive_by_ctl(&caller, &h, NULL), 0);
	assert_int_equal(h.type, LINK_ACK);
	assert_int_equal(h.corr, seq);
	assert_int_equal(append_by_data(&f->w, seq, own, "{\"n\":1}"), 0);
	assert_int_equal(append_by_data(&f->w, ++seq, own, "{\"n\":2}"), 0);
	append_by_ctl(&caller, seq, own, "{\"n\":2}");
	assert_int_equal(receive_by_ctl(&caller, &h, NULL), 0);
	assert_int_equal(h.corr, seq);
	event_by_ctl(&caller,
	    (struct link_header){.type = LINK_APPEND, .seq = ++seq, .stream = own, .deadline_ms = now_ms() - 1},
	    "{\"late\":1}");
	assert_int_equal(append_by_data(&f->w, seq, own, "{\"n\":3}"), 0);
	append_by_ctl(&caller, ++seq, own + 2, "{}");
	assert_int_equal(receive_by_ctl(&caller, &h, NULL), LINK_NACK_CLOSED);
	assert_int_equal(h.corr, seq);
	close(caller.ctl);
	assert_int_equal(append_by_data(&f->w, ++seq, own, "{\"n\":4}"), 0);
	expect_text(&s, "{\"n\":4}");
	expect_once(&s, "{\"n\":1}");
	expect_once(&s, "{\"n\":2}");
	expect_once(&s, "{\"n\":3}");
	assert_null(strstr(s.text.data, "late"));
	fake_server_release(&s);
}

/* So the data channel answers nothing that was not read there: by its answers a worker knows what was. */
static void who_waits_no_more_is_not_answered(void **state)
{
	struct fixture *f = *state;
	struct fake_worker caller;
	struct fake_server s;
	uint64_t own, seq;

	make_session(f);
	attach_own(f, &own, &s);
	caller = caller_of(&f->w);
	assert_int_equal(kill(f->broker.pid, SIGSTOP), 0);
	seq = append_by_ctl(&caller, 0, own, "{\"n\":1}");
	close(caller.ctl);
	assert_int_equal(kill(f->broker.pid, SIGCONT), 0);
	expect_text(&s, "{\"n\":1}");
	expect_silence(&f->w);
	assert_int_equal(append_by_data(&f->w, seq, own, "{\"n\":1}"), 0);
	assert_int_equal(append_by_data(&f->w, ++seq, own, "{\"n\":2}"), 0);
	expect_text(&s, "{\"n\":2}");
	expect_once(&s, "{\"n\":1}");
	fake_server_release(&s);
}

/* The end of the control connection is seen first. */
static void beat_will(struct fixture *f, uint64_t deadline_ms)
{
	struct link_header h = {.type = LINK_FINISH, .deadline_ms = deadline_ms};
	struct fake_worker caller;
	struct fake_server s;
	uint64_t call;

	make_session(f);
	make_stream(f, &call, &h.stream, &s);
	caller = caller_of(&f->w);
	assert_int_equal(kill(f->broker.pid, SIGSTOP), 0);
	end(&f->w, call + 1); /* of none: so that there is something to read */
	h.corr = call;
	event_by_ctl(&caller, h, "{\"n\":1}");
	fake_worker_die(&f->w);
	close(caller.ctl);
	assert_int_equal(kill(f->broker.pid, SIGCONT), 0);
	expect_text(&s, "{\"n\":1}");
	expect_end(&s);
	assert_null(strstr(s.text.data, "worker died"));
	fake_server_release(&s);
	fake_worker_connect(&f->w, f->broker.dir);
}

static void an_answer_by_a_caller_beats_its_will(void **state)
{
	beat_will(*state, 0);
}

/* The broker was so slow that the worker would have said it again. */
static void a_late_one_does_too(void **state)
{
	beat_will(*state, now_ms() - 1);
}

static int small_window(void **state)
{
	static const char *const sets[] = {"link_window=64"};

	return fixture_start(state, sets, COUNT_OF(sets), 0);
}

/* Others that were said after it have taken its place: it is to be said under another number. */
static void an_event_that_was_overtaken_is_said_again(void **state)
{
	struct fixture *f = *state;
	struct fake_worker caller;
	struct link_header h;
	uint64_t own, seq = 1000;
	struct fake_server s;

	make_session(f);
	attach_own(f, &own, &s);
	caller = caller_of(&f->w);
	for (int i = 1; i <= 65; i++)
		assert_int_equal(append_by_data(&f->w, seq + (uint64_t)i, own, "{}"), 0);
	append_by_ctl(&caller, seq, own, "{}");
	assert_int_equal(receive_by_ctl(&caller, &h, NULL), LINK_NACK_EXPIRED);
	append_by_ctl(&caller, seq + 100, own, "{\"last\":1}");
	assert_int_equal(receive_by_ctl(&caller, &h, NULL), 0);
	expect_text(&s, "{\"last\":1}");
	close(caller.ctl);
	fake_server_release(&s);
}

static void callers_are_bounded(void **state)
{
	struct fixture *f = *state;
	int callers[LINK_CALLERS_MAX + 1];

	for (size_t i = 0; i < COUNT_OF(callers); i++)
		callers[i] = fake_caller(&f->w);
	assert_true(is_closed(callers[LINK_CALLERS_MAX]));
	for (size_t i = 0; i < COUNT_OF(callers); i++)
		close(callers[i]);
}

static void bad_packets(void **state)
{
	struct fixture *f = *state;
	struct fake_worker caller;
	struct link_header h;
	uint64_t seq;

	make_session(f);
	assert_int_equal(fake_session_put(&f->w, OTHER, HIM, 0, LINK_SESSION_ENDS_WITH_CONN, "{}", NULL), 0);
	seq = send_begin(&f->w, OTHER, 0, 0, LINK_CALL_ON_SESSION_STREAM); /* which the store has to keep */
	assert_int_equal(receive_by_ctl(&f->w, &h, NULL), LINK_NACK_BAD);
	assert_int_equal(h.corr, seq);
	seq = send_by_ctl(&f->w, (struct link_header){.type = LINK_CALL_BEGIN}, KEY, SLICE("\1"));
	assert_int_equal(receive_by_ctl(&f->w, &h, NULL), LINK_NACK_BAD);
	assert_int_equal(h.corr, seq);
	seq = send_by_ctl(
	    &f->w, (struct link_header){.type = LINK_CALL_BEGIN, .producer = f->w.producer + 1}, KEY, SLICE(""));
	assert_int_equal(receive_by_ctl(&f->w, &h, NULL), LINK_NACK_BAD);
	seq = send_by_ctl(&f->w, (struct link_header){.type = LINK_SESSION_DEL}, KEY, SLICE("\5\0\0\0alice"));
	assert_int_equal(receive_by_ctl(&f->w, &h, NULL), LINK_NACK_BAD);
	assert_int_equal(h.corr, seq);
	/* Events come by callers, and somebody waits for them. */
	event_by_ctl(&f->w, (struct link_header){.type = LINK_APPEND, .stream = 2}, "{}");
	assert_int_equal(receive_by_ctl(&f->w, &h, NULL), LINK_NACK_BAD);
	caller = caller_of(&f->w);
	send_by_ctl(
	    &caller, (struct link_header){.type = LINK_APPEND, .stream = 2, .count = 1}, "", SLICE("\2\0\0\0{}"));
	assert_int_equal(receive_by_ctl(&caller, &h, NULL), LINK_NACK_BAD);
	close(caller.ctl);
	assert_int_equal(begin(&f->w, &seq), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_call_begins_and_ends),
	    TEST(it_has_a_stream),
	    TEST(a_repetition_is_no_duplicate),
	    TEST(one_that_is_late_has_no_effect),
	    TEST(one_that_began_since_is_not_ended),
	    TEST(each_caller_has_its_answer),
	    TEST(events_come_by_callers),
	    TEST(who_waits_no_more_is_not_answered),
	    TEST(an_answer_by_a_caller_beats_its_will),
	    TEST(a_late_one_does_too),
	    TEST_WITH(an_event_that_was_overtaken_is_said_again, small_window),
	    TEST(callers_are_bounded),
	    TEST(bad_packets),
	};

	return cmocka_run_group_tests_name("test_broker_ctl", tests, NULL, NULL);
}
