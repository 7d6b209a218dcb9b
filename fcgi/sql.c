/* Statements: SQL text with {placeholders}, and a run with what a client sent for them. */
#include "config.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "common/ascii.h"
#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/sql_priv.h"
#include "common/banned.h"

#define TEXT_MAX_BYTES    1048576
#define DESCRIBE_MS       2000
#define PARAMETERS_MAX    256
#define DEFAULT_DEPTH_MAX 64

struct reader {
	const struct sql_source *source;
	const char *member;
	const struct sql_driver *driver;
	struct sql_statement *s;
	const char *text; /* what is read */
	struct buf out;
};

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "sql");
}

static int complain_name(const struct reader *r, struct slice name, const char *what)
{
	return cfg_complain_at(r->source->cfg, r->source->pointer, r->member, "{%.*s} %s",
	    name.len > 100 ? 100 : (int)name.len, name.p, what);
}

/* The length of what begins at p with a {name}; 0: it does not. */
static size_t placeholder_at(const char *p, struct slice *name)
{
	size_t len = 0;

	if (*p != '{')
		return 0;
	while (ascii_is_letter(p[1 + len]) || ascii_is_digit(p[1 + len]) || p[1 + len] == '_' || p[1 + len] == '-')
		len++;
	*name = (struct slice){p + 1, len};
	return len && p[1 + len] == '}' ? len + 2 : 0;
}

static int add_parameter(struct reader *r, struct slice name, struct err *err)
{
	struct sql_parameter *p = &r->s->parameters[r->s->parameters_count];
	json_object *val;
	struct buf json;
	int ret;

	p->name = mem_dup(name.p, name.len);
	if (!p->name)
		return out_of_memory(err);
	r->s->parameters_count++;
	val = jx_get(jx_get(r->source->defaults, p->name), "default");
	if (!val)
		return 0;
	buf_init(&json, TEXT_MAX_BYTES);
	jx_write(&json, val);
	ret = buf_check(&json, err);
	p->default_json = ret ? NULL : mem_dup(json.data, json.len);
	buf_release(&json);
	return ret == 0 && !p->default_json ? out_of_memory(err) : ret;
}

static int read_placeholder(struct reader *r, struct slice name, struct err *err)
{
	struct sql_statement *s = r->s;
	size_t i = 0;

	if (!r->source->is_known(r->source->arg, name))
		return complain_name(r, name, "is not one of its arguments");
	while (r->driver->numbered && i < s->parameters_count && !slice_is(name, s->parameters[i].name))
		i++;
	if (!r->driver->numbered)
		i = s->parameters_count;
	if (i == s->parameters_count) {
		if (i == PARAMETERS_MAX)
			return cfg_complain_at(
			    r->source->cfg, r->source->pointer, r->member, "more than %d placeholders", PARAMETERS_MAX);
		if (add_parameter(r, name, err))
			return -1;
	}
	if (r->driver->numbered)
		buf_addf(&r->out, "%c%zu", r->driver->numbered, i + 1);
	else
		buf_adds(&r->out, "?");
	return 0;
}

/* Quoted text from p on, as SQL has it: a quote twice is one of it. 0: it does not end. */
static size_t quoted_len(const struct reader *r, const char *p, char end)
{
	bool is_e = end == '\'' && p > r->text && (p[-1] == 'E' || p[-1] == 'e');
	bool escapes = r->driver->is_mysql ? end != '`' : is_e;
	size_t i = 1;

	for (; p[i]; i++) {
		if (p[i] == '\\' && escapes && p[i + 1])
			i++;
		else if (p[i] == end && p[i + 1] == end)
			i++;
		else if (p[i] == end)
			return i + 1;
	}
	return 0;
}

/* What begins at p and is not to be read as SQL: quoted text, a comment. 0: nothing, or *is_open: it does not end. */
static size_t opaque_len(const struct reader *r, const char *p, bool *is_open)
{
	const char *end;
	size_t len;

	if (*p == '\'' || *p == '"' || *p == '`') {
		len = quoted_len(r, p, *p);
		*is_open = len == 0;
		return len;
	}
	if (p[0] == '-' && p[1] == '-' && (!r->driver->is_mysql || strchr(" \t\r\n", p[2])))
		return strcspn(p, "\n");
	if (*p == '#' && r->driver->is_mysql)
		return strcspn(p, "\n");
	if (p[0] == '/' && p[1] == '*') {
		end = strstr(p + 2, "*/");
		*is_open = !end;
		return end ? (size_t)(end - p) + 2 : 0;
	}
	if (p[0] == '$' && !r->driver->is_mysql &&
	    (p[1] == '$' || ascii_is_letter(p[1]))) { /* $tag$ ... $tag$ of PostgreSQL */
		char tag[66];

		len = 1 + strcspn(p + 1, "$ \t\r\n");
		if (p[len] != '$' || len > 64)
			return 0;
		snprintf(tag, sizeof(tag), "%.*s", (int)len + 1, p);
		end = strstr(p + len + 1, tag);
		*is_open = !end;
		return end ? (size_t)(end - p) + len + 1 : 0;
	}
	return 0;
}

/* Somebody who writes '{name}' means its value, and would get the text. */
static int check_quoted(const struct reader *r, const char *p, size_t len)
{
	struct slice name;

	if (len > 2 && placeholder_at(p + 1, &name) == len - 2 && r->source->is_known(r->source->arg, name))
		return complain_name(r, name, "stands for a value, and needs no quotes");
	return 0;
}

static int read_text(struct reader *r, struct err *err)
{
	for (const char *p = r->text; *p;) {
		bool is_open = false;
		size_t len = opaque_len(r, p, &is_open);
		struct slice name;

		if (is_open)
			return cfg_complain_at(
			    r->source->cfg, r->source->pointer, r->member, "what begins with %.10s does not end", p);
		if (len) {
			if (check_quoted(r, p, len))
				return -1;
			buf_add(&r->out, p, len);
			p += len;
			continue;
		}
		len = placeholder_at(p, &name);
		if (len && read_placeholder(r, name, err))
			return -1;
		if (!len && *p == '{')
			return cfg_complain_at(r->source->cfg, r->source->pointer, r->member,
			    "a { outside quotes begins a placeholder, as in {email}");
		if (!len)
			buf_add(&r->out, p, 1);
		p += len ? len : 1;
	}
	return buf_check(&r->out, err);
}

/* Appends what is in the file of {"file": PATH}, which is watched like the configuration that names it. */
static int read_file(
    const struct sql_source *source, json_object *val, const char *member, struct buf *out, struct err *err)
{
	struct slice name = jx_get_str(val, "file");
	char *path;
	int bad;

	if (!name.p || strlen(name.p) != name.len || json_object_object_length(val) != 1)
		return cfg_complain_at(
		    source->cfg, source->pointer, member, "%s must be SQL text, or {\"file\": PATH} of it", member);
	path = cfg_path_join(cfg_dir_of(source->cfg, source->pointer), name.p);
	if (!path)
		return out_of_memory(err);
	bad = sources_read(&source->cfg->sources, path, out, err);
	if (bad && err->code != ERR_NOMEM)
		cfg_complain_at(source->cfg, source->pointer, member, "%s: %s", path, err->msg);
	mem_free(path);
	return bad;
}

static struct sql_statement *statement_new(
    const struct sql_source *source, struct slice sql, const char *member, struct err *err)
{
	static atomic_uint_least64_t last_id;
	struct reader r = {.source = source, .member = member};
	struct sql_statement *s;

	if (sql.len == 0 || strlen(sql.p) != sql.len || sql.len > TEXT_MAX_BYTES) {
		cfg_complain_at(source->cfg, source->pointer, member, "%s must be SQL text, of 1 to %d bytes", member,
		    TEXT_MAX_BYTES);
		return NULL;
	}
	s = r.s = mem_alloc(1, sizeof(*s));
	if (!s) {
		out_of_memory(err);
		return NULL;
	}
	s->id = atomic_fetch_add(&last_id, 1) + 1;
	s->parameters = mem_alloc(PARAMETERS_MAX, sizeof(*s->parameters));
	s->database = sql_database_get(source->def, source->cfg, source->pointer, err);
	buf_init(&r.out, 4 * TEXT_MAX_BYTES);
	if (s->parameters && s->database) {
		r.driver = s->database->driver;
		r.text = sql.p;
		if (read_text(&r, err) == 0)
			s->text = mem_dup(r.out.data, r.out.len);
	}
	buf_release(&r.out);
	if (!s->text)
		sql_statement_free(&s);
	return s;
}

struct sql_statement *sql_statement_new(
    const struct sql_source *source, json_object *text, const char *member, struct err *err)
{
	struct sql_statement *s = NULL;
	struct buf file;

	if (!json_object_is_type(text, json_type_object))
		return statement_new(source, jx_str(text), member, err);
	buf_init(&file, 2 * TEXT_MAX_BYTES);
	if (read_file(source, text, member, &file, err) == 0)
		s = statement_new(source, buf_slice(&file), member, err);
	buf_release(&file);
	return s;
}

void sql_statement_free(struct sql_statement **statementp)
{
	struct sql_statement *s = *statementp;

	if (!s)
		return;
	*statementp = NULL;
	for (size_t i = 0; i < s->parameters_count; i++) {
		mem_free(s->parameters[i].name);
		mem_free(s->parameters[i].default_json);
	}
	mem_free(s->parameters);
	sql_database_put(s->database);
	mem_free(s->text);
	mem_free(s);
}

bool sql_is_writable(const struct sql_database *db)
{
	return db->is_writable;
}

int sql_describe(const struct sql_statement *s, json_object **columns, struct err *err)
{
	const struct sql_driver *driver = s->database->driver;
	void *conn;
	int ret;

	*columns = NULL;
	if (driver->open(s->database, NULL, now_ms() + DESCRIBE_MS, &conn, err))
		return -1;
	ret = driver->describe(conn, s, columns, err);
	driver->close(conn);
	if (ret == 0)
		return 0;
	json_object_put(*columns);
	*columns = NULL;
	return -1;
}

int sql_column_add(json_object **columns, const char *name, const char *schema, struct err *err)
{
	if (!*columns)
		*columns = json_object_new_object();
	if (jx_has(*columns, name))
		return err_set(err, ERR_PARAMS, "two columns are called %.100s: give one another name with AS", name);
	return jx_add(*columns, name, jx_parse(slice_str(schema), DEFAULT_DEPTH_MAX, err), err);
}

int sql_row_begin(struct sql_run *run, json_object **row, struct err *err)
{
	if (!run->rows)
		run->rows = json_object_new_array();
	run->is_cut = run->is_cut || (run->rows && json_object_array_length(run->rows) >= run->rows_max);
	if (run->is_cut)
		return 1;
	*row = json_object_new_object();
	return jx_append(run->rows, *row, err);
}

int sql_row_add(
    struct sql_run *run, json_object *row, const char *column, json_object *val, size_t len, struct err *err)
{
	int ret = val ? jx_add(row, column, val, err) : json_object_object_add(row, column, NULL);

	if (ret)
		return ret == -1 && !val ? out_of_memory(err) : ret;
	run->bytes += strlen(column) + len + 4;
	if (run->bytes <= run->bytes_max)
		return 0;
	run->is_cut = true;
	return json_object_array_del_idx(run->rows, json_object_array_length(run->rows) - 1, 1) ? out_of_memory(err)
												: 1;
}

int sql_wait(struct call *call, uint64_t deadline_ms, struct pollfd *fd, struct err *err)
{
	int n;

	do {
		int timeout_ms = ms_until(deadline_ms, now_ms());

		n = call ? call_poll(call, fd, 1, timeout_ms, err) : poll(fd, 1, timeout_ms);
		if (n > 0)
			return 0;
		if (n == -1 && call)
			return -1;
		if (n == -1 && errno != EINTR)
			return err_sys(err, "poll");
	} while (now_ms() < deadline_ms);
	return err_set(err, ERR_EXPIRED, "the database did not answer in time");
}

int sql_pause(const struct sql_run *run, int wait_ms, struct err *err)
{
	uint64_t now = now_ms();
	struct pollfd none; /* memcpy() takes no NULL, not even for no bytes */

	if (now >= run->deadline_ms)
		return err_set(err, ERR_EXPIRED, "the query took too long");
	if (now + (uint64_t)wait_ms > run->deadline_ms)
		wait_ms = (int)(run->deadline_ms - now);
	return call_poll(run->call, &none, 0, wait_ms, err) == -1 ? -1 : 0;
}

void sql_run_release(struct sql_run *run)
{
	json_object_put(run->rows);
	run->rows = NULL;
}

/* Arguments in the order of the parameters; those from defaults are in *owned, which need not be there yet. */
static int read_values(
    const struct sql_statement *s, json_object *args, json_object **values, json_object **owned, struct err *err)
{
	for (size_t i = 0; i < s->parameters_count; i++) {
		const struct sql_parameter *p = &s->parameters[i];

		if (jx_has(args, p->name) || !p->default_json) {
			values[i] = jx_get(args, p->name);
			continue;
		}
		values[i] = jx_parse(slice_str(p->default_json), DEFAULT_DEPTH_MAX, err);
		if (!*owned)
			*owned = json_object_new_array();
		if (jx_append(*owned, values[i], err))
			return -1;
	}
	return 0;
}

int sql_run(const struct sql_statement *s, json_object *args, struct sql_run *run, struct err *err)
{
	const struct sql_driver *driver = s->database->driver;
	json_object *values[PARAMETERS_MAX], *owned = NULL;
	bool is_broken = false;
	void *conn;
	int ret = -1;

	if (read_values(s, args, values, &owned, err) == 0 &&
	    sql_connect(s->database, run->call, run->deadline_ms, &conn, err) == 0) {
		ret = driver->run(conn, s, values, run, &is_broken, err);
		sql_disconnect(s->database, conn, is_broken);
	}
	json_object_put(owned);
	return ret;
}
