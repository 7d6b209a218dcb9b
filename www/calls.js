// calls.js - requests that a person made: how far they are, a way to cancel them, and what came of them. The newest is first.
import { announce, copyButton, el, shorten, showJson } from './dom.js';
import { Cancelled } from './client.js';

const CALLS_MAX = 20; // shown
const LINES_MAX = 200; // of a call's log

let tokens = 0;

// Runs run({signal, token, onNotification, say(text)}), which gives a result, and shows it with show(result): nodes.
export async function startCall(list, title, run, show) {
  const controller = new AbortController();
  const state = el('span', { class: 'state' }, 'Waiting …');
  const cancel = el('button', { type: 'button', class: 'small', onclick: () => controller.abort() }, 'Cancel');
  const progress = el('progress', { 'aria-label': 'Progress of the call', hidden: true });
  const log = el('ol', { class: 'log', 'aria-label': 'Log of the call' });
  const output = el('output', { 'aria-live': 'polite', 'aria-label': `Answer of ${title}` });
  const card = el('li', { class: 'call' },
    el('div', { class: 'head' }, el('strong', {}, el('bdi', {}, shorten(title, 200))), state, cancel), progress, log, output);
  const began = performance.now();
  const token = `console-${++tokens}`;
  const end = (kind, text) => {
    card.classList.add(kind);
    state.textContent = `${text} ${seconds(performance.now() - began)}`;
    announce(`${shorten(title, 200)}: ${state.textContent}`);
  };

  list.prepend(card);
  while (list.children.length > CALLS_MAX)
    list.lastChild.remove();
  try {
    const result = await run({ signal: controller.signal, token, say: (text) => { state.textContent = text; },
      onNotification: (message) => notice(message, { token, progress, state, log }) });
    output.append(...show(result), el('details', {}, el('summary', {}, 'The whole result'), showJson(result),
      copyButton('Copy', () => JSON.stringify(result, null, 2))));
    end(result.isError ? 'bad' : 'good', result.isError ? 'The tool failed after' : 'Done in');
  } catch (e) {
    if (!(e instanceof Cancelled))
      output.append(el('p', { class: 'wrong' }, shorten(e.message, 2000)), ...(e.data === undefined ? [] : [showJson(e.data)]));
    end(e instanceof Cancelled ? 'cancelled' : 'bad', e instanceof Cancelled ? `${e.message} after` : 'Failed after');
  } finally {
    cancel.remove();
    progress.hidden = true;
  }
}

const seconds = (ms) => ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;

function notice({ method, params = {} }, { token, progress, state, log }) {
  if (method === 'notifications/progress' && params.progressToken === token) {
    progress.hidden = false;
    if (Number.isFinite(params.total) && Number.isFinite(params.progress)) {
      progress.max = Math.max(params.total, Number.MIN_VALUE);
      progress.value = params.progress;
    } else {
      progress.removeAttribute('value');
    }
    state.textContent = shorten(params.message ?? `${params.progress}${params.total === undefined ? '' : ` of ${params.total}`}`, 200);
  } else if (method === 'notifications/message') {
    log.append(el('li', {}, el('span', { class: 'tag' }, shorten(params.level ?? 'log', 20)), ' ',
      shorten(typeof params.data === 'string' ? params.data : JSON.stringify(params.data), 1000)));
    while (log.children.length > LINES_MAX)
      log.firstChild.remove();
  }
}
