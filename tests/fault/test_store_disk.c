/* What a disk can do to a running broker: it takes no writes for a while, it loses what it had taken, it gives back
 * other bytes than it got. What was acknowledged is there afterwards, or its client hears of a gap; nothing is skipped
 * without a word. And events that nobody comes for go, in the same way. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/breaker.h"
#include "common/banned.h"

#define BIG    40    /* events, so many that the first ones are not in memory after a restart */
#define EVENT  65536 /* bytes of each */
#define NEEDLE "event %03u "

static const char *const sets[] = {"broker_drain_ms=100", "store_cache_bytes=65536", "link_return_ms=10"};
static const char *const group[] = {"broker_drain_ms=100", "store_sync=group"};
static const char *const soon_over[] = {"broker_drain_ms=100", "store_keep_s=1"};
static struct breaker *breaker;

static int setup(void **state)
{
	return breaker_setup(state, &breaker, sets, COUNT_OF(sets));
}

static int setup_group(void **state)
{
	return breaker_setup(state, &breaker, group, COUNT_OF(group));
}

static int setup_soon_over(void **state)
{
	return breaker_setup(state, &breaker, soon_over, COUNT_OF(soon_over));
}

static void restart(struct fixture *f, int number)
{
	fake_broker_end(&f->broker, number);
	fake_worker_die(&f->w);
	fake_broker_again(&f->broker, sets, COUNT_OF(sets), 0);
	fake_worker_connect(&f->w, f->broker.dir);
}

static uint64_t own_stream(struct fixture *f)
{
	uint64_t own;

	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, &own), 0);
	return own;
}

static unsigned attach_after(struct fixture *f, uint64_t stream, uint64_t epoch, uint64_t seq, struct fake_server *s)
{
	uint64_t found, cursor;
	char id[80];
	unsigned nack;

	snprintf(id, sizeof(id), "%" PRIu64 ".%" PRIu64 ".%" PRIu64, stream, epoch, seq);
	nack = fake_attach(&f->w, KEY, HIM, id, &found, &cursor);
	if (nack == 0)
		fake_server_init(s, fake_adopt(&f->w, found, LINK_KIND_FCGI, cursor, 15000));
	return nack;
}

static size_t count_aside(const struct fixture *f)
{
	char pattern[128];
	glob_t found;
	size_t count;

	snprintf(pattern, sizeof(pattern), "%s/broker.db.bad-*", f->broker.dir);
	count = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
	globfree(&found);
	return count;
}

static void expect_aside(const struct fixture *f)
{
	for (int waited = 0; count_aside(f) == 0 && waited < FAKE_WAIT_MS; waited += 5)
		usleep(5000);
	assert_true(count_aside(f) > 0);
}

/* A system that could not write a page says so once, and then takes it for written. */
static void a_sync_that_failed_is_not_believed_later(void **state)
{
	struct fixture *f = *state;
	uint64_t own, epoch = f->w.epoch, began = now_ms();
	struct fake_server s;

	make_session(f);
	own = own_stream(f);
	assert_true(breaker_acked(f, breaker_send(f, LINK_APPEND, 0, own, "{\"n\":1}")));
	restart(f, SIGKILL);
	assert_true(breaker_acked(f, breaker_send(f, LINK_APPEND, 0, own, "{\"n\":2}")));
	breaker_set(breaker, BREAKER_SYNC_WAL, BREAKER_FAIL, EIO, 0, 1);
	assert_true(breaker_acked(f, breaker_send(f, LINK_APPEND, 0, own, "{\"n\":3}")));
	expect_aside(f);
	breaker_heal(breaker);
	assert_true(breaker_acked(f, breaker_send(f, LINK_APPEND, 0, own, "{\"n\":4}")));
	restart(f, SIGKILL);
	assert_int_equal(attach_after(f, own, epoch, 1, &s), 0);
	expect_text(&s, "{\"n\":4}");
	assert_non_null(strstr(s.text.data, "{\"n\":2}"));
	assert_non_null(strstr(s.text.data, "{\"n\":3}"));
	assert_null(strstr(s.text.data, "{\"n\":1}"));
	fake_server_release(&s);
	print_message("# one EIO of fdatasync, 4 events acknowledged, 0 lost, %ju ms\n", (uintmax_t)(now_ms() - began));
}

/* Every error at every kind of call, in a row: what was sent is acknowledged when it works again. */
static void errors_are_waited_for(void **state)
{
	static const int numbers[] = {ENOSPC, EIO, EROFS, EDQUOT};
	static const unsigned calls[] = {BREAKER_WRITE_WAL, BREAKER_SYNC_WAL, BREAKER_FILE | BREAKER_WRITE_WAL};
	struct fixture *f = *state;
	uint64_t own, began = now_ms(), seq;
	struct fake_server s;
	unsigned n = 0;
	char text[32];

	make_session(f);
	own = own_stream(f);
	for (size_t i = 0; i < COUNT_OF(numbers); i++) {
		for (size_t k = 0; k < COUNT_OF(calls); k++) {
			snprintf(text, sizeof(text), "{\"n\":%u}", ++n);
			breaker_set(breaker, calls[k], BREAKER_FAIL, numbers[i], 0, 1);
			seq = breaker_send(f, LINK_APPEND, 0, own, text);
			for (int waited = 0; breaker->seen == 0 && waited < FAKE_WAIT_MS; waited++)
				usleep(1000);
			assert_true(breaker->seen > 0);
			assert_true(breaker_acked(f, seq));
		}
	}
	breaker_heal(breaker);
	restart(f, SIGKILL);
	attach_own(f, &own, &s);
	expect_text(&s, text);
	for (unsigned i = 1; i <= n; i++) {
		snprintf(text, sizeof(text), "{\"n\":%u}", i);
		assert_non_null(strstr(s.text.data, text));
	}
	fake_server_release(&s);
	print_message(
	    "# %u errors of the disk, %u events acknowledged, 0 lost, %ju ms\n", n, n, (uintmax_t)(now_ms() - began));
}

/* ---- other bytes than were written */

static void fill(struct fixture *f, uint64_t stream)
{
	char *text = malloc(EVENT + 1);

	assert_non_null(text);
	memset(text, 'x', EVENT);
	text[EVENT] = '\0';
	for (unsigned n = 1; n <= BIG; n++) {
		snprintf(text, 16, NEEDLE, n);
		text[strlen(text)] = 'x';
		assert_true(breaker_acked(f, breaker_send(f, LINK_APPEND, 0, stream, text)));
	}
	free(text);
}

/* Changes this event's bytes, wherever they are in the file; with whole_page all of the page. */
static void spoil(const struct fixture *f, const char *name, unsigned n, bool whole_page)
{
	char path[128], needle[16], *bytes, *at;
	static const char zeros[4096];
	unsigned places = 0;
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", f->broker.dir, name);
	snprintf(needle, sizeof(needle), NEEDLE, n);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_not_equal(fd, -1);
	assert_int_equal(fstat(fd, &st), 0);
	bytes = malloc((size_t)st.st_size);
	assert_non_null(bytes);
	assert_int_equal(pread(fd, bytes, (size_t)st.st_size, 0), st.st_size);
	for (at = bytes; (at = memmem(at, (size_t)(st.st_size - (at - bytes)), needle, strlen(needle)));
	     at++, places++) {
		off_t place = at - bytes;

		if (whole_page)
			assert_int_equal(pwrite(fd, zeros, sizeof(zeros), place & ~(off_t)4095), sizeof(zeros));
		else
			assert_int_equal(pwrite(fd, "X", 1, place), 1);
	}
	assert_true(places > 0);
	close(fd);
	free(bytes);
}

static bool has_event(const struct fake_server *s, unsigned n)
{
	char needle[16];

	snprintf(needle, sizeof(needle), NEEDLE, n);
	return memmem(s->text.data, s->text.len, needle, strlen(needle)) != NULL;
}

/* The one event is a gap, and so is what is before it: whoever asks for that hears it. All after it is there. */
static void expect_gap_at(struct fixture *f, uint64_t own, uint64_t epoch, unsigned n)
{
	struct fake_server s;
	char last[16];

	assert_int_equal(attach_after(f, own, epoch, 0, &s), 0);
	fake_server_expect(&s, NULL, FAKE_WAIT_MS); /* it ends before the gap */
	assert_true(s.closed);
	assert_true(n == 1 || has_event(&s, n - 1));
	assert_false(has_event(&s, n + 1));
	fake_server_release(&s);
	for (unsigned seq = 0; seq < n; seq++)
		assert_int_equal(attach_after(f, own, epoch, seq, &s), LINK_NACK_GAP);
	assert_int_equal(attach_after(f, own, epoch, n, &s), 0);
	snprintf(last, sizeof(last), NEEDLE, (unsigned)BIG);
	expect_text(&s, last);
	for (unsigned i = n + 1; i <= BIG; i++)
		assert_true(has_event(&s, i));
	fake_server_release(&s);
}

static void a_changed_event_is_a_gap(void **state)
{
	struct fixture *f = *state;
	uint64_t own, epoch = f->w.epoch, began = now_ms();

	make_session(f);
	own = own_stream(f);
	fill(f, own);
	restart(f, SIGTERM); /* all is in the one file, and in no cache */
	spoil(f, "broker.db", 3, false);
	expect_gap_at(f, own, epoch, 3);
	assert_int_equal(count_aside(f), 0);
	print_message(
	    "# one event changed, a gap of 3 of %u events, none skipped, %ju ms\n", BIG, (uintmax_t)(now_ms() - began));
}

/* What SQLite can't find its way through costs what is on that page; all else goes on in a new file, at once. */
static void a_page_that_is_lost(void **state)
{
	static const char *const topics[] = {"topic", NULL};
	struct fixture *f = *state;
	uint64_t own, call, stream, count, second_epoch, epoch = f->w.epoch, began = now_ms();
	struct fake_server s, post;

	make_session(f);
	own = own_stream(f);
	assert_int_equal(fake_subscribe(&f->w, 0, KEY, HIM, false, "", topics, &count), 0);
	assert_int_equal(fake_once(&f->w, "used", 600), 0);
	assert_int_equal(fake_task_new(&f->w, "t", HIM, 60000, 0, "begun", "job"), LINK_NACK_NO_RUNNER);
	fill(f, own);
	restart(f, SIGTERM);
	second_epoch = f->w.epoch;
	make_stream(f, &call, &stream, &post);
	assert_true(breaker_acked(f, breaker_send(f, LINK_APPEND, call, stream, "{\"post\":1}")));
	spoil(f, "broker.db", 3, true);
	assert_int_equal(attach_after(f, own, epoch, 0, &s), 0);
	fake_server_expect(&s, NULL, FAKE_WAIT_MS);
	assert_true(s.closed);
	fake_server_release(&s);
	for (unsigned seq = 0; seq < 3; seq++)
		assert_int_equal(attach_after(f, own, epoch, seq, &s), LINK_NACK_GAP);
	expect_aside(f);
	assert_int_equal(fake_append(&f->w, own, "{\"after\":1}"), 0);
	assert_int_equal(fake_finish(&f->w, call, stream, "{\"post\":2}"), 0);
	expect_end(&post);
	assert_non_null(strstr(post.text.data, "{\"post\":1}"));
	assert_non_null(strstr(post.text.data, "{\"post\":2}"));
	fake_server_release(&post);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(fake_once(&f->w, "used", 600), LINK_NACK_DUPLICATE_ID);
		assert_int_equal(fake_notify(&f->w, 0, "topic", "news", "", ""), 1);
		assert_int_equal(attach_after(f, own, epoch, BIG, &s), 0);
		expect_text(&s, "{\"after\":1}");
		fake_server_release(&s);
		assert_int_equal(attach_after(f, stream, second_epoch, 1, &s), 0);
		expect_end(&s);
		assert_non_null(strstr(s.text.data, "{\"post\":2}"));
		fake_server_release(&s);
		restart(f, SIGKILL);
	}
	print_message("# one page lost, its events a gap, no session, subscription, mark or other event lost, %ju ms\n",
	    (uintmax_t)(now_ms() - began));
}

/* An answer that is owed where something was lost is an error, on the connection that waits for it. */
static void a_call_with_a_gap_ends_with_its_will(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream;
	struct fake_server s;

	make_session(f);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, &call, NULL), 0);
	assert_int_equal(fake_open(&f->w, KEY, 0, call, NULL, NULL, &stream), 0);
	fill(f, stream);
	spoil(f, "broker.db-wal", 1, false);
	fake_server_init(&s, fake_adopt(&f->w, stream, LINK_KIND_FCGI, 0, 15000));
	expect_end(&s);
	assert_non_null(strstr(s.text.data, "worker died"));
	assert_false(has_event(&s, 1));
	assert_true(has_event(&s, BIG)); /* what is there comes before it */
	fake_server_release(&s);
	assert_int_equal(fake_finish(&f->w, call, stream, "{}"), LINK_NACK_CLOSED);
}

/* ---- age */

static void what_nobody_comes_for(void **state)
{
	struct fixture *f = *state;
	uint64_t own, call, stream, epoch = f->w.epoch, began = now_ms();
	struct fake_server s;

	make_session(f);
	own = own_stream(f);
	make_stream(f, &call, &stream, &s);
	expect_text(&s, FAKE_HEAD);
	fake_server_release(&s);
	assert_int_equal(fake_append(&f->w, own, "{\"n\":1}"), 0);
	assert_int_equal(fake_append(&f->w, stream, "{\"n\":1}"), 0);
	usleep(4500000); /* the timer looks each second */
	assert_int_equal(attach_after(f, own, epoch, 0, &s), LINK_NACK_GAP);
	assert_int_equal(attach_after(f, stream, epoch, 0, &s), LINK_NACK_GAP);
	assert_int_equal(attach_after(f, stream, epoch, 1, &s), 0); /* its will */
	expect_text(&s, "worker died");
	fake_server_release(&s);
	assert_int_equal(fake_finish(&f->w, call, stream, "{}"), LINK_NACK_CLOSED);
	assert_int_equal(fake_append(&f->w, own, "{\"n\":2}"), 0);
	attach_own(f, &own, &s);
	expect_text(&s, "{\"n\":2}");
	fake_server_release(&s);
	print_message("# events that nobody read for store_keep_s: gaps, %ju ms\n", (uintmax_t)(now_ms() - began));
}

/* ---- clocks, and company */

static void append_number(struct fixture *f, uint64_t stream, unsigned n)
{
	char text[32];

	snprintf(text, sizeof(text), "{\"n\":%u}", n);
	assert_true(breaker_acked(f, breaker_send(f, LINK_APPEND, 0, stream, text)));
}

/* A day back and a year on while it runs, a day back over a restart: whoever had an id goes on after it. Over a restart
 * a session is as old as the clock says: after a year it is over, which its client is told. */
static void the_clock_steps(void **state)
{
	enum { DAY_MS = 86400000, EVENTS = 6 };
	static const int64_t days[EVENTS] = {0, -1, 365, 0, -1, -1};
	struct fixture *f = *state;
	uint64_t own, again, epochs[EVENTS], began = now_ms();
	struct fake_server s;

	make_session(f);
	own = own_stream(f);
	for (unsigned n = 0; n < EVENTS; n++) {
		breaker->clock_ms = days[n] * DAY_MS;
		if (n == EVENTS - 1)
			restart(f, SIGKILL);
		epochs[n] = f->w.epoch;
		append_number(f, own, n + 1);
		usleep(200000); /* for what timers look at */
	}
	assert_true(epochs[EVENTS - 1] > epochs[0]);
	for (unsigned n = 1; n < EVENTS; n++) {
		char next[32];

		snprintf(next, sizeof(next), "message\ndata: {\"n\":%u}", n + 1);
		assert_int_equal(attach_after(f, own, epochs[n - 1], n, &s), 0);
		expect_text(&s, "{\"n\":6}");
		assert_ptr_equal(strstr(s.text.data, "message\ndata: "), strstr(s.text.data, next));
		fake_server_release(&s);
	}
	breaker->clock_ms = 365LL * DAY_MS;
	restart(f, SIGKILL);
	assert_true(f->w.epoch > epochs[EVENTS - 1]);
	epochs[0] = f->w.epoch;
	assert_int_equal(attach_after(f, own, epochs[EVENTS - 1], 1, &s), LINK_NACK_NO_SESSION);
	make_session(f);
	own = own_stream(f);
	append_number(f, own, 1);
	breaker->clock_ms = 0;
	restart(f, SIGKILL); /* a year back */
	assert_true(f->w.epoch > epochs[0]);
	again = own_stream(f);
	assert_int_equal(again, own);
	append_number(f, own, 2);
	assert_int_equal(attach_after(f, own, epochs[0], 0, &s), 0);
	expect_text(&s, "{\"n\":2}");
	assert_non_null(strstr(s.text.data, "{\"n\":1}"));
	fake_server_release(&s);
	print_message("# 7 steps of the clock, 8 events acknowledged, 0 lost of sessions that were not over, %ju ms\n",
	    (uintmax_t)(now_ms() - began));
}

/* The second one ends at once (in good order: whoever needed a broker has one), and the first one goes on. */
static void two_brokers(void **state)
{
	struct fixture *f = *state;
	uint64_t own, began = now_ms();

	make_session(f);
	own = own_stream(f);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fake_broker_run(f->broker.dir, NULL, 0), 0);
	assert_false(breaker_is_dead(f));
	assert_true(breaker_acked(f, breaker_send(f, LINK_APPEND, 0, own, "{\"n\":1}")));
	print_message("# a second broker in both directories: ends, 0 lost, %ju ms\n", (uintmax_t)(now_ms() - began));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST_WITH(a_sync_that_failed_is_not_believed_later, setup),
	    TEST_WITH(errors_are_waited_for, setup_group),
	    TEST_WITH(a_changed_event_is_a_gap, setup),
	    TEST_WITH(a_page_that_is_lost, setup),
	    TEST_WITH(a_call_with_a_gap_ends_with_its_will, setup),
	    TEST_WITH(what_nobody_comes_for, setup_soon_over),
	    TEST_WITH(the_clock_steps, setup),
	    TEST_WITH(two_brokers, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
