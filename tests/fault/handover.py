#!/usr/bin/env python3
"""Another program takes the broker's place, again and again, while clients of all kinds are served: no stream drops, no event
is lost or comes twice, and no worker is lost.

    tests/fault/handover.py [--server lighttpd] [WORD]...     only cases with one of these words in their title"""

import contextlib
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
from faults import PATIENCE_S, Cases, Site, check, compare, main, message_of as message_in, toll, until  # noqa: E402
from streams import FIXTURE, REVISIONS, Client, OldClient, Reader, id_of, is_answer, message_of, read_together  # noqa: E402

case = Cases()
BUILD = Path(os.environ.get("abs_top_builddir", "."))
PROGRAMS = ("mcp-worker", "mcp-runner", "mcp-launch")
SCRATCH = Path(tempfile.mkdtemp(prefix="mcp-handover."))
TIMES = 10
STEPS, MS = 2500, 5000
DEAF_CALLS, DEAF_BYTES = 20, 250000  # more than all kernels on the way take
TASKS = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}


def mcpctl(site, what):
    """Its exit status, and what it says."""
    command = [BUILD / "mcpctl", what, "--json", "--conf", FIXTURE / "mcp.json", "--set", f"run_dir={site.run_dir}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    return done.returncode, done.stdout + done.stderr


def hand_over(site):
    status, text = mcpctl(site, "restart")
    check(status == 0, "mcpctl restart:", text)
    said = json.loads(text)
    check(said["pid"] == site.broker, "another process:", said)
    toll["handovers"] += 1
    toll["longest_pause_ms"] = max(toll["longest_pause_ms"], said["pause_ms"])
    return said


def progress_of(stream):
    """The numbers of its progress notifications."""
    messages = filter(None, map(message_of, stream.events))
    return [message["params"]["progress"] for message in messages if message.get("method") == "notifications/progress"]


def modern_call(site, name, arguments, **more):
    headers, body = site.modern_parts({"name": name, "arguments": arguments}, meta={"progressToken": "p"})
    return Reader(site, "POST", headers, body, **more)


def listen(site, uri):
    headers, body = site.modern_parts({"notifications": {"resourceSubscriptions": [uri]}}, "subscriptions/listen")
    return Reader(site, "POST", headers, body)


class Load:
    """Clients of each kind, each with something that goes on."""

    def __init__(self, site, stack):
        self.site, self.stack = site, stack
        ticks = {"ms": MS, "steps": STEPS}
        self.uri = f"test://template/{os.getpid()}/data"
        self.clients = [Client(site, version) for version in REVISIONS]
        self.calls = [self.keep(client.call("test_ticks", ticks, progress=True)) for client in self.clients]
        self.modern = [self.keep(modern_call(site, "test_ticks", ticks)) for _ in range(2)]
        self.deaf = OldClient(site, receive_bytes=4096)
        self.keep(self.deaf.stream)
        self.deaf.stream.events.clear()  # where to POST is not JSON
        for n in range(DEAF_CALLS):
            self.deaf.call("test_echo", {"n": n, "text": "x" * DEAF_BYTES})
        self.own = [self.keep(client.get()) for client in self.clients]
        for client in self.clients:
            client.ask("resources/subscribe", {"uri": self.uri})
        self.listens = [self.keep(listen(site, self.uri)) for _ in range(2)]
        self.old = OldClient(site)
        self.keep(self.old.stream)
        self.old.stream.events.clear()  # where to POST is not JSON
        self.old_number = self.old.call("test_ticks", ticks)
        self.asker = Client(site, capabilities={"elicitation": {}})
        self.asked = self.keep(self.asker.call("test_elicitation", {"message": "Who?"}))
        self.asked.read(lambda events: any(map(message_of, events)))
        self.task = self.modern_ask("tools/call", {"name": "slow_compute", "arguments": {"seconds": MS / 1000, "label": "x"}})["taskId"]
        self.lasting = [*self.own, *self.listens, self.old.stream, self.asked]  # the others end by themselves
        self.updates, self.seen = 0, {}
        read_together(self.all(), lambda: all(stream.events for stream in self.listens))

    def keep(self, stream):
        return self.stack.enter_context(stream)

    def modern_ask(self, method, params):
        headers, body = self.site.modern_parts(params, method, TASKS)
        if "taskId" in params:
            headers["Mcp-Name"] = params["taskId"]
        status, _, answer = self.site.request("POST", headers, body)
        message = message_in(answer)
        check(status == 200 and "result" in message, method, status, answer[:300])
        return message["result"]

    def all(self):
        """Those that are read all the time."""
        return [*self.calls, *self.modern, *self.own, *self.listens, self.old.stream, self.asked]

    def update(self):
        """Each of those who subscribed hears of it."""
        self.clients[0].ask("tools/call", {"name": "test_trigger_resource_update", "arguments": {"uri": self.uri}})
        self.updates += 1

    def heard(self, stream):
        return sum(message.get("method") == "notifications/resources/updated" for message in filter(None, map(message_of, stream.events)))

    def all_heard(self):
        return all(self.heard(stream) == self.updates for stream in [*self.own, *self.listens])

    def read_until(self, done):
        """Notes how late each event is that says when it was emitted."""
        end = time.monotonic() + 3 * PATIENCE_S
        while not done():
            check(time.monotonic() < end, "streams go on without what was expected")
            open_ones = [stream for stream in self.all() if not (stream.ended or stream.broken)]
            for stream in select.select(open_ones, [], [], 0.05)[0]:
                stream.read_once()
                now_ms = time.time() * 1000
                for event in stream.events[self.seen.get(stream, len(stream.events)):]:
                    emitted = re.search(rb'"message":"(\d+\.\d+)"', event)
                    if emitted:
                        toll["latest_event_ms"] = max(toll["latest_event_ms"], int(now_ms - float(emitted[1])))
                self.seen[stream] = len(stream.events)

    def hear_the_deaf(self):
        stream = self.deaf.stream
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        stream.read(lambda events: sum(map(is_answer, events)) >= DEAF_CALLS)
        answers = [message_of(event)["result"] for event in stream.events if is_answer(event)]
        texts = [json.loads(answer["content"][0]["text"]) for answer in answers]
        compare(range(DEAF_CALLS), sorted(text["n"] for text in texts))
        check(all(text["text"] == "x" * DEAF_BYTES for text in texts), "a text has changed")

    def waits_for_the_deaf(self):
        status, text = mcpctl(self.site, "streams")
        return status == 0 and any(stream["undelivered_bytes"] > DEAF_BYTES for stream in json.loads(text)["streams"])

    def end(self):
        """Everything that was begun comes to its end, whole."""
        self.read_until(lambda: all(stream.ended or stream.broken for stream in [*self.calls, *self.modern])
                        and any(map(is_answer_of(self.old_number), self.old.stream.events)))
        for stream in [*self.calls, *self.modern, self.old.stream]:
            compare(range(1, STEPS + 1), progress_of(stream))
            answers = [event for event in stream.events if is_answer(event) and "content" in (message_of(event).get("result") or {})]
            check(len(answers) == 1, len(answers), "answers")
            names = [id_of(event) for event in stream.events if id_of(event)]
            check(len(names) == len(set(names)), "an id comes twice")
        self.hear_the_deaf()
        question = next(message for message in map(message_of, self.asked.events) if message)
        with self.asker.post({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}) as answer:
            check(answer.status == 202, "the answer:", answer.status)
        check(sum(map(is_answer, self.asked.read_whole())) == 1, "the parked call:", self.asked.events)
        until("the task", lambda: self.modern_ask("tasks/get", {"taskId": self.task})["status"] == "completed")
        self.update()
        self.read_until(self.all_heard)
        for stream in [*self.own, *self.listens, self.old.stream]:
            check(not stream.ended and not stream.broken, "a stream dropped")


def is_answer_of(number):
    return lambda event: is_answer(event) and message_of(event).get("id") == number


def ten_in_a_row(site):
    with contextlib.ExitStack() as stack:
        load, failures, over = Load(site, stack), [], threading.Event()

        def work():
            try:
                until("a stream that is half written", load.waits_for_the_deaf)
                for _ in range(TIMES):
                    said = hand_over(site)
                    time.sleep(0.2)  # so that each pause is seen by itself
                    check(said["connections"] >= len(load.lasting), said)
            except BaseException as why:  # for the thread that reads
                failures.append(why)
            over.set()

        thread = threading.Thread(target=work)
        thread.start()
        load.read_until(over.is_set)
        thread.join()
        if failures:
            raise failures[0]
        load.update()
        load.read_until(load.all_heard)
        load.end()


@case("ten in a row under load, the store is on disk")
def _(site):
    ten_in_a_row(site)


@case("a program that is broken, hangs, is not there, or says another thing: the old one goes on")
def _(site):
    copies = Path(site.run_dir).parent / "bin"  # where tests/serve gave up root's rights
    program, good = (copies if copies.exists() else SCRATCH / "bin") / "mcp-broker", SCRATCH / "good"
    ways = {"exits": "#!/bin/sh\nexit 3\n", "hangs": "#!/bin/sh\nexec sleep 60\n", "says another thing": "#!/bin/sh\necho snapshot=0\n",
            "dies": "#!/bin/sh\nkill -9 $$\n", "is no program": "\0\1\2", "is not there": None}
    client = Client(site)
    with client.get() as own, client.call("test_ticks", {"ms": 1000, "steps": 100}, progress=True) as stream:
        for way, text in ways.items():
            program.unlink()
            if text is not None:
                program.write_text(text)
                program.chmod(0o755)
            status, said = mcpctl(site, "restart")
            check(status == 1 and "503" in said, way, status, said)
        program.unlink(missing_ok=True)
        shutil.copy(good, program)
        hand_over(site)
        stream.read_whole()
        compare(range(1, 101), progress_of(stream))
        check(not own.ended and not own.broken, "a stream dropped")


@case("ten in a row under load, the store is in memory", settings={"store_kind": "memory"})
def _(site):
    ten_in_a_row(site)


class OurSite(Site):
    def __init__(self, args, fds, **settings):
        super().__init__(args, fds, site=FIXTURE, options=("--bin-dir", str(SCRATCH / "bin")), stream_after_ms=10,
                         stream_log_max_bytes=1 << 25, **settings)


def run():
    (SCRATCH / "bin").mkdir()
    for name in PROGRAMS:
        shutil.copy(BUILD / name, SCRATCH / "bin")
    for place in ("good", "bin/mcp-broker"):
        shutil.copy(BUILD / "mcp-broker", SCRATCH / place)
    SCRATCH.chmod(0o755)
    try:
        return main(case, __doc__, OurSite)
    finally:
        print(f"# {toll['handovers']} handovers, longest pause {toll['longest_pause_ms']} ms,"
              f" latest event {toll['latest_event_ms']} ms after it was emitted")
        shutil.rmtree(SCRATCH)


if __name__ == "__main__":
    sys.exit(run())
