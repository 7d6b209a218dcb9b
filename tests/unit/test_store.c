/* What broker/store.h promises, of each store that there is. */
#include "config.h"

#include <stdlib.h>

#include "broker/store.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

struct probe {
	struct store_op op;
	unsigned *order, *next; /* when it was done */
	int status;
	struct store_op *then; /* submitted from within done() */
	struct store *store;
};

static void on_done(struct store_op *op, int status)
{
	struct probe *p = (struct probe *)(void *)op;

	p->status = status;
	*p->order = ++*p->next;
	if (p->then)
		p->store->sync(p->store, p->then);
}

static void completions_come_later_and_in_order(void **state)
{
	unsigned next = 0, order[3] = {0};
	struct store *s = store_memory_open(NULL);
	struct probe p[3];

	(void)state;
	assert_non_null(s);
	for (unsigned i = 0; i < 3; i++) {
		p[i] = (struct probe){.op.done = on_done, .order = &order[i], .next = &next, .status = 7};
		s->sync(s, &p[i].op);
		assert_int_equal(order[i], 0); /* never at once */
	}
	assert_false(s->reap(s));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(order[i], i + 1);
		assert_int_equal(p[i].status, 0);
	}
	s->close(&s);
	assert_null(s);
}

static void an_operation_may_submit_another(void **state)
{
	unsigned next = 0, order[2] = {0};
	struct store *s = store_memory_open(NULL);
	struct probe b = {.op.done = on_done, .order = &order[1], .next = &next};
	struct probe a = {.op.done = on_done, .order = &order[0], .next = &next, .then = &b.op, .store = s};

	(void)state;
	s->sync(s, &a.op);
	while (s->reap(s))
		;
	assert_int_equal(order[1], 2);
	s->close(&s);
}

static void closing_fails_what_is_under_way(void **state)
{
	unsigned next = 0, order = 0;
	struct store *s = store_memory_open(NULL);
	struct probe p = {.op.done = on_done, .order = &order, .next = &next};

	(void)state;
	s->sync(s, &p.op);
	s->close(&s);
	assert_int_equal(p.status, -1);
	assert_int_equal(order, 1);
}

static unsigned reads;

static void on_read(struct store_op *op, int status)
{
	struct store_read *r = (struct store_read *)(void *)op;

	assert_int_equal(status, 0);
	assert_int_equal(r->count, 2);
	assert_true(slice_is(r->events[0], "one"));
	assert_true(slice_is(r->events[1], ""));
	reads++;
	free(r); /* as the broker does */
}

static void what_was_lent_outlives_forget(void **state)
{
	struct store *s = store_memory_open(NULL);
	struct store_read *r = calloc(1, sizeof(*r));

	(void)state;
	assert_non_null(r);
	r->op.done = on_read;
	r->positions[0] = s->append(s, 1, 1, SLICE("one"), false); /* readable before any sync */
	r->positions[1] = s->append(s, 1, 2, SLICE(""), false);
	r->count = 2;
	assert_int_not_equal(r->positions[0], 0);
	assert_int_not_equal(r->positions[1], 0);
	assert_int_equal(s->bytes_used, 3);
	s->read(s, r);
	s->forget(s, r->positions[0], 3);
	s->forget(s, r->positions[1], 0);
	assert_int_equal(s->bytes_used, 0);
	assert_int_equal(reads, 0);
	s->reap(s);
	assert_int_equal(reads, 1);
	s->close(&s);
}

static void what_joined_is_kept_until_all_forgot_it(void **state)
{
	struct store *s = store_memory_open(NULL);
	uint64_t position = s->append(s, 1, 1, SLICE("one"), false);
	struct slice event;

	(void)state;
	assert_true(s->join(s, position, 2, 1));
	assert_int_equal(s->bytes_used, 6);
	s->forget(s, position, 3);
	assert_true(s->peek(s, position, &event));
	assert_true(slice_is(event, "one"));
	s->forget(s, position, 3);
	assert_int_equal(s->bytes_used, 0);
	s->close(&s);
}

static void a_later_start_has_a_higher_epoch(void **state)
{
	struct store *a = store_memory_open(NULL), *b;
	struct timespec step = {0, 2000000};

	(void)state;
	nanosleep(&step, NULL);
	b = store_memory_open(NULL);
	assert_true(b->epoch > a->epoch);
	a->close(&a);
	b->close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(completions_come_later_and_in_order),
	    cmocka_unit_test(an_operation_may_submit_another),
	    cmocka_unit_test(closing_fails_what_is_under_way),
	    cmocka_unit_test(what_was_lent_outlives_forget),
	    cmocka_unit_test(what_joined_is_kept_until_all_forgot_it),
	    cmocka_unit_test(a_later_start_has_a_higher_epoch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
