#!/usr/bin/env python3
"""bench/run and bench/chart still work: a little of it, for moments. No figure is judged, and the build may have sanitizers."""

import json
import os
import subprocess
import tempfile
import xml.etree.ElementTree
from pathlib import Path

SOURCE, BUILD = Path(os.environ["abs_top_srcdir"]), Path(os.environ["abs_top_builddir"])
OPTIONS = ["--trial", "--no-peers", "--rounds", "1", "--seconds", "0.05", "--servers", "lighttpd", "--connections", "2", "--workers", "1",
           "--threads", "2", "--adopted", "20", "--streams", "20", "--only", "calls", "link", "fan-out"]
FIGURES = {"calls": ["bare libfcgi", "modern echo", "legacy echo, session", "legacy SSE answer", "exec tool, static program",
                     "module tool", "http tool", "sql tool", "bare posix_spawn"],
           "adoption": ["threads 16"], "questions": ["threads 16"], "memory": ["mcp-fcgi, durable: broker"],
           "fan-out": ["bare writer", "mcp-fcgi, memory", "mcp-fcgi, durable"]}

with tempfile.TemporaryDirectory() as scratch:
    out = Path(scratch, "bench.json")
    ran = subprocess.run([SOURCE / "bench" / "run", *OPTIONS, "--json", out], cwd=BUILD, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
    said = json.loads(out.read_text()) if out.exists() else {"figures": []}
    drawn = subprocess.run([SOURCE / "bench" / "chart", out], stdout=subprocess.PIPE, text=True)
found = {(each["part"], each["name"]) for each in said["figures"] if each["median"] > 0}
lacks = [f"{part}: {name}" for part, names in FIGURES.items() for name in names if (part, name) not in found]
bars = 0 if drawn.returncode else len(xml.etree.ElementTree.fromstring(drawn.stdout).findall("{*}path"))
print("1..3")
print("ok 1 - bench/run ends well" if ran.returncode == 0 else f"not ok 1 - bench/run: status {ran.returncode}")
print("ok 2 - all is measured" if not lacks else f"not ok 2 - not measured: {', '.join(lacks)}")
print(f"{'ok' if bars >= 8 else 'not ok'} 3 - bench/chart draws {bars} of them")
if ran.returncode or lacks:
    print("".join(f"# {line}\n" for line in ran.stdout.splitlines()[-60:]))
