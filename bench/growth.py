"""Parts of bench/run: how calls, memory and start-up change with the number of sessions, tools and streams, and with the
length of what is called."""

import contextlib
import subprocess
import time
from pathlib import Path

from running import Program, Serve, bin_with, load, private_kb, run_rounds, tool
from sites import NO_LIMITS, TEXT, legacy_call, make_echo_site, make_site, modern_call, modern_request, open_sessions, write_lines

CONNECTIONS = 16
PAYLOADS = (100, 1000, 10000, 100000, 1000000, 4 << 20)
ARGUMENTS = {"text": TEXT}


def rate(url, request, args, contains=TEXT, sessions=None, more=()):
    body, headers = request
    return lambda seconds: load(url, body, headers, seconds, CONNECTIONS, contains, sessions, more)


def print_rates(report, rounds, **where):
    for name, figures in rounds.items():
        report.add("growth", name, [each["rate"] for each in figures], "/s",
                   more={"p99_ms": [each["p99_us"] / 1000 for each in figures]}, **where)


def by_sessions(args, report, scratch):
    """Sessions that are there; calls in 16 of them, and in as many of all as bench/load has connections."""
    report.head(f"sessions: legacy calls with {CONNECTIONS} connections through lighttpd, and the broker's memory")
    with Serve(args, make_echo_site(scratch), sets=NO_LIMITS) as up:
        lines = []
        for count in args.growth:
            lines += open_sessions(up.url, count - len(lines))
            # From everywhere among them, for what is behind the last of a list would be slower.
            spread = lines[::max(1, len(lines) // CONNECTIONS)]
            sessions = write_lines(Path(scratch, "growth-sessions"), spread)
            rounds = run_rounds(args, report, f"{count} sessions", {
                "legacy echo, session": rate(up.url, legacy_call("echo", ARGUMENTS), args, sessions=sessions)}, few(args))
            print_rates(report, rounds, sessions=count)
            report.add("growth", "broker", [private_kb(up.pids["broker"])], "KB", sessions=count)


def by_tools(args, report, scratch):
    report.head(f"tools of a site: calls of the last one and lists with {CONNECTIONS} connections through lighttpd, workers' memory and start")
    for count in args.growth:
        site = make_echo_site(scratch, f"tools-{count}", count)
        begun = time.monotonic()
        with Serve(args, site) as up:
            started = time.monotonic() - begun
            rounds = run_rounds(args, report, f"{count} tools", {
                "modern echo": rate(up.url, modern_call("echo", ARGUMENTS), args),
                "modern tools/list": rate(up.url, modern_request("tools/list", {}), args, '"tools"')}, few(args))
            print_rates(report, rounds, tools=count)
            workers = up.pids["worker"]
            report.add("growth", "a worker", [private_kb(workers) / len(workers)], "KB", tools=count)
            report.add("growth", "the site's start", [started * 1000], "ms", tools=count)


def by_streams(args, report, scratch):
    """Streams that are open beside it all."""
    report.head(f"open streams: legacy calls with {CONNECTIONS} connections through lighttpd beside them, and the broker's memory")
    with contextlib.ExitStack() as until:
        up = until.enter_context(Serve(args, make_echo_site(scratch), sets=NO_LIMITS, more=["--lighttpd-processes", 2]))
        sessions = write_lines(Path(scratch, "growth-callers"), open_sessions(up.url, CONNECTIONS))
        held = 0
        for count in args.growth:
            lines = write_lines(Path(scratch, f"growth-streams-{count}"), open_sessions(up.url, count - held))
            holder = until.enter_context(Program([tool("streams"), "-n", count - held, "-s", 3600, "-f", lines, up.url], stdin=subprocess.PIPE))
            holder.read_word("OPEN", 120)
            held = count
            rounds = run_rounds(args, report, f"{count} streams", {
                "legacy echo, session": rate(up.url, legacy_call("echo", ARGUMENTS), args, sessions=sessions)}, few(args))
            print_rates(report, rounds, streams=count)
            report.add("growth", "broker", [private_kb(up.pids["broker"])], "KB", streams=count)


def by_payload(args, report, scratch):
    """Beside libfcgi, which reads it all and answers with as many bytes."""
    report.head("length of the text that the echo tool is given and answers with, 4 connections through lighttpd")
    site = make_site(scratch, "payload", {"body": {"max_bytes": 16 << 20}, "tools": {"echo": {"builtin": "echo"}}})
    with Serve(args, site) as ours, Serve(args, site, bin_dir=bin_with(scratch, "hello_fcgi")) as bare:
        for count in args.payloads:
            body, headers = modern_call("echo", {"text": "x" * count})
            path = Path(scratch, "payload.json")
            path.write_text(body)
            rounds = run_rounds(args, report, f"payload of {count} bytes", {
                "bare libfcgi": lambda seconds: load(f"{bare.url}?as-long", f"@{path}", headers, seconds, 4),
                "modern echo": lambda seconds: load(ours.url, f"@{path}", headers, seconds, 4, "x" * min(count, 1000))}, few(args))
            values = {name: [each["rate"] for each in figures] for name, figures in rounds.items()}
            for name in values:
                report.add("growth", name, values[name], "/s", more={"MB_a_s": [each * count / 1e6 for each in values[name]]},
                           ratios={"bare libfcgi": values["bare libfcgi"]} if name != "bare libfcgi" else None, payload=count)


def few(args):
    return min(args.rounds, 3)
