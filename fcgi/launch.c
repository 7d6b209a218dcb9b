/* mcp-launch - parent of a worker's tools. One for each worker process, started at its first exec call.
 *
 * Why a process of its own: a tool must die with its worker, also when that is killed by SIGKILL. PR_SET_PDEATHSIG
 * follows the thread that forked, and a worker's threads come and go; this process has one thread, which lasts. It
 * also sees, by the end of a socket, that the worker is gone, and then kills whole process groups, grandchildren too.
 *
 * A job's leader is not reaped while its leash is held (WNOWAIT): as a zombie it keeps the number of its process
 * group from being given to strangers, so that the kill that comes later meets nobody else. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "fcgi/launch.h"
#include "common/banned.h"

struct job {
	pid_t pid;
	int leash;      /* -1: closed, the group was killed, the leader is still to be reaped */
	bool is_exited; /* and reported */
};

struct launch {
	struct job *jobs;   /* owned */
	struct pollfd *fds; /* owned; 2 more than jobs_max */
	size_t jobs_count, jobs_max;
	int signals;
	pid_t pid;
};

struct request {
	struct launch_head head;
	const char *cwd;
	char **argv, **env;
	int fds[LAUNCH_FD_COUNT];
};

static void report(int leash, enum launch_event event, int value)
{
	struct launch_report words = {event, value};

	/* A worker that is gone, or has its report already, needs no other. */
	(void)!send(leash, &words, sizeof(words), MSG_DONTWAIT | MSG_NOSIGNAL);
}

NORETURN static void run_child(const struct launch *l, const struct request *r)
{
	const struct rlimit cpu = {r->head.cpu_s, r->head.cpu_s};
	const struct rlimit memory = {r->head.memory_bytes, r->head.memory_bytes};
	sigset_t none;

	setsid();
	/* If mcp-launch died before this line, the signal will not come; then the parent is another one. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 || getppid() != l->pid)
		_exit(127);
	if (cpu.rlim_max) /* fails only where the limit is lower already; so does the next */
		setrlimit(RLIMIT_CPU, &cpu);
	if (memory.rlim_max)
		setrlimit(RLIMIT_AS, &memory);
	if (chdir(r->cwd) == -1) {
		report(r->fds[LAUNCH_LEASH], LAUNCH_NO_CWD, errno);
		_exit(127);
	}
	/* What was received is above LAUNCH_FD_LAST, so nothing is overwritten before it was copied. */
	if (dup2(r->fds[LAUNCH_STDIN], 0) == -1 || dup2(r->fds[LAUNCH_STDOUT], 1) == -1 ||
	    dup2(r->fds[LAUNCH_STDERR], 2) == -1 || dup2(r->fds[LAUNCH_MESSAGES], 3) == -1 ||
	    (r->fds[LAUNCH_ANSWERS] != -1 && dup2(r->fds[LAUNCH_ANSWERS], LAUNCH_FD_LAST) == -1))
		_exit(127);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(r->argv[0], r->argv, r->env);
	report(r->fds[LAUNCH_LEASH], LAUNCH_NO_EXEC, errno);
	_exit(127);
}

static int grow(struct launch *l)
{
	size_t max = l->jobs_max ? 2 * l->jobs_max : 16;
	struct pollfd *fds;
	struct job *jobs;

	if (l->jobs_count < l->jobs_max)
		return 0;
	jobs = mem_realloc(l->jobs, max * sizeof(*jobs));
	if (!jobs)
		return -1;
	l->jobs = jobs;
	fds = mem_realloc(l->fds, (max + 2) * sizeof(*fds));
	if (!fds)
		return -1;
	l->fds = fds;
	l->jobs_max = max;
	return 0;
}

/* Takes the leash. */
static void start(struct launch *l, const struct request *r)
{
	pid_t pid = fork();

	if (pid == 0)
		run_child(l, r);
	if (pid == -1) {
		report(r->fds[LAUNCH_LEASH], LAUNCH_NO_FORK, errno);
		close(r->fds[LAUNCH_LEASH]);
		return;
	}
	l->jobs[l->jobs_count++] = (struct job){.pid = pid, .leash = r->fds[LAUNCH_LEASH]};
}

/* The next string of the packet. NULL: there is none. */
static char *cut_string(char **at, char *end)
{
	char *string = *at, *nul = memchr(string, '\0', (size_t)(end - string));

	if (!nul)
		return NULL;
	*at = nul + 1;
	return string;
}

static char **cut_strings(char **at, char *end, uint32_t count)
{
	char **strings;

	if (count > (size_t)(end - *at))
		return NULL;
	strings = mem_alloc((size_t)count + 1, sizeof(*strings));
	for (uint32_t i = 0; strings && i < count; i++) {
		strings[i] = cut_string(at, end);
		if (!strings[i]) {
			mem_free(strings);
			return NULL;
		}
	}
	return strings;
}

/* Points into packet. False: it is not one of ours, or there is no memory. */
static bool read_request(struct request *r, char *packet, size_t len)
{
	char *at = packet + sizeof(r->head), *end = packet + len;

	if (len < sizeof(r->head))
		return false;
	memcpy(&r->head, packet, sizeof(r->head));
	if (r->head.magic != LAUNCH_MAGIC || r->head.argc == 0)
		return false;
	r->cwd = cut_string(&at, end);
	r->argv = r->cwd ? cut_strings(&at, end, r->head.argc) : NULL;
	r->env = r->argv ? cut_strings(&at, end, r->head.envc) : NULL;
	return r->env != NULL;
}

/* Descriptors that came, in order; at the limit of descriptors the kernel leaves the last ones out. */
static size_t take_fds(struct msghdr *msg, int *fds)
{
	size_t count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), count * sizeof(int));
	}
	return count;
}

/* False: the worker is gone. */
static bool serve_request(struct launch *l)
{
	static char packet[LAUNCH_MAX_BYTES];
	union {
		char space[CMSG_SPACE(LAUNCH_FD_COUNT * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec part = {packet, sizeof(packet)};
	struct msghdr msg = {
	    .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space)};
	struct request r = {0};
	ssize_t len = recvmsg(LAUNCH_FD, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	size_t count, keep = 0;

	if (len <= 0)
		return len == -1 && (errno == EINTR || errno == EAGAIN);
	count = take_fds(&msg, r.fds);
	if (count < LAUNCH_FD_COUNT)
		r.fds[LAUNCH_ANSWERS] = -1;
	if (count >= LAUNCH_ANSWERS && !(msg.msg_flags & MSG_CTRUNC) && read_request(&r, packet, (size_t)len) &&
	    grow(l) == 0) {
		start(l, &r);
		keep = 1;
	} else if (count > 0) {
		report(r.fds[LAUNCH_LEASH], LAUNCH_NO_FORK, msg.msg_flags & MSG_CTRUNC ? EMFILE : ENOMEM);
	}
	for (size_t i = keep; i < count; i++)
		close(r.fds[i]);
	mem_free(r.argv);
	mem_free(r.env);
	return true;
}

/* Ends a job: nobody waits for it any more. */
static void kill_job(struct job *job)
{
	if (job->leash == -1)
		return;
	kill(-job->pid, SIGKILL);
	kill(job->pid, SIGKILL); /* between fork and setsid it has no group yet */
	close(job->leash);
	job->leash = -1;
}

/* Reports leaders that ended, and reaps those whose leash is gone. */
static void look_after(struct launch *l)
{
	siginfo_t info;

	for (size_t i = 0; i < l->jobs_count; i++) {
		struct job *job = &l->jobs[i];

		if (job->leash == -1) {
			if (waitpid(job->pid, NULL, WNOHANG) != 0) {
				*job = l->jobs[--l->jobs_count];
				i--;
			}
			continue;
		}
		info.si_pid = 0;
		if (job->is_exited || waitid(P_PID, (id_t)job->pid, &info, WEXITED | WNOHANG | WNOWAIT) == -1 ||
		    info.si_pid == 0)
			continue;
		job->is_exited = true;
		report(job->leash, LAUNCH_EXITED, info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status);
	}
}

static bool drain_signals(const struct launch *l)
{
	struct signalfd_siginfo infos[16];
	bool any = false;

	while (read(l->signals, infos, sizeof(infos)) > 0)
		any = true;
	return any;
}

/* One turn of the loop. False: the worker is gone. */
static bool turn(struct launch *l)
{
	size_t count = l->jobs_count;
	bool killed = false;

	l->fds[0] = (struct pollfd){.fd = LAUNCH_FD, .events = POLLIN};
	l->fds[1] = (struct pollfd){.fd = l->signals, .events = POLLIN};
	for (size_t i = 0; i < count; i++)
		l->fds[2 + i] = (struct pollfd){.fd = l->jobs[i].leash, .events = POLLIN};
	if (poll(l->fds, 2 + count, -1) == -1)
		return errno == EINTR;
	for (size_t i = 0; i < count; i++) {
		if (!l->fds[2 + i].revents)
			continue;
		kill_job(&l->jobs[i]); /* nothing is ever said on a leash: it was let go */
		killed = true;
	}
	if (drain_signals(l) || killed)
		look_after(l);
	return !l->fds[0].revents || serve_request(l);
}

int main(void)
{
	struct launch l = {.pid = getpid()};
	sigset_t signals;
	int type;
	socklen_t size = sizeof(type);
	int fd;

	log_init("mcp-launch", LOG_LEVEL_INFO);
	if (getsockopt(LAUNCH_FD, SOL_SOCKET, SO_TYPE, &type, &size) == -1 || type != SOCK_SEQPACKET) {
		fprintf(stderr, "mcp-launch is started by mcp-worker, not by hand\n");
		return 2;
	}
	do /* what is received must not land where a program's descriptors will be */
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd != -1 && fd < LAUNCH_FD_LAST);
	close_range(LAUNCH_FD_LAST + 1, ~0u, 0);
	fcntl(LAUNCH_FD, F_SETFD, FD_CLOEXEC);
	fcntl(LAUNCH_FD_LAST, F_SETFD, FD_CLOEXEC);
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	/* It ends when its worker does, which may have calls to finish: signals to a whole group of processes are not
	 * ours. */
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_SETMASK, &signals, NULL);
	l.signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (l.signals == -1 || grow(&l) == -1) {
		LOG(ERROR, "launch.failed", "errno=%d", errno);
		return 1;
	}
	while (turn(&l))
		;
	for (size_t i = 0; i < l.jobs_count; i++)
		kill_job(&l.jobs[i]);
	mem_free(l.jobs);
	mem_free(l.fds);
	return 0;
}
