#!/usr/bin/env python3
"""What you can see: a site behind lighttpd does a known number of things, and mcpctl, curl's way and a web server's proxy
(conf/*-metrics.conf) tell exactly these. A session is killed, and its client gets 404.

    tests/ctl/status.py     in the build directory, or with abs_top_builddir set"""

import http.client
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from urllib.parse import urlsplit

SOURCE = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("abs_top_builddir", "."))
SITE = SOURCE / "tests" / "proto" / "sites" / "main"
SBIN = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
MODERN, LEGACY = "2026-07-28", "2025-11-25"
META = "io.modelcontextprotocol/"
PATIENCE_S = 60
TYPES = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
count = failed = 0


def test(title):
    def run(step):
        global count, failed
        count += 1
        try:
            step()
            print(f"ok {count} - {title}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {count} - {title}")
            print(re.sub("^", "# ", traceback.format_exc().rstrip(), flags=re.M), flush=True)
    return run


def same(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def until(what, get, want):
    end = time.monotonic() + PATIENCE_S
    while get() != want:
        assert time.monotonic() < end, f"{what}: {get()!r}, want {want!r}"
        time.sleep(0.1)


class Site:
    """One worker process, so that what it counts goes by its link once that is up."""

    def __init__(self, scratch):
        self.run_dir = scratch / "run"
        self.process = subprocess.Popen(
            [SOURCE / "tests" / "serve", SITE, "--server", "lighttpd", "--workers", "1", "--run-dir", self.run_dir,
             "--bin-dir", BUILD], stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if line.startswith("READY "):
                at = urlsplit(line.split()[1])
                self.host, self.port, self.path = at.hostname, at.port, at.path
                return
        status = self.process.wait()
        if status == 77:
            print("1..0 # SKIP lighttpd is missing (Debian: apt install lighttpd)")
            sys.exit(0)
        sys.exit(f"tests/serve: {status}")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()

    def request(self, method, headers, body=None):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE_S)
        connection.request(method, self.path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, answer.headers, text

    def legacy(self, method, params, session=None):
        headers = {**TYPES, **({"Mcp-Session-Id": session, "MCP-Protocol-Version": LEGACY} if session else {})}
        return self.request("POST", headers, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})

    def initialize(self):
        status, headers, _ = self.legacy("initialize", {
            "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}})
        same(status, 200)
        return headers["Mcp-Session-Id"]

    def modern(self, tool, arguments):
        meta = {META + "protocolVersion": MODERN, META + "clientInfo": {"name": "tests", "version": "1"},
                META + "clientCapabilities": {}}
        headers = {**TYPES, "MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": tool}
        status, _, text = self.request("POST", headers, {
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments, "_meta": meta}})
        return status, json.loads(text)


def mcpctl(*args, run_dir=None, user=None):
    argv = [BUILD / "mcpctl", "--conf", SITE / "mcp.json", "--set", f"run_dir={run_dir or site.run_dir}", *args]
    if user:
        argv = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *argv]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S)
    return done.returncode, done.stdout, done.stderr


def ask_json(*args):
    status, out, err = mcpctl(*args, "--json")
    same((status, err), (0, ""))
    return json.loads(out)


def metrics():
    status, out, err = mcpctl("metrics")
    same((status, err), (0, ""))
    return {name: float(value) for name, value in re.findall(r"^([^# \n]+) (\S+)$", out, re.M)}


def requests(outcome, method="tools/call"):
    return metrics().get(f'mcp_request_seconds_count{{method="{method}",outcome="{outcome}"}}', 0)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def fetch(port, method, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request(method, path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.headers["Content-Type"], text


def conf(name):
    """A file of conf/ with our path in the place of the one that it says."""
    text = (SOURCE / "conf" / name).read_text()
    assert "/run/mcp-fcgi/broker.admin" in text
    return text.replace("/run/mcp-fcgi/broker.admin", str(site.run_dir / "broker.admin"))


def through(name, argv, text):
    """Asks through a web server that was started for it."""
    port = free_port()
    file = scratch / f"{name}.conf"
    file.write_text(text.replace("PORT", str(port)).replace("SCRATCH", str(scratch)))
    server = subprocess.Popen([*argv, file], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                status, kind, text = fetch(port, "GET", "/mcp-metrics")
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < end, server.stderr.read() if server.poll() else "late"
                time.sleep(0.05)
        same((status, kind), (200, "text/plain; version=0.0.4; charset=utf-8"))
        assert re.search(r"^mcp_sessions \d+$", text, re.M), text
        for method, path in (("DELETE", "/mcp-metrics"), ("POST", "/mcp-metrics"), ("GET", "/mcp-metrics/x"),
                             ("GET", "/mcp-metricsx"), ("GET", "/status")):
            status = fetch(port, method, path)[0]
            assert status in (403, 404, 405), f"{method} {path}: {status}"
    finally:
        server.terminate()
        server.wait()


scratch = Path(tempfile.mkdtemp(prefix="mcp-status."))
scratch.chmod(0o755)
site = Site(scratch)
try:
    sessions = []

    @test("a broker that has done nothing says so")
    def _():
        status, out, err = mcpctl("status")
        same((status, err), (0, ""))
        assert re.search(r"^sessions +0 of 10000$", out, re.M) and re.search(r"^closed +none$", out, re.M), out

    @test("what was done is what is told, exactly")
    def _():
        for _ in range(3):
            sessions.append(site.initialize())
        for n in range(7):
            status, _, _ = site.legacy("tools/call", {"name": "echo", "arguments": {"text": str(n)}}, sessions[n % 3])
            same(status, 200)
        for n in range(11):
            same(site.modern("echo", {"text": str(n)})[0], 200)
        for n in range(2):
            assert "error" in site.modern("nobody", {})[1]
        for n in range(5):
            same(site.request("POST", {"Content-Type": "text/plain"}, {})[0], 415)
        until("calls", lambda: requests("ok"), 18)
        until("errors", lambda: requests("error"), 2)
        until("refused", lambda: requests("refused", "none"), 5)
        same(requests("ok", "initialize"), 3)
        same(requests("asked") + requests("cancelled") + requests("refused"), 0)
        same(metrics()["mcp_sessions"], 3)

    @test("a stream that its client leaves and takes up again")
    def _():
        before = metrics()
        body = site.legacy("tools/call", {"name": "polled", "arguments": {}}, sessions[0])[2].decode()
        last = re.findall("^id: (.*)$", body, re.M)[-1]
        time.sleep(0.5)  # its program has ended by then
        headers = {"Accept": "text/event-stream", "Mcp-Session-Id": sessions[0], "MCP-Protocol-Version": LEGACY,
                   "Last-Event-ID": last}
        status, _, body = site.request("GET", headers)
        assert status == 200 and b"polled" in body, body
        same(site.request("GET", {**headers, "Last-Event-ID": "1.2.3"})[0], 400)
        until("connections", lambda: metrics()["mcp_connections"], 0)
        after = metrics()
        grown = {name: after[name] - before[name] for name in before if after[name] != before[name]}
        for name, want in (("adoptions_total", 2), ('closes_total{reason="polled"}', 1),
                           ('closes_total{reason="finished"}', 1), ('resumes_total{outcome="resumed"}', 1),
                           ('resumes_total{outcome="gap"}', 1), ('nacks_total{code="gap"}', 1),
                           ("events_appended_total", 1), ("events_delivered_total", 1)):
            same((name, grown.get("mcp_" + name)), (name, want))
        same(sum(value for name, value in grown.items() if "closes_total" in name), 2)

    @test("sessions are listed, in part and by whom")
    def _():
        listed = ask_json("sessions")["sessions"]
        same(sorted(each["id"] for each in listed), sorted(each[:8] for each in sessions))
        same({each["principal"] for each in listed}, {""})
        out = mcpctl("sessions")[1]
        assert all(each[:8] in out and each not in out for each in sessions), out
        same(len(ask_json("streams")["streams"]), len(mcpctl("streams")[1].splitlines()) - 1)

    @test("a session is killed, and its client gets 404")
    def _():
        same(mcpctl("sessions", "kill", sessions[0][:8]), (0, "", ""))
        same(site.legacy("ping", {}, sessions[0])[0], 404)
        same(site.legacy("ping", {}, sessions[1])[0], 200)
        same(mcpctl("sessions", "kill", sessions[0][:8]),
             (1, "", f"mcpctl: {sessions[0][:8]}: no session has an id that begins so\n"))
        same(mcpctl("sessions", "kill", "abc")[0], 1)
        same(mcpctl("sessions", "kill", "ab/../cd")[0], 1)
        same(mcpctl("sessions", "kill")[0], 2)
        same(mcpctl("sessions", "list")[0], 2)
        same((metrics()["mcp_sessions"], metrics()["mcp_sessions_killed_total"]), (2, 1))

    @test("who asks no broker is told how one is started")
    def _():
        status, out, err = mcpctl("status", run_dir=scratch / "none")
        same((status, out), (1, ""))
        assert "no broker runs" in err and str(scratch / "none" / "broker.admin") in err and "mcp-broker --conf" in err, err

    @test("who may not ask is told who may")
    def _():
        if os.geteuid() != 0 or not shutil.which("setpriv"):
            return
        user = pwd.getpwnam("nobody")
        program = scratch / "mcpctl"
        shutil.copy(BUILD / "mcpctl", program)
        shutil.copy(SITE / "mcp.json", scratch / "mcp.json")
        argv = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", program, "--conf",
                scratch / "mcp.json", "--set", f"run_dir={site.run_dir}", "status"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S)
        same((done.returncode, done.stdout), (1, ""))
        assert "you are nobody" in done.stderr and "become " in done.stderr, done.stderr

    if shutil.which("nginx", path=SBIN):
        @test("nginx passes the metrics on, and nothing else")
        def _():
            through("nginx", [shutil.which("nginx", path=SBIN), "-c"], f"""
daemon off; pid SCRATCH/nginx.pid; error_log stderr; {"user www-data;" if os.geteuid() == 0 else ""}
events {{ }}
http {{
  access_log off; client_body_temp_path SCRATCH/b; proxy_temp_path SCRATCH/p; fastcgi_temp_path SCRATCH/f;
  uwsgi_temp_path SCRATCH/u; scgi_temp_path SCRATCH/s;
  server {{ listen 127.0.0.1:PORT; root SCRATCH/none; {conf("nginx-metrics.conf")} }}
}}
""")

    @test("lighttpd passes the metrics on, and nothing else")
    def _():
        through("lighttpd", [shutil.which("lighttpd", path=SBIN), "-D", "-f"], f"""
server.port = PORT
server.bind = "127.0.0.1"
server.document-root = "SCRATCH"
{'server.username = "www-data"' if os.geteuid() == 0 else ""}
{conf("lighttpd-metrics.conf")}
""")

    @test("all ends well")
    def _():
        same(site.end(), 0)
finally:
    if site.process.poll() is None:
        site.end()
    shutil.rmtree(scratch, ignore_errors=True)
print(f"1..{count}")
sys.exit(1 if failed else 0)
