// questions.js - what the server asks, answered by hand: its user by a form or on a page (elicitation), its model (sampling),
// its directories (roots). In every era: how question and answer travel is the client's affair.
import { announce, el, link, newId, quoted, shorten, showJson } from './dom.js';
import { Cancelled, VISIT } from './client.js';
import { makeForm } from './form.js';
import { showToolResult } from './content.js';

const USER_REFUSED = -1; // the code that the protocol's examples have for it
const NOT_FOUND = -32601;
const QUESTIONS_MAX = 20; // at once

class Refused extends Error {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

export class Questions {
  #before = null; // where the keyboard was

  constructor(root) {
    this.root = root;
    this.makers = { 'elicitation/create': elicitation, 'sampling/createMessage': sampling, 'roots/list': roots, [VISIT]: visit };
  }

  // The result that a person gives; a refusal or signal rejects.
  ask(method, params, signal) {
    return new Promise((answer, refuse) => {
      if (!Object.hasOwn(this.makers, method))
        throw new Refused('This console can not do that', NOT_FOUND);
      if (this.root.children.length >= QUESTIONS_MAX)
        throw new Refused('Too many questions at once', USER_REFUSED);
      if (signal?.aborted)
        throw new Cancelled();
      const { title, body, buttons } = this.makers[method](params);
      const heading = el('h2', { id: newId('question'), tabIndex: -1 }, title);
      const end = (finish, value) => {
        if (!card.isConnected)
          return; // it is answered
        card.remove();
        this.#leave();
        finish(value);
      };
      const act = (give) => {
        try {
          const value = give();
          if (value !== undefined) // undefined: the form said what is missing
            end(answer, value);
        } catch (e) {
          end(refuse, e);
        }
      };
      const card = el('form', { class: 'question', novalidate: '', 'aria-labelledby': heading.id, onsubmit: (event) => {
        event.preventDefault();
        act(buttons[0].give);
      } }, heading, ...body, el('div', { class: 'buttons' }, ...buttons.map(({ label, give }, i) =>
        i === 0 ? el('button', { type: 'submit', class: 'primary' }, label) : el('button', { type: 'button', onclick: () => act(give) }, label))));

      signal?.addEventListener('abort', () => end(refuse, new Cancelled()), { once: true });
      this.#enter(card, heading);
    });
  }

  // The keyboard goes to the question, unless somebody is typing.
  #enter(card, heading) {
    const at = document.activeElement;

    this.root.append(card);
    this.root.hidden = false;
    announce(`The server asks: ${heading.textContent}`);
    if (this.root.contains(at) || at?.matches('input:not([type=checkbox], [type=radio]), textarea, select'))
      return;
    this.#before ??= at;
    heading.focus();
  }

  #leave() {
    const next = this.root.querySelector('h2');

    this.root.hidden = !next;
    if (next)
      next.focus();
    else if (this.#before?.isConnected)
      this.#before.focus();
    if (!next)
      this.#before = null;
  }
}

const labelled = (text, control) => {
  control.id = newId('answer');
  return el('div', { class: 'field' }, el('label', { for: control.id }, text), control);
};
const raw = (params) => el('details', {}, el('summary', {}, 'The whole question'), showJson(params));

const aboutUser = ({ message }) => el('p', { class: 'description' }, quoted(shorten(message ?? '', 5000)));
const aboutPage = (params) => [aboutUser(params), el('p', {}, link(String(params.url))),
  el('p', { class: 'hint' }, 'The server chose this address: look at it before you go there. It opens in a new tab.')];

// What we ask on our own account, for a server said that it goes on only afterwards.
function visit(params) {
  return { title: 'A page to visit first', body: aboutPage(params), buttons: [{ label: 'I was there: try again', give: () => true },
    { label: 'Cancel', give: () => { throw new Cancelled('The page was not visited'); } }] };
}

function elicitation(params) {
  const others = [{ label: 'Decline', give: () => ({ action: 'decline' }) }, { label: 'Cancel', give: () => ({ action: 'cancel' }) }];

  if (params.mode === 'url')
    return { title: 'A page to visit', body: aboutPage(params),
      buttons: [{ label: 'I agree', give: () => ({ action: 'accept' }) }, ...others] };
  const form = makeForm(params.requestedSchema, undefined, 'Answer');
  return { title: 'A question for the user', body: [aboutUser(params), form.node], buttons: [{ label: 'Accept', give: () => {
    const content = form.read();
    return content && { action: 'accept', content };
  } }, ...others] };
}

function sampling(params) {
  const text = el('textarea', { rows: '4' });
  const model = el('input', { type: 'text', value: 'by-hand', autocomplete: 'off' });
  const messages = (Array.isArray(params.messages) ? params.messages : []).slice(0, 50).map(({ role, content }) => el('div', { class: 'said' },
    el('h4', {}, shorten(role, 40)), ...showToolResult({ content: Array.isArray(content) ? content : [content] }, () => {})));

  return { title: 'A question for the model', body: [
    params.systemPrompt && el('p', { class: 'description' }, quoted(shorten(params.systemPrompt, 5000))), ...messages,
    labelled("The model's answer", text), labelled('Name of the model', model), raw(params)].filter(Boolean),
  buttons: [{ label: 'Answer', give: () => ({ role: 'assistant', model: model.value || 'by-hand', stopReason: 'endTurn',
    content: { type: 'text', text: text.value } }) }, { label: 'Refuse', give: () => { throw new Refused('The user refused', USER_REFUSED); } }] };
}

function roots() {
  const text = el('textarea', { rows: '3', spellcheck: false, class: 'mono', placeholder: 'file:///home/you/project' });

  return { title: 'The directories you work in', body: [labelled('URIs, one a line', text)],
    buttons: [{ label: 'Answer', give: () => ({ roots: text.value.split('\n').map((line) => line.trim()).filter(Boolean).map((uri) => ({ uri })) }) },
      { label: 'Refuse', give: () => { throw new Refused('The user refused', USER_REFUSED); } }] };
}
