#!/usr/bin/env python3
"""Watches what clients and a server say to each other, and complains about each message that its revision does not allow.

Messages are validated against tests/schema, by a validator that is not ours; then come the rules of the protocol that a
schema can't tell, as far as they can be seen from outside. tests/mct imports this. As a program it reads from standard
input what tests/clients/lib.mjs recorded, a JSON object a line:

    {"n": 1, "method": "POST", "path": "/mcp", "headers": {"accept": ...}, "body": "..."}     exchange 1: the request
    {"n": 1, "status": 200, "headers": {...}}, {"n": 1, "bytes": "..."}, {"n": 1, "end": true}   and its answer

and prints the complaints. Its exit status is 1 if there are any, 77 without python3-jsonschema."""

import json
import re
import sys
from collections import namedtuple
from functools import lru_cache
from pathlib import Path

try:
    import jsonschema
    from jsonschema.exceptions import best_match
except ImportError:  # nothing can be validated, and whoever uses this must say so
    jsonschema = None

SCHEMAS = Path(__file__).resolve().parent / "schema"
REVISIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"]
NEWEST_LEGACY, MODERN = REVISIONS[-2:]
PREFIX = "io.modelcontextprotocol/"
LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
# What a modern server may say besides JSON-RPC's own codes.
MODERN_ERRORS = {-32020: "HeaderMismatchError", -32021: "MissingRequiredClientCapabilityError",
                 -32022: "UnsupportedProtocolVersionError"}

Event = namedtuple("Event", "name data id retry")  # name None: a comment, its text is in data


class EventReader:
    """Cuts the bytes of an event stream into events and comments."""

    def __init__(self):
        self.text, self.fields = b"", {}

    def feed(self, data):
        self.text += data
        *lines, self.text = self.text.split(b"\n")
        for line in lines:
            line = line.rstrip(b"\r").decode()
            if line.startswith(":"):
                yield Event(None, line[1:], None, None)
            elif line:
                name, _, value = line.partition(":")
                self.fields.setdefault(name, []).append(value.removeprefix(" "))
            elif self.fields:
                fields, self.fields = self.fields, {}
                if fields.keys() - {"event", "data", "id", "retry"}:
                    raise ValueError(f"an event has fields that SSE does not know: {fields}")
                last = {name: values[-1] for name, values in fields.items()}
                yield Event(last.get("event", "message"), "\n".join(fields.get("data", [])), last.get("id"), last.get("retry"))


class Schema:
    """One file of tests/schema."""

    def __init__(self, name):
        doc = json.loads((SCHEMAS / f"{name}.json").read_text())
        self.key = "$defs" if "$defs" in doc else "definitions"
        self.defs = doc[self.key]
        self.head = {"$schema": doc["$schema"], self.key: self.defs}
        # what a form may ask for, an answer may hold, though the generator of the schemas forgot fractions.
        content = self.defs.get("ElicitResult", {}).get("properties", {}).get("content", {}).get("additionalProperties", {})
        for option in [content, *content.get("anyOf", [])]:
            if "integer" in option.get("type", []):
                option["type"] = [*option["type"], "number"]
        self.by_method = {}  # definition of the request or notification
        for each, text in self.defs.items():
            if each.endswith(("Request", "Notification")) and not each.startswith(("Client", "Server")):
                for part in [text, *text.get("allOf", [])]:
                    self.by_method[part.get("properties", {}).get("method", {}).get("const")] = each

    @lru_cache(maxsize=None)
    def validator(self, name):
        whole = {**self.head, "$ref": f"#/{self.key}/{name}"}
        return jsonschema.validators.validator_for(whole)(whole)

    def complain(self, name, value):
        if not jsonschema:
            return []
        error = best_match(self.validator(name).iter_errors(value))
        if not error:
            return []
        where = "".join(f"/{step}" for step in error.absolute_path)
        return [f"not a {name}: at {where or '/'}: {error.message[:300]}"]

    def may_send(self, who, method):
        """Whether Client or Server sends this method."""
        for kind in (self.defs.get(f"{who}Request", {}), self.defs.get(f"{who}Notification", {})):
            names = [option.get("$ref", "").rpartition("/")[2] for option in kind.get("anyOf", [])]
            if self.by_method[method] in names or kind.get("properties", {}).get("method", {}).get("const") == method:
                return True
        return False


@lru_cache(maxsize=None)
def schema(name):
    return Schema(name)


def definition(revision, method):
    """Where a method is defined, and under which name; (None, None) if this revision doesn't know it."""
    for where in (revision, "tasks") if revision == MODERN else (revision,):
        if method in schema(where).by_method:
            return schema(where), schema(where).by_method[method]
    return None, None


def key_of(value):
    return json.dumps(value)


def place_of(event_id):
    """Stream, and place in it: a later start of the broker counts on from what was kept."""
    stream, epoch, seq = event_id.split(".")
    return stream, (int(epoch), int(seq))


def meta_of(message):
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else {}


class Session:
    """What lasts from one exchange to the next; in the modern era each exchange has one of its own."""

    def __init__(self, revision):
        self.revision = revision
        self.is_initialized = False
        self.capabilities = {}  # the server's
        self.requests = {}      # of the client, by id: the message; the latest, where ids come again
        self.asked = {}         # of the server, by id: its method
        self.progress = {}      # the last one of each token in use
        self.events = {}        # by id: the data


class Exchange:
    """A request of HTTP and its answer."""

    def __init__(self, wire, method, path, headers, body, wrong):
        self.wire, self.method, self.path = wire, method, path
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.status, self.body, self.reader, self.last_id = None, b"", None, None
        self.resumed = self.headers.get("last-event-id")
        self.requests = {}  # like the session's, of this POST
        self.asks_initialize = False
        header = self.headers.get("mcp-protocol-version")
        try:
            message = json.loads(body) if body is not None else None
        except ValueError:
            message = None
        self.listen_id = None
        claim = isinstance(message, dict) and PREFIX + "protocolVersion" in meta_of(message)
        self.is_modern = claim or header == MODERN
        query = re.search(r"/messages/?\?(.*)", path)
        if self.is_modern:
            self.session = Session(MODERN)
        elif query or "mcp-session-id" in self.headers:
            name = query[1] if query else self.headers["mcp-session-id"]
            self.session = wire.sessions.setdefault(name, Session(NEWEST_LEGACY))
        else:
            self.session = Session(NEWEST_LEGACY)
        if message is not None:
            self.sent(message, wrong)

    def complain(self, what, about=None):
        shown = json.dumps(about, ensure_ascii=False)[:400] if about is not None else ""
        self.wire.complaints.append(f"{self.method} {self.path}: {what} {shown}".rstrip())

    # ---- what the client says

    def sent(self, body, wrong):
        complaints = []
        for message in body if isinstance(body, list) else [body]:
            if isinstance(message, dict):
                complaints += self.sent_one(message)
            else:
                complaints.append("not an object")
        if isinstance(body, list) and (not body or REVISIONS.index(self.session.revision) > 1):
            complaints.append("no batch of this revision")
        if wrong and not complaints and jsonschema:
            self.complain("said to be wrong, but it is not:", body)
        elif not wrong:
            for each in complaints:
                self.complain(f"the client's message is {each}", body)

    def sent_one(self, message):
        session, method = self.session, message.get("method")
        if method is None and "id" in message:
            asked = session.asked.get(key_of(message["id"]))
            self.requests[key_of(message["id"])] = message  # what is refused comes back with its id
            if asked is None:
                return ["an answer to what nobody asked"]
            return self.check_response(message, asked, session.revision)
        if "id" in message:
            self.requests[key_of(message["id"])] = session.requests[key_of(message["id"])] = message
        if "progressToken" in meta_of(message):
            session.progress[key_of(meta_of(message)["progressToken"])] = None
        if method == "initialize" and not self.is_modern:
            self.asks_initialize = True
            params = message.get("params")
            version = params.get("protocolVersion") if isinstance(params, dict) else None
            session.revision = version if version in REVISIONS[:-1] else NEWEST_LEGACY
        if method == "notifications/initialized":
            session.is_initialized = True
        if method == "subscriptions/listen":
            self.listen_id = message.get("id")
        if not isinstance(method, str):
            return ["not JSON-RPC"]
        where, name = definition(session.revision, method)
        if not where or not (where.may_send("Client", method) or method.startswith("tasks/")):
            return [f"not one of {session.revision}: {method}"]
        return where.complain(name, message)

    # ---- what the server says

    def answer(self, status, headers):
        self.status = status
        headers = {name.lower(): value for name, value in headers.items()}
        self.media = headers.get("content-type", "").split(";")[0]
        if self.media == "text/event-stream":
            self.reader = EventReader()
        if "mcp-session-id" in headers:
            if not self.asks_initialize:
                self.complain("the session header came with what is no answer to initialize")
            self.wire.sessions[headers["mcp-session-id"]] = self.session

    def feed(self, data):
        if not self.reader:
            self.body += data
            return
        try:
            for event in self.reader.feed(data):
                self.event(event)
        except ValueError as why:
            self.complain(f"not an event: {why}")

    def end(self):
        """All of the answer is here."""
        if self.reader or self.media != "application/json" or self.path.rstrip("/").endswith("/health"):
            return
        try:
            body = json.loads(self.body)
        except ValueError:
            self.complain(f"not JSON: {self.body[:200]}")
            return
        for message in body if isinstance(body, list) else [body]:
            self.got(message)

    def event(self, event):
        if event.name is None:
            return
        if event.name == "endpoint":
            self.session = self.wire.sessions.setdefault(event.data.partition("?")[2], Session(NEWEST_LEGACY))
            self.resumed = None  # a new stream, whatever EventSource hoped for
            return
        if event.name != "message":
            self.complain(f"an event of the name {event.name}")
        if self.is_modern and (event.id is not None or event.retry is not None):
            self.complain("a modern stream has an id or a retry", event)
        is_again = self.check_event_id(event) if event.id is not None else False
        if not event.data:
            if event.id is not None and REVISIONS.index(self.session.revision) < 3:
                self.complain(f"an event without data, which clients of {self.session.revision} choke on")
        elif not is_again:
            try:
                message = json.loads(event.data)
            except ValueError:
                self.complain(f"not JSON: {event.data[:200]}")
                return
            if isinstance(message, list):
                self.complain("an array in an event", message)
            else:
                self.got(message)

    def check_event_id(self, event):
        """Ids of a stream grow, and name it; what comes again is what it was. True: it came before."""
        known = self.session.events.setdefault(event.id, event.data)
        is_again = known is not event.data
        if known != event.data:
            self.complain(f"event id came twice, the first time with {known[:200]}", event)
        before = self.last_id or self.resumed
        if before:
            (stream, place), (stream_before, place_before) = place_of(event.id), place_of(before)
            if stream != stream_before or place <= place_before:
                self.complain(f"event id {event.id} after {before}")
        self.last_id = event.id
        return is_again

    def got(self, message):
        if not isinstance(message, dict):
            self.complain("not a message", message)
        elif "method" not in message:
            self.got_response(message)
        elif "id" in message:
            self.got_request(message)
        else:
            self.got_notification(message)

    def got_response(self, message):
        session = self.session
        id_key = key_of(message["id"]) if "id" in message else None
        request = self.requests.get(id_key) or session.requests.get(id_key)
        if "id" in message and request is None:
            self.complain("an answer to what nobody asked", message)
            return
        if "error" not in message and request is None:
            self.complain("a result without an id", message)
            return
        method = request.get("method") if request else None
        if method == "initialize" and "result" in message and not self.is_modern:
            session.revision = message["result"].get("protocolVersion")
            session.capabilities = message["result"].get("capabilities", {})
            if session.revision not in REVISIONS[:-1]:
                self.complain("initialize gives a revision that is not legacy", message)
                session.revision = NEWEST_LEGACY
        for each in self.check_response(message, method, session.revision):
            self.complain(f"the server's answer is {each}", message)
        if request and "task" not in message.get("result", {}) and message.get("result", {}).get("resultType") != "task":
            session.progress.pop(key_of(meta_of(request).get("progressToken")), None)

    def check_response(self, message, method, revision):
        if "error" in message:
            return self.check_error(message, revision)
        name = "JSONRPCResultResponse" if "JSONRPCResultResponse" in schema(revision).defs else "JSONRPCResponse"
        complaints = schema(revision).complain(name, message)
        where, name = definition(revision, method)
        if complaints or not where:
            return complaints or [f"a result of {method}, which {revision} does not know"]
        result = message["result"]
        name = name.removesuffix("Request") + "Result"
        if revision == MODERN:
            where, name = {"input_required": (schema(MODERN), "InputRequiredResult"),
                           "task": (schema("tasks"), "CreateTaskResult")}.get(result.get("resultType"), (where, name))
            if name == "InputRequiredResult" and method not in ("tools/call", "prompts/get", "resources/read"):
                complaints.append("an input_required that no such request may be answered with")
            if name == "InputRequiredResult" and {"ttlMs", "cacheScope"} & result.keys():
                complaints.append("an input_required with caching hints")
            if result.get("_meta", {}).get(PREFIX + "serverInfo", {}).get("name") is None:
                complaints.append("a result that does not name the server")
        elif method == "tools/call" and "task" in result and revision == NEWEST_LEGACY:
            name = "CreateTaskResult"
        if revision != NEWEST_LEGACY and any("execution" in tool for tool in result.get("tools", [])):
            complaints.append("a tool with what only 2025-11-25 knows: execution")
        if revision != NEWEST_LEGACY and "tasks" in result.get("capabilities", {}):
            complaints.append("capabilities of another revision: tasks")
        if name not in where.defs:
            name = "EmptyResult"
            if revision != MODERN and result != {}:
                complaints.append("not empty")
        return complaints + where.complain(name, result)

    def check_error(self, message, revision):
        # Before 2025-11-25 the schema wants an id even where none could be read: A-07.
        where = schema(revision if "id" in message else MODERN)
        name = "JSONRPCErrorResponse" if "JSONRPCErrorResponse" in where.defs else "JSONRPCError"
        complaints = where.complain(name, message)
        code = message["error"].get("code") if isinstance(message["error"], dict) else None
        if not complaints and revision == MODERN and self.is_modern:
            if code in MODERN_ERRORS:
                complaints += where.complain(MODERN_ERRORS[code], message)
            elif -32099 <= code <= -32020:
                complaints.append("an undefined reserved code")
            elif -32019 <= code <= -32000 or code == -32042:
                complaints.append("a code of older revisions")
        return complaints

    def got_request(self, message):
        session = self.session
        if self.is_modern:
            self.complain("a modern server asks nothing", message)
            return
        where, name = definition(session.revision, message["method"])
        if not where or not where.may_send("Server", message["method"]):
            self.complain(f"{session.revision} has no such request", message)
            return
        for each in where.complain(name, message):
            self.complain(f"the server's request is {each}", message)
        if not session.is_initialized and message["method"] != "ping":
            self.complain("a request before notifications/initialized", message)
        if key_of(message["id"]) in session.asked:
            self.complain("an id of ours came twice", message)
        session.asked[key_of(message["id"])] = message["method"]

    def got_notification(self, message):
        session, method = self.session, message["method"]
        where, name = definition(session.revision, method)
        is_task_status = session.revision == MODERN and method == "notifications/tasks"
        if not where or not (where.may_send("Server", method) or is_task_status):
            self.complain(f"{session.revision} has no such notification", message)
            return
        for each in where.complain(name, message):
            self.complain(f"the server's notification is {each}", message)
        params = message.get("params", {})
        if self.is_modern and method == "notifications/cancelled":
            self.complain("a modern server cancels nothing over HTTP", message)
        elif method == "notifications/cancelled" and key_of(params.get("requestId")) not in session.asked:
            self.complain("cancels what it did not ask", message)
        if self.listen_id is not None and meta_of(message).get(PREFIX + "subscriptionId") != self.listen_id:
            self.complain("a notification without its subscription's id", message)
        if method == "notifications/progress":
            self.check_progress(params, message)
        elif method == "notifications/message":
            self.check_log(params, message)

    def check_progress(self, params, message):
        progress, token = self.session.progress, key_of(params.get("progressToken"))
        if token not in progress:
            self.complain("progress of a token that no open request has", message)
        elif progress[token] is not None and params["progress"] <= progress[token]:
            self.complain("progress did not grow", message)
        else:
            progress[token] = params["progress"]

    def check_log(self, params, message):
        if not self.is_modern:
            if "logging" not in self.session.capabilities:
                self.complain("a log without the capability", message)
            return
        wanted = [meta_of(request).get(PREFIX + "logLevel") for request in self.requests.values()]
        if not any(level in LEVELS and LEVELS.index(level) <= LEVELS.index(params["level"]) for level in wanted):
            self.complain("a log that nobody asked for", message)


class Wire:
    """All exchanges with one server."""

    def __init__(self):
        self.complaints = []
        self.sessions = {}  # by session id, or by the query of the HTTP+SSE endpoint

    def send(self, method, path, headers, body=None, wrong=False):
        return Exchange(self, method, path, headers, body, wrong)


def main():
    if not jsonschema:
        return 77
    wire, exchanges = Wire(), {}
    for line in sys.stdin:
        record = json.loads(line)
        n = record["n"]
        if "method" in record:
            exchanges[n] = wire.send(record["method"], record["path"], record["headers"], record.get("body"), record.get("wrong"))
        elif "status" in record:
            exchanges[n].answer(record["status"], record["headers"])
        elif "bytes" in record:
            exchanges[n].feed(record["bytes"].encode())
        else:
            exchanges.pop(n).end()
    print("\n".join(wire.complaints))
    return 1 if wire.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
