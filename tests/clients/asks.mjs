#!/usr/bin/env node
// Tools that ask their client: the official clients answer, and workers die between question and answer.
import assert from 'node:assert/strict';
import { FIXTURE, MODERN, done, eachServer, load, messages, modern, needModules, renewWorkers, session, test, textOf } from './lib.mjs';

needModules();
const v1 = { ...load('@modelcontextprotocol/sdk/client/index.js'), ...load('@modelcontextprotocol/sdk/client/streamableHttp.js'),
  ...load('@modelcontextprotocol/sdk/client/sse.js'), ...load('@modelcontextprotocol/sdk/types.js') };
const v2 = load('@modelcontextprotocol/client');
const me = { name: 'mcp-fcgi-tests', version: '1' };
const capabilities = { sampling: {}, elicitation: {}, roots: {} };

const http = (sdk) => (up) => new sdk.StreamableHTTPClientTransport(new URL(up.url));
const sse = (sdk) => (up) => new sdk.SSEClientTransport(new URL(up.sse));
const negotiate = (mode) => new v2.Client(me, { capabilities, versionNegotiation: { mode } });
const schemas = { 'elicitation/create': v1.ElicitRequestSchema, 'sampling/createMessage': v1.CreateMessageRequestSchema,
  'roots/list': v1.ListRootsRequestSchema };
const call1 = (client, params) => client.callTool(params, undefined);
const call2 = (client, params) => client.callTool(params);
const on1 = (client, method, fn) => client.setRequestHandler(schemas[method], fn);
const on2 = (client, method, fn) => client.setRequestHandler(method, fn);

const clients = [
  { name: 'v1, Streamable HTTP', client: () => new v1.Client(me, { capabilities }), transport: http(v1), call: call1, on: on1 },
  { name: 'v1, HTTP+SSE', client: () => new v1.Client(me, { capabilities }), transport: sse(v1), call: call1, on: on1 },
  { name: `v2, pinned to ${MODERN}`, client: () => negotiate({ pin: MODERN }), transport: http(v2), call: call2, on: on2 },
  { name: 'v2, legacy', client: () => negotiate('legacy'), transport: http(v2), call: call2, on: on2 },
  { name: 'v2, HTTP+SSE', client: () => new v2.Client(me, { capabilities }), transport: sse(v2), call: call2, on: on2 },
];

async function converse(up, server, { name, client: make, transport: connect, call, on }) {
  const client = make();
  const step = (what, fn) => test(`${server}: ${name}: ${what}`, fn);
  const ask = async (tool, args) => {
    const { content, isError } = await call(client, { name: tool, arguments: args ?? {} });
    return `${isError ? 'failed: ' : ''}${content[0].text.trim()}`;
  };
  let form = {};
  const asked = [];

  on(client, 'elicitation/create', ({ params }) => {
    asked.push(params.message);
    return form;
  });
  on(client, 'sampling/createMessage', ({ params }) => {
    asked.push(params.messages[0].content.text);
    return { role: 'assistant', model: 'none', content: { type: 'text', text: `re: ${params.messages[0].content.text}` } };
  });
  on(client, 'roots/list', () => ({ roots: [{ uri: 'file:///a', name: 'a' }, { uri: 'file:///b' }] }));
  if (!await step('open', () => client.connect(connect(up))))
    return;
  await step('its model', async () => {
    assert.equal(await ask('test_sampling', { prompt: 'Zürich "ok"?' }), 'LLM response: re: Zürich "ok"?');
  });
  await step('its user', async () => {
    form = { action: 'accept', content: { username: 'anna', email: 'anna@example.org' } };
    assert.equal(await ask('test_elicitation', { message: 'Who?' }),
      'User response: action=accept, content={"username": "anna", "email": "anna@example.org"}');
    assert.equal(asked.at(-1), 'Who?');
  });
  await step('its user, who says no', async () => {
    form = { action: 'decline' };
    assert.equal(await ask('test_elicitation', { message: 'Who?' }), 'User response: action=decline, content={}');
    assert.match(await ask('test_input_required_result_elicitation'), /^failed: .* was declined$/);
  });
  await step('its roots', async () => {
    assert.equal(await ask('test_input_required_result_list_roots'), '2 roots: file:///a, file:///b');
  });
  await step('all of it at once', async () => {
    form = { action: 'accept', content: { name: 'Anna' } };
    assert.equal(await ask('test_input_required_result_multiple_inputs'), 're: Say a greeting Hello, Anna!');
  });
  await step('one after the other', async () => {
    form = { action: 'accept', content: { name: 'Anna', color: 'red' } };
    assert.equal(await ask('test_input_required_result_multi_round'), 'Anna likes red.');
  });
  await step('three calls at once', async () => {
    const prompts = ['x', 'y', 'z'];
    assert.deepEqual(await Promise.all(prompts.map((prompt) => ask('test_sampling', { prompt }))),
      prompts.map((prompt) => `LLM response: re: ${prompt}`));
  });
  await step('close', () => client.close());
}

async function survive(up, server) {
  await test(`${server}: the workers die while the user of a legacy client thinks`, async () => {
    const client = await session(up.url, '2025-06-18', capabilities);
    const events = messages(await client.call(1, 'test_elicitation', { message: 'Who?' }));
    const { message: question } = (await events.next()).value;
    assert.equal(question.method, 'elicitation/create');
    await renewWorkers(up);
    const res = await client.send({ jsonrpc: '2.0', id: question.id, result: { action: 'cancel' } });
    assert.equal(res.status, 202);
    assert.equal(textOf((await events.next()).value.message), 'User response: action=cancel, content={}');
    assert.ok((await events.next()).done);
    await client.end();
  });
  await test(`${server}: the workers die while the user of a modern client thinks`, async () => {
    const meta = { 'io.modelcontextprotocol/clientCapabilities': capabilities };
    const call = async (id, more) => (await (await modern(up.url, id, 'tools/call',
      { name: 'test_elicitation', arguments: { message: 'Who?' }, _meta: meta, ...more })).json()).result;
    const first = await call(1, {});
    assert.equal(first.resultType, 'input_required');
    await renewWorkers(up);
    const second = await call(2, { requestState: first.requestState, inputResponses: { user: { action: 'cancel' } } });
    assert.equal(second.content[0].text, 'User response: action=cancel, content={}');
  });
}

await eachServer(FIXTURE, ['--workers', '2'], async (up, server) => {
  for (const client of clients)
    await converse(up, server, client);
  if (up.dir)
    await survive(up, server);
});
done();
