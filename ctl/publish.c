#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/link.h"
#include "common/mem.h"
#include "ctl/http_unix.h"
#include "ctl/publish.h"
#include "common/banned.h"

#define DEPTH_MAX  8
#define BODY_MAX   (4u << 20) /* more than publish_body_max_bytes can be: the other end says what is too much */
#define ANSWER_MAX (1u << 20)

static void put_str(struct buf *out, const char *name, const char *val)
{
	buf_addf(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
	jx_write_str(out, slice_str(val));
}

static void put_resource(struct buf *out, const struct publish_args *args)
{
	put_str(out, "resource", args->words[1]);
}

static void put_lists(struct buf *out, const struct publish_args *args)
{
	buf_adds(out, "\"lists\":");
	for (int i = 1; i < args->count; i++) {
		buf_adds(out, i == 1 ? "[" : ",");
		jx_write_str(out, slice_str(args->words[i]));
	}
	buf_adds(out, "]");
}

static void put_log(struct buf *out, const struct publish_args *args)
{
	buf_adds(out, "\"log\":{\"level\":");
	jx_write_str(out, slice_str(args->words[1]));
	if (args->logger)
		put_str(out, "logger", args->logger);
	put_str(out, "data", args->words[2]);
	buf_adds(out, "}");
}

/* text up to len as it is, if it is a number of JSON. */
static bool is_number(const char *text, size_t len)
{
	struct err err;
	json_object *val = len ? jx_parse((struct slice){text, len}, 1, &err) : NULL;
	bool is_one = jx_is_number(val);

	json_object_put(val);
	return is_one;
}

/* 3 or 3/10 */
static bool is_progress(const char *text)
{
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);

	return is_number(text, len) && (!slash || is_number(slash + 1, strlen(slash + 1)));
}

static void put_progress(struct buf *out, const struct publish_args *args)
{
	const char *numbers = args->words[2], *slash = strchr(numbers, '/');

	buf_adds(out, "\"progress\":{\"call\":");
	jx_write_str(out, slice_str(args->words[1]));
	buf_addf(out, ",\"progress\":%.*s", (int)(slash ? slash - numbers : (ptrdiff_t)strlen(numbers)), numbers);
	if (slash)
		buf_addf(out, ",\"total\":%s", slash + 1);
	if (args->count > 3)
		put_str(out, "message", args->words[3]);
	buf_adds(out, "}");
}

static const struct kind {
	const char *name, *words;
	int min, max; /* words, with the name */
	void (*put)(struct buf *out, const struct publish_args *args);
} kinds[] = {
    {"resource", "URI", 2, 2, put_resource},
    {"lists", "NAME... (tools, prompts, resources)", 2, INT_MAX, put_lists},
    {"log", "LEVEL TEXT", 3, 3, put_log},
    {"progress", "CALL NUMBER[/TOTAL] [TEXT]", 3, 4, put_progress},
};

static const struct kind *find_kind(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		if (strcmp(name, kinds[i].name) == 0)
			return &kinds[i];
	}
	return NULL;
}

static void say_unknown(const char *name)
{
	const char *names[COUNT_OF(kinds) + 1] = {0}, *near;

	for (size_t i = 0; i < COUNT_OF(kinds); i++)
		names[i] = kinds[i].name;
	near = cfg_nearest(name, names);
	if (near)
		fprintf(
		    stderr, "mcpctl: publish %s: there is no such thing to publish; did you mean %s?\n", name, near);
	else
		fprintf(stderr, "mcpctl: publish %s: only resource, lists, log and progress can be published\n", name);
}

bool publish_check(const struct publish_args *args)
{
	const char *name = args->count ? args->words[0] : "";
	const struct kind *kind = find_kind(name);

	if (args->count == 0)
		fprintf(stderr, "mcpctl: publish: what? resource, lists, log or progress; see mcpctl --help\n");
	else if (!kind)
		say_unknown(name);
	else if (args->count < kind->min || args->count > kind->max)
		fprintf(stderr, "mcpctl: it is: publish %s %s\n", kind->name, kind->words);
	else if (args->logger && kind->put != put_log)
		fprintf(stderr, "mcpctl: publish %s: --logger is for publish log\n", name);
	else if (kind->put == put_progress && (args->session || args->principal))
		fprintf(stderr,
		    "mcpctl: publish progress: it is for the client of its call, not --session or --principal\n");
	else if (kind->put == put_progress && !is_progress(args->words[2]))
		fprintf(
		    stderr, "mcpctl: publish progress: \"%s\" is no progress, as 3, 0.5 or 3/10 are\n", args->words[2]);
	else
		return true;
	return false;
}

/* Without a runner and a broker there is no client either, which is no failure of a script's. */
static bool is_nobody_there(const struct cfg *cfg)
{
	char *path = cfg_path_join(cfg->run_dir, LINK_ADMIN_NAME);
	int fd = path ? http_unix_open(path) : -1, why = errno;

	mem_free(path);
	if (fd != -1)
		close(fd);
	return fd == -1 && (why == ENOENT || why == ECONNREFUSED);
}

static int finish_output(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_SUCCESS;
	perror("mcpctl: write");
	return EXIT_FAILURE;
}

/* The exit status. */
static int explain(const struct cfg *cfg, const struct publish_args *args, bool as_json)
{
	bool needs_broker = strcmp(args->words[0], "progress") != 0; /* as who can be reached does; a call may not */
	int why = errno;

	if (needs_broker && (why == ENOENT || why == ECONNREFUSED) && is_nobody_there(cfg)) {
		puts(as_json ? "{\"reached\":0}" : "reached 0: no client is connected, for no broker runs");
		return finish_output();
	}
	fprintf(stderr, "mcpctl: %s: %s\n", cfg->publish_socket, strerror(why));
	if (why == ENOENT || why == ECONNREFUSED)
		fprintf(stderr,
		    "No mcp-runner serves it. A worker starts one when a client comes (runner_autostart is %s); "
		    "what keeps one from serving it, its log says\n",
		    cfg->runner_autostart ? "true" : "false");
	else if (why == EACCES)
		fprintf(stderr, "Its group may: see publish_group; and its directory must let you in\n");
	return EXIT_FAILURE;
}

static int show(const char *path, int status, struct slice body, bool as_json)
{
	struct err err = {0};
	json_object *json = status ? jx_parse(body, DEPTH_MAX, &err) : NULL;
	struct slice why = jx_get_str(json, "why");
	bool is_said;

	if (!json)
		fprintf(stderr, "mcpctl: %s: what answers there is no mcp-runner\n", path);
	else if (status != 200)
		fprintf(stderr, "mcpctl: %s\n", json_object_get_string(jx_get(json, "error")));
	else if (as_json)
		fwrite(body.p, 1, body.len, stdout);
	else
		printf("reached %" PRId64 "%s%.*s\n", json_object_get_int64(jx_get(json, "reached")), why.p ? ": " : "",
		    (int)why.len, why.p ? why.p : "");
	is_said = json && status == 200;
	json_object_put(json);
	return is_said ? finish_output() : EXIT_FAILURE;
}

static void put_body(struct buf *out, const struct publish_args *args)
{
	const struct kind *kind = find_kind(args->words[0]);

	DIE_UNLESS(kind); /* publish_check() was asked before */
	buf_adds(out, "{");
	kind->put(out, args);
	if (args->session)
		put_str(out, "session", args->session);
	if (args->principal)
		put_str(out, "principal", args->principal);
	buf_adds(out, "}");
}

int publish_send(const struct cfg *cfg, const struct publish_args *args, bool as_json)
{
	struct buf body, request, answer;
	struct slice text;
	struct err err = {0};
	int fd, ret = EXIT_FAILURE;

	if (!cfg->publish_socket[0]) {
		fprintf(stderr,
		    "mcpctl: nothing can be published: %s names no socket for it, as in {\"publish\": {\"socket\": "
		    "\"/run/mcp-fcgi/publish\"}}\n",
		    cfg->file);
		return EXIT_FAILURE;
	}
	fd = http_unix_open(cfg->publish_socket);
	if (fd == -1)
		return explain(cfg, args, as_json);
	buf_init(&body, BODY_MAX);
	buf_init(&request, BODY_MAX + 1024);
	buf_init(&answer, ANSWER_MAX);
	put_body(&body, args);
	buf_addf(&request, "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n", body.len);
	buf_add_slice(&request, buf_slice(&body));
	if (buf_check(&body, &err) || buf_check(&request, &err) ||
	    http_unix_ask(fd, buf_slice(&request), &answer, &err)) {
		fprintf(stderr, "mcpctl: %s: %s\n", cfg->publish_socket, err.msg);
	} else {
		int status;

		text = buf_slice(&answer);
		status = http_unix_cut_head(&text);
		ret = show(cfg->publish_socket, status, text, as_json);
	}
	close(fd);
	buf_release(&body);
	buf_release(&request);
	buf_release(&answer);
	return ret;
}
