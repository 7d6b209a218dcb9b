#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/breaker.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

struct breaker *breaker_make(const char *dir)
{
	char path[128];
	void *p;
	int fd;

	snprintf(path, sizeof(path), "%s/breaker", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_not_equal(fd, -1);
	assert_int_equal(ftruncate(fd, sizeof(struct breaker)), 0);
	p = mmap(NULL, sizeof(struct breaker), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	close(fd);
	setenv("MCP_BREAKER", path, 1);
	breaker_heal(p);
	return p;
}

void breaker_set(struct breaker *b, unsigned calls, enum breaker_act act, int error, int64_t wait, int64_t times)
{
	b->calls = 0;
	b->act = act;
	b->error = error;
	b->wait = wait;
	b->times = times;
	b->seen = 0;
	b->is_killed = false;
	b->calls = calls;
}

bool breaker_heal(struct breaker *b)
{
	b->wait = -1;
	b->calls = 0;
	usleep(1000); /* for one that looks at it just now */
	return b->is_killed;
}

void breaker_free(struct breaker **bp)
{
	if (*bp)
		munmap(*bp, sizeof(**bp));
	*bp = NULL;
	unsetenv("MCP_BREAKER");
}
