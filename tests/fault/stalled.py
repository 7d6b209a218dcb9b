#!/usr/bin/env python3
"""Many clients that read nothing while the server has much to tell them, and many that come back at once: what the broker and
the web server use stays bounded, others are served as ever, and everything is given back.

    tests/fault/stalled.py [--server lighttpd] [--readers 1000] [WORD]...     only cases with one of these words in their title

Through a web server a client that does not read costs the kernel what it keeps for its connection (net.ipv4.tcp_wmem, 2 MB
here, whoever serves) before anybody notices. So most of them are connected to a worker's socket as a web server would be,
and a few through it. ulimit -n bounds how many there can be: broker and this program have a descriptor for each."""

import contextlib
import itertools
import json
import os
import socket
import struct
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
from bad_input import STDOUT, begin, pairs, record  # noqa: E402
from faults import PATIENCE_S, SSE, TYPES, Cases, Site, check, main, rss_kb, until  # noqa: E402
from streams import FIXTURE, Client, OldClient, Reader, broker_pid, descendants, id_of, kill_broker, name_of, read_together  # noqa: E402

case = Cases()
READERS, FEW = 1000, 20
SOME = 8 + 2 * 6  # descriptors that are opened at first need: of each thread of two workers its socket to the broker
CALLS, TEXT = 2, "x" * 40000
CACHE, STALL_S = 8 << 20, 3
SETTINGS = {"store_cache_bytes": CACHE, "broker_log_max_bytes": 4 << 30, "stream_stall_s": STALL_S, "stream_sndbuf_bytes": 16384,
            "session_grace_s": 1}


class Deaf:
    """A client of HTTP+SSE behind a web server that stops reading: its end of a FastCGI connection, straight to a worker."""

    def __init__(self, site):
        env = {"REQUEST_METHOD": "GET", "REQUEST_URI": site.path + "/sse", "HTTP_HOST": "localhost", "HTTP_ACCEPT": SSE["Accept"]}
        self.socket, self.site = socket.socket(socket.AF_UNIX), site
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(site.worker_socket)
        self.socket.sendall(begin() + record(4, pairs(env)) + record(4) + record(5))
        text = b""
        while b"sessionId=" not in text or not text.endswith(b"\n\n"):
            head = self.socket.recv(8, socket.MSG_WAITALL)
            check(len(head) == 8 and head[1] == STDOUT, "no stream, but", head)
            length, padding = struct.unpack(">HB", head[4:7])
            text += self.socket.recv(length + padding, socket.MSG_WAITALL)[:length]
        self.where = text[text.index(b"data: ") + 6:].split(b"\n")[0].decode()

    def is_over(self):
        """Whether the other end has closed: all that it had sent is there, and then the end."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self.socket.recv(65536):
                pass
            return True
        return False


def post(site, where, method, number, **params):
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    with Reader(site, "POST", TYPES, json.dumps(message).encode(), path=where) as answer:
        return answer.status


def begin_session(site, where):
    check(post(site, where, "initialize", 0, protocolVersion="2024-11-05", capabilities={}, clientInfo={"name": "deaf", "version": "1"})
          == 202, "initialize")
    return where


def seconds_a_call(site, count=40):
    """Of somebody else, meanwhile: the median."""
    client, took = Client(site), []
    for _ in range(count):
        began = time.monotonic()
        client.ask("tools/call", {"name": "echo", "arguments": {"text": "x"}})
        took.append(time.monotonic() - began)
    client.end()
    return sorted(took)[count // 2]


class Figures:
    """Of broker and web server: what they use beyond what they used."""

    def __init__(self, site):
        self.began = time.monotonic()
        names = {pid: name_of(pid) for pid in descendants(site.process.pid)}
        self.server = [pid for pid, name in names.items() if name in ("lighttpd", "apache2", "nginx")]
        self.before = self.now(site)

    def now(self, site):
        """Descriptors and KB of the broker, and of all processes of the web server."""
        def one(pids):
            return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids), sum(map(rss_kb, pids))

        return *one([broker_pid(site)]), *one(self.server)

    def say(self, site, when):
        broker_fds, broker_kb, server_fds, server_kb = self.now(site)
        print(f"# {time.monotonic() - self.began:.1f} s, {when}: broker {broker_kb} KB, {broker_fds} descriptors; web server {server_kb} KB, {server_fds}", flush=True)

    def check_kb(self, site, broker_kb, server_kb):
        now = self.now(site)
        if "libasan" in Path(f"/proc/{broker_pid(site)}/maps").read_text():
            broker_kb *= 2  # red zones, shadow, quarantine
        check(now[1] <= self.before[1] + broker_kb, "broker", self.before[1], "->", now[1], "KB, more than", broker_kb)
        check(now[3] <= self.before[3] + server_kb, "web server", self.before[3], "->", now[3], "KB, more than", server_kb)

    def are_back(self, site):
        now = self.now(site)
        return now[0] <= self.before[0] + SOME and now[2] <= self.before[2] + SOME


@case("readers that stall: bounded memory, others are served, all are closed in time", settings=SETTINGS)
def _(site):
    figures, alone = Figures(site), seconds_a_call(site)
    figures.say(site, "before")
    deaf = [Deaf(site) for _ in range(READERS)]
    for each in deaf:
        begin_session(site, each.where)
    figures.say(site, f"{READERS} streams")
    statuses = [post(site, each.where, "tools/call", number, name="echo", arguments={"text": TEXT})
                for number in range(1, CALLS + 1) for each in deaf]
    figures.say(site, f"{len(statuses) * len(TEXT) >> 20} MB for those who don't read, {statuses.count(202)} calls accepted")
    check(set(statuses) <= {202, 503, 404}, "statuses", set(statuses))
    crowded = seconds_a_call(site)
    print(f"# a call of somebody else took {alone * 1000:.1f} ms, and takes {crowded * 1000:.1f} ms")
    check(crowded < 20 * alone + 0.2, "a call takes", crowded, "s, alone", alone)
    # The cache twice, for what waits to be committed is beside it; a stream, session and its index.
    figures.check_kb(site, broker_kb=(2 * CACHE >> 10) + 16 * READERS, server_kb=16384)
    began = time.monotonic()
    until("that the last one is closed", lambda: figures.now(site)[0] <= figures.before[0] + SOME, STALL_S + PATIENCE_S)
    print(f"# the last one was closed {time.monotonic() - began:.1f} s later")
    check(all(each.is_over() for each in deaf), "a connection was not closed")
    until("descriptors", lambda: figures.are_back(site))
    figures.say(site, "after")
    for each in deaf:
        each.socket.close()


@case("readers that stall behind the web server: it keeps little, and they are closed in time", settings=SETTINGS)
def _(site):
    figures = Figures(site)
    deaf = [OldClient(site, receive_bytes=4096) for _ in range(FEW)]
    statuses = [post(site, each.where, "tools/call", number, name="echo", arguments={"text": TEXT * 8})
                for number in range(1, 13) for each in deaf]
    figures.say(site, f"{FEW} streams, {len(statuses) * len(TEXT) * 8 >> 20} MB")
    check(set(statuses) <= {202, 503, 404}, "statuses", set(statuses))
    figures.check_kb(site, broker_kb=2 * CACHE >> 10, server_kb=FEW * 256 + 4096)
    until("that the broker closed all", lambda: figures.now(site)[0] <= figures.before[0] + SOME, STALL_S + PATIENCE_S)
    for each in deaf:
        each.stream.close()
    until("descriptors", lambda: figures.are_back(site))


@case("readers that stall at news: one event of each kind is kept for them, however often it happens", settings=SETTINGS)
def _(site):
    figures = Figures(site)
    clients, teller = [Client(site) for _ in range(FEW)], Client(site)
    for _ in range(5):
        teller.ask("tools/call", {"name": "test_trigger_tool_change"})
    for client in clients:
        with client.get() as stream:  # nobody read them when they happened
            last_id = id_of(stream.read_count(1)[0])
        with client.get(last_id) as stream:
            teller.ask("tools/call", {"name": "test_trigger_tool_change"})
            check(id_of(stream.read_count(1)[0]).endswith(".2"), "more than one event was kept:", stream.events)
        client.end()
    until("descriptors", lambda: figures.are_back(site))


def let_in(places):
    """All at once, {client: the last id it has, or None}: their streams, and how often one was told to come later."""
    waiting, streams, refused, end = dict(places), {}, 0, time.monotonic() + 3 * PATIENCE_S
    while waiting:
        check(time.monotonic() < end, len(waiting), "are not let in")
        attempts = {client: client.get(last_id, wait=False) for client, last_id in waiting.items()}
        read_together(attempts.values(), lambda: all(stream.status for stream in attempts.values()), 3 * PATIENCE_S)
        for client, stream in attempts.items():
            check(stream.status in (None, 200, 503), "status", stream.status)
            if stream.status == 200:
                streams[client] = stream
                del waiting[client]
            else:
                refused += 1
                stream.close()
        time.sleep(0.2 if waiting else 0)
    return streams, refused


@case("all come back at once after the broker was killed", settings=SETTINGS, may_lose_broker=True)
def _(site):
    # Beyond some 1,000 that come at the same moment, which is what the workers' socket has in line, lighttpd itself says 500.
    count = min(READERS, 1000)
    figures, clients = Figures(site), [Client(site) for _ in range(count)]
    streams, refused = let_in(dict.fromkeys(clients))
    clients[0].ask("tools/call", {"name": "test_trigger_tool_change"})
    read_together(streams.values(), lambda: all(stream.events for stream in streams.values()))
    figures.say(site, f"{count} streams, {refused} attempts were refused")
    began = time.monotonic()
    kill_broker(site)
    read_together(streams.values(), lambda: False)
    for stream in streams.values():
        stream.close()
    back, refused = let_in({client: id_of(stream.events[-1]) for client, stream in streams.items()})
    figures.say(site, f"all are back after {time.monotonic() - began:.1f} s, {refused} attempts were refused")
    site.broker = broker_pid(site)
    clients[0].ask("tools/call", {"name": "test_trigger_tool_change"})
    read_together(back.values(), lambda: all(stream.events for stream in back.values()))
    for stream in back.values():
        check([id_of(event).split(".")[2] for event in stream.events] == ["2"], "lost or doubled:", stream.events)
        stream.close()
    figures.check_kb(site, broker_kb=8192 + 16 * count, server_kb=16384 + 64 * count)
    until("descriptors", lambda: figures.are_back(site))


def our_site(args, fds, **settings):
    return Site(args, fds, site=FIXTURE, **settings)


if __name__ == "__main__":
    if "--readers" in sys.argv:
        at = sys.argv.index("--readers")
        READERS = int(sys.argv[at + 1])
        del sys.argv[at:at + 2]
    sys.exit(main(case, __doc__, our_site))
