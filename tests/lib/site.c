#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/call_http.h"
#include "fcgi/result.h"
#include "tests/lib/site.h"
#include "common/banned.h"

static int notify(struct call *call, const char *method, const char *params, struct err *err)
{
	return call_notify(call, method, jx_parse(slice_str(params), 16, err), err);
}

static int call_big(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	static char text[100001];

	(void)call, (void)tool, (void)args;
	memset(text, 'b', sizeof(text) - 1);
	*result = result_new_text((struct slice){text, sizeof(text) - 1}, false, err);
	return *result ? 0 : -1;
}

static int call_cancelled(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	struct exchange *x = call_http(call)->x;

	(void)tool, (void)args;
	if (x->session[0])
		assert_int_equal(
		    link_cancel(x->w->link, slice_str(x->session), x->principal, slice_str(call->priv->id), err), 0);
	while (call_poll(call, NULL, 0, 2000, err) > 0)
		;
	if (err->code == ERR_CANCELLED)
		return -1;
	*result = result_new_text(SLICE("not cancelled"), false, err);
	return *result ? 0 : -1;
}

static int call_echo(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	(void)call, (void)tool;
	*result = result_new_text(SLICE("echo"), false, err);
	return *result ? jx_add(*result, "structuredContent", json_object_get(args), err) : -1;
}

static int call_fail(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	(void)call, (void)tool, (void)args, (void)result;
	return err_set(err, ERR_INTERNAL, "a secret of ours");
}

static int call_meta(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	(void)call, (void)tool, (void)args;
	*result = jx_parse(SLICE("{\"resultType\":\"weird\",\"content\":[],\"_meta\":{\"a/b\":1," KEY(
			       "serverInfo") ":{\"name\":\"fake\"}}}"),
	    16, err);
	return *result ? 0 : -1;
}

static int call_progress(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	(void)tool, (void)args;
	for (int i = 1; i <= 3; i++) {
		char params[100];

		snprintf(params, sizeof(params), "{\"progress\":%d,\"total\":3,\"progressToken\":\"forged\"}", i);
		if (notify(call, "notifications/progress", params, err))
			return -1;
	}
	if (notify(call, "notifications/progress", "{\"progress\":3}", err) || /* does not grow: dropped */
	    notify(call, "notifications/message", "{\"level\":\"debug\",\"data\":\"a\"}", err) ||
	    notify(call, "notifications/message", "{\"level\":\"warning\",\"data\":\"line\\nbreak\"}", err))
		return -1;
	*result = result_new_text(SLICE("done"), false, err);
	return *result ? 0 : -1;
}

static int call_slow(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	(void)tool, (void)args;
	if (call_poll(call, NULL, 0, 60, err) < 0)
		return -1;
	*result = result_new_text(SLICE("slow"), false, err);
	return *result ? 0 : -1;
}

static int call_where(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	(void)tool, (void)args;
	if (call_ask(call, "roots", "roots/list", NULL, err) == -1)
		return -1;
	if (call_is_asking(call))
		return 0;
	*result = result_new_text(SLICE("there"), false, err);
	return *result ? jx_add(*result, "structuredContent", json_object_get(jx_get(call->answers, "roots")), err)
		       : -1;
}

#define FAKE_PROVIDER(tool) static const struct provider provider_##tool = {.name = #tool, .call = call_##tool}
FAKE_PROVIDER(big);
FAKE_PROVIDER(cancelled);
FAKE_PROVIDER(echo);
FAKE_PROVIDER(fail);
FAKE_PROVIDER(meta);
FAKE_PROVIDER(progress);
FAKE_PROVIDER(slow);
FAKE_PROVIDER(where);

#define ANY "{\"type\":\"object\"}"
static const struct {
	const char *name;
	const struct provider *provider;
	const char *input;
} rows[SITE_TOOLS_COUNT] = {
    {"big", &provider_big, ANY},
    {"cancelled", &provider_cancelled, ANY},
    {"echo", &provider_echo,
	"{\"type\":\"object\",\"properties\":{\"text\":{\"type\":\"string\"},"
	"\"n\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":9}},\"required\":[\"text\"]}"},
    {"fail", &provider_fail, ANY},
    {"meta", &provider_meta, ANY},
    {"progress", &provider_progress, ANY},
    {"region", &provider_echo, ANY},
    {"slow", &provider_slow, ANY},
    {"where", &provider_where, ANY},
};

static char *region_path[] = {(char *)"region"}, *count_path[] = {(char *)"count"}, *flag_path[] = {(char *)"flag"};
static char *nested_path[] = {(char *)"a", (char *)"b"};
static struct tool_header region_headers[] = {
    {(char *)"HTTP_MCP_PARAM_REGION", (char *)"Region", region_path, 1, TOOL_HEADER_STRING},
    {(char *)"HTTP_MCP_PARAM_COUNT", (char *)"Count", count_path, 1, TOOL_HEADER_INTEGER},
    {(char *)"HTTP_MCP_PARAM_FLAG", (char *)"Flag", flag_path, 1, TOOL_HEADER_BOOLEAN},
    {(char *)"HTTP_MCP_PARAM_NESTED", (char *)"Nested", nested_path, 2, TOOL_HEADER_STRING},
};

static void put_session(struct site *s, const char *id, const char *principal, const char *revision)
{
	struct fake_session *old = fake_link_session(s->w.link, slice_str(id));
	struct err err = {0};
	char blob[256] = "{}";

	if (old)
		assert_int_equal(link_session_del(s->w.link, slice_str(id), old->principal, &err), 0);
	if (revision)
		snprintf(blob, sizeof(blob), "{\"revision\":\"%s\",\"logLevel\":1,\"capabilities\":{\"roots\":{}}}",
		    revision);
	assert_int_equal(link_session_put(s->w.link, slice_str(id), principal, SLICE(""), 0, 0, slice_str(blob), NULL, &err), 0);
}

void site_renew(struct site *s)
{
	struct link *l = s->w.link;
	struct err err;

	assert_null(l->calls);
	fake_link_forget(l);
	for (size_t i = 0; i < FAKE_SESSIONS_MAX; i++) {
		if (l->sessions[i].id[0])
			link_session_del(l, slice_str(l->sessions[i].id), l->sessions[i].principal, &err);
	}
	fake_link_forget(l);
	put_session(s, "S00", "", NULL);
	put_session(s, "S24", "", "2024-11-05");
	put_session(s, "S03", "", "2025-03-26");
	put_session(s, "S06", "", "2025-06-18");
	put_session(s, "S11", "", "2025-11-25");
	put_session(s, "SX", "mallory", "2025-11-25");
}

void site_init(struct site *s)
{
	struct err err = {0};

	log_init("test", LOG_LEVEL_ERROR);
	*s = (struct site){0};
	assert_int_equal(cfg_init(&s->w.cfg, &err), 0);
	mem_free(s->w.cfg.server_name);
	mem_free(s->w.cfg.server_version);
	s->w.cfg.server_name = mem_dup("test", 4);
	s->w.cfg.server_version = mem_dup("1", 1);
	snprintf(s->run_dir, sizeof(s->run_dir), "/tmp/mcp-site.XXXXXX");
	assert_non_null(mkdtemp(s->run_dir));
	mem_free(s->w.cfg.run_dir);
	s->w.cfg.run_dir = mem_dup(s->run_dir, strlen(s->run_dir));
	s->w.cfg.stream_after_ms = 20;
	s->w.cfg.body_max_bytes = 65536;
	s->w.cfg.batch_max = 3;
	s->w.cfg.page_size = 3;
	for (size_t i = 0; i < SITE_TOOLS_COUNT; i++) {
		json_object *doc = jx_parse(slice_str(rows[i].input), 16, &err);
		char text[256];

		s->tools[i] = (struct tool){.name = (char *)(uintptr_t)rows[i].name, .provider = rows[i].provider};
		s->tools[i].input = schema_new(doc, NULL, &err);
		assert_non_null(s->tools[i].input);
		json_object_put(doc);
		for (int r = 0; r < REV__COUNT; r++) {
			snprintf(text, sizeof(text), "{\"name\":\"%s\",\"era\":%d}", rows[i].name, r == REV_2026_07);
			s->tools[i].listing[r] = strdup(text);
		}
		if (strcmp(rows[i].name, "echo") == 0)
			s->tools[i].task = TOOL_TASK_OPTIONAL;
		if (strcmp(rows[i].name, "region") == 0) {
			s->tools[i].headers = region_headers;
			s->tools[i].headers_count = COUNT_OF(region_headers);
		}
	}
	s->w.tools = (struct toolset){.tools = s->tools, .count = SITE_TOOLS_COUNT, .has_tasks = true, .digest = "0123456789abcdef"};
	s->w.public_host = (char *)"";
	s->w.public_origin = (char *)"";
	s->w.server_info = (char *)"{\"name\":\"test\",\"version\":\"1\"}";
	s->w.cors_headers = (char *)"Authorization, Mcp-Param-Region";
	s->w.seal = seal_new(&s->w.cfg);
	s->w.link = link_new(&s->w.cfg);
	site_renew(s);
}

void site_offer(struct site *s, const char *resources, const char *prompts)
{
	struct cfg *cfg = &s->w.cfg;
	struct err err = {0};

	json_object_put(cfg->resources);
	json_object_put(cfg->prompts);
	cfg->resources = jx_parse(slice_str(resources), 32, &err);
	cfg->prompts = jx_parse(slice_str(prompts), 32, &err);
	if (!cfg->resources || !cfg->prompts || resourceset_init(&s->w.resources, cfg, &err) ||
	    promptset_init(&s->w.prompts, cfg, &err))
		fail_msg("%s", err.msg);
}

void site_release(struct site *s)
{
	char key[64];

	for (size_t i = 0; i < SITE_TOOLS_COUNT; i++) {
		schema_free(&s->tools[i].input);
		for (int r = 0; r < REV__COUNT; r++)
			free(s->tools[i].listing[r]);
	}
	resourceset_release(&s->w.resources);
	promptset_release(&s->w.prompts);
	link_free(&s->w.link);
	seal_free(&s->w.seal);
	cfg_release(&s->w.cfg);
	snprintf(key, sizeof(key), "%s/seal.key", s->run_dir);
	unlink(key);
	assert_int_equal(rmdir(s->run_dir), 0);
}

static void on_busy(void *arg)
{
	((struct site *)arg)->busy_count++;
}

/* The last JSON value of a body: the whole, or the last "data:" or line of a stream. */
static json_object *read_last(const struct site_answer *a, bool is_sse)
{
	const char *p = a->body.data, *last = NULL;
	struct err err;

	if (!a->body.len)
		return NULL;
	if (!a->is_handed_over && !is_sse)
		return jx_parse(buf_slice(&a->body), 64, &err);
	for (; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		if (a->is_handed_over)
			last = p;
		else if (strncmp(p, "data: ", 6) == 0)
			last = p + 6;
	}
	return last ? jx_parse((struct slice){last, strcspn(last, "\n")}, 64, &err) : NULL;
}

static void take_stream(struct site *s, struct site_answer *a)
{
	struct link *l = s->w.link;

	for (uint64_t i = 1; i <= l->streams_count; i++) {
		struct fake_stream *stream = &l->streams[i];

		if (!stream->is_adopted)
			continue;
		snprintf(a->head, sizeof(a->head), "%s", stream->head.data);
		buf_add_slice(&a->body, buf_slice(&stream->events));
		a->events_count = stream->events_count;
		a->is_handed_over = true;
	}
}

bool site_answer_header(const struct site_answer *a, const char *name, char *out, size_t size)
{
	return fake_head_get(a->head, name, out, size);
}

void site_ask(
    struct site *s, const char *method, const char *uri, const char *headers, const char *body, struct site_answer *a)
{
	struct fake_req req;
	char text[64];
	int pair[2] = {-1, -1};

	*a = (struct site_answer){0};
	buf_init(&a->body, 1 << 24);
	s->busy_count = 0;
	fake_req_init(&req);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	req.fd = pair[0];
	if (s->client_leaves)
		close(pair[1]);
	fake_req_set(&req, "REQUEST_METHOD", method);
	fake_req_set(&req, "REQUEST_URI", uri);
	fake_req_set(&req, "QUERY_STRING", strchr(uri, '?') ? strchr(uri, '?') + 1 : "");
	fake_req_set_headers(&req, headers);
	if (body)
		fake_req_set_body(&req, slice_str(body));
	if (s->on_serve)
		s->on_serve(true);
	worker_serve(&s->w, &req.base, on_busy, s);
	if (s->on_serve)
		s->on_serve(false);
	assert_int_equal(req.answers_count, 1);
	assert_null(s->w.link->calls);
	if (req.is_detached) {
		take_stream(s, a);
	} else {
		snprintf(a->head, sizeof(a->head), "%s", req.head.data ? req.head.data : "");
		buf_add_slice(&a->body, buf_slice(&req.answer));
	}
	if (site_answer_header(a, "Status", text, sizeof(text)))
		a->status = (int)strtol(text, NULL, 10);
	a->last =
	    read_last(a, site_answer_header(a, "Content-Type", text, sizeof(text)) && strcmp(text, SSE_TYPE) == 0);
	close(pair[0]);
	if (!s->client_leaves)
		close(pair[1]);
	fake_req_release(&req);
}

void site_answer_release(struct site_answer *a)
{
	buf_release(&a->body);
	json_object_put(a->last);
	*a = (struct site_answer){0};
}

static bool complain(const struct site_row *row, const struct site_answer *a, const char *what)
{
	print_error(
	    "%s: not the expected %s in\n%s\n%s\n", row->name, what, a->head, a->body.len ? a->body.data : "(no body)");
	return false;
}

static bool has_id(const struct site_row *row, const struct site_answer *a)
{
	struct buf id;
	bool same;

	buf_init(&id, 4096);
	if (jx_has(a->last, "id"))
		jx_write(&id, jx_get(a->last, "id"));
	same = slice_is(buf_slice(&id), row->id ? row->id : "");
	buf_release(&id);
	return same;
}

static bool is_as_told(struct site *s, const struct site_row *row, const struct site_answer *a)
{
	json_object *error = jx_get_object(a->last, "error");
	char type[1024] = "";

	site_answer_header(a, "Content-Type", type, sizeof(type));
	if (a->status != row->status)
		return complain(row, a, "status");
	if (strcmp(type, row->type ? row->type : "") != 0 || (!row->type && a->body.len))
		return complain(row, a, "content type");
	if (json_object_get_int(jx_get(error, "code")) != row->code)
		return complain(row, a, "code");
	if (error && (!slice_is(jx_get_str(a->last, "jsonrpc"), "2.0") || !jx_get_str(error, "message").len))
		return complain(row, a, "JSON-RPC error");
	if (!has_id(row, a))
		return complain(row, a, "id");
	if (row->head && !strstr(a->head, row->head))
		return complain(row, a, row->head);
	if (row->says && !(a->body.len && strstr(a->body.data, row->says)))
		return complain(row, a, row->says);
	if (a->is_handed_over && s->busy_count != 1 && strcmp(row->method, "POST") == 0)
		return complain(row, a, "thread that stopped counting"); /* exactly when its call became a stream */
	return true;
}

void site_check(struct site *s, const struct site_row *table, size_t count)
{
	size_t bad = 0;

	for (size_t i = 0; i < count; i++) {
		struct site_answer a;

		site_renew(s);
		site_ask(s, table[i].method, table[i].uri, table[i].headers, table[i].body, &a);
		bad += !is_as_told(s, &table[i], &a);
		site_answer_release(&a);
	}
	if (bad)
		fail_msg("%zu of %zu rows", bad, count);
}
