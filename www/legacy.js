// legacy.js - what the eras with sessions share: the handshake, and a server that asks by requests of its own.
import { Client, ME } from './client.js';

export class LegacyClient extends Client {
  #questions = new Map(); // id: AbortController, of what the server asked and nobody answered yet

  async handshake(revision) {
    const result = await this.request('initialize', { protocolVersion: revision, capabilities: this.mine, clientInfo: ME });

    Object.assign(this, { revision: result.protocolVersion, server: result.serverInfo ?? {}, capabilities: result.capabilities ?? {},
      instructions: result.instructions ?? '' });
    await this.notify('notifications/initialized');
  }

  // A question lasts as long as the stream that it came on, or until the server withdraws it. The stream may be dropped
  // meanwhile, and resumed.
  async answer({ id, method, params }, stream) {
    const withdrawn = new AbortController();
    const over = AbortSignal.any([stream.over, withdrawn.signal]);
    let reply;

    this.#questions.set(id, withdrawn);
    try {
      reply = { result: method === 'ping' ? {} : await this.asked(method, params ?? {}, over) };
    } catch (e) {
      if (over.aborted)
        return;
      reply = { error: { code: e.code ?? -32603, message: e.message } };
    } finally {
      this.#questions.delete(id);
    }
    try {
      await this.post({ jsonrpc: '2.0', id, ...reply });
    } catch (e) {
      this.tell('trouble', e);
    }
  }

  receive(message, stream, onNotification) {
    if (message?.method === 'notifications/cancelled')
      this.#questions.get(message.params?.requestId)?.abort();
    super.receive(message, stream, onNotification);
  }

  notify(method, params) {
    return this.post({ jsonrpc: '2.0', method, ...(params && { params }) });
  }

  async subscribe(uri) {
    this.openStream();
    await this.request('resources/subscribe', { uri });
  }

  async unsubscribe(uri) {
    await this.request('resources/unsubscribe', { uri });
  }

  async setLogLevel(level) {
    if (level && this.capabilities.logging)
      await this.request('logging/setLevel', { level });
  }

  lost(why) {
    this.endAll();
    this.tell('closed', why);
  }
}
