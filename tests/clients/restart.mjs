#!/usr/bin/env node
// The broker dies, or is stopped, while clients have sessions, streams and questions open: they go on where they were.
import assert from 'node:assert/strict';
import { FIXTURE, answer, brokerOf, done, eachServer, messages, needModules, pidsOf, session, skipAll, test, textOf, until } from './lib.mjs';

needModules();
if (process.env.MCP_TEST_URL)
  skipAll('needs processes that it may kill');
const STEPS = 5;
const ROUNDS = 3;
const slow = (tag, ms) => ['test_slow', { ms, steps: STEPS, tag }, { progressToken: 'p' }];
// Events, without what belongs to a connection: comments, and when to come again.
const cut = (text) => text.split('\n\n').filter((event) => event && !/^(:|retry: \d+$)/.test(event));
const idOf = (event) => /^id: (.+)$/m.exec(event)?.[1];
const messageOf = (event) => JSON.parse(/^data: (.*)$/m.exec(event)[1]);

async function end(up, signal) {
  const pid = await brokerOf(up);
  process.kill(pid, signal);
  await until('it is gone', () => !pidsOf(up, 'mcp-broker').includes(pid));
}

// What a request gives as soon as there is a broker again; before that it is told to come later, or fails.
const again = (what, fn) => until(what, async () => {
  const res = await fn().catch(() => null);
  if (res?.status === 200 || res?.status === 202)
    return res;
  assert.ok(!res || res.status >= 500, `${what}: ${res?.status} ${await res?.text()}`);
  return null;
});

// Everything until the end, or until the connection breaks. hear(text) is told what there is so far.
async function readAll(res, hear = () => {}) {
  const decoder = new TextDecoder();
  let text = '';
  try {
    for await (const chunk of res.body) {
      text += decoder.decode(chunk, { stream: true });
      hear(text);
    }
  } catch {
    // cut off
  }
  return cut(text.slice(0, text.lastIndexOf('\n\n') + 2));
}

await eachServer(FIXTURE, ['--workers', '2', '--threads', '8'], async (up, server) => {
  for (const signal of ['SIGKILL', 'SIGABRT', 'SIGTERM']) {
    const is = (what, fn) => test(`${server}, ${signal}: ${what}`, fn);

    await is('sessions go on', async () => {
      const sessions = await Promise.all(Array.from({ length: 8 }, () => session(up.url)));
      const gone = await session(up.url);
      await gone.end();
      await end(up, signal);
      await Promise.all(sessions.map(async (s, n) => {
        const res = await again('a call', () => s.call(n, 'test_echo', { n }));
        assert.deepEqual(JSON.parse(textOf(await answer(res))), { n });
      }));
      assert.equal((await gone.call(1, 'test_echo', {})).status, 404, 'what was deleted stays deleted');
      await Promise.all(sessions.map((s) => s.end()));
    });

    await is('a finished stream is read from each place, byte for byte, restart after restart', async () => {
      const s = await session(up.url);
      const whole = cut(await (await s.call(1, ...slow(`whole ${signal}`, 50))).text());
      assert.equal(whole.length, 1 + STEPS + 1);
      for (let round = 0; round < ROUNDS; round++) {
        await end(up, signal);
        for (let n = 0; n < whole.length - 1; n++) {
          const res = await again('a resume', () => s.resume(idOf(whole[n])));
          assert.deepEqual(cut(await res.text()), whole.slice(n + 1), `after event ${n}`);
        }
        const res = await s.resume(idOf(whole.at(-1)));
        assert.equal(res.status, 405, 'it was delivered');
      }
      await s.end();
    });

    await is('calls under way: nothing twice, nothing out of order, an end for each', async () => {
      const begun = new Set();
      const clients = await Promise.all(Array.from({ length: 6 }, async (_, n) => {
        const s = await session(up.url);
        const res = await s.call(n, ...slow(`cut ${signal} ${n}`, 3000));
        return { s, n, read: readAll(res, (text) => text.includes('"progress":') && begun.add(n)) };
      }));
      await until('each has progress', () => begun.size === clients.length);
      await end(up, signal);
      await Promise.all(clients.map(async ({ s, n, read }) => {
        const seen = await read;
        let last = seen.length > 1 ? messageOf(seen.at(-1)) : {};
        if (!('id' in last)) { // SIGTERM: it may have had its end already
          const res = await again('a resume', () => s.resume(idOf(seen.at(-1))));
          const rest = await readAll(res);
          assert.ok(rest.length > 0, 'nothing is left');
          seen.push(...rest);
          last = messageOf(seen.at(-1));
        }
        assert.equal(last.id, n);
        if (signal === 'SIGTERM') // which says the wills of those that have not ended in time
          assert.ok(last.result || typeof last.error.code === 'number');
        else
          assert.ok(last.result, `${n} has ended with ${JSON.stringify(last)}`);
        assert.equal(seen.filter((event) => /^data: .*"id":/m.test(event)).length, 1, 'answered twice');
        assert.equal(new Set(seen.map(idOf)).size, seen.length, 'an id came twice');
        const steps = seen.slice(1, -1).map((event) => messageOf(event).params.progress); // some may be lost with the broker
        assert.deepEqual(steps, [...new Set(steps)].sort());
        assert.ok(steps.length >= 1);
        await s.end();
      }));
    });

    await is('a question can be answered after it', async () => {
      const s = await session(up.url, '2025-11-25', { elicitation: {} });
      const res = await s.call(1, 'test_elicitation', { message: 'Who?' });
      const reader = messages(res, true);
      let asked;
      let lastId;
      while (!asked) {
        const { value } = await reader.next();
        lastId = value.id;
        asked = value.message;
      }
      assert.equal(asked.method, 'elicitation/create');
      await end(up, signal);
      await again('the answer', () => s.send({ jsonrpc: '2.0', id: asked.id, result: { action: 'decline' } }));
      const said = await answer(await again('a resume', () => s.resume(lastId)));
      assert.equal(said.id, 1);
      assert.equal(textOf(said), 'User response: action=decline, content={}');
      await s.end();
    });

    await is('a session stream is held by who comes again', async () => {
      const s = await session(up.url);
      const first = await s.listen();
      assert.equal(first.status, 200);
      if (server === 'apache') // else the client learns of the end a KeepAliveTimeout late
        assert.equal(first.headers.get('connection'), 'close');
      await end(up, signal);
      await first.arrayBuffer().catch(() => {});
      const second = await again('GET', () => s.listen());
      const reader = second.body.getReader();
      await s.end();
      for (let part; !(part = await reader.read()).done;)
        ;
    });
  }
});
done();
