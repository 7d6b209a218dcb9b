#!/usr/bin/env python3
"""How many system calls the real processes make for one modern call, one call of a session, one event that is delivered,
one program that is run, and one call of a tool that is an API, a query or a module: counted, not timed. What comes by the clock
(heartbeats, STATS), of memory, and of locks is left out.

    tests/fault/system_calls.py [--server lighttpd] [WORD]...     only cases with one of these words in their title"""

import collections
import contextlib
import http.client
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True  # the sources may be read-only
from faults import MODERN, TYPES, Cases, Site, check, main, until  # noqa: E402
from streams import FIXTURE  # noqa: E402

case = Cases()
CALLS = 40
EVENTS = 40
EVENT_MAX = 14
QUIET = {"stream_heartbeat_ms": 600000, "stream_heartbeat_modern_ms": 600000}
# Of malloc() and of locks that somebody else holds; an interrupted call that goes on. getpid() is ZeroMQ's.
NOT_COUNTED = {"brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "futex", "sched_yield", "restart_syscall", "getpid"}
ECHO = {"text": "hello"}
SERVES = ["accept4", "poll", "read", "write", "close"]
# Of one program: the worker's thread, mcp-launch, and the child until it is the program. How often the first two wait and read
# hangs on who is faster.
WAITS = {"poll", "read"}
RUNS = {"accept4": 1, "memfd_create": 1, "pwrite64": 1, "pipe2": 4, "fcntl": 3, "sendmsg": 1, "close": 10, "write": 1}
LAUNCHES = {"recvmsg": 1, "clone": 1, "waitid": 2, "kill": 1, "wait4": 1, "write": 1, "close": 8}
BECOMES = ["setpgid", "prctl", "getppid", "chdir", "dup3", "dup3", "dup3", "dup3", "rt_sigprocmask", "execve"]


class Trace:
    """What these processes call until the end of the with block, by thread: lists of (name, result)."""

    def __init__(self, *pids):
        self.pids, self.threads = pids, collections.defaultdict(list)

    def __enter__(self):
        self.file = tempfile.NamedTemporaryFile(prefix="mcp-strace.")
        self.began = time.monotonic()
        attach = [word for pid in self.pids for word in ("-p", str(pid))]
        self.process = subprocess.Popen(["strace", "-f", "-o", self.file.name, *attach], stderr=subprocess.PIPE, text=True)
        until("strace to see all threads", self.sees_all)
        return self

    def sees_all(self):
        check(self.process.poll() is None, "strace ended:", self.process.stderr.read() if self.process.poll() is not None else "")
        tasks = [task for pid in self.pids for task in Path(f"/proc/{pid}/task").iterdir()]
        return all(re.search(rf"^TracerPid:\s+{self.process.pid}$", (task / "status").read_text(), re.M) for task in tasks)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()
        self.seconds = time.monotonic() - self.began
        for line in Path(self.file.name).read_text(errors="replace").splitlines():
            # A call that another thread interrupts in the listing has two lines: its name, and its result.
            found = re.match(r"(\d+) +(?:<\.\.\. )?(\w+)(?:\(| resumed>)(?:.* = (-?\d+))?", line)
            if found and found[2] not in NOT_COUNTED and found[3] is not None:
                self.threads[int(found[1])].append((found[2], int(found[3])))
        self.file.close()

    def served(self):
        """What threads did from the moment in which a connection came until the next one: a list each."""
        requests = []
        for calls in self.threads.values():
            mine = []
            for name, result in calls:
                if name == "accept4" and result >= 0:
                    mine = []
                    requests.append(mine)
                mine.append(name)
        return [names for names in requests if names]

    def count(self, tids, name):
        """Those that did something."""
        return sum(call == name and result > 0 for tid in tids for call, result in self.threads[tid])


def check_served(trace, want, least=CALLS // 2):
    """More than that did just this: one may have had to wait for the second half of its request."""
    served = collections.Counter(tuple(names) for names in trace.served())
    check(sum(served.values()) == CALLS, sum(served.values()), "requests were seen, not", CALLS)
    check(served[tuple(want)] > least, "a request is", want, "but", dict(served))


def check_no_others(trace):
    """Of a site that had no legacy call yet: later the link's thread says every two seconds how it is."""
    others = {tid: names for tid, names in trace.threads.items() if not any(name == "accept4" for name, _ in names)}
    check(not others, "other threads had to do something:", others)


def tasks(pid):
    return {int(task) for task in os.listdir(f"/proc/{pid}/task")}


def calls(site, headers, body):
    """One after the other, on one connection."""
    with contextlib.closing(http.client.HTTPConnection(site.host, site.port, timeout=60)) as connection:
        for number in range(CALLS):
            connection.request("POST", site.path, body.replace(b"@ID@", b"%d" % number), headers)
            answer = connection.getresponse()
            text = answer.read()
            check(answer.status == 200 and b'"result"' in text, answer.status, text[:300])


def modern_call(site, name, arguments, meta=None):
    headers, body = site.modern_parts({"name": name, "arguments": arguments}, meta=meta)
    return headers, body.replace(b'"id": "m"', b'"id": @ID@')


@case("a modern call: five system calls, and nobody else is woken for it", settings=QUIET)
def _(site):
    worker, = site.workers()
    threads, headers = tasks(worker), modern_call(site, "echo", ECHO)
    calls(site, *headers)
    with Trace(worker) as trace:
        calls(site, *headers)
    check_served(trace, SERVES)
    check(tasks(worker) == threads, "a thread was started: the link's?", tasks(worker) - threads)
    check_no_others(trace)


@case("a call of a session: two packets to the broker, one from it", settings=QUIET)
def _(site):
    body = json.dumps({"jsonrpc": "2.0", "id": "@ID@", "method": "tools/call", "params": {"name": "echo", "arguments": ECHO}})
    headers = {**TYPES, **site.session()}
    worker, = site.workers()
    request = headers, body.replace('"@ID@"', "@ID@").encode()
    calls(site, *request)
    with Trace(worker, site.broker) as trace:
        calls(site, *request)
    check_served(trace, [*SERVES[:3], "sendto", "recvfrom", "sendto", *SERVES[3:]])
    ours = tasks(site.broker)
    packets = trace.count(ours, "recvmsg")
    check(packets in (2 * CALLS - 1, 2 * CALLS), "packets from the worker:", packets)  # the last may come when nobody looks any more
    check(trace.count(ours, "sendto") >= CALLS, "packets to the worker:", trace.count(ours, "sendto"))
    # ZeroMQ's threads, and the eventfds by which they are woken, are for the others: STATS every two seconds.
    woken = trace.count(ours, "write") + trace.count(tasks(worker), "write") - CALLS
    check(woken <= 8 * (1 + trace.seconds / 2), "ZeroMQ was woken", woken, "times in", trace.seconds, "s")
    total = sum(len(names) for names in trace.threads.values()) / CALLS
    print(f"# {total:.1f} a call in all")


@case("an event: one write to its client, and so many system calls of the broker at most", settings=QUIET)
def _(site):
    headers, body = modern_call(site, "test_ticks", {"ms": 20 * EVENTS, "steps": EVENTS}, {"progressToken": 1})
    with Trace(site.broker) as trace:
        status, _, text = site.request("POST", headers, body.replace(b"@ID@", b"1"))
    events = text.count(b"notifications/progress")
    check(status == 200 and events == EVENTS, status, events, "events of", EVENTS)
    writes, per_event = trace.count([site.broker], "sendto"), len(trace.threads[site.broker]) / EVENTS
    check(0 < writes <= EVENTS + 4, writes, "writes for", EVENTS, "events, a head and an end")
    check(per_event <= EVENT_MAX, per_event, "system calls an event, of the broker's main thread")
    print(f"# {per_event:.1f} of its main thread, and as many as ZeroMQ's thread makes")


def launcher_of(worker):
    """The process of mcp-launch that starts programs: the second of the two."""
    def below(pid):
        text = " ".join((task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for child in text.split() if Path(f"/proc/{child}/comm").read_text() == "mcp-launch\n"]
    first, = below(worker)
    second, = below(first)
    return second


def split_at(name, names):
    """Lists that begin with it."""
    at = [index for index, each in enumerate(names) if each == name]
    return [names[one:next_one] for one, next_one in zip(at, [*at[1:], None])]


def check_most(who, runs, want):
    """The last may not be seen to its end."""
    counted = collections.Counter(tuple(sorted(collections.Counter(names).items())) for names in runs)
    check(len(runs) == CALLS, who, "had", len(runs), "programs, not", CALLS)
    check(counted[tuple(sorted(want.items()))] > CALLS / 2, who, "makes for a program:", dict(counted))


@case("a program: so many system calls of the worker, of mcp-launch, and of the child before it is the program", settings=QUIET)
def _(site):
    worker, = site.workers()
    request = modern_call(site, "test_simple_text", {})
    calls(site, *request)
    launcher = launcher_of(worker)
    with Trace(worker, launcher) as trace:
        calls(site, *request)
    runs, launches = sum(trace.served(), []), [name for name, _ in trace.threads.pop(launcher)]
    check_most("the worker", [[name for name in names if name not in WAITS] for names in trace.served()], RUNS)
    check_most("mcp-launch", split_at("recvmsg", [name for name in launches if name not in WAITS]), LAUNCHES)
    ours = tasks(worker)
    children = [[name for name, _ in names] for tid, names in trace.threads.items() if tid not in ours]
    for names in children:
        check(names[:len(BECOMES)] == BECOMES, "a child:", names[:len(BECOMES) + 1])
    check(len(children) == CALLS, len(children), "children")
    print(f"# {len(runs) / CALLS:.1f} of the worker, {len(launches) / CALLS:.1f} of mcp-launch, {len(BECOMES)} of the child")


def tools_site(directory):
    """A site with a tool of each kind, for the cases below. Its API is tests/lib/http_standin.py."""
    site = Path(directory, "site")
    site.mkdir(mode=0o755)
    directory_of_tests = Path(__file__).resolve().parent.parent
    shutil.copy(directory_of_tests / "lib" / "http_standin.py", site / "start")
    shutil.copy(Path(os.environ.get("abs_top_builddir", "."), "tests", "modules", "hello.so"), site)
    with contextlib.closing(sqlite3.connect(site / "clients.db")) as db:
        db.execute("CREATE TABLE clients (id INTEGER PRIMARY KEY, name TEXT)")
        db.execute("INSERT INTO clients VALUES (7, 'Ada')")
        db.commit()
    api = {"http": "${API}/say/nothing"}
    (site / "mcp.json").write_text(json.dumps({
        "http": {"allow_addresses": ["127.0.0.1"]}, "databases": {"clients": {"sqlite": "clients.db"}},
        "modules": {"hello": {"file": "hello.so"}},
        "tools": {"echo": {"builtin": "echo"}, "api": api, "kept": {**api, "cache": 3600},
                  "query": {"sql": "SELECT name FROM clients WHERE id = {id}", "input": {"id": {"type": "integer"}}}}}))
    return site


SCRATCH = tempfile.TemporaryDirectory(prefix="mcp-calls.")
os.chmod(SCRATCH.name, 0o755)  # as root the site is www-data's
TOOLS = {"site": tools_site(SCRATCH.name), **QUIET}


def trace_tool(site, name, arguments):
    """What a worker does for calls of it."""
    worker, = site.workers()
    request = modern_call(site, name, arguments)
    calls(site, *request)
    with Trace(worker) as trace:
        calls(site, *request)
    return trace


@case("a call of a tool that is an API: sent, waited for and read by the thread that serves the call", settings=TOOLS)
def _(site):
    trace = trace_tool(site, "api", {})
    # Before it sends libcurl looks whether the connection is still there, and after it whether it may send more.
    check_served(trace, [*SERVES[:3], "poll", "sendto", "poll", "poll", "recvfrom", *SERVES[3:]], 0)
    check_no_others(trace)


@case("the same of an answer that is kept: a file is opened and read", settings=TOOLS)
def _(site):
    check_served(trace_tool(site, "kept", {}), [*SERVES[:3], "openat", "read", "close", *SERVES[3:]])


@case("a call of a tool that is a query: what SQLite does, which neither polls, reads nor writes", settings=TOOLS)
def _(site):
    ours = collections.Counter(SERVES)
    served = [{name: names.count(name) for name in ours} for names in trace_tool(site, "query", {"id": 7}).served()]
    check(len(served) == CALLS and served.count(dict(ours)) > CALLS / 2, "a request is", dict(ours), "and SQLite's, but", served)


@case("a call of a module's tool: its threads wait for each other by nothing but locks", settings=TOOLS)
def _(site):
    check_served(trace_tool(site, "hello", {"name": "Ada"}), SERVES, 0)


def ptrace_refusal():
    """Why no process may be looked at; empty: it may."""
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        try:
            ran = subprocess.run(["strace", "-o", os.devnull, "-p", str(sleeper.pid)], stderr=subprocess.PIPE, text=True, timeout=1)
            return ran.stderr.strip()
        except subprocess.TimeoutExpired:
            return ""
        finally:
            sleeper.kill()


def make_site(args, fds=None, site=FIXTURE, **settings):
    return Site(args, fds, site, ["--workers", "1"], **settings)


if __name__ == "__main__":
    refusal = ptrace_refusal()
    if refusal:
        print(f"NO SYSTEM CALL WAS COUNTED, for ptrace is not permitted here: {refusal}", file=sys.stderr)
        print(f"1..0 # SKIP ptrace is not permitted, so NO SYSTEM CALL WAS COUNTED: {refusal.splitlines()[-1]}")
        sys.exit(0)
    sys.exit(main(cases=case, about=__doc__, make_site=make_site))
