/* Queries against a real SQLite: what definitions become, every complaint about them, and what a run gives. */
#include "config.h"

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#include "common/jx.h"
#include "tests/lib/fake_call.h"
#include "tests/lib/mem_fault.h"
#include "tests/lib/toolfile.h"
#include "common/banned.h"

static struct toolfile file;

static const char tables[] = "CREATE TABLE clients(id INTEGER PRIMARY KEY, name TEXT NOT NULL, email VARCHAR(80) "
			     "UNIQUE, vip BOOLEAN, photo BLOB,"
			     " score REAL, odd INTEGER);"
			     "INSERT INTO clients VALUES(1, 'Anna', 'a@example.com', 1, x'0102', 1.5, 7);"
			     "INSERT INTO clients VALUES(2, 'Bert', NULL, 0, NULL, 9e999, 'seven');";

static void execute(const char *name, const char *sql)
{
	char path[128];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/%s", file.dir, name);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	sqlite3_close(db);
}

#define DATABASES "{\n\"databases\": {\"d\": {\"sqlite\": \"d.db\"}},\n"
#define TOOL(def) DATABASES "\"tools\": {\n\"t\": " def "\n}}"
#define SQL(text) TOOL("{\"sql\": \"" text "\", \"input\": {\"a\": {}}}")
#define MYSQL(words)                                                                                                   \
	"{\n\"databases\": {\"d\": {\"mysql\": \"" words "\"}},\n\"tools\": {\n\"t\": {\"sql\": \"SELECT 1\"}}}"
#define BAD_WORDS(why) "DIR/mcp.json:2: /databases/d/mysql: " why "\n"
#define MYSQL_SQL(text)                                                                                                \
	"{\n\"databases\": {\"d\": {\"mysql\": \"socket=/nowhere\"}},\n\"tools\": {\n\"t\": {\"sql\": \"" text         \
	"\", \"input\": {\"a\": {}}}}}"
#define BAD(why) "DIR/mcp.json:4: /tools/t/sql: " why "\n"

static const struct toolfile_complaint complaints[] = {
    {"{\n\"tools\": {\n\"t\": {\"sql\": \"SELECT 1\"}}}",
	"DIR/mcp.json:3: /tools/t: there is no database; \"databases\" is to define one\n"},
    {TOOL("{\"sql\": \"SELECT 1 AS x\", \"database\": \"clients\"}"),
	"DIR/mcp.json:4: /tools/t/database: there is no such database in \"databases\"\n"},
    {"{\n\"databases\": {\"one\": {\"sqlite\": \"d.db\"}, \"two\": {\"sqlite\": \"d.db\"}},\n\"tools\": {\n\"t\": "
     "{\"sql\": "
     "\"SELECT 1\", \"database\": \"tow\"},\n\"u\": {\"sql\": \"SELECT 1\"}}}",
	"DIR/mcp.json:4: /tools/t/database: there is no such database; did you mean \"two\"?\n"
	"DIR/mcp.json:5: /tools/u: \"database\" must say which of the 2 it asks\n"},
    {"{\n\"databases\": {\"d\": {\"sqlite\": \"no.db\"}},\n\"tools\": {\n\"t\": {\"sql\": \"SELECT 1\"},\n\"u\": "
     "{\"sql\": "
     "\"SELECT 1\"}}}",
	"DIR/mcp.json:2: /databases/d/sqlite: DIR/no.db can't be read\n"},
    {"{\n\"databases\": {\"d\": {\"sqlite\": \"d.db\",\n\"wirte\": true,\n\"connections_max\": 0}},\n\"tools\": "
     "{\n\"t\": "
     "{\"sql\": \"SELECT 1\"}}}",
	"DIR/mcp.json:3: /databases/d/wirte: unknown member \"wirte\"; did you mean \"write\"?\n"
	"DIR/mcp.json:4: /databases/d/connections_max: connections_max must be a whole number, 1 to 256\n"},
    {"{\n\"databases\": {\"d\": {}},\n\"tools\": {\n\"t\": {\"sql\": \"SELECT 1\"}}}",
	"DIR/mcp.json:2: /databases/d: a database needs exactly one member that says which it is, as in {\"sqlite\": "
	"\"clients.db\"}\n"},
    {"{\n\"databases\": {\"d\": 1},\n\"tools\": {\n\"t\": {\"sql\": \"SELECT 1\"}}}",
	"DIR/mcp.json:2: /databases/d: a database is described by an object, as in {\"sqlite\": \"clients.db\"}\n"},
    {TOOL("{\"sql\": 1}"), BAD("sql must be SQL text, of 1 to 1048576 bytes")},
    {TOOL("{\"sql\": {\"file\": \"none.sql\"}}"), BAD("DIR/none.sql: open: No such file or directory")},
    {TOOL("{\"sql\": {\"file\": \"empty.sql\"}}"), BAD("sql must be SQL text, of 1 to 1048576 bytes")},
    {TOOL("{\"sql\": {\"file\": \"bad.sql\"}}"), BAD("no such column: nme")},
    {TOOL("{\"sql\": {\"file\": \"bad.sql\", \"more\": 1}}"),
	BAD("sql must be SQL text, or {\\\"file\\\": PATH} of it")},
    {TOOL("{\"sql\": {}}"), BAD("sql must be SQL text, or {\\\"file\\\": PATH} of it")},
    {SQL(""), BAD("sql must be SQL text, of 1 to 1048576 bytes")},
    {SQL("SELECT {b}"), BAD("{b} is not one of its arguments")},
    {SQL("SELECT '{a}'"), BAD("{a} stands for a value, and needs no quotes")},
    {SQL("SELECT {a"), BAD("a { outside quotes begins a placeholder, as in {email}")},
    {SQL("SELECT 'a"), BAD("what begins with 'a does not end")},
    {SQL("SELECT 1 /* a"), BAD("what begins with /* a does not end")},
    {SQL("SELEC 1"), BAD("near \\\"SELEC\\\": syntax error")},
    {SQL("SELECT nme"), BAD("no such column: nme")},
    {SQL("SELECT nme FROM clients"), BAD("no such column: nme")},
    {SQL("SELECT 1; SELECT 2"), BAD("one statement is wanted; more begin at  SELECT 2")},
    {SQL("-- nothing"), BAD("there is no statement in it")},
    {SQL("SELECT ?"), BAD("it has parameters of its own; {placeholders} are what is filled in")},
    {SQL("SELECT id, id FROM clients"), BAD("two columns are called id: give one another name with AS")},
    {SQL("DELETE FROM clients"), BAD("it changes the database, which has no \\\"write\\\": true")},
    {TOOL("{\"sql\": \"SELECT 1\", \"rows\": \"some\"}"),
	"DIR/mcp.json:4: /tools/t/rows: rows must be \"many\" or \"one\"\n"},
    {TOOL("{\"sql\": \"SELECT 1\", \"rows_max\": 0}"),
	"DIR/mcp.json:4: /tools/t/rows_max: rows_max must be a whole number, 1 to 1000000\n"},
    {DATABASES "\"resources\": {\n\"c:{id}\": {\"sql\": \"SELECT 1\", \"list\": \"SELECT name FROM clients\"}}}",
	"DIR/mcp.json:4: /resources/c:{id}/list: it has no column id\n"},
    {DATABASES "\"resources\": {\n\"c:all\": {\"sql\": \"SELECT 1\", \"list\": \"SELECT 1\"}}}",
	"DIR/mcp.json:4: /resources/c:all/list: only a template has a list\n"},
    {DATABASES "\"resources\": {\n\"c:{id}\": {\"sql\": \"SELECT {id} AS x\", \"complete\": {\"ix\": \"SELECT 1\"}}}}",
	"DIR/mcp.json:4: /resources/c:{id}/complete: there is no {ix} to complete\n"},
    {DATABASES
	"\"resources\": {\n\"c:{id}\": {\"sql\": \"SELECT {id} AS x\",\n\"complete\": {\"id\": \"SELECT 1, 2\"}}}}",
	"DIR/mcp.json:5: /resources/c:{id}/complete/id: a completion is a query of one column\n"},
    {DATABASES "\"prompts\": {\n\"p\": {\"sql\": \"SELECT 1 AS x\"}}}",
	"DIR/mcp.json:4: /prompts/p/template: template must be the text of the prompt, with the {columns} of a row\n"},
    {DATABASES "\"prompts\": {\n\"p\": {\"sql\": \"SELECT 1 AS x\", \"template\": \"{y}\"}}}",
	"DIR/mcp.json:4: /prompts/p/template: {y} is neither a column nor an argument\n"},
#ifdef HAVE_LIBMARIADB
    {MYSQL("socket=/x web"), BAD_WORDS("words as in socket=/run/mysqld/mysqld.sock user=web are wanted")},
    {MYSQL("socket="), BAD_WORDS("words as in socket=/run/mysqld/mysqld.sock user=web are wanted")},
    {MYSQL("sockt=/x"),
	BAD_WORDS("unknown word \\\"sockt\\\"; socket, host, port, user, database and tls_ca are known")},
    {MYSQL("host=h password=x"), BAD_WORDS("a password belongs into the file that password_file names")},
    {MYSQL("user=web"), BAD_WORDS("socket= or host= must say where the server is")},
    {MYSQL("host=h port=65536"), BAD_WORDS("port must be a number, up to 65535")},
    {MYSQL("host=h port=-1"), BAD_WORDS("port must be a number, up to 65535")},
    /* each ends before {b}, for MySQL only */
    {MYSQL_SQL("SELECT 'it\\\\'s', {b}"), BAD("{b} is not one of its arguments")},
    {MYSQL_SQL("SELECT \\\"\\\\\\\"\\\", {b}"), BAD("{b} is not one of its arguments")},
    {MYSQL_SQL("SELECT 1 # it's {a\\n + {b}"), BAD("{b} is not one of its arguments")},
    {MYSQL_SQL("SELECT 5--{b}"), BAD("{b} is not one of its arguments")},
    {MYSQL_SQL("SELECT a$b$c, {b}"), BAD("{b} is not one of its arguments")},
#endif
};

/* \" within what C's literals already escape once. */
static bool is_as_wanted(const char *got, const char *want)
{
	for (; *want; want++) {
		if (*want == '\\')
			continue;
		if (*got++ != *want)
			return false;
	}
	return !*got;
}

static void test_complaints(void **state)
{
	(void)state;
	toolfile_check_complaints(&file, complaints, COUNT_OF(complaints), is_as_wanted);
}

static void load(const char *text)
{
	struct err err = {0};

	if (toolfile_load(&file, text, &err))
		fail_msg("%s: %s %s", text, err.msg, file.complaints.data ? file.complaints.data : "");
}

#define WRITABLE    "{\"databases\": {\"d\": {\"sqlite\": \"d.db\", \"write\": true}}, "
#define GOOD(val)   "{\"content\":[{\"type\":\"text\",\"text\":\"" val "\"}],\"structuredContent\":"
#define TOO_LARGE   "the first row alone is more than may come (setting sql.result_max_bytes)"
#define ERROR(text) "{\"content\":[{\"type\":\"text\",\"text\":\"t: " text "\"}],\"isError\":true}"

static long fault_nth = -1; /* the allocation of a call that fails; -1: none */
static bool fault_reached;

/* Runs tool t. The caller frees the JSON text of its result. */
static char *run(struct fake_call *call, const char *args_text, struct err *err)
{
	const struct tool *tool = toolset_find(&file.set, SLICE("t"));
	json_object *args = jx_parse(slice_str(args_text), 16, err), *result = NULL;
	struct buf text;
	int ret;

	assert_non_null(args);
	buf_init(&text, 1 << 22);
	if (fault_nth >= 0)
		mem_fault_at(fault_nth, 1);
	ret = tool->provider->call(&call->call, tool, args, &result, err);
	fault_reached = mem_fault_end();
	assert_true((ret == 0) == (result != NULL));
	if (result)
		jx_write(&text, result);
	json_object_put(result);
	json_object_put(args);
	return text.data;
}

static const struct {
	const char *def, *args, *want;
} runs[] = {
    {"{\"sql\": \"SELECT id, name, email, vip, photo, score FROM clients WHERE id = {a}\", \"rows\": \"one\", "
     "\"input\": "
     "{\"a\": {}}}",
	"{\"a\":1}",
	GOOD("{\\\"id\\\":1,\\\"name\\\":\\\"Anna\\\",\\\"email\\\":\\\"a@example.com\\\",\\\"vip\\\":true,"
	     "\\\"photo\\\":"
	     "\\\"AQI=\\\",\\\"score\\\":1.5}") "{\"id\":1,\"name\":\"Anna\",\"email\":\"a@example.com\",\"vip\":true,"
						"\"photo\":\"AQI=\",\"score\":1.5}}"},
    {"{\"sql\": \"SELECT email, vip, photo, score FROM clients WHERE id = {a}\", \"rows\": \"one\", \"input\": {\"a\": "
     "{\"default\": 2}}}",
	"{}",
	GOOD("{\\\"email\\\":null,\\\"vip\\\":false,\\\"photo\\\":null,\\\"score\\\":null}") "{\"email\":null,\"vip\":"
											     "false,\"photo\":null,"
											     "\"score\":null}}"},
    {"{\"sql\": \"SELECT {a} AS a, {b} AS b, {a} IS NULL AS n\", \"rows\": \"one\", \"input\": {\"a\": {\"optional\": "
     "true}, "
     "\"b\": {}}}",
	"{\"b\":{\"x\":[1]}}",
	GOOD("{\\\"a\\\":null,\\\"b\\\":\\\"{\\\\\\\"x\\\\\\\":[1]}\\\",\\\"n\\\":1}") "{\"a\":null,\"b\":\"{\\\"x\\\":"
										       "[1]}\",\"n\":1}}"},
    {"{\"sql\": \"SELECT '{a}x' AS q, \\\"name\\\" /* {c} */ FROM clients -- {d}\", \"rows_max\": 1}", "{}",
	GOOD("{\\\"rows\\\":[{\\\"q\\\":\\\"{a}x\\\",\\\"name\\\":\\\"Anna\\\"}],\\\"truncated\\\":true}") "{\"rows\":"
													   "[{\"q\":\"{"
													   "a}x\","
													   "\"name\":"
													   "\"Anna\"}],"
													   "\"truncated"
													   "\":true}}"},
    {"{\"sql\": {\"file\": \"good.sql\"}, \"rows\": \"one\", \"input\": {\"a\": {}}}", "{\"a\":2}",
	GOOD("{\\\"name\\\":\\\"Bert\\\"}") "{\"name\":\"Bert\"}}"},
    {"{\"sql\": \"SELECT name FROM clients WHERE id > 5\"}", "{}", GOOD("{\\\"rows\\\":[]}") "{\"rows\":[]}}"},
    {"{\"sql\": \"SELECT name FROM clients WHERE id > 5\", \"rows\": \"one\"}", "{}", ERROR("nothing was found")},
    {"{\"sql\": \"SELECT odd FROM clients WHERE id = 2\", \"rows\": \"one\"}", "{}",
	ERROR("/odd: must be an integer or null, not a string")},
    {"{\"sql\": \"INSERT INTO clients(id, name) VALUES ({a}, {b})\", \"input\": {\"a\": {}, \"b\": {\"optional\": "
     "true}}}",
	"{\"a\":9}", ERROR("NOT NULL constraint failed: clients.name")},
    {"{\"sql\": \"UPDATE clients SET odd = odd WHERE id = 1\"}", "{}", GOOD("{\\\"changed\\\":1}") "{\"changed\":1}}"},
    {"{\"sql\": \"SELECT name FROM clients WHERE name = {a}\", \"input\": {\"a\": {\"type\": \"string\"}}}",
	"{\"a\":\"' OR 1=1 --\"}", GOOD("{\\\"rows\\\":[]}") "{\"rows\":[]}}"},
    {"{\"sql\": \"SELECT CAST(x'6361669f' AS TEXT) AS cut, CAST(x'c080ff' AS TEXT) AS bad, 'a' || char(0) || 'b' AS "
     "nul\", "
     "\"rows\": \"one\"}",
	"{}",
	GOOD("{\\\"cut\\\":\\\"caf\xef\xbf\xbd\\\",\\\"bad\\\":\\\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\\\","
	     "\\\"nul\\\":\\\"a\\\\u0000b\\\"}") "{\"cut\":\"caf\xef\xbf\xbd\",\"bad\":"
						 "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\",\"nul\":\"a\\u0000b\"}}"},
    {"{\"sql\": \"SELECT {a} AS x, length({a}) AS n\", \"rows\": \"one\", \"input\": {\"a\": {}}}",
	"{\"a\":\"x\\u0000'; DROP TABLE clients\"}",
	GOOD("{\\\"x\\\":\\\"x\\\\u0000'; DROP TABLE clients\\\",\\\"n\\\":1}") "{\"x\":\"x\\u0000'; DROP TABLE "
										"clients\",\"n\":1}}"},
    {"{\"sql\": \"SELECT zeroblob(2000000) AS x\", \"rows\": \"one\"}", "{}", ERROR(TOO_LARGE)},
    {"{\"sql\": \"SELECT printf('%.*c', 2000000, 'x') AS x\"}", "{}", ERROR(TOO_LARGE)},
    {"{\"sql\": \"SELECT {a} AS x\", \"rows\": \"one\", \"input\": {\"a\": {}}}", "{\"a\":18446744073709551615}",
	GOOD("{\\\"x\\\":1.8446744073709552e+19}") "{\"x\":1.8446744073709552e+19}}"},
    {"{\"sql\": \"SELECT abs({a}) AS x\", \"rows\": \"one\", \"input\": {\"a\": {}}}", "{\"a\":-9223372036854775808}",
	ERROR("the query failed; the server's log says why")},
    {"{\"sql\": \"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c) SELECT max(n) AS m FROM c\", "
     "\"timeout_s\": 1}",
	"{}", ERROR("timed out after 1 s")},
};

static void test_runs(void **state)
{
	struct fake_call call;
	struct buf text;
	int failures = 0;

	(void)state;
	buf_init(&text, 65536);
	for (size_t i = 0; i < COUNT_OF(runs); i++) {
		struct err err = {0};
		char *got;

		buf_clear(&text);
		buf_addf(&text, WRITABLE "\"tools\": {\"t\": %s}}", runs[i].def);
		load(text.data);
		fake_call_init(&call, &file.cfg, ERA_MODERN);
		got = run(&call, runs[i].args, &err);
		if (!got || strcmp(got, runs[i].want) != 0) {
			print_message(
			    "# %s\n# got  %s %s\n# want %s\n", runs[i].def, got ? got : "", err.msg, runs[i].want);
			failures++;
		}
		mem_free(got);
		fake_call_release(&call);
	}
	buf_release(&text);
	assert_int_equal(failures, 0);
}

#define ENDLESS "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c) SELECT max(n) AS m FROM c"

static void test_cancelled(void **state)
{
	struct fake_call call;
	struct err err = {0};

	(void)state;
	load(TOOL("{\"sql\": \"" ENDLESS "\"}"));
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	fake_call_cancel(&call);
	assert_null(run(&call, "{}", &err));
	assert_int_equal(err.code, ERR_CANCELLED);
	fake_call_release(&call);
}

static void test_locked(void **state)
{
	int fds[2], saved = dup(STDERR_FILENO);
	struct fake_call call;
	struct err err = {0};
	char path[128], line[1024], *got;
	sqlite3 *other;
	ssize_t len;

	(void)state;
	load(WRITABLE "\"tools\": {\"t\": {\"sql\": \"UPDATE clients SET odd = 1 WHERE id = 5\", \"timeout_s\": 1}}}");
	snprintf(path, sizeof(path), "%s/d.db", file.dir);
	assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	assert_true(saved >= 0 && pipe2(fds, O_CLOEXEC) == 0);
	dup2(fds[1], STDERR_FILENO);
	got = run(&call, "{}", &err);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fds[1]);
	assert_string_equal(got, ERROR("timed out after 1 s"));
	mem_free(got);
	len = read(fds[0], line, sizeof(line) - 1);
	assert_true(len > 0);
	line[len] = '\0';
	assert_non_null(strstr(line, "sql.failed name=t why=\"the database stayed locked"));
	close(fds[0]);
	assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	got = run(&call, "{}", &err); /* the same connection */
	assert_string_equal(got, GOOD("{\\\"changed\\\":0}") "{\"changed\":0}}");
	mem_free(got);
	fake_call_release(&call);
}

static void *run_often(void *arg)
{
	struct fake_call call;
	struct err err = {0};

	(void)arg;
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	for (int i = 0; i < 50; i++) {
		char *got = run(&call, "{}", &err);

		assert_string_equal(got, GOOD("{\\\"n\\\":2}") "{\"n\":2}}");
		mem_free(got);
	}
	fake_call_release(&call);
	return NULL;
}

/* More threads than connections: each waits for its turn. */
static void test_pool(void **state)
{
	pthread_t threads[8];

	(void)state;
	load("{\"databases\": {\"d\": {\"sqlite\": \"d.db\", \"connections_max\": 2}}, \"tools\": {\"t\": {\"sql\": "
	     "\"SELECT "
	     "count(*) AS n FROM clients\", \"rows\": \"one\"}}}");
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run_often, NULL), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		pthread_join(threads[i], NULL);
}

static void test_listing(void **state)
{
	(void)state;
	load(TOOL("{\"sql\": \"SELECT id, email, vip, photo, score, 1 + 1 AS two FROM clients\", \"rows\": \"one\"}"));
	assert_string_equal(file.set.tools[0].listing[REV_2026_07],
	    "{\"name\":\"t\",\"inputSchema\":{\"type\":\"object\",\"additionalProperties\":false},\"outputSchema\":{"
	    "\"type\":"
	    "\"object\",\"properties\":{\"id\":{\"type\":[\"integer\",\"null\"]},\"email\":{\"type\":[\"string\","
	    "\"null\"]},"
	    "\"vip\":{\"type\":[\"boolean\",\"null\"]},\"photo\":{\"type\":[\"string\",\"null\"],\"contentEncoding\":"
	    "\"base64\"},\"score\":{\"type\":[\"number\",\"null\"]},\"two\":{\"type\":[\"string\",\"number\",\"null\"]}"
	    "},"
	    "\"required\":[\"id\",\"email\",\"vip\",\"photo\",\"score\",\"two\"]},\"annotations\":{\"readOnlyHint\":"
	    "true,"
	    "\"openWorldHint\":false}}");
	load(WRITABLE "\"tools\": {\"t\": {\"sql\": \"DELETE FROM clients WHERE id = 77\"}}}");
	assert_string_equal(file.set.tools[0].listing[REV_2026_07],
	    "{\"name\":\"t\",\"inputSchema\":{\"type\":\"object\",\"additionalProperties\":false}}");
}

/* No crash, no leak, and never a wrong answer. */
static void test_no_memory(void **state)
{
	struct fake_call call;
	bool reached = true;
	long live;
	char *want;
	struct err err = {0};

	(void)state;
	load(TOOL("{\"sql\": \"SELECT * FROM clients WHERE id = {a}\", \"input\": {\"a\": {\"default\": 1}}}"));
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	want = run(&call, "{}", &err); /* its connection is there from here on */
	live = mem_fault_live();
	for (fault_nth = 0, fault_reached = true; fault_reached; fault_nth++) {
		char *got = run(&call, "{}", &err);

		if (got)
			assert_string_equal(got, want);
		else
			assert_true(fault_reached && err.code == ERR_NOMEM);
		mem_free(got);
		/* A connection that can't be kept is closed, and made anew: there may be less, never more. */
		assert_true(mem_fault_live() <= live + 4);
	}
	fault_nth = -1;
	mem_free(want);
	fake_call_release(&call);
	for (long nth = 0; reached; nth++) {
		mem_fault_at(nth, 1);
		toolfile_load(
		    &file, TOOL("{\"sql\": \"SELECT id FROM clients WHERE id = {a}\", \"input\": {\"a\": {}}}"), &err);
		reached = mem_fault_end();
	}
}

static int set_up(void **state)
{
	(void)state;
	toolfile_init(&file);
	execute("d.db", tables);
	toolfile_write(&file, "empty.sql", "", 0600);
	toolfile_write(&file, "bad.sql", "SELECT nme FROM clients\n", 0600);
	toolfile_write(&file, "good.sql", "-- as {a} says\nSELECT name\nFROM clients\nWHERE id = {a};\n", 0600);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	toolfile_release(&file);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_complaints),
	    cmocka_unit_test(test_listing),
	    cmocka_unit_test(test_runs),
	    cmocka_unit_test(test_cancelled),
	    cmocka_unit_test(test_locked),
	    cmocka_unit_test(test_pool),
	    cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
