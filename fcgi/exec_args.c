/* How arguments, answers and what else a run knows reach its program: words of its command, and its environment. */
#include "config.h"

#include <stdio.h>
#include <sysexits.h>

#include "common/ascii.h"
#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/exec_priv.h"
#include "fcgi/placeholder.h"
#include "common/banned.h"

#define DEFAULT_DEPTH_MAX 64 /* of a definition, where defaults stand */

/* A variable that comes from a client, who may have sent many: ERR_TOO_BIG before it takes long to tell them apart. */
static int add_foreign_variable(struct exec_strings *env, const char *name, struct slice value, struct err *err)
{
	if (env->bytes > LAUNCH_MAX_BYTES)
		return err_set(err, ERR_TOO_BIG, "an environment of more than %d bytes", LAUNCH_MAX_BYTES);
	return exec_strings_set(env, name, value, err);
}

int exec_run_set(struct exec_run *run, const char *name, struct slice value, struct err *err)
{
	return add_foreign_variable(&run->env, name, value, err);
}

bool exec_scalar_text(json_object *val, struct buf *text)
{
	struct slice str = jx_str(val);

	buf_clear(text);
	if (!val || json_object_is_type(val, json_type_object) || json_object_is_type(val, json_type_array))
		return false;
	if (str.p)
		buf_add_slice(text, str);
	else
		jx_write(text, val);
	buf_adds(text, ""); /* an empty string has bytes too */
	return !text->fault && strlen(text->data) == text->len;
}

/* Appends one word to argv, unless an argument of it is missing. 1: an argument is refused. */
static int expand_word(struct exec_run *run, const char *word, json_object *args, bool after_dashes,
    struct exec_strings *argv, struct err *err)
{
	struct buf out, text;
	bool is_missing = false;
	struct slice part;
	size_t at = 0;
	int ret = 0;

	buf_init(&out, LAUNCH_MAX_BYTES);
	buf_init(&text, EXEC_SCALAR_MAX_BYTES);
	buf_adds(&out, "");
	while (word[at] && !is_missing && ret == 0) {
		char name[256];
		json_object *val;

		if (placeholder_next(word, &at, &part) == 0) {
			buf_add_slice(&out, part);
			continue;
		}
		snprintf(name, sizeof(name), "%.*s", part.len > 255 ? 255 : (int)part.len, part.p);
		val = jx_get(args, name);
		if (!val) {
			is_missing = true;
		} else if (!exec_scalar_text(val, &text)) {
			run->exit_status = EX_USAGE;
			ret = exec_run_fail(run,
			    "argument %s can't be a word of a command: it must be a string, number or boolean of "
			    "at most %d bytes, without NUL",
			    name, EXEC_SCALAR_MAX_BYTES);
		} else if (out.len == 0 && text.data[0] == '-' && json_object_is_type(val, json_type_string) &&
			   !after_dashes) {
			run->exit_status = EX_USAGE;
			ret = exec_run_fail(run, "argument %s must not begin with '-'", name);
		} else {
			buf_add_slice(&out, buf_slice(&text));
		}
	}
	if (ret == 0 && !is_missing)
		ret = buf_check(&out, err) ? -1 : exec_strings_add(argv, mem_dup(out.data, out.len), err);
	buf_release(&out);
	buf_release(&text);
	return ret;
}

int exec_args_words(struct exec_run *run, json_object *args, struct exec_strings *argv, struct err *err)
{
	const struct exec_strings *words = &run->exec->words;
	bool after_dashes = false;
	int ret = exec_strings_add(argv, mem_dup(words->items[0], strlen(words->items[0])), err);

	for (size_t i = 1; i < words->count && ret == 0; i++) {
		ret = expand_word(run, words->items[i], args, after_dashes, argv, err);
		after_dashes = after_dashes || strcmp(words->items[i], "--") == 0;
	}
	return ret;
}

void exec_put_name(struct buf *out, const char *name)
{
	for (const char *p = name; *p; p++) {
		char c = ascii_upper(*p);

		buf_add(out, ascii_is_letter(c) || ascii_is_digit(c) ? &c : "_", 1);
	}
}

static int add_argument_variables(json_object *args, struct exec_strings *env, struct err *err)
{
	struct buf name, text;
	int ret = 0;

	buf_init(&name, 512);
	buf_init(&text, EXEC_SCALAR_MAX_BYTES);
	json_object_object_foreach(args, key, val) {
		buf_clear(&name);
		buf_adds(&name, "MCP_ARG_");
		exec_put_name(&name, key);
		if (ret == 0 && !name.fault && exec_scalar_text(val, &text))
			ret = add_foreign_variable(env, name.data, buf_slice(&text), err);
	}
	buf_release(&name);
	buf_release(&text);
	return ret;
}

int exec_args_env(const struct exec_run *run, json_object *args, struct exec_strings *env, struct err *err)
{
	const struct exec_strings *both[] = {&run->exec->env, &run->env};

	for (size_t b = 0; b < COUNT_OF(both); b++) {
		for (size_t i = 0; i < both[b]->count; i++) {
			char *item = both[b]->items[i];

			if (exec_strings_put(env, mem_dup(item, strlen(item)), err))
				return -1;
		}
	}
	return exec_strings_set(env, "MCP_FD", SLICE("3"), err) ? -1 : add_argument_variables(args, env, err);
}

json_object *exec_args_complete(const struct exec *exec, json_object *args, struct err *err)
{
	json_object *full = json_object_new_object();
	int bad = full ? 0 : -1;

	json_object_object_foreach(args, name, arg) { /* one may be null: jx_add() takes none */
		if (!bad)
			bad = json_object_object_add(full, name, json_object_get(arg));
	}
	for (size_t i = 0; i < exec->defaults_count && !bad; i++) {
		const struct exec_default *def = &exec->defaults[i];

		if (!jx_has(args, def->name))
			bad = jx_add(full, def->name, jx_parse(slice_str(def->json), DEFAULT_DEPTH_MAX, err), err);
	}
	if (bad) {
		err_set(err, ERR_NOMEM, "exec");
		json_object_put(full);
		return NULL;
	}
	return full;
}
