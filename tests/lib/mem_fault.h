/* tests/lib/mem_fault.h - common/mem.h with allocations that fail when a test says so, in the thread that says
 * so. Linked in place of common/mem.c. */
#ifndef MCP_TESTS_MEM_FAULT_H
#define MCP_TESTS_MEM_FAULT_H

#include "common/mem.h"
#include "common/util.h"

void mem_fault_at(
    long nth, long count); /* from now on, allocation nth (from 0) and those behind it, count in all, fail */
void mem_fault_in_all_at(long nth, long count); /* the same in all threads, counted together */
bool mem_fault_end(void);  /* no more failures; true when at least one allocation failed */
long mem_fault_live(void); /* allocations that were not freed yet */

#endif
