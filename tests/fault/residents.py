#!/usr/bin/env python3
"""Resident programs that die, hang, lie, grow and idle behind a real web server, under workers that are killed and replaced:
a call fails when its own program does, and none ever gets the answer of another.

    tests/fault/residents.py [--server lighttpd] [WORD]...     only cases with one of these words in their title"""

import concurrent.futures
import contextlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True  # the sources may be read-only
from faults import Cases, Site, check, compare, main, message_of, until  # noqa: E402

case = Cases()
ONE = {"exec_resident_max": 1}
DEATHS = {
    "exit": "stays: exited with status 3",
    "kill": "stays: was ended by signal 9",
    "garbage": "stays: wrote a line that is no message",
    "flood": "stays: wrote more than 65536 bytes",
    "half": "stays: ended without an answer",
}


class OneWorker(Site):
    """So that the next call meets the program of the one before."""

    def __init__(self, args, **more):
        super().__init__(args, options=("--workers", "1"), **more)


def call(site, do, word=None):
    """What the program says of itself, or the words of its failure."""
    status, _, body = site.modern({"name": "stays", "arguments": {"do": do, **({"word": word} if word else {})}})
    check(status == 200, status, body[:300])
    result = message_of(body)["result"]
    text = result["content"][0]["text"]
    return text if result.get("isError") else json.loads(text)


def is_there(pid):
    return Path(f"/proc/{pid}").exists()


def gone(pids):
    until("the programs have ended", lambda: not any(is_there(pid) for pid in pids))


@contextlib.contextmanager
def at_work(site):
    """A call that is under way: its answer to come, the program's pid, and the file that lets it end."""
    with tempfile.TemporaryDirectory(prefix="mcp-fault.") as directory:
        os.chmod(directory, 0o755)
        go = Path(directory, "go")
        answer = site.modern_open({"name": "stays", "arguments": {"do": "work", "word": str(go)}}, {"progressToken": 1})
        lines = iter(answer.readline, b"")
        said = next(json.loads(line[5:]) for line in lines if line.startswith(b"data:") and b"progress" in line)
        yield answer, int(said["params"]["message"]), go
        answer.close()
        answer.connection.close()


@case("it stays")
def _(site):
    told = [call(site, "say", str(n)) for n in range(40)]
    check([(each["word"], each["count"]) for each in told] == [(str(n), n + 1) for n in range(40)], told)
    check(len({each["pid"] for each in told}) == 1, told)


@case("what dies or lies fails its own call, and the next one has another", settings=ONE)
def _(site):
    for do, why in DEATHS.items():
        before = call(site, "say")["pid"]
        said = call(site, do)
        check(isinstance(said, str) and said.startswith(why), do, said)
        check(call(site, "say")["count"] == 1, do, "not another one")
        gone([before])


@case("no call gets another's answer, whatever goes wrong beside it", settings={"exec_resident_max": 3})
def _(site):
    def one(n):
        do = ("say", "late", "other", "last", "say", "garbage", "kill", "say")[n % 8]
        said = call(site, do, str(n))
        check(isinstance(said, str) == (do in DEATHS), do, said)
        return said["word"] if isinstance(said, dict) else None

    with concurrent.futures.ThreadPoolExecutor(12) as threads:
        got = list(threads.map(one, range(240)))
    compare([str(n) for n in range(240) if n % 8 not in (5, 6)], [word for word in got if word])


@case("a client that leaves takes its program along, and the next call has another", settings=ONE)
def _(site):
    with at_work(site) as (answer, pid, _):
        pass
    gone([pid])
    check(call(site, "say")["pid"] != pid, pid)


@case("a call waits in line for its turn", settings=ONE)
def _(site):
    with at_work(site) as (answer, pid, go), concurrent.futures.ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(call, site, "say", str(n)) for n in range(4)]
        check(not concurrent.futures.wait(waiting, 0.5).done, "one did not wait")
        go.touch()
        check(json.loads(message_of(answer.read())["result"]["content"][0]["text"])["pid"] == pid, "another answered")
        told = [each.result() for each in waiting]
        check({each["pid"] for each in told} == {pid}, told)
        compare([str(n) for n in range(4)], [each["word"] for each in told])


@case("one that hangs is ended at its time", settings=ONE)
def _(site):
    pid = call(site, "say")["pid"]
    session = site.session()
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "hangs", "arguments": {"do": "hang"}}}
    status, _, body = site.post(body, session)
    text = message_of(body)["result"]["content"][0]["text"]
    check(status == 200 and text == "hangs: timed out after 1 s", text)
    check(call(site, "say")["pid"] == pid, "that of another tool")
    status, _, body = site.modern({"name": "hangs", "arguments": {"do": "say"}})
    check(json.loads(message_of(body)["result"]["content"][0]["text"])["count"] == 1, body)


@case("one that has grown is replaced", settings={"exec_resident_rss_max_bytes": 48 << 20})
def _(site):
    first = call(site, "say")
    check(call(site, "say") == {**first, "count": 2}, first)
    check(call(site, "grow")["pid"] == first["pid"], "another grew")
    gone([first["pid"]])
    check(call(site, "say")["count"] == 1, "not another one")


@case("one without calls is ended", settings={"exec_resident_idle_s": 1})
def _(site):
    gone([call(site, "say")["pid"]])
    check(call(site, "say")["count"] == 1, "not another one")


@case("a worker that is killed takes its programs along, the one at work too", may_lose_workers=True)
def _(site):
    before = site.workers()
    with at_work(site) as (_, busy, _):
        idle = call(site, "say")["pid"]
        check(idle != busy, "it is busy")
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        gone([busy, idle])
    until("another worker", lambda: len(site.workers()) == 1 and not before & site.workers())
    check(call(site, "say")["count"] == 1, "not another one")


@case("mcp-launch is killed: its programs end, and others come")
def _(site):
    pid = call(site, "say")["pid"]
    launcher = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(launcher, signal.SIGKILL)
    gone([pid, launcher])
    check(call(site, "say")["count"] == 1, "not another one")


@case("a reload: old programs end after their calls", may_lose_workers=True)
def _(site):
    before = site.workers()
    with at_work(site) as (answer, busy, go):
        idle = call(site, "say")["pid"]
        os.kill(site.supervisor, signal.SIGHUP)
        until("another worker", lambda: site.workers() - before)
        until("a new program", lambda: call(site, "say")["pid"] not in (busy, idle))
        check(is_there(busy), "it was ended in its call")
        go.touch()
        check(json.loads(message_of(answer.read())["result"]["content"][0]["text"])["pid"] == busy, "another answered")
    gone([busy, idle, *before])


if __name__ == "__main__":
    sys.exit(main(case, __doc__, OneWorker))
