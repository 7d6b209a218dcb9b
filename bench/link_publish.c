/* bench/link_publish.c - one worker that tells something to sessions, one after the other, so often a second: an event
 * on each one's own stream, which says when it was sent (bench/streams). The lines of FILE end with a session's id.
 *
 *     link_publish RUN_DIR FILE RATE SECONDS */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/target.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/link_client.h"
#include "common/banned.h"

#define STREAMS_MAX 100000

struct publisher {
	struct link *link; /* owned */
	uint64_t *streams; /* owned */
	size_t count;
};

static int add_session(struct publisher *p, struct slice session, struct err *err)
{
	struct link_call *call;

	if (p->count == STREAMS_MAX)
		return err_set(err, ERR_LIMIT, "more than %d sessions", STREAMS_MAX);
	if (link_call_begin(p->link, session, "", 0, NULL, 0, &call, err))
		return -1;
	p->streams[p->count++] = call->session_stream;
	link_call_end(p->link, &call);
	return 0;
}

static int add_sessions(struct publisher *p, const char *path, struct err *err)
{
	FILE *file = fopen(path, "re");
	char line[256];
	int ret = 0;

	if (!file)
		return err_sys(err, "open %s", path);
	while (ret == 0 && fgets(line, sizeof(line), file)) {
		const char *space = strrchr(line, ' ');

		line[strcspn(line, "\n")] = '\0';
		ret =
		    space ? add_session(p, slice_str(space + 1), err) : err_set(err, ERR_PARAMS, "%s: %s", path, line);
	}
	fclose(file);
	return ret == 0 && p->count == 0 ? err_set(err, ERR_PARAMS, "%s: no session", path) : ret;
}

static int publish(struct publisher *p, uint64_t rate, uint64_t seconds, struct err *err)
{
	uint64_t from_us = now_us(), until_us = from_us + seconds * 1000000, sent = 0, now;
	char event[256];

	while ((now = now_us()) < until_us) {
		for (; sent < (now - from_us) * rate / 1000000; sent++) {
			snprintf(event, sizeof(event), BENCH_EVENT, now_us());
			if (link_append(p->link, p->streams[sent % p->count], slice_str(event), false, err))
				return -1;
		}
		usleep(500);
	}
	printf("published %" PRIu64 " over %zu streams in %" PRIu64 " s\n", sent, p->count, seconds);
	return 0;
}

int main(int argc, char **argv)
{
	struct publisher p = {0};
	struct cfg cfg;
	struct err err;
	int rc = -1;

	if (argc != 5) {
		fprintf(stderr, "usage: link_publish RUN_DIR FILE RATE SECONDS\n");
		return 2;
	}
	log_init("link_publish", LOG_LEVEL_WARN);
	if (cfg_init(&cfg, &err)) {
		fprintf(stderr, "link_publish: %s\n", err.msg);
		return 1;
	}
	free(cfg.run_dir);
	cfg.run_dir = strdup(argv[1]);
	cfg.broker_autostart = false;
	p.streams = mem_alloc(STREAMS_MAX, sizeof(*p.streams));
	if (cfg.run_dir && p.streams)
		p.link = link_new(&cfg);
	if (p.link) {
		rc =
		    add_sessions(&p, argv[2], &err) || publish(&p, (uint64_t)option_number(argv[3], "RATE", 1, 1000000),
							   (uint64_t)option_number(argv[4], "SECONDS", 1, 3600), &err);
	} else {
		err_set(&err, ERR_NOMEM, "start");
	}
	if (rc)
		fprintf(stderr, "link_publish: %s\n", err.msg);
	link_free(&p.link);
	mem_free(p.streams);
	cfg_release(&cfg);
	return rc ? 1 : 0;
}
