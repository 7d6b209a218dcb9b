#!/usr/bin/env python3
"""How many system calls the real processes make for one modern call, one call of a session, one event that is delivered,
one program that is run, and one call of a tool that is an API, a query or a module: counted, not timed. What comes by the clock
(heartbeats, STATS), of memory, and of locks is left out.

    tests/fault/system_calls.py [--server lighttpd] [WORD]...     only cases with one of these words in their title"""

import bisect
import collections
import contextlib
import http.client
import json
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True  # the sources may be read-only
from faults import MODERN, SSE, TYPES, Cases, Site, check, main, until  # noqa: E402
from streams import FIXTURE, Reader  # noqa: E402

case = Cases()
CALLS = 40
LINK_PUBLISH = Path(os.environ.get("abs_top_builddir", "."), "bench", "link_publish")
QUIET = {"stream_heartbeat_ms": 600000, "stream_heartbeat_modern_ms": 600000}
# Of malloc() and of locks that somebody else holds; an interrupted call that goes on. getpid() is ZeroMQ's.
NOT_COUNTED = {"brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "futex", "restart_syscall", "getpid"}
ECHO = {"text": "hello"}
SERVES = ["accept4", "poll", "read", "write", "close"]
LATE = ["sched_yield", "poll"]  # after the first poll, if the request was not there yet
# Of one event, all threads of the broker: ZeroMQ's reads it and wakes the main one, which writes it to the client's stream.
EVENT = {"recvfrom": 1, "poll": 1, "read": 1, "write": 1, "sendto": 1}
CREDIT = {"poll": 1, "read": 1, "write": 1, "sendto": 1, "epoll_ctl": 2}  # every 100 ms: that its publisher may send more
ALL = 5
TO_ALL = {"recvfrom": 1, "poll": 2, "read": 2, "write": 2, "epoll_ctl": 2, "sendto": ALL + 1}  # one to who published
DURABLE = {"recvmsg": 1, "pwrite64": 4, "write": 1, "read": 1, "sendto": 2}  # by a caller, which is answered; and the log
# How often they sleep does too, and ZeroMQ looks more often when it has not for a millisecond. So those that find nothing are
# counted apart, and limited by half as many again as were seen with credit for each event.
SLEEPS, LOOKS = {"sched_yield", "epoll_wait"}, {"poll", "read", "recvfrom", "recvmsg"}
EVENT_REST, TO_ALL_REST, DURABLE_REST = 14, 20, 5
# Of one program: the worker's thread, mcp-launch, and the child until it is the program. How often the first two wait and read
# hangs on who is faster.
WAITS = {"poll", "read"}
RUNS = {"accept4": 1, "memfd_create": 1, "pwrite64": 1, "pipe2": 4, "fcntl": 3, "sendmsg": 1, "close": 10, "write": 1}
LAUNCHES = {"recvmsg": 1, "clone": 1, "waitid": 2, "kill": 1, "wait4": 1, "write": 1, "close": 8}
BECOMES = ["setpgid", "prctl", "getppid", "chdir", "dup3", "dup3", "dup3", "dup3", "rt_sigprocmask", "execve"]


class Trace:
    """What these processes call until the end of the with block, by thread: lists of (name, result)."""

    def __init__(self, *pids):
        self.pids, self.threads, self.in_time = pids, collections.defaultdict(list), []

    def __enter__(self):
        self.file = tempfile.NamedTemporaryFile(prefix="mcp-strace.")
        self.began = time.monotonic()
        attach = [word for pid in self.pids for word in ("-p", str(pid))]
        self.process = subprocess.Popen(["strace", "-f", "-ttt", "-o", self.file.name, *attach], stderr=subprocess.PIPE, text=True)
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
            # A sleep that the clock has ended is not counted.
            found = re.match(r"(\d+) +([\d.]+) (?:<\.\.\. )?(\w+)(?:\(| resumed>)(?:.* = (-?\d+))?", line)
            if found and found[3] not in NOT_COUNTED and found[4] and (found[3], found[4]) != ("epoll_wait", "0"):
                self.threads[int(found[1])].append((found[3], int(found[4])))
                self.in_time.append((float(found[2]), found[3], int(found[4])))
        self.file.close()

    def served(self):
        """What threads did from the moment in which a connection came until the next one, without LATE: a list each."""
        requests = []
        for calls in self.threads.values():
            mine = []
            for name, result in calls:
                if name == "accept4" and result >= 0:
                    mine = []
                    requests.append(mine)
                mine.append(name)
        for names in requests:
            if names[2:4] == LATE:
                del names[2:4]
        return [names for names in requests if names]

    def between(self, times):
        """What was called from each of these times to the next one: Counters of names, and how many sleeps, and looks that
        found nothing, were beside it."""
        found, rest = [collections.Counter() for _ in times[1:]], [0 for _ in times[1:]]
        for at, name, result in self.in_time:
            index = bisect.bisect(times, at) - 1
            if not 0 <= index < len(found):
                continue
            if name in SLEEPS or name in LOOKS and result <= 0:
                rest[index] += 1
            else:
                found[index][name] += 1
        return found, rest

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


def check_most(runs, want, *now_and_then):
    """More than half were just this: the last may not be seen to its end, and beside some the clock has something to say."""
    def key(names):
        return tuple(sorted(collections.Counter(names).items()))
    counted = collections.Counter(map(key, runs))
    check(len(runs) == CALLS, len(runs), "of them were seen, not", CALLS)
    right = {key(want), *(key(collections.Counter(want) + collections.Counter(more)) for more in now_and_then)}
    check(sum(counted[each] for each in right) > CALLS / 2, "it should be", want, "but is", dict(counted))


def split_at(name, names):
    """Lists that begin with it."""
    at = [index for index, each in enumerate(names) if each == name]
    return [names[one:next_one] for one, next_one in zip(at, [*at[1:], None])]


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


@case("a modern call: five system calls, seven if it was waited for, and nobody else is woken for it", settings=QUIET)
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
    did = [name for name, result in trace.threads[site.broker] if result > 0 and name != "epoll_wait"]
    check_most(split_at("sendto", did), {"sendto": 1, "recvmsg": 2})
    # ZeroMQ's threads, and the eventfds by which they are woken, are for the others: STATS every two seconds.
    ours = tasks(site.broker)
    woken = trace.count(ours, "write") + trace.count(tasks(worker), "write") - CALLS
    check(woken <= 8 * (1 + trace.seconds / 2), "ZeroMQ was woken", woken, "times in", trace.seconds, "s")
    total = sum(len(names) for names in trace.threads.values()) / CALLS
    print(f"# {total:.1f} a call in all")


def is_asleep(pid):
    """All its threads wait for something. One that strace has stopped at a system call is not asleep."""
    return all((task / "stat").read_text().rpartition(")")[2].split()[0] == "S" for task in Path(f"/proc/{pid}/task").iterdir())


@contextlib.contextmanager
def publisher(site, sessions, *options):
    """A worker of its own, which publishes an event when it is told to."""
    with tempfile.NamedTemporaryFile("w", prefix="mcp-sessions.") as file:
        file.writelines(f"Mcp-Session-Id: {each['Mcp-Session-Id']}\n" for each in sessions)
        file.flush()
        argv = [LINK_PUBLISH, *options, site.run_dir, file.name]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
            def ask(line, answer):
                process.stdin.write(line)
                said = process.stdout.readline()
                check(said == answer, "bench/link_publish said", repr(said), "not", repr(answer))
            ask("", "READY\n")
            yield lambda: ask("0 1\n", "DONE\n")


def trace_events(site, count, *options):
    """What the broker calls for each event to one of so many streams, or with "-a" to all: Trace.between(). The next is published
    when everybody has had this one, and the broker sleeps."""
    with contextlib.ExitStack() as stack:
        sessions = [site.session() for _ in range(count)]
        streams = [stack.enter_context(contextlib.closing(Reader(site, "GET", {**SSE, **session}))) for session in sessions]
        publish = stack.enter_context(publisher(site, sessions, *options))

        def deliver(number):
            publish()
            for stream in streams:
                stream.read(lambda events: len(events) == number)
            until("the broker to sleep", lambda: is_asleep(site.broker))
            return time.time()
        deliver(1)
        with Trace(site.broker) as trace:
            times = [time.time(), *(deliver(number) for number in range(2, CALLS + 2))]
    return trace.between(times)


def check_events(site, want, rest_max, count, *options):
    found, rest = trace_events(site, count, *options)
    check_most(found, want, CREDIT)
    check(statistics.median(rest) <= rest_max, "sleeps, and looks that find nothing:", rest)
    print(f"# {sum(want.values())} system calls of the broker, beside {statistics.median(rest):g} sleeps, and looks that find nothing")


@case("an event: one write to its client, and so many system calls of the broker", settings={**QUIET, "store_kind": "memory"})
def _(site):
    check_events(site, EVENT, EVENT_REST, 1)


@case("an event to all: one write to each client", settings={**QUIET, "store_kind": "memory"})
def _(site):
    check_events(site, TO_ALL, TO_ALL_REST, ALL, "-a")


@case("a durable event: read from its publisher's socket, four writes to the log, one to its client, and the answer", settings=QUIET)
def _(site):
    check_events(site, DURABLE, DURABLE_REST, 1, "-d")


def launcher_of(worker):
    """The process of mcp-launch that starts programs: the second of the two."""
    def below(pid):
        text = " ".join((task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for child in text.split() if Path(f"/proc/{child}/comm").read_text() == "mcp-launch\n"]
    first, = below(worker)
    second, = below(first)
    return second


@case("a program: so many system calls of the worker, of mcp-launch, and of the child before it is the program", settings=QUIET)
def _(site):
    worker, = site.workers()
    request = modern_call(site, "test_simple_text", {})
    calls(site, *request)
    launcher = launcher_of(worker)
    with Trace(worker, launcher) as trace:
        calls(site, *request)
    runs, launches = sum(trace.served(), []), [name for name, _ in trace.threads.pop(launcher)]
    check_most([[name for name in names if name not in WAITS] for names in trace.served()], RUNS)
    check_most(split_at("recvmsg", [name for name in launches if name not in WAITS]), LAUNCHES)
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
