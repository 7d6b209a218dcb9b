// resources.js - the panel of resources and of templates of them: read, subscribe, and be told when one changes.
import { announce, el, newId, quoted, shorten } from './dom.js';
import { coalesce } from './coalesce.js';
import { List } from './list.js';
import { completeWith } from './complete.js';
import { expand, variablesOf } from './template.js';
import { showResource } from './content.js';
import { startCall } from './calls.js';

export class Resources {
  #client = null;
  #watched = new Map(); // uri: reads it, since it has changed

  constructor(root) {
    this.list = new List('resources', (cursor) => this.#page(cursor), (item) => this.#choose(item));
    this.detail = el('div', { class: 'detail' });
    this.calls = el('ol', { class: 'calls', 'aria-label': 'Contents' });
    root.replaceChildren(this.list.node, el('div', { class: 'work' }, this.detail, this.calls));
  }

  async show(client) {
    if (client !== this.#client)
      this.#watched.clear();
    this.#client = client;
    if (client?.capabilities.resources)
      await this.list.load();
    else
      this.list.clear();
    if (!client)
      this.calls.replaceChildren();
  }

  // Pages of resources; after the last of them those of templates. A cursor is [method, the server's cursor].
  async #page([method, cursor] = ['resources/list']) {
    const page = await this.#client.request(method, cursor === undefined ? {} : { cursor });
    const isList = method === 'resources/list';
    const items = ((isList ? page.resources : page.resourceTemplates) ?? []).map((each) => {
      const uri = isList ? each.uri : each.uriTemplate;
      return { key: `${method} ${uri}`, name: uri, title: each.title ?? each.name, each, isTemplate: !isList };
    });

    if (page.nextCursor !== undefined)
      return { items, next: [method, page.nextCursor] };
    if (!isList)
      return { items };
    const templates = await this.#page(['resources/templates/list']);
    return { items: [...items, ...templates.items], next: templates.next };
  }

  #choose(item) {
    if (!item) {
      this.detail.replaceChildren(el('p', { class: 'note' }, this.#client ? 'This server offers no resources.' : 'Connect to see what there is.'));
      return;
    }
    const { each, isTemplate, name } = item;
    const variables = isTemplate ? variablesOf(name).slice(0, 50) : [];
    const inputs = variables.map(() => el('input', { type: 'text', id: newId('variable'), autocomplete: 'off', spellcheck: false }));
    const values = () => Object.fromEntries(variables.map((variable, i) => [variable, inputs[i].value]));
    const uri = () => isTemplate ? expand(name, values()) : name;
    const preview = el('code', {}, quoted(name));

    for (const input of inputs)
      input.addEventListener('input', () => preview.replaceChildren(quoted(uri())));
    this.detail.replaceChildren(el('form', { class: 'subject', 'aria-label': name, onsubmit: (event) => {
      event.preventDefault();
      this.read(uri());
    } },
    el('h3', {}, quoted(each.title ?? each.name ?? name)),
    el('p', { class: 'facts' }, preview, each.mimeType && el('span', { class: 'tag' }, shorten(each.mimeType, 100)),
      Number.isFinite(each.size) && el('span', { class: 'tag' }, `${each.size} bytes`), isTemplate && el('span', { class: 'tag' }, 'template')),
    each.description && el('p', { class: 'description' }, quoted(shorten(each.description, 5000))),
    ...variables.map((variable, i) => el('div', { class: 'field' }, el('label', { for: inputs[i].id }, shorten(variable, 100)), inputs[i],
      this.#client.capabilities.completions && completeWith(this.#client, inputs[i], { type: 'ref/resource', uri: name }, variable, values))),
    el('div', { class: 'buttons' }, el('button', { type: 'submit', class: 'primary' }, 'Read'),
      this.#client.capabilities.resources.subscribe && this.#watchButton(uri, inputs))));
  }

  #watchButton(uri, inputs) {
    const button = el('button', { type: 'button', onclick: async () => {
      const which = uri();
      const isOn = this.#watched.has(which);
      try {
        await this.#client[isOn ? 'unsubscribe' : 'subscribe'](which);
        if (isOn)
          this.#watched.delete(which);
        else
          this.#watched.set(which, coalesce(() => this.read(which, 'changed: ')));
        announce(isOn ? `No longer watching ${which}` : `Watching ${which}`);
      } catch (e) {
        announce(e.message);
      }
      label();
    } });
    const label = () => { button.textContent = this.#watched.has(uri()) ? 'Unsubscribe' : 'Subscribe'; };

    label();
    for (const input of inputs)
      input.addEventListener('input', label);
    return button;
  }

  // resources/updated: what is watched is read again.
  changed(uri) {
    this.#watched.get(uri)?.();
  }

  read(uri, why = '') {
    const client = this.#client;
    return startCall(this.calls, `${why}${uri}`, ({ signal, onNotification }) =>
      client.request('resources/read', { uri }, { signal, onNotification }), showResource);
  }
}
