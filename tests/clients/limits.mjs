#!/usr/bin/env node
// The official clients at a site that limits requests (tests/proto/sites/limits): six at once, then one a minute.
import assert from 'node:assert/strict';
import { SITES, done, eachServer, load, needModules, skipAll, test } from './lib.mjs';

if (process.env.MCP_TEST_URL)
  skipAll('the server that is given limits nothing');
needModules();
const v1 = { ...load('@modelcontextprotocol/sdk/client/index.js'), ...load('@modelcontextprotocol/sdk/client/streamableHttp.js') };
const v2 = load('@modelcontextprotocol/client');
const me = { name: 'mcp-fcgi-tests', version: '1' };

const clients = [
  { name: 'v1', who: 'anna', sdk: v1, make: () => new v1.Client(me) },
  { name: 'v2, legacy', who: 'bert', sdk: v2, make: () => new v2.Client(me, { versionNegotiation: { mode: 'legacy' } }) },
  { name: 'v2, auto', who: 'carl', sdk: v2, make: () => new v2.Client(me, { versionNegotiation: { mode: 'auto' } }) },
];

const open = async ({ who, sdk, make }, url) => {
  const client = make();
  await client.connect(new sdk.StreamableHTTPClientTransport(new URL(url), {
    requestInit: { headers: { 'X-API-Key': `key-of-${who}-0123456789` } } }));
  return client;
};

// Fails at once, says why, and does not keep on trying.
const isRefused = async (fn) => {
  const begun = Date.now();
  await assert.rejects(fn, (e) => /429|Too many requests/.test(`${e.message} ${e.cause?.message} ${e.code} ${e.status}`));
  assert.ok(Date.now() - begun < 30000); // who keeps on trying is served after a minute
};

await eachServer(`${SITES}/limits`, [], async (up, server) => {
  for (const each of clients) {
    await test(`${server}: ${each.name}: a request too many fails, the client goes on`, async () => {
      const client = await open(each, up.url);
      let served = 0;
      await isRefused(async () => {
        for (; served < 7; served++)
          await client.listTools(undefined, { cacheMode: 'refresh' });
      });
      assert.ok(served >= 2 && served <= 5, `${served} were served`);
      await isRefused(() => client.listTools(undefined, { cacheMode: 'refresh' }));
      await client.close();
    });
    await test(`${server}: ${each.name}: a client that comes now is refused, and tries nothing else`, () => isRefused(() => open(each, up.url)));
  }
});
await done();
