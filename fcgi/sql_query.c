#include "config.h"

#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/definition.h"
#include "fcgi/provider.h"
#include "fcgi/sql_query.h"
#include "common/banned.h"

#define ROWS_MAX 1000000

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "sql");
}

static int read_rows(struct sql_query *q, const struct sql_source *source)
{
	struct slice rows = jx_get_str(source->def, "rows");
	json_object *max = jx_get(source->def, "rows_max");
	int64_t count = source->cfg->sql_rows_max;

	q->is_one = rows.p && slice_is(rows, "one");
	if (jx_has(source->def, "rows") && !q->is_one && !(rows.p && slice_is(rows, "many")))
		return cfg_complain_at(source->cfg, source->pointer, "rows", "rows must be \"many\" or \"one\"");
	if (jx_has(source->def, "rows_max"))
		count = jx_is_integer(max) ? json_object_get_int64(max) : 0;
	if (count < 1 || count > ROWS_MAX)
		return cfg_complain_at(
		    source->cfg, source->pointer, "rows_max", "rows_max must be a whole number, 1 to %d", ROWS_MAX);
	q->rows_max = q->is_one ? 1 : (size_t)count;
	return 0;
}

int sql_query_describe(
    const struct sql_source *source, const struct sql_statement *s, const char *member, json_object **columns)
{
	struct err why = {0};

	if (sql_describe(s, columns, &why) == 0)
		return 0;
	if (why.code == ERR_PARAMS)
		return cfg_complain_at(source->cfg, source->pointer, member, "%s", why.msg);
	/* A database that can't be reached now is no mistake of the configuration. */
	LOG(WARN, "sql.not_checked", "at=%s why=\"%s\"", source->pointer, why.msg);
	return 0;
}

int sql_query_read(struct sql_query **query, const struct sql_source *source, struct err *err)
{
	struct sql_query *q = *query = mem_alloc(1, sizeof(*q));

	if (!q)
		return out_of_memory(err);
	if (read_rows(q, source))
		return -1;
	q->statement = sql_statement_new(source, jx_get(source->def, "sql"), "sql", err);
	return q->statement ? sql_query_describe(source, q->statement, "sql", &q->columns) : -1;
}

static bool is_known_to_completion(const void *arg, struct slice name)
{
	const struct sql_source *source = arg;

	return slice_is(name, "value") || source->is_known(source->arg, name);
}

static int read_completion(
    struct sql_query *q, const struct sql_source *source, const char *variable, json_object *text, struct err *err)
{
	struct sql_source own = *source;
	struct sql_completion *c;
	json_object *columns = NULL;
	struct buf member;
	int ret = -1;

	if (!source->is_known(source->arg, slice_str(variable)))
		return cfg_complain_at(
		    source->cfg, source->pointer, "complete", "there is no {%.100s} to complete", variable);
	c = mem_alloc(1, sizeof(*c));
	if (!c)
		return out_of_memory(err);
	c->next = q->completions;
	q->completions = c;
	c->variable = mem_dup(variable, strlen(variable));
	if (!c->variable)
		return out_of_memory(err);
	own.is_known = is_known_to_completion;
	own.arg = source;
	buf_init(&member, DEFINITION_POINTER_MAX);
	buf_addf(&member, "complete/%s", variable);
	if (buf_check(&member, err) == 0)
		c->statement = sql_statement_new(&own, text, member.data, err);
	if (c->statement)
		ret = sql_query_describe(source, c->statement, member.data, &columns);
	if (columns && json_object_object_length(columns) != 1)
		ret =
		    cfg_complain_at(source->cfg, source->pointer, member.data, "a completion is a query of one column");
	json_object_put(columns);
	buf_release(&member);
	return ret;
}

int sql_query_read_completions(struct sql_query *query, const struct sql_source *source, struct err *err)
{
	json_object *all = jx_get_object(source->def, "complete");
	int bad = 0;

	if (jx_has(source->def, "complete") && !all)
		return cfg_complain_at(
		    source->cfg, source->pointer, "complete", "complete must be an object: variable -> a query");
	if (!all)
		return 0;
	json_object_object_foreach(all, variable, text) {
		bad |= read_completion(query, source, variable, text, err);
	}
	return bad;
}

void sql_query_free(struct sql_query **query)
{
	struct sql_query *q = *query;
	struct sql_completion *c, *next;

	if (!q)
		return;
	*query = NULL;
	for (c = q->completions; c; c = next) {
		next = c->next;
		sql_statement_free(&c->statement);
		mem_free(c->variable);
		mem_free(c);
	}
	sql_statement_free(&q->statement);
	sql_statement_free(&q->list);
	json_object_put(q->columns);
	mem_free(q);
}

int sql_query_run(struct call *call, const struct sql_statement *s, size_t rows_max, int64_t timeout_s,
    const char *name, json_object *args, struct sql_run *run, struct err *err)
{
	*run = (struct sql_run){.call = call,
	    .deadline_ms = now_ms() + (uint64_t)timeout_s * 1000,
	    .rows_max = rows_max,
	    .bytes_max = (size_t)call->cfg->sql_result_max_bytes};
	if (sql_run(s, args, run, err) == 0) {
		if (!run->is_cut || !run->rows || json_object_array_length(run->rows) > 0)
			return 0;
		err_set(err, ERR_TOO_BIG, "the first row alone is more than may come (setting sql.result_max_bytes)");
		return 1;
	}
	if (err->code == ERR_CANCELLED || err->code == ERR_NOMEM)
		return -1;
	if (err->code == ERR_PARAMS)
		return 1;
	LOG(ERROR, "sql.failed", "name=%s why=\"%s\"", name, err->msg);
	if (err->code == ERR_EXPIRED)
		err_set(err, ERR_EXPIRED, "timed out after %lld s", (long long)timeout_s);
	else if (err->code == ERR_BUSY)
		err_set(err, ERR_BUSY, "the database can't be used just now; it may be worth another try");
	else
		err_set(err, ERR_INTERNAL, "the query failed; the server's log says why");
	return 1;
}

/* The others, and what has been typed as value. */
static json_object *completion_args(struct slice value, json_object *others, struct err *err)
{
	json_object *args = json_object_new_object();
	int bad = jx_add(args, "value", jx_new_str(value), err);

	if (others) {
		json_object_object_foreach(others, name, other) {
			if (strcmp(name, "value") != 0)
				bad |= jx_add(args, name, json_object_get(other), err);
		}
	}
	if (!bad)
		return args;
	json_object_put(args);
	return NULL;
}

/* The first column of each row, as a string. */
static int add_values(json_object *rows, json_object *values, struct err *err)
{
	struct buf text;
	int bad = 0;

	buf_init(&text, SIZE_MAX / 2);
	for (size_t i = 0; rows && i < json_object_array_length(rows) && !bad; i++) {
		json_object_object_foreach(json_object_array_get_idx(rows, i), column, val) {
			struct slice word = jx_str(val);

			(void)column;
			if (!val)
				continue;
			buf_clear(&text);
			if (!word.p)
				jx_write(&text, val);
			bad |= buf_check(&text, err);
			bad |= jx_append(values, jx_new_str(word.p ? word : buf_slice(&text)), err);
		}
	}
	buf_release(&text);
	return bad;
}

int sql_query_complete(struct call *call, const struct sql_query *query, int64_t timeout_s, const char *name,
    struct slice variable, struct slice value, json_object *others, json_object *values, struct err *err)
{
	const struct sql_completion *c = query->completions;
	json_object *args;
	struct sql_run run = {0};
	int ret = -1;

	while (c && !slice_is(variable, c->variable))
		c = c->next;
	if (!c)
		return 0;
	args = completion_args(value, others, err);
	if (args)
		ret = sql_query_run(call, c->statement, COMPLETION_CANDIDATES_MAX, timeout_s, name, args, &run, err);
	if (ret == 0)
		ret = add_values(run.rows, values, err);
	sql_run_release(&run);
	json_object_put(args);
	return ret == 1 ? 0 : ret; /* suggestions are not worth an error */
}
