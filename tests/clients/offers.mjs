#!/usr/bin/env node
// What a site offers beside tools, seen by the official clients in both eras: listed page by page, read, filled in, completed.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { MODERN, SITES, done, eachServer, load, needModules, test } from './lib.mjs';

needModules();
const v1 = { ...load('@modelcontextprotocol/sdk/client/index.js'), ...load('@modelcontextprotocol/sdk/client/streamableHttp.js'),
  ...load('@modelcontextprotocol/sdk/client/sse.js'), ...load('@modelcontextprotocol/sdk/types.js') };
const v2 = load('@modelcontextprotocol/client');
const me = { name: 'mcp-fcgi-tests', version: '1' };

const clients = [
  {
    name: 'v1',
    notFound: -32002,
    client: () => new v1.Client(me),
    transport: (up) => new v1.StreamableHTTPClientTransport(new URL(up.url)),
    page: (client, method, params) => client.request({ method, params }, v1.ResultSchema),
  },
  {
    name: 'v1, HTTP+SSE',
    notFound: -32002,
    client: () => new v1.Client(me),
    transport: (up) => new v1.SSEClientTransport(new URL(up.sse)),
    page: (client, method, params) => client.request({ method, params }, v1.ResultSchema),
  },
  ...['legacy', { pin: MODERN }].map((mode) => ({
    name: `v2, ${mode.pin ?? mode}`,
    notFound: -32602, // v2 makes that of a -32002 too
    client: () => new v2.Client(me, { versionNegotiation: { mode } }),
    transport: (up) => new v2.StreamableHTTPClientTransport(new URL(up.url)),
    page: (client, method, params) => client.request({ method, params }),
  })),
];

// Pages as the server makes them: the clients' own list methods may join them.
async function pages(fetchPage, member) {
  const found = [];
  for (let cursor; ;) {
    const page = await fetchPage(cursor === undefined ? {} : { cursor });
    found.push(page[member]);
    cursor = page.nextCursor;
    if (cursor === undefined)
      return found;
  }
}

async function converse(up, server, { name, notFound, client: make, transport: connect, page }) {
  const client = make();
  const step = (what, fn) => test(`${server}: ${name}: ${what}`, fn);
  const complete = async (ref, argument, context) =>
    (await client.complete({ ref, argument, ...(context && { context }) })).completion.values;

  if (!await step('open', () => client.connect(connect(up))))
    return;
  await step('who it is, and what it offers', () => {
    const { title, websiteUrl, icons } = client.getServerVersion();
    assert.deepEqual([title, websiteUrl, icons?.[0]?.src],
      ['What a site offers', 'https://mcp.example/', 'https://mcp.example/icon.png']);
    for (const each of ['tools', 'resources', 'prompts', 'completions'])
      assert.ok(client.getServerCapabilities()[each], each);
  });
  await step('resources, page by page', async () => {
    const all = await pages((params) => page(client, 'resources/list', params), 'resources');
    assert.deepEqual(all.map((items) => items.length), [3, 3, 3, 1]);
    const note = all.flat().find((each) => each.uri === 'notes://today');
    assert.equal(note.title, "Today's note");
    assert.equal(note.icons[0].theme, 'dark');
    assert.equal(note.annotations.priority, 0.5);
    assert.ok(all.flat().some((each) => each.uri === 'docs:///deep/three.txt'));
  });
  await step('templates and prompts, page by page', async () => {
    const templates = await pages((params) => page(client, 'resources/templates/list', params), 'resourceTemplates');
    assert.ok(templates.flat().some((each) => each.uriTemplate === 'docs:///{+path}'));
    const prompts = await pages((params) => page(client, 'prompts/list', params), 'prompts');
    assert.deepEqual(prompts.map((items) => items.map((each) => each.name)), [['greet', 'review', 'summary'], ['whole', 'zero']]);
  });
  await step('a cursor of nobody', () =>
    assert.rejects(page(client, 'resources/list', { cursor: 'mine' }), { code: -32602 }));
  await step('texts, bytes, templates, programs, files', async () => {
    const read = async (uri) => (await client.readResource({ uri })).contents[0];
    assert.equal((await read('notes://today')).text, 'Braces {stay} as they are: {{}}.');
    assert.equal((await read('notes://bytes')).blob, '/wE=');
    assert.deepEqual(JSON.parse((await read('notes://a%22b/json')).text), { name: 'a"b' });
    assert.equal((await read('users://ada/profile')).text, 'Ada Lovelace\n');
    assert.equal((await read('docs:///one.md')).mimeType, 'text/markdown');
  });
  await step('a resource that is not there', async () => {
    await assert.rejects(client.readResource({ uri: 'notes://nowhere' }), (e) => {
      assert.equal(e.code, notFound);
      assert.deepEqual(e.data, { uri: 'notes://nowhere' });
      return true;
    });
  });
  await step('prompts', async () => {
    const greet = await client.getPrompt({ name: 'greet', arguments: { name: 'Zoë' } });
    assert.deepEqual(greet.messages, [{ role: 'user', content: { type: 'text', text: 'Say hello to Zoë.' } }]);
    const review = await client.getPrompt({ name: 'review', arguments: { uri: 'notes://today' } });
    assert.deepEqual(review.messages.map((each) => each.content.type), ['text', 'audio', 'resource_link']);
    const whole = await client.getPrompt({ name: 'whole' });
    assert.deepEqual(whole.messages.map((each) => each.content.type), ['image', 'resource']);
    await assert.rejects(client.getPrompt({ name: 'greet' }), { code: -32602 });
    await assert.rejects(client.getPrompt({ name: 'nobody' }), { code: -32602 });
  });
  await step('every kind of content in a tool\'s result', async () => {
    const { content, structuredContent } = await client.callTool({ name: 'blocks' });
    assert.deepEqual(content.map((each) => each.type), ['text', 'image', 'audio', 'resource_link', 'resource', 'resource']);
    assert.deepEqual(structuredContent, { a: 1 });
  });
  await step('completion', async () => {
    assert.deepEqual(await complete({ type: 'ref/prompt', name: 'greet' }, { name: 'name', value: 'ad' }), ['Ada', 'Adele', 'Mandy']);
    assert.deepEqual(await complete({ type: 'ref/resource', uri: 'notes://{name}/json' }, { name: 'name', value: 'to' }),
      ['today', 'tomorrow']);
    assert.deepEqual(await complete({ type: 'ref/resource', uri: 'users://{id}/profile{?part}' }, { name: 'part', value: '' },
      { arguments: { id: '7' } }), ['part=', 'ID=7']);
    await assert.rejects(complete({ type: 'ref/prompt', name: 'nobody' }, { name: 'a', value: '' }), { code: -32602 });
  });
  await client.close();
}

await eachServer(join(SITES, 'offers'), ['--workers', '2'], async (up, server) => {
  for (const each of clients)
    await converse(up, server, each);
});
done();
