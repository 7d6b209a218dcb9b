// session.js - a client of 2025-03-26, 2025-06-18 and 2025-11-25: a session over Streamable HTTP.
//
// The answer to a POST is JSON or an event stream. A stream that ends before its answer is gone on with by GET and
// Last-Event-ID: by itself when the server ended it (2025-11-25 lets it), by hand when it was dropped here. The server's own
// messages come on a stream that is opened by GET. A request that can't go on before its user was on some pages (2025-11-25)
// is sent again when somebody says so, or when the server does.
import { Cancelled, HttpError, VISIT, resultOf, sleep } from './client.js';
import { LegacyClient } from './legacy.js';

const RESUMES_MAX = 1000; // of one stream, by itself, without a message in between
const RETRY_MAX_MS = 60000;
const PAGES_FIRST = -32042; // an error
const ROUNDS_MAX = 20; // of a request that is sent again

export class SessionClient extends LegacyClient {
  #session = undefined;
  #own = null; // the stream that was opened by GET
  #pages = new Map(); // elicitationId: AbortController, of those that somebody visits

  connect(revision) {
    return this.handshake(revision);
  }

  get sessionId() {
    return this.#session;
  }

  #headers(accept) {
    return { Accept: accept, ...(this.#session && { 'Mcp-Session-Id': this.#session }),
      ...(this.revision && { 'MCP-Protocol-Version': this.revision }) };
  }

  async #send(stream, message) {
    const res = await this.send(stream, 'POST', { message, headers: this.#headers('application/json, text/event-stream') });

    if (message.method === 'initialize')
      this.#session = res.headers.get('Mcp-Session-Id') ?? undefined;
    else if (res.status === 404 && this.#session)
      this.lost('The server has ended the session.');
    return res;
  }

  // A notification, or what we answer.
  async post(message) {
    const stream = { name: '–' };
    await this.#drain(await this.#send(stream, message), stream);
  }

  async #drain(res, stream) {
    for await (const { message } of this.read(res, stream))
      resultOf(message, res.status);
  }

  async request(method, params = {}, { signal, onNotification, onRound = () => {} } = {}) {
    for (let round = 1; ; round++) {
      try {
        return await this.#exchange(method, params, signal, onNotification);
      } catch (e) {
        const pages = e.code === PAGES_FIRST && round < ROUNDS_MAX ? e.data?.elicitations : undefined;
        if (!Array.isArray(pages) || pages.length === 0)
          throw e;
        onRound(round);
        await this.#visitAll(pages, signal);
      }
    }
  }

  // Who does not want to go to one of them is asked about no other.
  async #visitAll(pages, signal) {
    const over = new AbortController();

    try {
      await Promise.all(pages.map((page) => this.#visit(page ?? {}, over.signal, signal)));
    } finally {
      over.abort();
    }
  }

  // Until a person says that they were there, or the server does.
  async #visit(page, ...signals) {
    const visited = new AbortController();

    this.#pages.set(page.elicitationId, visited);
    try {
      await this.asked(VISIT, page, visited.signal, ...signals);
    } catch (e) {
      if (!visited.signal.aborted)
        throw e;
    } finally {
      this.#pages.delete(page.elicitationId);
    }
  }

  receive(message, stream, onNotification) {
    if (message?.method === 'notifications/elicitation/complete')
      this.#pages.get(message.params?.elicitationId)?.abort();
    super.receive(message, stream, onNotification);
  }

  async #exchange(method, params, signal, onNotification) {
    const id = this.nextId++;
    const stream = this.addStream(`#${id}`, method);
    const cancel = () => {
      this.notify('notifications/cancelled', { requestId: id, reason: 'The user cancelled' })
        .catch((e) => this.tell('trouble', e)).finally(() => this.endStream(stream));
    };

    if (signal?.aborted)
      throw new Cancelled();
    signal?.addEventListener('abort', cancel);
    stream.canResume = true;
    try {
      return await this.#untilAnswer(stream, id, () => this.#send(stream, { jsonrpc: '2.0', id, method, params }), onNotification);
    } catch (e) {
      throw signal?.aborted ? new Cancelled() : e;
    } finally {
      signal?.removeEventListener('abort', cancel);
      this.endStream(stream);
    }
  }

  // Reads a stream, and goes on with it after each end, until the message with that id came; without id, for ever.
  async #untilAnswer(stream, id, open, onNotification) {
    for (let idle = 0; idle < RESUMES_MAX; idle++) {
      const before = stream.messages;

      try {
        const res = await open();
        for await (const { message } of this.read(res, stream)) {
          const isOurs = message?.id === id || (!res.ok && message?.id === undefined);
          if (message && !message.method && isOurs)
            return resultOf(message, res.status);
          this.receive(message, stream, onNotification);
        }
        if (!res.ok || !stream.isStream)
          throw new HttpError(res.status, `the server answered ${res.status} and no message`);
      } catch (e) {
        if (stream.state === 'open')
          throw e;
      }
      await this.#beforeNext(stream);
      open = () => this.#resume(stream);
      if (stream.messages > before)
        idle = 0;
    }
    throw new Error('the server closed the stream again and again');
  }

  // Waits until a stream may be gone on with.
  async #beforeNext(stream) {
    if (stream.state === 'dropped') {
      this.note(stream, 'out', 'dropped the connection');
      this.tell('streams');
      await stream.untilDecided();
    } else if (stream.state === 'open') {
      if (stream.lastEventId === undefined)
        throw new Error('the stream ended, without an event id to come back with');
      this.note(stream, 'in', `the server ended the connection: back in ${stream.retry_ms} ms`);
      await Promise.race([sleep(Math.min(stream.retry_ms, RETRY_MAX_MS)), stream.untilDecided()]);
    }
    if (stream.state === 'ended')
      throw new Cancelled('The stream was closed');
  }

  #resume(stream) {
    stream.resumedAfter = stream.lastEventId ?? '';
    stream.resumedMessages = 0;
    this.tell('streams');
    return this.send(stream, 'GET', { headers: { ...this.#headers('text/event-stream'),
      ...(stream.lastEventId !== undefined && { 'Last-Event-ID': stream.lastEventId }) } });
  }

  get isListening() {
    return Boolean(this.#own);
  }

  // The server's own stream.
  openStream() {
    if (this.#own)
      return;
    const stream = this.#own = this.addStream('GET', "the server's own stream");

    stream.canResume = true;
    this.#untilAnswer(stream, undefined, () => this.send(stream, 'GET', { headers: this.#headers('text/event-stream') }))
      .catch((e) => {
        if (e instanceof Cancelled)
          this.note(stream, 'out', 'closed the stream');
        else
          this.tell('trouble', e);
      })
      .finally(() => {
        this.#own = null;
        this.endStream(stream);
        this.tell('streams');
      });
  }

  async close() {
    this.endAll();
    if (!this.#session)
      return;
    const stream = { name: '–' };
    await this.#drain(await this.send(stream, 'DELETE', { headers: this.#headers('*/*') }), stream);
    this.#session = undefined;
  }
}
