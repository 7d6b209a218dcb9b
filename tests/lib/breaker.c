/* The calls themselves. Of no test: of the program that is to break. */
#define _FILE_OFFSET_BITS 64
#include "config.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/breaker.h"

static struct breaker *breaker;

static void __attribute__((constructor)) map(void)
{
	const char *path = getenv("MCP_BREAKER");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p = fd == -1 ? MAP_FAILED : mmap(NULL, sizeof(*breaker), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (fd != -1)
		close(fd);
	if (p != MAP_FAILED)
		breaker = p;
}

/* The next one of that name: libc's, or a sanitizer's. */
static void *real(const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);

	if (!p)
		abort();
	return p;
}

#define REAL(type, name) ((type)(uintptr_t)real(name))

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static unsigned call_on_path(const char *path, unsigned on_db, unsigned on_wal)
{
	return ends_with(path, "broker.db") ? on_db : ends_with(path, "broker.db-wal") ? on_wal : 0;
}

static unsigned call_on(int fd, unsigned on_db, unsigned on_wal, unsigned on_dir)
{
	char name[32], path[256];
	struct stat st;
	ssize_t len;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	len = readlink(name, path, sizeof(path) - 1);
	if (len <= 0)
		return 0;
	path[len] = '\0';
	if (on_dir && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		return on_dir;
	return call_on_path(path, on_db, on_wal);
}

static bool is_due(unsigned call)
{
	int64_t nth, wait = breaker->wait;

	if (!(breaker->calls & call))
		return false;
	nth = atomic_fetch_add(&breaker->seen, 1);
	return wait >= 0 && nth >= wait && nth < wait + breaker->times;
}

/* What is to become of this call; -1: nothing. */
static int verdict(unsigned call)
{
	int act = -1;

	if (!breaker || !call)
		return -1;
	breaker->inside++;
	if (is_due(call)) {
		act = breaker->act;
		breaker->is_killed = act != BREAKER_FAIL;
	}
	breaker->inside--;
	if (act == BREAKER_KILL_BEFORE)
		raise(SIGKILL);
	return act;
}

static void after(int act)
{
	if (act == BREAKER_KILL_AFTER || act == BREAKER_KILL_MIDDLE)
		raise(SIGKILL);
}

static size_t part(int act, size_t len)
{
	return act == BREAKER_KILL_MIDDLE ? len / 2 : len;
}

static bool fails(int act)
{
	if (act == BREAKER_FAIL)
		errno = breaker->error;
	return act == BREAKER_FAIL;
}

ssize_t pwrite64(int fd, const void *p, size_t len, off64_t at)
{
	int act = verdict(call_on(fd, BREAKER_WRITE_DB, BREAKER_WRITE_WAL, 0));
	ssize_t n;

	if (fails(act))
		return -1;
	n = REAL(ssize_t(*)(int, const void *, size_t, off64_t), "pwrite64")(fd, p, part(act, len), at);
	after(act);
	return n;
}

ssize_t pread64(int fd, void *p, size_t len, off64_t at)
{
	if (fails(verdict(call_on(fd, BREAKER_READ_DB, BREAKER_READ_DB, 0))))
		return -1;
	return REAL(ssize_t(*)(int, void *, size_t, off64_t), "pread64")(fd, p, len, at);
}

/* A client is one end of a socket pair, which has no name. */
ssize_t send(int fd, const void *p, size_t len, int flags)
{
	struct sockaddr_storage name;
	socklen_t name_len = sizeof(name);
	bool is_client = getsockname(fd, (struct sockaddr *)&name, &name_len) == 0 && name_len <= sizeof(sa_family_t);
	int act = verdict(is_client ? BREAKER_SEND : 0);
	ssize_t n;

	if (fails(act))
		return -1;
	n = REAL(ssize_t(*)(int, const void *, size_t, int), "send")(fd, p, part(act, len), flags);
	after(act);
	return n;
}

static int sync_with(const char *name, int fd)
{
	int act = verdict(call_on(fd, BREAKER_SYNC_DB, BREAKER_SYNC_WAL, BREAKER_SYNC_DIR)), rc;

	if (fails(act))
		return -1;
	rc = REAL(int (*)(int), name)(fd);
	after(act);
	return rc;
}

int fsync(int fd)
{
	return sync_with("fsync", fd);
}

int fdatasync(int fd)
{
	return sync_with("fdatasync", fd);
}

int ftruncate64(int fd, off64_t len)
{
	int act = verdict(call_on(fd, BREAKER_FILE, BREAKER_FILE, 0)), rc;

	if (fails(act))
		return -1;
	rc = REAL(int (*)(int, off64_t), "ftruncate64")(fd, len);
	after(act);
	return rc;
}

int unlink(const char *path)
{
	int act = verdict(call_on_path(path, BREAKER_FILE, BREAKER_FILE)), rc;

	if (fails(act))
		return -1;
	rc = REAL(int (*)(const char *), "unlink")(path);
	after(act);
	return rc;
}

int rename(const char *from, const char *to)
{
	int act = verdict(call_on_path(from, BREAKER_FILE, BREAKER_FILE)), rc;

	if (fails(act))
		return -1;
	rc = REAL(int (*)(const char *, const char *), "rename")(from, to);
	after(act);
	return rc;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int rc = REAL(int (*)(clockid_t, struct timespec *), "clock_gettime")(id, ts);

	if (rc == 0 && breaker && id == CLOCK_REALTIME)
		ts->tv_sec += breaker->clock_ms / 1000;
	return rc;
}
