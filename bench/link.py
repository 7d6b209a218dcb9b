"""Parts of bench/run: what a worker asks the broker, streams that it hands over, and the durable store."""

import shutil
import tempfile
from pathlib import Path

from report import at_least
from running import Serve, run_rounds, run_tool, tool
from sites import NO_LIMITS, make_echo_site

ADOPTED = 5000


def by(rows, *keys):
    """The rows of a tool by the words that tell them apart; their numbers as such."""
    return {" ".join(f"{key} {row[key]}" for key in keys): {name: float(value) for name, value in row.items() if name not in keys}
            for row in rows}


def print_rows(report, part, rounds, unit, goal, **where):
    """Rounds of one load that measures several things in turn."""
    for name in rounds[0] if rounds else ():
        slowest = {"slowest_ms": [each[name]["slowest_us"] / 1000 for each in rounds]} if "slowest_us" in rounds[0][name] else None
        report.add(part, name, [each[name]["rate"] for each in rounds], unit, goal=goal(name), more=slowest, **where)


def link(args, report, scratch):
    with Serve(args, make_echo_site(scratch, "link"), sets=[*NO_LIMITS, "stream_adopt_rate=0"]) as up:
        rounds = run_rounds(args, report, "link", {
            "adopt": lambda seconds: by(run_tool([tool("link_adopt"), up.run_dir, min(ADOPTED, args.adopted)]), "threads"),
            "ask": lambda seconds: by(run_tool([tool("link_ask"), up.run_dir, f"{seconds:.2f}"]), "threads")})
    report.head("event streams that the broker takes over in a second, from the threads of one worker, to the client's first byte")
    print_rows(report, "adoption", rounds.get("adopt"), "/s", lambda name: at_least(5000) if name != "threads 1" else None)
    report.head("questions that the broker answers the threads of one worker in a second (CALL_BEGIN and CALL_END)")
    print_rows(report, "questions", rounds.get("ask"), "/s", lambda name: None)


def appends(args, report, scratch):
    def append(seconds):
        with tempfile.TemporaryDirectory(dir=scratch) as place:
            rows = run_tool([tool("store_append"), place, f"{seconds:.2f}"])
        return by([row for row in rows if "sync" in row], "sync", "outcomes", "window")
    rounds = run_rounds(args, report, "appends", {"append": append}, min(args.rounds, 3))
    report.head(f"durable events of 256 bytes a second, by how they are synced and how many are under way; in {scratch}, "
                f"{shutil.disk_usage(Path(scratch)).free >> 30} GB free")
    print_rows(report, "appends", rounds.get("append"), "/s",
               lambda name: at_least(50000) if name == "sync write outcomes yes window 1024" else None)
