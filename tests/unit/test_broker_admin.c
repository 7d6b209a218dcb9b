/* The admin socket of a real mcp-broker: that its numbers are what was done, who is shown, and how sessions are ended.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/jx.h"
#include "tests/lib/broker_fixture.h"
#include "tests/lib/fake_admin.h"
#include "tests/lib/prometheus.h"
#include "common/banned.h"

static json_object *get_json(const struct fixture *f, const char *path)
{
	struct err err = {0};
	const char *body;
	json_object *json;
	struct buf out;

	assert_int_equal(fake_admin_ask(f->broker.dir, "GET", path, &out, &body), 200);
	assert_non_null(strstr(out.data, "\r\nContent-Type: application/json\r\n"));
	json = jx_parse(slice_str(body), 16, &err);
	if (!json)
		fail_msg("%s: %s", err.msg, body);
	buf_release(&out);
	return json;
}

struct want {
	const char *sample;
	double value;
};

static void expect_metrics(const struct fixture *f, const struct want *wants, size_t count)
{
	const char *body, *why;
	struct buf out;

	assert_int_equal(fake_admin_ask(f->broker.dir, "GET", "/metrics", &out, &body), 200);
	assert_non_null(strstr(out.data, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
	why = prometheus_check(body);
	if (why)
		fail_msg("%s", why);
	for (size_t i = 0; i < count; i++) {
		char sample[128];

		snprintf(sample, sizeof(sample), "mcp_%s", wants[i].sample);
		if (prometheus_value(body, sample) != wants[i].value)
			fail_msg("%s is %g instead of %g", sample, prometheus_value(body, sample), wants[i].value);
	}
	buf_release(&out);
}
#define EXPECT(f, ...)                                                                                                 \
	expect_metrics(f, (const struct want[]){__VA_ARGS__}, COUNT_OF(((const struct want[]){__VA_ARGS__})))

static void a_new_broker_has_done_nothing(void **state)
{
	struct fixture *f = *state;

	EXPECT(f, {"sessions", 0}, {"streams", 0}, {"connections", 0}, {"producers", 1}, {"adoptions_total", 0},
	    {"events_appended_total", 0}, {"draining", 0}, {"store_stalled", 0});
}

static void counts_are_what_was_done(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream, cursor, own;
	struct fake_server s, again;
	char id[LINK_EVENT_ID_SIZE];

	make_session(f);
	make_stream(f, &call, &stream, &s);
	expect_text(&s, FAKE_HEAD);
	for (int i = 0; i < 5; i++)
		assert_int_equal(fake_append(&f->w, stream, "{\"n\":1}"), 0);
	expect_text(&s, ".5\n");
	EXPECT(f, {"sessions", 1}, {"streams", 1}, {"connections", 1}, {"adoptions_total", 1},
	    {"calls{state=\"running\"}", 1}, {"events_appended_total", 5}, {"event_bytes_appended_total", 35},
	    {"events_delivered_total", 5}, {"deliver_seconds_count", 5}, {"log_bytes", 35},
	    {"closes_total{reason=\"left\"}", 0});

	fake_server_release(&s); /* closes it */
	link_event_id(stream, f->w.epoch, 2, id);
	assert_int_equal(fake_append(&f->w, stream, "{}"), 0);
	assert_int_equal(fake_attach(&f->w, KEY, HIM, id, &stream, &cursor), 0);
	fake_server_init(&again, fake_adopt(&f->w, stream, LINK_KIND_FCGI, cursor, 15000));
	expect_text(&again, ".6\n");
	assert_int_equal(fake_finish(&f->w, call, stream, "{}"), 0);
	expect_end(&again);
	fake_server_release(&again);
	EXPECT(f, {"closes_total{reason=\"left\"}", 1}, {"closes_total{reason=\"finished\"}", 1}, {"connections", 0},
	    {"resumes_total{outcome=\"resumed\"}", 1}, {"events_replayed_total", 3}, {"events_delivered_total", 7},
	    {"events_appended_total", 7}, {"adoptions_total", 2}, {"calls{state=\"running\"}", 0});

	assert_int_equal(fake_attach(&f->w, KEY, HIM, "1.2.3", &stream, &cursor), LINK_NACK_GAP);
	assert_int_equal(fake_attach(&f->w, "nobody", HIM, "1.2.3", &stream, &cursor), LINK_NACK_NO_SESSION);
	attach_own(f, &own, &s);
	attach_own(f, &own, &again);
	expect_end(&s);
	EXPECT(f, {"resumes_total{outcome=\"gap\"}", 1}, {"resumes_total{outcome=\"unknown\"}", 1},
	    {"resumes_total{outcome=\"resumed\"}", 1}, {"closes_total{reason=\"newer\"}", 1}, {"connections", 1},
	    {"nacks_total{code=\"gap\"}", 1}, {"nacks_total{code=\"no-session\"}", 1},
	    {"nacks_total{code=\"bad\"}", 0});
	fake_server_release(&s);
	fake_server_release(&again);
}

static void parked_calls_and_notifications_are_counted(void **state)
{
	static const char *const topics[] = {"t", NULL}, *const asks[] = {"\"q1\"", "{}", NULL};
	struct fixture *f = *state;
	uint64_t call, stream;
	struct fake_server s;

	make_session(f);
	make_stream(f, &call, &stream, &s);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, false, "", topics, NULL), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(fake_notify(&f->w, 0, "t", "{}", "", ""), 1);
	assert_int_equal(fake_park(&f->w, call, stream, 60000, "{}", "blob", asks), 0);
	EXPECT(f, {"topics", 1}, {"subscriptions", 1}, {"notifications_total", 1}, {"notifications_conflated_total", 2},
	    {"calls{state=\"parked\"}", 1}, {"calls{state=\"running\"}", 0});
	assert_int_equal(fake_give(&f->w, KEY, HIM, "\"q1\"", "{}", NULL), 0);
	EXPECT(f, {"calls{state=\"parked\"}", 0}, {"calls{state=\"running\"}", 1});
	assert_int_equal(fake_session_del(&f->w, KEY, HIM), 0);
	EXPECT(f, {"calls{state=\"parked\"}", 0}, {"calls{state=\"running\"}", 0}, {"sessions", 0}, {"topics", 0});
	fake_server_release(&s);
}

/* Rows of STATS: name, outcome, sum, one bucket with count. */
static void put_row(
    struct buf *body, const char *name, unsigned outcome, uint64_t sum_us, unsigned bucket, uint32_t count)
{
	link_put_bytes(body, slice_str(name));
	link_put_u8(body, (uint8_t)outcome);
	link_put_u64(body, sum_us);
	link_put_u8(body, 1);
	link_put_u8(body, (uint8_t)bucket);
	link_put_u32(body, count);
}

static void send_stats(struct fake_worker *w, const struct buf *rows, uint64_t credit_waits, unsigned n, unsigned nack)
{
	const struct link_header h = {.type = LINK_STATS, .flags = LINK_WANT_ACK};
	struct buf body;

	buf_init(&body, 65536);
	link_put_u64(&body, credit_waits);
	link_put_u16(&body, (uint16_t)n);
	buf_add_slice(&body, buf_slice(rows));
	assert_int_equal(fake_worker_ask(w, &h, SLICE(""), buf_slice(&body), NULL), nack);
	buf_release(&body);
}

static void what_workers_report_outlives_them(void **state)
{
	static const struct {
		const char *name;
		unsigned outcome, bucket;
	} bad[] = {
	    {"a b", 0, 0}, {"a\"", 0, 0}, {"\xff", 0, 0}, {"", 0, 0}, {"a", LINK_OUTCOME__COUNT, 0}, {"a", 0, 25}};
	struct fixture *f = *state;
	struct fake_worker other;
	struct buf rows;

	buf_init(&rows, 65536);
	put_row(&rows, "tools/call", LINK_OUTCOME_OK, 5000, 3, 7);
	put_row(&rows, LINK_STATS_JOB, LINK_OUTCOME_ERROR, 1000000, 24, 1);
	fake_worker_connect(&other, f->broker.dir);
	send_stats(&other, &rows, 2, 2, 0);
	fake_worker_die(&other);
	send_stats(&f->w, &rows, 1, 2, 0);
	for (size_t i = 0; i < COUNT_OF(bad); i++) { /* nothing of them counts, not even the rows before */
		buf_clear(&rows);
		put_row(&rows, "tools/call", LINK_OUTCOME_OK, 5000, 3, 7);
		put_row(&rows, bad[i].name, bad[i].outcome, 1, bad[i].bucket, 1);
		send_stats(&f->w, &rows, 1, 2, LINK_NACK_BAD);
	}
	send_stats(&f->w, &rows, 1, 1, LINK_NACK_BAD);
	send_stats(&f->w, &rows, 1, 3, LINK_NACK_BAD);
	buf_release(&rows);
	EXPECT(f, {"request_seconds_count{method=\"tools/call\",outcome=\"ok\"}", 14},
	    {"request_seconds_sum{method=\"tools/call\",outcome=\"ok\"}", 0.01},
	    {"request_seconds_bucket{method=\"tools/call\",outcome=\"ok\",le=\"0.000064\"}", 0},
	    {"request_seconds_bucket{method=\"tools/call\",outcome=\"ok\",le=\"0.000128\"}", 14},
	    {"job_seconds_bucket{outcome=\"error\",le=\"134.217728\"}", 0}, {"job_seconds_count{outcome=\"error\"}", 2},
	    {"credit_waits_total", 3}, {"nacks_total{code=\"bad\"}", 8});
}

static void ids_are_shown_in_part(void **state)
{
	struct fixture *f = *state;
	json_object *json, *list, *one;
	uint64_t call, stream;
	struct fake_server s;
	const char *body;
	struct buf out;

	assert_int_equal(fake_session_put(&f->w, "0123456789secret", "al\"ice\xff\xc3\xa9\n", 0, 0, "{}", NULL), 0);
	make_session(f);
	make_stream(f, &call, &stream, &s);
	expect_text(&s, FAKE_HEAD);
	assert_int_equal(fake_admin_ask(f->broker.dir, "GET", "/sessions", &out, &body), 200);
	assert_null(strstr(body, "secret"));
	assert_null(strstr(body, KEY));
	buf_release(&out);

	json = get_json(f, "/sessions");
	list = jx_get(json, "sessions");
	assert_int_equal(json_object_array_length(list), 2);
	one = json_object_array_get_idx(list, 0);
	if (!slice_is(jx_get_str(one, "id"), "01234567"))
		one = json_object_array_get_idx(list, 1);
	assert_true(slice_is(jx_get_str(one, "id"), "01234567"));
	assert_true(slice_is(jx_get_str(one, "principal"), "al\"ice\xef\xbf\xbd\xc3\xa9\n"));
	json_object_put(json);

	json = get_json(f, "/streams");
	list = jx_get(json, "streams");
	assert_int_equal(json_object_array_length(list), 3);
	for (size_t i = 0; i < 3; i++) {
		one = json_object_array_get_idx(list, i);
		if ((uint64_t)json_object_get_int64(jx_get(one, "stream")) != stream)
			continue;
		assert_true(slice_is(jx_get_str(one, "session"), "session-"));
		assert_true(slice_is(jx_get_str(one, "kind"), "legacy"));
		assert_true(slice_is(jx_get_str(one, "state"), "LIVE"));
		stream = 0;
	}
	assert_int_equal(stream, 0);
	json_object_put(json);
	fake_server_release(&s);
}

static void kill_needs_one_session_of_this_prefix(void **state)
{
	struct fixture *f = *state;
	uint64_t own;
	struct fake_server s;
	const char *body;
	struct buf out;

	make_session(f);
	attach_own(f, &own, &s);
	assert_int_equal(fake_session_put(&f->w, "session-2", HIM, 0, 0, "{}", NULL), 0);
	assert_int_equal(fake_admin_ask(f->broker.dir, "DELETE", "/sessions/session-", &out, &body), 409);
	buf_release(&out);
	assert_int_equal(fake_admin_ask(f->broker.dir, "DELETE", "/sessions/session-3", &out, &body), 404);
	buf_release(&out);
	assert_int_equal(fake_admin_ask(f->broker.dir, "GET", "/sessions/session-1", &out, &body), 405);
	assert_non_null(strstr(out.data, "\r\nAllow: DELETE\r\n"));
	buf_release(&out);
	EXPECT(f, {"sessions", 2}, {"sessions_killed_total", 0});

	assert_int_equal(fake_admin_ask(f->broker.dir, "DELETE", "/sessions/session-1", &out, &body), 200);
	buf_release(&out);
	expect_end(&s);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, NULL), LINK_NACK_NO_SESSION);
	assert_int_equal(fake_call_begin(&f->w, "session-2", HIM, 0, NULL, NULL, NULL), 0);
	EXPECT(f, {"sessions", 1}, {"sessions_killed_total", 1});
	fake_server_release(&s);
}

/* More than a part of the list, more than a socket holds, while sessions come and go. */
static void long_lists_are_whole(void **state)
{
	enum { COUNT = 5000, OTHERS = 500 };
	struct fixture *f = *state;
	static char found[COUNT];
	struct err err = {0};
	json_object *json, *list;
	const char *body;
	int fd, seen = 0;
	struct buf out;
	char key[32];

	memset(found, 0, sizeof(found));
	for (int i = 0; i < COUNT; i++) {
		snprintf(key, sizeof(key), "%08d-id", i);
		assert_int_equal(fake_session_put(&f->w, key, HIM, 0, 0, "{}", NULL), 0);
	}
	fd = fake_admin_connect(f->broker.dir);
	assert_true(send(fd, "GET /sessions HTTP/1.0\r\n\r\n", 26, MSG_NOSIGNAL) == 26);
	for (int i = 0; i < OTHERS; i++) { /* the answer is begun, and nobody reads it: the broker goes on */
		snprintf(key, sizeof(key), "x%07d-id", i);
		assert_int_equal(fake_session_put(&f->w, key, HIM, 0, 0, "{}", NULL), 0);
		if (i % 2)
			assert_int_equal(fake_session_del(&f->w, key, HIM), 0);
	}
	fake_admin_read(fd, &out);
	body = strstr(out.data, "\r\n\r\n");
	assert_non_null(body);
	json = jx_parse(slice_str(body + 4), 16, &err);
	if (!json)
		fail_msg("%s", err.msg);
	list = jx_get(json, "sessions");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct slice id = jx_get_str(json_object_array_get_idx(list, i), "id");
		long n = id.p[0] == 'x' ? -1 : strtol(id.p, NULL, 10);

		if (n < 0)
			continue;
		assert_true(n < COUNT && !found[n]);
		found[n] = 1;
		seen++;
	}
	assert_int_equal(seen, COUNT);
	json_object_put(json);
	buf_release(&out);
}

static void bad_requests_are_refused(void **state)
{
	struct fixture *f = *state;
	static char endless[70000];
	struct buf out;
	int fd;

	fake_admin_ask_raw(f->broker.dir, SLICE("nonsense\r\n\r\n"), &out);
	assert_non_null(strstr(out.data, "HTTP/1.0 400 "));
	buf_release(&out);
	fake_admin_ask_raw(f->broker.dir, SLICE("POST /sessions HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"), &out);
	assert_non_null(strstr(out.data, "HTTP/1.0 405 "));
	buf_release(&out);
	memset(endless, 'a', sizeof(endless));
	fd = fake_admin_connect(f->broker.dir);
	(void)!send(fd, endless, sizeof(endless), MSG_NOSIGNAL | MSG_DONTWAIT);
	buf_init(&out, 256);
	assert_true(recv(fd, buf_reserve(&out, 255), 13, MSG_WAITALL) == 13);
	assert_memory_equal(out.data, "HTTP/1.0 431 ", 13);
	buf_release(&out);
	close(fd);
	fd = fake_admin_connect(f->broker.dir); /* and who says nothing at all is no harm */
	EXPECT(f, {"sessions", 0});
	close(fd);
}

static void silent_ones_make_the_others_wait_and_are_closed(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	char path[128];
	int fds[12];
	char byte;

	snprintf(path, sizeof(path), "%s/" LINK_ADMIN_NAME, f->broker.dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	for (size_t i = 0; i < COUNT_OF(fds); i++)
		fds[i] = fake_admin_connect(f->broker.dir);
	make_session(f); /* the workers don't notice */
	EXPECT(f, {"sessions", 1});
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(recv(fds[i], &byte, 1, 0), 0);
	for (size_t i = 0; i < COUNT_OF(fds); i++)
		close(fds[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_new_broker_has_done_nothing),
	    TEST(counts_are_what_was_done),
	    TEST(parked_calls_and_notifications_are_counted),
	    TEST(what_workers_report_outlives_them),
	    TEST(ids_are_shown_in_part),
	    TEST(kill_needs_one_session_of_this_prefix),
	    TEST(long_lists_are_whole),
	    TEST(bad_requests_are_refused),
	    TEST(silent_ones_make_the_others_wait_and_are_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
