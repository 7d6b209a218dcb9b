/* mcp-runner: works on tasks, which go on when whoever asked for them has gone, and watches files. One per run_dir; workers
 * start it. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/opts.h"
#include "runner/jobs.h"
#include "runner/watcher.h"
#include "common/banned.h"

#define LOCK_NAME     "runner.lock"
#define JOIN_STEP_MS  50
#define JOIN_PAUSE_MS 500 /* longest pause between two tries */
#define ALONE_MAX_MS  30000

static const char *foreground;

static const struct opts_row rows[] = {
    {"foreground", NULL, "Stay; else it goes to the background once it is ready for tasks", &foreground},
    {NULL, NULL, NULL, NULL},
};

struct runner {
	struct worker w;
	struct jobs *jobs;
	struct watcher *watcher;
	struct link_runner link_runner;
	int lock_fd, signal_fd, lost_fd;
};

/* 1: another one runs. */
static int take_lock(struct runner *r, struct err *err)
{
	char *path = cfg_path_join(r->w.cfg.run_dir, LOCK_NAME);

	if (!path)
		return err_set(err, ERR_NOMEM, "path of " LOCK_NAME);
	r->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660);
	mem_free(path);
	if (r->lock_fd == -1)
		return err_sys(err, "%s in %s", LOCK_NAME, r->w.cfg.run_dir);
	if (flock(r->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return errno == EWOULDBLOCK ? 1 : err_sys(err, "lock " LOCK_NAME);
}

static int open_fds(struct runner *r, struct err *err)
{
	sigset_t ends;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	signal(SIGPIPE, SIG_IGN);
	r->signal_fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
	r->lost_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return r->signal_fd == -1 || r->lost_fd == -1 ? err_sys(err, "descriptors") : 0;
}

/* Waits for an end (true) or, at most timeout_ms, for the loss of the broker. */
static bool wait_for_end(struct runner *r, int timeout_ms)
{
	struct pollfd fds[] = {{.fd = r->signal_fd, .events = POLLIN}, {.fd = r->lost_fd, .events = POLLIN}};
	eventfd_t ignored;

	while (poll(fds, timeout_ms < 0 ? 2 : 1, timeout_ms) == -1 && errno == EINTR)
		;
	if (fds[0].revents)
		return true;
	if (fds[1].revents)
		eventfd_read(r->lost_fd, &ignored);
	return false;
}

/* 0: joined. 1: told to end. -1: there is no broker, for so long that nobody needs us, and no task goes on; workers start a
 * broker, and then a runner, when they need one. */
static int join(struct runner *r, struct err *err)
{
	uint64_t until = now_ms() + ALONE_MAX_MS;
	int pause_ms = JOIN_STEP_MS;

	while (link_join(r->w.link, &r->link_runner, err)) {
		if ((now_ms() >= until && !jobs_has_any(r->jobs)) || access(r->w.cfg.run_dir, F_OK) == -1)
			return -1;
		if (wait_for_end(r, pause_ms))
			return 1;
		pause_ms = 2 * pause_ms < JOIN_PAUSE_MS ? 2 * pause_ms : JOIN_PAUSE_MS;
	}
	return 0;
}

static int serve(struct runner *r, int ready_fd, struct err *err)
{
	int joined = join(r, err);
	struct err why = {0};

	if (joined == 0 && watcher_start(&r->watcher, &r->w, &why))
		LOG(ERROR, "watcher.failed", "why=\"%s\" effect=\"nobody is told of changed files\"", why.msg);
	daemon_tell(ready_fd, joined == 0 ? DAEMON_READY : DAEMON_NO_START);
	if (joined != 0)
		return joined == 1 ? 0 : -1;
	LOG(INFO, "runner.ready", "run_dir=\"%s\" tools=%zu", r->w.cfg.run_dir, r->w.tools.count);
	while (!wait_for_end(r, -1)) {
		LOG(WARN, "runner.lost_broker", "effect=\"its tasks go on and wait for the next one\"");
		joined = join(r, err);
		if (joined == -1)
			LOG(INFO, "runner.alone", "why=\"no broker came back\" last=\"%s\"", err->msg);
		if (joined != 0)
			return 0;
		LOG(INFO, "runner.joined", "run_dir=\"%s\"", r->w.cfg.run_dir);
	}
	return 0;
}

static int run(void *arg, int ready_fd)
{
	struct runner *r = arg;
	enum daemon_status status = DAEMON_NO_START;
	struct err err = {0};
	int locked = take_lock(r, &err);

	if (locked == 1) {
		LOG(INFO, "runner.already_running", "run_dir=\"%s\"", r->w.cfg.run_dir);
		daemon_tell(ready_fd, DAEMON_READY);
		return DAEMON_READY;
	}
	r->w.cfg.broker_autostart = false; /* who wants to know of a task starts one */
	r->w.link = link_new(&r->w.cfg);
	r->jobs = jobs_new(&r->w);
	if (locked == 0 && (!r->w.link || !r->jobs))
		err_set(&err, ERR_NOMEM, "a runner");
	if (err.code == ERR_NONE && open_fds(r, &err) == 0) {
		r->link_runner = jobs_runner(r->jobs, r->lost_fd);
		if (serve(r, ready_fd, &err) == 0)
			status = DAEMON_READY;
	} else {
		daemon_tell(ready_fd, DAEMON_NO_START);
	}
	if (status != DAEMON_READY)
		LOG(ERROR, "runner.failed", "why=\"%s\"", err.msg);
	watcher_end(&r->watcher);
	if (r->jobs && !jobs_end(r->jobs, (uint64_t)r->w.cfg.runner_drain_ms)) {
		LOG(ERROR, "runner.hangs", "effect=\"ends all the same\"");
		_exit((int)status); /* threads still use what we would free */
	}
	LOG(INFO, "runner.ended", "status=%d", (int)status);
	link_free(&r->w.link);
	jobs_free(&r->jobs);
	return (int)status;
}

int main(int argc, char **argv)
{
	struct runner r = {.lock_fd = -1, .signal_fd = -1, .lost_fd = -1};
	struct opts opts;
	struct err err = {0};
	int status;

	log_init("mcp-runner", LOG_LEVEL_INFO);
	if (opts_parse(&opts, argc, argv, "mcp-runner",
		"Works on tasks and on tools that wait, for this machine's workers.", rows, NULL))
		return opts.status;
	if (worker_init(&r.w, opts.conf, opts.sets, opts.sets_count, &err)) {
		LOG(ERROR, "runner.config", "why=\"%s\"", err.msg);
		worker_release(&r.w);
		opts_release(&opts);
		return DAEMON_USAGE;
	}
	status = daemon_run(foreground != NULL, run, &r);
	worker_release(&r.w);
	opts_release(&opts);
	return status;
}
