"""What the programs of this folder share: a site behind a real web server, its processes, a client, and cases that run.

A program's cases are functions that take the site. Its last comment says what was lost or doubled, and how long it took."""

import argparse
import base64
import collections
import contextlib
import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
# Descriptors that are opened at first need, and those that a worker keeps of calls at the same time: 16 (SPARE_FDS_MAX), and 32
# sockets to the broker (LINK_CALLERS_MAX), which has those of two workers and a runner.
FEW = 24 + 3 * 32
PATIENCE_S = 60  # how long anything may take, with sanitizers on a busy machine
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "enemy", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
CLIENT = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "enemy", "version": "1"}}


toll = collections.Counter(lost=0, doubled=0)  # what the cases of this program found, for its last line


class Wrong(Exception):
    """The product did not do what it must."""


class Cases(list):
    """Of a file: what its functions are decorated with."""

    def __call__(self, title, **more):
        def register(run):
            self.append((title, run, more))
            return run
        return register


def check(condition, *what):
    if not condition:
        raise Wrong(" ".join(str(each) for each in what))


def compare(sent, got):
    """All of what was sent arrived, each once, in order."""
    counted = collections.Counter(got)
    toll["lost"] += sum(each not in counted for each in sent)
    toll["doubled"] += sum(count - 1 for count in counted.values())
    check(list(got) == list(sent), "sent", sent, "but got", got)


def until(what, done, limit_s=PATIENCE_S):
    end = time.monotonic() + limit_s
    while True:
        value = done()
        if value:
            return value
        check(time.monotonic() < end, "not within", limit_s, "s:", what)
        time.sleep(0.02)


# ---- the site -------------------------------------------------------------------------------------------------------


class Site:
    environment = {}  # what its programs find beside ours

    def __init__(self, args, fds=None, site=HERE / "site", options=(), **settings):
        command = [str(HERE.parent / "serve"), str(site), "--server", args.server, "--workers", "2", "--threads", "6", *options]
        for name, value in settings.items():
            command += ["--set", f"{name}={value}"]

        def in_child():
            if fds:
                resource.setrlimit(resource.RLIMIT_NOFILE, (fds, fds))

        # Freed memory shall not look like a leak to the case that measures, nor malloc() fail in another way than it does,
        # nor be something wrong with a library that is preloaded (Aimed).
        options = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1:allocator_may_return_null=1:verify_asan_link_order=0"
        environment = {**os.environ, "ASAN_OPTIONS": options, **self.environment}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=in_child, env=environment)
        self.url = self.broker = self.supervisor = self.worker_socket = None
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "PID":
                name, _, pid = rest.partition(" ")
                if name in ("broker", "supervisor"):
                    setattr(self, name, int(pid))
            elif word == "WORKER-SOCKET":
                self.worker_socket = rest
            elif word == "READY":
                self.url = rest
                break
        if not self.url:
            return
        at = urlsplit(self.url)
        self.host, self.port, self.path = at.hostname, at.port, at.path
        self.run_dir = str(Path(self.worker_socket).parent / "run")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.stdout.close()
        return self.process.wait()

    def workers(self):
        pids = Path(f"/proc/{self.supervisor}/task/{self.supervisor}/children").read_text().split()
        return {int(pid) for pid in pids}

    def pids(self):
        check(Path(f"/proc/{self.broker}").exists(), "the broker is gone")
        return self.broker, self.workers()

    def connect(self):
        return socket.create_connection((self.host, self.port), timeout=PATIENCE_S)

    def open(self, method, headers=None, body=None, path=None):
        """A request; what comes back may be a stream."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE_S)
        connection.request(method, self.path if path is None else path, body, headers or {})
        answer = connection.getresponse()
        answer.connection = connection
        return answer

    def request(self, method, headers=None, body=None, path=None):
        with contextlib.closing(self.open(method, headers, body, path)) as answer:
            return answer.status, answer.headers, answer.read()

    def post(self, body, headers=None):
        if not isinstance(body, (bytes, bytearray)):
            body = json.dumps(body).encode()
        return self.request("POST", {**TYPES, **(headers or {})}, body)

    def modern_parts(self, params, method="tools/call", meta=None):
        params = {**params, "_meta": {**META, **(meta or {})}}
        headers = {**TYPES, "MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if isinstance(params.get("name"), str):
            name = params["name"].encode()
            plain = name.isascii() and name.decode().isprintable()
            headers["Mcp-Name"] = params["name"] if plain else f"=?base64?{base64.b64encode(name).decode()}?="
        return headers, json.dumps({"jsonrpc": "2.0", "id": "m", "method": method, "params": params}).encode()

    def modern(self, params, method="tools/call", meta=None):
        headers, body = self.modern_parts(params, method, meta)
        return self.request("POST", headers, body)

    def modern_open(self, params, meta=None):
        headers, body = self.modern_parts(params, meta=meta)
        return self.open("POST", headers, body)

    def session(self):
        status, headers, body = self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": CLIENT})
        check(status == 200 and headers["Mcp-Session-Id"], "initialize:", status, body[:500])
        return {"Mcp-Session-Id": headers["Mcp-Session-Id"], "MCP-Protocol-Version": CLIENT["protocolVersion"]}

    def works(self):
        """Modern and legacy, each through a worker, the latter through the broker too."""
        status, _, body = self.modern({"name": "echo", "arguments": {"text": "hello"}})
        check(status == 200 and "result" in message_of(body), "modern call afterwards:", status, body[:500])
        session = self.session()
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "hello"}}}
        status, _, body = self.post(call, session)
        check(status == 200 and "result" in message_of(body), "legacy call afterwards:", status, body[:500])
        status, _, body = self.request("DELETE", session)
        check(status == 200, "DELETE afterwards:", status, body[:500])

    def descriptors(self):
        return {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in (self.broker, *self.workers())}

    def status(self):
        """What the broker counts."""
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(PATIENCE_S)
            peer.connect(f"{self.run_dir}/broker.admin")
            peer.sendall(b"GET /status HTTP/1.0\r\n\r\n")
            text = b"".join(iter(lambda: peer.recv(65536), b""))
        return json.loads(text.partition(b"\r\n\r\n")[2])["counts"]

    def is_clean(self, held):
        """Whether a case has left nothing behind."""
        return all(count <= held.get(pid, count) + FEW for pid, count in self.descriptors().items())


class Aimed(Site):
    """A site whose programs meet their fault at an exact point: fault_at.c."""

    def __init__(self, args, **more):
        library = Path(os.environ.get("abs_top_builddir", "."), "tests", "fault", "fault_at.so")
        self.orders = Path(tempfile.mkdtemp(prefix="mcp-fault."))
        self.orders.chmod(0o777)  # as root the site is www-data's
        shutil.copy(library, self.orders)
        self.environment = {"FAULT_DIR": str(self.orders), "LD_PRELOAD": str(self.orders / library.name)}
        super().__init__(args, **more)

    def order(self, what):
        """As PROGRAM.ACTION.POINT.MESSAGE."""
        (self.orders / what).touch()

    def obeyed(self, what):
        """Waits until a process has carried it out: its pid."""
        taken = until(f"{what} to happen", lambda: list(self.orders.glob(f"{what}.*")))[0]
        taken.unlink()
        return int(taken.suffix[1:])

    def end(self):
        status = super().end()
        shutil.rmtree(self.orders)
        return status


TYPES = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
SSE = {"Accept": "text/event-stream"}


def message_of(body):
    """The last JSON-RPC message of an answer, be it JSON or a stream."""
    if body.lstrip()[:1] in (b"{", b"["):
        return json.loads(body)
    lines = [line[5:] for line in body.split(b"\n") if line.startswith(b"data:") and line[5:].strip()]
    check(lines, "no message in", body[:500])
    return json.loads(lines[-1])


def is_error(answer, *statuses):
    """A JSON-RPC error, or a bare status; never a result."""
    status, _, body = answer
    check(status in statuses, "status", status, body[:500])
    if body[:1] == b"{":
        message = json.loads(body)
        check(isinstance(message["error"]["code"], int) and isinstance(message["error"]["message"], str), body[:500])


def each(cases, run):
    """All of a table, so that one report says all that is wrong."""
    wrong = []
    for title, *rest in cases:
        try:
            run(*rest)
        except (Wrong, OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as why:
            wrong.append(f"{title}: {type(why).__name__}: {why}")
    check(not wrong, "\n".join(wrong))


def get_stream(site, headers):
    return site.open("GET", {**SSE, **headers})


# ---- processes -------------------------------------------------------------------------------------------------------


def processes(program, word):
    """Pids of a program that has this among its arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except (OSError, ValueError):
            continue
        if entry.name.isdigit() and argv[0].endswith(program) and any(word in each for each in argv):
            found.append(int(entry.name))
    return found


def rss_kb(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        # kill() returns before the threads have stopped: one of them might still accept the next connection
        until(f"{pid} stopped", lambda: all(stat.read_text().rpartition(")")[2].split()[0] == "T"
                                            for stat in Path(f"/proc/{pid}/task").glob("*/stat")), PATIENCE_S)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# ---- main -----------------------------------------------------------------------------------------------------------


def run_case(site, run, may_lose_workers=False, may_lose_broker=False):
    before, held = site.pids(), site.descriptors()
    run(site)
    site.works()
    after = site.pids()
    until("what it holds is what it held", lambda: site.is_clean(held))
    if not may_lose_broker:
        check(before[0] == after[0], "another broker")
    if not may_lose_workers:
        check(before[1] == after[1], "workers were", before[1], "and are", after[1])


def main(cases, about, make_site=Site):
    """cases may say fds= and settings={}: those that say the same share a site, as long as they follow each other."""
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--server", default="lighttpd", help="one whose workers have a socket of their own: lighttpd, apache, nginx")
    args = parser.parse_args()
    number, failed, site, shape, started = 0, False, None, None, time.monotonic()

    def say(ok, title, why=""):
        nonlocal number, failed
        number += 1
        failed = failed or not ok
        print("ok" if ok else "not ok", number, "-", title, flush=True)
        for line in str(why).split("\n") if why else []:
            print("#", line, flush=True)

    def end():
        if site:
            say(site.end() == 0, f"behind {args.server}: everything ends cleanly")

    try:
        for title, run, more in cases:
            if args.words and not any(word in title for word in args.words):
                continue
            wanted = (more.get("fds"), more.get("settings", {}))
            if site is None or shape != wanted:
                end()
                shape = wanted
                site = make_site(args, fds=wanted[0], **wanted[1])
                if not site.url:
                    status, site = site.process.wait(), None
                    print("1..0 # SKIP no web server" if status == 77 else f"Bail out! tests/serve ended with status {status}")
                    return 0 if status == 77 else 1
            began = time.monotonic()
            try:
                run_case(site, run, **{name: value for name, value in more.items() if name.startswith("may_")})
                say(True, title, f"{time.monotonic() - began:.1f} s" if time.monotonic() - began > 1 else "")
            except (Wrong, OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as why:
                say(False, title, f"{type(why).__name__}: {why}")
    finally:
        end()
    print(f"# lost {toll['lost']}, doubled {toll['doubled']}, {time.monotonic() - started:.1f} s")
    print(f"1..{number}")
    return 1 if failed else 0
