#!/usr/bin/env node
// Streams that break off and are taken up again: every place to come back from, byte for byte, once, in order. By hand:
// a client library would hide what comes twice.
import assert from 'node:assert/strict';
import { FIXTURE, done, eachServer, modern, needModules, notification, request, session, test } from './lib.mjs';

needModules();
const STEPS = 5;
const slow = (tag, ms = 50) => ['test_slow', { ms, steps: STEPS, tag }, { progressToken: 'p' }];

// The bytes of an event stream, cut into its events, without comments and what is told to the connection alone.
const cut = (text) => text.split('\n\n').filter((event) => event && !/^(:|retry: \d+$)/.test(event));
const idOf = (event) => /^id: (.+)$/m.exec(event)?.[1];

// Reads count events of an answer that goes on, then leaves.
async function readSome(res, stop, count) {
  const decoder = new TextDecoder();
  let text = '';

  for await (const chunk of res.body) {
    text += decoder.decode(chunk, { stream: true });
    const whole = cut(text.slice(0, text.lastIndexOf('\n\n') + 2));
    if (whole.length < count)
      continue;
    stop.abort();
    return whole.slice(0, count); // what came beside them is lost on the way
  }
  throw new Error(`the stream ended: ${text}`);
}

await eachServer(FIXTURE, ['--workers', '2', '--threads', '4'], async (up, server) => {
  const is = (what, fn) => test(`${server}: ${what}`, fn);

  await is('a finished POST stream is taken up after each of its events', async () => {
    const s = await session(up.url);
    const whole = cut(await (await s.call(1, ...slow('whole'))).text());
    assert.equal(whole.length, 1 + STEPS + 1, whole.join('\n---\n')); // priming, progress, answer
    assert.match(whole[0], /^id: \S+\nretry: \d+\ndata: $/);
    assert.deepEqual(whole.map(idOf).filter((id) => id).length, whole.length);
    for (let n = 0; n < whole.length - 1; n++) {
      const res = await s.resume(idOf(whole[n]));
      assert.equal(res.status, 200);
      assert.deepEqual(cut(await res.text()), whole.slice(n + 1), `after event ${n}`);
    }
    const res = await s.resume(idOf(whole.at(-1)));
    assert.equal(res.status, 405, 'it was delivered');
    await s.end();
  });

  await is('a POST stream that broke off in mid-call goes on after each of its events', async () => {
    await Promise.all(Array.from({ length: STEPS + 1 }, async (_, n) => {
      const s = await session(up.url);
      const stop = new AbortController();
      const res = await s.call(1, ...slow(`broken ${n}`, 600), { signal: stop.signal });
      const seen = await readSome(res, stop, n + 1);
      const rest = cut(await (await s.resume(idOf(seen.at(-1)))).text());
      const messages = [...seen.slice(1), ...rest].map((event) => JSON.parse(/^data: (.*)$/m.exec(event)[1]));
      assert.deepEqual(messages.map((m) => m.params?.progress ?? m.result.content[0].text),
        [...Array.from({ length: STEPS }, (_, i) => i + 1), `slow done: broken ${n}`]);
      assert.equal(new Set([...seen, ...rest].map(idOf)).size, STEPS + 2, 'no id comes twice');
      await s.end();
    }));
  });

  await is('one call, left and taken up again after every event', async () => {
    const s = await session(up.url);
    let stop = new AbortController();
    let res = await s.call(1, ...slow('again', 1000), { signal: stop.signal });
    const seen = [];
    for (let n = 0; n < STEPS + 2; n++) {
      seen.push(...await readSome(res, stop, 1));
      stop = new AbortController();
      res = await s.resume(idOf(seen.at(-1)), { signal: stop.signal });
    }
    assert.equal(res.status, 405);
    assert.match(seen.at(-1), /slow done: again/);
    assert.equal(new Set(seen.map(idOf)).size, STEPS + 2);
    await s.end();
  });

  await is('the newest connection of a POST stream is the one that is written to', async () => {
    const s = await session(up.url);
    const stop = new AbortController();
    const first = await s.call(1, ...slow('newest', 1000));
    const [priming] = cut(new TextDecoder().decode((await first.body.getReader().read()).value));
    const second = await s.resume(idOf(priming));
    assert.match(await second.text(), /slow done: newest/);
    stop.abort();
    await s.end();
  });

  await is('an id of another session, or of nobody, is refused', async () => {
    const [one, two] = [await session(up.url), await session(up.url)];
    const whole = cut(await (await one.call(1, ...slow('foreign'))).text());
    assert.equal((await two.resume(idOf(whole[0]))).status, 400);
    assert.equal((await two.resume('1.2.3')).status, 400);
    assert.equal((await two.resume('x')).status, 400);
    await one.end();
    await two.end();
  });

  await is('the stream of a cancelled request ends, and is not replayed', async () => {
    const s = await session(up.url);
    const stop = new AbortController();
    const res = await s.call(7, ...slow('cancelled', 5000));
    const reader = res.body.getReader();
    let text = '';
    while (!text.includes('"progress":1'))
      text += new TextDecoder().decode((await reader.read()).value);
    await (await s.send(notification('notifications/cancelled', { requestId: 7 }))).arrayBuffer();
    for (let part; !(part = await reader.read()).done;)
      text += new TextDecoder().decode(part.value);
    assert.ok(!text.includes('"id":7'), text);
    for (const id of cut(text).map(idOf))
      assert.equal((await s.resume(id)).status, 405, `after ${id}`);
    stop.abort();
    await s.end();
  });

  await is('streams of older sessions have ids, but no event without data; modern ones have neither', async () => {
    for (const version of ['2025-03-26', '2025-06-18']) {
      const s = await session(up.url, version);
      const text = await (await s.call(1, ...slow(version))).text();
      assert.ok(!/^retry:|^data: $/m.test(text), text);
      assert.equal(cut(text).map(idOf).filter((id) => id).length, STEPS + 1);
      await s.end();
    }
    const [name, args, meta] = slow('modern');
    const text = await (await modern(up.url, 1, 'tools/call', { name, arguments: args, _meta: meta })).text();
    assert.ok(!/^retry:|^id:|^data: $/m.test(text), text);
    assert.equal(cut(text).length, STEPS + 1);
  });
});

// A site whose server has few threads to spare: answers are polled for.
await eachServer(FIXTURE, ['--set', 'stream_poll_after_ms=150', '--set', 'stream_retry_ms=50'], async (up, server) => {
  const [name, args, meta] = slow('polled', 1500);

  await test(`${server}: a connection ends after stream_poll_after_ms, and the client misses nothing`, async () => {
    const s = await session(up.url);
    const seen = [];
    let connections = 1;
    for (let res = await s.call(1, name, args, meta); res.status === 200; connections++) {
      const text = await res.text();
      seen.push(...cut(text).filter(idOf));
      if (!/"result"/.test(text)) {
        const retry = Number(/\n\nretry: (\d+)\n\n$/.exec(text)[1]);
        assert.ok(retry >= 50 && retry <= 100, `retry ${retry}`);
      }
      res = await s.resume(idOf(seen.at(-1)));
    }
    assert.ok(connections > 2, `${connections} connections`);
    assert.deepEqual(seen.slice(1, -1).map((event) => /"progress":(\d)/.exec(event)[1]), ['1', '2', '3', '4', '5']);
    assert.match(seen.at(-1), /slow done: polled/);
    assert.equal(new Set(seen.map(idOf)).size, STEPS + 2);
    await s.end();
  });
  await test(`${server}: but not that of a client of 2025-06-18`, async () => {
    const s = await session(up.url, '2025-06-18');
    assert.match(await (await s.call(1, name, args, meta)).text(), /slow done: polled/);
    await s.end();
  });
});
done();
