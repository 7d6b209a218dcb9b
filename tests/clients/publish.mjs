#!/usr/bin/env node
// Scripts that publish (examples/publish, mcpctl, curl), seen by the official clients of both eras: who hears what, and who
// doesn't.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { EXAMPLES, MODERN, copyOf, done, eachServer, load, needModules, pidsOf, sleep, test, until } from './lib.mjs';

needModules();
const v1 = { ...load('@modelcontextprotocol/sdk/client/index.js'), ...load('@modelcontextprotocol/sdk/client/streamableHttp.js'),
  ...load('@modelcontextprotocol/sdk/types.js') };
const v2 = load('@modelcontextprotocol/client');
const me = { name: 'mcp-fcgi-tests', version: '1' };
const execute = promisify(execFile);
const PEAR = 'shop://stock/pear';
const KEYS = { ann: 'ann-0123456789abcdef', bob: 'bob-0123456789abcdef' };

const kinds = {
  v1: {
    client: () => new v1.Client(me),
    transport: (url, options) => new v1.StreamableHTTPClientTransport(url, options),
    async hear(client, heard) {
      client.setNotificationHandler(v1.ResourceUpdatedNotificationSchema, ({ params }) => heard.push(params.uri));
      client.setNotificationHandler(v1.PromptListChangedNotificationSchema, () => heard.push('prompts'));
      client.setNotificationHandler(v1.LoggingMessageNotificationSchema, ({ params }) => heard.push(params));
      await client.subscribeResource({ uri: PEAR });
    },
  },
  [`v2, pinned to ${MODERN}`]: {
    client: () => new v2.Client(me, { versionNegotiation: { mode: { pin: MODERN } } }),
    transport: (url, options) => new v2.StreamableHTTPClientTransport(url, options),
    async hear(client, heard) {
      client.setNotificationHandler('notifications/resources/updated', ({ params }) => heard.push(params.uri));
      client.setNotificationHandler('notifications/prompts/list_changed', () => heard.push('prompts'));
      client.setNotificationHandler('notifications/message', ({ params }) => heard.push(params));
      await client.listen({ resourceSubscriptions: [PEAR], promptsListChanged: true });
    },
  },
};

async function open(up, kind, who) {
  const client = kinds[kind].client();
  const heard = [];
  await client.connect(kinds[kind].transport(new URL(up.url), { requestInit: { headers: { Authorization: `Bearer ${KEYS[who]}` } } }));
  await kinds[kind].hear(client, heard);
  return { kind, who, heard, client, is_legacy: kind === 'v1', session: client.transport.sessionId };
}

const site = copyOf(join(dirname(EXAMPLES), 'publish'));
writeFileSync(join(site, 'keys'), Object.entries(KEYS).map(([name, key]) => `${name}:${key}\n`).join(''), { mode: 0o600 });
writeFileSync(join(site, 'mcp.json'),
  JSON.stringify({ ...JSON.parse(readFileSync(join(site, 'mcp.json'))), auth: { api_keys_file: 'keys' } }));

await eachServer(site, [], async (up, server) => {
  const is = (what, fn) => test(`${server}: ${what}`, fn);
  let conf, clients = [];

  const run = async (program, ...args) => (await execute(program, args, { timeout: 30000, cwd: dirname(conf) })).stdout.trim();
  const mcpctl = (...args) => run(join(process.env.abs_top_builddir ?? '.', 'mcpctl'), '--conf', conf,
    '--set', `run_dir=${join(up.dir, 'run')}`, 'publish', ...args);
  // What is published reaches all of who, once; and the others were told nothing by then.
  const reaches = async (publish, who, check) => {
    for (const { heard } of clients)
      heard.length = 0;
    assert.equal(await publish(), `reached ${who.length}`);
    await until('they hear', () => who.every(({ heard }) => heard.length === 1));
    for (const one of clients) {
      assert.equal(one.heard.length, who.includes(one) ? 1 : 0, `${one.who}, ${one.kind}`);
      one.heard.forEach(check);
    }
  };

  await is('two clients of each era come', async () => {
    const argv = readFileSync(`/proc/${Math.min(...pidsOf(up, 'mcp-worker'))}/cmdline`, 'utf8').split('\0');
    conf = argv[argv.indexOf('--conf') + 1];
    for (const kind of Object.keys(kinds)) {
      for (const who of Object.keys(KEYS))
        clients.push(await open(up, kind, who));
    }
    await until('the socket is served', () => mcpctl('lists', 'prompts').then(() => true, () => false));
    await until('each reads', () => mcpctl('log', 'debug', 'x').then(() => clients.every(({ heard }) => heard.includes('prompts'))));
  });
  const legacy = clients.filter((one) => one.is_legacy);
  const of = (name) => clients.filter(({ who }) => who === name);

  await is('PHP: a sale is heard by who subscribed', () =>
    reaches(() => run('php', 'sold.php', 'pear', '1'), clients, (uri) => assert.equal(uri, PEAR)));
  await is('PHP: so is what is short, by those who can be told', async () => {
    clients.forEach(({ heard }) => { heard.length = 0; });
    assert.equal(await run('php', 'sold.php', 'pear', '4'), 'reached 4');
    await until('they hear', () => clients.every(({ heard, is_legacy }) => heard.length === (is_legacy ? 2 : 1)));
    for (const { heard } of legacy)
      assert.deepEqual(heard.find((one) => one !== PEAR), { level: 'warning', logger: 'shop', data: { item: 'pear', left: 7 } });
  });
  await is('Perl: news are shown, and the list of prompts is another', async () => {
    clients.forEach(({ heard }) => { heard.length = 0; });
    assert.equal(await run('perl', 'news.pl', 'Grüsse'), 'reached 2');
    await until('they hear', () => clients.every(({ heard, is_legacy }) => heard.length === (is_legacy ? 2 : 1)));
    for (const { heard } of legacy)
      assert.deepEqual(heard.find((one) => one !== 'prompts'), { level: 'notice', logger: 'news', data: 'Grüsse' });
  });
  await is('curl needs nothing but the path', () => reaches(async () => {
    const said = await run('curl', '-sS', '--unix-socket', 'publish.sock', 'http://localhost/publish', '-d', `{"resource":"${PEAR}"}`);
    return `reached ${JSON.parse(said).reached}`;
  }, clients, (uri) => assert.equal(uri, PEAR)));
  await is('one principal', () => reaches(() => mcpctl('lists', 'prompts', '--principal', 'ann'), of('ann'), (what) => assert.equal(what, 'prompts')));
  await is('one session', () =>
    reaches(() => mcpctl('resource', PEAR, '--session', legacy[1].session.slice(0, 8)), [legacy[1]], (uri) => assert.equal(uri, PEAR)));
  await is('a log line to one session of one principal', () =>
    reaches(() => mcpctl('log', 'error', 'only you', '--session', legacy[0].session, '--principal', legacy[0].who, '--logger', 'me'),
      [legacy[0]], (line) => assert.deepEqual(line, { level: 'error', logger: 'me', data: 'only you' })));
  await is('the level that a client set is kept to', async () => {
    await legacy[0].client.setLoggingLevel('error');
    await reaches(() => mcpctl('log', 'warning', 'not for all'), [legacy[1]], ({ data }) => assert.equal(data, 'not for all'));
  });
  await is('mistakes are named, and tell nobody', async () => {
    for (const [args, why] of [
      [['lists', 'prompt'], /lists\[0\]: no such list "prompt"; did you mean "prompts"\?/],
      [['lists', 'prompts', '--principal', 'anna'], /no such principal "anna"; did you mean "ann"\?/],
      [['resource', 'shop:/stock/pear'], /no such resource of this site "shop:\/stock\/pear"/],
      [['log', 'warn', 'x'], /log\.level must be debug, info, .*, not "warn"/],
      [['log', 'info', 'x', '--session', 'no-such-session'], /no session has an id that begins so/],
    ]) {
      clients.forEach(({ heard }) => { heard.length = 0; });
      await assert.rejects(mcpctl(...args), (e) => e.code === 1 && why.test(e.stderr));
    }
    assert.ok(clients.every(({ heard }) => heard.length === 0));
  });
  await is('a runner that died is there again with the next client', async () => {
    const [pid] = pidsOf(up, 'mcp-runner');
    process.kill(pid, 'SIGKILL');
    await until('it is gone', () => !pidsOf(up, 'mcp-runner').includes(pid));
    await assert.rejects(mcpctl('lists', 'prompts'), (e) => e.code === 1 && /No mcp-runner serves it/.test(e.stderr));
    await until('a client brings it back', async () => {
      const late = await open(up, 'v1', 'ann');
      await late.client.close();
      await sleep(500);
      return pidsOf(up, 'mcp-runner').length > 0;
    });
    await until('it serves', () => mcpctl('lists', 'prompts', '--principal', 'bob').then(() => true, () => false));
  });
  for (const { client } of clients)
    await client.close();
});
await done();
