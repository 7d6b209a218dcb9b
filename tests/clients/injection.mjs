#!/usr/bin/env node
// Whatever a client says stays a value, in each place of a configuration where it may come to stand: it arrives there as it is,
// or is refused in words. tests/proto/sites/injection has the places; the official clients of both eras try to break out.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MODERN, SITES, copyOf, done, eachServer, load, needModules, pinned, skipAll, test } from './lib.mjs';

needModules();
if (process.env.MCP_TEST_URL)
  skipAll('the server that is given offers something else');
const v1 = { ...load('@modelcontextprotocol/sdk/client/index.js'), ...load('@modelcontextprotocol/sdk/client/streamableHttp.js') };
const { ElicitRequestSchema } = load('@modelcontextprotocol/sdk/types.js');
const v2 = load('@modelcontextprotocol/client');
const me = { name: 'mcp-fcgi-tests', version: '1' };
const capabilities = { elicitation: {} };

const clients = [{
  revision: '2025-06-18',
  make: () => new v1.Client(me, { capabilities }),
  transport: (up) => pinned(new v1.StreamableHTTPClientTransport(new URL(up.url)), '2025-06-18'),
  onElicitation: (client, fn) => client.setRequestHandler(ElicitRequestSchema, fn),
}, {
  revision: MODERN,
  make: () => new v2.Client(me, { capabilities, versionNegotiation: { mode: { pin: MODERN } } }),
  transport: (up) => new v2.StreamableHTTPClientTransport(new URL(up.url)),
  onElicitation: (client, fn) => client.setRequestHandler('elicitation/create', fn),
}];

const VALUES = {
  'quotes': 'it\'s "so" `here` \\\' \\" \'\' ""',
  'SQL': "x' OR '1'='1'; DROP TABLE names; --",
  'a shell': '$(touch pwned); touch pwned | touch pwned & `touch pwned` > pwned\ttouch pwned',
  'an option': '--help',
  'placeholders': '{v} {{v}} {/method} {file:secret} {value} ${API} $API %s %n',
  'a path': '../../etc/passwd?x=1&admin=yes#y;z\\..\\w',
  'one dot': '.',
  'two dots': '..',
  'escapes': '%2e%2e%2f%00%0d%0aX-Admin:%20yes',
  'JSON': '","admin":true,"x":"\\',
  'a form': 'x&admin=yes&v[]=1;v=+%26',
  'markup': '</v>"\'><admin>&lt;<![CDATA[x]]><!--',
  'lines': 'a\r\nX-Admin: yes\r\n\r\nGET /count/evil HTTP/1.1\r\nHost: x\r\n\r\n',
  'controls': '\x01\x1b[31m\x7f',
  'a NUL': 'a\0b',
  'nothing': '',
  'other scripts': '日本 é \u202e\ufeff\u{1f30a}',
  'much': 'x'.repeat(5000),
};
const hasControls = (v) => /[\0-\x1f\x7f]/.test(v);
const isDots = (v) => v === '.' || v === '..';

// What the API was sent: {method, target, headers, body}.
const echoed = ({ text }) => JSON.parse(text);
const bytes = (header) => Buffer.from(header, 'latin1').toString();
const fields = (text) => Object.fromEntries(text.split('&').map((field) => field.split('=').map(decodeURIComponent)));
const ENTITIES = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };
const unescaped = (xml) => xml.replace(/&(?:#(\d+)|(\w+));/g, (_, code, name) => code ? String.fromCodePoint(Number(code)) : ENTITIES[name]);
const inXml = (v) => v.replace(/[\0-\x08\x0b\x0c\x0e-\x1f]/g, '\ufffd'); // which can't hold them

// Of a tool: what it must have seen of v, and which v it refuses, with what words.
const TOOLS = {
  path: {
    refuses: (v) => isDots(v) || v === '' ? /must not be/ : undefined,
    saw: (v, answer) => assert.equal(decodeURIComponent(/^\/echo\/([\w.~%-]*)\/end$/.exec(echoed(answer).target)[1]), v),
  },
  url: {
    refuses: (v) => v === '' ? /must not be empty/ : undefined,
    saw: (v, answer) => assert.deepEqual(fields(/^\/echo\?([\w.~%&=-]*)$/.exec(echoed(answer).target)[1]), { v, admin: 'no' }),
  },
  query: {
    refuses: (v) => v.length > 4096 ? /the arguments are too long/ : undefined, // of a URL
    saw: (v, answer) => assert.deepEqual(fields(/^\/echo\?([\w.~%&=-]*)$/.exec(echoed(answer).target)[1]), { v, in: `<${v}>`, admin: 'no' }),
  },
  header: {
    refuses: (v) => hasControls(v) ? /must not hold control characters/ : undefined,
    saw(v, answer) {
      const { 'x-v': header, ...others } = echoed(answer).headers;
      assert.deepEqual([bytes(header), others], [`<${v}>`, { 'x-admin': 'no' }]);
    },
  },
  json: { saw: (v, answer) => assert.deepEqual(JSON.parse(echoed(answer).body), { v, in: [`<${v}>`], admin: false }) },
  form: { saw: (v, answer) => assert.deepEqual(fields(echoed(answer).body), { v, in: `<${v}>`, admin: 'no' }) },
  body: { saw: (v, answer) => assert.equal(echoed(answer).body, `<${v}>`) },
  xml: {
    saw(v, answer) {
      const [, attribute, text] = /^<v a="([^<>"']*)">([^<>"']*)<\/v>$/.exec(echoed(answer).body);
      assert.deepEqual([unescaped(attribute), unescaped(text)], [inXml(v), inXml(v)]);
    },
  },
  template: { saw: (v, { text }) => assert.equal(text, `<${v}> POST <${v}>`) },
  sql: { saw: (v, { text }) => assert.deepEqual(JSON.parse(text), { v, plain: "it's {v}", found: 0, names: 2 }) },
  word: {
    refuses: (v) => v.startsWith('-') ? /must not begin with '-'/ : noWord(v),
    saw: (v, { text }) => assert.deepEqual(JSON.parse(text), { words: [v], variable: v, input: v }),
  },
  after_dashes: { refuses: (v) => noWord(v), saw: (v, { text }) => assert.deepEqual(JSON.parse(text), { words: ['--', v], variable: v, input: v }) },
  within: { refuses: (v) => noWord(v), saw: (v, { text }) => assert.deepEqual(JSON.parse(text), { words: [`--v=${v}`], variable: v, input: v }) },
};
const noWord = (v) => v.includes('\0') || v.length > 4096 ? /at most 4096 bytes, without NUL/ : undefined;

const PROMPTS = { text: (v) => `<${v}>`, messages: (v) => `<${v}>`, sql: (v) => `<${v}> <${v}>` };

// Of a resource: its text for v, and whether there is one.
const RESOURCES = {
  'text://': { saw: (v, text) => assert.equal(text, `<${v}>`) },
  'json://': { saw: (v, text) => assert.deepEqual(JSON.parse(text), { v }) },
  'sql://': { saw: (v, text) => assert.deepEqual(JSON.parse(text), { v }) },
  'http://stand.in/': { isThere: (v) => !isDots(v), saw: (v, text) => TOOLS.path.saw(v, { text }) },
  'program://': {
    isThere: (v) => !noWord(v),
    saw: (v, text) => assert.deepEqual(JSON.parse(text), { words: ['--', v], variable: v, input: v }),
  },
};

// All values, so that one report says all that is wrong.
async function eachValue(fn) {
  const wrong = [];

  for (const [what, v] of Object.entries(VALUES))
    await fn(v).catch((e) => wrong.push(`${what}: ${e.message}`));
  assert.deepEqual(wrong, []);
}

async function tryAll(up, server, { revision, make, transport, onElicitation }) {
  const client = make();
  const step = (what, fn) => test(`${server}: ${revision}: ${what}`, fn, 60000);
  let asked;

  onElicitation(client, ({ params }) => {
    asked = params.message;
    return { action: 'accept', content: {} };
  });
  if (!await step('open', () => client.connect(transport(up))))
    return;
  for (const [name, { refuses, saw }] of Object.entries(TOOLS)) {
    await step(`tool, ${name}`, () => eachValue(async (v) => {
      const { content: [{ text }], isError } = await client.callTool({ name, arguments: { v } });
      const why = refuses?.(v);
      assert.equal(Boolean(isError), Boolean(why), text);
      if (why)
        assert.match(text, why);
      else
        saw(v, { text });
    }));
  }
  await step('a question', () => eachValue(async (v) => {
    await client.callTool({ name: 'ask', arguments: { v } });
    assert.equal(asked, `<${v}>`);
  }));
  for (const [name, want] of Object.entries(PROMPTS)) {
    await step(`prompt, ${name}`, () => eachValue(async (v) =>
      assert.equal((await client.getPrompt({ name, arguments: { v } })).messages[0].content.text, want(v))));
  }
  for (const [start, { isThere = () => true, saw }] of Object.entries(RESOURCES)) {
    await step(`resource, ${start}`, () => eachValue(async (v) => {
      const reading = client.readResource({ uri: start + encodeURIComponent(v) });
      if (v !== '' && !v.includes('\0') && isThere(v))
        saw(v, (await reading).contents[0].text);
      else
        await assert.rejects(reading, /not found|must not be|at most 4096/i);
    }));
  }
  await step('completion', () => eachValue(async (v) => {
    const { completion } = await client.complete({ ref: { type: 'ref/prompt', name: 'sql' }, argument: { name: 'v', value: v } });
    assert.deepEqual(completion.values, [v]);
  }));
  await client.close();
}

const site = copyOf(join(SITES, 'injection'));
execFileSync('python3', ['-c', `import sqlite3
with sqlite3.connect("names.db") as db:
    db.executescript("CREATE TABLE names (name); INSERT INTO names VALUES ('Ada'), ('Grace')")`], { cwd: site });
writeFileSync(join(site, 'secret'), 'of nobody\n');
await eachServer(site, [], async (up, server) => {
  for (const client of clients)
    await tryAll(up, server, client);
  await test(`${server}: nothing of it was done`, async () => {
    const client = clients[0].make();
    await client.connect(clients[0].transport(up));
    assert.equal((await client.callTool({ name: 'evil', arguments: {} })).content[0].text, '1');
    await client.close();
    assert.ok(![site, join(up.dir, 'site')].some((dir) => existsSync(join(dir, 'pwned'))));
  });
});
await done();
