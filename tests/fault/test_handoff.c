/* What may go wrong between a worker and the broker, with the real broker and everything that a worker uses below its
 * web server. A client is the far end of a socketpair, adopted as LINK_KIND_PIPE: it reads what a CGI client would. */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "fcgi/link_client.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define SESSION     SLICE("a-session")
#define PATIENCE_MS 10000
#define STARTERS    8
#define WILL_TEXT   "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}"
#define HEAD_TEXT   "Content-Type: text/event-stream\r\n\r\n"

static const struct link_will will = {SLICE("1"), SLICE(WILL_TEXT)};

struct fixture {
	char dir[64], conf[80], program[PATH_MAX];
	char *sets[2];
	struct cfg cfg;
	struct link *link;
	pid_t broker; /* to be ended; 0: none was seen */
};

/* --- a broker of our own --- */

static void write_file(const char *path, const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const char *tmp = getenv("TMPDIR"), *build = getenv("abs_top_builddir");
	struct err err;

	assert_non_null(f);
	snprintf(f->dir, sizeof(f->dir), "%s/mcp-handoff-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->program, sizeof(f->program), "%s/mcp-broker", build ? build : ".");
	assert_int_equal(cfg_init(&f->cfg, &err), 0);
	free(f->cfg.run_dir);
	free(f->cfg.broker_program);
	f->cfg.run_dir = f->dir;
	f->cfg.broker_program = f->program;
	free(f->cfg.file);
	snprintf(f->conf, sizeof(f->conf), "%s/mcp.json", f->dir);
	f->cfg.file = f->conf;
	write_file(f->conf, "{\"store\": {\"dir\": \".\"}}\n", 0644);
	f->link = link_new(&f->cfg);
	assert_non_null(f->link);
	*state = f;
	return 0;
}

/* The process that listens on the control socket. */
static pid_t broker_pid(const struct fixture *f)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", f->dir, LINK_CTL_NAME);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	close(fd);
	return peer.pid;
}

static void nap(long ms)
{
	const struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

/* It went to the background, but we are who adopts orphans here. */
static void await_end(pid_t pid)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;

	while (waitpid(pid, NULL, WNOHANG) != pid) {
		assert_true(now_ms() < until_ms);
		nap(5);
	}
}

static int teardown(void **state)
{
	static const char *const names[] = {LINK_CTL_NAME, LINK_ZMQ_NAME, LINK_LOCK_NAME, "program", "mcp.json", "broker.db",
	    "broker.db-wal", "store.lock"};
	struct fixture *f = *state;
	char path[128];
	pid_t pid = broker_pid(f);

	link_free(&f->link);
	if (pid > 0) {
		kill(pid, SIGKILL);
		await_end(pid);
	}
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", f->dir, names[i]);
		unlink(path);
	}
	rmdir(f->dir);
	f->cfg.run_dir = strdup(""); /* ours is in *f */
	f->cfg.broker_program = strdup("");
	f->cfg.file = strdup("");
	f->cfg.sets = (struct cfg_list){NULL, 0};
	cfg_release(&f->cfg);
	free(f);
	return 0;
}

static void set_broker_option(struct fixture *f, const char *text)
{
	f->sets[f->cfg.sets.count] = (char *)(uintptr_t)text;
	f->cfg.sets.items = f->sets;
	f->cfg.sets.count++;
}

/* The broker with at most nofile descriptors: hard and soft limit. */
static void limit_descriptors(struct fixture *f, unsigned nofile)
{
	char path[80], text[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/program", f->dir);
	snprintf(text, sizeof(text), "#!/bin/sh\nulimit -n %u\nexec '%s' \"$@\"\n", nofile, f->program);
	write_file(path, text, 0755);
	snprintf(f->program, sizeof(f->program), "%s", path);
}

/* --- a worker's steps --- */

static void must(int rc, const struct err *err, const char *what)
{
	if (rc)
		fail_msg("%s: %s: %s", what, err_name(err->code), err->msg);
}

static void put_session(struct link *l)
{
	struct err err;

	must(link_session_put(l, SESSION, "me", SLICE(""), 0, LINK_SESSION_ENDS_WITH_CONN, SLICE("{}"), NULL, &err), &err,
	    "SESSION_PUT");
}

/* What a call's connection hangs on. */
enum shape { MODERN, LEGACY_POST, OLD_SSE, SHAPE_COUNT };
static const char *const shape_names[] = {"modern", "legacy POST", "HTTP+SSE"};

/* From nothing to a stream that ADOPT may name. The session is there. */
static int open_shape(
    struct link *l, enum shape shape, struct link_call **call, uint64_t *stream, uint64_t *cursor, struct err *err)
{
	*call = NULL;
	*cursor = 0;
	switch (shape) {
	case MODERN:
		return link_open_stream(l, SLICE(""), LINK_STREAM_MODERN, &will, 1, call, stream, err);
	case LEGACY_POST:
		if (link_call_begin(l, SESSION, "me", 0, &will, 1, call, err))
			return -1;
		return link_open_stream(l, SESSION, 0, NULL, 0, call, stream, err);
	case OLD_SSE:
	default:
		if (link_call_begin(l, SESSION, "me", LINK_CALL_ON_SESSION_STREAM, &will, 1, call, err))
			return -1;
		return link_attach(l, SESSION, "me", SLICE(""), stream, cursor, err);
	}
}

static int adopt(struct link *l, int fd, uint64_t stream, uint64_t cursor, struct err *err)
{
	return link_adopt(l, fd, LINK_KIND_PIPE, 1, stream, cursor, 1000, 0, SLICE(HEAD_TEXT), err);
}

/* Reads until text was there, or (NULL) until the end. What came is in *got. */
static bool client_reads(int fd, const char *text, struct buf *got)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	char bytes[4096];

	while (!text || !got->data || !strstr(got->data, text)) {
		ssize_t n;

		if (now_ms() >= until_ms)
			return false;
		if (poll(&p, 1, 100) <= 0)
			continue;
		n = read(fd, bytes, sizeof(bytes));
		if (n <= 0)
			return !text;
		buf_add(got, bytes, (size_t)n);
	}
	return true;
}

/* --- the worker dies --- */

/* In a child: everything up to step, then kill -9. */
enum step { OPENED, ADOPTED };

static void worker_that_dies(struct fixture *f, enum shape shape, enum step step, int fd)
{
	int status;
	pid_t pid = fork();

	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		struct link *l = link_new(&f->cfg);
		struct link_call *call;
		uint64_t stream, cursor;
		struct err err;

		uint64_t until_ms = now_ms() + PATIENCE_MS;
		int rc;

		while ((rc = open_shape(l, shape, &call, &stream, &cursor, &err)) &&
		       (err.code == ERR_LIMIT || err.code == ERR_BROKER || err.code == ERR_DUPLICATE) && now_ms() < until_ms) {
			link_call_end(l, &call);
			nap(50); /* descriptors of those who died before, and the id of the call that ended last */
		}
		if (rc || (step == ADOPTED && adopt(l, fd, stream, cursor, &err))) {
			fprintf(stderr, "worker: %s\n", err.msg);
			_exit(1);
		}
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void test_worker_dies_after_adopt(void **state)
{
	struct fixture *f = *state;
	struct buf got;
	int fds[2];

	put_session(f->link);
	buf_init(&got, 65536);
	for (int shape = MODERN; shape < SHAPE_COUNT; shape++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		worker_that_dies(f, (enum shape)shape, ADOPTED, fds[1]);
		close(fds[1]);
		buf_clear(&got);
		if (!client_reads(fds[0], WILL_TEXT, &got))
			fail_msg("%s: no will, but: %s", shape_names[shape], got.len ? got.data : "nothing");
		assert_int_equal(strncmp(got.data, HEAD_TEXT, strlen(HEAD_TEXT)), 0);
		if (shape != OLD_SSE) /* a session's own stream goes on */
			assert_true(client_reads(fds[0], NULL, &got));
		close(fds[0]);
	}
	buf_release(&got);
}

/* The call is over with its worker: its id may be used again, and what is dead keeps no descriptor reserved. */
static void test_worker_dies_before_adopt(void **state)
{
	struct fixture *f = *state;
	uint64_t until_ms, stream, cursor;
	struct link_call *call = NULL;
	struct err err;
	int rc;

	set_broker_option(f, "broker_fd_reserve=16");
	limit_descriptors(f, 64);
	put_session(f->link);
	for (int i = 0; i < 64; i++) { /* more than descriptors, if they were kept */
		until_ms = now_ms() + PATIENCE_MS;
		if (i % 8 == 0)
			worker_that_dies(f, (enum shape)(i / 8 % SHAPE_COUNT), OPENED, -1);
		do {
			rc = open_shape(f->link, LEGACY_POST, &call, &stream, &cursor, &err);
			link_call_end(f->link, &call); /* never adopted either */
			if (rc)
				nap(50);
		} while (rc && (err.code == ERR_DUPLICATE || err.code == ERR_LIMIT) && now_ms() < until_ms);
		must(rc, &err, "the same call again");
	}
}

/* --- the client leaves during the handoff --- */

static void test_client_left(void **state)
{
	struct fixture *f = *state;
	struct slice event = SLICE("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}");

	put_session(f->link);
	for (int shape = MODERN; shape < SHAPE_COUNT; shape++) {
		uint64_t stream, cursor;
		struct link_call *call;
		struct pollfd p = {.events = POLLIN};
		struct err err;
		int rc, fds[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		must(open_shape(f->link, (enum shape)shape, &call, &stream, &cursor, &err), &err, shape_names[shape]);
		close(fds[0]);
		must(adopt(f->link, fds[1], stream, cursor, &err), &err, "ADOPT");
		close(fds[1]);
		p.fd = call->cancel_fd;
		if (shape == MODERN) { /* a client that leaves cancels */
			assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
			assert_true(atomic_load(&call->cancelled));
			rc = link_finish(f->link, call, stream, &event, 1, &err);
			assert_true(rc == 0 || err.code == ERR_GONE);
		} else { /* in the legacy era it may come back for its answer */
			assert_int_equal(poll(&p, 1, 300), 0);
			must(link_finish(f->link, call, stream, &event, 1, &err), &err, "FINISH");
		}
		link_call_end(f->link, &call);
	}
}

/* --- no descriptors left --- */

static void test_descriptor_limit(void **state)
{
	enum { CLIENTS_MAX = 64 };
	struct fixture *f = *state;
	struct slice event = SLICE("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"of this client\"}");
	struct link_call *calls[CLIENTS_MAX];
	uint64_t streams[CLIENTS_MAX], cursor;
	int clients[CLIENTS_MAX], fds[2], count, round_first = 0;
	struct buf got;
	struct err err;

	set_broker_option(f, "broker_fd_reserve=16");
	limit_descriptors(f, 64);
	/* The socket by which calls and events go is there before, and has a descriptor in both rounds. */
	put_session(f->link);
	must(link_call_begin(f->link, SESSION, "me", 0, NULL, 0, &calls[0], &err), &err, "CALL_BEGIN");
	link_call_end(f->link, &calls[0]);
	must(link_session_del(f->link, SESSION, "me", &err), &err, "SESSION_DEL");
	buf_init(&got, 65536);
	for (int round = 0; round < 2; round++) {
		for (count = 0; count < CLIENTS_MAX; count++) {
			uint64_t until_ms =
			    now_ms() + (round ? PATIENCE_MS : 0); /* those of before may still be closing */
			int rc;

			do {
				rc = open_shape(f->link, MODERN, &calls[count], &streams[count], &cursor, &err);
			} while (rc && err.code == ERR_LIMIT && count < round_first && now_ms() < until_ms);
			if (rc)
				break;
			assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
			must(adopt(f->link, fds[1], streams[count], cursor, &err), &err, "ADOPT");
			close(fds[1]);
			clients[count] = fds[0];
		}
		assert_int_equal(err.code, ERR_LIMIT);
		assert_in_range(count, 8, 64 - 16);
		/* One more without that socket, which is given up when an answer is late. */
		assert_true(round == 0 || count == round_first || count == round_first + 1);
		round_first = count;
		put_session(f->link); /* everything else goes on */
		must(link_session_del(f->link, SESSION, "me", &err), &err, "SESSION_DEL");
		for (int i = 0; i < count; i++) { /* and each that was let in is served */
			must(link_finish(f->link, calls[i], streams[i], &event, 1, &err), &err, "FINISH");
			link_call_end(f->link, &calls[i]);
			buf_clear(&got);
			assert_true(client_reads(clients[i], "of this client", &got));
			assert_true(client_reads(clients[i], NULL, &got));
			close(clients[i]);
		}
	}
	buf_release(&got);
}

/* --- who speaks something else --- */

static int raw_connect(const struct fixture *f)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", f->dir, LINK_CTL_NAME);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

/* An older one's, without a role. */
static void put_hello(struct buf *out, unsigned version_min, unsigned version_max)
{
	static unsigned connection;
	struct link_header h = {
	    .version = LINK_VERSION_HELLO, .type = LINK_HELLO, .producer = 77, .corr = ++connection, .body_len = 12};

	buf_clear(out);
	link_put_header(out, &h);
	link_put_u16(out, (uint16_t)version_min);
	link_put_u16(out, (uint16_t)version_max);
	link_put_u32(out, 1);
	link_put_bytes(out, SLICE(""));
}

static void test_other_versions(void **state)
{
	static const struct {
		const char *name;
		unsigned min, max;
		uint8_t want;
	} cases[] = {
	    {"ours", LINK_VERSION, LINK_VERSION, LINK_WELCOME},
	    {"ours and newer ones", LINK_VERSION, LINK_VERSION + 5, LINK_WELCOME},
	    {"ours and older ones", 0, LINK_VERSION, LINK_WELCOME},
	    {"only newer ones", LINK_VERSION + 1, LINK_VERSION + 5, LINK_NACK},
	    {"only older ones", 0, LINK_VERSION - 1, LINK_NACK},
	    {"an empty range", LINK_VERSION + 1, LINK_VERSION - 1, LINK_NACK},
	};
	struct fixture *f = *state;
	struct link_header h;
	struct buf packet;
	struct err err;
	char answer[1024];

	put_session(f->link);
	buf_init(&packet, 1024);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct slice in = {answer, 0};
		bool bad = false;
		ssize_t n;
		int fd = raw_connect(f);

		put_hello(&packet, cases[i].min, cases[i].max);
		assert_int_equal(send(fd, packet.data, packet.len, MSG_NOSIGNAL), packet.len);
		n = recv(fd, answer, sizeof(answer), 0);
		in.len = n > 0 ? (size_t)n : 0;
		if (link_get_header(in, &h, &err) || h.type != cases[i].want)
			fail_msg("%s: got %zd bytes, type %d", cases[i].name, n, n > 0 ? h.type : 0);
		in.p += LINK_HEADER_LEN;
		in.len -= LINK_HEADER_LEN;
		if (h.type == LINK_NACK) {
			assert_int_equal(link_get_u16(&in, &bad), LINK_NACK_VERSION);
			assert_int_equal(recv(fd, answer, sizeof(answer), 0), 0); /* and good bye */
		}
		close(fd);
	}
	buf_release(&packet);
	must(link_session_del(f->link, SESSION, "me", &err), &err, "the broker goes on");
}

/* What doesn't greet is closed, and a descriptor that came along with it too. */
static void test_garbage(void **state)
{
	static char much[LINK_PACKET_MAX + 100];
	struct fixture *f = *state;
	const struct {
		const char *name;
		struct slice packet;
	} cases[] = {
	    {"text", SLICE("GET / HTTP/1.0\r\n\r\n")},
	    {"a magic and no more", SLICE("MCPL")},
	    {"another header's version",
		SLICE("MCPL\2\1\0\0"
		      "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
		      "\0\0\0\0\0\0\0\0")},
	    {"HELLO without a body",
		SLICE("MCPL\1\1\0\0"
		      "\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
		      "\0\0\0\0\0\0\0\0")},
	    {"ADOPT first", SLICE("MCPL\1\3\0\0"
				  "\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
				  "\0\0\0\0\0\0\0\0")},
	    {"too long", {much, sizeof(much)}},
	};
	struct err err;

	set_broker_option(f, "link_timeout_ms=500"); /* how long it waits for HELLO */
	put_session(f->link);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		union {
			struct cmsghdr align;
			char space[CMSG_SPACE(sizeof(int))];
		} control = {0};
		struct iovec iov = {(void *)(uintptr_t)cases[i].packet.p, cases[i].packet.len};
		struct msghdr msg = {.msg_iov = &iov,
		    .msg_iovlen = 1,
		    .msg_control = control.space,
		    .msg_controllen = sizeof(control.space)};
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
		struct pollfd p = {.events = POLLIN};
		char answer[1024];
		int fds[2], fd = raw_connect(f);

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fds[1], sizeof(int));
		assert_int_equal(sendmsg(fd, &msg, MSG_NOSIGNAL), cases[i].packet.len);
		close(fds[1]);
		p.fd = fds[0];
		if (poll(&p, 1, PATIENCE_MS) != 1 || !(p.revents & POLLHUP))
			fail_msg("%s: the broker keeps its descriptor", cases[i].name);
		close(fds[0]);
		while (recv(fd, answer, sizeof(answer), 0) > 0)
			;
		close(fd);
	}
	must(link_session_del(f->link, SESSION, "me", &err), &err, "the broker goes on");
}

/* --- the broker dies --- */

static atomic_uint waiters_back;

static void *waiter(void *arg)
{
	struct fixture *f = arg;
	struct link_call *call;
	struct err err = {0};
	uintptr_t code = ERR_NONE;

	if (link_call_begin(f->link, SESSION, "me", 0, NULL, 0, &call, &err))
		code = err.code;
	link_call_end(f->link, &call);
	atomic_fetch_add(&waiters_back, 1);
	return (void *)code;
}

static void test_broker_killed(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[16];
	struct link_call *call, *other;
	uint64_t began_ms, stream, cursor;
	pid_t first, second;
	struct err err;
	int rc;

	put_session(f->link);
	must(open_shape(f->link, LEGACY_POST, &call, &stream, &cursor, &err), &err, "call");
	first = broker_pid(f);
	assert_true(first > 1);
	kill(first, SIGSTOP);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, waiter, f), 0);
	nap(1200); /* so that it was started long enough ago to be started again, and all wait */
	assert_int_equal(atomic_load(&waiters_back), 0);
	began_ms = now_ms();
	kill(first, SIGKILL);
	for (size_t i = 0; i < COUNT_OF(threads); i++) {
		void *code;

		pthread_join(threads[i], &code);
		assert_int_equal((uintptr_t)code, ERR_NONE);
	}
	assert_in_range(now_ms() - began_ms, 0, 1000); /* the next broker has answered them */
	await_end(first);

	must(link_call_begin(f->link, SESSION, "me", 0, NULL, 0, &other, &err), &err, "a new one knows the session");
	link_call_end(f->link, &other);
	second = broker_pid(f);
	assert_true(second > 1 && second != first);
	must(link_append(f->link, stream, SLICE("{}"), true, &err), &err, "the call goes on there");
	must(link_finish(f->link, call, stream, NULL, 0, &err), &err, "and ends there");
	rc = link_append(f->link, stream, SLICE("{}"), true, &err);
	assert_int_equal(rc, -1);
	assert_int_equal(err.code, ERR_GONE);
	link_call_end(f->link, &call);
}

/* SIGTERM: what is open may finish, nothing new begins. */
static void test_broker_drains(void **state)
{
	struct fixture *f = *state;
	struct slice event = SLICE("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"in time\"}");
	struct link_call *call, *other = NULL;
	uint64_t stream, more, cursor, until_ms;
	struct buf got;
	struct err err;
	pid_t pid;
	int rc, fds[2];

	buf_init(&got, 65536);
	must(open_shape(f->link, MODERN, &call, &stream, &cursor, &err), &err, "call");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	must(adopt(f->link, fds[1], stream, cursor, &err), &err, "ADOPT");
	close(fds[1]);
	pid = broker_pid(f);
	kill(pid, SIGTERM);
	until_ms = now_ms() + PATIENCE_MS;
	do {
		nap(20);
		rc = link_open_stream(f->link, SLICE(""), LINK_STREAM_MODERN, &will, 1, &other, &more, &err);
		link_call_end(f->link, &other);
	} while (rc == 0 && now_ms() < until_ms);
	assert_int_equal(err.code, ERR_BUSY);
	must(link_finish(f->link, call, stream, &event, 1, &err), &err, "FINISH");
	link_call_end(f->link, &call);
	assert_true(client_reads(fds[0], "in time", &got));
	assert_true(client_reads(fds[0], NULL, &got));
	await_end(pid);
	close(fds[0]);
	buf_release(&got);
	until_ms = now_ms() + PATIENCE_MS;
	while (link_is_up(f->link) && now_ms() < until_ms)
		nap(10);
	assert_false(link_is_up(f->link));
}

/* --- what must have no effect --- */

/* A broker that stands still: who asked gives up at his deadline, and what he asked for is not done when it goes on. */
static void test_after_the_deadline(void **state)
{
	struct fixture *f = *state;
	struct link_call *call;
	struct err err;
	pid_t pid;
	int rc;

	put_session(f->link);
	pid = broker_pid(f);
	f->cfg.link_timeout_ms = 300;
	kill(pid, SIGSTOP);
	rc = link_session_put(f->link, SLICE("too late"), "me", SLICE(""), 0, 0, SLICE("{}"), NULL, &err);
	assert_int_equal(rc, -1);
	assert_int_equal(err.code, ERR_EXPIRED);
	rc = link_session_del(f->link, SESSION, "me", &err);
	assert_int_equal(rc, -1);
	assert_int_equal(err.code, ERR_EXPIRED);
	kill(pid, SIGCONT);
	f->cfg.link_timeout_ms = PATIENCE_MS;
	must(link_call_begin(f->link, SESSION, "me", 0, NULL, 0, &call, &err), &err, "what should have gone");
	link_call_end(f->link, &call);
	rc = link_call_begin(f->link, SLICE("too late"), "me", 0, NULL, 0, &call, &err);
	assert_int_equal(rc, -1);
	assert_int_equal(err.code, ERR_NO_SESSION);
	must(link_session_put(f->link, SLICE("too late"), "me", SLICE(""), 0, 0, SLICE("{}"), NULL, &err), &err, "again");
}

/* A child that has its parent's link is told so, makes its own, and its end is not its parent's. */
static void test_fork(void **state)
{
	struct fixture *f = *state;
	struct link_call *call, *other;
	uint64_t stream, cursor;
	struct err err;
	int status, rc;
	pid_t pid;

	put_session(f->link);
	must(open_shape(f->link, LEGACY_POST, &call, &stream, &cursor, &err), &err, "call");
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		alarm(PATIENCE_MS / 1000 + 1); /* for a link that waits for a thread that it does not have here */
		rc = link_append(f->link, stream, SLICE("{}"), true, &err);
		if (rc != -1 || err.code != ERR_BROKER)
			_exit(1);
		link_free(&f->link);
		f->link = link_new(&f->cfg);
		_exit(link_call_begin(f->link, SESSION, "me", 0, NULL, 0, &other, &err) ? 2 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	must(link_append(f->link, stream, SLICE("{}"), true, &err), &err, "the parent's call goes on");
	must(link_finish(f->link, call, stream, NULL, 0, &err), &err, "and ends");
	link_call_end(f->link, &call);
}

/* --- who starts it --- */

/* Eight processes find no broker at the same moment. One session each, and one broker knows all of them. */
static void test_one_broker(void **state)
{
	struct fixture *f = *state;
	pid_t pids[STARTERS];
	struct link_call *call;
	struct err err;
	int gate[2], status, rc;
	char name[32];

	assert_int_equal(pipe(gate), 0);
	for (int i = 0; i < STARTERS; i++) {
		pids[i] = fork();
		assert_int_not_equal(pids[i], -1);
		if (pids[i] == 0) {
			struct link *l = link_new(&f->cfg);

			close(gate[1]);
			snprintf(name, sizeof(name), "session-%d", i);
			(void)!read(gate[0], &status, 1);
			rc = link_session_put(l, slice_str(name), "me", SLICE(""), 0, 0, SLICE("{}"), NULL, &err);
			if (rc)
				fprintf(stderr, "starter %d: %s\n", i, err.msg);
			_exit(rc ? 1 : 0);
		}
	}
	close(gate[0]);
	close(gate[1]);
	for (int i = 0; i < STARTERS; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	for (int i = 0; i < STARTERS; i++) {
		snprintf(name, sizeof(name), "session-%d", i);
		must(link_call_begin(f->link, slice_str(name), "me", 0, NULL, 0, &call, &err), &err, name);
		link_call_end(f->link, &call);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_one_broker),
	    TEST(test_other_versions),
	    TEST(test_garbage),
	    TEST(test_worker_dies_after_adopt),
	    TEST(test_worker_dies_before_adopt),
	    TEST(test_client_left),
	    TEST(test_descriptor_limit),
	    TEST(test_broker_killed),
	    TEST(test_broker_drains),
	    TEST(test_after_the_deadline),
	    TEST(test_fork),
	};

	log_init("test_handoff", LOG_LEVEL_WARN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
