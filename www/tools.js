// tools.js - the panel of tools: a list, a form for each, calls and their answers.
import { announce, el, quoted, shorten, showJson } from './dom.js';
import { makeForm } from './form.js';
import { List } from './list.js';
import { showToolResult } from './content.js';
import { startCall } from './calls.js';
import { follow, taskOf } from './tasks.js';

const HINTS = { readOnlyHint: 'reads only', destructiveHint: 'may destroy', idempotentHint: 'may be repeated', openWorldHint: 'reaches others' };

export class Tools {
  #client = null;
  #drafts = new Map(); // tool: what was typed, while others are looked at

  // read(uri): shows a resource.
  constructor(root, read) {
    this.list = new List('tools', (cursor) => this.#page(cursor), (item) => this.#choose(item?.tool));
    this.detail = el('div', { class: 'detail' });
    this.calls = el('ol', { class: 'calls', 'aria-label': 'Answers' });
    this.read = read;
    root.replaceChildren(this.list.node, el('div', { class: 'work' }, this.detail, this.calls));
  }

  async show(client) {
    if (client !== this.#client)
      this.#drafts.clear();
    this.#client = client;
    if (client?.capabilities.tools)
      await this.list.load('echo');
    else
      this.list.clear();
    if (!client)
      this.calls.replaceChildren();
  }

  async #page(cursor) {
    const { tools = [], nextCursor } = await this.#client.request('tools/list', cursor === undefined ? {} : { cursor });
    const items = tools.map((tool) => ({ key: tool.name, name: tool.name, title: tool.title ?? tool.annotations?.title, tool }));
    return { items, next: nextCursor };
  }

  #choose(tool) {
    if (!tool) {
      this.detail.replaceChildren(el('p', { class: 'note' }, this.#client ? 'This server offers no tools.' : 'Connect to see what there is.'));
      return;
    }
    const key = JSON.stringify(tool);
    if (!this.#drafts.has(key))
      this.#drafts.set(key, this.#makeDetail(tool));
    this.detail.replaceChildren(this.#drafts.get(key));
  }

  #makeDetail(tool) {
    const form = makeForm(tool.inputSchema, undefined);
    const support = tool.execution?.taskSupport;
    const asTask = el('input', { type: 'checkbox', id: 'as-task', checked: support === 'required', disabled: support === 'required' });
    const hints = Object.entries(HINTS).filter(([name]) => tool.annotations?.[name] === true).map(([, text]) => el('span', { class: 'tag' }, text));
    const submit = (event) => {
      event.preventDefault();
      const args = form.read();
      if (args !== undefined)
        this.#call(tool, args, asTask.checked);
    };

    return el('form', { class: 'subject', novalidate: '', 'aria-label': tool.name, onsubmit: submit },
      el('h3', {}, quoted(tool.title ?? tool.name)),
      el('p', { class: 'facts' }, tool.title !== undefined && el('code', {}, quoted(tool.name)), ...hints),
      tool.description && el('p', { class: 'description' }, quoted(shorten(tool.description, 5000))),
      form.node,
      (support === 'optional' || support === 'required') && el('div', { class: 'check' }, asTask, el('label', { for: 'as-task' }, 'Run as a task')),
      el('div', { class: 'buttons' }, el('button', { type: 'submit', class: 'primary' }, `Call ${shorten(tool.name, 60)}`)),
      el('details', {}, el('summary', {}, 'Its schemas'), showJson({ inputSchema: tool.inputSchema, outputSchema: tool.outputSchema })));
  }

  #call(tool, args, asTask) {
    const client = this.#client;

    announce(`Called ${tool.name}`);
    startCall(this.calls, tool.name, async ({ signal, token, onNotification, say }) => {
      const options = { signal, onNotification, onRound: (round) => say(`It asks, round ${round}`) };
      const result = await client.request('tools/call', { name: tool.name, arguments: args, _meta: { progressToken: token },
        ...(asTask && { task: {} }) }, options);
      const task = taskOf(result);
      return task ? follow(client, task, { signal, onNotification, onStatus: (now) => say(`Task ${now.status}`) }) : result;
    }, (result) => showToolResult(result, this.read));
  }
}
