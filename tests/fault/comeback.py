#!/usr/bin/env python3
"""The broker is killed while calls of every kind run, again and again: the workers come back to the next one with what they do.
Each piece of work is done once, and each client that can come back reads its result once.

    tests/fault/comeback.py [--server lighttpd] [WORD]...     only cases with one of these words in their title"""

import itertools
import json
import os
import signal
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # the sources may be read-only
from faults import Cases, check, compare, main, processes, until  # noqa: E402
from streams import Client, OldClient, Reader, broker_pid, id_of, is_answer, kill_broker, message_of, read_together  # noqa: E402

case = Cases()
ROUNDS = 4
EACH = 3  # clients of each kind
words = itertools.count(1)


class Work:
    """What is to be done, and what was: each piece has a word that its tool writes down, once it may go on."""

    def __init__(self, site):
        self.path, self.go = Path(site.run_dir, "work"), Path(site.run_dir, f"go{next(words)}.")
        self.sent = []

    def new(self):
        word = f"w{next(words)}"
        self.sent.append(word)
        return word, {"go": str(self.go), "word": word, "file": str(self.path)}

    def programs(self):
        return len(processes("sh", str(self.go)))

    def done(self):
        return self.path.read_text().split() if self.path.exists() else []

    def check_left(self):
        """All that was begun has ended, and none of it was done."""
        until("the end of its programs", lambda: self.programs() == 0)
        check(not set(self.sent) & set(self.done()), "it was done all the same")

    def check_done(self):
        until("all work to be done", lambda: set(self.done()) >= set(self.sent))
        compare(sorted(self.sent), sorted(word for word in self.done() if word in self.sent))


def text_of(message):
    check("result" in message, "not a result:", message)
    return message["result"]["content"][0]["text"].strip()


def kill_when(site, work, streams):
    """As soon as all is begun, and all of these are streams, which the broker has."""
    until("all work to be begun", lambda: work.programs() == len(work.sent))
    read_together(streams, lambda: all(stream.status for stream in streams))
    check(all(stream.status == 200 for stream in streams), "refused:", [stream.status for stream in streams])
    kill_broker(site)


def calls_of(site):
    """How many run that the broker knows; None when there is no broker."""
    try:
        return site.status()["calls"]["running"]
    except (OSError, ValueError):
        return None


def answers_of(client, stream):
    """All answers that a client of 2025-11-25 reads who comes back until its stream ends."""
    events = list(stream.events)
    while not stream.ended or not any(map(is_answer, events)):
        last = id_of(events[-1])
        stream.close()
        stream = client.resume(last)
        if stream.status == 405:  # it has all of it
            break
        stream.read()
        events += stream.events
    stream.close()
    compare(range(len(events)), [int(id_of(event).rpartition(".")[2]) for event in events])
    return [message_of(event) for event in events if is_answer(event)]


@case(f"{ROUNDS} brokers are killed under {EACH} calls of each kind: answers in JSON, streams, HTTP+SSE", may_lose_broker=True)
def _(site):
    for number in range(ROUNDS):
        work, plain, streams, old = Work(site), [], [], []
        for _ in range(EACH):
            word, arguments = work.new()
            client = Client(site, more={"Accept": "application/json"})
            plain.append((word, client.call("work", arguments, wait=False)))
            word, arguments = work.new()
            client = Client(site)
            streams.append((word, client, client.call("work", arguments, wait=False)))
            word, arguments = work.new()
            old.append(OldClient(site))
            old[-1].call("work", arguments)
        kill_when(site, work, [stream for _, _, stream in streams])
        if number % 2:
            until("that the next broker knows all of them", lambda: calls_of(site) == len(work.sent))
        work.go.touch()
        read_together([reader for _, reader in plain] + [stream for _, _, stream in streams] + [each.stream for each in old],
                      lambda: False)
        for word, reader in plain:
            check(reader.status == 200, "status", reader.status, reader.body)
            compare([f"did {word}"], [text_of(json.loads(reader.body))])
            reader.close()
        for word, client, stream in streams:
            compare([f"did {word}"], [text_of(message) for message in answers_of(client, stream)])
        for each in old:  # nobody can come back to a stream of 2024-11-05, but what it asked for is done
            check(not any(map(is_answer, each.stream.events[2:])), each.stream.events)
            each.stream.close()
        work.check_done()
    site.broker = broker_pid(site)


@case("modern streams end with their broker, and their work with them", may_lose_broker=True)
def _(site):
    work, streams = Work(site), []
    for _ in range(EACH):
        _, arguments = work.new()
        headers, body = site.modern_parts({"name": "work", "arguments": arguments})
        streams.append(Reader(site, "POST", headers, body, wait=False))
    kill_when(site, work, streams)
    read_together(streams, lambda: False)
    for stream in streams:
        check(not any(map(is_answer, stream.events)), "an answer:", stream.events)
        stream.close()
    site.works()
    work.check_left()
    site.broker = broker_pid(site)


@case("a call that only the dead broker knew: its id is taken, and it can be cancelled", may_lose_broker=True)
def _(site):
    work = Work(site)
    _, arguments = work.new()
    client = Client(site, more={"Accept": "application/json"})
    reader = client.call("work", arguments, wait=False)
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "work", "arguments": arguments}}
    runs_alone(site, work, client, call)
    kill_broker(site)
    runs_alone(site, work, client, call)
    with client.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}) as answer:
        check(answer.status == 202, "cancelled:", answer.status)
    reader.read()
    reader.close()
    work.check_left()
    site.broker = broker_pid(site)


def runs_alone(site, work, client, call):
    """Only who does not ask before the broker knows the call can't have its id first."""
    until("that it runs", lambda: work.programs() == 1 and calls_of(site) == 1)
    check(refused(client, call), "the id was free")


def refused(client, call):
    """Whether another request of the same id is, once its worker has a broker to ask."""
    call = {**call, "params": {"name": "echo", "arguments": {"text": "x"}}}

    def status():
        with client.post(call) as answer:
            answer.read()
            return answer.status if answer.status != 503 else None
    return until("an answer", status) != 200


@case("workers that are killed with the broker: their calls end with an error, once, in the time for coming back", may_lose_broker=True,
      may_lose_workers=True, settings={"link_return_ms": 1500})
def _(site):
    client, work = Client(site), Work(site)
    _, arguments = work.new()
    stream = client.call("work", arguments, wait=False)
    read_together([stream], lambda: stream.events)
    pid, workers = broker_pid(site), site.workers()
    for each in (pid, *workers):
        os.kill(each, signal.SIGKILL)
    read_together([stream], lambda: False)
    until("new workers", lambda: len(site.workers() - workers) == len(workers))
    answers = answers_of(client, stream)
    check(len(answers) == 1 and answers[0]["error"]["code"] == -32603, answers)
    site.broker = broker_pid(site)


if __name__ == "__main__":
    sys.exit(main(case, __doc__))
