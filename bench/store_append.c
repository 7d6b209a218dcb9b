/* bench/store_append.c - how many events the durable store commits in a second, in both ways to sync, and how long it
 * takes to find them again.
 *
 *     store_append DIR [SECONDS]
 *
 * Prints "sync group|write outcomes yes|no window N rate EVENTS-A-SECOND slowest_us N failed N" for each, N under way.
 * In the way of the broker: events of 256 bytes of 1000 streams, each followed by the sync that its sender waits for,
 * some of them under way at a time; and what one worker was answered, with each turn (broker/producer.h), or without.
 */
#include "config.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bench/target.h"
#include "broker/store.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define EVENT_LEN   256
#define STREAMS     1000
#define BYTES_MAX   (256u << 20)
#define PENDING_MAX 4096
#define WINDOW      4096 /* outcomes that are kept, ... */
#define PART        64   /* ... so many in a row, */
#define OUTCOME_LEN 9    /* of so many bytes */

struct pending {
	struct store_op op;
	struct run *run;
	uint64_t from_us;
};

struct run {
	struct store *store;
	struct pending pending[PENDING_MAX], *idle[PENDING_MAX];
	size_t idle_count;
	uint64_t done, slowest_us, failed;
};

static void on_wake(void *arg)
{
	uint64_t one = 1;

	if (write(*(int *)arg, &one, sizeof(one)) == -1)
		abort();
}

static void on_done(struct store_op *op, int status)
{
	struct pending *p = (struct pending *)(void *)op;
	uint64_t took_us = now_us() - p->from_us;

	p->run->done++;
	p->run->failed += status != 0;
	if (took_us > p->run->slowest_us)
		p->run->slowest_us = took_us;
	p->run->idle[p->run->idle_count++] = p;
}

struct count {
	size_t events;
};

static void on_object(void *arg, enum store_kind kind, struct slice key, struct slice value)
{
	(void)arg, (void)kind, (void)key, (void)value;
}

static void on_event(void *arg, const struct store_event *e)
{
	struct count *c = arg;

	(void)e;
	c->events++;
}

static struct store *open_store(const char *dir, bool sync_each, int *wake_fd, struct err *err)
{
	const struct store_sqlite_how how = {
	    .dir = dir, .sync_each = sync_each, .sync_ms = 200, .cache_bytes = 32u << 20};
	struct count count = {0};
	const struct store_keeper keeper = {on_object, on_event, &count};
	uint64_t from_us = now_us();
	struct store *s = store_sqlite_open(&how, on_wake, wake_fd, err);

	if (s && s->recover(s, &keeper, err))
		s->close(&s);
	if (s && count.events > 0)
		printf("recovered %zu bytes %ju us %ju\n", count.events, (uintmax_t)s->bytes_used,
		    (uintmax_t)(now_us() - from_us));
	return s;
}

/* The rows in which the outcomes of these sequences are. */
static void keep_outcomes(struct store *s, uint64_t first, uint64_t last)
{
	static const char row[PART * OUTCOME_LEN];
	struct buf value;

	for (uint64_t part = first / PART; part <= last / PART; part++) {
		unsigned char key[9] = {(unsigned char)(part % (WINDOW / PART))};

		buf_init(&value, sizeof(row));
		buf_add(&value, row, part < last / PART ? sizeof(row) : (size_t)(last % PART + 1) * OUTCOME_LEN);
		s->put(s, STORE_OUTCOMES, (struct slice){(const char *)key, sizeof(key)}, &value);
		buf_release(&value);
	}
}

static int measure(
    const char *dir, bool sync_each, bool keeps_outcomes, size_t window, uint64_t length_us, struct err *err)
{
	static const char bytes[EVENT_LEN];
	int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct run *run = mem_alloc(1, sizeof(*run));
	uint64_t from_us, until_us, seq = 0, ignored;
	int rc = -1;

	if (!run || wake_fd == -1) {
		err_set(err, ERR_NOMEM, "a run");
		goto out;
	}
	run->store = open_store(dir, sync_each, &wake_fd, err);
	if (!run->store)
		goto out;
	for (size_t i = 0; i < window; i++) {
		run->pending[i] = (struct pending){.op.done = on_done, .run = run};
		run->idle[run->idle_count++] = &run->pending[i];
	}
	from_us = now_us();
	until_us = from_us + length_us;
	while (now_us() < until_us && run->store->bytes_used < BYTES_MAX) {
		struct pollfd p = {wake_fd, POLLIN, 0};
		uint64_t before = seq;

		while (run->idle_count > 0) {
			struct pending *next = run->idle[--run->idle_count];

			seq++;
			next->from_us = now_us();
			if (!run->store->append(run->store, seq % STREAMS, seq / STREAMS + 1,
				(struct slice){bytes, sizeof(bytes)}, false))
				abort();
			run->store->sync(run->store, &next->op);
		}
		if (keeps_outcomes && seq > before)
			keep_outcomes(run->store, before + 1, seq);
		if (run->store->reap(run->store) || run->idle_count > 0)
			continue;
		poll(&p, 1, 100);
		if (read(wake_fd, &ignored, sizeof(ignored)) == -1)
			continue;
	}
	from_us = now_us() - from_us;
	printf("sync %s outcomes %s window %zu rate %.0f slowest_us %ju failed %ju\n", sync_each ? "group" : "write",
	    keeps_outcomes ? "yes" : "no", window, (double)run->done * 1e6 / (double)from_us,
	    (uintmax_t)run->slowest_us, (uintmax_t)run->failed);
	run->store->close(&run->store);
	rc = 0;
out:
	if (wake_fd != -1)
		close(wake_fd);
	mem_free(run);
	return rc;
}

int main(int argc, char **argv)
{
	static const size_t windows[] = {1, 64, 1024};
	uint64_t length_us = option_seconds_us(argc > 2 ? argv[2] : "2", "SECONDS");
	struct err err;

	if (argc < 2) {
		fprintf(stderr, "usage: store_append DIR [SECONDS]\n");
		return 2;
	}
	log_init("store_append", LOG_LEVEL_WARN);
	for (int sync_each = 1; sync_each >= 0; sync_each--) {
		for (size_t i = 0; i < COUNT_OF(windows); i++) {
			for (int keeps = 0; keeps <= 1; keeps++) {
				if (measure(argv[1], sync_each, keeps, windows[i], length_us, &err)) {
					fprintf(stderr, "store_append: %s\n", err.msg);
					return 1;
				}
			}
		}
	}
	return 0;
}
