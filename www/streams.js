// streams.js - the streams that are open, and what may be done with each: drop its connection, resume it with Last-Event-ID,
// close it.
import { el, shorten } from './dom.js';

export class Streams {
  #client = null;
  #rows = new Map(); // stream: {row, facts, turn}

  constructor(root) {
    this.list = el('ul', { class: 'streams', 'aria-label': 'Open streams' });
    this.open = el('button', { type: 'button', class: 'small', onclick: () => this.#client.openStream() });
    root.append(el('div', { class: 'tools' }, this.open), this.list);
    this.show(null);
  }

  show(client) {
    this.#client = client;
    client?.addEventListener('streams', () => this.#update());
    this.#update();
  }

  // Rows stay while their streams do: a button must not vanish under the finger.
  #update() {
    const client = this.#client;
    const shown = [...client?.streams ?? []].filter(({ isStream }) => isStream);

    this.open.hidden = !client || client.isListening;
    this.open.textContent = client?.sessionId === undefined ? 'Listen for changes' : "Open the server's stream";
    for (const [stream, { row }] of this.#rows) {
      if (!shown.includes(stream)) {
        row.remove();
        this.#rows.delete(stream);
      }
    }
    for (const stream of shown) {
      if (!this.#rows.has(stream))
        this.#rows.set(stream, this.#makeRow(stream));
      fill(this.#rows.get(stream), stream);
    }
  }

  #makeRow(stream) {
    const { name, title, canResume } = stream;
    const facts = el('span', { class: 'facts' });
    const turn = el('button', { type: 'button', class: 'small', hidden: !canResume, onclick: () => {
      if (stream.state === 'dropped')
        stream.resume();
      else
        stream.drop();
      this.#update();
    } });
    const close = el('button', { type: 'button', class: 'small', 'aria-label': `Close ${name}`,
      onclick: () => this.#client.endStream(stream) }, 'Close');
    const row = el('li', {}, el('strong', {}, name), el('span', { class: 'title' }, title), facts, turn, close);

    this.list.append(row);
    return { row, facts, turn };
  }
}

function fill({ row, facts, turn }, { name, state, lastEventId, messages, resumedAfter, resumedMessages }) {
  row.className = state;
  turn.textContent = state === 'dropped' ? 'Resume' : 'Drop';
  turn.setAttribute('aria-label', `${turn.textContent} ${name}`);
  facts.textContent = [state, `${messages} ${messages === 1 ? 'message' : 'messages'}`,
    lastEventId !== undefined && `last id ${shorten(lastEventId, 60)}`,
    resumedAfter && `resumed after ${shorten(resumedAfter, 60)}: ${resumedMessages} came`].filter(Boolean).join(' · ');
}
