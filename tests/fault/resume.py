#!/usr/bin/env python3
"""Leaves every kind of stream at every place and takes it up again, behind a real web server: what comes is exactly the rest,
to the byte, as a client read it that never left, and as the store has it. Also after the broker was killed, while events are
appended, by two clients at once; by ids that are not the client's, and while sessions end.

    tests/fault/resume.py [--server lighttpd] [WORD]...     only cases with one of these words in their title"""

import contextlib
import http.client
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
from faults import SSE, Cases, Site, Wrong, check, compare, main, toll, until  # noqa: E402
from streams import (FIXTURE, REVISIONS, Client, OldClient, Reader, broker_pid, data_of, id_of, is_answer, kill_broker,  # noqa: E402
                     message_of, read_together, stored_log)

case = Cases()
STEPS = 5
ALICE, BOB = "key-of-alice-00000", "key-of-bob-0000000"
KEYS = Path(tempfile.mkdtemp(prefix="mcp-resume.")) / "keys"


def deadly(title):
    """A case that kills the broker; the next one finds another."""
    def register(run):
        def run_and_wait(site):
            try:
                run(site)
            finally:
                wait_for_broker(site)
        case(title, may_lose_broker=True)(run_and_wait)
    return register


def kill(site):
    toll["kills"] += 1
    kill_broker(site)


def wait_for_broker(site):
    def works():
        with contextlib.suppress(Wrong, OSError, http.client.HTTPException):
            site.works()
            return True
        return False

    until("a new broker", works)
    site.broker = broker_pid(site)


def before(event_id):
    """The id before the first event of its stream."""
    return event_id.rpartition(".")[0] + ".0"


def ids(events):
    return [id_of(event) for event in events]


def rest_of(client, last_id):
    """All that comes of a stream that is finished; nothing if it says that there is nothing."""
    toll["resumptions"] += 1
    with client.resume(last_id) as stream:
        if stream.status == 405:
            return []
        check(stream.status == 200 and stream.is_stream, "resumed after", last_id, "status", stream.status)
        return stream.read_whole()


def from_log(events):
    """Without the first one of 2025-11-25, which is the connection's: it has an id, but no data."""
    return [event for event in events if data_of(event)]


def is_piece(whole, last_id, piece):
    """Whether it is what follows last_id in the whole, or the beginning of that."""
    whole, names = from_log(whole), ids(from_log(whole))
    start = names.index(last_id) + 1 if last_id in names else 0
    piece = from_log(piece)
    compare(whole[start:start + len(piece)], piece)


def each_place(client, whole):
    """Of a finished stream."""
    for last_id in [before(id_of(whole[-1])), *ids(whole)]:
        rest = rest_of(client, last_id)
        is_piece(whole, last_id, rest)
        check(last_id == id_of(whole[-1]) or rest and rest[-1] == whole[-1], "after", last_id, "the end is missing")


def is_stored(site, whole):
    """What a client got is what the store has, no more and no less."""
    handle = int(id_of(whole[-1]).split(".")[0])
    got = {int(id_of(event).split(".")[2]): data_of(event) for event in whole if data_of(event)}
    until("the events in the store", lambda: stored_log(site).get(handle) == got)


def slow(client, ms, steps=STEPS):
    return client.call("test_slow", {"ms": ms, "steps": steps, "tag": client.id[:12]}, progress=True)


def whole_answer(stream):
    with stream:
        check(stream.is_stream, "no stream, but status", stream.status)
        return stream.read_whole()


# ---- every kind of stream, at every place ---------------------------------------------------------------------------


@deadly("finished answers, of each revision, before and after the broker was killed")
def _(site):
    known = []
    for version in REVISIONS:
        client = Client(site, version)
        known.append((client, whole_answer(slow(client, 60))))
    known.append((client, whole_answer(client.call("test_ticks", {"ms": 10, "steps": 40}, progress=True))))
    for round_ in range(2):
        for client, whole in known:
            is_stored(site, whole)
            each_place(client, whole)
        if round_ == 0:
            kill(site)


@case("answers that are being written: left after each event, and taken up from any place before")
def _(site):
    for version in REVISIONS:
        client, pieces, place = Client(site, version), [], random.Random(version)
        stream, last_id = slow(client, 600), None
        seen = []
        while True:
            count = 1 + len(pieces) % 2
            stream.read(lambda events: len(events) >= count)
            pieces.append((last_id, stream.events))
            seen += [each for each in ids(stream.events) if each not in seen]
            stream.close()
            if any(map(is_answer, pieces[-1][1])):
                break
            last_id = place.choice(seen[-2:])
            toll["resumptions"] += 1
            stream = client.resume(last_id)
        whole = rest_of(client, before(seen[0]))
        for last_id, piece in pieces:
            is_piece(whole, last_id, piece)
        check(ids(whole) == seen[-len(whole):], "seen", seen, "but there are", ids(whole))
        is_stored(site, whole)


@case("an answer that grows as fast as it can, with a client that comes and goes")
def _(site):
    client, place = Client(site), random.Random(1)
    stream, last_id, pieces = client.call("test_ticks", {"ms": 800, "steps": 1500}, progress=True), None, []
    while True:
        count = place.randint(1, 30)
        stream.read(lambda events: len(events) >= count)
        piece = stream.events
        pieces.append((last_id, piece))
        stream.close()
        if any(map(is_answer, piece)):
            break
        if piece:
            last_id = id_of(piece[-1])
        toll["resumptions"] += 1
        stream = client.resume(last_id)
    whole = rest_of(client, before(id_of(pieces[0][1][0])))
    check(from_log(event for _, piece in pieces for event in piece) == whole, "it was not the same")
    check([message_of(event)["params"]["progress"] for event in whole[:-1]] == list(range(1, 1501)), "not each of them")
    print(f"# {len(pieces)} connections for 1,500 events", flush=True)


@deadly("a question to the client: before, while and after it waits, and the broker is killed in between")
def _(site):
    for version in REVISIONS[1:]:
        client = Client(site, version, {"elicitation": {}})
        with client.call("test_elicitation", {"message": "Who?"}) as stream:
            seen = stream.read(lambda events: any(data_of(event) for event in events))
        asked = next(message for message in map(message_of, seen) if message)
        check(asked["method"] == "elicitation/create", asked)
        for how in ("waiting", "killed"):
            for last_id in [before(id_of(seen[-1])), *ids(seen[:-1])]:
                with client.resume(last_id) as stream:
                    check(stream.read_count(1) == seen[-1:], "after", last_id, "came", stream.events)
            if how == "waiting":
                kill(site)
                toll["kills"] += 1
        with client.resume(id_of(seen[-1])) as stream:
            with client.post({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}}) as answer:
                check(answer.status == 202, "the answer:", answer.status)
            whole = seen + stream.read_whole()
        check(b"User response: action=decline" in whole[-1], whole[-1])
        each_place(client, whole)
        is_stored(site, whole)


def tell(client, number):
    client.ask("tools/call", {"name": "test_trigger_resource_update", "arguments": {"uri": f"test://template/{number}/data"}})


@deadly("the session's own stream, with more to come, before and after the broker was killed")
def _(site):
    for version in REVISIONS:
        wait_for_broker(site)
        client, count = Client(site, version), 4
        for number in range(2 * count + 2):
            client.ask("resources/subscribe", {"uri": f"test://template/{number}/data"})
        with client.get() as stream:
            for number in range(count):
                tell(client, number)
            whole = list(stream.read_count(count))
        for _ in range(2):
            for place, last_id in enumerate([before(id_of(whole[0])), *ids(whole)]):
                toll["resumptions"] += 1
                with client.resume(last_id) as stream:
                    if place == len(whole):
                        tell(client, len(whole))  # it goes on, and there was nothing before it
                        whole += stream.read_count(1)
                    else:
                        check(stream.read_count(len(whole) - place) == whole[place:], "after", last_id)
            kill(site)
        check([message_of(event)["params"]["uri"].split("/")[3] for event in whole] == list(map(str, range(count + 2))), whole)
        is_stored(site, whole)


@case("the one stream of HTTP+SSE: whoever comes back as the old transport does gets a new one, by the new one's way the rest")
def _(site):
    client = OldClient(site)
    for count, size in enumerate((1, 300000, 10), 3):  # the second takes many FastCGI records
        client.call("echo", {"text": "x" * size})
        client.stream.read_count(count)
    whole = client.stream.events[1:]
    check([message_of(event)["id"] for event in whole] == [0, 1, 2, 3], whole)
    client.stream.close()
    for place, event in enumerate(whole[:-1]):
        last = {"Last-Event-ID": id_of(event)}
        with Reader(site, "GET", {**SSE, **last, "Mcp-Session-Id": client.id}) as stream:
            check(stream.status == 200, stream.status)
            check(stream.read_count(len(whole) - place - 1) == whole[place + 1:], "after", id_of(event))
        with Reader(site, "GET", {**SSE, **last}, path=site.path + "/sse") as stream:
            check(stream.read_count(1)[0].startswith(b"event: endpoint\n"), stream.events)
            check(client.id.encode() not in stream.events[0], "the same session")


@case("two clients take up the same stream at once: the newest has all, the other a part of it and a proper end")
def _(site):
    for ms, version in ((0, "2025-11-25"), (400, "2025-11-25"), (400, "2025-06-18")):
        client = Client(site, version)
        with slow(client, ms) as first:
            start = before(id_of(first.read_count(1)[0]))
            if not ms:
                first.read_whole()
        for _ in range(3):
            pair = [client.resume(start) for _ in range(2)]
            toll["resumptions"] += 2
            read_together(pair, lambda: False)
            check(all(stream.ended for stream in pair), "a connection broke")
            for stream in pair:
                stream.close()
            whole = rest_of(client, start)
            for stream in pair:
                is_piece(whole, start, stream.events)
            check(any(stream.events == whole for stream in pair), "neither has all of it:", [stream.events for stream in pair])


@deadly("killed while an answer grows: what was given stays, the rest comes once, and it ends with an answer")
def _(site):
    def progress_of(events):
        return [message_of(event)["params"]["progress"] for event in events if data_of(event) and not is_answer(event)]

    for version in REVISIONS[1:]:
        wait_for_broker(site)
        client = Client(site, version)
        with client.call("test_ticks", {"ms": 500, "steps": 200}, progress=True) as stream:
            stream.read_count(60)
            kill(site)
            seen = stream.read()
        rest = [] if is_answer(seen[-1]) else rest_of(client, id_of(seen[-1]))
        whole = seen + rest
        check(is_answer(whole[-1]) and sum(map(is_answer, whole)) == 1, "answers:", whole[-1])
        steps = progress_of(whole)
        check(steps == sorted(set(steps)) and len(steps) >= 59, "progress", steps)
        check(steps[:len(progress_of(seen))] == list(range(1, len(progress_of(seen)) + 1)), "a hole in what was read at once")
        again = rest_of(client, before(id_of(whole[0])))
        check(again[-1] == whole[-1], "another end the second time:", again[-1], whole[-1])


# ---- ids that are not the client's ----------------------------------------------------------------------------------

HUGE = ["18446744073709551615", "18446744073709551616", "99999999999999999999999999", "340282366920938463463374607431768211456"]
SYNTAX = ["", "0", ".", "..", "...", "1.2", "1.2.3.4", "a.b.c", "0x1.1.1", "1.1.1e1", "+1.1.1", "-1.1.1", "1. 1.1", "1.1.-1", "1,1,1",
          "01.01.01", "null", "%00", "../../etc/passwd", "' OR 1=1 --", "\u00e9", "1.1.1;x", "x" * 4000, "9" * 4000, "." * 4000]


def refused(client, last_id, *statuses):
    with client.get(last_id) as answer:
        check(answer.status in statuses, "after", repr(last_id[:80]), "status", answer.status, "not", statuses)
        body = answer.read_whole()
        if answer.status != 405:
            check(json.loads(body)["error"]["code"] in (-32000, -32001, -32600) and b"secret" not in body, body[:300])


@case("ids of another session, forged, from the future: refused, and nobody's stream is touched")
def _(site):
    owner, other = Client(site), Client(site)
    whole = whole_answer(owner.call("test_slow", {"ms": 20, "steps": 2, "tag": "secret"}, progress=True))
    handle, epoch, last = id_of(whole[-1]).split(".")
    with slow(owner, 1500) as under_way, owner.get() as own:
        first = id_of(under_way.read_count(1)[0])
        for last_id in [*ids(whole), first, before(first)]:
            refused(other, last_id, 400)
        for number in [str(int(last) + 1), *HUGE]:
            refused(owner, f"{handle}.{epoch}.{number}", 400)
            refused(owner, f"{handle}.{number}.{last}", 400)
            refused(owner, f"{number}.{epoch}.{last}", 400)
        refused(owner, f"{handle}.{int(epoch) - 1}.{last}", 400)
        for near in (1, -1, 2**32, -2**32):  # those of sessions are even; the next even one is the owner's too
            refused(owner, f"{(int(handle) + near) % 2**64}.{epoch}.1", 400)
        for text in SYNTAX[1:]:
            refused(owner, text.encode("utf-8").decode("latin-1"), 400)
        refused(owner, before(first).replace(".0", ".7"), 400)
        check(not own.events, "the session's stream got", own.events)
        under_way.read_whole()
        check(is_answer(under_way.events[-1]), under_way.events[-1])
    refused(owner, id_of(whole[-1]), 405)
    dead = Client(site)
    dead.end()
    refused(dead, id_of(whole[0]), 404)
    unknown = Client(site)
    unknown.headers["Mcp-Session-Id"] = owner.id[:-1] + ("A" if owner.id[-1] != "A" else "B")
    refused(unknown, id_of(whole[0]), 404)


@case("an id that would be two lines, or comes twice: refused by whoever reads it first")
def _(site):
    client = Client(site)
    whole = whole_answer(slow(client, 20))
    name = "".join(f"{key}: {value}\r\n" for key, value in {**SSE, **client.headers, "Host": f"{site.host}:{site.port}"}.items())
    for last in (f"Last-Event-ID: {id_of(whole[0])}\n data: x", f"Last-Event-ID: {id_of(whole[0])}\rX: y", "Last-Event-ID: 1\0.1.1",
                 f"Last-Event-ID: {id_of(whole[0])}\r\nLast-Event-ID: {id_of(whole[1])}"):
        with contextlib.closing(site.connect()) as peer:
            peer.sendall(f"GET {site.path} HTTP/1.1\r\n{name}{last}\r\nConnection: close\r\n\r\n".encode())
            status = int(peer.recv(65536).split()[1])
            check(status == 400, repr(last), "status", status)


# ---- sessions that end ----------------------------------------------------------------------------------------------


def all_end(streams):
    """They end in good order, without an answer."""
    read_together(streams, lambda: False)
    for stream in streams:
        check(stream.ended, "a connection broke")
        check(not any(map(is_answer, stream.events)), stream.events)
        stream.close()


def are_gone(client, streams):
    for stream in streams:
        for last_id in filter(None, [None, *ids(stream.events)]):
            refused(client, last_id, 404)
    with client.get() as answer:
        check(answer.status == 404, "GET:", answer.status)


@case("DELETE while streams are open: each has its end, the calls too, and descriptors come back")
def _(site):
    held = site.descriptors()
    for version in REVISIONS:
        client = Client(site, version, {"elicitation": {}})
        streams = [slow(client, 20000), slow(client, 20000), client.get()]
        if version != REVISIONS[0]:
            streams.append(client.call("test_elicitation", {"message": "Who?"}))
        for stream in streams[:2]:
            stream.read(lambda events: len(events) > 0) if version == REVISIONS[-1] else None
        client.end()
        all_end(streams)
        are_gone(client, streams)
    client = OldClient(site)
    client.call("test_slow", {"ms": 20000, "steps": 1, "tag": "old"})
    with Reader(site, "DELETE", {"Mcp-Session-Id": client.id}) as answer:
        check(answer.status == 200, answer.status)
    client.stream.read()
    check(client.stream.ended, "the connection broke")
    client.stream.close()
    until("descriptors", lambda: site.is_clean(held))


# ---- with settings of their own --------------------------------------------------------------------------------------


@case("an answer that is polled for, connection by connection", settings={"stream_poll_after_ms": 100, "stream_retry_ms": 20})
def _(site):
    client = Client(site)
    stream, got, connections = slow(client, 1000), [], 1
    while True:
        got += whole_answer(stream)
        if is_answer(got[-1]):
            break
        check(stream.retries, "it ended without a word of when to come back")
        stream = client.resume(id_of(got[-1]))
        connections += 1
    check(connections > 2, "only", connections, "connections")
    each_place(client, got)
    is_stored(site, got)


@case("what was forgotten: an explicit 400, never a hole",
      settings={"stream_log_max_bytes": 65536, "stream_keep_s": 2})
def _(site):
    client = Client(site)
    with client.call("test_ticks", {"ms": 200, "steps": 1500}, progress=True) as stream:
        whole = stream.read()
    statuses = []
    for event in whole[::50]:
        with client.get(id_of(event)) as stream:
            statuses.append(stream.status)
            if stream.status == 200:
                # lighttpd 1.4.69 at times leaves out the chunk that ends an answer of more than 64 KB: so not read_whole()
                is_piece(whole, id_of(event), stream.read())
                check(stream.events[-1] == whole[-1], "the end is missing")
    check(statuses == sorted(statuses, reverse=True) and set(statuses) == {200, 400}, statuses)

    time.sleep(5)  # each attempt would be a client that comes back, for whom it is kept
    refused(client, id_of(whole[-2]), 400)
    refused(client, id_of(whole[-1]), 400)


@case("a session that nobody uses ends, with what it had; not while it has a connection",
      settings={"session_idle_s": 2, "stream_heartbeat_ms": 100})
def _(site):
    held = site.descriptors()
    busy = Client(site)
    with busy.get() as stream:
        idle = Client(site)
        whole = whole_answer(slow(idle, 20))
        until("the end of one session", lambda: site.status()["sessions"] == 1)
        for last_id in ids(whole):
            refused(idle, last_id, 404)
        Client(site).ask("tools/call", {"name": "test_trigger_tool_change"})
        last_id = id_of(stream.read_count(1)[0])
    until("the end of both", lambda: site.status()["sessions"] == 0)
    refused(busy, last_id, 404)
    until("descriptors", lambda: site.is_clean(held))


@case("ids of the same client's name, but another principal: a session that is not there", settings={"auth_api_keys_file": KEYS})
def _(site):
    owner, other = (Client(site, more={"X-API-Key": key}) for key in (ALICE, BOB))
    whole = whole_answer(slow(owner, 20))
    for last_id in (None, *ids(whole)):
        with Reader(site, "GET", {**SSE, **owner.headers, **({"Last-Event-ID": last_id} if last_id else {}),
                                  "X-API-Key": BOB}) as answer:
            check(answer.status == 404, "status", answer.status)
    refused(other, id_of(whole[0]), 400)
    each_place(owner, whole)


class OurSite(Site):
    def __init__(self, args, fds, **settings):
        self.key = {"X-API-Key": ALICE} if "auth_api_keys_file" in settings else {}
        super().__init__(args, fds, site=FIXTURE, stream_after_ms=10, **settings)

    def open(self, method, headers=None, *more, **named):
        return super().open(method, {**self.key, **(headers or {})}, *more, **named)


def run():
    KEYS.parent.chmod(0o755)
    KEYS.write_text(f"alice:{ALICE}\nbob:{BOB}\n")
    KEYS.chmod(0o600)
    if os.geteuid() == 0:
        shutil.chown(KEYS, "www-data")  # as whom tests/serve runs all
    try:
        return main(case, __doc__, OurSite)
    finally:
        print(f"# {toll['resumptions']} resumptions, {toll['kills']} kills of the broker")
        shutil.rmtree(KEYS.parent)


if __name__ == "__main__":
    sys.exit(run())
