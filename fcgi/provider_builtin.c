/* Tools that need no program: {"builtin": "echo"}.
 *
 * echo answers with its argument text; with any other arguments, which a definition's own input may allow, with all of
 * them as JSON. It shows that a site works, end to end. */
#include "config.h"

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/provider.h"
#include "fcgi/result.h"
#include "common/banned.h"

struct builtin {
	const char *name, *defaults;
	int (*call)(const struct call *call, json_object *args, json_object **result, struct err *err);
};

static int echo(const struct call *call, json_object *args, json_object **result, struct err *err)
{
	struct slice text = jx_get_str(args, "text");
	struct buf json;

	buf_init(&json, 2 * (size_t)call->cfg->body_max_bytes); /* what came as \u escapes or not may grow */
	if (!text.p || json_object_object_length(args) != 1) {
		jx_write(&json, args);
		text = buf_slice(&json);
	}
	*result = buf_check(&json, err) ? NULL : result_new_text(text, false, err);
	buf_release(&json);
	return *result ? 0 : -1;
}

static const struct builtin builtins[] = {
    {"echo",
	"{\"title\":\"Echo\",\"description\":\"Answers with the text that it is given.\","
	"\"input\":{\"text\":{\"type\":\"string\",\"description\":\"The text to answer with\"}},"
	"\"annotations\":{\"readOnlyHint\":true,\"openWorldHint\":false}}",
	echo},
};

static const struct builtin *find(json_object *def)
{
	struct slice name = jx_get_str(def, "builtin");

	for (size_t i = 0; i < COUNT_OF(builtins); i++) {
		if (name.p && slice_is(name, builtins[i].name))
			return &builtins[i];
	}
	return NULL;
}

static const char *defaults(json_object *def)
{
	const struct builtin *builtin = find(def);

	return builtin ? builtin->defaults : NULL;
}

static int tool_init(struct tool *tool, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	const char *names[COUNT_OF(builtins) + 1] = {NULL}, *near = NULL;
	struct slice name = jx_get_str(def, "builtin");
	const struct builtin *builtin = find(def);

	if (builtin) {
		tool->priv = (void *)(uintptr_t)builtin; /* read only, and nobody frees it */
		return 0;
	}
	for (size_t i = 0; i < COUNT_OF(builtins); i++)
		names[i] = builtins[i].name;
	if (name.p)
		near = cfg_nearest(name.p, names);
	cfg_complain(cfg, pointer, "builtin must be the name of a builtin tool: %s%s%s", near ? "did you mean " : "",
	    near ? near : names[0], near ? "?" : "");
	return err_set(err, ERR_CONFIG, "no such builtin tool");
}

static void tool_release(struct tool *tool)
{
	tool->priv = NULL;
}

static int call_tool(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	const struct builtin *builtin = tool->priv;

	return builtin->call(call, args, result, err);
}

static const char *const members[] = {NULL};

const struct provider provider_builtin = {
    .name = "builtin",
    .members = members,
    .defaults = defaults,
    .tool_init = tool_init,
    .tool_release = tool_release,
    .call = call_tool,
};
