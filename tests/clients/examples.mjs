#!/usr/bin/env node
// Everything that examples/tools offers, used by the official clients in both eras: what doc/tools.md shows works as it says.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { EXAMPLES, MODERN, answer, copyOf, done, eachServer, load, modern, needModules, skipAll, test,
  textOf, until } from './lib.mjs';

needModules();
if (process.env.MCP_TEST_URL)
  skipAll('the server that is given offers something else');
const v1 = { ...load('@modelcontextprotocol/sdk/client/index.js'), ...load('@modelcontextprotocol/sdk/client/streamableHttp.js'),
  ...load('@modelcontextprotocol/sdk/types.js') };
const v2 = load('@modelcontextprotocol/client');
const me = { name: 'mcp-fcgi-tests', version: '1' };
const capabilities = { sampling: {}, elicitation: { form: {}, url: {} }, roots: {} };
const TASKS = { 'io.modelcontextprotocol/clientCapabilities': { extensions: { 'io.modelcontextprotocol/tasks': {} } } };
const schemas = {
  'elicitation/create': v1.ElicitRequestSchema,
  'sampling/createMessage': v1.CreateMessageRequestSchema,
  'roots/list': v1.ListRootsRequestSchema,
  'notifications/message': v1.LoggingMessageNotificationSchema,
  'notifications/resources/updated': v1.ResourceUpdatedNotificationSchema,
};

const clients = [
  {
    name: 'v1',
    make: (can) => new v1.Client(me, { capabilities: can }),
    transport: (up) => new v1.StreamableHTTPClientTransport(new URL(up.url)),
    call: (client, params, options) => client.callTool(params, undefined, options),
    onRequest: (client, method, fn) => client.setRequestHandler(schemas[method], fn),
    onNotification: (client, method, fn) => client.setNotificationHandler(schemas[method], fn),
    wantLogs: (client) => client.setLoggingLevel('info'),
    logMeta: undefined,
    subscribe: (client, uri) => client.subscribeResource({ uri }),
    async task(up, client, params) {
      const seen = [];
      for await (const message of client.experimental.tasks.callToolStream(params, undefined, { task: {} })) {
        seen.push(message.type);
        if (message.type === 'result')
          return { seen, text: message.result.content[0].text };
        assert.notEqual(message.type, 'error', String(message.error));
      }
      throw new Error('no result');
    },
  },
  {
    name: `v2, pinned to ${MODERN}`,
    make: (can) => new v2.Client(me, { capabilities: can, versionNegotiation: { mode: { pin: MODERN } } }),
    transport: (up) => new v2.StreamableHTTPClientTransport(new URL(up.url)),
    call: (client, params, options) => client.callTool(params, options),
    onRequest: (client, method, fn) => client.setRequestHandler(method, fn),
    onNotification: (client, method, fn) => client.setNotificationHandler(method, fn),
    wantLogs: () => {},
    logMeta: { 'io.modelcontextprotocol/logLevel': 'info' },
    subscribe: (client, uri) => client.listen({ resourceSubscriptions: [uri] }),
    async task(up, client, params) { // which v2 doesn't know
      const made = await answer(await modern(up.url, 1, 'tools/call', { ...params, _meta: TASKS }));
      const seen = [made.result.resultType === 'task' ? 'taskCreated' : made.result.resultType];
      const { taskId } = made.result;
      const ended = await until('the task has ended', async () => {
        const got = await answer(await modern(up.url, 2, 'tasks/get', { taskId, _meta: TASKS },
          { headers: { 'Mcp-Name': taskId } }));
        seen.push('taskStatus');
        return got.result.status === 'completed' && got;
      });
      return { seen, text: textOf(ended.result) };
    },
  },
];

const text = ({ content, isError }) => (isError ? 'failed: ' : '') + content.filter((block) => block.type === 'text').map((block) => block.text).join('').trim();

const isRunning = (program) => readdirSync('/proc').some((pid) => {
  try {
    return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(program);
  } catch {
    return false; // it is gone
  }
});

async function converse(up, era) {
  const client = era.make(capabilities);
  const mute = era.make({});
  const called = new Set();
  const step = (what, fn) => test(`${era.name}: ${what}`, fn);
  const use = (name, args = {}, options = {}, meta = undefined, by = client) => {
    called.add(name);
    return era.call(by, { name, arguments: args, ...(meta && { _meta: meta }) }, options);
  };
  const says = async (name, args, by) => text(await use(name, args, {}, undefined, by));
  const read = async (uri) => (await client.readResource({ uri })).contents;
  const complete = async (ref, argument) => (await client.complete({ ref, argument })).completion.values;
  let forms = [];
  let asked = [];
  const answering = (...results) => { forms = results; asked = []; };

  era.onRequest(client, 'elicitation/create', ({ params }) => {
    asked.push(params);
    const next = forms.shift();
    return next ? { action: 'accept', ...(params.mode !== 'url' && { content: next }) } : { action: 'decline' };
  });
  era.onRequest(client, 'sampling/createMessage', ({ params }) => {
    asked.push(params);
    return { role: 'assistant', model: 'none', content: { type: 'text', text: 'A kettle was ordered.' } };
  });
  era.onRequest(client, 'roots/list', () => ({ roots: [{ uri: 'file:///home/ada' }, { uri: 'file:///srv' }] }));
  if (!await step('open', async () => {
    await client.connect(era.transport(up));
    await mute.connect(era.transport(up));
  }))
    return;

  await step('sh: the first tool', async () => {
    assert.equal(await says('greet', { name: 'Ada' }), 'Hello, Ada!');
    assert.match(await says('greet', {}), /^failed: .*name/);
    assert.match(await says('greet', { nam: 'Ada' }), /^failed: /);
  });
  await step('command lines: placeholders, a default, words that are left out', async () => {
    assert.match(await says('log_tail', { log: 'error' }), /server started$/);
    assert.equal((await says('log_tail', { log: 'access', lines: 2 })).split('\n').length, 2);
    assert.match(await says('log_tail', { log: '../orders' }), /^failed: /);
    assert.equal((await says('log_search', { text: 'kettle' })).split('\n').length, 2);
    assert.equal((await says('log_search', { text: 'kettle', max: 1 })).split('\n').length, 1);
    assert.match(await says('log_search', { text: '--help' }), /^failed: .*status 1/);
  });
  await step('python: structured results', async () => {
    assert.deepEqual((await use('order_stats', { customer: 'Ada' })).structuredContent, { orders: 2, total: 56.5 });
    assert.match(await says('order_stats', { customer: 'Bob' }), /^failed: order_stats: exited with status 1\nno such customer$/);
  });
  await step('python: a program that stays', async () => {
    for (let n = 0; n < 3; n++) {
      assert.equal(await says('search_docs', { text: 'Noon' }), 'shipping.md');
      assert.equal(await says('search_docs', { text: 'midnight' }), 'failed: search_docs: failed\nno document says so');
    }
  });
  await step('c: a picture, and progress', async () => {
    const seen = [];
    const { content } = await use('chart', { values: [3, 1, 2] }, { onprogress: (p) => seen.push(p.progress) });
    assert.deepEqual(seen, [1, 2, 3].slice(0, seen.length));
    assert.equal(content[0].mimeType, 'image/svg+xml');
    assert.match(Buffer.from(content[0].data, 'base64').toString(), /^<svg .*<rect x="0" y="0.0" .*<\/svg>$/);
    assert.equal(content[1].text, '3 bars');
  });
  await step('sh: all kinds of content', async () => {
    assert.deepEqual((await use('show_blocks')).content.map((block) => block.type), ['text', 'image', 'audio', 'resource_link', 'resource']);
  });
  await step('php: links to resources, and log messages', async () => {
    const logs = [];
    era.onNotification(client, 'notifications/message', ({ params }) => { logs.push(params); });
    await era.wantLogs(client);
    const { content, isError } = await use('find_orders', { item: 'kettle' }, {}, era.logMeta);
    assert.equal(isError, false);
    assert.equal(content[0].text, '2 orders with kettle');
    assert.deepEqual(content.slice(1).map((block) => [block.type, block.uri]),
      [1001, 1002].map((n) => ['resource_link', `shop://orders/${n}.json`]));
    await until('the log message is here', () => logs.length === 1);
    assert.deepEqual(logs[0], { level: 'info', logger: 'find_orders', data: { item: 'kettle', found: 2 } });
    assert.equal((await use('find_orders', { item: 'no such thing' })).isError, true);
  });
  await step('sh: progress', async () => {
    const seen = [];
    const sums = text(await use('checksums', {}, { onprogress: (p) => seen.push(`${p.progress}/${p.total} ${p.message}`) }));
    assert.deepEqual(sums.split('\n').map((line) => line.slice(66)), ['1001.json', '1002.json', '1003.json']);
    assert.deepEqual(seen, ['1/3 1001.json', '2/3 1002.json', '3/3 1003.json'].slice(0, seen.length));
    assert.ok(seen.length >= 2);
  });
  await step('perl: a log that is watched, until the client has seen enough', async () => {
    const stop = new AbortController();
    const visits = setInterval(() => appendFileSync(join(up.site, 'log', 'access.log'), 'a visitor\n'), 200);
    let line;

    era.onNotification(client, 'notifications/message', ({ params }) => {
      line = params.data;
      stop.abort(new Error('enough'));
    });
    await assert.rejects(use('watch_log', { seconds: 600 }, { signal: stop.signal }, era.logMeta));
    clearInterval(visits);
    assert.equal(line, 'a visitor');
    await until('the program has ended', () => !isRunning(join(up.site, 'tools', 'watch_log')));
  });

  await step('sh: a backup, finished or cancelled', async () => {
    const left = () => readdirSync(up.site).filter((name) => name.startsWith('backup.'));

    assert.equal(await says('backup'), 'backup.tar has 3 orders');
    const stop = new AbortController();
    const going = use('backup', { seconds: 600 }, { signal: stop.signal });
    going.catch(() => {});
    await until('it has begun', () => left().length === 2);
    stop.abort(new Error('enough'));
    await assert.rejects(going);
    await until('it has cleaned up', () => left().join() === 'backup.tar');
  });

  await step('sh: asking the user', async () => {
    answering({ reason: 'late', note: 'two weeks' });
    assert.equal(await says('refund', { order: 1001 }), 'Order 1001 is refunded: late two weeks');
    assert.equal(asked[0].message, 'Refund order 1001?');
    answering();
    assert.equal(await says('refund', { order: 1001 }), 'Nothing was refunded.');
    assert.match(await says('refund', { order: 7 }), /^failed: .*there is no order 7$/s);
  });
  await step('php: what was kept between two runs', async () => {
    answering({});
    assert.match(await says('reserve', { item: 'a mug' }), /^a mug is reserved until \d{4}-\d\d-\d\d as R\d{4}$/);
    answering();
    assert.equal(await says('reserve', { item: 'a mug' }), 'Nothing is reserved.');
  });
  await step('python: the client\'s model, where there is one', async () => {
    answering();
    assert.equal(await says('summarise', { order: 1001 }), 'A kettle was ordered.');
    assert.match(asked[0].messages[0].content.text, /red kettle/);
    assert.match(await says('summarise', { order: 1001 }, mute), /^\{ "id": 1001/);
  });
  await step('perl: the client\'s directories', async () => {
    assert.equal(await says('client_roots'), 'file:///home/ada\nfile:///srv');
    assert.match(await says('client_roots', {}, mute).catch(String), /this client can't be asked: roots/);
  });
  await step('asking without code, for a form and for a page', async () => {
    answering();
    assert.match(await says('forget_order', { order: 1003 }), /^failed: .*declined/s);
    assert.equal(asked[0].message, "Delete order 1003? This can't be undone.");
    answering({});
    assert.match(await says('pay', { order: 1002 }), /^Order 1002 goes out once the money is here\.$/);
    assert.equal(asked[0].url, 'https://shop.example/pay');
    answering({});
    assert.match(await says('forget_order', { order: 9999 }), /^failed: .*No such file/s);
  });
  await step('python: one process that waits for its answers', async () => {
    answering({ value: 'mugs' }, { value: 3 });
    assert.match(await says('new_order', { customer: 'Grace' }), /^Grace gets 3 mugs, says process \d+\.$/);
    assert.deepEqual(asked.map(({ message }) => message), ['What does Grace want?', 'How many of mugs?']);
    answering();
    assert.equal(await says('new_order', { customer: 'Grace' }), 'Then not.');
  });
  await step('python: as a call, and as a task', async () => {
    const seen = [];
    assert.equal(text(await use('monthly_report', { seconds: 0.3 }, { onprogress: (p) => seen.push(p.message) })), 'The month comes to 87.5');
    assert.equal(seen[0], '1001.json');
    const task = await era.task(up, client, { name: 'monthly_report', arguments: { seconds: 0.5 } });
    assert.equal(task.text.trim(), 'The month comes to 87.5');
    assert.equal(task.seen[0], 'taskCreated');
  });
  await step('a secret in the environment', async () => {
    assert.equal(await says('ship', { order: 1001 }), 'Order 1001 goes out.');
  });
  await step('perl: a change that is told', async () => {
    let updates = 0;
    era.onNotification(client, 'notifications/resources/updated', ({ params }) => { updates += params.uri === 'shop://notes'; });
    await era.subscribe(client, 'shop://notes');
    assert.equal(await says('add_note', { note: `Zürich, says ${era.name}` }), 'noted');
    await until('the update is here', () => updates === 1);
    assert.match((await read('shop://notes'))[0].text, new RegExp(`Zürich, says ${era.name}\n$`));
  });

  await step('resources: texts, files, programs', async () => {
    assert.equal((await read('shop://hours'))[0].text, 'Monday to Friday, 9 to 17');
    assert.equal((await read('shop://greeting/French'))[0].text, 'Say hello in French.');
    assert.equal((await read('shop://docs/returns.md'))[0].mimeType, 'text/markdown');
    assert.equal(JSON.parse((await read('shop://orders/1002.json'))[0].text).customer, 'Grace');
    const { uri, orders } = JSON.parse((await read('shop://customers/Ada'))[0].text);
    assert.equal(uri, 'shop://customers/Ada');
    assert.deepEqual(orders.map((order) => order.id), [1001, 1003]);
    await assert.rejects(read('shop://customers/Bob'), /not found/i);
    const { resources } = await client.listResources();
    assert.ok(resources.some((each) => each.uri === 'shop://orders/1001.json'));
  });
  await step('completion: of values, of a program, of files', async () => {
    const greeting = { type: 'ref/resource', uri: 'shop://greeting/{language}' };
    assert.deepEqual(await complete(greeting, { name: 'language', value: 'ger' }), ['German']);
    const customer = { type: 'ref/resource', uri: 'shop://customers/{name}' };
    assert.deepEqual(await complete(customer, { name: 'name', value: '' }), ['Ada', 'Grace']);
    assert.deepEqual(await complete({ type: 'ref/resource', uri: 'shop://docs/{+page}' }, { name: 'page', value: 'ship' }), ['shipping.md']);
    assert.deepEqual(await complete({ type: 'ref/prompt', name: 'apology' }, { name: 'what', value: 'the d' }), ['the delay', 'the damage']);
  });
  await step('prompts: a text, messages, a program', async () => {
    const get = async (name, args) => (await client.getPrompt({ name, arguments: args })).messages;
    assert.equal((await get('apology', { customer: 'Ada', what: 'the delay' }))[0].content.text,
      'Write to Ada that we are sorry about the delay.');
    assert.deepEqual((await get('tone', { language: 'French' })).map((m) => m.role), ['user', 'assistant']);
    const [order, question] = await get('review', { order: '1001', language: 'Italian' });
    assert.match(order.content.resource.text, /red kettle/);
    assert.match(question.content.text, /Italian\.$/);
    await assert.rejects(get('review', { order: 'x' }), /an order is a number/);
  });
  await step('every tool was called', async () => {
    const { tools } = await client.listTools();
    assert.deepEqual(tools.map((tool) => tool.name).filter((name) => !called.has(name)), []);
  });
  await step('close', async () => {
    await client.close();
    await mute.close();
  });
}

// A copy, for one tool has to be compiled, and tools write.
const copy = copyOf(EXAMPLES);
execFileSync('make', ['-C', copy], { stdio: ['ignore', 'ignore', 'inherit'] });
process.env.CARRIER_KEY = 'for the program that may have it';
await eachServer(copy, ['--workers', '2'], async (up) => {
  up.site = process.getuid() === 0 ? join(up.dir, 'site') : copy; // tests/serve runs a copy of its own then
  for (const era of clients)
    await converse(up, era);
}, ['lighttpd']);
await done();
