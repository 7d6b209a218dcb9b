/* The broker is killed at each single call that it makes of the disk and of a client: before it, in the middle of its
 * bytes, and after it. What was acknowledged a client reads once, in order, then the end of its answer; so before
 * write, between write and ACK, between ACK and send, within a FastCGI record, and in the recovery from such a death.
 */
#include "config.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/lib/breaker.h"
#include "common/banned.h"

#define EVENTS_MAX 16
#define POINTS_MAX 200 /* of one kind, before one conversation is through: more would be an endless test */
#define FINAL      "{\"result\":1}"

static const char *const sets[] = {"store_sync=group", "broker_drain_ms=100", "link_return_ms=10"};
static struct breaker *breaker;

static int setup(void **state)
{
	return breaker_setup(state, &breaker, sets, COUNT_OF(sets));
}

static void restart(struct fixture *f, int number)
{
	assert_int_equal(fake_broker_end(&f->broker, number), 128 + SIGKILL);
	fake_worker_die(&f->w);
	fake_broker_again(&f->broker, sets, COUNT_OF(sets), 0);
	fake_worker_connect(&f->w, f->broker.dir);
}

/* What a client has read of a stream. */
struct view {
	unsigned count; /* of events, which must be 1, 2, 3... */
	unsigned finals, wills;
	uint64_t last; /* sequence of the last whole event */
};

static void look(struct view *v, const struct fake_server *s, uint64_t stream)
{
	char *text = strdup(s->text.data && s->text.len > strlen(FAKE_HEAD) ? s->text.data + strlen(FAKE_HEAD) : "");
	char *at = text, *end, id[80];

	snprintf(id, sizeof(id), "id: %" PRIu64 ".", stream);
	while ((end = strstr(at, "\n\n")) != NULL) {
		char *event_id, *n;

		*end = '\0';
		event_id = strstr(at, id);
		if (event_id) {
			n = strchr(event_id + strlen(id), '.');
			assert_non_null(n);
			assert_int_equal(strtoull(n + 1, NULL, 10), v->last + 1); /* none twice, none left out */
			v->last++;
		}
		if (strstr(at, FINAL))
			v->finals++;
		else if (strstr(at, "worker died"))
			v->wills++;
		else if ((n = strstr(at, "{\"n\":")) != NULL) {
			assert_int_equal(v->finals + v->wills, 0);
			assert_int_equal(strtoul(n + 5, NULL, 10), ++v->count);
		}
		at = end + 2;
	}
	free(text);
}

struct said {
	unsigned sent, acked;
	bool final_sent, final_acked;
};

/* One call with its stream: three events one by one, two at once, the answer. */
static void converse(struct fixture *f, uint64_t call, uint64_t stream, struct said *said)
{
	uint64_t seqs[EVENTS_MAX];
	char text[32];

	for (unsigned n = 1; n <= 5; n++) {
		snprintf(text, sizeof(text), "{\"n\":%u}", n);
		seqs[n] = breaker_send(f, LINK_APPEND, call, stream, text);
		said->sent = n;
		if (n == 4)
			continue;
		for (unsigned i = n == 5 ? 4 : n; i <= n; i++) {
			if (!breaker_acked(f, seqs[i]))
				return;
			said->acked = i;
		}
	}
	seqs[0] = breaker_send(f, LINK_FINISH, call, stream, FINAL);
	said->final_sent = true;
	said->final_acked = breaker_acked(f, seqs[0]);
}

/* What comes after what was read. */
static void read_on(struct fixture *f, uint64_t stream, uint64_t epoch, struct view *v)
{
	uint64_t found, cursor;
	struct fake_server s;
	char id[80];
	unsigned nack;

	snprintf(id, sizeof(id), "%" PRIu64 ".%" PRIu64 ".%" PRIu64, stream, epoch, v->last);
	nack = fake_attach(&f->w, KEY, HIM, id, &found, &cursor);
	if (nack == LINK_NACK_DELIVERED) {
		assert_int_equal(v->finals + v->wills, 1);
		return;
	}
	assert_int_equal(nack, 0);
	fake_server_init(&s, fake_adopt(&f->w, stream, LINK_KIND_FCGI, cursor, 15000));
	expect_end(&s);
	look(v, &s, stream);
	fake_server_release(&s);
}

/* Returns whether the broker died on the way. */
static bool round_of(struct fixture *f, unsigned calls, enum breaker_act act, unsigned nth, struct said *said)
{
	uint64_t call, stream, epoch = f->w.epoch;
	struct fake_server s;
	struct view v = {0};
	bool died;

	*said = (struct said){0};
	make_stream(f, &call, &stream, &s);
	expect_text(&s, FAKE_HEAD);
	breaker_set(breaker, calls, act, 0, nth, 1);
	converse(f, call, stream, said);
	if (!breaker_is_dead(f))
		fake_server_expect(&s, NULL, 1000);
	died = breaker_heal(breaker);
	fake_server_expect(&s, NULL, died ? 50 : 0); /* what is in the pipe */
	look(&v, &s, stream);
	fake_server_release(&s);
	if (died)
		restart(f, 0);
	read_on(f, stream, epoch, &v);
	assert_in_range(v.count, said->acked, said->sent);
	assert_int_equal(v.finals + v.wills, 1);
	if (said->final_acked)
		assert_int_equal(v.finals, 1);
	assert_true(said->final_sent || v.finals == 0);
	return died;
}

static void killed_at_each(struct fixture *f, unsigned calls, const char *what)
{
	static const enum breaker_act acts[] = {BREAKER_KILL_BEFORE, BREAKER_KILL_MIDDLE, BREAKER_KILL_AFTER};
	uint64_t began = now_ms();
	unsigned kills = 0, acked = 0, points;
	struct said said;

	make_session(f);
	for (size_t i = 0; i < COUNT_OF(acts); i++) {
		for (points = 0; points < POINTS_MAX && round_of(f, calls, acts[i], points, &said); points++) {
			kills++;
			acked += said.acked + said.final_acked;
		}
		assert_in_range(points, 3, POINTS_MAX - 1);
		assert_true(said.final_acked);
	}
	print_message("# %u kills at %s, %u events acknowledged, 0 lost, %ju ms\n", kills, what, acked,
	    (uintmax_t)(now_ms() - began));
}

static void at_each_call_of_the_disk(void **state)
{
	killed_at_each(*state, BREAKER_DISK, "calls of the disk");
}

static void at_each_write_to_a_client(void **state)
{
	killed_at_each(*state, BREAKER_SEND, "writes to a client");
}

/* All that was acknowledged is there after any number of starts that died on the way. */
static void in_recovery(void **state)
{
	static const enum breaker_act acts[] = {BREAKER_KILL_BEFORE, BREAKER_KILL_MIDDLE, BREAKER_KILL_AFTER};
	struct fixture *f = *state;
	uint64_t began = now_ms(), own;
	unsigned kills = 0, events = 0;
	struct fake_server s;
	char text[32];

	make_session(f);
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, NULL, NULL, &own), 0);
	for (size_t i = 0; i < COUNT_OF(acts); i++) {
		bool died = true;
		unsigned nth;

		for (nth = 0; nth < POINTS_MAX && died; nth++) {
			snprintf(text, sizeof(text), "{\"n\":%u}", ++events);
			assert_true(breaker_acked(f, breaker_send(f, LINK_APPEND, 0, own, text)));
			fake_broker_end(&f->broker, SIGKILL);
			fake_worker_die(&f->w);
			breaker_set(breaker, BREAKER_DISK, acts[i], 0, nth, 1);
			died = !fake_broker_try(&f->broker, sets, COUNT_OF(sets), 0);
			died = breaker_heal(breaker) || died; /* it may listen and die of what it does then */
			kills += died;
			if (died) {
				assert_int_equal(fake_broker_end(&f->broker, 0), 128 + SIGKILL);
				fake_broker_again(&f->broker, sets, COUNT_OF(sets), 0);
			}
			fake_worker_connect(&f->w, f->broker.dir);
		}
		assert_in_range(nth, 4, POINTS_MAX - 1);
	}
	attach_own(f, &own, &s);
	expect_text(&s, text);
	for (unsigned n = 1; n <= events; n++) {
		snprintf(text, sizeof(text), "{\"n\":%u}", n);
		assert_non_null(strstr(s.text.data, text));
	}
	fake_server_release(&s);
	print_message("# %u starts killed, %u events acknowledged, 0 lost, %ju ms\n", kills, events,
	    (uintmax_t)(now_ms() - began));
}

/* Nothing has happened since the last start but that somebody reads: the same is there to read on from. */
static void with_an_idle_log(void **state)
{
	struct fixture *f = *state;
	uint64_t call, stream, epoch = f->w.epoch, began, longest = 0;
	struct fake_server s;

	make_session(f);
	make_stream(f, &call, &stream, &s);
	expect_text(&s, FAKE_HEAD);
	fake_server_release(&s);
	assert_int_equal(fake_append(&f->w, stream, "{\"n\":1}"), 0);
	assert_int_equal(fake_finish(&f->w, call, stream, FINAL), 0);
	for (unsigned i = 0; i < 5; i++) {
		struct view v = {0};

		began = now_ms();
		restart(f, SIGKILL);
		read_on(f, stream, epoch, &v);
		if (now_ms() - began > longest)
			longest = now_ms() - began;
		assert_int_equal(v.count, 1);
		assert_int_equal(v.finals, 1);
	}
	print_message(
	    "# 5 kills, 0 lost, from SIGKILL to the last event of a client: %ju ms at most\n", (uintmax_t)longest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST_WITH(at_each_call_of_the_disk, setup),
	    TEST_WITH(at_each_write_to_a_client, setup),
	    TEST_WITH(in_recovery, setup),
	    TEST_WITH(with_an_idle_log, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
