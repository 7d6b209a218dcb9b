#!/usr/bin/env node
// Progress that others report on a call: the workers of a queue in PHP and Perl (examples/publish), and mcpctl, seen by the
// official clients in each revision, by a task, and by a client that takes JSON only.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { EXAMPLES, MODERN, answer, copyOf, done, eachServer, load, modern, needModules, pidsOf, pinned, session, skipAll, test,
  textOf, until } from './lib.mjs';

needModules();
if (process.env.MCP_TEST_URL)
  skipAll('the server that is given offers something else');
const v1 = { ...load('@modelcontextprotocol/sdk/client/index.js'), ...load('@modelcontextprotocol/sdk/client/streamableHttp.js'),
  ...load('@modelcontextprotocol/sdk/client/sse.js'), ...load('@modelcontextprotocol/sdk/types.js') };
const v2 = load('@modelcontextprotocol/client');
const me = { name: 'mcp-fcgi-tests', version: '1' };
const execute = promisify(execFile);
const WAIT_MS = 60000;

const kinds = [
  ...['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'].map((revision) => ({
    revision,
    client: () => new v1.Client(me),
    transport: (up) => pinned(revision === '2024-11-05' ? new v1.SSEClientTransport(new URL(up.sse))
      : new v1.StreamableHTTPClientTransport(new URL(up.url)), revision),
    call: (client, params, options) => client.callTool(params, undefined, options),
  })),
  {
    revision: MODERN,
    client: () => new v2.Client(me, { versionNegotiation: { mode: { pin: MODERN } } }),
    transport: (up) => new v2.StreamableHTTPClientTransport(new URL(up.url)),
    call: (client, params, options) => client.callTool(params, options),
  },
];

const site = copyOf(join(dirname(EXAMPLES), 'publish'));
const definition = JSON.parse(readFileSync(join(site, 'mcp.json')));
definition.tools.order.task = 'optional';

// An API that works for long, and reports.
let work;
const api = createServer(async ({ headers }, res) => res.end(await work(headers['x-call'])));
await new Promise((listens) => api.listen(0, '127.0.0.1', listens));
definition.http = { allow_addresses: ['127.0.0.1'] };
definition.tools.remote = { http: { url: `http://127.0.0.1:${api.address().port}/`, headers: { 'X-Call': '{mcp:call}' } } };
writeFileSync(join(site, 'mcp.json'), JSON.stringify(definition));

await eachServer(site, [], async (up, server) => {
  const is = (what, fn) => test(`${server}: ${what}`, fn, 2 * WAIT_MS);
  const argv = readFileSync(`/proc/${Math.min(...pidsOf(up, 'mcp-worker'))}/cmdline`, 'utf8').split('\0');
  const conf = argv[argv.indexOf('--conf') + 1], dir = dirname(conf), run_dir = join(up.dir, 'run');

  const run = async (program, ...args) => (await execute(program, args, { timeout: WAIT_MS, cwd: dir })).stdout.trim();
  const report = (...args) => run(join(process.env.abs_top_builddir ?? '.', 'mcpctl'), '--conf', conf,
    '--set', `run_dir=${run_dir}`, 'publish', 'progress', ...args);
  const jobs = (queue) => existsSync(join(dir, 'jobs', queue))
    ? readdirSync(join(dir, 'jobs', queue)).filter((name) => name.endsWith('.job')).map((name) => join(dir, 'jobs', queue, name)) : [];
  const handed = (queue) => until(`a job for ${queue}`, () => jobs(queue)[0], WAIT_MS);
  // A job that we do ourselves: the handle of its call, and how it ends.
  const take = async () => {
    const job = await handed('pack');
    const { call } = JSON.parse(readFileSync(job));
    return { call, finish: () => {
      writeFileSync(`${job}.part`, 'by hand');
      renameSync(`${job}.part`, job.replace(/job$/, 'done'));
    } };
  };
  const order = { name: 'order', arguments: { item: 'pear', count: 3 } };
  const gone = (e) => e.code === 1 && /there is no such call any more/.test(e.stderr);

  for (const { revision, client: make, transport, call } of server === 'lighttpd' ? kinds : kinds.slice(-2)) { // an era each is enough
    const client = make();
    const with_progress = (params, seen) => call(client, params, { timeout: WAIT_MS, onprogress: (p) => seen.push(p) });

    await is(`${revision}: PHP packs, and says so`, async () => {
      const seen = [];
      await client.connect(transport(up));
      const result = with_progress(order, seen);
      await handed('pack');
      assert.equal(await run('php', 'pack.php'), 'packed 3 of pear');
      assert.equal((await result).content[0].text, '3 of pear are packed\n');
      assert.ok(seen.length >= 2); // the SDK may forget what comes together with the result
      assert.deepEqual(seen, [1, 2, 3].slice(0, seen.length).map((n) => ({ progress: n, total: 3, message: `pear ${n} is packed` })));
    });
    await is(`${revision}: two calls at a time, each with its own`, async () => {
      const seen = [[], []];
      const results = seen.map((own) => with_progress(order, own));
      await until('two jobs', () => jobs('pack').length === 2, WAIT_MS);
      const calls = jobs('pack').map((job) => JSON.parse(readFileSync(job)).call);
      assert.notEqual(calls[0], calls[1]);
      assert.equal(await report(calls[0], '10/20'), 'reached 1');
      await until('one hears', () => seen[0].length + seen[1].length === 1, WAIT_MS);
      assert.equal(await report(calls[1], '11/20'), 'reached 1');
      await until('both have heard', () => seen[0].length === 1 && seen[1].length === 1, WAIT_MS);
      for (const job of jobs('pack'))
        renameSync(job, job.replace(/job$/, 'done'));
      await Promise.all(results);
    });
    await client.close();
  }

  await is('Perl counts, and says so', async () => {
    const client = kinds.at(-1).client(), seen = [];
    await client.connect(kinds.at(-1).transport(up));
    const result = client.callTool({ name: 'stocktake' }, { timeout: WAIT_MS, onprogress: (p) => seen.push(p.message) });
    await handed('count');
    assert.match(await run('perl', 'count.pl'), /^counted \d+$/);
    assert.match((await result).content[0].text, /^\d+ fruits\n$/);
    assert.ok(seen.length === 0 || seen[0] === 'stock/apple is counted'); // as above: all may come together
    await client.close();
  });

  await is('an HTTP API reports on its call', async () => {
    const seen = [], ask = (_meta) => modern(up.url, 1, 'tools/call', { name: 'remote', arguments: {}, _meta });
    work = async (call) => `worked: ${await report(call, '1/2', 'at work')}`;
    assert.equal(textOf(await answer(await ask({ progressToken: 7 }), seen)), 'worked: reached 1');
    assert.deepEqual(seen.map(({ params }) => params), [{ progressToken: 7, progress: 1, total: 2, message: 'at work' }]);
    assert.match(textOf(await answer(await ask({}))), /^worked: reached 0: .* asked for no progress$/);
  });

  await is('progress grows, whoever says it; what does not is dropped, and that is said', async () => {
    const hand = await session(up.url), seen = [];
    const result = hand.call(1, 'order', order.arguments, { progressToken: 'mine' }).then((res) => answer(res, seen));
    const { call, finish } = await take();
    assert.equal(await report(call, '1/3', 'Grüsse'), 'reached 1');
    for (const less of ['1', '0.5', '-3/3'])
      assert.equal(await report('--', call, less), 'reached 0: progress has to grow, and this is not more than before');
    assert.equal(await report(call, '1.25'), 'reached 1');
    finish();
    assert.equal(textOf(await result), 'by hand');
    assert.deepEqual(seen.map(({ params }) => params),
      [{ progressToken: 'mine', progress: 1, total: 3, message: 'Grüsse' }, { progressToken: 'mine', progress: 1.25 }]);
    await assert.rejects(report(call, '2'), gone);
    await hand.end();
  });

  await is('a client that asked for no progress, or takes JSON only, is not told, and that is said', async () => {
    const without = modern(up.url, 1, 'tools/call', order).then(answer);
    let job = await take();
    assert.equal(job.call, 'none');
    assert.equal(await report(job.call, '1'), 'reached 0: the client of this call asked for no progress');
    job.finish();
    assert.equal(textOf(await without), 'by hand');

    const json = modern(up.url, 2, 'tools/call', { ...order, _meta: { progressToken: 1 } }, { headers: { Accept: 'application/json' } });
    job = await take();
    assert.match(await report(job.call, '1'), /^reached 0: the client of this call gets one JSON object/);
    job.finish();
    const res = await json;
    assert.match(res.headers.get('content-type'), /^application\/json/);
    assert.equal(textOf(await answer(res)), 'by hand');
  });

  await is('a job learns that its client has left', async () => {
    const stop = new AbortController();
    const left = modern(up.url, 3, 'tools/call', { ...order, _meta: { progressToken: 1 } }, { signal: stop.signal }).then(answer);
    const { call } = await take();
    assert.equal(await report(call, '1'), 'reached 1');
    stop.abort();
    await assert.rejects(left);
    await until('the call ends', () => report(call, '2').then(() => false, gone), WAIT_MS);
    await until('its job is taken back', () => jobs('pack').length === 0, WAIT_MS);
  });

  await is('progress of a task shows in its state, and by its token', async () => {
    const client = new v1.Client(me, { capabilities: { tasks: { requests: {} } } });
    const said = [], progress = [];
    client.setNotificationHandler(v1.TaskStatusNotificationSchema, ({ params }) => { said.push(params.statusMessage); });
    await client.connect(new v1.StreamableHTTPClientTransport(new URL(up.url)));
    await client.listTools();
    const stream = client.experimental.tasks.callToolStream(order, v1.CallToolResultSchema, { task: {}, onprogress: (p) => progress.push(p.progress) });
    const { task } = (await stream.next()).value;
    const { call, finish } = await take();
    assert.equal(await report(call, '1/2', 'half'), 'reached 1');
    await until('its state says so', async () => (await client.experimental.tasks.getTask(task.taskId)).statusMessage === 'half', WAIT_MS);
    await until('the client is told', () => said.includes('half') && progress.includes(1), WAIT_MS);
    finish();
    let result;
    for await (const message of stream)
      result = message.result ?? result;
    assert.equal(result.content[0].text, 'by hand');
    await assert.rejects(report(call, '2'), gone);
    await client.close();
  });

  await is('nothing is left behind', () => assert.deepEqual(readdirSync(join(run_dir, 'calls')), []));
});
await done();
