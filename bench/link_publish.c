/* bench/link_publish.c - one worker that tells something to sessions: events that say when they were sent
 * (bench/streams). The lines of FILE end with a session's id.
 *
 *     link_publish [-a] [-d] [-t THREADS] RUN_DIR FILE
 *
 * Says "READY" when it knows the sessions. For each line "RATE COUNT" of its standard input it then publishes COUNT
 * events, RATE a second or, with 0, as fast as the broker takes them, and says "DONE".
 *
 * Each event goes to the next session's own stream; with -a to all of them, which subscribed to its topic. With -d each
 * is durable, and its thread waits until the broker has said so. */
#include "config.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/target.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/link_client.h"
#include "common/banned.h"

#define STREAMS_MAX 100000
#define THREADS_MAX 64
#define SLEEP_US    500
#define TOPIC       SLICE("bench")

struct publisher {
	struct link *link; /* owned */
	uint64_t *streams; /* owned */
	size_t count;
	bool to_all, is_durable;
	uint64_t rate, events, from_us;
	atomic_uint_fast64_t begun; /* events */
	atomic_bool failed;
};

static int add_session(struct publisher *p, struct slice session, struct err *err)
{
	const struct slice topic = TOPIC;
	struct link_call *call;

	if (p->count == STREAMS_MAX)
		return err_set(err, ERR_LIMIT, "more than %d sessions", STREAMS_MAX);
	if (link_call_begin(p->link, session, "", 0, NULL, 0, &call, err))
		return -1;
	p->streams[p->count++] = call->session_stream;
	link_call_end(p->link, &call);
	return p->to_all ? link_subscribe(p->link, 0, session, "", false, SLICE(""), &topic, 1, err) : 0;
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

static int publish_one(struct publisher *p, uint64_t n, struct err *err)
{
	struct link_news news = {.flags = LINK_NOTIFY_EACH, .topic = TOPIC};
	char event[256];

	snprintf(event, sizeof(event), BENCH_EVENT, now_us());
	if (!p->to_all)
		return link_append(p->link, p->streams[n % p->count], slice_str(event), p->is_durable, err);
	news.legacy = slice_str(event);
	return link_notify(p->link, &news, NULL, err);
}

/* Not for less than SLEEP_US: a wakeup for each event would cost more than the event. */
static void wait_until(uint64_t due_us)
{
	uint64_t now = now_us();

	if (now < due_us)
		usleep((useconds_t)(due_us - now > SLEEP_US ? due_us - now : SLEEP_US));
}

static void *publish(void *arg)
{
	struct publisher *p = arg;
	uint64_t n;
	struct err err;

	while ((n = atomic_fetch_add(&p->begun, 1)) < p->events && !p->failed) {
		if (p->rate)
			wait_until(p->from_us + n * 1000000 / p->rate);
		if (publish_one(p, n, &err) && !atomic_exchange(&p->failed, true))
			fprintf(stderr, "link_publish: event %" PRIu64 ": %s\n", n, err.msg);
	}
	return NULL;
}

static int publish_all(struct publisher *p, long threads, struct err *err)
{
	pthread_t started[THREADS_MAX];
	long count = 0;

	p->begun = 0;
	p->from_us = now_us();
	while (count < threads && pthread_create(&started[count], NULL, publish, p) == 0)
		count++;
	for (long i = 0; i < count; i++)
		pthread_join(started[i], NULL);
	return count < threads || p->failed ? err_set(err, ERR_BROKER, "not all was published") : 0;
}

static void say(const char *what)
{
	puts(what);
	fflush(stdout);
}

static int follow_orders(struct publisher *p, long threads, struct err *err)
{
	char line[64];
	int ret = 0;

	say("READY");
	while (ret == 0 && fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "%" SCNu64 " %" SCNu64, &p->rate, &p->events) != 2)
			return err_set(err, ERR_PARAMS, "no rate and count: %s", line);
		ret = publish_all(p, threads, err);
		if (ret == 0)
			say("DONE");
	}
	return ret;
}

static int run(struct publisher *p, const char *run_dir, const char *sessions, long threads, struct err *err)
{
	struct cfg cfg;
	int ret;

	if (cfg_init(&cfg, err))
		return -1;
	free(cfg.run_dir);
	cfg.run_dir = strdup(run_dir);
	cfg.broker_autostart = false;
	p->streams = mem_alloc(STREAMS_MAX, sizeof(*p->streams));
	p->link = cfg.run_dir && p->streams ? link_new(&cfg) : NULL;
	ret = p->link ? 0 : err_set(err, ERR_NOMEM, "start");
	if (ret == 0)
		ret = add_sessions(p, sessions, err);
	if (ret == 0)
		ret = follow_orders(p, threads, err);
	link_free(&p->link);
	mem_free(p->streams);
	cfg_release(&cfg);
	return ret;
}

int main(int argc, char **argv)
{
	struct publisher p = {0};
	long threads = 1;
	struct err err;
	int opt;

	while ((opt = getopt(argc, argv, "adt:")) != -1) {
		if (opt == 'a')
			p.to_all = true;
		else if (opt == 'd')
			p.is_durable = true;
		else if (opt == 't')
			threads = option_number(optarg, "-t", 1, THREADS_MAX);
		else
			return 2;
	}
	if (argc - optind != 2) {
		fputs("usage: link_publish [-a] [-d] [-t THREADS] RUN_DIR FILE\n", stderr);
		return 2;
	}
	log_init("link_publish", LOG_LEVEL_WARN);
	if (run(&p, argv[optind], argv[optind + 1], threads, &err) == 0)
		return 0;
	fprintf(stderr, "link_publish: %s\n", err.msg);
	return 1;
}
