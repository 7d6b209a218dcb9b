/* Reports of others on a call: fcgi/report.c, which takes them, and runner/reporter.c, which brings them. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/log.h"
#include "fcgi/worker.h"
#include "runner/reporter.h"
#include "tests/lib/fake_call.h"
#include "tests/lib/mem_fault.h"
#include "tests/lib/scratch.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define LONG_MS 20000

static struct worker w;
static struct scratch scratch;
static struct fake_call call;

/* A call of a site where scripts can publish. */
static const char *begin(void)
{
	const char *handle;
	struct err err = {0};

	fake_call_init(&call, &w.cfg, ERA_MODERN);
	call.call.w = &w;
	assert_int_equal(report_open(&call.call, &handle, &err), 0);
	return handle;
}

static void end(void)
{
	fake_call_release(&call);
}

/* Where the socket of handle is. */
static const char *path_of(const char *handle)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/calls/%.*s", w.cfg.run_dir, REPORT_NAME_LEN, handle);
	return path;
}

struct reporter {
	struct slice handle, params;
	int ret, done_fd;
	enum report_fate fate;
	struct err err;
};

static void *report(void *arg)
{
	struct reporter *r = arg;

	r->ret = reporter_send(&w.cfg, r->handle, r->params, &r->fate, &r->err);
	close(r->done_fd);
	return NULL;
}

/* Reports in another thread, while the call waits for a descriptor of its own: which it has to see as well. */
static void ask(struct reporter *r, const char *handle, struct slice params)
{
	struct pollfd done = {.events = POLLIN};
	struct err err = {0};
	pthread_t thread;
	int pair[2];

	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	*r = (struct reporter){.handle = slice_str(handle), .params = params, .done_fd = pair[1]};
	assert_int_equal(pthread_create(&thread, NULL, report, r), 0);
	done.fd = pair[0];
	assert_int_equal(call_poll(&call.call, &done, 1, LONG_MS, &err), 1);
	assert_true(done.revents);
	pthread_join(thread, NULL);
	close(pair[0]);
}

static const struct {
	const char *name, *params;
	enum report_fate fate;
	enum err_code code;
} rows[] = {
    {"the first", "{\"progress\":1}", REPORT_SENT, ERR_NONE},
    {"doubled", "{\"progress\":1}", REPORT_NOT_MORE, ERR_NONE},
    {"doubled in another way", "{\"progress\":1.0,\"message\":\"x\"}", REPORT_NOT_MORE, ERR_NONE},
    {"a fraction more", "{\"progress\":1.5,\"total\":3,\"message\":\"h\\u00e4lf\"}", REPORT_SENT, ERR_NONE},
    {"less", "{\"progress\":-7}", REPORT_NOT_MORE, ERR_NONE},
    {"large", "{\"progress\":9007199254740993,\"total\":1e300}", REPORT_SENT, ERR_NONE},
    {"no number", "{\"progress\":\"10\"}", 0, ERR_PARAMS},
    {"infinite", "{\"progress\":1e999}", 0, ERR_PARAMS},
    {"not a number", "{\"progress\":NaN}", 0, ERR_PARAMS},
    {"no JSON", "progress", 0, ERR_PARAMS},
    {"no object", "[1]", 0, ERR_PARAMS},
    {"nothing", "", 0, ERR_PARAMS},
};

static void what_comes_is_answered(void **state)
{
	const char *handle = begin();
	struct reporter r;

	(void)state;
	assert_int_equal(strlen(handle), REPORT_HANDLE_LEN);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		ask(&r, handle, slice_str(rows[i].params));
		if (r.err.code != rows[i].code || r.ret != (rows[i].code ? -1 : 0) ||
		    (r.ret == 0 && r.fate != rows[i].fate))
			fail_msg("%s: %s \"%s\" %c", rows[i].name, err_name(r.err.code), r.err.msg, (char)r.fate);
	}
	assert_string_equal(call.notified.data,
	    "notifications/progress {\"progress\":1}\n"
	    "notifications/progress {\"progress\":1.5,\"total\":3,\"message\":\"hälf\"}\n"
	    "notifications/progress {\"progress\":9007199254740993,\"total\":1e300}\n");
	end();
}

/* What the tool says and what others report is one progress. */
static void the_tool_may_say_some_itself(void **state)
{
	const char *handle = begin();
	struct reporter r;
	struct err err;

	(void)state;
	ask(&r, handle, SLICE("{\"progress\":5}"));
	assert_int_equal(
	    call_notify(&call.call, "notifications/progress", jx_parse(SLICE("{\"progress\":4}"), 4, &err), &err), 0);
	assert_int_equal(
	    call_notify(&call.call, "notifications/progress", jx_parse(SLICE("{\"progress\":6}"), 4, &err), &err), 0);
	ask(&r, handle, SLICE("{\"progress\":6}"));
	assert_int_equal(r.fate, REPORT_NOT_MORE);
	assert_string_equal(
	    call.notified.data, "notifications/progress {\"progress\":5}\nnotifications/progress {\"progress\":6}\n");
	end();
}

static int send_fails(struct call *c, struct slice event, struct err *err)
{
	(void)c, (void)event;
	return err_set(err, ERR_BROKER, "away");
}

static void what_could_not_be_passed_on_may_be_said_again(void **state)
{
	const char *handle = begin();
	const struct call_ops *before = call.priv.ops;
	struct call_ops failing = *before;
	struct reporter r;

	(void)state;
	failing.send = send_fails;
	call.priv.ops = &failing;
	ask(&r, handle, SLICE("{\"progress\":1}"));
	assert_int_equal(r.err.code, ERR_BUSY);
	call.priv.ops = before;
	ask(&r, handle, SLICE("{\"progress\":1}"));
	assert_int_equal(r.ret, 0);
	assert_int_equal(r.fate, REPORT_SENT);
	end();
}

static void large_ones_have_an_end(void **state)
{
	const char *handle = begin();
	struct reporter r;
	struct buf params;

	(void)state;
	buf_init(&params, 2 * REPORT_MAX_BYTES);
	buf_adds(&params, "{\"progress\":1,\"message\":\"");
	while (params.len < REPORT_MAX_BYTES - 2)
		buf_adds(&params, "x");
	buf_adds(&params, "\"}");
	assert_int_equal(params.len, REPORT_MAX_BYTES);
	ask(&r, handle, buf_slice(&params));
	assert_int_equal(r.fate, REPORT_SENT);
	buf_adds(&params, " "); /* nobody brings more: the publication was refused. It is cut, and no JSON then */
	params.data[params.len - 2] = ' ';
	params.data[params.len - 1] = '}';
	ask(&r, handle, buf_slice(&params));
	assert_int_equal(r.err.code, ERR_PARAMS);
	buf_release(&params);
	end();
}

static void only_who_knows_the_handle_reports(void **state)
{
	static const char *const bad[] = {"", "x", "none ", "/../../../../../../etc/passwd",
	    "c..........................."
	    "......",
	    "-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "caaaaaaaaaaa/aaaaaaaaaaaaaaaaaaaaa"};
	const char *handle = begin();
	enum report_fate fate;
	struct err err = {0};
	struct reporter r;
	char forged[REPORT_HANDLE_LEN + 1];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		assert_int_equal(reporter_send(&w.cfg, slice_str(bad[i]), SLICE("{\"progress\":1}"), &fate, &err), -1);
		if (err.code != ERR_PARAMS)
			fail_msg("%s: %s", bad[i], err.msg);
	}
	memcpy(forged, handle, sizeof(forged));
	forged[REPORT_HANDLE_LEN - 1] = forged[REPORT_HANDLE_LEN - 1] == 'x' ? 'y' : 'x';
	ask(&r, forged, SLICE("{\"progress\":1}"));
	assert_int_equal(r.err.code, ERR_NOT_FOUND);
	assert_null(call.notified.data);
	ask(&r, handle, SLICE("{\"progress\":1}"));
	assert_int_equal(r.fate, REPORT_SENT);
	end();
}

static int connect_to(const char *handle)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%.107s", path_of(handle));
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

/* A report that is there already, for report_take() to find. */
static int say_to(const char *handle)
{
	char said[256];
	int fd = connect_to(handle);

	snprintf(said, sizeof(said), "%s{\"progress\":1}", handle + REPORT_NAME_LEN);
	assert_int_equal(send(fd, said, strlen(said), 0), strlen(said));
	return fd;
}

static void a_call_that_ended_is_none(void **state)
{
	char handle[REPORT_HANDLE_LEN + 1], other[REPORT_HANDLE_LEN + 1];
	enum report_fate fate;
	struct err err = {0};
	struct reporter r;
	struct stat st;
	char said;
	int fd;

	(void)state;
	memcpy(other, begin(), sizeof(other));
	end();
	memcpy(handle, begin(), sizeof(handle));
	assert_string_not_equal(handle, other);
	assert_int_equal(stat(path_of(handle), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	fake_call_cancel(&call);
	fd = say_to(handle);
	report_take(&call.call);
	assert_true(recv(fd, &said, 1, 0) <= 0);
	assert_null(call.notified.data);
	close(fd);
	assert_int_equal(call_poll(&call.call, NULL, 0, LONG_MS, &err), -1); /* the client wants it no more */
	end();
	assert_int_equal(access(path_of(handle), F_OK), -1);
	assert_int_equal(reporter_send(&w.cfg, slice_str(handle), SLICE("{\"progress\":1}"), &fate, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);

	/* It ends while somebody waits for its answer. */
	pthread_t thread;
	int done_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	memcpy(handle, begin(), sizeof(handle));
	r = (struct reporter){.handle = slice_str(handle), .params = SLICE("{\"progress\":1}"), .done_fd = done_fd};
	assert_int_equal(pthread_create(&thread, NULL, report, &r), 0);
	assert_int_equal(poll(&(struct pollfd){.fd = report_fd(call.priv.report), .events = POLLIN}, 1, LONG_MS), 1);
	end();
	pthread_join(thread, NULL);
	assert_int_equal(r.err.code, ERR_NOT_FOUND);
}

/* Whoever comes and says nothing, or goes, holds up the others only while he is there; the call never. */
static void a_silent_one_does_no_harm(void **state)
{
	const char *handle = begin();
	int64_t before_ms = w.cfg.link_timeout_ms;
	uint64_t began_ms = now_ms();
	enum report_fate fate;
	struct err err = {0};
	struct reporter r;
	int fd = connect_to(handle);

	(void)state;
	assert_int_equal(call_poll(&call.call, NULL, 0, 50, &err), 0);
	assert_true(now_ms() - began_ms >= 50);
	w.cfg.link_timeout_ms = 50;
	assert_int_equal(reporter_send(&w.cfg, slice_str(handle), SLICE("{\"progress\":1}"), &fate, &err), -1);
	assert_int_equal(err.code, ERR_BUSY);
	w.cfg.link_timeout_ms = before_ms;
	close(fd);
	fd = connect_to(handle);
	assert_int_equal(send(fd, "x", 1, 0), 1);
	close(fd); /* and does not wait for what becomes of it */
	ask(&r, handle, SLICE("{\"progress\":2}"));
	assert_int_equal(r.fate, REPORT_SENT);
	end();
}

/* Without a descriptor for who comes, polling would wake up for ever. */
static void without_descriptors_nobody_reports(void **state)
{
	const char *handle = begin();
	struct rlimit before, none;
	struct err err = {0};
	int fd = connect_to(handle);

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	report_take(&call.call);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(access(path_of(handle), F_OK), -1);
	assert_int_equal(call_poll(&call.call, NULL, 0, 20, &err), 0);
	close(fd);
	end();
}

static void who_wants_none_pays_nothing(void **state)
{
	char *socket_path = w.cfg.publish_socket;
	char long_dir[160];
	enum report_fate fate;
	const char *handle;
	struct err err = {0};

	(void)state;
	fake_call_init(&call, &w.cfg, ERA_MODERN);
	call.call.w = &w;
	w.cfg.publish_socket = (char *)""; /* nobody could publish */
	assert_int_equal(report_open(&call.call, &handle, &err), 0);
	assert_null(handle);
	w.cfg.publish_socket = socket_path;
	json_object_put(call.call.progress_token);
	call.call.progress_token = NULL;
	assert_int_equal(report_open(&call.call, &handle, &err), 0);
	assert_string_equal(handle, REPORT_NOBODY);
	assert_null(call.priv.report);
	assert_int_equal(reporter_send(&w.cfg, slice_str(handle), SLICE("{\"progress\":1}"), &fate, &err), 0);
	assert_int_equal(fate, REPORT_UNASKED);
	end();

	/* No socket has so long a name: the call goes on without. */
	char *run_dir = w.cfg.run_dir;

	memset(long_dir, 'x', sizeof(long_dir));
	long_dir[0] = '/';
	long_dir[sizeof(long_dir) - 1] = '\0';
	w.cfg.run_dir = long_dir;
	handle = begin();
	assert_int_equal(call_poll(&call.call, NULL, 0, 1, &err), 0);
	assert_int_equal(reporter_send(&w.cfg, slice_str(handle), SLICE("{\"progress\":1}"), &fate, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	end();
	w.cfg.run_dir = run_dir;
}

static void what_the_killed_left_is_swept(void **state)
{
	static const char left[] = "cleft0000000secret", young[] = "cyoung000000secret", file[] = "cfile0000000secret";
	const struct timespec old[] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	char alive[REPORT_HANDLE_LEN + 1];
	const char *const made[] = {left, young};
	struct reporter r;

	(void)state;
	memcpy(alive, begin(), sizeof(alive));
	for (size_t i = 0; i < COUNT_OF(made); i++) {
		struct sockaddr_un sun = {.sun_family = AF_UNIX};
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

		snprintf(sun.sun_path, sizeof(sun.sun_path), "%.107s", path_of(made[i]));
		assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
		close(fd);
	}
	close(open(path_of(file), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	assert_int_equal(utimensat(AT_FDCWD, path_of(left), old, 0), 0);
	assert_int_equal(utimensat(AT_FDCWD, path_of(file), old, 0), 0);
	assert_int_equal(utimensat(AT_FDCWD, path_of(alive), old, 0), 0);
	reporter_sweep(&w.cfg);
	assert_int_equal(access(path_of(left), F_OK), -1);
	assert_int_equal(access(path_of(young), F_OK), 0); /* perhaps somebody is about to listen */
	assert_int_equal(access(path_of(file), F_OK), 0);
	ask(&r, alive, SLICE("{\"progress\":1}"));
	assert_int_equal(r.fate, REPORT_SENT);
	end();
	unlink(path_of(young));
	unlink(path_of(file));
}

static void without_memory_it_does_not_begin(void **state)
{
	bool reached = true;

	(void)state;
	for (long nth = 0; reached; nth++) {
		struct err err = {0};
		const char *handle;
		int ret;

		fake_call_init(&call, &w.cfg, ERA_MODERN);
		call.call.w = &w;
		mem_fault_at(nth, 1);
		ret = report_open(&call.call, &handle, &err);
		reached = mem_fault_end();
		assert_int_equal(ret, reached ? -1 : 0);
		assert_int_equal(err.code, reached ? ERR_NOMEM : ERR_NONE);
		end();
	}
}

static void without_memory_that_is_the_answer(void **state)
{
	bool reached = true;

	(void)state;
	for (long nth = 0; reached; nth++) {
		const char *handle = begin();
		int fd = say_to(handle);
		char said[2];

		mem_fault_at(nth, 1);
		report_take(&call.call);
		reached = mem_fault_end();
		assert_int_equal(recv(fd, said, sizeof(said), 0), 1);
		assert_true(said[0] == REPORT_SENT || (reached && said[0] == REPORT_FAILED));
		assert_true(nth > 0 || said[0] == REPORT_FAILED);
		close(fd);
		end();
	}
}

static void set(char **setting, const char *val)
{
	mem_free(*setting);
	*setting = mem_dup(val, strlen(val));
}

static int set_up(void **state)
{
	struct err err;

	(void)state;
	scratch_init(&scratch);
	assert_int_equal(cfg_init(&w.cfg, &err), 0);
	set(&w.cfg.run_dir, scratch.dir);
	set(&w.cfg.publish_socket, "/nowhere"); /* it only says that somebody may publish */
	w.cfg.runner_autostart = false;
	w.link = link_new(&w.cfg);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	link_free(&w.link);
	cfg_release(&w.cfg);
	scratch_release(&scratch);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_comes_is_answered),
	    cmocka_unit_test(the_tool_may_say_some_itself),
	    cmocka_unit_test(what_could_not_be_passed_on_may_be_said_again),
	    cmocka_unit_test(large_ones_have_an_end),
	    cmocka_unit_test(only_who_knows_the_handle_reports),
	    cmocka_unit_test(a_call_that_ended_is_none),
	    cmocka_unit_test(a_silent_one_does_no_harm),
	    cmocka_unit_test(without_descriptors_nobody_reports),
	    cmocka_unit_test(who_wants_none_pays_nothing),
	    cmocka_unit_test(what_the_killed_left_is_swept),
	    cmocka_unit_test(without_memory_it_does_not_begin),
	    cmocka_unit_test(without_memory_that_is_the_answer),
	};

	log_init("test_report", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
