/* Tools, resources and prompts that are HTTP APIs: {"http": "https://api.example/v1/{city}/now"}. How one is asked is
 * fcgi/http_api.h.
 *
 *   tools      by "output":
 *                auto     by the answer's content type. JSON: an object or array is structuredContent, and text; any
 *                         other value is text. Pictures and sounds are blocks of their own; all else is text
 *                json     it has to be JSON: structuredContent, checked against output_schema, and text
 *                text     text, whatever the content type says
 *              "result" and "template" need JSON; so does output_schema, with which "json" is the default. What fails
 *              is a result with isError
 *   resources  what comes is text or a blob, by its content type, which is the mime_type unless the definition says
 *   prompts    what comes is what the user says */
#include "config.h"

#include <stdio.h>

#include "common/base64.h"
#include "common/jx.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "fcgi/content.h"
#include "fcgi/http_api.h"
#include "fcgi/mime.h"
#include "fcgi/provider.h"
#include "fcgi/result.h"
#include "fcgi/uri_template.h"
#include "common/banned.h"

#define WHY_MAX 2000

enum output { OUTPUT_AUTO, OUTPUT_JSON, OUTPUT_TEXT, OUTPUT__COUNT };
static const char *const output_names[] = {"auto", "json", "text"};

struct http_tool {
	struct http_api *api; /* owned */
	enum output output;
};

static struct slice mime_type_of(const struct http_answer *answer)
{
	return (struct slice){answer->content_type, strcspn(answer->content_type, "; ")};
}

static bool has_type(const struct http_answer *answer, const char *prefix)
{
	return strncasecmp(answer->content_type, prefix, strlen(prefix)) == 0;
}

/* ---- tools ---- */

static bool has_argument(const void *arg, struct slice name)
{
	return schema_allows_member(((const struct tool *)arg)->input, name);
}

static bool has_argument_always(const void *arg, struct slice name)
{
	return schema_requires_member(((const struct tool *)arg)->input, name);
}

static int read_output(
    struct http_tool *http, const struct tool *tool, json_object *def, struct cfg *cfg, const char *pointer)
{
	struct slice name = jx_get_str(def, "output");
	int output = tool->output ? OUTPUT_JSON : OUTPUT_AUTO;

	if (jx_has(def, "output")) {
		for (output = 0; output < OUTPUT__COUNT; output++) {
			if (name.p && slice_is(name, output_names[output]))
				break;
		}
	}
	if (output == OUTPUT__COUNT)
		return cfg_complain_at(cfg, pointer, "output", "output must be \"auto\", \"json\" or \"text\"");
	if (output != OUTPUT_JSON && tool->output)
		return cfg_complain_at(cfg, pointer, "output_schema", "output_schema needs \"output\": \"json\"");
	http->output = (enum output)output;
	return 0;
}

static void tool_release(struct tool *tool)
{
	struct http_tool *http = tool->priv;

	if (!http)
		return;
	http_api_free(&http->api);
	mem_free(http);
	tool->priv = NULL;
}

static int tool_init(struct tool *tool, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	const struct http_names names = {has_argument, has_argument_always, tool};
	struct http_tool *http = mem_alloc(1, sizeof(*http));
	int bad;

	if (!http)
		return err_set(err, ERR_NOMEM, "http");
	tool->priv = http;
	http->api = http_api_new(def, &names, &tool->timeout_s, cfg, pointer, err);
	bad = read_output(http, tool, def, cfg, pointer);
	return http->api ? bad : -1;
}

/* One call. */

struct run {
	const struct tool *tool;
	const struct http_tool *http;
	struct call *call;
	json_object *args;
	struct http_answer answer;
};

static int fail_result(const struct run *run, json_object **result, struct err *err)
{
	struct buf text;

	buf_init(&text, run->answer.why.len + 256);
	buf_addf(&text, "%s: ", run->tool->name);
	buf_add_slice(&text, buf_slice(&run->answer.why));
	*result = buf_check(&text, err) ? NULL : result_new_text(buf_slice(&text), true, err);
	buf_release(&text);
	return *result ? 0 : -1;
}

static int text_result(struct run *run, json_object **result, struct err *err)
{
	struct buf text;

	buf_init(&text, 3 * run->answer.body.len + 1);
	utf8_add_repaired(&text, buf_slice(&run->answer.body));
	*result = buf_check(&text, err) ? NULL : result_new_text(buf_slice(&text), false, err);
	buf_release(&text);
	return *result ? 0 : -1;
}

static int check_structured(struct run *run, json_object *val, struct err *err)
{
	struct buf why;
	int ret = 0;

	if (!run->tool->output)
		return 0;
	buf_init(&why, WHY_MAX);
	if (schema_check(run->tool->output, val, &why, err))
		ret = http_answer_fail(
		    &run->answer, "the answer does not fit its schema: %s", why.data ? why.data : err->msg);
	buf_release(&why);
	return ret;
}

static int json_result(struct run *run, json_object **result, struct err *err)
{
	json_object *root, *val;
	struct buf text;
	bool is_structured;
	int ret = http_api_parse(run->http->api, run->call, &run->answer, &root, &val, err);

	is_structured = run->http->output == OUTPUT_JSON || json_object_is_type(val, json_type_object) ||
			json_object_is_type(val, json_type_array);
	if (run->http->output == OUTPUT_TEXT)
		is_structured = false;
	if (ret == 0 && is_structured)
		ret = check_structured(run, val, err);
	if (ret == 0) {
		buf_init(&text, 16 * run->answer.body.len + 65536);
		http_api_put_text(run->http->api, run->args, val, &text);
		*result = buf_check(&text, err) ? NULL : result_new_text(buf_slice(&text), false, err);
		ret = *result ? 0 : -1;
		buf_release(&text);
	}
	if (ret == 0 && is_structured && val)
		ret = jx_add(*result, "structuredContent", json_object_get(val), err);
	json_object_put(root);
	return ret;
}

/* {"content":[{"type":"image","data":"...","mimeType":"image/png"}]} */
static int media_result(struct run *run, const char *kind, json_object **result, struct err *err)
{
	json_object *block = json_object_new_object(), *content = json_object_new_array();
	struct buf data;
	int bad;

	buf_init(&data, 2 * run->answer.body.len + 8);
	base64_encode(&data, BASE64_PADDED, buf_slice(&run->answer.body));
	bad = buf_check(&data, err);
	bad |= jx_add_str(block, "type", kind, err);
	bad |= jx_add(block, "data", jx_new_str(data.data ? buf_slice(&data) : SLICE("")), err);
	bad |= jx_add(block, "mimeType", jx_new_str(mime_type_of(&run->answer)), err);
	buf_release(&data);
	bad |= jx_append(content, block, err);
	*result = json_object_new_object();
	return bad | jx_add(*result, "content", content, err);
}

static int good_result(struct run *run, json_object **result, struct err *err)
{
	const struct http_answer *answer = &run->answer;
	enum output output = run->http->output;

	if (output == OUTPUT_JSON || http_api_needs_json(run->http->api))
		return json_result(run, result, err);
	if (output == OUTPUT_TEXT)
		return text_result(run, result, err);
	if (content_is_json(mime_type_of(answer)) && answer->body.len)
		return json_result(run, result, err);
	if (has_type(answer, "image/") || has_type(answer, "audio/"))
		return media_result(run, has_type(answer, "image/") ? "image" : "audio", result, err);
	if (!mime_is_text(buf_slice(&answer->body), false))
		return http_answer_fail(&run->answer, "the answer is %zu bytes of %.*s, which is no text",
		    answer->body.len, (int)mime_type_of(answer).len, answer->content_type);
	return text_result(run, result, err);
}

/* Says where the answer is from; and if nothing newer is to be had, in words that a model reads. */
static int mark_result(const struct run *run, json_object *result, struct err *err)
{
	json_object *block;
	char words[128];
	int bad = http_answer_add_meta(&run->answer, result, err);

	if (bad || !run->answer.has_failed)
		return bad;
	block = json_object_new_object();
	snprintf(words, sizeof(words), "This is %lld s old: no newer answer can be had at the moment.",
	    (long long)run->answer.age_ms / 1000);
	bad = jx_add_str(block, "type", "text", err);
	bad |= jx_add_str(block, "text", words, err);
	return jx_append(jx_get_array(result, "content"), block, err) | bad;
}

static int call_tool(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	struct run run = {.tool = tool, .http = tool->priv, .call = call, .args = args};
	int ret = http_api_call(run.http->api, call, tool->name, args, tool->timeout_s, &run.answer, err);

	*result = NULL;
	if (ret == 0 && run.answer.why.len == 0)
		ret = good_result(&run, result, err);
	if (ret != -1 && buf_check(&run.answer.why, err))
		ret = -1;
	if (ret == 0 && run.answer.why.len == 0)
		ret = mark_result(&run, *result, err);
	if (ret != -1 && run.answer.why.len)
		ret = fail_result(&run, result, err);
	http_answer_release(&run.answer);
	if (ret == -1) {
		json_object_put(*result);
		*result = NULL;
	}
	return ret;
}

/* ---- resources and prompts: priv is the api ---- */

/* Asks, and gets what comes as text, which out is to hold. is_text: what was there, out is empty when it is none. */
static int ask(const struct http_api *api, struct call *call, const char *name, json_object *args, int64_t timeout_s,
    struct http_answer *answer, struct buf *out, struct err *err)
{
	json_object *root = NULL, *val;
	int ret = http_api_call(api, call, name, args, timeout_s, answer, err);

	buf_init(out, 16 * answer->body.len + 65536);
	if (ret == 0 && answer->why.len == 0 && http_api_needs_json(api)) {
		ret = http_api_parse(api, call, answer, &root, &val, err);
		if (ret == 0)
			http_api_put_text(api, args, val, out);
		json_object_put(root);
	} else if (ret == 0 && answer->why.len == 0) {
		utf8_add_repaired(out, buf_slice(&answer->body));
	}
	if (ret == -1 || buf_check(&answer->why, err))
		return -1;
	if (answer->is_missing)
		return err_set(err, ERR_NOT_FOUND, "there is nothing at this URI");
	if (answer->why.len)
		return err_set(err, answer->is_unfit ? ERR_PARAMS : ERR_INTERNAL, "%s: %s", name, answer->why.data);
	return buf_check(out, err);
}

static bool has_variable(const void *arg, struct slice name)
{
	const struct resource *resource = arg;

	return resource->template && uri_template_has_variable(resource->template, name);
}

static int resource_init(
    struct resource *resource, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	const struct http_names names = {has_variable, has_variable, resource};

	resource->priv = http_api_new(def, &names, &resource->timeout_s, cfg, pointer, err);
	return resource->priv ? 0 : -1;
}

static void resource_release(struct resource *resource)
{
	struct http_api *api = resource->priv;

	http_api_free(&api);
	resource->priv = NULL;
}

static int resource_read(struct call *call, const struct resource *resource, struct slice uri, json_object *vars,
    json_object *contents, struct err *err)
{
	const struct http_api *api = resource->priv;
	json_object *object = json_object_new_object();
	struct http_answer answer;
	struct buf text;
	bool is_text;
	int ret = ask(api, call, resource->uri, vars, resource->timeout_s, &answer, &text, err);

	(void)uri;
	is_text = http_api_needs_json(api) ||
		  (mime_is_text(buf_slice(&answer.body), false) && !mime_is_binary(mime_type_of(&answer)));
	if (ret == 0 && !is_text) {
		buf_clear(&text);
		base64_encode(&text, BASE64_PADDED, buf_slice(&answer.body));
		ret = buf_check(&text, err);
	}
	if (ret == 0)
		ret = jx_add(
		    object, is_text ? "text" : "blob", jx_new_str(text.data ? buf_slice(&text) : SLICE("")), err);
	if (ret == 0 && !resource->mime_type && !http_api_needs_json(api) &&
	    content_is_mime_type(mime_type_of(&answer)))
		ret = jx_add(object, "mimeType", jx_new_str(mime_type_of(&answer)), err);
	if (ret == 0)
		ret = http_answer_add_meta(&answer, object, err);
	buf_release(&text);
	http_answer_release(&answer);
	if (ret == 0)
		return jx_append(contents, object, err);
	json_object_put(object);
	return -1;
}

static bool is_argument(const void *arg, struct slice name)
{
	return arguments_find(&((const struct prompt *)arg)->arguments, name) != NULL;
}

static bool is_required_argument(const void *arg, struct slice name)
{
	const struct argument *argument = arguments_find(&((const struct prompt *)arg)->arguments, name);

	return argument && argument->is_required;
}

static int prompt_init(struct prompt *prompt, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	const struct http_names names = {is_argument, is_required_argument, prompt};

	prompt->priv = http_api_new(def, &names, &prompt->timeout_s, cfg, pointer, err);
	return prompt->priv ? 0 : -1;
}

static void prompt_release(struct prompt *prompt)
{
	struct http_api *api = prompt->priv;

	http_api_free(&api);
	prompt->priv = NULL;
}

static int prompt_get(
    struct call *call, const struct prompt *prompt, json_object *args, json_object **result, struct err *err)
{
	struct http_answer answer;
	struct buf text;
	int ret = ask(prompt->priv, call, prompt->name, args, prompt->timeout_s, &answer, &text, err);

	*result = ret ? NULL : result_new_prompt(buf_slice(&text), err);
	buf_release(&text);
	http_answer_release(&answer);
	return *result ? 0 : -1;
}

static const char *const members[] = {"output", HTTP_API_MEMBERS, NULL};
static const char *const offer_members[] = {HTTP_API_MEMBERS, NULL};

const struct provider provider_http = {
    .name = "http",
    .members = members,
    .tool_init = tool_init,
    .tool_release = tool_release,
    .call = call_tool,
    .resource_members = offer_members,
    .resource_init = resource_init,
    .resource_release = resource_release,
    .read = resource_read,
    .prompt_members = offer_members,
    .prompt_init = prompt_init,
    .prompt_release = prompt_release,
    .get = prompt_get,
};
