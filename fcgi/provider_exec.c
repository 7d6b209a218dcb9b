/* Tools that are programs: {"exec": ["/usr/bin/du", "-sh", "{path}"]}. How one runs is fcgi/exec.h; MCP_TOOL in its
 * environment is the tool's name.
 *
 * What it gives back, by "output":
 *   text     stdout is the answer's text; bytes that are not UTF-8 become U+FFFD
 *   json     stdout is one JSON text: structuredContent, checked against output_schema, and the same as text
 *   result   stdout is a whole CallToolResult; or {"error": {"message": WORDS, "data": ANY}}, when the call is to end
 *            with a JSON-RPC error instead
 * "resident": true: it stays alive from call to call, and gives the same as the result of each.
 * Exit status 0 is success. Anything else is a result with isError that holds stderr, then stdout. When it asks its
 * client (descriptor 3), there is no result yet. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/jx.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "fcgi/exec.h"
#include "fcgi/exec_offers.h"
#include "fcgi/provider.h"
#include "fcgi/result.h"
#include "common/banned.h"

#define WHY_MAX 2000

enum output { OUTPUT_TEXT, OUTPUT_JSON, OUTPUT_RESULT, OUTPUT__COUNT };
static const char *const output_names[] = {"text", "json", "result"};

struct exec_tool {
	struct exec *exec; /* owned */
	enum output output;
};

static bool has_argument(const void *arg, struct slice name)
{
	const struct tool *tool = arg;

	return schema_allows_member(tool->input, name);
}

static int read_output(
    struct exec_tool *exec, const struct tool *tool, json_object *def, struct cfg *cfg, const char *pointer)
{
	struct slice name = jx_get_str(def, "output");
	int output = OUTPUT_TEXT;

	while (jx_has(def, "output") && output < OUTPUT__COUNT && !(name.p && slice_is(name, output_names[output])))
		output++;
	if (output == OUTPUT__COUNT)
		return cfg_complain_at(cfg, pointer, "output", "output must be \"text\", \"json\" or \"result\"");
	if (output == OUTPUT_TEXT && tool->output)
		return cfg_complain_at(
		    cfg, pointer, "output_schema", "output_schema needs \"output\": \"json\" or \"result\"");
	exec->output = (enum output)output;
	return 0;
}

static int read_wait(struct tool *tool, json_object *def, struct cfg *cfg, const char *pointer)
{
	json_object *val = jx_get(def, "wait");

	if (jx_has(def, "wait") && !json_object_is_type(val, json_type_boolean))
		return cfg_complain_at(cfg, pointer, "wait", "wait must be true or false");
	tool->waits = json_object_get_boolean(val);
	return 0;
}

static int read_resident(struct exec_tool *exec, const struct tool *tool, json_object *def, struct cfg *cfg,
    const char *pointer, struct err *err)
{
	json_object *val = jx_get(def, "resident");

	if (jx_has(def, "resident") && !json_object_is_type(val, json_type_boolean))
		return cfg_complain_at(cfg, pointer, "resident", "resident must be true or false");
	if (!json_object_get_boolean(val))
		return 0;
	if (tool->waits)
		return cfg_complain_at(cfg, pointer, "resident", "a program either waits or is resident");
	return exec_make_resident(exec->exec, cfg, pointer, err);
}

static int read_defaults(struct exec *exec, json_object *def, struct err *err)
{
	json_object *input = jx_get_object(def, "input");
	json_object *properties = jx_get_str(input, "type").p ? jx_get_object(input, "properties") : input;

	if (!properties)
		return 0;
	json_object_object_foreach(properties, name, property) {
		json_object *val = jx_get(property, "default");

		if (val && exec_add_default(exec, name, val, err))
			return -1;
	}
	return 0;
}

static void tool_release(struct tool *tool)
{
	struct exec_tool *exec = tool->priv;

	if (!exec)
		return;
	exec_free(&exec->exec);
	mem_free(exec);
	tool->priv = NULL;
}

static int tool_init(struct tool *tool, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	struct exec_tool *exec = mem_alloc(1, sizeof(*exec));
	int bad;

	if (!exec)
		return err_set(err, ERR_NOMEM, "exec");
	tool->priv = exec;
	exec->exec = exec_new(def, "exec", has_argument, tool, cfg, pointer, err);
	bad = read_output(exec, tool, def, cfg, pointer);
	bad |= read_wait(tool, def, cfg, pointer);
	if (!exec->exec)
		return -1;
	bad |= read_resident(exec, tool, def, cfg, pointer, err);
	return bad | read_defaults(exec->exec, def, err);
}

/* One call. */

struct run {
	struct exec_run exec;
	const struct tool *tool;
	enum output output;
};

/* isError with the tool's own words below ours. */
static int fail_result(const struct run *run, json_object **result, struct err *err)
{
	struct buf text;

	buf_init(&text, 3 * (run->exec.errors.len + run->exec.out.len) + run->exec.why.len + 256);
	buf_addf(&text, "%s: ", run->tool->name);
	exec_run_put_failure(&run->exec, &text);
	*result = buf_check(&text, err) ? NULL : result_new_text(buf_slice(&text), true, err);
	buf_release(&text);
	return *result ? 0 : -1;
}

/* -1 with *err, and perhaps more words in why: structuredContent does not fit. */
static int check_structured(const struct run *run, json_object *val, struct buf *why, struct err *err)
{
	return run->tool->output ? schema_check(run->tool->output, val, why, err) : 0;
}

static int json_result(struct run *run, json_object **result, struct err *err)
{
	json_object *val = jx_parse(buf_slice(&run->exec.out), (int)run->exec.call->cfg->body_depth_max, err);
	struct buf why, text;
	int ret = -1;

	if (!val)
		return exec_run_fail(&run->exec, "its output is not the JSON that it should be: %s", err->msg);
	buf_init(&why, WHY_MAX);
	if (check_structured(run, val, &why, err)) {
		ret =
		    exec_run_fail(&run->exec, "its output does not fit its schema: %s", why.data ? why.data : err->msg);
	} else {
		buf_init(&text, 2 * run->exec.out.len + 64);
		jx_write(&text, val);
		*result = buf_check(&text, err) ? NULL : result_new_text(buf_slice(&text), false, err);
		ret = *result ? 0 : -1;
		if (ret == 0)
			ret = jx_add(*result, "structuredContent", json_object_get(val), err);
		buf_release(&text);
	}
	buf_release(&why);
	json_object_put(val);
	return ret;
}

/* {"error": {"message": WORDS, "data": ANY}}: the call fails, with no result at all. */
static int protocol_error(struct run *run, json_object *error, struct err *err)
{
	struct slice message = jx_get_str(error, "message");

	if (jx_has(error, "data"))
		call_set_error_data(run->exec.call, json_object_get(jx_get(error, "data")));
	return err_set(err, ERR_TOOL, "%.*s", message.len > 200 ? 200 : (int)message.len, message.p ? message.p : "");
}

static int whole_result(struct run *run, json_object **result, struct err *err)
{
	json_object *val = jx_parse(buf_slice(&run->exec.out), (int)run->exec.call->cfg->body_depth_max, err);
	struct buf why;
	int ret = 0;

	if (json_object_is_type(val, json_type_object) && jx_get_object(val, "error")) {
		ret = protocol_error(run, jx_get_object(val, "error"), err);
		json_object_put(val);
		return ret;
	}
	if (!val || result_check_shape(val, err)) {
		json_object_put(val);
		return exec_run_fail(&run->exec, "its output is not a result: %s", err->msg);
	}
	buf_init(&why, WHY_MAX);
	if (run->tool->output && !json_object_get_boolean(jx_get(val, "isError"))) {
		if (!jx_has(val, "structuredContent"))
			ret = err_set(err, ERR_PARAMS, "structuredContent is missing");
		else
			ret = check_structured(run, jx_get(val, "structuredContent"), &why, err);
	}
	if (ret)
		ret =
		    exec_run_fail(&run->exec, "its output does not fit its schema: %s", why.data ? why.data : err->msg);
	else
		*result = json_object_get(val);
	buf_release(&why);
	json_object_put(val);
	return ret;
}

static int good_result(struct run *run, json_object **result, struct err *err)
{
	struct buf text;

	if (run->output == OUTPUT_JSON)
		return json_result(run, result, err);
	if (run->output == OUTPUT_RESULT)
		return whole_result(run, result, err);
	buf_init(&text, 3 * run->exec.out.len + 1);
	utf8_add_repaired(&text, buf_slice(&run->exec.out));
	*result = buf_check(&text, err) ? NULL : result_new_text(buf_slice(&text), false, err);
	buf_release(&text);
	return *result ? 0 : -1;
}

static int call_tool(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	const struct exec_tool *exec = tool->priv;
	struct run run = {.tool = tool, .output = exec->output};
	int ret;

	*result = NULL;
	exec_run_init(&run.exec, exec->exec, call, tool->name, tool->timeout_s);
	run.exec.is_text = exec->output == OUTPUT_TEXT;
	run.exec.waits = tool->waits && call_can_wait(call);
	ret = exec_run_set(&run.exec, "MCP_TOOL", slice_str(tool->name), err);
	if (ret == 0)
		ret = exec_run(&run.exec, args, err);
	if (ret == 0 && run.exec.why.len == 0 && !call_is_asking(call))
		ret = good_result(&run, result, err);
	if (ret != -1 && run.exec.why.len)
		ret = fail_result(&run, result, err);
	exec_run_release(&run.exec);
	if (ret == -1) {
		json_object_put(*result);
		*result = NULL;
	}
	return ret;
}

static const char *const members[] = {"output", "wait", "resident", EXEC_MEMBERS, NULL};

const struct provider provider_exec = {
    .name = "exec",
    .members = members,
    .tool_init = tool_init,
    .tool_release = tool_release,
    .call = call_tool,
    .resource_members = exec_resource_members,
    .resource_init = exec_resource_init,
    .resource_release = exec_resource_release,
    .read = exec_resource_read,
    .resource_complete = exec_resource_complete,
    .prompt_members = exec_prompt_members,
    .prompt_init = exec_prompt_init,
    .prompt_release = exec_prompt_release,
    .get = exec_prompt_get,
    .prompt_complete = exec_prompt_complete,
};
