#include "config.h"

#include "common/jx.h"
#include "fcgi/cursor.h"
#include "fcgi/method_prompts.h"
#include "fcgi/result.h"
#include "fcgi/worker.h"
#include "common/banned.h"

static const char *entry(const void *set, size_t i, enum revision revision)
{
	return ((const struct promptset *)set)->prompts[i].listing[revision];
}

int method_prompts_list(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	const struct promptset *set = &call->w->prompts;
	struct cursor_list list = {"prompts", set->digest, set->count, entry, set};

	(void)session;
	return cursor_put_page(&list, call, rpc->params, out, err);
}

/* PR-04, PR-07: strings, none that the prompt does not have, all that it needs. */
static int check_arguments(const struct prompt *prompt, json_object *args, struct err *err)
{
	json_object_object_foreach(args, name, value) {
		if (!arguments_find(&prompt->arguments, slice_str(name)))
			return err_set(err, ERR_PARAMS, "prompt %s has no argument \"%.100s\"", prompt->name, name);
		if (!json_object_is_type(value, json_type_string))
			return err_set(err, ERR_PARAMS, "argument %.100s must be a string", name);
	}
	for (size_t i = 0; i < prompt->arguments.count; i++) {
		const struct argument *argument = &prompt->arguments.items[i];

		if (argument->is_required && !jx_has(args, argument->name))
			return err_set(err, ERR_PARAMS, "argument %s is missing", argument->name);
	}
	return 0;
}

int method_prompts_get(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	json_object *args, *result = NULL;
	const struct prompt *prompt;
	struct slice name;
	int ret;

	(void)session;
	if (method_read_call(rpc, &name, &args, err))
		return -1;
	prompt = promptset_find(&call->w->prompts, name);
	if (!prompt)
		ret = err_set(err, ERR_PARAMS, "unknown prompt \"%.*s\"", name.len > 128 ? 128 : (int)name.len, name.p);
	else
		ret = check_arguments(prompt, args, err);
	if (ret == 0)
		ret = prompt->provider->get(call, prompt, args, &result, err);
	if (ret == 0 && result)
		result_put_members(out, result, call->revision, call->w->server_info, SLICE(""));
	json_object_put(result);
	json_object_put(args);
	return ret;
}
