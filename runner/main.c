/* mcp-runner: works on tasks, which go on when whoever asked for them has gone, watches files, and is where scripts
 * publish. One per run_dir;
 * workers start it. */
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
#include "fcgi/module_apart.h"
#include "fcgi/reload.h"
#include "runner/jobs.h"
#include "runner/publisher.h"
#include "runner/watcher.h"
#include "common/banned.h"

#define LOCK_NAME     "runner.lock"
#define JOIN_STEP_MS  50
#define JOIN_PAUSE_MS 500 /* longest pause between two tries */
#define ALONE_MAX_MS  30000

static const char *foreground, *module_call;

static const struct opts_row rows[] = {
    {"foreground", NULL, "Stay; else it goes to the background once it is ready for tasks", &foreground},
    {MODULE_APART_OPTION, NULL, "How it starts itself for a task of a module; not for use by hand", &module_call},
    {NULL, NULL, NULL, NULL},
};

/* Sites of before, with jobs of theirs: with so many the next change waits until nothing runs. */
#define OLD_MAX 8

struct runner {
	struct reload site;
	struct worker *old[OLD_MAX]; /* owned */
	size_t old_count;
	struct worker *first; /* borrowed: its settings are the link's, which lives as long as we do */
	struct link *link;
	struct jobs *jobs;
	struct watcher *watcher;
	struct publisher *publisher;
	struct link_runner link_runner;
	int lock_fd, signal_fd, lost_fd, stale_fd;
};

/* 1: another one runs. */
static int take_lock(struct runner *r, struct err *err)
{
	char *path = cfg_path_join(r->site.now->cfg.run_dir, LOCK_NAME);

	if (!path)
		return err_set(err, ERR_NOMEM, "path of " LOCK_NAME);
	r->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660);
	mem_free(path);
	if (r->lock_fd == -1)
		return err_sys(err, "%s in %s", LOCK_NAME, r->site.now->cfg.run_dir);
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
	sigaddset(&ends, SIGHUP);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	signal(SIGPIPE, SIG_IGN);
	r->signal_fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
	r->lost_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->stale_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return r->signal_fd == -1 || r->lost_fd == -1 || r->stale_fd == -1 ? err_sys(err, "descriptors") : 0;
}

enum event { EVENT_TIME, EVENT_END, EVENT_RELOAD, EVENT_LOST, EVENT_STALE };

/* timeout_ms 0: without end. has_broker: sees that it is lost, and jobs that it brought. */
static enum event wait_for_event(struct runner *r, int timeout_ms, bool has_broker)
{
	struct pollfd fds[] = {{.fd = r->signal_fd, .events = POLLIN}, {.fd = r->lost_fd, .events = POLLIN},
	    {.fd = r->stale_fd, .events = POLLIN}};
	struct signalfd_siginfo signal;
	eventfd_t ignored;

	while (poll(fds, has_broker ? COUNT_OF(fds) : 1, timeout_ms ? timeout_ms : -1) == -1 && errno == EINTR)
		;
	if (fds[0].revents && read(r->signal_fd, &signal, sizeof(signal)) == sizeof(signal))
		return signal.ssi_signo == SIGHUP ? EVENT_RELOAD : EVENT_END;
	if (fds[1].revents) {
		eventfd_read(r->lost_fd, &ignored);
		return EVENT_LOST;
	}
	if (!fds[2].revents)
		return EVENT_TIME;
	eventfd_read(r->stale_fd, &ignored);
	return EVENT_STALE;
}

/* All have the same link. */
static void free_site(struct worker *w)
{
	w->link = NULL;
	reload_free_worker(w);
}

static void free_old(struct runner *r)
{
	while (r->old_count)
		free_site(r->old[--r->old_count]);
}

/* What the site of now has beside its jobs. */
static void start_helpers(struct runner *r)
{
	struct err err = {0};

	if (watcher_start(&r->watcher, r->site.now, &err))
		LOG(ERROR, "watcher.failed", "why=\"%s\" effect=\"nobody is told of changed files\"", err.msg);
	if (publisher_use(&r->publisher, r->site.now, &err))
		LOG(ERROR, "publish.failed", "why=\"%s\" effect=\"scripts can't publish\"", err.msg);
}

/* The configuration is another one: jobs that come are of that. */
static void reload(struct runner *r)
{
	struct worker *old;

	if (!jobs_has_any(r->jobs))
		free_old(r);
	if (r->old_count == OLD_MAX || reload_try(&r->site, &old))
		return;
	watcher_end(&r->watcher);
	r->site.now->link = r->link;
	r->site.now->cfg.broker_autostart = false;
	jobs_use(r->jobs, r->site.now);
	start_helpers(r);
	if (old != r->first)
		r->old[r->old_count++] = old;
}

/* A job came of a tool that we don't know: a worker was faster to see the change, or the tool is gone. */
static void catch_up(struct runner *r)
{
	if (reload_has_changed(&r->site))
		reload(r);
	jobs_use(r->jobs, r->site.now);
}

/* 0: joined. 1: told to end. -1: there is no broker, for so long that nobody needs us, and no task goes on; workers
 * start a broker, and then a runner, when they need one. */
static int join(struct runner *r, struct err *err)
{
	uint64_t until = now_ms() + ALONE_MAX_MS;
	int pause_ms = JOIN_STEP_MS;

	while (link_join(r->link, &r->link_runner, err)) {
		if ((now_ms() >= until && !jobs_has_any(r->jobs)) || access(r->site.now->cfg.run_dir, F_OK) == -1)
			return -1;
		if (wait_for_event(r, pause_ms, false) == EVENT_END)
			return 1;
		pause_ms = 2 * pause_ms < JOIN_PAUSE_MS ? 2 * pause_ms : JOIN_PAUSE_MS;
	}
	return 0;
}

static int serve(struct runner *r, int ready_fd, struct err *err)
{
	int joined = join(r, err);

	if (joined == 0)
		start_helpers(r);
	daemon_tell(ready_fd, joined == 0 ? DAEMON_READY : DAEMON_NO_START);
	if (joined != 0)
		return joined == 1 ? 0 : -1;
	LOG(INFO, "runner.ready", "run_dir=\"%s\" tools=%zu", r->site.now->cfg.run_dir, r->site.now->tools.count);
	for (;;) {
		enum event event = wait_for_event(r, (int)r->site.now->cfg.worker_reload_ms, true);

		if (event == EVENT_END)
			return 0;
		if (event == EVENT_RELOAD || (event == EVENT_TIME && reload_is_due(&r->site)))
			reload(r);
		if (event == EVENT_STALE)
			catch_up(r);
		if (event != EVENT_LOST)
			continue;
		LOG(WARN, "runner.lost_broker", "effect=\"its tasks go on and wait for the next one\"");
		joined = join(r, err);
		if (joined == -1)
			LOG(INFO, "runner.alone", "why=\"no broker came back\" last=\"%s\"", err->msg);
		if (joined != 0)
			return 0;
		LOG(INFO, "runner.joined", "run_dir=\"%s\"", r->site.now->cfg.run_dir);
	}
}

static int run(void *arg, int ready_fd)
{
	struct runner *r = arg;
	enum daemon_status status = DAEMON_NO_START;
	struct err err = {0};
	int locked = take_lock(r, &err);

	if (locked == 1) {
		LOG(INFO, "runner.already_running", "run_dir=\"%s\"", r->site.now->cfg.run_dir);
		daemon_tell(ready_fd, DAEMON_READY);
		return DAEMON_READY;
	}
	r->site.now->cfg.broker_autostart = false; /* who wants to know of a task starts one */
	r->first = r->site.now;
	r->link = r->site.now->link = link_new(&r->site.now->cfg);
	r->jobs = jobs_new(r->site.now);
	if (locked == 0 && (!r->link || !r->jobs))
		err_set(&err, ERR_NOMEM, "a runner");
	if (err.code == ERR_NONE && open_fds(r, &err) == 0) {
		r->link_runner = jobs_runner(r->jobs, r->lost_fd, r->stale_fd);
		if (serve(r, ready_fd, &err) == 0)
			status = DAEMON_READY;
	} else {
		daemon_tell(ready_fd, DAEMON_NO_START);
	}
	if (status != DAEMON_READY)
		LOG(ERROR, "runner.failed", "why=\"%s\"", err.msg);
	watcher_end(&r->watcher);
	publisher_end(&r->publisher);
	if (r->jobs && !jobs_end(r->jobs, (uint64_t)r->site.now->cfg.runner_drain_ms)) {
		LOG(ERROR, "runner.hangs", "effect=\"ends all the same\"");
		_exit((int)status); /* threads still use what we would free */
	}
	LOG(INFO, "runner.ended", "status=%d", (int)status);
	r->site.now->link = NULL;
	link_free(&r->link);
	jobs_free(&r->jobs);
	free_old(r);
	if (r->first != r->site.now)
		free_site(r->first);
	return (int)status;
}

int main(int argc, char **argv)
{
	struct runner r = {.lock_fd = -1, .signal_fd = -1, .lost_fd = -1, .stale_fd = -1};
	struct opts opts;
	struct err err = {0};
	int status;

	log_init("mcp-runner", LOG_LEVEL_INFO);
	if (opts_parse(&opts, argc, argv, "mcp-runner",
		"Works on tasks and on tools that wait, for this machine's workers.", rows, NULL))
		return opts.status;
	if (module_call) {
		opts_release(&opts);
		return module_serve_apart();
	}
	if (!foreground)
		daemon_close_inherited();
	if (reload_init(&r.site, opts.conf, opts.sets, opts.sets_count, &err)) {
		LOG(ERROR, "runner.config", "why=\"%s\"", err.msg);
		reload_release(&r.site);
		opts_release(&opts);
		return DAEMON_USAGE;
	}
	status = daemon_run(foreground != NULL, run, &r);
	reload_release(&r.site);
	opts_release(&opts);
	return status;
}
