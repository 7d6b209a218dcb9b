// modern.js - a client of 2026-07-28: no session; each request is complete in itself, and its stream is its own.
//
// A server that asks something answers "input_required"; the request is sent again with the answers and the server's state.
// Closing the connection is how a call is cancelled. What changes is told on the stream of subscriptions/listen, which
// can't be resumed: it is asked for anew.
import { Cancelled, Client, HttpError, ME, resultOf, sleep } from './client.js';

export const MODERN = '2026-07-28';
const META = 'io.modelcontextprotocol/';
const ROUNDS_MAX = 20;      // of a request that is sent again
const STATE_ONLY_MS = 250;  // before a round without questions
const ADDRESSED = /^(tools\/call|prompts\/get|resources\/read|tasks\/.*)$/;

export class ModernClient extends Client {
  revision = MODERN;
  #schemas = new Map(); // of tools, by name: their arguments may be repeated in headers
  #watched = new Set();
  #listen = null;       // AbortController
  #logLevel = '';

  async connect() {
    const found = await this.request('server/discover');

    this.server = found._meta?.[`${META}serverInfo`] ?? {};
    this.capabilities = found.capabilities ?? {};
    this.instructions = found.instructions ?? '';
  }

  // The result of a request, after as many rounds as it takes.
  async request(method, params = {}, { signal, onNotification, onRound = () => {} } = {}) {
    let again = {};

    for (let round = 0; round < ROUNDS_MAX; round++) {
      const result = await this.#exchange(method, { ...params, ...again }, signal, onNotification);
      if (method === 'tools/list')
        for (const tool of result.tools ?? [])
          this.#schemas.set(tool.name, tool.inputSchema);
      if (result.resultType !== 'input_required')
        return result;
      const questions = Object.entries(result.inputRequests ?? {});
      if (questions.length === 0)
        await sleep(STATE_ONLY_MS);
      else
        onRound(round + 1);
      again = { ...(questions.length > 0 && { inputResponses: await this.answers(questions, signal) }),
        ...(result.requestState !== undefined && { requestState: result.requestState }) };
    }
    throw new Error(`the server went on asking after ${ROUNDS_MAX} rounds`);
  }

  // What is asked at once is shown at once.
  async answers(questions, signal) {
    const given = await Promise.all(questions.map(async ([key, { method, params }]) => [key, await this.asked(method, params ?? {}, signal)]));
    return Object.fromEntries(given);
  }

  async #exchange(method, params, signal, onNotification) {
    const id = this.nextId++;
    const stream = this.addStream(`#${id}`, method);
    const cancel = () => stream.end();

    if (signal?.aborted)
      throw new Cancelled();
    signal?.addEventListener('abort', cancel);
    try {
      const res = await this.#post(stream, id, method, params);
      for await (const { message } of this.read(res, stream)) {
        const isOurs = message?.id === id || (!res.ok && message?.id === undefined);
        if (message && !message.method && isOurs)
          return resultOf(message, res.status);
        this.receive(message, stream, onNotification);
      }
      throw new HttpError(res.status, `the server answered ${res.status} and no message`);
    } catch (e) {
      if (!stream.signal.aborted)
        throw e;
      this.note(stream, 'out', 'closed the connection, which cancels the request');
      throw new Cancelled();
    } finally {
      signal?.removeEventListener('abort', cancel);
      this.endStream(stream);
    }
  }

  #post(stream, id, method, params) {
    const name = ADDRESSED.test(method) ? params.name ?? params.uri ?? params.taskId : undefined;
    const _meta = {
      [`${META}protocolVersion`]: MODERN,
      [`${META}clientInfo`]: ME,
      [`${META}clientCapabilities`]: this.mine,
      ...(this.#logLevel && { [`${META}logLevel`]: this.#logLevel }),
      ...params._meta,
    };
    return this.send(stream, 'POST', {
      message: { jsonrpc: '2.0', id, method, params: { ...params, _meta } },
      headers: { Accept: 'application/json, text/event-stream', 'MCP-Protocol-Version': MODERN, 'Mcp-Method': method,
        ...(name !== undefined && { 'Mcp-Name': headerValue(name) }),
        ...(method === 'tools/call' && mirrored(this.#schemas.get(name), params.arguments)) },
    });
  }

  async setLogLevel(level) {
    this.#logLevel = level;
  }

  get isListening() {
    return Boolean(this.#listen);
  }

  // The stream of what changes: lists, and the resources in #watched. A change of what is watched is a new stream.
  openStream() {
    const mine = new AbortController();
    const { tools, prompts, resources } = this.capabilities;

    this.#listen?.abort();
    this.#listen = mine;
    const notifications = {
      ...(tools?.listChanged && { toolsListChanged: true }),
      ...(prompts?.listChanged && { promptsListChanged: true }),
      ...(resources?.listChanged && { resourcesListChanged: true }),
      ...(this.#watched.size > 0 && { resourceSubscriptions: [...this.#watched] }),
    };
    this.request('subscriptions/listen', { notifications }, { signal: mine.signal }).catch((e) => {
      if (!(e instanceof Cancelled))
        this.tell('trouble', e);
    }).finally(() => {
      if (this.#listen === mine)
        this.#listen = null;
      this.tell('streams');
    });
  }

  async subscribe(uri) {
    this.#watched.add(uri);
    this.openStream();
  }

  async unsubscribe(uri) {
    this.#watched.delete(uri);
    if (this.#listen)
      this.openStream();
  }

  async close() {
    this.endAll();
  }
}

// A value of Mcp-Name or Mcp-Param-*: what is not visible ASCII is sent as Base64.
function headerValue(value) {
  const text = String(value);

  if (/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(text) && !text.startsWith('=?base64?'))
    return text;
  return `=?base64?${btoa(String.fromCharCode(...new TextEncoder().encode(text)))}?=`;
}

// Arguments that the schema marks are repeated in headers.
function mirrored(schema, args, headers = {}) {
  for (const [name, rule] of Object.entries(schema?.properties ?? {})) {
    const value = args?.[name];
    if (value === undefined || value === null)
      continue;
    if (typeof rule?.['x-mcp-header'] === 'string')
      headers[`Mcp-Param-${rule['x-mcp-header']}`] = headerValue(value);
    else if (typeof value === 'object')
      mirrored(rule, value, headers);
  }
  return headers;
}
