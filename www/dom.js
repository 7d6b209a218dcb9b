// dom.js - the only place where elements are made.
//
// What a server sends is hostile. It becomes text nodes and values of fields, never markup: there is no innerHTML in this
// console, and its Content-Security-Policy makes the browser refuse one (require-trusted-types-for). Names of elements and
// properties are ours; only their values may come from outside, and of href and src only what link() and content.js let by.

export const $ = (id) => document.getElementById(id);

// An element. props: "onclick" listens, a string is an attribute, anything else a property. Children that are null,
// undefined or false are left out.
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);

  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function')
      node.addEventListener(name.slice(2), value);
    else if (typeof value === 'string')
      node.setAttribute(name, value);
    else if (value !== undefined)
      node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

let ids = 0;
export const newId = (prefix) => `${prefix}-${++ids}`;

// A text of the server's within a sentence of ours: its direction of writing ends with it.
export const quoted = (text) => el('bdi', {}, shorten(text, 500));
export const shorten = (text, max) => String(text).length > max ? `${String(text).slice(0, max)} …` : String(text);

// A name of many words in one, which may be broken where words meet.
export const breakable = (name) => shorten(name, 200).split(/(?<=[_/.:-])/).flatMap((part, i) => i === 0 ? [part] : [el('wbr'), part]);

// Where a server would like somebody to go. Only http and https become a link; what it says is where it goes.
export function link(address) {
  const url = URL.canParse(address) ? new URL(address) : null;

  if (url?.protocol !== 'https:' && url?.protocol !== 'http:')
    return el('code', {}, quoted(address));
  return el('a', { href: url.href, target: '_blank', rel: 'noopener noreferrer' }, url.href);
}

// Says something to who hears the page, and shows it.
export function announce(text) {
  $('news').textContent = text;
}

const SHOWN_MAX = 100000; // characters of one text; the rest can be copied

// JSON as people read it: indented, its names, texts and other values told apart.
export function showJson(value) {
  const text = JSON.stringify(value, null, 2) ?? 'undefined';
  const shown = text.slice(0, SHOWN_MAX);
  const pre = el('pre', { class: 'json', tabindex: '0', 'aria-label': 'JSON text' });
  let last = 0;

  for (const token of shown.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d[\d.eE+-]*/g)) {
    const kind = !token[1] ? 'value' : token[2] ? 'name' : 'text';
    pre.append(shown.slice(last, token.index), el('span', { class: `json-${kind}` }, token[1] ?? token[0]));
    last = token.index + (token[1] ?? token[0]).length;
  }
  pre.append(shown.slice(last), ...(text.length > SHOWN_MAX ? [rest(text)] : []));
  return pre;
}

export function showText(text) {
  return el('pre', { tabindex: '0', 'aria-label': 'Text' }, text.slice(0, SHOWN_MAX), text.length > SHOWN_MAX && rest(text));
}

const rest = (text) => el('span', { class: 'note' }, `\n… and ${text.length - SHOWN_MAX} characters more: copy it to see them`);

export function copyButton(label, text) {
  return el('button', { type: 'button', class: 'small', onclick: async ({ currentTarget: button }) => {
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = 'Copied';
    } catch {
      button.textContent = 'Not allowed here';
    }
    setTimeout(() => { button.textContent = before; }, 1500);
  } }, label);
}
