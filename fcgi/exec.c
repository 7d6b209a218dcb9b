#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "fcgi/exec_priv.h"
#include "fcgi/launcher.h"
#include "fcgi/placeholder.h"
#include "common/banned.h"

#define MESSAGE_MAX_BYTES 65536 /* of a line on descriptor 3 */
#define MESSAGE_DEPTH_MAX 64
#define LOG_LINE_MAX      400 /* bytes of a line of stderr that are logged */
#define READ_BYTES        65536
#define WHY_MAX           2200
#define PATH_DEFAULT      "/usr/local/bin:/usr/bin:/bin"

struct def_value {
	char *name, *json; /* owned */
};

struct exec {
	struct exec_strings words;  /* templates; the first is the program's path */
	struct exec_strings env;    /* "NAME=VALUE" */
	char *cwd;                  /* owned */
	struct def_value *defaults; /* owned */
	size_t defaults_count;
	size_t output_max_bytes;
	uint32_t cpu_s;
	uint64_t memory_bytes;
};

static struct log_rate stderr_rate, message_rate, start_rate;

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "exec");
}

/* Takes item. */
static int strings_add(struct exec_strings *s, char *item, struct err *err)
{
	char **items = item ? mem_realloc(s->items, (s->count + 2) * sizeof(*items)) : NULL;

	if (!items) {
		mem_free(item);
		return out_of_memory(err);
	}
	s->items = items;
	s->bytes += strlen(item) + 1;
	items[s->count++] = item;
	items[s->count] = NULL;
	return 0;
}

static void strings_release(struct exec_strings *s)
{
	for (size_t i = 0; i < s->count; i++)
		mem_free(s->items[i]);
	mem_free(s->items);
	*s = (struct exec_strings){0};
}

/* Takes item, NAME=VALUE: a name that is there already has the new value. */
static int set_item(struct exec_strings *env, char *item, struct err *err)
{
	size_t name_len = item ? strcspn(item, "=") + 1 : 0;

	for (size_t i = 0; item && i < env->count; i++) {
		if (strncmp(env->items[i], item, name_len) == 0) {
			env->bytes += strlen(item) - strlen(env->items[i]);
			mem_free(env->items[i]);
			env->items[i] = item;
			return 0;
		}
	}
	return strings_add(env, item, err);
}

static int add_variable(struct exec_strings *env, const char *name, struct slice value, struct err *err)
{
	size_t name_len = strlen(name);
	char *item = mem_alloc(1, name_len + value.len + 2);

	if (!item)
		return out_of_memory(err);
	memcpy(item, name, name_len);
	item[name_len] = '=';
	if (value.len)
		memcpy(item + name_len + 1, value.p, value.len);
	return set_item(env, item, err);
}

/* Reading a definition. */

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
		if (strings_add(&r->exec->words, word, err))
			return -1;
	}
	return 0;
}

static int read_number(
    json_object *def, const char *name, int64_t min, int64_t max, int64_t *number, struct cfg *cfg, const char *pointer)
{
	json_object *val = jx_get(def, name);

	if (!jx_has(def, name))
		return 0;
	*number = jx_is_integer(val) ? json_object_get_int64(val) : min - 1;
	if (*number < min || *number > max)
		return cfg_complain_at(cfg, pointer, name, "%s must be a whole number, %lld to %lld", name,
		    (long long)min, (long long)max);
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
	bad = read_number(def, "output_max_bytes", 1024, 67108864, &output_max, cfg, pointer);
	bad |= read_number(limits, "cpu_s", 1, 86400, &cpu_s, cfg, at);
	bad |= read_number(limits, "memory_bytes", 1048576, INT64_MAX, &memory, cfg, at);
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

	return value ? add_variable(env, name, slice_str(value), err) : 0;
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
	bad |= add_variable(&exec->env, "PATH", slice_str(getenv("PATH") ? getenv("PATH") : PATH_DEFAULT), err);
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
			bad |= add_variable(&exec->env, key, value, err);
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
	struct def_value *values = mem_realloc(exec->defaults, (exec->defaults_count + 1) * sizeof(*values));
	struct buf json;

	if (!values)
		return out_of_memory(err);
	exec->defaults = values;
	buf_init(&json, MESSAGE_MAX_BYTES);
	jx_write(&json, val);
	values += exec->defaults_count++;
	*values = (struct def_value){mem_dup(name, strlen(name)), json.data ? mem_dup(json.data, json.len) : NULL};
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
	strings_release(&exec->words);
	strings_release(&exec->env);
	for (size_t i = 0; i < exec->defaults_count; i++) {
		mem_free(exec->defaults[i].name);
		mem_free(exec->defaults[i].json);
	}
	mem_free(exec->defaults);
	mem_free(exec->cwd);
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

/* One run. */

void exec_run_init(
    struct exec_run *run, const struct exec *exec, struct call *call, const char *name, int64_t timeout_s)
{
	*run = (struct exec_run){
	    .exec = exec,
	    .call = call,
	    .name = name,
	    .timeout_ms = (uint64_t)timeout_s * 1000,
	    .exit_status = -1,
	    .fds = {-1, -1, -1, -1, -1},
	};
	buf_init(&run->out, exec->output_max_bytes);
	buf_init(&run->errors, (size_t)call->cfg->exec_stderr_max_bytes);
	buf_init(&run->why, WHY_MAX);
	buf_init(&run->log_line, LOG_LINE_MAX);
	buf_init(&run->message, MESSAGE_MAX_BYTES);
	buf_init(&run->to_stdin, 16 * (size_t)call->cfg->body_max_bytes);
}

/* A variable that comes from a client, who may have sent many: ERR_TOO_BIG before it takes long to tell them apart. */
static int add_foreign_variable(struct exec_strings *env, const char *name, struct slice value, struct err *err)
{
	if (env->bytes > LAUNCH_MAX_BYTES)
		return err_set(err, ERR_TOO_BIG, "an environment of more than %d bytes", LAUNCH_MAX_BYTES);
	return add_variable(env, name, value, err);
}

int exec_run_set(struct exec_run *run, const char *name, struct slice value, struct err *err)
{
	return add_foreign_variable(&run->env, name, value, err);
}

int exec_run_fail(struct exec_run *run, const char *fmt, ...)
{
	char words[WHY_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	buf_clear(&run->why);
	buf_adds(&run->why, words);
	return 1;
}

void exec_run_put_failure(const struct exec_run *run, struct buf *text)
{
	buf_add_slice(text, buf_slice(&run->why));
	if (run->errors.len) {
		buf_adds(text, "\n");
		utf8_add_repaired(text, buf_slice(&run->errors));
	}
	if (run->out.len) {
		buf_adds(text, run->errors.len && run->errors.data[run->errors.len - 1] == '\n' ? "" : "\n");
		utf8_add_repaired(text, buf_slice(&run->out));
	}
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
		ret = buf_check(&out, err) ? -1 : strings_add(argv, mem_dup(out.data, out.len), err);
	buf_release(&out);
	buf_release(&text);
	return ret;
}

static int expand_words(struct exec_run *run, json_object *args, struct exec_strings *argv, struct err *err)
{
	const struct exec_strings *words = &run->exec->words;
	bool after_dashes = false;
	int ret = strings_add(argv, mem_dup(words->items[0], strlen(words->items[0])), err);

	for (size_t i = 1; i < words->count && ret == 0; i++) {
		ret = expand_word(run, words->items[i], args, after_dashes, argv, err);
		after_dashes = after_dashes || strcmp(words->items[i], "--") == 0;
	}
	return ret;
}

void exec_put_name(struct buf *out, const char *name)
{
	for (const char *p = name; *p; p++) {
		char c = *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;

		buf_add(out, (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? &c : "_", 1);
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

/* What every run has, what this one has, the arguments. */
static int make_env(const struct exec_run *run, json_object *args, struct exec_strings *env, struct err *err)
{
	const struct exec_strings *both[] = {&run->exec->env, &run->env};

	for (size_t b = 0; b < COUNT_OF(both); b++) {
		for (size_t i = 0; i < both[b]->count; i++) {
			char *item = both[b]->items[i];

			if (set_item(env, mem_dup(item, strlen(item)), err))
				return -1;
		}
	}
	return add_variable(env, "MCP_FD", SLICE("3"), err) ? -1 : add_argument_variables(args, env, err);
}

/* args with the defaults of those that are missing; the caller owns it. The request's own stay as the client sent them:
 * it has to repeat them. */
static json_object *with_defaults(const struct exec *exec, json_object *args, struct err *err)
{
	json_object *full = json_object_new_object();
	int bad = full ? 0 : -1;

	json_object_object_foreach(args, name, arg) { /* one may be null: jx_add() takes none */
		if (!bad)
			bad = json_object_object_add(full, name, json_object_get(arg));
	}
	for (size_t i = 0; i < exec->defaults_count && !bad; i++) {
		const struct def_value *def = &exec->defaults[i];

		if (!jx_has(args, def->name))
			bad = jx_add(full, def->name, jx_parse(slice_str(def->json), MESSAGE_DEPTH_MAX, err), err);
	}
	if (bad) {
		out_of_memory(err);
		json_object_put(full);
		return NULL;
	}
	return full;
}

/* A file with the JSON text of val, for a program to read. Returns its descriptor. */
static int open_json(const struct exec_run *run, json_object *val, struct err *err)
{
	struct buf json;
	size_t done = 0;
	int fd;

	buf_init(&json, 16 * (size_t)run->call->cfg->body_max_bytes);
	jx_write(&json, val);
	buf_adds(&json, "\n");
	if (buf_check(&json, err)) {
		buf_release(&json);
		return -1;
	}
	fd = memfd_create("mcp-json", MFD_CLOEXEC);
	if (fd == -1)
		err_sys(err, "memfd_create");
	while (fd != -1 && done < json.len) {
		ssize_t put = write(fd, json.data + done, json.len - done);

		if (put == -1 && errno == EINTR)
			continue;
		if (put <= 0) {
			err_sys(err, "write arguments");
			close(fd);
			fd = -1;
			break;
		}
		done += (size_t)put;
	}
	if (fd != -1 && lseek(fd, 0, SEEK_SET) == -1) {
		err_sys(err, "lseek");
		close(fd);
		fd = -1;
	}
	buf_release(&json);
	return fd;
}

static void close_fd(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

/* A pipe whose reading end is ours, in run->fds, and the other the program's. */
static int open_pipe(struct exec_run *run, int at, int *theirs, struct err *err)
{
	int pair[2];

	if (pipe2(pair, O_CLOEXEC) == -1)
		return err_sys(err, "pipe");
	run->fds[at] = pair[0];
	*theirs = pair[1];
	if (fcntl(pair[0], F_SETFL, O_NONBLOCK) == -1)
		return err_sys(err, "fcntl");
	return 0;
}

/* Everything that the program has open at its beginning, into job. */
static int open_fds(struct exec_run *run, json_object *args, struct launcher_job *job, struct err *err)
{
	json_object *answers = run->call->answers;

	job->fds[LAUNCH_STDIN] = run->waits ? exec_wait_open(run, args, err) : open_json(run, args, err);
	if (job->fds[LAUNCH_STDIN] == -1)
		return -1;
	job->fds[LAUNCH_ANSWERS] = answers ? open_json(run, answers, err) : -1;
	if (answers && job->fds[LAUNCH_ANSWERS] == -1)
		return -1;
	if (open_pipe(run, EXEC_STDOUT, &job->fds[LAUNCH_STDOUT], err) ||
	    open_pipe(run, EXEC_STDERR, &job->fds[LAUNCH_STDERR], err))
		return -1;
	return open_pipe(run, EXEC_MESSAGES, &job->fds[LAUNCH_MESSAGES], err);
}

/* args are complete. 1: run->why says why not. */
static int start(struct exec_run *run, json_object *args, struct err *err)
{
	struct launcher_job job = {.cwd = run->exec->cwd,
	    .cpu_s = run->exec->cpu_s,
	    .grace_ms = (uint32_t)run->call->cfg->exec_grace_ms,
	    .memory_bytes = run->exec->memory_bytes,
	    .fds = {[0 ... LAUNCH_FD_COUNT - 1] = -1}};
	struct exec_strings argv = {0}, env = {0};
	int ret = expand_words(run, args, &argv, err);

	if (ret == 0)
		ret = exec_ask_prepare(run, err);
	if (ret == 0)
		ret = make_env(run, args, &env, err);
	if (ret == 0)
		ret = open_fds(run, args, &job, err);
	if (ret == 0) {
		memcpy(&job.fds[LAUNCH_READERS], &run->fds[EXEC_STDOUT], LAUNCH_READERS_COUNT * sizeof(int));
		job.argv = argv.items;
		job.env = env.items;
		run->fds[EXEC_LEASH] = launcher_start(run->call->cfg, &job, err);
		ret = run->fds[EXEC_LEASH] == -1 ? -1 : 0;
	}
	if (ret == -1 && err->code == ERR_TOO_BIG)
		ret = exec_run_fail(run, "its arguments are too long");
	for (int i = 0; i < LAUNCH_READERS; i++)
		close_fd(&job.fds[i]);
	close_fd(&job.fds[LAUNCH_ANSWERS]);
	strings_release(&argv);
	strings_release(&env);
	return ret;
}

static void log_stderr_line(const struct exec_run *run, struct slice line)
{
	char quoted[LOG_LINE_MAX];
	unsigned dropped;

	if (line.len == 0 || !log_rate_ok(&stderr_rate, 50, 1000, &dropped))
		return;
	if (dropped)
		LOG(WARN, "tool.stderr_dropped", "lines=%u", dropped);
	LOG(INFO, "tool.stderr", "tool=%s line=\"%s\"", run->name, log_quote(quoted, sizeof(quoted), line));
}

static void take_stderr(struct exec_run *run, struct slice bytes)
{
	size_t keep = (size_t)run->call->cfg->exec_stderr_max_bytes;

	for (size_t i = 0; i < bytes.len; i++) {
		if (bytes.p[i] != '\n') {
			buf_add(&run->log_line, bytes.p + i, 1); /* what is past its ceiling is not logged */
			continue;
		}
		log_stderr_line(run, buf_slice(&run->log_line));
		buf_clear(&run->log_line);
	}
	if (bytes.len > keep) {
		bytes.p += bytes.len - keep;
		bytes.len = keep;
	}
	if (run->errors.len > keep - bytes.len)
		buf_drop(&run->errors, run->errors.len - (keep - bytes.len));
	buf_add_slice(&run->errors, bytes);
}

static void log_bad_message(const struct exec_run *run, const char *why, struct slice line)
{
	char quoted[120];
	unsigned dropped;

	if (log_rate_ok(&message_rate, 10, 1000, &dropped))
		LOG(WARN, "tool.bad_message", "tool=%s dropped=%u why=\"%s\" line=\"%s\"", run->name, dropped, why,
		    log_quote(quoted, sizeof(quoted), line));
}

/* -1: the run ends. A line that is no message is logged and ignored. */
static int take_message(struct exec_run *run, struct slice line, struct err *err)
{
	json_object *message;
	struct slice method;
	struct err why = {0};
	int ret = 0;

	if (line.len == 0)
		return 0;
	message = jx_parse(line, MESSAGE_DEPTH_MAX, &why);
	method = jx_get_str(json_object_is_type(message, json_type_object) ? message : NULL, "method");
	if (!method.p)
		log_bad_message(run, message ? "not an object with a method" : why.msg, line);
	else
		ret = exec_ask_take(run, method, message, &why);
	if (ret == 1)
		log_bad_message(run, why.msg, line);
	else if (ret == -1)
		*err = why;
	json_object_put(message);
	return ret == -1 ? -1 : 0;
}

static int take_messages(struct exec_run *run, struct slice bytes, struct err *err)
{
	while (bytes.len) {
		const char *end = memchr(bytes.p, '\n', bytes.len);
		size_t len = end ? (size_t)(end - bytes.p) : bytes.len;

		buf_add(&run->message, bytes.p, len);
		if (run->message.fault && !run->message_is_too_long) {
			log_bad_message(run, "the line is too long", (struct slice){bytes.p, len});
			run->message_is_too_long = true;
		}
		if (!end)
			return 0;
		if (!run->message_is_too_long && take_message(run, buf_slice(&run->message), err))
			return -1;
		buf_clear(&run->message);
		run->message_is_too_long = false;
		bytes.p += len + 1;
		bytes.len -= len + 1;
	}
	return 0;
}

/* Reads what is there, at most once READ_BYTES: 1 means there may be more. -1: the run ends. */
static int take(struct exec_run *run, int at, struct err *err)
{
	char bytes[READ_BYTES];
	ssize_t got = read(run->fds[at], bytes, sizeof(bytes));

	if (got == -1 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got <= 0) {
		close_fd(&run->fds[at]);
		return 0;
	}
	if (at == EXEC_MESSAGES)
		return take_messages(run, (struct slice){bytes, (size_t)got}, err) ? -1 : 1;
	if (at == EXEC_STDERR)
		take_stderr(run, (struct slice){bytes, (size_t)got});
	else
		buf_add(&run->out, bytes, (size_t)got);
	return 1;
}

/* The program has ended: what it wrote is in the pipes. Somebody that it left behind may go on writing, so there is an
 * end to reading, too. */
static int drain(struct exec_run *run, struct err *err)
{
	for (int at = EXEC_STDOUT; at <= EXEC_MESSAGES; at++) {
		size_t limit = run->exec->output_max_bytes + READ_BYTES;
		int more = 1;

		for (size_t got = 0; more == 1 && run->fds[at] != -1 && got < limit; got += READ_BYTES)
			more = take(run, at, err);
		if (more == -1)
			return -1;
	}
	if (run->message.len) /* a last line without its end */
		return take_messages(run, SLICE("\n"), err);
	return 0;
}

static int too_much(struct exec_run *run)
{
	buf_clear(&run->out);
	return exec_run_fail(run, "wrote more than %zu bytes", run->exec->output_max_bytes);
}

static int time_is_over(struct exec_run *run)
{
	if (run->wait_left_ms)
		return exec_run_fail(
		    run, "nobody answered its questions within %lld s", (long long)run->call->cfg->ask_wait_s);
	return exec_run_fail(run, "timed out after %llu s", (unsigned long long)run->timeout_ms / 1000);
}

/* 0: the program has ended, run->report says how. 1: it was stopped, run->why says why. */
static int watch(struct exec_run *run, struct err *err)
{
	struct pollfd fds[EXEC_FD_COUNT];

	run->deadline_ms = now_ms() + run->timeout_ms;
	for (;;) {
		uint64_t now;
		int got;

		if (run->waits && exec_wait_turn(run, err))
			return -1;
		now = now_ms();
		if (now >= run->deadline_ms)
			return time_is_over(run);
		for (int i = 0; i < EXEC_STDIN; i++)
			fds[i] = (struct pollfd){.fd = run->fds[i], .events = POLLIN};
		fds[EXEC_STDIN] =
		    (struct pollfd){.fd = run->to_stdin.len ? run->fds[EXEC_STDIN] : -1, .events = POLLOUT};
		if (call_poll(run->call, fds, EXEC_FD_COUNT, ms_until(run->deadline_ms, now), err) == -1)
			return -1;
		for (int at = EXEC_STDOUT; at <= EXEC_MESSAGES; at++) {
			if (fds[at].revents && take(run, at, err) == -1)
				return -1;
		}
		if (run->out.fault) {
			if (run->out.fault == ERR_NOMEM)
				return out_of_memory(err);
			return too_much(run);
		}
		if (!fds[EXEC_LEASH].revents)
			continue;
		got = launcher_read(run->fds[EXEC_LEASH], &run->report, err);
		if (got == 1)
			return drain(run, err);
		if (got == -1)
			return -1;
	}
}

/* Whether the end that was reported is a good one; run->why otherwise. */
static void judge(struct exec_run *run)
{
	int value = run->report.value;
	unsigned dropped;

	if (run->report.event != LAUNCH_EXITED) {
		if (log_rate_ok(&start_rate, 5, 1000, &dropped))
			LOG(ERROR, "tool.not_started", "tool=%s program=%s cwd=%s dropped=%u why=\"%s: %s\"", run->name,
			    run->exec->words.items[0], run->exec->cwd, dropped,
			    run->report.event == LAUNCH_NO_CWD    ? "chdir"
			    : run->report.event == LAUNCH_NO_EXEC ? "exec"
								  : "fork",
			    strerrordesc_np(value));
		exec_run_fail(run, "could not be started: %s", strerrordesc_np(value));
	} else if (WIFSIGNALED(value)) {
		exec_run_fail(run, "was ended by signal %d (%s)", WTERMSIG(value),
		    sigdescr_np(WTERMSIG(value)) ? sigdescr_np(WTERMSIG(value)) : "?");
	} else {
		run->exit_status = WEXITSTATUS(value);
		if (run->exit_status != 0)
			exec_run_fail(run, "exited with status %d", run->exit_status);
	}
}

int exec_run(struct exec_run *run, json_object *args, struct err *err)
{
	json_object *full = with_defaults(run->exec, args, err);
	int ret = full ? start(run, full, err) : -1;

	json_object_put(full);
	if (ret == 0)
		ret = watch(run, err);
	close_fd(&run->fds[EXEC_LEASH]); /* whatever is left of the group ends here */
	if (ret == 0 && run->out.fault)
		too_much(run);
	else if (ret == 0 && run->why.len == 0)
		judge(run);
	if (ret == -1 || run->why.len || run->waits)
		call_drop_asks(run->call);
	log_stderr_line(run, buf_slice(&run->log_line));
	return ret == -1 ? -1 : 0;
}

void exec_run_release(struct exec_run *run)
{
	for (int i = 0; i < EXEC_FD_COUNT; i++)
		close_fd(&run->fds[i]);
	strings_release(&run->env);
	buf_release(&run->out);
	buf_release(&run->errors);
	buf_release(&run->why);
	buf_release(&run->log_line);
	buf_release(&run->message);
	buf_release(&run->to_stdin);
	json_object_put(run->waiting);
}
