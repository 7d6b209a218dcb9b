"""Parts of bench/run: many idle event streams, what each costs, and events that go to one of them or to all. Beside us
the bare writer behind the same web server, and what others have for it."""

import contextlib
import http.client
import resource
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from peers import Nchan, Pushpin
from report import at_least, at_most
from running import Failure, Missing, Program, Serve, bin_with, family, kernel_kb, load, private_kb, run_rounds, tool
from sites import NO_LIMITS, make_echo_site, open_sessions, write_lines

PATIENCE_S = 120
MANY = 1000  # of fewer each has its share of what is there for all
RATE, FAST = 5000, 20000  # events a second that are paced; events that go as fast as they can, in a second or so
FAN_OUT = 50  # events to all, in a second or so
BARE = "bare writer"
PUBLISHERS = 16  # threads, or connections, of those that wait for each event
# An event as bench/target.h has it, with the time that bench/load puts in.
EVENT = '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","at_us":@US@,"data":"a text of a usual length"}}'
# As in a day without events; and the silent ones should not take from the machine what another one is measured with.
QUIET = ["stream_heartbeat_ms=600000"]


class Contender:
    """Somebody who holds streams: a server that runs, and what is asked of it."""

    def __init__(self, name, url, pids, lines, publish, get_ready=lambda: None):
        self.name, self.url, self.pids = name, url, pids
        self.lines, self.publish, self.get_ready = lines, publish, get_ready

    def open(self, until, report, scratch, count):
        """Opens the streams, and reports what each costs."""
        path = Path(scratch, f"streams-{self.name.replace(' ', '-').replace(',', '')}-{count}")
        before = {what: private_kb(family(pids)) for what, pids in self.pids.items()}
        lines = self.lines(count)
        kernel_before = kernel_kb()
        argv = [tool("streams"), "-n", count, "-s", 3600, *(["-f", write_lines(path, lines)] if lines else []), self.url]
        self.holder = until.enter_context(Program(argv, stdin=subprocess.PIPE))
        self.holder.read_word("OPEN", PATIENCE_S)
        time.sleep(min(1, count / MANY))  # what is freed late
        for what, pids in self.pids.items():
            each = (private_kb(family(pids)) - before[what]) * 1024 / count
            report.add("memory", f"{self.name}: {what}", [each], "B a stream", streams=count,
                       goal=at_most(1536) if what == "broker" and count >= MANY else None)
        report.add("memory", f"{self.name}: kernel, both ends", [(kernel_kb() - kernel_before) * 1024 / count], "B a stream",
                   streams=count)
        self.get_ready()

    def deliver(self, rate, events, times=1):
        """Publishes events, each to so many streams, and waits until all are here: figures of bench/streams."""
        expected = events * times
        self.holder.process.stdin.write(f"expect {expected}\n".encode())
        self.holder.process.stdin.flush()
        self.holder.read_word("EXPECTING", PATIENCE_S)
        self.publish(rate, events)
        got, *words = self.holder.read_word("GOT", PATIENCE_S)
        if int(got) != expected:
            raise Failure(f"{got} of {expected} events came")
        return {name: float(value) for name, value in zip(words[::2], words[1::2])}


def of_ours(args, until, name, site, to_all, is_durable, sets):
    """Our own, with the store in memory or on disk; there each event waits for it."""
    up = until.enter_context(Serve(args, site, sets=[*NO_LIMITS, *QUIET, *sets], more=many_streams(args)))
    sessions = Path(up.run_dir, "sessions")

    def lines(count):
        write_lines(sessions, open_sessions(up.url, count))
        return sessions.read_text().splitlines()

    # Who waits for nothing is one thread, for more would only take turns.
    publisher = Program([tool("link_publish"), *(["-d"] if is_durable else []), *(["-a"] if to_all else []), "-t",
                         PUBLISHERS if is_durable or to_all else 1, up.run_dir, sessions], stdin=subprocess.PIPE)

    def get_ready():
        until.enter_context(publisher)
        publisher.read_word("READY", PATIENCE_S)

    def publish(rate, events):
        publisher.process.stdin.write(f"{rate} {events}\n".encode())
        publisher.process.stdin.flush()
        publisher.read_word("DONE", PATIENCE_S)
    open_sessions(up.url, 10)  # it has done everything once
    return Contender(name, up.url, {"broker": up.pids["broker"], "server": up.pids["server"]}, lines, publish, get_ready)


def of_writer(args, until, scratch, to_all):
    up = until.enter_context(Serve(args, make_echo_site(scratch), bin_dir=bin_with(scratch, "writer_fcgi"), more=many_streams(args)))
    at = urlsplit(up.url)

    def publish(rate, events):
        connection = http.client.HTTPConnection(at.hostname, at.port, timeout=PATIENCE_S)
        connection.request("GET", f"{at.path}?bench={rate},{events}{',all' if to_all else ''}")
        connection.getresponse().read()
        connection.close()
    return Contender(BARE, up.url, {"server": up.pids["server"]}, lambda count: [], publish)


def of_peer(until, name, peer, to_all):
    """Streams that each have a channel of their own, or all the same one, to which is published by HTTP."""
    up = until.enter_context(peer)
    streams = []

    def lines(count):
        streams.append(count)
        return [f"X-Channel: bench-{'all' if to_all else 1000000000 + n}" for n in range(count)]

    def publish(rate, events):
        body, headers = up.publication("bench-all" if to_all else "bench-@ID@", EVENT)
        more = ["-n", events, "-w", streams[-1], *(["-r", rate] if rate else [])]
        load(up.publish_url, body, headers, PATIENCE_S, PUBLISHERS, "", more=more)
    return Contender(name, up.streams_url, {"server": [up.pid]}, lines, publish)


def many_streams(args):
    """One lighttpd holds as many streams as a third of its descriptors."""
    return ["--lighttpd-processes", max(2, 3 * max(args.streams) // resource.getrlimit(resource.RLIMIT_NOFILE)[0] + 1)]


def contenders(args, report, until, scratch, to_all):
    site = make_echo_site(scratch, "streams")
    found = [of_writer(args, until, scratch, to_all),
             of_ours(args, until, "mcp-fcgi, memory", site, to_all, False, ["store_kind=memory"]),
             of_ours(args, until, "mcp-fcgi, durable", site, to_all, True, [])]
    for name, peer in (("nchan", Nchan), ("Pushpin", Pushpin)) if args.peers else ():
        try:
            found.append(of_peer(until, name, peer(scratch), to_all))
        except Missing as why:
            report.left_out(why)
        except Failure as why:
            report.problem(f"streams: {why}")
    return found


@contextlib.contextmanager
def opened(args, report, scratch, count, to_all):
    """The contenders with their streams open, those without whom it works."""
    with contextlib.ExitStack() as until:
        report.head(f"memory that no other process shares (USS), of each of {count} idle streams", "streams")
        ready = []
        for each in contenders(args, report, until, scratch, to_all):
            try:
                each.open(until, report, scratch, count)
                ready.append(each)
            except Failure as why:
                report.problem(f"{each.name}, {count} streams: {why}")
        yield ready


def ratios(name, rounds, what, goals):
    """Ours to all the others, with a goal to the bare writer; of the others only to that."""
    kind = name.partition("mcp-fcgi, ")[2]
    others = {of: [each[what] for each in figures] for of, figures in rounds.items()
              if of != name and (of == BARE or kind and "mcp-fcgi" not in of)}
    return {of: (values, goals.get(kind) if of == BARE else None) for of, values in others.items()}


def print_speed(report, part, rounds, **where):
    goals = {"memory": at_least(0.7), "durable": at_least(0.4)}
    for name, figures in rounds.items():
        report.add(part, name, [each["rate"] for each in figures], "events/s", ratios=ratios(name, rounds, "rate", goals), **where)


def unicast(args, report, scratch):
    count, few = max(args.streams), min(args.rounds, 3)
    with opened(args, report, scratch, count, False) as all_of_them:
        paced = run_rounds(args, report, f"{RATE} events a second, {count} streams", {
            each.name: lambda seconds, each=each: each.deliver(RATE, int(RATE * 4 * seconds)) for each in all_of_them}, few)
        fast = run_rounds(args, report, f"events as fast as they go, {count} streams", {
            each.name: lambda seconds, each=each: each.deliver(0, int(FAST * 2 * seconds)) for each in all_of_them}, few)
    report.head(f"{RATE} events a second, each to one of {count} streams: how late they are", "streams", "rate")
    for name, figures in paced.items():
        report.add("unicast", name, [each["p99_us"] for each in figures], "us p99",
                   ratios=ratios(name, paced, "p99_us", {"memory": at_most(2), "durable": at_most(2)}),
                   more={what: [each[what] for each in figures] for what in ("p50_us", "max_us")}, streams=count, rate=RATE)
    report.head(f"events a second, as fast as they go, each to one of {count} streams", "streams")
    print_speed(report, "unicast", fast, streams=count)


def fan_out(args, report, scratch):
    count = min(args.streams)
    with opened(args, report, scratch, count, True) as all_of_them:
        fast = run_rounds(args, report, f"events to all of {count} streams", {
            each.name: lambda seconds, each=each: each.deliver(0, max(1, int(FAN_OUT * 2 * seconds)), count)
            for each in all_of_them}, min(args.rounds, 3))
    report.head(f"events a second, as fast as they go, each to all of {count} streams: what arrives", "streams")
    print_speed(report, "fan-out", fast, streams=count)
