#!/usr/bin/env python3
"""A configuration that changes while it is served: a good one takes the old one's place, a bad one does not, and no call is
lost in between.

    tests/fault/reload.py [--server lighttpd] [WORD]...     only cases with one of these words in their title"""

import http.server
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True  # the sources may be read-only
from faults import SSE, Cases, Site, check, main, message_of, toll, until  # noqa: E402

case = Cases()
LISTEN = {"notifications": {"toolsListChanged": True}}


class Reloaded(Site):
    def __init__(self, args, **more):
        super().__init__(args, worker_reload_ms=100, **more)
        if not self.url:
            return
        self.dir = Path(self.worker_socket).parent / "site"  # a copy of its own
        self.file = self.dir / "mcp.json"
        self.first = self.file.read_text().partition("\n")[2]  # without its comment it is JSON for us too
        for _ in range(8):  # what is opened at first need is open
            self.works()

    def log(self):
        return (Path(self.worker_socket).parent / "logs" / "worker.log").read_text()

    def write(self, text, path=None):
        """As editors do."""
        new = (path or self.file).with_suffix(".new")
        new.write_text(text)
        new.chmod(0o644)
        new.rename(path or self.file)

    def with_tools(self, **tools):
        definition = json.loads(self.first)
        definition["tools"].update(tools)
        return json.dumps(definition, indent="\t")

    def tools(self):
        status, _, body = self.modern({}, "tools/list")
        check(status == 200, status, body[:300])
        return {tool["name"] for tool in message_of(body)["result"]["tools"]}

    def back(self):
        """As it was."""
        before = self.workers()
        self.write(self.first)
        until("the first one serves", lambda: not before & self.workers() and len(self.workers()) == 2)


def events(stream):
    while True:
        line = stream.readline()
        if not line:
            return
        if line.startswith(b"data:") and line[5:].strip():
            yield json.loads(line[5:])


@case("a new tool is served and told of, to listeners of both eras", may_lose_workers=True)
def _(site):
    session = site.session()
    get = site.open("GET", {**SSE, **session})
    headers, body = site.modern_parts(LISTEN, "subscriptions/listen")
    listener = site.open("POST", headers, body)
    modern = events(listener)
    check(next(modern)["method"] == "notifications/subscriptions/acknowledged", "no acknowledgement")
    site.write(site.with_tools(fresh={"builtin": "echo"}))
    until("it is served", lambda: "fresh" in site.tools())
    check(next(events(get))["method"] == "notifications/tools/list_changed", "the session")
    check(next(modern)["method"] == "notifications/tools/list_changed", "the listener")
    status, _, body = site.modern({"name": "fresh", "arguments": {"text": "x"}})
    check(status == 200 and "result" in message_of(body), body)
    for stream in get, listener:
        stream.close()
        stream.connection.close()
    site.back()


@case("one with mistakes changes nothing, and is named in the log; mended, it is served", may_lose_workers=True)
def _(site):
    before = site.workers()
    for text, why in ((site.first[:-20], "reload.refused"), (site.with_tools(worse={"exec": ["no-such-program"]}), "no-such-program"),
                      ("", "reload.refused")):
        length = len(site.log())
        site.write(text)
        until(f"{why} in the log", lambda: why in site.log()[length:])
    check(site.workers() == before and "worse" not in site.tools(), "it was served")
    site.write(site.with_tools(better={"builtin": "echo"}))
    until("it is served", lambda: "better" in site.tools())
    site.back()


@case("what runs goes on with the old one until it has ended", may_lose_workers=True)
def _(site):
    long = site.modern_open({"name": "nap", "arguments": {"s": 3}})
    old = site.workers()
    site.write(site.with_tools(other={"builtin": "echo"}))
    until("the new one serves", lambda: "other" in site.tools())
    check("result" in message_of(long.read()), "its answer")
    long.connection.close()
    until("the old ones have ended", lambda: not any(Path(f"/proc/{pid}").exists() for pid in old))
    site.back()


@case("files that come to a directory of tools, and SIGHUP", may_lose_workers=True)
def _(site):
    tools = site.dir / "more"
    tools.mkdir()
    tools.chmod(0o755)
    definition = json.loads(site.first)
    definition.setdefault("exec", {}).setdefault("dirs", []).append("more")
    site.write(json.dumps(definition))
    time.sleep(0.5)
    (tools / "hello").write_text("#!/bin/sh\necho hello\n")
    (tools / "hello").chmod(0o755)
    site.write('{"description": "Says hello"}', tools / "hello.json")
    until("it is served", lambda: "hello" in site.tools())
    (tools / "hello.json").unlink()
    until("it is gone", lambda: "hello" not in site.tools())
    before = site.workers()
    os.kill(site.supervisor, signal.SIGHUP)
    until("others serve", lambda: not before & site.workers() and len(site.workers()) == 2)
    site.back()


class Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{self.path} {self.headers['Authorization']}".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@case("an API: its url, its secret, and the addresses that it may have", may_lose_workers=True)
def _(site):
    def said():
        _, _, body = site.modern({"name": "asked", "arguments": {}})
        return json.dumps(message_of(body))

    def write(**api):
        definition = json.loads(site.with_tools(asked={"http": "/now"}))
        definition["apis"] = {"river": {"url": f"http://127.0.0.1:{server.server_port}{api.pop('path')}",
                                        "headers": {"Authorization": "{file:token}"}, **api}}
        site.write(json.dumps(definition))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site.write("first", site.dir / "token")
        write(path="/v1")
        until("it is refused", lambda: "river: its address is not a public one" in said())
        write(path="/v1", allow_addresses=["127.0.0.1"])
        until("it is asked", lambda: "/v1/now first" in said())
        write(path="/v2", allow_addresses=["127.0.0.1"])
        until("it is asked elsewhere", lambda: "/v2/now first" in said())
        site.write("second", site.dir / "token")
        until("the new secret is sent", lambda: "/v2/now second" in said())
        server.shutdown()
    site.back()


@case("a file of SQL", may_lose_workers=True)
def _(site):
    def said():
        _, _, body = site.modern({"name": "query", "arguments": {}})
        return json.dumps(json.loads(body))
    with sqlite3.connect(site.dir / "some.db") as database:
        database.execute("CREATE TABLE names (name)")
    (site.dir / "some.db").chmod(0o644)
    site.write("SELECT 'first' AS v", site.dir / "query.sql")
    definition = json.loads(site.with_tools(query={"sql": {"file": "query.sql"}}))
    site.write(json.dumps(definition | {"databases": {"some": {"sqlite": "some.db"}}}))
    until("it is asked", lambda: "first" in said())
    length = len(site.log())
    site.write("SELECT absent", site.dir / "query.sql")
    until("it is refused", lambda: "no such column: absent" in site.log()[length:])
    check("first" in said(), said())
    site.write("SELECT 'second' AS v", site.dir / "query.sql")
    until("the other is asked", lambda: "second" in said())
    site.back()


@case("a task of a tool that is new, while one of before goes on: the runner has both", may_lose_workers=True)
def _(site):
    tasks = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}

    def make(tool, **arguments):
        status, _, body = site.modern({"name": tool, "arguments": arguments}, meta=tasks)
        result = message_of(body).get("result", {})
        check(status == 200 and result.get("resultType") == "task", status, body[:300])
        return result["taskId"]

    def state(task):
        _, _, body = site.modern({"taskId": task, "name": task}, "tasks/get", tasks)
        return message_of(body)["result"]
    nap = {"exec": ["/bin/sleep", "{s}"], "input": {"s": {"type": "number"}}, "task": "required"}
    site.write(site.with_tools(old_task=nap))
    until("it is served", lambda: "old_task" in site.tools())
    old = make("old_task", s=3)
    site.write(site.with_tools(new_task=nap))
    until("the other is served", lambda: "new_task" in site.tools())
    new = make("new_task", s=0.1)
    for task in new, old:
        until("it is completed", lambda task=task: state(task)["status"] == "completed")
    site.back()


@case("twenty changes in a row under load: no call is lost", may_lose_workers=True)
def _(site):
    over, wrong, count = threading.Event(), [], 0

    def load():
        nonlocal count
        while not over.is_set():
            try:
                status, _, body = site.modern({"name": "echo", "arguments": {"text": "hello"}})
                if status != 200 or "result" not in message_of(body):
                    wrong.append((status, body[:200]))
                count += 1
            except OSError as why:
                wrong.append(why)
    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        name = f"tool{number}"
        site.write(site.with_tools(**{name: {"builtin": "echo"}}))
        until(f"{name} is served", lambda: name in site.tools())
    over.set()
    for thread in threads:
        thread.join()
    toll["lost"] += len(wrong)
    check(not wrong and count > 100, len(wrong), "of", count, wrong[:3])
    site.back()


if __name__ == "__main__":
    sys.exit(main(case, __doc__, Reloaded))
