#!/usr/bin/env node
// Files as resources, seen by the official clients: page by page, read, completed, and watched while they change.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { MODERN, SITES, done, eachServer, load, needModules, sleep, test, until } from './lib.mjs';

needModules();
const v1 = { ...load('@modelcontextprotocol/sdk/client/index.js'), ...load('@modelcontextprotocol/sdk/client/streamableHttp.js'),
  ...load('@modelcontextprotocol/sdk/types.js') };
const v2 = load('@modelcontextprotocol/client');
const me = { name: 'mcp-fcgi-tests', version: '1' };
const GUIDE = 'docs:///guides/start.md';
const UPDATED = 'notifications/resources/updated';
const LIST_CHANGED = 'notifications/resources/list_changed';

const clients = [
  {
    name: 'v1',
    client: () => new v1.Client(me),
    transport: (up) => new v1.StreamableHTTPClientTransport(new URL(up.url)),
    run: (client, script) => client.callTool({ name: 'run', arguments: { script } }, undefined),
    list: (client, params) => client.listResources(params),
    async hear(client, uris, updated, listChanged) {
      client.setNotificationHandler(v1.ResourceUpdatedNotificationSchema, ({ params }) => updated(params.uri));
      client.setNotificationHandler(v1.ResourceListChangedNotificationSchema, listChanged);
      for (const uri of uris)
        await client.subscribeResource({ uri });
    },
  },
  {
    name: `v2, pinned to ${MODERN}`,
    client: () => new v2.Client(me, { versionNegotiation: { mode: { pin: MODERN } } }),
    transport: (up) => new v2.StreamableHTTPClientTransport(new URL(up.url)),
    run: (client, script) => client.callTool({ name: 'run', arguments: { script } }),
    list: (client, params) => client.request({ method: 'resources/list', params }), // listResources() asks for all pages
    async hear(client, uris, updated, listChanged) {
      client.setNotificationHandler(UPDATED, ({ params }) => updated(params.uri));
      client.setNotificationHandler(LIST_CHANGED, listChanged);
      await client.listen({ resourceSubscriptions: uris, resourcesListChanged: true });
    },
  },
];

// The names of all items, and fn(page) between two pages.
async function pages(list, fn) {
  const names = [];
  for (let cursor; ;) {
    const page = await list(cursor === undefined ? {} : { cursor });
    names.push(...page.resources.map((each) => each.name));
    cursor = page.nextCursor;
    if (cursor === undefined)
      return names;
    await fn(page);
  }
}

async function converse(up, server, { name, client: make, transport: connect, run, list, hear }) {
  const client = make();
  const step = (what, fn) => test(`${server}: ${name}: ${what}`, fn);
  const sh = async (script) => {
    const { content, isError } = await run(client, script);
    assert.ok(!isError, JSON.stringify(content));
  };

  if (!await step('open', () => client.connect(connect(up))))
    return;
  await step('250 files page by page, while some come and go', async () => {
    let count = 0;
    const names = await pages((params) => list(client, params), async ({ resources }) => {
      count++;
      if (resources.at(-1).uri.startsWith('many:'))
        await sh(`cd many && rm '${resources.at(-1).name}' && : >'a new one ${count}.txt' && : >'g ${count}.txt'`);
    });
    const files = names.filter((each) => /^f \d+\.txt$/.test(each));
    assert.deepEqual(files, Array.from({ length: 250 }, (_, i) => `f ${i + 100}.txt`));
    assert.ok(names.includes('g 1.txt')); // it stands behind the place where the page ended
    assert.ok(!names.some((each) => each.startsWith('a new one')));
    assert.ok(count >= 2);
    await sh('cd many && rm -f a* g*; i=100; while [ $i -lt 350 ]; do : >"f $i.txt"; i=$((i + 1)); done');
  });
  await step('read', async () => {
    await sh("echo '# Guide' >docs/guides/start.md");
    assert.deepEqual((await client.readResource({ uri: GUIDE })).contents, [{ uri: GUIDE, mimeType: 'text/markdown', text: '# Guide\n' }]);
    assert.equal((await client.readResource({ uri: 'docs:///bytes' })).contents[0].blob, '/wA=');
    await assert.rejects(client.readResource({ uri: 'docs:///..%2Fsecret' }), /not found/i);
  });
  await step('complete', async () => {
    const ref = { type: 'ref/resource', uri: 'docs:///{+path}' };
    const { completion } = await client.complete({ ref, argument: { name: 'path', value: 'guides/' } });
    assert.deepEqual(completion.values, ['guides/deep/', 'guides/start.md']);
  });
  await step('hear of changes, and of nothing else', async () => {
    let updated = [];
    let lists = 0;
    const next = async (what, script, ...wanted) => {
      updated = [];
      await sh(script);
      await until(what, () => wanted.every((uri) => updated.includes(uri)));
      assert.deepEqual([...new Set(updated)].sort(), wanted.sort());
    };

    await hear(client, [GUIDE, 'test://note', 'docs:///to%20come.md'], (uri) => updated.push(uri), () => { lists++; });
    await next('written', 'echo more >>docs/guides/start.md', GUIDE);
    do { // what the steps before did in the other directory is told in its own time
      lists = 0;
      await sleep(1000);
    } while (lists > 0);
    await next('replaced', 'echo else >docs/guides/.x.tmp && mv docs/guides/.x.tmp docs/guides/start.md', GUIDE);
    await next('one file that has a URI of its own', 'echo note >>docs/note.md; echo soup >>docs/soup.recipe', 'test://note');
    assert.equal(lists, 0);
    await next('came', "echo here >'docs/to come.md'", 'docs:///to%20come.md');
    await until('the list changed', () => lists > 0);
    assert.equal((await client.readResource({ uri: 'docs:///to%20come.md' })).contents[0].text, 'here\n');
    const before = lists;
    await next('went', "rm 'docs/to come.md'", 'docs:///to%20come.md');
    await until('the list changed again', () => lists > before);
    await assert.rejects(client.readResource({ uri: 'docs:///to%20come.md' }), /not found/i);
  });
  await step('close', () => client.close());
}

await eachServer(join(SITES, 'files'), ['--workers', '2', '--threads', '4'], async (up, server) => {
  for (const each of clients)
    await converse(up, server, each);
});
await done();
