#!/usr/bin/env python3
"""tests/requirements.tsv: every row of the protocol's requirements on a server has a test that exists and is run, or a
reason why it does not bind us.

A line is: id, level, revisions, what is asked for in a few words, and what shows it, separated by tabs. What shows it is
"FILE" or "FILE: TEXT" below tests/, several separated by "; ", where TEXT stands in FILE (a row of its table, the name
of a test function, a line of the conversation); or "- REASON", and nothing is put off: "- not yet" is none.

doc/clients.md, the quirks of real clients, is held to the same: each row names the function that decides, and its tests."""

import os
import re
import sys
from pathlib import Path

ROOT = Path(os.environ.get("abs_top_srcdir") or Path(__file__).resolve().parents[2])
TESTS = ROOT / "tests"
# How many rows each topic has: T-01 to T-28 and so on. A line that got lost is noticed by these.
TOPICS = {
    "T": 28, "H": 27, "L": 12, "E": 30, "S": 15, "V": 11, "I": 16, "J": 17, "X": 23, "K": 14, "P": 9, "G": 10, "N": 3,
    "TL": 21, "RS": 13, "PR": 7, "CM": 6, "PG": 5, "SA": 27, "MR": 12, "SU": 13, "CA": 7, "TK": 22, "TX": 22, "AU": 25,
    "SE": 12, "JS": 4, "ME": 3, "SD": 3,
}
QUIRKS = 39
LEVELS = {"M", "MN", "S", "SN", "O", "Z", "D"}
REVISIONS = {"24", "03", "06", "11", "26", "TX", "all"}

number = 0
failed = False


def ok(title, complaints):
    global number, failed
    number += 1
    failed = failed or bool(complaints)
    print("not ok" if complaints else "ok", number, "-", title)
    for each in complaints:
        print("#", each)


def read_rows():
    lines = [line for line in (TESTS / "requirements.tsv").read_text().split("\n") if line and not line.startswith("#")]
    return [line.split("\t") for line in lines]


def is_run(file, automake):
    """Whether make check reaches the file: by a name in TESTS, or as one of a folder that a runner goes through."""
    if file.suffix == ".mct" or file.parts[0] in ("mct", "schema", "wire.py") or file.name == "scenarios":
        return True  # tests/mct takes all of proto/ and checks all by wire.py and schema/, conformance/run.mjs runs all scenarios
    program = str(file.with_suffix("") if file.suffix == ".c" else file)
    return f"%D%/{program.replace('fuzz/fuzz_', 'fuzz/replay_')}\n" in automake


def complaints_about(shown, automake):
    if shown.startswith("- "):
        return [] if shown[2:].strip() and not shown.startswith("- not yet") else ["no reason"]
    found = []
    for each in shown.split("; "):
        name, _, text = each.partition(": ")
        path = TESTS / name
        if not path.is_file():
            found.append(f"there is no tests/{name}")
        elif not is_run(Path(name), automake):
            found.append(f"make check does not run tests/{name}")
        elif path.name == "scenarios" and re.search(rf"^{re.escape(text)}\b", (path.parent / "not-yet").read_text(), re.M):
            found.append(f"tests/conformance/not-yet excuses {text}")
        elif text not in path.read_text():
            found.append(f'"{text}" is not in tests/{name}')
    return found


def check_clients(automake):
    text = (ROOT / "doc" / "clients.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.split("\n") if line.startswith("| R-")]
    ok("doc/clients.md has each row once, in order",
       [] if [row[0].split()[0] for row in rows] == [f"R-{n:02}" for n in range(1, QUIRKS + 1)] else ["not R-01 and on"])
    complaints = [f"{row[0]}: {why}" for row in rows for why in ([] if row[4] == "-" else complaints_about(row[4], automake))]
    for row in rows:
        if len(row) != 5 or (row[4] == "-") != row[2].startswith("- "):
            complaints.append(f"{row[0]}: no test, and no reason")
        for each in [] if row[3] == "-" else row[3].split("; "):
            name, _, function = each.partition(": ")
            if not (ROOT / name).is_file() or not re.search(rf"\b{function}\([^;]*$", (ROOT / name).read_text(), re.M):
                complaints.append(f"{row[0]}: no function {function} in {name}")
    ok("each names a function and tests that exist", complaints)


def main():
    rows = read_rows()
    lines = (TESTS / "local.mk").read_text().splitlines(True)
    automake = "".join(line for line in lines if line.startswith(("TESTS +=", "fault_tests +=")))
    wanted = [f"{topic}-{n:02}" for topic, count in TOPICS.items() for n in range(1, count + 1)]
    ok("each line has five columns", [" ".join(row) for row in rows if len(row) != 5])
    rows = [row for row in rows if len(row) == 5]
    ids = [row[0] for row in rows]
    ok("each id is there, once, in order", sorted(set(wanted) ^ set(ids)) + [i for i in set(ids) if ids.count(i) > 1]
       + (["out of order"] if set(ids) == set(wanted) and ids != wanted else []))
    ok("levels and revisions are known", [f"{row[0]}: {row[1]} {row[2]}" for row in rows
       if row[1] not in LEVELS or not set(row[2].split("/")) <= REVISIONS])
    ok("each row says what is asked for", [row[0] for row in rows if not row[3].strip()])
    ok("what shows a row exists and is run", [f"{row[0]}: {why}" for row in rows for why in complaints_about(row[4], automake)])
    check_clients(automake)
    source = ROOT.parent / "shared" / "protocol" / "requirements.md"  # not part of the project
    if source.is_file():
        part = source.read_text().split("\n# Part 2")[0]
        theirs = dict((i, (level, rev)) for i, level, rev in re.findall(r"^\| ([A-Z]+-\d+) \| (\w+) \| ([^|]+?) \|", part, re.M))
        ours = {row[0]: (row[1], row[2]) for row in rows}
        ok("ids, levels and revisions are those of requirements.md",
           [f"{i}: {ours.get(i)} here, {theirs.get(i)} there" for i in sorted(set(ours) | set(theirs)) if ours.get(i) != theirs.get(i)])
    print(f"1..{number}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
