#!/usr/bin/env python3
"""Pages about sites of examples/ say what is so: their code is that of the site, and their commands do what stands below.

What stands behind a block's ``` is checked:

    LANGUAGE FILE     the block is in that file of the site, line by line
    LANGUAGE +FILE    the block is a file of its own, made for the commands that follow
    console           commands, each "$ COMMAND" and below it what it prints; "..." is anything. Each runs in a copy of the site
    console server    the command that runs the site until the end, or until it is run again

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
PAGES = {"doc/tools.md": "tools", "doc/connect.md": "riverwatch", "doc/proxies.md": "hello", "doc/troubleshooting.md": "hello",
         "examples/clients/README.md": "clients", "examples/riverwatch/README.md": "riverwatch"}  # and their sites
VARIABLES = {"RIVERWATCH_API": "http://127.0.0.1", "RIVERWATCH_KEYS": ""}  # without which mcp.json can't be read
URL = "http://127.0.0.1:8080/mcp"  # as the pages have it
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


def read_blocks(lines):
    """(line, what stands behind the ```, text) of each block."""
    blocks, start = [], None
    for n, line in enumerate(lines, 1):
        if not line.startswith("```"):
            continue
        if start is None:
            start, info = n, line[3:].split()
        else:
            blocks.append((start, info, "\n".join(lines[start:n - 1])))
            start = None
    return blocks


def quote(line, name, text, site, above):
    paragraph = "\n".join(above).rstrip().rsplit("\n\n", 1)[-1]
    if f"`{name.lstrip('+')}`" not in paragraph:
        ok(f"line {line}: its file stands above it", [paragraph])
    if name.startswith("+"):
        (site / name[1:]).write_text(text + "\n")
        ok(f"line {line}: {name[1:]}", [])
        return
    path = ROOT / "examples" / site.name / name
    lines = f"\n{path.read_text()}\n" if path.is_file() else ""
    ok(f"line {line}: as in {name}", [] if f"\n{text}\n" in lines else [f"this is not in {path}:", text])


class Server:
    """The site, by the page's own command."""

    def __init__(self):
        self.process, self.url = None, None

    def start(self, line, text, site, env):
        self.stop()
        self.url = None
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
        got = subprocess.run(["sh", "-c", command.replace(URL, url)], cwd=site, env=env | {"MCP_URL": url}, timeout=COMMAND_S, text=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout
        pattern = ".*".join(re.escape(piece) for piece in wanted.strip().split("..."))
        same = re.fullmatch(pattern, got.strip().replace(url, URL), re.S)
        ok(f"line {line}: {command}", [] if same else ["got:", got, "wanted:", wanted])


def check_settings(page, site, env):
    listed = subprocess.run(["mcpctl", "settings", "--json", str(site / "mcp.json")], env=env | VARIABLES, stdout=subprocess.PIPE, check=False).stdout
    names = {row["name"] for row in json.loads(listed or "[]")}
    sections = {name.split("_")[0] for name in names}
    said = re.findall(r"`(\w+)\.(\w+)`", page)
    ok("settings are called so", [f"{section}.{name}" for section, name in said
                                  if section in sections and f"{section}_{name}" not in names] or ([] if said and names else ["none"]))


def check_page(name, site, env):
    server = Server()
    page = (ROOT / name).read_text()
    lines = page.split("\n")
    ok(f"{name}, with its site {site.name}", [] if site.is_dir() else ["there is none"])
    try:
        for line, info, text in read_blocks(lines):
            if info == ["console", "server"]:
                if not server.start(line, text, site, env):
                    break
            elif info == ["console"]:
                run(line, text, site, env, server.url or URL)
            elif len(info) == 2:
                quote(line, info[1], text, site, lines[:line - 1])
            else:
                ok(f"line {line}", ["a block must say which file it is of, or \"console\""])
    finally:
        server.stop()
    check_settings(page, site, env)


def main():
    env = os.environ | {"PATH": f"{BUILD}:{os.environ['PATH']}", "abs_top_builddir": str(BUILD)}
    with tempfile.TemporaryDirectory(prefix="mcp-guide.") as scratch:
        for name, site in PAGES.items():
            examples = Path(scratch, name.replace("/", "-"), "examples")  # for each page anew: they leave things behind
            shutil.copytree(ROOT / "examples", examples)
            subprocess.run(["chmod", "-R", "u+w,go+rX", scratch], check=True)  # from a source tree that may be read only
            check_page(name, examples / site, env)
    print(f"1..{number}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
