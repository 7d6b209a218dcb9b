// form.js - forms made from JSON Schemas, with the JSON itself as the other way to fill them in.
//
// A form is {node, read()}: read() gives the value, or undefined after it has said what is missing and gone there. Below it
// are editors, {node, read(problems)}: one for each kind of schema; they give undefined for what is left out, and tell
// problems as {control, text}. What an editor can't show (too deep, too many fields, no type) is written as JSON.
import { el, newId, shorten } from './dom.js';
import { Schemas, choicesOf, isRequired, limitsOf, propertiesOf, typeOf, variantsOf } from './schema.js';

const DEPTH_MAX = 6;
const FIELDS_MAX = 200;
const PROPERTIES_MAX = 100; // of an object
const CHOICES_MAX = 1000;
const ITEMS_MAX = 200;
const INPUT_TYPES = { email: 'email', uri: 'url', date: 'date', password: 'password' };

// For an object. initial: its value to begin with; undefined: what the schema has as defaults. what: its heading.
export function makeForm(schema, initial, what = 'Arguments') {
  const node = el('div', { class: 'form' });
  const fields = el('div', { class: 'fields' });
  const text = el('textarea', { id: newId('json'), rows: '8', spellcheck: false, class: 'mono' });
  const wrong = el('p', { class: 'error', id: newId('wrong'), role: 'alert' });
  const json = el('div', { class: 'field', hidden: true }, el('label', { for: text.id }, `${what} as JSON`), text, wrong);
  const mode = newId('mode');
  const [asForm, asJson] = [0, 1].map((i) => el('input', { type: 'radio', name: mode, id: newId('way'), checked: i === 0, onchange: change }));
  let editor;

  function fill(value) {
    editor = objectEditor({ schemas: new Schemas(schema), made: { fields: 0 }, depth: 0 }, schema ?? {}, value);
    fields.replaceChildren(editor.node);
  }

  // {value}, or {error} of what is no JSON.
  function parse() {
    try {
      const value = JSON.parse(text.value || '{}');
      return value !== null && typeof value === 'object' && !Array.isArray(value) ? { value } : { error: 'This is not a JSON object.' };
    } catch (e) {
      return { error: `This is not JSON: ${e.message}` };
    }
  }

  function change() {
    if (asJson.checked) {
      text.value = JSON.stringify(editor.read([]) ?? {}, null, 2);
    } else {
      const { value, error } = parse();
      if (error) {
        asJson.checked = true;
        tell(error);
        return;
      }
      fill(value);
    }
    wrong.textContent = '';
    fields.hidden = asJson.checked;
    json.hidden = !asJson.checked;
  }

  function tell(error) {
    wrong.textContent = error;
    text.setAttribute('aria-invalid', 'true');
    text.setAttribute('aria-describedby', wrong.id);
    text.focus();
  }

  function read() {
    if (asJson.checked) {
      const { value, error } = parse();
      wrong.textContent = '';
      text.removeAttribute('aria-invalid');
      if (error)
        tell(error);
      return value;
    }
    for (const old of fields.querySelectorAll('.error'))
      old.textContent = '';
    for (const old of fields.querySelectorAll('[aria-invalid]'))
      old.removeAttribute('aria-invalid');
    const problems = [];
    const value = editor.read(problems);
    for (const { control, text: why } of problems) {
      control.setAttribute('aria-invalid', 'true');
      control.closest('.field').querySelector('.error').textContent = why;
    }
    problems[0]?.control.focus();
    return problems.length > 0 ? undefined : value ?? {};
  }

  fill(initial);
  node.append(el('fieldset', { class: 'modes' }, el('legend', {}, what),
    ...[[asForm, 'Form'], [asJson, 'JSON']].flatMap(([radio, title]) => [radio, el('label', { for: radio.id }, title)])), fields, json);
  return { node, read };
}

// ---- editors. at: {schemas, made: {fields: how many}, depth}

function makeEditor(at, given, { name, required, initial }) {
  const schema = at.schemas.resolve(given);
  const value = initial === undefined ? schema.default : initial;
  const choices = choicesOf(schema)?.slice(0, CHOICES_MAX);
  const what = { name, required, value, schema };

  if (++at.made.fields > FIELDS_MAX || at.depth > DEPTH_MAX)
    return jsonEditor(what);
  if (choices)
    return choiceEditor(what, choices);
  const variants = variantsOf(schema, at.schemas);
  if (variants)
    return variants.length === 1 ? makeEditor(at, variants[0], { name, required, initial: value }) : variantEditor(at, what, variants);
  switch (typeOf(schema)) {
  case 'object':
    return propertiesOf(schema).length > 0 ? groupEditor(at, what) : jsonEditor(what);
  case 'array':
    return arrayEditor(at, what);
  case 'boolean':
    return required || value !== undefined ? checkEditor(what) : choiceEditor(what, [{ value: true }, { value: false }]);
  case 'integer':
  case 'number':
    return numberEditor(what);
  case 'string':
    return textEditor(what);
  default:
    return jsonEditor(what);
  }
}

function hintFor({ description }, limits) {
  return el('p', { class: 'hint', id: newId('hint') }, typeof description === 'string' && el('bdi', {}, shorten(description, 2000)),
    limits && el('span', { class: 'limits' }, limits));
}

// A control with its label, what it is for, and a place to say what is wrong with it.
function field({ name, required, schema }, control, hintOf = limitsOf) {
  const about = hintFor(schema, hintOf(schema));
  const error = el('p', { class: 'error', id: newId('error') });

  control.id ||= newId('field');
  control.setAttribute('aria-describedby', `${about.id} ${error.id}`);
  if (required && control.tagName !== 'DIV')
    control.setAttribute('aria-required', 'true');
  const label = el('label', { for: control.id }, el('bdi', {}, shorten(schema.title ?? name, 200)));
  const head = [label, schema.title !== undefined && schema.title !== name && el('code', { class: 'name' }, shorten(name, 200)),
    required && el('span', { class: 'tag' }, 'required')];
  return control.type === 'checkbox' ? el('div', { class: 'field check' }, control, ...head, about, error)
    : el('div', { class: 'field' }, el('div', { class: 'head' }, ...head), control, about, error);
}

function textEditor(what) {
  const { schema, required, value } = what;
  const isLong = schema.maxLength > 200 || schema.contentMediaType !== undefined || String(value ?? '').includes('\n');
  const control = isLong ? el('textarea', { rows: '4' })
    : el('input', { type: Object.hasOwn(INPUT_TYPES, schema.format) ? INPUT_TYPES[schema.format] : 'text', autocomplete: 'off', spellcheck: false });

  control.value = value ?? '';
  return { node: field(what, control), control, read(problems) {
    const text = control.value;
    if (text === '') { // who wants to send an empty one writes JSON
      if (required)
        problems.push({ control, text: 'A text is due here.' });
      return undefined;
    }
    if (text.length < schema.minLength)
      problems.push({ control, text: `At least ${schema.minLength} characters.` });
    if (text.length > schema.maxLength)
      problems.push({ control, text: `At most ${schema.maxLength} characters.` });
    if (control.validity.typeMismatch)
      problems.push({ control, text: control.validationMessage });
    return text;
  } };
}

function numberEditor(what) {
  const { schema, required, value } = what;
  const isInteger = typeOf(schema) === 'integer';
  const control = el('input', { type: 'number', step: isInteger ? '1' : 'any', autocomplete: 'off' });

  control.value = value ?? '';
  return { node: field(what, control), read(problems) {
    const number = Number(control.value);
    if (control.value === '') {
      if (required || control.validity.badInput)
        problems.push({ control, text: 'A number is due here.' });
      return undefined;
    }
    if (isInteger && !Number.isInteger(number))
      problems.push({ control, text: 'A whole number is due here.' });
    if (number < schema.minimum)
      problems.push({ control, text: `At least ${schema.minimum}.` });
    if (number > schema.maximum)
      problems.push({ control, text: `At most ${schema.maximum}.` });
    return number;
  } };
}

function checkEditor(what) {
  const control = el('input', { type: 'checkbox', checked: what.value === true });
  return { node: field(what, control, () => ''), read: () => control.checked };
}

const textOf = (value) => typeof value === 'string' ? value : JSON.stringify(value) ?? '';
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

function choiceEditor(what, choices) {
  const { required, value } = what;
  const chosen = choices.findIndex((each) => same(each.value, value));
  const control = el('select', {}, ...(required && chosen >= 0 ? [] : [el('option', { value: '' }, required ? 'Choose …' : 'Not set')]),
    ...choices.map((each, i) => el('option', { value: String(i), selected: i === chosen }, shorten(each.title ?? textOf(each.value), 200))));

  return { node: field(what, control, () => ''), read(problems) {
    if (control.value !== '')
      return choices[Number(control.value)].value;
    if (required)
      problems.push({ control, text: 'Choose one.' });
    return undefined;
  } };
}

function arrayEditor(at, what) {
  const choices = choicesOf(at.schemas.resolve(what.schema.items))?.slice(0, CHOICES_MAX);
  return choices ? setEditor(what, choices) : listEditor(at, what);
}

// Several of a few values.
function setEditor(what, choices) {
  const { required, value, schema } = what;
  const boxes = choices.map((each) => el('input', { type: 'checkbox', id: newId('choice'),
    checked: Array.isArray(value) && value.some((one) => same(one, each.value)) }));
  const node = group(what, limitsOf(schema), ...choices.map((each, i) =>
    el('div', { class: 'check' }, boxes[i], el('label', { for: boxes[i].id }, shorten(each.title ?? textOf(each.value), 200)))));

  return { node, read(problems) {
    const chosen = choices.filter((each, i) => boxes[i].checked).map((each) => each.value);
    if (chosen.length === 0 && !required)
      return undefined;
    checkCount(chosen, schema, boxes[0], problems);
    return chosen;
  } };
}

function checkCount({ length }, { minItems, maxItems }, control, problems) {
  if (length < minItems)
    problems.push({ control, text: `At least ${minItems}.` });
  if (length > maxItems)
    problems.push({ control, text: `At most ${maxItems}.` });
}

// A fieldset with what a field has.
function group({ name, required, schema }, hint, ...children) {
  return el('fieldset', { class: 'field group' },
    el('legend', {}, el('bdi', {}, shorten(schema.title ?? name, 200)), required && el('span', { class: 'tag' }, 'required')),
    hintFor(schema, hint),
    ...children, el('p', { class: 'error' }));
}

function listEditor(at, what) {
  const { name, required, value, schema } = what;
  const depth = at.depth + 1;
  const items = [];
  const list = el('ol', { class: 'items' });
  const add = el('button', { type: 'button', class: 'small', onclick: () => addItem(undefined).querySelector('input, select, textarea')?.focus() },
    `Add to ${shorten(name, 60)}`);

  function addItem(initial) {
    const item = makeEditor({ ...at, depth }, schema.items ?? {}, { name: `${name} ${items.length + 1}`, required: true, initial });
    const remove = () => {
      items.splice(items.indexOf(item), 1);
      row.remove();
      add.disabled = false;
      add.focus();
    };
    const row = el('li', {}, item.node, el('button', { type: 'button', class: 'small', onclick: remove,
      'aria-label': `Remove ${name} ${items.length + 1}` }, 'Remove'));
    items.push(item);
    list.append(row);
    add.disabled = items.length >= ITEMS_MAX;
    return row;
  }

  const first = Array.isArray(value) ? value.slice(0, ITEMS_MAX) : required ? Array(Math.min(Number(schema.minItems) || 0, 10)).fill(undefined) : [];
  first.forEach(addItem);
  return { node: group(what, limitsOf(schema), list, add), read(problems) {
    if (items.length === 0 && !required)
      return undefined;
    const values = items.map((each) => each.read(problems)).filter((each) => each !== undefined);
    checkCount(values, schema, add, problems);
    return values;
  } };
}

// An object within another. One that may be left out is, until its box is checked.
function groupEditor(at, what) {
  const { name, required, value, schema } = what;
  const inner = objectEditor({ ...at, depth: at.depth + 1 }, schema, value);
  if (required)
    return { node: group(what, '', inner.node), read: inner.read };
  const box = el('input', { type: 'checkbox', id: newId('with'), checked: value !== undefined, onchange: show });
  const label = el('label', { for: box.id }, 'Give ', el('bdi', {}, shorten(name, 200)));

  function show() {
    inner.node.hidden = !box.checked;
  }

  show();
  return { node: group(what, '', el('div', { class: 'check' }, box, label), inner.node),
    read: (problems) => box.checked ? inner.read(problems) : undefined };
}

// The fields of an object. What its value has besides is kept.
function objectEditor(at, given, value) {
  const schema = at.schemas.resolve(given);
  const known = propertiesOf(schema).slice(0, PROPERTIES_MAX);
  const values = value !== null && typeof value === 'object' ? value : {};
  const besides = Object.entries(values).filter(([name]) => !known.some(([each]) => each === name));
  const editors = known.map(([name, rule]) => [name, makeEditor(at, rule, {
    name, required: isRequired(schema, name), initial: Object.hasOwn(values, name) ? values[name] : undefined })]);
  const node = el('div', { class: 'object' }, ...editors.map(([, { node: each }]) => each));

  if (known.length === 0)
    node.append(el('p', { class: 'hint' }, 'Nothing to fill in.'));
  // fromEntries() makes members, whatever their names: "__proto__" is one like the others.
  return { node, read: (problems) => Object.fromEntries([...besides, ...editors.map(([name, each]) => [name, each.read(problems)])
    .filter(([, each]) => each !== undefined)]) };
}

function variantEditor(at, what, variants) {
  const { name, required, value, schema } = what;
  const kind = Array.isArray(value) ? 'array' : typeof value;
  const fitting = variants.findIndex((each) => typeOf(each)?.replace('integer', 'number') === kind);
  const place = el('div');
  const choice = el('select', { onchange: show }, ...(required ? [] : [el('option', { value: '' }, 'Not set')]),
    ...variants.map((each, i) => el('option', { value: String(i), selected: value !== undefined && i === fitting },
      shorten((each.title !== schema.title && each.title) || typeOf(each) || `variant ${i + 1}`, 200))));
  let editor = null;

  function show() {
    const chosen = choice.value === '' ? null : variants[Number(choice.value)];
    editor = chosen && makeEditor({ ...at, depth: at.depth + 1 }, chosen, { name: `${name}, value`, required: true,
      initial: chosen === variants[fitting] ? value : undefined });
    place.replaceChildren(...(editor ? [editor.node] : []));
  }

  show();
  return { node: el('div', { class: 'variant' }, field(what, choice, () => ''), place), read: (problems) => editor?.read(problems) };
}

function jsonEditor(what) {
  const { required, value } = what;
  const control = el('textarea', { rows: '2', spellcheck: false, class: 'mono' });

  control.value = value === undefined ? '' : JSON.stringify(value, null, 2);
  return { node: field(what, control, (schema) => `JSON${limitsOf(schema) && `: ${limitsOf(schema)}`}`), read(problems) {
    if (control.value.trim() === '' && !required)
      return undefined;
    try {
      return JSON.parse(control.value);
    } catch (e) {
      problems.push({ control, text: `This is not JSON: ${e.message}` });
      return undefined;
    }
  } };
}
