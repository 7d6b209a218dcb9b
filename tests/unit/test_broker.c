/* The real mcp-broker, driven by fake workers and fake web servers: what the link (doc/link.md) promises, one behaviour
 * a test. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/rnd.h"
#include "tests/lib/broker_fixture.h"
#include "common/banned.h"

#define RESERVE_MS 2000 /* how long a descriptor is kept for an ADOPT that does not come */

static void a_session_lives_and_ends(void **state)
{
	struct fixture *f = *state;
	uint64_t version = 0, stream = 0;

	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, NULL), LINK_NACK_NO_SESSION);
	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 0, 0, "{\"a\":1}", &version), 0);
	assert_int_equal(version, 1);
	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 0, 0, "{}", NULL), LINK_NACK_VERSION);
	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 1, 0, "{\"a\":2}", &version), 0);
	assert_int_equal(version, 2);
	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 1, 0, "{}", NULL), LINK_NACK_VERSION);
	assert_int_equal(fake_session_put(&f->w, KEY, "mallory", 2, 0, "{}", NULL), LINK_NACK_NO_SESSION);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, &stream), 0);
	assert_int_not_equal(stream, 0);
	assert_int_equal(fake_call_begin(&f->w, KEY, "mallory", 0, NULL, NULL, NULL), LINK_NACK_NO_SESSION);
	assert_int_equal(fake_session_del(&f->w, KEY, "mallory"), LINK_NACK_NO_SESSION);
	assert_int_equal(fake_session_del(&f->w, KEY, HIM), 0);
	assert_int_equal(fake_session_del(&f->w, KEY, HIM), LINK_NACK_NO_SESSION);
}

static void call_begin_returns_the_blob(void **state)
{
	struct fixture *f = *state;
	struct fake_answer a;
	struct buf body;
	struct slice in;
	bool bad = false;

	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 0, 0, "{\"level\":3}", NULL), 0);
	buf_init(&body, 256);
	link_put_bytes(&body, SLICE(HIM));
	link_put_u8(&body, 0);
	link_put_u16(&body, 0);
	assert_int_equal(
	    fake_worker_ask(&f->w, &(struct link_header){.type = LINK_CALL_BEGIN}, SLICE(KEY), buf_slice(&body), &a),
	    0);
	buf_release(&body);
	in = buf_slice(&a.body);
	assert_int_equal(link_get_u64(&in, &bad), 1);
	assert_true(slice_is(link_get_bytes(&in, &bad), "{\"level\":3}"));
	assert_false(bad);
	fake_answer_release(&a);
}

static void an_open_id_is_a_duplicate(void **state)
{
	static const char *const two[] = {"2", WILL, "1", WILL, NULL};
	struct fixture *f = *state;
	uint64_t call = 0;

	make_session(f);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, &call, NULL), 0);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, NULL, NULL), LINK_NACK_DUPLICATE_ID);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, two, NULL, NULL), LINK_NACK_DUPLICATE_ID);
	fake_worker_send(&f->w, &(struct link_header){.type = LINK_CALL_END, .corr = call}, SLICE(""), SLICE(""));
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, two, NULL, NULL), 0);
}

static void too_many_open_ids_meet_the_limit(void **state)
{
	static const char *const two[] = {"2", "", "3", "", NULL}, *const three[] = {"4", "", "5", "", "6", "", NULL};
	struct fixture *f = *state;

	make_session(f);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, two, NULL, NULL), 0);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, three, NULL, NULL), LINK_NACK_LIMIT);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, NULL, NULL), 0);
}

static int setup_few(void **state)
{
	static const char *const sets[] = {"session_calls_max=4", "session_max=2"};

	return fixture_start(state, sets, 2, 0);
}

static void too_many_sessions_meet_the_limit(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fake_session_put(&f->w, "a", HIM, 0, 0, "", NULL), 0);
	assert_int_equal(fake_session_put(&f->w, "b", HIM, 0, 0, "", NULL), 0);
	assert_int_equal(fake_session_put(&f->w, "c", HIM, 0, 0, "", NULL), LINK_NACK_LIMIT);
	assert_int_equal(fake_session_del(&f->w, "a", HIM), 0);
	assert_int_equal(fake_session_put(&f->w, "c", HIM, 0, 0, "", NULL), 0);
}

static void a_call_streams_and_finishes(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream;
	struct fake_server s;
	char want[256];

	make_session(f);
	make_stream(f, &call, &stream, &s);
	expect_text(&s, FAKE_HEAD);
	assert_int_equal(fake_append(&f->w, stream, "{\"n\":1}"), 0);
	snprintf(want, sizeof(want), "id: %" PRIu64 ".%" PRIu64 ".1\nevent: message\ndata: {\"n\":1}\n\n", stream,
	    f->w.epoch);
	expect_text(&s, want);
	assert_int_equal(fake_finish(&f->w, call, stream, "{\"n\":2}"), 0);
	expect_text(&s, ".2\nevent: message\ndata: {\"n\":2}\n\n");
	expect_end(&s);
	assert_int_equal(fake_append(&f->w, stream, "{\"n\":3}"), LINK_NACK_CLOSED);
	assert_int_equal(fake_finish(&f->w, call, stream, "{\"n\":3}"), LINK_NACK_CLOSED);
	fake_server_release(&s);
}

static void a_modern_stream_has_no_ids(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream;
	struct fake_server s;

	assert_int_equal(fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, &call, &stream), 0);
	fake_server_init(&s, fake_adopt(&f->w, stream, LINK_KIND_FCGI, 0, 15000));
	assert_int_equal(fake_finish(&f->w, call, stream, "{}"), 0);
	expect_end(&s);
	assert_string_equal(s.text.data, FAKE_HEAD "event: message\ndata: {}\n\n");
	fake_server_release(&s);
}

static void finish_may_come_before_the_connection(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream;
	struct fake_server s;

	for (unsigned flags = 0; flags <= LINK_STREAM_MODERN; flags++) {
		if (flags == 0)
			make_session(f);
		assert_int_equal(fake_open(&f->w, flags ? "" : KEY, flags, 0, one_id, &call, &stream), 0);
		assert_int_equal(fake_append(&f->w, stream, "{\"n\":1}"), 0);
		assert_int_equal(fake_finish(&f->w, call, stream, "{\"n\":2}"), 0);
		fake_server_init(&s, fake_adopt(&f->w, stream, LINK_KIND_FCGI, 0, 15000));
		expect_text(&s, "{\"n\":1}");
		expect_text(&s, "{\"n\":2}");
		expect_end(&s);
		fake_server_release(&s);
	}
}

static void an_adopt_of_a_stream_that_is_gone_is_answered(void **state)
{
	struct fixture *f = *state;
	struct fake_server s;

	fake_server_init(&s, fake_adopt(&f->w, 2, LINK_KIND_FCGI, 0, 0)); /* even: legacy */
	expect_end(&s);
	assert_non_null(strstr(s.text.data, "Status: 404 "));
	fake_server_release(&s);
	fake_server_init(&s, fake_adopt(&f->w, 3, LINK_KIND_FCGI, 0, 0));
	expect_end(&s);
	assert_non_null(strstr(s.text.data, "Status: 503 "));
	fake_server_release(&s);
}

static void plain_cgi_gets_raw_bytes(void **state)
{
	static const enum link_kind kinds[] = {LINK_KIND_PIPE, LINK_KIND_CGI_SOCKET};
	struct fixture *f = *state;
	char bytes[512];
	size_t len;

	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		uint64_t call, stream;
		int fd;

		assert_int_equal(fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, &call, &stream), 0);
		fd = fake_adopt(&f->w, stream, kinds[i], 0, 15000);
		if (kinds[i] == LINK_KIND_CGI_SOCKET)
			shutdown(fd, SHUT_WR); /* as Apache does at once; it is not a hang-up */
		usleep(20000);
		assert_int_equal(fake_finish(&f->w, call, stream, "{}"), 0);
		for (len = 0; len < sizeof(bytes) - 1;) {
			ssize_t n = read(fd, bytes + len, sizeof(bytes) - 1 - len);

			if (n <= 0)
				break;
			len += (size_t)n;
		}
		bytes[len] = '\0';
		assert_string_equal(bytes, FAKE_HEAD "event: message\ndata: {}\n\n");
		close(fd);
	}
}

static void a_gone_pipe_and_cgi_socket_are_noticed(void **state)
{
	static const enum link_kind kinds[] = {LINK_KIND_FCGI, LINK_KIND_PIPE, LINK_KIND_CGI_SOCKET};
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		uint64_t call, stream;
		int fd;

		assert_int_equal(fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, &call, &stream), 0);
		fd = fake_adopt(&f->w, stream, kinds[i], 0, 15000);
		usleep(20000);
		close(fd);
		expect_cancelled(&f->w, call, "");
		assert_int_equal(fake_append(&f->w, stream, "{}"), LINK_NACK_CLOSED);
		assert_int_equal(fake_finish(&f->w, call, stream, "{}"), LINK_NACK_CLOSED);
	}
}

static void a_half_closing_server_gets_a_proper_end(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream;
	struct fake_server s;

	assert_int_equal(fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, &call, &stream), 0);
	fake_server_init(&s, fake_adopt(&f->w, stream, LINK_KIND_FCGI, 0, 15000));
	expect_text(&s, FAKE_HEAD);
	shutdown(s.fd, SHUT_WR);
	expect_cancelled(&f->w, call, "");
	expect_end(&s);
	fake_server_release(&s);
}

static void a_legacy_stream_outlives_its_connection(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream, again, cursor;
	struct fake_server s;
	char id[80];

	make_session(f);
	make_stream(f, &call, &stream, &s);
	assert_int_equal(fake_append(&f->w, stream, "{\"n\":1}"), 0);
	expect_text(&s, "{\"n\":1}");
	fake_server_release(&s);
	usleep(20000);
	assert_int_equal(fake_append(&f->w, stream, "{\"n\":2}"), 0);
	assert_int_equal(fake_finish(&f->w, call, stream, "{\"n\":3}"), 0);
	for (unsigned seq = 0; seq <= 3; seq++) { /* resume at each: exactly what follows, in order, then the end */
		snprintf(id, sizeof(id), "%" PRIu64 ".%" PRIu64 ".%u", stream, f->w.epoch, seq);
		if (seq == 3) {
			assert_int_equal(fake_attach(&f->w, KEY, HIM, id, &again, NULL), LINK_NACK_DELIVERED);
			break;
		}
		assert_int_equal(fake_attach(&f->w, KEY, HIM, id, &again, &cursor), 0);
		assert_int_equal(again, stream);
		assert_int_equal(cursor, seq);
		fake_server_init(&s, fake_adopt(&f->w, stream, LINK_KIND_FCGI, cursor, 15000));
		expect_end(&s);
		for (unsigned n = 1; n <= 3; n++) {
			char want[16];

			snprintf(want, sizeof(want), "{\"n\":%u}", n);
			assert_int_equal(strstr(s.text.data, want) != NULL, n > seq);
		}
		fake_server_release(&s);
	}
}

static void ids_that_nobody_gave_are_gaps(void **state)
{
	static const char *const ids[] = {
	    "", "x", "1.2", "1.2.3", "1.2.3.4", "99999999999999999999999.1.1", ".1.1", "1..1", "1.1."};
	struct fixture *f = *state;
	uint64_t call, stream, other;
	struct fake_server s;
	char id[80];

	make_session(f);
	assert_int_equal(fake_session_put(&f->w, "other", HIM, 0, 0, "{}", NULL), 0);
	make_stream(f, &call, &stream, &s);
	for (size_t i = 1; i < COUNT_OF(ids); i++)
		assert_int_equal(fake_attach(&f->w, KEY, HIM, ids[i], &other, NULL), LINK_NACK_GAP);
	snprintf(id, sizeof(id), "%" PRIu64 ".%" PRIu64 ".1", stream, f->w.epoch); /* not yet */
	assert_int_equal(fake_attach(&f->w, KEY, HIM, id, &other, NULL), LINK_NACK_GAP);
	assert_int_equal(fake_append(&f->w, stream, "{}"), 0);
	assert_int_equal(fake_attach(&f->w, "other", HIM, id, &other, NULL), LINK_NACK_GAP);
	assert_int_equal(fake_attach(&f->w, "nobody", HIM, id, &other, NULL), LINK_NACK_NO_SESSION);
	assert_int_equal(fake_attach(&f->w, KEY, "mallory", id, &other, NULL), LINK_NACK_NO_SESSION);
	assert_int_equal(fake_attach(&f->w, KEY, HIM, id, &other, NULL), 0);
	snprintf(id, sizeof(id), "%" PRIu64 ".%" PRIu64 ".1", stream, f->w.epoch - 1);
	assert_int_equal(fake_attach(&f->w, KEY, HIM, id, &other, NULL), LINK_NACK_GAP);
	fake_server_release(&s);
}

static void the_newest_connection_of_a_session_wins(void **state)
{
	struct fixture *f = *state;
	uint64_t own, cursor;
	struct fake_server a, b;

	make_session(f);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, &own), 0);
	assert_int_equal(fake_append(&f->w, own, "{\"n\":1}"), 0); /* before anybody is connected */
	assert_int_equal(fake_attach(&f->w, KEY, HIM, "", &own, &cursor), 0);
	fake_server_init(&a, fake_adopt(&f->w, own, LINK_KIND_FCGI, cursor, 15000));
	expect_text(&a, "{\"n\":1}");
	assert_int_equal(fake_attach(&f->w, KEY, HIM, "", &own, &cursor), 0);
	fake_server_init(&b, fake_adopt(&f->w, own, LINK_KIND_FCGI, LINK_CURSOR_UNDELIVERED, 15000));
	expect_end(&a);
	expect_text(&b, FAKE_HEAD);
	assert_int_equal(fake_append(&f->w, own, "{\"n\":2}"), 0);
	expect_text(&b, "{\"n\":2}");
	assert_null(strstr(b.text.data, "{\"n\":1}")); /* one message goes to one stream, once */
	assert_int_equal(fake_session_del(&f->w, KEY, HIM), 0);
	expect_end(&b);
	fake_server_release(&a);
	fake_server_release(&b);
}

static void a_call_without_an_answer_is_not_replayed(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream, again, cursor;
	struct fake_server s;
	char id[80];

	make_session(f);
	make_stream(f, &call, &stream, &s);
	assert_int_equal(fake_append(&f->w, stream, "{\"n\":1}"), 0);
	expect_text(&s, "{\"n\":1}");
	fake_server_release(&s); /* the client left */
	assert_int_equal(fake_append(&f->w, stream, "{\"n\":2}"), 0);
	assert_int_equal(fake_finish(&f->w, call, stream, NULL), 0);
	for (unsigned seq = 0; seq <= 2; seq++) {
		snprintf(id, sizeof(id), "%" PRIu64 ".%" PRIu64 ".%u", stream, f->w.epoch, seq);
		assert_int_equal(fake_attach(&f->w, KEY, HIM, id, &again, &cursor), LINK_NACK_DELIVERED);
	}
}

static void a_connection_is_sent_away_and_comes_again(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream, modern, cursor;
	struct fake_server s;
	char id[80];

	make_session(f);
	make_stream(f, &call, &stream, &s);
	assert_int_equal(fake_append(&f->w, stream, "{\"n\":1}"), 0);
	for (unsigned tries = 0; fake_close_conn(&f->w, stream, "retry: 500\n\n") == LINK_NACK_BUSY; tries++) {
		assert_true(tries < 100); /* the ADOPT is on its way */
		usleep(10000);
	}
	expect_end(&s);
	assert_non_null(strstr(s.text.data, "{\"n\":1}\n\nretry: 500\n\n"));
	fake_server_release(&s);
	assert_int_equal(fake_close_conn(&f->w, stream, "x"), 0); /* nobody reads it */
	assert_int_equal(fake_append(&f->w, stream, "{\"n\":2}"), 0);
	snprintf(id, sizeof(id), "%" PRIu64 ".%" PRIu64 ".1", stream, f->w.epoch);
	assert_int_equal(fake_attach(&f->w, KEY, HIM, id, &stream, &cursor), 0);
	assert_int_equal(fake_close_conn(&f->w, stream, "x"), LINK_NACK_BUSY);
	fake_server_init(&s, fake_adopt(&f->w, stream, LINK_KIND_FCGI, cursor, 15000));
	assert_int_equal(fake_finish(&f->w, call, stream, "{\"n\":3}"), 0);
	expect_end(&s);
	assert_non_null(strstr(s.text.data, "{\"n\":2}"));
	assert_non_null(strstr(s.text.data, "{\"n\":3}"));
	assert_null(strstr(s.text.data, "x\n\n"));
	fake_server_release(&s);
	assert_int_equal(fake_close_conn(&f->w, 2, "x"), LINK_NACK_CLOSED);
	assert_int_equal(fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, NULL, &modern), 0);
	assert_int_equal(fake_close_conn(&f->w, modern, "x"), LINK_NACK_BAD);
}

static void wills_speak_for_a_dead_worker(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream, own, cursor, modern;
	struct fake_worker w;
	struct fake_server s, m, o;
	static const char *const two[] = {"2", "{\"will\":2}", NULL}, *const three[] = {"3", "{\"will\":3}", NULL},
				 *const four[] = {"4", "{\"will\":4}", NULL};

	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 0, LINK_SESSION_ENDS_WITH_CONN, "{}", NULL), 0);
	fake_worker_connect(&w, f->broker.dir);
	assert_int_equal(fake_call_begin(&w, KEY, HIM, 0, one_id, &call, &own), 0);
	assert_int_equal(fake_open(&w, KEY, 0, call, NULL, NULL, &stream), 0);
	fake_server_init(&s, fake_adopt(&w, stream, LINK_KIND_FCGI, 0, 15000));
	assert_int_equal(fake_open(&w, "", LINK_STREAM_MODERN, 0, two, NULL, &modern), 0);
	fake_server_init(&m, fake_adopt(&w, modern, LINK_KIND_FCGI, 0, 15000));
	assert_int_equal(fake_attach(&f->w, KEY, HIM, "", &own, &cursor), 0);
	fake_server_init(&o, fake_adopt(&f->w, own, LINK_KIND_FCGI, cursor, 15000));
	assert_int_equal(fake_call_begin(&w, KEY, HIM, LINK_CALL_ON_SESSION_STREAM, three, NULL, NULL), 0);
	assert_int_equal(
	    fake_call_begin(&w, KEY, HIM, 0, four, NULL, NULL), 0); /* answered as JSON: the web server tells */
	expect_text(&s, FAKE_HEAD);
	fake_worker_die(&w);
	expect_text(&s, "worker died");
	expect_end(&s);
	expect_text(&m, "{\"will\":2}");
	expect_end(&m);
	expect_text(&o, "{\"will\":3}");
	assert_null(strstr(o.text.data, "{\"will\":4}"));
	/* All its ids are free again. */
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, NULL, NULL), 0);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, four, NULL, NULL), 0);
	fake_server_release(&s);
	fake_server_release(&m);
	fake_server_release(&o);
}

static void an_answer_sent_before_death_beats_the_will(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream;
	struct fake_worker w;
	struct fake_server s;
	struct buf body;

	make_session(f);
	fake_worker_connect(&w, f->broker.dir);
	assert_int_equal(fake_call_begin(&w, KEY, HIM, 0, one_id, &call, NULL), 0);
	assert_int_equal(fake_open(&w, KEY, 0, call, NULL, NULL, &stream), 0);
	fake_server_init(&s, fake_adopt(&w, stream, LINK_KIND_FCGI, 0, 15000));
	expect_text(&s, FAKE_HEAD);
	close(w.ctl); /* dead for the broker, but what it said may still be on its way */
	w.ctl = dup(STDERR_FILENO);
	buf_init(&body, 256);
	link_put_bytes(&body, SLICE("{\"answer\":1}"));
	fake_worker_send(&w, &(struct link_header){.type = LINK_FINISH, .corr = call, .stream = stream, .count = 1},
	    SLICE(""), buf_slice(&body));
	buf_release(&body);
	expect_text(&s, "{\"answer\":1}");
	expect_end(&s);
	assert_null(strstr(s.text.data, "worker died"));
	fake_worker_die(&w);
	fake_server_release(&s);
}

static void call_end_owing_an_answer_sends_the_will(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream;
	struct fake_server s;

	make_session(f);
	make_stream(f, &call, &stream, &s);
	fake_worker_send(&f->w, &(struct link_header){.type = LINK_CALL_END, .corr = call}, SLICE(""), SLICE(""));
	expect_text(&s, "worker died");
	expect_end(&s);
	fake_server_release(&s);
}

static void cancel_reaches_the_worker_of_the_call(void **state)
{
	static const char *const batch[] = {"\"a\"", "", "\"b\"", "", NULL};
	struct fixture *f = *state;
	struct fake_worker w;
	uint64_t call;

	make_session(f);
	fake_worker_connect(&w, f->broker.dir);
	assert_int_equal(fake_call_begin(&w, KEY, HIM, 0, batch, &call, NULL), 0);
	assert_int_equal(fake_cancel(&f->w, KEY, HIM, "\"c\""), 0);
	assert_int_equal(fake_cancel(&f->w, KEY, "mallory", "\"b\""), LINK_NACK_NO_SESSION);
	assert_int_equal(fake_cancel(&f->w, KEY, HIM, "\"b\""), 0);
	expect_cancelled(&w, call, "\"b\"");
	assert_int_equal(fake_session_del(&f->w, KEY, HIM), 0);
	expect_cancelled(&w, call, "");
	fake_worker_die(&w);
}

static void a_retry_has_no_second_effect(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream, seq;
	struct fake_server s;
	struct fake_answer a;
	struct buf body;
	const char *first;

	make_session(f);
	make_stream(f, &call, &stream, &s);
	buf_init(&body, 256);
	link_put_bytes(&body, SLICE("{\"once\":1}"));
	seq = f->w.seq + 1;
	for (int i = 0; i < 3; i++) {
		struct link_header h = {
		    .type = LINK_APPEND, .flags = LINK_DURABLE | LINK_WANT_ACK, .stream = stream, .count = 1};

		h.seq = seq;
		h.flags = (uint16_t)(h.flags | (i > 0 ? LINK_RETRY : 0));
		assert_int_equal(fake_worker_ask(&f->w, &h, SLICE(""), buf_slice(&body), &a), 0);
		fake_answer_release(&a);
	}
	f->w.seq = seq;
	buf_release(&body);
	assert_int_equal(fake_finish(&f->w, call, stream, NULL), 0);
	expect_end(&s);
	first = strstr(s.text.data, "{\"once\":1}");
	assert_non_null(first);
	assert_null(strstr(first + 1, "{\"once\":1}"));
	fake_server_release(&s);
}

static void a_retried_question_gets_the_same_answer(void **state)
{
	struct fixture *f = *state;
	uint64_t call, again, stream;
	struct fake_answer a;
	struct buf body;

	make_session(f);
	assert_int_equal(fake_open(&f->w, KEY, 0, 0, one_id, &call, &stream), 0);
	buf_init(&body, 512);
	link_put_u8(&body, 0);
	link_put_u16(&body, 1);
	link_put_bytes(&body, SLICE("1"));
	link_put_bytes(&body, SLICE(WILL));
	assert_int_equal(fake_worker_ask(&f->w, &(struct link_header){.type = LINK_OPEN_STREAM, .seq = call},
			     SLICE(KEY), buf_slice(&body), &a),
	    0);
	again = a.h.stream;
	assert_int_equal(again, stream);
	fake_answer_release(&a);
	/* and a NACK stays a NACK */
	assert_int_equal(fake_worker_ask(&f->w, &(struct link_header){.type = LINK_OPEN_STREAM, .seq = call + 1},
			     SLICE(KEY), buf_slice(&body), NULL),
	    LINK_NACK_DUPLICATE_ID);
	fake_worker_send(
	    &f->w, &(struct link_header){.type = LINK_CALL_END, .corr = call, .seq = call + 2}, SLICE(""), SLICE(""));
	assert_int_equal(fake_worker_ask(&f->w, &(struct link_header){.type = LINK_OPEN_STREAM, .seq = call + 1},
			     SLICE(KEY), buf_slice(&body), NULL),
	    LINK_NACK_DUPLICATE_ID);
	f->w.seq = call + 2;
	buf_release(&body);
}

static void past_its_deadline_a_message_has_no_effect(void **state)
{
	struct fixture *f = *state;
	struct link_header h = {.type = LINK_SESSION_DEL, .deadline_ms = now_ms() - 1000};
	struct buf body;

	make_session(f);
	buf_init(&body, 64);
	link_put_bytes(&body, SLICE(HIM));
	assert_int_equal(fake_worker_ask(&f->w, &h, SLICE(KEY), buf_slice(&body), NULL), LINK_NACK_EXPIRED);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, NULL), 0);
	h.deadline_ms = now_ms() + 10000;
	assert_int_equal(fake_worker_ask(&f->w, &h, SLICE(KEY), buf_slice(&body), NULL), 0);
	buf_release(&body);
}

static void credit_comes_back(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream, full = f->w.credit, len = 100000;
	struct fake_server s;
	char *event = calloc(1, len + 1);

	assert_non_null(event);
	memset(event, 'x', len);
	make_session(f);
	make_stream(f, &call, &stream, &s);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(fake_append(&f->w, stream, event), 0);
		f->w.credit -= len + 4;
	}
	for (int i = 0; i < 30 && f->w.credit < full; i++) {
		struct fake_answer a;

		assert_false(fake_worker_receive(&f->w, &a, 100));
	}
	assert_int_equal(f->w.credit, full);
	fake_server_release(&s);
	free(event);
}

static int setup_small(void **state)
{
	static const char *const sets[] = {"stream_log_max_bytes=65536", "stream_sndbuf_bytes=4096", "stream_keep_s=2"};

	return fixture_start(state, sets, 3, 0);
}

static void a_slow_legacy_client_loses_its_connection_only(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream, cursor;
	struct fake_server s;
	unsigned nack = 0, sent = 0;
	char event[4096], id[80];

	memset(event, 'x', sizeof(event) - 1);
	event[sizeof(event) - 1] = '\0';
	make_session(f);
	make_stream(f, &call, &stream, &s);
	while (sent < 500 && (nack = fake_append(&f->w, stream, event)) == 0)
		sent++;
	assert_int_equal(nack, LINK_NACK_BUSY); /* nobody reads: the log is full */
	assert_int_equal(fake_finish(&f->w, call, stream, "{\"final\":1}"), 0);
	while (fake_server_expect(&s, "never", 200)) /* what was on its way, then the close */
		;
	assert_true(s.closed);
	fake_server_release(&s);
	snprintf(id, sizeof(id), "%" PRIu64 ".%" PRIu64 ".%u", stream, f->w.epoch, sent - 1);
	assert_int_equal(fake_attach(&f->w, KEY, HIM, id, &stream, &cursor), 0);
	fake_server_init(&s, fake_adopt(&f->w, stream, LINK_KIND_FCGI, cursor, 15000));
	expect_text(&s, "{\"final\":1}");
	expect_end(&s);
	fake_server_release(&s);
}

static void a_slow_modern_client_is_cancelled(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream;
	char event[4096];
	unsigned nack = 0;
	int fd;

	memset(event, 'x', sizeof(event) - 1);
	event[sizeof(event) - 1] = '\0';
	assert_int_equal(fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, &call, &stream), 0);
	fd = fake_adopt(&f->w, stream, LINK_KIND_FCGI, 0, 15000);
	for (int i = 0; i < 500 && nack == 0; i++) {
		struct fake_answer a;
		struct buf body;

		buf_init(&body, sizeof(event) + 4);
		link_put_bytes(&body, slice_str(event));
		fake_worker_send(&f->w,
		    &(struct link_header){
			.type = LINK_APPEND, .flags = LINK_DURABLE | LINK_WANT_ACK, .stream = stream, .count = 1},
		    SLICE(""), buf_slice(&body));
		buf_release(&body);
		assert_true(fake_worker_receive(&f->w, &a, FAKE_WAIT_MS));
		if (a.h.type == LINK_CANCELLED) {
			assert_int_equal(a.h.corr, call);
			fake_answer_release(&a);
			assert_true(fake_worker_receive(&f->w, &a, FAKE_WAIT_MS));
			assert_int_equal(a.nack, LINK_NACK_CLOSED);
		}
		nack = a.nack;
		fake_answer_release(&a);
	}
	assert_int_equal(nack, LINK_NACK_CLOSED);
	close(fd);
}

static void an_event_over_the_limit_is_too_big(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream;
	struct fake_server s;
	char *event = calloc(1, 70001);

	assert_non_null(event);
	memset(event, 'y', 70000);
	make_session(f);
	make_stream(f, &call, &stream, &s);
	assert_int_equal(fake_append(&f->w, stream, event), LINK_NACK_TOO_BIG);
	assert_int_equal(fake_finish(&f->w, call, stream, event), 0); /* but an answer is an answer */
	expect_end(&s);
	assert_non_null(strstr(s.text.data, event));
	fake_server_release(&s);
	free(event);
}

static void a_finished_stream_is_kept_for_a_while(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream, again;
	unsigned nack = LINK_NACK_DELIVERED;
	struct fake_server s;
	char id[80];

	make_session(f);
	make_stream(f, &call, &stream, &s);
	assert_int_equal(fake_finish(&f->w, call, stream, "{}"), 0);
	expect_end(&s);
	fake_server_release(&s);
	snprintf(id, sizeof(id), "%" PRIu64 ".%" PRIu64 ".1", stream, f->w.epoch);
	assert_int_equal(fake_attach(&f->w, KEY, HIM, id, &again, NULL), LINK_NACK_DELIVERED);
	for (int waited = 0; nack == LINK_NACK_DELIVERED && waited < FAKE_WAIT_MS; waited += 100) { /* stream_keep_s=2 */
		usleep(100000);
		nack = fake_attach(&f->w, KEY, HIM, id, &again, NULL);
	}
	assert_int_equal(nack, LINK_NACK_GAP);
}

static void silence_has_heartbeats(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream;
	struct fake_server s;

	assert_int_equal(fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, &call, &stream), 0);
	fake_server_init(&s, fake_adopt(&f->w, stream, LINK_KIND_FCGI, 0, 100));
	expect_text(&s, ": keepalive\n\n: keepalive\n\n");
	fake_server_release(&s);
	expect_cancelled(&f->w, call, "");
}

static void a_modern_stream_without_a_connection_is_cancelled(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream;

	assert_int_equal(fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, &call, &stream), 0);
	expect_cancelled(&f->w, call, "");
	assert_int_equal(fake_append(&f->w, stream, "{}"), LINK_NACK_CLOSED);
}

static int setup_grace(void **state)
{
	static const char *const sets[] = {"session_grace_s=0", "session_idle_s=3"};

	return fixture_start(state, sets, 2, 0);
}

static void an_http_sse_session_ends_with_its_connection(void **state)
{
	struct fixture *f = *state;
	uint64_t own, cursor;
	struct fake_server s;

	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 0, LINK_SESSION_ENDS_WITH_CONN, "{}", NULL), 0);
	assert_int_equal(fake_attach(&f->w, KEY, HIM, "", &own, &cursor), 0);
	fake_server_init(&s, fake_adopt(&f->w, own, LINK_KIND_FCGI, cursor, 15000));
	expect_text(&s, FAKE_HEAD);
	usleep(3500000); /* longer than session_idle_s: the connection keeps it */
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, NULL), 0);
	fake_server_release(&s);
	usleep(1500000); /* half of session_idle_s: it is not that */
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, NULL), LINK_NACK_NO_SESSION);
}

static void an_idle_session_ends(void **state)
{
	struct fixture *f = *state;

	make_session(f);
	usleep(1700000);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, NULL), 0); /* renews it */
	usleep(1700000);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, NULL), 0);
	usleep(4500000);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, NULL), LINK_NACK_NO_SESSION);
}

#define FDS_LIMIT 64

static int setup_few_fds(void **state)
{
	static const char *const sets[] = {"broker_fd_reserve=16"};

	return fixture_start(state, sets, 1, FDS_LIMIT);
}

static void descriptors_have_a_limit(void **state)
{
	struct fixture *f = *state;
	uint64_t call[FDS_LIMIT], stream[FDS_LIMIT];
	struct fake_server s[FDS_LIMIT];
	unsigned count = 0, nack = 0;

	usleep(50000); /* the connection by which fake_broker_start() saw it listen is closed by now */
	for (; count < FDS_LIMIT; count++) {
		nack = fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, &call[count], &stream[count]);
		if (nack)
			break;
		fake_server_init(&s[count], fake_adopt(&f->w, stream[count], LINK_KIND_FCGI, 0, 15000));
		expect_text(&s[count], FAKE_HEAD);
	}
	assert_int_equal(nack, LINK_NACK_LIMIT);
	assert_in_range(count, 1, FDS_LIMIT - 16);
	assert_int_equal(fake_finish(&f->w, call[0], stream[0], "{}"), 0);
	expect_end(&s[0]);
	assert_int_equal(fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, NULL, &stream[0]), 0); /* reserves it */
	assert_int_equal(fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, NULL, NULL), LINK_NACK_LIMIT);
	for (unsigned i = 0; i < count; i++)
		fake_server_release(&s[i]);
}

static int setup_few_open(void **state)
{
	static const char *const sets[] = {"stream_open_max=2"};

	return fixture_start(state, sets, 1, 0);
}

/* Streams that wait for news meet the limit; calls don't, and who comes again for the same one doesn't either. */
static void connections_that_wait_have_a_limit(void **state)
{
	struct fixture *f = *state;
	uint64_t own, cursor, listen, call, stream;
	struct fake_server a, again, l, c;

	for (int i = 0; i < 3; i++)
		assert_int_equal(fake_session_put(&f->w, (const char *[]){"a", "b", KEY}[i], HIM, 0, 0, "", NULL), 0);
	assert_int_equal(fake_attach(&f->w, "a", HIM, "", &own, &cursor), 0);
	fake_server_init(&a, fake_adopt(&f->w, own, LINK_KIND_FCGI, cursor, 15000));
	expect_text(&a, FAKE_HEAD);
	assert_int_equal(
	    fake_open(&f->w, "", LINK_STREAM_MODERN | LINK_STREAM_LISTEN, 0, one_id, NULL, &listen), 0); /* reserves */
	assert_int_equal(fake_attach(&f->w, "b", HIM, "", NULL, NULL), LINK_NACK_LIMIT);
	assert_int_equal(
	    fake_open(&f->w, "", LINK_STREAM_MODERN | LINK_STREAM_LISTEN, 0, one_id, NULL, NULL), LINK_NACK_LIMIT);
	fake_server_init(&l, fake_adopt(&f->w, listen, LINK_KIND_FCGI, 0, 15000));
	expect_text(&l, FAKE_HEAD);
	make_stream(f, &call, &stream, &c); /* a call's own */
	assert_int_equal(fake_attach(&f->w, "a", HIM, "", &own, &cursor), 0);
	fake_server_init(&again, fake_adopt(&f->w, own, LINK_KIND_FCGI, cursor, 15000));
	expect_text(&again, FAKE_HEAD);
	expect_end(&a);
	assert_int_equal(fake_attach(&f->w, "b", HIM, "", NULL, NULL), LINK_NACK_LIMIT);
	fake_server_release(&l); /* leaves */
	for (int i = 0; i < 100 && fake_attach(&f->w, "b", HIM, "", NULL, NULL) == LINK_NACK_LIMIT; i++)
		usleep(20000);
	assert_int_equal(fake_attach(&f->w, KEY, HIM, "", NULL, NULL), LINK_NACK_LIMIT); /* b has its place promised */
	usleep((RESERVE_MS + 300) * 1000);                                               /* and did not come */
	assert_int_equal(fake_attach(&f->w, KEY, HIM, "", NULL, NULL), 0);
	fake_server_release(&a);
	fake_server_release(&again);
	fake_server_release(&c);
}

static void garbage_harms_nobody(void **state)
{
	struct fixture *f = *state;
	struct slice raw[6] = {TEXT("a"), TEXT("b"), TEXT("c"), TEXT("d"), TEXT("e"), TEXT("f")};
	struct link_header h = {.type = LINK_APPEND, .flags = LINK_WANT_ACK, .count = UINT32_MAX};
	struct buf packet;
	char bytes[2 * LINK_PACKET_MAX];
	int fd;

	make_session(f);
	for (size_t count = 1; count <= 6; count++)
		fake_worker_send_raw(&f->w, raw, count);
	/* Well-formed headers, bodies that are not. */
	for (unsigned type = 0; type < 64; type++) {
		rnd_bytes(bytes, 64);
		for (size_t len = 0; len < 64; len += 7)
			fake_worker_send(&f->w, &(struct link_header){.type = (uint8_t)type, .count = 3}, SLICE(KEY),
			    (struct slice){bytes, len});
	}
	for (int i = 0; i < 700; i++) { /* their answers */
		struct fake_answer a;

		if (!fake_worker_receive(&f->w, &a, 50))
			break;
		fake_answer_release(&a);
	}
	assert_int_equal(fake_worker_ask(&f->w, &h, SLICE(""), SLICE("abcd"), NULL), LINK_NACK_CLOSED);
	/* The control channel: garbage, too long, HELLO with a bad length, an ADOPT without a descriptor and before
	 * HELLO. */
	for (size_t len = 1; len < sizeof(bytes); len = len * 3 + 1) {
		fd = fake_ctl_connect(f->broker.dir);
		assert_int_not_equal(fd, -1);
		assert_int_equal(send(fd, bytes, len, 0), len);
		close(fd);
	}
	fd = fake_ctl_connect(f->broker.dir);
	buf_init(&packet, 1024);
	link_put_header(&packet, &(struct link_header){.version = LINK_VERSION, .type = LINK_ADOPT, .stream = 4});
	assert_int_equal(send(fd, packet.data, packet.len, 0), packet.len);
	close(fd);
	buf_release(&packet);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, NULL), 0);
}

/* Sends a packet that carries the write end of a new pipe twice over; returns the read end. */
static int send_descriptors(int ctl, struct slice packet)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)packet.p, packet.len};
	struct msghdr msg = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(2 * sizeof(int));
	memcpy(CMSG_DATA(cm), &ends[1], sizeof(int));
	memcpy(CMSG_DATA(cm) + sizeof(int), &ends[1], sizeof(int));
	assert_int_equal(sendmsg(ctl, &msg, 0), packet.len);
	close(ends[1]);
	return ends[0];
}

/* Nothing that a peer passes stays open in the broker, unless it is the connection of an ADOPT. */
static void descriptors_that_nobody_asked_for_are_closed(void **state)
{
	struct fixture *f = *state;
	struct buf hello;

	buf_init(&hello, 1024);
	fake_worker_put_hello(&hello, 4711, 1, LINK_VERSION, LINK_VERSION, LINK_ROLE_WORKER);
	for (int i = 0; i < 3; i++) {
		int ctl = fake_ctl_connect(f->broker.dir);
		int end = send_descriptors(ctl, i == 0 ? SLICE("") : i == 1 ? SLICE("garbage") : buf_slice(&hello));
		struct pollfd p = {.fd = end};

		if (poll(&p, 1, FAKE_WAIT_MS) != 1 || !(p.revents & POLLHUP))
			fail_msg("packet %d: what it carried stays open", i);
		close(end);
		close(ctl);
	}
	buf_release(&hello);
}

/* The id of a session of Streamable HTTP is none at POST /messages, whose answers would go where nobody reads them. */
static void a_session_is_of_one_transport(void **state)
{
	struct fixture *f = *state;

	make_session(f);
	assert_int_equal(
	    fake_call_begin(&f->w, KEY, HIM, LINK_CALL_ON_SESSION_STREAM, one_id, NULL, NULL), LINK_NACK_NO_SESSION);
	assert_int_equal(
	    fake_call_begin(&f->w, KEY, HIM, LINK_CALL_ON_SESSION_STREAM, NULL, NULL, NULL), LINK_NACK_NO_SESSION);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, NULL, NULL), 0);
}

#define LATE_COUNT 20000 /* answers that no queue between broker and worker holds */

static int setup_long_line(void **state)
{
	static const char *const sets[] = {"link_backlog_max=65536"};

	return fixture_start(state, sets, 1, 0);
}

static void ask_without_reading(struct fixture *f, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		fake_worker_send(&f->w,
		    &(struct link_header){.type = LINK_APPEND, .flags = LINK_WANT_ACK, .stream = 99}, SLICE(""),
		    SLICE(""));
}

/* Nothing else keeps this broker awake: no timer runs. */
static void a_worker_that_reads_late_gets_all(void **state)
{
	struct fixture *f = *state;
	uint64_t begin_ms;

	ask_without_reading(f, LATE_COUNT);
	usleep(300000);
	begin_ms = now_ms();
	for (unsigned i = 0; i < LATE_COUNT; i++) {
		struct fake_answer a;

		if (!fake_worker_receive(&f->w, &a, FAKE_WAIT_MS))
			fail_msg("%u of %u answers came", i, LATE_COUNT);
		assert_int_equal(a.nack, LINK_NACK_CLOSED);
		fake_answer_release(&a);
	}
	assert_in_range(now_ms() - begin_ms, 0, FAKE_WAIT_MS);
}

static int setup_short_line(void **state)
{
	static const char *const sets[] = {"link_backlog_max=16"};

	return fixture_start(state, sets, 1, 0);
}

static void a_worker_that_does_not_read_is_cut_off(void **state)
{
	struct fixture *f = *state;
	struct pollfd p = {.fd = f->w.ctl};

	ask_without_reading(f, LATE_COUNT);
	assert_int_equal(poll(&p, 1, FAKE_WAIT_MS), 1);
	assert_true(p.revents & POLLHUP);
}

static void hello_is_checked(void **state)
{
	static const struct {
		const char *name;
		uint16_t version_min, version_max;
		int role; /* -1: no byte, as before there were runners */
		enum link_type want;
		enum link_nack nack;
	} cases[] = {
	    {"a worker", LINK_VERSION, LINK_VERSION, LINK_ROLE_WORKER, LINK_WELCOME, 0},
	    {"a runner", 1, LINK_VERSION, LINK_ROLE_RUNNER, LINK_WELCOME, 0},
	    {"one without a role", LINK_VERSION, 9, -1, LINK_WELCOME, 0},
	    {"nothing", LINK_VERSION, LINK_VERSION, 0, LINK_NACK, LINK_NACK_BAD},
	    {"something newer", LINK_VERSION, LINK_VERSION, LINK_ROLE__COUNT, LINK_NACK, LINK_NACK_BAD},
	    {"an older worker", 1, LINK_VERSION - 1, LINK_ROLE_WORKER, LINK_NACK, LINK_NACK_VERSION},
	    {"a newer worker", LINK_VERSION + 1, 9, LINK_ROLE_WORKER, LINK_NACK, LINK_NACK_VERSION},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		int fd = fake_ctl_connect(f->broker.dir);
		struct link_header h;
		struct buf packet;
		char bytes[512];
		ssize_t len;

		buf_init(&packet, 512);
		fake_worker_put_hello(&packet, 77, (uint32_t)i + 1, cases[i].version_min, cases[i].version_max,
		    (enum link_role)cases[i].role);
		if (cases[i].role == -1) {
			packet.len--;
			packet.data[48]--; /* body_len */
		}
		assert_int_equal(send(fd, packet.data, packet.len, 0), packet.len);
		buf_release(&packet);
		len = recv(fd, bytes, sizeof(bytes), 0);
		if (len <= LINK_HEADER_LEN || link_get_header((struct slice){bytes, (size_t)len}, &h, NULL) ||
		    h.type != cases[i].want)
			fail_msg("%s: not a %s", cases[i].name, link_type_name(cases[i].want));
		assert_int_equal(h.version, cases[i].nack ? LINK_VERSION_HELLO : LINK_VERSION);
		if (cases[i].nack) {
			assert_int_equal(bytes[LINK_HEADER_LEN], cases[i].nack);
			assert_int_equal(recv(fd, bytes, sizeof(bytes), 0), 0);
		}
		close(fd);
	}
}

static void data_without_a_control_connection_is_dropped(void **state)
{
	struct fixture *f = *state;
	struct fake_worker w;
	struct fake_answer a;

	fake_worker_connect(&w, f->broker.dir);
	w.producer++; /* not who its routing id says */
	fake_worker_send(&w, &(struct link_header){.type = LINK_CALL_BEGIN}, SLICE(KEY), SLICE(""));
	assert_false(fake_worker_receive(&w, &a, 200));
	w.producer--;
	close(w.ctl);
	w.ctl = dup(STDERR_FILENO);
	usleep(400000);
	fake_worker_send(&w, &(struct link_header){.type = LINK_CALL_BEGIN}, SLICE(KEY), SLICE(""));
	assert_false(fake_worker_receive(&w, &a, 200));
	fake_worker_die(&w);
}

static void a_wrong_user_is_turned_away(void **state)
{
	struct fixture *f = *state;
	int status;
	pid_t pid;

	if (getuid() != 0)
		skip();
	chmod(f->broker.dir, 0777); /* so that the socket itself has to tell */
	pid = fork();
	if (pid == 0) {
		char path[128], byte;
		int fd;

		snprintf(path, sizeof(path), "%s/%s", f->broker.dir, LINK_CTL_NAME);
		chmod(path, 0666);
		if (setuid(65534))
			_exit(3);
		fd = fake_ctl_connect(f->broker.dir);
		_exit(fd != -1 && recv(fd, &byte, 1, 0) <= 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void a_second_broker_leaves_quietly(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fake_broker_run(f->broker.dir, NULL, 0), 0);
	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 0, 0, "{}", NULL), 0); /* the first one is unharmed */
}

static void sigterm_lets_calls_finish(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream, own, cursor;
	struct fake_server s, o;
	struct fake_answer a;

	make_session(f);
	make_stream(f, &call, &stream, &s);
	assert_int_equal(fake_attach(&f->w, KEY, HIM, "", &own, &cursor), 0);
	fake_server_init(&o, fake_adopt(&f->w, own, LINK_KIND_FCGI, cursor, 15000));
	expect_text(&o, FAKE_HEAD);
	expect_text(&s, FAKE_HEAD);
	kill(f->broker.pid, SIGTERM);
	assert_true(fake_worker_receive(&f->w, &a, FAKE_WAIT_MS));
	assert_int_equal(a.h.type, LINK_DRAIN);
	fake_answer_release(&a);
	assert_int_equal(fake_ctl_connect(f->broker.dir), -1);
	assert_int_equal(fake_attach(&f->w, KEY, HIM, "", &own, &cursor), LINK_NACK_BUSY);
	assert_int_equal(fake_finish(&f->w, call, stream, "{\"n\":1}"), 0);
	expect_text(&s, "{\"n\":1}");
	expect_end(&s);
	expect_end(&o);
	assert_int_equal(fake_broker_wait(&f->broker), 0);
	fake_server_release(&s);
	fake_server_release(&o);
}

/* More come than may: those are told to wait, for that had no effect, and are taken when they ask again. */
static void who_comes_too_fast_waits(void **state)
{
	struct fixture *f = *state;
	unsigned taken = 0, busy = 0;
	uint64_t begun_ms = now_ms();

	make_session(f);
	for (int i = 0; i < 5; i++) {
		unsigned nack = fake_attach(&f->w, KEY, HIM, "", NULL, NULL);

		taken += nack == 0;
		busy += nack == LINK_NACK_BUSY;
		assert_true(nack == 0 || nack == LINK_NACK_BUSY);
	}
	if (now_ms() - begun_ms < 90) { /* else a slow machine has let one more in */
		assert_int_equal(taken, 2);
		assert_int_equal(busy, 3);
	}
	usleep(120000);
	assert_int_equal(fake_attach(&f->w, KEY, HIM, "", NULL, NULL), 0);
}

static int setup_slow(void **state)
{
	static const char *const sets[] = {"stream_adopt_rate=10", "stream_adopt_burst=2"};

	return fixture_start(state, sets, 2, 0);
}

#define WAITING 200

/* Connections that wait for news end spread over the drain, each with the time at which its client may come again. */
static void a_drain_is_spread(void **state)
{
	struct fixture *f = *state;
	struct fake_server s[WAITING];
	uint64_t own, cursor, first_ms, last_ms;
	unsigned long most = 0;

	for (int i = 0; i < WAITING; i++) {
		char key[24];

		snprintf(key, sizeof(key), "waiting-%d", i);
		assert_int_equal(fake_session_put(&f->w, key, HIM, 0, 0, "{}", NULL), 0);
		assert_int_equal(fake_attach(&f->w, key, HIM, "", &own, &cursor), 0);
		fake_server_init(&s[i], fake_adopt(&f->w, own, LINK_KIND_FCGI, cursor, 15000));
		expect_text(&s[i], FAKE_HEAD);
	}
	kill(f->broker.pid, SIGTERM);
	first_ms = last_ms = 0;
	for (size_t ended = 0; ended < WAITING;) {
		struct pollfd fds[WAITING];

		for (int i = 0; i < WAITING; i++)
			fds[i] = (struct pollfd){.fd = s[i].ended ? -1 : s[i].fd, .events = POLLIN};
		assert_true(poll(fds, WAITING, FAKE_WAIT_MS) > 0);
		for (int i = 0; i < WAITING; i++) {
			const char *retry;
			unsigned long ms;

			if (!fds[i].revents)
				continue;
			expect_end(&s[i]);
			last_ms = now_ms();
			first_ms = first_ms ? first_ms : last_ms;
			ended++;
			retry = strstr(s[i].text.data, "retry: ");
			assert_non_null(retry);
			ms = strtoul(retry + 7, NULL, 10);
			assert_true(ms >= FAKE_RETRY_MS && ms <= FAKE_RETRY_MS + 5000);
			most = ms > most ? ms : most;
		}
	}
	assert_true(last_ms - first_ms >= 200); /* 64 in each step of 100 ms */
	assert_true(last_ms - first_ms < 2000); /* and no longer than needed */
	assert_true(most >= FAKE_RETRY_MS + 200);
	assert_int_equal(fake_broker_wait(&f->broker), 0);
	for (int i = 0; i < WAITING; i++)
		fake_server_release(&s[i]);
}

static int setup_drain(void **state)
{
	static const char *const sets[] = {"broker_drain_ms=300"};

	return fixture_start(state, sets, 1, 0);
}

static void a_drain_ends_with_wills(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream;
	struct fake_server s;

	make_session(f);
	make_stream(f, &call, &stream, &s);
	expect_text(&s, FAKE_HEAD);
	kill(f->broker.pid, SIGTERM);
	expect_text(&s, "worker died");
	expect_end(&s);
	assert_int_equal(fake_broker_wait(&f->broker), 0);
	fake_server_release(&s);
}

static void a_second_sigterm_is_obeyed_at_once(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream, begin;
	struct fake_server s;
	struct fake_answer a;

	make_session(f);
	make_stream(f, &call, &stream, &s);
	expect_text(&s, FAKE_HEAD);
	kill(f->broker.pid, SIGTERM);
	assert_true(fake_worker_receive(&f->w, &a, FAKE_WAIT_MS));
	fake_answer_release(&a);
	begin = now_ms();
	kill(f->broker.pid, SIGTERM);
	assert_int_equal(fake_broker_wait(&f->broker), 0);
	assert_true(now_ms() - begin < 2000);
	fake_server_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_session_lives_and_ends),
	    TEST(call_begin_returns_the_blob),
	    TEST(an_open_id_is_a_duplicate),
	    TEST_WITH(too_many_open_ids_meet_the_limit, setup_few),
	    TEST_WITH(too_many_sessions_meet_the_limit, setup_few),
	    TEST(a_call_streams_and_finishes),
	    TEST(a_modern_stream_has_no_ids),
	    TEST(finish_may_come_before_the_connection),
	    TEST(an_adopt_of_a_stream_that_is_gone_is_answered),
	    TEST(plain_cgi_gets_raw_bytes),
	    TEST(a_gone_pipe_and_cgi_socket_are_noticed),
	    TEST(a_half_closing_server_gets_a_proper_end),
	    TEST(a_legacy_stream_outlives_its_connection),
	    TEST(ids_that_nobody_gave_are_gaps),
	    TEST(the_newest_connection_of_a_session_wins),
	    TEST(a_call_without_an_answer_is_not_replayed),
	    TEST(a_connection_is_sent_away_and_comes_again),
	    TEST(wills_speak_for_a_dead_worker),
	    TEST(an_answer_sent_before_death_beats_the_will),
	    TEST(call_end_owing_an_answer_sends_the_will),
	    TEST(cancel_reaches_the_worker_of_the_call),
	    TEST(a_retry_has_no_second_effect),
	    TEST(a_retried_question_gets_the_same_answer),
	    TEST(past_its_deadline_a_message_has_no_effect),
	    TEST(credit_comes_back),
	    TEST_WITH(a_slow_legacy_client_loses_its_connection_only, setup_small),
	    TEST_WITH(a_slow_modern_client_is_cancelled, setup_small),
	    TEST_WITH(an_event_over_the_limit_is_too_big, setup_small),
	    TEST_WITH(a_finished_stream_is_kept_for_a_while, setup_small),
	    TEST(silence_has_heartbeats),
	    TEST(a_modern_stream_without_a_connection_is_cancelled),
	    TEST_WITH(an_http_sse_session_ends_with_its_connection, setup_grace),
	    TEST_WITH(an_idle_session_ends, setup_grace),
	    TEST_WITH(descriptors_have_a_limit, setup_few_fds),
	    TEST_WITH(connections_that_wait_have_a_limit, setup_few_open),
	    TEST(garbage_harms_nobody),
	    TEST(descriptors_that_nobody_asked_for_are_closed),
	    TEST(a_session_is_of_one_transport),
	    TEST_WITH(a_worker_that_reads_late_gets_all, setup_long_line),
	    TEST_WITH(a_worker_that_does_not_read_is_cut_off, setup_short_line),
	    TEST(hello_is_checked),
	    TEST(data_without_a_control_connection_is_dropped),
	    TEST(a_wrong_user_is_turned_away),
	    TEST(a_second_broker_leaves_quietly),
	    TEST(sigterm_lets_calls_finish),
	    TEST_WITH(who_comes_too_fast_waits, setup_slow),
	    TEST(a_drain_is_spread),
	    TEST_WITH(a_drain_ends_with_wills, setup_drain),
	    TEST(a_second_sigterm_is_obeyed_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
