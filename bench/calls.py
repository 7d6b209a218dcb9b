"""Parts of bench/run: calls through web servers, and how late what a tool says while it works is."""

import contextlib
import json
import socket
import statistics
import time
from collections import namedtuple
from pathlib import Path
from urllib.parse import urlsplit

from peers import sdk_servers
from report import at_least
from running import SOURCE, Failure, Missing, Serve, bin_with, load, run_rounds, run_tool, tool
from sites import NO_LIMITS, QUERY, TEXT, legacy_call, make_echo_site, make_tool_site, modern_call, open_sessions, write_lines

SERVERS = ("lighttpd", "apache", "nginx")
ARGUMENTS = {"text": TEXT}
BARE, BARE_OURS = "bare libfcgi", "bare libfcgi, accepted as by us"
SPAWN, API, LOOP = "bare posix_spawn", "the API itself", "the query in a C loop"
SDK_V1, SDK_V2 = "TypeScript SDK v1, session", "TypeScript SDK v2"
# What is called, and a text that a right answer has. of: what the rate is divided by, and the goals of DESIGN, which are for
# lighttpd with 64 connections.
Kind = namedtuple("Kind", "name request contains of", defaults=({},))
KINDS = [
    Kind("modern echo", modern_call("echo", ARGUMENTS), TEXT, {BARE: at_least(0.85), BARE_OURS: None, SDK_V2: at_least(10)}),
    Kind("legacy echo, session", legacy_call("echo", ARGUMENTS), TEXT, {BARE: at_least(0.6), BARE_OURS: None, SDK_V1: at_least(5)}),
    Kind("legacy SSE answer", legacy_call("progress", ARGUMENTS, True), "half of it", {BARE: None}),
    Kind("exec tool, static program", modern_call("exec", {}), TEXT, {SPAWN: at_least(0.9), "modern echo": None}),
    Kind("exec tool, python3", modern_call("once", {"id": 7}), "hello, 7", {"modern echo": None}),
    Kind("exec tool, python3 resident", modern_call("stays", {"id": 7}), "hello, 7", {"exec tool, python3": None, "modern echo": None}),
    Kind("module tool", modern_call("module", ARGUMENTS), TEXT, {"modern echo": None}),
    Kind("http tool", modern_call("http", {"id": 7}), "hello, world", {API: None, "modern echo": None}),
    Kind("http tool, cached", modern_call("kept", {"id": 7}), "hello, world", {API: None, "modern echo": None}),
    Kind("sql tool", modern_call("sql", {"id": 7}), "Client 7", {LOOP: None, "modern echo": None}),
]
WARM_UP, WARM_UP_S = 5000, 20  # calls of those that compile as they go, and the seconds after which it is enough
GOALS_AT = ("lighttpd", 64)


def poster(url, request, contains, connections, sessions=None):
    """A load for run_rounds()."""
    body, headers = request
    return lambda seconds: load(url, body, headers, seconds, connections, contains, sessions)


def looper(*argv):
    """The same for a program that takes its seconds somewhere in between."""
    def run(seconds):
        return {"rate": float(run_tool([f"{seconds:.2f}" if arg is None else arg for arg in argv])[-1]["rate"])}
    return run


def sessions_for(url, connections, scratch, name):
    return write_lines(Path(scratch, f"sessions-{name}-{connections}"), open_sessions(url, connections))


def warm_up(sdks, scratch):
    """Until V8 has compiled what is worth it."""
    for version, url in sdks.items():
        kind = KINDS[1] if version == "v1" else KINDS[0]
        sessions = sessions_for(url, 16, scratch, version) if version == "v1" else None
        load(url, *kind.request, WARM_UP_S, 16, TEXT, sessions, ["-n", WARM_UP])


def loads_of(args, scratch, site, url, bare_urls, api_url, sdks, server, connections):
    sessions = sessions_for(url, connections, scratch, server)
    spawners = min(connections, args.workers * args.threads)
    loads = {name: poster(bare_url, KINDS[0].request, "result", connections) for name, bare_url in bare_urls.items()}
    for kind in KINDS:
        is_legacy = kind.name.startswith("legacy")
        loads[kind.name] = poster(url, kind.request, kind.contains, connections, sessions if is_legacy else None)
    loads[SPAWN] = looper(tool("spawn_loop"), spawners, None, scratch / "static_tool")
    loads[API] = poster(api_url, KINDS[0].request, "result", connections)
    loads[LOOP] = looper(tool("sql_loop"), site / "clients.db", QUERY.format("?"), None)
    if server == GOALS_AT[0] and "v1" in sdks:
        loads[SDK_V1] = poster(sdks["v1"], KINDS[1].request, TEXT, connections, sessions_for(sdks["v1"], connections, scratch, "v1"))
    if server == GOALS_AT[0] and "v2" in sdks:
        loads[SDK_V2] = poster(sdks["v2"], KINDS[0].request, TEXT, connections)
    return loads


def calls(args, report, scratch):
    with contextlib.ExitStack() as until:
        hello_bin = bin_with(scratch, "hello_fcgi")
        api = until.enter_context(Serve(args, make_echo_site(scratch), bin_dir=hello_bin))
        site = make_tool_site(scratch, api.url)
        sdks = until.enter_context(sdk_servers(args, report))
        warm_up(sdks, scratch)
        for server in args.servers:
            try:
                ours = until.enter_context(Serve(args, site, server, sets=NO_LIMITS))
                bare_urls = {name: until.enter_context(Serve(args, site, server, hello_bin, env=env)).url
                             for name, env in ((BARE, {}), (BARE_OURS, {"HELLO_ACCEPT": "ours"}))}
            except Missing as why:
                report.left_out(why)
                continue
            for connections in args.connections:
                loads = loads_of(args, scratch, site, ours.url, bare_urls, api.url, sdks, server, connections)
                rounds = run_rounds(args, report, f"calls, {server}, {connections} connections", loads)
                print_calls(args, report, server, connections, rounds)


def print_calls(args, report, server, connections, rounds):
    report.head(f"calls a second through {server}, {connections} connections, {args.workers} processes of {args.threads} threads; "
                f"medians of {args.rounds} rounds of {args.seconds} s, least and greatest; with {' '.join(NO_LIMITS)}", "server", "connections")
    values = {name: [each["rate"] for each in figures] for name, figures in rounds.items()}
    goals = {kind.name: kind.of for kind in KINDS}
    for name, figures in rounds.items():
        more = {f"{what}_ms": [each[f"{what}_us"] / 1000 for each in figures] for what in ("p50", "p99") if "p50_us" in figures[0]}
        ratios = {of: (values[of], goal if (server, connections) == GOALS_AT else None)
                  for of, goal in goals.get(name, {}).items() if of in values}
        report.add("calls", name, values[name], "/s", ratios=ratios, more=more, server=server, connections=connections)


TICKS = 400


def tick_lateness(url):
    """Milliseconds from emission to us of each progress of one call, 200 a second."""
    at = urlsplit(url)
    body, headers = modern_call("test_ticks", {"ms": TICKS * 5, "steps": TICKS}, progress=True)
    body = body.replace("@ID@", "1")
    late, text = [], b""
    with socket.create_connection((at.hostname, at.port), timeout=60) as s:
        s.sendall("\r\n".join([f"POST {at.path} HTTP/1.1", f"Host: {at.netloc}", "Content-Type: application/json",
                               "Accept: application/json, text/event-stream", "Connection: close",
                               f"Content-Length: {len(body)}", *headers, "", body]).encode())
        while True:
            got = s.recv(65536)
            now = time.time() * 1000
            if not got:
                break
            text += got
            *lines, text = text.split(b"\n")
            for line in lines:
                if line.startswith(b"data:") and b"notifications/progress" in line:
                    late.append(now - float(json.loads(line[5:])["params"]["message"]))
    if len(late) != TICKS:
        raise Failure(f"{len(late)} of {TICKS} progress notifications arrived")
    return {"p50": statistics.median(late), "p99": statistics.quantiles(late, n=100)[98], "max": max(late)}


def ticks(args, report, scratch):
    with contextlib.ExitStack() as until:
        loads = {}
        for server in args.servers:
            try:
                up = until.enter_context(Serve(args, SOURCE / "tests" / "conformance" / "site", server))
            except Missing as why:
                report.left_out(why)
                continue
            loads[server] = lambda seconds, url=up.url: tick_lateness(url)
        rounds = run_rounds(args, report, "ticks", loads, min(args.rounds, 3))
    report.head("how late what a tool says on descriptor 3 is at its client, 200 progress notifications a second, ms")
    for server, figures in rounds.items():
        more = {what: [each[what] for each in figures] for what in ("p99", "max")}
        report.add("ticks", "progress", [each["p50"] for each in figures], "ms p50", more=more, server=server)
