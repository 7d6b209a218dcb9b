/* bench/link_adopt.c - how many event streams a second the broker of RUN_DIR takes over from the threads of one worker
 * process: for each of them ATTACH, which is a question, and ADOPT with a descriptor, until its client has its head.
 *
 *     link_adopt RUN_DIR [STREAMS]
 *
 * Prints "threads N streams N rate ADOPTIONS-A-SECOND failed N" for 1, 8 and 16 threads.
 * The broker must be started with --set stream_adopt_rate=0. */
#include "config.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "fcgi/link_client.h"
#include "common/banned.h"

#define THREADS_MAX 16

struct adopter {
	pthread_t thread;
	struct link *link; /* borrowed */
	unsigned first, step, count;
	int *clients; /* borrowed; count of them; our ends */
	uint64_t failed;
};

static void name_session(unsigned n, char out[32])
{
	snprintf(out, 32, "adopted-%08u", n);
}

static int adopt_one(struct link *l, unsigned n, int *client, struct err *err)
{
	uint64_t stream, cursor;
	char session[32];
	int fds[2], rc;

	name_session(n, session);
	if (link_attach(l, slice_str(session), "", SLICE(""), &stream, &cursor, err))
		return -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return err_sys(err, "socketpair");
	*client = fds[0];
	do /* the control socket's queue is short, and nobody waits for it but us */
		rc = link_adopt(l, fds[1], LINK_KIND_FCGI, 1, stream, cursor, 15000, 3000,
		    SLICE("Content-Type: text/event-stream\r\n\r\n"), err);
	while (rc && err->code == ERR_BUSY && usleep(200) == 0);
	close(fds[1]);
	return rc;
}

static void *adopt(void *arg)
{
	struct adopter *a = arg;
	struct err err;

	for (unsigned n = a->first; n < a->count; n += a->step)
		if (adopt_one(a->link, n, &a->clients[n], &err) && a->failed++ == 0)
			fprintf(stderr, "link_adopt: %s\n", err.msg);
	return NULL;
}

/* Until the last of them has its head: then all are adopted. */
static int read_heads(const int *clients, unsigned count, struct err *err)
{
	char head[64];

	for (unsigned n = 0; n < count; n++)
		if (clients[n] != -1 && recv(clients[n], head, sizeof(head), 0) <= 0)
			return err_sys(err, "stream %u has no head", n);
	return 0;
}

static int measure(struct link *l, unsigned threads, unsigned count, int *clients, struct err *err)
{
	static struct adopter adopters[THREADS_MAX];
	uint64_t from_us = now_us(), failed = 0;
	int rc;

	for (unsigned n = 0; n < count; n++)
		clients[n] = -1;
	for (unsigned i = 0; i < threads; i++) {
		adopters[i] =
		    (struct adopter){.link = l, .first = i, .step = threads, .count = count, .clients = clients};
		if (pthread_create(&adopters[i].thread, NULL, adopt, &adopters[i]))
			return err_set(err, ERR_SYS, "start a thread");
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(adopters[i].thread, NULL);
		failed += adopters[i].failed;
	}
	rc = read_heads(clients, count, err);
	from_us = now_us() - from_us;
	for (unsigned n = 0; n < count; n++)
		if (clients[n] != -1)
			close(clients[n]);
	printf("threads %u streams %u rate %.0f failed %ju\n", threads, count, (double)count * 1e6 / (double)from_us,
	    (uintmax_t)failed);
	return failed ? err_set(err, ERR_BROKER, "not all were adopted") : rc;
}

static int run(struct link *l, unsigned count, int *clients, struct err *err)
{
	static const unsigned threads[] = {1, 8, 16};
	char session[32];

	for (unsigned n = 0; n < count; n++) {
		name_session(n, session);
		if (link_session_put(l, slice_str(session), "", SLICE(""), 0, 0, SLICE("{}"), NULL, err))
			return -1;
	}
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		if (measure(l, threads[i], count, clients, err))
			return -1;
	for (unsigned n = 0; n < count; n++) {
		name_session(n, session);
		if (link_session_del(l, slice_str(session), "", err))
			return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned count = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 5000;
	struct link *l = NULL;
	struct rlimit files;
	int *clients, rc = -1;
	struct err err;
	struct cfg cfg;

	if (argc < 2 || count == 0) {
		fprintf(stderr, "usage: link_adopt RUN_DIR [STREAMS]\n");
		return 2;
	}
	log_init("link_adopt", LOG_LEVEL_WARN);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (cfg_init(&cfg, &err)) {
		fprintf(stderr, "link_adopt: %s\n", err.msg);
		return 1;
	}
	free(cfg.run_dir);
	cfg.run_dir = strdup(argv[1]);
	cfg.broker_autostart = false;
	clients = mem_alloc(count, sizeof(*clients));
	if (cfg.run_dir && clients)
		l = link_new(&cfg);
	if (l)
		rc = run(l, count, clients, &err);
	else
		err_set(&err, ERR_NOMEM, "start");
	if (rc)
		fprintf(stderr, "link_adopt: %s\n", err.msg);
	link_free(&l);
	mem_free(clients);
	cfg_release(&cfg);
	return rc ? 1 : 0;
}
