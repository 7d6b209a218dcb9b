/* A conversation with the broker's objects in which each allocation fails in turn, alone and with all that follow:
 * every question has an answer, a connection that was taken is closed, and nothing leaks. */
#include "config.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/bus.h"
#include "broker/conn.h"
#include "broker/ctl.h"
#include "broker/handle.h"
#include "broker/session.h"
#include "broker/stream.h"
#include "tests/lib/mem_fault.h"
#include "common/mem.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define DONE_AFTER 1000 /* a conversation has far fewer allocations */

static uint64_t answered_seq, answered_stream;
static unsigned char answered_type;
static unsigned refused_count;
static bool fails_once; /* else everything fails from some allocation on */

void bus_send(struct producer *p, const struct link_header *h, struct slice key, struct slice body)
{
	(void)p, (void)key, (void)body;
	if (h->type != LINK_ACK && h->type != LINK_NACK)
		return;
	answered_seq = h->corr;
	answered_type = h->type;
	answered_stream = h->stream;
}

void bus_forget(struct producer *p)
{
	(void)p;
}

int ctl_send(struct ctl *c, struct link_header *h, struct slice body)
{
	(void)c, (void)h, (void)body;
	return -1;
}

void ctl_close(struct ctl *c, const char *why)
{
	(void)c, (void)why;
}

static bool turn(void *arg)
{
	struct broker *b = arg;

	return b->store->reap(b->store);
}

static void run(struct broker *b)
{
	for (int i = 0; i < 8; i++)
		uv_run(&b->loop.uv, UV_RUN_NOWAIT);
}

/* Asks until it is not BUSY, as a worker does; gives up, as it does too. True: ACK. Only the body is the test's memory.
 */
static bool ask(struct producer *p, struct link_header h, const char *key, struct slice body)
{
	static uint64_t seq;

	h.version = LINK_VERSION;
	h.producer = p->id;
	h.body_len = (uint32_t)body.len;
	h.flags |= LINK_WANT_ACK;
	h.seq = ++seq;
	answered_seq = 0;
	for (int tries = 0; tries < 3; tries++) { /* an answer that found no memory is asked for again */
		handle_message(p, &h, slice_str(key), body);
		run(p->broker);
		if (answered_seq == h.seq) {
			refused_count += answered_type != LINK_ACK;
			return answered_type == LINK_ACK;
		}
	}
	assert_false(fails_once);
	return false;
}

#define U32(n) n "\0\0\0"
static const struct slice put_body = TEXT("\0\0\0\0\0\0\0\0" U32("\0") "\2" U32("\1") "a" U32("\2") "{}");
static const struct slice call_body = TEXT(U32("\1") "a"
						     "\0"
						     "\1\0" U32("\1") "1" U32("\4") "will");
static const struct slice open_body = TEXT("\0"
					   "\0\0");
static const struct slice modern_body = TEXT("\1"
					     "\1\0" U32("\1") "2" U32("\4") "will");
static const struct slice listen_body = TEXT("\3"
					     "\1\0" U32("\1") "3" U32("\4") "will");
static const struct slice park_body =
    TEXT("\xff\xff\0\0" U32("\4") "late" U32("\1") "h" U32("\1") "t" U32("\4") "blob"
						   "\1\0" U32("\3") "ask" U32("\1") "?");
static const struct slice answer_body = TEXT(U32("\1") "a" U32("\3") "ask" U32("\1") "!");
static const struct slice last_body = TEXT(U32("\1") "x");
static const struct slice subscribe_body = TEXT(U32("\1") "a"
							  "\1" U32("\1") "i"
									 "\2\0" U32("\1") "t" U32("\1") "u");
static const struct slice unsubscribe_body = TEXT(U32("\1") "a"
							    "\1\0" U32("\1") "u");
static const struct slice notify_body = TEXT("\1" U32("\1") "t" U32("\1") "l" U32("\1") "h" U32("\1") "t");
static const struct slice lists_body = TEXT("\1" U32("\1") "l" U32("\1") "l" U32("\0") U32("\0"));
static const struct slice task_new_body = TEXT(U32("\1") "a"
							 "\xff\xff\0\0\0\0\0\0\0" U32("\4") "blob" U32("\3") "job");
static const struct slice task_get_body = TEXT(U32("\1") "a"
							 "\1\0\0\0\0\0\0\0");
static const struct slice task_put_body = TEXT("\2" U32("\3") "new");
static const struct slice task_list_body = TEXT(U32("\1") "a" U32("\0") "\11\0");
static const struct slice task_answer_body = TEXT(U32("\1") "a"
							    "\1" U32("\1") "!");
static const struct slice task_cancel_body = TEXT(U32("\1") "a"
							    "\2" U32("\0"));
static const struct slice once_body = TEXT("\1\0\0\0");
static const struct slice attach_body = TEXT(U32("\1") "a" U32("\0"));
static const struct slice event_body = TEXT(U32("\5") "event");

/* The web server's end of a connection for stream, which the broker has then taken. */
static int adopt(struct broker *b, uint64_t handle)
{
	struct stream *s = stream_find(b, handle);
	struct conn_how how = {.kind = LINK_KIND_FCGI, .request_id = 1, .heartbeat_ms = 100};
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_true(broker_fd_take(b, 1));
	if (s)
		conn_new(s, pair[0], &how, SLICE("head\r\n\r\n"));
	else
		conn_refuse(b, pair[0], &how, true);
	return pair[1];
}

static void expect_close(int fd)
{
	char bytes[4096];
	ssize_t n;

	while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		;
	assert_int_equal(n, 0);
	close(fd);
}

/* A call on a stream of its own is parked, answered, and parked again. Its stream, or 0. */
static uint64_t park(struct producer *p)
{
	uint64_t call, stream;

	if (!ask(p, (struct link_header){.type = LINK_CALL_BEGIN}, "s", call_body))
		return 0;
	call = answered_seq;
	if (!ask(p, (struct link_header){.type = LINK_OPEN_STREAM, .corr = call}, "s", open_body))
		return 0;
	stream = answered_stream;
	ask(p, (struct link_header){.type = LINK_PARK, .corr = call, .stream = stream}, "", park_body);
	if (ask(p, (struct link_header){.type = LINK_ANSWER}, "s", answer_body))
		ask(p, (struct link_header){.type = LINK_PARK, .corr = answered_seq, .stream = stream}, "", park_body);
	return stream;
}

static void listen_to(struct producer *p)
{
	if (!ask(p, (struct link_header){.type = LINK_OPEN_STREAM}, "", listen_body))
		return;
	ask(p, (struct link_header){.type = LINK_SUBSCRIBE, .stream = answered_stream}, "", subscribe_body);
	ask(p, (struct link_header){.type = LINK_SUBSCRIBE}, "s", subscribe_body);
	ask(p, (struct link_header){.type = LINK_NOTIFY}, "", notify_body);
	ask(p, (struct link_header){.type = LINK_NOTIFY}, "", lists_body);
	ask(p, (struct link_header){.type = LINK_UNSUBSCRIBE}, "s", unsubscribe_body);
}

static void work(struct producer *p, struct producer *runner)
{
	ask(p, (struct link_header){.type = LINK_TASK_NEW}, "t", task_new_body);
	ask(p, (struct link_header){.type = LINK_TASK_NEW}, "u", task_new_body);
	ask(p, (struct link_header){.type = LINK_TASK_GET}, "t", task_get_body);
	ask(runner, (struct link_header){.type = LINK_TASK_PUT}, "t", task_put_body);
	ask(p, (struct link_header){.type = LINK_TASK_LIST}, "", task_list_body);
	ask(p, (struct link_header){.type = LINK_TASK_SEND}, "t", task_answer_body);
	ask(p, (struct link_header){.type = LINK_TASK_SEND}, "t", task_cancel_body);
	ask(p, (struct link_header){.type = LINK_ONCE}, "mark", once_body);
}

static void converse(struct broker *b)
{
	static int ctl;
	struct producer *p = producer_connect(b, 42, 1, (struct ctl *)(void *)&ctl, 1, LINK_ROLE_WORKER);
	struct producer *runner = producer_connect(b, 43, 1, (struct ctl *)(void *)&ctl, 2, LINK_ROLE_RUNNER);
	uint64_t stream = 0, modern = 0, own = 0;
	int fds[3];

	if (!p || !runner)
		return;
	ask(p, (struct link_header){.type = LINK_SESSION_PUT}, "s", put_body);
	stream = park(p);
	listen_to(p);
	work(p, runner);
	if (ask(p, (struct link_header){.type = LINK_OPEN_STREAM}, "", modern_body))
		modern = answered_stream;
	if (ask(p, (struct link_header){.type = LINK_ATTACH}, "s", attach_body))
		own = answered_stream;
	fds[0] = adopt(b, stream);
	fds[1] = adopt(b, modern);
	fds[2] = adopt(b, own);
	ask(p, (struct link_header){.type = LINK_APPEND, .stream = stream, .count = 1}, "", event_body);
	ask(p, (struct link_header){.type = LINK_APPEND, .stream = own, .count = 1}, "", event_body);
	ask(p, (struct link_header){.type = LINK_CLOSE_CONN, .stream = stream}, "", last_body);
	producer_close(runner); /* its tasks fail */
	producer_close(p);      /* wills */
	run(b);
	while (b->sessions.count > 0)
		session_close(TABLE_OF(table_any(&b->sessions), struct session, node), "test");
	run(b);
	while (b->conns)
		conn_close(b->conns, STAT_CLOSE_LEFT);
	run(b);
	for (size_t i = 0; i < 3; i++)
		expect_close(fds[i]);
	assert_int_equal(b->fd_used, 0);
}

static void each_allocation_fails_in_turn(void **state)
{
	static const long counts[] = {1, 1000000};
	struct cfg cfg;
	bool reached = true;

	(void)state;
	assert_int_equal(cfg_init(&cfg, NULL), 0);
	mem_free(cfg.store_kind);
	cfg.store_kind = mem_dup("memory", 6);
	cfg.link_window = 64;
	for (size_t i = 0; i < COUNT_OF(counts); i++) {
		reached = true;
		for (long nth = 0; reached; nth++) {
			long live = mem_fault_live();
			struct broker b;

			assert_true(nth < DONE_AFTER);
			refused_count = 0;
			fails_once = counts[i] == 1;
			mem_fault_at(nth, counts[i]);
			if (broker_init(&b, &cfg, turn, &b, NULL) == 0) {
				b.fd_max = 100;
				if (broker_open(&b, NULL) == 0)
					converse(&b);
				broker_release(&b);
				assert_int_equal(b.park_bytes + b.topics_bytes + b.tasks_bytes, 0);
			}
			reached = mem_fault_end();
			assert_true(reached || refused_count == 0);
			if (mem_fault_live() != live)
				fail_msg("allocation %ld: %ld leaked", nth, mem_fault_live() - live);
		}
	}
	cfg_release(&cfg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(each_allocation_fails_in_turn)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
