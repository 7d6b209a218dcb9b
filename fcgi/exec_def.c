/* What a definition says about a program, read once. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/exec_priv.h"
#include "fcgi/placeholder.h"
#include "common/banned.h"

#define PATH_DEFAULT      "/usr/local/bin:/usr/bin:/bin"
#define DEFAULT_MAX_BYTES 65536 /* of the value of a missing argument */

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "exec");
}

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* A path as it is, relative to dir; a plain name is looked for in PATH. NULL: there is none. */
static char *find_program(const char *name, const char *dir)
{
	const char *at = getenv("PATH");
	char *path = NULL, *part;
	size_t len;

	if (strchr(name, '/')) {
		path = cfg_path_join(dir, name);
		if (path && is_program(path))
			return path;
		mem_free(path);
		return NULL;
	}
	for (at = at ? at : PATH_DEFAULT; *at; at += len + (at[len] == ':')) {
		len = strcspn(at, ":");
		part = mem_dup(at, len);
		path = part && *part == '/' ? cfg_path_join(part, name) : NULL;
		mem_free(part);
		if (path && is_program(path))
			return path;
		mem_free(path);
	}
	return NULL;
}

/* Whose placeholders can be filled, and where complaints go. */
struct reader {
	struct exec *exec;
	const char *member; /* with the words of the command */
	bool (*has_argument)(const void *arg, struct slice name);
	const void *arg;
	struct cfg *cfg;
	const char *pointer;
};

static int check_word(const struct reader *r, const char *word, size_t index)
{
	struct slice part;
	char member[64];
	size_t at = 0;
	int kind;

	snprintf(member, sizeof(member), "%s/%zu", r->member, index);
	while (word[at]) {
		kind = placeholder_next(word, &at, &part);
		if (kind == -1)
			return cfg_complain_at(r->cfg, r->pointer, member, "%s", PLACEHOLDER_SYNTAX);
		if (kind == 1 && index == 0)
			return cfg_complain_at(r->cfg, r->pointer, member, "the program itself takes no {placeholder}");
		if (kind == 1 && !r->has_argument(r->arg, part))
			return cfg_complain_at(r->cfg, r->pointer, member, "{%.*s} is not one of its arguments",
			    part.len > 100 ? 100 : (int)part.len, part.p);
	}
	return 0;
}

static int complain_words(const struct reader *r)
{
	return cfg_complain_at(
	    r->cfg, r->pointer, r->member, "%s must be an array of strings, the program first", r->member);
}

static int read_words(const struct reader *r, json_object *def, struct err *err)
{
	json_object *words = jx_get_array(def, r->member);
	size_t count = words ? json_object_array_length(words) : 0;
	char *word, first[64];

	if (count == 0)
		return complain_words(r);
	snprintf(first, sizeof(first), "%s/0", r->member);
	for (size_t i = 0; i < count; i++) {
		struct slice text = jx_str(json_object_array_get_idx(words, i));

		if (!text.p || strlen(text.p) != text.len || (i == 0 && text.len == 0))
			return complain_words(r);
		if (check_word(r, text.p, i))
			return -1;
		word = i ? mem_dup(text.p, text.len) : find_program(text.p, cfg_dir_of(r->cfg, r->pointer));
		if (!word && i == 0)
			return cfg_complain_at(r->cfg, r->pointer, first,
			    strchr(text.p, '/') ? "%s is no executable file" : "no executable file %s in PATH", text.p);
		if (exec_strings_add(&r->exec->words, word, err))
			return -1;
	}
	return 0;
}

static int read_limits(struct exec *exec, json_object *def, struct cfg *cfg, const char *pointer)
{
	int64_t output_max = cfg->exec_output_max_bytes, cpu_s = 0, memory = 0;
	json_object *limits = jx_get_object(def, "limits");
	static const char *const known[] = {"cpu_s", "memory_bytes", NULL};
	char at[1024];
	int bad;

	if (jx_has(def, "limits") && !limits)
		return cfg_complain_at(cfg, pointer, "limits", "limits must be an object");
	snprintf(at, sizeof(at), "%s/limits", pointer);
	bad = cfg_read_number(cfg, pointer, def, "output_max_bytes", 1024, 67108864, &output_max);
	bad |= cfg_read_number(cfg, at, limits, "cpu_s", 1, 86400, &cpu_s);
	bad |= cfg_read_number(cfg, at, limits, "memory_bytes", 1048576, INT64_MAX, &memory);
	if (limits) {
		json_object_object_foreach(limits, name, val) {
			(void)val;
			if (strcmp(name, known[0]) != 0 && strcmp(name, known[1]) != 0)
				bad = cfg_complain_at(
				    cfg, at, name, "unknown member \"%s\"; known are cpu_s and memory_bytes", name);
		}
	}
	exec->output_max_bytes = (size_t)output_max;
	exec->cpu_s = (uint32_t)cpu_s;
	exec->memory_bytes = (uint64_t)memory;
	return bad;
}

static bool is_variable_name(const char *name)
{
	return *name && !strchr(name, '=');
}

static int inherit(struct exec_strings *env, const char *name, struct err *err)
{
	const char *value = getenv(name);

	return value ? exec_strings_set(env, name, slice_str(value), err) : 0;
}

/* What every call of this tool has: inherited variables, then its own; a later one wins. */
static int read_env(struct exec *exec, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	static const char *const always[] = {"HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"};
	json_object *own = jx_get_object(def, "env"), *names = jx_get_array(def, "inherit_env");
	int bad = 0;

	if (jx_has(def, "env") && !own)
		return cfg_complain_at(cfg, pointer, "env", "env must be an object of strings");
	if (jx_has(def, "inherit_env") && !names)
		return cfg_complain_at(cfg, pointer, "inherit_env", "inherit_env must be an array of names");
	bad |= exec_strings_set(&exec->env, "PATH", slice_str(getenv("PATH") ? getenv("PATH") : PATH_DEFAULT), err);
	for (size_t i = 0; i < COUNT_OF(always); i++)
		bad |= inherit(&exec->env, always[i], err);
	for (size_t i = 0; i < cfg->exec_env.count; i++)
		bad |= inherit(&exec->env, cfg->exec_env.items[i], err);
	for (size_t i = 0; names && i < json_object_array_length(names); i++) {
		struct slice name = jx_str(json_object_array_get_idx(names, i));

		if (!name.p || !is_variable_name(name.p))
			return cfg_complain_at(cfg, pointer, "inherit_env", "inherit_env must be an array of names");
		bad |= inherit(&exec->env, name.p, err);
	}
	if (own) {
		json_object_object_foreach(own, key, val) {
			struct slice value = jx_str(val);

			if (!value.p || strlen(value.p) != value.len || !is_variable_name(key))
				return cfg_complain_at(cfg, pointer, "env", "env must be an object of strings");
			bad |= exec_strings_set(&exec->env, key, value, err);
		}
	}
	return bad;
}

static int read_cwd(struct exec *exec, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	struct slice cwd = jx_get_str(def, "cwd");
	const char *dir = cfg_dir_of(cfg, pointer);
	struct stat st;

	if (jx_has(def, "cwd") && (!cwd.p || cwd.len == 0))
		return cfg_complain_at(cfg, pointer, "cwd", "cwd must be the path of a directory");
	exec->cwd = cfg_path_join(dir, cwd.p ? cwd.p : dir);
	if (!exec->cwd)
		return out_of_memory(err);
	if (stat(exec->cwd, &st) == -1 || !S_ISDIR(st.st_mode))
		return cfg_complain_at(cfg, pointer, "cwd", "%s is no directory", exec->cwd);
	return 0;
}

int exec_add_default(struct exec *exec, const char *name, json_object *val, struct err *err)
{
	struct exec_default *values = mem_realloc(exec->defaults, (exec->defaults_count + 1) * sizeof(*values));
	struct buf json;

	if (!values)
		return out_of_memory(err);
	exec->defaults = values;
	buf_init(&json, DEFAULT_MAX_BYTES);
	jx_write(&json, val);
	values += exec->defaults_count++;
	*values = (struct exec_default){mem_dup(name, strlen(name)), json.data ? mem_dup(json.data, json.len) : NULL};
	if (buf_check(&json, err) == 0 && (!values->name || !values->json))
		out_of_memory(err);
	buf_release(&json);
	return values->name && values->json ? 0 : -1;
}

void exec_free(struct exec **execp)
{
	struct exec *exec = *execp;

	if (!exec)
		return;
	*execp = NULL;
	exec_strings_release(&exec->words);
	exec_strings_release(&exec->env);
	for (size_t i = 0; i < exec->defaults_count; i++) {
		mem_free(exec->defaults[i].name);
		mem_free(exec->defaults[i].json);
	}
	mem_free(exec->defaults);
	mem_free(exec->cwd);
	exec_pool_free(&exec->pool);
	mem_free(exec);
}

struct exec *exec_new(json_object *def, const char *member, bool (*has_argument)(const void *arg, struct slice name),
    const void *arg, struct cfg *cfg, const char *pointer, struct err *err)
{
	struct exec *exec = mem_alloc(1, sizeof(*exec));
	const struct reader r = {exec, member, has_argument, arg, cfg, pointer};
	int bad;

	if (!exec) {
		out_of_memory(err);
		return NULL;
	}
	bad = read_words(&r, def, err);
	bad |= read_limits(exec, def, cfg, pointer);
	bad |= read_env(exec, def, cfg, pointer, err);
	bad |= read_cwd(exec, def, cfg, pointer, err);
	if (bad)
		exec_free(&exec);
	return exec;
}
