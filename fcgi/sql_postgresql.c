/* PostgreSQL: libpq, without waiting inside it, so that a client that leaves or a time that is over ends a query. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/sql_priv.h"
#include "common/banned.h"

#define NAME_MAX_LEN    32
#define PASSWORD_MAX    4096
#define NUMBER_MAX_SIZE 64
#define CANCEL_MS       1000

#define FUNCTIONS(FUNCTION)                                                                                            \
	FUNCTION(PQcancel)                                                                                             \
	FUNCTION(PQclear)                                                                                              \
	FUNCTION(PQcmdTuples)                                                                                          \
	FUNCTION(PQconnectPoll)                                                                                        \
	FUNCTION(PQconnectStartParams)                                                                                 \
	FUNCTION(PQconsumeInput)                                                                                       \
	FUNCTION(PQerrorMessage)                                                                                       \
	FUNCTION(PQfinish)                                                                                             \
	FUNCTION(PQflush)                                                                                              \
	FUNCTION(PQfname)                                                                                              \
	FUNCTION(PQfreeCancel)                                                                                         \
	FUNCTION(PQfreemem)                                                                                            \
	FUNCTION(PQftype)                                                                                              \
	FUNCTION(PQgetCancel)                                                                                          \
	FUNCTION(PQgetResult)                                                                                          \
	FUNCTION(PQgetisnull)                                                                                          \
	FUNCTION(PQgetlength)                                                                                          \
	FUNCTION(PQgetvalue)                                                                                           \
	FUNCTION(PQisBusy)                                                                                             \
	FUNCTION(PQnfields)                                                                                            \
	FUNCTION(PQnparams)                                                                                            \
	FUNCTION(PQresultErrorField)                                                                                   \
	FUNCTION(PQresultStatus)                                                                                       \
	FUNCTION(PQsendDescribePrepared)                                                                               \
	FUNCTION(PQsendPrepare)                                                                                        \
	FUNCTION(PQsendQuery)                                                                                          \
	FUNCTION(PQsendQueryPrepared)                                                                                  \
	FUNCTION(PQsetNoticeReceiver)                                                                                  \
	FUNCTION(PQsetSingleRowMode)                                                                                   \
	FUNCTION(PQsetnonblocking)                                                                                     \
	FUNCTION(PQsocket)                                                                                             \
	FUNCTION(PQstatus)                                                                                             \
	FUNCTION(PQtransactionStatus)                                                                                  \
	FUNCTION(PQunescapeBytea)

static struct {
	FUNCTIONS(LIBRARY_MEMBER)
} pq;

static struct library libpq = {LIBPQ, (const char *const[]){FUNCTIONS(LIBRARY_NAME) NULL}, &pq, false};

/* Types by their numbers, which are for ever. */
enum {
	PG_BOOL = 16,
	PG_BYTEA = 17,
	PG_INT8 = 20,
	PG_INT2 = 21,
	PG_INT4 = 23,
	PG_OID = 26,
	PG_JSON = 114,
	PG_FLOAT4 = 700,
	PG_FLOAT8 = 701,
	PG_DATE = 1082,
	PG_TIMESTAMPTZ = 1184,
	PG_NUMERIC = 1700,
	PG_UUID = 2950,
	PG_JSONB = 3802,
};

struct conn {
	PGconn *pg;
	uint64_t *prepared; /* owned: ids of statements */
	size_t prepared_count;
	/* of what is under way */
	struct call *call; /* NULL: nobody waits who could leave */
	uint64_t deadline_ms;
};

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "postgresql");
}

/* Until the socket is ready for events. */
static int wait_for(const struct conn *c, short events, struct err *err)
{
	struct pollfd fd = {.fd = pq.PQsocket(c->pg), .events = events};

	return sql_wait(c->call, c->deadline_ms, &fd, err);
}

/* libpq's texts end with a newline, and have several lines. */
static int lost(const struct conn *c, struct err *err)
{
	const char *text = pq.PQerrorMessage(c->pg);

	return err_set(err, ERR_BUSY, "postgresql: %.*s", (int)strcspn(text, "\n"), text);
}

/* A statement that failed. Words about values are for clients. */
static int fail(const struct conn *c, const PGresult *result, struct err *err)
{
	const char *state = pq.PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *text = pq.PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	if (!state || !text || pq.PQstatus(c->pg) != CONNECTION_OK)
		return lost(c, err);
	if (strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0 || strcmp(state, "P0001") == 0)
		return err_set(err, ERR_PARAMS, "%s", text);
	if (strncmp(state, "53", 2) == 0 || strncmp(state, "57P", 3) == 0 || strncmp(state, "40", 2) == 0)
		return err_set(err, ERR_BUSY, "postgresql: %s %s", state, text);
	if (strcmp(state, "57014") == 0)
		return err_set(err, ERR_EXPIRED, "postgresql: %s", text);
	return err_set(err, ERR_INTERNAL, "postgresql: %s %s", state, text);
}

/* The next result of what was sent; *result NULL: there is none. */
static int next_result(const struct conn *c, PGresult **result, struct err *err)
{
	int flushed;

	while ((flushed = pq.PQflush(c->pg)) == 1) {
		if (wait_for(c, POLLIN | POLLOUT, err))
			return -1;
		if (!pq.PQconsumeInput(c->pg))
			return lost(c, err);
	}
	if (flushed == -1)
		return lost(c, err);
	while (pq.PQisBusy(c->pg)) {
		if (wait_for(c, POLLIN, err))
			return -1;
		if (!pq.PQconsumeInput(c->pg))
			return lost(c, err);
	}
	*result = pq.PQgetResult(c->pg);
	return 0;
}

/* Whatever is left of what was sent. */
static int drain(const struct conn *c, struct err *err)
{
	PGresult *result;

	for (;;) {
		if (next_result(c, &result, err))
			return -1;
		if (!result)
			return 0;
		pq.PQclear(result);
	}
}

/* The one result of a command that gives no rows. */
static int expect_done(const struct conn *c, struct err *err)
{
	PGresult *result;
	struct err ignored;
	int ret = 0;

	if (next_result(c, &result, err))
		return -1;
	if (!result || pq.PQresultStatus(result) != PGRES_COMMAND_OK)
		ret = fail(c, result, err);
	pq.PQclear(result);
	return drain(c, ret ? &ignored : err) | ret;
}

static void conn_close(void *arg)
{
	struct conn *c = arg;

	pq.PQfinish(c->pg);
	mem_free(c->prepared);
	mem_free(c);
}

static int connect_to(struct conn *c, const struct sql_database *db, const char *password, struct err *err)
{
	/* What stands in the target comes first, what is ours wins. */
	const char *const keywords[] = {
	    "fallback_application_name", "dbname", "client_encoding", password ? "password" : NULL, NULL};
	const char *const values[] = {"mcp-fcgi", db->target, "UTF8", password, NULL};
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	c->pg = pq.PQconnectStartParams(keywords, values, 1);
	if (!c->pg)
		return out_of_memory(err);
	if (pq.PQstatus(c->pg) == CONNECTION_BAD)
		return lost(c, err);
	while (status != PGRES_POLLING_OK) {
		if (wait_for(c, status == PGRES_POLLING_READING ? POLLIN : POLLOUT, err))
			return -1;
		status = pq.PQconnectPoll(c->pg);
		if (status == PGRES_POLLING_FAILED)
			return lost(c, err);
	}
	pq.PQsetnonblocking(c->pg, 1);
	if (db->is_writable)
		return 0;
	if (!pq.PQsendQuery(c->pg, "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))
		return lost(c, err);
	return expect_done(c, err);
}

/* They go to the server's messages, which nobody reads; not to our stderr. */
static void ignore_notice(void *arg, const PGresult *result)
{
	(void)arg, (void)result;
}

static int conn_open(struct sql_database *db, struct call *call, uint64_t deadline_ms, void **conn, struct err *err)
{
	struct conn *c = mem_alloc(1, sizeof(*c));
	struct buf password;
	int ret;

	if (!c)
		return out_of_memory(err);
	c->call = call;
	c->deadline_ms = deadline_ms;
	buf_init(&password, PASSWORD_MAX);
	ret = sql_password(db, &password, err);
	if (ret == 0)
		ret = connect_to(c, db, password.data, err);
	buf_release(&password);
	if (ret) {
		if (err->code == ERR_EXPIRED)
			err->code = ERR_BUSY;
		conn_close(c);
		return -1;
	}
	pq.PQsetNoticeReceiver(c->pg, ignore_notice, NULL);
	*conn = c;
	return 0;
}

/* An idle connection says nothing, unless it has ended. */
static bool conn_is_alive(void *arg)
{
	struct conn *c = arg;
	struct pollfd fd = {.fd = pq.PQsocket(c->pg), .events = POLLIN};

	while (poll(&fd, 1, 0) > 0) { /* its last words come before its end */
		if (!pq.PQconsumeInput(c->pg) || pq.PQstatus(c->pg) != CONNECTION_OK)
			return false;
	}
	return true;
}

static const char *name_of(const struct sql_statement *s, char name[NAME_MAX_LEN])
{
	snprintf(name, NAME_MAX_LEN, "mcp%llu", (unsigned long long)s->id);
	return name;
}

static int prepare(struct conn *c, const struct sql_statement *s, struct err *err)
{
	char name[NAME_MAX_LEN];
	uint64_t *more;

	for (size_t i = 0; i < c->prepared_count; i++) {
		if (c->prepared[i] == s->id)
			return 0;
	}
	more = mem_realloc(c->prepared, (c->prepared_count + 1) * sizeof(*more));
	if (!more)
		return out_of_memory(err);
	c->prepared = more;
	if (!pq.PQsendPrepare(c->pg, name_of(s, name), s->text, 0, NULL))
		return lost(c, err);
	if (expect_done(c, err))
		return -1;
	more[c->prepared_count++] = s->id;
	return 0;
}

static const char *schema_of(Oid type)
{
	switch (type) {
	case PG_BOOL:
		return "{\"type\":[\"boolean\",\"null\"]}";
	case PG_INT2:
	case PG_INT4:
	case PG_INT8:
	case PG_OID:
		return "{\"type\":[\"integer\",\"null\"]}";
	case PG_FLOAT4:
	case PG_FLOAT8:
	case PG_NUMERIC:
		return "{\"type\":[\"number\",\"null\"]}";
	case PG_JSON:
	case PG_JSONB:
		return "{}";
	case PG_BYTEA:
		return "{\"type\":[\"string\",\"null\"],\"contentEncoding\":\"base64\"}";
	case PG_DATE:
		return "{\"type\":[\"string\",\"null\"],\"format\":\"date\"}";
	case PG_UUID:
		return "{\"type\":[\"string\",\"null\"],\"format\":\"uuid\"}";
	default:
		return "{\"type\":[\"string\",\"null\"]}";
	}
}

static int conn_describe(void *arg, const struct sql_statement *s, json_object **columns, struct err *err)
{
	struct conn *c = arg;
	char name[NAME_MAX_LEN];
	PGresult *result = NULL;
	int ret = prepare(c, s, err);

	if (ret == 0 && !pq.PQsendDescribePrepared(c->pg, name_of(s, name)))
		ret = lost(c, err);
	if (ret == 0)
		ret = next_result(c, &result, err);
	if (ret == 0 && pq.PQresultStatus(result) != PGRES_COMMAND_OK)
		ret = fail(c, result, err);
	if (ret == 0 && pq.PQnparams(result) != (int)s->parameters_count)
		ret = err_set(err, ERR_PARAMS, "it has parameters of its own; {placeholders} are what is filled in");
	for (int i = 0; ret == 0 && i < pq.PQnfields(result); i++)
		ret = sql_column_add(columns, pq.PQfname(result, i), schema_of(pq.PQftype(result, i)), err);
	pq.PQclear(result);
	if (ret && err->code == ERR_INTERNAL)
		err->code = ERR_PARAMS; /* the author's mistake, in words for the author */
	return ret;
}

/* The text of a value; strings are lent. NULL: *err. */
static const char *text_of(json_object *val, struct buf *text, struct err *err)
{
	struct slice str = jx_str(val);

	if (str.p && strlen(str.p) != str.len) {
		err_set(err, ERR_PARAMS, "a text with a NUL in it is none for a database");
		return NULL;
	}
	if (str.p)
		return str.p;
	jx_write(text, val);
	return buf_check(text, err) ? NULL : text->data;
}

static int send(struct conn *c, const struct sql_statement *s, json_object *const *values, struct err *err)
{
	const char **texts = mem_alloc(s->parameters_count + 1, sizeof(char *));
	struct buf *bufs = mem_alloc(s->parameters_count + 1, sizeof(*bufs));
	char name[NAME_MAX_LEN];
	int ret = texts && bufs ? 0 : out_of_memory(err);

	for (size_t i = 0; ret == 0 && i < s->parameters_count; i++) {
		buf_init(&bufs[i], SIZE_MAX / 2);
		if (!values[i])
			continue;
		texts[i] = text_of(values[i], &bufs[i], err);
		ret = texts[i] ? 0 : -1;
	}
	if (ret == 0 &&
	    !pq.PQsendQueryPrepared(c->pg, name_of(s, name), (int)s->parameters_count, texts, NULL, NULL, 0))
		ret = lost(c, err);
	for (size_t i = 0; bufs && i < s->parameters_count; i++)
		buf_release(&bufs[i]);
	mem_free(bufs);
	mem_free(texts);
	return ret;
}

static json_object *new_bytes(const char *text)
{
	size_t len;
	unsigned char *bytes = pq.PQunescapeBytea((const unsigned char *)text, &len);
	json_object *val = bytes ? sql_value_bytes((struct slice){(const char *)bytes, len}) : NULL;

	pq.PQfreemem(bytes);
	return val;
}

/* *is_null: that is its value, and not a lack of memory. */
static json_object *value_of(const PGresult *result, int column, bool *is_null)
{
	const char *text = pq.PQgetvalue(result, 0, column);
	struct slice str = {text, (size_t)pq.PQgetlength(result, 0, column)};

	*is_null = pq.PQgetisnull(result, 0, column);
	if (*is_null)
		return NULL;
	switch (pq.PQftype(result, column)) {
	case PG_BOOL:
		return json_object_new_boolean(*text == 't');
	case PG_INT2:
	case PG_INT4:
	case PG_INT8:
	case PG_OID:
		return sql_value_integer(text);
	case PG_FLOAT4:
	case PG_FLOAT8:
	case PG_NUMERIC:
		return sql_value_number(text, is_null);
	case PG_JSON:
	case PG_JSONB:
		return sql_value_json(str, is_null);
	case PG_BYTEA:
		return new_bytes(text);
	default:
		return jx_new_str(str);
	}
}

/* 1: no more rows are wanted. */
static int read_row(const PGresult *result, struct sql_run *run, struct err *err)
{
	json_object *row;
	int ret = sql_row_begin(run, &row, err);

	for (int i = 0; ret == 0 && i < pq.PQnfields(result); i++) {
		bool is_null;
		json_object *val = value_of(result, i, &is_null);

		if (!val && !is_null)
			return out_of_memory(err);
		ret = sql_row_add(run, row, pq.PQfname(result, i), val, (size_t)pq.PQgetlength(result, 0, i), err);
	}
	return ret;
}

/* 1: it is over, with what was wanted. */
static int read_result(const struct conn *c, PGresult *result, struct sql_run *run, struct err *err)
{
	switch (pq.PQresultStatus(result)) {
	case PGRES_SINGLE_TUPLE:
		return read_row(result, run, err);
	case PGRES_TUPLES_OK: /* the end of the rows */
		if (!run->rows)
			run->rows = json_object_new_array();
		return run->rows ? 0 : out_of_memory(err);
	case PGRES_COMMAND_OK:
		run->changed = strtoll(pq.PQcmdTuples(result), NULL, 10);
		return 0;
	default:
		return fail(c, result, err);
	}
}

static int read_results(const struct conn *c, struct sql_run *run, struct err *err)
{
	PGresult *result;
	int ret = 0;

	while (ret == 0) {
		if (next_result(c, &result, err))
			return -1;
		if (!result)
			return 0;
		ret = read_result(c, result, run, err);
		pq.PQclear(result);
	}
	return ret;
}

/* PQcancel() asks by another connection and waits for its end, however long a server that stands still takes: so it has
 * a thread, which lives no longer than that. */
struct cancelling {
	PGcancel *cancel; /* owned */
	int over_fd;      /* owned: closed when it is over */
};

static void *cancel_main(void *arg)
{
	struct cancelling *c = arg;
	int over_fd = c->over_fd;
	char why[256];

	if (!pq.PQcancel(c->cancel, why, sizeof(why)))
		LOG(WARN, "sql.not_cancelled", "why=\"%.*s\"", (int)strcspn(why, "\n"), why);
	pq.PQfreeCancel(c->cancel);
	mem_free(c);
	close(over_fd);
	return NULL;
}

/* over->fd is at its end when that is over. c is taken, unless this fails. */
static int start_cancelling(struct cancelling *c, struct pollfd *over, struct err *err)
{
	pthread_t thread;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return err_sys(err, "pipe");
	*over = (struct pollfd){.fd = fds[0], .events = POLLIN};
	c->over_fd = fds[1];
	errno = pthread_create(&thread, NULL, cancel_main, c);
	if (errno == 0) {
		pthread_detach(thread);
		return 0;
	}
	err_sys(err, "a thread that cancels");
	close(fds[0]);
	close(fds[1]);
	return -1;
}

/* Ends what is under way on the server too; that is waited for, but no longer than CANCEL_MS. */
static void cancel(const struct conn *conn)
{
	struct cancelling *c = mem_alloc(1, sizeof(*c));
	uint64_t end_ms = now_ms() + CANCEL_MS;
	struct pollfd over;
	struct err err;

	if (c)
		c->cancel = pq.PQgetCancel(conn->pg);
	if (!c || !c->cancel || start_cancelling(c, &over, &err)) {
		LOG(WARN, "sql.not_cancelled", "why=\"%s\"", c && c->cancel ? err.msg : "out of memory");
		if (c)
			pq.PQfreeCancel(c->cancel);
		mem_free(c);
		return;
	}
	while (poll(&over, 1, ms_until(end_ms, now_ms())) == -1 && errno == EINTR)
		;
	close(over.fd);
}

static int conn_run(void *arg, const struct sql_statement *s, json_object *const *values, struct sql_run *run,
    bool *is_broken, struct err *err)
{
	struct conn *c = arg;
	struct err ignored;
	int ret;

	c->call = run->call;
	c->deadline_ms = run->deadline_ms;
	ret = prepare(c, s, err);
	if (ret == 0)
		ret = send(c, s, values, err);
	if (ret == 0) {
		pq.PQsetSingleRowMode(c->pg);
		ret = read_results(c, run, err);
	}
	/* Enough rows, or a failure in the middle: the rest is not waited for. */
	if (ret && pq.PQtransactionStatus(c->pg) == PQTRANS_ACTIVE)
		cancel(c);
	if (ret == -1 &&
	    (err->code == ERR_CANCELLED || err->code == ERR_EXPIRED || pq.PQstatus(c->pg) != CONNECTION_OK))
		*is_broken = true;
	else if (drain(c, &ignored))
		*is_broken = true;
	return ret == -1 ? -1 : 0;
}

const struct sql_driver sql_postgresql = {
    .name = "postgresql",
    .library = &libpq,
    .numbered = '$',
    .open = conn_open,
    .is_alive = conn_is_alive,
    .describe = conn_describe,
    .run = conn_run,
    .close = conn_close,
};
