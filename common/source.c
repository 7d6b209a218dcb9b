#include "config.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/source.h"
#include "common/banned.h"

#define READ_STEP 4096

/* A number that differs when a file does. What its clock can't tell apart its size or its number mostly does. */
static uint64_t mark_of(const char *path)
{
	uint64_t parts[6] = {0}, hash = 0xcbf29ce484222325u;
	struct stat st;

	if (stat(path, &st) == 0) {
		parts[0] = (uint64_t)st.st_ino;
		parts[1] = S_ISDIR(st.st_mode) ? 0 : (uint64_t)st.st_size;
		parts[2] = (uint64_t)st.st_mtim.tv_sec;
		parts[3] = (uint64_t)st.st_mtim.tv_nsec;
		parts[4] = (uint64_t)st.st_mode;
		parts[5] = 1;
	}
	for (; *path; path++)
		hash = (hash ^ (unsigned char)*path) * 0x100000001b3u;
	for (size_t i = 0; i < COUNT_OF(parts); i++)
		hash = (hash ^ parts[i]) * 0x9e3779b97f4a7c15u;
	return hash ^ (hash >> 29);
}

int sources_add(struct sources *s, const char *path, struct err *err)
{
	char **more = mem_realloc(s->paths, (s->count + 1) * sizeof(*more)), *copy = mem_dup(path, strlen(path));

	if (more)
		s->paths = more;
	if (!more || !copy) {
		mem_free(copy);
		return err_set(err, ERR_NOMEM, "what the configuration was read from");
	}
	s->paths[s->count++] = copy;
	s->mark += mark_of(path);
	return 0;
}

int sources_read(struct sources *s, const char *path, struct buf *out, struct err *err)
{
	ssize_t got = 1;
	int fd;

	if (sources_add(s, path, err))
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd == -1)
		return err_sys(err, "open");
	while (got > 0 && buf_reserve(out, READ_STEP)) {
		got = read(fd, out->data + out->len, READ_STEP);
		if (got > 0)
			out->len += (size_t)got;
		out->data[out->len] = '\0';
	}
	if (got == -1)
		err_sys(err, "read");
	close(fd);
	return got == -1 ? -1 : buf_check(out, err);
}

uint64_t sources_mark(const struct sources *s)
{
	uint64_t mark = 0;

	for (size_t i = 0; i < s->count; i++)
		mark += mark_of(s->paths[i]);
	return mark;
}

void sources_release(struct sources *s)
{
	for (size_t i = 0; i < s->count; i++)
		mem_free(s->paths[i]);
	mem_free(s->paths);
	*s = (struct sources){0};
}
