// timeline.js - the journal on the page: a row for each message, which opens to show it. Rows are made once; JSON is laid out
// when a row is opened. The list is one stop for the Tab key: arrows, Home and End go from row to row.
import { copyButton, el, showJson, shorten } from './dom.js';

const KINDS = { '': 'Everything', request: 'Requests', answer: 'Answers', error: 'Errors', notification: 'Notifications',
  log: 'Log messages', http: 'HTTP and streams' };

export class Timeline {
  #rows = new Map(); // entry: row
  #current = null;   // where the Tab key comes in
  #follows = true;   // what comes last is shown, until somebody looks at something else
  #top = 0;          // where the list was scrolled to

  constructor(root, journal) {
    this.journal = journal;
    this.kind = el('select', { 'aria-label': 'Kind of message', onchange: () => this.#refilter() },
      ...Object.entries(KINDS).map(([value, text]) => el('option', { value }, text)));
    this.search = el('input', { type: 'search', placeholder: 'Filter messages', 'aria-label': 'Filter messages', autocomplete: 'off',
      oninput: () => this.#refilter() });
    this.count = el('p', { class: 'note count' });
    this.list = el('ol', { class: 'rows', 'aria-label': 'Messages', onkeydown: (event) => this.#onKey(event), onscroll: () => this.#onScroll(),
      onfocusin: ({ target }) => target.matches('summary') && this.#setCurrent(target) });
    this.list.addEventListener('toggle', () => { this.#follows = this.#isAtEnd(); }, true);
    new ResizeObserver(() => this.#follow()).observe(this.list);
    const clear = el('button', { type: 'button', class: 'small', onclick: () => this.#clear() }, 'Clear');
    root.append(el('div', { class: 'tools' }, this.kind, this.search, clear), this.count, this.list);
    journal.onAdd = (entry) => this.#add(entry);
    journal.onForget = (entry) => this.#forget(entry);
    this.#tellCount();
  }

  #add(entry) {
    const row = makeRow(entry);

    this.#rows.set(entry, row);
    row.hidden = !this.#fits(entry);
    this.list.append(row);
    if (!this.#current)
      this.#setCurrent(row.querySelector('summary'));
    this.#follow();
    this.#tellCount();
  }

  #follow() {
    if (this.#follows)
      this.list.scrollTop = this.list.scrollHeight;
  }

  #isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.list;
    return scrollHeight - scrollTop - clientHeight < 40;
  }

  // Only a person scrolls back; that the list became smaller says nothing.
  #onScroll() {
    const { scrollTop } = this.list;

    if (scrollTop < this.#top || this.#isAtEnd())
      this.#follows = this.#isAtEnd();
    this.#top = scrollTop;
  }

  #forget(entry) {
    const row = this.#rows.get(entry);

    this.#rows.delete(entry);
    if (row.contains(this.#current)) {
      this.#current = null;
      const next = row.nextElementSibling?.querySelector('summary');
      if (next)
        this.#setCurrent(next);
    }
    row.remove();
  }

  #clear() {
    this.journal.clear();
    this.#tellCount();
  }

  #fits(entry) {
    const wanted = this.search.value.trim().toLowerCase();
    const { kind, what, stream, detail = '', eventId = '', text = '' } = entry;

    return (!this.kind.value || kind === this.kind.value)
      && (!wanted || [what, stream, detail, eventId, text].some((each) => each.toLowerCase().includes(wanted)));
  }

  #refilter() {
    for (const [entry, row] of this.#rows)
      row.hidden = !this.#fits(entry);
    const first = this.list.querySelector('li:not([hidden]) summary');
    if (first && this.#current.closest('li').hidden)
      this.#setCurrent(first);
    this.#tellCount();
  }

  #tellCount() {
    const { entries, forgotten } = this.journal;
    const shown = entries.filter((entry) => !this.#rows.get(entry)?.hidden).length;

    this.count.textContent = entries.length === 0 ? 'Nothing yet.'
      : `${shown === entries.length ? '' : `${shown} of `}${entries.length} rows${forgotten > 0 ? `; ${forgotten} older ones forgotten` : ''}`;
  }

  #setCurrent(summary) {
    if (this.#current)
      this.#current.tabIndex = -1;
    this.#current = summary;
    summary.tabIndex = 0;
  }

  #onKey(event) {
    const rows = [...this.list.querySelectorAll('li:not([hidden]) summary')];
    const at = rows.indexOf(event.target);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];

    if (at < 0 || to === undefined)
      return;
    event.preventDefault();
    rows[Math.min(Math.max(to, 0), rows.length - 1)].focus();
  }
}

const clock = (at) => `${at.toLocaleTimeString('en-GB')}.${String(at.getMilliseconds()).padStart(3, '0')}`;
const size = (chars) => chars < 1000 ? `${chars}` : chars < 1e6 ? `${(chars / 1000).toFixed(1)}k` : `${(chars / 1e6).toFixed(1)}M`;

function makeRow(entry) {
  const { at, direction, stream, kind, what, detail, eventId, resumed, status, text } = entry;
  const isOut = direction === 'out';
  const details = el('details', { ontoggle: () => {
    if (details.open && details.children.length === 1)
      details.append(makeBody(entry));
    if (details.open)
      details.scrollIntoView({ block: 'nearest' });
  } }, el('summary', { tabIndex: -1 },
    el('span', { class: 'time' }, clock(at)),
    el('span', { class: 'arrow', role: 'img', 'aria-label': isOut ? 'sent' : 'received' }, isOut ? '→' : '←'),
    el('span', { class: 'stream' }, stream),
    el('span', { class: 'what' }, el('bdi', {}, shorten(what, 300)), detail && el('bdi', { class: 'detail' }, shorten(detail, 200))),
    el('span', { class: 'more' }, status !== undefined && status !== 200 && el('span', { class: 'tag' }, String(status)),
      resumed && el('span', { class: 'tag' }, 'resumed'), text !== undefined && el('span', { class: 'size' }, size(text.length)))));

  return el('li', { class: `${direction} ${kind}` }, details, eventId !== undefined && el('p', { class: 'event-id' }, `id ${shorten(eventId, 100)}`));
}

function makeBody({ headers, text, eventId, n, what }) {
  const body = el('div', { class: 'body' });

  if (headers)
    body.append(el('pre', { class: 'headers', tabindex: '0', 'aria-label': 'Headers' }, headers));
  if (eventId !== undefined)
    body.append(el('p', { class: 'note' }, `Event id ${shorten(eventId, 500)}`));
  if (text !== undefined)
    body.append(showJson(JSON.parse(text)), copyButton('Copy', () => text));
  else
    body.append(el('p', { class: 'note' }, `Row ${n}: ${shorten(what, 2000)}`));
  return body;
}
