/* common/mem.h - where all our memory comes from, so that tests can make each allocation fail (tests/lib/mem_fault.c).
 * Nothing here aborts: NULL is the caller's ERR_NOMEM. */
#ifndef MCP_COMMON_MEM_H
#define MCP_COMMON_MEM_H

#include <stddef.h>

void *mem_alloc(size_t count, size_t size); /* zeroed; NULL on overflow of count * size too */
void *mem_realloc(void *p, size_t len);	    /* as realloc(); len is not 0 */
void mem_free(void *p);			    /* NULL is harmless */
char *mem_dup(const char *p, size_t len);   /* len bytes and a NUL; built on mem_alloc */

#endif
