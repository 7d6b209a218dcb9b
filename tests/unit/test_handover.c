/* A snapshot with a thing of every kind: loaded whole, cut at each place, with a flipped bit at each place. */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/admin.h"
#include "broker/bus_line.h"
#include "broker/call.h"
#include "broker/conn.h"
#include "broker/ctl.h"
#include "broker/handover.h"
#include "broker/once.h"
#include "broker/park.h"
#include "broker/session.h"
#include "broker/share.h"
#include "broker/snapshot.h"
#include "broker/stream.h"
#include "broker/task.h"
#include "broker/topic.h"
#include "common/log.h"
#include "common/mem.h"
#include "tests/lib/scratch.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static const char wills[] = "\1\0\0\0"
			    "1"
			    "\4\0\0\0"
			    "will";

struct fixture {
	struct scratch dir;
	struct cfg cfg;
	struct broker b;
	struct handover h;
	struct ctl_listener *listener;
	struct admin *admin;
	int lock_fd, peers[2];
	struct slice snapshot; /* mapped */
};

static bool turn(void *broker)
{
	struct broker *b = broker;

	return b->store->reap(b->store);
}

static void run_loop(struct broker *b)
{
	for (int i = 0; i < 16; i++)
		uv_run(&b->loop.uv, UV_RUN_NOWAIT);
}

static void say(struct stream *s, const char *text)
{
	struct slice event = slice_str(text);
	uint64_t last;

	assert_int_equal(stream_append(s, &event, 1, false, false, &last), 0);
}

/* Whose client sends nothing, and reads as we like. */
static void adopt(struct fixture *f, struct stream *s, int *peer)
{
	const struct conn_how how = {.kind = LINK_KIND_FCGI, .request_id = 7, .heartbeat_ms = 5000};
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	*peer = pair[1];
	assert_true(broker_fd_take(&f->b, 1));
	conn_new(s, pair[0], &how, SLICE("Status: 200 OK\r\n\r\n"));
}

static void make_things(struct fixture *f)
{
	static const struct slice topics = {"\1\0\0\0t", 5}, wills_of = {wills, sizeof(wills) - 1};
	static const char header[LINK_HEADER_LEN];
	struct park_order order = {.wait_ms = 60000, .too_late = SLICE("late"), .blob = SLICE("{}"), .asks_count = 1};
	struct task_order job = {.id = SLICE("task"),
	    .principal = SLICE("alice"),
	    .blob = SLICE("{}"),
	    .job = SLICE("j"),
	    .owner = SLICE("bob"),
	    .ttl_ms = 60000};
	struct producer *worker = producer_connect(&f->b, 11, 1, NULL, 1, LINK_ROLE_WORKER);
	struct producer *runner = producer_connect(&f->b, 12, 1, NULL, 2, LINK_ROLE_RUNNER);
	struct stream *legacy, *modern, *listen;
	struct session *session;
	struct call *call, *parked;
	struct park *park;
	struct task *task;
	struct owner *bob;
	bool is_new;

	assert_non_null(worker);
	assert_non_null(runner);
	producer_take_seq(worker, 5, &is_new)->state = OUTCOME_ACK;
	producer_find_seq(worker, 5)->type = LINK_APPEND;
	assert_int_equal(line_add(worker, header, SLICE("k"), SLICE("body"), false), 0);
	assert_int_equal(
	    session_new(&f->b, SLICE("s"), SLICE("alice"), SLICE("ann"), 0, 600, SLICE("{\"a\":1}"), &session), 0);
	assert_int_equal(owner_join(&f->b, SLICE("bob"), &bob), 0);
	legacy = stream_new(&f->b, session, session->owner, false);
	modern = stream_new(&f->b, NULL, bob, false);
	listen = stream_new(&f->b, NULL, NULL, false);
	owner_leave(&bob);
	listen->is_listen = true;
	assert_int_equal(call_new(&f->b, worker, 5, session, 0, 1, wills_of, &call), 0);
	call->stream = legacy;
	legacy->call = call;
	assert_int_equal(call_new(&f->b, worker, 6, session, 0, 0, SLICE(""), &parked), 0);
	order.asks = (struct slice){"\2\0\0\0q1\0\0\0\0", 10};
	assert_int_equal(park_new(parked, &order, &park), 0);
	park_begin(parked, park);
	assert_int_equal(topic_subscribe(session->own, false, SLICE(""), 1, topics), 0);
	assert_int_equal(topic_subscribe(listen, false, SLICE("insert"), 1, topics), 0);
	runner->ctl = (struct ctl *)(void *)runner; /* it looks alive to task_new() */
	assert_int_equal(task_new(&f->b, &job, &task), 0);
	runner->ctl = NULL;
	assert_int_equal(task_watch(task, worker), 0);
	assert_int_equal(once_mark(&f->b, SLICE("mark"), 60), 0);
	say(legacy, "{\"n\":1}");
	say(legacy, "{\"n\":2}");
	adopt(f, modern, &f->peers[0]);
	adopt(f, listen, &f->peers[1]);
	run_loop(&f->b);
	say(modern, "{\"m\":1}");
	assert_int_equal(stream_reserve(legacy), 0);
}

static void save(struct fixture *f)
{
	int fd = memfd_create("snapshot", MFD_CLOEXEC);
	struct err err = {0};
	struct stat st;

	assert_int_not_equal(fd, -1);
	if (handover_save(&f->h, fd, &err))
		fail_msg("%s", err.msg);
	snapshot_cloexec_all();
	assert_int_equal(fstat(fd, &st), 0);
	f->snapshot.len = (size_t)st.st_size;
	f->snapshot.p = mmap(NULL, f->snapshot.len, PROT_READ, MAP_SHARED, fd, 0);
	assert_true(f->snapshot.p != MAP_FAILED);
	close(fd);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err err = {0};

	assert_non_null(f);
	scratch_init(&f->dir);
	assert_int_equal(cfg_init(&f->cfg, NULL), 0);
	mem_free(f->cfg.store_kind);
	f->cfg.store_kind = mem_dup("memory", 6);
	assert_int_equal(broker_init(&f->b, &f->cfg, turn, &f->b, &err), 0);
	assert_int_equal(broker_open(&f->b, &err), 0);
	scratch_write(&f->dir, "lock", SLICE(""));
	f->lock_fd = open(scratch_path(&f->dir, "lock"), O_RDWR | O_CLOEXEC);
	f->admin = admin_listen(&f->b, scratch_path(&f->dir, "admin"), &err);
	f->listener = ctl_listen(&f->b, scratch_path(&f->dir, "ctl"), &err);
	assert_non_null(f->admin);
	assert_non_null(f->listener);
	assert_int_equal(broker_budget_fds(&f->b, &err), 0);
	f->h = (struct handover){.broker = &f->b, .listener = f->listener, .admin = f->admin, .lock_fd = f->lock_fd};
	make_things(f);
	save(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	munmap((void *)(uintptr_t)f->snapshot.p, f->snapshot.len);
	admin_close(&f->admin);
	ctl_listener_close(&f->listener);
	broker_release(&f->b);
	close(f->lock_fd);
	close(f->peers[0]);
	close(f->peers[1]);
	cfg_release(&f->cfg);
	scratch_release(&f->dir);
	free(f);
	return 0;
}

static void release_taken(struct handover_taken *taken)
{
	if (taken->lock_fd != -1)
		close(taken->lock_fd);
	admin_close(&taken->admin);
	ctl_listener_close(&taken->listener);
}

/* In a process of its own, for it takes the descriptors. */
static void in_child(void (*run)(struct fixture *f, size_t at), struct fixture *f, size_t at)
{
	pid_t pid = fork();
	int status;

	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		run(f, at);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status != 0)
		fail_msg("at place %zu: status %#x", at, (unsigned)status);
}

static void load_whole(struct fixture *f, size_t at)
{
	struct handover_taken taken;
	struct err err = {0};
	struct broker b;
	struct session *s;
	struct slice name = SLICE("alice"), event;
	struct stream *legacy = NULL;
	struct producer *p;
	const struct task *t;

	(void)at;
	f->cfg.session_calls_max = 0; /* what is there stays, though it would not be let in now */
	f->cfg.broker_park_max_bytes = 0;
	f->cfg.broker_topics_max_bytes = 0;
	DIE_UNLESS(broker_init(&b, &f->cfg, turn, &b, &err) == 0);
	if (handover_load(&b, f->snapshot, &taken, &err))
		die(__FILE__, __LINE__, err.msg);
	DIE_UNLESS(b.store->epoch == f->b.store->epoch && b.store->bytes_used == f->b.store->bytes_used);
	DIE_UNLESS(b.sessions.count == 1 && b.streams.count == 4 && b.calls.count == 2 && b.tasks.count == 1);
	DIE_UNLESS(b.marks.count == 1 && b.producers.count == 2 && b.conns_count == 2 && b.subscriptions.count == 2);
	DIE_UNLESS(b.fd_used == f->b.fd_used && b.fd_reserved == 1 && b.fd_max == f->b.fd_max);
	DIE_UNLESS(b.stream_count == f->b.stream_count && b.waiting_count == f->b.waiting_count);
	DIE_UNLESS(b.park_bytes == f->b.park_bytes && b.parked_count == 1 && b.tasks_bytes == f->b.tasks_bytes);
	DIE_UNLESS(b.topics_bytes == f->b.topics_bytes && b.next_handle == f->b.next_handle && b.line_count == 1);
	s = session_find(&b, SLICE("s"), &name);
	DIE_UNLESS(s && slice_is(s->blob, "{\"a\":1}") && s->own && s->own->subscriber.asked == 1 && s->open_ids == 1);
	DIE_UNLESS(s->open_asks == 1 && s->idle_s == 600);
	for (struct stream *each = s->streams; each; each = each->next)
		legacy = each->is_own ? legacy : each;
	DIE_UNLESS(legacy && legacy->last_seq == 2 && legacy->ready_seq == 2 && legacy->delivered_seq == 0);
	DIE_UNLESS(legacy->call && legacy->call->ids_count == 1 && legacy->reserved == 1);
	DIE_UNLESS(b.store->peek(b.store, legacy->events[1].position, &event) && slice_is(event, "{\"n\":2}"));
	p = producer_find(&b, 11);
	DIE_UNLESS(p && p->seq_max == 5 && producer_find_seq(p, 5)->state == OUTCOME_ACK && p->waiting_count == 1);
	DIE_UNLESS(p->calls == legacy->call);
	t = task_find(&b, SLICE("task"), &name);
	DIE_UNLESS(t && t->runner == producer_find(&b, 12) && slice_is(t->job, "j") && t->watchers_count == 1);
	DIE_UNLESS(once_mark(&b, SLICE("mark"), 60) == LINK_NACK_DUPLICATE_ID);
	run_loop(&b);
	for (const struct conn *c = b.conns; c; c = conn_next(c))
		DIE_UNLESS(conn_cursor(c) <= 1);
	release_taken(&taken);
	broker_release(&b);
}

static void nothing_is_missing(void **state)
{
	struct fixture *f = *state;
	char text[4096];
	ssize_t n;

	in_child(load_whole, f, 0);
	n = recv(f->peers[0], text, sizeof(text) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	assert_non_null(memmem(text, (size_t)n, "{\"m\":1}", 7)); /* which only the one that took over has sent */
}

static void load_variant(const struct fixture *f, struct slice snapshot)
{
	struct handover_taken taken;
	struct err err;
	struct broker b;

	DIE_UNLESS(broker_init(&b, &f->cfg, turn, &b, &err) == 0);
	if (handover_load(&b, snapshot, &taken, &err) == 0)
		run_loop(&b);
	release_taken(&taken);
	broker_release(&b);
}

static void load_cut(struct fixture *f, size_t len)
{
	char *copy = mem_dup(f->snapshot.p, len); /* so that a sanitizer sees who reads beyond */

	load_variant(f, (struct slice){copy, len});
	mem_free(copy);
}

static void load_flipped(struct fixture *f, size_t at)
{
	char *copy = mem_dup(f->snapshot.p, f->snapshot.len);

	copy[at] = (char)(copy[at] ^ (1 << (at * 5 % 8)));
	load_variant(f, (struct slice){copy, f->snapshot.len});
	mem_free(copy);
}

static void a_piece_is_refused(void **state)
{
	struct fixture *f = *state;

	for (size_t at = 0; at < f->snapshot.len; at++)
		in_child(load_cut, f, at);
}

static void a_flipped_bit_harms_nobody(void **state)
{
	struct fixture *f = *state;

	for (size_t at = 0; at < f->snapshot.len; at++)
		in_child(load_flipped, f, at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(nothing_is_missing, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_piece_is_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_flipped_bit_harms_nobody, setup, teardown),
	};

	log_init("test_handover", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("handover", tests, NULL, NULL);
}
