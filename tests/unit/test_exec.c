/* exec tools against the real mcp-launch of this build. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/jx.h"
#include "tests/lib/fake_call.h"
#include "tests/lib/toolfile.h"
#include "common/banned.h"

#define ERROR(text) "{\"content\":[{\"type\":\"text\",\"text\":\"" text "\"}],\"isError\":true}"
#define GOOD(text)  "{\"content\":[{\"type\":\"text\",\"text\":\"" text "\"}]}"
#define TOOL        "{\"exec\":[\"./tool\"]" /* the script of the row */
#define ANY         ",\"input\":{\"type\":\"object\"}"

static struct toolfile file;

/* A set of one tool "t" with this definition, and the shell script "tool" beside it. */
static const struct tool *load(const char *script, const char *def)
{
	const char *top = getenv("abs_top_builddir");
	struct buf text;
	struct err err;

	buf_init(&text, 65536);
	if (script) {
		buf_addf(&text, "#!/bin/sh\n%s\n", script);
		toolfile_write(&file, "tool", text.data, 0755);
		buf_clear(&text);
	}
	buf_addf(&text, "{\"exec\":{\"launcher\":\"%s/mcp-launch\",\"stderr_max_bytes\":256},\"tools\":{\"t\":%s}}",
	    top ? top : ".", def);
	if (toolfile_load(&file, text.data, &err))
		fail_msg("%s: %s %s", def, err.msg, file.complaints.data ? file.complaints.data : "");
	buf_release(&text);
	return &file.set.tools[0];
}

static char *run(struct fake_call *call, const struct tool *tool, const char *args_text, struct err *err)
{
	json_object *args = jx_parse(slice_str(args_text), 64, err), *result = NULL;
	struct buf text;
	int ret;

	assert_non_null(args);
	buf_init(&text, 1 << 22);
	ret = tool->provider->call(&call->call, tool, args, &result, err);
	assert_true((ret == 0 && !call_is_asking(&call->call)) == (result != NULL));
	if (result)
		jx_write(&text, result);
	json_object_put(result);
	json_object_put(args);
	return text.data;
}

#define NO_WORD                                                                                                        \
	"t: argument a can't be a word of a command: it must be a string, number or boolean of at most 4096 bytes, "   \
	"without NUL"

static const struct {
	const char *name, *script, *def, *args, *want;
} rows[] = {
    {"stdin holds all arguments", NULL, "{\"exec\":[\"/bin/cat\"]" ANY "}", "{\"a\":[1,2.50],\"b\":\"x\\n\"}",
	GOOD("{\\\"a\\\":[1,2.50],\\\"b\\\":\\\"x\\\\n\\\"}\\n")},
    {"a program is looked for in PATH", NULL, "{\"exec\":[\"echo\",\"hi\"]}", "{}", GOOD("hi\\n")},
    {"nobody can report on it", "echo \"${MCP_CALL-unset}\"", TOOL "}", "{}", GOOD("unset\\n")},
    {"placeholders", NULL, "{\"exec\":[\"/bin/echo\",\"{a}-{b}\",\"{{{a}\",\"{n}\",\"{f}\",\"a}\"]" ANY "}",
	"{\"a\":\"x y\",\"b\":\"$HOME;?\",\"n\":-1.5,\"f\":true}", GOOD("x y-$HOME;? {x y -1.5 true a}\\n")},
    {"a missing argument takes its word along", NULL, "{\"exec\":[\"/bin/echo\",\"1\",\"x{a}\",\"2\"]" ANY "}", "{}",
	GOOD("1 2\\n")},
    {"an empty argument is a word", "echo $#", "{\"exec\":[\"./tool\",\"{a}\",\"\"]" ANY "}", "{\"a\":\"\"}",
	GOOD("2\\n")},
    {"a default stands in", NULL,
	"{\"exec\":[\"/bin/echo\",\"{d}\"],\"input\":{\"d\":{\"type\":\"integer\",\"default\":3}}}", "{}",
	GOOD("3\\n")},
    {"an option in disguise", NULL, "{\"exec\":[\"/bin/echo\",\"{a}\"]" ANY "}", "{\"a\":\"-n\"}",
	ERROR("t: argument a must not begin with '-'")},
    {"after -- it is none", NULL, "{\"exec\":[\"/bin/echo\",\"--\",\"{a}\"]" ANY "}", "{\"a\":\"-n\"}",
	GOOD("-- -n\\n")},
    {"inside a word it is none", NULL, "{\"exec\":[\"/bin/echo\",\"a={a}\"]" ANY "}", "{\"a\":\"-n\"}",
	GOOD("a=-n\\n")},
    {"an object is no word", NULL, "{\"exec\":[\"/bin/echo\",\"{a}\"]" ANY "}", "{\"a\":{}}", ERROR(NO_WORD)},
    {"a NUL is no word", NULL, "{\"exec\":[\"/bin/echo\",\"{a}\"]" ANY "}", "{\"a\":\"x\\u0000y\"}", ERROR(NO_WORD)},
    {"environment", "echo \"$MCP_ARG_A_B|$MCP_ARG_N|$MCP_ARG_O|$MCP_TOOL|$MCP_FD|$X|$MCP_TEST_SECRET\"",
	TOOL ",\"env\":{\"X\":\"y\"}" ANY "}", "{\"a-b\":\"q\",\"n\":7,\"o\":[1]}", GOOD("q|7||t|3|y|\\n")},
    {"inherited environment", "echo $MCP_TEST_SECRET", TOOL ",\"inherit_env\":[\"MCP_TEST_SECRET\"]}", "{}",
	GOOD("s3cret\\n")},
    {"own environment wins over what is inherited", "echo $HOME", TOOL ",\"env\":{\"HOME\":\"/h\"}}", "{}",
	GOOD("/h\\n")},
    {"directory", NULL, "{\"exec\":[\"/bin/pwd\"],\"cwd\":\"/\"}", "{}", GOOD("/\\n")},
    {"json", "echo ' {\"a\": 1}'", TOOL ",\"output\":\"json\"}", "{}",
	"{\"content\":[{\"type\":\"text\",\"text\":\"{\\\"a\\\":1}\"}],\"structuredContent\":{\"a\":1}}"},
    {"json that is none", "echo '{'", TOOL ",\"output\":\"json\"}", "{}",
	ERROR("t: its output is not the JSON that it should be: *")},
    {"json against its schema", "echo '{\"a\":\"x\"}'",
	TOOL
	",\"output\":\"json\",\"output_schema\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}}}}",
	"{}",
	ERROR(
	    "t: its output does not fit its schema: /a: must be an integer, not a string\\n{\\\"a\\\":\\\"x\\\"}\\n")},
    {"result", "echo '{\"content\":[],\"isError\":true}'", TOOL ",\"output\":\"result\"}", "{}",
	"{\"content\":[],\"isError\":true}"},
    {"result of no shape", "echo '{\"content\":[{\"type\":\"text\"}]}'", TOOL ",\"output\":\"result\"}", "{}",
	ERROR("t: its output is not a result: content[0].text must be a string\\n"
	      "{\\\"content\\\":[{\\\"type\\\":\\\"text\\\"}]}\\n")},
    {"result without what its schema describes", "echo '{\"content\":[]}'",
	TOOL ",\"output\":\"result\",\"output_schema\":{\"type\":\"object\"}}", "{}",
	ERROR("t: its output does not fit its schema: structuredContent is missing\\n{\\\"content\\\":[]}\\n")},
    {"exit status", "echo out; echo oops >&2; exit 3", TOOL "}", "{}",
	ERROR("t: exited with status 3\\noops\\nout\\n")},
    {"signal", "kill -9 $$", TOOL "}", "{}", ERROR("t: was ended by signal 9 (Killed)")},
    {"stderr of a success is not told", "echo out; echo oops >&2", TOOL "}", "{}", GOOD("out\\n")},
    {"the end of a long stderr is kept", "i=100; while [ $i -lt 200 ]; do echo line$i >&2; i=$((i+1)); done; exit 1",
	TOOL "}", "{}", ERROR("t: exited with status 1\\nline168\\n*line199\\n")},
    {"bytes that are not UTF-8", "printf 'a\\377b'", TOOL "}", "{}",
	GOOD("a\xef\xbf\xbd"
	     "b")},
    {"too much output", "exec yes", TOOL ",\"output_max_bytes\":2000}", "{}", ERROR("t: wrote more than 2000 bytes")},
    {"too much output, and gone", "head -c 5000 /dev/zero", TOOL ",\"output_max_bytes\":2000}", "{}",
	ERROR("t: wrote more than 2000 bytes")},
    {"timeout", "echo a; exec sleep 60", TOOL ",\"timeout_s\":1}", "{}", ERROR("t: timed out after 1 s\\na\\n")},
    {"nobody waits for what holds stdout", "echo a; sleep 60 &", TOOL "}", "{}", GOOD("a\\n")},
    {"a closed stdout is no end", "exec >&-; sleep 0.1; exit 7", TOOL "}", "{}", ERROR("t: exited with status 7")},
    {"nothing is open but 0 to 3, and what ls reads", NULL, "{\"exec\":[\"/bin/ls\",\"/proc/self/fd\"]}", "{}",
	GOOD("0\\n1\\n2\\n3\\n4\\n")},
    {"limit of CPU time", "while :; do :; done", TOOL ",\"limits\":{\"cpu_s\":1},\"timeout_s\":20}", "{}",
	ERROR("t: was ended by signal 9 (Killed)")},
};

/* want may hold one '*': any bytes. */
static bool is_as_wanted(const char *got, const char *want)
{
	size_t head = strcspn(want, "*"), tail = strlen(want) - head, len = strlen(got);

	if (tail == 0)
		return strcmp(got, want) == 0;
	tail--;
	return len >= head + tail && memcmp(got, want, head) == 0 && strcmp(got + len - tail, want + head + 1) == 0;
}

static void test_rows(void **state)
{
	int failures = 0;

	(void)state;
	setenv("MCP_TEST_SECRET", "s3cret", 1);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const struct tool *tool = load(rows[i].script, rows[i].def);
		struct fake_call call;
		struct err err = {0};
		char *got;

		fake_call_init(&call, &file.cfg, ERA_MODERN);
		got = run(&call, tool, rows[i].args, &err);
		if (!got || !is_as_wanted(got, rows[i].want)) {
			print_message("# %s: %s\n", rows[i].name, got ? got : err.msg);
			failures++;
		}
		free(got);
		fake_call_release(&call);
	}
	assert_int_equal(failures, 0);
}

/* Each of a request's many arguments would be a variable: they are too much long before they are many. */
static void test_many_arguments(void **state)
{
	uint64_t start = now_ms();
	struct fake_call call;
	struct err err = {0};
	struct buf args;
	const struct tool *tool;
	char *got;

	(void)state;
	buf_init(&args, 1 << 22);
	for (int i = 0; i < 200000; i++)
		buf_addf(&args, "%s\"a%d\":1", i ? "," : "{", i);
	buf_adds(&args, "}");
	tool = load(NULL, "{\"exec\":[\"/bin/cat\"]" ANY "}");
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	got = run(&call, tool, args.data, &err);
	assert_string_equal(got, ERROR("t: its arguments are too long"));
	assert_true(now_ms() - start < 10000);
	free(got);
	buf_release(&args);
	fake_call_release(&call);
}

static void test_messages(void **state)
{
	const struct tool *tool = load(
	    "for i in 1 2; do echo '{\"method\":\"notifications/progress\",\"params\":{\"progress\":'$i'}}' >&3; done\n"
	    "echo bad >&3; echo '{}' >&3; head -c 70000 /dev/zero | tr '\\0' x >&3; echo >&3\n"
	    "echo '{\"method\":\"tools/list\",\"params\":{}}' >&3\n"
	    "printf '{\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":1}}' >&3; echo ok",
	    TOOL "}");
	struct fake_call call;
	struct err err = {0};
	char *got;

	(void)state;
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	got = run(&call, tool, "{}", &err);
	assert_string_equal(got, GOOD("ok\\n"));
	assert_string_equal(call.notified.data, "notifications/progress {\"progress\":1}\n"
						"notifications/progress {\"progress\":2}\n"
						"notifications/message {\"level\":\"info\",\"data\":1}\n");
	free(got);
	fake_call_release(&call);
}

static pid_t read_pid(const char *name)
{
	char path[256];
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", file.dir, name);
	for (int i = 0; i < 500 && pid == 0; i++) {
		f = fopen(path, "re");
		if (!f || fscanf(f, "%d", &pid) != 1)
			usleep(10000); /* another process writes it */
		if (f)
			fclose(f);
	}
	assert_int_not_equal(pid, 0);
	return pid;
}

static bool is_running(pid_t pid)
{
	char path[64], line[200] = "", *paren;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	paren = strrchr(line, ')');
	return paren && paren[2] != 'Z' && paren[2] != 'X';
}

static void assert_ends(pid_t pid)
{
	for (int i = 0; i < 500 && is_running(pid); i++)
		usleep(10000); /* the kernel kills when it comes to it */
	assert_false(is_running(pid));
}

/* Writes its own pid and that of a grandchild, says so on descriptor 3, and stays. */
#define SLEEPER                                                                                                        \
	"sleep 1000 & echo $! > grandchild; echo $$ > child\n"                                                         \
	"echo '{\"method\":\"notifications/progress\",\"params\":{\"progress\":1}}' >&3; sleep 1000"

static void forget_pids(void)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/child", file.dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/grandchild", file.dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/clean", file.dir);
	unlink(path);
}

static void test_timeout_kills_the_group(void **state)
{
	const struct tool *tool = load(SLEEPER, TOOL ",\"timeout_s\":1}");
	struct fake_call call;
	struct err err = {0};
	char *got;

	(void)state;
	forget_pids();
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	got = run(&call, tool, "{}", &err);
	assert_string_equal(got, ERROR("t: timed out after 1 s"));
	assert_ends(read_pid("child"));
	assert_ends(read_pid("grandchild"));
	free(got);
	fake_call_release(&call);
}

static void test_end_kills_what_is_left(void **state)
{
	const struct tool *tool = load("sleep 1000 & echo $! > grandchild; echo done", TOOL "}");
	struct fake_call call;
	struct err err = {0};
	char *got;

	(void)state;
	forget_pids();
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	got = run(&call, tool, "{}", &err);
	assert_string_equal(got, GOOD("done\\n"));
	assert_ends(read_pid("grandchild"));
	free(got);
	fake_call_release(&call);
}

static void test_cancel_kills_the_group(void **state)
{
	const struct tool *tool = load(SLEEPER, TOOL "}");
	struct fake_call call;
	struct err err = {0};

	(void)state;
	forget_pids();
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	call.cancel_on_notify = true;
	assert_null(run(&call, tool, "{}", &err));
	assert_int_equal(err.code, ERR_CANCELLED);
	assert_ends(read_pid("child"));
	assert_ends(read_pid("grandchild"));
	fake_call_release(&call);
}

/* A process beside us that calls the tool, as a worker does. */
static pid_t start_worker(const struct tool *tool)
{
	struct fake_call call;
	struct err err = {0};
	pid_t pid = fork();

	if (pid)
		return pid;
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	run(&call, tool, "{}", &err);
	_exit(err.code == ERR_INTERNAL ? 42 : 1);
}

static void test_worker_killed(void **state)
{
	pid_t worker;
	int status;

	(void)state;
	forget_pids();
	worker = start_worker(load(SLEEPER, TOOL "}"));
	read_pid("child");
	assert_int_equal(kill(worker, SIGKILL), 0);
	assert_int_equal(waitpid(worker, &status, 0), worker);
	assert_ends(read_pid("child"));
	assert_ends(read_pid("grandchild"));
}

/* As SLEEPER, but at SIGTERM what stands before it is done, by the shell alone: "" ignores it, children too. */
#define TRAPPER(on_term)                                                                                               \
	"trap '" on_term "' TERM; sleep 1000 & echo $! > grandchild; echo $$ > child\n"                                \
	"echo '{\"method\":\"notifications/progress\",\"params\":{\"progress\":1}}' >&3; wait; wait"

static void test_grace(void **state)
{
	static const struct {
		const char *name, *script;
		bool is_clean;
	} cases[] = {
	    {"cleans up", TRAPPER("sleep 0.2; echo so >&2; echo then >&3; echo $$ > clean; exit"), true},
	    {"cleans up, and leaves something behind",
		TRAPPER("(trap \"\" TERM; exec sleep 1000) & echo $! > grandchild; echo $$ > clean; exit"), true},
	    {"does not want to end", TRAPPER(""), false},
	    {"wants to go on", TRAPPER("echo $$ > clean; sleep 1000"), true},
	};
	char path[256];

	(void)state;
	snprintf(path, sizeof(path), "%s/clean", file.dir);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct tool *tool = load(cases[i].script, TOOL "}");
		struct fake_call call;
		struct err err = {0};

		forget_pids();
		fake_call_init(&call, &file.cfg, ERA_MODERN);
		call.cancel_on_notify = true;
		assert_null(run(&call, tool, "{}", &err));
		assert_ends(read_pid("child"));
		assert_ends(read_pid("grandchild"));
		if ((access(path, F_OK) == 0) != cases[i].is_clean)
			fail_msg("%s", cases[i].name);
		fake_call_release(&call);
	}
}

static void test_worker_killed_grace(void **state)
{
	pid_t worker;
	int status;

	(void)state;
	forget_pids();
	worker = start_worker(load(TRAPPER("echo $$ > clean; exit"), TOOL "}"));
	read_pid("child");
	assert_int_equal(kill(worker, SIGKILL), 0);
	assert_int_equal(waitpid(worker, &status, 0), worker);
	assert_int_equal(read_pid("clean"), read_pid("child"));
	assert_ends(read_pid("child"));
	assert_ends(read_pid("grandchild"));
}

static pid_t parent_of(pid_t pid)
{
	char path[64], line[200] = "", *paren;
	int parent = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	fclose(f);
	paren = strrchr(line, ')');
	assert_non_null(paren);
	assert_int_equal(sscanf(paren + 1, " %*c %d", &parent), 1);
	return parent;
}

static void test_launcher_killed(void **state)
{
	const struct tool *tool = load(SLEEPER, TOOL "}"), *again;
	struct fake_call call;
	struct err err = {0};
	pid_t worker, launcher, grandchild;
	char *got;
	int status;

	(void)state;
	/* In a process beside us the call fails as ours, not the tool's ... */
	forget_pids();
	worker = start_worker(tool);
	grandchild = read_pid("grandchild");
	launcher = parent_of(read_pid("child"));
	assert_int_not_equal(launcher, worker);
	assert_int_equal(kill(launcher, SIGKILL), 0);
	assert_int_equal(waitpid(worker, &status, 0), worker);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
	assert_ends(read_pid("child"));
	kill(grandchild, SIGKILL); /* its group's keeper was killed: the one case in which something is left */

	/* ... and here the next call starts another launcher. */
	again = load("echo $PPID", TOOL "}");
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	got = run(&call, again, "{}", &err);
	launcher = (pid_t)strtol(strstr(got, "\"text\":\"") + 8, NULL, 10);
	free(got);
	assert_int_equal(kill(launcher, SIGKILL), 0);
	assert_ends(launcher);
	got = run(&call, again, "{}", &err);
	if (!got)
		fail_msg("%s", err.msg);
	assert_int_not_equal(launcher, (pid_t)strtol(strstr(got, "\"text\":\"") + 8, NULL, 10));
	free(got);
	fake_call_release(&call);
}

/* libfcgi accepts clients' connections without CLOEXEC: one that the launcher keeps is one that never ends. */
static void test_launcher_keeps_nothing(void **state)
{
	const struct tool *tool = load(SLEEPER, TOOL "}");
	struct pollfd end = {.events = POLLIN};
	int fds[2], copies[16], status;
	pid_t worker, launcher;

	(void)state;
	forget_pids();
	assert_int_equal(pipe(fds), 0);
	end.fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 100);
	close(fds[0]);
	for (size_t i = 0; i < COUNT_OF(copies); i++) { /* whatever numbers are free from 3 on */
		copies[i] = fcntl(fds[1], F_DUPFD, 3);
		assert_int_not_equal(copies[i], -1);
	}
	worker = start_worker(tool);
	launcher = parent_of(read_pid("child"));
	for (size_t i = 0; i < COUNT_OF(copies); i++)
		close(copies[i]);
	close(fds[1]);
	assert_int_equal(poll(&end, 1, 0), 0);        /* the worker has it */
	assert_int_equal(kill(launcher, SIGSTOP), 0); /* or it would end soon after its worker */
	assert_int_equal(kill(worker, SIGKILL), 0);
	assert_int_equal(waitpid(worker, &status, 0), worker);
	assert_int_equal(poll(&end, 1, 0), 1);
	assert_int_equal(kill(launcher, SIGCONT), 0);
	close(end.fd);
	assert_ends(read_pid("child"));
}

/* A program on a file system that hangs (here: its execve() waits for the end of a lease) holds nobody else. */
static void test_hanging_start(void **state)
{
	struct fake_call call;
	struct err err = {0};
	char path[256], *got;
	const struct tool *tool = load("echo never", TOOL ",\"timeout_s\":1}");
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/tool", file.dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_not_equal(fd, -1);
	fcntl(fd, F_SETSIG, SIGWINCH); /* which is ignored, as SIGIO is not */
	if (fcntl(fd, F_SETLEASE, F_WRLCK) == -1) {
		print_message("# this file system knows no leases: %s\n", strerror(errno));
		close(fd);
		skip();
	}
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	got = run(&call, tool, "{}", &err);
	assert_string_equal(got, ERROR("t: timed out after 1 s"));
	free(got);
	tool = load(NULL, "{\"exec\":[\"/bin/echo\",\"hi\"],\"timeout_s\":20}");
	got = run(&call, tool, "{}", &err);
	assert_string_equal(got, GOOD("hi\\n"));
	free(got);
	close(fd);
	fake_call_release(&call);
}

static void test_not_started(void **state)
{
	const struct tool *tool;
	struct fake_call call;
	struct err err = {0};
	char *got, path[256];
	struct buf args;

	(void)state;
	toolfile_write(&file, "gone", "#!/bin/sh\necho here\n", 0755);
	tool = load(NULL, "{\"exec\":[\"./gone\",\"{a}\"]" ANY "}");
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	got = run(&call, tool, "{}", &err);
	assert_string_equal(got, GOOD("here\\n"));
	free(got);
	snprintf(path, sizeof(path), "%s/gone", file.dir);
	unlink(path);
	got = run(&call, tool, "{}", &err);
	assert_string_equal(got, ERROR("t: could not be started: No such file or directory"));
	free(got);

	tool = load("true", TOOL ANY "}");
	buf_init(&args, 1 << 20);
	buf_adds(&args, "{");
	for (int i = 0; i < 40; i++) {
		buf_addf(&args, "%s\"a%d\":\"", i ? "," : "", i);
		for (int j = 0; j < 4000; j++)
			buf_adds(&args, "x");
		buf_adds(&args, "\"");
	}
	buf_adds(&args, "}");
	got = run(&call, tool, args.data, &err);
	assert_string_equal(got, ERROR("t: its arguments are too long"));
	free(got);
	buf_release(&args);
	fake_call_release(&call);
}

#define THREADS_COUNT 8

static void *call_often(void *arg)
{
	const struct tool *tool = &file.set.tools[0];
	unsigned id = *(unsigned *)arg;

	for (unsigned i = 0; i < 20; i++) {
		struct fake_call call;
		struct err err = {0};
		char args[64], want[200], *got;

		snprintf(args, sizeof(args), "{\"id\":\"%u.%u\"}", id, i);
		snprintf(want, sizeof(want), GOOD("{\\\"id\\\":\\\"%u.%u\\\"}\\n%u.%u\\n"), id, i, id, i);
		fake_call_init(&call, &file.cfg, ERA_MODERN);
		got = run(&call, tool, args, &err);
		if (!got || strcmp(got, want) != 0)
			fail_msg("%s: %s", args, got ? got : err.msg);
		free(got);
		fake_call_release(&call);
	}
	return NULL;
}

/* Each call has its own program's answer. */
static void test_many_at_once(void **state)
{
	pthread_t threads[THREADS_COUNT];
	unsigned ids[THREADS_COUNT];

	(void)state;
	load("cat; echo $1", "{\"exec\":[\"./tool\",\"{id}\"]" ANY "}");
	for (unsigned i = 0; i < THREADS_COUNT; i++) {
		ids[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, call_often, &ids[i]), 0);
	}
	for (unsigned i = 0; i < THREADS_COUNT; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static int set_up(void **state)
{
	(void)state;
	toolfile_init(&file);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	toolfile_release(&file);
	return 0;
}

#define ASK(key, more)                                                                                                 \
	"echo '{\"id\":\"" key                                                                                         \
	"\",\"method\":\"elicitation/create\",\"params\":{\"message\":\"Who?\",\"requestedSchema\":"                   \
	"{\"type\":\"object\",\"properties\":{}}}" more "}' >&3\n"
#define ASKED                                                                                                          \
	"{\"params\":{\"message\":\"Who?\",\"requestedSchema\":{\"type\":\"object\",\"properties\":{}}},\"method\":"   \
	"\"elicitation/create\"}"

/* What one run asks or answers: with these capabilities, answers and state, all JSON texts, NULL for none. */
static const struct {
	const char *name, *script, *can, *answers, *kept;
	const char *want;  /* result; NULL: there is none */
	const char *asked; /* JSON text; NULL: nothing */
	enum err_code code;
} ask_rows[] = {
    {"a question", "cat >/dev/null; echo nonsense\n" ASK("who", ""), "{\"elicitation\":{}}", NULL, NULL, NULL,
	"{\"who\":" ASKED "}", ERR_NONE},
    {"what was answered is not asked again", ASK("who", "") ASK("else", ""), "{\"elicitation\":{}}",
	"{\"who\":{\"action\":\"decline\"}}", NULL, NULL, "{\"else\":" ASKED "}", ERR_NONE},
    {"a client that can't", ASK("who", "") "sleep 1000", "{\"sampling\":{}}", NULL, NULL, NULL, NULL, ERR_CAPABILITY},
    {"an optional question", ASK("who", ",\"optional\":true") "echo $MCP_CAN", "{\"sampling\":{}}", NULL, NULL,
	GOOD("sampling\\n"), NULL, ERR_NONE},
    {"a failure asks nothing", ASK("who", "") "exit 1", "{\"elicitation\":{}}", NULL, NULL,
	ERROR("t: exited with status 1"), NULL, ERR_NONE},
    {"a question that is none", "echo '{\"id\":\"a\",\"method\":\"roots/list\",\"params\":[]}' >&3\n" ASK("who", ""),
	"{\"elicitation\":{}}", NULL, NULL,
	ERROR("t: it asked in a wrong way: the value: must be an object, not an array"), NULL, ERR_NONE},
    {"a question without a key", "echo '{\"method\":\"roots/list\"}' >&3", "{\"roots\":{}}", NULL, NULL,
	ERROR("t: it asked in a wrong way: a question needs an id, a string of its own"), NULL, ERR_NONE},
    {"answers of a form",
	"echo \"$MCP_ANSWER_A_B_ACTION|$MCP_ANSWER_A_B_X|$MCP_ANSWER_A_B_N|$MCP_ANSWER_A_B_M|$MCP_STATE\"", "{}",
	"{\"a-b\":{\"action\":\"accept\",\"content\":{\"x\":\"y z\",\"n\":1.50,\"m\":[\"q\"],\"action\":\"no\"}}}",
	NULL, GOOD("accept|y z|1.50||\\n"), NULL, ERR_NONE},
    {"a model's answer, an error, what was kept", "echo \"$MCP_ANSWER_M_TEXT|$MCP_ANSWER_E_ERROR|$MCP_STATE\"", "{}",
	"{\"m\":{\"role\":\"assistant\",\"model\":\"x\",\"content\":[{\"type\":\"image\"},{\"type\":\"text\",\"text\":"
	"\"hi\"}]},\"e\":{\"error\":{\"code\":-1,\"message\":\"rejected\"}}}",
	"{\"k\":[1]}", GOOD("hi|rejected|{\\\"k\\\":[1]}\\n"), NULL, ERR_NONE},
    {"all answers as a file, and stdin as before", "cat $MCP_ANSWERS $MCP_ANSWERS; cat <&4; cat; echo $MCP_STATE", "{}",
	"{\"r\":{\"roots\":[]}}", "\"plain\"",
	GOOD("{\\\"r\\\":{\\\"roots\\\":[]}}\\n{\\\"r\\\":{\\\"roots\\\":[]}}\\n{\\\"r\\\":{\\\"roots\\\":[]}}"
	     "\\n{\\\"arg\\\":1}\\nplain\\n"),
	NULL, ERR_NONE},
    {"no answers, no file", "echo ${MCP_ANSWERS-none} ${MCP_STATE-none}; ls /dev/fd/4 2>/dev/null", "{}", NULL, NULL,
	ERROR("t: exited with status 2\\nnone none\\n"), NULL, ERR_NONE},
    {"too much to keep", "printf '{\"method\":\"state\",\"params\":\"%05000d\"}' 1 >&3", "{}", NULL, NULL,
	ERROR("t: its state has more than 4096 bytes"), NULL, ERR_NONE},
};

static void test_asks(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(ask_rows); i++) {
		const struct tool *tool = load(ask_rows[i].script, TOOL ANY "}");
		struct fake_call call;
		struct err err = {0};
		struct buf asked;
		char *got;

		fake_call_init(&call, &file.cfg, ERA_MODERN);
		buf_init(&asked, 65536);
		call.priv.may_ask = true;
		call.call.capabilities = jx_parse(slice_str(ask_rows[i].can), 16, &err);
		call.call.answers = ask_rows[i].answers ? jx_parse(slice_str(ask_rows[i].answers), 16, &err) : NULL;
		call.call.kept = ask_rows[i].kept ? jx_parse(slice_str(ask_rows[i].kept), 16, &err) : NULL;
		got = run(&call, tool, "{\"arg\":1}", &err);
		if (call_is_asking(&call.call))
			jx_write(&asked, call.priv.asks);
		if (strcmp(got ? got : "", ask_rows[i].want ? ask_rows[i].want : "") != 0 ||
		    strcmp(asked.data ? asked.data : "", ask_rows[i].asked ? ask_rows[i].asked : "") != 0 ||
		    (!got && err.code != ask_rows[i].code))
			fail_msg("%s: %s, asked %s, %s", ask_rows[i].name, got, asked.data, err.msg);
		json_object_put(call.call.capabilities);
		json_object_put(call.call.answers);
		json_object_put(call.call.kept);
		buf_release(&asked);
		free(got);
		fake_call_release(&call);
	}
}

static void test_keeps(void **state)
{
	const struct tool *tool = load("echo '{\"method\":\"state\",\"params\":{\"step\":2}}' >&3; echo ok", TOOL "}");
	struct fake_call call;
	struct err err = {0};

	(void)state;
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	free(run(&call, tool, "{}", &err));
	assert_string_equal(json_object_to_json_string_ext(call.priv.keep, JSON_C_TO_STRING_PLAIN), "{\"step\":2}");
	fake_call_release(&call);
}

/* A client that answers at once, or never. */
static json_object *ready_answers;

static int publish(struct call *call, struct err *err)
{
	(void)err;
	call->answers = ready_answers;
	return 0;
}

#define ANSWERED(key, what) "{\\\"id\\\":\\\"" key "\\\"," what "}\\n"

static void test_waits(void **state)
{
	static const struct {
		const char *name, *script, *answers, *want;
	} cases[] = {
	    {"an answer", "read args\n" ASK("a", "") "read answer; echo $args $answer",
		"{\"a\":{\"action\":\"decline\"}}",
		GOOD("{\\\"arg\\\":1} " ANSWERED("a", "\\\"result\\\":{\\\"action\\\":\\\"decline\\\"}"))},
	    {"two at once",
		"read args\n" ASK("a", "") ASK("b", "") "read one; read two; { echo \"$one\"; echo \"$two\"; } | sort",
		"{\"b\":{\"action\":\"cancel\"},\"a\":{\"error\":{\"code\":1,\"message\":\"no\"}}}",
		GOOD(ANSWERED("a", "\\\"error\\\":{\\\"code\\\":1,\\\"message\\\":\\\"no\\\"}")
			ANSWERED("b", "\\\"result\\\":{\\\"action\\\":\\\"cancel\\\"}"))},
	    {"what was answered before", "read args\n" ASK("a", "") "read one\n" ASK("a", "") "read two; echo \"$two\"",
		"{\"a\":{\"action\":\"decline\"}}",
		GOOD(ANSWERED("a", "\\\"result\\\":{\\\"action\\\":\\\"decline\\\"}"))},
	    {"what the client can't",
		"read args\necho '{\"id\":\"r\",\"method\":\"roots/list\"}' >&3; read no; echo \"$no\"", "{}",
		GOOD(ANSWERED("r",
		    "\\\"error\\\":{\\\"code\\\":-32021,\\\"message\\\":\\\"this client can't be asked: roots\\\"}"))},
	    {"nobody answers", "read args\n" ASK("a", "") "read no", "{}",
		ERROR("t: nobody answered its questions within 1 s")},
	    {"who reads nothing", "exec <&-\n" ASK("a", "") "sleep 0.2; echo done", "{\"a\":{\"action\":\"decline\"}}",
		GOOD("done\\n")},
	    {"who needs no answer", ASK("a", "") "echo done", "{}", GOOD("done\\n")},
	};
	struct call_ops ops;

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct tool *tool = load(cases[i].script, TOOL ",\"wait\":true" ANY "}");
		struct fake_call call;
		struct err err = {0};
		char *got;

		file.cfg.ask_wait_s = 1;
		fake_call_init(&call, &file.cfg, ERA_MODERN);
		ops = *call.priv.ops;
		ops.publish = publish;
		call.priv.ops = &ops;
		call.priv.may_ask = true;
		call.call.capabilities = jx_parse(SLICE("{\"elicitation\":{}}"), 16, &err);
		ready_answers = jx_parse(slice_str(cases[i].answers), 16, &err);
		got = run(&call, tool, "{\"arg\":1}", &err);
		if (!got || strcmp(got, cases[i].want) != 0)
			fail_msg("%s: %s, %s", cases[i].name, got, err.msg);
		json_object_put(call.call.capabilities);
		json_object_put(ready_answers);
		free(got);
		fake_call_release(&call);
	}
}

/* More than a pipe holds, before anybody reads it. */
static void test_waits_with_much(void **state)
{
	const struct tool *tool = load("read args; echo ${#args}", TOOL ",\"wait\":true" ANY "}");
	struct fake_call call;
	struct err err = {0};
	struct buf args;
	char *got;

	(void)state;
	buf_init(&args, 1 << 20);
	buf_addf(&args, "{\"a\":\"%0300000d\"}", 1);
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	call.priv.ops = &(struct call_ops){
	    .is_cancelled = call.priv.ops->is_cancelled, .poll = call.priv.ops->poll, .publish = publish};
	got = run(&call, tool, args.data, &err);
	assert_string_equal(got, GOOD("300008\\n"));
	free(got);
	buf_release(&args);
	fake_call_release(&call);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_many_arguments),
	    cmocka_unit_test(test_messages),
	    cmocka_unit_test(test_asks),
	    cmocka_unit_test(test_keeps),
	    cmocka_unit_test(test_waits),
	    cmocka_unit_test(test_waits_with_much),
	    cmocka_unit_test(test_timeout_kills_the_group),
	    cmocka_unit_test(test_end_kills_what_is_left),
	    cmocka_unit_test(test_cancel_kills_the_group),
	    cmocka_unit_test(test_grace),
	    cmocka_unit_test(test_worker_killed),
	    cmocka_unit_test(test_worker_killed_grace),
	    cmocka_unit_test(test_launcher_killed),
	    cmocka_unit_test(test_launcher_keeps_nothing),
	    cmocka_unit_test(test_hanging_start),
	    cmocka_unit_test(test_not_started),
	    cmocka_unit_test(test_many_at_once),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
