/* broker/main.c - mcp-broker: options, and its start. */
#include "config.h"

#include <stdio.h>

#include "broker/server.h"
#include "common/daemon.h"
#include "common/log.h"
#include "common/opts.h"
#include "common/banned.h"

static const char *foreground, *check, *snapshot_fd;
static struct handover_program program;

static const struct opts_row rows[] = {
    {"foreground", NULL, "Stay; else it goes to the background once workers can connect", &foreground},
    {HANDOVER_CHECK, NULL, "Checks the settings, says what a program that takes this one's place must share, and ends",
	&check},
    {HANDOVER_OPTION, "FD", "For the broker itself: it takes the place of the program that ran before", &snapshot_fd},
    {NULL, NULL, NULL, NULL},
};

static int run(void *arg, int ready_fd)
{
	const struct cfg *cfg = arg;
	enum daemon_status status = DAEMON_READY;
	struct server *server;
	struct err err;

	switch (server_start(cfg, &program, snapshot_fd, &server, &err)) {
	case SERVER_READY:
		break;
	case SERVER_OTHER_RUNS:
		LOG(INFO, "broker.already_running", "run_dir=\"%s\"", cfg->run_dir);
		server = NULL;
		break;
	case SERVER_NO_SNAPSHOT:
		LOG(ERROR, "broker.handover_failed", "why=\"%s\" lost=\"connections of clients: they come again\"",
		    err.msg);
		handover_start_anew(&program);
		FALLTHROUGH;
	case SERVER_FAILED:
		LOG(ERROR, "broker.failed", "why=\"%s\"", err.msg);
		server = NULL;
		status = DAEMON_NO_START;
		break;
	}
	daemon_tell(ready_fd, status);
	if (server)
		server_run(server);
	server_free(&server);
	return (int)status;
}

static int print_facts(const struct cfg *cfg)
{
	struct buf facts;
	int rc;

	buf_init(&facts, SIZE_MAX / 2);
	handover_put_facts(cfg, &facts);
	rc = buf_check(&facts, NULL) || fwrite(facts.data, facts.len, 1, stdout) != 1 || fflush(stdout);
	buf_release(&facts);
	return rc ? DAEMON_NO_START : DAEMON_READY;
}

int main(int argc, char **argv)
{
	enum log_level level = LOG_LEVEL_INFO;
	struct opts opts;
	struct cfg cfg;
	struct err err;
	int status = DAEMON_NO_START;

	log_init("mcp-broker", level);
	if (opts_parse(&opts, argc, argv, "mcp-broker",
		"Owns the sessions and event streams of this machine's workers.", rows, NULL))
		return opts.status;
	if (!foreground && !snapshot_fd)
		daemon_close_inherited();
	if (cfg_init(&cfg, &err) || cfg_load(&cfg, opts.conf, opts.sets, opts.sets_count, &err)) {
		LOG(ERROR, "broker.config", "why=\"%s\"", err.msg);
		cfg_release(&cfg);
		opts_release(&opts);
		return DAEMON_USAGE;
	}
	if (log_parse_level(cfg.log_level, &level))
		log_init("mcp-broker", level);
	if (check)
		status = print_facts(&cfg);
	else if (handover_program_init(&program, argc, argv, &err))
		LOG(ERROR, "broker.failed", "why=\"%s\"", err.msg);
	else
		status = daemon_run(foreground || snapshot_fd, run, &cfg);
	handover_program_release(&program);
	cfg_release(&cfg);
	opts_release(&opts);
	return status;
}
