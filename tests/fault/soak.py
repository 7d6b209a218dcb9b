#!/usr/bin/env python3
"""A site under mixed load for a long time: sessions of every revision come and go, call, stream, drop and resume, are asked,
run tasks and listen, while workers and brokers are killed, stopped and exchanged. Nothing that was acknowledged may be lost,
and no process may grow.

    tests/fault/soak.py [--server lighttpd]      as make soak does; SOAK_HOURS=8 or SOAK_MINUTES=2 in the environment (30 minutes)

The first two fifths of the time are trouble. Then come a tenth in which the processes that are left reach their size, and half
of the time in which it is measured: a line is fitted to what each of them uses, and what it has grown by at its end counts."""

import contextlib
import http.client
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from types import SimpleNamespace

sys.dont_write_bytecode = True
from faults import FEW, PATIENCE_S, Site, Wrong, check, rss_kb, until  # noqa: E402
from streams import (FIXTURE, REVISIONS, Client, OldClient, Reader, broker_pid, data_of, descendants, id_of, is_answer,  # noqa: E402
                     message_of, name_of)

SETTINGS = {"stream_after_ms": 20, "stream_keep_s": 10, "store_cache_bytes": 2 << 20, "task_ttl_ms": 20000,
            "session_grace_s": 2, "session_idle_s": 60}
TROUBLE, WARM = 0.4, 0.5  # of the time, when they are over
TURN_S = 6  # from one trouble to the next
GROWTH_KB, GROWTH_SHARE, GROWTH_FDS = 2048, 0.15, 12  # what may be an accident, over the time that is measured
EXTENSION = {"elicitation": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}}
CAN = {"io.modelcontextprotocol/clientCapabilities": EXTENSION}
SHAKY = (OSError, http.client.HTTPException, json.JSONDecodeError)


class Load:
    """What the threads share. refused: what was not taken on, for a process was gone; a client would come again."""

    def __init__(self, site, end):
        self.site, self.end, self.done, self.refused, self.wrong = site, end, Counter(), Counter(), []

    def is_over(self):
        return time.monotonic() >= self.end or len(self.wrong) > 20

    def run(self, kind, number):
        place = random.Random(f"{kind.__name__} {number}")
        while not self.is_over():
            try:
                kind(self, place)
                self.done[kind.__name__] += 1
            except NotTaken:
                self.refused[kind.__name__] += 1
                time.sleep(0.2)
            except (Wrong, *SHAKY, KeyError, TypeError, ValueError, IndexError) as why:
                self.wrong.append(f"{kind.__name__}: {type(why).__name__}: {why}"[:600])
            time.sleep(0.05)


class NotTaken(Exception):
    """An error, or no answer at all, before anything was acknowledged."""


@contextlib.contextmanager
def may_be_refused():
    try:
        yield
    except SHAKY + (Wrong,) as why:
        raise NotTaken from why


def persist(what, attempt):
    """attempt() until it gives something: what was acknowledged must be there, sooner or later."""
    def once():
        with contextlib.suppress(*SHAKY):
            return attempt()
        return None
    return until(what, once, 3 * PATIENCE_S)


def settled(reader):
    """The reader, unless it tells to come again."""
    if reader.status < 500:
        return reader
    reader.close()
    return None


# ---- what clients do; each once, from its beginning to its end ------------------------------------------------------


def streams(load, place):
    """A session, calls on streams that are dropped and taken up, the session's own stream, DELETE."""
    with may_be_refused():
        client = Client(load.site, place.choice(REVISIONS))
    for _ in range(place.randint(1, 3)):
        with may_be_refused():
            stream = client.call("test_ticks", {"ms": 200, "steps": 50}, progress=True)
            check(stream.status == 200 and stream.is_stream, "status", stream.status)
        got = []
        while True:
            count = place.randint(1, 40)
            with contextlib.suppress(TimeoutError):
                stream.read(lambda events: len(events) >= count)
            stream.close()
            got += stream.events
            if not got or is_answer(got[-1]):
                break
            stream = persist("a resumption", lambda: settled(client.get(id_of(got[-1]))))
            check(stream.status in (200, 405), "resumed after", id_of(got[-1]), "status", stream.status, stream.body)
            check(stream.status == 200, "delivered, but there was no answer", got[-1])
        if not got:
            raise NotTaken
        check(len(set(map(id_of, got))) == len(got), "an event came twice")
        steps = [message_of(event)["params"]["progress"] for event in got if data_of(event) and not is_answer(event)]
        check(steps == sorted(set(steps)), "progress", steps)
        load.done["events"] += len(got)
    persist("DELETE", lambda: settled(end_of(client)))


def end_of(client):
    reader = Reader(client.site, "DELETE", client.headers)
    check(reader.status in (200, 404) or reader.status >= 500, "DELETE", reader.status)
    return reader


def old(load, place):
    """HTTP+SSE: what was accepted is answered on the stream, as long as that is whole."""
    with may_be_refused():
        client = OldClient(load.site)
    owed = set()
    try:
        for _ in range(5):
            with contextlib.suppress(Wrong, *SHAKY):
                owed.add(client.call("echo", {"text": "x" * place.randint(1, 20000)}))

        def has_all(events):
            return owed <= {message_of(event)["id"] for event in events[1:] if is_answer(event)}

        client.stream.read(has_all)
        check(client.stream.broken or client.stream.ended or has_all(client.stream.events), "an answer is missing")
    finally:
        client.stream.close()


def asked(load, place):
    """A question, answered on another connection; the asker may have left."""
    with may_be_refused():
        client = Client(load.site, "2025-11-25", {"elicitation": {}})
        with client.call("test_elicitation", {"message": "Who?"}) as stream:
            seen = stream.read(lambda events: any(map(data_of, events)))
            check(seen, "it broke before its first event, and with that its id")
            question = message_of(seen[-1])
            check(question and question.get("method") == "elicitation/create", question)
    time.sleep(place.random())
    answer = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}
    persist("the answer", lambda: settled(client.post(answer))).close()
    with persist("the rest", lambda: settled(client.get(id_of(seen[-1])))) as stream:
        check(stream.status == 200, "status", stream.status, "after", id_of(seen[-1]))
        got = seen + stream.read()
    while not is_answer(got[-1]):  # a broker ended meanwhile
        with persist("the rest", lambda: settled(client.get(id_of(got[-1])))) as stream:
            check(stream.status == 200, "status", stream.status, "after", id_of(got[-1]))
            got += stream.read()
    persist("DELETE", lambda: settled(end_of(client)))


def send_modern(load, method, params):
    headers, body = load.site.modern_parts(params, method, CAN)
    if "taskId" in params:
        headers["Mcp-Name"] = params["taskId"]
    return Reader(load.site, "POST", headers, body)


def modern(load, place):
    """Calls of 2026-07-28, some of which become streams."""
    with may_be_refused():
        with send_modern(load, "tools/call", {"name": "test_ticks", "arguments": {"ms": place.choice((1, 100)), "steps": 3}}) as reader:
            check(reader.status == 200 and reader.read_whole(), reader.status)


def ask_modern(load, method, params):
    with send_modern(load, method, params) as reader:
        body = reader.read_whole()
        return json.loads(body) if reader.status == 200 else None


def tasks(load, place):
    """What was accepted as a task is there until it has ended, and says how."""
    with may_be_refused():
        answer = ask_modern(load, "tools/call", {"name": "slow_compute", "arguments": {"seconds": place.random()}})
        check(answer and answer.get("result", {}).get("resultType") == "task", answer)
    task = answer["result"]["taskId"]

    def ended():
        now = ask_modern(load, "tasks/get", {"taskId": task})
        if now and "error" in now and now["error"]["code"] == -32602:
            raise Wrong(f"the task is gone: {now}")
        return now and now.get("result", {}).get("status") in ("completed", "failed")
    persist("the task's end", ended)


def listens(load, place):
    """subscriptions/listen for a while, and the session stream of a legacy client, which both may break."""
    with may_be_refused():
        with send_modern(load, "subscriptions/listen", {"notifications": {"toolsListChanged": True}}) as listening:
            check(listening.status == 200, listening.status)
            client = Client(load.site)
            with client.get() as own:
                check(own.status == 200, own.status)
                client.ask("tools/call", {"name": "test_trigger_tool_change"})
                own.read_count(1)
                listening.read_count(2)
                time.sleep(place.random())
            client.end()


KINDS = [streams, streams, streams, old, asked, modern, modern, tasks, listens]


# ---- trouble, and what is measured ----------------------------------------------------------------------------------


def make_trouble(load, end):
    """Until end, every few seconds: one of the processes that may end at any time does."""
    site, said = load.site, Counter()
    for turn in itertools.cycle(range(6)):
        time.sleep(min(TURN_S, max(0, end - time.monotonic())))
        if time.monotonic() >= end or load.is_over():
            return said
        with contextlib.suppress(ProcessLookupError):
            broker, workers = broker_pid(site), sorted(site.workers())
            if turn in (0, 2, 4) and workers:
                os.kill(random.choice(workers), signal.SIGKILL)
                said["workers killed"] += 1
            elif broker:
                how, what = {1: (signal.SIGKILL, "killed"), 3: (signal.SIGTERM, "stopped"), 5: (signal.SIGUSR2, "exchanged")}[turn]
                os.kill(broker, how)
                said[f"brokers {what}"] += 1


def sample(site):
    """(pid, name) -> (KB, descriptors) of all that is to stay."""
    found = {}
    for pid in descendants(site.process.pid):
        name = name_of(pid)
        with contextlib.suppress(OSError):
            if name.startswith(("mcp-", "lighttpd", "apache2", "nginx")) and name != "mcp-launch":
                found[pid, name] = rss_kb(pid), len(os.listdir(f"/proc/{pid}/fd"))
    return found


def growth(samples, which):
    """By how much the line through the samples rises from its first to its last."""
    count = len(samples)
    middle_x, middle_y = (count - 1) / 2, sum(each[which] for each in samples) / count
    rise = sum((x - middle_x) * (each[which] - middle_y) for x, each in enumerate(samples))
    return rise / sum((x - middle_x) ** 2 for x in range(count)) * (count - 1)


def keeps(site, samples):
    """Who still has descriptors when all clients are gone, above the least that it had under load."""
    def found():
        now = sample(site)
        return [f"{name} ({pid})" for (pid, name), each in samples.items()
                if now.get((pid, name), (0, 0))[1] > min(fds for _, fds in each) + FEW]

    with contextlib.suppress(Wrong):
        until("descriptors", lambda: not found())
    return found()


def report(samples, limit_s):
    """The table; the names of those that grow."""
    too_much = []
    print("# process        pid      KB first   last   most  growth    descriptors first  last  most  growth")
    for (pid, name), each in sorted(samples.items(), key=lambda row: row[0][1]):
        if len(each) < 5:
            continue
        kb, fds = ([one[which] for one in each] for which in (0, 1))
        kb_growth, fds_growth = growth(each, 0), growth(each, 1)
        print(f"# {name:<12}{pid:>8}{kb[0]:>12}{kb[-1]:>8}{max(kb):>7}{kb_growth:>8.0f}{fds[0]:>19}{fds[-1]:>6}{max(fds):>6}"
              f"{fds_growth:>8.1f}")
        if kb_growth > max(GROWTH_KB, GROWTH_SHARE * kb[0]) or fds_growth > GROWTH_FDS:
            too_much.append(name)
    print(f"# over {limit_s:.0f} s, {max(map(len, samples.values()), default=0)} samples", flush=True)
    return too_much


def main():
    server = sys.argv[sys.argv.index("--server") + 1] if "--server" in sys.argv else "lighttpd"
    limit_s = float(os.environ.get("SOAK_HOURS") or 0) * 3600 or float(os.environ.get("SOAK_MINUTES") or 30) * 60
    site = Site(SimpleNamespace(server=server), site=FIXTURE, **SETTINGS)
    if not site.url:
        print("1..0 # SKIP no web server" if site.process.wait() == 77 else "Bail out! there is no site")
        return 0
    print("1..3", flush=True)
    began = time.monotonic()
    load, samples, said = Load(site, began + limit_s), {}, Counter()
    threads = [threading.Thread(target=load.run, args=(kind, number)) for number, kind in enumerate(KINDS)]
    threads.append(threading.Thread(target=lambda: said.update(make_trouble(load, began + TROUBLE * limit_s))))
    for each in threads:
        each.start()
    try:
        while not load.is_over():
            time.sleep(min(2.0, max(0.1, limit_s / 100)))
            if time.monotonic() >= began + WARM * limit_s:
                for which, figures in sample(site).items():
                    samples.setdefault(which, []).append(figures)
    finally:
        load.end = 0
        for each in threads:
            each.join()
    for title, counted in (("done", load.done), ("not taken", load.refused), ("trouble", said)):
        print(f"# {title}: " + ", ".join(f"{name} {count}" for name, count in sorted(counted.items())))
    for why in load.wrong:
        print("#", why.replace("\n", " "))
    print(f"# lost or doubled {len(load.wrong)}, {time.monotonic() - began:.0f} s")
    print("not ok 1" if load.wrong else "ok 1", "- nothing that was acknowledged is lost")
    too_much = report(samples, limit_s * (1 - WARM)) + keeps(site, samples)
    print("not ok 2" if too_much or not samples else "ok 2", "- memory and descriptors stay flat", *too_much)
    ended = site.end() == 0
    print("ok 3" if ended else "not ok 3", "- everything ends cleanly")
    return 0 if ended and samples and not load.wrong and not too_much else 1


if __name__ == "__main__":
    sys.exit(main())
