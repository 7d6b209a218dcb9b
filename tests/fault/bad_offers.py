#!/usr/bin/env python3
"""Plays the enemy of a running site that asks its clients, keeps tasks, is listened to and offers files: as faults.py,
whose checks stand at the end of each case here too. Beside them: no program is left, memory is bounded.

    tests/fault/bad_offers.py [--server lighttpd] [WORD]...     only cases with one of these words in their title"""

import base64
import concurrent.futures
import contextlib
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True  # the sources may be read-only
from bad_input import ODD  # noqa: E402
from faults import HERE, PATIENCE_S, SSE, TYPES, Cases, Site, Wrong  # noqa: E402
from faults import check, each, is_error, main, message_of, rss_kb, stopped, until  # noqa: E402

KEYS = {"anna": "key-of-anna-0123456789", "bert": "key-of-bert-0123456789"}
CAN_ALL = {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}, "context": {}}, "roots": {}}
CAN = {"io.modelcontextprotocol/clientCapabilities": CAN_ALL}
CAN_TASKS = {"io.modelcontextprotocol/clientCapabilities": {**CAN_ALL, "extensions": {"io.modelcontextprotocol/tasks": {}}}}
OURS = ("mcp-", "lighttpd", "apache2", "httpd", "nginx")
GROWS_KB = 100 * 1024  # what sanitizers keep of it, too
LONG_S = 20  # for what takes a moment: more than that it never takes, and what grows out of hand takes minutes

case = Cases()


# ---- the site -------------------------------------------------------------------------------------------------------


def ask(key="q", **more):
    """A line of a program that asks."""
    params = {"message": "Well?", "requestedSchema": {"type": "object", "properties": {"a": {"type": "string"}}}}
    return json.dumps({"id": key, "method": "elicitation/create", "params": params, **more})


def asks(*keys, **more):
    return {"lines": [ask(key) for key in keys or ("q",)], **more}


YES = {"action": "accept", "content": {"a": "b"}}


class Offers(Site):
    def __init__(self, args, fds=None, **settings):
        self.key, self.numbers = KEYS["anna"], itertools.count(1000)
        super().__init__(args, fds=fds, site=HERE / "offers", **settings)
        for _ in range(8 if self.url else 0):  # what is opened at first need is open
            self.works()
        if self.url:
            check(self.state_of(until("a runner", self.first_task), "completed"), "no task")

    def first_task(self):
        """None: there is no runner yet."""
        _, message = self.call("say_task", {"log": "first"}, CAN_TASKS)
        return message.get("result", {}).get("taskId")

    def open(self, method, headers=None, body=None, path=None):
        return super().open(method, {"X-API-Key": self.key, **(headers or {})}, body, path)

    def is_clean(self, held):
        return super().is_clean(held) and not self.programs()

    def programs(self):
        """Names of programs that tools are or left."""
        parents, names = {}, {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                head, _, tail = (entry / "stat").read_text().rpartition(")")
                parents[int(entry.name)] = int(tail.split()[1])
                names[int(entry.name)] = head.partition("(")[2] if tail.split()[0] != "Z" else OURS[0]
        below = {self.process.pid}
        while True:
            more = {pid for pid, parent in parents.items() if parent in below} - below
            if not more:
                return [names[pid] for pid in below if pid != self.process.pid and not names[pid].startswith(OURS)]
            below |= more

    def runners(self):
        return self.named("mcp-runner")

    def named(self, program):
        """Pids of one of our programs that belongs to this site."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                argv = (entry / "cmdline").read_bytes()
                if argv.split(b"\0")[0].endswith(program.encode()) and self.run_dir.encode() in argv:
                    found.append(int(entry.name))
        return found

    def find_broker(self):
        """One that a worker started."""
        self.broker = until("a broker", lambda: self.named("mcp-broker"))[0]

    def runs(self, log):
        """How often a program ran that was told to write this down."""
        with contextlib.suppress(FileNotFoundError):
            return len(Path(self.run_dir, log).read_text().splitlines())
        return 0

    # of 2026-07-28

    def call(self, tool, arguments, meta=CAN, **more):
        """Status and message of a call."""
        status, _, body = self.modern({"name": tool, "arguments": arguments, **more}, meta=meta)
        return status, message_of(body)

    def state(self, tool="say", arguments=None, meta=CAN):
        """requestState of a call that asks."""
        status, message = self.call(tool, arguments or asks(), meta)
        check(status == 200 and message.get("result", {}).get("resultType") == "input_required", status, str(message)[:500])
        return message["result"]["requestState"]

    def ask_modern(self, method, params, meta=CAN_TASKS):
        headers, body = self.modern_parts(params, method, meta)
        if "uri" in params:
            headers["Mcp-Name"] = name_of(params["uri"])
        if "taskId" in params:
            headers["Mcp-Name"] = name_of(params["taskId"])
        status, _, body = self.request("POST", headers, body)
        return status, message_of(body)

    def task(self, tool, **arguments):
        status, message = self.call(tool, arguments, CAN_TASKS)
        check(message.get("result", {}).get("resultType") == "task", status, message)
        return message["result"]["taskId"]

    def state_of(self, task, *wanted):
        """A task once it is in one of these states."""
        def now():
            status, message = self.ask_modern("tasks/get", {"taskId": task})
            check(status == 200 and "result" in message, status, message)
            return message["result"] if not wanted or message["result"]["status"] in wanted else None
        return until(f"a task to be {' or '.join(wanted)}", now)

    # of 2025-11-25

    def start(self, capabilities=None, key=None, revision="2025-11-25"):
        """Headers of a session."""
        params = {"protocolVersion": revision, "capabilities": CAN_ALL if capabilities is None else capabilities,
                  "clientInfo": {"name": "enemy", "version": "1"}}
        more = {"X-API-Key": key or self.key}
        status, headers, body = self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}, more)
        check(status == 200 and headers["Mcp-Session-Id"], "initialize:", status, body[:500])
        return {**more, "Mcp-Session-Id": headers["Mcp-Session-Id"], "MCP-Protocol-Version": revision}

    def send(self, session, method, params, number=None):
        """A request; its answer may be a stream."""
        body = json.dumps({"jsonrpc": "2.0", "id": next(self.numbers) if number is None else number, "method": method, "params": params}).encode()
        return self.open("POST", {**TYPES, **session}, body)

    def asked(self, session, arguments, tool="say", number=1):
        """A call that asks: its stream, and our ids of its questions."""
        stream = self.send(session, "tools/call", {"name": tool, "arguments": arguments}, number)
        ids = []
        while len(ids) < len(arguments["lines"]):
            message = next_message(stream)
            check(message and "result" not in message and "error" not in message, "it did not ask:", str(message)[:300])
            if message["method"] == "elicitation/create":
                ids.append(message["id"])
        return stream, ids

    def finish(self, session, stream):
        """The answer of a call, for whose rest a client comes back; what is asked meanwhile is answered."""
        last, end = None, time.monotonic() + PATIENCE_S
        if "event-stream" not in stream.headers["Content-Type"]:
            return json.loads(stream.read())
        while time.monotonic() < end:
            line = stream.readline()
            if not line:
                leave(stream)
                stream = self.open("GET", {**SSE, **session, "Last-Event-ID": last})
                check(stream.status == 200, "to come back:", stream.status)
            elif line.startswith(b"id:"):
                last = line[3:].strip().decode()
            elif line.startswith(b"data:") and line[5:].strip():
                message = json.loads(line[5:])
                if "method" not in message:
                    leave(stream)
                    return message
                if "id" in message:
                    self.answer(session, message["id"], {"action": "accept", "content": {"a": "x" * 100000}})
        raise Wrong("no answer")

    def answer(self, session, number, result=YES, **more):
        message = {"jsonrpc": "2.0", "id": number, **(more or {"result": result})}
        return self.post(message, session)


def name_of(text):
    encoded = text.encode()
    if encoded.isascii() and text.isprintable() and text.strip() == text and text:
        return text
    return f"=?base64?{base64.b64encode(encoded).decode()}?="


def next_message(stream):
    """Of an event stream; None at its end."""
    while True:
        line = stream.readline()
        if not line:
            return None
        if line.startswith(b"data:") and line[5:].strip():
            return json.loads(line[5:])


def last_message(stream):
    message = None
    while (one := next_message(stream)) is not None:
        message = one
    return message


def leave(stream):
    stream.close()
    stream.connection.close()


def closed(stream):
    leave(stream)
    return stream


def is_tool_error(message):
    return "error" in message or bool(message["result"].get("isError"))


def all_at_once(count, run):
    """run(0) .. run(count - 1), each in a thread; what they return, or raised."""
    def safely(number):
        try:
            return run(number)
        except (Wrong, OSError, http.client.HTTPException, ValueError) as why:
            return why
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(safely, range(count)))


# ---- requestState ---------------------------------------------------------------------------------------------------


@case("requestState: forged, cut, changed, joined")
def _(site):
    good, other = site.state(), site.state("other")
    forged = ["", "x", "A" * 100, "A" * 100000, good[:-1], good[1:], good[:40], good + "A", good + good, good.swapcase(), good + "=",
              good[:32] + other[32:], other[:32] + good[32:], other, good.replace("A", "B", 1) + "B", "\0" + good, good + "\n",
              base64.urlsafe_b64encode(b"\1" + bytes(60)).decode(), "é" + good]
    middle = len(good) // 2
    forged += [good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1:] for at in (0, 1, 20, middle, len(good) - 3)]

    def run(state):
        status, message = site.call("say", asks(), requestState=state, inputResponses={"q": YES})
        check(status in (200, 400) and message["error"]["code"] == -32602, status, message)
    each([(f"{state!r:.40}", state) for state in forged], run)
    each([(f"{state!r:.40}", state) for state in ODD if not isinstance(state, str) and state is not None], run)
    status, message = site.call("say", asks(), requestState=good, inputResponses={"q": YES})
    check("result" in message and not is_tool_error(message), status, message)


@case("requestState: of other arguments, another tool, another principal, another method")
def _(site):
    state = site.state()

    def refused(status, message):
        check(status in (200, 400) and message["error"]["code"] == -32602, status, message)
    given = {"requestState": state, "inputResponses": {"q": YES}}
    refused(*site.call("say", asks("r"), **given))
    refused(*site.call("say", {**asks(), "x": 1}, **given))
    refused(*site.call("other", asks(), **given))
    refused(*site.call("say_once", asks(), **given))
    refused(*site.call("say_wait", asks(), **given))
    refused(*site.call("say", asks(), more=1, **given))
    site.key = KEYS["bert"]
    try:
        refused(*site.call("say", asks(), **given))
    finally:
        site.key = KEYS["anna"]
    status, message = site.call("say", asks(), **given)
    check("result" in message and not is_tool_error(message), status, message)


@case("requestState: used ten times at once, with other answers; single_use runs once")
def _(site):
    for tool, log, least, most in (("say", "each.log", 10, 10), ("say_once", "once.log", 1, 1)):
        arguments = asks(log=log)
        state, before = site.state(tool, arguments), site.runs(log)
        answers = all_at_once(10, lambda number: site.call(tool, arguments, requestState=state,
                                                           inputResponses={"q": {"action": "accept", "content": {"a": str(number)}}}))
        check(all(isinstance(one, tuple) for one in answers), answers)
        good = sum("result" in message for _, message in answers)
        check(least <= good <= most and site.runs(log) - before == good, tool, "ran", site.runs(log) - before, "times,", good, "results")


@case("inputResponses: of wrong types, deep, huge, with keys that look like others")
def _(site):
    state = site.state()
    deep = current = {}
    for _ in range(50):
        current["a"] = {}
        current = current["a"]

    def run(responses, wanted):
        status, message = site.call("say", asks(), requestState=state, inputResponses=responses)
        check(status in (200, 400, 413), status, message)
        if wanted == "asks":
            check(message.get("result", {}).get("resultType") == "input_required", str(message)[:300])
        elif wanted == "error":
            check("error" in message, str(message)[:300])
        else:
            check(not is_tool_error(message), str(message)[:300])
    table = [(f"{value!r:.30}", value, "error") for value in ODD if not isinstance(value, dict) and value is not None]
    table += [(f"q: {value!r:.30}", {"q": value}, "asks") for value in ODD]
    table += [(f"action {value!r:.30}", {"q": {"action": value}}, "asks") for value in ODD]
    table += [(f"content {value!r:.30}", {"q": {"action": "accept", "content": value}}, "asks")
              for value in ODD if not isinstance(value, dict)]
    table += [(repr(key), {key: YES}, "asks") for key in ("Q", "q ", " q", "qq", "", "__proto__", "\u0440", "q" * 100000)]
    table += [(repr(key), {key: YES}, "error") for key in ("q\0", "q\0x")]
    table += [
        ("deep", {"q": {"action": "accept", "content": {"a": "b"}, "more": deep}}, "done"),
        ("3 MB", {"q": {"action": "accept", "content": {"a": "x" * 3000000}}}, "done"),
        ("3 MB of others", {"q": YES, **{str(i): YES for i in range(60000)}}, "done"),
        ("a field that passes for the action", {"q": {"action": "decline", "content": {"ACTION": "accept", "action": "x"}}}, "done"),
    ]
    each(table, run)
    before = [rss_kb(pid) for pid in site.workers()]
    status, _, body = site.modern({"name": "say", "arguments": asks(), "requestState": state,
                                   "inputResponses": {"q": {"action": "accept", "content": {"a": "x" * 8000000}}}}, meta=CAN)
    is_error((status, None, body), 413)
    check(max(rss_kb(pid) for pid in site.workers()) - max(before) < GROWS_KB, "a worker grew")


@case("capabilities that are absurd")
def _(site):
    deep = {}
    for _ in range(40):
        deep = {"elicitation": deep}
    table = [(f"{name} {value!r:.30}", {name: value}) for name in ("elicitation", "sampling", "roots", "extensions", "tasks") for value in ODD]
    table += [("deep", deep), ("10000", {str(i): {} for i in range(10000)}), ("200 KB", {"elicitation": {"form": {"x": "y" * 200000}}}),
              ("form false", {"elicitation": {"form": False}}), ("url 1", {"elicitation": {"url": 1}})]

    def modern(capabilities):
        status, message = site.call("say", asks(), {"io.modelcontextprotocol/clientCapabilities": capabilities})
        check(status in (200, 400) and ("error" in message or message["result"]["resultType"] in ("input_required", "complete")),
              status, str(message)[:300])

    def legacy(capabilities):
        params = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {"name": "e", "version": "1"}}
        status, headers, body = site.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        check(status in (200, 400), status, body[:300])
        if not headers["Mcp-Session-Id"]:
            return
        session = {"Mcp-Session-Id": headers["Mcp-Session-Id"], "MCP-Protocol-Version": "2025-11-25"}
        stream = site.send(session, "tools/call", {"name": "say", "arguments": asks()})
        check(stream.status in (200, 400), stream.status)
        message = next_message(stream) if "event-stream" in stream.headers["Content-Type"] else json.loads(stream.read())
        check(message and ("error" in message or "result" in message or message["method"] == "elicitation/create"), message)
        leave(stream)
        site.request("DELETE", session)
    each([(f"modern {title}", value) for title, value in table], modern)
    each([(f"legacy {title}", value) for title, value in table], legacy)


# ---- programs that ask ----------------------------------------------------------------------------------------------


BAD_ASKS = [
    ("no id", [json.dumps({"method": "roots/list"})], "fails"),
    ("id 1", [ask(1)], "fails"),
    ("id empty", [ask("")], "fails"),
    ("id with a blank", [ask("a b")], "fails"),
    ("id with NUL", [ask("a\0b")], "fails"),
    ("id with quotes", [ask("a\"},\"b")], "fails"),
    ("id of 65", [ask("a" * 65)], "fails"),
    ("id ..", [ask("..")], "asks"),
    ("id __proto__", [ask("__proto__")], "asks"),
    ("id twice, the same", [ask("a"), ask("a")], "any"),
    ("id twice, another question", [ask("a"), json.dumps({"id": "a", "method": "roots/list"})], "any"),
    ("65 of them", [ask(f"a{i}") for i in range(65)], "fails"),
    ("params 1", [ask(params=1)], "fails"),
    ("params null", [ask(params=None)], "fails"),
    ("a schema that is none", [ask(params={"message": "m", "requestedSchema": {"type": "object", "properties": {"a": {"type": "object"}}}})], "fails"),
    ("a URL of javascript", [ask(params={"mode": "url", "message": "m", "url": "no url"})], "fails"),
    ("a line of 70 KB", [ask(params={"message": "m" * 70000, "requestedSchema": {"type": "object", "properties": {}}})], "done"),
    ("state of 10 KB", [json.dumps({"method": "state", "params": "x" * 10000}), ask()], "fails"),
    ("state null", [json.dumps({"method": "state"}), ask()], "any"),
    ("broken JSON", ["{\"id\":\"a\",\"method\":\"elicitation/create\"", "]["], "done"),
    ("no UTF-8 escapes", ["{\"id\":\"a\",\"method\":\"\\ud800\"}"], "done"),
    ("deep", ["{\"method\":\"notifications/message\",\"params\":" + "[" * 100 + "]" * 100 + "}"], "done"),
    ("a method that is none", [json.dumps({"id": "a", "method": "tools/call", "params": {}})], "done"),
]


@case("programs that ask in a wrong way")
def _(site):
    def run(lines, wanted, modern):
        if modern:
            _, message = site.call("say", {"lines": lines})
        else:
            session = site.start()
            stream = site.send(session, "tools/call", {"name": "say", "arguments": {"lines": lines}})
            check(stream.status == 200, stream.status)
            is_stream = "event-stream" in stream.headers["Content-Type"]
            message = next_message(stream) if is_stream else json.loads(stream.read())
            leave(stream)
            site.request("DELETE", session)
        is_asking = message.get("result", {}).get("resultType") == "input_required" or "method" in message
        if wanted == "asks":
            check(is_asking, str(message)[:300])
        elif wanted == "fails":
            check(not is_asking and is_tool_error(message), str(message)[:300])
        elif wanted == "done":
            check(not is_asking and not is_tool_error(message), str(message)[:300])
    each([(f"modern: {title}", *rest, True) for title, *rest in BAD_ASKS], run)
    each([(f"legacy: {title}", *rest, False) for title, *rest in BAD_ASKS], run)


@case("a program that asks 10,000 questions, or the largest there can be")
def _(site):
    status, message = site.call("say", {"lines": [ask("a%d")], "times": 10000})
    check(is_tool_error(message), status, str(message)[:300])
    big = {"message": "m" * 60000, "requestedSchema": {"type": "object", "properties": {}}}
    lines = [ask(f"a{i}", params=big) for i in range(8)]
    status, message = site.call("say", {"lines": lines})
    check(status == 200 and "result" in message and len(message["result"]["inputRequests"]) == 8, str(message)[:300])
    session = site.start()
    stream, ids = site.asked(session, {"lines": lines})
    for number in ids:
        check(site.answer(session, number)[0] == 202, "an answer")
    check("result" in last_message(stream), "no result")
    state = site.state_of(site.task("say_task", lines=[ask("a%d", params=big)], times=6), "failed", "input_required")
    check(state["status"] == "failed", "a task that asks more than task_blob_max_bytes:", str(state)[:300])


@case("a program that asks for ever, in both eras and as a task")
def _(site):
    arguments = asks("q%p", always=True)
    _, message = site.call("say", arguments)
    for _ in range(20):
        if message.get("result", {}).get("resultType") != "input_required":
            break
        given = {key: YES for key in message["result"]["inputRequests"]}
        _, message = site.call("say", arguments, requestState=message["result"]["requestState"], inputResponses=given)
    check(is_tool_error(message), "modern:", str(message)[:300])
    session = site.start()
    stream = site.send(session, "tools/call", {"name": "say", "arguments": arguments})
    for rounds in range(20):
        message = next_message(stream)
        if "method" not in message:
            break
        site.answer(session, message["id"])
    check(rounds == 4 and is_tool_error(message), "legacy:", rounds, str(message)[:300])
    leave(stream)
    task = site.task("say_task", **arguments)

    def end():
        now = site.state_of(task, "input_required", "failed", "completed")
        if now["status"] != "input_required":
            return now
        given = {key: YES for key in now["inputRequests"]}
        site.ask_modern("tasks/update", {"taskId": task, "inputResponses": given})
        return None
    now = until("its end", end)
    check(now["status"] == "failed" or now["result"].get("isError"), now)


# ---- answers in sessions --------------------------------------------------------------------------------------------


@case("answers: of another session or principal, of wrong types, twice at once: one run")
def _(site):
    mine, other, foreign = site.start(), site.start(), site.start(key=KEYS["bert"])
    arguments = asks(log="answers")
    stream, (number,) = site.asked(mine, arguments)
    before = site.runs("answers")
    for session in (other, foreign):
        status, _, body = site.answer(session, number)
        check(status in (202, 400, 404), status, body[:300])
    status, _, body = site.answer({**mine, "X-API-Key": KEYS["bert"]}, number)
    check(status in (400, 404), "another's session:", status, body[:300])
    for wrong in (number + "x", number[:-1], number.swapcase(), 0, 1.5, "", "x" * 5000, "\0", 10**30):
        status, _, body = site.answer(mine, wrong)
        check(status in (202, 400), repr(wrong)[:30], status, body[:300])
    check(site.runs("answers") == before, "it ran")
    got = all_at_once(8, lambda _: site.answer(mine, number)[0])
    check(all(status in (202, 400) for status in got) and 202 in got, got)
    check("result" in last_message(stream), "no result")
    check(site.runs("answers") == before + 1, "it ran", site.runs("answers") - before, "times")
    check(site.answer(mine, number)[0] in (202, 400), "once more")

    def wrong(answer):
        stream, (number,) = site.asked(mine, arguments)
        status, _, body = site.post({"jsonrpc": "2.0", "id": number, **answer}, mine)
        check(status in (202, 400), status, body[:300])
        if status == 400:
            site.answer(mine, number, error={"code": -1, "message": "no"})
        message = next_message(stream)
        if message.get("method") == "elicitation/create":
            site.answer(mine, message["id"], error={"code": -1, "message": "no"})
            message = next_message(stream)
        check("result" in message or "error" in message, message)
        leave(stream)
    each([(f"result {value!r:.30}", {"result": value}) for value in ODD]
         + [(f"error {value!r:.30}", {"error": value}) for value in ODD]
         + [("both", {"result": YES, "error": {"code": 1, "message": ""}}), ("3 MB", {"result": {**YES, "x": "y" * 3000000}})], wrong)


@case("answers: all workers that asked are dead: two answers at once, one run, and the client has its result", may_lose_workers=True)
def _(site):
    session, before = site.start(revision="2025-06-18"), site.workers()  # it isn't told to come again meanwhile
    runs = site.runs("orphan")
    stream, (number,) = site.asked(session, asks(log="orphan"))
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until("new workers", lambda: len(site.workers() - before) == 2)
    got = all_at_once(2, lambda _: site.answer(session, number)[0])
    check(got[0] in (202, 400) and got[1] in (202, 400) and 202 in got, got)
    check("result" in last_message(stream), "no result")
    check(site.runs("orphan") == runs + 2, "it ran", site.runs("orphan") - runs, "times")


@case("answers: after cancel, after DELETE, after the client has left, to a stopped broker")
def _(site):
    session = site.start()
    arguments = asks(log="late")
    stream, (number,) = site.asked(session, arguments)
    before = site.runs("late")
    site.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}, session)
    check(site.answer(session, number)[0] in (202, 400), "after cancel")
    message = last_message(stream)
    check(message is None or "result" not in message, message)
    stream, (number,) = site.asked(session, arguments)
    leave(stream)
    check(site.answer(session, number)[0] == 202, "after leaving")
    until("it ran", lambda: site.runs("late") == before + 2)
    stream, (number,) = site.asked(session, arguments, number=2)
    with stopped(site.broker):
        status, _, body = site.answer(session, number)
        check(status == 503, status, body[:300])
    check(site.answer(session, number)[0] == 202, "afterwards")
    check("result" in last_message(stream), "no result")
    stream, (number,) = site.asked(session, arguments, number=3)
    site.request("DELETE", session)
    is_error(site.answer(session, number), 404)
    message = last_message(stream)
    check(message is None or "result" not in message, message)
    check(site.runs("late") == before + 5, "it ran", site.runs("late") - before)


# ---- listening ------------------------------------------------------------------------------------------------------


def listen(site, notifications, number="m"):
    headers, body = site.modern_parts({"notifications": notifications}, "subscriptions/listen", CAN_TASKS)
    message = {**json.loads(body), "id": number}
    return site.open("POST", headers, json.dumps(message).encode())


@case("listen: wrong types in every place, ids that are long or odd")
def _(site):
    def run(notifications, number="m"):
        stream = listen(site, notifications, number)
        if "event-stream" in (stream.headers["Content-Type"] or ""):
            message = next_message(stream)
            check(stream.status == 200 and message["method"] == "notifications/subscriptions/acknowledged", message)
            check(message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == number, message)
        else:
            message = json.loads(stream.read())
            check(stream.status in (200, 400) and "error" in message, stream.status, message)
        leave(stream)
    each([(f"notifications {value!r:.30}", value) for value in ODD], run)
    each([(f"{name} {value!r:.30}", {name: value}) for value in ODD for name in
          ("toolsListChanged", "resourcesListChanged", "resourceSubscriptions", "taskIds", "x")], run)
    each([(f"[{value!r:.30}]", {name: [value]}) for value in ODD for name in ("resourceSubscriptions", "taskIds")], run)
    each([(f"id {number!r:.30}", {"toolsListChanged": True}, number)
          for number in ("", "x" * 1000, "x" * 1024, "x" * 100000, "\0", "\"}", "\n\ndata: x", "é" * 100, 0, -1, 2**53, 10**400, None, [])], run)


@case("listen: 10,000 topics, long URIs, the same a hundred times: limits, and nothing is kept")
def _(site):
    before = rss_kb(site.broker)

    def run(uris, wanted):
        stream = listen(site, {"resourceSubscriptions": uris})
        message = next_message(stream) if "event-stream" in stream.headers["Content-Type"] else json.loads(stream.read())
        leave(stream)
        if wanted is None:
            check("error" in message, str(message)[:300])
        else:
            got = message["params"]["notifications"].get("resourceSubscriptions", [])
            check(len(got) == wanted, len(got), "of", len(uris), str(message)[:300])
    each([
        ("10000", [f"docs:///{i}" for i in range(10000)], None),
        ("101", [f"docs:///{i}" for i in range(101)], None),
        ("100", [f"docs:///{i}" for i in range(100)], 100),
        ("the same", ["docs:///note.md"] * 100, 100),
        ("long ones", ["docs:///" + "x" * 8000 + str(i) for i in range(100)], 100),
        ("too long", ["docs:///" + "x" * 100000], 0),
        ("1 MB", ["docs:///" + "x" * 1000000], 0),
        ("odd ones", ["", "x", "docs:", "docs:///", "docs:///%00", "docs:///\0", "docs:///%", "docs:///%ff", "docs:///a\nb"], 0),
    ], run)
    for _ in range(20):
        run(["docs:///" + "x" * 8000 + str(i) for i in range(100)], 100)
    check(rss_kb(site.broker) - before < GROWS_KB, "the broker grew by", rss_kb(site.broker) - before, "KB")
    session = site.start()
    for i in range(105):
        message = message_of(site.send(session, "resources/subscribe", {"uri": f"docs:///{i}"}, i).read())
        check(("result" in message) == (i < 100), i, message)
    for i in range(105):
        message = message_of(site.send(session, "resources/unsubscribe", {"uri": f"docs:///{i}"}, i).read())
        check("result" in message, i, message)
    for uri in ("x" * 100000, "\0", "docs:///%00", ""):
        message = message_of(site.send(session, "resources/subscribe", {"uri": uri}, 1).read())
        check("error" in message, repr(uri)[:30], message)
        site.send(session, "resources/unsubscribe", {"uri": uri}, 1).read()
    site.request("DELETE", session)


@case("listen: 300 that are opened and dropped at once")
def _(site):
    headers, body = site.modern_parts({"notifications": {"resourceSubscriptions": ["docs:///note.md"]}}, "subscriptions/listen", CAN)
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**headers, "X-API-Key": site.key, "Content-Length": len(body)}.items())
    whole = f"POST {site.path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode() + body
    for number in range(300):
        peer = site.connect()
        peer.sendall(whole)
        if number % 3 == 0:
            check(peer.recv(100).startswith(b"HTTP/1.1 200"), "no stream")
        elif number % 3 == 1:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()


@case("listen: the broker stands still, then all is well")
def _(site):
    first = listen(site, {"toolsListChanged": True, "resourceSubscriptions": ["docs:///note.md"]})
    check(next_message(first), "no acknowledgement")
    with stopped(site.broker):
        answers = all_at_once(6, lambda _: listen(site, {"resourceSubscriptions": ["docs:///note.md"]}))
        for stream in answers:
            check(not isinstance(stream, Exception), stream)
            message = next_message(stream) if "event-stream" in (stream.headers["Content-Type"] or "") else None
            check(message is None, message)
            leave(stream)
    again = listen(site, {"resourceSubscriptions": ["docs:///note.md"]})
    check(next_message(again), "no acknowledgement")
    message = {"method": "notifications/resources/updated", "params": {"uri": "docs:///note.md"}}
    site.call("say", {"lines": [json.dumps(message)]})
    for stream in (first, again):
        check(next_message(stream)["method"] == message["method"], "not told")
        leave(stream)


@case("a storm of notifications, about things that are there or not: one that listens and reads nothing costs little")
def _(site):
    before = rss_kb(site.broker), max(rss_kb(pid) for pid in site.workers())
    streams = [listen(site, {"toolsListChanged": True, "resourceSubscriptions": ["docs:///note.md"]}) for _ in range(10)]
    session = site.start()
    streams.append(site.open("GET", {**SSE, **session}))
    lines = [json.dumps({"method": method, "params": params}) for method, params in (
        ("notifications/resources/updated", {"uri": "docs:///note.md"}), ("notifications/tools/list_changed", {}),
        ("notifications/resources/updated", {"uri": "docs:///%00"}), ("notifications/resources/updated", {"uri": "x" * 50000}),
        ("notifications/resources/updated", {"uri": 1}), ("notifications/resources/updated", {}), ("notifications/x", {"a": "b" * 50000}),
        ("notifications/message", {"level": "error", "data": "x" * 50000}), ("notifications/tasks", {"taskId": "x"}),
        ("notifications/subscriptions/acknowledged", {}), ("notifications/elicitation/complete", {"elicitationId": "x"}))]
    answers = all_at_once(4, lambda _: site.call("say", {"lines": lines, "times": 300}))
    check(all(isinstance(one, tuple) and not is_tool_error(one[1]) for one in answers), str(answers)[:500])
    check(rss_kb(site.broker) - before[0] < GROWS_KB, "the broker grew by", rss_kb(site.broker) - before[0], "KB")
    check(max(rss_kb(pid) for pid in site.workers()) - before[1] < GROWS_KB, "a worker grew")
    for stream in streams:
        leave(stream)


# ---- resources, prompts, lists --------------------------------------------------------------------------------------


OUTSIDE = ["../secret", "%2e%2e/secret", "%2E%2E%2Fsecret", "..%2fsecret", "a/../../secret", "./note.md", ".%2fnote.md", "/etc/passwd", "//etc/passwd",
           "%2fetc%2fpasswd", "note.md%00", "%00", "note.md%00.txt", "%c0%ae%c0%ae/secret", "%c0%af", "%e0%80%af", "%ff", "%fc%80%80%80%80%af",
           "%252e%252e/secret", "..%5csecret", "..\\secret", "\u2025/secret", "..;/secret", "note.md/", "note.md/.", "note.md/..", "/", "", ".", "..",
           "?", "#", "note.md?x", "note.md#x", "a//b", "x" * 256, "x/" * 33 + "x", "x/" * 2000, "%0a", "%7f", "a%0d%0ab", "[", "{+path}", "~", "*",
           "link", "link_dir/secret", "link_dir/../secret", "fifo", "socket", "loop", "loop/loop", "self/fd/0"]


@case("files: paths that lead out, in every encoding; links, FIFOs, sockets, devices")
def _(site):
    docs = Path(site.run_dir, "docs")
    for name, target in (("link", "../secret"), ("link_dir", ".."), ("loop", "loop"), ("self", "/proc/self")):
        (docs / name).symlink_to(target)
    os.mkfifo(docs / "fifo")
    with socket.socket(socket.AF_UNIX) as peer:
        peer.bind(str(docs / "socket"))
    if os.geteuid() == 0:
        os.mknod(docs / "zero", 0o20666, os.makedev(1, 5))
    session = site.start()

    def run(path):
        began = time.monotonic()
        params = {"uri": f"docs:///{path}"}
        for message in (site.ask_modern("resources/read", params)[1], message_of(site.send(session, "resources/read", params).read())):
            check("error" in message and "secret" not in message["error"]["message"], str(message)[:300])
            check("root:" not in str(message), str(message)[:300])
        check(time.monotonic() - began < LONG_S, "it took long")
        status, _, body = site.post({"jsonrpc": "2.0", "id": 1, "method": "completion/complete", "params": {
            "ref": {"type": "ref/resource", "uri": "docs:///{+path}"}, "argument": {"name": "path", "value": path}}}, session)
        check(status == 200 and b"secret" not in body and b"passwd" not in body, status, body[:300])
    each([(repr(path)[:40], path) for path in [*OUTSIDE, "zero"]], run)
    status, message = site.ask_modern("resources/list", {})
    listed = str(message)
    for name in ("link", "fifo", "socket", "zero", "loop", "self", "secret"):
        check(f"docs:///{name}" not in listed, name, "is listed")
    for name in ("link", "link_dir", "loop", "self", "fifo", "socket", "zero"):
        with contextlib.suppress(FileNotFoundError):
            (docs / name).unlink()


@case("files: swapped for links, grown and cut while they are read")
def _(site):
    docs, stop = Path(site.run_dir, "docs"), threading.Event()
    (docs / "dir").mkdir()
    (docs / "dir" / "secret").write_text("fine")
    (docs / "grows").write_text("fine")

    def swap():
        while not stop.is_set():
            (docs / "swap").symlink_to("../secret")
            (docs / "swap").unlink()
            (docs / "swap").write_text("fine")
            (docs / "dir").rename(docs / "away")
            (docs / "dir").symlink_to("..")
            (docs / "swap").unlink()
            (docs / "dir").unlink()
            (docs / "away").rename(docs / "dir")

    def grow():
        while not stop.is_set():
            with open(docs / "grows", "ab") as out:
                out.write(b"fine" * 30000)
            if (docs / "grows").stat().st_size > 400000:
                (docs / "grows").write_bytes(b"fine")
    threads = [threading.Thread(target=run) for run in (swap, grow)]
    for thread in threads:
        thread.start()
    try:
        for number in range(150):
            for path in ("swap", "dir/secret", "grows"):
                _, message = site.ask_modern("resources/read", {"uri": f"docs:///{path}"})
                text = message["result"]["contents"][0]["text"] if "result" in message else ""
                check(text.replace("fine", "") == "", "another file:", text[:100])
            if number % 10 == 0:
                status, message = site.ask_modern("resources/list", {})
                check("result" in message, status, str(message)[:300])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        (docs / "grows").unlink()
        with contextlib.suppress(FileNotFoundError):
            (docs / "swap").unlink()


@case("files: a directory of 30,000 entries, one of odd names, one that is deep: lists and completion are bounded")
def _(site):
    many = Path(site.run_dir, "many")
    for number in range(30000):
        os.close(os.open(many / f"f{number:05}.txt", os.O_CREAT | os.O_WRONLY, 0o644))
    for name in (b"\xff\xfe", b"a\nb", b"\x01", b"\xc3", b"?", b"%", b"a b", b"#", "\U0001f600".encode(), b"\\", b"'", b"\"", b"{x}"):
        Path(os.fsdecode(os.fsencode(many) + b"/" + name)).write_text("x")
    deep = many
    for _ in range(40):
        deep = deep / "d"
        deep.mkdir()
    before = max(rss_kb(pid) for pid in site.workers())
    cursor, seen = None, 0
    for _ in range(12):
        began = time.monotonic()
        status, message = site.ask_modern("resources/list", {"cursor": cursor} if cursor else {})
        check(status == 200 and "result" in message, status, str(message)[:300])
        check(time.monotonic() - began < LONG_S, "a page took", time.monotonic() - began, "s")
        seen += len(message["result"]["resources"])
        cursor = message["result"].get("nextCursor")
    check(seen > 100 and cursor, seen)
    for typed in ("f", "f1", "(f+)+$", ".*", "x" * 100000, "", "\\", "[", "%s%n", "\0", "f" * 8000):
        began = time.monotonic()
        status, message = site.ask_modern("completion/complete", {
            "ref": {"type": "ref/resource", "uri": "many:///{name}"}, "argument": {"name": "name", "value": typed}})
        check("error" in message or len(message["result"]["completion"]["values"]) <= 100, str(message)[:300])
        check(time.monotonic() - began < LONG_S, "completion took", time.monotonic() - began, "s")
    check(max(rss_kb(pid) for pid in site.workers()) - before < GROWS_KB, "a worker grew")
    shutil.rmtree(many)
    many.mkdir()


@case("URI templates: long and ambiguous URIs take no time")
def _(site):
    for uri in ("odd://" + "a." * 4000 + "a", "odd://" + "." * 8000, "odd://" + "a" * 8000, "odd://a.b.c.d.e.f.g?" + "x=1&" * 1900,
                "odd://" + "%2e" * 2700, "odd://a.b.c.d.e.f.g?x=" + "%" * 7000, "odd://" + "a." * 2000 + "g?" + "&" * 4000, "odd://" + "a" * 3000000):
        began = time.monotonic()
        for method in ("resources/read", "resources/subscribe"):
            session = site.start()
            message = message_of(site.send(session, method, {"uri": uri}).read())
            check("error" in message or "result" in message, str(message)[:300])
            site.request("DELETE", session)
        check(time.monotonic() - began < LONG_S, "it took", time.monotonic() - began, "s", uri[:40])


@case("lists, prompts, completion, resources: wrong types in every place, cursors of others")
def _(site):
    session = site.start()
    good = {
        "resources/read": {"uri": "fixed://one"}, "resources/subscribe": {"uri": "fixed://one"}, "resources/unsubscribe": {"uri": "fixed://one"},
        "resources/list": {"cursor": "x"}, "resources/templates/list": {"cursor": "x"}, "prompts/list": {"cursor": "x"}, "tools/list": {"cursor": "x"},
        "tasks/list": {"cursor": "x"}, "prompts/get": {"name": "greet", "arguments": {"name": "x"}}, "tasks/get": {"taskId": "x"},
        "tasks/result": {"taskId": "x"}, "tasks/cancel": {"taskId": "x"}, "logging/setLevel": {"level": "x"},
        "completion/complete": {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "name", "value": "x"}, "context": {}},
    }
    table = []
    for method, params in good.items():
        table += [(f"{method} {value!r:.30}", method, value) for value in ODD]
        table += [(f"{method} {member} {value!r:.30}", method, {**params, member: value}) for member in params for value in ODD]
        for member, inner in params.items():
            if isinstance(inner, dict):
                table += [(f"{method} {member}.{name} {value!r:.30}", method, {**params, member: {**inner, name: value}})
                          for name in (*inner, "more") for value in ODD]

    def run(method, params):
        status, _, body = site.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, session)
        check(status in (200, 400), status, body[:300])
        message = message_of(body)
        check("result" in message or message["error"]["code"] != -32603, body[:300])
    each(table, run)
    for number in range(30):
        Path(site.run_dir, "docs", f"page{number}").write_text("x")
    mine = site.ask_modern("resources/list", {})[1]["result"]["nextCursor"]
    digest, index, *_ = mine.split(".")
    forged = [mine[:-1], mine + "x", mine.swapcase(), mine * 2, "x" * 100000, f"{digest}.", f"{digest}.-1", f"{digest}.999999999", f"{digest}.99999999999",
              f"{digest}.{index}.", f"{digest}.{index}.=", f"{'0' * 16}.{index}", f"{digest}.{index}.{'A' * 100000}", "\0", mine + "\0"]
    forged += [f"{digest}.{at}." + base64.urlsafe_b64encode(after).decode().rstrip("=") for at in (0, 1, 2, 3, 4) for after in (
        b"docs:///../secret", b"docs:///..", b"\0\0", b"\xff", b"docs:///" + b"x" * 8000, b"docs:///x/" * 100, b"many:///", b"odd://a.b.c.d.e.f.g", b"x" * 60000)]

    def with_cursor(method, cursor):
        status, message = site.ask_modern(method, {"cursor": cursor})
        check(status in (200, 400), status, str(message)[:300])
        check("the secret" not in str(message) and ("result" in message or message["error"]["code"] == -32602), str(message)[:300])
    each([(f"{cursor!r:.60}", "resources/list", cursor) for cursor in forged], with_cursor)
    each([(f"{method} {cursor!r:.60}", method, cursor) for cursor in forged[:15] + [mine] for method in ("tools/list", "prompts/list", "resources/templates/list")],
         with_cursor)
    site.request("DELETE", session)


# ---- tasks ----------------------------------------------------------------------------------------------------------


@case("tasks: foreign, forged and long ids")
def _(site):
    task = site.task("say_task", **asks(log="foreign"))
    site.state_of(task, "input_required")
    session = site.start()
    forged = ["", "x", task[:-1], task + "x", task.swapcase(), task[::-1], "x" * 128, "x" * 129, "x" * 5000, "x" * 1000000, "\0", task + "\0", task + " ", "../" + task]

    def run(method, number):
        params = {"taskId": number, **({"inputResponses": {"q": YES}} if method == "tasks/update" else {})}
        if method != "tasks/result" and "\0" not in number:
            status, message = site.ask_modern(method, params)
            check(status in (200, 400) and "error" in message, status, str(message)[:300])
        if method != "tasks/update":
            message = message_of(site.send(session, method, params).read())
            check("error" in message, str(message)[:300])
    table = [(f"{method} {number!r:.40}", method, number) for method in ("tasks/get", "tasks/update", "tasks/cancel", "tasks/result") for number in forged]
    # a header has its limits at the web server
    each([row for row in table if len(row[2]) < 6000 or row[1] == "tasks/result"], run)
    site.key = KEYS["bert"]
    try:
        each([(f"bert: {method}", method, task) for method in ("tasks/get", "tasks/update", "tasks/cancel")], lambda method, number: check(
            "error" in site.ask_modern(method, {"taskId": number, "inputResponses": {"q": YES}})[1], "not refused"))
        stream = listen(site, {"taskIds": [task] + forged[:8]})
        check(next_message(stream)["params"]["notifications"] == {}, "bert may listen")
        leave(stream)
        bert = site.start()
        for method in ("tasks/result", "tasks/get", "tasks/cancel"):
            check("error" in message_of(site.send(bert, method, {"taskId": task}).read()), method)
    finally:
        site.key = KEYS["anna"]
    check(site.state_of(task)["status"] == "input_required", "it was touched")
    site.ask_modern("tasks/update", {"taskId": task, "inputResponses": {"q": YES}})
    site.state_of(task, "completed")


@case("tasks: ttl of every kind, wrong types in task")
def _(site):
    session = site.start()

    def run(task, good):
        stream = site.send(session, "tools/call", {"name": "say_task", "arguments": {}, "task": task})
        message = message_of(stream.read())
        check(("result" in message) == good, str(message)[:300])
        if good:
            check("task" in message["result"] and message["result"]["task"]["ttl"] > 0, message)
    each([(f"ttl {value!r:.30}", {"ttl": value}, True) for value in (0, -1, 1, -1e300, 1e300, 2**63, 10**40, 0.1, None)], run)
    each([(f"ttl {value!r:.30}", {"ttl": value}, False) for value in ODD if value is not None and type(value) not in (int, float)], run)
    each([(f"task {value!r:.30}", value, False) for value in ODD if value is not None and not isinstance(value, dict)], run)


@case("tasks: cancelled while they end, 40 of them, from three sides")
def _(site):
    def run(number):
        task = site.task("say_task", sleep=0.01 * (number % 20))
        time.sleep(0.005 * number)
        if number % 3 == 0:
            site.ask_modern("tasks/update", {"taskId": task, "inputResponses": {"q": YES}})
        site.ask_modern("tasks/cancel", {"taskId": task})
        return task
    tasks = all_at_once(10, lambda number: [run(number + 10 * i) for i in range(4)])
    check(not any(isinstance(one, Exception) for one in tasks), tasks)
    for group in tasks:
        for task in group:
            check(site.state_of(task, "cancelled", "completed"), task)


@case("tasks: floods of updates, of one and of many keys; blobs at their limit")
def _(site):
    task = site.task("say_task", **asks("a", "b"))
    site.state_of(task, "input_required")
    runner, = site.runners()
    before = rss_kb(runner), rss_kb(site.broker)
    wrong = {"a": {"action": "x" * 100000}, **{str(i): YES for i in range(1000)}}
    answers = all_at_once(8, lambda _: [site.ask_modern("tasks/update", {"taskId": task, "inputResponses": wrong})[0] for _ in range(4)])
    check(all(set(one) <= {200, 503} for one in answers), answers)
    odd = [*({"a": value} for value in ODD), {}, {"a": {"action": "accept", "content": {"b": "x" * 3000000, "a": 1}}}]
    all_at_once(len(odd), lambda number: site.ask_modern("tasks/update", {"taskId": task, "inputResponses": odd[number]}))
    check(site.state_of(task)["status"] == "input_required", "it took one")
    site.ask_modern("tasks/update", {"taskId": task, "inputResponses": {"a": YES, "b": YES}})
    site.state_of(task, "completed")
    check(rss_kb(runner) - before[0] < GROWS_KB and rss_kb(site.broker) - before[1] < GROWS_KB, "it grew")
    for output, status in ((262000, "completed"), (262100, "failed"), (262144, "failed"), (900000, "failed")):
        check(site.state_of(site.task("say_task", output=output), "completed", "failed")["status"] == status, output)
    status, message = site.call("say_task", {"x": "y" * 262144}, CAN_TASKS)
    check("error" in message, str(message)[:300])


@case("tasks/result of many clients at once, that leave: others are served meanwhile")
def _(site):
    task = site.task("say_task", sleep=15, log="result")
    until("it runs", lambda: site.runs("result"))
    sessions = [site.start() for _ in range(24)]
    peers = []
    for session in sessions:
        for number in range(1, 8):
            body = json.dumps({"jsonrpc": "2.0", "id": number, "method": "tasks/result", "params": {"taskId": task}}).encode()
            peers.append(site.connect())
            lines = "".join(f"{name}: {value}\r\n" for name, value in {**TYPES, **session, "Content-Length": len(body)}.items())
            peers[-1].sendall(f"POST {site.path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode() + body)
    time.sleep(1)
    for _ in range(2):
        began = time.monotonic()
        site.works()
        check(time.monotonic() - began < 12, "others waited", round(time.monotonic() - began, 1), "s")
        for peer in peers:
            peer.close()
    site.ask_modern("tasks/cancel", {"taskId": task})


# ---- programs that wait, children of programs -----------------------------------------------------------------------


@case("programs that wait: they read nothing, close their input, ask and go, ask wrongly, leave children")
def _(site):
    def run(arguments, wanted):
        session = site.start()
        began = time.monotonic()
        stream = site.send(session, "tools/call", {"name": "say_wait", "arguments": arguments}, 1)
        message = site.finish(session, stream)
        check(is_tool_error(message) == (wanted == "fails"), str(message)[:300])
        check(time.monotonic() - began < LONG_S, "it took", round(time.monotonic() - began), "s")
        site.request("DELETE", session)
    each([
        ("reads nothing", asks(sleep=0.5), "done"),
        ("reads nothing of 200 KB", asks(sleep=0.5, x="y" * 200000), "done"),
        ("closes its input", asks(close_stdin=1, sleep=1), "done"),
        ("reads", asks(read=1), "done"),
        ("asks four times at once", asks("a", "b", "c", "d", read=1), "done"),
        ("asks and goes", asks(), "done"),
        ("asks wrongly", {"lines": [ask("a b")], "read": 1}, "done"),
        ("asks 10000 wrong things and reads none", {"lines": [ask("a b")], "times": 10000}, "done"),
        ("leaves a child", asks(child=1000, read=1), "done"),
    ], run)


@case("programs that leave children: these end with them; cancelled, deleted, left by their client: all of them end")
def _(site):
    arguments = {"child": 1000, "sleep": 1000}
    status, message = site.call("say", {"child": 1000})
    check(not is_tool_error(message), status, message)
    until("its child has ended", lambda: not site.programs())

    def left(stream, _):
        leave(stream)

    def cancelled(stream, session):
        site.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}, session)
        leave(stream)

    def deleted(stream, session):
        site.request("DELETE", session)
        leave(stream)

    def run(how, tool):
        session = site.start()
        if how is left:
            stream = site.modern_open({"name": tool, "arguments": arguments}, CAN)
        else:
            stream = site.send(session, "tools/call", {"name": tool, "arguments": arguments}, 1)
        until("they run", lambda: len(site.programs()) >= 2)
        how(stream, session)
        until("all have ended", lambda: not site.programs())
    each([(f"{tool} {how.__name__}", how, tool) for tool in ("say", "say_wait") for how in (left, cancelled, deleted)], run)
    for tool in ("say_task", "say_wait_task"):
        task = site.task(tool, **arguments)
        until("they run", lambda: len(site.programs()) >= 2)
        site.ask_modern("tasks/cancel", {"taskId": task})
        until("all have ended", lambda: not site.programs())


@case("a modern call of a program that waits: its state used ten times at once, by others, after the end; forgotten")
def _(site):
    arguments = asks(read=1, log="waits.log")
    state = site.state("say_wait", arguments)
    given = {"requestState": state, "inputResponses": {"q": YES}}
    site.key = KEYS["bert"]
    try:
        check("error" in site.call("say_wait", arguments, **given)[1], "bert")
    finally:
        site.key = KEYS["anna"]
    answers = all_at_once(10, lambda _: site.call("say_wait", arguments, **given))
    check(all(isinstance(one, tuple) for one in answers) and any("result" in message for _, message in answers), answers)
    check("error" in site.call("say_wait", arguments, **given)[1], "after its end")
    check(site.runs("waits.log") == 1, "it ran", site.runs("waits.log"), "times")
    until("it has ended", lambda: not site.programs())


@case("more programs that wait than runner_jobs_max: the others have their turn, those who leave make room")
def _(site):
    streams = [site.modern_open({"name": "say_wait", "arguments": {"sleep": 1000}}, CAN) for _ in range(6)]
    for stream in streams:
        leave(stream)
    states = [site.state("say_wait", asks(read=1, x=number)) for number in range(4)]
    began = time.monotonic()
    task = site.task("say_task", log="turn")
    for number, state in enumerate(states):
        status, message = site.call("say_wait", asks(read=1, x=number), requestState=state, inputResponses={"q": YES})
        check("result" in message, status, message)
    site.state_of(task, "completed")
    check(time.monotonic() - began < 9, "it took", time.monotonic() - began)  # those who left would go on for 10 s


# ---- streams that are polled ----------------------------------------------------------------------------------------


def event_ids(stream, count):
    ids = []
    while len(ids) < count:
        line = stream.readline()
        if not line:
            break
        if line.startswith(b"id:"):
            ids.append(line[3:].strip().decode())
    return ids


@case("streams: resumed while their connection is open, 60 times at once, by others, with ids of others")
def _(site):
    mine, other, foreign = site.start(), site.start(), site.start(key=KEYS["bert"])
    stream = site.send(mine, "tools/call", {"name": "say", "arguments": {"until": "resumed"}}, 1)
    priming, = event_ids(stream, 1)

    def resume(session, last):
        return site.open("GET", {**SSE, **session, "Last-Event-ID": last})
    for session in (other, foreign, {**mine, "X-API-Key": KEYS["bert"]}):
        answer = resume(session, priming)
        check(answer.status in (400, 404), "another's:", answer.status)
        leave(answer)
    # the newest wins, so all but one are closed; together they are given the result at most once more than once
    answers = all_at_once(60, lambda _: resume(mine, priming))
    check(all(not isinstance(one, Exception) for one in answers), [one for one in answers if isinstance(one, Exception)][:1])
    good = [one for one in answers if one.status == 200]
    check(len(good) >= 1 and all(one.status in (200, 405, 503) for one in answers), [one.status for one in answers])
    Path(site.run_dir, "resumed").touch()
    results, until_s = 0, time.monotonic() + PATIENCE_S
    while not results and time.monotonic() < until_s:
        for one in [*good, stream]:
            with contextlib.suppress(OSError, ValueError):
                results += "result" in (last_message(one) or {})
        if not results:
            good = [resume(mine, priming)]
    check(results == 1, "results:", results)
    for one in [stream, *answers, *good]:
        leave(one)
    late = resume(mine, priming)
    check(late.status in (200, 405), late.status)
    leave(late)
    for forged in (priming + ".1", priming.rpartition(".")[0] + ".999999", "0.0.0", "x" * 5000):
        answer = resume(mine, forged)
        check(answer.status in (400, 404, 405), forged[:40], answer.status)
        leave(answer)


@case("streams: a call that asks, its client comes back again and again: one question, one run, one result")
def _(site):
    session = site.start()
    stream = site.send(session, "tools/call", {"name": "say", "arguments": asks(log="polled")}, 1)
    priming, = event_ids(stream, 1)
    message = next_message(stream)
    before = site.runs("polled")
    for _ in range(30):
        leave(stream)
        stream = site.open("GET", {**SSE, **session, "Last-Event-ID": priming})
        check(stream.status == 200 and next_message(stream) == message, stream.status)
    check(site.answer(session, message["id"])[0] == 202, "answer")
    check("result" in last_message(stream), "no result")
    check(site.runs("polled") == before + 1, "it ran again")
    leave(stream)


# ---- processes that die or stand still ------------------------------------------------------------------------------


@case("the runner stands still: tasks are made and asked about, those who wait get answers; then they are done")
def _(site):
    runner, = site.runners()
    with stopped(runner):
        tasks = [site.task("say_task", log="stopped") for _ in range(5)]
        for task in tasks:
            check(site.state_of(task)["status"] == "working", "state")
        site.ask_modern("tasks/cancel", {"taskId": tasks[0]})
        check(site.state_of(tasks[0])["status"] == "cancelled", "state")
        stream = site.modern_open({"name": "say_wait", "arguments": {}}, CAN)
        site.works()
    for task in tasks[1:]:
        site.state_of(task, "completed")
    check("result" in last_message(stream), "no result")
    leave(stream)


@case("the runner is killed in the middle of everything, five times: what ran has failed, what comes next works")
def _(site):
    for _ in range(5):
        session = site.start()
        tasks = [site.task("say_task", sleep=1000, child=1000), site.task("say_task", **asks()), site.task("say_wait_task", **asks(read=1))]
        stream = site.send(session, "tools/call", {"name": "say_wait", "arguments": {"sleep": 1000}}, 1)
        follower = site.send(session, "tasks/result", {"taskId": tasks[0]}, 2)
        until("they run", lambda: len(site.programs()) >= 3)
        runner, = site.runners()
        os.kill(runner, signal.SIGKILL)
        for task in tasks:
            site.state_of(task, "failed")
        for one in (stream, follower):
            check(is_tool_error(site.finish(session, one)), "a result")
        until("programs have ended", lambda: not site.programs())
        site.state_of(site.task("say_task"), "completed")
        site.request("DELETE", session)


@case("two runners: both work, either may die")
def _(site):
    first, = site.runners()
    argv = [part.decode() for part in Path(f"/proc/{first}/cmdline").read_bytes().split(b"\0")[:-1]]
    environ = dict(part.decode().split("=", 1) for part in Path(f"/proc/{first}/environ").read_bytes().split(b"\0") if b"=" in part)
    owner = os.stat(f"/proc/{first}")
    identity = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    second = subprocess.Popen([os.readlink(f"/proc/{first}/exe"), *argv[1:]], env=environ, cwd=f"/proc/{first}/cwd", stderr=subprocess.DEVNULL, **identity)
    until("two runners", lambda: second.poll() is not None or len(site.runners()) == 2)
    tasks = [site.task("say_task", sleep=0.2) for _ in range(8)]
    for task in tasks:
        site.state_of(task, "completed")
    tasks = [site.task("say_task", sleep=2) for _ in range(4)]
    if second.poll() is None:
        second.kill()
    second.wait()
    states = [site.state_of(task, "completed", "failed")["status"] for task in tasks]
    check("completed" in states, states)
    site.state_of(site.task("say_task"), "completed")


@case("workers are killed while they make tasks and park calls: what was told is kept, nothing is left", may_lose_workers=True)
def _(site):
    told = []

    def run(number):
        for _ in range(10):
            with contextlib.suppress(Wrong, OSError, http.client.HTTPException, ValueError, KeyError):
                told.append(site.task("say_task", sleep=0.05))
                session = site.start()
                stream, (question,) = site.asked(session, asks())
                until("a worker that lives to take the answer", lambda: site.answer(session, question)[0] < 500)
                last_message(stream)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        time.sleep(0.3)
        for pid in site.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                break
    for thread in threads:
        thread.join()
    until("two workers", lambda: len(site.workers()) == 2)
    check(told, "no task was made")
    for task in told:
        site.state_of(task, "completed")


@case("the broker is killed while 30 listen, 8 wait and tasks run: all of that goes on at the next one", may_lose_broker=True)
def _(site):
    streams = [listen(site, {"resourceSubscriptions": ["docs:///note.md"]}) for _ in range(30)]
    for _ in range(8):
        streams.append(site.asked(site.start(), asks())[0])
    task, session = site.task("say_task", sleep=1000, child=1000), site.start()
    streams.append(site.send(session, "tools/call", {"name": "say_wait", "arguments": {"sleep": 1000}}, 7))
    until("programs run", lambda: len(site.programs()) >= 3)
    os.kill(site.broker, signal.SIGKILL)
    for stream in streams:
        with contextlib.suppress(http.client.HTTPException, ConnectionResetError):
            last_message(stream)
        leave(stream)

    def again():
        with contextlib.suppress(Wrong, OSError, http.client.HTTPException):
            return site.task("say_task")
    until("tasks again", again)
    check(site.state_of(task)["status"] == "working", "the task does not go on")
    check(len(site.programs()) >= 3, "programs have ended:", site.programs())
    site.ask_modern("tasks/cancel", {"taskId": task})
    site.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}, session)
    until("programs have ended", lambda: not site.programs())
    site.find_broker()


@case("HTTP+SSE: questions on the session's stream, answers of others, a client that reads nothing")
def _(site):
    def start():
        stream = site.open("GET", SSE, path=f"{site.path}/sse")
        endpoint = None
        while not endpoint:
            line = stream.readline().decode().strip()
            endpoint = line[5:].strip() if line.startswith("data:") else None
        post(endpoint, {"id": 0, "method": "initialize", "params": {
            "protocolVersion": "2024-11-05", "capabilities": CAN_ALL, "clientInfo": {"name": "e", "version": "1"}}})
        check("result" in next_message(stream), "initialize")
        return stream, endpoint

    def post(endpoint, message):
        return site.request("POST", TYPES, json.dumps({"jsonrpc": "2.0", **message}).encode(), endpoint)[0]
    (mine, my_endpoint), (other, other_endpoint) = start(), start()
    roots = json.dumps({"id": "r", "method": "roots/list"})
    for number in range(1, 20):
        check(post(my_endpoint, {"id": number, "method": "tools/call", "params": {
            "name": "say", "arguments": {"lines": [roots], "log": "oldsse"}}}) in (202, 200, 503), "call")
    asked = [next_message(mine) for _ in range(8)]
    ids = [message["id"] for message in asked if message.get("method") == "roots/list"]
    check(ids, asked)
    before = site.runs("oldsse")
    for number in ids:
        check(post(other_endpoint, {"id": number, "result": {"roots": []}}) in (202, 400), "another's answer")
    check(site.runs("oldsse") == before, "it ran")
    all_at_once(8, lambda number: [post(my_endpoint, {"id": one, "result": {"roots": [{"uri": "file:///" + "x" * 10000}]}}) for one in ids])
    until("each ran once", lambda: site.runs("oldsse") == before + len(ids))
    for stream in (mine, other):
        leave(stream)


@case("limits of streams, topics and marks: refused in words, and room again when they are gone",
      settings={"principal_share_percent": 100, "stream_max": 20, "once_max": 2, "broker_topics_max_bytes": 65536, "ask_wait_s": 3})
def _(site):
    streams, refused = [], 0
    for number in range(30):
        stream = listen(site, {"resourceSubscriptions": [f"docs:///{number}" + "x" * 1000]})
        is_stream = "event-stream" in stream.headers["Content-Type"]
        message = next_message(stream) if is_stream else json.loads(stream.read())
        check(stream.status == 200 and (is_stream or message["error"]["code"] == -32603), stream.status, message)
        refused += not is_stream
        streams.append(stream)
    check(10 <= refused < 20, "refused:", refused)
    status, message = site.call("say", {"sleep": 0.5})
    check(not is_tool_error(message), "a call without a stream:", message)
    for stream in streams:
        leave(stream)
    until("room for streams", lambda: "event-stream" in closed(listen(site, {"toolsListChanged": True})).headers["Content-Type"])
    stream = listen(site, {"resourceSubscriptions": ["docs:///" + "x" * 1000 + str(number) for number in range(90)]})
    check("error" in json.loads(stream.read()), "more topics than there is room for")
    states = [site.state("say_once", asks(x=number)) for number in range(4)]
    for number, state in enumerate(states):
        _, message = site.call("say_once", asks(x=number), requestState=state, inputResponses={"q": YES})
        check(("result" in message) == (number < 2), number, message)
    until("room for marks", lambda: "result" in site.call(
        "say_once", asks(), requestState=site.state("say_once"), inputResponses={"q": YES})[1])


@case("one that listens to a task and reads nothing, while it says more than fits: others are told all", settings={"stream_log_max_bytes": 65536})
def _(site):
    before = rss_kb(site.broker)
    progress = json.dumps({"method": "notifications/progress", "params": {"progress": "%d", "message": "x" * 900}}).replace('"%d"', "%d")
    task = site.task("say_task", lines=[progress, ask("q%d")], times=60, sleep=1)
    streams = [listen(site, {"taskIds": [task]}) for _ in range(20)]
    site.state_of(task, "input_required")
    for number in range(60):
        site.ask_modern("tasks/update", {"taskId": task, "inputResponses": {f"q{number}": YES}})
    site.state_of(task, "completed")
    check(rss_kb(site.broker) - before < GROWS_KB, "the broker grew by", rss_kb(site.broker) - before, "KB")
    for stream in streams:
        leave(stream)


@case("tasks: more than task_max: refused, and room again when they have ended", settings={"principal_share_percent": 100, "task_max": 60, "task_ttl_ms": 8000, "runner_jobs_max": 2})
def _(site):
    answers = all_at_once(10, lambda _: [site.call("say_task", {"sleep": 1000}, CAN_TASKS) for _ in range(8)])
    good = [message["result"]["taskId"] for group in answers for _, message in group if "result" in message]
    refused = [message for group in answers for _, message in group if "error" in message]
    check(55 <= len(good) <= 60 and refused and len(good) + len(refused) == 80, len(good), len(refused), refused[:1])
    until("room", lambda: "result" in site.call("say_task", {}, CAN_TASKS)[1])
    until("the rest has expired", lambda: not site.programs())


@case("more slow calls than worker_calls_max, of all kinds of clients: refused in words; pings, lists and cancels pass",
      settings={"worker_calls_max": 6})
def _(site):
    slow = {"name": "say", "arguments": {"sleep": 1000}}
    peers, sessions = [], [site.start() for _ in range(4)]

    def wire(headers, message):
        body = json.dumps(message).encode()
        lines = "".join(f"{name}: {value}\r\n" for name, value in {**headers, "Content-Length": len(body)}.items())
        peers.append(site.connect())
        peers[-1].sendall(f"POST {site.path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode() + body)
    for session in sessions:
        for number in range(1, 4):
            wire({**TYPES, **session}, {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": slow})
            wire({**TYPES, **session, "Accept": "application/json"}, {"jsonrpc": "2.0", "id": -number, "method": "tools/call", "params": slow})
    headers, body = site.modern_parts(slow)
    for _ in range(20):
        wire({**headers, "X-API-Key": site.key, "Accept": "application/json"}, json.loads(body))
    until("all places are taken", lambda: "error" in site.call("echo", {"text": "x"})[1])
    began = time.monotonic()
    check("result" in site.ask_modern("tools/list", {})[1], "no list")
    status, message = site.call("echo", {"text": "x"})
    check("error" in message and "limit" in message["error"]["message"], status, message)
    for session in sessions:
        message = message_of(site.send(session, "ping", {}).read())
        check("result" in message, "ping:", message)
        for number in range(-3, 4):
            site.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}, session)
    check(time.monotonic() - began < 9, "others waited", round(time.monotonic() - began, 1), "s")
    for peer in peers:
        peer.close()
    until("the programs of those who cancelled or left have ended", lambda: not site.programs())
    until("it works", lambda: "result" in site.call("echo", {"text": "x"})[1])


@case("parked calls without end: limits per session and in all, memory is bounded", settings={"broker_park_max_bytes": 1048576})
def _(site):
    before = rss_kb(site.broker)
    streams, refused = [], 0
    for _ in range(6):
        session = site.start()
        for number in range(1, 10):
            arguments = {"lines": [ask("q")], "x": "y" * 50000}
            stream = site.send(session, "tools/call", {"name": "say", "arguments": arguments}, number)
            streams.append(stream)
            message = next_message(stream) if "event-stream" in (stream.headers["Content-Type"] or "") else message_of(stream.read())
            refused += "method" not in (message or {})
    check(refused >= 6, "refused:", refused)
    check(rss_kb(site.broker) - before < 32 * 1024, "the broker grew by", rss_kb(site.broker) - before, "KB")
    site.works()
    for stream in streams:
        leave(stream)


@case("answers: after the deadline", settings={"ask_wait_s": 1})
def _(site):
    session = site.start()
    stream, (number,) = site.asked(session, asks(log="dead"))
    state, before = site.state(arguments=asks(log="dead")), site.runs("dead")
    message = last_message(stream)
    check("error" in message, message)
    check(site.answer(session, number)[0] in (202, 400), "after the deadline")
    time.sleep(1.1)
    status, message = site.call("say", asks(log="dead"), requestState=state, inputResponses={"q": YES})
    check(message["error"]["code"] == -32602, status, message)
    check(site.runs("dead") == before, "it ran")


if __name__ == "__main__":
    sys.exit(main(case, __doc__, Offers))
