#!/usr/bin/env node
// Many sessions at once over two worker processes, and what a client sees of time. By hand, for a client library would
// sort out, or swallow, a message that is on a wrong stream.
import assert from 'node:assert/strict';
import { FIXTURE, answer, done, eachServer, events, messages, modern, needModules, notification, post, request, session, skip,
  sleep, test, textOf, until } from './lib.mjs';

needModules();
const SESSIONS = 40;
const SSE_SESSIONS = 10;

// One call of test_slow on a stream of its own: exactly its progress, then exactly its answer.
async function slowCall(s, who, id) {
  const tag = `${who}/${id}`;
  const seen = [];
  const res = await s.call(id, 'test_slow', { ms: 150, steps: 3, tag }, { progressToken: id });
  const last = await answer(res, seen);

  assert.equal(last.id, id);
  assert.equal(textOf(last), `slow done: ${tag}`);
  assert.deepEqual(seen, [1, 2, 3].map((n) => notification('notifications/progress',
    { progressToken: id, progress: n, total: 3, message: `${tag} ${n}/3` })));
}

async function echoCall(s, who, id) {
  const last = await answer(await s.call(id, 'test_echo', { who, id }));
  assert.equal(last.id, id);
  assert.deepEqual(JSON.parse(textOf(last)), { who, id });
}

// A session of Streamable HTTP whose own stream is open all the time. The ids are the same in each session.
async function streamable(up, who) {
  const s = await session(up.url);
  const stop = new AbortController();
  const res = await s.listen({ signal: stop.signal });
  const strays = [];

  assert.equal(res.status, 200);
  const listening = (async () => {
    for await (const { message } of messages(res))
      strays.push(message);
  })().catch((e) => e.name === 'AbortError' || Promise.reject(e));
  listening.catch(() => {}); // it counts when we wait for it
  await Promise.all([slowCall(s, who, 1), echoCall(s, who, 2), (async () => {
    await echoCall(s, who, 3);
    await slowCall(s, who, 4);
  })()]);
  stop.abort();
  await listening;
  assert.deepEqual(strays, [], `on the session's own stream of ${who}`);
  assert.ok((await s.end()).ok);
}

// A session of HTTP+SSE, where the answers to all calls come on the one stream.
async function oldTransport(up, who) {
  const stop = new AbortController();
  const res = await fetch(up.sse, { headers: { Accept: 'text/event-stream' }, signal: stop.signal });
  const got = [];
  let endpoint;
  const reading = (async () => {
    for await (const { event, data } of events(res)) {
      if (event === 'endpoint')
        endpoint = new URL(data, up.sse);
      else
        got.push(JSON.parse(data));
    }
  })().catch((e) => e.name === 'AbortError' || Promise.reject(e));
  reading.catch(() => {});
  const send = async (message) => {
    const sent = await post(endpoint, message);
    await sent.arrayBuffer();
    assert.equal(sent.status, 202);
  };
  const reply = (id) => until(`answer ${id} of ${who}`, () => got.find((m) => m.id === id && m.method === undefined));

  await until('endpoint', () => endpoint);
  await send(request(0, 'initialize', { protocolVersion: '2024-11-05', capabilities: {}, clientInfo: { name: who, version: '1' } }));
  assert.equal((await reply(0)).result.protocolVersion, '2024-11-05');
  await send(notification('notifications/initialized'));
  await Promise.all([1, 2, 3].map((id) => send(request(id, 'tools/call', id === 2
    ? { name: 'test_echo', arguments: { who, id } }
    : { name: 'test_slow', arguments: { ms: 150, steps: 3, tag: `${who}/${id}` }, _meta: { progressToken: id } }))));
  await Promise.all([1, 2, 3].map(reply));
  stop.abort();
  await reading;
  assert.deepEqual(got.filter((m) => m.method === undefined).map((m) => m.id).sort(), [0, 1, 2, 3]);
  assert.deepEqual(JSON.parse(textOf(got.find((m) => m.id === 2))), { who, id: 2 });
  for (const id of [1, 3]) {
    assert.equal(textOf(got.find((m) => m.id === id)), `slow done: ${who}/${id}`);
    assert.deepEqual(got.filter((m) => m.params?.progressToken === id).map((m) => m.params.message),
      [1, 2, 3].map((n) => `${who}/${id} ${n}/3`));
  }
  assert.equal(got.length, 4 + 6, `stray messages at ${who}`);
}

// Lateness of each progress of a tool that says when it emitted it.
async function lateness(res) {
  const late = [];
  let last;

  for await (const { message, at } of messages(res)) {
    if (message.method === 'notifications/progress')
      late.push(at - Number(message.params.message));
    else
      last = message;
  }
  assert.equal(textOf(last), 'done');
  assert.equal(late.length, 10);
  return late;
}

const shown = (late) => late.map((ms) => ms.toFixed(1)).join(' ');

await eachServer(FIXTURE, ['--workers', '2', '--threads', '4', '--set', 'link_timeout_ms=30000'], async (up, server) => {
  await test(`${server}: ${SESSIONS} sessions and ${SSE_SESSIONS} of HTTP+SSE at once, nothing on a wrong stream`, async () => {
    const results = await Promise.allSettled([
      ...Array.from({ length: SESSIONS }, (_, n) => streamable(up, `s${n}`)),
      ...Array.from({ length: SSE_SESSIONS }, (_, n) => oldTransport(up, `o${n}`)),
    ]);
    const bad = results.filter((r) => r.status === 'rejected');
    assert.equal(bad.length, 0, `${bad.length} sessions failed, the first: ${bad[0]?.reason.stack} ${bad[0]?.reason.cause?.stack}`);
  });

  await test(`${server}: a session that ended at one worker is gone at each`, async () => {
    const s = await session(up.url);
    assert.ok((await s.end()).ok);
    const codes = await Promise.all(Array.from({ length: 24 }, async (_, n) => {
      const res = await s.send(request(n, 'tools/list'));
      await res.arrayBuffer();
      return res.status;
    }));
    assert.deepEqual([...new Set(codes)], [404]);
  });

  await test(`${server}: the newest GET stream of a session is the open one`, async () => {
    const s = await session(up.url);
    const stop = new AbortController();
    const first = await s.listen();
    const second = await s.listen({ signal: stop.signal });
    assert.deepEqual([first.status, second.status], [200, 200]);
    await first.arrayBuffer(); // ends
    stop.abort();
    await s.end();
  });

  await test(`${server}: DELETE ends the session's stream`, async () => {
    const s = await session(up.url);
    const res = await s.listen();
    await s.end();
    await res.arrayBuffer();
  });

  if (server === 'given') {
    skip(`${server}: time from emission to client`, 'the clocks may differ');
    return;
  }
  // Something else may have the processor for a while; but what is kept back is late each time, and what comes with the
  // answer is late by all of the time that the call takes.
  const ticks = { ms: 2000, steps: 10 };
  const isInTime = (late) => assert.ok(Math.min(...late) < 100 && late[0] < ticks.ms / 2, `ms late: ${shown(late)}`);
  await test(`${server}: progress is here as it is emitted, modern`, async () => {
    const late = await lateness(await modern(up.url, 1, 'tools/call',
      { name: 'test_ticks', arguments: ticks, _meta: { progressToken: 1 } }));
    isInTime(late);
  });
  await test(`${server}: progress is here as it is emitted, legacy`, async () => {
    const s = await session(up.url);
    isInTime(await lateness(await s.call(1, 'test_ticks', ticks, { progressToken: 1 })));
    await s.end();
  });
  await test(`${server}: a silent call is a stream after stream_after_ms, with its answer in time`, async () => {
    const began = Date.now();
    const res = await modern(up.url, 1, 'tools/call', { name: 'test_slow', arguments: { ms: 4000, steps: 1, tag: 'silent' } });
    const head_ms = Date.now() - began;
    assert.match(res.headers.get('content-type'), /^text\/event-stream/);
    assert.ok(head_ms >= 900 && head_ms < 4000, `the head came after ${head_ms} ms`);
    assert.equal(textOf(await answer(res)), 'slow done: silent');
  });
});
done();
