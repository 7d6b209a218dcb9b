#include "config.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "tests/lib/mem_fault.h"
#include "common/banned.h"

static atomic_long live, asked_of_all, fail_all_from = -1, fail_all_to;
static _Thread_local long asked, fail_from = -1, fail_to;

void mem_fault_at(long nth, long count)
{
	asked = 0;
	fail_to = nth + count;
	fail_from = nth;
}

void mem_fault_in_all_at(long nth, long count)
{
	asked_of_all = 0;
	fail_all_to = nth + count;
	fail_all_from = nth;
}

bool mem_fault_end(void)
{
	bool reached = (fail_from >= 0 && asked > fail_from) || (fail_all_from >= 0 && asked_of_all > fail_all_from);

	fail_from = fail_all_from = -1;
	return reached;
}

long mem_fault_live(void)
{
	return live;
}

static bool is_failing(void)
{
	long nth = asked++, nth_of_all = asked_of_all++;

	return (fail_from >= 0 && nth >= fail_from && nth < fail_to) ||
	       (fail_all_from >= 0 && nth_of_all >= fail_all_from && nth_of_all < fail_all_to);
}

void *mem_alloc(size_t count, size_t size)
{
	void *p = is_failing() ? NULL : calloc(count, size);

	live += p != NULL;
	return p;
}

void *mem_realloc(void *p, size_t len)
{
	void *more = is_failing() ? NULL : realloc(p, len);

	live += !p && more;
	return more;
}

void mem_free(void *p)
{
	live -= p != NULL;
	free(p);
}

char *mem_dup(const char *p, size_t len)
{
	char *copy = mem_alloc(1, len + 1);

	if (copy && len)
		memcpy(copy, p, len);
	return copy;
}
