#!/usr/bin/env python3
"""The wall clock jumps, by months, while clients have streams, questions and tasks open. As long as the broker lives nothing ends
too early or too late, for it counts by a clock that does not jump. A later one knows only the wall clock: what waited may be
over then, but nobody waits for longer than was promised, and event ids go on rising.

    tests/fault/clocks.py [--server lighttpd] [WORD]...     only cases with one of these words in their title"""

import sys

sys.dont_write_bytecode = True  # the sources may be read-only
from faults import Aimed, Cases, check, compare, main, message_of as message_in, until  # noqa: E402
from streams import FIXTURE, Client, broker_pid, id_of, is_answer, kill_broker, message_of  # noqa: E402

case = Cases()
JUMP_S = 70 * 86400  # more milliseconds than 32 bits hold
CAN = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}


class Jumpy(Aimed):
    def __init__(self, args, **more):
        super().__init__(args, site=FIXTURE, stream_after_ms=10, ask_wait_s=10, **more)

    def set_clock(self, offset_s):
        fresh = self.orders / "fresh"
        fresh.write_text(str(offset_s))
        fresh.chmod(0o644)
        fresh.rename(self.orders / "clock")


def ask(site, method, **params):
    headers, body = site.modern_parts(params, method, CAN)
    if "taskId" in params:
        headers["Mcp-Name"] = params["taskId"]
    return message_in(site.request("POST", headers, body)[2])


def rest(client, last_id):
    with client.resume(last_id) as stream:
        check(stream.status == 200, "after", last_id, "status", stream.status)
        return stream.read_whole()


def slow(client):
    with client.call("test_slow", {"ms": 50, "steps": 4, "tag": client.id[:12]}, progress=True) as stream:
        return stream.read_whole()


def question(client):
    """Its client leaves when it has been asked: where it was, and what to answer."""
    with client.call("test_elicitation", {"message": "Who?"}) as stream:
        last = stream.read_count(2)[1]
    return id_of(last), message_of(last)["id"]


def jump(site, offset_s, is_killed):
    site.set_clock(0)
    client = Client(site, "2025-11-25", {"elicitation": {}})
    whole = slow(client)
    task = ask(site, "tools/call", name="slow_compute", arguments={"seconds": 0.01})["result"]["taskId"]
    until("the task's end", lambda: ask(site, "tasks/get", taskId=task)["result"]["status"] == "completed")
    (first_id, first), (second_id, _) = question(client), question(client)
    site.set_clock(offset_s)
    if is_killed:
        kill_broker(site)
    is_over = is_killed and offset_s > 0
    if is_over:  # so is its session, which nobody seems to have used for months
        with client.resume(id_of(whole[0])) as stream:
            check(stream.status == 404, "the session goes on:", stream.status)
        client = Client(site, "2025-11-25")
    else:
        compare(whole[1:], rest(client, id_of(whole[0])))
    site.broker = broker_pid(site)
    told = ask(site, "tasks/get", taskId=task)
    check(told["error"]["code"] == -32602 if is_over else told["result"]["status"] == "completed", "the task:", told)
    if not is_over:
        with client.post({"jsonrpc": "2.0", "id": first, "result": {"action": "decline"}}) as reply:
            check(reply.status == 202, "the answer:", reply.status)
        for last_id, is_answered in (first_id, True), (second_id, False):
            end = rest(client, last_id)[-1]
            check(is_answer(end) and ("result" in message_of(end)) == is_answered, "the end:", end)
    after = slow(client)
    check(int(id_of(after[-1]).split(".")[1]) >= int(id_of(whole[-1]).split(".")[1]), "an epoch of the past:", id_of(after[-1]))
    compare(after[1:], rest(client, id_of(after[0])))
    client.end()


@case("months ahead: nothing ends early")
def _(site):
    jump(site, JUMP_S, is_killed=False)


@case("months back: nothing lasts longer")
def _(site):
    jump(site, -JUMP_S, is_killed=False)


@case("months back, and the broker is killed: all is there, and lasts no longer", may_lose_broker=True)
def _(site):
    jump(site, -JUMP_S, is_killed=True)


@case("months ahead, and the broker is killed: what was to end meanwhile has ended, in good order", may_lose_broker=True)
def _(site):
    jump(site, JUMP_S, is_killed=True)


if __name__ == "__main__":
    sys.exit(main(case, __doc__, Jumpy))
