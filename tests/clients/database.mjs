#!/usr/bin/env node
// The site examples/clients, used by the official clients in every revision that they can be made to speak.
import assert from 'node:assert/strict';
import { CLIENTS, MODERN, copyOf, done, eachServer, load, needModules, pinned, skipAll, test } from './lib.mjs';

needModules();
if (process.env.MCP_TEST_URL)
  skipAll('the server that is given offers something else');
const v1 = { ...load('@modelcontextprotocol/sdk/client/index.js'), ...load('@modelcontextprotocol/sdk/client/streamableHttp.js'),
  ...load('@modelcontextprotocol/sdk/client/sse.js') };
const v2 = load('@modelcontextprotocol/client');
const me = { name: 'mcp-fcgi-tests', version: '1' };

const http = (up) => new v1.StreamableHTTPClientTransport(new URL(up.url));
const clients = [
  { revision: '2024-11-05', make: () => new v1.Client(me), transport: (up) => new v1.SSEClientTransport(new URL(up.sse)) },
  ...['2025-03-26', '2025-06-18', '2025-11-25'].map((revision) => ({ revision, make: () => new v1.Client(me), transport: http })),
].map((client) => ({ ...client, transport: (up) => pinned(client.transport(up), client.revision) }));
clients.push({
  revision: MODERN,
  make: () => new v2.Client(me, { versionNegotiation: { mode: { pin: MODERN } } }),
  transport: (up) => new v2.StreamableHTTPClientTransport(new URL(up.url)),
});

async function converse(up, { revision, make, transport }) {
  const client = make();
  const get = (email) => client.callTool({ name: 'get_client', arguments: { email } });
  const read = async (uri) => JSON.parse((await client.readResource({ uri })).contents[0].text);

  await client.connect(transport(up));
  const { content, structuredContent } = await get('Test@Example.com');
  assert.deepEqual(JSON.parse(content[0].text), { id: 1, name: 'Tessa Tester', email: 'test@example.com', joined: '2021-03-14',
    bookings: 3, last_booking: '2024-08-09' });
  if (revision >= '2025-06-18')
    assert.deepEqual(structuredContent, JSON.parse(content[0].text));
  for (const email of ['nobody@example.com', "' OR 1=1 --", '{email}', 'a\0b', '']) {
    const { isError, content: [{ text }] } = await get(email);
    assert.ok(isError && text === 'get_client: nothing was found', text);
  }

  const { resources } = await client.listResources();
  assert.deepEqual(resources.map(({ uri }) => uri), ['db://clients', ...[1, 2, 3].map((n) => `db://clients/page/${n}`)]);
  const first = await read('db://clients');
  assert.equal(first.length, 100);
  assert.deepEqual(first[3], { name: '山田 花子', email: 'hanako@example.com' });
  const pages = await Promise.all([1, 2, 3, 4].map((n) => read(`db://clients/page/${n}`)));
  assert.deepEqual(pages[0], first);
  assert.deepEqual(pages.map((page) => page.length), [100, 100, 50, 0]);
  assert.equal(new Set(pages.flat().map(({ email }) => email)).size, 250);

  const ask = async (email) => (await client.getPrompt({ name: 'client_summary', arguments: { email } })).messages[0].content.text;
  for (const words of ['Tessa Tester', 'test@example.com', 'Bookings so far: 3.', 'Client since: 2021-03-14.'])
    assert.ok((await ask('test@example.com')).includes(words), words);
  assert.ok((await ask('nora@example.com')).includes('Bookings so far: 0.'));
  await assert.rejects(ask('nobody@example.com'), /nothing was found/);
  const { completion } = await client.complete({ ref: { type: 'ref/prompt', name: 'client_summary' },
    argument: { name: 'email', value: 'client25' } });
  assert.deepEqual(completion.values, ['client250@example.com', 'client25@example.com']);
  await client.close();
}

await eachServer(copyOf(CLIENTS), [], async (up) => {
  for (const client of clients)
    await test(`${client.revision}: a client is got, listed page by page, and summed up`, () => converse(up, client));
});
done();
