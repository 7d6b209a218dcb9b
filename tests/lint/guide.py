#!/usr/bin/env python3
"""Pages about sites of examples/ say what is so: their code is that of the site, and their commands do what stands below.

What stands behind a block's ``` is checked:

    LANGUAGE FILE     the block is in that file of the site, line by line
    LANGUAGE +FILE    the block is a file of its own, made for the commands that follow
    console           commands, each "$ COMMAND" and below it what it prints; "..." is anything. Each runs in a copy of the site
    console server    the command that runs the site until the end, or until it is run again

Nothing else may stand there, so no code goes unchecked. In the text of every page a `section.name` is a setting, a line of a
log, with `name=` as it has, or a file; and what doc/troubleshooting.md says one sees, in quotes, is said by a program."""

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
SUFFIXES = "c conf cpp db env fcgi git h html js json md mjs php pl py sh sql toml txt yaml".split()
CAPABILITIES = {"elicitation.url", "sampling.context", "sampling.tools"}  # of clients
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


def read_sources():
    """All that our programs are made of, with strings in one piece."""
    texts = [path.read_text() for part in ("broker", "common", "ctl", "fcgi", "runner") for path in sorted((ROOT / part).glob("*.[ch]"))]
    return re.sub(r'"\s*\n\s*"', "", "\n".join(texts)).replace('\\"', '"')


def check_names(sources, env):
    listed = subprocess.run(["mcpctl", "settings", "--json", str(ROOT / "examples/hello/mcp.json")], env=env, stdout=subprocess.PIPE,
                            check=False).stdout
    known = {row["name"].replace("_", ".", 1) for row in json.loads(listed or "[]")}
    lines = {}  # of logs, and what each says
    for event, more in re.findall(r'LOG\(\s*\w+,\s*"([\w.]+)"(.*?)\);\n', sources, re.S):
        lines[event] = lines.get(event, "") + more
    ok("settings and lines of logs are known", [] if known and lines else ["none"])
    for page in sorted(path for place in ("NEWS", "*.md", "doc/*.md", "examples/**/*.md") for path in ROOT.glob(place)):
        wrong = []
        for name, suffix, more in re.findall(r"`([a-z]\w*\.(\w+))((?: [^`]*)?)`", page.read_text()):
            if name in lines:
                wrong += [f"{name}: it has no {key}=" for key in re.findall(r" (\w+)=", more)
                          if f"{key}=" not in lines[name] and "%s=" not in lines[name]]
            elif name not in known | CAPABILITIES and suffix not in SUFFIXES:
                wrong.append(f"{name}: neither a setting nor a line of a log nor a file")
        ok(f"{page.relative_to(ROOT)}: names are known", wrong)


def check_symptoms(sources):
    rows = re.findall(r"^\| ([^|]*) \|", (ROOT / "doc/troubleshooting.md").read_text(), re.M)
    said = [text for cell in rows for text in re.findall(r'"([^"]+)"', cell)]
    ok("doc/troubleshooting.md: what it quotes is said", [text for text in said if text not in sources] or ([] if said else ["nothing"]))


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


def main():
    env = os.environ | {"PATH": f"{BUILD}:{os.environ['PATH']}", "abs_top_builddir": str(BUILD)}
    with tempfile.TemporaryDirectory(prefix="mcp-guide.") as scratch:
        for name, site in PAGES.items():
            examples = Path(scratch, name.replace("/", "-"), "examples")  # for each page anew: they leave things behind
            shutil.copytree(ROOT / "examples", examples)
            subprocess.run(["chmod", "-R", "u+w,go+rX", scratch], check=True)  # from a source tree that may be read only
            check_page(name, examples / site, env)
    sources = read_sources()
    check_names(sources, env)
    check_symptoms(sources)
    print(f"1..{number}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
