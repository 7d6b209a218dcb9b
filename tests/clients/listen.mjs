#!/usr/bin/env node
// subscriptions/listen and the session's own stream while processes die, and with many at once. By hand, for a client library
// would reconnect.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FIXTURE, answer, brokerOf, done, eachServer, events, messages, modern, needModules, pidsOf, session, skip, sleep, test,
  textOf, until } from './lib.mjs';

needModules();
const SID = 'io.modelcontextprotocol/subscriptionId';
const MANY = 60;

// An open listen: {seen: what came after the acknowledgement, over: when it ends, stop()}
async function listen(up, id, notifications) {
  const stop = new AbortController();
  const res = await modern(up.url, id, 'subscriptions/listen', { notifications }, { signal: stop.signal });
  const read = events(res);
  const seen = [];

  assert.equal(res.status, 200);
  const next = async () => {
    const { value, done: over } = await read.next();
    if (over)
      return null;
    assert.equal(value.id, undefined);
    assert.equal(value.retry, undefined);
    return JSON.parse(value.data);
  };
  const first = await next();
  assert.equal(first.method, 'notifications/subscriptions/acknowledged');
  assert.equal(first.params._meta[SID], id);
  const over = (async () => {
    for (let message; (message = await next()); seen.push(message))
      assert.equal((message.params ?? message.result)._meta[SID], id);
  })().catch((e) => e.name === 'AbortError' || Promise.reject(e));
  over.catch(() => {}); // it counts when we wait for it
  return { honoured: first.params.notifications, seen, over, stop: () => { stop.abort(); return over; } };
}

let calls = 0;
async function trigger(up, name, args = {}) {
  const last = await answer(await modern(up.url, ++calls, 'tools/call', { name, arguments: args }));
  assert.match(textOf(last), /announced/);
}

await eachServer(FIXTURE, ['--workers', '2', '--threads', '2'], async (up, server) => {
  const is = (what, fn) => test(`${server}: ${what}`, fn);

  await is(`${MANY} listens over 4 threads, and each hears once, with its own id`, async () => {
    const all = [];
    while (all.length < MANY) // few at a time: a worker that has no link yet lets only some wait for it
      all.push(...await Promise.all(Array.from({ length: 4 }, (_, i) => all.length + i).map((n) =>
        listen(up, n % 2 ? n : `listen:${n}`, n % 3 ? { toolsListChanged: true } : { promptsListChanged: true }))));
    await trigger(up, 'test_trigger_tool_change');
    await until('all have heard', () => all.every(({ seen }, n) => seen.length === (n % 3 ? 1 : 0)));
    await trigger(up, 'test_trigger_prompt_change');
    await until('all have heard', () => all.every(({ seen }) => seen.length === 1));
    assert.deepEqual(all.map(({ seen }) => seen[0].method),
      all.map((_, n) => `notifications/${n % 3 ? 'tools' : 'prompts'}/list_changed`));
    await Promise.all(all.map(({ stop }) => stop()));
  });

  await is('what was announced while nobody read the stream of a session is one event of each kind', async () => {
    const s = await session(up.url);
    const uri = 'test://watched-resource';
    await (await s.send({ jsonrpc: '2.0', id: 1, method: 'resources/subscribe', params: { uri } })).json();
    for (let n = 0; n < 10; n++)
      await Promise.all(Array.from({ length: 4 }, () =>
        trigger(up, n % 2 ? 'test_trigger_tool_change' : 'test_trigger_resource_update', n % 2 ? {} : { uri })));
    const stop = new AbortController();
    const seen = [];
    const reading = (async () => {
      for await (const { message } of messages(await s.listen({ signal: stop.signal })))
        seen.push(message.method);
    })().catch(() => {});
    await until('something is here', () => seen.length >= 2);
    await sleep(200);
    assert.deepEqual(seen.sort(), ['notifications/resources/updated', 'notifications/tools/list_changed']);
    await trigger(up, 'test_trigger_tool_change'); // and it goes on
    await until('the next one is here', () => seen.length === 3);
    stop.abort();
    await reading;
    await s.end();
  });

  if (server === 'given') {
    skip(`${server}: processes that die`, 'they are not ours');
    return;
  }
  await is('a listen outlives the worker that took it', async () => {
    const one = await listen(up, 'survivor', { toolsListChanged: true });
    const before = pidsOf(up, 'mcp-worker');
    const [supervisor] = before.sort((a, b) => a - b); // it made the others
    for (const pid of before.filter((each) => each !== supervisor))
      process.kill(pid, 'SIGKILL');
    await until('a worker is back', async () => (await modern(up.url, 1, 'server/discover').catch(() => ({}))).status === 200);
    await trigger(up, 'test_trigger_tool_change');
    await until('it hears', () => one.seen.length === 1);
    await one.stop();
  });

  await is('workers that are started with other tools tell who is there', async () => {
    const one = await listen(up, 'anew', { toolsListChanged: true, promptsListChanged: true });
    const dir = mkdtempSync(join(tmpdir(), 'mcp-anew-'));
    const argv = readFileSync(`/proc/${Math.min(...pidsOf(up, 'mcp-worker'))}/cmdline`, 'utf8').split('\0').slice(0, -1);
    writeFileSync(join(dir, 'mcp.json'), '{"tools":{"echo":{"builtin":"echo"}}}');
    argv[argv.indexOf('--conf') + 1] = join(dir, 'mcp.json');
    argv[argv.indexOf('--socket') + 1] = join(dir, 'socket');
    const child = spawn(argv[0], argv.slice(1), { stdio: 'ignore' });
    const over = new Promise((ended) => child.on('close', ended));
    try {
      await until('it hears', () => one.seen.length > 0);
      assert.deepEqual(one.seen.map(({ method }) => method), ['notifications/tools/list_changed']); // and it has no prompts
    } finally {
      child.kill();
      await over;
      rmSync(dir, { recursive: true });
    }
    await one.stop();
  });

  await is('a broker that is told to go ends each listen with its result', async () => {
    const two = [await listen(up, 'g', { toolsListChanged: true }), await listen(up, 7, { promptsListChanged: true })];
    process.kill(await brokerOf(up), 'SIGTERM');
    await Promise.all(two.map(({ over }) => over));
    for (const { seen } of two)
      assert.deepEqual(seen.map(({ result }) => result?.resultType), ['complete']);
    assert.deepEqual(two.map(({ seen }) => seen[0].id), ['g', 7]);
    let again;
    await until('there is another broker', async () => (again = await listen(up, 'h', { toolsListChanged: true }).catch(() => null)));
    await trigger(up, 'test_trigger_tool_change');
    await until('it hears', () => again.seen.length === 1);
    await again.stop();
  });
});
done();
