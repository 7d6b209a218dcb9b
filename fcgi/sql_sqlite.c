/* SQLite: a file. Its queries run in our own thread, which looks up every few thousand steps. */
#include "config.h"

#include <math.h>
#include <sqlite3.h>

#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/sql_priv.h"
#include "common/banned.h"

#define STEPS_BETWEEN_LOOKS 4000 /* of SQLite's virtual machine: well under a millisecond */
#define LOOK_MS             20   /* a look costs some system calls */
#define LOCKED_WAIT_MS      10

struct prepared {
	struct prepared *next;
	uint64_t id; /* of the statement */
	sqlite3_stmt *stmt;
};

struct conn {
	sqlite3 *db;
	struct prepared *prepared;
	struct sql_run *run; /* that is under way */
	struct err *err;     /* its own; set when we ended it */
	uint64_t looked_ms;
	bool is_ended;
};

static int end(struct conn *c, int wait_ms)
{
	c->is_ended = c->is_ended || sql_pause(c->run, wait_ms, c->err);
	return c->is_ended;
}

/* 1: interrupt the query. */
static int on_steps(void *arg)
{
	struct conn *c = arg;
	uint64_t now = now_ms();

	if (!c->run || now < c->looked_ms + LOOK_MS)
		return 0;
	c->looked_ms = now;
	return end(c, 0);
}

/* Another process has the lock. 0: give up. */
static int on_locked(void *arg, int count)
{
	struct conn *c = arg;

	(void)count;
	if (!c->run)
		return 0;
	if (!end(c, LOCKED_WAIT_MS))
		return 1;
	if (c->err->code == ERR_EXPIRED) /* no query was slow */
		err_set(c->err, ERR_EXPIRED, "the database stayed locked by another process");
	return 0;
}

static void conn_close(void *arg)
{
	struct conn *c = arg;
	struct prepared *p, *next;

	for (p = c->prepared; p; p = next) {
		next = p->next;
		sqlite3_finalize(p->stmt);
		mem_free(p);
	}
	sqlite3_close(c->db);
	mem_free(c);
}

static int conn_open(struct sql_database *db, struct call *call, uint64_t deadline_ms, void **conn, struct err *err)
{
	int flags = SQLITE_OPEN_NOMUTEX | (db->is_writable ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY);
	struct conn *c = mem_alloc(1, sizeof(*c));
	int rc;

	(void)call, (void)deadline_ms; /* opening waits for nobody */
	if (!c)
		return err_set(err, ERR_NOMEM, "sqlite");
	rc = sqlite3_open_v2(db->target, &c->db, flags, NULL);
	if (rc != SQLITE_OK) {
		err_set(err, rc == SQLITE_NOMEM ? ERR_NOMEM : ERR_BUSY, "%s: %s", db->target,
		    c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc));
		conn_close(c);
		return -1;
	}
	sqlite3_extended_result_codes(c->db, 1);
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL); /* "x" is never a text */
	sqlite3_progress_handler(c->db, STEPS_BETWEEN_LOOKS, on_steps, c);
	sqlite3_busy_handler(c->db, on_locked, c);
	*conn = c;
	return 0;
}

/* What the database says becomes ours. Words of constraints and of values are for clients, others are not. */
static int fail(const struct conn *c, int rc, struct err *err)
{
	const char *text = sqlite3_errmsg(c->db);

	switch (rc & 0xff) {
	case SQLITE_NOMEM:
		return err_set(err, ERR_NOMEM, "sqlite");
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return err_set(err, ERR_BUSY, "the database is locked");
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
	case SQLITE_RANGE:
	case SQLITE_TOOBIG:
		return err_set(err, ERR_PARAMS, "%s", text);
	default:
		return err_set(err, ERR_INTERNAL, "sqlite: %s", text);
	}
}

static int prepare(struct conn *c, const struct sql_statement *s, sqlite3_stmt **stmt, struct err *err)
{
	const char *rest;
	int rc = sqlite3_prepare_v3(c->db, s->text, -1, SQLITE_PREPARE_PERSISTENT, stmt, &rest);

	/* The latter stands for the same mistake where the statement needed no table. */
	if ((rc & 0xff) == SQLITE_ERROR || rc == SQLITE_SCHEMA)
		return err_set(err, ERR_PARAMS, "%s", sqlite3_errmsg(c->db));
	if (rc != SQLITE_OK)
		return fail(c, rc, err);
	if (!*stmt)
		return err_set(err, ERR_PARAMS, "there is no statement in it");
	if (rest[strspn(rest, "; \t\r\n")])
		return err_set(err, ERR_PARAMS, "one statement is wanted; more begin at %.40s", rest);
	if (sqlite3_bind_parameter_count(*stmt) != (int)s->parameters_count)
		return err_set(err, ERR_PARAMS, "it has parameters of its own; {placeholders} are what is filled in");
	return 0;
}

/* What a column's declared type says of its values. A column may hold others: then the query fails, see run(). */
static const char *schema_of(const char *declared)
{
	static const struct {
		const char *part, *schema;
	} rows[] = {
	    /* the order is that of SQLite's rules for affinity, but for BOOL */
	    {"BOOL", "{\"type\":[\"boolean\",\"null\"]}"},
	    {"INT", "{\"type\":[\"integer\",\"null\"]}"},
	    {"CHAR", "{\"type\":[\"string\",\"null\"]}"},
	    {"CLOB", "{\"type\":[\"string\",\"null\"]}"},
	    {"TEXT", "{\"type\":[\"string\",\"null\"]}"},
	    {"BLOB", "{\"type\":[\"string\",\"null\"],\"contentEncoding\":\"base64\"}"},
	    {"REAL", "{\"type\":[\"number\",\"null\"]}"},
	    {"FLOA", "{\"type\":[\"number\",\"null\"]}"},
	    {"DOUB", "{\"type\":[\"number\",\"null\"]}"},
	};

	for (size_t i = 0; declared && i < COUNT_OF(rows); i++) {
		for (const char *p = declared; *p; p++) {
			if (sqlite3_strnicmp(p, rows[i].part, (int)strlen(rows[i].part)) == 0)
				return rows[i].schema;
		}
	}
	return "{\"type\":[\"string\",\"number\",\"null\"]}";
}

static int conn_describe(void *arg, const struct sql_statement *s, json_object **columns, struct err *err)
{
	struct conn *c = arg;
	sqlite3_stmt *stmt = NULL;
	int ret = prepare(c, s, &stmt, err);

	if (ret == 0 && !s->database->is_writable && !sqlite3_stmt_readonly(stmt))
		ret = err_set(err, ERR_PARAMS, "it changes the database, which has no \"write\": true");
	for (int i = 0; ret == 0 && i < sqlite3_column_count(stmt); i++)
		ret = sql_column_add(
		    columns, sqlite3_column_name(stmt, i), schema_of(sqlite3_column_decltype(stmt, i)), err);
	sqlite3_finalize(stmt);
	return ret;
}

static sqlite3_stmt *prepared(struct conn *c, const struct sql_statement *s, struct err *err)
{
	struct prepared *p = c->prepared;

	while (p && p->id != s->id)
		p = p->next;
	if (p)
		return p->stmt;
	p = mem_alloc(1, sizeof(*p));
	if (!p) {
		err_set(err, ERR_NOMEM, "sqlite");
		return NULL;
	}
	if (prepare(c, s, &p->stmt, err)) {
		sqlite3_finalize(p->stmt);
		mem_free(p);
		return NULL;
	}
	p->id = s->id;
	p->next = c->prepared;
	c->prepared = p;
	return p->stmt;
}

static int bind(sqlite3_stmt *stmt, int at, json_object *val)
{
	struct slice text = jx_str(val);
	struct buf json;
	int rc;

	switch (json_object_get_type(val)) {
	case json_type_null:
		return sqlite3_bind_null(stmt, at);
	case json_type_boolean:
		return sqlite3_bind_int(stmt, at, json_object_get_boolean(val));
	case json_type_int:
		if (json_object_get_uint64(val) > INT64_MAX && json_object_get_int64(val) > 0)
			return sqlite3_bind_double(stmt, at, (double)json_object_get_uint64(val));
		return sqlite3_bind_int64(stmt, at, json_object_get_int64(val));
	case json_type_double:
		return sqlite3_bind_double(stmt, at, json_object_get_double(val));
	case json_type_string:
		return sqlite3_bind_text64(stmt, at, text.p, text.len, SQLITE_STATIC, SQLITE_UTF8);
	default:
		buf_init(&json, SIZE_MAX / 2);
		jx_write(&json, val);
		rc = json.fault ? SQLITE_NOMEM
				: sqlite3_bind_text64(stmt, at, json.data, json.len, SQLITE_TRANSIENT, SQLITE_UTF8);
		buf_release(&json);
		return rc;
	}
}

/* *is_null: that is its value, and not a lack of memory. */
static json_object *value_of(sqlite3_stmt *stmt, int column, bool *is_null)
{
	int type = sqlite3_column_type(stmt, column);
	const char *declared = sqlite3_column_decltype(stmt, column);

	*is_null = type == SQLITE_NULL;
	switch (type) {
	case SQLITE_INTEGER:
		if (declared && sqlite3_strnicmp(declared, "BOOL", 4) == 0)
			return json_object_new_boolean(sqlite3_column_int(stmt, column));
		return json_object_new_int64(sqlite3_column_int64(stmt, column));
	case SQLITE_FLOAT:
		*is_null = !isfinite(sqlite3_column_double(stmt, column)); /* JSON has no infinity */
		return *is_null ? NULL : json_object_new_double(sqlite3_column_double(stmt, column));
	case SQLITE_TEXT:
		return jx_new_str((struct slice){
		    (const char *)sqlite3_column_text(stmt, column), (size_t)sqlite3_column_bytes(stmt, column)});
	case SQLITE_BLOB:
		return sql_value_bytes(
		    (struct slice){sqlite3_column_blob(stmt, column), (size_t)sqlite3_column_bytes(stmt, column)});
	default:
		return NULL;
	}
}

/* 1: no more rows are wanted. */
static int read_row(sqlite3_stmt *stmt, struct sql_run *run, struct err *err)
{
	json_object *row;
	int ret = sql_row_begin(run, &row, err);

	for (int i = 0; ret == 0 && i < sqlite3_column_count(stmt); i++) {
		bool is_null;
		json_object *val = value_of(stmt, i, &is_null);

		if (!val && !is_null)
			return err_set(err, ERR_NOMEM, "sqlite");
		ret = sql_row_add(
		    run, row, sqlite3_column_name(stmt, i), val, (size_t)sqlite3_column_bytes(stmt, i), err);
	}
	return ret;
}

static int step_through(struct conn *c, sqlite3_stmt *stmt, struct sql_run *run, struct err *err)
{
	int rc, ret = 0;

	if (sqlite3_column_count(stmt))
		run->rows = json_object_new_array();
	if (sqlite3_column_count(stmt) && !run->rows)
		return err_set(err, ERR_NOMEM, "sqlite");
	for (rc = sqlite3_step(stmt); rc == SQLITE_ROW && ret == 0; rc = ret == 0 ? sqlite3_step(stmt) : rc)
		ret = read_row(stmt, run, err);
	if (ret == -1)
		return -1;
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return fail(c, rc, err);
	run->changed = sqlite3_changes(c->db);
	return 0;
}

static int run_statement(
    struct conn *c, const struct sql_statement *s, json_object *const *values, struct sql_run *run, struct err *err)
{
	sqlite3_stmt *stmt = prepared(c, s, err);
	int rc = SQLITE_OK, ret;

	if (!stmt) /* it was looked at when the configuration was read: the database has changed since */
		return err->code == ERR_PARAMS ? err_set(err, ERR_INTERNAL, "sqlite: %s", sqlite3_errmsg(c->db)) : -1;
	for (size_t i = 0; rc == SQLITE_OK && i < s->parameters_count; i++)
		rc = bind(stmt, (int)i + 1, values[i]);
	ret = rc == SQLITE_OK ? step_through(c, stmt, run, err) : fail(c, rc, err);
	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
	return ret;
}

static int conn_run(void *arg, const struct sql_statement *s, json_object *const *values, struct sql_run *run,
    bool *is_broken, struct err *err)
{
	struct conn *c = arg;
	struct err why;
	int ret;

	(void)is_broken; /* a file does not go away */
	c->run = run;
	c->err = err;
	c->is_ended = false;
	c->looked_ms = now_ms();
	ret = run_statement(c, s, values, run, &why);
	if (ret && !c->is_ended) /* else *err says why we ended it */
		*err = why;
	c->run = NULL;
	return ret;
}

const struct sql_driver sql_sqlite = {
    .name = "sqlite",
    .numbered = '?',
    .is_file = true,
    .open = conn_open,
    .describe = conn_describe,
    .run = conn_run,
    .close = conn_close,
};
