/* fcgi/sql_query.h - what the definitions of tools, resources and prompts that are queries have in common. */
#ifndef MCP_FCGI_SQL_QUERY_H
#define MCP_FCGI_SQL_QUERY_H

#include "fcgi/sql.h"

#define SQL_QUERY_MEMBERS "database", "rows_max"

struct sql_completion {
	struct sql_completion *next;
	char *variable;                  /* owned */
	struct sql_statement *statement; /* owned */
};

struct sql_query {
	struct sql_statement *statement; /* owned */
	json_object *columns;            /* owned: name -> schema; NULL: no rows, or the database could not be asked */
	struct sql_statement *list;      /* owned; of a resource; NULL: none */
	struct sql_completion *completions;
	const char *template; /* borrowed from the configuration; of a prompt */
	bool is_one;          /* the first row is all that is wanted */
	size_t rows_max;
};

/* Reads "sql", "rows" and "rows_max". *query is to be freed in any case. */
int sql_query_read(struct sql_query **query, const struct sql_source *source, struct err *err);
/* "complete": variable -> a query of one column. It may use the source's names, and {value}. */
int sql_query_read_completions(struct sql_query *query, const struct sql_source *source, struct err *err);
void sql_query_free(struct sql_query **query);

/* Another statement of the definition, looked at by the database. -1: complained about. */
int sql_query_describe(
    const struct sql_source *source, const struct sql_statement *s, const char *member, json_object **columns);

/* Runs one of its statements. 0: run->rows, or run->changed. 1: the client is to read *err, which is no failure of
 * ours. -1: ERR_CANCELLED, ERR_NOMEM. What the client need not know is logged with name. */
int sql_query_run(struct call *call, const struct sql_statement *s, size_t rows_max, int64_t timeout_s,
    const char *name, json_object *args, struct sql_run *run, struct err *err);

/* Appends to values, as strings, what the completion of variable gives, if there is one. */
int sql_query_complete(struct call *call, const struct sql_query *query, int64_t timeout_s, const char *name,
    struct slice variable, struct slice value, json_object *others, json_object *values, struct err *err);

#endif
