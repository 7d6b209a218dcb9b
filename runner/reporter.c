#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/ascii.h"
#include "common/log.h"
#include "runner/reporter.h"
#include "common/banned.h"

#define YOUNG_S 60 /* a socket may be there for a moment before anybody listens */

static bool is_handle(struct slice handle)
{
	if (handle.len != REPORT_HANDLE_LEN || handle.p[0] != REPORT_FIRST)
		return false;
	for (size_t i = 0; i < handle.len; i++) {
		char c = handle.p[i];

		if (!ascii_is_letter(c) && !ascii_is_digit(c) && c != '-' && c != '_')
			return false;
	}
	return true;
}

/* The descriptor, or -1 with errno. */
static int open_name(const struct cfg *cfg, struct slice name)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int len =
	    snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/" REPORT_DIR "/%.*s", cfg->run_dir, (int)name.len, name.p);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), why;

	if (fd == -1)
		return -1;
	if (len < (int)sizeof(sun.sun_path) && connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) == 0)
		return fd;
	why = len < (int)sizeof(sun.sun_path) ? errno : ENOENT; /* no call could have one there */
	close(fd);
	errno = why;
	return -1;
}

static int refuse_ended(struct err *err)
{
	return err_set(err, ERR_NOT_FOUND, "call: there is no such call any more, if there ever was");
}

/* What came of asking by a descriptor: an answer, or the end. */
static int wait_for_fate(int fd, uint64_t end_ms, enum report_fate *fate, struct err *err)
{
	struct pollfd answer = {.fd = fd, .events = POLLIN};
	char said;
	int ready;

	do
		ready = poll(&answer, 1, ms_until(end_ms, now_ms()));
	while (ready == -1 && errno == EINTR);
	if (ready == -1)
		return err_sys(err, "poll");
	if (ready == 0)
		return err_set(err, ERR_BUSY, "call: it did not take the report in time");
	if (recv(fd, &said, 1, 0) != 1)
		return refuse_ended(err);
	*fate = (enum report_fate)said;
	if (*fate == REPORT_REFUSED)
		return err_set(err, ERR_PARAMS, "progress: the call could not make anything of it");
	return *fate == REPORT_FAILED ? err_set(err, ERR_BUSY, "call: it could not pass the report on") : 0;
}

static int ask(
    int fd, struct slice secret, struct slice params, uint64_t end_ms, enum report_fate *fate, struct err *err)
{
	struct iovec parts[] = {{.iov_base = (void *)(uintptr_t)secret.p, .iov_len = secret.len},
	    {.iov_base = (void *)(uintptr_t)params.p, .iov_len = params.len}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = COUNT_OF(parts)};

	if (sendmsg(fd, &message, MSG_NOSIGNAL) != -1)
		return wait_for_fate(fd, end_ms, fate, err);
	return errno == EPIPE || errno == ECONNRESET ? refuse_ended(err) : err_sys(err, "send a report");
}

int reporter_send(
    const struct cfg *cfg, struct slice handle, struct slice params, enum report_fate *fate, struct err *err)
{
	uint64_t end_ms = now_ms() + (uint64_t)cfg->link_timeout_ms;
	int fd, ret;

	*fate = REPORT_UNASKED;
	if (slice_is(handle, REPORT_NOBODY))
		return 0;
	if (!is_handle(handle))
		return err_set(err, ERR_PARAMS, "call must be what the tool finds in MCP_CALL");
	fd = open_name(cfg, (struct slice){handle.p, REPORT_NAME_LEN});
	if (fd == -1 && (errno == ENOENT || errno == ECONNREFUSED))
		return refuse_ended(err);
	if (fd == -1)
		return errno == EAGAIN ? err_set(err, ERR_BUSY, "call: too many reports at a time")
				       : err_sys(err, "connect to a call");
	ret = ask(fd, (struct slice){handle.p + REPORT_NAME_LEN, REPORT_SECRET_LEN}, params, end_ms, fate, err);
	close(fd);
	return ret;
}

static void sweep_one(const struct cfg *cfg, int dir_fd, const char *name)
{
	struct stat st;
	int fd;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISSOCK(st.st_mode) ||
	    time(NULL) - st.st_mtime < YOUNG_S)
		return;
	fd = open_name(cfg, slice_str(name));
	if (fd == -1 && errno == ECONNREFUSED && unlinkat(dir_fd, name, 0) == 0)
		LOG(INFO, "report.swept", "socket=%s", name);
	if (fd != -1)
		close(fd);
}

void reporter_sweep(const struct cfg *cfg)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* below a longer one there are none */
	int len = snprintf(path, sizeof(path), "%s/" REPORT_DIR, cfg->run_dir);
	DIR *dir = len < (int)sizeof(path) ? opendir(path) : NULL;
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		sweep_one(cfg, dirfd(dir), entry->d_name);
	if (dir)
		closedir(dir);
}
