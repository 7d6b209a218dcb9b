// legacy.js - what the eras with sessions share: the handshake, and a server that asks by requests of its own.
import { Client, ME } from './client.js';

export class LegacyClient extends Client {
  async handshake(revision) {
    const result = await this.request('initialize', { protocolVersion: revision, capabilities: this.mine, clientInfo: ME });

    Object.assign(this, { revision: result.protocolVersion, server: result.serverInfo ?? {}, capabilities: result.capabilities ?? {},
      instructions: result.instructions ?? '' });
    await this.notify('notifications/initialized');
  }

  // A question lasts as long as the stream that it came on. That stream may be dropped meanwhile, and resumed.
  async answer({ id, method, params }, stream) {
    let reply;

    try {
      reply = { result: method === 'ping' ? {} : await this.asked(method, params ?? {}, stream.over) };
    } catch (e) {
      if (stream.over.aborted)
        return;
      reply = { error: { code: e.code ?? -32603, message: e.message } };
    }
    try {
      await this.post({ jsonrpc: '2.0', id, ...reply });
    } catch (e) {
      this.tell('trouble', e);
    }
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
    for (const stream of [...this.streams])
      this.endStream(stream);
    this.tell('closed', why);
  }
}
