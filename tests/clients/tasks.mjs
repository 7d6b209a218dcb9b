#!/usr/bin/env node
// Tasks: the official v1 client with those of 2025-11-25, a client by hand with the extension of 2026-07-28, and both
// with a program that waits for its answers.
import assert from 'node:assert/strict';
import { FIXTURE, answer, done, eachServer, load, modern, needModules, renewWorkers, taskClient, test, textOf, until } from './lib.mjs';

needModules();
const v1 = { ...load('@modelcontextprotocol/sdk/client/index.js'), ...load('@modelcontextprotocol/sdk/client/streamableHttp.js'),
  ...load('@modelcontextprotocol/sdk/types.js') };
const me = { name: 'mcp-fcgi-tests', version: '1' };

const killWorkers = (up) => up.dir && renewWorkers(up);

async function connect(up, answers) {
  const client = new v1.Client(me, { capabilities: { elicitation: {}, tasks: { requests: {} } } });
  const seen = { asked: [], related: [], status: [] };

  client.setRequestHandler(v1.ElicitRequestSchema, ({ params }) => {
    seen.asked.push(params.message);
    seen.related.push(params._meta?.[v1.RELATED_TASK_META_KEY]?.taskId);
    return { action: 'accept', content: answers(params.message) };
  });
  client.setNotificationHandler(v1.TaskStatusNotificationSchema, ({ params }) => { seen.status.push(params.status); });
  await client.connect(new v1.StreamableHTTPClientTransport(new URL(up.url)));
  await client.listTools(); // it learns which tools make tasks
  return { client, tasks: client.experimental.tasks, seen };
}

// Runs a tool as a task, to its end: what came, by its kind.
async function follow(tasks, name, args = {}, task = {}) {
  const got = { states: [] };
  for await (const message of tasks.callToolStream({ name, arguments: args }, v1.CallToolResultSchema, { task })) {
    if (message.type === 'taskCreated')
      got.task = message.task;
    else if (message.type === 'taskStatus')
      got.states.push(message.task.status);
    else
      got[message.type] = message[message.type];
  }
  return got;
}

async function experimental(up, server) {
  const step = (what, fn) => test(`${server}: v1: ${what}`, fn);
  const answers = (message) => /delete/i.test(message) ? { confirm: true }
    : /name|Who/.test(message) ? { name: 'Ann', answer: 'Ann' } : { name: message.at(-1), answer: 'tea' };
  let it;

  if (!await step('open', async () => { it = await connect(up, answers); }))
    return;
  await step('a task and its result', async () => {
    const got = await follow(it.tasks, 'slow_compute', { seconds: 0.3, label: 'x' }, { ttl: 60000 });
    assert.equal(got.task.ttl, 60000);
    assert.equal(got.result.content[0].text, 'computed x\n');
    const again = await it.tasks.getTask(got.task.taskId);
    assert.equal(again.status, 'completed');
    await until('its status', () => it.seen.status.includes('completed'));
  });
  await step('a tool that fails', async () => {
    const got = await follow(it.tasks, 'failing_job');
    assert.equal((await it.tasks.getTask(got.task.taskId)).status, 'failed');
    assert.ok((await it.tasks.getTaskResult(got.task.taskId, v1.CallToolResultSchema)).isError);
  });
  await step('a task that must be one', async () => {
    await assert.rejects(it.client.callTool({ name: 'failing_job' }), /task/);
  });
  await step('a task that asks', async () => {
    const got = await follow(it.tasks, 'confirm_delete', { filename: 'a.txt' });
    assert.equal(got.result.content[0].text, 'deleted a.txt\n');
    assert.equal(it.seen.asked.at(-1), 'Delete a.txt?');
    assert.equal(it.seen.related.at(-1), got.task.taskId);
    assert.ok(got.states.includes('input_required'), got.states.join());
  });
  await step('cancel', async () => {
    const stream = it.tasks.callToolStream({ name: 'slow_compute', arguments: { seconds: 50 } }, v1.CallToolResultSchema, { task: {} });
    const { taskId } = (await stream.next()).value.task;
    assert.equal((await it.tasks.cancelTask(taskId)).status, 'cancelled');
    await assert.rejects(it.tasks.cancelTask(taskId), /ended/);
    await stream.return();
  });
  await step('a task outlives its client', async () => {
    const stream = it.tasks.callToolStream({ name: 'slow_compute', arguments: { seconds: 1, label: 'y' } }, v1.CallToolResultSchema, { task: {} });
    const { taskId } = (await stream.next()).value.task;
    await it.client.close();
    it = await connect(up, answers);
    const result = await it.tasks.getTaskResult(taskId, v1.CallToolResultSchema);
    assert.equal(result.content[0].text, 'computed y\n');
  });
  await step('a program that waits', async () => {
    const { content } = await it.client.callTool({ name: 'test_interview' });
    assert.equal(content[0].text, 'Ann likes tea and was asked by one process\n');
    assert.deepEqual(it.seen.asked.slice(-2), ['Who are you?', 'What do you like, Ann?']);
  });
  await step('a program that waits, as a task', async () => {
    const got = await follow(it.tasks, 'test_interview');
    assert.equal(got.result.content[0].text, 'Ann likes tea and was asked by one process\n');
  });
  await step('close', () => it.client.close());
}

async function extension(up, server) {
  const step = (what, fn) => test(`${server}: 2026-07-28: ${what}`, fn);
  const { ask, create, reach } = taskClient(up);
  let id = 0;

  await step('a task survives all workers', async () => {
    const { taskId } = await create('slow_compute', { seconds: 1, label: 'z' });
    const { taskId: other } = await create('multi_input');
    await reach(other, 'input_required');
    await killWorkers(up);
    const accept = (name) => ({ action: 'accept', content: { name, confirm: true } });
    await ask('tasks/update', { taskId: other, inputResponses: { first: accept('A'), second: accept('B') } });
    assert.equal(textOf(await reach(other, 'completed')), 'A and B\n');
    assert.equal(textOf(await reach(taskId, 'completed')), 'computed z\n');
  });
  await step('a program that waits, and all workers die between question and answer', async () => {
    const call = { name: 'test_interview', arguments: {} };
    const own = { 'io.modelcontextprotocol/clientCapabilities': { elicitation: {} } };
    const more = async (params) => (await answer(await modern(up.url, ++id, 'tools/call', { ...call, ...params, _meta: own }))).result;
    let result = await more({});
    for (const [key, value] of [['name', 'Bo'], ['like', 'milk']]) {
      assert.deepEqual(Object.keys(result.inputRequests), [key]);
      await killWorkers(up);
      result = await more({ requestState: result.requestState, inputResponses: { [key]: { action: 'accept', content: { answer: value } } } });
    }
    assert.equal(textOf({ result }), 'Bo likes milk and was asked by one process\n');
  });
}

await eachServer(FIXTURE, [], async (up, server) => {
  await experimental(up, server);
  await extension(up, server);
});
await done();
