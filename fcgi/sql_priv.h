/* fcgi/sql_priv.h - what sql.h's parts share: databases with their pools, and the drivers that know one kind each. */
#ifndef MCP_FCGI_SQL_PRIV_H
#define MCP_FCGI_SQL_PRIV_H

#include <pthread.h>

#include "fcgi/library.h"
#include "fcgi/sql.h"

struct sql_driver {
	const char *name;        /* "sqlite": the member that chooses it */
	struct library *library; /* opened for the first definition that wants it; NULL: it is there */
	char numbered;           /* '$': the first parameter is $1; NUL: each is "?", as often as it stands there */
	bool is_mysql; /* backslashes escape in quotes, # begins a comment, -- only before a space, no $$ quotes */
	bool is_file;  /* what it is given is a path, and must be there */
	int (*check)(
	    const char *target, struct err *err); /* err->msg: what is wrong with its words. NULL: all are right */
	/* ERR_BUSY with the reason. call NULL: nobody waits who could leave. */
	int (*open)(struct sql_database *db, struct call *call, uint64_t deadline_ms, void **conn, struct err *err);
	bool (*is_alive)(void *conn); /* of one that was idle; NULL: always */
	int (*describe)(void *conn, const struct sql_statement *s, json_object **columns, struct err *err);
	/* values: parameters_count of them, borrowed; a NULL is NULL. *is_broken: the connection is of no more use. */
	int (*run)(void *conn, const struct sql_statement *s, json_object *const *values, struct sql_run *run,
	    bool *is_broken, struct err *err);
	void (*close)(void *conn);
};

extern const struct sql_driver sql_mysql, sql_postgresql, sql_sqlite;

/* One for all definitions that say the same: it outlives a configuration that was read anew. */
struct sql_database {
	struct sql_database *next; /* of all */
	size_t refs;
	const struct sql_driver *driver;
	char *target;        /* owned: a path, absolute, or words */
	char *password_file; /* owned, absolute; NULL: none */
	bool is_writable;
	size_t connections_max;
	pthread_mutex_t mtx; /* of what follows */
	void **idle;         /* owned, with room for connections_max */
	size_t idle_count, used_count, waiting_count;
	int free_fd; /* eventfd, a semaphore: one of those who wait may look again. -1: nobody has waited yet */
};

/* The one that def means. NULL: complained about, or ERR_NOMEM. */
struct sql_database *sql_database_get(json_object *def, struct cfg *cfg, const char *pointer, struct err *err);
void sql_database_put(struct sql_database *db);

/* A connection, waiting for one if all are in use. ERR_BUSY, ERR_CANCELLED. */
int sql_connect(struct sql_database *db, struct call *call, uint64_t deadline_ms, void **conn, struct err *err);
void sql_disconnect(struct sql_database *db, void *conn, bool is_broken);

/* Appends the password, if there is one. */
int sql_password(const struct sql_database *db, struct buf *password, struct err *err);

/* A row begins, and gets its columns; val is taken, and len is about the length of its text. 1: no more are wanted. */
int sql_row_begin(struct sql_run *run, json_object **row, struct err *err);
int sql_row_add(
    struct sql_run *run, json_object *row, const char *column, json_object *val, size_t len, struct err *err);

/* Adds a column to an object that may not be there yet. schema is JSON text. ERR_PARAMS: a second one of this name. */
int sql_column_add(json_object **columns, const char *name, const char *schema, struct err *err);

/* Waits for fd->events on a connection. call NULL: nobody waits who could leave. ERR_EXPIRED at the deadline. */
int sql_wait(struct call *call, uint64_t deadline_ms, struct pollfd *fd, struct err *err);

/* A column's value of what a database sends. NULL with *is_null: there is nothing that JSON could say, else there is no
 * memory. */
json_object *sql_value_bytes(struct slice bytes);
json_object *sql_value_integer(const char *text);
json_object *sql_value_number(const char *text, bool *is_null);
json_object *sql_value_json(struct slice text, bool *is_null);

/* While a query runs in our own thread: -1 with ERR_CANCELLED or ERR_EXPIRED when it is to end, after at most wait_ms.
 */
int sql_pause(const struct sql_run *run, int wait_ms, struct err *err);

#endif
