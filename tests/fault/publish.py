#!/usr/bin/env python3
"""Bad, slow, vanishing and too many scripts at the publishing socket and port, and what becomes of them when the broker dies
or the configuration changes. What is lost is said: nothing that was acknowledged, no publication but those refused."""

import json
import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BUILD = Path(os.environ.get("abs_top_builddir") or Path.cwd())
KEY = "0123456789abcdef0123"
WAIT_S = 60  # for anything that is bound to come
GOOD = b'{"lists":["tools"]}'
number = 0
failed = False


def case(title, fn):
    global number, failed
    number += 1
    began = time.monotonic()
    try:
        fn()
        print(f"ok {number} - {title}\n# {time.monotonic() - began:.1f} s, 0 lost")
    except Exception as e:  # the others are still to be seen
        failed = True
        print(f"not ok {number} - {title}")
        print("\n".join("# " + line for line in f"{type(e).__name__}: {e}".splitlines()))
    sys.stdout.flush()


def check(claim, *what):
    if not claim:
        raise AssertionError(" ".join(map(str, what)))


def until(what, fn):
    end = time.monotonic() + WAIT_S
    while not fn():
        check(time.monotonic() < end, what, "did not come")
        time.sleep(0.02)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Host:
    """A broker and a runner, which serves the socket and the port. As few of everything as a test can reach."""

    def __init__(self, **settings):
        self.scratch = tempfile.TemporaryDirectory(prefix="mcp-publish.")
        self.dir = Path(self.scratch.name)
        self.path, self.port = self.dir / "publish", free_port()
        (self.dir / "keys").write_text(f"cron:{KEY}\n")
        (self.dir / "keys").chmod(0o600)
        self.settings = {"run_dir": self.dir / "run", "store_kind": "memory", "publish_socket": self.path,
                         "publish_listen": f"127.0.0.1:{self.port}", "publish_keys_file": self.dir / "keys",
                         "worker_reload_ms": 100, **settings}
        self.write({})
        self.log = open(self.dir / "log", "wb")
        self.broker, self.runner = self.start("mcp-broker"), None
        until("the broker", (self.dir / "run" / "broker.admin").exists)
        self.start_runner()

    def write(self, more):
        new = self.dir / "new"
        new.write_text(json.dumps({"tools": {"echo": {"builtin": "echo"}}, **more}))
        new.rename(self.dir / "mcp.json")

    def start(self, program):
        sets = [arg for name, value in self.settings.items() for arg in ("--set", f"{name}={value}")]
        return subprocess.Popen([BUILD / program, "--foreground", "--conf", self.dir / "mcp.json", *sets], stderr=self.log)

    def start_runner(self):
        said = self.said().count("runner.ready")
        self.runner = self.start("mcp-runner")
        until("the runner", lambda: self.said().count("runner.ready") > said)

    def said(self):
        return (self.dir / "log").read_text()

    def stop(self, who):
        who.terminate()
        status = who.wait(WAIT_S)
        check(status == 0, f"status {status}:", self.said()[-3000:])

    def end(self):
        self.stop(self.runner)
        check(not self.path.is_socket(), "the socket is still there")
        self.stop(self.broker)
        check("Sanitizer" not in self.said(), self.said()[-3000:])
        self.log.close()
        self.scratch.cleanup()

    def connect(self, tcp=False):
        s = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
        s.settimeout(WAIT_S)
        s.connect(("127.0.0.1", self.port) if tcp else str(self.path))
        return s

    def ask(self, raw, tcp=False):
        with self.connect(tcp) as s:
            try:
                s.sendall(raw)
            except OSError:
                pass  # it has refused already
            return answer(s)

    def publish(self, body=GOOD, *headers, tcp=False):
        return self.ask(request(body, *headers), tcp)

    def works(self):
        status, _, said = self.publish()
        check(status == 200 and said == {"reached": 0}, status, said)

    def fds(self):
        return len(os.listdir(f"/proc/{self.runner.pid}/fd"))


def request(body=GOOD, *headers):
    lines = ["POST /publish HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines + ["", ""]).encode() + body


def answer(s):
    """(status, head, JSON); status None: nothing came."""
    raw = b""
    while chunk := s.recv(65536):
        raw += chunk
    head, _, body = raw.partition(b"\r\n\r\n")
    return (int(head.split()[1]), head.decode(), json.loads(body)) if raw else (None, "", None)


host = Host(publish_connections_max=4, publish_wait_ms=3000, publish_body_max_bytes=1000)


def bad_input():
    for raw, want in (
        (b"\r\n\r\n", 400),
        (b"GET /publish HTTP/1.1\r\n\r\n", 405),
        (b"POST / HTTP/1.1\r\n\r\n", 404),
        (b"POST /publish HTTP/9.9\r\n\r\n", 505),
        (b"POST /publish HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /publish HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", 413),
        (request(b" " * 200000), 413),
        (b"POST /publish HTTP/1.1\r\nX: " + b"x" * 100000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
        (b"\0" * 5000, 400),
        (request(b"\xff\xfe"), 400),
        (request(b"[" * 999), 400),
        (request(b'{"lists":["tools"]}{}'), 400),
        (request(b'{"log":{"level":"info","data":1},"session":"\\u0000\\u0000\\u0000\\u0000"}'), 404),
    ):
        status, _, said = host.ask(raw)
        check(status == want and said["error"], raw[:60], status, said)
        host.works()


def slow_ones():
    with host.connect() as s:
        for byte in request():
            s.sendall(bytes([byte]))
        check(answer(s)[0] == 200, "byte by byte")
    with host.connect() as s:
        s.sendall(request(GOOD, "Expect: 100-continue")[: -len(GOOD)])
        check(s.recv(4096).startswith(b"HTTP/1.1 100 "), "100 Continue")
        s.sendall(GOOD)
        check(answer(s)[0] == 200, "after 100 Continue")


def silent_ones():
    began = time.monotonic()
    silent = [host.connect() for _ in range(4)]  # all places
    silent[0].sendall(b"POST /publish HT")
    silent[1].sendall(request()[:-1])
    host.works()  # it waited for a place
    check(time.monotonic() - began > 2.9, "there were more places than publish_connections_max")
    for s in silent:
        check(s.recv(1) == b"", "a silent one was answered")
        s.close()


def vanishing_ones():
    host.works()
    before = host.fds()
    for n in range(100):
        s = host.connect(tcp=n % 2)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.sendall(request(GOOD, f"X-API-Key: {KEY}")[: 3 * n])
        s.close()
    host.works()
    until("descriptors are back", lambda: host.fds() <= before)


def keys():
    for headers in ((), ("X-API-Key: wrong",), (f"Authorization: Basic {KEY}",), (f"X-API-Key: {KEY}x",), (f"X-API-Key: {KEY[:-1]}",)):
        status, head, said = host.publish(GOOD, *headers, tcp=True)
        check(status == 401 and "WWW-Authenticate: Bearer" in head, headers, status, said)
    status, _, said = host.ask(b"POST /publish HTTP/1.1\r\nContent-Length: 9\r\n\r\n", tcp=True)
    check(status == 401, "it waited for a body without a key", status)
    for header in (f"X-API-Key: {KEY}", f"Authorization: Bearer {KEY}"):
        check(host.publish(GOOD, header, tcp=True)[0] == 200, header)


def modes():
    mode = host.path.stat().st_mode
    check(stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660, oct(mode))


def settings():
    for name, value, why in (("publish_listen", "0.0.0.0:8765", "loopback"), ("publish_listen", "192.0.2.1:8765", "loopback"),
                             ("publish_listen", "[::]:8765", "loopback"), ("publish_listen", "127.0.0.1", "is not as 127.0.0.1:8080"),
                             ("publish_listen", "127.0.0.1:70000", "a port is"), ("publish_keys_file", "", "needs publish_keys_file"),
                             ("publish_keys_file", "/dev/null", "may be read by everyone")):
        sets = {**host.settings, name: value}
        for command in (["mcpctl", "check", host.dir / "mcp.json"], ["mcp-runner", "--foreground", "--conf", host.dir / "mcp.json"]):
            done = subprocess.run([BUILD / command[0], *command[1:], *(a for n, v in sets.items() for a in ("--set", f"{n}={v}"))],
                                  capture_output=True, text=True, timeout=WAIT_S)
            check(done.returncode != 0 and why in done.stderr, command[0], name, value, done.returncode, done.stderr)


def reloaded():
    bad = b'{"lists":["prompts"]}'
    check(host.publish(bad)[0] == 400, "there are prompts already")
    inode = host.path.stat().st_ino
    host.write({"prompts": {"p": {"text": "x"}}})
    until("the new prompt", lambda: host.publish(bad)[0] == 200)
    check(host.path.stat().st_ino == inode, "the socket is another one")


def broker_dies():
    host.broker.kill()
    host.broker.wait(WAIT_S)
    status, head, said = host.publish()
    check(status == 503 and "Retry-After: 1" in head and said["error"], status, said)
    host.broker = host.start("mcp-broker")
    until("the next broker", lambda: host.publish()[0] == 200)


def in_its_place():
    host.runner.kill()
    host.runner.wait(WAIT_S)
    check(host.path.is_socket(), "who was killed has left nothing")
    host.start_runner()  # in the place of what is left
    host.works()
    host.stop(host.runner)
    host.path.write_text("precious")
    host.start_runner()
    check(host.path.read_text() == "precious", "the file is gone")
    check("is there, and no socket" in host.said(), host.said()[-1000:])
    host.stop(host.runner)
    host.path.unlink()
    host.start_runner()
    host.works()


def too_many():
    few = Host(publish_rate=1, publish_burst=3)
    try:
        said = [few.publish() for _ in range(3)]
        check([status for status, _, _ in said] == [200] * 3, [status for status, _, _ in said])
        while said[-1][0] == 200 and len(said) < 20:  # sooner than one a second
            said.append(few.publish())
        status, head, refused = said[-1]
        check(status == 429 and "Retry-After: 1" in head and "publish_rate" in refused["error"], said[-1])
        until("another one", lambda: few.publish()[0] == 200)
    finally:
        few.end()


case("bad input is refused, with a reason, and the next one is served", bad_input)
case("who is slow is waited for", slow_ones)
case("who is silent has an end, and keeps no place for ever", silent_ones)
case("who vanishes leaves nothing", vanishing_ones)
case("the port is for who holds a key", keys)
case("the socket is for its user and group", modes)
case("settings that would let others in stop the start", settings)
case("a configuration that changes is published for, at the same socket", reloaded)
case("without a broker the answer is 503, with the next one it goes on", broker_dies)
case("a socket that was left is replaced, a file is not", in_its_place)
case("publish_rate and publish_burst", too_many)
case("all end in order", host.end)
print(f"1..{number}")
sys.exit(failed)
