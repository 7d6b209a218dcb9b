/* MariaDB and MySQL: libmariadb's non-blocking calls, whose two halves begin something and go on with it, so that a
 * client that leaves or a time that is over ends a query. Only the look-up of a host's name waits.
 *
 *   {"mysql": "socket=/run/mysqld/mysqld.sock user=web database=web"}
 *   {"mysql": "host=db.example.com port=3306 user=web database=web tls_ca=/etc/ssl/certs/ca-certificates.crt"}
 *
 * What was given up in the middle can't be gone on with: such a connection is closed, after another one has told the
 * server to end the query. */
#include "config.h"

#include <mysql.h>
#include <errmsg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/ascii.h"
#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/sql_priv.h"
#include "common/banned.h"

#define PASSWORD_MAX     4096
#define STACK_SIZE       262144 /* of libmariadb's calls, which TLS is part of; what is not used costs no memory */
#define CANCEL_MS        1000
#define UNREAD_ROWS_MAX  1000 /* that are cheaper to read than a new connection */
#define SMALL_SIZE       256  /* of a value's text: any number and date, most others */
#define BINARY_CHARSET   63
#define CLIENT_ERROR_MIN 2000 /* CR_...: it is not the server that complains */
#define CLIENT_ERROR_MAX 2999

#define FUNCTIONS(FUNCTION)                                                                                            \
	FUNCTION(mariadb_field_attr)                                                                                   \
	FUNCTION(mariadb_stmt_fetch_fields)                                                                            \
	FUNCTION(mysql_close)                                                                                          \
	FUNCTION(mysql_errno)                                                                                          \
	FUNCTION(mysql_error)                                                                                          \
	FUNCTION(mysql_get_socket)                                                                                     \
	FUNCTION(mysql_init)                                                                                           \
	FUNCTION(mysql_options)                                                                                        \
	FUNCTION(mysql_options4)                                                                                       \
	FUNCTION(mysql_real_connect_cont)                                                                              \
	FUNCTION(mysql_real_connect_start)                                                                             \
	FUNCTION(mysql_server_init)                                                                                    \
	FUNCTION(mysql_sqlstate)                                                                                       \
	FUNCTION(mysql_stmt_affected_rows)                                                                             \
	FUNCTION(mysql_stmt_bind_param)                                                                                \
	FUNCTION(mysql_stmt_bind_result)                                                                               \
	FUNCTION(mysql_stmt_close)                                                                                     \
	FUNCTION(mysql_stmt_errno)                                                                                     \
	FUNCTION(mysql_stmt_error)                                                                                     \
	FUNCTION(mysql_stmt_execute_cont)                                                                              \
	FUNCTION(mysql_stmt_execute_start)                                                                             \
	FUNCTION(mysql_stmt_fetch_column)                                                                              \
	FUNCTION(mysql_stmt_fetch_cont)                                                                                \
	FUNCTION(mysql_stmt_fetch_start)                                                                               \
	FUNCTION(mysql_stmt_field_count)                                                                               \
	FUNCTION(mysql_stmt_init)                                                                                      \
	FUNCTION(mysql_stmt_more_results)                                                                              \
	FUNCTION(mysql_stmt_next_result_cont)                                                                          \
	FUNCTION(mysql_stmt_next_result_start)                                                                         \
	FUNCTION(mysql_stmt_param_count)                                                                               \
	FUNCTION(mysql_stmt_prepare_cont)                                                                              \
	FUNCTION(mysql_stmt_prepare_start)                                                                             \
	FUNCTION(mysql_stmt_sqlstate)                                                                                  \
	FUNCTION(mysql_thread_id)

static struct {
	FUNCTIONS(LIBRARY_MEMBER)
} maria;

static struct library libmariadb = {LIBMARIADB, (const char *const[]){FUNCTIONS(LIBRARY_NAME) NULL}, &maria, false};

/* Errors whose SQLSTATE says too little. */
enum {
	MY_LOCK_WAIT_TIMEOUT = 1205,
	MY_TOO_MANY_USER_CONNECTIONS = 1203,
	MY_QUERY_INTERRUPTED = 1317,
	MY_READ_ONLY = 1792,
	MY_WRONG_VALUE = 1366,
	MY_STATEMENT_TIMEOUT = 1969, /* of MariaDB */
	MY_QUERY_TIMEOUT = 3024,     /* of MySQL */
};

struct prepared {
	struct prepared *next;
	uint64_t id; /* of the statement */
	MYSQL_STMT *stmt;
};

struct conn {
	MYSQL *my;
	struct sql_database *db; /* borrowed: it outlives its connections */
	struct prepared *prepared;
	/* of what is under way */
	struct call *call; /* NULL: nobody waits who could leave */
	uint64_t deadline_ms;
	bool is_left; /* in the middle of it */
};

/* What a row's columns are read into. */
struct row {
	const MYSQL_FIELD *fields; /* borrowed of the statement */
	MYSQL_BIND *binds;         /* owned */
	char (*small)[SMALL_SIZE]; /* owned */
	unsigned count;
};

struct words {
	char *text; /* owned; the others are parts of it */
	const char *socket, *host, *port, *user, *database, *tls_ca;
};

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void init_library(void)
{
	maria.mysql_library_init(0, NULL, NULL);
}

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "mysql");
}

/* name=value ..., between spaces. text is mem_free()d by the caller, whatever comes of it. */
static int read_words(const char *target, struct words *words, struct err *err)
{
	const struct {
		const char *name, **value;
	} known[] = {{"socket", &words->socket}, {"host", &words->host}, {"port", &words->port}, {"user", &words->user},
	    {"database", &words->database}, {"tls_ca", &words->tls_ca}};
	char *next, *word, *value, *end;

	*words = (struct words){.text = mem_dup(target, strlen(target))};
	if (!words->text)
		return out_of_memory(err);
	for (next = words->text; (word = strtok_r(next, " ", &end)); next = NULL) {
		size_t i = 0;

		value = strchr(word, '=');
		if (!value || !value[1])
			return err_set(
			    err, ERR_CONFIG, "words as in socket=/run/mysqld/mysqld.sock user=web are wanted");
		*value = '\0';
		while (i < COUNT_OF(known) && strcmp(known[i].name, word) != 0)
			i++;
		if (strcmp(word, "password") == 0)
			return err_set(err, ERR_CONFIG, "a password belongs into the file that password_file names");
		if (i == COUNT_OF(known))
			return err_set(err, ERR_CONFIG,
			    "unknown word \"%.40s\"; socket, host, port, user, database and tls_ca are known", word);
		*known[i].value = value + 1;
	}
	if (!words->socket && !words->host)
		return err_set(err, ERR_CONFIG, "socket= or host= must say where the server is");
	if (words->port &&
	    (words->port[strspn(words->port, "0123456789")] || strtoul(words->port, NULL, 10) > UINT16_MAX))
		return err_set(err, ERR_CONFIG, "port must be a number, up to 65535");
	return 0;
}

static int check(const char *target, struct err *err)
{
	struct words words;
	int ret = read_words(target, &words, err);

	mem_free(words.text);
	return ret;
}

/* Until libmariadb can go on with what it wants. */
static int wait_for(struct conn *c, int *wants, struct err *err)
{
	struct pollfd fd = {.fd = maria.mysql_get_socket(c->my),
	    .events = (short)((*wants & MYSQL_WAIT_READ ? POLLIN : 0) | (*wants & MYSQL_WAIT_WRITE ? POLLOUT : 0))};

	*wants &= MYSQL_WAIT_READ | MYSQL_WAIT_WRITE;
	c->is_left = sql_wait(c->call, c->deadline_ms, &fd, err) != 0;
	return c->is_left ? -1 : 0;
}

/* Something failed. Words about values are for clients. */
static int fail(unsigned code, const char *state, const char *text, struct err *err)
{
	if (code == CR_OUT_OF_MEMORY)
		return out_of_memory(err);
	if ((code >= CLIENT_ERROR_MIN && code <= CLIENT_ERROR_MAX) || code == MY_LOCK_WAIT_TIMEOUT ||
	    code == MY_TOO_MANY_USER_CONNECTIONS || strncmp(state, "08", 2) == 0 || strncmp(state, "40", 2) == 0)
		return err_set(err, ERR_BUSY, "mysql: %u %s", code, text);
	if (code == MY_STATEMENT_TIMEOUT || code == MY_QUERY_TIMEOUT || code == MY_QUERY_INTERRUPTED)
		return err_set(err, ERR_EXPIRED, "mysql: %u %s", code, text);
	if (strncmp(state, "70100", 5) == 0) /* somebody ended the connection */
		return err_set(err, ERR_BUSY, "mysql: %u %s", code, text);
	if (code == MY_WRONG_VALUE || strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0 ||
	    strncmp(state, "45", 2) == 0)
		return err_set(err, ERR_PARAMS, "%s", text);
	return err_set(err, ERR_INTERNAL, "mysql: %u %s", code, text);
}

static int fail_stmt(MYSQL_STMT *stmt, struct err *err)
{
	return fail(maria.mysql_stmt_errno(stmt), maria.mysql_stmt_sqlstate(stmt), maria.mysql_stmt_error(stmt), err);
}

static void conn_close(void *arg)
{
	struct conn *c = arg;
	struct prepared *p, *next;

	if (c->my) {
		/* It says goodbye, and must wait neither for an answer nor for room. */
		shutdown(maria.mysql_get_socket(c->my), c->is_left ? SHUT_RDWR : SHUT_RD);
		maria.mysql_close(c->my); /* before the statements, which else it would be asked to close */
	}
	for (p = c->prepared; p; p = next) {
		next = p->next;
		maria.mysql_stmt_close(p->stmt);
		mem_free(p);
	}
	mem_free(c);
}

static int set_options(MYSQL *my, const struct words *words, const char *first)
{
	const size_t stack_size = STACK_SIZE;
	const my_bool yes = 1;
	const unsigned no = 0;
	int bad;

	bad = maria.mysql_options(my, MYSQL_OPT_NONBLOCK, &stack_size);
	bad |= maria.mysql_options(my, MYSQL_SET_CHARSET_NAME, "utf8mb4");
	bad |= maria.mysql_options(my, MYSQL_OPT_LOCAL_INFILE, &no); /* a server could ask for our files */
	bad |= maria.mysql_options4(my, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "mcp-fcgi");
	if (first)
		bad |= maria.mysql_options(my, MYSQL_INIT_COMMAND, first);
	if (words->tls_ca) {
		bad |= maria.mysql_options(my, MYSQL_OPT_SSL_CA, words->tls_ca);
		bad |= maria.mysql_options(my, MYSQL_OPT_SSL_ENFORCE, &yes);
		bad |= maria.mysql_options(my, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
	}
	return bad;
}

/* first is a statement to begin with, or NULL. */
static int connect_to(
    struct conn *c, const struct words *words, const char *password, const char *first, struct err *err)
{
	unsigned port = words->port ? (unsigned)strtoul(words->port, NULL, 10) : 0;
	MYSQL *done = NULL;
	int wants;

	pthread_once(&library_once, init_library);
	c->my = maria.mysql_init(NULL);
	if (!c->my || set_options(c->my, words, first))
		return out_of_memory(err);
	for (wants = maria.mysql_real_connect_start(
		 &done, c->my, words->host, words->user, password, words->database, port, words->socket, 0);
	     wants; wants = maria.mysql_real_connect_cont(&done, c->my, wants)) {
		if (wait_for(c, &wants, err))
			return -1;
	}
	return done ? 0 : fail(maria.mysql_errno(c->my), maria.mysql_sqlstate(c->my), maria.mysql_error(c->my), err);
}

static int new_conn(struct sql_database *db, struct call *call, uint64_t deadline_ms, const char *first,
    struct conn **conn, struct err *err)
{
	struct conn *c = mem_alloc(1, sizeof(*c));
	struct words words = {0};
	struct buf password;
	int ret;

	if (!c)
		return out_of_memory(err);
	c->db = db;
	c->call = call;
	c->deadline_ms = deadline_ms;
	buf_init(&password, PASSWORD_MAX);
	ret = sql_password(db, &password, err);
	if (ret == 0)
		ret = read_words(db->target, &words, err);
	if (ret == 0)
		ret = connect_to(c, &words, password.data, first, err);
	mem_free(words.text);
	buf_release(&password);
	if (ret)
		conn_close(c);
	else
		*conn = c;
	return ret;
}

static int conn_open(struct sql_database *db, struct call *call, uint64_t deadline_ms, void **conn, struct err *err)
{
	const char *first = db->is_writable ? NULL : "SET SESSION TRANSACTION READ ONLY";
	struct conn *c = NULL;
	int ret = new_conn(db, call, deadline_ms, first, &c, err);

	if (ret && err->code != ERR_CANCELLED && err->code != ERR_NOMEM)
		err->code = ERR_BUSY;
	*conn = c;
	return ret;
}

/* An idle connection says nothing, unless it has ended. */
static bool conn_is_alive(void *arg)
{
	struct conn *c = arg;
	struct pollfd fd = {.fd = maria.mysql_get_socket(c->my), .events = POLLIN};

	return poll(&fd, 1, 0) == 0;
}

/* Ends on the server what is under way. */
static void cancel(const struct conn *c)
{
	struct conn *other;
	struct err err;
	char text[64];

	snprintf(text, sizeof(text), "KILL QUERY %lu", maria.mysql_thread_id(c->my));
	if (new_conn(c->db, NULL, now_ms() + CANCEL_MS, text, &other, &err))
		LOG(WARN, "sql.not_cancelled", "why=\"%s\"", err.msg);
	else
		conn_close(other);
}

static int prepare(struct conn *c, const struct sql_statement *s, MYSQL_STMT *stmt, struct err *err)
{
	int wants, bad;

	for (wants = maria.mysql_stmt_prepare_start(&bad, stmt, s->text, strlen(s->text)); wants;
	     wants = maria.mysql_stmt_prepare_cont(&bad, stmt, wants)) {
		if (wait_for(c, &wants, err))
			return -1;
	}
	if (bad && maria.mysql_stmt_errno(stmt) == MY_READ_ONLY)
		return err_set(err, ERR_PARAMS, "it changes the database, which has no \"write\": true");
	if (bad)
		return fail_stmt(stmt, err);
	if (maria.mysql_stmt_param_count(stmt) != s->parameters_count)
		return err_set(err, ERR_PARAMS, "it has parameters of its own; {placeholders} are what is filled in");
	return 0;
}

/* *stmt NULL: it could not be prepared. The connection is to be closed then, and what there is of it goes along. */
static int prepared(struct conn *c, const struct sql_statement *s, MYSQL_STMT **stmt, struct err *err)
{
	struct prepared *p = c->prepared;

	*stmt = NULL;
	while (p && p->id != s->id)
		p = p->next;
	if (!p) {
		p = mem_alloc(1, sizeof(*p));
		if (!p)
			return out_of_memory(err);
		p->stmt = maria.mysql_stmt_init(c->my);
		if (!p->stmt) {
			mem_free(p);
			return out_of_memory(err);
		}
		p->id = s->id;
		p->next = c->prepared;
		c->prepared = p;
		if (prepare(c, s, p->stmt, err))
			return -1;
	}
	*stmt = p->stmt;
	return 0;
}

static bool is_named(const MYSQL_FIELD *field, enum mariadb_field_attr_t attr, const char *name)
{
	MARIADB_CONST_STRING text;

	return maria.mariadb_field_attr(&text, field, attr) == 0 &&
	       slice_is((struct slice){text.str, text.length}, name);
}

enum kind {
	KIND_BOOLEAN,
	KIND_INTEGER,
	KIND_NUMBER,
	KIND_DATE,
	KIND_JSON,
	KIND_BYTES,
	KIND_UUID,
	KIND_TEXT,
	KIND_BITS
};

static enum kind kind_of(const MYSQL_FIELD *field)
{
	switch (field->type) {
	case MYSQL_TYPE_TINY:
		return field->length == 1 ? KIND_BOOLEAN : KIND_INTEGER; /* BOOLEAN is a name for TINYINT(1) */
	case MYSQL_TYPE_BIT:
		return KIND_BITS;
	case MYSQL_TYPE_SHORT:
	case MYSQL_TYPE_INT24:
	case MYSQL_TYPE_LONG:
	case MYSQL_TYPE_LONGLONG:
	case MYSQL_TYPE_YEAR:
		return KIND_INTEGER;
	case MYSQL_TYPE_FLOAT:
	case MYSQL_TYPE_DOUBLE:
	case MYSQL_TYPE_DECIMAL:
	case MYSQL_TYPE_NEWDECIMAL:
		return KIND_NUMBER;
	case MYSQL_TYPE_DATE:
	case MYSQL_TYPE_NEWDATE:
		return KIND_DATE;
	case MYSQL_TYPE_TIME:
	case MYSQL_TYPE_DATETIME:
	case MYSQL_TYPE_TIMESTAMP:
	case MYSQL_TYPE_NULL:
		return KIND_TEXT;
	case MYSQL_TYPE_JSON:
		return KIND_JSON;
	default:
		if (is_named(field, MARIADB_FIELD_ATTR_FORMAT_NAME, "json"))
			return KIND_JSON;
		if (is_named(field, MARIADB_FIELD_ATTR_DATA_TYPE_NAME, "uuid"))
			return KIND_UUID;
		return field->charsetnr == BINARY_CHARSET ? KIND_BYTES : KIND_TEXT;
	}
}

static const char *schema_of(const MYSQL_FIELD *field)
{
	static const char *const schemas[] = {
	    [KIND_BOOLEAN] = "{\"type\":[\"boolean\",\"null\"]}",
	    [KIND_INTEGER] = "{\"type\":[\"integer\",\"null\"]}",
	    [KIND_BITS] = "{\"type\":[\"integer\",\"null\"]}",
	    [KIND_NUMBER] = "{\"type\":[\"number\",\"null\"]}",
	    [KIND_DATE] = "{\"type\":[\"string\",\"null\"],\"format\":\"date\"}",
	    [KIND_JSON] = "{}",
	    [KIND_BYTES] = "{\"type\":[\"string\",\"null\"],\"contentEncoding\":\"base64\"}",
	    [KIND_UUID] = "{\"type\":[\"string\",\"null\"],\"format\":\"uuid\"}",
	    [KIND_TEXT] = "{\"type\":[\"string\",\"null\"]}",
	};

	return schemas[kind_of(field)];
}

static int conn_describe(void *arg, const struct sql_statement *s, json_object **columns, struct err *err)
{
	struct conn *c = arg;
	const MYSQL_FIELD *fields;
	MYSQL_STMT *stmt;
	int ret = prepared(c, s, &stmt, err);

	fields = stmt ? maria.mariadb_stmt_fetch_fields(stmt) : NULL;
	for (unsigned i = 0; ret == 0 && i < maria.mysql_stmt_field_count(stmt); i++)
		ret = sql_column_add(columns, fields[i].name, schema_of(&fields[i]), err);
	if (ret && err->code == ERR_INTERNAL)
		err->code = ERR_PARAMS; /* the author's mistake, in words for the author */
	return ret;
}

/* Parameters. What has a place of its own is lent to the database until the statement is executed. */

union place {
	int64_t integer;
	double number;
};

static int bind_value(MYSQL_BIND *bind, union place *place, struct buf *json, json_object *val, struct err *err)
{
	struct slice text = jx_str(val);

	switch (json_object_get_type(val)) {
	case json_type_null:
		bind->buffer_type = MYSQL_TYPE_NULL;
		return 0;
	case json_type_boolean:
		place->integer = json_object_get_boolean(val);
		bind->buffer_type = MYSQL_TYPE_LONGLONG;
		bind->buffer = &place->integer;
		return 0;
	case json_type_int:
		place->integer = json_object_get_int64(val);
		bind->is_unsigned = place->integer > 0;
		if (bind->is_unsigned)
			place->integer = (int64_t)json_object_get_uint64(val);
		bind->buffer_type = MYSQL_TYPE_LONGLONG;
		bind->buffer = &place->integer;
		return 0;
	case json_type_double:
		place->number = json_object_get_double(val);
		bind->buffer_type = MYSQL_TYPE_DOUBLE;
		bind->buffer = &place->number;
		return 0;
	default:
		if (!text.p) {
			jx_write(json, val);
			text = buf_slice(json);
		}
		bind->buffer_type = MYSQL_TYPE_STRING;
		bind->buffer = (void *)(uintptr_t)text.p; /* it is only read */
		bind->buffer_length = text.len;
		return buf_check(json, err);
	}
}

static int execute(struct conn *c, MYSQL_STMT *stmt, struct err *err)
{
	int wants, bad;

	for (wants = maria.mysql_stmt_execute_start(&bad, stmt); wants;
	     wants = maria.mysql_stmt_execute_cont(&bad, stmt, wants)) {
		if (wait_for(c, &wants, err))
			return -1;
	}
	return bad ? fail_stmt(stmt, err) : 0;
}

static int execute_with(struct conn *c, MYSQL_STMT *stmt, size_t count, json_object *const *values, struct err *err)
{
	MYSQL_BIND *binds = mem_alloc(count + 1, sizeof(*binds));
	union place *places = mem_alloc(count + 1, sizeof(*places));
	struct buf *jsons = mem_alloc(count + 1, sizeof(*jsons));
	int ret = binds && places && jsons ? 0 : out_of_memory(err);

	for (size_t i = 0; ret == 0 && i < count; i++) {
		buf_init(&jsons[i], SIZE_MAX / 2);
		ret = bind_value(&binds[i], &places[i], &jsons[i], values[i], err);
	}
	if (ret == 0 && count && maria.mysql_stmt_bind_param(stmt, binds))
		ret = fail_stmt(stmt, err);
	if (ret == 0)
		ret = execute(c, stmt, err);
	for (size_t i = 0; jsons && i < count; i++)
		buf_release(&jsons[i]);
	mem_free(jsons);
	mem_free(places);
	mem_free(binds);
	return ret;
}

/* Rows. */

static void row_release(struct row *row)
{
	mem_free(row->binds);
	mem_free(row->small);
}

static int row_init(struct row *row, MYSQL_STMT *stmt, struct err *err)
{
	*row =
	    (struct row){.count = maria.mysql_stmt_field_count(stmt), .fields = maria.mariadb_stmt_fetch_fields(stmt)};
	row->binds = mem_alloc(row->count, sizeof(*row->binds));
	row->small = mem_alloc(row->count, sizeof(*row->small));
	if (!row->binds || !row->small) {
		row_release(row);
		return out_of_memory(err);
	}
	for (unsigned i = 0; i < row->count; i++) {
		row->binds[i].buffer_type = MYSQL_TYPE_STRING;
		row->binds[i].buffer = row->small[i];
		row->binds[i].buffer_length = SMALL_SIZE - 1;
		row->binds[i].length = &row->binds[i].length_value;
		row->binds[i].is_null = &row->binds[i].is_null_value;
	}
	return 0;
}

static json_object *bits(struct slice bytes)
{
	uint64_t number = 0;

	for (size_t i = 0; i < bytes.len; i++)
		number = number << 8 | (unsigned char)bytes.p[i];
	return json_object_new_uint64(number);
}

/* text has a NUL behind it. *is_null: that is its value, and not a lack of memory. */
static json_object *value_of(const MYSQL_FIELD *field, struct slice text, bool *is_null)
{
	switch (kind_of(field)) {
	case KIND_BOOLEAN:
		return json_object_new_boolean(strtol(text.p, NULL, 10) != 0);
	case KIND_INTEGER:
		return sql_value_integer(text.p);
	case KIND_BITS:
		return bits(text);
	case KIND_NUMBER:
		return sql_value_number(text.p, is_null);
	case KIND_JSON:
		return sql_value_json(text, is_null);
	case KIND_BYTES:
		return sql_value_bytes(text);
	default:
		return jx_new_str(text);
	}
}

/* The value of a column that is not NULL. */
static json_object *read_column(MYSQL_STMT *stmt, const struct row *row, unsigned i, bool *is_null)
{
	size_t len = row->binds[i].length_value;
	MYSQL_BIND whole = {.buffer_type = MYSQL_TYPE_STRING, .buffer_length = len};
	json_object *val = NULL;

	if (len < SMALL_SIZE) {
		row->small[i][len] = '\0';
		return value_of(&row->fields[i], (struct slice){row->small[i], len}, is_null);
	}
	whole.buffer = mem_alloc(len + 1, 1);
	if (whole.buffer && maria.mysql_stmt_fetch_column(stmt, &whole, i, 0) == 0)
		val = value_of(&row->fields[i], (struct slice){whole.buffer, len}, is_null);
	mem_free(whole.buffer);
	return val;
}

/* 1: no more rows are wanted. */
static int read_row(MYSQL_STMT *stmt, const struct row *row, struct sql_run *run, struct err *err)
{
	json_object *object;
	int ret = sql_row_begin(run, &object, err);

	for (unsigned i = 0; ret == 0 && i < row->count; i++) {
		bool is_null = row->binds[i].is_null_value;
		json_object *val = is_null ? NULL : read_column(stmt, row, i, &is_null);

		if (!val && !is_null)
			return out_of_memory(err);
		ret = sql_row_add(run, object, row->fields[i].name, val, is_null ? 4 : row->binds[i].length_value, err);
	}
	return ret;
}

/* 1: a row is there. 0: that was all. */
static int next_row(struct conn *c, MYSQL_STMT *stmt, struct err *err)
{
	int wants, result;

	for (wants = maria.mysql_stmt_fetch_start(&result, stmt); wants;
	     wants = maria.mysql_stmt_fetch_cont(&result, stmt, wants)) {
		if (wait_for(c, &wants, err))
			return -1;
	}
	if (result == 0 || result == MYSQL_DATA_TRUNCATED) /* the latter says that a value is not small */
		return 1;
	return result == MYSQL_NO_DATA ? 0 : fail_stmt(stmt, err);
}

/* 1: there are more than are wanted, and they were not read. */
static int read_rows(struct conn *c, MYSQL_STMT *stmt, struct sql_run *run, struct err *err)
{
	int ret = 0, unread = 0, got = 0;
	struct row row;

	if (!run->rows)
		run->rows = json_object_new_array();
	if (!run->rows)
		return out_of_memory(err);
	if (row_init(&row, stmt, err))
		return -1;
	if (maria.mysql_stmt_bind_result(stmt, row.binds))
		ret = fail_stmt(stmt, err);
	while (ret != -1 && unread < UNREAD_ROWS_MAX && (got = next_row(c, stmt, err)) == 1) {
		if (ret == 0)
			ret = read_row(stmt, &row, run, err);
		else
			unread++;
	}
	row_release(&row);
	return got == -1 || ret == -1 ? -1 : got;
}

/* A procedure may give several results: the rows of each follow one another. The last says how it ended. 1: as above.
 */
static int read_results(struct conn *c, MYSQL_STMT *stmt, struct sql_run *run, struct err *err)
{
	int wants, bad, ret;

	for (;;) {
		ret = maria.mysql_stmt_field_count(stmt) ? read_rows(c, stmt, run, err) : 0;
		if (ret || !maria.mysql_stmt_more_results(stmt))
			break;
		for (wants = maria.mysql_stmt_next_result_start(&bad, stmt); wants;
		     wants = maria.mysql_stmt_next_result_cont(&bad, stmt, wants)) {
			if (wait_for(c, &wants, err))
				return -1;
		}
		if (bad)
			return fail_stmt(stmt, err);
	}
	if (ret == 0)
		run->changed = (int64_t)maria.mysql_stmt_affected_rows(stmt);
	return ret;
}

static int conn_run(void *arg, const struct sql_statement *s, json_object *const *values, struct sql_run *run,
    bool *is_broken, struct err *err)
{
	struct conn *c = arg;
	MYSQL_STMT *stmt;
	int ret;

	c->call = run->call;
	c->deadline_ms = run->deadline_ms;
	ret = prepared(c, s, &stmt, err);
	if (ret == 0)
		ret = execute_with(c, stmt, s->parameters_count, values, err);
	if (ret == 0)
		ret = read_results(c, stmt, run, err);
	/* What the server answered leaves the connection as it was; what is left in the middle does not. */
	*is_broken = !stmt || ret == 1 || (ret == -1 && err->code != ERR_PARAMS && err->code != ERR_INTERNAL);
	if (*is_broken && (ret == 1 || err->code == ERR_CANCELLED || err->code == ERR_EXPIRED))
		cancel(c);
	return ret == -1 ? -1 : 0;
}

const struct sql_driver sql_mysql = {
    .name = "mysql",
    .library = &libmariadb,
    .is_mysql = true,
    .check = check,
    .open = conn_open,
    .is_alive = conn_is_alive,
    .describe = conn_describe,
    .run = conn_run,
    .close = conn_close,
};
