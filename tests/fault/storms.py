#!/usr/bin/env python3
"""Thousands of clients lose their streams at the same moment: their broker is killed, or told to end. Each tries to come back
twice, as the official SDKs do (bench/streams -r). What share recovers is printed. Of 1,000 of 2025-11-25, which are told when
to come, all must, however slow the machine is; others can't be told, and of more it is a figure (doc/performance.md). Who is
back hears what is said then, once.

    tests/fault/storms.py [--server lighttpd] [--clients 1000] [WORD]...     only cases with one of these words in their title

ulimit -n bounds how many there can be: this program and the broker have a descriptor for each."""

import http.client
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True  # the sources may be read-only
from faults import PATIENCE_S, TYPES, Cases, Site, check, main, toll, until  # noqa: E402
from streams import FIXTURE, Client, broker_pid, kill_broker  # noqa: E402

case = Cases()
CLIENTS = PROMISED = 1000
STREAMS = Path(os.environ.get("abs_top_builddir", "."), "bench", "streams")
WAIT_S = 5 * PATIENCE_S  # for thousands, with sanitizers


def open_sessions(site, version, count):
    """A file with the headers of each, a line each."""
    file = tempfile.NamedTemporaryFile("w", prefix="mcp-storm.")
    connection = http.client.HTTPConnection(site.host, site.port, timeout=PATIENCE_S)
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "storm", "version": "1"}}
    body = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
    for _ in range(count):
        connection.request("POST", site.path, body, TYPES)
        answer = connection.getresponse()
        answer.read()
        check(answer.status == 200, "initialize:", answer.status)
        print("Mcp-Session-Id:", answer.headers["Mcp-Session-Id"], file=file)
    connection.close()
    file.flush()
    return file


class Crowd:
    """bench/streams -r with a session for each client."""

    def __init__(self, site, version):
        self.file = open_sessions(site, version, CLIENTS)
        command = [STREAMS, "-r", "-n", str(CLIENTS), "-s", "600", "-H", f"MCP-Protocol-Version: {version}", "-f",
                   self.file.name, site.url]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.text = b""

    def expect(self, word):
        """The line that begins with it."""
        def line():
            found = re.search(rb"^%s .*\n" % word.encode(), self.text, re.M)
            if not found and select.select([self.process.stdout], [], [], 0.5)[0]:
                more = os.read(self.process.stdout.fileno(), 65536)
                check(more, "bench/streams ended; before that", word, "was expected after", self.text)
                self.text += more
            return found
        found = until(word, line, WAIT_S)
        self.text = self.text[found.end():]
        return found[0].decode().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.file.close()

    def end(self):
        self.process.stdin.close()
        return self.expect("bytes")


def say(client):
    """All that listen hear it."""
    client.ask("tools/call", {"name": "test_trigger_tool_change"})


for version, how in (("2025-11-25", "told when to come"), ("2025-06-18", "told nothing")):
    for number in (signal.SIGKILL, signal.SIGTERM):
        @case(f"clients of {version}, {how}: the broker gets {number.name}; who comes back hears all, once",
              may_lose_broker=True)
        def _(site, version=version, number=number):
            client = Client(site)
            with Crowd(site, version) as crowd:
                crowd.expect("OPEN")
                say(client)
                check(crowd.expect("HEARD") == f"HEARD {CLIENTS}", "not all hear")
                kill_broker(site, number)
                back = crowd.expect("BACK")
                came = int(re.search(r"\d+", back)[0])
                print(f"# {version}, {number.name}: {100 * came / CLIENTS:.1f} % recovered: {back}", flush=True)
                site.broker = broker_pid(site)
                check(came == CLIENTS or version < "2025-11-25" or CLIENTS > PROMISED, "some don't come back")
                say(client)
                check(crowd.expect("HEARD") == f"HEARD {came}", "not all hear")
                said = dict(re.findall(r"(\w+) (\d+)", crowd.end()))
                toll["lost"] += int(said["lost"])
                toll["doubled"] += int(said["doubled"])
                check(said["lost"] == said["doubled"] == "0" and int(said["events"]) == CLIENTS + came, said)
            client.end()


def our_site(args, fds, **settings):
    # One lighttpd holds as many streams as a third of its descriptors.
    processes = 3 * CLIENTS // resource.getrlimit(resource.RLIMIT_NOFILE)[0] + 1
    return Site(args, fds, site=FIXTURE, options=("--lighttpd-processes", str(processes if processes > 1 else 0)),
                broker_drain_ms=500, session_max=5 * CLIENTS, stream_max=5 * CLIENTS, **settings)


if __name__ == "__main__":
    if "--clients" in sys.argv:
        at = sys.argv.index("--clients")
        CLIENTS = int(sys.argv[at + 1])
        del sys.argv[at:at + 2]
    sys.exit(main(case, __doc__, our_site))
