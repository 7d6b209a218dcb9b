#!/usr/bin/env python3
"""doc/tools.md says what is so: its code is that of examples/tools, and its commands do what stands below them.

What stands behind a block's ``` is checked:

    LANGUAGE FILE     the block is in that file of examples/tools, line by line
    LANGUAGE +FILE    the block is a file of its own, made for the commands that follow
    console           commands, each "$ COMMAND" and below it what it prints; "..." is anything. Each runs in examples/tools
    console server    the command that runs the site until the end

Nothing else may stand there, so no code goes unchecked. A `section.name` in the text is a setting."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(os.environ.get("abs_top_srcdir") or Path(__file__).resolve().parents[2])
BUILD = Path(os.environ.get("abs_top_builddir") or ROOT)
PAGE = ROOT / "doc" / "tools.md"
URL = "http://127.0.0.1:8080/mcp"  # as the page has it
COMMAND_S = 60
NOT_INSTALLED = 77

number = 0
failed = False


def ok(title, complaints, directive=""):
    global number, failed
    number += 1
    failed = failed or bool(complaints)
    print("not ok" if complaints else "ok", number, "-", title.replace("#", "\\#") + directive)
    for line in "\n".join(complaints).splitlines():
        print("#", line)
    sys.stdout.flush()


def read_blocks():
    """(line, what stands behind the ```, text) of each block."""
    blocks, start = [], None
    for n, line in enumerate(PAGE.read_text().split("\n"), 1):
        if not line.startswith("```"):
            continue
        if start is None:
            start, info = n, line[3:].split()
        else:
            blocks.append((start, info, "\n".join(PAGE.read_text().split("\n")[start:n - 1])))
            start = None
    return blocks


def quote(line, name, text, site):
    above = PAGE.read_text().split("\n")[:line - 1]
    paragraph = "\n".join(above).rstrip().rsplit("\n\n", 1)[-1]
    if f"`{name.lstrip('+')}`" not in paragraph:
        ok(f"line {line}: its file stands above it", [paragraph])
    if name.startswith("+"):
        (site / name[1:]).write_text(text + "\n")
        ok(f"line {line}: {name[1:]}", [])
        return
    path = ROOT / "examples" / "tools" / name
    lines = f"\n{path.read_text()}\n" if path.is_file() else ""
    ok(f"line {line}: as in {name}", [] if f"\n{text}\n" in lines else [f"this is not in examples/tools/{name}:", text])


class Server:
    """The site, by the page's own command."""

    def __init__(self):
        self.process, self.url = None, None

    def start(self, line, text, site, env):
        command = text.split("\n")[0][2:].replace("../../tests/", f"{ROOT}/tests/").replace(" --port 8080", "")
        self.process = subprocess.Popen(["sh", "-c", f"exec {command}"], cwd=site, env=env, stdout=subprocess.PIPE, text=True)
        for said in self.process.stdout:
            if said.startswith("READY "):
                self.url = said.split()[1]
                break
        is_missing = self.url is None and self.process.wait() == NOT_INSTALLED
        ok(f"line {line}: the site runs", [] if self.url or is_missing else [f"{command}: status {self.process.returncode}"],
           " # SKIP lighttpd is not installed" if is_missing else "")
        return self.url is not None

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            ok("the site ends, with nothing to complain about", [] if self.process.wait(COMMAND_S) == 0 else ["see above"])


def run(line, text, site, env, url):
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, wanted = part.partition("\n")
        got = subprocess.run(["sh", "-c", command], cwd=site, env=env | {"MCP_URL": url}, timeout=COMMAND_S, text=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout
        pattern = ".*".join(re.escape(piece) for piece in wanted.strip().split("..."))
        same = re.fullmatch(pattern, got.strip().replace(url, URL), re.S)
        ok(f"line {line}: {command}", [] if same else ["got:", got, "wanted:", wanted])


def check_settings(site, env):
    listed = subprocess.run(["mcpctl", "settings", "--json", str(site / "mcp.json")], env=env, stdout=subprocess.PIPE, check=False).stdout
    names = {row["name"] for row in json.loads(listed or "[]")}
    sections = {name.split("_")[0] for name in names}
    said = re.findall(r"`(\w+)\.(\w+)`", PAGE.read_text())
    ok("settings are called so", [f"{section}.{name}" for section, name in said
                                  if section in sections and f"{section}_{name}" not in names] or ([] if said and names else ["none"]))


def main():
    server = Server()
    env = os.environ | {"PATH": f"{BUILD}:{os.environ['PATH']}", "abs_top_builddir": str(BUILD)}
    with tempfile.TemporaryDirectory(prefix="mcp-guide.") as scratch:
        site = Path(scratch, "tools")
        shutil.copytree(ROOT / "examples" / "tools", site)
        subprocess.run(["chmod", "-R", "u+w,go+rX", scratch], check=True)  # from a source tree that may be read only
        try:
            for line, info, text in read_blocks():
                if info == ["console", "server"]:
                    if not server.start(line, text, site, env):
                        break
                elif info == ["console"]:
                    run(line, text, site, env, server.url or URL)
                elif len(info) == 2:
                    quote(line, info[1], text, site)
                else:
                    ok(f"line {line}", ["a block must say which file it is of, or \"console\""])
        finally:
            server.stop()
        check_settings(site, env)
    print(f"1..{number}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
