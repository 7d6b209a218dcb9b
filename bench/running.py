"""What all parts of bench/run share: programs that run until the end of their with block, sites of ours behind a web
server, rounds in which loads take turns, and how much memory a process has to itself."""

import contextlib
import ctypes
import http.client
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
BUILD = Path.cwd()
OURS = ("mcp-worker", "mcp-broker", "mcp-runner", "mcp-launch")
READY_S = 120
END_S = 60  # a site of 10,000 streams on a busy machine
BEGUN = time.monotonic()
libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """One figure could not be measured; the text says why."""


class Missing(Failure):
    """A program of others that is not installed; the text says how it would be."""


FAILURES = (Failure, OSError, http.client.HTTPException)


def say(text):
    print(f"[{time.monotonic() - BEGUN:4.0f} s] {text}", file=sys.stderr, flush=True)


def tool(name):
    """A program or module of bench/."""
    return BUILD / "bench" / name


def with_us():
    """In a child: it ends when we do, however that is."""
    libc.prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG


class Program:
    """Runs until the end of the with block. Ctrl-C does not reach it: we end it, in the right order."""

    def __init__(self, argv, **more):
        self.argv, self.more = [str(arg) for arg in argv], more
        self.name, self.text = Path(self.argv[0]).name, b""

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, stdout=subprocess.PIPE, start_new_session=True, preexec_fn=with_us, **self.more)
        self.pid = self.process.pid
        try:
            self.ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def ready(self):
        """Waits until it is of use."""

    def read_line(self, until):
        """The words of the next line that it prints; None when it prints no more."""
        while b"\n" not in self.text:
            if not select.select([self.process.stdout], [], [], max(0, until - time.monotonic()))[0]:
                raise Failure(f"{self.name} takes too long")
            got = os.read(self.process.stdout.fileno(), 65536)
            if not got:
                return None
            self.text += got
        line, _, self.text = self.text.partition(b"\n")
        return line.decode().split()

    def read_word(self, word, seconds):
        """The rest of the next line that begins so."""
        until = time.monotonic() + seconds
        while (words := self.read_line(until)) is not None:
            if words[:1] == [word]:
                return words[1:]
        raise Failure(f"{self.name} ended without {word}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            say(f"{self.name} ({self.pid}) did not end")
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


def run_tool(argv):
    """What a program of bench/ prints: the words of each line in pairs, as a dictionary."""
    with Program(argv) as program:
        out, _ = program.process.communicate()
    if program.process.returncode != 0:
        raise Failure(f"{program.name} failed: {out.decode().strip()}")
    return [dict(zip(words[::2], words[1::2])) for words in map(str.split, out.decode().splitlines())]


class Serve(Program):
    """tests/serve with a site: a web server, our workers and our broker, or others in their place."""

    def __init__(self, args, site, server="lighttpd", bin_dir=BUILD, sets=(), more=(), env=()):
        super().__init__([SOURCE / "tests" / "serve", site, "--server", server, "--bin-dir", bin_dir, "--workers", args.workers,
                          "--threads", args.threads, *more, *(arg for each in sets for arg in ("--set", each))],
                         env={**os.environ, **dict(env)})
        self.server = server

    def ready(self):
        self.pids = {}
        until = time.monotonic() + READY_S
        while words := self.read_line(until):
            word, *rest = words
            if word == "PID":
                self.pids.setdefault(rest[0], []).append(int(rest[1]))
            if word == "WORKER-SOCKET":
                self.run_dir = Path(rest[0]).parent / "run"
            if word == "READY":
                self.url = rest[0]
                return
        raise Missing(f"{self.server} is not installed") if self.process.wait() == 77 else Failure("tests/serve did not start")


def bin_with(scratch, worker):
    """A directory of our programs in which another one is mcp-worker."""
    there = Path(scratch, worker)
    if not there.exists():
        there.mkdir(mode=0o755)
        shutil.copy(tool(worker), there / "mcp-worker")
        for name in OURS[1:]:
            shutil.copy(BUILD / name, there)
    return there


def run_rounds(args, report, what, loads, rounds=None):
    """What each load gave in each round. They take turns, so that what else the machine does falls on all of them; before
    that each runs once for a shorter time, so that nobody is measured cold. A load that fails is reported and left out."""
    results = {name: [] for name in loads}
    loads = dict(loads)
    for number in range((rounds or args.rounds) + 1):
        say(f"{what}: " + (f"round {number} of {rounds or args.rounds}" if number else "warming up"))
        for name, run in list(loads.items()):
            try:
                figures = run(args.seconds if number else max(0.05, args.seconds / 3))
            except FAILURES as why:
                report.problem(f"{what}, {name}: {why}")
                del loads[name], results[name]
                continue
            if number:
                results[name].append(figures)
    return results


def load(url, body, headers, seconds, connections, contains="result", file=None, more=()):
    """bench/load: figures of requests of which one follows the other on each connection."""
    argv = [tool("load"), "-c", connections, "-s", f"{seconds:.2f}", "-m", contains, *more]
    for header in headers:
        argv += ["-H", header]
    if file:
        argv += ["-f", file]
    return {name: float(value) for name, value in run_tool([*argv, body, url])[-1].items()}


def family(pids):
    """These processes and all below them."""
    found = list(pids)
    for pid in found:
        with contextlib.suppress(OSError):
            found += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found


def private_kb(pids):
    """Memory that no other process shares (USS), of all of them."""
    total = 0
    for pid in pids:
        rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        total += sum(int(rows[name].split()[0]) for name in ("Private_Clean", "Private_Dirty"))
    return total


def kernel_kb():
    """What the kernel has for itself: its objects, stacks and page tables, and bytes under way in TCP."""
    rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total = sum(int(rows[name].split()[0]) for name in ("Slab", "KernelStack", "PageTables"))
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            words = line.split()
            total += int(words[words.index("mem") + 1]) * os.sysconf("SC_PAGESIZE") // 1024
    return total
