#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/banned.h"

void *mem_alloc(size_t count, size_t size)
{
	return calloc(count, size);
}

void *mem_realloc(void *p, size_t len)
{
	return realloc(p, len);
}

void mem_free(void *p)
{
	free(p);
}

char *mem_dup(const char *p, size_t len)
{
	char *copy = mem_alloc(1, len + 1);

	if (copy && len)
		memcpy(copy, p, len);
	return copy;
}
