#!/usr/bin/env python3
"""Others report on calls (mcpctl publish progress) while the runner, the broker or the worker of the call is killed, and when
many say the same at once.

    tests/fault/reports.py [--server lighttpd] [WORD]...     only cases with one of these words in their title"""

import concurrent.futures
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True  # the sources may be read-only
from faults import PATIENCE_S, Cases, check, compare, main, message_of, processes, until  # noqa: E402
from streams import Client, Reader, broker_pid, id_of, is_answer, kill_broker  # noqa: E402
from streams import message_of as event_of  # noqa: E402

case = Cases()
SCRATCH = Path(tempfile.mkdtemp(prefix="mcp-reports."))
SCRATCH.chmod(0o777)  # as root the site is www-data's
SETTINGS = {"publish_socket": SCRATCH / "publish"}
names = (str(SCRATCH / f"job{n}") for n in itertools.count())


def report(call, number, **more):
    """(status, what was said); status None: nobody serves the socket, any more perhaps."""
    body = json.dumps({"progress": {"call": call, "progress": number, **more}}).encode()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
        s.settimeout(PATIENCE_S)
        try:
            s.connect(str(SETTINGS["publish_socket"]))
            s.sendall(b"POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            raw = b"".join(iter(lambda: s.recv(65536), b""))
        except (ConnectionError, FileNotFoundError):
            return None, {}
    head, _, said = raw.partition(b"\r\n\r\n")
    return (int(head.split()[1]), json.loads(said)) if raw else (None, {})


class Job:
    """A call whose work somebody else does: how it began, and its end."""

    def __init__(self, make):
        self.path = Path(next(names))
        self.stream = make({"file": str(self.path)})
        self.call = until("the job", lambda: self.path.exists() and self.path.read_text())

    def reaches(self, number, **more):
        answer = report(self.call, number, **more)
        check(answer == (200, {"reached": 1}), number, answer)

    def is_over(self):
        return report(self.call, 1e9)[0] == 404

    def finish(self):
        Path(f"{self.path}.done").touch()


def legacy(site):
    client = Client(site)
    return client, Job(lambda args: client.call("hand", args, progress=True, wait=False))


def modern(site, **headers):
    def make(args):
        more, body = site.modern_parts({"name": "hand", "arguments": args}, meta={"progressToken": "p"})
        return Reader(site, "POST", {**more, **headers}, body, wait=False)
    return Job(make)


def numbers(events):
    return [message["params"]["progress"] for message in map(event_of, events) if message and "method" in message]


def is_whole(stream, want):
    """All that was reported came, in order, and then the answer."""
    events = stream.read_whole()
    compare(want, numbers(events))
    check(event_of(events[-1])["result"]["content"][0]["text"] == "done\n", events[-1])
    stream.close()


def kill_runner(site):
    """How to start it again: a worker would do that, ten seconds later."""
    pid = until("a runner", lambda: processes("mcp-runner", "run_dir=" + site.run_dir))[0]
    argv, who = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1], Path(f"/proc/{pid}").stat()
    os.kill(pid, signal.SIGKILL)
    until("its end", lambda: report("none", 1)[0] is None)
    as_it = {"user": who.st_uid, "group": who.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    return lambda: subprocess.run(argv, check=True, timeout=PATIENCE_S, cwd="/", **as_it)


@case("many say the same at once, and again: each number comes once, in order", settings=SETTINGS)
def _(site):
    job = modern(site)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for number in range(1, 6):
            said = list(pool.map(lambda _, n=number: report(job.call, n), range(8)))
            check(all(status == 200 for status, _ in said), said)
            check(sum(what["reached"] for _, what in said) == 1, said)
            check(all("grow" in what["why"] for _, what in said if not what["reached"]), said)
    job.finish()
    is_whole(job.stream, list(range(1, 6)))


@case("a runner that is killed: nobody can report, until the next one; the call goes on", settings=SETTINGS)
def _(site):
    (client, one), other = legacy(site), modern(site)
    for job in (one, other):
        job.reaches(1)
    start_runner = kill_runner(site)
    check(report(one.call, 2) == (None, {}), "who answers?")
    start_runner()
    for job in (one, other):
        job.reaches(2, total=2, message="häl\u0000f")
        job.finish()
        is_whole(job.stream, [1, 2])
    client.end()


@case("a worker that is killed: its calls have ended, and that is said", settings=SETTINGS, may_lose_workers=True)
def _(site):
    job, before = modern(site), site.workers()
    job.reaches(1)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until("new workers", lambda: len(site.workers() - before) == 2)
    until("the end of the call", job.is_over)
    events = job.stream.read_whole()
    compare([1], numbers(events))
    check("error" in event_of(events[-1]), events[-1])
    left = list(Path(site.run_dir, "calls").iterdir())
    check(len(left) == 1, "left:", left)
    os.utime(left[0], (0, 0))
    kill_runner(site)()
    check(not left[0].exists(), "the next runner has not swept")


@case("a broker that is killed: the call of a session can be reported on afterwards, one of 2026-07-28 has ended", settings=SETTINGS,
      may_lose_broker=True)
def _(site):
    (client, job), lost = legacy(site), modern(site)
    json_only = modern(site, Accept="application/json")
    for each in (job, lost):
        each.reaches(1)
    seen = job.stream.read(lambda events: numbers(events) == [1])
    kill_broker(site)
    until("the end of what can't go on", lost.is_over)
    lost.stream.close()
    # at the second try perhaps that it did not grow: the first one had no answer in time, but went on
    until("that it can be reported on", lambda: report(job.call, 2)[0] == 200)
    status, said = report(json_only.call, 1)
    check(status == 200 and "one JSON object" in said["why"], status, said)
    json_only.finish()
    json_only.stream.read_whole()
    check(message_of(json_only.stream.body)["result"], json_only.stream.body)
    job.finish()
    job.stream.close()
    with client.resume(id_of(seen[-1])) as rest:
        events = rest.read_whole()
    check(is_answer(events[-1]) and numbers(events) in ([2], []), events)
    site.broker = until("the broker", lambda: broker_pid(site))
    client.end()


if __name__ == "__main__":
    try:
        status = main(case, __doc__)
    finally:
        shutil.rmtree(SCRATCH)
    sys.exit(status)
