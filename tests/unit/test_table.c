/* A walk over a table in parts, while it grows and loses others. */
#include "config.h"

#include <stdlib.h>

#include "broker/table.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define STAYING 1000
#define PASSING 30000 /* they make it grow five times */

struct entry {
	struct table_node node;
	unsigned met;
};

static void meet(struct table_node *n, void *arg)
{
	(void)arg;
	TABLE_OF(n, struct entry, node)->met++;
}

static void a_walk_meets_once_what_stays(void **state)
{
	struct entry *staying = calloc(STAYING, sizeof(*staying)), *passing = calloc(PASSING, sizeof(*passing));
	size_t added = 0, removed = 0, parts = 0;
	uint64_t cursor = 0;
	struct table t;

	(void)state;
	assert_true(staying && passing);
	assert_int_equal(table_init(&t), 0);
	for (unsigned i = 0; i < STAYING; i++)
		table_add(&t, &staying[i].node, table_hash_u64(&t, i, 0));
	do {
		cursor = table_scan(&t, cursor, meet, NULL);
		for (int n = 0; n < 50 && added < PASSING; n++, added++)
			table_add(&t, &passing[added].node, table_hash_u64(&t, added, 1));
		if (parts++ % 2 == 0 && removed < added)
			table_remove(&t, &passing[removed++].node);
	} while (cursor != 0);
	assert_true(t.mask >= 32 * 1024 - 1);
	for (unsigned i = 0; i < STAYING; i++) {
		if (staying[i].met != 1)
			fail_msg("%u was met %u times", i, staying[i].met);
	}
	table_release(&t);
	free(staying);
	free(passing);
}

static void a_walk_over_nothing_ends(void **state)
{
	uint64_t cursor = 0;
	unsigned parts = 0;
	struct table t;

	(void)state;
	assert_int_equal(table_init(&t), 0);
	do
		cursor = table_scan(&t, cursor, meet, NULL);
	while (cursor != 0 && ++parts < 1000);
	assert_true(parts <= t.mask);
	table_release(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_walk_meets_once_what_stays),
	    cmocka_unit_test(a_walk_over_nothing_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
