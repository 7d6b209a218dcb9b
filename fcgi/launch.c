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
 * A program is started in our own memory (CLONE_VM): a copy of it costs as much as a quarter of a small program's whole
 * run. We don't wait for the child, as vfork() would: its directory or program may be on a file system that hangs, and
 * then others are still started, reported and killed. So what the child reads stays until the kernel says that it has
 * left (CLONE_CHILD_CLEARTID), and it makes its system calls by itself, for errno would be ours as well.
 *
 * All programs are in one session, which is ours and has no terminal. One for each would be a group of the kernel's
 * scheduler for each too (sched_autogroup), which costs more than the rest that is done for a program here. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
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

/* One program that is to be started. */
struct request {
	struct request *next;
	pid_t pid; /* of the child, until it has left our memory */
	pid_t parent;
	struct launch_head head;
	char *packet; /* owned; the strings are in it */
	const char *cwd;
	char **argv, **env; /* owned */
	int fds[LAUNCH_FD_COUNT];
	_Alignas(16) char stack[16384]; /* of the child, for run_child() and the system calls that it makes */
};

struct launch {
	struct job *jobs;   /* owned */
	struct pollfd *fds; /* owned; 2 more than jobs_max */
	size_t jobs_count, jobs_max;
	struct request *requests; /* owned; their children may still be in our memory */
	int signals;
	bool worker_is_gone;
	pid_t pid;
};

/* A system call that returns -errno and leaves errno alone. */
#if defined(__x86_64__)
#define CHILD_MEMORY CLONE_VM
static long raw(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
#define CHILD_MEMORY CLONE_VM
static long raw(long number, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}
#else /* the child has a copy */
#define CHILD_MEMORY 0
static long raw(long number, long a, long b, long c, long d)
{
	long ret = syscall(number, a, b, c, d);

	return ret == -1 ? -errno : ret;
}
#endif

static void report(int leash, enum launch_event event, long value)
{
	struct launch_report words = {event, (int32_t)value};

	/* A worker that is gone, or has its report already, needs no other. SIGPIPE is blocked. */
	raw(SYS_write, leash, (long)&words, sizeof(words), 0);
}

NORETURN static void end_child(void)
{
	for (;;)
		raw(SYS_exit_group, 127, 0, 0, 0);
}

/* By kernels of 32 bits, too. */
static void set_limit(int resource, uint64_t max)
{
	const struct rlimit64 limit = {max, max};

	if (max) /* fails only where the limit is lower already */
		raw(SYS_prlimit64, 0, resource, (long)&limit, 0);
}

/* Runs in our memory: no function of libc's that sets errno, and nothing is written but its stack. */
static int run_child(void *arg)
{
	static const uint64_t no_signals[_NSIG / 64 + 1];
	const struct request *r = arg;
	long failed;

	raw(SYS_setpgid, 0, 0, 0, 0);
	/* If mcp-launch died before this line, the signal will not come; then the parent is another one. */
	if (raw(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0) < 0 || raw(SYS_getppid, 0, 0, 0, 0) != r->parent)
		end_child();
	set_limit(RLIMIT_CPU, r->head.cpu_s);
	set_limit(RLIMIT_AS, r->head.memory_bytes);
	failed = raw(SYS_chdir, (long)r->cwd, 0, 0, 0);
	if (failed) {
		report(r->fds[LAUNCH_LEASH], LAUNCH_NO_CWD, -failed);
		end_child();
	}
	/* What was received is above LAUNCH_FD_LAST, so nothing is overwritten before it was copied. */
	for (int fd = 0; fd <= LAUNCH_FD_LAST; fd++) {
		int from = r->fds[fd == LAUNCH_FD_LAST ? LAUNCH_ANSWERS : LAUNCH_STDIN + fd];

		if (from != -1 && raw(SYS_dup3, from, fd, 0, 0) < 0)
			end_child();
	}
	raw(SYS_rt_sigprocmask, SIG_SETMASK, (long)no_signals, 0, _NSIG / 8);
	failed = raw(SYS_execve, (long)r->argv[0], (long)r->argv, (long)r->env, 0);
	report(r->fds[LAUNCH_LEASH], LAUNCH_NO_EXEC, -failed);
	end_child();
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

/* Takes the leash and the readers out of fds, if there is a job. */
static void start(struct launch *l, struct request *r, int *fds)
{
	struct job *job;
	pid_t pid;

	memcpy(r->fds, fds, sizeof(r->fds));
	r->parent = l->pid;
	pid = clone(run_child, r->stack + sizeof(r->stack),
	    CHILD_MEMORY | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD, r, &r->pid, NULL, &r->pid);
	if (pid == -1)
		report(fds[LAUNCH_LEASH], LAUNCH_NO_FORK, errno);
	if (pid == -1 || !CHILD_MEMORY)
		r->pid = 0;
	if (pid == -1)
		return;
	job = &l->jobs[l->jobs_count++];
	if (r->head.tells_pid)
		report(fds[LAUNCH_LEASH], LAUNCH_STARTED, pid);
	*job = (struct job){.pid = pid, .grace_ms = r->head.grace_ms};
	take_fd(&job->leash, &fds[LAUNCH_LEASH]);
	for (int i = 0; i < LAUNCH_READERS_COUNT; i++)
		take_fd(&job->readers[i], &fds[LAUNCH_READERS + i]);
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

static void free_request(struct request *r)
{
	mem_free(r->packet);
	mem_free(r->argv);
	mem_free(r->env);
	mem_free(r);
}

/* Those whose children have left. */
static void free_requests(struct launch *l)
{
	struct request **at = &l->requests, *r;

	while ((r = *at)) {
		if (__atomic_load_n(&r->pid, __ATOMIC_ACQUIRE)) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		free_request(r);
	}
}

/* False: it is not one of ours, or there is no memory. */
static bool read_request(struct request *r, const char *packet, size_t len)
{
	char *at, *end;

	if (len < sizeof(r->head))
		return false;
	memcpy(&r->head, packet, sizeof(r->head));
	r->packet = mem_dup(packet + sizeof(r->head), len - sizeof(r->head));
	if (!r->packet || r->head.magic != LAUNCH_MAGIC || r->head.argc == 0)
		return false;
	at = r->packet;
	end = at + len - sizeof(r->head);
	r->cwd = cut_string(&at, end);
	r->argv = r->cwd ? cut_strings(&at, end, r->head.argc) : NULL;
	r->env = r->argv ? cut_strings(&at, end, r->head.envc) : NULL;
	return r->env != NULL;
}

/* NULL: as read_request(). */
static struct request *add_request(struct launch *l, const char *packet, size_t len)
{
	struct request *r = mem_alloc(1, sizeof(*r));

	if (!r)
		return NULL;
	if (!read_request(r, packet, len)) {
		free_request(r);
		return NULL;
	}
	r->next = l->requests;
	l->requests = r;
	return r;
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
	int fds[LAUNCH_FD_COUNT];
	struct msghdr msg = {.msg_iov = &part,
	    .msg_iovlen = 1,
	    .msg_control = control.space,
	    .msg_controllen = CMSG_LEN(sizeof(fds))}; /* not the space, in which one more may have room */
	struct request *r = NULL;
	ssize_t len = recvmsg(LAUNCH_FD, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	size_t count;

	if (len <= 0)
		return len == -1 && (errno == EINTR || errno == EAGAIN);
	free_requests(l);
	count = take_fds(&msg, fds);
	if (count < LAUNCH_FD_COUNT)
		fds[LAUNCH_ANSWERS] = -1;
	if (count >= LAUNCH_ANSWERS && !(msg.msg_flags & MSG_CTRUNC) && grow(l) == 0)
		r = add_request(l, packet, (size_t)len);
	if (r)
		start(l, r, fds);
	else if (count > 0)
		report(fds[LAUNCH_LEASH], LAUNCH_NO_FORK, msg.msg_flags & MSG_CTRUNC ? EMFILE : ENOMEM);
	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i]);
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
	free_requests(&l);
	mem_free(l.jobs);
	mem_free(l.fds);
	return 0;
}
