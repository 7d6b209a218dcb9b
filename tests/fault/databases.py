#!/usr/bin/env python3
"""Queries behind a real web server: the same tools, resources and prompts on SQLite and on a real PostgreSQL, which is then
stopped, locked, slow, restarted and asked by too many at once.

    tests/fault/databases.py [--server lighttpd] [WORD]...     only cases with one of these words in their title"""

import concurrent.futures
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
from faults import Cases, Site, check, main, message_of, until  # noqa: E402

case = Cases()
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
}
KINDS = tuple(SLOW)


class PostgreSQL:
    def __init__(self, directory):
        self.dir = directory
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.prefix = []
        if os.getuid() == 0:  # it refuses to run as root
            self.user = "postgres"
            self.prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            shutil.chown(directory, "postgres", "postgres")
        self.run("initdb", "-D", f"{directory}/data", "-U", self.user, "--auth-local=trust", "--no-sync", "-E", "UTF8")
        Path(directory, "data", "pg_hba.conf").write_text(f"local all {self.user} trust\nlocal all web scram-sha-256\n")
        self.process = None
        self.start()

    def run(self, program, *words, **more):
        return subprocess.run([*self.prefix, str(BIN[-1].with_name(program)), *words], check=True, capture_output=True, text=True,
                              cwd=self.dir, **more).stdout

    def start(self):
        command = [*self.prefix, str(BIN[-1]), "-D", f"{self.dir}/data", "-k", self.dir, "-c", "listen_addresses=", "-F"]
        with open(f"{self.dir}/log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.dir)
        until("PostgreSQL is ready", self.is_ready)

    def is_ready(self):
        try:
            return self.ask("SELECT 1") == "1"
        except subprocess.CalledProcessError:
            return False

    def stop(self):
        self.process.send_signal(signal.SIGINT)  # its fast shutdown
        self.process.wait()

    def ask(self, text):
        return self.run("psql", "-h", self.dir, "-U", self.user, "-d", "postgres", "-XAtq", "-v", "ON_ERROR_STOP=1",
                        input=text).strip()

    def queries(self):
        return int(self.ask("SELECT count(*) FROM pg_stat_activity WHERE usename = 'web' AND state = 'active'"))


def site_of(directory, lite, words):
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
            f"{kind}_slow": {"sql": SLOW[kind], "timeout_s": 1},
            f"{kind}_long": {"sql": SLOW[kind], "timeout_s": 1000},
        }
        resources[f"{kind}://clients/{{id}}"] = {
            "sql": "SELECT name, email FROM clients WHERE id = CAST({id} AS INTEGER)", "rows": "one",
            "list": "SELECT id, name FROM clients",
            "complete": {"id": "SELECT id FROM clients WHERE CAST(id AS VARCHAR(9)) LIKE {value} || '%'"}}
        prompts[f"{kind}_summary"] = {
            "sql": "SELECT name, joined FROM clients WHERE email = {email}", "arguments": {"email": {}},
            "template": "What do we know about {name} ({email}), with us since {joined}?"}
        for definition in (*tools.values(), *resources.values(), *prompts.values()):
            if "sql" in definition:
                definition.setdefault("database", kind)
    tools["post_nap"] = {"sql": "SELECT CAST(pg_sleep(0.3) AS text) AS m", "timeout_s": 20, "database": "post2"}
    tools["forget"] = {"sql": "SELECT forget() AS n", "database": "post2"}
    databases = {"lite": {"sqlite": lite, "write": True},
                 "post": {"postgresql": words, "password_file": "password", "write": True},
                 "post2": {"postgresql": words, "password_file": "password", "connections_max": 2}}
    Path(directory, "password").write_text(f"{PASSWORD}\n")
    Path(directory, "mcp.json").write_text(json.dumps({
        "databases": databases, "tools": tools, "resources": resources, "prompts": prompts}))


class Databases(Site):
    def __init__(self, args, **more):
        self.dir = tempfile.mkdtemp(prefix="mcp-databases.")
        os.chmod(self.dir, 0o755)
        site, home, data = (Path(self.dir, name) for name in ("site", "pg", "lite"))
        for path in site, home, data:
            path.mkdir()
        self.lite = data / "clients.db"
        with sqlite3.connect(self.lite) as lite:
            lite.executescript(TABLE.format(real="REAL", date="DATE", blob="BLOB", true=1, false=0, bytes="x'00ff'"))
        data.chmod(0o777)  # as root the site is www-data's
        self.lite.chmod(0o666)
        self.server = PostgreSQL(str(home))
        self.server.ask(TABLE.format(real="FLOAT", date="DATE", blob="BYTEA", true="true", false="false", bytes="'\\x00ff'"))
        self.server.ask(f"CREATE ROLE web LOGIN PASSWORD $${PASSWORD}$$; GRANT ALL ON clients TO web;"
                        " CREATE FUNCTION forget() RETURNS integer LANGUAGE sql AS 'DELETE FROM clients RETURNING 1'")
        site_of(site, str(self.lite), f"host={home} dbname=postgres user=web")
        super().__init__(args, site=site, **more)
        for _ in range(8 if self.url else 0):  # what is opened at first need is open
            self.works()

    def end(self):
        status = super().end()
        self.server.stop()
        shutil.rmtree(self.dir)
        return status

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
    same(site, lambda kind: "unique" in site.call(f"{kind}_add", id=3, name="Carl").lower(), True)
    check("NUL" in site.call("post_add", id=4, name="a\0b"), "a NUL")


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


@case("each tool lists the schema of its columns")
def _(site):
    tools = {tool["name"]: tool for tool in site.ask({}, "tools/list")["result"]["tools"]}
    for kind in KINDS:
        types = {name: schema["type"][0] for name, schema in tools[f"{kind}_get"]["outputSchema"]["properties"].items()}
        check(types == {"id": "integer", "name": "string", "vip": "boolean", "score": "number", "photo": "string",
                        "joined": types["joined"]}, kind, types)
    check("readOnlyHint" in tools["post_nap"]["annotations"] and "annotations" not in tools["post_get"], tools["post_nap"])


@case("a query that takes too long is ended, on the server too")
def _(site):
    same(site, lambda kind: site.call(f"{kind}_slow").partition(": ")[2], "timed out after 1 s")
    until("the server ended it", lambda: site.server.queries() == 0)


@case("a client that leaves ends its query")
def _(site):
    for kind in KINDS:
        stream = site.modern_open({"name": f"{kind}_long", "arguments": {}})
        if kind == "post":
            until("it runs", lambda: site.server.queries() == 1)
        stream.close()
        stream.connection.close()
    until("the server ended it", lambda: site.server.queries() == 0)


@case("more calls than connections: each waits for its turn")
def _(site):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: site.call("post_nap"), range(8)))
    check(all(result == {"rows": [{"m": ""}]} for result in results), results)


@case("reading is all that a connection without write may do, whatever its role may")
def _(site):
    check("server's log" in site.call("forget"), site.call("forget"))
    check(site.server.ask("SELECT count(*) > 1 FROM clients") == "t", "they are gone")


@case("the server goes and comes back: a clear error, then the next call works")
def _(site):
    check(site.call("post_all")["rows"], "before")
    site.server.stop()
    began = time.monotonic()
    text = site.call("post_all")
    check("can't be used just now" in text and time.monotonic() - began < 5, text)
    check(site.call("lite_all")["rows"], "the other database")
    site.server.start()
    for _ in range(10):  # through both workers, and the connections that were idle
        rows = site.call("post_all")
        check("rows" in rows and rows["rows"][0]["name"] == "Anna", "after:", rows)


@case("a connection that the server ends in the middle of a query")
def _(site):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        result = pool.submit(site.call, "post_long")
        until("it runs", lambda: site.server.queries() == 1)
        site.server.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'web' AND state = 'active'")
        check("can't be used just now" in result.result(), result.result())
    check(site.call("post_all")["rows"], "after")


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
    if not BIN or not shutil.which("setpriv"):
        print("1..0 # SKIP no PostgreSQL")
        sys.exit(0)
    sys.exit(main(case, __doc__, Databases))
