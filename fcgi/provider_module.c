/* Tools, resources and prompts of modules, which are shared objects: what their handlers give becomes results. */
#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/content.h"
#include "fcgi/module_apart.h"
#include "fcgi/provider.h"
#include "fcgi/result.h"
#include "common/banned.h"

#define WHY_MAX 2000

/* priv is the offer, which keeps its module. */
static int offer_init(void **priv, json_object *def, struct cfg *cfg, const char *pointer)
{
	const struct module_offer *offer = module_offer_of(def);

	if (!offer)
		return cfg_complain_at(cfg, pointer, "module",
		    "what a module offers is there as soon as \"modules\" names it, and is not defined here");
	module_get(offer->module);
	*priv = (void *)(uintptr_t)offer;
	return 0;
}

static void offer_release(void **priv)
{
	const struct module_offer *offer = *priv;

	*priv = NULL;
	if (offer)
		module_put(offer->module);
}

/* Tools. */

static int tool_init(struct tool *tool, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	(void)err;
	return offer_init(&tool->priv, def, cfg, pointer);
}

static void tool_release(struct tool *tool)
{
	offer_release(&tool->priv);
}

/* The text that was added; a handler that fails may have added none. */
static struct slice text_of(json_object *pieces)
{
	for (size_t i = 0; pieces && i < json_object_array_length(pieces); i++) {
		struct slice text = jx_get_str(json_object_array_get_idx(pieces, i), "text");

		if (text.p)
			return text;
	}
	return SLICE("");
}

static json_object *fail_result(const struct tool *tool, struct slice why, struct err *err)
{
	json_object *result;
	struct buf text;

	buf_init(&text, why.len + 256);
	buf_addf(&text, "%s: ", tool->name);
	buf_add_slice(&text, why.len ? why : SLICE("it failed"));
	result = buf_check(&text, err) ? NULL : result_new_text(buf_slice(&text), true, err);
	buf_release(&text);
	return result;
}

/* {"data", "mimeType"} or {"text"} as a block of content. */
static json_object *new_block(json_object *piece, struct err *err)
{
	struct slice mime = jx_get_str(piece, "mimeType");
	const char *type = !mime.p ? "text" : strncmp(mime.p, "image/", 6) == 0 ? "image" : "audio";
	json_object *block = json_object_new_object();
	int bad = jx_add_str(block, "type", type, err);

	json_object_object_foreach(piece, name, val) {
		bad |= jx_add(block, name, json_object_get(val), err);
	}
	if (!bad)
		return block;
	json_object_put(block);
	return NULL;
}

static int add_blocks(json_object *content, json_object *pieces, struct err *err)
{
	int bad = 0;

	for (size_t i = 0; pieces && i < json_object_array_length(pieces) && !bad; i++)
		bad = jx_append(content, new_block(json_object_array_get_idx(pieces, i), err), err);
	return bad;
}

static int add_structured_text(json_object *content, json_object *structured, struct err *err)
{
	json_object *block = json_object_new_object();
	struct buf text;
	int bad;

	buf_init(&text, SIZE_MAX / 2);
	jx_write(&text, structured);
	bad = buf_check(&text, err) || jx_add_str(block, "type", "text", err) ||
	      jx_add(block, "text", jx_new_str(buf_slice(&text)), err);
	buf_release(&text);
	return jx_append(content, block, err) || bad ? -1 : 0;
}

/* The CallToolResult of what was added piece by piece. */
static json_object *assemble(const struct module_answer *answer, struct err *err)
{
	json_object *result = json_object_new_object(), *content = json_object_new_array();
	int bad = add_blocks(content, answer->pieces, err);

	if (!bad && answer->structured) {
		bad = answer->pieces ? 0 : add_structured_text(content, answer->structured, err);
		bad |= jx_add(result, "structuredContent", json_object_get(answer->structured), err);
	}
	bad |= jx_add(result, "content", content, err);
	if (!bad)
		return result;
	json_object_put(result);
	return NULL;
}

/* ERR_INVALID or ERR_PARAMS: why says how it is no result of this tool. */
static int check_result(const struct tool *tool, json_object *result, struct buf *why, struct err *err)
{
	json_object *structured = jx_get(result, "structuredContent");
	int bad = result_check_shape(result, err);

	if (bad)
		buf_addf(why, "its result is not one: %s", err->msg);
	if (bad || !tool->output || json_object_get_boolean(jx_get(result, "isError")))
		return bad;
	buf_adds(why, "its structured content does not fit its schema: ");
	if (structured)
		return schema_check(tool->output, structured, why, err);
	buf_adds(why, "there is none");
	return err_set(err, ERR_PARAMS, "no structured content");
}

static int good_result(
    const struct tool *tool, const struct module_answer *answer, json_object **result, struct err *err)
{
	json_object *val = answer->whole ? json_object_get(answer->whole) : assemble(answer, err);
	struct buf why;
	int bad;

	if (!val)
		return -1;
	buf_init(&why, WHY_MAX);
	bad = check_result(tool, val, &why, err);
	if (!bad)
		*result = json_object_get(val);
	else if (err->code == ERR_INVALID || err->code == ERR_PARAMS)
		*result = fail_result(tool, buf_slice(&why), err);
	buf_release(&why);
	json_object_put(val);
	return *result ? 0 : -1;
}

static int tool_result(struct call *call, const struct tool *tool, const struct module_answer *answer,
    json_object **result, struct err *err)
{
	if (answer->fault.code != ERR_NONE) {
		call_drop_asks(call);
		*result = fail_result(tool, slice_str(answer->fault.msg), err);
	} else if (answer->status != MCP_OK) {
		call_drop_asks(call);
		*result = fail_result(tool, text_of(answer->pieces), err);
	} else if (!call_is_asking(call)) {
		return good_result(tool, answer, result, err);
	} else {
		return 0;
	}
	return *result ? 0 : -1;
}

static int call_tool(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	const struct module_input input = {
	    .offer = tool->priv, .name = slice_str(tool->name), .args = args, .timeout_s = tool->timeout_s};
	struct module_answer answer;
	struct err why;
	int ret = call->is_job ? module_run_apart(call, &input, &answer, err) : module_run(call, &input, &answer, err);

	*result = NULL;
	if (ret == 0) {
		ret = tool_result(call, tool, &answer, result, err);
	} else if (ret == 1) {
		call_drop_asks(call);
		why = *err;
		*result = fail_result(tool, slice_str(why.msg), err);
		ret = *result ? 0 : -1;
	}
	module_answer_release(&answer);
	return ret;
}

/* Resources and prompts: a failure is an error. */

/* 0: *answer is good. 1: the client is asked first. */
static int run_offer(struct call *call, const struct module_input *input, struct module_answer *answer, struct err *err)
{
	struct slice text;
	int ret = module_run(call, input, answer, err);

	if (ret) {
		err->code = ret == 1 ? ERR_INTERNAL : err->code;
		return -1;
	}
	text = text_of(answer->pieces);
	if (answer->fault.code != ERR_NONE)
		return err_set(err, ERR_INTERNAL, "%s", answer->fault.msg);
	if (answer->status == MCP_NOT_FOUND)
		return err_set(err, ERR_NOT_FOUND, "there is nothing at this URI");
	if (answer->status != MCP_OK)
		return err_set(err, answer->status == MCP_BAD_PARAMS ? ERR_PARAMS : ERR_INTERNAL, "%.*s",
		    text.len > 200 ? 200 : (int)text.len, text.len ? text.p : "");
	return call_is_asking(call);
}

static int resource_init(
    struct resource *resource, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	(void)err;
	return offer_init(&resource->priv, def, cfg, pointer);
}

static void resource_release(struct resource *resource)
{
	offer_release(&resource->priv);
}

static json_object *new_content(json_object *piece, struct err *err)
{
	json_object *object = json_object_new_object();
	int bad = 0;

	json_object_object_foreach(piece, name, val) {
		bad |= jx_add(object, strcmp(name, "data") == 0 ? "blob" : name, json_object_get(val), err);
	}
	if (!bad)
		return object;
	json_object_put(object);
	return NULL;
}

static int add_content(json_object *contents, size_t i, json_object *object, struct slice uri, struct err *err)
{
	struct err why;
	char where[48];
	int bad = 0;

	snprintf(where, sizeof(where), "contents[%zu]", i);
	if (json_object_is_type(object, json_type_object) && !jx_has(object, "uri"))
		bad = jx_add(object, "uri", jx_new_str(uri), err);
	if (!bad && content_check_resource(object, where, false, &why))
		bad = err_set(err, ERR_INTERNAL, "%.200s", why.msg);
	return jx_append(contents, object, err) | bad;
}

static int add_contents(json_object *contents, const struct module_answer *answer, struct slice uri, struct err *err)
{
	json_object *whole = jx_get_array(answer->whole, "contents");
	json_object *objects = answer->whole ? whole : answer->pieces;
	int bad = 0;

	if (answer->whole && !whole)
		return err_set(err, ERR_INTERNAL, "contents of its result must be an array");
	for (size_t i = 0; objects && i < json_object_array_length(objects) && !bad; i++) {
		json_object *item = json_object_array_get_idx(objects, i);
		json_object *object = whole ? json_object_get(item) : new_content(item, err);

		bad = object ? add_content(contents, i, object, uri, err) : -1;
	}
	return bad;
}

static int read_resource(struct call *call, const struct resource *resource, struct slice uri, json_object *vars,
    json_object *contents, struct err *err)
{
	const struct module_input input = {
	    .offer = resource->priv, .name = uri, .args = vars, .timeout_s = resource->timeout_s};
	struct module_answer answer;
	int ret = run_offer(call, &input, &answer, err);

	if (ret == 0)
		ret = add_contents(contents, &answer, uri, err);
	module_answer_release(&answer);
	return ret == -1 ? -1 : 0;
}

static int prompt_init(struct prompt *prompt, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	(void)err;
	return offer_init(&prompt->priv, def, cfg, pointer);
}

static void prompt_release(struct prompt *prompt)
{
	offer_release(&prompt->priv);
}

static int add_message(json_object *messages, json_object *piece, struct err *err)
{
	json_object *message = json_object_new_object();
	int bad = jx_add_str(message, "role", "user", err);

	bad |= jx_add(message, "content", new_block(piece, err), err);
	return jx_append(messages, message, err) | bad;
}

static json_object *new_prompt(json_object *pieces, struct err *err)
{
	json_object *result = json_object_new_object(), *messages = json_object_new_array();
	int bad = 0;

	for (size_t i = 0; pieces && i < json_object_array_length(pieces) && !bad; i++)
		bad = add_message(messages, json_object_array_get_idx(pieces, i), err);
	bad |= jx_add(result, "messages", messages, err);
	if (!bad)
		return result;
	json_object_put(result);
	return NULL;
}

static int get_prompt(
    struct call *call, const struct prompt *prompt, json_object *args, json_object **result, struct err *err)
{
	const struct module_input input = {
	    .offer = prompt->priv, .name = slice_str(prompt->name), .args = args, .timeout_s = prompt->timeout_s};
	struct module_answer answer;
	struct err why;
	int ret = run_offer(call, &input, &answer, err);

	*result = NULL;
	if (ret == 0) {
		*result = answer.whole ? json_object_get(answer.whole) : new_prompt(answer.pieces, err);
		ret = *result ? 0 : -1;
	}
	if (ret == 0 && result_check_prompt(*result, &why)) {
		ret = err_set(err, ERR_INTERNAL, "%.200s", why.msg);
		json_object_put(*result);
		*result = NULL;
	}
	module_answer_release(&answer);
	return ret == -1 ? -1 : 0;
}

static const char *const members[] = {NULL};

const struct provider provider_module = {
    .name = "module",
    .is_unwritten = true,
    .members = members,
    .tool_init = tool_init,
    .tool_release = tool_release,
    .call = call_tool,
    .resource_members = members,
    .resource_init = resource_init,
    .resource_release = resource_release,
    .read = read_resource,
    .prompt_members = members,
    .prompt_init = prompt_init,
    .prompt_release = prompt_release,
    .get = get_prompt,
};
