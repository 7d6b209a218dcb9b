"""Part of bench/run: how many instructions a call and an event take in our programs, as callgrind counts them: the same each
time but for a few, on a busy machine too. Of a program's beginning and end nothing is counted: what is printed is the difference
between two runs, by the requests that one of them had more."""

import json
import re
import shutil
import time
from pathlib import Path

from running import SOURCE, Failure, Missing
from sites import LEGACY, TEXT, initialize_message, legacy_call, modern_call
from starts import PATIENCE_S, Programs, ask, request

FEW, MANY = 20, 120
MS_AN_EVENT = 10  # so that no two of them are written together


def as_headers(lines):
    return dict(line.split(": ") for line in lines)


def ask_modern(path, count):
    body, lines = modern_call("echo", {"text": TEXT})
    for number in range(count):
        ask(path, request(body.replace("@ID@", str(number)), as_headers(lines)))


def ask_legacy(path, count):
    answer = ask(path, request(json.dumps(initialize_message()), {"MCP-Protocol-Version": LEGACY}))
    session = re.search(rb"Mcp-Session-Id: (\S+)", answer)[1].decode()
    body, lines = legacy_call("echo", {"text": TEXT})
    for number in range(1, count + 1):
        ask(path, request(body.replace("@ID@", str(number)), {**as_headers(lines), "Mcp-Session-Id": session}))


def ask_events(path, count):
    body, lines = modern_call("test_ticks", {"ms": count * MS_AN_EVENT, "steps": count}, progress=True)
    answer = ask(path, request(body.replace("@ID@", "1"), as_headers(lines)))
    if answer.count(b"notifications/progress") != count:
        raise Failure(f"not {count} events, but {answer!r}")


def counted(programs, name, site, ask_them, count):
    """Instructions of that program while it and the other one served so many."""
    place, ran = programs.fresh(), {}
    for each in ("mcp-broker", "mcp-worker"):
        more = ["--foreground"] if each == "mcp-broker" else [
            "--socket", place / "worker.sock", "--processes", "1", "--threads", "2", "--set", "broker_autostart=false"]
        ran[each] = programs.start(each, place, *more, site=site)
    ran[name].argv[:0] = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={place}/callgrind.%p"] + (
        ["--toggle-collect=worker_serve"] if name == "mcp-worker" else [])
    with ran["mcp-broker"]:
        until = time.monotonic() + PATIENCE_S
        while not (place / "broker.ctl").exists():
            if time.monotonic() > until:
                raise Failure("mcp-broker did not start under valgrind")
            time.sleep(0.01)
        with ran["mcp-worker"]:
            ask_them(place / "worker.sock", count)
    return sum(int(re.search(r"^summary: (\d+)", file.read_text(), re.M)[1]) for file in place.glob("callgrind.*"))


def instructions(args, report, scratch):
    if not shutil.which("valgrind"):
        report.left_out(Missing("valgrind is not installed"))
        return
    programs = Programs(scratch)
    ticks = SOURCE / "tests" / "conformance" / "site"
    report.head("instructions, as callgrind counts them, without the kernel's")
    for what, name, site, ask_them in (
            ("a modern call: worker", "mcp-worker", programs.site, ask_modern),
            ("a legacy call: worker, the link's thread aside", "mcp-worker", programs.site, ask_legacy),
            ("a legacy call: broker", "mcp-broker", programs.site, ask_legacy),
            ("an event: broker", "mcp-broker", ticks, ask_events)):
        few, many = (counted(programs, name, site, ask_them, count) for count in (FEW, MANY))
        report.add("instructions", what, [(many - few) / (MANY - FEW)], "")
