#!/usr/bin/env node
// The console of www/ in a real browser: every era, forms, questions answered by hand, streams dropped and resumed, the
// keyboard alone, and a server that means ill. Behind lighttpd and Apache, by the files of conf/; nginx has to send the same headers.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FIXTURE, copyOf, done, eachServer, servers, skipAll, test } from '../clients/lib.mjs';
import { open } from './lib.mjs';

const SLOW_MS = 120000; // for what takes seconds, on a machine that has much else to do
const HEADERS = { 'content-security-policy': "frame-ancestors 'none'", 'x-content-type-options': 'nosniff', 'cache-control': 'no-cache',
  'cross-origin-opener-policy': 'same-origin', 'cross-origin-resource-policy': 'same-origin' };
const ERAS = ['2026-07-28', '2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05'];

if (process.env.MCP_TEST_URL)
  skipAll('the console is tested with a web server of its own');

// The fixture, with a tool whose arguments are of every kind: it answers with what it was given.
const EVERYTHING = {
  exec: ['/bin/cat'],
  description: 'Answers with its arguments',
  input: {
    type: 'object',
    $defs: { place: { type: 'object', properties: { street: { type: 'string' }, number: { type: 'integer' } }, required: ['street'] } },
    properties: {
      name: { type: 'string', description: 'Of a person', minLength: 2 },
      ratio: { type: 'number', minimum: 0, maximum: 1 },
      count: { type: 'integer', default: 3 },
      loud: { type: 'boolean', default: false },
      color: { enum: ['red', 'green'] },
      home: { $ref: '#/$defs/place' },
      work: { $ref: '#/$defs/place' },
      tags: { type: 'array', items: { type: 'string' } },
      days: { type: 'array', items: { enum: ['mon', 'tue', 'wed'] }, uniqueItems: true },
      either: { anyOf: [{ type: 'string' }, { type: 'integer' }] },
      anything: {},
    },
    required: ['name', 'color', 'home'],
  },
};

function makeSite() {
  const site = copyOf(FIXTURE);
  const conf = join(site, 'mcp.json');
  const text = readFileSync(conf, 'utf8');
  const changed = text.replace('"tools": {', `"tools": { "everything": ${JSON.stringify(EVERYTHING)},`);

  assert.notEqual(changed, text);
  writeFileSync(conf, changed);
  return site;
}

const check = (name, fn) => test(name, fn, SLOW_MS);

// What one does with the console, by the names that everybody finds things by.
function hands(page) {
  const press = (name, within = page) => within.getByRole('button', { name, exact: true }).click();
  const timeline = page.getByLabel('Messages', { exact: true });
  const calls = page.locator('#tools-panel').getByLabel('Answers', { exact: true });

  return {
    press,
    calls,
    tab: (name) => page.getByRole('tab', { name, exact: true }).click(),
    says: (hasText) => page.locator('#state').filter({ hasText }).waitFor(),
    row: (hasText) => timeline.getByRole('listitem').filter({ hasText }),
    shown: (hasText, n = 0) => timeline.getByRole('listitem').filter({ hasText }).nth(n).waitFor(),
    question: (name) => page.getByRole('form', { name, exact: true }).first(),
    choose: async (tool) => {
      await page.locator('#tools-panel').getByRole('button', { name: tool, exact: true }).click();
      return page.getByRole('form', { name: tool, exact: true });
    },
    answer: (tool, hasText) => calls.getByLabel(`Answer of ${tool}`, { exact: true }).first().filter({ hasText }).waitFor(),
    state: (hasText) => calls.locator('.state').first().filter({ hasText }).waitFor(),
    connect: async (revision) => {
      await page.getByLabel('Revision').selectOption(revision);
      await page.locator('#connect').click();
      await page.locator('#state').filter({ hasText: /^Ready/ }).filter({ hasText: revision }).waitFor();
    },
  };
}

// Behind the second web server those that differ most: the streams are what may go wrong there.
const erasOf = (server) => server === 'lighttpd' ? ERAS : ['2026-07-28', '2025-11-25', '2024-11-05'];

async function everyEra(page, server) {
  for (const era of erasOf(server)) {
    const it = { page, era, step: (what, fn) => check(`${server}: ${era}: ${what}`, fn), ...hands(page) };
    const hasSession = era !== '2026-07-28';
    const differs = era !== '2025-06-18' && era !== '2025-03-26'; // from 2025-11-25, in what else a console does

    await it.step('connects', () => it.connect(era));
    await call(it);
    if (era >= '2025-06-18') // elicitation is that old
      await answerForms(it);
    if (differs) {
      await cancel(it, hasSession);
      await readAndGet(it, hasSession);
    }
    if (hasSession && era !== '2024-11-05')
      await dropAndResume(it);
    if (era === '2025-11-25')
      await comeBack(it);
    if (era >= '2025-11-25')
      await runTask(it, hasSession);
    await it.step('disconnects', async () => {
      await it.press('Disconnect');
      await it.says('Not connected');
      await it.press('Clear');
    });
  }
}

async function call(it) {
  const { step, press, page, choose, answer, state, shown, question } = it;

  await step('calls a tool, and shows its progress and its log', async () => {
    await page.getByLabel('Log level').selectOption('debug');
    await choose('test_tool_with_logging');
    await press('Call test_tool_with_logging');
    await answer('test_tool_with_logging', 'done');
    await shown('info: Tool execution completed');
    const form = await choose('test_ticks');
    await form.getByLabel('ms', { exact: true }).fill('300');
    await form.getByLabel('steps', { exact: true }).fill('3');
    await press('Call test_ticks');
    await answer('test_ticks', 'done');
    await state(/^Done/);
    await shown('notifications/progress', 2);
  });
  await step('answers for the model, by hand', async () => {
    const form = await choose('test_sampling');
    await form.getByLabel('prompt', { exact: true }).fill('Say <b>hi</b>');
    await press('Call test_sampling');
    await question('A question for the model').getByText('Say <b>hi</b>').first().waitFor();
    await question('A question for the model').getByLabel("The model's answer").fill('re: "hi"');
    await press('Answer', question('A question for the model'));
    await answer('test_sampling', 'LLM response: re: "hi"');
  });
  await step('names roots, by hand', async () => {
    await choose('test_input_required_result_list_roots');
    await press('Call test_input_required_result_list_roots');
    await question('The directories you work in').getByLabel('URIs, one a line').fill('file:///a\nfile:///b');
    await press('Answer', question('The directories you work in'));
    await answer('test_input_required_result_list_roots', '2 roots: file:///a, file:///b');
  });
}

async function answerForms(it) {
  const { step, press, choose, answer, question } = it;

  await step('answers for the user, by a form that checks, and says no', async () => {
    const form = await choose('test_elicitation');
    for (const action of ['accept', 'decline']) {
      await form.getByLabel('message', { exact: true }).fill('Who are you?');
      await press('Call test_elicitation');
      const asked = question('A question for the user');
      await asked.getByText('Who are you?').waitFor();
      if (action === 'accept') {
        await press('Accept', asked);
        await asked.getByText('A text is due here.').first().waitFor();
        await asked.getByLabel(/user/i).fill('anna');
        await asked.getByLabel(/mail/i).fill('anna@example.org');
      }
      await press(action === 'accept' ? 'Accept' : 'Decline', asked);
      await answer('test_elicitation', `action=${action}`);
    }
  });
}

async function cancel(it, hasSession) {
  const { step, press, choose, calls, state, shown } = it;

  await step('cancels a call', async () => {
    const form = await choose('test_ticks');
    await form.getByLabel('ms', { exact: true }).fill('60000');
    await form.getByLabel('steps', { exact: true }).fill('600');
    await press('Call test_ticks');
    await calls.getByLabel('Progress of the call').first().waitFor();
    await press('Cancel', calls.getByRole('listitem').first());
    await state(/^Cancelled/);
    await shown(hasSession ? 'notifications/cancelled' : 'closed the connection');
  });
}

async function readAndGet(it, hasSession) {
  const { step, press, page, tab, choose, shown, era } = it;

  await step('reads a resource, and hears when one changes', async () => {
    await tab('Resources');
    await page.getByRole('button', { name: /^test:\/\/static-text/ }).click();
    await press('Read');
    await page.getByLabel('Answer of test://static-text').first().filter({ hasText: 'content of the static text' }).waitFor();
    await page.getByRole('button', { name: /^test:\/\/watched-resource/ }).click();
    await press('Subscribe');
    await page.getByRole('button', { name: 'Unsubscribe' }).waitFor();
    if (!hasSession)
      await shown('notifications/subscriptions/acknowledged');
    await tab('Tools');
    await (await choose('test_trigger_resource_update')).getByLabel('uri', { exact: true }).fill('test://watched-resource');
    await press('Call test_trigger_resource_update');
    await shown('notifications/resources/updated');
    await tab('Resources');
    await page.getByLabel('Answer of changed: test://watched-resource').first().filter({ hasText: 'may be subscribed' }).waitFor();
  });
  await step('reads what a template makes, with completion; gets a prompt', async () => {
    await page.getByRole('button', { name: /^test:\/\/template/ }).click();
    await page.getByLabel('id', { exact: true }).fill('a b');
    await press('Read');
    await page.getByLabel('Answer of test://template/a%20b/data').first().filter({ hasText: '"id": "a b"' }).waitFor();
    await tab('Prompts');
    await page.locator('#prompts-panel').getByRole('button', { name: 'test_prompt_with_arguments', exact: true }).click();
    await page.getByLabel('arg1', { exact: true }).fill('te');
    if (era !== '2024-11-05') // where completion is no capability yet
      await page.locator('#prompts-panel datalist option[value="test two"]').first().waitFor({ state: 'attached' });
    await page.getByLabel('arg2', { exact: true }).fill('<i>');
    await press('Get test_prompt_with_arguments');
    await page.getByLabel('Answer of test_prompt_with_arguments').first().filter({ hasText: "arg1='te', arg2='<i>'" }).waitFor();
    await tab('Tools');
  });
}

async function dropAndResume(it) {
  const { step, press, page, choose, answer, calls, state, shown, row, era } = it;

  await step('drops the stream of a call, resumes it, and shows what was resumed', async () => {
    const toItsEnd = era === '2025-11-25'; // the others are cancelled, which takes less time
    const form = await choose('test_ticks');
    await form.getByLabel('ms', { exact: true }).fill(toItsEnd ? '10000' : '60000');
    await form.getByLabel('steps', { exact: true }).fill(toItsEnd ? '100' : '600');
    await press('Call test_ticks');
    await calls.getByLabel('Progress of the call').first().waitFor();
    const [drop, resume] = ['Drop', 'Resume'].map((what) => page.getByRole('button', { name: new RegExp(`^${what} #`) }));
    await drop.click();
    await shown('dropped the connection');
    const before = await row('notifications/progress').count();
    await page.waitForTimeout(300); // what is missed meanwhile
    assert.equal(await row('notifications/progress').count(), before);
    await resume.click();
    await row('resumed').filter({ hasText: 'notifications/progress' }).nth(2).waitFor();
    if (toItsEnd) {
      await answer('test_ticks', 'done');
    } else {
      await press('Cancel', calls.getByRole('listitem').first());
      await state(/^Cancelled/);
    }
  });
}

async function comeBack(it) {
  const { step, press, page, choose, answer, shown } = it;

  await step('comes back by itself to a stream that the server closes', async () => {
    await choose('test_reconnection');
    await press('Call test_reconnection');
    await answer('test_reconnection', 'Reconnection test completed');
    await shown('the server ended the connection');
  });
  await step("drops the server's own stream, and resumes it", async () => {
    await press('Drop GET');
    await press('Resume GET');
    await page.getByRole('list', { name: 'Open streams' }).getByText('open').first().waitFor();
    await press('Close GET');
    await page.getByRole('button', { name: "Open the server's stream" }).waitFor();
  });
}

async function runTask(it, hasSession) {
  const { step, press, choose, answer, question, shown } = it;

  await step('runs a tool as a task', async () => {
    const form = await choose('confirm_delete');
    await form.getByLabel('filename', { exact: true }).fill('a.txt');
    if (hasSession)
      await form.getByLabel('Run as a task').check();
    await press('Call confirm_delete');
    await question('A question for the user').getByLabel(/confirm/i).check();
    await press('Accept', question('A question for the user'));
    await answer('confirm_delete', 'deleted a.txt');
    await shown('tasks/get');
  });
}

async function forms(page, server) {
  const { press, choose, answer, connect } = hands(page);
  const step = (what, fn) => check(`${server}: forms: ${what}`, fn);
  const given = () => page.locator('#tools-panel').getByLabel('Answer of everything').first();
  let form;

  await step('a field for each argument, each with its kind', async () => {
    await connect(ERAS[0]);
    form = await choose('everything');
    assert.equal(await form.getByLabel('count', { exact: true }).inputValue(), '3');
    assert.equal(await form.getByLabel('ratio', { exact: true }).getAttribute('type'), 'number');
    assert.equal(await form.getByLabel('name', { exact: true }).getAttribute('aria-required'), 'true');
    await form.getByText('Of a person', { exact: true }).waitFor();
  });
  await step('what is missing or wrong is said where it is, and nothing is sent', async () => {
    await form.getByLabel('ratio', { exact: true }).fill('2');
    await press('Call everything');
    await form.getByText('A text is due here.').first().waitFor();
    await form.getByText('At most 1.').waitFor();
    await form.getByText('Choose one.').waitFor();
    assert.equal(await form.getByLabel('name', { exact: true }).evaluate((node) => node === document.activeElement), true);
    assert.equal(await given().count(), 0);
  });
  const want = { name: 'Ann', ratio: 0.5, count: 3, loud: true, color: 'green', home: { street: 'Lane', number: 7 }, tags: ['a', 'c'],
    days: ['mon', 'wed'], either: 12, anything: { x: [null] } };
  await step('what is filled in is what is sent', async () => {
    await form.getByLabel('name', { exact: true }).fill('Ann');
    await form.getByLabel('ratio', { exact: true }).fill('0.5');
    await form.getByLabel('loud', { exact: true }).check();
    await form.getByLabel('color', { exact: true }).selectOption('green');
    await form.getByRole('group', { name: /^home/ }).getByLabel('street', { exact: true }).fill('Lane');
    await form.getByRole('group', { name: /^home/ }).getByLabel('number', { exact: true }).fill('7');
    for (const [i, tag] of ['a', 'b', 'c'].entries()) {
      await press('Add to tags', form);
      await form.getByLabel(`tags ${i + 1}`, { exact: true }).fill(tag);
    }
    await press('Remove tags 2', form);
    await form.getByLabel('mon', { exact: true }).check();
    await form.getByLabel('wed', { exact: true }).check();
    await form.getByLabel('either', { exact: true }).selectOption('integer');
    await form.getByLabel('either, value', { exact: true }).fill('12');
    await form.getByLabel('anything', { exact: true }).fill('{"x": [null]}');
    await press('Call everything');
    await answer('everything', 'Lane');
    assert.deepEqual(JSON.parse(await given().locator('pre').first().textContent()), want);
  });
  await step('the same as JSON, and back', async () => {
    await form.getByLabel('JSON', { exact: true }).check();
    assert.deepEqual(JSON.parse(await form.getByLabel('Arguments as JSON').inputValue()), want);
    await form.getByLabel('Arguments as JSON').fill('{"name": ');
    await press('Call everything');
    await form.getByRole('alert').filter({ hasText: 'This is not JSON' }).waitFor();
    await form.getByLabel('Arguments as JSON').fill(JSON.stringify({ ...want, work: { street: 'Road' }, extra: 1 }));
    await form.getByLabel('Form', { exact: true }).check();
    assert.equal(await form.getByRole('group', { name: /^work/ }).getByLabel('street', { exact: true }).inputValue(), 'Road');
    await press('Call everything');
    await answer('everything', 'Road');
    assert.deepEqual(JSON.parse(await given().locator('pre').first().textContent()), { ...want, work: { street: 'Road' }, extra: 1 });
  });
}

// From the address bar to the answer of a tool, its question and the timeline, without a mouse.
async function keyboard(page, up, server) {
  const at = () => page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim());
  const goTo = async (name) => {
    for (let n = 0; n < 100; n++) {
      await page.keyboard.press('Tab');
      if (await page.evaluate((wanted) => {
        const { activeElement: node } = document;
        return [node.getAttribute('aria-label'), node.labels?.[0]?.textContent, node.textContent.trim()].includes(wanted);
      }, name))
        return;
    }
    assert.fail(`no ${name} in 100 Tabs`);
  };
  const type = (text) => page.keyboard.type(text);
  const key = (name) => page.keyboard.press(name);

  await check(`${server}: the keyboard alone`, async () => {
    await page.goto(up.console);
    await hands(page).says(/^Ready/);
    await key('Tab');
    assert.equal(await at(), 'Skip to the tools');
    await key('Enter');
    await goTo('Tools');
    await key('ArrowRight');
    assert.equal(await at(), 'Resources');
    await page.locator('#resources-panel').waitFor();
    await key('ArrowLeft');
    await goTo('Filter tools');
    await type('test_elicitation');
    await goTo('test_elicitation');
    await key('Enter');
    await goTo('message');
    await type('Who?');
    await key('Enter');
    await hands(page).question('A question for the user').waitFor();
    await page.waitForFunction(() => document.activeElement.closest('.question') || document.activeElement.matches('input'));
    await page.keyboard.press('Escape');
    // The question stands before the tools: back there.
    for (let n = 0; n < 40 && await at() !== 'Decline'; n++)
      await key('Shift+Tab');
    assert.equal(await at(), 'Decline');
    await key('Enter');
    await hands(page).answer('test_elicitation', 'action=decline');
    const last = page.getByLabel('Messages', { exact: true }).locator('summary').first();
    await page.getByLabel('Filter messages').focus();
    await key('Tab');
    await key('Tab');
    assert.equal(await last.evaluate((node) => node === document.activeElement), true, `at ${await at()}`);
    await key('End');
    await key('Enter');
    await page.locator('.rows details[open] .body pre').first().waitFor();
  });
}

// A server that means ill, in each place where it may say something.
async function hostile(page, up, server) {
  const evil = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>‮"\'>';
  const schema = { type: 'object', title: evil, properties: {
    [evil]: { type: 'string', title: evil, description: evil, default: evil, pattern: '^(a+)+$' },
    __proto__x: { type: 'integer' },
    again: { $ref: '#' },
    forever: { allOf: [{ $ref: '#/properties/forever' }, { $ref: '#/properties/forever' }] },
    choice: { enum: [evil, { constructor: evil }] },
    bad: { type: 7, properties: 'x', required: 'y', items: 3 },
  }, required: [evil] };
  const results = {
    'server/discover': { supportedVersions: [ERAS[0]], capabilities: { tools: {}, resources: { subscribe: true }, prompts: {} }, instructions: evil,
      _meta: { 'io.modelcontextprotocol/serverInfo': { name: evil, title: evil, version: evil } } },
    'tools/list': { tools: [{ name: 'a', title: evil, description: evil, inputSchema: schema, annotations: { readOnlyHint: evil } },
      { name: evil, inputSchema: schema }, { name: 'b', inputSchema: null }] },
    'resources/list': { resources: [{ uri: 'javascript:window.pwned=1', name: evil, title: evil, mimeType: evil, description: evil }] },
    'resources/templates/list': { resourceTemplates: [{ uriTemplate: `x://{${evil}}{+a}`, name: evil }] },
    'prompts/list': { prompts: [{ name: evil, title: evil, arguments: [{ name: evil, description: evil, required: true }] }] },
    'tools/call': { content: [{ type: 'text', text: evil },
      { type: 'image', mimeType: 'image/svg+xml', data: btoa('<svg onload="window.pwned=1"/>') },
      { type: 'image', mimeType: 'image/png', data: '"><script>window.pwned=1</script>' }, { type: 'image', mimeType: 'text/html', data: 'AAAA' },
      { type: evil }, { type: 'resource', resource: { uri: evil, mimeType: 'text/html', text: evil } },
      { type: 'resource_link', uri: 'javascript:window.pwned=1', name: evil }, null, 7], structuredContent: { [evil]: evil } },
  };
  const ask = { resultType: 'input_required', requestState: 's', inputRequests: {
    page: { method: 'elicitation/create', params: { mode: 'url', message: evil, url: 'javascript:window.pwned=1' } },
    form: { method: 'elicitation/create', params: { message: evil, requestedSchema: schema } },
    model: { method: 'sampling/createMessage', params: { systemPrompt: evil,
      messages: [{ role: evil, content: { type: 'text', text: evil } }] } } } };
  const { press, says, answer, question, choose } = hands(page);

  await page.route('**/mcp', async (route) => {
    const { id, method, params } = route.request().postDataJSON();
    const result = method === 'tools/call' && !params.inputResponses ? ask : { resultType: 'complete', ...results[method] };
    await route.fulfill({ contentType: 'application/json', body: JSON.stringify({ jsonrpc: '2.0', id, result }) });
  });
  await check(`${server}: a server that means ill is shown as the text that it is`, async () => {
    await page.goto(up.console);
    await says(/^Ready: 3 tools, 2 resources, 1 prompt/);
    assert.equal(await page.locator('h1').textContent(), evil);
    for (const tool of [evil, 'b'])
      await page.locator('#tools-panel .item').filter({ has: page.getByText(tool, { exact: true }) }).last().click();
    await page.locator('#tools-panel .item').first().click();
    await page.getByRole('form', { name: 'a', exact: true }).getByText(evil).first().waitFor();
    await press('Call a');
    assert.equal(await question('A page to visit').getByRole('link').count(), 0);
    await press('Cancel', question('A page to visit'));
    await press('Cancel', question('A question for the user'));
    await press('Answer', question('A question for the model'));
    await answer('a', evil);
    await hands(page).tab('Resources');
    await hands(page).tab('Prompts');
    for (const summary of await page.locator('.rows summary').all())
      await summary.click();
    assert.equal(await page.evaluate(() => window.pwned), undefined);
    assert.equal(await page.evaluate(() => document.querySelectorAll(
      'main script, main [onerror], main [onload], main img, main a, main iframe').length), 0);
    assert.equal(await page.evaluate(() => ({}).constructor === Object && Object.prototype.x === undefined), true);
  });
  await check(`${server}: it may speak as much as it likes: the timeline stays bounded`, async () => {
    const { entries, forgotten, chars } = await page.evaluate(async () => {
      const { Journal } = await import('./journal.js');
      const journal = new Journal();
      for (let i = 0; i < 5000; i++)
        journal.addMessage('in', '#1', { jsonrpc: '2.0', id: i, result: {} }, 'x'.repeat(10000));
      return { entries: journal.entries.length, forgotten: journal.forgotten,
        chars: journal.entries.reduce((sum, { text }) => sum + text.length, 0) };
    });
    assert.ok(entries <= 2000 && chars <= 8 << 20 && entries + forgotten === 5000, JSON.stringify({ entries, forgotten, chars }));
  });
  await check(`${server}: the browser refuses markup and scripts, even to this page`, async () => {
    const refused = await page.evaluate(() => {
      try {
        document.createElement('p').innerHTML = '<b>x</b>';
        return false;
      } catch {
        return true;
      }
    });
    assert.equal(refused, true);
  });
  await page.unroute('**/mcp');
}

// A server that wants pages to be visited first, as ours never does: it answers a call with the next of replies, an error or a
// list of messages, as long as there are some.
async function pagesFirst(page, up, server) {
  const { press, choose, connect, calls, state } = hands(page);
  const step = (what, fn) => check(`${server}: pages first: ${what}`, fn);
  const due = (...ids) => ({ code: -32042, message: 'Not yet', data: { elicitations: ids.map((elicitationId) =>
    ({ mode: 'url', elicitationId, message: `Visit ${elicitationId}`, url: `https://example.org/${elicitationId}` })) } });
  const cards = page.getByRole('form', { name: 'A page to visit first', exact: true });
  const card = (id) => cards.filter({ hasText: `Visit ${id}` });
  const call = async (...given) => {
    replies = given;
    await press('Call test_simple_text');
  };
  let replies = [];

  await page.route('**/mcp', async (route) => {
    const message = route.request().method() === 'POST' ? route.request().postDataJSON() : {};
    const reply = message.method === 'tools/call' ? replies.shift() : undefined;
    if (!reply)
      await route.continue();
    else if (reply.code)
      await route.fulfill({ contentType: 'application/json', body: JSON.stringify({ jsonrpc: '2.0', id: message.id, error: reply }) });
    else
      await route.fulfill({ contentType: 'text/event-stream', body: [...reply, { id: message.id, result: { content: [] } }]
        .map((each) => `data: ${JSON.stringify({ jsonrpc: '2.0', ...each })}\n\n`).join('') });
  });
  await step('the call is sent again when somebody was at all of them', async () => {
    await page.goto(up.console);
    await connect('2025-11-25');
    await choose('test_simple_text');
    await call(due('one', 'two'));
    assert.equal(await card('two').getByRole('link').getAttribute('href'), 'https://example.org/two');
    await press('I was there: try again', card('two'));
    await card('two').waitFor({ state: 'detached' });
    await press('I was there: try again', card('one'));
    await state(/^Done/);
  });
  await step('not if somebody does not want to', async () => {
    await call(due('one', 'two'));
    await press('Cancel', card('two'));
    await state(/^The page was not visited/);
    assert.equal(await cards.count(), 0);
  });
  await step('or when the server says so', async () => {
    await call(due('one'));
    await card('one').waitFor();
    await call([{ method: 'notifications/elicitation/complete', params: { elicitationId: 'one' } }]);
    await cards.waitFor({ state: 'detached' });
    await calls.locator('.state').nth(1).filter({ hasText: /^Done/ }).waitFor();
  });
  await step('not for ever', async () => {
    await call(...Array.from({ length: 20 }, () => due('one')));
    for (let n = 1; n < 20; n++) {
      await calls.locator('.state').first().filter({ hasText: new RegExp(`round ${n}$`) }).waitFor();
      await press('I was there: try again', card('one'));
    }
    await state(/^Failed/);
    assert.equal(await cards.count(), 0);
  });
  await page.unroute('**/mcp');
}

// What goes wrong without anybody's ill will.
async function trouble(page, up, server) {
  const { press, says, choose, connect, question } = hands(page);

  await check(`${server}: a key that is missing is asked for, and sent`, async () => {
    const keys = [];
    await page.route('**/mcp', async (route) => {
      keys.push(route.request().headers()['x-api-key']);
      await (keys.at(-1) === 'secret' ? route.continue() : route.fulfill({ status: 401, body: '' }));
    });
    await page.goto(up.console);
    await says('The server asks for an API key');
    assert.equal(await page.getByLabel('API key').evaluate((node) => node === document.activeElement), true);
    assert.equal(keys.length, 1); // no other era would do better
    await page.keyboard.type('secret');
    await page.keyboard.press('Enter');
    await says(/^Ready/);
    assert.equal(await page.getByLabel('Messages', { exact: true }).filter({ hasText: 'secret' }).count(), 0);
    await page.unroute('**/mcp');
  });
  await check(`${server}: a session that ended elsewhere is over here, with its questions`, async () => {
    let id;
    page.on('request', (request) => { id = request.headers()['mcp-session-id'] ?? id; });
    await connect('2025-11-25');
    await (await choose('test_elicitation')).getByLabel('message', { exact: true }).fill('Still there?');
    await press('Call test_elicitation');
    await question('A question for the user').waitFor();
    const gone = await fetch(up.url, { method: 'DELETE', headers: { 'Mcp-Session-Id': id } });
    assert.equal(gone.status, 200);
    await press('Decline', question('A question for the user'));
    await says('The server has ended the session.');
    assert.equal(await page.locator('.question').count(), 0);
    await page.getByRole('button', { name: 'Connect', exact: true }).waitFor();
  });
  await check(`${server}: what is asked ends with the connection, in the newest era too`, async () => {
    await connect(ERAS[0]);
    await (await choose('test_elicitation')).getByLabel('message', { exact: true }).fill('Still there?');
    await press('Call test_elicitation');
    await question('A question for the user').waitFor();
    await press('Disconnect');
    await says('Not connected');
    assert.equal(await page.locator('.question').count(), 0);
  });
  await check(`${server}: an endpoint of somebody else is refused, and nobody is asked`, async () => {
    await page.getByLabel('Endpoint', { exact: true }).fill('https://example.org/mcp');
    await press('Connect');
    await says('The endpoint has to be on the site that this page came from');
  });
}

// What the web server adds to the console's files, wrong names too, and to nothing else.
async function headers(up, server) {
  await check(`${server}: the console's files have the headers that conf/ gives them`, async () => {
    for (const [path, status] of [['.', 200], ['console.js', 200], ['console.css', 200], ['none', 404], ['../mcp-console', 200]]) {
      const res = await fetch(new URL(path, up.console));
      assert.equal(res.status, status, path);
      for (const [name, value] of Object.entries(HEADERS))
        assert.equal(res.headers.get(name), value, `${name} of ${path}`);
    }
    const health = await fetch(`${up.url}/health`);
    assert.equal(health.headers.get('content-security-policy'), null);
  });
}

async function framed(page, up, server) {
  await check(`${server}: no page may show it in a frame`, async () => {
    const refused = page.waitForEvent('console', (message) => /frame-ancestors/.test(message.text()));
    await page.route('**/framing', (route) => route.fulfill({ contentType: 'text/html', body: `<iframe src="${up.console}"></iframe>` }));
    await page.goto(new URL('/framing', up.url).href);
    await refused;
    assert.equal(await page.frameLocator('iframe').locator('#state').count(), 0);
    await page.unroute('**/framing');
  });
}

const site = makeSite();

await eachServer(site, ['--console'], async (up, server) => {
  const { page, complaints, close } = await open();
  try {
    await headers(up, server);
    await check(`${server}: the page opens, and finds what there is`, async () => {
      assert.equal((await page.goto(up.console)).status(), 200);
      await hands(page).says(/^Ready: \d+ tools, 4 resources, \d prompts · 2026-07-28/);
      await hands(page).tab('Connect a client');
      assert.equal(await page.getByLabel('URL of the endpoint').textContent(), up.url);
      await hands(page).tab('Tools');
    });
    await everyEra(page, server);
    if (server === servers[0]) // once is enough of what is between page and browser
      await forms(page, server);
    await keyboard(page, up, server);
    await check(`${server}: the browser has nothing to complain about`, () => assert.deepEqual(complaints, []));
    if (server !== servers[0])
      return;
    await hostile(page, up, server);
    await pagesFirst(page, up, server);
    await trouble(page, up, server);
    await framed(page, up, server);
    // What had to be refused: markup, two requests, and the frame.
    const others = (each) => !/TrustedHTML|trusted-types|status of 40[14]|frame-ancestors/.test(each);
    await check(`${server}: nor about what meant ill or went wrong`, () => assert.deepEqual(complaints.filter(others), []));
  } finally {
    await close();
  }
});
await eachServer(site, ['--console'], headers, ['nginx']); // which has little else to do with the page
done();
