// client.js - what clients of all eras share: HTTP with everything in the journal, streams, what comes without being asked.
//
// A client is an EventTarget:
//   "notification"  detail: a message without an answer, of any stream
//   "streams"       a stream began, changed or ended: look at .streams
//   "closed"        detail: why the session is over; it was not our wish
//   "trouble"       detail: an Error that belongs to no request of the caller
// and has connect(), request(method, params, {signal, onNotification}), subscribe(uri), unsubscribe(uri), openStream(),
// isListening, setLogLevel(level), close() (modern.js, session.js, oldsse.js). After connect(): revision, server,
// capabilities, instructions.
import { events } from './events.js';

export const ME = { name: 'mcp-fcgi console', version: '1' };
export const VISIT = Symbol('visit a page, then try again'); // what we ask a person on our own account; no server can
const JSON_MAX = 32 << 20; // characters of an answer that is no stream

// The server's error for a request.
export class RpcError extends Error {
  constructor({ code, message, data }, status) {
    super(`${message} (${code})`);
    Object.assign(this, { code, data, status });
  }
}

// An answer of HTTP without the message that was due.
export class HttpError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export class Cancelled extends Error {
  constructor(why = 'Cancelled') {
    super(why);
  }
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// An event stream, or a request that may become one. state: open, dropped (by hand; it can be resumed), ended.
class Stream {
  state = 'open';
  lastEventId = undefined;
  retry_ms = 1000;
  messages = 0;
  resumedAfter = undefined; // the event id with which it was resumed last
  resumedMessages = 0;      // that came since then
  isStream = false;         // an event stream, not a plain answer
  canResume = false;        // by its era; it needs an event id, too
  #controller = new AbortController(); // of its connection
  #over = new AbortController();       // of all its connections
  #wake = () => {};

  constructor(name, title) {
    this.name = name;
    this.title = title;
  }

  get signal() {
    return this.#controller.signal;
  }

  get over() {
    return this.#over.signal;
  }

  // Closes the connection, as a network that fails would.
  drop() {
    this.state = 'dropped';
    this.#controller.abort();
  }

  resume() {
    this.state = 'open';
    this.#controller = new AbortController();
    this.#wake();
  }

  end() {
    this.state = 'ended';
    this.#controller.abort();
    this.#over.abort();
    this.#wake();
  }

  // Until somebody resumes or ends it.
  untilDecided() {
    return new Promise((done) => { this.#wake = done; });
  }
}

export class Client extends EventTarget {
  streams = new Set();
  server = {};
  capabilities = {};
  instructions = '';
  revision = '';
  nextId = 1;
  #gone = new AbortController(); // with what is asked

  // asked(method, params, signal) gives the result of what the server asks us, or what we ask (VISIT); journal: journal.js;
  // mine: the capabilities that we declare.
  constructor({ endpoint, key, mine, journal, asked }) {
    super();
    Object.assign(this, { endpoint, key, mine, journal });
    this.asked = (method, params, ...signals) => asked(method, params, AbortSignal.any([this.#gone.signal, ...signals.filter(Boolean)]));
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  addStream(name, title) {
    const stream = new Stream(name, title);

    this.streams.add(stream);
    return stream;
  }

  endStream(stream) {
    if (!this.streams.delete(stream))
      return;
    stream.end();
    this.tell('streams');
  }

  // All streams, and all questions that somebody has still to answer.
  endAll() {
    for (const stream of [...this.streams])
      this.endStream(stream);
    this.#gone.abort();
  }

  note(stream, direction, what, more) {
    this.journal.add({ direction, stream: stream.name, kind: 'http', what, ...more });
  }

  // One request of HTTP. The key is in no journal.
  async send(stream, method, { url = this.endpoint, headers = {}, message, signal = stream.signal } = {}) {
    const text = message && JSON.stringify(message);
    const detail = Object.entries(headers).map(([name, value]) => `${name}: ${value}`).join('\n');

    if (message)
      this.journal.addMessage('out', stream.name, message, text, { headers: detail });
    else
      this.note(stream, 'out', `${method} ${new URL(url).pathname}`, { headers: detail });
    return fetch(url, { method, body: text, signal, cache: 'no-store', redirect: 'error', headers: {
      ...(message && { 'Content-Type': 'application/json' }), ...headers, ...(this.key && { 'X-API-Key': this.key }) } });
  }

  // The messages of an answer, whether JSON or a stream, and of a stream what they came with: {message, event}.
  async *read(res, stream) {
    const type = (res.headers.get('Content-Type') ?? '').split(';')[0].trim();

    if (type === 'text/event-stream') {
      this.note(stream, 'in', `${res.status} event stream`);
      stream.isStream = true;
      this.tell('streams');
      for await (const event of events(res.body))
        yield* this.#fromEvent(event, stream);
      return;
    }
    const text = await readText(res);
    let message;
    try {
      message = type === 'application/json' && text ? JSON.parse(text) : undefined;
    } catch {
      message = undefined;
    }
    if (message === undefined || message === null || typeof message !== 'object') {
      this.note(stream, 'in', `${res.status} ${res.statusText || ''}`.trim());
      return;
    }
    this.journal.addMessage('in', stream.name, message, text, { status: res.status });
    for (const each of Array.isArray(message) ? message : [message])
      yield { message: each };
  }

  *#fromEvent(event, stream) {
    const more = { eventId: event.id, resumed: stream.resumedAfter !== undefined };

    if (event.id)
      stream.lastEventId = event.id;
    if (event.retry !== undefined)
      stream.retry_ms = event.retry;
    if (event.data && (event.event ?? 'message') === 'message') {
      const message = JSON.parse(event.data); // no JSON: the stream is broken, and its reader says so
      stream.messages++;
      stream.resumedMessages += more.resumed ? 1 : 0;
      this.journal.addMessage('in', stream.name, message, event.data, more);
      for (const each of [message].flat()) // 2025-03-26 has batches
        yield { message: each, event };
    } else {
      this.note(stream, 'in', event.data ? `event ${event.event}: ${event.data}` : event.id ? 'an event id to come back with' : 'how long to wait',
        more);
      if (event.data)
        yield { event };
    }
    this.tell('streams');
  }

  // A request of the server's, which only older eras have (legacy.js).
  answer() {
    this.tell('trouble', new Error('the server sent a request, which this revision does not have'));
  }

  // What is no answer to a request of ours. onNotification: of whose stream this is.
  receive(message, stream, onNotification) {
    if (message?.method === undefined)
      return; // an answer that nobody waits for
    if (message.id !== undefined) {
      this.answer(message, stream); // it takes as long as a person does
      return;
    }
    onNotification?.(message);
    this.tell('notification', message);
  }
}

async function readText(res) {
  const reader = res.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';

  for (let part; reader && !(part = await reader.read()).done;) {
    text += part.value;
    if (text.length > JSON_MAX) {
      await reader.cancel();
      throw new Error('the answer is too large for this console');
    }
  }
  return text;
}

// A message that should be the answer to a request: its result, or the error that it is.
export function resultOf(message, status) {
  if (message.error)
    throw new RpcError(message.error, status);
  return message.result ?? {};
}
