#!/usr/bin/env node
// All clients lose their streams at the same moment: the broker is killed, stopped, or its workers are. Official clients
// with their default options, which try to come back only twice, come back, all of them, and hear what is said after it.
//
//     storm.mjs [CLIENTS [OPTION...]]    how many listen at lighttpd; Apache, which gives each a thread, gets a tenth.
//                                        Options are for tests/serve
import assert from 'node:assert/strict';
import { FIXTURE, answer, brokerOf, comment, done, eachServer, load, modern, needModules, parentOf, pidsOf, skipAll, test, textOf,
  until } from './lib.mjs';

needModules();
if (process.env.MCP_TEST_URL)
  skipAll('needs processes that it may kill');
const MANY = Number(process.argv[2] ?? 100);
const AT_A_TIME = 20;
const BACK_MS = 60000;
const v1 = { ...load('@modelcontextprotocol/sdk/client/index.js'), ...load('@modelcontextprotocol/sdk/client/streamableHttp.js'),
  ...load('@modelcontextprotocol/sdk/types.js') };
const v2 = load('@modelcontextprotocol/client');
const me = { name: 'storm', version: '1' };
const CHANGED = 'notifications/tools/list_changed';

// One that listens with GET, and is left to itself: {client, heard: notifications so far, opened: streams so far, errors}
async function legacy(up, n) {
  const sdk = n % 2 ? v1 : v2;
  const one = { name: n % 2 ? 'v1' : 'v2', heard: 0, opened: 0, errors: [] };
  const transport = new sdk.StreamableHTTPClientTransport(new URL(up.url), {
    fetch: async (url, init) => {
      const res = await fetch(url, init);
      one.opened += init?.method === 'GET' && res.status === 200;
      return res;
    },
  });
  one.client = new sdk.Client(me);
  one.client.onerror = (e) => one.errors.push(e.message);
  one.client.setNotificationHandler(n % 2 ? v1.ToolListChangedNotificationSchema : CHANGED, () => { one.heard++; });
  await one.client.connect(transport);
  await until(`the stream of ${n}`, () => one.opened, BACK_MS);
  return one;
}

// One of 2026-07-28. Its client does not listen again by itself: an application does, as soon as it is told.
async function listener(up) {
  const one = { name: 'v2 listen', heard: 0, opened: 0, errors: [] };
  one.client = new v2.Client(me, { versionNegotiation: { mode: { pin: '2026-07-28' } } });
  one.client.onerror = (e) => one.errors.push(e.message);
  one.client.setNotificationHandler(CHANGED, () => { one.heard++; });
  await one.client.connect(new v2.StreamableHTTPClientTransport(new URL(up.url)));
  const again = async () => {
    const subscription = await one.client.listen({ toolsListChanged: true });
    one.opened++;
    subscription.closed.then(() => { if (!one.over) again().catch((e) => one.errors.push(e.message)); });
  };
  await again();
  return one;
}

async function say(up) {
  const last = await answer(await modern(up.url, 1, 'tools/call', { name: 'test_trigger_tool_change', arguments: {} }));
  assert.match(textOf(last), /announced/);
}


await eachServer(FIXTURE, ['--workers', '2', '--threads', '8', '--apache-threads', '64', ...process.argv.slice(3)], async (up, server) => {
  const count = server === 'lighttpd' ? MANY : Math.ceil(MANY / 10);
  const all = [];

  await test(`${server}: ${count} clients listen`, async () => {
    for (let n = 0; n < count; n += AT_A_TIME)
      all.push(...await Promise.all(Array.from({ length: Math.min(AT_A_TIME, count - n) }, (_, i) =>
        (n + i) % 10 === 9 ? listener(up) : legacy(up, n + i))));
  }, 180000 + count * 50);

  for (const [program, signal] of [['mcp-broker', 'SIGKILL'], ['mcp-broker', 'SIGTERM'], ['mcp-worker', 'SIGKILL']])
    await test(`${server}: ${program}, ${signal}: all come back and hear what is said then`, async () => {
      const before = new Map(all.map((one) => [one, one.opened]));
      const heard = new Map(all.map((one) => [one, one.heard]));
      const begun = Date.now();
      const pids = program === 'mcp-broker' ? [await brokerOf(up)]
        : pidsOf(up, program).filter((pid, _, them) => them.includes(parentOf(pid))); // the workers' supervisor lives
      assert.equal(pids.length, program === 'mcp-broker' ? 1 : 2);
      all.forEach((one) => { one.errors.length = 0; });
      pids.forEach((pid) => process.kill(pid, signal));
      // the broker has the streams: when workers die, nobody has to come back
      let back = all;
      if (program === 'mcp-broker')
        await until('all are back', () => (back = all.filter((one) => one.opened > before.get(one))).length === count,
          BACK_MS).catch(() => {});
      const took = Date.now() - begun;
      await until('a worker answers', () => say(up).then(() => true, () => false), BACK_MS);
      await until('all hear', () => all.every((one) => one.heard > heard.get(one)), BACK_MS).catch(() => {});
      const reached = all.filter((one) => one.heard > heard.get(one));
      const reopened = all.filter((one) => one.opened > before.get(one)).length;
      comment(`${server}, ${program} ${signal}: ${reopened} of ${count} opened a stream again`
        + (program === 'mcp-broker' ? `, recovered ${(100 * back.length / count).toFixed(1)} % after ${took} ms` : '')
        + `; ${reached.length} heard, lost ${count - reached.length}`);
      for (const one of all.filter((each) => !reached.includes(each)).slice(0, 5))
        comment(`${one.name}: opened ${one.opened - before.get(one)} times; ${one.errors.join('; ')}`);
      assert.equal(reopened, program === 'mcp-broker' ? count : 0);
      assert.equal(reached.length, count);
    }, 4 * BACK_MS);

  all.forEach((one) => { one.over = true; });
  await Promise.all(all.map((one) => one.client.close().catch(() => {})));
});
done();
