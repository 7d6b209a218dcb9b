"""Part of bench/run: how long each program takes from its start to its first answer, and how large it is."""

import contextlib
import http.client
import json
import os
import pwd
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from peers import SdkServer, install_sdks
from report import at_most
from running import BUILD, OURS, Failure, Missing, Program, run_rounds
from sites import ACCEPT, LEGACY, TEXT, initialize_message, make_echo_site, modern_call

PATIENCE_S = 60
GOAL = at_most(20)
BEGIN, PARAMS, STDIN, STDOUT, END = 1, 4, 5, 6, 3


def record(kind, content=b""):
    return struct.pack(">BBHHBB", 1, kind, 1, len(content), 0, 0) + content


def request(message, headers):
    """A FastCGI request to the endpoint."""
    def pair(name, value):
        return struct.pack(">BI", len(name), len(value) | 0x80000000) + name.encode() + value.encode()
    params = {**variables(message), **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}}
    return (record(BEGIN, struct.pack(">HB5x", 1, 0)) + record(PARAMS, b"".join(pair(*each) for each in params.items()))
            + record(PARAMS) + record(STDIN, message.encode()) + record(STDIN))


def variables(message):
    return {"REQUEST_METHOD": "POST", "SCRIPT_NAME": "/mcp", "REQUEST_URI": "/mcp", "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(message)), "HTTP_ACCEPT": ACCEPT,
            "HTTP_HOST": "127.0.0.1", "REMOTE_ADDR": "127.0.0.1"}


def connect(path, until):
    """As soon as somebody listens there."""
    while True:
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(str(path))
            return s
        except OSError:
            s.close()
            if time.monotonic() > until:
                raise Failure(f"nobody listens at {path}") from None
            time.sleep(0.0002)


def ask(path, text):
    """The answer of a worker, which may have been started a moment ago."""
    with connect(path, time.monotonic() + PATIENCE_S) as s:
        s.settimeout(PATIENCE_S)
        s.sendall(text)
        answer = b""
        while got := s.recv(65536):
            answer += got
    if b'"result"' not in answer:
        raise Failure(f"the answer was {answer!r}")
    return answer


class Programs:
    """Ours, with directories of their own, run as tests/serve would run them."""

    def __init__(self, scratch):
        self.dir = Path(scratch, "starts")
        self.dir.mkdir(mode=0o755)
        self.site = make_echo_site(scratch)
        self.identity = {}
        for name in OURS:
            shutil.copy(BUILD / name, self.dir)
        if os.geteuid() == 0:
            user = pwd.getpwnam("www-data")
            self.identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.number = 0

    def fresh(self):
        """A place for one run."""
        self.number += 1
        place = self.dir / str(self.number)
        place.mkdir(mode=0o700)
        if self.identity:
            os.chown(place, self.identity["user"], self.identity["group"])
        return place

    def start(self, name, place, *more, site=None):
        return Program([self.dir / name, *more, "--conf", (site or self.site) / "mcp.json", "--set", f"run_dir={place}", "--set",
                        f"store_dir={place / 'store'}"], stderr=subprocess.DEVNULL, **self.identity)


def timed(run):
    """A load for run_rounds(): milliseconds that run() takes until it yields."""
    def once(_):
        begun = time.monotonic()
        with run():
            return {"ms": (time.monotonic() - begun) * 1000}
    return once


def of_ours(programs):
    modern, lines = modern_call("echo", {"text": TEXT})
    modern, headers = modern.replace("@ID@", "1"), dict(line.split(": ") for line in lines)

    @contextlib.contextmanager
    def worker():
        place = programs.fresh()
        with programs.start("mcp-worker", place, "--socket", place / "worker.sock"):
            ask(place / "worker.sock", request(modern, headers))
            yield

    @contextlib.contextmanager
    def worker_and_broker():
        place = programs.fresh()
        with programs.start("mcp-broker", place, "--foreground"), \
                programs.start("mcp-worker", place, "--socket", place / "worker.sock", "--set", "broker_autostart=false"):
            while not (place / "broker.ctl").exists():
                time.sleep(0.0002)
            ask(place / "worker.sock", request(json.dumps(initialize_message()), {"MCP-Protocol-Version": LEGACY}))
            yield

    @contextlib.contextmanager
    def cgi():
        env = {**variables(modern), **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()},
               "GATEWAY_INTERFACE": "CGI/1.1"}
        once = programs.start("mcp-worker", programs.fresh())
        ran = subprocess.run(once.argv, input=modern.encode(), env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             timeout=PATIENCE_S, **programs.identity)
        if b'"result"' not in ran.stdout:
            raise Failure(f"plain CGI: {ran.stdout!r}")
        yield

    @contextlib.contextmanager
    def mcpctl():
        subprocess.run([BUILD / "mcpctl", "--version"], stdout=subprocess.DEVNULL, check=True)
        yield
    return {"mcp-worker: a modern call": timed(worker), "mcp-worker and mcp-broker: a session": timed(worker_and_broker),
            "mcp-worker as plain CGI: a modern call": timed(cgi), "mcpctl --version": timed(mcpctl)}


def of_sdk(version):
    @contextlib.contextmanager
    def server():
        with SdkServer(version) as up:
            at = urlsplit(up.url)
            connection = http.client.HTTPConnection(at.hostname, at.port, timeout=PATIENCE_S)
            connection.request("POST", at.path, json.dumps(initialize_message()), {"Content-Type": "application/json", "Accept": ACCEPT})
            if connection.getresponse().status != 200:
                raise Failure(f"TypeScript SDK {version}: no session")
            connection.close()
            yield
    return timed(server)


def sizes(report, scratch):
    report.head("programs without symbols, KB")
    for name in (*OURS, "mcpctl"):
        stripped = Path(scratch, f"{name}.stripped")
        if subprocess.run(["strip", "-o", stripped, BUILD / name]).returncode == 0:
            report.add("size", name, [stripped.stat().st_size / 1024], "KB")


def starts(args, report, scratch):
    loads = of_ours(Programs(scratch))
    if args.peers:
        try:
            install_sdks()
            loads.update({f"TypeScript SDK {version}: a session": of_sdk(version) for version in ("v1", "v2")})
        except Missing as why:
            report.left_out(why)
    rounds = run_rounds(args, report, "starts", loads)
    report.head("from the start of a program to its first answer")
    values = {name: [each["ms"] for each in figures] for name, figures in rounds.items()}
    for name in values:
        ours = name.startswith("mcp")
        report.add("starts", name, values[name], "ms", goal=GOAL if ours else None,
                   ratios={of: values[of] for of in values if ours and of.startswith("TypeScript")})
    sizes(report, scratch)
