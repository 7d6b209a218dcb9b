#!/usr/bin/env python3
"""Queries behind a real web server: the same tools, resources and prompts on SQLite and on a real PostgreSQL and MariaDB,
which are then stopped, locked, slow, restarted and asked by too many at once.

    tests/fault/databases.py [--server lighttpd] [WORD]...     only cases with one of these words in their title"""

import atexit
import concurrent.futures
import contextlib
import json
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True  # the sources may be read-only
from faults import PATIENCE_S, TYPES as MIME_TYPES, Cases, Site, check, main, message_of, stopped, until  # noqa: E402

case = Cases()
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "clients"
MARIADBD = shutil.which("mariadbd", path="/usr/sbin:/usr/libexec:/usr/bin")
BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
PASSWORD = "s3cret of the \\'web\\'"
TABLE = """
CREATE TABLE clients (id INTEGER PRIMARY KEY, name VARCHAR(80) NOT NULL, email VARCHAR(80) UNIQUE, vip BOOLEAN,
    score {real}, joined {date}, photo {blob});
INSERT INTO clients VALUES (1, 'Anna', 'test@example.com', {true}, 1.5, '2024-05-06', {bytes});
INSERT INTO clients VALUES (2, 'Beat "B" O''Neil', NULL, {false}, -0.25, NULL, NULL);
"""
SLOW = {
    "lite": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) AS m FROM c",
    "post": "SELECT CAST(pg_sleep(1000) AS text) AS m",
    "maria": "SELECT BENCHMARK(1000000000000, MD5('x')) AS m",  # unlike SLEEP() it does not look whether its client is there
}
# Texts that would like to be more.
NASTY = ("x' OR '1'='1", "'; DROP TABLE clients; --", '"" /* */ # -- \\', "\\'; DROP TABLE clients; -- ", "{text} $1 ?1 :a %s", "\r\n\t\x01",
         "\u65e5\u672c \U0001f30a \u202e", "")
# A text that is no UTF-8, where the database lets one in: SQLite does, and PostgreSQL in a database that does not care, but not out.
BAD_TEXT = {
    "lite": ("SELECT CAST(x'61ff62' AS TEXT) AS v", {"v": "a\ufffdb"}),
    "post3": ("SELECT E'a\\xffb' AS v", "post3_bad: invalid byte sequence for encoding \"UTF8\": 0xff"),
}
ENDLESS = {
    "lite": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c",
    "post": "SELECT generate_series(1, 1000000000) AS n",
    "maria": "SELECT seq AS n FROM seq_1_to_1000000000",
}
MUCH = {"lite": "SELECT printf('%.*c', 4000000, 'x') AS v", "post": "SELECT repeat('x', 4000000) AS v",
        "maria": "SELECT REPEAT('x', 4000000) AS v"}
NAP = {"post": "SELECT CAST(pg_sleep(0.3) AS text) AS m", "maria": "SELECT CAST(SLEEP(0.3) AS CHAR) AS m"}
# Of MariaDB: column type, what is inserted, what comes, its schema
BASE64 = {"type": ["string", "null"], "contentEncoding": "base64"}
TYPES = {
    "yes": ("BOOLEAN", "TRUE", True, {"type": ["boolean", "null"]}),
    "tiny": ("TINYINT(3)", "-5", -5, {"type": ["integer", "null"]}),
    "large": ("BIGINT UNSIGNED", "18446744073709551615", 2**64 - 1, {"type": ["integer", "null"]}),
    "lowest": ("BIGINT", "-9223372036854775808", -2**63, {"type": ["integer", "null"]}),
    "flags": ("BIT(12)", "b'101000000001'", 0xa01, {"type": ["integer", "null"]}),
    "born": ("YEAR", "1984", 1984, {"type": ["integer", "null"]}),
    "price": ("DECIMAL(30,2) ZEROFILL", "12345678901234567890.50", 12345678901234567890.5, {"type": ["number", "null"]}),
    "ratio": ("FLOAT", "0.1", 0.1, {"type": ["number", "null"]}),
    "exact": ("DOUBLE", "0.1", 0.1, {"type": ["number", "null"]}),
    "day": ("DATE", "'2024-02-29'", "2024-02-29", {"type": ["string", "null"], "format": "date"}),
    "moment": ("DATETIME(3)", "'2024-02-29 01:02:03.004'", "2024-02-29 01:02:03.004", {"type": ["string", "null"]}),
    "clock": ("TIME", "'-12:34:56'", "-12:34:56", {"type": ["string", "null"]}),
    "data": ("JSON", """'{"a": [1, null]}'""", {"a": [1, None]}, {}),
    "nothing": ("JSON", "'null'", None, {}),
    "key_id": ("UUID", "'123e4567-e89b-12d3-a456-426655440000'", "123e4567-e89b-12d3-a456-426655440000",
               {"type": ["string", "null"], "format": "uuid"}),
    "size": ("ENUM('small', 'grande')", "'grande'", "grande", {"type": ["string", "null"]}),
    "latin": ("VARCHAR(9)", "_utf8mb4'caf\u00e9'", "caf\u00e9", {"type": ["string", "null"]}),
    "wide": ("VARCHAR(9) CHARACTER SET utf8mb4", "_utf8mb4'\U0001f30a'", "\U0001f30a", {"type": ["string", "null"]}),
    "bytes": ("VARBINARY(4)", "x'00ff'", "AP8=", BASE64),
    "empty": ("BLOB", "''", "", BASE64),
    "long_bytes": ("BLOB", "REPEAT(x'00', 300)", "A" * 400, BASE64),
    "none": ("VARBINARY(4)", "NULL", None, BASE64),
}
MARIA_TOOLS = {
    "types": {"sql": "SELECT * FROM types", "rows": "one"},
    # what stands in quotes and comments is no placeholder, and backslashes and -- are MySQL's
    "echo": {"sql": "SELECT {text} AS text, {whole} + 0 AS whole, {part} + 0 AS part, {flag} + 0 AS flag, {list} AS list,"
                    " 'it\\'s {x}' AS a, \"\\\"{x}\" AS b, 5--3 AS c -- it's {x}\n# it's {x}\n /* it's {x} */",
             "rows": "one", "input": {name: {} for name in ("text", "whole", "part", "flag", "list")}},
    "long_text": {"sql": "SELECT REPEAT('\u00e9', {size}) AS v", "rows": "one", "input": {"size": {"type": "integer"}}},
    "some": {"sql": "SELECT seq FROM seq_1_to_500", "rows_max": 2},
    "many": {"sql": "SELECT seq, SLEEP(seq DIV 5000) AS m FROM seq_1_to_1000000", "rows_max": 2},
    "signal": {"sql": "CALL refuse({why})", "input": {"why": {"type": "string"}}},
    "call": {"sql": "CALL two()"},
}
FORGET = {"post": "SELECT forget() AS n", "maria": "CALL forget()"}
KINDS = tuple(SLOW)
SERVERS = tuple(NAP)


class Server:
    """A database's server, in a directory of its own, as a user that is not root."""

    def __init__(self, directory, user):
        self.dir = directory
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.prefix = []
        self.process = None
        atexit.register(self.stop)
        if os.getuid() == 0:  # they refuse to run as root
            self.user = user
            self.prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
            shutil.chown(directory, user, user)

    def run(self, *command, **more):
        return subprocess.run([*self.prefix, *map(str, command)], check=True, capture_output=True, text=True, cwd=self.dir,
                              **more).stdout

    def start(self):
        with open(f"{self.dir}/log", "ab") as log:
            self.process = subprocess.Popen([*self.prefix, *map(str, self.command())], stdout=log, stderr=log, cwd=self.dir)
        until(f"{self.process.args[-1]} is ready", self.is_ready)

    def is_ready(self):
        try:
            return self.ask("SELECT 1") == "1"
        except subprocess.CalledProcessError:
            return False

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(self.STOP)
            self.process.wait()


class PostgreSQL(Server):
    STOP = signal.SIGINT  # its fast shutdown

    def __init__(self, directory):
        super().__init__(directory, "postgres")
        self.run(BIN[-1].with_name("initdb"), "-D", f"{directory}/data", "-U", self.user, "--auth-local=trust", "--no-sync", "-E",
                 "UTF8")
        Path(directory, "data", "pg_hba.conf").write_text(f"local all {self.user} trust\nlocal all web scram-sha-256\n")
        self.start()
        self.ask(TABLE.format(real="FLOAT", date="DATE", blob="BYTEA", true="true", false="false", bytes="'\\x00ff'") +
                 f"CREATE ROLE web LOGIN PASSWORD $${PASSWORD}$$; GRANT ALL ON clients TO web;"
                 " CREATE FUNCTION forget() RETURNS integer LANGUAGE sql AS 'DELETE FROM clients RETURNING 1'")
        self.ask("CREATE DATABASE loose ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        self.database = {"postgresql": f"host={directory} dbname=postgres user=web", "password_file": "password"}

    def command(self):
        return BIN[-1], "-D", f"{self.dir}/data", "-k", self.dir, "-F", "-c", "listen_addresses="

    def ask(self, text, database="postgres"):
        return self.run(BIN[-1].with_name("psql"), "-h", self.dir, "-U", self.user, "-d", database, "-XAtq", "-v",
                        "ON_ERROR_STOP=1", input=text).strip()

    def queries(self):
        return int(self.ask("SELECT count(*) FROM pg_stat_activity WHERE usename = 'web' AND state = 'active'"))

    def pids(self):
        """It has a process for each connection."""
        return [self.process.pid, *map(int, self.ask("SELECT pid FROM pg_stat_activity WHERE usename = 'web'").split())]

    def end_queries(self):
        self.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'web' AND state = 'active'")


class MariaDB(Server):
    STOP = signal.SIGTERM
    QUERIES = "FROM information_schema.processlist WHERE user = 'web' AND command <> 'Sleep'"

    def __init__(self, directory):
        super().__init__(directory, "mysql")
        self.socket = f"{directory}/socket"
        self.run("mariadb-install-db", "--no-defaults", f"--datadir={directory}/data", "--auth-root-authentication-method=normal",
                 "--skip-test-db")
        self.start()
        password = PASSWORD.replace("\\", "\\\\").replace("'", "''")
        self.ask("CREATE DATABASE web CHARACTER SET latin1;; USE web;; " +
                 TABLE.format(real="DOUBLE", date="DATE", blob="BLOB", true="true", false="false", bytes="x'00ff'").replace(";", ";;") +
                 f"CREATE TABLE types ({', '.join(f'{name} {row[0]}' for name, row in TYPES.items())});;"
                 f"INSERT INTO types VALUES ({', '.join(row[1] for row in TYPES.values())});;"
                 "CREATE PROCEDURE forget() DELETE FROM clients;;"
                 "CREATE PROCEDURE two() BEGIN SELECT 1 AS n; SELECT 2 AS n; END;;"
                 "CREATE PROCEDURE refuse(why TEXT) SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = why;;"
                 f"CREATE USER web@localhost IDENTIFIED BY '{password}';; GRANT ALL ON web.* TO web@localhost")
        self.database = {"mysql": f"socket={self.socket} user=web database=web", "password_file": "password"}

    def command(self):
        return (MARIADBD, "--no-defaults", f"--datadir={self.dir}/data", f"--pid-file={self.dir}/pid", "--skip-networking",
                "--innodb-flush-log-at-trx-commit=0", f"--socket={self.socket}")

    def ask(self, text):
        return self.run("mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root", "-BN", "--delimiter=;;", input=text).strip()

    def queries(self):
        return int(self.ask(f"SELECT count(*) {self.QUERIES}"))

    def pids(self):
        return [self.process.pid]

    def end_queries(self):
        for pid in self.ask(f"SELECT id {self.QUERIES}").split():
            self.ask(f"KILL {pid}")


def site_of(directory, lite, servers):
    tools, resources, prompts = {"echo": {"builtin": "echo"}}, {}, {}
    for kind in KINDS:
        tools |= {
            f"{kind}_get": {
                "sql": "SELECT id, name, vip, score, joined, photo FROM clients WHERE email = {email}", "rows": "one",
                "input": {"email": {"type": "string"}}},
            f"{kind}_all": {"sql": "SELECT id, name FROM clients WHERE id > {after} ORDER BY id", "rows_max": 2,
                            "input": {"after": {"type": "integer", "default": 0}}},
            f"{kind}_add": {"sql": "INSERT INTO clients (id, name, email) VALUES ({id}, {name}, {email})",
                            "input": {"id": {"type": "integer"}, "name": {"type": "string"},
                                      "email": {"type": "string", "optional": True}}},
            f"{kind}_text": {"sql": f"SELECT {'CAST({text} AS text)' if kind == 'post' else '{text}'} AS text", "rows": "one",
                             "input": {"text": {"type": "string"}}},
            f"{kind}_endless": {"sql": ENDLESS[kind], "rows_max": 1000000},
            f"{kind}_much": {"sql": MUCH[kind]},
            f"{kind}_slow": {"sql": SLOW[kind], "timeout_s": 1},
            f"{kind}_three": {"sql": SLOW[kind], "timeout_s": 3},
            f"{kind}_long": {"sql": SLOW[kind], "timeout_s": 1000},
        }
        resources[f"{kind}://clients/{{id}}"] = {
            "sql": "SELECT name, email FROM clients WHERE id = CAST({id} AS INTEGER)", "rows": "one",
            "list": "SELECT id, name FROM clients",
            "complete": {"id": "SELECT id FROM clients WHERE SUBSTR(CAST(id AS CHAR(9)), 1, LENGTH({value})) = {value}"}}
        prompts[f"{kind}_summary"] = {
            "sql": "SELECT name, joined FROM clients WHERE email = {email}", "arguments": {"email": {}},
            "template": "What do we know about {name} ({email}), with us since {joined}?"}
        for definition in (*tools.values(), *resources.values(), *prompts.values()):
            if "sql" in definition:
                definition.setdefault("database", kind)
    databases = {"lite": {"sqlite": lite, "write": True}}
    for kind, server in servers.items():
        tools[f"{kind}_nap"] = {"sql": NAP[kind], "timeout_s": 20, "database": f"{kind}2"}
        tools[f"{kind}_forget"] = {"sql": FORGET[kind], "database": f"{kind}2"}
        databases |= {kind: server.database | {"write": True}, f"{kind}2": server.database | {"connections_max": 2}}
    databases["post3"] = {"postgresql": servers["post"].database["postgresql"].replace("dbname=postgres", "dbname=loose"),
                          "password_file": "password"}
    tools |= {f"{kind}_bad": {"sql": sql, "rows": "one", "database": kind} for kind, (sql, _) in BAD_TEXT.items()}
    tools |= {f"maria_{name}": {"database": "maria"} | tool for name, tool in MARIA_TOOLS.items()}
    Path(directory, "password").write_text(f"{PASSWORD}\n")
    Path(directory, "mcp.json").write_text(json.dumps({
        "databases": databases, "tools": tools, "resources": resources, "prompts": prompts}))


class Queries(Site):
    def ask(self, params, method="tools/call"):
        status, _, body = self.modern(params, method)
        check(status == 200, status, body[:500])
        return message_of(body)

    def call(self, tool, **arguments):
        """structuredContent, or the words of a failure."""
        message = self.ask({"name": tool, "arguments": arguments})
        check("result" in message, message)
        result = message["result"]
        return result["content"][0]["text"] if result.get("isError") else result["structuredContent"]


class Databases(Queries):
    def __init__(self, args, **more):
        self.args = args
        self.dir = tempfile.mkdtemp(prefix="mcp-databases.")
        os.chmod(self.dir, 0o755)
        site, data, *homes = (Path(self.dir, name) for name in ("site", "lite", *SERVERS))
        for path in site, data, *homes:
            path.mkdir()
        self.lite = data / "clients.db"
        with sqlite3.connect(self.lite) as lite:
            lite.executescript(TABLE.format(real="REAL", date="DATE", blob="BLOB", true=1, false=0, bytes="x'00ff'"))
        data.chmod(0o777)  # as root the site is www-data's
        self.lite.chmod(0o666)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            servers = pool.map(lambda make, home: make(str(home)), (PostgreSQL, MariaDB), homes)
            self.servers = dict(zip(SERVERS, servers))
        site_of(site, str(self.lite), self.servers)
        super().__init__(args, site=site, **more)
        for _ in range(8 if self.url else 0):  # what is opened at first need is open
            self.works()

    def end(self):
        status = super().end()
        for server in self.servers.values():
            server.stop()
        shutil.rmtree(self.dir)
        return status


def is_idle(site):
    """Whether nobody computes in the workers."""
    def ticks():
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in site.workers()]
        return sum(int(utime) + int(stime) for stat in stats for utime, stime in [stat[11:13]])
    before = ticks()
    time.sleep(0.3)
    return ticks() - before < 10  # of 30


def same(site, run, wanted):
    for kind in KINDS:
        got = run(kind)
        check(got == wanted, f"{kind}: got", got, "wanted", wanted)


@case("rows, types, NULL, defaults, and what is cut are the same from each")
def _(site):
    same(site, lambda kind: site.call(f"{kind}_get", email="test@example.com"),
         {"id": 1, "name": "Anna", "vip": True, "score": 1.5, "joined": "2024-05-06", "photo": "AP8="})
    same(site, lambda kind: site.call(f"{kind}_get", email="' OR 1=1 --").partition(": ")[2], "nothing was found")
    same(site, lambda kind: site.call(f"{kind}_all"), {"rows": [{"id": 1, "name": "Anna"}, {"id": 2, "name": "Beat \"B\" O'Neil"}]})
    same(site, lambda kind: site.call(f"{kind}_add", id=3, name="Carl"), {"changed": 1})
    same(site, lambda kind: site.call(f"{kind}_all")["truncated"], True)
    same(site, lambda kind: site.call(f"{kind}_all", after=2), {"rows": [{"id": 3, "name": "Carl"}]})
    for kind, why in {"lite": "UNIQUE", "post": "unique", "maria": "Duplicate entry '3'"}.items():
        check(why in site.call(f"{kind}_add", id=3, name="Carl"), site.call(f"{kind}_add", id=3, name="Carl"))
    check("NUL" in site.call("post_add", id=4, name="a\0b"), "a NUL")


@case("a text stays a text, whatever it would like to be; one that is no UTF-8 is mended or refused")
def _(site):
    for text in NASTY:
        same(site, lambda kind, text=text: site.call(f"{kind}_text", text=text), {"text": text})
    for kind, nul in {"lite": "a\0b", "maria": "a\0b", "post": "post_text: a text with a NUL in it is none for a database"}.items():
        got = site.call(f"{kind}_text", text="a\0b")
        check(got in (nul, {"text": nul}), kind, got)
    for kind, (_, wanted) in BAD_TEXT.items():
        check(site.call(f"{kind}_bad") == wanted, kind, site.call(f"{kind}_bad"))
    same(site, lambda kind: len(site.call(f"{kind}_all")["rows"]), 2)


@case("what is too much is cut or refused, and the query is ended")
def _(site):
    for kind in KINDS:
        got = site.call(f"{kind}_endless")
        check(got["truncated"] is True and len(got["rows"]) > 10000, kind, len(got["rows"]))
        check([row["n"] for row in got["rows"][:3]] == [1, 2, 3], kind, got["rows"][:3])
    same(site, lambda kind: site.call(f"{kind}_much").partition(": ")[2],
         "the first row alone is more than may come (setting sql.result_max_bytes)")
    for server in site.servers.values():
        until("the server ended it", lambda: server.queries() == 0)


@case("every type has its JSON, and what the schema says is what comes")
def _(site):
    listed = {tool["name"]: tool for tool in site.ask({}, "tools/list")["result"]["tools"]}
    schemas = listed["maria_types"]["outputSchema"]["properties"]
    got = site.call("maria_types")
    for name, (_, _, value, schema) in TYPES.items():
        check(got[name] == value and type(got[name]) is type(value), name, got[name], "is not", value)
        check(schemas[name] == schema, name, schemas[name])
    values = {"text": "a\0b' \U0001f30a", "whole": 2**64 - 1, "part": 0.5, "flag": True, "list": [1, "\u00e9"]}
    check(site.call("maria_echo", **values) == values | {"flag": 1, "list": '[1,"\u00e9"]', "a": "it's {x}", "b": '"{x}', "c": 8},
          site.call("maria_echo", **values))
    check(site.call("maria_long_text", size=300000)["v"] == "\u00e9" * 300000, "a long text")
    check(site.call("maria_call") == {"rows": [{"n": 1}, {"n": 2}]}, site.call("maria_call"))
    check(site.call("maria_signal", why="not today") == "maria_signal: not today", site.call("maria_signal", why="not today"))


@case("what is more than wanted is neither read nor computed, and the next query is not in its way")
def _(site):
    for _ in range(3):
        for tool, rows in {"some": [{"seq": 1}, {"seq": 2}], "many": [{"seq": 1, "m": 0}, {"seq": 2, "m": 0}]}.items():
            check(site.call(f"maria_{tool}") == {"rows": rows, "truncated": True}, site.call(f"maria_{tool}"))
    until("the server ended them", lambda: site.servers["maria"].queries() == 0)


@case("resources, their list, completion and prompts are the same from each")
def _(site):
    def text(kind):
        contents = site.ask({"uri": f"{kind}://clients/2", "name": f"{kind}://clients/2"}, "resources/read")["result"]["contents"]
        return json.loads(contents[0]["text"])
    same(site, text, {"name": "Beat \"B\" O'Neil", "email": None})
    for kind in KINDS:
        check(site.ask({"uri": f"{kind}://clients/99", "name": f"{kind}://clients/99"}, "resources/read")["error"]["code"] == -32602)
    listed = [item["uri"] for item in site.ask({}, "resources/list")["result"]["resources"]]
    same(site, lambda kind: [uri for uri in listed if uri.startswith(kind)] == [f"{kind}://clients/{n}" for n in (1, 2, 3)], True)
    same(site, lambda kind: site.ask({"ref": {"type": "ref/resource", "uri": f"{kind}://clients/{{id}}"},
                                      "argument": {"name": "id", "value": "2"}}, "completion/complete")["result"]["completion"]["values"],
         ["2"])
    same(site, lambda kind: site.ask({"name": f"{kind}_summary", "arguments": {"email": "test@example.com"}}, "prompts/get")
         ["result"]["messages"][0]["content"]["text"], "What do we know about Anna (test@example.com), with us since 2024-05-06?")


@case("examples/clients says the same on PostgreSQL, by one setting")
def _(site):
    example = Path(site.dir, "example")
    example.mkdir()
    post = site.servers["post"]
    post.ask("CREATE DATABASE clients OWNER web")
    post.ask((EXAMPLE / "clients.sql").read_text() + "GRANT SELECT ON clients, bookings TO web;", "clients")
    setting = json.dumps(post.database).replace("dbname=postgres", "dbname=clients")
    (example / "mcp.json").write_text((EXAMPLE / "mcp.json").read_text().replace('{ "sqlite": "clients.db" }', setting))
    (example / "password").write_text(PASSWORD)
    other = Queries(site.args, site=example)
    try:
        client = other.call("get_client", email="Test@example.com")
        check(client == {"id": 1, "name": "Tessa Tester", "email": "test@example.com", "joined": "2021-03-14", "bookings": 3,
                         "last_booking": "2024-08-09"}, client)
        pages = [item["uri"] for item in other.ask({}, "resources/list")["result"]["resources"]]
        check(pages == ["db://clients"] + [f"db://clients/page/{n}" for n in (1, 2, 3)], pages)
        counts = [len(json.loads(other.ask({"uri": uri, "name": uri}, "resources/read")["result"]["contents"][0]["text"]))
                  for uri in pages]
        check(counts == [100, 100, 100, 50], counts)
        text = other.ask({"name": "client_summary", "arguments": {"email": "test@example.com"}}, "prompts/get")
        check("Bookings so far: 3. Client since: 2021-03-14." in text["result"]["messages"][0]["content"]["text"], text)
    finally:
        check(other.end() == 0, "it ended with complaints")


@case("each tool lists the schema of its columns")
def _(site):
    tools = {tool["name"]: tool for tool in site.ask({}, "tools/list")["result"]["tools"]}
    for kind in KINDS:
        types = {name: schema["type"][0] for name, schema in tools[f"{kind}_get"]["outputSchema"]["properties"].items()}
        check(types == {"id": "integer", "name": "string", "vip": "boolean", "score": "number", "photo": "string",
                        "joined": types["joined"]}, kind, types)
    for kind in SERVERS:
        tool = tools[f"{kind}_nap"]
        check("readOnlyHint" in tool["annotations"] and "annotations" not in tools[f"{kind}_get"], tool)


@case("a query that takes too long is ended, on the server too")
def _(site):
    same(site, lambda kind: site.call(f"{kind}_slow").partition(": ")[2], "timed out after 1 s")
    for server in site.servers.values():
        until("the server ended it", lambda: server.queries() == 0)


@case("a client that leaves ends its query")
def _(site):
    for kind in KINDS:
        stream = site.modern_open({"name": f"{kind}_long", "arguments": {}})
        if kind in SERVERS:
            until("it runs", lambda: site.servers[kind].queries() == 1)
        stream.close()
        stream.connection.close()
    until("no worker computes", lambda: is_idle(site))
    for server in site.servers.values():
        until("the server ended it", lambda: server.queries() == 0)


@case("a session that cancels its call ends its query")
def _(site):
    session = site.session()
    for number, kind in enumerate(KINDS, 1):
        call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": f"{kind}_long", "arguments": {}}}
        stream = site.open("POST", {**MIME_TYPES, **session}, json.dumps(call).encode())
        if kind in SERVERS:
            until("it runs", lambda: site.servers[kind].queries() == 1)
        status, _, body = site.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}, session)
        check(status == 202, status, body)
        check(b'"result"' not in stream.read(), "a result")
        stream.connection.close()
    until("no worker computes", lambda: is_idle(site))
    for server in site.servers.values():
        until("the server ended it", lambda: server.queries() == 0)
    site.request("DELETE", session)


@case("a server that stands still: a call ends in its time, when its query runs already and when it does not; then all goes on")
def _(site):
    for kind, server in site.servers.items():
        with concurrent.futures.ThreadPoolExecutor(2) as pool, contextlib.ExitStack() as stack:
            runs = pool.submit(site.call, f"{kind}_three")
            until("it runs", lambda: server.queries() == 1)
            for pid in server.pids():
                stack.enter_context(stopped(pid))
            text = pool.submit(site.call, f"{kind}_slow").result(PATIENCE_S)
            check("can't be used just now" in text or "timed out after 1 s" in text, text)
            check("timed out after 3 s" in runs.result(PATIENCE_S), runs.result())
        if kind == "maria":  # it was told for CANCEL_MS only, and does not look whether its client is there
            server.end_queries()
        until("the server ended it", lambda: server.queries() == 0)
        check(site.call(f"{kind}_all")["rows"], "afterwards")


@case("more calls than connections: each waits for its turn")
def _(site):
    for kind, m in {"post": "", "maria": "0"}.items():
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda _: site.call(f"{kind}_nap"), range(8)))
        check(all(result == {"rows": [{"m": m}]} for result in results), results)


@case("reading is all that a connection without write may do, whatever its role may")
def _(site):
    for kind, table in {"post": "clients", "maria": "web.clients"}.items():
        check("server's log" in site.call(f"{kind}_forget"), site.call(f"{kind}_forget"))
        check(int(site.servers[kind].ask(f"SELECT count(*) FROM {table}")) > 1, "they are gone")


@case("the server goes and comes back: a clear error, then the next call works")
def _(site):
    for kind, server in site.servers.items():
        check(site.call(f"{kind}_all")["rows"], "before")
        server.stop()
        text = site.call(f"{kind}_all")
        check("can't be used just now" in text, text)
        check(site.call("lite_all")["rows"], "the other database")
        server.start()
        for _ in range(10):  # through both workers, and the connections that were idle
            rows = site.call(f"{kind}_all")
            check("rows" in rows and rows["rows"][0]["name"] == "Anna", "after:", rows)


@case("a connection that the server ends in the middle of a query")
def _(site):
    for kind, server in site.servers.items():
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            result = pool.submit(site.call, f"{kind}_long")
            until("it runs", lambda: server.queries() == 1)
            server.end_queries()
            check("can't be used just now" in result.result(), result.result())
        check(site.call(f"{kind}_all")["rows"], "after")


@case("a lock is waited for, and no longer than the time of the call")
def _(site):
    with sqlite3.connect(site.lite, isolation_level=None) as lite:
        lite.execute("BEGIN EXCLUSIVE")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            result = pool.submit(site.call, "lite_add", id=7, name="Gina")
            time.sleep(0.3)
            check(not result.done(), "it did not wait:", result.done() and result.result())
            lite.execute("COMMIT")
            check(result.result() == {"changed": 1}, result.result())


if __name__ == "__main__":
    if not BIN or not MARIADBD or not shutil.which("setpriv"):
        print("1..0 # SKIP no PostgreSQL, MariaDB or setpriv")
        sys.exit(0)
    sys.exit(main(case, __doc__, Databases))
