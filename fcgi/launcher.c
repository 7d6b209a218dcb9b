#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/launcher.h"
#include "common/banned.h"

#define SEND_TIMEOUT_S 5 /* a stopped mcp-launch must not hold a worker's threads */

static struct {
	pthread_mutex_t mtx;
	pid_t owner; /* by mtx: the process that started it */
	pid_t pid;   /* by mtx: mcp-launch; 0: none */
	int sock;    /* by mtx; valid when pid is not 0 */
} launcher = {.mtx = PTHREAD_MUTEX_INITIALIZER};

static char *find_program(const struct cfg *cfg)
{
	char self[4096];
	ssize_t len;
	char *path, *slash;

	if (cfg->exec_launcher[0])
		return mem_dup(cfg->exec_launcher, strlen(cfg->exec_launcher));
	len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (len > 0) {
		self[len] = '\0';
		slash = strrchr(self, '/');
		*slash = '\0';
		path = cfg_path_join(self, "mcp-launch");
		if (!path || access(path, X_OK) == 0)
			return path;
		mem_free(path);
	}
	return mem_dup(LIBEXECDIR "/mcp-launch", strlen(LIBEXECDIR "/mcp-launch"));
}

/* posix_spawn() of path with sock as LAUNCH_FD. Returns an errno. Nothing else of the worker's may come along: in a CGI
 * process stdin and stdout are the request's connection. */
static int spawn(const char *path, int sock, pid_t *pid)
{
	char *const argv[] = {(char *)(uintptr_t) "mcp-launch", NULL}, *const env[] = {NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int error;

	sigemptyset(&none);
	sigfillset(&all);
	error = posix_spawn_file_actions_init(&actions);
	if (error)
		return error;
	error = posix_spawnattr_init(&attr);
	if (error) {
		posix_spawn_file_actions_destroy(&actions);
		return error;
	}
	error = posix_spawn_file_actions_adddup2(&actions, sock, LAUNCH_FD);
	if (!error)
		error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	if (!error)
		error = posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (!error)
		error = posix_spawn(pid, path, &actions, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

/* By mtx. */
static void forget(void)
{
	if (launcher.pid == 0)
		return;
	close(launcher.sock);
	if (launcher.owner == getpid())
		waitpid(launcher.pid, NULL, 0); /* it ends at once when its socket is closed */
	launcher.pid = 0;
}

/* By mtx. */
static int ensure(const struct cfg *cfg, struct err *err)
{
	struct timeval timeout = {.tv_sec = SEND_TIMEOUT_S};
	int pair[2], error;
	char *path;

	if (launcher.pid && launcher.owner == getpid())
		return 0;
	forget();
	path = find_program(cfg);
	if (!path)
		return err_set(err, ERR_NOMEM, "path of mcp-launch");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1) {
		mem_free(path);
		return err_sys(err, "socketpair");
	}
	setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	error = spawn(path, pair[1], &launcher.pid);
	close(pair[1]);
	if (error) {
		close(pair[0]);
		launcher.pid = 0;
		errno = error;
		err_sys(err, "start %s", path);
	} else {
		launcher.sock = pair[0];
		launcher.owner = getpid();
		LOG(INFO, "launcher.started", "pid=%d", (int)launcher.pid);
	}
	mem_free(path);
	return error ? -1 : 0;
}

static void add_strings(struct buf *packet, char *const *strings, uint32_t *count)
{
	for (*count = 0; strings[*count]; (*count)++)
		buf_add(packet, strings[*count], strlen(strings[*count]) + 1);
}

static int write_packet(const struct launcher_job *job, struct buf *packet, struct err *err)
{
	struct launch_head head = {.magic = LAUNCH_MAGIC,
	    .cpu_s = job->cpu_s,
	    .grace_ms = job->grace_ms,
	    .tells_pid = job->tells_pid,
	    .memory_bytes = job->memory_bytes};

	buf_add(packet, &head, sizeof(head));
	buf_add(packet, job->cwd, strlen(job->cwd) + 1);
	add_strings(packet, job->argv, &head.argc);
	add_strings(packet, job->env, &head.envc);
	if (buf_check(packet, err))
		return err_wrap(err, "command line and environment");
	memcpy(packet->data, &head, sizeof(head));
	return 0;
}

/* By mtx. Returns an errno. */
static int send_packet(const struct buf *packet, const int *fds)
{
	union {
		char space[CMSG_SPACE(LAUNCH_FD_COUNT * sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct iovec part = {packet->data, packet->len};
	struct msghdr msg = {
	    .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	size_t fds_len = (fds[LAUNCH_ANSWERS] == -1 ? LAUNCH_ANSWERS : LAUNCH_FD_COUNT) * sizeof(int);
	ssize_t sent;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(fds_len);
	msg.msg_controllen = CMSG_SPACE(fds_len);
	memcpy(CMSG_DATA(c), fds, fds_len);
	do
		sent = sendmsg(launcher.sock, &msg, MSG_NOSIGNAL);
	while (sent == -1 && errno == EINTR);
	return sent == -1 ? errno : 0;
}

static int ask(const struct cfg *cfg, const struct buf *packet, const int *fds, struct err *err)
{
	int error = EPIPE, ret = 0;

	pthread_mutex_lock(&launcher.mtx);
	for (int tries = 0; tries < 2 && ret == 0 && (error == EPIPE || error == ECONNRESET); tries++) {
		if (tries)
			forget(); /* it died since the last call */
		ret = ensure(cfg, err);
		if (ret == 0)
			error = send_packet(packet, fds);
	}
	pthread_mutex_unlock(&launcher.mtx);
	if (ret)
		return -1;
	errno = error;
	return error ? err_sys(err, "ask mcp-launch") : 0;
}

int launcher_start(const struct cfg *cfg, const struct launcher_job *job, struct err *err)
{
	int fds[LAUNCH_FD_COUNT], pair[2], leash = -1;
	struct buf packet;

	buf_init(&packet, LAUNCH_MAX_BYTES);
	if (write_packet(job, &packet, err) == 0) {
		if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) == -1) {
			err_sys(err, "pipe");
		} else {
			memcpy(fds, job->fds, sizeof(fds));
			fds[LAUNCH_LEASH] = pair[1];
			if (ask(cfg, &packet, fds, err) == 0)
				leash = pair[0];
			else
				close(pair[0]);
			close(pair[1]);
		}
	}
	buf_release(&packet);
	return leash;
}

int launcher_read(int leash, struct launch_report *report, struct err *err)
{
	ssize_t len = read(leash, report, sizeof(*report));

	if (len == sizeof(*report))
		return 1;
	if (len == -1 && (errno == EAGAIN || errno == EINTR))
		return 0;
	return err_set(err, ERR_INTERNAL, "mcp-launch is gone");
}

void launcher_put_end(const struct launch_report *report, struct buf *words)
{
	int value = report->value;

	if (report->event != LAUNCH_EXITED)
		buf_addf(words, "could not be started: %s", strerrordesc_np(value));
	else if (WIFSIGNALED(value))
		buf_addf(words, "was ended by signal %d (%s)", WTERMSIG(value),
		    sigdescr_np(WTERMSIG(value)) ? sigdescr_np(WTERMSIG(value)) : "?");
	else
		buf_addf(words, "exited with status %d", WEXITSTATUS(value));
}

int launcher_open_text(struct slice text, struct err *err)
{
	int fd = memfd_create("mcp-text", MFD_CLOEXEC);
	off_t at = 0;

	if (fd == -1)
		return err_sys(err, "memfd_create");
	while (text.len) {
		ssize_t put = pwrite(fd, text.p, text.len, at);

		if (put == -1 && errno == EINTR)
			continue;
		if (put <= 0)
			break;
		at += put;
		text.p += put;
		text.len -= (size_t)put;
	}
	if (text.len == 0)
		return fd;
	err_sys(err, "write a file in memory");
	close(fd);
	return -1;
}
