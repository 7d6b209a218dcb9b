#include "config.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dirent.h>

#include "broker/snapshot.h"
#include "common/banned.h"

#define NOT_RUNNING UINT64_MAX
#define LEFT_MAX_MS (UINT64_C(1) << 50)

void snapshot_put_timer(struct buf *out, const struct loop *l, const struct wheel_timer *t)
{
	uint64_t due_ms = t->due_tick * WHEEL_TICK_MS, now = loop_now(l);

	link_put_u64(out, !wheel_is_running(t) ? NOT_RUNNING : due_ms > now ? due_ms - now : 0);
}

void snapshot_get_timer(struct slice *in, struct loop *l, struct wheel_timer *t, bool *bad)
{
	uint64_t left_ms = link_get_u64(in, bad);

	if (*bad || left_ms == NOT_RUNNING)
		return;
	if (left_ms > LEFT_MAX_MS)
		*bad = true;
	else
		loop_timer(l, t, left_ms);
}

void snapshot_put_fd(struct buf *out, int fd)
{
	if (fcntl(fd, F_SETFD, 0) == -1)
		out->fault = ERR_SYS;
	link_put_u32(out, (uint32_t)fd);
}

int snapshot_get_fd(struct slice *in, bool is_file, bool *bad)
{
	uint32_t fd = link_get_u32(in, bad);
	struct stat st;

	if (*bad || fd <= STDERR_FILENO || fd > INT_MAX || fstat((int)fd, &st) ||
	    (is_file ? !S_ISREG(st.st_mode) : !S_ISSOCK(st.st_mode) && !S_ISFIFO(st.st_mode)) ||
	    fcntl((int)fd, F_SETFD, FD_CLOEXEC) == -1) {
		*bad = true;
		return -1;
	}
	return (int)fd;
}

void snapshot_cloexec_all(void)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *e;

	while (dir && (e = readdir(dir)) != NULL) {
		int fd = (int)strtol(e->d_name, NULL, 10);

		if (fd > STDERR_FILENO)
			fcntl(fd, F_SETFD, FD_CLOEXEC);
	}
	if (dir)
		closedir(dir);
}

void snapshot_put_value(struct buf *out, struct buf *value)
{
	if (value->fault)
		out->fault = value->fault;
	link_put_bytes(out, buf_slice(value));
	buf_release(value);
}

uint32_t snapshot_get_count(struct slice *in, size_t len_min, bool *bad)
{
	uint32_t count = link_get_u32(in, bad);

	if (*bad || count > in->len / len_min) {
		*bad = true;
		return 0;
	}
	return count;
}
