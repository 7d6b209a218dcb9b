#!/usr/bin/env node
// The tools of an API that is described (tests/proto/sites/openapi), used by the official clients: those that mcp-worker makes at
// load, and those that mcpctl import has written; and what happens when the description changes.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MODERN, SITES, copyOf, done, eachServer, load, needModules, pinned, skipAll, test, until } from './lib.mjs';

needModules();
if (process.env.MCP_TEST_URL)
  skipAll('the server that is given offers something else');
const v1 = { ...load('@modelcontextprotocol/sdk/client/index.js'), ...load('@modelcontextprotocol/sdk/client/streamableHttp.js') };
const v2 = load('@modelcontextprotocol/client');
const me = { name: 'mcp-fcgi-tests', version: '1' };
const LOGIN = `Basic ${Buffer.from('ada:s3cret').toString('base64')}`;
const mcpctl = join(process.env.abs_top_builddir ?? '.', 'mcpctl');

const clients = [...['2025-03-26', '2025-11-25'].map((revision) => ({
  revision,
  make: () => new v1.Client(me),
  transport: (up) => pinned(new v1.StreamableHTTPClientTransport(new URL(up.url)), revision),
})), {
  revision: MODERN,
  make: () => new v2.Client(me, { versionNegotiation: { mode: { pin: MODERN } } }),
  transport: (up) => new v2.StreamableHTTPClientTransport(new URL(up.url)),
}];

async function connected(up, { make, transport }, fn) {
  const client = make();

  await client.connect(transport(up));
  await fn(client);
  await client.close();
}

async function converse(client) {
  const { tools } = await client.listTools();
  const named = Object.fromEntries(tools.map((tool) => [tool.name, tool]));
  const call = async (name, args) => {
    try {
      const { isError, content: [{ text }] } = await client.callTool({ name, arguments: args });
      return isError ? text : JSON.parse(text);
    } catch ({ message }) {
      return message; // older revisions don't say it in a result
    }
  };

  assert.deepEqual(Object.keys(named), ['pets_add', 'pets_get_river_city', 'pets_list', 'pets_rename_pet_now']);
  assert.equal(named.pets_list.description, 'Pets of some kinds');
  assert.equal(named.pets_list.annotations?.readOnlyHint, true);
  assert.deepEqual(named.pets_list.inputSchema.properties.limit,
    { type: 'integer', exclusiveMinimum: 0, description: '(default: 30)' });
  assert.deepEqual(named.pets_add.inputSchema.properties, { body: { $ref: '#/$defs/Pet' } });
  assert.deepEqual(named.pets_add.inputSchema.$defs.Pet.required, ['name']);

  assert.deepEqual(await call('pets_list', {}), { method: 'GET', target: '/echo/pets', headers: { authorization: LOGIN }, body: '' });
  assert.deepEqual(await call('pets_list', { limit: 5, kinds: ['cat', 'a&b'], ids: [1, 2], born: { after: '2020' }, 'X-Trace': 't' }), {
    method: 'GET',
    target: '/echo/pets?limit=5&kinds=cat&kinds=a%26b&ids=1,2&born%5Bafter%5D=2020',
    headers: { authorization: LOGIN, 'x-trace': 't' },
    body: '',
  });
  const body = { name: 'Rex', parents: [{ name: 'Rea', parents: [] }] };
  const added = await call('pets_add', { body });
  assert.deepEqual([added.method, added.target, JSON.parse(added.body)], ['POST', '/echo/pets', body]);
  assert.match(await call('pets_add', { body: { parents: [{}] } }), /name: is required/);
  assert.match(await call('pets_list', { limit: 0 }), /limit/);
  const renamed = await call('pets_rename_pet_now', { id: '../x', name: 'A & B', tags: { a: 1, b: ['c'] } });
  assert.deepEqual(renamed, {
    method: 'PUT',
    target: '/echo/pets/..%2Fx',
    headers: { authorization: LOGIN, 'content-type': 'application/x-www-form-urlencoded' },
    body: 'name=A%20%26%20B&tags%5Ba%5D=1&tags%5Bb%5D%5B0%5D=c',
  });
  assert.equal((await call('pets_get_river_city', { city: 'bern' })).data[0].temp, 13.5);
  assert.match(await call('pets_get_river_city', { city: 'oslo' }), /there is no such thing/);
}

const write = (path, text) => {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
};

const site = copyOf(join(SITES, 'openapi'));
const file = join(site, 'pets.json');
const conf = join(site, 'mcp.json');
const description = JSON.parse(readFileSync(file));

await eachServer(site, [], async (up) => {
  for (const client of clients)
    await test(`${client.revision}: the tools of a description`, () => connected(up, client, converse));

  await test('a description that changes is read anew; one that is none leaves the tools as they are', async () => {
    const names = () => new Promise((resolve, reject) => {
      connected(up, clients.at(-1), async (client) => resolve((await client.listTools()).tools.map(({ name }) => name))).catch(reject);
    });

    const served = join(up.dir, 'site', 'pets.json'); // a copy of its own

    write(served, JSON.stringify({ ...description, paths: { ...description.paths, '/echo/new': { get: { operationId: 'fresh' } } } }));
    await until('the new tool is served', async () => (await names()).includes('pets_fresh'));
    write(served, '{"openapi":"3.0.3"');
    await until('the bad one is refused', () => readFileSync(join(up.dir, 'logs', 'worker.log'), 'utf8').includes('reload.refused'));
    assert.ok((await names()).includes('pets_fresh'));
    write(served, JSON.stringify(description));
    await until('as it was', async () => !(await names()).includes('pets_fresh'));
  });

  await test('what is left out is said by mcpctl check, and by import', async () => {
    const left = 'POST /echo/photo: left out: its body: of its media types none can be sent';
    const env = { ...process.env, API: 'http://127.0.0.1:1' };
    const { status, stdout, stderr } = spawnSync(mcpctl, ['check', conf], { encoding: 'utf8', env });

    assert.equal(status, 0, stderr);
    assert.ok(stdout.includes('ok, 4 tools') && stderr.includes(left) && stderr.includes('parameter sid is left out'), stdout + stderr);
    assert.ok(spawnSync(mcpctl, ['import', 'openapi', file, '--server', 'https://h', '--secrets', 'login='],
      { encoding: 'utf8' }).stderr.includes(left));
  });
}, ['lighttpd']);

// The same tools, written into a file that is included.
write(join(site, 'tools.json'), execFileSync(mcpctl, ['import', 'openapi', file, '--server', 'http://api.invalid', '--prefix', 'pets_',
  '--operations', '!secretly*', '--secrets', 'login=password'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  .replaceAll('http://api.invalid', '${API}'));
write(conf, '{ "include": "tools.json", "http": { "allow_addresses": ["127.0.0.1"], "timeout_s": 10, "retries": 0 } }');
await eachServer(site, [], async (up) => {
  await test('the tools that mcpctl import wrote', () => connected(up, clients.at(-1), converse));
}, ['apache']);
done();
