// oldsse.js - a client of 2024-11-05: HTTP+SSE. One stream by GET carries all that the server says; its first event names
// the URL to post to. The session ends with that stream, so there is nothing to resume.
import { Cancelled, HttpError, resultOf } from './client.js';
import { LegacyClient } from './legacy.js';

export class OldSseClient extends LegacyClient {
  #stream = this.addStream('SSE', 'all that the server says');
  #waiting = new Map(); // id: {stream, resolve, reject, token, onNotification}
  #postTo = '';
  isListening = true;   // from its beginning

  async connect() {
    const res = await this.send(this.#stream, 'GET', { url: `${this.endpoint}/sse`, headers: { Accept: 'text/event-stream' } });

    if (!res.ok || !res.body)
      throw new HttpError(res.status, `the server answered ${res.status}`);
    await new Promise((ready, failed) => {
      this.#readAll(res, ready).catch(failed).finally(() => {
        failed(new Error('the stream ended without an endpoint'));
        this.#over();
      });
    });
    await this.handshake('2024-11-05');
  }

  async #readAll(res, ready) {
    for await (const { message, event } of this.read(res, this.#stream)) {
      const waiting = message && !message.method && this.#waiting.get(message.id);
      if (event?.event === 'endpoint') {
        const url = new URL(event.data, this.endpoint);
        if (url.origin !== new URL(this.endpoint).origin)
          throw new Error('the server names an endpoint of somebody else');
        this.#postTo = url.href;
        ready();
      } else if (waiting) {
        waiting.resolve(message);
      } else if (message) {
        // All come on one stream, so only progress says whose it is.
        const token = message.params?.progressToken;
        const owner = token !== undefined && [...this.#waiting.values()].find((each) => each.token === token);
        this.receive(message, this.#stream, owner?.onNotification);
      }
    }
  }

  #over() {
    for (const { reject } of this.#waiting.values())
      reject(new Error('the stream ended, and the session with it'));
    if (this.streams.has(this.#stream))
      this.lost('The stream ended, and the session with it.');
  }

  async post(message) {
    const stream = { name: '–' };
    const res = await this.send(stream, 'POST', { url: this.#postTo, message });

    for await (const { message: refusal } of this.read(res, stream))
      resultOf(refusal, res.status);
    if (!res.ok)
      throw new HttpError(res.status, `the server answered ${res.status}`);
  }

  async request(method, params = {}, { signal, onNotification } = {}) {
    const id = this.nextId++;
    const token = params._meta?.progressToken;
    const cancel = () => {
      this.notify('notifications/cancelled', { requestId: id, reason: 'The user cancelled' }).catch((e) => this.tell('trouble', e));
      this.#waiting.get(id)?.reject(new Cancelled());
    };

    if (signal?.aborted)
      throw new Cancelled();
    signal?.addEventListener('abort', cancel);
    try {
      return resultOf(await new Promise((resolve, reject) => {
        this.#waiting.set(id, { resolve, reject, token, onNotification });
        this.post({ jsonrpc: '2.0', id, method, params }).catch(reject);
      }));
    } finally {
      this.#waiting.delete(id);
      signal?.removeEventListener('abort', cancel);
    }
  }

  openStream() {} // it is open

  async close() {
    this.endAll();
  }
}
