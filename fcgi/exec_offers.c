#include "config.h"

#include <stdio.h>
#include <sysexits.h>

#include "common/base64.h"
#include "common/jx.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "fcgi/content.h"
#include "fcgi/exec.h"
#include "fcgi/exec_offers.h"
#include "fcgi/result.h"
#include "fcgi/uri_template.h"
#include "common/banned.h"

enum output { OUTPUT_TEXT, OUTPUT_BINARY, OUTPUT_RESULT, OUTPUT__COUNT };
static const char *const output_names[] = {"text", "binary", "result"};

struct exec_offer {
	struct exec *exec;     /* owned */
	struct exec *complete; /* owned; NULL: it suggests nothing */
	enum output output;
};

static void offer_free(void **priv)
{
	struct exec_offer *offer = *priv;

	if (!offer)
		return;
	exec_free(&offer->exec);
	exec_free(&offer->complete);
	mem_free(offer);
	*priv = NULL;
}

/* What an offer's definition says, into *priv. */
static int offer_init(void **priv, json_object *def, bool (*has_argument)(const void *arg, struct slice name),
    const void *arg, bool has_binary, struct cfg *cfg, const char *pointer, struct err *err)
{
	struct exec_offer *offer = mem_alloc(1, sizeof(*offer));
	struct slice name = jx_get_str(def, "output");
	int output = OUTPUT_TEXT;

	if (!offer)
		return err_set(err, ERR_NOMEM, "exec");
	*priv = offer;
	while (jx_has(def, "output") && output < OUTPUT__COUNT && !(name.p && slice_is(name, output_names[output])))
		output++;
	offer->output = (enum output)output;
	offer->exec = exec_new(def, "exec", has_argument, arg, cfg, pointer, err);
	if (offer->exec && jx_has(def, "complete"))
		offer->complete = exec_new(def, "complete", has_argument, arg, cfg, pointer, err);
	if (output == OUTPUT__COUNT || (output == OUTPUT_BINARY && !has_binary))
		return cfg_complain_at(cfg, pointer, "output",
		    has_binary ? "output must be \"text\", \"binary\" or \"result\""
			       : "output must be \"text\" or \"result\"");
	return offer->exec && (offer->complete || !jx_has(def, "complete")) ? 0 : -1;
}

/* How a program failed, as an error. run->why is not empty. */
static int failure(const struct exec_run *run, struct err *err)
{
	struct buf text;

	if (run->exit_status != EX_USAGE)
		return err_set(err, ERR_INTERNAL, "%s %s", run->name, run->why.data);
	buf_init(&text, 3 * run->errors.len + run->why.len + 1);
	utf8_add_repaired(&text, run->errors.len ? buf_slice(&run->errors) : buf_slice(&run->why));
	while (text.len && text.data[text.len - 1] == '\n')
		text.data[--text.len] = '\0';
	err_set(err, ERR_PARAMS, "%s", text.data ? text.data : ""); /* as much as fits */
	buf_release(&text);
	return -1;
}

/* One run. 1: it asks its client, there is nothing to see yet. */
static int run_offer(struct exec_run *run, const char *variable, struct slice value, json_object *args, struct err *err)
{
	if (exec_run_set(run, variable, value, err) || exec_run(run, args, err))
		return -1;
	if (run->why.len)
		return failure(run, err);
	return call_is_asking(run->call);
}

/* Suggestions. */

/* What a completion program is given: what has been typed, and the others. The caller owns it. */
static json_object *known_arguments(struct slice name, struct slice value, json_object *others, struct err *err)
{
	json_object *args = json_object_new_object();
	struct buf key;
	int bad = 0;

	if (others) {
		json_object_object_foreach(others, other, val) {
			bad |= jx_add(args, other, json_object_get(val), err);
		}
	}
	buf_init(&key, name.len + 1);
	buf_add_slice(&key, name);
	bad |= buf_check(&key, err);
	if (!bad)
		bad = jx_add(args, key.data, jx_new_str(value), err);
	buf_release(&key);
	if (!bad)
		return args;
	json_object_put(args);
	return NULL;
}

static int add_lines(struct slice text, json_object *values, struct err *err)
{
	int bad = 0;

	for (size_t count = 0; text.len && !bad && count < COMPLETION_CANDIDATES_MAX; count++) {
		const char *end = memchr(text.p, '\n', text.len);
		size_t len = end ? (size_t)(end - text.p) : text.len;

		if (len)
			bad = jx_append(values, jx_new_str((struct slice){text.p, len}), err);
		len += end != NULL;
		text.p += len;
		text.len -= len;
	}
	return bad;
}

static int complete(struct exec_run *run, struct slice name, struct slice value, json_object *others,
    json_object *values, struct err *err)
{
	json_object *args = known_arguments(name, value, others, err);
	struct buf text;
	int ret = args ? run_offer(run, "MCP_COMPLETE", name, args, err) : -1;

	if (ret == 0) {
		buf_init(&text, 3 * run->out.len + 1);
		utf8_add_repaired(&text, buf_slice(&run->out));
		ret = buf_check(&text, err) ? -1 : add_lines(buf_slice(&text), values, err);
		buf_release(&text);
	}
	json_object_put(args);
	return ret;
}

/* Its output as JSON. */
static json_object *read_json(const struct exec_run *run, struct err *err)
{
	json_object *val = jx_parse(buf_slice(&run->out), (int)run->call->cfg->body_depth_max, err);

	if (!val) {
		err->code = ERR_INTERNAL; /* not the client's mistake */
		err_wrap(err, "output of %s", run->name);
	}
	return val;
}

/* Resources. */

static bool has_variable(const void *arg, struct slice name)
{
	const struct resource *resource = arg;

	return resource->template && uri_template_has_variable(resource->template, name);
}

int exec_resource_init(
    struct resource *resource, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	return offer_init(&resource->priv, def, has_variable, resource, true, cfg, pointer, err);
}

void exec_resource_release(struct resource *resource)
{
	offer_free(&resource->priv);
}

/* stdout as the one object that is there. */
static int add_output(const struct exec_run *run, enum output output, json_object *contents, struct err *err)
{
	json_object *object = json_object_new_object();
	struct buf text;
	int bad;

	buf_init(&text, 3 * run->out.len + 4);
	if (output == OUTPUT_TEXT)
		utf8_add_repaired(&text, buf_slice(&run->out));
	else
		base64_encode(&text, BASE64_PADDED, buf_slice(&run->out));
	bad = buf_check(&text, err);
	if (!bad)
		bad = jx_add(object, output == OUTPUT_TEXT ? "text" : "blob", jx_new_str(buf_slice(&text)), err);
	buf_release(&text);
	return jx_append(contents, object, err) | bad;
}

/* The contents of a ReadResourceResult. */
static int add_contents(const struct exec_run *run, struct slice uri, json_object *contents, struct err *err)
{
	json_object *val = read_json(run, err), *objects = jx_get_array(val, "contents");
	int bad = val ? 0 : -1;
	char where[48];

	if (val && !objects)
		bad = err_set(err, ERR_INTERNAL, "output of %s: contents must be an array", run->name);
	for (size_t i = 0; objects && i < json_object_array_length(objects) && !bad; i++) {
		json_object *object = json_object_array_get_idx(objects, i);
		struct err why;

		snprintf(where, sizeof(where), "contents[%zu]", i);
		if (json_object_is_type(object, json_type_object) && !jx_has(object, "uri"))
			bad = jx_add(object, "uri", jx_new_str(uri), err);
		if (!bad && content_check_resource(object, where, false, &why))
			bad = err_set(err, ERR_INTERNAL, "output of %s: %.200s", run->name, why.msg);
		if (!bad)
			bad = jx_append(contents, json_object_get(object), err);
	}
	json_object_put(val);
	return bad;
}

int exec_resource_read(struct call *call, const struct resource *resource, struct slice uri, json_object *vars,
    json_object *contents, struct err *err)
{
	const struct exec_offer *offer = resource->priv;
	struct exec_run run;
	int ret;

	exec_run_init(&run, offer->exec, call, resource->uri, resource->timeout_s);
	ret = run_offer(&run, "MCP_URI", uri, vars, err);
	if (ret == -1 && run.exit_status == EX_NOINPUT)
		err_set(err, ERR_NOT_FOUND, "there is nothing at this URI");
	if (ret == 0)
		ret = offer->output == OUTPUT_RESULT ? add_contents(&run, uri, contents, err)
						     : add_output(&run, offer->output, contents, err);
	exec_run_release(&run);
	return ret == -1 ? -1 : 0;
}

int exec_resource_complete(struct call *call, const struct resource *resource, struct slice variable,
    struct slice value, json_object *others, json_object *values, struct err *err)
{
	const struct exec_offer *offer = resource->priv;
	struct exec_run run;
	int ret;

	if (!offer->complete)
		return 0;
	exec_run_init(&run, offer->complete, call, resource->uri, resource->timeout_s);
	ret = complete(&run, variable, value, others, values, err);
	exec_run_release(&run);
	return ret;
}

/* Prompts. */

static bool has_argument(const void *arg, struct slice name)
{
	return arguments_find(&((const struct prompt *)arg)->arguments, name) != NULL;
}

int exec_prompt_init(struct prompt *prompt, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	return offer_init(&prompt->priv, def, has_argument, prompt, false, cfg, pointer, err);
}

void exec_prompt_release(struct prompt *prompt)
{
	offer_free(&prompt->priv);
}

static json_object *whole_prompt(const struct exec_run *run, struct err *err)
{
	json_object *val = read_json(run, err);
	struct err why;

	if (!val || result_check_prompt(val, &why) == 0)
		return val;
	json_object_put(val);
	err_set(err, ERR_INTERNAL, "output of %s: %.200s", run->name, why.msg);
	return NULL;
}

static json_object *text_prompt(const struct exec_run *run, struct err *err)
{
	json_object *result;
	struct buf text;

	buf_init(&text, 3 * run->out.len + 1);
	utf8_add_repaired(&text, buf_slice(&run->out));
	result = buf_check(&text, err) ? NULL : result_new_prompt(buf_slice(&text), err);
	buf_release(&text);
	return result;
}

int exec_prompt_get(
    struct call *call, const struct prompt *prompt, json_object *args, json_object **result, struct err *err)
{
	const struct exec_offer *offer = prompt->priv;
	struct exec_run run;
	int ret;

	*result = NULL;
	exec_run_init(&run, offer->exec, call, prompt->name, prompt->timeout_s);
	ret = run_offer(&run, "MCP_PROMPT", slice_str(prompt->name), args, err);
	if (ret == 0) {
		*result = offer->output == OUTPUT_RESULT ? whole_prompt(&run, err) : text_prompt(&run, err);
		ret = *result ? 0 : -1;
	}
	exec_run_release(&run);
	return ret == -1 ? -1 : 0;
}

int exec_prompt_complete(struct call *call, const struct prompt *prompt, struct slice argument, struct slice value,
    json_object *others, json_object *values, struct err *err)
{
	const struct exec_offer *offer = prompt->priv;
	struct exec_run run;
	int ret;

	if (!offer->complete)
		return 0;
	exec_run_init(&run, offer->complete, call, prompt->name, prompt->timeout_s);
	ret = complete(&run, argument, value, others, values, err);
	exec_run_release(&run);
	return ret;
}

const char *const exec_resource_members[] = {"output", "complete", EXEC_MEMBERS, NULL};
const char *const exec_prompt_members[] = {"output", "complete", EXEC_MEMBERS, NULL};
