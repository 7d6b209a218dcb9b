#include "config.h"

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "fcgi/supervisor.h"
#include "common/banned.h"

#define BACKLOG          1024
#define LIVED_LONG_MS    1000 /* a child that dies sooner is not restarted at once */
#define RESTART_AFTER_MS 500

static void err_no_dir(const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/');

	err_set(err, ERR_CONFIG,
	    "--socket %s: there is no directory %.*s; make it, for this user to write and the web server's group to "
	    "enter",
	    path, slash ? (int)(slash - path) : 1, slash ? path : ".");
}

static int listen_unix(const char *path, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, probe, ok;
	mode_t old;

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(
		    err, ERR_CONFIG, "--socket %s: a path has at most %zu bytes", path, sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path));
	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ok = probe >= 0 ? connect(probe, (struct sockaddr *)&addr, sizeof(addr)) : -1;
	if (ok == -1 && errno == ECONNREFUSED)
		unlink(path); /* left behind by one that was killed */
	if (probe >= 0)
		close(probe);
	if (ok == 0)
		return err_set(err, ERR_CONFIG, "--socket %s: another worker is listening there", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	old = umask(0117); /* the web server's group may connect */
	ok = fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(fd, BACKLOG) == 0;
	umask(old);
	if (ok)
		return fd;
	if (errno == ENOENT)
		err_no_dir(path, err);
	else
		err_sys(err, "--socket %s", path);
	if (fd >= 0)
		close(fd);
	return -1;
}

static int listen_tcp(const char *host, const char *port, struct err *err)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
	int on = 1, fd, rc = getaddrinfo(host, port, &hints, &found);

	if (rc)
		return err_set(err, ERR_CONFIG, "--socket %s:%s: %s", host, port, gai_strerror(rc));
	fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, found->ai_protocol);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, BACKLOG)) {
		err_sys(err, "--socket %s:%s", host, port);
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	return fd;
}

int supervisor_listen(const char *address, struct err *err)
{
	const char *colon = strrchr(address, ':');
	char host[256];

	if (strchr(address, '/') || !colon)
		return listen_unix(address, err);
	if (colon == address || (size_t)(colon - address) >= sizeof(host))
		return err_set(
		    err, ERR_CONFIG, "--socket %s: HOST:PORT needs a host, for instance 127.0.0.1:9000", address);
	if (address[0] == '[' && colon[-1] == ']') /* an IPv6 address */
		snprintf(host, sizeof(host), "%.*s", (int)(colon - address - 2), address + 1);
	else
		snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
	return listen_tcp(host, colon + 1, err);
}

struct child {
	pid_t pid; /* 0: not running */
	uint64_t started_ms, start_at_ms;
};

static void start(
    struct child *c, int listen_fd, const sigset_t *mask, int (*serve)(void *arg, int listen_fd), void *arg)
{
	pid_t parent = getpid(), pid = fork();

	c->started_ms = now_ms();
	if (pid < 0) {
		LOG(ERROR, "worker.fork", "why=\"%s\"", strerrordesc_np(errno));
		c->start_at_ms = c->started_ms + RESTART_AFTER_MS;
		return;
	}
	c->pid = pid;
	if (pid > 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(0); /* the supervisor died before the line above */
	sigprocmask(SIG_SETMASK, mask, NULL);
	_exit(serve(arg, listen_fd)); /* not exit(): what the parent registered is the parent's */
}

static void reap(struct child *children, unsigned count)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (unsigned i = 0; i < count; i++) {
			struct child *c = &children[i];

			if (c->pid != pid)
				continue;
			c->pid = 0;
			c->start_at_ms = now_ms() - c->started_ms < LIVED_LONG_MS ? now_ms() + RESTART_AFTER_MS : 0;
			LOG(WARN, "worker.died", "pid=%d %s=%d restart_ms=%d", (int)pid,
			    WIFSIGNALED(status) ? "signal" : "status",
			    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
			    c->start_at_ms ? RESTART_AFTER_MS : 0);
		}
	}
}

static void end(struct child *children, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (children[i].pid)
			kill(children[i].pid, SIGTERM);
	}
	for (unsigned i = 0; i < count; i++) {
		if (children[i].pid)
			waitpid(children[i].pid, NULL, 0); /* each ends by itself after worker_drain_ms */
	}
}

int supervisor_run(int listen_fd, unsigned processes_count, int (*serve)(void *arg, int listen_fd), void *arg)
{
	struct child *children = mem_alloc(processes_count, sizeof(*children));
	const struct timespec step = {.tv_nsec = 100 * 1000000L};
	sigset_t set, child_mask;
	int sig;

	if (!children) {
		LOG(ERROR, "supervisor.failed", "why=\"out of memory\"");
		return EXIT_FAILURE;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	child_mask = set; /* pool_run wants these two blocked */
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	do {
		bool waiting = false;

		reap(children, processes_count);
		for (unsigned i = 0; i < processes_count; i++) {
			if (children[i].pid == 0 && children[i].start_at_ms <= now_ms())
				start(&children[i], listen_fd, &child_mask, serve, arg);
			waiting = waiting || children[i].pid == 0;
		}
		sig = waiting ? sigtimedwait(&set, NULL, &step) : sigwaitinfo(&set, NULL);
	} while (sig != SIGTERM && sig != SIGINT);
	LOG(INFO, "supervisor.ending", "signal=%d", sig);
	end(children, processes_count);
	mem_free(children);
	return EXIT_SUCCESS;
}
