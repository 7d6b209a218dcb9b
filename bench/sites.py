"""The sites that bench/run serves, and the requests that it makes of them."""

import contextlib
import http.client
import json
import os
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

from running import Failure, tool

MODERN, LEGACY = "2026-07-28", "2025-11-25"
META = "io.modelcontextprotocol/"
TEXT = "a text of a usual length"
ACCEPT = "application/json, text/event-stream"
QUERY = "SELECT name, email, joined FROM clients WHERE id = {}"
ROWS = 1000
# The same answer by a script that is started for each call, and by one that stays.
ONCE = "import json, sys\nprint('hello,', json.load(sys.stdin)['id'])\n"
STAYS = """import json, sys
for line in sys.stdin:
    message = json.loads(line)
    print(json.dumps({"call": message["call"], "result": f"hello, {message['arguments']['id']}"}), flush=True)
"""
# As many as the machine holds. An answer that was a stream counts as one for stream_keep_s more, so thousands of them a
# second reach the defaults after some seconds, and what comes then is answered as JSON.
NO_LIMITS = ["session_max=100000", "stream_max=1000000", "session_streams_max=1000000"]


def compact(message):
    """With @ID@, which bench/load replaces, as the number that it is to be."""
    return json.dumps(message, separators=(",", ":")).replace('"@ID@"', "@ID@")


def modern_request(method, params, name=None, progress=False):
    """Body and header lines."""
    meta = {META + "protocolVersion": MODERN, META + "clientInfo": {"name": "bench", "version": "1"},
            META + "clientCapabilities": {}}
    if progress:
        meta["progressToken"] = 1
    headers = [f"MCP-Protocol-Version: {MODERN}", f"Mcp-Method: {method}"] + ([f"Mcp-Name: {name}"] if name else [])
    return compact({"jsonrpc": "2.0", "id": "@ID@", "method": method, "params": {**params, "_meta": meta}}), headers


def modern_call(name, arguments, progress=False):
    return modern_request("tools/call", {"name": name, "arguments": arguments}, name, progress)


def legacy_call(name, arguments, progress=False):
    params = {"name": name, "arguments": arguments}
    if progress:
        params["_meta"] = {"progressToken": "@ID@"}
    return (compact({"jsonrpc": "2.0", "id": "@ID@", "method": "tools/call", "params": params}),
            [f"MCP-Protocol-Version: {LEGACY}"])


def initialize_message():
    return {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}}


def open_sessions(url, count):
    """Header lines, one session each."""
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=60)
    lines = []

    def post(message, **headers):
        connection.request("POST", at.path, json.dumps(message), {
            "Content-Type": "application/json", "Accept": ACCEPT, **headers})
        answer = connection.getresponse()
        answer.read()
        return answer

    for _ in range(count):
        answer = post(initialize_message())
        session = answer.getheader("Mcp-Session-Id")
        if answer.status != 200 or not session:
            raise Failure(f"initialize: {answer.status}")
        post({"jsonrpc": "2.0", "method": "notifications/initialized"}, **{
            "Mcp-Session-Id": session, "MCP-Protocol-Version": LEGACY})
        lines.append(f"Mcp-Session-Id: {session}")
    connection.close()
    return lines


def write_lines(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def make_site(scratch, name, conf):
    """A directory that tests/serve takes, and may copy: what it needs is in it, or readable for anybody."""
    site = Path(scratch, name)
    site.mkdir(mode=0o755, exist_ok=True)
    (site / "mcp.json").write_text(json.dumps(conf))
    return site


def make_tool_site(scratch, api):
    """One tool of each kind. api: the URL that the http tools ask."""
    static = Path(scratch, "static_tool")
    shutil.copy(tool("static_tool"), static)
    os.chmod(static, 0o755)
    number = {"id": {"type": "integer"}}
    request = {"http": {"api": "hello", "json": {"id": "{id}"}}, "input": number}
    script = {"exec": ["python3", "once.py"], "input": number}
    site = make_site(scratch, "tools", {
        "databases": {"clients": {"sqlite": "clients.db"}},
        "apis": {"hello": {"url": api, "allow_addresses": ["127.0.0.1"]}},
        "modules": {"bench": {"file": "tool_module.so"}},
        "tools": {"echo": {"builtin": "echo"}, "exec": {"exec": [str(static)]}, "http": request, "kept": {**request, "cache": 3600},
                  "sql": {"sql": QUERY.format("{id}"), "rows": "one", "input": number},
                  "once": script, "stays": {**script, "exec": ["python3", "stays.py"], "resident": True}}})
    (site / "once.py").write_text(ONCE)
    (site / "stays.py").write_text(STAYS)
    shutil.copy(tool("tool_module.so"), site)
    with contextlib.closing(sqlite3.connect(site / "clients.db")) as db:
        db.execute("CREATE TABLE clients (id INTEGER PRIMARY KEY, name TEXT, email TEXT, joined DATE)")
        db.executemany("INSERT INTO clients VALUES (?, ?, ?, ?)",
                       [(n, f"Client {n}", f"client{n}@example.com", "2024-05-06") for n in range(1, ROWS + 1)])
        db.commit()
    return site


def make_echo_site(scratch, name="echo", tools=1):
    """The builtin echo, alone or among others: the last of them is called "echo"."""
    others = {f"tool_{n:05}": {"builtin": "echo", "description": "Answers with the text that it is given"}
              for n in range(tools - 1)}
    return make_site(scratch, name, {"tools": {**others, "echo": {"builtin": "echo"}}})
