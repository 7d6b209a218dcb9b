"""What the programs of this folder share that look at event streams: clients of the legacy revisions which keep each byte
that they get, can leave at any moment and come back, and the broker's log as it is on the disk. No client library: one
would hide what comes twice."""

import contextlib
import email
import itertools
import json
import os
import re
import select
import shutil
import signal
import socket
import sqlite3
import struct
import tempfile
import time
from pathlib import Path

from faults import PATIENCE_S, SSE, TYPES, check, until

FIXTURE = Path(__file__).resolve().parent.parent / "conformance" / "site"
REVISIONS = ("2025-03-26", "2025-06-18", "2025-11-25")


def id_of(event):
    found = re.search(rb"^id: (.+)$", event, re.M)
    return found[1].decode() if found else None


def data_of(event):
    return b"\n".join(re.findall(rb"^data: ?(.*)$", event, re.M))


def message_of(event):
    data = data_of(event)
    return json.loads(data) if data else None


def is_answer(event):
    message = message_of(event)
    return message is not None and "method" not in message


class Reader:
    """One answer of HTTP, which may be a stream: its events as they come, without comments, to the byte. What a socket had
    is never left in a buffer, so that many of them can be waited for together."""

    def __init__(self, site, method, headers, body=None, path=None, receive_bytes=0, wait=True):
        lines = [f"{method} {path or site.path} HTTP/1.1", f"Host: {site.host}:{site.port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}"] if body is not None else []
        self.raw = self.body = self.text = b""
        self.events, self.retries = [], []
        self.status, self.headers, self.is_stream, self.is_chunked = None, None, False, False
        self.ended = self.broken = False  # properly; by the loss of the connection
        self.socket = socket.socket()
        try:
            if receive_bytes:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            self.socket.settimeout(PATIENCE_S)
            self.socket.connect((site.host, site.port))
            self.socket.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))
            while wait and self.status is None:
                self.read_once()
                if self.broken:
                    raise ConnectionResetError("no answer")
        except BaseException:
            self.close()
            raise

    def fileno(self):
        return self.socket.fileno()

    def read_once(self):
        """What there is, at least a byte; nothing any more after the end."""
        try:
            more = self.socket.recv(65536)
        except ConnectionError:
            more = b""
        self.raw += more
        if self.status is None and b"\r\n\r\n" in self.raw:
            head, _, self.raw = self.raw.partition(b"\r\n\r\n")
            first, _, fields = head.partition(b"\r\n")
            self.status = int(first.split()[1])
            self.headers = email.message_from_bytes(fields)
            self.is_stream = self.headers.get_content_type() == "text/event-stream"
            self.is_chunked = self.headers.get("Transfer-Encoding") == "chunked"
        if self.status is not None:
            self.decode(is_over=not more)
        self.broken = not more and not self.ended

    def decode(self, is_over):
        length, fresh = self.headers.get("Content-Length"), b""
        if self.is_chunked:
            while (at := self.raw.find(b"\r\n")) > 0 and len(self.raw) >= at + 4 + (size := int(self.raw[:at], 16)):
                fresh += self.raw[at + 2:at + 2 + size]
                self.raw = self.raw[at + 4 + size:]
                self.ended = self.ended or size == 0
        else:
            fresh, self.raw = self.raw, b""
            self.ended = is_over if length is None else len(self.body) + len(fresh) == int(length)
        if self.is_stream:
            *whole, self.text = (self.text + fresh).split(b"\n\n")
            for event in whole:
                if event.startswith(b"retry:") and b"\n" not in event:
                    self.retries.append(int(event[6:]))  # of no event: it belongs to the connection
                elif event and not event.startswith(b":"):
                    self.events.append(event)
        else:
            self.body += fresh

    def read(self, enough=lambda events: False):
        """Until it is enough, or ends; all events so far."""
        end = time.monotonic() + PATIENCE_S
        while not (self.ended or self.broken or enough(self.events)):
            check(time.monotonic() < end, "the stream goes on without what was expected:", self.events[-3:])
            self.read_once()
        return self.events

    def read_count(self, count):
        """The first count events; the rest is as lost as on a wire that is cut."""
        self.read(lambda events: len(events) >= count)
        check(len(self.events) >= count, "the stream ended after", self.events)
        return self.events[:count]

    def read_whole(self):
        """All events, or the body of what is no stream."""
        self.read()
        check(self.ended, "the connection broke after", self.events[-1:])
        return self.events if self.is_stream else self.body

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Client:
    """A session of a client that speaks a legacy revision over Streamable HTTP."""

    def __init__(self, site, version="2025-11-25", capabilities=None, more=None):
        self.site, self.version, self.numbers = site, version, itertools.count(1)
        self.headers = dict(more or {})
        params = {"protocolVersion": version, "capabilities": capabilities or {}, "clientInfo": {"name": "fault", "version": "1"}}
        with self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}) as answer:
            check(answer.status == 200, "initialize:", answer.status)
            answer.read_whole()
            self.headers |= {"Mcp-Session-Id": answer.headers["Mcp-Session-Id"], "MCP-Protocol-Version": version}
        with self.post({"jsonrpc": "2.0", "method": "notifications/initialized"}) as answer:
            check(answer.status == 202, "initialized:", answer.status)

    @property
    def id(self):
        return self.headers["Mcp-Session-Id"]

    def post(self, message, **more):
        return Reader(self.site, "POST", {**TYPES, **self.headers}, json.dumps(message).encode(), **more)

    def request(self, method, params=None, progress=False, **more):
        params = {**(params or {}), **({"_meta": {"progressToken": "p"}} if progress else {})}
        return self.post({"jsonrpc": "2.0", "id": next(self.numbers), "method": method, "params": params}, **more)

    def call(self, name, arguments=None, **more):
        return self.request("tools/call", {"name": name, "arguments": arguments or {}}, **more)

    def ask(self, method, params=None):
        """A request that is answered at once: its result."""
        with self.request(method, params) as answer:
            check(answer.status == 200, method, answer.status)
            answer.read_whole()
            message = message_of(answer.events[-1]) if answer.is_stream else json.loads(answer.body)
            check("result" in message, method, message)
            return message["result"]

    def get(self, last_id=None, **more):
        return Reader(self.site, "GET", {**SSE, **self.headers, **({"Last-Event-ID": last_id} if last_id is not None else {})}, **more)

    def resume(self, last_id, **more):
        """As get(), but a broker that is being started is waited for."""
        return until("a broker that lets " + last_id + " be resumed", lambda: self.try_get(last_id, **more))

    def try_get(self, last_id, **more):
        try:
            stream = self.get(last_id, **more)
        except OSError:
            return None
        if stream.status < 500:
            return stream
        stream.close()
        return None

    def end(self):
        with Reader(self.site, "DELETE", self.headers) as answer:
            check(answer.status == 200, "DELETE:", answer.status)


class OldClient:
    """A client of 2024-11-05: one stream for all, whose first event says where to POST."""

    def __init__(self, site, **more):
        self.site, self.numbers = site, itertools.count(1)
        self.stream = Reader(site, "GET", SSE, path=site.path + "/sse", **more)
        check(self.stream.status == 200, "GET /sse:", self.stream.status)
        self.where = data_of(self.stream.read_count(1)[0]).decode()
        self.id = self.where.partition("=")[2]
        params = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "fault", "version": "1"}}
        self.send({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        self.stream.read_count(2)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def send(self, message):
        with Reader(self.site, "POST", TYPES, json.dumps(message).encode(), path=self.where) as answer:
            check(answer.status == 202, "POST:", answer.status)

    def call(self, name, arguments=None):
        number = next(self.numbers)
        self.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": name, "arguments": arguments or {},
                   "_meta": {"progressToken": "p"}}})
        return number


def read_together(streams, done, limit_s=PATIENCE_S):
    """Reads from all of them as they come, until done() or the end of each."""
    end, by_fd, poll = time.monotonic() + limit_s, {}, select.poll()
    for stream in streams:
        if not (stream.ended or stream.broken):
            by_fd[stream.fileno()] = stream
            poll.register(stream, select.POLLIN)
    while by_fd and not done():
        check(time.monotonic() < end, "streams go on without what was expected")
        for fd, _ in poll.poll(500):
            by_fd[fd].read_once()
            if by_fd[fd].ended or by_fd[fd].broken:
                poll.unregister(fd)
                del by_fd[fd]


# ---- the broker and its log -----------------------------------------------------------------------------------------


def broker_pid(site):
    """Of the one that runs, or is being started by a worker. Each worker may start one: those that come too late go."""
    def only_one():
        found = [pid for pid in descendants(site.process.pid) if name_of(pid) == "mcp-broker"]
        return found[0] if len(found) == 1 else None
    return until("one broker", only_one)


def name_of(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def descendants(pid):
    found, grown = [pid], 0
    while grown < len(found):
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/{found[grown]}/task/{found[grown]}/children").read_text().split())
        grown += 1
    return found[1:]


def kill_broker(site, how=signal.SIGKILL):
    pid = broker_pid(site)
    os.kill(pid, how)
    until("its end", lambda: name_of(pid) != "mcp-broker")


def stored_log(site):
    """What the store has of each stream: {handle: {seq: bytes}}. Reads a copy, for the broker has the file to itself."""
    log = {}
    with tempfile.TemporaryDirectory() as scratch:
        for each in (Path(site.worker_socket).parent / "store").glob("broker.db*"):
            shutil.copy(each, scratch)
        with contextlib.closing(sqlite3.connect(f"{scratch}/broker.db")) as db:
            for handle, seq, text in db.execute("SELECT stream, seq, bytes FROM log ORDER BY position"):
                text, places = (text, [(handle % 2**64, seq)]) if seq > 0 else (
                    text[:16 * seq], struct.iter_unpack("<QQ", text[16 * seq:]))  # of several streams: doc/store.md
                for handle, seq in places:
                    log.setdefault(handle, {})[seq] = text
    return log
