/* mcp-worker: stateless; takes MCP requests from a web server. How it gets them is seen from what it was started with:
 * --socket (it opens the socket and keeps children), a listening socket on descriptor 0 (spawned by lighttpd,
 * mod_fcgid) or from systemd (LISTEN_FDS), or the variables of one plain CGI request. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/opts.h"
#include "fcgi/changes.h"
#include "fcgi/module.h"
#include "fcgi/pool.h"
#include "fcgi/reload.h"
#include "fcgi/req_cgi.h"
#include "fcgi/supervisor.h"
#include "common/banned.h"

#define SET_MAX 64

extern char **environ;

static const char *socket_address, *processes, *threads;

static const struct opts_row rows[] = {
    {"socket", "ADDRESS",
	"Open this Unix socket (a path) or HOST:PORT, and keep worker_processes children that serve it",
	&socket_address},
    {"processes", "N", "The same as --set worker_processes=N", &processes},
    {"threads", "N", "The same as --set worker_threads=N", &threads},
    {NULL, NULL, NULL, NULL},
};

static bool is_listening(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on;
}

/* Descriptor of the socket that systemd passed to this very process (sd_listen_fds(3)), or -1. */
static int systemd_socket(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");

	if (!pid || !count || strtol(pid, NULL, 10) != getpid() || strtol(count, NULL, 10) < 1)
		return -1;
	return is_listening(3) ? 3 : -1;
}

static void block_ends(void)
{
	sigset_t ends;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGQUIT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
}

/* In the process that serves, after the last fork. */
static int serve(struct worker *w, int listen_fd)
{
	struct err err = {0};

	w->link = link_new(&w->cfg);
	if (!w->link) {
		LOG(ERROR, "worker.failed", "why=\"out of memory\"");
		return EXIT_FAILURE;
	}
	block_ends();
	changes_tell(w);
	if (pool_run(w, listen_fd, &err)) {
		LOG(ERROR, "worker.failed", "why=\"%s\"", err.msg);
		_exit(EXIT_FAILURE); /* threads may still use w */
	}
	if (!module_stop_all())
		_exit(EXIT_SUCCESS); /* as above */
	return EXIT_SUCCESS;
}

/* A web server may kill its CGI process once it has the answer (lighttpd does), while the call of a 202, or of a stream
 * that the broker has, goes on. So a child does the work, and the process that the web server knows lasts until that
 * has answered. */
static int serve_cgi(struct worker *w)
{
	struct req_cgi req;
	int over[2], fds = pipe2(over, O_CLOEXEC);
	pid_t pid = fds == 0 ? fork() : -1;
	char ignored;

	if (pid > 0) {
		close(over[1]);
		close(STDIN_FILENO);
		close(STDOUT_FILENO); /* its end is the child's to decide */
		while (read(over[0], &ignored, 1) == -1 && errno == EINTR)
			;
		return EXIT_SUCCESS;
	}
	if (pid == 0) {
		close(over[0]);
		setsid();
	}
	signal(SIGPIPE, SIG_IGN);
	w->link = link_new(&w->cfg);
	if (!w->link) {
		LOG(ERROR, "worker.failed", "why=\"out of memory\"");
		return EXIT_FAILURE;
	}
	req_cgi_init(&req, environ, pid == 0 ? over[1] : -1);
	worker_serve(w, &req.base, NULL, NULL);
	return EXIT_SUCCESS;
}

/* What a supervisor's children serve. */

static int serve_now(void *arg, int listen_fd)
{
	return serve(((struct reload *)arg)->now, listen_fd);
}

static bool renew(void *arg, bool is_told)
{
	struct reload *r = arg;
	struct worker *old;
	struct err err = {0};

	if ((!is_told && !reload_is_due(r)) || reload_try(r, &old))
		return false;
	if (rate_open(&r->now->rate, &r->now->cfg, &err)) {
		LOG(ERROR, "reload.refused", "why=\"%s\"", err.msg);
		reload_free_worker(r->now);
		r->now = old;
		return false;
	}
	reload_free_worker(old); /* its children have it */
	return true;
}

static int64_t look_ms(void *arg)
{
	return ((struct reload *)arg)->now->cfg.worker_reload_ms;
}

static unsigned processes_of(void *arg)
{
	return (unsigned)((struct reload *)arg)->now->cfg.worker_processes;
}

static int supervise(struct reload *r)
{
	const struct supervised supervised = {
	    .serve = serve_now, .renew = renew, .look_ms = look_ms, .processes = processes_of, .arg = r};
	struct err err = {0};
	int fd = supervisor_listen(socket_address, &err), ret;

	if (fd < 0) {
		LOG(ERROR, "worker.failed", "why=\"%s\"", err.msg);
		return EXIT_FAILURE;
	}
	LOG(INFO, "supervisor.ready", "socket=%s processes=%lld threads=%lld tools=%zu", socket_address,
	    (long long)r->now->cfg.worker_processes, (long long)r->now->cfg.worker_threads, r->now->tools.count);
	ret = supervisor_run(&supervised, fd);
	if (strchr(socket_address, '/'))
		unlink(socket_address);
	return ret;
}

/* opts.sets has room for an entry per argument, and each of ours took one. */
static void add_set(struct opts *opts, const char *name, const char *value, char text[SET_MAX])
{
	if (!value)
		return;
	snprintf(text, SET_MAX, "%s=%s", name, value);
	opts->sets[opts->sets_count++] = text;
}

int main(int argc, char **argv)
{
	struct opts opts;
	struct reload site;
	struct err err = {0};
	char set_processes[SET_MAX], set_threads[SET_MAX];
	int ret, fd;

	log_init("mcp-worker", LOG_LEVEL_INFO);
	if (opts_parse(
		&opts, argc, argv, "mcp-worker", "Serves MCP behind a web server, by FastCGI or CGI.", rows, NULL))
		return opts.status;
	add_set(&opts, "worker_processes", processes, set_processes);
	add_set(&opts, "worker_threads", threads, set_threads);
	if (reload_init(&site, opts.conf, opts.sets, opts.sets_count, &err) ||
	    rate_open(&site.now->rate, &site.now->cfg, &err)) {
		LOG(ERROR, "worker.failed", "why=\"%s\"", err.msg);
		reload_release(&site);
		opts_release(&opts);
		return EXIT_FAILURE;
	}
	fd = socket_address ? -1 : is_listening(STDIN_FILENO) ? STDIN_FILENO : systemd_socket();
	if (socket_address) {
		ret = supervise(&site);
	} else if (fd >= 0) {
		ret = serve(site.now, fd);
	} else if (getenv("REQUEST_METHOD")) {
		ret = serve_cgi(site.now);
	} else {
		fprintf(stderr,
		    "mcp-worker: nothing to serve: descriptor 0 is no listening socket, and this is no CGI request.\n"
		    "Give it a socket of its own with --socket PATH, or let the web server start it; see "
		    "mcp-worker(8).\n");
		ret = EXIT_FAILURE;
	}
	reload_release(&site);
	opts_release(&opts);
	return ret;
}
