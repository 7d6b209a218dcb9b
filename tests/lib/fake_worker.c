#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "common/rnd.h"
#include "tests/lib/fake_worker.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define SETS_MAX 16

const char *fake_broker_program;

static void path_of(char *out, size_t size, const char *dir, const char *name)
{
	snprintf(out, size, "%s/%s", dir, name);
}

int fake_ctl_connect(const char *dir)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	path_of(sun.sun_path, sizeof(sun.sun_path), dir, LINK_CTL_NAME);
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Only async-signal-safe calls: ASan's threads and cmocka's state stay the parent's. */
static pid_t spawn(const char *dir, const char *const *sets, size_t sets_count, unsigned fd_limit)
{
	const char *build = getenv("abs_top_builddir");
	char program[512], run_dir[128], store_dir[128], conf[128];
	const char *argv[10 + 2 * SETS_MAX] = {
	    program, "--foreground", "--conf", conf, "--set", run_dir, "--set", store_dir};
	size_t n = 8;
	pid_t pid;

	snprintf(program, sizeof(program), "%s/%s", build ? build : ".",
	    fake_broker_program ? fake_broker_program : "mcp-broker");
	snprintf(run_dir, sizeof(run_dir), "run_dir=%s", dir);
	snprintf(store_dir, sizeof(store_dir), "store_dir=%s", dir);
	path_of(conf, sizeof(conf), dir, "mcp.json");
	for (size_t i = 0; i < sets_count && i < SETS_MAX; i++) {
		argv[n++] = "--set";
		argv[n++] = sets[i];
	}
	pid = fork();
	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	if (fd_limit > 0) {
		struct rlimit lim = {fd_limit, fd_limit};

		setrlimit(RLIMIT_NOFILE, &lim);
	}
	execv(program, (char *const *)(uintptr_t)argv);
	_exit(127);
}

static int status_of(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) == -1)
		assert_int_equal(errno, EINTR);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void fake_broker_start(struct fake_broker_process *b, const char *const *sets, size_t sets_count, unsigned fd_limit)
{
	const char *tmp = getenv("TMPDIR");
	char conf[128];
	int fd;

	snprintf(b->dir, sizeof(b->dir), "%s/mcp-broker-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
	assert_non_null(mkdtemp(b->dir));
	path_of(conf, sizeof(conf), b->dir, "mcp.json");
	fd = open(conf, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "{}", 2), 2);
	close(fd);
	fake_broker_again(b, sets, sets_count, fd_limit);
}

bool fake_broker_try(struct fake_broker_process *b, const char *const *sets, size_t sets_count, unsigned fd_limit)
{
	siginfo_t ended = {0};
	int fd;

	b->pid = spawn(b->dir, sets, sets_count, fd_limit);
	for (int waited = 0; waited < FAKE_WAIT_MS; waited += 5) {
		fd = fake_ctl_connect(b->dir);
		if (fd != -1) {
			close(fd);
			return true;
		}
		if (waitid(P_PID, (id_t)b->pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == b->pid)
			return false;
		usleep(5000);
	}
	fail_msg("the broker does not listen");
	return false;
}

void fake_broker_again(struct fake_broker_process *b, const char *const *sets, size_t sets_count, unsigned fd_limit)
{
	if (!fake_broker_try(b, sets, sets_count, fd_limit))
		fail_msg("the broker ended");
}

int fake_broker_run(const char *dir, const char *const *sets, size_t sets_count)
{
	return status_of(spawn(dir, sets, sets_count, 0));
}

int fake_broker_end(struct fake_broker_process *b, int number)
{
	int status;

	kill(b->pid, number);
	status = status_of(b->pid);
	b->pid = 0;
	return status;
}

int fake_broker_wait(struct fake_broker_process *b)
{
	int status = status_of(b->pid);
	DIR *dir = opendir(b->dir);
	struct dirent *entry;

	b->pid = 0;
	while (dir && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
	if (dir)
		closedir(dir);
	rmdir(b->dir);
	return status;
}

void fake_broker_stop(struct fake_broker_process *b)
{
	if (b->pid == 0)
		return;
	kill(b->pid, SIGTERM);
	assert_int_equal(fake_broker_wait(b), 0);
}

void fake_worker_put_hello(struct buf *packet, uint64_t producer, uint32_t connection, uint16_t version_min,
    uint16_t version_max, enum link_role role)
{
	struct link_header h = {.version = LINK_VERSION_HELLO,
	    .type = LINK_HELLO,
	    .producer = producer,
	    .corr = connection,
	    .seq = 1,
	    .body_len = 13};

	link_put_header(packet, &h);
	link_put_u16(packet, version_min);
	link_put_u16(packet, version_max);
	link_put_u32(packet, (uint32_t)getpid());
	link_put_bytes(packet, SLICE(""));
	link_put_u8(packet, (uint8_t)role);
}

void fake_worker_again(struct fake_worker *w, const char *dir, enum link_role role)
{
	unsigned char routing[LINK_ROUTING_LEN];
	char address[160], packet[512];
	struct link_header h;
	struct buf hello;
	struct slice in;
	bool bad = false;
	int zero = 0;
	ssize_t len;

	w->connection++;
	w->ctl = fake_ctl_connect(dir);
	assert_int_not_equal(w->ctl, -1);
	buf_init(&hello, 512);
	fake_worker_put_hello(&hello, w->producer, w->connection, LINK_VERSION, LINK_VERSION, role);
	assert_int_equal(send(w->ctl, hello.data, hello.len, 0), hello.len);
	buf_release(&hello);
	len = recv(w->ctl, packet, sizeof(packet), 0);
	assert_true(len >= LINK_HEADER_LEN);
	in = (struct slice){packet, (size_t)len};
	assert_int_equal(link_get_header(in, &h, NULL), 0);
	assert_int_equal(h.type, LINK_WELCOME);
	in = (struct slice){packet + LINK_HEADER_LEN, (size_t)len - LINK_HEADER_LEN};
	assert_int_equal(link_get_u16(&in, &bad), LINK_VERSION);
	w->epoch = link_get_u64(&in, &bad);
	w->credit = link_get_u64(&in, &bad);
	w->body_max = link_get_u32(&in, &bad);
	w->is_known = link_get_u8(&in, &bad);
	assert_false(bad);
	w->context = zmq_ctx_new();
	w->dealer = zmq_socket(w->context, ZMQ_DEALER);
	link_routing_id(w->producer, w->connection, routing);
	assert_int_equal(zmq_setsockopt(w->dealer, ZMQ_ROUTING_ID, routing, sizeof(routing)), 0);
	assert_int_equal(zmq_setsockopt(w->dealer, ZMQ_LINGER, &zero, sizeof(zero)), 0);
	snprintf(address, sizeof(address), "ipc://%s/%s", dir, LINK_ZMQ_NAME);
	assert_int_equal(zmq_connect(w->dealer, address), 0);
}

void fake_worker_connect(struct fake_worker *w, const char *dir)
{
	*w = (struct fake_worker){.producer = rnd_u64(), .seq = 1};
	fake_worker_again(w, dir, LINK_ROLE_WORKER);
}

void fake_runner_connect(struct fake_worker *w, const char *dir)
{
	*w = (struct fake_worker){.producer = rnd_u64(), .seq = 1};
	fake_worker_again(w, dir, LINK_ROLE_RUNNER);
}

void fake_worker_close_data(struct fake_worker *w)
{
	if (!w->dealer)
		return;
	zmq_close(w->dealer);
	zmq_ctx_term(w->context);
	w->dealer = NULL;
}

void fake_worker_die(struct fake_worker *w)
{
	fake_worker_close_data(w);
	if (w->ctl == -1)
		return;
	close(w->ctl);
	w->ctl = -1;
}

void fake_worker_send_raw(struct fake_worker *w, const struct slice *frames, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_int_equal(
		    zmq_send(w->dealer, frames[i].p, frames[i].len, i + 1 < count ? ZMQ_SNDMORE : 0), frames[i].len);
}

uint64_t fake_worker_send(struct fake_worker *w, const struct link_header *h, struct slice key, struct slice body)
{
	struct link_header full = *h;
	struct slice frames[3];
	struct buf header;

	full.version = LINK_VERSION;
	full.producer = w->producer;
	full.body_len = (uint32_t)body.len;
	if (full.seq == 0)
		full.seq = ++w->seq;
	buf_init(&header, 256);
	link_put_header(&header, &full);
	frames[0] = buf_slice(&header);
	frames[1] = key;
	frames[2] = body;
	fake_worker_send_raw(w, frames, 3);
	buf_release(&header);
	return full.seq;
}

void fake_return(struct fake_worker *w, const uint64_t *calls, const char *const *tasks)
{
	struct link_header h = {.type = LINK_RETURN};
	uint32_t calls_count = 0, tasks_count = 0;
	struct buf body;

	while (calls && calls[2 * calls_count])
		calls_count++;
	while (tasks && tasks[tasks_count])
		tasks_count++;
	buf_init(&body, 4096);
	link_put_u32(&body, calls_count);
	for (uint32_t i = 0; i < 2 * calls_count; i++)
		link_put_u64(&body, calls[i]);
	link_put_u32(&body, tasks_count);
	for (uint32_t i = 0; i < tasks_count; i++)
		link_put_bytes(&body, slice_str(tasks[i]));
	assert_int_equal(buf_check(&body, NULL), 0);
	fake_worker_send(w, &h, SLICE(""), buf_slice(&body));
	buf_release(&body);
}

static void take_frame(struct fake_worker *w, struct buf *out)
{
	zmq_msg_t m;

	zmq_msg_init(&m);
	assert_true(zmq_msg_recv(&m, w->dealer, 0) >= 0);
	buf_init(out, SIZE_MAX / 2);
	buf_add(out, zmq_msg_data(&m), zmq_msg_size(&m));
	zmq_msg_close(&m);
}

void fake_answer_release(struct fake_answer *a)
{
	buf_release(&a->body);
}

bool fake_worker_receive(struct fake_worker *w, struct fake_answer *a, int wait_ms)
{
	uint64_t until = now_ms() + (uint64_t)wait_ms;

	for (;;) {
		uint64_t now = now_ms();
		zmq_pollitem_t item = {w->dealer, 0, ZMQ_POLLIN, 0};
		struct buf header, key;
		bool bad = false;
		struct slice in;

		if (zmq_poll(&item, 1, now < until ? (long)(until - now) : 0) <= 0)
			return false;
		take_frame(w, &header);
		take_frame(w, &key);
		take_frame(w, &a->body);
		assert_int_equal(link_get_header(buf_slice(&header), &a->h, NULL), 0);
		assert_int_equal(a->h.body_len, a->body.len);
		assert_in_range(key.len, 0, LINK_KEY_MAX);
		memset(a->key, 0, sizeof(a->key));
		if (key.len)
			memcpy(a->key, key.data, key.len);
		buf_release(&header);
		buf_release(&key);
		in = buf_slice(&a->body);
		a->nack = a->h.type == LINK_NACK ? link_get_u16(&in, &bad) : 0;
		if (a->h.type != LINK_CREDIT)
			return true;
		w->credit += link_get_u64(&in, &bad);
		fake_answer_release(a);
	}
}

unsigned fake_worker_ask(
    struct fake_worker *w, const struct link_header *h, struct slice key, struct slice body, struct fake_answer *a)
{
	uint64_t seq = fake_worker_send(w, h, key, body);
	struct fake_answer own;

	if (!a)
		a = &own;
	for (;;) {
		if (!fake_worker_receive(w, a, FAKE_WAIT_MS))
			fail_msg("no answer to %s", link_type_name(h->type));
		if ((a->h.type == LINK_ACK || a->h.type == LINK_NACK) && a->h.corr == seq)
			break;
		fake_answer_release(a);
	}
	if (a == &own)
		fake_answer_release(a);
	return a->nack;
}

static void put_ids(struct buf *out, const char *const *ids_and_wills)
{
	uint16_t n = 0;

	while (ids_and_wills && ids_and_wills[2 * n])
		n++;
	link_put_u16(out, n);
	for (unsigned i = 0; i < 2u * n; i++)
		link_put_bytes(out, slice_str(ids_and_wills[i]));
}

/* Asks, releases body, and reads a number from the answer's front if there is one. */
static unsigned ask(
    struct fake_worker *w, struct link_header h, const char *key, struct buf *body, uint64_t *stream, uint64_t *value)
{
	struct fake_answer a;
	unsigned nack = fake_worker_ask(w, &h, slice_str(key), buf_slice(body), &a);
	struct slice in = buf_slice(&a.body);
	bool bad = false;

	buf_release(body);
	if (stream)
		*stream = a.h.stream;
	if (value && nack == 0)
		*value = link_get_u64(&in, &bad);
	assert_false(bad);
	fake_answer_release(&a);
	return nack;
}

unsigned fake_session_put(struct fake_worker *w, const char *key, const char *principal, uint64_t expected,
    unsigned flags, const char *blob, uint64_t *version)
{
	struct buf body;

	buf_init(&body, 1 << 20);
	link_put_u64(&body, expected);
	link_put_u32(&body, 0);
	link_put_u8(&body, (uint8_t)flags);
	link_put_bytes(&body, slice_str(principal));
	link_put_bytes(&body, slice_str(blob));
	return ask(w, (struct link_header){.type = LINK_SESSION_PUT}, key, &body, NULL, version);
}

unsigned fake_session_put_for(struct fake_worker *w, const char *key, const char *principal, const char *owner)
{
	struct buf body;

	buf_init(&body, 1024);
	link_put_u64(&body, 0);
	link_put_u32(&body, 0);
	link_put_u8(&body, 0);
	link_put_bytes(&body, slice_str(principal));
	link_put_bytes(&body, SLICE("{}"));
	link_put_bytes(&body, slice_str(owner));
	return ask(w, (struct link_header){.type = LINK_SESSION_PUT}, key, &body, NULL, NULL);
}

unsigned fake_session_del(struct fake_worker *w, const char *key, const char *principal)
{
	struct buf body;

	buf_init(&body, 1024);
	link_put_bytes(&body, slice_str(principal));
	return ask(w, (struct link_header){.type = LINK_SESSION_DEL}, key, &body, NULL, NULL);
}

unsigned fake_call_begin(struct fake_worker *w, const char *key, const char *principal, unsigned flags,
    const char *const *ids_and_wills, uint64_t *call, uint64_t *own_stream)
{
	struct buf body;
	unsigned nack;

	buf_init(&body, 1 << 20);
	link_put_bytes(&body, slice_str(principal));
	link_put_u8(&body, (uint8_t)flags);
	put_ids(&body, ids_and_wills);
	nack = ask(w, (struct link_header){.type = LINK_CALL_BEGIN}, key, &body, own_stream, NULL);
	if (call)
		*call = w->seq;
	return nack;
}

unsigned fake_open(struct fake_worker *w, const char *key, unsigned flags, uint64_t corr,
    const char *const *ids_and_wills, uint64_t *call, uint64_t *stream)
{
	struct buf body;
	unsigned nack;

	buf_init(&body, 1 << 20);
	link_put_u8(&body, (uint8_t)flags);
	put_ids(&body, ids_and_wills);
	nack = ask(w, (struct link_header){.type = LINK_OPEN_STREAM, .corr = corr}, key, &body, stream, NULL);
	if (call)
		*call = w->seq;
	return nack;
}

unsigned fake_attach(struct fake_worker *w, const char *key, const char *principal, const char *last_event_id,
    uint64_t *stream, uint64_t *cursor)
{
	struct buf body;

	buf_init(&body, 1024);
	link_put_bytes(&body, slice_str(principal));
	link_put_bytes(&body, slice_str(last_event_id));
	return ask(w, (struct link_header){.type = LINK_ATTACH}, key, &body, stream, cursor);
}

unsigned fake_append(struct fake_worker *w, uint64_t stream, const char *event)
{
	struct buf body;

	buf_init(&body, SIZE_MAX / 2);
	link_put_bytes(&body, slice_str(event));
	return ask(w,
	    (struct link_header){
		.type = LINK_APPEND, .flags = LINK_DURABLE | LINK_WANT_ACK, .stream = stream, .count = 1},
	    "", &body, NULL, NULL);
}

unsigned fake_finish(struct fake_worker *w, uint64_t call, uint64_t stream, const char *event)
{
	struct link_header h = {.type = LINK_FINISH,
	    .flags = LINK_DURABLE | LINK_WANT_ACK,
	    .corr = call,
	    .stream = stream,
	    .count = event ? 1 : 0};
	struct buf body;

	buf_init(&body, SIZE_MAX / 2);
	if (event)
		link_put_bytes(&body, slice_str(event));
	return ask(w, h, "", &body, NULL, NULL);
}

unsigned fake_cancel(struct fake_worker *w, const char *key, const char *principal, const char *id)
{
	struct buf body;

	buf_init(&body, 1024);
	link_put_bytes(&body, slice_str(principal));
	link_put_bytes(&body, slice_str(id));
	return ask(w, (struct link_header){.type = LINK_CANCEL}, key, &body, NULL, NULL);
}

unsigned fake_close_conn(struct fake_worker *w, uint64_t stream, const char *last)
{
	struct buf body;

	buf_init(&body, 1024);
	link_put_bytes(&body, slice_str(last));
	return ask(w, (struct link_header){.type = LINK_CLOSE_CONN, .stream = stream}, "", &body, NULL, NULL);
}

unsigned fake_park(struct fake_worker *w, uint64_t call, uint64_t stream, uint32_t wait_ms, const char *too_late,
    const char *blob, const char *const *asks)
{
	struct buf body;

	buf_init(&body, SIZE_MAX / 2);
	link_put_u32(&body, wait_ms);
	link_put_bytes(&body, slice_str(too_late));
	link_put_bytes(&body, SLICE("{\"withdrawn\":"));
	link_put_bytes(&body, SLICE("}"));
	link_put_bytes(&body, slice_str(blob));
	put_ids(&body, asks);
	return ask(w, (struct link_header){.type = LINK_PARK, .corr = call, .stream = stream}, "", &body, NULL, NULL);
}

unsigned fake_give(struct fake_worker *w, const char *key, const char *principal, const char *ask_id,
    const char *answer, struct fake_answer *a)
{
	struct link_header h = {.type = LINK_ANSWER};
	struct buf body;
	unsigned nack;

	buf_init(&body, SIZE_MAX / 2);
	link_put_bytes(&body, slice_str(principal));
	link_put_bytes(&body, slice_str(ask_id));
	link_put_bytes(&body, slice_str(answer));
	nack = fake_worker_ask(w, &h, slice_str(key), buf_slice(&body), a);
	buf_release(&body);
	return nack;
}

static void put_topics(struct buf *out, const char *const *topics)
{
	uint16_t n = 0;

	while (topics[n])
		n++;
	link_put_u16(out, n);
	for (unsigned i = 0; i < n; i++)
		link_put_bytes(out, slice_str(topics[i]));
}

unsigned fake_subscribe(struct fake_worker *w, uint64_t stream, const char *key, const char *principal, bool reset,
    const char *insert, const char *const *topics, uint64_t *count)
{
	struct buf body;

	buf_init(&body, SIZE_MAX / 2);
	link_put_bytes(&body, slice_str(principal));
	link_put_u8(&body, reset);
	link_put_bytes(&body, slice_str(insert));
	put_topics(&body, topics);
	return ask(w, (struct link_header){.type = LINK_SUBSCRIBE, .stream = stream}, key, &body, NULL, count);
}

unsigned fake_unsubscribe(
    struct fake_worker *w, uint64_t stream, const char *key, const char *principal, const char *const *topics)
{
	struct buf body;

	buf_init(&body, SIZE_MAX / 2);
	link_put_bytes(&body, slice_str(principal));
	put_topics(&body, topics);
	return ask(w, (struct link_header){.type = LINK_UNSUBSCRIBE, .stream = stream}, key, &body, NULL, NULL);
}

unsigned fake_notify_to(struct fake_worker *w, const char *session, const char *owner, unsigned flags,
    const char *topic, const char *legacy, const char *head, const char *tail, uint64_t *reached)
{
	struct buf body;

	buf_init(&body, SIZE_MAX / 2);
	link_put_u8(&body, (uint8_t)flags);
	link_put_bytes(&body, slice_str(topic));
	link_put_bytes(&body, slice_str(legacy));
	link_put_bytes(&body, slice_str(head));
	link_put_bytes(&body, slice_str(tail));
	if (owner[0])
		link_put_bytes(&body, slice_str(owner));
	return ask(w, (struct link_header){.type = LINK_NOTIFY}, session, &body, NULL, reached);
}

uint64_t fake_notify(
    struct fake_worker *w, unsigned flags, const char *topic, const char *legacy, const char *head, const char *tail)
{
	uint64_t reached = 0;

	assert_int_equal(fake_notify_to(w, "", "", flags, topic, legacy, head, tail, &reached), 0);
	return reached;
}

unsigned fake_task_new(struct fake_worker *w, const char *id, const char *principal, uint64_t ttl_ms, unsigned flags,
    const char *blob, const char *job)
{
	struct buf body;

	buf_init(&body, SIZE_MAX / 2);
	link_put_bytes(&body, slice_str(principal));
	link_put_u64(&body, ttl_ms);
	link_put_u8(&body, (uint8_t)flags);
	link_put_bytes(&body, slice_str(blob));
	link_put_bytes(&body, slice_str(job));
	return ask(w, (struct link_header){.type = LINK_TASK_NEW}, id, &body, NULL, NULL);
}

unsigned fake_task_new_for(struct fake_worker *w, const char *id, const char *principal, const char *owner)
{
	struct buf body;

	buf_init(&body, 1024);
	link_put_bytes(&body, slice_str(principal));
	link_put_u64(&body, 60000);
	link_put_u8(&body, 0);
	link_put_bytes(&body, SLICE("{}"));
	link_put_bytes(&body, SLICE("job"));
	link_put_bytes(&body, slice_str(owner));
	return ask(w, (struct link_header){.type = LINK_TASK_NEW}, id, &body, NULL, NULL);
}

unsigned fake_task_put(struct fake_worker *w, const char *id, unsigned task_state, const char *blob, uint64_t *version)
{
	struct buf body;

	buf_init(&body, SIZE_MAX / 2);
	link_put_u8(&body, (uint8_t)task_state);
	link_put_bytes(&body, slice_str(blob));
	return ask(w, (struct link_header){.type = LINK_TASK_PUT}, id, &body, NULL, version);
}

static void take_task(struct slice *in, struct fake_task *task)
{
	bool bad = false;
	struct slice blob;

	task->state = link_get_u8(in, &bad);
	task->created_ms = link_get_u64(in, &bad);
	task->updated_ms = link_get_u64(in, &bad);
	task->ttl_ms = link_get_u64(in, &bad);
	blob = link_get_bytes(in, &bad);
	assert_false(bad);
	snprintf(task->blob, sizeof(task->blob), "%.*s", blob.len < 60 ? (int)blob.len : 60, blob.p);
}

unsigned fake_task_get(
    struct fake_worker *w, const char *id, const char *principal, uint64_t seen, struct fake_task *task)
{
	struct link_header h = {.type = LINK_TASK_GET};
	struct fake_answer a;
	struct slice in;
	struct buf body;
	bool bad = false;
	unsigned nack;

	buf_init(&body, 1024);
	link_put_bytes(&body, slice_str(principal));
	link_put_u64(&body, seen);
	nack = fake_worker_ask(w, &h, slice_str(id), buf_slice(&body), &a);
	buf_release(&body);
	in = buf_slice(&a.body);
	if (!nack && task) {
		task->version = link_get_u64(&in, &bad);
		take_task(&in, task);
		assert_int_equal(in.len, 0);
	}
	fake_answer_release(&a);
	return nack;
}

unsigned fake_task_list(
    struct fake_worker *w, const char *principal, const char *after, uint16_t max, char *ids, size_t size)
{
	struct link_header h = {.type = LINK_TASK_LIST};
	struct fake_answer a;
	struct slice in;
	struct buf body, out;
	bool bad = false;
	unsigned nack;

	buf_init(&body, 1024);
	link_put_bytes(&body, slice_str(principal));
	link_put_bytes(&body, slice_str(after));
	link_put_u16(&body, max);
	nack = fake_worker_ask(w, &h, SLICE(""), buf_slice(&body), &a);
	buf_release(&body);
	in = buf_slice(&a.body);
	buf_init(&out, size);
	for (unsigned n = nack ? 0 : link_get_u16(&in, &bad); n > 0; n--) {
		struct fake_task task;

		buf_add_slice(&out, link_get_bytes(&in, &bad));
		buf_adds(&out, ",");
		take_task(&in, &task);
	}
	if (!nack && link_get_u8(&in, &bad))
		buf_adds(&out, "more");
	assert_false(bad || (!nack && in.len > 0));
	snprintf(ids, size, "%s", out.data ? out.data : "");
	buf_release(&out);
	fake_answer_release(&a);
	return nack;
}

unsigned fake_task_send(
    struct fake_worker *w, const char *id, const char *principal, unsigned what, const char *body_text)
{
	struct buf body;

	buf_init(&body, SIZE_MAX / 2);
	link_put_bytes(&body, slice_str(principal));
	link_put_u8(&body, (uint8_t)what);
	link_put_bytes(&body, slice_str(body_text));
	return ask(w, (struct link_header){.type = LINK_TASK_SEND}, id, &body, NULL, NULL);
}

unsigned fake_once(struct fake_worker *w, const char *mark, uint32_t keep_s)
{
	struct buf body;

	buf_init(&body, 64);
	link_put_u32(&body, keep_s);
	return ask(w, (struct link_header){.type = LINK_ONCE}, mark, &body, NULL, NULL);
}

static void send_with_fd(struct fake_worker *w, struct link_header h, struct slice body, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov;
	struct msghdr msg = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);
	struct buf packet;

	h.version = LINK_VERSION;
	h.producer = w->producer;
	h.seq = ++w->seq;
	h.body_len = (uint32_t)body.len;
	buf_init(&packet, LINK_PACKET_MAX);
	link_put_header(&packet, &h);
	buf_add_slice(&packet, body);
	iov = (struct iovec){packet.data, packet.len};
	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cm), &fd, sizeof(int));
	assert_int_equal(sendmsg(w->ctl, &msg, 0), packet.len);
	buf_release(&packet);
}

void fake_adopt_fd(
    struct fake_worker *w, uint64_t stream, enum link_kind kind, uint64_t cursor, uint32_t heartbeat_ms, int fd)
{
	struct buf body;

	buf_init(&body, LINK_PACKET_MAX);
	link_put_u8(&body, (uint8_t)kind);
	link_put_u16(&body, 1);
	link_put_u64(&body, cursor);
	link_put_u32(&body, heartbeat_ms);
	link_put_u32(&body, FAKE_RETRY_MS);
	link_put_bytes(&body, SLICE(FAKE_HEAD));
	send_with_fd(w, (struct link_header){.type = LINK_ADOPT, .stream = stream}, buf_slice(&body), fd);
	buf_release(&body);
}

int fake_caller(struct fake_worker *w)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	send_with_fd(w, (struct link_header){.type = LINK_CALLER}, SLICE(""), pair[0]);
	close(pair[0]);
	return pair[1];
}

int fake_adopt(struct fake_worker *w, uint64_t stream, enum link_kind kind, uint64_t cursor, uint32_t heartbeat_ms)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	fake_adopt_fd(w, stream, kind, cursor, heartbeat_ms, pair[0]);
	close(pair[0]);
	return pair[1];
}

void fake_server_init(struct fake_server *s, int fd)
{
	*s = (struct fake_server){.fd = fd};
	buf_init(&s->raw, SIZE_MAX / 2);
	buf_init(&s->text, SIZE_MAX / 2);
}

void fake_server_release(struct fake_server *s)
{
	if (s->fd != -1)
		close(s->fd);
	s->fd = -1;
	buf_release(&s->raw);
	buf_release(&s->text);
}

/* Strict: version, request id, known types, nothing after END_REQUEST. */
static void parse_records(struct fake_server *s)
{
	while (s->raw.len >= 8) {
		const unsigned char *r = (const unsigned char *)s->raw.data;
		size_t len = (size_t)r[4] << 8 | r[5];

		assert_int_equal(r[0], 1);
		assert_int_equal(r[2] << 8 | r[3], 1);
		assert_true(r[1] == 6 || r[1] == 3);
		assert_false(s->ended);
		if (s->raw.len < 8 + len + r[6])
			return;
		if (r[1] == 3)
			s->ended = true;
		else
			buf_add(&s->text, r + 8, len);
		buf_drop(&s->raw, 8 + len + r[6]);
	}
}

bool fake_server_expect(struct fake_server *s, const char *what, int wait_ms)
{
	uint64_t until = now_ms() + (uint64_t)wait_ms;

	for (;;) {
		struct pollfd p = {s->fd, POLLIN, 0};
		uint64_t now = now_ms();
		char bytes[65536];
		ssize_t n;

		if (what ? s->text.data && strstr(s->text.data, what) != NULL : s->closed)
			return what || s->ended;
		if (s->closed || now >= until || poll(&p, 1, (int)(until - now)) <= 0)
			return false;
		n = read(s->fd, bytes, sizeof(bytes));
		if (n <= 0) {
			s->closed = true;
			continue;
		}
		buf_add(&s->raw, bytes, (size_t)n);
		parse_records(s);
	}
}
