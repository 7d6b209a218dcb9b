#!/usr/bin/env python3
"""An HTTP API for tests, with good and bad manners:  http_standin.py [DIR]

Says "ENV API=http://127.0.0.1:PORT", the same of localhost as API_OTHER, and if DIR is given (for a certificate that nobody trusts), "ENV
API_TLS=https://127.0.0.1:PORT", then READY, and serves until SIGTERM or until its parent is gone. What each path does
is below, at its name."""

import ctypes
import gzip
import http.server
import itertools
import json
import signal
import ssl
import subprocess
import sys
import threading
import time
from urllib.parse import parse_qs, urlsplit

PR_SET_PDEATHSIG = 1
PATIENCE_S = 20  # the longest that a bad manner goes on
counts = {}
lock = threading.Lock()


def count(key):
    """How often this key was asked for, this time included."""
    with lock:
        counts[key] = counts.get(key, 0) + 1
        return counts[key]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "standin", ""
    timeout = PATIENCE_S
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def answer(self, body, status=200, kind="application/json", **headers):
        body = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def raw(self, data):
        self.close_connection = True
        self.wfile.write(data)

    def handle_any(self):
        path, *args = urlsplit(self.path).path[1:].split("/")
        length = int(self.headers.get("Content-Length") or 0)
        self.sent = self.rfile.read(length).decode() if length else ""
        try:
            getattr(self, "do_" + path, self.do_nothing)(*args)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def do_nothing(self, *_):
        self.answer('{"error":"no such path"}', 404)

    # Good manners.

    def do_echo(self, *_):
        """The request itself; headers of X-... and a few more."""
        kept = ("content-type", "authorization", "accept-encoding")
        headers = {k.lower(): v for k, v in self.headers.items() if k.lower().startswith("x-") or k.lower() in kept}
        headers.pop("accept-encoding", None)
        self.answer(json.dumps({"method": self.command, "target": self.path, "headers": headers, "body": self.sent}))

    def do_river(self, city="", *_):
        if city not in ("bern", "thun"):
            self.answer('{"error":"no such city"}', 404)
        else:
            self.answer(json.dumps({"data": [{"city": city, "temp": 13.5, "note": None, "a/b": "x"}], "n": count("river")}))

    def do_say(self, kind, *_):
        """A body of each kind of content."""
        says = {
            "text": (b"caf\xc3\xa9\n", "text/plain; charset=utf-8"),
            "latin": (b"caf\xe9", "text/plain"),
            "png": (b"\x89PNG\r\n\x1a\n\x00", "image/png"),
            "pdf": (b"%PDF\x00\xff", "application/pdf"),
            "nothing": (b"", "application/json"),
            "untyped": (b"plain", None),
            "scalar": (b'"13 degrees"', "application/json"),
            "null": (b"null", "application/json"),
            "deep": (b"[" * 100000 + b"]" * 100000, "application/json"),
            "bad": (b'{"a":1', "application/json"),
            "twice": (b'{"a":1,"a":2}', "application/problem+json"),
        }
        body, kind = says[kind]
        self.answer(body, 200, kind)

    def do_gzip(self, *_):
        self.answer(gzip.compress(b'{"zipped":true}'), Content_Encoding="gzip")

    def do_http10(self, *_):
        self.raw(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold")

    def do_count(self, key, *_):
        self.answer(str(count(key)))

    def do_slow(self, seconds, key="slow", *_):
        time.sleep(float(seconds))
        self.answer(str(count(key)))

    # Failures.

    def do_status(self, status, kind="json", *_):
        body = {"json": '{"error":"because"}', "html": "<h1>Sorry</h1>", "secret": self.headers.get("Authorization", "")}
        self.answer(body[kind], int(status), "text/html" if kind == "html" else "application/json")

    def do_flaky(self, key, times, status="503", *_):
        """Fails so many times, then says how often it was asked."""
        n = count(key)
        self.answer(str(n), int(status) if n <= int(times) else 200)

    def do_wanes(self, key, times, status="503", *_):
        """Works so many times, then never again."""
        n = count(key)
        self.answer(str(n), 200 if n <= int(times) else int(status))

    def do_later(self, key, seconds, *_):
        n = count(key)
        if n == 1:
            self.answer("", 429, Retry_After=seconds)
        else:
            self.answer(str(n))

    def do_breaks(self, key, *_):
        """Breaks off the first time."""
        n = count(key)
        if n == 1:
            self.raw(b"")
        else:
            self.answer(str(n))

    def do_redirect(self, status="302", *_):
        to = parse_qs(urlsplit(self.path).query)["to"][0]
        self.answer("", int(status), Location=to)

    def do_loop(self, n="0", *_):
        self.answer("", 302, Location=f"/loop/{int(n) + 1}")

    # Bad manners.

    def do_endless(self, *_):
        self.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            self.wfile.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    def do_loris(self, *_):
        self.raw(b"HTTP/1.1 200 OK\r\n")
        for n in range(PATIENCE_S * 10):
            self.wfile.write(b"X-%d: y\r\n" % n)
            time.sleep(0.1)

    def do_headers(self, *_):
        self.raw(b"HTTP/1.1 200 OK\r\n")
        for n in range(10000):
            self.wfile.write(b"X-%d: %s\r\n" % (n, b"y" * 1000))

    def do_bomb(self, *_):
        body = gzip.compress(bytes(64 << 20))
        self.answer(body, Content_Encoding="gzip")

    def do_badgzip(self, *_):
        self.answer(gzip.compress(b"x" * 100)[:10] + b"\xff" * 40, Content_Encoding="gzip")

    def do_short(self, *_):
        self.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")

    def do_long(self, *_):
        """More than it said; the rest looks like an answer to the next request."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")

    def do_garbage(self, *_):
        self.raw(bytes(itertools.islice(itertools.cycle(range(256)), 4096)))

    def do_negative(self, *_):
        self.raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


def serve(context=None):
    server = Server(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def untrusted(directory):
    """A certificate that nobody has signed but itself."""
    pem = f"{directory}/standin.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", pem, "-out", f"{directory}/standin.crt"],
                   check=True, stderr=subprocess.DEVNULL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{directory}/standin.crt", pem)
    return context


def main():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    port = serve()
    print(f"ENV API=http://127.0.0.1:{port}\nENV API_OTHER=http://localhost:{port}")
    if len(sys.argv) > 1:
        print(f"ENV API_TLS=https://127.0.0.1:{serve(untrusted(sys.argv[1]))}")
    print("READY", flush=True)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])


signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
main()
