/* broker/main.c - mcp-broker: options, and the way to the background. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/server.h"
#include "common/log.h"
#include "common/opts.h"
#include "common/banned.h"

enum { STATUS_READY = 0, STATUS_USAGE = 2, STATUS_NO_START = 3 }; /* mcp-broker(8), EXIT STATUS */

static const char *foreground;

static const struct opts_row rows[] = {
    {"foreground", NULL, "Stay; else it goes to the background once workers can connect", &foreground},
    {NULL, NULL, NULL, NULL},
};

/* Descriptors that the starter left open are not ours to keep: a web server's listening socket among them. stderr is
 * the log and stays; ready_fd becomes READY_FD. */
#define READY_FD (STDERR_FILENO + 1)
static int leave_starter(int ready_fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct rlimit lim;

	if (null == -1 || dup2(null, STDIN_FILENO) == -1 || dup2(null, STDOUT_FILENO) == -1)
		return -1;
	if (ready_fd != READY_FD && dup3(ready_fd, READY_FD, O_CLOEXEC) == -1)
		return -1;
#ifdef HAVE_CLOSE_RANGE
	if (close_range(READY_FD + 1, ~0u, 0) == 0)
		return 0;
#endif
	if (getrlimit(RLIMIT_NOFILE, &lim) || lim.rlim_cur > 65536)
		lim.rlim_cur = 65536;
	for (int fd = READY_FD + 1; fd < (int)lim.rlim_cur; fd++)
		close(fd);
	return 0;
}

static int run(const struct cfg *cfg, int ready_fd)
{
	struct server *server;
	unsigned char status = STATUS_READY;
	struct err err;

	switch (server_start(cfg, &server, &err)) {
	case SERVER_READY:
		break;
	case SERVER_OTHER_RUNS:
		LOG(INFO, "broker.already_running", "run_dir=\"%s\"", cfg->run_dir);
		server = NULL;
		break;
	case SERVER_FAILED:
		LOG(ERROR, "broker.failed", "why=\"%s\"", err.msg);
		server = NULL;
		status = STATUS_NO_START;
		break;
	}
	if (ready_fd != -1) {
		if (write(ready_fd, &status, 1) != 1)
			LOG(DEBUG, "broker.orphan", "why=\"who started it did not wait\"");
		close(ready_fd);
	}
	if (server)
		server_run(server);
	server_free(&server);
	return status;
}

/* In the child: everything, libzmq's threads too, begins after the last fork. The parent waits to hear how it went, so
 * that whoever started us can connect when we return. */
static int run_in_background(const struct cfg *cfg)
{
	unsigned char status = STATUS_NO_START;
	int ready[2], wstatus;
	pid_t pid;
	ssize_t n;

	if (pipe2(ready, O_CLOEXEC) || (pid = fork()) == -1) {
		LOG(ERROR, "broker.failed", "why=\"fork\" errno=%d", errno);
		return STATUS_NO_START;
	}
	if (pid > 0) {
		close(ready[1]);
		while (waitpid(pid, &wstatus, 0) == -1 && errno == EINTR)
			;
		do
			n = read(ready[0], &status, 1);
		while (n == -1 && errno == EINTR);
		return n == 1 ? status : STATUS_NO_START;
	}
	close(ready[0]);
	setsid();
	pid = fork();
	if (pid != 0)
		_exit(pid > 0 ? 0 : STATUS_NO_START);
	if (leave_starter(ready[1]))
		_exit(STATUS_NO_START);
	return run(cfg, READY_FD);
}

int main(int argc, char **argv)
{
	enum log_level level = LOG_LEVEL_INFO;
	struct opts opts;
	struct cfg cfg;
	struct err err;
	int status;

	log_init("mcp-broker", level);
	if (opts_parse(&opts, argc, argv, "mcp-broker",
		"Owns the sessions and event streams of this machine's workers.", rows, NULL))
		return opts.status;
	if (cfg_init(&cfg, &err) || cfg_load(&cfg, opts.conf, opts.sets, opts.sets_count, &err)) {
		LOG(ERROR, "broker.config", "why=\"%s\"", err.msg);
		cfg_release(&cfg);
		opts_release(&opts);
		return STATUS_USAGE;
	}
	if (log_parse_level(cfg.log_level, &level))
		log_init("mcp-broker", level);
	status = foreground ? run(&cfg, -1) : run_in_background(&cfg);
	cfg_release(&cfg);
	opts_release(&opts);
	return status;
}
