/* broker/main.c - mcp-broker: options, and its start. */
#include "config.h"

#include "broker/server.h"
#include "common/daemon.h"
#include "common/log.h"
#include "common/opts.h"
#include "common/banned.h"

static const char *foreground;

static const struct opts_row rows[] = {
    {"foreground", NULL, "Stay; else it goes to the background once workers can connect", &foreground},
    {NULL, NULL, NULL, NULL},
};

static int run(void *arg, int ready_fd)
{
	const struct cfg *cfg = arg;
	enum daemon_status status = DAEMON_READY;
	struct server *server;
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
		status = DAEMON_NO_START;
		break;
	}
	daemon_tell(ready_fd, status);
	if (server)
		server_run(server);
	server_free(&server);
	return (int)status;
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
		return DAEMON_USAGE;
	}
	if (log_parse_level(cfg.log_level, &level))
		log_init("mcp-broker", level);
	status = daemon_run(foreground != NULL, run, &cfg);
	cfg_release(&cfg);
	opts_release(&opts);
	return status;
}
