#!/usr/bin/env python3
"""Tasks whose runner, worker or broker dies, that are cancelled, expire, or are too many; programs that wait for a client
that has left.

    tests/fault/tasks.py [--server lighttpd] [WORD]...     only cases with one of these words in their title"""

import argparse
import http.client
import itertools
import os
import signal
import sys
import time

sys.dont_write_bytecode = True  # the sources may be read-only
from faults import HERE, PATIENCE_S, Site, Wrong, check, message_of, processes, until  # noqa: E402

EXTENSION = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
CAN = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}, **EXTENSION}}
CAN_NO_TASKS = {"io.modelcontextprotocol/clientCapabilities": {"roots": {}}}
NAME = "Mcp-Name"
CASES = []
seconds = itertools.count(100001)  # of /bin/sleep: each of our programs is known by its own


def case(title, **settings):
    def register(run):
        CASES.append((title, run, settings))
        return run
    return register


class Tasks:
    """A modern client that knows tasks."""

    def __init__(self, site):
        self.site = site

    def ask(self, method, params):
        headers, body = self.site.modern_parts(params, method, CAN)
        if "taskId" in params:
            headers[NAME] = params["taskId"]
        status, _, body = self.site.request("POST", headers, body)
        answer = message_of(body)
        check(status == 200, method, status, body[:300])
        return answer

    def new(self, tool, **arguments):
        answer = self.ask("tools/call", {"name": tool, "arguments": arguments})
        check("result" in answer, answer)
        check(answer["result"]["resultType"] == "task", answer)
        return answer["result"]["taskId"]

    def get(self, task):
        return self.ask("tasks/get", {"taskId": task}).get("result")

    def wait(self, task, status):
        def reached():
            now = self.get(task)
            return now if now and now["status"] == status else None
        return until(f"{status}", reached)

    def works(self):
        done = self.wait(self.new("quick"), "completed")
        check(done["result"]["content"][0]["text"] == "done\n", done)

    def sleeper(self):
        """A task whose program runs, and how to see whether it still does."""
        word = str(next(seconds))
        task = self.new("long", s=int(word))
        until("its program", lambda: processes("sleep", word))
        return task, word

    def runners(self):
        return processes("mcp-runner", "run_dir=" + self.site.run_dir)

    def runner(self):
        self.works()
        check(len(self.runners()) == 1, "runners:", self.runners())
        return self.runners()[0]


def gone(word):
    until("the end of its program", lambda: not processes("sleep", word))


@case("a runner that is killed: its tasks have failed, their programs end, the next task has another runner")
def _(site, tasks):
    runner = tasks.runner()
    (task, word), waiting = tasks.sleeper(), tasks.new("survey")
    tasks.wait(waiting, "input_required")
    os.kill(runner, signal.SIGKILL)
    for each in (task, waiting):
        failed = tasks.wait(each, "failed")
        check(failed["error"]["code"] == -32603 and "ended" in failed["statusMessage"], failed)
    gone(word)
    check(tasks.runner() != runner, "the same runner")


@case("workers that are killed: their tasks go on")
def _(site, tasks):
    task, waiting = tasks.new("long", s=1.5), tasks.new("survey")
    before = site.workers()
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    until("new workers", lambda: len(site.workers() - before) == 2)
    tasks.wait(waiting, "input_required")
    tasks.wait(task, "completed")


@case("a broker that is killed: its tasks go on at the next one, which the runner joins")
def _(site, tasks):
    runner = tasks.runner()
    task, word = tasks.sleeper()
    short, waiting = tasks.new("long", s=1.5), tasks.new("survey")
    tasks.wait(waiting, "input_required")
    os.kill(site.broker, signal.SIGKILL)
    site.broker = None

    def again():
        try:
            tasks.works()
            return True
        except (Wrong, OSError, http.client.HTTPException):
            return False
    until("tasks again", again)
    tasks.wait(short, "completed")
    check(tasks.get(task)["status"] == "working", tasks.get(task))
    check(tasks.get(waiting)["status"] == "input_required", tasks.get(waiting))
    check(processes("sleep", word), "its program has ended")
    check(tasks.runner() == runner, "another runner")
    tasks.ask("tasks/cancel", {"taskId": task})
    gone(word)


@case("a task that is cancelled: its program's group ends")
def _(site, tasks):
    task, word = tasks.sleeper()
    tasks.ask("tasks/cancel", {"taskId": task})
    check(tasks.get(task)["status"] == "cancelled", tasks.get(task))
    gone(word)


@case("a task whose time is over: it is forgotten, its program ends", task_ttl_ms=4000)
def _(site, tasks):
    task, word = tasks.sleeper()
    gone(word)
    until("that it is forgotten", lambda: tasks.get(task) is None)
    check(tasks.ask("tasks/get", {"taskId": task})["error"]["code"] == -32602, "another error")


@case("more tasks than jobs_max: those that wait for input don't count, the others have their turn", runner_jobs_max=2)
def _(site, tasks):
    asking = [tasks.new("survey") for _ in range(4)]
    for each in asking:
        tasks.wait(each, "input_required")
    first = [tasks.sleeper() for _ in range(2)]
    third = tasks.new("quick")
    time.sleep(0.5)
    check(tasks.get(third)["status"] == "working", "it ran beside two others")
    tasks.ask("tasks/cancel", {"taskId": first[0][0]})
    tasks.wait(third, "completed")
    last = tasks.new("quick")
    tasks.ask("tasks/cancel", {"taskId": last})  # perhaps before it had its turn
    tasks.ask("tasks/cancel", {"taskId": first[1][0]})
    gone(first[1][1])


@case("SIGTERM to a runner: what does not end in time has failed", runner_drain_ms=2000)
def _(site, tasks):
    runner = tasks.runner()
    (task, word), short, waiting = tasks.sleeper(), tasks.new("long", s=0.1), tasks.new("survey")
    tasks.wait(waiting, "input_required")
    os.kill(runner, signal.SIGTERM)
    check("ended" in tasks.wait(task, "failed")["error"]["message"], "another error")
    tasks.wait(waiting, "failed")
    tasks.wait(short, "completed")
    gone(word)
    until("its end", lambda: runner not in tasks.runners())
    check(tasks.runner() != runner, "the same runner")


@case("nobody runs tasks, and none is started: an error at once", runner_autostart="false")
def _(site, tasks):
    began = time.monotonic()
    answer = tasks.ask("tools/call", {"name": "quick", "arguments": {}})
    check(answer["error"]["code"] == -32603, answer)
    check(time.monotonic() - began < PATIENCE_S / 2, "it took", time.monotonic() - began)


@case("a program that waits: whoever called it leaves, and it ends")
def _(site, tasks):
    tasks.works()
    word = str(next(seconds))
    stream = site.modern_open({"name": "dawdle", "arguments": {"s": int(word)}}, CAN_NO_TASKS)
    until("its program", lambda: processes("sleep", word))
    stream.close()
    stream.connection.close()
    gone(word)


@case("a program that waits longer than anybody answers: it ends", ask_wait_s=1)
def _(site, tasks):
    word = str(next(seconds))
    status, _, body = site.modern({"name": "lurk", "arguments": {"s": int(word)}}, meta=CAN_NO_TASKS)
    check(status == 200 and "inputRequests" in message_of(body)["result"], body[:300])
    gone(word)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--server", default="lighttpd", help="one whose workers have a socket of their own: lighttpd, apache, nginx")
    args = parser.parse_args()
    number, failed = 0, False
    for title, run, settings in CASES:
        if args.words and not any(word in title for word in args.words):
            continue
        site = Site(args, site=HERE.parent / "proto" / "sites" / "tasks", **settings)
        if not site.url:
            status = site.process.wait()
            print("1..0 # SKIP no web server" if status == 77 else f"Bail out! tests/serve ended with status {status}")
            return 0 if status == 77 else 1
        why = ""
        try:
            run(site, Tasks(site))
        except (Wrong, OSError, http.client.HTTPException, ValueError, KeyError) as wrong:
            why = f"{type(wrong).__name__}: {wrong}"
        if site.end() != 0:
            why = why or "it does not end cleanly"
        number += 1
        failed = failed or bool(why)
        print("not ok" if why else "ok", number, "-", title, flush=True)
        for line in why.split("\n") if why else []:
            print("#", line, flush=True)
    print(f"1..{number}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
