"""What bench/run runs on: the machine, the build, and the programs of others. And whether it makes sense to measure there."""

import json
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

from running import BUILD, SOURCE

SBIN = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def first_line(*argv):
    """What a program says about itself; None when there is none."""
    found = shutil.which(argv[0], path=SBIN)
    if not found:
        return None
    ran = subprocess.run([found, *argv[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=SOURCE)
    return ran.stdout.split("\n")[0].strip() if ran.returncode == 0 else None


def build():
    """Compiler and flags, as configure wrote them down."""
    text = (BUILD / "Makefile").read_text()
    found = {name: re.search(rf"^{name} = *(.*)$", text, re.M) for name in ("CC", "CFLAGS", "LDFLAGS", "SAN")}
    words = {name: match.group(1) if match else "" for name, match in found.items()}
    return {"compiler": first_line(words["CC"].split()[0], "--version"), "cflags": words["CFLAGS"], "ldflags": words["LDFLAGS"],
            "sanitizers": words["SAN"]}


def why_not(made):
    """Why a build says nothing about speed; None when it does."""
    flags = f"{made['cflags']} {made['ldflags']} {made['sanitizers']}"
    if "-fsanitize" in flags:
        return "this build has sanitizers"
    levels = re.findall(r"-O(\S*)", made["cflags"])
    if not levels or levels[-1] == "0":
        return "this build is not optimised (CFLAGS without -O, or with -O0)"
    return None


def versions():
    said = {"lighttpd": first_line("lighttpd", "-v"), "Apache": first_line("apache2", "-v"), "nginx": first_line("nginx", "-v"),
            "pushpin": first_line("pushpin", "--version")}
    for package in sorted(Path(SOURCE, "bench", "peers", "node_modules", "@modelcontextprotocol").glob("*/package.json")):
        about = json.loads(package.read_text())
        said[about["name"]] = about["version"]
    return {name: version for name, version in said.items() if version}


def describe():
    cpus = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    system = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return {"date": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "commit": first_line("git", "describe", "--always", "--dirty", "--tags"),
            "machine": {"cpu": cpus[0] if cpus else platform.machine(), "cpus": os.cpu_count(), "kernel": platform.release(),
                        "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE") >> 20,
                        "system": system.get("PRETTY_NAME", "").strip('"')},
            "build": build(), "versions": versions(), "load_before": os.getloadavg()[0]}
