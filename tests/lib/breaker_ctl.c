#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/breaker.h"
#include "common/banned.h"

/* The broker, which is started again and again, opens it by our descriptor. */
static struct breaker *map(void)
{
	char path[64];
	int fd = memfd_create("breaker", MFD_CLOEXEC);
	void *p;

	assert_int_not_equal(fd, -1);
	assert_int_equal(ftruncate(fd, sizeof(struct breaker)), 0);
	p = mmap(NULL, sizeof(struct breaker), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
	setenv("MCP_BREAKER", path, 1);
	return p;
}

int breaker_setup(void **state, struct breaker **b, const char *const *sets, size_t count)
{
	if (!*b)
		*b = map();
	breaker_heal(*b);
	(*b)->clock_ms = 0;
	fake_broker_program = "tests/fault/mcp-broker";
	return fixture_start(state, sets, count, 0);
}

void breaker_set(struct breaker *b, unsigned calls, enum breaker_act act, int error, int64_t wait, int64_t times)
{
	b->calls = 0;
	b->act = act;
	b->error = error;
	b->wait = wait;
	b->times = times;
	b->seen = 0;
	b->inside = 0; /* one may have been killed otherwise, meanwhile */
	b->is_killed = false;
	b->calls = calls;
}

bool breaker_heal(struct breaker *b)
{
	b->wait = -1;
	b->calls = 0;
	for (int waited = 0; b->inside > 0 && !b->is_killed && waited < FAKE_WAIT_MS; waited++)
		usleep(1000);
	return b->is_killed;
}

bool breaker_is_dead(const struct fixture *f)
{
	siginfo_t ended = {0};

	return waitid(P_PID, (id_t)f->broker.pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       ended.si_pid == f->broker.pid;
}

uint64_t breaker_send(struct fixture *f, enum link_type type, uint64_t call, uint64_t stream, const char *text)
{
	struct link_header h = {
	    .type = type, .flags = LINK_DURABLE | LINK_WANT_ACK, .corr = call, .stream = stream, .count = 1};
	struct buf body;
	uint64_t seq;

	buf_init(&body, SIZE_MAX / 2);
	link_put_bytes(&body, slice_str(text));
	seq = fake_worker_send(&f->w, &h, SLICE(""), buf_slice(&body));
	buf_release(&body);
	return seq;
}

bool breaker_acked(struct fixture *f, uint64_t seq)
{
	struct fake_answer a;
	bool was_dead = false;

	for (;;) {
		if (fake_worker_receive(&f->w, &a, 20)) {
			uint64_t corr = a.h.corr;
			enum link_type type = (enum link_type)a.h.type;

			fake_answer_release(&a);
			if (corr != seq)
				continue;
			assert_int_equal(type, LINK_ACK);
			return true;
		}
		if (was_dead)
			return false;
		was_dead = breaker_is_dead(f);
	}
}
