/* A broker with few descriptors, and everybody who costs it one: control connections, workers, clients, its store, who
 * asks its admin socket. libzmq aborts the process when it has none for a peer (DESIGN: so the budget refuses before),
 * which must never happen: each is refused in a way that it understands, what is under way goes on, and who comes when
 * there is room again is served. */
#include "config.h"

#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/broker_fixture.h"
#include "tests/lib/fake_admin.h"
#include "common/banned.h"

#define LIMIT      96
#define RESERVE    24
#define MANY       300
#define LOG_KEPT   262144
#define IDLE_MS    800
#define IDLE_CPU_S 0.1 /* a loop that spins takes at least twice that, though others share the machine */

static const char *const sets[] = {"broker_fd_reserve=24", "link_timeout_ms=60000"};
static int log_fd;

/* Its log goes into memory. */
static int setup(void **state)
{
	int before = dup(STDERR_FILENO), ret;

	log_fd = memfd_create("log", 0);
	assert_int_not_equal(log_fd, -1);
	assert_int_equal(dup2(log_fd, STDERR_FILENO), STDERR_FILENO);
	ret = fixture_start(state, sets, COUNT_OF(sets), LIMIT);
	assert_int_equal(dup2(before, STDERR_FILENO), STDERR_FILENO);
	close(before);
	return ret;
}

static int teardown(void **state)
{
	close(log_fd);
	return fixture_teardown(state);
}

static bool is_logged(const char *what)
{
	static char text[LOG_KEPT];
	ssize_t n = pread(log_fd, text, sizeof(text), 0);

	return n > 0 && memmem(text, (size_t)n, what, strlen(what));
}

static void wait_until(bool (*is)(const void *arg), const void *arg, const char *what)
{
	for (int waited = 0; waited < FAKE_WAIT_MS; waited += 10) {
		if (is(arg))
			return;
		usleep(10000);
	}
	fail_msg("not in time: %s", what);
}

static double free_now(const struct fixture *f)
{
	return fake_admin_metric(f->broker.dir, "descriptors_free");
}

static bool has_free(const void *arg)
{
	return free_now(arg) >= 4;
}

static unsigned open_modern(struct fixture *f, uint64_t *call, uint64_t *stream)
{
	return fake_open(&f->w, "", LINK_STREAM_MODERN, 0, one_id, call, stream);
}

/* Opens streams and hands connections over until it is refused. */
static size_t fill_with_clients(struct fixture *f, uint64_t *calls, uint64_t *streams, struct fake_server *clients)
{
	size_t count = 0;
	unsigned nack;

	while (count < LIMIT && (nack = open_modern(f, &calls[count], &streams[count])) == 0) {
		fake_server_init(&clients[count], fake_adopt(&f->w, streams[count], LINK_KIND_FCGI, 0, 15000));
		expect_text(&clients[count], FAKE_HEAD);
		count++;
	}
	assert_int_equal(nack, LINK_NACK_LIMIT);
	return count;
}

static void expect_alive(struct fixture *f)
{
	assert_int_equal(kill(f->broker.pid, 0), 0);
	assert_true(free_now(f) >= 0);
}

/* How many of fds the broker has ended. */
static size_t count_ended(const int *fds, size_t count)
{
	size_t ended = 0;
	char byte;

	for (size_t i = 0; i < count; i++)
		ended += recv(fds[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
	return ended;
}

static bool are_few_left(const void *fds)
{
	return MANY - count_ended(fds, MANY) <= (LIMIT - RESERVE) / 2;
}

static void close_all(const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
}

static void peers_that_say_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t begun_ms = now_ms(), call, stream;
	int fds[MANY];
	size_t kept;

	for (size_t i = 0; i < MANY; i++) {
		fds[i] = fake_ctl_connect(f->broker.dir); /* waits while its backlog is full */
		assert_int_not_equal(fds[i], -1);
	}
	expect_alive(f);
	wait_until(are_few_left, fds, "that it ends those that it has no descriptors for");
	kept = MANY - count_ended(fds, MANY);
	assert_true(kept >= 4);
	assert_true(free_now(f) < 2);
	assert_true(is_logged("broker.fds_short"));
	assert_true(is_logged("no descriptors left"));
	if (free_now(f) == 1)
		assert_int_equal(open_modern(f, &call, &stream), 0);
	assert_int_equal(open_modern(f, &call, &stream), LINK_NACK_LIMIT);
	close_all(fds, MANY);
	wait_until(has_free, f, "descriptors after the onslaught");
	assert_int_equal(open_modern(f, &call, &stream), 0);
	print_message("# control connections: %d came, %zu were kept, lost 0, took %" PRIu64 " ms\n", MANY, kept,
	    now_ms() - begun_ms);
}

static void workers_and_clients(void **state)
{
	struct fixture *f = *state;
	uint64_t begun_ms = now_ms(), calls[LIMIT], streams[LIMIT], call, stream;
	struct fake_server clients[LIMIT], s;
	struct fake_worker workers[LIMIT / 2];
	size_t workers_count = 0, count;
	int fd;

	make_session(f);
	make_stream(f, &call, &stream, &s);
	for (; free_now(f) >= 8; workers_count++) {
		fake_worker_connect(&workers[workers_count], f->broker.dir);
		assert_int_equal(fake_call_begin(&workers[workers_count], KEY, HIM, 0, NULL, NULL, NULL), 0);
	}
	count = fill_with_clients(f, calls, streams, clients);
	assert_in_range(count, 6, 8);
	assert_true(is_logged("limit.reached limit=descriptors"));
	fd = fake_ctl_connect(f->broker.dir);
	expect_alive(f);
	assert_int_equal(count_ended(&fd, 1), 1); /* another worker is refused */
	close(fd);
	/* Whoever is there goes on, the store too: this is kept before it is acknowledged. */
	assert_int_equal(fake_append(&f->w, stream, "{\"n\":1}"), 0);
	expect_text(&s, "{\"n\":1}");
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(fake_finish(&f->w, calls[i], streams[i], "{}"), 0);
		expect_end(&clients[i]);
		fake_server_release(&clients[i]);
	}
	for (size_t i = 0; i < workers_count; i++)
		fake_worker_die(&workers[i]);
	wait_until(has_free, f, "descriptors after workers and clients");
	assert_int_equal(open_modern(f, &call, &stream), 0);
	fake_server_release(&s);
	print_message(
	    "# %zu workers, %zu clients, lost 0, took %" PRIu64 " ms\n", workers_count, count, now_ms() - begun_ms);
}

static void who_asks_the_admin_socket(void **state)
{
	static const char get[] = "GET /metrics HTTP/1.0\r\n\r\n";
	struct fixture *f = *state;
	uint64_t begun_ms = now_ms(), calls[LIMIT], streams[LIMIT];
	struct fake_server clients[LIMIT];
	size_t count = fill_with_clients(f, calls, streams, clients);
	int fds[64];

	for (size_t i = 0; i < COUNT_OF(fds); i++)
		fds[i] = fake_admin_connect(f->broker.dir); /* and says nothing yet */
	for (size_t i = 0; i < COUNT_OF(fds); i++) {
		struct buf out;

		assert_int_equal(send(fds[i], get, sizeof(get) - 1, 0), sizeof(get) - 1);
		fake_admin_read(fds[i], &out);
		assert_non_null(strstr(out.data, "mcp_descriptors_free 0"));
		buf_release(&out);
	}
	for (size_t i = 0; i < count; i++)
		fake_server_release(&clients[i]);
	wait_until(has_free, f, "descriptors after clients");
	print_message("# %zu clients, %zu questions to the admin socket, lost 0, took %" PRIu64 " ms\n", count,
	    COUNT_OF(fds), now_ms() - begun_ms);
}

static int data_connect(const struct fixture *f)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s", f->broker.dir, LINK_ZMQ_NAME);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

/* Who may enter the directory may connect there without being anybody's worker: the budget does not know of them. */
static void peers_of_the_data_channel(void **state)
{
	struct fixture *f = *state;
	uint64_t begun_ms = now_ms(), call, stream;
	struct fake_worker other;
	struct fake_server s;
	int fds[MANY];

	make_session(f);
	make_stream(f, &call, &stream, &s);
	for (size_t i = 0; i < MANY; i++)
		fds[i] = data_connect(f);
	assert_int_equal(fake_append(&f->w, stream, "{\"n\":1}"), 0);
	expect_text(&s, "{\"n\":1}");
	expect_alive(f);
	assert_true(is_logged("bus.refused"));
	close_all(fds, MANY);
	fake_worker_connect(&other, f->broker.dir);
	assert_int_equal(fake_call_begin(&other, KEY, HIM, 0, NULL, NULL, NULL), 0);
	fake_worker_die(&other);
	fake_server_release(&s);
	print_message("# data channel: %d strangers, lost 0, took %" PRIu64 " ms\n", MANY, now_ms() - begun_ms);
}

static double cpu_s(pid_t pid)
{
	unsigned long user, sys;
	char path[64];
	FILE *file;
	int n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "r");
	assert_non_null(file);
	n = fscanf(file, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys);
	fclose(file);
	assert_int_equal(n, 2);
	return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

static unsigned open_fds(pid_t pid)
{
	unsigned count = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	assert_non_null(dir);
	for (struct dirent *e; (e = readdir(dir)) != NULL;)
		count += e->d_name[0] != '.';
	closedir(dir);
	return count;
}

/* The budget was right, but then somebody else took what it counted on. */
static void accept_without_a_descriptor(void **state)
{
	struct fixture *f = *state;
	uint64_t begun_ms = now_ms(), call, stream;
	struct rlimit was, none;
	struct fake_server s;
	double cpu;
	int ctl, admin;

	make_session(f);
	make_stream(f, &call, &stream, &s);
	expect_text(&s, FAKE_HEAD);
	usleep(50000); /* what metrics asked is closed */
	assert_int_equal(prlimit(f->broker.pid, RLIMIT_NOFILE, NULL, &was), 0);
	none = (struct rlimit){3, was.rlim_max}; /* nothing that is open has a number below that */
	assert_true(open_fds(f->broker.pid) > 3);
	assert_int_equal(prlimit(f->broker.pid, RLIMIT_NOFILE, &none, NULL), 0);
	ctl = fake_ctl_connect(f->broker.dir);
	admin = fake_admin_connect(f->broker.dir);
	cpu = cpu_s(f->broker.pid);
	usleep(IDLE_MS * 1000);
	cpu = cpu_s(f->broker.pid) - cpu;
	if (cpu > IDLE_CPU_S)
		fail_msg("it took %.2f s of CPU in %d ms, in which nothing could be done", cpu, IDLE_MS);
	assert_true(is_logged("gate.closed"));
	assert_int_equal(fake_append(&f->w, stream, "{\"n\":1}"), 0);
	expect_text(&s, "{\"n\":1}");
	assert_int_equal(prlimit(f->broker.pid, RLIMIT_NOFILE, &was, NULL), 0);
	expect_alive(f); /* behind the one who waited */
	close(ctl);
	close(admin);
	fake_server_release(&s);
	print_message("# without a descriptor for %d ms, %.2f s of CPU, lost 0, took %" PRIu64 " ms\n", IDLE_MS, cpu,
	    now_ms() - begun_ms);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(peers_that_say_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(workers_and_clients, setup, teardown),
	    cmocka_unit_test_setup_teardown(who_asks_the_admin_socket, setup, teardown),
	    cmocka_unit_test_setup_teardown(peers_of_the_data_channel, setup, teardown),
	    cmocka_unit_test_setup_teardown(accept_without_a_descriptor, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
