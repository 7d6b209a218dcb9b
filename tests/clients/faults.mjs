#!/usr/bin/env node
// Processes that die in the middle of things, and clients that change their mind.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FIXTURE, answer, brokerOf, done, eachServer, isAlive, messages, modern, needModules, notification, parentOf, pidsOf, session,
  skipAll, test, textOf, until } from './lib.mjs';

needModules();
if (process.env.MCP_TEST_URL)
  skipAll('needs processes that it may kill');

// Where test_slow says which process it is.
const stateOf = (up, tag) => join(up.dir, 'run', `slow-${Buffer.from(tag).toString('hex')}`);
const pidOf = (up, tag) => until(`test_slow ${tag} runs`, () => existsSync(stateOf(up, tag))
  && Number(/^running (\d+)/.exec(readFileSync(stateOf(up, tag), 'utf8'))?.[1]));

const EARLY_MS = 40000;
const slow = (tag, ms = 20000, steps = 200) => ({ name: 'test_slow', arguments: { ms, steps, tag } });
const withProgress = (params) => ({ ...params, _meta: { progressToken: 'p' } });
const status = async (up, tag) => textOf(await answer(await modern(up.url, 1, 'tools/call',
  { name: 'test_slow_status', arguments: { tag } })));
const becomes = (up, tag, want) => until(`test_slow ${tag} is ${want}`, async () => await status(up, tag) === want);
const echo = async (call) => assert.deepEqual(JSON.parse(textOf(await answer(await call('test_echo', { a: 1 })))), { a: 1 });
const modernEcho = (up) => echo((name, args) => modern(up.url, 1, 'tools/call', { name, arguments: args }));

// The first message of an answer that streams.
async function first(res) {
  assert.equal(res.status, 200);
  assert.match(res.headers.get('content-type'), /^text\/event-stream/);
  const reader = messages(res);
  const { value } = await reader.next();
  assert.equal(value.message.method, 'notifications/progress');
  return reader;
}

// The messages that are left, less progress.
async function rest(reader) {
  const left = [];
  for await (const { message } of reader)
    if (message.method !== 'notifications/progress')
      left.push(message);
  return left;
}

async function killWorker(up, tag) {
  const tool = await pidOf(up, tag);
  process.kill(parentOf(parentOf(parentOf(tool))), 'SIGKILL'); // the two processes of mcp-launch are between them
  return tool;
}

// Silent calls become streams late: some of them are to be met before that.
await eachServer(FIXTURE, ['--workers', '2', '--threads', '4', '--set', 'stream_after_ms=4000'], async (up, server) => {
  const is = (what, fn) => test(`${server}: ${what}`, fn);

  // ---- a worker dies

  await is('worker killed in a streamed call, modern: a JSON-RPC error on the stream', async () => {
    const reader = await first(await modern(up.url, 'm1', 'tools/call', withProgress(slow('kill-m'))));
    const tool = await killWorker(up, 'kill-m');
    const [error, ...more] = await rest(reader);
    assert.equal(error?.id, 'm1');
    assert.equal(typeof error.error.code, 'number');
    assert.deepEqual(more, []);
    await until('the tool is gone', () => !isAlive(tool));
    await modernEcho(up);
  });

  await is('worker killed in a streamed call, legacy: a JSON-RPC error, and the session lives', async () => {
    const s = await session(up.url);
    const reader = await first(await s.call(7, 'test_slow', slow('kill-l').arguments, { progressToken: 'p' }));
    await killWorker(up, 'kill-l');
    const [error, ...more] = await rest(reader);
    assert.equal(error?.id, 7);
    assert.equal(typeof error.error.code, 'number');
    assert.deepEqual(more, []);
    await echo((name, args) => s.call(8, name, args));
    await s.end();
  });

  for (const era of ['modern', 'legacy'])
    await is(`worker killed before the call streamed, ${era}: 5xx at once`, async () => {
      const s = era === 'legacy' && await session(up.url);
      const tag = `early-${era}`;
      const params = slow(tag, EARLY_MS);
      const call = s ? s.call(1, 'test_slow', params.arguments) : modern(up.url, 1, 'tools/call', params);
      const tool = await killWorker(up, tag);
      const began = Date.now();
      const res = await call;
      await res.arrayBuffer();
      assert.ok(res.status >= 500, `status ${res.status}`);
      assert.ok(Date.now() - began < EARLY_MS / 2, `after ${Date.now() - began} ms`);
      await until('the tool is gone', () => !isAlive(tool));
      await (s ? echo((name, args) => s.call(2, name, args)) : modernEcho(up));
    });

  await is('killed workers are replaced', async () => {
    await until('two workers', () => pidsOf(up, 'mcp-worker').length >= 2);
    await Promise.all(Array.from({ length: 16 }, () => modernEcho(up)));
  });

  // ---- the client changes its mind

  await is('notifications/cancelled ends a streamed call and kills its tool', async () => {
    const s = await session(up.url);
    const reader = await first(await s.call('c1', 'test_slow', slow('cancel-s').arguments, { progressToken: 'p' }));
    const res = await s.send(notification('notifications/cancelled', { requestId: 'c1', reason: 'enough' }));
    assert.equal(res.status, 202);
    assert.deepEqual(await rest(reader), []);
    await becomes(up, 'cancel-s', 'cancelled');
    await echo((name, args) => s.call('c2', name, args));
    await s.end();
  });

  await is('notifications/cancelled ends a call that does not stream yet', async () => {
    const s = await session(up.url);
    const call = s.call(1, 'test_slow', slow('cancel-j').arguments);
    await pidOf(up, 'cancel-j');
    const res = await s.send(notification('notifications/cancelled', { requestId: 1 }));
    assert.equal(res.status, 202);
    assert.equal(await answer(await call), undefined);
    await becomes(up, 'cancel-j', 'cancelled');
    await s.end();
  });

  await is("another session's notifications/cancelled has no effect", async () => {
    const [s, other] = await Promise.all([session(up.url), session(up.url)]);
    const reader = await first(await s.call(5, 'test_slow', slow('cancel-o', 1500, 15).arguments, { progressToken: 'p' }));
    assert.equal((await other.send(notification('notifications/cancelled', { requestId: 5 }))).status, 202);
    assert.equal((await s.send(notification('notifications/cancelled', { requestId: '5' }))).status, 202);
    const [last] = await rest(reader);
    assert.equal(textOf(last), 'slow done: cancel-o');
    await Promise.all([s.end(), other.end()]);
  });

  await is('DELETE cancels what runs in the session', async () => {
    const s = await session(up.url);
    const reader = await first(await s.call(1, 'test_slow', slow('delete').arguments, { progressToken: 'p' }));
    assert.ok((await s.end()).ok);
    await rest(reader);
    await becomes(up, 'delete', 'cancelled');
  });

  await is('a modern client that closes the stream cancels the call', async () => {
    const stop = new AbortController();
    await first(await modern(up.url, 1, 'tools/call', withProgress(slow('close-m')), { signal: stop.signal }));
    stop.abort();
    await becomes(up, 'close-m', 'cancelled');
  });

  await is('a modern client that closes a silent stream cancels the call', async () => {
    const stop = new AbortController();
    const res = await modern(up.url, 1, 'tools/call', slow('close-q', 60000, 1), { signal: stop.signal });
    assert.match(res.headers.get('content-type'), /^text\/event-stream/);
    stop.abort();
    await becomes(up, 'close-q', 'cancelled'); // lighttpd tells at once; under Apache only the second heartbeat finds out
  });

  await is('a legacy client that closes the stream cancels nothing', async () => {
    const s = await session(up.url);
    const stop = new AbortController();
    const res = await s.call(1, 'test_slow', slow('close-l', 1500, 15).arguments, { progressToken: 'p' }, { signal: stop.signal });
    await first(res);
    stop.abort();
    await becomes(up, 'close-l', 'done');
    await s.end();
  });

  // ---- the broker dies

  await is('broker killed: the modern era goes on, a new broker starts, sessions go on', async () => {
    const s = await session(up.url);
    const stream = await s.listen();
    const broker = await brokerOf(up);
    process.kill(broker, 'SIGKILL');
    await modernEcho(up);
    const res = await s.call(1, 'test_echo', { a: 1 });
    await res.arrayBuffer();
    assert.ok([200, 503].includes(res.status), `status ${res.status}`);
    await stream.arrayBuffer().catch(() => {}); // ends, in whatever way the web server ends it
    const again = await until('a new session', () => session(up.url).catch(() => null));
    await echo((name, args) => again.call(1, name, args));
    assert.notEqual(await brokerOf(up), broker);
    await echo((name, args) => s.call(2, name, args));
    await Promise.all([s.end(), again.end()]);
  });

  await is('broker killed in a streamed modern call: the stream ends, the next call works', async () => {
    const reader = await first(await modern(up.url, 1, 'tools/call', withProgress(slow('broker-m'))));
    process.kill(await brokerOf(up), 'SIGKILL');
    await rest(reader).catch(() => {});
    await becomes(up, 'broker-m', 'cancelled');
    // while there is no broker a call is answered as one JSON object
    const next = await modern(up.url, 2, 'tools/call', withProgress(slow('broker-n', 400, 4)));
    assert.equal(textOf(await answer(next)), 'slow done: broker-n');
    await until('a call that streams', async () => {
      const res = await modern(up.url, 3, 'tools/call', withProgress(slow('broker-o', 100, 4)));
      assert.equal(textOf(await answer(res)), 'slow done: broker-o');
      return res.headers.get('content-type').startsWith('text/event-stream');
    });
  });
});
done();
