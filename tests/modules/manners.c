/* A module with good and bad manners. What each tool does stands at its name. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <mcp-fcgi/module.h>

#define HANG_MAX_MS 30000
#define STEP_MS     10

#ifndef VERSION
#define VERSION "1"
#endif

static int start(struct mcp_call *call, void **state)
{
	const char *fails = mcp_get(call, "/settings/fails_while_there_is", NULL);

	if (fails && access(fails, F_OK) == 0) {
		mcp_print(call, "%s is in the way", fails);
		return MCP_FAILED;
	}
	*state = strdup("started");
	return MCP_OK;
}

static void stop(void *state)
{
	free(state);
}

/* All that a call knows. */
static int tell(struct mcp_call *call)
{
	const char *pointer = mcp_get(call, "/arguments/pointer", NULL), *text;
	size_t len = 0;

	text = mcp_get(call, pointer, &len);
	mcp_print(call, "%s %s %zu ", (const char *)call->state, call->name, len);
	return text ? mcp_text(call, text, len) : mcp_print(call, "nothing");
}

static int version(struct mcp_call *call)
{
	return mcp_print(call, "version " VERSION);
}

static int add(struct mcp_call *call)
{
	return mcp_print(call, "%lld %g", (long long)mcp_get_int(call, "/arguments/a", -1),
	    (double)mcp_get_int(call, "/arguments/a", 0) + mcp_get_double(call, "/arguments/b", 0.5));
}

static int picture(struct mcp_call *call)
{
	mcp_print(call, "before");
	mcp_data(call, "image/png", "\x89PNG\0", 5);
	return mcp_print(call, "behind");
}

static int given(struct mcp_call *call)
{
	size_t len;
	const char *how = mcp_get(call, "/arguments/how", NULL), *json = mcp_get(call, "/arguments/json", &len);

	if (strcmp(how, "structured") == 0)
		mcp_structured(call, json, len);
	else if (strcmp(how, "result") == 0)
		mcp_result(call, json, len);
	else if (strcmp(how, "notify") == 0 && mcp_notify(call, "notifications/message", json, len))
		return mcp_print(call, "%s", mcp_why(call)), MCP_FAILED;
	return MCP_OK; /* what it gave may be bad: then it fails all the same */
}

static int bad_utf8(struct mcp_call *call)
{
	mcp_progress(call, 1, 2, "\xff");
	mcp_log(call, "info", "\xc3(\0x", 4);
	return mcp_text(call, "a\xff\0z", 4);
}

static int huge(struct mcp_call *call)
{
	static char part[65536];

	memset(part, 'x', sizeof(part));
	for (int i = 0; i < 1024; i++)
		mcp_text(call, part, sizeof(part));
	return MCP_OK;
}

static int fail(struct mcp_call *call)
{
	return (int)mcp_get_int(call, "/arguments/status", MCP_FAILED);
}

static int crash(struct mcp_call *call)
{
	(void)call;
	signal(SIGSEGV, SIG_DFL); /* a sanitizer would write a page about it */
	return raise(SIGSEGV);
}

static int leave(struct mcp_call *call)
{
	(void)call;
	_exit(3);
}

/* Writes where, in a process of its own, the host and it speak. */
static int noise(struct mcp_call *call)
{
	return write(3, "\1\0\0\0\377", 5) == 5 ? mcp_print(call, "noise") : MCP_FAILED;
}

/* Tells its process, and then nothing any more, for as long as a test may take at most. */
static int loop(struct mcp_call *call)
{
	char pid[32];
	time_t end = time(NULL) + HANG_MAX_MS / 1000;

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	mcp_log(call, "info", pid, strlen(pid));
	while (time(NULL) < end)
		;
	return MCP_OK;
}

/* Uses its call from another thread: at once; or after it is over, which the next one tells of. */

static struct {
	pthread_t id;
	struct mcp_call *call;
	char got[200];
	int fds[2]; /* when [1] is closed it begins */
} elsewhere;

static void *use(void *arg)
{
	struct mcp_call *call = elsewhere.call;
	char byte;

	while (read(elsewhere.fds[0], &byte, 1) > 0)
		;
	snprintf(elsewhere.got, sizeof(elsewhere.got), "get %d, print %d, progress %d, wait %d, fd %d, why %s",
	    mcp_get(call, "/arguments/how", NULL) != NULL, mcp_print(call, "not this"), mcp_progress(call, 1, 2, NULL),
	    mcp_wait(call, 1), mcp_cancel_fd(call), mcp_why(call));
	return arg;
}

static int use_elsewhere(struct mcp_call *call)
{
	const char *how = mcp_get(call, "/arguments/how", NULL);

	if (strcmp(how, "end") != 0) {
		elsewhere.call = call;
		if (pipe(elsewhere.fds) || pthread_create(&elsewhere.id, NULL, use, NULL))
			return MCP_FAILED;
	}
	if (strcmp(how, "begin") == 0)
		return mcp_print(call, "begun");
	close(elsewhere.fds[1]);
	pthread_join(elsewhere.id, NULL);
	close(elsewhere.fds[0]);
	return mcp_print(call, "%s", elsewhere.got);
}

/* No text where there must be some. */
static int null(struct mcp_call *call)
{
	const char *how = mcp_get(call, "/arguments/how", NULL);
	int ret = MCP_OK;

	if (strcmp(how, "get") == 0)
		ret = mcp_get(call, NULL, NULL) ? MCP_OK : MCP_FAILED;
	else if (strcmp(how, "data") == 0)
		ret = mcp_data(call, NULL, "x", 1);
	else if (strcmp(how, "log") == 0)
		ret = mcp_log(call, NULL, NULL, 0);
	else if (strcmp(how, "notify") == 0)
		ret = mcp_notify(call, NULL, NULL, 0);
	else if (strcmp(how, "ask") == 0)
		ret = mcp_ask(call, NULL, NULL, NULL, 0);
	else if (strcmp(how, "key") == 0)
		ret = mcp_ask(call, "key", NULL, NULL, 0);
	mcp_print(call, "%d %s", ret, mcp_why(call));
	return MCP_OK;
}

/* Until there is a file, whatever the host says; for as long as a test may take at most. */
static int hang(struct mcp_call *call)
{
	const char *until = mcp_get(call, "/arguments/until", NULL);

	for (int ms = 0; access(until, F_OK) != 0 && ms < HANG_MAX_MS; ms += STEP_MS)
		poll(NULL, 0, STEP_MS);
	return mcp_progress(call, 9, 9, NULL) == MCP_CANCELLED ? MCP_CANCELLED : mcp_print(call, "it was there");
}

/* Until it is told; by one of three ways to hear of it. */
static int doze(struct mcp_call *call)
{
	const char *how = mcp_get(call, "/arguments/how", NULL);
	struct pollfd fd = {.fd = mcp_cancel_fd(call), .events = POLLIN};
	int told = 0;

	mcp_progress(call, 1, 0, "dozing");
	if (strcmp(how, "poll") == 0)
		told = poll(&fd, 1, HANG_MAX_MS) == 1;
	else if (strcmp(how, "wait") == 0)
		told = mcp_wait(call, HANG_MAX_MS) == MCP_CANCELLED;
	for (int ms = 0; !told && ms < HANG_MAX_MS; ms += STEP_MS) {
		told = mcp_is_cancelled(call);
		poll(NULL, 0, STEP_MS);
	}
	if (!told || mcp_log(call, "error", "too late", 8) != MCP_CANCELLED)
		return mcp_print(call, "nobody told me");
	return strcmp(how, "late") == 0 ? mcp_print(call, "late, but here") : MCP_CANCELLED;
}

/* Asks for a colour, and may do without, or not. */
static int ask(struct mcp_call *call)
{
	static const char form[] = "{\"message\": \"Which colour?\", \"requestedSchema\": {\"type\": \"object\", "
				   "\"properties\": {\"colour\": {\"type\": \"string\"}}}}";
	const char *colour;

	switch (mcp_ask(call, "colour", "elicitation/create", form, strlen(form))) {
	case MCP_OK:
		return mcp_keep(call, "{\"asked\": 1}", 12);
	case MCP_ANSWERED:
		colour = mcp_get(call, "/answers/colour/content/colour", NULL);
		return mcp_print(call, "%s %s", colour ? colour : "no colour", mcp_get(call, "/kept/asked", NULL));
	default:
		if (mcp_get_int(call, "/arguments/needed", 0))
			return MCP_FAILED;
		return mcp_print(call, "without: %s", mcp_why(call));
	}
}

/* Has a model write something. */
static int sample(struct mcp_call *call)
{
	static const char request[] =
	    "{\"messages\": [{\"role\": \"user\", \"content\": {\"type\": \"text\", \"text\": "
	    "\"A word?\"}}], \"maxTokens\": 9}";
	int asked = mcp_ask(call, "word", "sampling/createMessage", request, strlen(request));

	if (asked == MCP_ANSWERED)
		mcp_print(call, "it said %s", mcp_get(call, "/answers/word/content/text", NULL));
	return asked == MCP_ANSWERED ? MCP_OK : asked;
}

static const char no_json[] = "{\"contents\": 1}";
static int read_it(struct mcp_call *call)
{
	const char *kind = mcp_get(call, "/arguments/kind", NULL);

	if (strcmp(kind, "text") == 0)
		return mcp_print(call, "text of %s", call->name);
	if (strcmp(kind, "blob") == 0)
		return mcp_data(call, "image/png", "\x89PNG\0", 5);
	if (strcmp(kind, "bad") == 0)
		return mcp_result(call, no_json, sizeof(no_json) - 1);
	if (strcmp(kind, "params") == 0)
		return mcp_print(call, "not like this"), MCP_BAD_PARAMS;
	return MCP_NOT_FOUND;
}

static int get_it(struct mcp_call *call)
{
	const char *kind = mcp_get(call, "/arguments/kind", NULL);

	if (strcmp(kind, "bad") == 0)
		return mcp_result(call, no_json, sizeof(no_json) - 1);
	if (strcmp(kind, "params") == 0)
		return mcp_print(call, "not like this"), MCP_BAD_PARAMS;
	return mcp_print(call, "Say %s", kind);
}

#define HOW  "{\"how\": {\"type\": \"string\"}}"
#define TASK "{\"task\": \"optional\"}"

static const struct mcp_tool tools[] = {
    {"add", NULL, "{\"a\": {\"optional\": true}, \"b\": {\"optional\": true}}", add, NULL},
    {"ask", NULL, "{\"needed\": {\"default\": 0}}", ask, TASK},
    {"bad_utf8", NULL, NULL, bad_utf8, NULL},
    {"crash", NULL, NULL, crash, TASK},
    {"doze", NULL, HOW, doze, "{\"timeout_s\": 1}"},
    {"doze_long", NULL, HOW, doze, TASK},
    {"elsewhere", NULL, HOW, use_elsewhere, NULL},
    {"fail", NULL, "{\"status\": {\"optional\": true}}", fail, NULL},
    {"given", NULL, "{\"how\": {}, \"json\": {}}", given, NULL},
    {"given_schema", NULL, "{\"how\": {}, \"json\": {}}", given,
	"{\"output_schema\": {\"type\": \"object\", \"required\": [\"n\"]}}"},
    {"hang", NULL, "{\"until\": {}}", hang, "{\"timeout_s\": 1}"},
    {"huge", NULL, NULL, huge, NULL},
    {"leave", NULL, NULL, leave, TASK},
    {"loop", NULL, NULL, loop, "{\"timeout_s\": 1, \"task\": \"optional\"}"},
    {"noise", NULL, NULL, noise, NULL},
    {"null", NULL, HOW, null, NULL},
    {"picture", NULL, NULL, picture, NULL},
    {"sample", NULL, NULL, sample, TASK},
    {"tell", "Tells what is at a pointer", "{\"pointer\": {}}", tell, "{\"title\": \"Tell\", \"task\": \"optional\"}"},
    {"version", NULL, NULL, version, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static const struct mcp_resource resources[] = {
    {"manners:{kind}", "Of some kind", "text/plain", read_it, "{\"name\": \"kinds\"}"},
    {NULL, NULL, NULL, NULL, NULL},
};

static const struct mcp_prompt prompts[] = {
    {"say", "To say something", "{\"kind\": {\"values\": [\"hello\", \"good bye\"]}}", get_it, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

const struct mcp_module mcp_fcgi_module = {MCP_MODULE_HEAD, tools, resources, prompts, start, stop};
