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
#define START_STEP_MS    100

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

/* Those that end are forgotten when they have; so many at most, or the oldest is ended at once. */
#define RETIRED_MAX 64

struct family {
	const struct supervised *s;
	int listen_fd;
	sigset_t child_mask;
	struct child children[SUPERVISED_MAX];
	pid_t retired[RETIRED_MAX]; /* oldest first */
	size_t retired_count;
};

static void start(struct family *f, struct child *c)
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
	sigprocmask(SIG_SETMASK, &f->child_mask, NULL);
	_exit(f->s->serve(f->s->arg, f->listen_fd)); /* not exit(): what the parent registered is the parent's */
}

static void forget_retired(struct family *f, size_t i)
{
	f->retired_count--;
	memmove(&f->retired[i], &f->retired[i + 1], (f->retired_count - i) * sizeof(f->retired[0]));
}

static bool reap_retired(struct family *f, pid_t pid)
{
	for (size_t i = 0; i < f->retired_count; i++) {
		if (f->retired[i] != pid)
			continue;
		forget_retired(f, i);
		LOG(INFO, "worker.retired", "pid=%d left=%zu", (int)pid, f->retired_count);
		return true;
	}
	return false;
}

static void reap(struct family *f)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (unsigned i = 0; !reap_retired(f, pid) && i < SUPERVISED_MAX; i++) {
			struct child *c = &f->children[i];

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

static void retire(struct family *f)
{
	for (unsigned i = 0; i < SUPERVISED_MAX; i++) {
		struct child *c = &f->children[i];

		if (c->pid) {
			if (f->retired_count == RETIRED_MAX) {
				kill(f->retired[0], SIGTERM);
				waitpid(f->retired[0], NULL, 0);
				forget_retired(f, 0);
			}
			kill(c->pid, SIGQUIT);
			f->retired[f->retired_count++] = c->pid;
		}
		*c = (struct child){0};
	}
}

static void end(struct family *f)
{
	for (unsigned i = 0; i < SUPERVISED_MAX; i++) {
		if (f->children[i].pid)
			kill(f->children[i].pid, SIGTERM);
	}
	for (size_t i = 0; i < f->retired_count; i++)
		kill(f->retired[i], SIGTERM);
	while (wait(NULL) > 0 || errno == EINTR) /* each ends by itself after worker_drain_ms */
		;
}

/* Waits for a signal, at most until something is to be done. 0: it is time. */
static int wait_for_signal(const sigset_t *set, int64_t timeout_ms)
{
	const struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000};
	int sig = timeout_ms ? sigtimedwait(set, NULL, &timeout) : sigwaitinfo(set, NULL);

	return sig == -1 ? 0 : sig;
}

static bool keep_running(struct family *f)
{
	bool all = true;

	for (unsigned i = 0; i < f->s->processes(f->s->arg); i++) {
		struct child *c = &f->children[i];

		if (c->pid == 0 && c->start_at_ms <= now_ms())
			start(f, c);
		all = all && c->pid;
	}
	return all;
}

int supervisor_run(const struct supervised *s, int listen_fd)
{
	struct family *f = mem_alloc(1, sizeof(*f));
	sigset_t set;
	int sig;

	if (!f) {
		LOG(ERROR, "supervisor.failed", "why=\"out of memory\"");
		return EXIT_FAILURE;
	}
	f->s = s;
	f->listen_fd = listen_fd;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	f->child_mask = set; /* pool_run wants these blocked */
	sigaddset(&f->child_mask, SIGQUIT);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	do {
		int64_t look_ms = s->look_ms(s->arg);

		reap(f);
		if (!keep_running(f))
			look_ms = START_STEP_MS;
		sig = wait_for_signal(&set, look_ms);
		if ((sig == 0 || sig == SIGHUP) && s->renew(s->arg, sig == SIGHUP))
			retire(f);
	} while (sig != SIGTERM && sig != SIGINT);
	LOG(INFO, "supervisor.ending", "signal=%d", sig);
	end(f);
	mem_free(f);
	return EXIT_SUCCESS;
}
