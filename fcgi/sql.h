/* fcgi/sql.h - queries of databases: {"sql": "SELECT name FROM clients WHERE email = {email}"}.
 *
 * "databases" of the configuration names them:
 *   {"clients": {"sqlite": "clients.db"}}                            a file, relative to the configuration's
 *   {"clients": {"postgresql": "host=/run/postgresql dbname=web"}}   words of libpq, or a postgresql:// URI
 *   {"clients": {"mysql": "socket=/run/mysqld/mysqld.sock database=web user=web"}}
 * and beside that:
 *   "password_file"     its first line is the password; read for each connection that is made
 *   "write"             true: statements may change something. Else the database itself is told to refuse it
 *   "connections_max"   of one worker process, 1 to 256 (8). They are made when needed, and kept
 *
 * A {placeholder} stands where a value may stand, outside quotes, and becomes a parameter of a prepared statement: what
 * a client sends is never part of the SQL text. */
#ifndef MCP_FCGI_SQL_H
#define MCP_FCGI_SQL_H

#include <json-c/json.h>

#include "common/cfg.h"
#include "fcgi/call.h"

struct sql_database; /* fcgi/sql_priv.h */

struct sql_parameter {
	char *name;         /* owned: of the argument */
	char *default_json; /* owned; NULL: without the argument it is NULL to the database */
};

/* One query: read once, then only read, by any thread. */
struct sql_statement {
	struct sql_database *database;
	char *text;                       /* owned; as the driver takes it */
	struct sql_parameter *parameters; /* owned; in the driver's order */
	size_t parameters_count;
	uint64_t id; /* no other statement of this process ever has it: prepared ones are known by it */
};

/* The definition that a statement stands in. */
struct sql_source {
	json_object *def; /* "database" says which; without it there is to be just one */
	struct cfg *cfg;
	const char *pointer;
	bool (*is_known)(const void *arg, struct slice name); /* which arguments there are */
	const void *arg;
	json_object *defaults; /* name -> JSON Schema, whose "default" stands in for a missing one; may be NULL */
};

/* text is a JSON string, or {"file": PATH} of one, or anything that is complained about; member is its place in the definition, perhaps a path.
 * NULL: complained about, or ERR_NOMEM. */
struct sql_statement *sql_statement_new(
    const struct sql_source *source, json_object *text, const char *member, struct err *err);
void sql_statement_free(struct sql_statement **statementp);

bool sql_is_writable(const struct sql_database *db);

/* What its rows hold: *columns (owned by the caller) is name -> JSON Schema; NULL: it gives no rows. On a connection of
 * its own that is closed again, so it is safe before fork(). ERR_PARAMS: the statement can't be, in the database's
 * words; ERR_BUSY: the database can't be reached now. */
int sql_describe(const struct sql_statement *s, json_object **columns, struct err *err);

/* What a run may take, and what came of it. */
struct sql_run {
	struct call *call;
	uint64_t deadline_ms; /* now_ms() */
	size_t rows_max, bytes_max;
	json_object *rows; /* owned: an array of objects, column -> value; NULL: the statement gives none */
	bool is_cut;       /* there were more than rows_max or bytes_max */
	int64_t changed;   /* rows, by a statement that gives none */
	size_t bytes;
};

/* Runs it with args, an object. ERR_PARAMS: the values can't be, in words for a client; ERR_EXPIRED: the time was over,
 * and the query was ended; ERR_BUSY: the database can't be reached, or all connections are in use; ERR_CANCELLED;
 * ERR_INTERNAL: the database refused it for reasons that are logged, and no client's business. */
int sql_run(const struct sql_statement *s, json_object *args, struct sql_run *run, struct err *err);
void sql_run_release(struct sql_run *run);

#endif
