#!/usr/bin/env python3
"""What may go wrong between client, web server, worker and broker while a stream is handed over, or later: one of them dies,
stops or leaves at an exact point (fault_at.c), or a message is lost. Nobody waits for ever, no event is lost or doubled, and
after each case the broker holds nothing: no stream, no connection, no descriptor.

    tests/fault/links.py [--server lighttpd] [WORD]...     only cases with one of these words in their title

$STOP_S: for how many seconds a worker stands still, 1 without; make soak says 60."""

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True  # the sources may be read-only
from faults import CLIENT, PATIENCE_S, SSE, TYPES, Aimed, Cases  # noqa: E402
from faults import check, compare, each, get_stream, main, message_of, processes, stopped, until  # noqa: E402

case = Cases()
STOP_S = float(os.environ.get("STOP_S") or 1)
NAP = {"name": "nap", "arguments": {"s": 0.7}}  # longer than stream_after_ms of the site
LONG = {"name": "nap", "arguments": {"s": 100003}}
FDS_OF_PRODUCER = 2  # of the budget: its control connection and libzmq's
THREADS = 6  # of a worker: each may have a caller


def call(number, params=NAP):
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def events(stream):
    """(id, message) of each event with one, up to the end of the stream."""
    found = []
    for block in stream.read().decode().replace("\r\n", "\n").split("\n\n"):
        fields = [line.partition(": ")[::2] for line in block.split("\n")]
        data = "".join(value for name, value in fields if name == "data")
        if data:
            found.append((dict(fields).get("id"), json.loads(data)))
    return found


def leave(stream):
    stream.close()
    stream.connection.close()


class Links(Aimed):
    def __init__(self, args, **more):
        super().__init__(args, session_grace_s=1, **more)
        for _ in range(4 if self.url else 0):  # both workers are connected
            self.works()

    def is_clean(self, held):
        now = self.status()
        taken = now["descriptors_max"] - now["descriptors_free"]
        callers = taken - FDS_OF_PRODUCER * now["producers"]
        return (super().is_clean(held) and 0 <= callers <= THREADS * now["producers"]
                and not any((now["sessions"], now["streams"], now["connections"], now["calls"]["running"], now["calls"]["parked"])))

    def legacy(self, number, session, params=NAP):
        return self.open("POST", {**TYPES, **session}, json.dumps(call(number, params)))

    def old(self):
        """A client of HTTP+SSE: its stream, and where it posts."""
        stream = self.open("GET", SSE, path=f"{self.path}/sse")
        line = b"-"
        while line and not line.startswith(b"data:"):
            line = stream.readline()
        return stream, line[5:].strip().decode()

    def two_workers(self, but):
        until("two workers", lambda: len(self.workers() - {but}) == 2)

    def log(self, name="broker.log"):
        return Path(self.worker_socket).parent.joinpath("logs", name).read_text(errors="replace")


# ---- a worker dies during the handoff -------------------------------------------------------------------------------


def dies_of(site, order, open_stream):
    site.order(order)
    stream = open_stream()
    site.two_workers(site.obeyed(order))
    return stream


def refused(stream):
    check(stream.status in (500, 502, 503), "status", stream.status)
    stream.read()
    leave(stream)


for point, message in (("send", "OPEN_STREAM"), ("sent", "OPEN_STREAM"), ("send", "ADOPT")):
    @case(f"a worker dies: a call, {'before' if point == 'send' else 'after'} {message}: a server error, nothing is left",
          may_lose_workers=True)
    def _(site, order=f"mcp-worker.kill.{point}.{message}"):
        refused(dies_of(site, order, lambda: site.modern_open(NAP)))
        session = site.session()
        refused(dies_of(site, order, lambda: site.legacy(1, session)))
        # The broker first waits a moment for what the worker may have sent.
        until("its id is free", lambda: "result" in message_of(site.legacy(1, session).read()))
        site.request("DELETE", session)


@case("a worker dies: a call, after ADOPT: its client reads its end from the broker", may_lose_workers=True)
def _(site):
    def ends(stream, number):
        check(stream.status == 200, stream.status)
        compare([(number, -32603)], [(message["id"], message["error"]["code"]) for _, message in events(stream)])
    order = "mcp-worker.kill.sent.ADOPT"
    ends(dies_of(site, order, lambda: site.modern_open(NAP)), "m")
    session = site.session()
    ends(dies_of(site, order, lambda: site.legacy(1, session)), 1)
    site.request("DELETE", session)


for point, message in (("send", "ATTACH"), ("sent", "ATTACH"), ("send", "ADOPT")):
    @case(f"a worker dies: GET, {'before' if point == 'send' else 'after'} {message}: a server error, and it can be asked for again",
          may_lose_workers=True)
    def _(site, order=f"mcp-worker.kill.{point}.{message}"):
        session = site.session()
        refused(dies_of(site, order, lambda: get_stream(site, session)))
        again = get_stream(site, session)
        check(again.status == 200 and again.readline(), again.status)
        site.request("DELETE", session)
        again.read()


@case("a worker dies: GET and HTTP+SSE, after ADOPT: the streams go on", may_lose_workers=True)
def _(site):
    order = "mcp-worker.kill.sent.ADOPT"
    session = site.session()
    stream = dies_of(site, order, lambda: get_stream(site, session))
    check(stream.status == 200 and all(stream.readline() for _ in range(6)), "no heartbeats")
    site.request("DELETE", session)
    check(stream.read() is not None, "it ends with its session")
    stream, path = dies_of(site, order, site.old)
    first = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {**CLIENT, "protocolVersion": "2024-11-05"}}
    echo = {"name": "echo", "arguments": {"text": "x"}}
    for message in (first, *(call(number, echo) for number in range(1, 6))):
        check(site.request("POST", TYPES, json.dumps(message), path)[0] == 202, "not accepted")
    got = []
    while len(got) < 6:
        line = stream.readline()
        check(line, "it ended after", got)
        if line.startswith(b"data: {"):
            got.append(json.loads(line[5:])["id"])
    compare(range(6), sorted(got))
    leave(stream)


# ---- a client leaves ------------------------------------------------------------------------------------------------


@case("a client leaves before its ADOPT, and between head and first event: the call is cancelled, or kept for it")
def _(site):
    order = "mcp-worker.stop.send.ADOPT"
    session = site.session()
    listener = site.session()
    headers, body = site.modern_parts(LONG)
    for kind, method, headers, body in (("modern", "POST", headers, body), ("GET", "GET", {**SSE, **listener}, b""),
                                        ("legacy", "POST", {**TYPES, **session}, json.dumps(call(1)).encode())):
        site.order(order)
        peer = site.connect()
        lines = "".join(f"{name}: {value}\r\n" for name, value in {**headers, "Content-Length": len(body)}.items())
        peer.sendall(f"{method} {site.path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode() + body)
        worker = site.obeyed(order)
        peer.close()
        time.sleep(0.05)  # the web server hears of it
        os.kill(worker, signal.SIGCONT)
        if kind == "modern":
            until("the call is cancelled", lambda: not site.status()["calls"]["running"])
    until("no connection", lambda: site.status()["connections"] == 0)
    for stream in (site.modern_open(LONG), get_stream(site, listener), site.legacy(2, session)):
        check(stream.status == 200, stream.status)
        leave(stream)
    until("the legacy calls go on to their ends", lambda: not site.status()["calls"]["running"])
    until("no connection", lambda: site.status()["connections"] == 0)
    for headers in (session, listener):
        site.request("DELETE", headers)


# ---- the web server dies --------------------------------------------------------------------------------------------


class Second:
    """A web server beside the site's, for the same workers, that we may kill."""

    def __init__(self, site, server):
        scratch = Path(site.worker_socket).parent
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        text = (scratch / "server.conf").read_text()
        conf = scratch / "second.conf"
        conf.write_text(re.sub(r"(server\.port = )\d+", rf"\g<1>{port}", text))
        self.process = subprocess.Popen([server, "-D", "-f", str(conf)], stderr=subprocess.DEVNULL)
        self.site, self.here = site, (site.port, port)
        until("the second server", self.listens)

    def listens(self):
        with socket.socket() as peer:
            return peer.connect_ex(("127.0.0.1", self.here[1])) == 0

    @contextlib.contextmanager
    def used(self):
        self.site.port = self.here[1]
        try:
            yield
        finally:
            self.site.port = self.here[0]


@case("the web server dies, or is told to end, in the middle of streams: calls of 2026 are cancelled, legacy ones resumed")
def _(site):
    with open(f"/proc/{site.process.pid}/task/{site.process.pid}/children", encoding="ascii") as children:
        programs = [os.readlink(f"/proc/{pid}/exe") for pid in children.read().split()]
    server = next((program for program in programs if program.endswith("lighttpd")), None)
    if not server:
        return  # those of other servers have more than one process, or a master that starts them again
    for number in (signal.SIGKILL, signal.SIGTERM):
        second = Second(site, server)
        session, listener = site.session(), site.session()
        with second.used():
            streams = [site.modern_open(LONG), site.legacy(1, session), get_stream(site, listener)]
            check(all(stream.status == 200 for stream in streams), "no streams")
            until("three connections", lambda: site.status()["connections"] == 3)
        second.process.send_signal(number)
        second.process.wait(PATIENCE_S)
        until("no connection", lambda: site.status()["connections"] == 0)
        until("the modern call is cancelled, the other one done", lambda: site.status()["calls"]["running"] == 0)
        for stream in streams:
            leave(stream)
        again = get_stream(site, listener)
        check(again.status == 200, "GET again:", again.status)
        for headers in (session, listener):
            site.request("DELETE", headers)
        again.read()


# ---- no descriptor for the one that is passed -----------------------------------------------------------------------


@case("the kernel has no descriptor for the broker when one is passed: an end for its client, the stream is gone")
def _(site):
    order = "mcp-broker.full.recv.ADOPT"
    session = site.session()
    for open_stream in (lambda: site.modern_open(LONG), lambda: get_stream(site, session)):
        site.order(order)
        refused(open_stream())
        site.obeyed(order)
        until("no call", lambda: site.status()["calls"]["running"] == 0)
    check(site.log().count("ctl.truncated") == 2, "it is not in the log")
    site.request("DELETE", session)


# ---- messages are lost ----------------------------------------------------------------------------------------------


@case("answers of the broker, or what it was asked, are lost: each is asked again and done once")
def _(site):
    for order in ("mcp-worker.lose.recv.ACK", "mcp-worker.lose.send.FINISH", "mcp-worker.lose.send.OPEN_STREAM",
                  "mcp-worker.lose.send.CALL_BEGIN"):
        session = site.session()
        late = order.endswith("ACK")  # that of FINISH: the first one after the stream was opened
        before = site.status()["events_appended_total"]
        if not late:
            site.order(order)
        stream = site.legacy(1, session)
        if late:
            site.order(order)
        got = events(stream)
        site.obeyed(order)
        compare([1], [message["id"] for _, message in got])
        check("result" in got[0][1], got)
        check(site.status()["events_appended_total"] == before + 1, order, "appended more than once")
        status, _, body = site.request("GET", {**SSE, **session, "Last-Event-ID": got[0][0]})
        check(status in (400, 404, 405) or not body, "the last event is there again:", status, body[:300])
        site.request("DELETE", session)
    site.order("mcp-worker.lose.recv.ACK")
    sessions = [site.session() for _ in range(4)]
    site.obeyed("mcp-worker.lose.recv.ACK")
    check(site.status()["sessions"] == len(sessions), "sessions:", site.status()["sessions"])
    for session in sessions:
        check(site.request("DELETE", session)[0] == 200, "DELETE")


# ---- a worker's programs --------------------------------------------------------------------------------------------


@case("mcp-launch is killed, or its worker: all programs end, those too that left their process group", may_lose_workers=True)
def _(site):
    def parents(pid):
        while pid > 1:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            yield pid
    for who in ("mcp-launch", "mcp-worker"):
        stream = site.modern_open({"name": "escapes", "arguments": {}})
        sleepers = until("its programs", lambda: len(found := processes("sleep", "10000")) == 2 and found)
        above = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for sleeper in sleepers for pid in parents(sleeper)}
        victim = max(pid for pid, name in above.items() if name == who and pid != site.supervisor)
        os.kill(victim, signal.SIGKILL)
        until(f"they ended with {who}", lambda: not processes("sleep", "10000"))
        message = message_of(stream.read())
        check("error" in message or message["result"]["isError"], message)
        if who == "mcp-worker":
            site.two_workers(victim)


# ---- a worker stands still ------------------------------------------------------------------------------------------


@case("a worker stands still for longer than its clients wait: others serve, what it had to be told is bounded, it comes back")
def _(site):
    held = [site.modern_open(LONG) for _ in range(4)]
    with stopped(min(site.workers())):
        for stream in held:
            leave(stream)
        end = time.monotonic() + STOP_S
        while time.monotonic() < end:
            site.works()
            time.sleep(0.1)
        until("the broker is through with all", lambda: site.status()["connections"] == 0)
        check(site.status()["producers"] == 2, "it was cut off")
    until("its programs have ended", lambda: not site.status()["calls"]["running"])
    for _ in range(4):
        site.works()


# ---- sessions that end under streams --------------------------------------------------------------------------------


@case("DELETE with open streams of all kinds: each ends, and nothing is left of it")
def _(site):
    session = site.session()
    listener, post = get_stream(site, session), site.legacy(1, session, LONG)
    check(listener.status == 200 and post.status == 200, listener.status, post.status)
    check(site.request("DELETE", session)[0] == 200, "DELETE")
    rest = [events(listener), events(post)]  # the call would take a day
    check(not rest[0] and all("result" not in message for _, message in rest[1]), rest)
    until("its program has ended", lambda: site.status()["calls"]["running"] == 0)
    check(site.request("GET", {**SSE, **session})[0] == 404, "the session is there")


# ---- strangers on the control channel -------------------------------------------------------------------------------


def packet(kind, body=b"", producer=7, version=1, magic=b"MCPL", length=None):
    return magic + struct.pack("<BBHQQQQQII", version, kind, 0, producer, 1, 0, 0, 0, len(body) if length is None else length, 0) + body


def hello(lowest, highest, program=b"0.0.1"):
    return packet(1, struct.pack("<HHII", lowest, highest, os.getpid(), len(program)) + program)


@contextlib.contextmanager
def control(site):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.settimeout(PATIENCE_S)
        peer.connect(f"{site.run_dir}/broker.ctl")
        yield peer


@case("HELLO of an older and of a newer worker: NACK version, a line in the log, and the end")
def _(site):
    for lowest, highest in ((0, 0), (900, 901)):
        with control(site) as peer:
            peer.send(hello(lowest, highest))
            answer = peer.recv(1000)
            check(answer[:4] == b"MCPL" and answer[5] == 31, "no NACK:", answer)
            check(peer.recv(1000) == b"", "it is still open")
        check(f"versions={lowest}-{highest}" in site.log(), "nothing in the log")


@case("a flood of garbage, cut and oversized packets, with descriptors: each is closed, none is kept")
def _(site):
    good = hello(1, 900)
    floods = [
        ("half a HELLO", good[:len(good) // 2]), ("HELLO without producer", packet(1, good[56:], producer=0)),
        ("another magic", packet(1, magic=b"LPCM")), ("length 4 GB", packet(3, b"x", length=0xffffffff)),
        ("ADOPT before HELLO", packet(3, bytes(19) + b"\0\0\0\0")), ("oversized", packet(3, bytes(20000))),
        ("a data message", packet(16, b"")), ("an unknown one", packet(200, b"")), ("nothing", b""),
    ]

    def run(data):
        for _ in range(30):
            with control(site) as peer, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(20):
                    fds = struct.pack("3i", *(peer.fileno() for _ in range(3)))
                    peer.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    before = len(os.listdir(f"/proc/{site.broker}/fd"))
    each(floods, run)
    until("what came was closed", lambda: len(os.listdir(f"/proc/{site.broker}/fd")) <= before)
    site.works()


if __name__ == "__main__":
    sys.exit(main(case, __doc__, Links))
