// prompts.js - the panel of prompts: their arguments, with completion, and the messages that come of them.
import { el, newId, quoted, shorten } from './dom.js';
import { List } from './list.js';
import { completeWith } from './complete.js';
import { showPrompt } from './content.js';
import { startCall } from './calls.js';

export class Prompts {
  #client = null;

  constructor(root, read) {
    this.list = new List('prompts', (cursor) => this.#page(cursor), (item) => this.#choose(item?.prompt));
    this.detail = el('div', { class: 'detail' });
    this.calls = el('ol', { class: 'calls', 'aria-label': 'Messages of prompts' });
    this.read = read;
    root.replaceChildren(this.list.node, el('div', { class: 'work' }, this.detail, this.calls));
  }

  async show(client) {
    this.#client = client;
    if (client?.capabilities.prompts)
      await this.list.load();
    else
      this.list.clear();
    if (!client)
      this.calls.replaceChildren();
  }

  async #page(cursor) {
    const { prompts = [], nextCursor } = await this.#client.request('prompts/list', cursor === undefined ? {} : { cursor });
    return { next: nextCursor, items: prompts.map((prompt) => ({ key: prompt.name, name: prompt.name, title: prompt.title, prompt })) };
  }

  #choose(prompt) {
    if (!prompt) {
      this.detail.replaceChildren(el('p', { class: 'note' }, this.#client ? 'This server offers no prompts.' : 'Connect to see what there is.'));
      return;
    }
    const client = this.#client;
    const given = (Array.isArray(prompt.arguments) ? prompt.arguments : []).slice(0, 100);
    const inputs = given.map((arg) => el('input', { type: 'text', id: newId('argument'), autocomplete: 'off', required: arg.required === true }));
    const values = () => Object.fromEntries(given.map(({ name }, i) => [name, inputs[i].value]).filter(([, value]) => value !== ''));

    this.detail.replaceChildren(el('form', { class: 'subject', 'aria-label': prompt.name, onsubmit: (event) => {
      event.preventDefault();
      startCall(this.calls, prompt.name, ({ signal, onNotification, say }) =>
        client.request('prompts/get', { name: prompt.name, arguments: values() },
          { signal, onNotification, onRound: (round) => say(`It asks, round ${round}`) }), (result) => showPrompt(result, this.read));
    } },
    el('h3', {}, quoted(prompt.title ?? prompt.name)),
    prompt.title !== undefined && el('p', { class: 'facts' }, el('code', {}, quoted(prompt.name))),
    prompt.description && el('p', { class: 'description' }, quoted(shorten(prompt.description, 5000))),
    ...given.map((arg, i) => el('div', { class: 'field' },
      el('div', { class: 'head' }, el('label', { for: inputs[i].id }, el('bdi', {}, shorten(arg.title ?? arg.name, 100))),
        arg.required === true && el('span', { class: 'tag' }, 'required')),
      inputs[i], client.capabilities.completions && completeWith(client, inputs[i], { type: 'ref/prompt', name: prompt.name }, arg.name, values),
      el('p', { class: 'hint' }, shorten(arg.description ?? '', 1000)))),
    el('div', { class: 'buttons' }, el('button', { type: 'submit', class: 'primary' }, `Get ${shorten(prompt.name, 60)}`))));
  }
}
