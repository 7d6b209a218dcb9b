#!/usr/bin/env python3
"""Plays the enemy of a running site: broken FastCGI, HTTP and JSON, forged ids, clients that leave or stall, tools that
misbehave, stopped processes, no descriptors. After each case the processes are the same ones, and modern and legacy calls
work. A sanitizer's report in any process fails the end (tests/serve).

    tests/fault/bad_input.py [--server lighttpd] [WORD]...     only cases with one of these words in their title"""

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True  # the sources may be read-only
from faults import CLIENT, HERE, META, MODERN, PATIENCE_S, SSE, TYPES, Cases  # noqa: E402
from faults import check, each, get_stream, is_error, main, message_of, rss_kb, stopped, until  # noqa: E402

case = Cases()


# ---- FastCGI, straight to a worker ----------------------------------------------------------------------------------

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT = 1, 2, 3, 4, 5, 6


def record(kind, content=b"", request=1, version=1, length=None):
    return struct.pack(">BBHHBB", version, kind, request, len(content) if length is None else length, 0, 0) + content


def begin(role=1):
    return record(BEGIN, struct.pack(">HB5x", role, 0))


def pairs(values):
    def size(n):
        return struct.pack(">B", n) if n < 128 else struct.pack(">I", n | 0x80000000)
    return b"".join(size(len(name)) + size(len(value)) + name.encode() + value.encode() for name, value in values.items())


PING = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": META}}).encode()
ENV = {
    "REQUEST_METHOD": "POST", "REQUEST_URI": "/mcp", "HTTP_HOST": "localhost", "CONTENT_TYPE": "application/json",
    "HTTP_ACCEPT": TYPES["Accept"], "HTTP_MCP_PROTOCOL_VERSION": MODERN, "HTTP_MCP_METHOD": "server/discover",
    "CONTENT_LENGTH": str(len(PING)),
}


def env(**more):
    return record(PARAMS, pairs({name: value for name, value in {**ENV, **more}.items() if value is not None})) + record(PARAMS)


def body_of(content, end=True):
    records = b"".join(record(STDIN, content[at:at + 60000]) for at in range(0, len(content), 60000))
    return records + (record(STDIN) if end else b"")


def fcgi(site, data, half_close=True, limit_s=PATIENCE_S):
    """Sends; what came back up to the end of the connection. None: it stayed open."""
    got = b""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(limit_s)
        peer.connect(site.worker_socket)
        try:
            peer.sendall(data)
            if half_close:
                peer.shutdown(socket.SHUT_WR)
            while True:
                more = peer.recv(65536)
                if not more:
                    break
                got += more
        except (BrokenPipeError, ConnectionResetError):
            pass
        except socket.timeout:
            return None
    return got


def fcgi_status(got):
    out, at = b"", 0
    while at + 8 <= len(got):
        _, kind, _, length, padding, _ = struct.unpack_from(">BBHHBB", got, at)
        if kind == STDOUT:
            out += got[at + 8:at + 8 + length]
        at += 8 + length + padding
    if not out:
        return None
    first = out.split(b"\r\n")[0]
    return int(first.split()[1]) if first.startswith(b"Status:") else 200


FCGI = [
    ("right", begin() + env() + body_of(PING), 200),
    ("nothing", b"", None),
    ("text", b"GET /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n", None),
    ("zeros", bytes(4096), None),
    ("ones", b"\xff" * 4096, None),
    ("version 2", record(BEGIN, struct.pack(">HB5x", 1, 0), version=2) + env() + body_of(PING), None),
    ("role of a filter without data", begin(3) + env() + body_of(PING), (200, 400, 404, None)),
    ("role 99", begin(99) + env() + body_of(PING), None),
    ("BEGIN_REQUEST twice", begin() + begin() + env() + body_of(PING), (200, None)),
    ("BEGIN_REQUEST cut", record(BEGIN, b"\0\1"), None),
    ("PARAMS first", env() + body_of(PING), None),
    ("no PARAMS at all", begin() + record(PARAMS) + body_of(PING), 404),
    ("PARAMS cut in a pair", begin() + record(PARAMS, b"\x0e\x04REQUEST") + record(PARAMS) + body_of(PING), (404, None)),
    ("PARAMS with empty names", begin() + record(PARAMS, b"\0\0" * 1000) + record(PARAMS) + body_of(PING), (404, None)),
    ("PARAMS with = and NUL in names", begin() + record(PARAMS, b"\4\3a=\0bc\0d\1\1==") + env() + body_of(PING), (200, 404, None)),
    ("record longer than what follows", begin() + record(PARAMS, b"x", length=65535), None),
    ("ABORT instead of PARAMS", begin() + record(ABORT) + body_of(PING), (404, None)),
    ("ABORT in STDIN", begin() + env() + body_of(PING[:20], end=False) + record(ABORT), (400, None)),
    ("end of the connection in STDIN", begin() + env() + body_of(PING[:20], end=False), (400, None)),
    ("end before STDIN", begin() + env(), (400, None)),
    ("CONTENT_LENGTH larger than the body", begin() + env(CONTENT_LENGTH="5000") + body_of(PING), 400),
    ("CONTENT_LENGTH smaller than the body", begin() + env(CONTENT_LENGTH="20") + body_of(PING), 400),
    ("CONTENT_LENGTH absent", begin() + env(CONTENT_LENGTH=None) + body_of(PING), 200),
    ("CONTENT_LENGTH empty", begin() + env(CONTENT_LENGTH="") + body_of(PING), 200),
    ("CONTENT_LENGTH negative", begin() + env(CONTENT_LENGTH="-1") + body_of(PING), (400, 413)),
    ("CONTENT_LENGTH no number", begin() + env(CONTENT_LENGTH="12x") + body_of(PING), (200, 400)),
    ("CONTENT_LENGTH of 2^64 + 5", begin() + env(CONTENT_LENGTH=str(2**64 + 5)) + body_of(PING), (400, 413)),
    ("another request's STDIN", begin() + env() + record(STDIN, PING, request=2) + record(STDIN), (400, None)),
    ("unknown record", begin() + record(77, b"x" * 100) + env() + body_of(PING), (200, 404, None)),
    ("a method of 60 KB", begin() + env(REQUEST_METHOD="P" * 60000) + body_of(PING), 405),
    ("a URI of 60 KB", begin() + env(REQUEST_URI="/mcp" * 15000) + body_of(PING), (200, 404)),
    ("a Host of 60 KB", begin() + env(HTTP_HOST="localhost" * 6600) + body_of(PING), 403),
    ("an Accept of 60 KB", begin() + env(HTTP_ACCEPT="a/b;q=0.1," * 6000) + body_of(PING), 406),
    ("a session id of 60 KB", begin() + env(HTTP_MCP_SESSION_ID="x" * 60000) + body_of(PING), (200, 400, 404)),
    ("2000 headers", begin() + env(**{f"HTTP_X_{i}": "v" * 10 for i in range(2000)}) + body_of(PING), 200),
]


@case("FastCGI: malformed records are answered or closed")
def _(site):
    def run(data, want):
        got = fcgi(site, data)
        check(got is not None, "neither answered nor closed")
        status = fcgi_status(got)
        check(status in (want if isinstance(want, tuple) else (want,)), "status", status, "instead of", want)
    each(FCGI, run)


@case("FastCGI: silent and half-sent requests cost no more than their threads, until they leave")
def _(site):
    starts = [b"", b"\1\1\0", begin(), begin() + record(PARAMS, b"\x0e\x04REQ"), begin() + env(), begin() + env() + body_of(PING[:9], end=False)]
    with contextlib.ExitStack() as stack:
        for start in starts:
            peer = stack.enter_context(socket.socket(socket.AF_UNIX))
            peer.connect(site.worker_socket)
            peer.sendall(start)
        site.works()


@case("FastCGI: a PARAMS length of 2 GB costs one worker at most, which is replaced", may_lose_workers=True)
def _(site):
    before = site.workers()
    fcgi(site, begin() + record(PARAMS, b"\xff\xff\xff\xfe\0" + b"x" * 100) + record(PARAMS))
    dying = set(filter(is_ending, before))  # the connection is closed a little before the supervisor knows
    check(len(dying) < 2, "both workers died")
    until("two workers", lambda: len(site.workers() - dying) == 2)


def is_ending(pid):
    """Whether the kernel has begun to take it apart."""
    try:
        flags = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6])
    except (FileNotFoundError, ProcessLookupError):
        return True
    return bool(flags & 4)  # PF_EXITING


# ---- HTTP and JSON --------------------------------------------------------------------------------------------------


@case("headers that are too large, too many or broken")
def _(site):
    def run(lines, wanted):
        with site.connect() as peer:
            try:
                peer.sendall(b"POST " + site.path.encode() + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + lines)
            except (BrokenPipeError, ConnectionResetError):
                return
            got = b""
            with contextlib.suppress(ConnectionResetError):
                while more := peer.recv(65536):
                    got += more
            if not got:
                return  # closed: the web server's right
            check(int(got.split()[1]) in wanted, got[:300])

    end = b"Content-Type: application/json\r\nAccept: application/json\r\nContent-Length: 2\r\n\r\n{}"
    each([
        ("one of 100 KB", b"X-Big: " + b"x" * 100000 + b"\r\n" + end, (400, 413, 431)),
        ("5000", b"".join(b"X-%d: 1\r\n" % i for i in range(5000)) + end, (400, 413, 431)),
        ("no length", b"Content-Type: application/json\r\n\r\n", (400, 411, 406)),
        ("two lengths", b"Content-Length: 2\r\nContent-Length: 3\r\n" + end, (400,)),
        ("a negative length", b"Content-Length: -5\r\n\r\n", (400,)),
        ("a huge length", b"Content-Type: application/json\r\nContent-Length: 99999999999999999999\r\n\r\n", (400, 413)),
        ("bytes above 127", b"Mcp-Session-Id: \xc3\xa4\xff\r\n" + end, (400, 404)),
        ("NUL", b"Mcp-Session-Id: a\0b\r\n" + end, (400, 404)),
    ], run)


@case("large bodies: 100 KB is read, one byte more than body_max_bytes is not")
def _(site):
    text = "x" * 100000
    status, _, body = site.modern({"name": "echo", "arguments": {"text": text}})
    check(status == 200 and text in body.decode(), status, body[:300])
    is_error(site.post(b" " * (4194304 + 1)), 413)
    is_error(site.post(b" " * 4194304), 400)
    is_error(site.post(b"[" * 4194304), 400)


@case("chunked bodies are read, and broken ones refused")
def _(site):
    headers, body = site.modern_parts({"name": "echo", "arguments": {"text": "in pieces"}})
    answer = site.request("POST", headers, iter([body[:10], body[10:50], body[50:]]))
    check(answer[0] == 200 and b"in pieces" in answer[2], answer)
    head = f"POST {site.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
    for chunks in (b"zz\r\n{}\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n{}", b"2\r\n{}XX0\r\n\r\n"):
        with site.connect() as peer:
            peer.sendall(head.encode() + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks)
            peer.shutdown(socket.SHUT_WR)
            got = b""
            with contextlib.suppress(ConnectionResetError):
                while more := peer.recv(65536):
                    got += more
            check(not got or int(got.split()[1]) >= 400, chunks, got[:300])


BAD_JSON = [
    b"", b" ", b"{", b"}", b"[", b"nul", b"{]", b"{\"a\"}", b"{\"a\":}", b"{\"a\":1,}", b"[1,]", b"{'a':1}", b"{a:1}", b"NaN",
    b"Infinity", b"-", b"01", b"+1", b".5", b"1.", b"1e", b"0x10", b"{}{}", b"{} x", b"{}\0", b"{\"a\":\"\0\"}", b"\"\n\"",
    b"\"\\x41\"", b"\"\\u12\"", b"\"\\ud800\"", b"\"", b"\"\\", b"// c\n{}", b"/* c */{}", b"\xef\xbb\xbf{}",
    b"{\"a\":\"\xff\"}", b"{\"a\":\"\xc0\x80\"}", b"{\"a\":\"\xed\xa0\x80\"}", b"{\"a\":\"\xf4\x90\x80\x80\"}", b"{\"a\":\"\xc3",
    b"{\"a\":1,\"a\":2}", b"{\"a\":{\"b\":1,\"\\u0062\":2}}", b"{\"\0\":1}", b"tru", b"truE", b"\xfe\xff\0{\0}", b"1" * 100000,
    b"[" * 65 + b"]" * 65, b"{\"a\":" * 65 + b"1" + b"}" * 65, b"[" * 1000000, b"{\"a\":" * 500000, b"[" * 100000 + b"]" * 100000,
    b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"method\":\"tools/list\"}",
    b"{\"jsonrpc\":\"2.0\",\"id\":1" + b"0" * 5000 + b",\"method\":\"ping\"}",
]


@case("JSON that is none")
def _(site):
    each([(text[:40], text) for text in BAD_JSON], lambda text: is_error(site.post(text), 400))


ODD = [None, True, 0, -1, 1.5, 1e300, 2**63, 10**40, "", "x", "\0", "\U0001f600", "x" * 5000, [], [[]], [1], {}, {"a": {}}]


@case("JSON-RPC with wrong types in every place")
def _(site):
    good = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {}}
    table = []
    for value in ODD:
        table += [(f"whole {value!r:.30}", value, {}), (f"[{value!r:.30}]", [value], {})]
        for member in good:
            table.append((f"{member} {value!r:.30}", {**good, member: value}, {}))
    # none of them has a session: whatever it is, there is no result
    each(table, lambda message, headers: is_error(site.post(message, headers), 400, 404))
    session = site.session()

    def in_session(message):
        status, _, body = site.post(message, session)
        check(status in (200, 202, 400, 404), status, body[:300])
        if status == 200:
            check("error" in message_of(body) or "result" in message_of(body), body[:300])
    each([(title, message) for title, message, _ in table], in_session)


@case("initialize with wrong types in every place")
def _(site):
    def run(params):
        status, headers, body = site.post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
        check(status in (200, 400), status, body[:300])
        message = json.loads(body)
        if "result" not in message:
            check(isinstance(message["error"]["code"], int) and not headers["Mcp-Session-Id"], body[:300])
        else:
            site.request("DELETE", {"Mcp-Session-Id": headers["Mcp-Session-Id"]})
    table = []
    for value in ODD:
        table.append((f"params {value!r:.30}", value))
        for member in CLIENT:
            table.append((f"{member} {value!r:.30}", {**CLIENT, member: value}))
        for member in ("name", "version", "title", "icons"):
            table.append((f"clientInfo.{member} {value!r:.30}", {**CLIENT, "clientInfo": {**CLIENT["clientInfo"], member: value}}))
        table.append((f"_meta {value!r:.30}", {**CLIENT, "_meta": value}))
    table.append(("capabilities of 100 KB", {**CLIENT, "capabilities": {"experimental": {"x": "y" * 100000}}}))
    table.append(("10000 capabilities", {**CLIENT, "capabilities": {str(i): {} for i in range(10000)}}))
    each(table, run)


@case("tools/call with wrong types in every place, in both eras")
def _(site):
    session = site.session()
    good = {"name": "nap", "arguments": {"s": 0}}
    table = [(f"{member} {value!r:.30}", {**good, member: value}) for value in ODD for member in good]
    table += [(f"arguments.s {value!r:.30}", {**good, "arguments": {"s": value}}) for value in ODD if type(value) not in (int, float)]
    table += [
        ("no name", {"arguments": {}}), ("no such tool", {"name": "no-such"}), ("path as name", {"name": "../tools/dies"}),
        ("name with CRLF", {"name": "a b"}), ("1000 arguments", {**good, "arguments": {str(i): i for i in range(1000)}}),
    ]

    def run(params, modern):
        if modern:
            status, _, body = site.modern(params)
        else:
            status, _, body = site.post({"jsonrpc": "2.0", "id": "m", "method": "tools/call", "params": params}, session)
        check(status in (200, 400, 404), status, body[:300])
        message = message_of(body)
        check("error" in message or message["result"].get("isError"), body[:300])
    each([(f"modern {title}", params, True) for title, params in table], run)
    each([(f"legacy {title}", params, False) for title, params in table], run)
    whole = [(f"{value!r:.30}", value) for value in ODD if not isinstance(value, dict)]
    each(whole, lambda value: is_error(
        site.post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": value}, session), 200, 400))


@case("_meta with wrong types in every place")
def _(site):
    def run(meta, fine):
        status, _, body = site.modern({"name": "echo", "arguments": {}}, meta=meta)
        if not fine or status != 200:
            is_error((status, None, body), 400)
    each([(f"{member} {value!r:.30}", {member: value}, member == "progressToken" or value == {} or member == "x")
          for member in (*META, "io.modelcontextprotocol/logLevel", "progressToken", "x")
          for value in ODD if member != "io.modelcontextprotocol/clientCapabilities" or not isinstance(value, dict)], run)


FORGED = [
    "x", "0", "x" * 128, "x" * 129, "x" * 4000, "' OR '1'='1", "1; DROP TABLE sessions", "../../etc/passwd", "%00", "%0d%0aX-Evil: 1",
    "\xe4\xf6\xfc", "a\tb", "${jndi:ldap://x}", "a,b", "{}", "\"", "-1", "99999999999999999999",
]


@case("forged session ids")
def _(site):
    def run(sid):
        headers = {"Mcp-Session-Id": sid.encode("latin-1")}
        for answer in (site.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers),
                       site.request("GET", {**SSE, **headers}), site.request("DELETE", headers)):
            is_error(answer, 400, 404)
            check("X-Evil" not in answer[1], "a header was made up")
    each([(repr(sid)[:40], sid) for sid in FORGED], run)
    real = site.session()["Mcp-Session-Id"]
    near = [real[:-1], real + "x", real.swapcase(), real[::-1], real + real, real[:-1] + ("A" if real[-1] != "A" else "B")]
    each([(repr(sid), sid) for sid in near if sid != real], run)
    for query in ("", "sessionId=", "sessionId=x", "sessionId=" + "x" * 5000, "sessionId=%00", "sessionId=%", "sessionId=%ff"):
        is_error(site.request("POST", TYPES, b'{"jsonrpc":"2.0","id":1,"method":"ping"}', f"{site.path}/messages?{query}"), 400, 404)


@case("forged Last-Event-ID")
def _(site):
    session, other = site.session(), site.session()
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "nap", "arguments": {"s": 0.5}}}
    _, _, body = site.post(message, other)
    ids = [line[3:].strip().decode() for line in body.split(b"\n") if line.startswith(b"id:")]
    check(ids, "no event had an id:", body[:300])
    stream, epoch, seq = ids[-1].split(".")
    huge = ["9" * 19, "9" * 20, "9" * 400, str(2**64), str(2**64 - 1), str(2**63), "-1", "0", "", "x", "1e3", " 1", "+1", "0x1", "ä"]
    forged = ids + ["x", ".", "..", "1", "1.1", "1.1.1.1", "a.b.c", "../..", "x" * 5000]
    for number in huge:
        forged += [f"{number}.{epoch}.{seq}", f"{stream}.{number}.{seq}", f"{stream}.{epoch}.{number}"]

    def run(value):
        is_error(site.request("GET", {**SSE, **session, "Last-Event-ID": value.encode("latin-1")}), 400, 404, 405)
    each([(repr(value)[:60], value) for value in forged], run)


# ---- clients that leave, or stall -----------------------------------------------------------------------------------


@case("a client that stops reading: the broker's memory is bounded, other streams go on")
def _(site):
    before = rss_kb(site.broker)
    headers, body = site.modern_parts({"name": "endless_progress", "arguments": {}}, meta={"progressToken": 1})
    with contextlib.ExitStack() as stack:
        for _ in range(3):  # clients, each with a tool
            peer = stack.enter_context(site.connect())
            head = "".join(f"{name}: {value}\r\n" for name, value in {**headers, "Content-Length": len(body)}.items())
            peer.sendall(f"POST {site.path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode() + body)
            check(peer.recv(100).startswith(b"HTTP/1.1 200"), "no stream")
        listener = stack.enter_context(contextlib.closing(get_stream(site, site.session())))
        for _ in range(4):
            check(listener.readline(), "another stream ended")
            site.works()
            time.sleep(0.4)
        grown = rss_kb(site.broker) - before
        check(grown < 48 * 1024, "the broker grew by", grown, "KB")
    until("its tools were ended", lambda: not running("endless_progress"))


@case("a client of HTTP+SSE that stops reading what it asks for: memory is bounded, others go on")
def _(site):
    before = rss_kb(site.broker)
    call = {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "x" * 100000}}}
    with contextlib.closing(site.open("GET", SSE, path=f"{site.path}/sse")) as stream:
        endpoint = None
        while not endpoint:
            line = stream.readline().decode().strip()
            endpoint = line[5:].strip() if line.startswith("data:") else None
        first = {"jsonrpc": "2.0", "id": "first", "method": "initialize", "params": {**CLIENT, "protocolVersion": "2024-11-05"}}
        check(site.request("POST", TYPES, json.dumps(first), endpoint)[0] == 202, "initialize")
        for number in range(300):
            status, _, body = site.request("POST", TYPES, json.dumps({**call, "id": number}), endpoint)
            check(status in (202, 503), status, body[:300])
        site.works()
        grown = rss_kb(site.broker) - before
        check(grown < 20 * 1024, "the broker grew by", grown, "KB")
        stream.connection.close()


@case("the broker stands still while a tool reports without end: the worker's memory is bounded, calls go on")
def _(site):
    before = max(rss_kb(pid) for pid in site.workers())
    with contextlib.closing(site.modern_open({"name": "endless_progress", "arguments": {}}, {"progressToken": 1})) as stream:
        check(stream.status == 200 and stream.readline(), stream.status)
        with stopped(site.broker):
            time.sleep(2)
            status, _, text = site.modern({"name": "echo", "arguments": {"text": "x"}})
            check(status == 200 and "result" in message_of(text), "modern", status, text[:300])
            grown = max(rss_kb(pid) for pid in site.workers()) - before
            check(grown < 64 * 1024, "a worker grew by", grown, "KB")
        stream.connection.close()
    until("its tool was ended", lambda: not running("endless_progress"))


def running(word):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if word.encode() in (entry / "cmdline").read_bytes() and b"awk" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


@case("clients that leave in each state")
def _(site):
    headers, body = site.modern_parts({"name": "nap", "arguments": {"s": 0.8}})
    session = site.session()
    legacy = json.dumps({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "nap", "arguments": {"s": 0.8}}}).encode()

    def wire(method, headers, body=b""):
        if body:
            headers = {**headers, "Content-Length": len(body)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{method} {site.path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode() + body

    full = wire("POST", headers, body)
    requests = [full, wire("POST", {**TYPES, **session}, legacy), wire("GET", {**SSE, **session}), wire("GET", SSE)]
    for whole in requests:
        for cut in {1, 20, len(whole) // 2, len(whole) - 1, len(whole)}:
            for pause in (0, 0.05) if cut < len(whole) else (0, 0.02, 0.29, 0.3, 0.31, 0.5):
                for how in ("close", "reset", "half"):
                    peer = site.connect()
                    peer.sendall(whole[:cut])
                    time.sleep(pause / 2)
                    if how == "reset":
                        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    if how == "half":
                        peer.shutdown(socket.SHUT_WR)
                    peer.close()
            if cut == len(whole):
                time.sleep(0.1)
    site.request("DELETE", session)


@case("500 connections, opened and closed")
def _(site):
    for round_of in range(10):
        peers = [site.connect() for _ in range(50)]
        for i, peer in enumerate(peers):
            if i % 2:
                peer.sendall(f"GET {site.path}/health HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()[:i * 3])
        for peer in peers:
            peer.close()
    for _ in range(200):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(PATIENCE_S)
            peer.connect(site.worker_socket)
    site.works()


# ---- tools ----------------------------------------------------------------------------------------------------------


def tool_case(name, wanted):
    @case(f"a tool: {name.replace('_', ' ')}")  # it has an end, or nobody would wait for its answer
    def _(site):
        status, _, body = site.modern({"name": name, "arguments": {}}, meta={"progressToken": 1})
        message = message_of(body)
        check(status == 200, status)
        if wanted == "fails":
            check("error" in message or message["result"].get("isError"), body[:300])
        else:
            check(not message["result"].get("isError") and wanted in json.dumps(message, ensure_ascii=False), body[:600])


for tool, wanted in (
        ("endless_output", "fails"), ("endless_stderr", "fails"), ("endless_garbage", "fails"), ("endless_line", "fails"),
        ("odd_notifications", "done"), ("binary", "a"), ("broken_json", "fails"), ("broken_result", "fails"), ("dies", "fails"),
        ("cannot_run", "fails"), ("reads_nothing", "content"), ("daemon", "done"), ("deaf", "fails")):
    tool_case(tool, wanted)


@case("a tool that reads nothing of 3 MB of arguments")
def _(site):
    status, _, body = site.modern({"name": "reads_nothing", "arguments": {"text": "x" * 3000000}})
    check(status == 200 and "result" in message_of(body), status, body[:300])


# ---- the broker's own doors -----------------------------------------------------------------------------------------


@case("garbage on broker.ctl")
def _(site):
    path = f"{site.run_dir}/broker.ctl"
    with contextlib.ExitStack() as stack:
        for packet in (None, b"", b"x", b"MCPL", b"\0" * 56, b"\xff" * 56, b"MCPL\1\1" + bytes(50), os.urandom(16000), os.urandom(60000)):
            for _ in range(10):
                peer = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                peer.settimeout(PATIENCE_S)
                peer.connect(path)
                if packet is not None:
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        peer.send(packet)
        site.works()
        until("silent ones are closed", lambda: peer_closed(peer))


def peer_closed(peer):
    try:
        peer.setblocking(False)
        return peer.recv(1000) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@case("another user on broker.ctl")
def _(site):
    if os.geteuid() != 0:
        return
    # Past the modes of the directory, by the descriptor of it: what is left is the check of the peer.
    directory = os.open(site.run_dir, os.O_RDONLY | os.O_DIRECTORY)
    socket_mode = os.stat("broker.ctl", dir_fd=directory).st_mode
    os.chmod(f"/proc/self/fd/{directory}/broker.ctl", 0o666)
    try:
        pid = os.fork()
        if pid == 0:
            try:
                os.fchdir(directory)
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                peer.settimeout(PATIENCE_S)
                peer.connect("broker.ctl")
                closed = peer.recv(100) == b""
                os._exit(0 if closed else 1)
            except (PermissionError, ConnectionResetError):
                os._exit(0)
            finally:
                os._exit(2)
        check(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "it was let in")
    finally:
        os.chmod(f"/proc/self/fd/{directory}/broker.ctl", socket_mode & 0o777)
        os.close(directory)


GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\3\0" + b"NULL" + bytes(16) + bytes(1 + 31)


@case("garbage on broker.zmq")
def _(site):
    path = f"{site.run_dir}/broker.zmq"

    def frame(body, flags=0):
        return bytes([flags, len(body)]) + body if len(body) < 256 else bytes([flags | 2]) + struct.pack(">Q", len(body)) + body

    def command(body):
        return bytes([4, len(body)]) + body

    ready = command(b"\5READY" + b"\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER" + b"\x08Identity" + struct.pack(">I", 0))
    header = b"MCPL\1" + bytes(51)
    sent = [b"", b"x", b"\xff" * 1000, os.urandom(5000), GREETING, GREETING + os.urandom(100), GREETING + ready,
            GREETING + ready + frame(b""), GREETING + ready + frame(b"x"), GREETING + ready + frame(header),
            GREETING + ready + frame(header, 1) + frame(b"") + frame(os.urandom(300)), GREETING + ready + frame(b"", 1) * 1000 + frame(b""),
            GREETING + ready + frame(b"a", 1), GREETING + ready + bytes([2]) + struct.pack(">Q", 2**62)]
    sent += [GREETING + ready + frame(b"MCPL\1" + bytes([kind]) + os.urandom(50), 1) + frame(os.urandom(20), 1) + frame(os.urandom(99))
             for kind in range(40)]
    with contextlib.ExitStack() as stack:
        for data in sent:
            peer = stack.enter_context(socket.socket(socket.AF_UNIX))
            peer.connect(path)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                peer.sendall(data)
        time.sleep(0.3)
        site.works()


@case("a second broker on the same run_dir goes, and leaves the first alone")
def _(site):
    builds = [os.environ.get("abs_top_builddir"), str(HERE.parent.parent), "."]
    program = next(f"{each}/mcp-broker" for each in builds if each and os.access(f"{each}/mcp-broker", os.X_OK))
    second = subprocess.run([program, "--foreground", "--conf", str(HERE / "site" / "mcp.json"), "--set", f"run_dir={site.run_dir}"],
                            capture_output=True, timeout=PATIENCE_S)
    check(b"run" in second.stderr + second.stdout, "it says nothing:", second)
    check(Path(site.run_dir, "broker.ctl").exists() and Path(site.run_dir, "broker.zmq").exists(), "sockets are gone")


# ---- stopped processes ----------------------------------------------------------------------------------------------


@case("the broker stands still for 3 s: modern calls go on, legacy ones hear of it in time, then all is well")
def _(site):
    session = site.session()
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "x"}}}
    with stopped(site.broker):
        until_s = time.monotonic() + 3
        for method, headers, body in (("POST", {**TYPES, **session}, json.dumps(call).encode()), ("GET", {**SSE, **session}, None),
                                      ("DELETE", session, None)):
            status, answered, text = site.request(method, headers, body)  # who waits for the broker waits for ever
            check(status == 503 and answered["Retry-After"], method, status, text[:300])
            status, _, text = site.modern({"name": "echo", "arguments": {"text": "x"}})
            check(status == 200 and "result" in message_of(text), "modern", status, text[:300])
        time.sleep(max(0, until_s - time.monotonic()))
    session = site.session()
    status, _, body = site.post(call, session)
    check(status == 200 and "result" in message_of(body), status, body[:300])


@case("a worker stands still: the others go on, and so does it")
def _(site):
    worker = min(site.workers())
    with stopped(worker):
        for _ in range(12):  # it has no accept queue of its own
            status, _, text = site.modern({"name": "echo", "arguments": {"text": "x"}})
            check(status == 200 and "result" in message_of(text), status, text[:300])


# ---- no descriptors -------------------------------------------------------------------------------------------------


@case("no descriptors left in the broker: a refusal that can be understood, and recovery", fds=160, settings={"broker_fd_reserve": 120})
def _(site):
    streams, status = [], None
    for _ in range(64):
        answer = get_stream(site, site.session())
        if answer.status != 200:
            status = answer.status
            check(answer.headers["Retry-After"], "no Retry-After")
            answer.close()
            break
        streams.append(answer)
    check(status == 503 and streams, "GET:", status, "after", len(streams))
    slow = {"name": "nap", "arguments": {"s": 0.6}}
    message = message_of(site.modern(slow)[2])
    check("error" in message or "result" in message, message)
    message = message_of(site.post({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": slow}, site.session())[2])
    check("result" in message or "error" in message, message)
    site.works()
    for answer in streams:
        answer.close()
        answer.connection.close()

    def again():
        answer = get_stream(site, site.session())
        answer.close()
        answer.connection.close()
        return answer.status == 200
    until("a stream again", again)


if __name__ == "__main__":
    sys.exit(main(case, __doc__))
