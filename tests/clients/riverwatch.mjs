#!/usr/bin/env node
// examples/riverwatch, used by the official clients in every revision: what each tool and resource says, mistakes, an API that
// is down or gone, keys.
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { EXAMPLES, MODERN, answer, done, eachServer, load, modern, needModules, pinned, post, request, skipAll, test, until } from './lib.mjs';

needModules();
if (process.env.MCP_TEST_URL)
  skipAll('the server that is given offers something else');
const v1 = { ...load('@modelcontextprotocol/sdk/client/index.js'), ...load('@modelcontextprotocol/sdk/client/streamableHttp.js') };
const v2 = load('@modelcontextprotocol/client');
const me = { name: 'mcp-fcgi-tests', version: '1' };
const KEY = 'key-of-the-river-0123456789';
const CACHE = 'mcp-fcgi/cache';
const WATER = { bern: 18.4, thun: 17.6, basel: 21.2, zurich: 20.3, olten: 19.7, brienz: 14.9, luzern: 18.9, geneve: 20.8 };

// The newest client of v1 speaks every older revision, if it is made to ask for it.
const older = (revision) => ({
  revision,
  make: () => new v1.Client(me),
  transport: (up, options) => pinned(new v1.StreamableHTTPClientTransport(new URL(up.url), options), revision),
  call: (client, params) => client.callTool(params),
});
const clients = [...['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'].map(older), {
  revision: MODERN,
  make: () => new v2.Client(me, { versionNegotiation: { mode: { pin: MODERN } } }),
  transport: (up, options) => new v2.StreamableHTTPClientTransport(new URL(up.url), options),
  call: (client, params) => client.callTool(params),
}];

async function converse(up, { revision, make, transport, call }) {
  const client = make();
  const called = new Set();
  const step = (what, fn) => test(`${revision}: ${what}`, fn);
  const hasStructured = revision >= '2025-06-18';
  const use = (name, args = {}) => {
    called.add(name);
    return call(client, { name, arguments: args });
  };
  // What a tool says: its text, and what it means, which older clients have to read from a text of JSON.
  const says = async (name, args) => {
    const { content, structuredContent, isError } = await use(name, args);
    assert.ok(!isError, content[0].text);
    assert.equal(structuredContent !== undefined, hasStructured);
    return { text: content[0].text, data: structuredContent ?? (content[0].text.startsWith('{') && JSON.parse(content[0].text)) };
  };
  // A mistake of the caller: a result that a model reads, or, of arguments before 2025-11-25, an error.
  const fails = async (name, args) => {
    try {
      const { content, isError } = await use(name, args);
      assert.ok(isError);
      return content[0].text;
    } catch (e) {
      assert.ok(revision < '2025-11-25', e);
      return e.message;
    }
  };
  const read = async (uri) => JSON.parse((await client.readResource({ uri })).contents[0].text);

  if (!await step('open', async () => {
    await client.connect(transport(up));
    assert.equal(client.getServerVersion().name, 'riverwatch');
    assert.match(client.getInstructions(), /degrees Celsius/);
  }))
    return;
  const { tools } = await client.listTools(); // from here on the SDK checks results against output schemas
  await step('tools tell a model what it needs', async () => {
    for (const tool of tools) {
      assert.ok(tool.description.length > 40, tool.name);
      assert.ok(Object.values(tool.inputSchema.properties ?? {}).every((each) => each.description), tool.name);
      if (revision >= '2025-03-26')
        assert.equal(tool.annotations.readOnlyHint, true, tool.name);
      if (hasStructured)
        assert.equal(tool.outputSchema.type, 'object', tool.name);
    }
  });
  await step('list_cities', async () => {
    const { data } = await says('list_cities');
    assert.deepEqual(data.data.map(({ city }) => city).sort(), Object.keys(WATER).sort());
  });
  await step('get_current_temperature of each city', async () => {
    for (const [city, degrees] of Object.entries(WATER)) {
      const { text, data } = await says('get_current_temperature', { city });
      assert.match(text, new RegExp(`has ${degrees} °C`));
      if (hasStructured)
        assert.deepEqual(data.water, { temperature_c: degrees });
    }
  });
  await step('get_current_conditions', async () => {
    assert.equal((await says('get_current_conditions', { city: 'zurich' })).text,
      'Limmat in Zürich, 2026-07-01T12:00:00+02:00: water 20.3 °C, flow 102 m³/s, danger level 1 of 5 (no or low danger); air 24.9 °C, sunny.');
  });
  await step('get_flow_danger_level', async () => {
    const { text, data } = await says('get_flow_danger_level', { city: 'luzern' });
    assert.match(text, /level 3 of 5 \(considerable danger\), flow 365 m³\/s/);
    if (hasStructured)
      assert.deepEqual(data, { m3_per_s: 365, danger_level: 3, danger: 'considerable danger', next_level_from_m3_per_s: 410 });
  });
  await step('compare_cities', async () => {
    const { data } = await says('compare_cities', { cities: ['thun', 'basel', 'bern'] });
    assert.deepEqual(data.data.map(({ city, water }) => [city, water.temperature_c]), [['thun', 17.6], ['basel', 21.2], ['bern', 18.4]]);
  });
  await step('get_historical_data', async () => {
    const { data } = await says('get_historical_data', { city: 'bern', start: '2026-06-20', end: '2026-06-22' });
    assert.deepEqual(data.days.map((day) => day.date), ['2026-06-20', '2026-06-21', '2026-06-22']);
    assert.equal(data.days[0].temperature_c, 16.2);
  });
  await step('get_forecast', async () => {
    const { data } = await says('get_forecast', { city: 'basel' });
    assert.equal(data.hours.length, 4);
    assert.deepEqual(data.hours[0], { at: '2026-07-01T18:00:00+02:00', temperature_c: 21.8, m3_per_s: 1180 });
  });
  await step('every tool was called', () => assert.deepEqual(tools.map((tool) => tool.name).filter((name) => !called.has(name)), []));

  await step('a city that nobody knows: which there are', async () => {
    const known = /no station in oslo; there are .*bern/;
    for (const name of ['get_current_temperature', 'get_current_conditions', 'get_flow_danger_level', 'get_forecast'])
      assert.match(await fails(name, { city: 'oslo' }), known);
    assert.match(await fails('compare_cities', { cities: ['bern', 'oslo'] }), known);
    assert.match(await fails('get_historical_data', { city: 'oslo', start: '2026-06-20', end: '2026-06-20' }), known);
  });
  await step('arguments that can not be: how they must be', async () => {
    assert.match(await fails('get_forecast', { city: '../today' }), /\/city: must match the pattern/);
    assert.match(await fails('get_forecast', {}), /\/city: is required/);
    assert.match(await fails('compare_cities', { cities: ['bern'] }), /\/cities: /);
    const history = (start, end) => fails('get_historical_data', { city: 'bern', start, end });
    assert.match(await history('yesterday', '2026-06-20'), /\/start: must match the pattern/);
    assert.match(await history('2026-06-20', '2026-06-31'), /end is no date: 2026-06-31; write it as 2026-06-30/);
    assert.match(await history('2026-06-20', '2026-06-19'), /end is before start/);
    assert.match(await history('2026-01-01', '2026-06-20'), /at most 31 days/);
    assert.match(await history('2020-01-01', '2020-01-02'), /there are some from 2026-06-17 to 2026-06-30/);
  });

  await step('the resources, and no others', async () => {
    assert.deepEqual((await client.listResources()).resources.map(({ uri }) => uri).sort(),
      ['riverwatch://cities', 'riverwatch://today', 'riverwatch://widget']);
    assert.deepEqual((await client.listResourceTemplates()).resourceTemplates.map(({ uriTemplate }) => uriTemplate), ['riverwatch://cities/{city}']);
    assert.equal((await read('riverwatch://cities')).data.length, Object.keys(WATER).length);
    assert.equal((await read('riverwatch://cities/thun')).water.temperature_c, 17.6);
    assert.deepEqual((await read('riverwatch://today')).data.find(({ city }) => city === 'bern').water, { min_c: 17.1, max_c: 19.1 });
    assert.deepEqual((await read('riverwatch://widget')).lines[2], { label: 'Aare Bern', temperature_c: 18.4, danger_level: 1 });
    await assert.rejects(read('riverwatch://cities/oslo'), /not found/i);
  });
  await step('a city is completed', async () => {
    const ref = { type: 'ref/resource', uri: 'riverwatch://cities/{city}' };
    assert.deepEqual((await client.complete({ ref, argument: { name: 'city', value: 'b' } })).completion.values, ['basel', 'bern', 'brienz']);
  });
  await step('close', () => client.close());
}

let number = 0;
const ask = async (up, name, args, headers) => (await answer(await modern(up.url, ++number, 'tools/call', { name, arguments: args }, { headers }))).result;
const temperature = (up, city) => ask(up, 'get_current_temperature', { city });

async function fail(up, copy) {
  const down = join(up.dir, 'run', 'down');
  const isStale = async (city) => {
    const result = await temperature(up, city);
    return result._meta[CACHE]?.stale && result;
  };

  await test('what is new is not marked', async () => {
    assert.equal((await temperature(up, 'bern'))._meta[CACHE]?.stale ?? false, false);
  });
  writeFileSync(down, '');
  await test('the API is down: the old answer, which says that it is old', async () => {
    const { content, structuredContent } = await until('the answer is old', () => isStale('bern'));
    assert.match(content[0].text, /has 18\.4 °C/);
    assert.match(content[1].text, /^This is \d+ s old: no newer answer can be had at the moment\.$/);
    assert.equal(structuredContent.water.temperature_c, 18.4);
  });
  await test('the API is down, and nobody asked before: a failure that says so', async () => {
    const { content, isError } = await temperature(up, 'thun');
    assert.ok(isError);
    assert.match(content[0].text, /^get_current_temperature: river answered with status 503: it has a problem of its own; try again later/);
  });
  rmSync(down);
  await test('the API is back', () => until('the answer is new', async () => !await isStale('bern')));
  await test('the API is gone: the old answer', async () => {
    const site = process.getuid() === 0 ? join(up.dir, 'site') : copy; // tests/serve runs a copy of its own then
    const [api] = readdirSync('/proc').filter((pid) => {
      try {
        return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(join(site, 'start'));
      } catch {
        return false; // it is gone
      }
    });
    process.kill(Number(api), 'SIGTERM');
    const { content } = await until('the answer is old', () => isStale('bern'));
    assert.match(content[1].text, /s old/);
  });
}

// A keys file is all that it takes.
async function withKeys(up) {
  const transportOptions = { requestInit: { headers: { Authorization: `Bearer ${KEY}` } } };

  await test('who has no key, or a wrong one, gets nothing', async () => {
    for (const headers of [{}, { Authorization: `Bearer x${KEY}` }]) {
      assert.equal((await modern(up.url, 1, 'tools/list', {}, { headers })).status, 401);
      assert.equal((await post(up.url, request(1, 'initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: me }), headers)).status, 401);
    }
    assert.equal((await fetch(`${up.url}/health`)).status, 200);
  });
  for (const { revision, make, transport, call } of [clients[0], clients.at(-1)]) {
    await test(`${revision}: who has a key gets it all`, async () => {
      const client = make();
      await client.connect(transport(up, transportOptions));
      assert.match((await call(client, { name: 'get_current_temperature', arguments: { city: 'bern' } })).content[0].text, /18\.4/);
      await client.close();
    });
  }
  await test('60 requests a minute for who has a key', async () => {
    for (let n = 0; n < 300; n++) {
      const res = await modern(up.url, 1, 'tools/list', {}, { headers: { Authorization: `Bearer ${KEY}` } });
      await res.arrayBuffer();
      if (res.status === 429) {
        assert.ok(Number(res.headers.get('retry-after')) >= 1);
        return;
      }
    }
    assert.fail('300 requests in a row passed');
  });
  await test('a page of another host may call, and no other', async () => {
    const allowed = async (origin) => {
      const res = await fetch(up.url, { method: 'OPTIONS', headers: { Origin: origin, 'Access-Control-Request-Method': 'POST' } });
      return res.headers.get('access-control-allow-origin');
    };
    assert.equal(await allowed('https://riverwatch.example'), 'https://riverwatch.example');
    assert.equal(await allowed('https://elsewhere.example'), null);
  });
}

const copy = mkdtempSync(join(tmpdir(), 'mcp-river.'));
process.once('exit', () => rmSync(copy, { recursive: true, force: true }));
cpSync(join(dirname(EXAMPLES), 'riverwatch'), copy, { recursive: true });
execFileSync('chmod', ['-R', 'u+w,go+rX', copy]); // from a source tree that may be read only
const conf = join(copy, 'mcp.json');
const text = readFileSync(conf, 'utf8');
await eachServer(copy, ['--workers', '2'], async (up) => {
  for (const client of clients)
    await converse(up, client);
  await test('what was asked for a moment ago is not asked again', async () => {
    const { age_s, stale } = (await temperature(up, 'bern'))._meta[CACHE];
    assert.ok(age_s >= 0 && age_s < 120);
    assert.equal(stale, false);
  });
}, ['lighttpd']);
// Two minutes are too long for a test, and so is a host that is left alone after failures.
writeFileSync(conf, text.replaceAll('"ttl_s": 120', '"ttl_s": 1'));
await test('everything is kept for 120 s', () => assert.deepEqual(text.match(/"ttl_s": \d+/g), ['"ttl_s": 120']));
await eachServer(copy, ['--workers', '1', '--set', 'http_breaker_failures=0'], (up) => fail(up, copy), ['lighttpd']);
writeFileSync(conf, text);
writeFileSync(join(copy, 'keys'), `river:${KEY}\n`, { mode: 0o600 });
await eachServer(copy, ['--workers', '2'], withKeys, ['apache']);
await done();
