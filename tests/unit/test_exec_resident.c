/* Resident programs against the real mcp-launch of this build: what one answers, and whatever ends it. */
#include "config.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/jx.h"
#include "tests/lib/fake_call.h"
#include "tests/lib/toolfile.h"
#include "common/banned.h"

#define ERROR(text) "{\"content\":[{\"type\":\"text\",\"text\":\"" text "\"}],\"isError\":true}"
#define GOOD(text)  "{\"content\":[{\"type\":\"text\",\"text\":\"" text "\"}]}"
#define DEF(more)   "{\"exec\":[\"./tool\"],\"resident\":true,\"input\":{\"type\":\"object\"}" more "}"

/* What each call does, in sh: $n is its number, $count which of this program's it is. */
#define EACH(body)                                                                                                     \
	"echo $$ >>pids; count=0\n"                                                                                    \
	"say() { printf '%s\\n' \"{\\\"call\\\":$n,$1}\"; }\n"                                                         \
	"while read -r line; do n=${line#*:}; n=${n%%,*}; count=$((count + 1))\n" body "\ndone\n"
#define ANSWER "say \"\\\"result\\\":\\\"$count\\\"\""

#define CALLS_MAX 3
#define PATIENCE  2000 /* times 10 ms */
#define THREADS   6

static struct toolfile file;

static const struct tool *load(const char *script, const char *settings, const char *def)
{
	const char *top = getenv("abs_top_builddir");
	struct buf text;
	struct err err;
	char path[128];

	buf_init(&text, 65536);
	buf_addf(&text, "#!/bin/sh\n%s\n", script);
	toolfile_write(&file, "tool", text.data, 0755);
	buf_clear(&text);
	buf_addf(&text, "{\"exec\":{\"launcher\":\"%s/mcp-launch\"%s},\"tools\":{\"t\":%s}}", top ? top : ".", settings,
	    def);
	if (toolfile_load(&file, text.data, &err))
		fail_msg("%s: %s %s", def, err.msg, file.complaints.data ? file.complaints.data : "");
	buf_release(&text);
	snprintf(path, sizeof(path), "%s/pids", file.dir);
	unlink(path);
	return &file.set.tools[0];
}

/* The result's text, the caller's to free. NULL: *err. */
static char *run(struct fake_call *call, const char *args_text, struct err *err)
{
	const struct tool *tool = &file.set.tools[0];
	json_object *args = jx_parse(slice_str(args_text), 64, err), *result = NULL;
	struct buf text;

	assert_non_null(args);
	buf_init(&text, 1 << 22);
	tool->provider->call(&call->call, tool, args, &result, err);
	if (result)
		jx_write(&text, result);
	json_object_put(result);
	json_object_put(args);
	return text.data;
}

static char *run_once(const char *args, struct err *err)
{
	struct fake_call call;
	char *got;

	fake_call_init(&call, &file.cfg, ERA_MODERN);
	got = run(&call, args, err);
	fake_call_release(&call);
	return got;
}

static void assert_run(const char *args, const char *want)
{
	struct err err = {0};
	char *got = run_once(args, &err);

	if (!got)
		fail_msg("%s", err.msg);
	assert_string_equal(got, want);
	free(got);
}

/* How many programs there were; *last is the pid of the one that was started last. */
static int programs(pid_t *last)
{
	char path[128];
	int count = 0, pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/pids", file.dir);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fscanf(f, "%d", &pid) == 1)
		count++;
	fclose(f);
	*last = pid;
	return count;
}

static bool is_running(pid_t pid)
{
	return kill(pid, 0) == 0;
}

static void assert_ends(pid_t pid)
{
	for (int i = 0; i < PATIENCE && is_running(pid); i++)
		usleep(10000); /* mcp-launch reaps it when it comes to it */
	assert_false(is_running(pid));
}

/* want may hold one '*': any bytes. */
static bool is_as_wanted(const char *got, const char *want)
{
	size_t head = strcspn(want, "*"), tail = strlen(want) - head, len = strlen(got);

	if (tail == 0)
		return strcmp(got, want) == 0;
	tail--;
	return len >= head + tail && memcmp(got, want, head) == 0 && strcmp(got + len - tail, want + head + 1) == 0;
}

#define ODD(what) "if [ $count = 2 ]; then " what "; fi; " ANSWER

static const struct {
	const char *name, *script, *settings, *def, *want[CALLS_MAX];
} rows[] = {
    {"one call after another", EACH(ANSWER), "", DEF(""), {GOOD("1"), GOOD("2"), GOOD("3")}},
    {"what a call is told", EACH("say \"\\\"result\\\":$line\""), "", DEF(",\"output\":\"json\""),
	{"*\"structuredContent\":{\"call\":1,\"arguments\":{\"a\":[1,\"x\\\"\\n\"]},\"can\":\"\"}}",
	    "*\"structuredContent\":{\"call\":2,\"arguments\":{\"a\":[1,\"x\\\"\\n\"]},\"can\":\"\"}}"}},
    {"its environment, which has no call's arguments",
	EACH("say \"\\\"result\\\":\\\"$MCP_TOOL $MCP_FD $X $MCP_ARG_A\\\"\""), "", DEF(",\"env\":{\"X\":\"y\"}"),
	{GOOD("t 3 y ")}},
    {"a text that is no string", EACH("say '\"result\":[1,null]'"), "", DEF(""), {GOOD("[1,null]")}},
    {"null", EACH("say '\"result\":null'"), "", DEF(""), {GOOD("null")}},
    {"json that is a string", EACH("say '\"result\":\"a\"'"), "", DEF(",\"output\":\"json\""),
	{"{\"content\":[{\"type\":\"text\",\"text\":\"\\\"a\\\"\"}],\"structuredContent\":\"a\"}"}},
    {"a whole result", EACH("say '\"result\":{\"content\":[],\"isError\":true}'"), "", DEF(",\"output\":\"result\""),
	{"{\"content\":[],\"isError\":true}"}},
    {"a call that fails, and no harm done",
	EACH("if [ $count = 2 ]; then echo noise >&2; say '\"error\":\"no such customer\"'; else " ANSWER "; fi"), "",
	DEF(""), {GOOD("1"), ERROR("t: failed\\nno such customer"), GOOD("3")}},
    {"descriptor 3", EACH(ANSWER " >&3"), "", DEF(""), {GOOD("1"), GOOD("2")}},
    {"{{ in its command is a plain brace", EACH("say \"\\\"result\\\":\\\"$1\\\"\""), "",
	"{\"exec\":[\"./tool\",\"{{a}\"],\"resident\":true,\"input\":{\"type\":\"object\"}}", {GOOD("{a}")}},
    {"nothing but its own calls is answered",
	EACH("echo '{\"call\":77,\"result\":\"wrong\"}'; say '\"result\":\"own\"'; say '\"result\":\"late\"'"), "",
	DEF(""), {GOOD("own"), GOOD("own"), GOOD("own")}},
    {"what follows an answer undoes nothing", EACH("printf '{\"call\":%s,\"result\":\"own\"}\\ngarbage\\n' $n"), "",
	DEF(""), {GOOD("own"), GOOD("own"), GOOD("own")}},
    {"garbage", EACH(ODD("echo garbage")), "", DEF(""),
	{GOOD("1"), ERROR("t: wrote a line that is no message: *"), GOOD("1")}},
    {"an object of no call", EACH(ODD("echo '{\"result\":\"x\"}'")), "", DEF(""),
	{GOOD("1"), ERROR("t: wrote a line that is no message: not an object with the number of its call"), GOOD("1")}},
    {"neither this nor that", EACH(ODD("say '\"error\":{}'")), "", DEF(""),
	{GOOD("1"), ERROR("t: wrote a line that is no message: neither a method, a result nor an error in words"),
	    GOOD("1")}},
    {"too much", EACH(ODD("head -c 3000 /dev/zero | tr '\\0' x")), ",\"output_max_bytes\":2000", DEF(""),
	{GOOD("1"), ERROR("t: wrote more than 2000 bytes"), GOOD("1")}},
    {"it exits in a call", EACH(ODD("echo why >&2; exit 3")), "", DEF(""),
	{GOOD("1"), ERROR("t: exited with status 3"), GOOD("1")}},
    {"it ends in good order in a call", EACH(ODD("exit 0")), "", DEF(""),
	{GOOD("1"), ERROR("t: ended without an answer"), GOOD("1")}},
    {"it dies in a call", EACH(ODD("kill -9 $$")), "", DEF(""),
	{GOOD("1"), ERROR("t: was ended by signal 9 (Killed)"), GOOD("1")}},
    {"it dies in its answer", EACH(ODD("printf '{\"call\":2,\"result\":'; exit 1")), "", DEF(""),
	{GOOD("1"), ERROR("t: exited with status 1"), GOOD("1")}},
    {"it hangs", EACH(ODD("sleep 1000")), "", DEF(",\"timeout_s\":1"),
	{GOOD("1"), ERROR("t: timed out after 1 s"), GOOD("1")}},
    {"it is gone after each answer", EACH(ANSWER "; exit"), "", DEF(""), {GOOD("1"), GOOD("1"), GOOD("1")}},
    {"it ends while the next call waits to be read", EACH(ANSWER "; sleep 0.2; exit"), "", DEF(""),
	{GOOD("1"), GOOD("1"), GOOD("1")}},
    {"enough calls", EACH(ANSWER), ",\"resident_calls_max\":2", DEF(""), {GOOD("1"), GOOD("2"), GOOD("1")}},
    {"it grows", EACH("[ $count = 1 ] || x=$(head -c 20000000 /dev/zero | tr '\\0' x); " ANSWER),
	",\"resident_rss_max_bytes\":16000000", DEF(""), {GOOD("1"), GOOD("2"), GOOD("1")}},
    {"it is no program", EACH(""), "", "{\"exec\":[\"./none\"],\"resident\":true}",
	{ERROR("t: could not be started: No such file or directory"),
	    ERROR("t: could not be started: No such file or directory")}},
};

static void test_rows(void **state)
{
	int failures = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		toolfile_write(&file, "none", "#!/no/such/shell\n", 0755);
		load(rows[i].script, rows[i].settings, rows[i].def);
		for (int nth = 0; nth < CALLS_MAX && rows[i].want[nth]; nth++) {
			struct err err = {0};
			char *got = run_once("{\"a\":[1,\"x\\\"\\n\"]}", &err);

			if (!got || !is_as_wanted(got, rows[i].want[nth])) {
				print_message("# %s, call %d: %s\n", rows[i].name, nth + 1, got ? got : err.msg);
				failures++;
			}
			free(got);
		}
	}
	assert_int_equal(failures, 0);
}

#define WRONG(more) "{\"tools\":{\"t\":{\"exec\":[\"/bin/cat\"" more "}}}"
#define AT          "DIR/mcp.json:1: /tools/t/resident: "

static void test_definitions(void **state)
{
	static const struct toolfile_complaint bad[] = {
	    {WRONG("],\"resident\":1"), AT "resident must be true or false\n"},
	    {WRONG("],\"resident\":true,\"wait\":true"), AT "a program either waits or is resident\n"},
	    {WRONG(",\"-{a}\"],\"resident\":true,\"input\":{\"a\":{}}"),
		AT "a resident program is started before there are arguments: {a} can't be filled\n"},
	    {WRONG("],\"resident\":true,\"limits\":{\"cpu_s\":1}"),
		AT "the kernel counts the CPU time of all calls together: a resident program takes no cpu_s\n"},
	};

	(void)state;
	toolfile_check_complaints(&file, bad, COUNT_OF(bad), NULL);
	load("", "",
	    "{\"exec\":[\"/bin/"
	    "cat\",\"{a}\"],\"resident\":false,\"input\":{\"a\":{\"type\":\"string\",\"optional\":true}}}");
	assert_run("{}", GOOD("{}\\n"));
}

static void test_messages(void **state)
{
	struct fake_call call;
	struct err err = {0};
	char *got;

	(void)state;
	load(EACH("say '\"method\":\"notifications/progress\",\"params\":{\"progress\":1}'\n"
		  "say '\"method\":\"tools/list\"'\n"
		  "echo '{\"call\":9,\"method\":\"notifications/progress\",\"params\":{\"progress\":2}}'\n" ANSWER),
	    "", DEF(""));
	for (int i = 0; i < 2; i++) {
		fake_call_init(&call, &file.cfg, ERA_MODERN);
		got = run(&call, "{}", &err);
		assert_string_equal(got, i ? GOOD("2") : GOOD("1"));
		assert_string_equal(call.notified.data, "notifications/progress {\"progress\":1}\n");
		free(got);
		fake_call_release(&call);
	}
}

/* Who shall report on a call needs its handle; here its client wants no progress. */
static void test_handle(void **state)
{
	struct fake_call call;
	struct err err = {0};
	char *got;

	(void)state;
	load(EACH("say \"\\\"result\\\":$line\""), "},\"publish\":{\"socket\":\"p\"", DEF(",\"output\":\"json\""));
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	json_object_put(call.call.progress_token);
	call.call.progress_token = NULL;
	got = run(&call, "{}", &err);
	assert_non_null(got);
	assert_non_null(strstr(got, "\"can\":\"\",\"handle\":\"none\"}}"));
	free(got);
	fake_call_release(&call);
}

static json_object *parse(const char *text)
{
	struct err err;

	return jx_parse(slice_str(text), 8, &err);
}

/* A client that can be asked. */
static void test_asking(void **state)
{
	struct fake_call call;
	struct err err = {0};
	char *got;

	(void)state;
	load(EACH("case $line in *answers*) say \"\\\"result\\\":$line\" ;; *)\n"
		  "say '\"method\":\"state\",\"params\":{\"k\":1}'\n"
		  "say '\"id\":\"where\",\"method\":\"roots/list\"'; say '\"result\":\"nothing yet\"' ;; esac"),
	    "", DEF(",\"output\":\"json\""));
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	call.call.capabilities = parse("{\"roots\":{}}");
	call.priv.may_ask = true;
	assert_null(run(&call, "{}", &err));
	assert_true(call_is_asking(&call.call));
	json_object_put(call.call.capabilities);
	fake_call_release(&call);

	fake_call_init(&call, &file.cfg, ERA_MODERN);
	call.call.capabilities = parse("{\"roots\":{}}");
	call.priv.may_ask = true;
	call.call.answers = parse("{\"where\":{\"roots\":[]}}");
	call.call.kept = parse("{\"k\":1}");
	got = run(&call, "{}", &err);
	assert_non_null(got);
	assert_non_null(strstr(got, "\"structuredContent\":{\"call\":2,\"arguments\":{},\"can\":\"roots\",\"answers\":"
				    "{\"where\":{\"roots\":[]}},\"state\":{\"k\":1}}"));
	free(got);
	json_object_put(call.call.answers);
	json_object_put(call.call.kept);
	json_object_put(call.call.capabilities);
	fake_call_release(&call);

	/* One that can't be: the call ends there, and with it the program that goes on with it. */
	assert_null(run_once("{}", &err));
	assert_int_equal(err.code, ERR_CAPABILITY);
}

static void test_cancel(void **state)
{
	struct fake_call call;
	struct err err = {0};
	pid_t pid;

	(void)state;
	load(EACH("say '\"method\":\"notifications/progress\",\"params\":{\"progress\":1}'; sleep 1000"), "", DEF(""));
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	call.cancel_on_notify = true;
	assert_null(run(&call, "{}", &err));
	assert_int_equal(err.code, ERR_CANCELLED);
	fake_call_release(&call);
	assert_int_equal(programs(&pid), 1);
	assert_ends(pid);
}

/* A program that answers before it has read its line has the rest of it before the next one. */
static void test_unread_rest(void **state)
{
	struct buf args;

	(void)state;
	load("echo $$ >>pids; echo '{\"call\":1,\"result\":\"early\"}'; exec sleep 1000", "", DEF(""));
	buf_init(&args, 1 << 20);
	buf_adds(&args, "{\"a\":\"");
	for (int i = 0; i < 20000; i++)
		buf_adds(&args, "0123456789");
	buf_adds(&args, "\"}");
	assert_run(args.data, GOOD("early"));
	assert_run(args.data, GOOD("early"));
	buf_release(&args);
}

static void wait_for(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", file.dir, name);
	for (int i = 0; i < PATIENCE && access(path, F_OK); i++)
		usleep(10000);
	assert_int_equal(unlink(path), 0);
}

/* Half a line behind an answer would spoil the first one of the next call. */
static void test_half_a_line(void **state)
{
	(void)state;
	load(EACH(ANSWER "; sleep 0.2; printf '{\"call\"'; : >half"), "", DEF(""));
	for (int i = 0; i < 2; i++) {
		assert_run("{}", GOOD("1"));
		wait_for("half");
	}
}

static void test_idle(void **state)
{
	pid_t pid;

	(void)state;
	load(EACH(ANSWER), ",\"resident_idle_s\":1", DEF(""));
	assert_run("{}", GOOD("1"));
	assert_run("{}", GOOD("2"));
	assert_int_equal(programs(&pid), 1);
	assert_ends(pid);
	assert_run("{}", GOOD("1"));
}

static void test_configuration_ends(void **state)
{
	pid_t pid;

	(void)state;
	load(EACH(ANSWER), "", DEF(""));
	assert_run("{}", GOOD("1"));
	assert_int_equal(programs(&pid), 1);
	assert_true(is_running(pid));
	load("", "", "{\"builtin\":\"echo\"}");
	assert_ends(pid);
}

static void test_launcher_killed(void **state)
{
	char path[128];
	int launcher = 0;
	pid_t pid;
	FILE *f;

	(void)state;
	load(EACH("echo $PPID >parent; " ANSWER), "", DEF(""));
	assert_run("{}", GOOD("1"));
	programs(&pid);
	snprintf(path, sizeof(path), "%s/parent", file.dir);
	for (int i = 0; i < PATIENCE && launcher == 0; i++) {
		f = fopen(path, "re");
		if (!f || fscanf(f, "%d", &launcher) != 1)
			usleep(10000);
		if (f)
			fclose(f);
	}
	assert_int_equal(kill(launcher, SIGKILL), 0);
	assert_ends(pid);
	assert_run("{}", GOOD("1"));
}

static void *thread_main(void *arg)
{
	char *want = arg, args[32], got_want[128];
	struct err err = {0};
	char *got;

	for (int i = 0; i < 5; i++) {
		snprintf(args, sizeof(args), "{\"a\":\"%s%d\"}", want, i);
		snprintf(got_want, sizeof(got_want), "\"a\":\"%s%d\"}", want, i);
		got = run_once(args, &err);
		if (!got || !strstr(got, got_want)) {
			print_message("# %s: %s\n", args, got ? got : err.msg);
			free(got);
			return arg;
		}
		free(got);
	}
	return NULL;
}

/* More calls than places: each gets its own answer, and there are no more programs than may be. */
static void test_line(void **state)
{
	char names[THREADS][2];
	pthread_t ids[THREADS];
	void *failed = NULL, *each;
	pid_t pid;

	(void)state;
	load(EACH("sleep 0.02; say \"\\\"result\\\":$line\""), ",\"resident_max\":2", DEF(",\"output\":\"json\""));
	for (int i = 0; i < THREADS; i++) {
		snprintf(names[i], sizeof(names[i]), "%c", 'a' + i);
		assert_int_equal(pthread_create(&ids[i], NULL, thread_main, names[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(ids[i], &each);
		failed = failed ? failed : each;
	}
	assert_null(failed);
	assert_int_equal(programs(&pid), 2);
}

static void *occupy(void *arg)
{
	(void)arg;
	free(run_once("{}", &(struct err){0}));
	return NULL;
}

/* In line, too, a call ends at its time, or when its client cancels; and who leaves the line holds up nobody. */
static void test_line_left(void **state)
{
	struct fake_call call;
	struct err err = {0};
	pthread_t first;
	char *got;

	(void)state;
	load(EACH("echo $$ >busy; while [ ! -e go ]; do sleep 0.02; done; " ANSWER), ",\"resident_max\":1",
	    DEF(",\"timeout_s\":30"));
	assert_int_equal(pthread_create(&first, NULL, occupy, NULL), 0);
	wait_for("busy");
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	fake_call_cancel(&call);
	assert_null(run(&call, "{}", &err));
	assert_int_equal(err.code, ERR_CANCELLED);
	fake_call_release(&call);

	file.set.tools[0].timeout_s = 1;
	got = run_once("{}", &err);
	assert_string_equal(got, ERROR("t: timed out after 1 s: its programs were busy"));
	free(got);
	file.set.tools[0].timeout_s = 30;

	toolfile_write(&file, "go", "", 0644);
	pthread_join(first, NULL);
	assert_run("{}", GOOD("2"));
}

static int set_up(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN); /* as in a worker */
	toolfile_init(&file);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	toolfile_release(&file);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_definitions),
	    cmocka_unit_test(test_messages),
	    cmocka_unit_test(test_handle),
	    cmocka_unit_test(test_asking),
	    cmocka_unit_test(test_cancel),
	    cmocka_unit_test(test_unread_rest),
	    cmocka_unit_test(test_half_a_line),
	    cmocka_unit_test(test_idle),
	    cmocka_unit_test(test_configuration_ends),
	    cmocka_unit_test(test_launcher_killed),
	    cmocka_unit_test(test_line),
	    cmocka_unit_test(test_line_left),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
