/* bench/link_ask.c - how many questions (CALL_BEGIN, and the CALL_END that needs no answer) the threads of one worker
 * process can ask the broker of RUN_DIR in a second.
 *
 *     link_ask RUN_DIR [SECONDS]
 *
 * Prints "threads N rate QUESTIONS-A-SECOND slowest_us N failed N" for 1, 8 and 16 threads. */
#include "config.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/target.h"
#include "common/log.h"
#include "common/rnd.h"
#include "fcgi/link_client.h"
#include "common/banned.h"

#define THREADS_MAX 16

struct asker {
	pthread_t thread;
	struct link *link; /* borrowed */
	char session[33];
	unsigned index;
	uint64_t until_us, asked, failed;
	uint64_t slowest_us;
};

static void *ask(void *arg)
{
	struct asker *a = arg;
	struct link_will will = {SLICE("1"),
	    SLICE("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}")};
	struct link_call *call;
	struct err err;

	while (now_us() < a->until_us) {
		uint64_t from_us = now_us(), took_us;

		if (link_call_begin(a->link, slice_str(a->session), "", 0, &will, 1, &call, &err)) {
			if (a->failed++ == 0)
				fprintf(stderr, "link_ask: %s\n", err.msg);
		}
		took_us = now_us() - from_us;
		if (took_us > a->slowest_us)
			a->slowest_us = took_us;
		a->asked++;
		link_call_end(a->link, &call);
	}
	return NULL;
}

static int measure(struct link *l, unsigned threads, uint64_t length_us, struct err *err)
{
	static struct asker askers[THREADS_MAX];
	uint64_t asked = 0, failed = 0, slowest_us = 0, from_us, version;

	for (unsigned i = 0; i < threads; i++) {
		askers[i] = (struct asker){.link = l, .index = i};
		rnd_token(askers[i].session, sizeof(askers[i].session));
		if (link_session_put(l, slice_str(askers[i].session), "", SLICE(""), 0, 0,
			SLICE("{\"client\":\"bench\"}"), &version, err))
			return -1;
	}
	from_us = now_us();
	for (unsigned i = 0; i < threads; i++) {
		askers[i].until_us = from_us + length_us;
		if (pthread_create(&askers[i].thread, NULL, ask, &askers[i]))
			return err_set(err, ERR_SYS, "start a thread");
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(askers[i].thread, NULL);
		asked += askers[i].asked;
		failed += askers[i].failed;
		if (askers[i].slowest_us > slowest_us)
			slowest_us = askers[i].slowest_us;
	}
	from_us = now_us() - from_us;
	printf("threads %u rate %.0f slowest_us %ju failed %ju\n", threads, (double)asked * 1e6 / (double)from_us,
	    (uintmax_t)slowest_us, (uintmax_t)failed);
	return failed ? err_set(err, ERR_BROKER, "not all was answered") : 0;
}

int main(int argc, char **argv)
{
	static const unsigned threads[] = {1, 8, 16};
	struct cfg cfg;
	struct link *l;
	struct err err;
	uint64_t length_us = option_seconds_us(argc > 2 ? argv[2] : "2", "SECONDS");
	int rc = 0;

	if (argc < 2) {
		fprintf(stderr, "usage: link_ask RUN_DIR [SECONDS]\n");
		return 2;
	}
	log_init("link_ask", LOG_LEVEL_WARN);
	if (cfg_init(&cfg, &err))
		goto fail;
	free(cfg.run_dir);
	cfg.run_dir = strdup(argv[1]);
	cfg.broker_autostart = false;
	l = cfg.run_dir ? link_new(&cfg) : NULL;
	if (!l) {
		err_set(&err, ERR_NOMEM, "link");
		goto fail;
	}
	for (size_t i = 0; i < COUNT_OF(threads) && !rc; i++)
		rc = measure(l, threads[i], length_us, &err);
	link_free(&l);
	cfg_release(&cfg);
	if (!rc)
		return 0;
fail:
	fprintf(stderr, "link_ask: %s\n", err.msg);
	return 1;
}
