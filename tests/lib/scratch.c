#include "config.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/scratch.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

void scratch_init(struct scratch *s)
{
	snprintf(s->dir, sizeof(s->dir), "/tmp/mcp-test-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
}

const char *scratch_path(const struct scratch *s, const char *path)
{
	static char text[4096];

	assert_true((size_t)snprintf(text, sizeof(text), "%s/%s", s->dir, path) < sizeof(text));
	return text;
}

void scratch_write(const struct scratch *s, const char *path, struct slice bytes)
{
	char text[4096];
	int fd;

	snprintf(text, sizeof(text), "%s", scratch_path(s, path));
	for (char *slash = text + strlen(s->dir) + 1; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
		*slash = '\0';
		mkdir(text, 0755);
	}
	fd = open(text, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes.p, bytes.len), bytes.len);
	close(fd);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

void scratch_release(struct scratch *s)
{
	nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
