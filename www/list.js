// list.js - a list of what a server offers, page by page, with a filter; one of its items is chosen.
import { breakable, el, shorten } from './dom.js';

const ITEMS_MAX = 5000;
const FILTER_FROM = 8; // items

export class List {
  items = [];
  #chosen = undefined;
  #next = undefined; // the cursor of the next page

  // what: plural noun. fetchPage(cursor) gives {items: [{key, name, title}], next}; choose(item).
  constructor(what, fetchPage, choose) {
    Object.assign(this, { what, fetchPage, choose });
    this.filter = el('input', { type: 'search', placeholder: `Filter ${what}`, 'aria-label': `Filter ${what}`, autocomplete: 'off',
      oninput: () => this.#show() });
    this.list = el('ul', { class: 'items', 'aria-label': what });
    this.empty = el('p', { class: 'note' });
    this.more = el('button', { type: 'button', class: 'small', hidden: true, onclick: () => this.#nextPage() }, 'More');
    this.node = el('div', { class: 'list' }, this.filter, this.list, this.empty, this.more);
  }

  // Reads the first page again, and keeps what was chosen if it is still there. preferred: key of what is chosen else.
  async load(preferred) {
    this.#next = undefined;
    const first = await this.fetchPage(undefined);
    this.items = first.items;
    this.#next = first.next;
    const chosen = this.items.find(({ key }) => key === this.#chosen) ?? this.items.find(({ key }) => key === preferred) ?? this.items[0];
    this.#chosen = chosen?.key;
    this.#show();
    this.choose(chosen);
  }

  clear() {
    this.items = [];
    this.#next = this.#chosen = undefined;
    this.filter.value = '';
    this.#show();
    this.choose(undefined);
  }

  async #nextPage() {
    const page = await this.fetchPage(this.#next);
    const before = this.items.length;

    this.items = [...this.items, ...page.items].slice(0, ITEMS_MAX);
    this.#next = this.items.length < ITEMS_MAX ? page.next : undefined;
    this.#show();
    this.list.children[before]?.firstChild.focus();
  }

  #show() {
    const wanted = this.filter.value.trim().toLowerCase();
    const shown = this.items.filter(({ name, title }) => `${name} ${title ?? ''}`.toLowerCase().includes(wanted));

    this.list.replaceChildren(...shown.map((item) => el('li', {}, el('button', { type: 'button', class: 'item',
      ...(item.key === this.#chosen && { 'aria-current': 'true' }), onclick: ({ currentTarget }) => {
        this.#chosen = item.key;
        for (const each of this.list.querySelectorAll('[aria-current]'))
          each.removeAttribute('aria-current');
        currentTarget.setAttribute('aria-current', 'true');
        this.choose(item);
      } }, el('bdi', { class: 'name' }, ...breakable(item.name)), item.title && el('bdi', { class: 'title' }, shorten(item.title, 200))))));
    this.empty.textContent = this.items.length === 0 ? `No ${this.what}.`
      : shown.length === 0 ? `None of ${this.items.length} ${this.what} fits.` : '';
    this.filter.hidden = this.items.length < FILTER_FROM && !wanted;
    this.more.hidden = this.#next === undefined;
  }
}
