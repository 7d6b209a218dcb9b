/* mcp-launch - parent of a worker's tools. One for each worker process, started at its first exec call.
 *
 * Why a process of its own: a tool must die with its worker, also when that is killed by SIGKILL. PR_SET_PDEATHSIG
 * follows the thread that forked, and a worker's threads come and go; this process has one thread, which lasts. It
 * also sees, by the end of a socket, that the worker is gone, and then ends whole process groups, grandchildren too.
 *
 * It is two processes. The first one only waits, for the second one and for whatever a tool's end leaves without a
 * parent, and kills all that is left when the second one has ended, however that was: so neither kill -9 of mcp-launch
 * nor a setsid() lets a program outlive its worker.
 *
 * A job's leader is not reaped before its group was killed (WNOWAIT): as a zombie it keeps the number of its process
 * group from being given to strangers, so that the kill meets nobody else.
 *
 * All programs are in one session, which is ours and has no terminal. One for each would be a group of the kernel's
 * scheduler for each too (sched_autogroup), which costs more than the rest that is done for a program here. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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
#include "common/util.h"
#include "fcgi/launch.h"
#include "common/banned.h"

struct job {
	pid_t pid;
	int leash;      /* -1: closed, the group is ending */
	bool is_killed; /* its leader is still to end */
	uint32_t grace_ms;
	uint64_t kill_at_ms; /* of a group that got SIGTERM */
	int readers[LAUNCH_READERS_COUNT];
};

struct launch {
	struct job *jobs;   /* owned */
	struct pollfd *fds; /* owned; 2 more than jobs_max */
	size_t jobs_count, jobs_max;
	int signals;
	bool worker_is_gone;
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

	/* A worker that is gone, or has its report already, needs no other. SIGPIPE is blocked. */
	(void)!write(leash, &words, sizeof(words));
}

NORETURN static void run_child(const struct launch *l, const struct request *r)
{
	const struct rlimit cpu = {r->head.cpu_s, r->head.cpu_s};
	const struct rlimit memory = {r->head.memory_bytes, r->head.memory_bytes};
	sigset_t none;

	setpgid(0, 0);
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

static void take_fd(int *to, int *from)
{
	*to = *from;
	*from = -1;
}

/* Takes the leash and the readers out of r, if there is a job. */
static void start(struct launch *l, struct request *r)
{
	struct job *job;
	pid_t pid = fork();

	if (pid == 0)
		run_child(l, r);
	if (pid == -1) {
		report(r->fds[LAUNCH_LEASH], LAUNCH_NO_FORK, errno);
		return;
	}
	job = &l->jobs[l->jobs_count++];
	if (r->head.tells_pid)
		report(r->fds[LAUNCH_LEASH], LAUNCH_STARTED, pid);
	*job = (struct job){.pid = pid, .grace_ms = r->head.grace_ms};
	take_fd(&job->leash, &r->fds[LAUNCH_LEASH]);
	for (int i = 0; i < LAUNCH_READERS_COUNT; i++)
		take_fd(&job->readers[i], &r->fds[LAUNCH_READERS + i]);
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
	size_t count;

	if (len <= 0)
		return len == -1 && (errno == EINTR || errno == EAGAIN);
	count = take_fds(&msg, r.fds);
	if (count < LAUNCH_FD_COUNT)
		r.fds[LAUNCH_ANSWERS] = -1;
	if (count >= LAUNCH_ANSWERS && !(msg.msg_flags & MSG_CTRUNC) && read_request(&r, packet, (size_t)len) &&
	    grow(l) == 0)
		start(l, &r);
	else if (count > 0)
		report(r.fds[LAUNCH_LEASH], LAUNCH_NO_FORK, msg.msg_flags & MSG_CTRUNC ? EMFILE : ENOMEM);
	for (size_t i = 0; i < count; i++) {
		if (r.fds[i] != -1)
			close(r.fds[i]);
	}
	mem_free(r.argv);
	mem_free(r.env);
	return true;
}

/* Once: a second SIGTERM would meet a program that cleans up. */
static void signal_job(const struct job *job, int signo)
{
	if (kill(-job->pid, signo) == -1)
		kill(job->pid, signo); /* between fork and setpgid it has no group yet */
}

static void kill_job(struct job *job)
{
	signal_job(job, SIGKILL);
	job->is_killed = true;
}

/* Nobody waits for it any more. */
static void end_job(struct job *job)
{
	if (job->leash == -1)
		return;
	close(job->leash);
	job->leash = -1;
	if (job->grace_ms == 0) {
		kill_job(job);
		return;
	}
	signal_job(job, SIGTERM);
	job->kill_at_ms = now_ms() + job->grace_ms;
}

static void end_jobs(struct launch *l)
{
	for (size_t i = 0; i < l->jobs_count; i++)
		end_job(&l->jobs[i]);
}

/* Its leader has ended, and was reaped. */
static void forget_job(struct launch *l, struct job *job)
{
	if (job->leash != -1)
		close(job->leash);
	for (int i = 0; i < LAUNCH_READERS_COUNT; i++)
		close(job->readers[i]);
	*job = l->jobs[--l->jobs_count];
}

/* Takes the jobs whose leaders have ended: kills what is left of the group, reaps the leader, reports. */
static void reap_jobs(struct launch *l)
{
	siginfo_t info = {0};
	int status;

	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid) {
		kill(-info.si_pid, SIGKILL);
		waitpid(info.si_pid, &status, WNOHANG);
		for (size_t i = 0; i < l->jobs_count; i++) {
			if (l->jobs[i].pid != info.si_pid)
				continue;
			if (l->jobs[i].leash != -1)
				report(l->jobs[i].leash, LAUNCH_EXITED, status);
			forget_job(l, &l->jobs[i]);
			break;
		}
		info.si_pid = 0;
	}
}

/* Kills groups whose grace is over. */
static void kill_late_jobs(struct launch *l)
{
	uint64_t now = now_ms();

	for (size_t i = 0; i < l->jobs_count; i++) {
		struct job *job = &l->jobs[i];

		if (job->leash == -1 && !job->is_killed && now >= job->kill_at_ms)
			kill_job(job);
	}
}

/* Until the first grace is over; -1: there is none. */
static int time_left_ms(const struct launch *l)
{
	uint64_t now = now_ms(), left = INT_MAX;
	bool any = false;

	for (size_t i = 0; i < l->jobs_count; i++) {
		const struct job *job = &l->jobs[i];

		if (job->leash != -1 || job->is_killed)
			continue;
		any = true;
		if (job->kill_at_ms <= now)
			return 0;
		if (job->kill_at_ms - now < left)
			left = job->kill_at_ms - now;
	}
	return any ? (int)left : -1;
}

/* One turn of the loop. False: it was the last one, the worker is gone and all groups with it. */
static bool turn(struct launch *l)
{
	struct signalfd_siginfo infos[4]; /* the kernel keeps one of each */
	size_t count = l->jobs_count;

	l->fds[0] = (struct pollfd){.fd = l->worker_is_gone ? -1 : LAUNCH_FD, .events = POLLIN};
	l->fds[1] = (struct pollfd){.fd = l->signals, .events = POLLIN};
	for (size_t i = 0; i < count; i++)
		l->fds[2 + i] = (struct pollfd){.fd = l->jobs[i].leash};
	if (poll(l->fds, 2 + count, time_left_ms(l)) == -1)
		return errno == EINTR;
	for (size_t i = 0; i < count; i++) {
		if (l->fds[2 + i].revents)
			end_job(&l->jobs[i]); /* nobody reads what could be reported */
	}
	if (l->fds[0].revents && !serve_request(l)) {
		l->worker_is_gone = true;
		end_jobs(l);
	}
	if (l->fds[1].revents && read(l->signals, infos, sizeof(infos)) > 0)
		reap_jobs(l);
	kill_late_jobs(l);
	return !l->worker_is_gone || l->jobs_count > 0;
}

/* SIGKILL for all children, whose own become ours when they end. Returns how many took it: one of another user does
 * not. */
static unsigned kill_children(void)
{
	FILE *children = fopen("/proc/thread-self/children", "re");
	unsigned count = 0;
	int pid;

	if (!children)
		return 0;
	while (fscanf(children, "%d", &pid) == 1)
		count += kill(pid, SIGKILL) == 0;
	fclose(children);
	return count;
}

/* The first process. */
static int guard(pid_t second)
{
	bool is_over = false;
	int status, result = 1;
	pid_t pid;

	close(LAUNCH_FD);
	do {
		pid = waitpid(-1, &status, 0);
		if (pid == second) {
			is_over = true;
			result = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		}
	} while (pid == -1 ? errno == EINTR : !is_over || kill_children() > 0);
	return result;
}

int main(void)
{
	struct launch l = {0};
	sigset_t signals, blocked;
	int type;
	socklen_t size = sizeof(type);
	pid_t second;
	int fd;

	log_init("mcp-launch", LOG_LEVEL_INFO);
	if (getsockopt(LAUNCH_FD, SOL_SOCKET, SO_TYPE, &type, &size) == -1 || type != SOCK_SEQPACKET) {
		fprintf(stderr, "mcp-launch is started by mcp-worker, not by hand\n");
		return 2;
	}
	/* The worker's: a client's connection that stayed open here would outlive both ends of it. */
	close_range(LAUNCH_FD + 1, ~0u, 0);
	do /* what is received must not land where a program's descriptors will be */
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd != -1 && fd < LAUNCH_FD_LAST);
	fcntl(LAUNCH_FD, F_SETFD, FD_CLOEXEC);
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	/* It ends when its worker does, which may have calls to finish: signals to a whole group of processes are not
	 * ours. */
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	blocked = signals;
	sigaddset(&blocked, SIGPIPE); /* of a leash */
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	second = fork();
	if (second > 0)
		return guard(second);
	if (second == -1) {
		LOG(ERROR, "launch.failed", "errno=%d", errno);
		return 1;
	}
	setsid();
	l.pid = getpid();
	l.signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (l.signals == -1 || grow(&l) == -1) {
		LOG(ERROR, "launch.failed", "errno=%d", errno);
		return 1;
	}
	while (turn(&l))
		;
	for (size_t i = 0; i < l.jobs_count; i++) /* only where poll() itself failed */
		kill_job(&l.jobs[i]);
	mem_free(l.jobs);
	mem_free(l.fds);
	return 0;
}
