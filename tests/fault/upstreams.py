#!/usr/bin/env python3
"""HTTP APIs behind a real nginx with TLS and HTTP/2, whose certificate is from an authority of ours, which is then reloaded,
stopped, slow and killed.

    tests/fault/upstreams.py [--server lighttpd] [WORD]...     only cases with one of these words in their title"""

import concurrent.futures
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True  # the sources may be read-only
from faults import Cases, Site, check, main, message_of, stopped, until  # noqa: E402

case = Cases()
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
CALLS = 24
CONF = """
daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/log; {user}
events {{}}
http {{
  access_log off; ssl_certificate {dir}/server.pem; ssl_certificate_key {dir}/server.key; root {dir};
  client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c; uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;
  default_type application/json;
  server {{
    listen 127.0.0.1:{h2} ssl http2; listen 127.0.0.1:{h1} ssl;
    location /which {{ return 200 '{{"protocol":"$server_protocol","connection":"$connection","sni":"$ssl_server_name"}}'; }}
    location /now {{ return 200 '{{"now":$msec}}'; }}
    location /away {{ return 302 https://127.0.0.1:{h1}/which; }}
    location /large {{ }}
    location /slowly {{ alias {dir}/large; limit_rate 1000; }}
  }}
}}
"""


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def make_certificate(directory):
    """ca.pem, and signed by it server.pem for localhost alone."""
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=tests",
            "-addext", "basicConstraints=critical,CA:TRUE")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (directory / "names").write_text("subjectAltName=DNS:localhost\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", "server.pem")


class Upstream:
    def __init__(self, directory):
        self.dir = directory
        self.h2, self.h1 = free_ports(2)
        make_certificate(directory)
        (directory / "large").write_text(json.dumps("x" * 900000))
        user = "user root;" if directory.owner() == "root" else ""
        (directory / "conf").write_text(CONF.format(dir=directory, h2=self.h2, h1=self.h1, user=user))
        self.start()

    def start(self):
        self.process = subprocess.Popen([NGINX, "-p", self.dir, "-e", self.dir / "log", "-c", self.dir / "conf"])
        until("nginx", self.is_up)

    def is_up(self):
        try:
            socket.create_connection(("127.0.0.1", self.h1), timeout=1).close()
            return True
        except OSError:
            return False

    def workers(self):
        pid = self.process.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    def worker(self):
        """The one that is left once those of before a reload have ended."""
        until("one worker of nginx", lambda: len(self.workers()) == 1)
        return self.workers()[0]

    def kill(self):
        """Both at once, without a last word."""
        worker = self.worker()
        self.process.kill()
        subprocess.run(["kill", "-KILL", worker], check=True)
        self.process.wait()
        until("nginx is gone", lambda: not self.is_up())


def definition(upstream):
    def api(host, port, **more):
        return {"url": f"https://{host}:{port}", "allow_addresses": ["127.0.0.1", "::1"], **more}
    return {
        "apis": {"two": api("localhost", upstream.h2), "one": api("localhost", upstream.h1), "other": api("127.0.0.1", upstream.h2)},
        "tools": {
            "echo": {"builtin": "echo"},
            "two": {"http": {"api": "two", "url": "/which"}},
            "one": {"http": {"api": "one", "url": "/which"}},
            "other": {"http": {"api": "other", "url": "/which"}},
            "once": {"http": {"api": "two", "url": "/which"}, "retries": 0},
            "late": {"http": {"api": "two", "url": "/which"}, "retries": 0, "timeout_s": 1},
            "large": {"http": {"api": "two", "url": "/large"}, "output": "text"},
            "too_large": {"http": {"api": "two", "url": "/large"}, "output_max_bytes": 100000},
            "slowly": {"http": {"api": "two", "url": "/slowly"}, "timeout_s": 1, "retries": 0},
            "away": {"http": {"api": "two", "url": "/away"}},
            "inside": {"http": f"https://localhost:{upstream.h2}/which"},
            "kept": {"http": {"api": "two", "url": "/now"}, "cache": {"ttl_s": 1, "stale_while_revalidate_s": 100}},
        },
    }


class Upstreams(Site):
    def __init__(self, args, trusts=True, **more):
        self.scratch = Path(tempfile.mkdtemp(prefix="mcp-upstream."))
        self.scratch.chmod(0o755)
        self.upstream = Upstream(self.scratch)
        site = self.scratch / "site"
        site.mkdir(mode=0o755)
        (site / "mcp.json").write_text(json.dumps(definition(self.upstream)))
        settings = {"http_breaker_failures": 0, **({"http_ca_file": self.scratch / "ca.pem"} if trusts else {}), **more}
        super().__init__(args, site=site, options=("--workers", "1"), **settings)
        if self.url:
            self.works()

    def end(self):
        status = super().end()
        self.upstream.process.terminate()
        self.upstream.process.wait()
        shutil.rmtree(self.scratch)
        return status

    def call(self, tool):
        """What is in its result, or the words of its failure."""
        status, _, body = self.modern({"name": tool, "arguments": {}})
        check(status == 200, tool, status, body[:300])
        result = message_of(body)["result"]
        return result["content"][0]["text"] if result.get("isError") else result.get("structuredContent", result["content"][0]["text"])

    def calls(self, tool):
        with concurrent.futures.ThreadPoolExecutor(CALLS) as pool:
            return list(pool.map(self.call, [tool] * CALLS))


@case("HTTP/2 where the server has it: calls at the same time share one connection, from the first on")
def _(site):
    answers = site.calls("two")
    check(all(answer["protocol"] == "HTTP/2.0" and answer["sni"] == "localhost" for answer in answers), answers)
    check(len({answer["connection"] for answer in answers}) == 1, answers)
    check(site.call("one")["protocol"] == "HTTP/1.1", "the other server")


@case("a certificate for another name is not trusted")
def _(site):
    other = site.call("other")
    check(other == "other: other: its certificate is not trusted", other)


@case("a large answer comes whole or not at all, a slow one is not waited for")
def _(site):
    check(site.call("large") == "\"" + "x" * 900000 + "\"", "large")
    check(site.call("too_large") == "too_large: two: its answer is too big", "too large")
    check(site.call("slowly") == "slowly: two: it did not answer in time", "slow")
    check(site.call("two")["protocol"] == "HTTP/2.0", "afterwards")


@case("a server that is reloaded under calls takes back its connections: no call is lost")
def _(site):
    before = site.upstream.worker()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(site.call, "two") for _ in range(300)]
        for number in range(3):
            until("some calls", lambda number=number: sum(call.done() for call in calls) > 60 * (number + 1))
            site.upstream.process.send_signal(signal.SIGHUP)
        answers = [call.result() for call in calls]
    check(all(isinstance(answer, dict) for answer in answers), [each for each in answers if not isinstance(each, dict)][:3])
    check(site.upstream.worker() != before, "it was not reloaded")


@case("a server that hangs, dies and comes back")
def _(site):
    check(isinstance(site.call("two"), dict), "before")
    worker = site.upstream.worker()
    subprocess.run(["kill", "-STOP", worker], check=True)
    late = site.call("late")
    check(late == "late: two: it did not answer in time", late)
    subprocess.run(["kill", "-CONT", worker], check=True)
    check(isinstance(site.call("two"), dict), "goes on")
    site.upstream.kill()
    check(site.call("once") == "once: two: it can't be reached: Couldn't connect to server", site.call("once"))
    site.upstream.start()
    check(isinstance(site.call("once"), dict), "is back")


@case("nobody is led to where only we are: by a name, or by an API that redirects")
def _(site):
    for tool, name in {"inside": "the API", "away": "two"}.items():
        said = site.call(tool)
        check(said == f"{tool}: {name}: its address is not a public one (setting http.allow_addresses)", said)


@case("what is kept is given at once when it is old, and is new afterwards; other workers have it too", may_lose_workers=True)
def _(site):
    def kept():
        _, _, body = site.modern({"name": "kept", "arguments": {}})
        result = message_of(body)["result"]
        return result["structuredContent"]["now"], result.get("_meta", {}).get("mcp-fcgi/cache", {}).get("stale")
    first, _ = kept()
    check(kept()[0] == first, "it was not kept")
    before = site.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until("another worker", lambda: site.workers() and not before & site.workers())
    with stopped(int(site.upstream.worker())):
        until("it is old", lambda: kept() == (first, True))
    until("it is new", lambda: kept()[0] != first)


@case("a host that fails is left alone, and asked again later", settings={"http_breaker_failures": 3, "http_breaker_open_s": 1})
def _(site):
    check(isinstance(site.call("once"), dict), "before")
    site.upstream.kill()
    said = [site.call("once") for _ in range(4)]
    check(said[:3] == ["once: two: it can't be reached: Couldn't connect to server"] * 3, said)
    check(said[3] == "once: two: it failed too often just now; it is not asked for 1 s", said)
    check(isinstance(site.call("echo"), (dict, str)), "another tool")
    site.upstream.start()
    until("it is asked again", lambda: isinstance(site.call("once"), dict))


@case("without http.ca_file nobody trusts it", settings={"trusts": False})
def _(site):
    check(site.call("two") == "two: two: its certificate is not trusted", site.call("two"))


if __name__ == "__main__":
    if not NGINX or not shutil.which("openssl"):
        print("1..0 # SKIP nginx or openssl is not installed (Debian: nginx-light, openssl)")
        sys.exit(0)
    sys.exit(main(case, __doc__, Upstreams))
