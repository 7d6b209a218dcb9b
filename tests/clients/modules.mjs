#!/usr/bin/env node
// Modules, used by the official clients in both eras: those of examples/modules, and one that crashes.
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CLIENTS, MODERN, copyOf, done, eachServer, load, needModules, pidsOf, skipAll, taskClient, test, until } from './lib.mjs';

needModules();
if (process.env.MCP_TEST_URL)
  skipAll('the server that is given offers something else');
const v1 = { ...load('@modelcontextprotocol/sdk/client/index.js'), ...load('@modelcontextprotocol/sdk/client/streamableHttp.js') };
const v2 = load('@modelcontextprotocol/client');
const { CallToolResultSchema, CreateMessageRequestSchema, ElicitRequestSchema } = load('@modelcontextprotocol/sdk/types.js');
const me = { name: 'mcp-fcgi-tests', version: '1' };
const capabilities = { elicitation: {}, tasks: { requests: {} } };
const BUILT = join(process.env.abs_top_builddir, 'tests', 'modules');
const WORDS = existsSync(join(BUILT, 'words.so')); // is in C++, for which there may be no compiler

// Halves what is left, by the hints.
function guesser() {
  let low = 1, high = 100, last;
  return async ({ params: { message } }) => {
    if (message.includes('larger'))
      low = last + 1;
    else if (message.includes('smaller'))
      high = last - 1;
    last = Math.floor((low + high) / 2);
    return { action: 'accept', content: { number: last } };
  };
}

async function legacy(up) {
  const client = new v1.Client(me, { capabilities });
  client.setRequestHandler(ElicitRequestSchema, guesser());
  await client.connect(new v1.StreamableHTTPClientTransport(new URL(up.url)));
  return client;
}

async function modern(up) {
  const client = new v2.Client(me, { capabilities, versionNegotiation: { mode: { pin: MODERN } } });
  client.setRequestHandler('elicitation/create', guesser());
  await client.connect(new v2.StreamableHTTPClientTransport(new URL(up.url)));
  return client;
}

async function converse(client) {
  const call = (name, args = {}, options) => client.callTool({ name, arguments: args }, ...options ?? []);
  const text = async (...args) => (await call(...args)).content[0].text;

  assert.equal(await text('hello', { name: 'Jörg' }), 'Hello, Jörg!');
  assert.deepEqual((await call('count_primes', { below: 1000000 })).structuredContent, { count: 78498 });
  assert.equal(await text('count_primes', { below: 10000001 }), 'count_primes: I count up to 10000000 only.');
  assert.match(await text('guess_number'), /^\d+ it is, after [1-7] guesses\.$/);
  assert.equal((await client.readResource({ uri: 'number:///84' })).contents[0].text, '84 = 1 * 2 * 2 * 3 * 7');
  await assert.rejects(client.readResource({ uri: 'number:///x' }), /nothing at this URI/);
  const { messages } = await client.getPrompt({ name: 'explain_number', arguments: { n: '6' } });
  assert.equal(messages[0].content.text, 'What is special about the number 6?');
  if (WORDS) {
    assert.equal(await text('count_words', { text: 'To be or not to be' }), 'be 2\nnot 1\nor 1\nto 2\n');
    assert.equal(await text('count_words', { text: '1 2 3' }), 'count_words: there is no word in it');
  }
  await assert.rejects(call('crash'));
  await until('another worker', () => text('hello', { name: 'you' }).then((got) => got === 'Hello, you!', () => false));
  await client.close();
}

// Tasks, whose handlers run in processes of their own beside the runner. What both kinds have to come to:
//   run(tool, args): {text, failed}    to the end of the task, with what the user and the model say
//   begin(tool, args): {progress(text), cancel()}
async function tasks({ run, begin }, up) {
  const runner = () => pidsOf(up, 'mcp-runner').join();
  const expect = async (tool, args, text, failed = false) => assert.deepEqual(await run(tool, args), { text, failed });
  const long = await begin('doze_long', { how: 'wait' });

  await long.progress('dozing');
  const before = runner();
  assert.match(before, /^\d+$/);
  await expect('tell', { pointer: '/arguments/pointer' }, 'started tell 18 /arguments/pointer');
  await expect('ask', { needed: 1 }, 'blue 1');
  await expect('sample', {}, 'it said water');
  await expect('count_primes', { below: 1000 }, '{"count":168}');
  await expect('crash', {}, 'crash: its process was ended by signal 11 (Segmentation fault)', true);
  await expect('leave', {}, 'leave: its process exited with status 3', true);
  await expect('loop', {}, 'loop: it took longer than its timeout_s', true);
  await long.progress('dozing');
  await long.cancel();
  assert.equal(runner(), before, 'the runner is the same');
}

async function legacyTasks(up) {
  const client = new v1.Client(me, { capabilities: { ...capabilities, sampling: {} } });
  const { tasks } = client.experimental;
  const start = (name, args) => tasks.callToolStream({ name, arguments: args }, undefined, { task: {} });

  client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: { colour: 'blue' } }));
  client.setRequestHandler(CreateMessageRequestSchema, () => ({ role: 'assistant', model: 'none', content: { type: 'text', text: 'water' } }));
  await client.connect(new v1.StreamableHTTPClientTransport(new URL(up.url)));
  await client.listTools(); // it learns which tools make tasks
  return {
    async run(name, args) {
      let taskId;
      for await (const message of start(name, args))
        taskId ??= message.task?.taskId;
      const result = await tasks.getTaskResult(taskId, CallToolResultSchema);
      return { text: result.content[0].text, failed: (await tasks.getTask(taskId)).status === 'failed' };
    },
    async begin(name, args) {
      const stream = start(name, args), { taskId } = (await stream.next()).value.task;
      return {
        progress: (text) => until(text, async () => (await tasks.getTask(taskId)).statusMessage === text, 20000),
        async cancel() {
          assert.equal((await tasks.cancelTask(taskId)).status, 'cancelled');
          await stream.return();
        },
      };
    },
    end: () => client.close(),
  };
}

function modernTasks(up) {
  const { ask, create, reach } = taskClient(up, { elicitation: {}, sampling: {} });
  const says = {
    'elicitation/create': { action: 'accept', content: { colour: 'blue' } },
    'sampling/createMessage': { role: 'assistant', model: 'none', content: { type: 'text', text: 'water' } },
  };

  return {
    async run(name, args) {
      const { taskId } = await create(name, args);
      const task = await until('its end', async () => {
        const now = await ask('tasks/get', { taskId });
        if (now.status === 'input_required')
          await ask('tasks/update', { taskId, inputResponses: Object.fromEntries(
            Object.entries(now.inputRequests).map(([key, { method }]) => [key, says[method]])) });
        return now.status === 'completed' ? now : undefined;
      }, 20000);
      return { text: task.result.content[0].text, failed: task.result.isError ?? false };
    },
    async begin(name, args) {
      const { taskId } = await create(name, args);
      return {
        progress: (text) => until(text, async () => (await ask('tasks/get', { taskId })).statusMessage === text, 20000),
        cancel: async () => { await ask('tasks/cancel', { taskId }); await reach(taskId, 'cancelled'); },
      };
    },
    end: () => {},
  };
}

const EXAMPLE = join(CLIENTS, '..', 'modules');
const site = copyOf(EXAMPLE);
const modules = { hello: {}, manners: {}, numbers: { settings: { most: 10000000 }, timeout_s: 30 } };
if (WORDS)
  modules.words = {};
for (const [name, entry] of Object.entries(modules)) {
  entry.file = `${name}.so`;
  copyFileSync(join(BUILT, entry.file), join(site, entry.file));
}
writeFileSync(join(site, 'mcp.json'), JSON.stringify({ modules }), { mode: 0o644 });

await eachServer(site, [], async (up) => {
  for (const [era, make] of Object.entries({ legacy, modern }))
    await test(`${era}: called, asked, read, and there again after a crash`, async () => converse(await make(up)));
  for (const [era, make] of Object.entries({ legacy: legacyTasks, modern: modernTasks })) {
    await test(`${era}: tasks that ask, end, crash and hang, beside one that goes on`, async () => {
      const client = await make(up);
      await tasks(client, up);
      await client.end();
    });
  }
}, ['lighttpd']);
done();
