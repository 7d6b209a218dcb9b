#!/usr/bin/env node
// The official TypeScript clients, v1 and v2, each over the transports and in the eras it knows.
import assert from 'node:assert/strict';
import { FIXTURE, MODERN, done, eachServer, load, needModules, post, request, sleep, test, until } from './lib.mjs';

needModules();
const v1 = { ...load('@modelcontextprotocol/sdk/client/index.js'), ...load('@modelcontextprotocol/sdk/client/streamableHttp.js'),
  ...load('@modelcontextprotocol/sdk/client/sse.js') };
const v2 = load('@modelcontextprotocol/client');
const me = { name: 'mcp-fcgi-tests', version: '1' };

const http = (sdk) => (up) => new sdk.StreamableHTTPClientTransport(new URL(up.url));
const sse = (sdk) => (up) => new sdk.SSEClientTransport(new URL(up.sse));
const negotiate = (mode) => new v2.Client(me, { versionNegotiation: { mode } });

// v1 has a result schema between the parameters and the options.
const call1 = (client, params, options) => client.callTool(params, undefined, options);
const call2 = (client, params, options) => client.callTool(params, options);

// v1 names a notification by its schema, v2 by its method.
const schemas1 = load('@modelcontextprotocol/sdk/types.js');
const on1 = (client, method, fn) => client.setNotificationHandler({
  'notifications/resources/updated': schemas1.ResourceUpdatedNotificationSchema,
  'notifications/tools/list_changed': schemas1.ToolListChangedNotificationSchema,
}[method], fn);
const on2 = (client, method, fn) => client.setNotificationHandler(method, fn);

const clients = [
  { name: 'v1, Streamable HTTP', era: 'legacy', client: () => new v1.Client(me), transport: http(v1), call: call1, on: on1 },
  { name: 'v1, HTTP+SSE', era: 'sse', client: () => new v1.Client(me), transport: sse(v1), call: call1, on: on1 },
  { name: 'v2, auto', era: 'modern', client: () => negotiate('auto'), transport: http(v2), call: call2, on: on2 },
  { name: `v2, pinned to ${MODERN}`, era: 'modern', client: () => negotiate({ pin: MODERN }), transport: http(v2), call: call2, on: on2 },
  { name: 'v2, legacy', era: 'legacy', client: () => negotiate('legacy'), transport: http(v2), call: call2, on: on2 },
  { name: 'v2, HTTP+SSE', era: 'sse', client: () => new v2.Client(me), transport: sse(v2), call: call2, on: on2 },
];

async function converse(up, server, { name, era, client: make, transport: connect, call, on }) {
  const client = make();
  const transport = connect(up);
  const step = (what, fn) => test(`${server}: ${name}: ${what}`, fn);
  const errors = [];

  client.onerror = (e) => errors.push(e);
  if (!await step('open', () => client.connect(transport)))
    return;
  await step('list', async () => {
    const { tools } = await client.listTools();
    const names = tools.map((tool) => tool.name);
    for (const want of ['test_simple_text', 'test_echo', 'test_slow', 'test_structured'])
      assert.ok(names.includes(want), `${want} is not among ${names}`);
    const slow = tools.find((tool) => tool.name === 'test_slow');
    assert.equal(slow.inputSchema.properties.ms.type, 'integer');
  });
  await step('call', async () => {
    const { content } = await call(client, { name: 'test_simple_text' });
    assert.deepEqual(content, [{ type: 'text', text: 'This is a simple text response for testing.' }]);
  });
  await step('call with arguments that are hard to carry', async () => {
    const args = { text: 'Zürich "quoted" \\ \u2028 \u{1F9C0}\n', n: [0, -1, 1.5, 12345678901234], deep: { a: { b: [null, true] } } };
    const { content } = await call(client, { name: 'test_echo', arguments: args });
    assert.deepEqual(JSON.parse(content[0].text), args);
  });
  await step('call with 1 MiB', async () => {
    const args = { text: 'ab\u00e4"'.repeat(200000) };
    const { content } = await call(client, { name: 'test_echo', arguments: args });
    assert.deepEqual(JSON.parse(content[0].text), args);
  });
  await step('structured result', async () => {
    const { structuredContent } = await call(client, { name: 'test_structured', arguments: { a: 2, b: 40 } });
    assert.deepEqual(structuredContent, { sum: 42 });
  });
  await step('call with progress', async () => {
    const seen = [];
    const { content } = await call(client, { name: 'test_slow', arguments: { ms: 200, steps: 4, tag: 'p' } },
      { onprogress: (p) => seen.push([p.progress, p.total, p.message]) });
    // the SDKs forget a call's handler before they run the notification that came in the same chunk as the result
    assert.ok(seen.length >= 3);
    assert.deepEqual(seen, [1, 2, 3, 4].slice(0, seen.length).map((n) => [n, 4, `p ${n}/4`]));
    assert.equal(content[0].text, 'slow done: p');
  });
  await step('a call longer than stream_after_ms, without progress', async () => {
    const { content } = await call(client, { name: 'test_slow', arguments: { ms: 1400, steps: 1, tag: 'q' } });
    assert.equal(content[0].text, 'slow done: q');
  });
  await step('three calls at once', async () => {
    const tags = ['x', 'y', 'z'];
    const results = await Promise.all(tags.map((tag) => call(client, { name: 'test_slow', arguments: { ms: 100, steps: 2, tag } })));
    assert.deepEqual(results.map((r) => r.content[0].text), tags.map((tag) => `slow done: ${tag}`));
  });
  await step('a tool that fails', async () => {
    const { isError, content } = await call(client, { name: 'test_error_handling' });
    assert.equal(isError, true);
    assert.match(content[0].text, /This tool intentionally returns an error for testing/);
  });
  await step('wrong arguments', async () => {
    // the newer revisions want a result that the model can read, not a protocol error
    const { isError, content } = await call(client, { name: 'test_structured', arguments: { a: 'two', b: 40 } });
    assert.equal(isError, true);
    assert.match(content[0].text, /\ba\b/);
  });
  await step('a call whose connection is closed in between', async () => {
    const { content } = await call(client, { name: 'test_reconnection' });
    assert.match(content[0].text, /^Reconnection test completed/);
  });
  await step('changes that were asked for, and no others', async () => {
    const uri = 'test://watched-resource';
    const seen = [];
    const trigger = async (name, args) => assert.ok(!(await call(client, { name, arguments: args })).isError);
    on(client, 'notifications/resources/updated', ({ params }) => { seen.push(params.uri); });
    on(client, 'notifications/tools/list_changed', () => { seen.push('tools'); });

    const subscription = era === 'modern' ? await client.listen({ toolsListChanged: true, resourceSubscriptions: [uri, 'no:thing'] })
      : await client.subscribeResource({ uri });
    if (era === 'modern')
      assert.deepEqual(subscription.honoredFilter, { toolsListChanged: true, resourceSubscriptions: [uri] });
    await trigger('test_trigger_resource_update', { uri: 'test://static-text' });
    await trigger('test_trigger_resource_update', { uri });
    await until('the update is here', () => seen.length === 1);
    await trigger('test_trigger_tool_change');
    await until('the change of the list is here', () => seen.length === 2);
    assert.deepEqual(seen, [uri, 'tools']);
    if (era === 'modern') {
      await subscription.close();
      assert.equal(await subscription.closed, 'local');
    } else {
      await client.unsubscribeResource({ uri });
    }
    await trigger('test_trigger_resource_update', { uri });
    await sleep(200);
    assert.equal(seen.length, 2);
  });
  await step('unknown tool', () => assert.rejects(call(client, { name: 'no_such_tool' }), { code: -32602 }));
  if (era !== 'modern')
    await step('ping', () => client.ping());
  await step('no error beside the calls', () => {
    assert.deepEqual(errors.map(String).filter((e) => !/progress notification for an unknown token.*"p 4.4"/.test(e)), []);
  });
  await step('abort', async () => {
    const stop = new AbortController();
    const going = call(client, { name: 'test_slow', arguments: { ms: 60000, steps: 600, tag: `abort-${name}` } },
      { signal: stop.signal, onprogress: () => stop.abort(new Error('enough')) });
    await assert.rejects(going);
    await until('the call is cancelled', async () =>
      (await call(client, { name: 'test_slow_status', arguments: { tag: `abort-${name}` } })).content[0].text === 'cancelled');
  });
  await step('close', async () => {
    const id = transport.sessionId;
    if (era === 'legacy') {
      assert.ok(id);
      await transport.terminateSession();
    }
    await client.close();
    if (era === 'legacy') {
      const res = await post(up.url, request(1, 'ping'), { 'Mcp-Session-Id': id });
      await res.arrayBuffer();
      assert.equal(res.status, 404);
    }
  });
}

await eachServer(FIXTURE, ['--workers', '2'], async (up, server) => {
  for (const client of clients)
    await converse(up, server, client);
});
done();
