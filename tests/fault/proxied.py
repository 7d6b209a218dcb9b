#!/usr/bin/env python3
"""A real nginx before the web server, with conf/nginx-proxy.conf: everything works through it, events come at once, and a stream
that is silent for longer than proxy_read_timeout lives by its heartbeats.

    tests/fault/proxied.py [--server lighttpd] [WORD]...     only cases with one of these words in their title"""

import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True  # the sources may be read-only
from faults import Cases, Site, check, get_stream, main, until  # noqa: E402

case = Cases()
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
PROXY = Path(__file__).resolve().parents[2] / "conf" / "nginx-proxy.conf"
HEARTBEAT_S, READ_TIMEOUT_S = 0.3, 3
CONF = """
daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c; uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;
  server {{ listen 127.0.0.1:{port}; {proxy} }}
}}
"""


class Proxied(Site):
    def __init__(self, args, **more):
        super().__init__(args, stream_heartbeat_ms=int(HEARTBEAT_S * 1000), **more)
        if not self.url:
            return
        self.scratch = Path(tempfile.mkdtemp(prefix="mcp-proxied."))
        self.scratch.chmod(0o755)  # as root nginx has workers of another user
        proxy = PROXY.read_text().replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")
        proxy, count = re.subn(r"proxy_read_timeout \w+", f"proxy_read_timeout {READ_TIMEOUT_S}s", proxy)
        check(count == 1, "proxy_read_timeout")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (self.scratch / "conf").write_text(CONF.format(dir=self.scratch, port=self.port, proxy=proxy))
        self.nginx = subprocess.Popen([NGINX, "-p", self.scratch, "-e", self.scratch / "log", "-c", self.scratch / "conf"])
        until("nginx", self.is_up)
        for _ in range(8):  # what is opened at first need is open
            self.works()

    def is_up(self):
        try:
            self.connect().close()
            return True
        except OSError:
            return False

    def end(self):
        self.nginx.terminate()
        self.nginx.wait()
        shutil.rmtree(self.scratch)
        return super().end()


@case("a silent stream lives longer than proxy_read_timeout, and its heartbeats are not kept back")
def _(site):
    stream = get_stream(site, site.session())
    check(stream.status == 200, stream.status)
    times, end = [], time.monotonic() + 2 * READ_TIMEOUT_S
    while time.monotonic() < end:
        line = stream.readline()
        check(line, "it ended after", times)
        if line.startswith(b":"):
            times.append(time.monotonic())
    check(len(times) > READ_TIMEOUT_S / HEARTBEAT_S / 2, len(times), "heartbeats")
    stream.close()
    stream.connection.close()


@case("a request of 2 MB passes")
def _(site):
    status, _, body = site.modern({"name": "echo", "arguments": {"text": "x" * 2000000}})
    check(status == 200 and body.count(b"x") > 1999999, status, body[:200])


if __name__ == "__main__":
    if not NGINX:
        print("1..0 # SKIP nginx is not installed (Debian: nginx-light)")
        sys.exit(0)
    sys.exit(main(case, __doc__, Proxied))
