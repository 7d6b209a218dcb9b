/* Calls that begin and end by the control channel: as by the data channel, and with it. */
#include "config.h"

#include <poll.h>
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
	assert_int_equal(begin(&f->w, &old), LINK_NACK_BUSY); /* its id is open */
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
	    TEST(callers_are_bounded),
	    TEST(bad_packets),
	};

	return cmocka_run_group_tests_name("test_broker_ctl", tests, NULL, NULL);
}
