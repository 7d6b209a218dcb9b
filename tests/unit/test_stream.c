/* Sessions, calls, streams and producers without any socket: bus and control channel are the few functions below. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/bus.h"
#include "broker/call.h"
#include "broker/conn.h"
#include "broker/ctl.h"
#include "broker/handle.h"
#include "broker/producer.h"
#include "broker/session.h"
#include "broker/stream.h"
#include "common/mem.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static struct link_header last_sent;
static unsigned sent_count, ctl_closed;

void bus_send(struct producer *p, const struct link_header *h, struct slice key, struct slice body)
{
	(void)p, (void)key, (void)body;
	last_sent = *h;
	sent_count++;
}

void bus_forget(struct producer *p)
{
	(void)p;
}

int ctl_send(struct ctl *c, struct link_header *h, struct slice body)
{
	(void)c, (void)h, (void)body;
	return -1;
}

void ctl_close(struct ctl *c, const char *why)
{
	(void)c, (void)why;
	ctl_closed++;
}

struct fixture {
	struct cfg cfg;
	struct broker b;
	struct producer *p;
	struct session *session;
};

static bool turn(void *arg)
{
	(void)arg;
	return false;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	static int ctl;

	assert_non_null(f);
	assert_int_equal(cfg_init(&f->cfg, NULL), 0);
	mem_free(f->cfg.store_kind);
	f->cfg.store_kind = mem_dup("memory", 6);
	f->cfg.stream_log_max_bytes = 100 + 2 * STREAM_EVENT_COST; /* two of forty bytes */
	f->cfg.broker_log_max_bytes = 10000;
	f->cfg.link_window = 64;
	f->cfg.link_credit_bytes = 1000;
	assert_int_equal(broker_init(&f->b, &f->cfg, turn, NULL, NULL), 0);
	assert_int_equal(broker_open(&f->b, NULL), 0);
	f->b.fd_max = 4;
	f->p = producer_connect(&f->b, 42, 1, (struct ctl *)(void *)&ctl, 1, LINK_ROLE_WORKER);
	assert_non_null(f->p);
	assert_int_equal(session_new(&f->b, SLICE("s"), SLICE("alice"), SLICE(""), 0, 0, SLICE("{}"), &f->session), 0);
	sent_count = 0;
	ctl_closed = 0;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	broker_release(&f->b);
	cfg_release(&f->cfg);
	free(f);
	return 0;
}

static unsigned append(struct stream *s, const char *event, bool is_durable, bool is_final)
{
	struct slice e = slice_str(event);
	uint64_t last;

	return stream_append(s, &e, 1, is_durable, is_final, &last);
}

static void the_table_of_states(void **state)
{
	static const char want[STREAM__COUNT][STREAM__COUNT + 1] = {
	    /* to: OPEN LIVE FINISHED CLOSED */
	    [STREAM_OPEN] = ".xxx",
	    [STREAM_LIVE] = "x.xx",
	    [STREAM_FINISHED] = "...x",
	    [STREAM_CLOSED] = "....",
	};

	(void)state;
	for (int from = 0; from < STREAM__COUNT; from++) {
		for (int to = 0; to < STREAM__COUNT; to++) {
			if (stream_may_go((enum stream_state)from, (enum stream_state)to) != (want[from][to] == 'x'))
				fail_msg("%s -> %s", stream_state_name((enum stream_state)from),
				    stream_state_name((enum stream_state)to));
		}
	}
}

static void durable_events_wait_for_their_commit(void **state)
{
	struct fixture *f = *state;
	struct stream *s = stream_new(&f->b, f->session, NULL, false);

	f->cfg.stream_log_max_bytes = 1000;
	assert_int_equal(append(s, "progress", false, false), 0);
	assert_int_equal(s->ready_seq, 1);
	assert_int_equal(append(s, "durable", true, false), 0);
	assert_int_equal(append(s, "after", false, false), 0);
	assert_int_equal(s->ready_seq, 1); /* order is kept: the third waits for the second */
	stream_commit(s, 2, 2, 0);
	assert_int_equal(s->ready_seq, 3);
}

static void what_the_store_lost_is_skipped(void **state)
{
	struct fixture *f = *state;
	struct stream *s = stream_new(&f->b, f->session, NULL, false);
	struct store_read r;
	uint64_t cursor = 0, seqs[STORE_READ_MAX];

	f->cfg.stream_log_max_bytes = 1000;
	append(s, "a", true, false);
	append(s, "b", true, false);
	append(s, "c", true, false);
	stream_commit(s, 1, 1, 0);
	stream_commit(s, 2, 2, -1);
	stream_commit(s, 3, 3, 0);
	stream_fill_read(s, &cursor, &r, seqs);
	assert_int_equal(cursor, 3);
	assert_int_equal(r.count, 2);
	assert_int_equal(seqs[0], 1);
	assert_int_equal(seqs[1], 3);
}

static void a_full_log(void **state)
{
	struct fixture *f = *state;
	struct stream *s = stream_new(&f->b, f->session, NULL, false);
	char forty[41], big[102 + STREAM_EVENT_COST];

	memset(forty, 'x', 40);
	forty[40] = '\0';
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(append(s, big, true, false), LINK_NACK_TOO_BIG);
	assert_int_equal(append(s, forty, true, false), 0);
	assert_int_equal(append(s, forty, true, false), 0);
	assert_int_equal(append(s, forty, true, false), LINK_NACK_BUSY); /* undelivered: kept */
	assert_int_equal(append(s, forty, false, false), 0);             /* may be lost, and is */
	assert_int_equal(s->last_seq, 2);
	assert_int_equal(append(s, forty, true, true), 0); /* an answer is never refused for this */
	assert_int_equal(s->log_bytes, 3 * (40 + STREAM_EVENT_COST));
	stream_commit(s, 1, 3, 0);
	stream_delivered(s, 2);
	assert_int_equal(append(s, forty, true, false), 0); /* delivered ones make room */
	assert_int_equal(s->first_seq, 3);
	assert_int_equal(s->log_bytes, 2 * (40 + STREAM_EVENT_COST));
	assert_int_equal(f->b.log_bytes, s->log_bytes);
	assert_int_equal(f->b.store->bytes_used, 80);
	stream_close(s, "test");
	assert_int_equal(f->b.log_bytes, 0);
	assert_int_equal(f->b.store->bytes_used, 0);
}

static void all_events_of_a_message_or_none(void **state)
{
	struct fixture *f = *state;
	struct stream *s = stream_new(&f->b, f->session, NULL, false);
	struct slice two[] = {TEXT("0123456789"), TEXT("0123456789")};
	uint64_t last;

	f->cfg.broker_log_max_bytes = 15 + 2 * STREAM_EVENT_COST;
	assert_int_equal(stream_append(s, two, 2, true, false, &last), LINK_NACK_BUSY);
	assert_int_equal(s->last_seq, 0);
	assert_int_equal(s->log_bytes, 0);
	f->cfg.broker_log_max_bytes = 20 + 2 * STREAM_EVENT_COST;
	assert_int_equal(stream_append(s, two, 2, true, false, &last), 0);
	assert_int_equal(last, 2);
}

static void event_ids(void **state)
{
	struct fixture *f = *state;
	struct stream *s = stream_new(&f->b, f->session, NULL, false), *found;
	struct stream_id id = {0};
	uint64_t seq;

	f->cfg.stream_log_max_bytes = 10 * (10 + STREAM_EVENT_COST);
	for (int i = 0; i < 3; i++)
		append(s, "0123456789", true, false);
	stream_commit(s, 1, 3, 0);
	for (uint64_t i = 0; i <= 4; i++) {
		stream_put_event_id(s, 0, i, &id);
		assert_int_equal(
		    stream_find_event_id(f->session, slice_str(id.text), &found, &seq), i <= 3 ? 0 : LINK_NACK_GAP);
		if (i <= 3) {
			assert_ptr_equal(found, s);
			assert_int_equal(seq, i);
		}
	}
	stream_delivered(s, 3);
	for (int i = 0; i < 8; i++) /* pushes out 1 and, of the 10, as many as needed */
		append(s, "0123456789", true, true);
	stream_put_event_id(s, 0, 11, &id); /* in the log, but nobody can have been sent it */
	assert_int_equal(stream_find_event_id(f->session, slice_str(id.text), &found, &seq), LINK_NACK_GAP);
	stream_commit(s, 4, 11, 0);
	assert_int_equal(s->first_seq, 2);
	stream_put_event_id(s, 0, 0, &id);
	assert_int_equal(stream_find_event_id(f->session, slice_str(id.text), &found, &seq), LINK_NACK_GAP);
	stream_put_event_id(s, 0, 1, &id);
	assert_int_equal(stream_find_event_id(f->session, slice_str(id.text), &found, &seq), 0);
	stream_finish(s, "test");
	stream_put_event_id(s, 0, 11, &id);
	assert_int_equal(stream_find_event_id(f->session, slice_str(id.text), &found, &seq), LINK_NACK_DELIVERED);
	stream_put_event_id(s, 0, 10, &id);
	assert_int_equal(stream_find_event_id(f->session, slice_str(id.text), &found, &seq), 0);
}

static struct call *begin(struct fixture *f, struct session *session, uint64_t number, const char *id, const char *will)
{
	struct call *c = NULL;
	struct buf ids;

	buf_init(&ids, 256);
	link_put_bytes(&ids, slice_str(id));
	link_put_bytes(&ids, slice_str(will));
	assert_int_equal(call_new(&f->b, f->p, number, session, 0, 1, buf_slice(&ids), &c), 0);
	buf_release(&ids);
	return c;
}

static void a_call_that_owes_an_answer_leaves_its_will(void **state)
{
	struct fixture *f = *state;
	struct call *c = begin(f, f->session, 7, "1", "will");
	struct stream *s = stream_new(&f->b, f->session, NULL, false);

	c->stream = s;
	s->call = c;
	assert_ptr_equal(call_find(&f->b, f->p, 7), c);
	assert_ptr_equal(call_find_id(f->session, SLICE("1")), c);
	assert_null(call_find_id(f->session, SLICE("\"1\"")));
	producer_close(f->p);
	assert_int_equal(s->state, STREAM_FINISHED);
	assert_int_equal(s->last_seq, 1);
	assert_int_equal(s->ready_seq, 0); /* it is durable */
	f->b.store->reap(f->b.store);
	assert_int_equal(s->ready_seq, 1);
	assert_null(call_find_id(f->session, SLICE("1")));
	assert_int_equal(f->session->open_ids, 0);
}

static void the_end_of_a_session_cancels(void **state)
{
	struct fixture *f = *state;
	struct call *c = begin(f, f->session, 7, "1", "will");
	struct stream *s = stream_new(&f->b, f->session, NULL, false);
	uint64_t handle = s->handle, own = f->session->own->handle;

	c->stream = s;
	s->call = c;
	session_close(f->session, "test");
	assert_int_equal(sent_count, 1);
	assert_int_equal(last_sent.type, LINK_CANCELLED);
	assert_int_equal(last_sent.corr, 7);
	assert_null(stream_find(&f->b, handle));
	assert_null(stream_find(&f->b, own));
	assert_null(call_find(&f->b, f->p, 7));
	assert_null(session_find(&f->b, SLICE("s"), NULL));
	session_close(f->session, "twice is harmless");
	stream_close(s, "twice is harmless");
	call_close(c);
}

static void a_modern_hangup_cancels_once(void **state)
{
	struct fixture *f = *state;
	struct call *c = begin(f, NULL, 9, "1", "will");
	struct stream *s = stream_new(&f->b, NULL, NULL, false);

	c->stream = s;
	s->call = c;
	stream_hangup(s, "test");
	stream_hangup(s, "test");
	assert_int_equal(sent_count, 1);
	assert_int_equal(last_sent.corr, 9);
	assert_int_equal(s->state, STREAM_CLOSED);
	call_end(c, "its worker gives up"); /* owes nobody anything */
	assert_int_equal(s->last_seq, 0);
}

/* The client's end of a connection that was handed over. */
static int adopt(struct fixture *f, struct stream *s)
{
	const struct conn_how how = {.kind = LINK_KIND_FCGI, .request_id = 1};
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_true(broker_fd_take(&f->b, 1));
	conn_new(s, pair[0], &how, SLICE("head"));
	return pair[1];
}

/* ATTACH, then the session's end, then ADOPT, while an older connection still has something to read. */
static void a_stream_outlives_its_session_from_connection_to_connection(void **state)
{
	struct fixture *f = *state;
	struct stream *s = f->session->own;
	uint64_t handle = s->handle;
	int older = adopt(f, s), newer;

	session_close(f->session, "test");
	assert_int_equal(s->state, STREAM_FINISHED);
	newer = adopt(f, s);
	assert_ptr_equal(stream_find(&f->b, handle), s);
	assert_int_equal(s->state, STREAM_FINISHED);
	conn_close(s->conn, STAT_CLOSE_LEFT);
	assert_null(stream_find(&f->b, handle));
	close(older);
	close(newer);
}

static void descriptors_are_promised_within_the_budget(void **state)
{
	struct fixture *f = *state;
	struct stream *s = f->session->own;

	for (int i = 0; i < 4; i++)
		assert_int_equal(stream_reserve(s), 0);
	assert_int_equal(stream_reserve(s), -1);
	assert_false(broker_fd_take(&f->b, 1));
	assert_true(stream_spend_reserve(s));
	assert_true(broker_fd_take(&f->b, 1));
	assert_int_equal(stream_reserve(s), -1);
	session_close(f->session, "test"); /* gives the promises back */
	assert_int_equal(f->b.fd_reserved, 0);
	assert_int_equal(f->b.fd_used, 1);
	broker_fd_give(&f->b, 1);
}

static void the_window_of_answers(void **state)
{
	struct fixture *f = *state;
	struct outcome *o;
	bool is_new;

	assert_null(producer_take_seq(f->p, 0, &is_new));
	o = producer_take_seq(f->p, 5, &is_new);
	assert_true(is_new);
	o->state = OUTCOME_ACK;
	assert_ptr_equal(producer_take_seq(f->p, 5, &is_new), o);
	assert_false(is_new);
	producer_take_seq(f->p, 3, &is_new); /* late, but new */
	assert_true(is_new);
	producer_take_seq(f->p, 5 + 64, &is_new); /* takes the slot of 5 */
	assert_true(is_new);
	assert_null(producer_take_seq(f->p, 5, &is_new)); /* too old to know */
	assert_false(is_new);
	assert_null(producer_find_seq(f->p, 5));
	assert_int_equal(producer_find_seq(f->p, 3)->seq, 3);
	producer_take_seq(f->p, 6, &is_new);
	assert_true(is_new);
}

static void credit(void **state)
{
	struct fixture *f = *state;

	assert_true(producer_spend_credit(f->p, 5000)); /* one is let through, else it never could be */
	assert_false(producer_spend_credit(f->p, 1));
	producer_return_credit(f->p, 5001);
	assert_int_equal(sent_count, 1);
	assert_int_equal(last_sent.type, LINK_CREDIT);
	assert_true(producer_spend_credit(f->p, 600));
	assert_true(producer_spend_credit(f->p, 400));
	assert_false(producer_spend_credit(f->p, 1));
	producer_return_credit(f->p, 100); /* small change comes later, by the timer */
	assert_int_equal(sent_count, 1);
	producer_return_credit(f->p, 901);
	assert_int_equal(sent_count, 2);
	assert_int_equal(f->p->credit_spent, 0);
}

/* A worker spends credit for the first try only, so that is what it gets back, once, however the message fares. */
static void what_is_refused_gives_its_credit_back_once(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *name;
		uint64_t deadline_ms, spent;
		unsigned flags;
		uint64_t owed;
	} cases[] = {
	    {"no such stream", 0, 0, 0, 9},
	    {"past its deadline", 1, 0, 0, 9},
	    {"overspent", 0, 1000, 0, 9},
	    {"a retry of what was refused", 0, 0, LINK_RETRY, 0},
	    {"a retry past its deadline", 1, 0, LINK_RETRY, 0},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct link_header h = {.type = LINK_APPEND,
		    .flags = (uint16_t)cases[i].flags,
		    .seq = i + 1,
		    .deadline_ms = cases[i].deadline_ms,
		    .body_len = 9,
		    .count = 1};

		f->p->credit_spent = cases[i].spent;
		f->p->credit_owed = 0;
		handle_message(f->p, &h, SLICE(""), SLICE("\5\0\0\0event"));
		if (f->p->credit_owed != cases[i].owed)
			fail_msg("%s: %" PRIu64 " given back", cases[i].name, f->p->credit_owed);
		if (f->p->credit_spent != cases[i].spent + cases[i].owed)
			fail_msg("%s: %" PRIu64 " spent", cases[i].name, f->p->credit_spent);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	    TEST(the_table_of_states),
	    TEST(durable_events_wait_for_their_commit),
	    TEST(what_the_store_lost_is_skipped),
	    TEST(a_full_log),
	    TEST(all_events_of_a_message_or_none),
	    TEST(event_ids),
	    TEST(a_call_that_owes_an_answer_leaves_its_will),
	    TEST(the_end_of_a_session_cancels),
	    TEST(a_modern_hangup_cancels_once),
	    TEST(a_stream_outlives_its_session_from_connection_to_connection),
	    TEST(descriptors_are_promised_within_the_budget),
	    TEST(the_window_of_answers),
	    TEST(credit),
	    TEST(what_is_refused_gives_its_credit_back_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
