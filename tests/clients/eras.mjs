#!/usr/bin/env node
// A handler is written once for all revisions: whatever the site offers says the same in each. Everything that is listed is
// called, read, got and completed, in the five revisions; answers may differ only in what a revision does not know.
import assert from 'node:assert/strict';
import { FIXTURE, MODERN, comment, done, eachServer, messages, modern, request, session, test } from './lib.mjs';

const REVISIONS = ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25', MODERN];
const CAPABILITIES = { sampling: {}, elicitation: { form: {}, url: {} }, roots: {} };
const META = 'io.modelcontextprotocol/';
const ROUNDS_MAX = 10;

// ---- a client of any revision: ask() gives {result or error, notes: notifications before it, asked: what it was asked}

// What fits a schema, as far as those of tools and forms go.
function sample(schema, root = schema) {
  if (schema.$ref)
    return sample(schema.$ref.slice(2).split('/').reduce((at, name) => at?.[name], root) ?? {}, root);
  const first = schema.const ?? schema.default ?? schema.enum?.[0];
  if (first !== undefined)
    return first;
  if (schema.oneOf ?? schema.anyOf)
    return sample((schema.oneOf ?? schema.anyOf)[0], root);
  switch ([schema.type].flat()[0]) {
  case 'object': return Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, s]) => [name, sample(s, root)]));
  case 'array': return schema.items ? [sample(schema.items, root)] : [];
  case 'integer': case 'number': return schema.minimum ?? 1;
  case 'boolean': return false;
  default: return { email: 'a@example.org', uri: 'https://example.org/', date: '2026-01-01', 'date-time': '2026-01-01T00:00:00Z' }[schema.format]
    ?? 'x'.padEnd(schema.minLength ?? 1, 'x');
  }
}

const reply = ({ method, params }) => ({
  'elicitation/create': () => ({ action: 'accept', ...(params.requestedSchema && { content: sample(params.requestedSchema) }) }),
  'sampling/createMessage': () => ({ role: 'assistant', model: 'm', content: { type: 'text', text: 'x' } }),
  'roots/list': () => ({ roots: [{ uri: 'file:///x', name: 'x' }] }),
})[method]();

const mirrored = (tool, args) => Object.fromEntries(Object.entries(tool?.inputSchema.properties ?? {})
  .filter(([name, s]) => s['x-mcp-header'] && args?.[name] !== undefined)
  .map(([name, s]) => [`Mcp-Param-${s['x-mcp-header']}`, String(args[name])]));

async function modernClient(url) {
  let id = 0;
  const ask = async (method, params = {}, tool = undefined) => {
    const got = { notes: [], asked: [] };
    let more = {};

    for (let round = 0; round < ROUNDS_MAX; round++) {
      const res = await modern(url, ++id, method, { ...params, ...more, _meta: {
        [`${META}clientCapabilities`]: CAPABILITIES, [`${META}logLevel`]: 'info', progressToken: `t${id}`,
      } }, { headers: mirrored(tool, params.arguments) });
      for await (const { message } of messages(res)) {
        if (message.method)
          got.notes.push(message);
        else
          Object.assign(got, { result: message.result, error: message.error });
      }
      if (got.result?.resultType !== 'input_required')
        return got;
      const { inputRequests = {}, requestState } = got.result;
      got.asked.push(...Object.values(inputRequests));
      more = { ...(requestState && { requestState }),
        inputResponses: Object.fromEntries(Object.entries(inputRequests).map(([key, asked]) => [key, reply(asked)])) };
    }
    throw new Error(`${method} asks without end`);
  };
  return { ask, end: () => {} };
}

async function legacyClient(url, revision) {
  const s = await session(url, revision, CAPABILITIES);
  let id = 0;
  const ask = async (method, params = {}) => {
    const got = { notes: [], asked: [] };
    let last;
    let res = await s.send(request(++id, method, { ...params, _meta: { progressToken: `t${id}` } }));

    for (let round = 0; round < ROUNDS_MAX && !got.result && !got.error; round++) {
      if (round > 0)
        res = await s.resume(last); // the connection was closed, not the stream
      for await (const { message, id: eventId } of messages(res, true)) {
        last = eventId ?? last;
        if (message?.method && message.id !== undefined) {
          got.asked.push(message);
          await (await s.send({ jsonrpc: '2.0', id: message.id, result: reply(message) })).arrayBuffer();
        } else if (message?.method) {
          got.notes.push(message);
        } else if (message) {
          Object.assign(got, { result: message.result, error: message.error });
        }
      }
    }
    return got;
  };
  return { ask, end: s.end };
}

// ---- what may differ

// Members by the revisions that have them.
const KNOWN = {
  title: [2, 4], icons: [3, 4], _meta: [2, 4], annotations: [1, 4], outputSchema: [2, 4], execution: [3, 3],
  lastModified: [2, 4], structuredContent: [2, 4], mode: [3, 4],
};
// Blocks of content that become a text before these.
const BLOCKS = { audio: 1, resource_link: 2 };
// What these say depends on what the client can do, which is more in newer revisions.
const OF_THE_CLIENT = ['test_input_required_result_capabilities'];
const VOLATILE = /\d{6,}(\.\d+)?/g; // times and process ids

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

// older says what newer says, except for what its revision (an index of REVISIONS) does not know.
function same(older, newer, revision, where) {
  if (Array.isArray(newer) && Array.isArray(older)) {
    assert.equal(older.length, newer.length, `${where}: ${JSON.stringify(older)} and ${JSON.stringify(newer)}`);
    newer.forEach((value, i) => same(older[i], value, revision, `${where}/${i}`));
  } else if (isObject(newer) && isObject(older)) {
    if (older.type === 'text' && revision < (BLOCKS[newer.type] ?? 0))
      return;
    for (const name of new Set([...Object.keys(older), ...Object.keys(newer)])) {
      const [from, to] = KNOWN[name] ?? [0, 4];
      if (name in older && name in newer)
        same(older[name], newer[name], revision, `${where}/${name}`);
      else
        assert.ok(name in older ? to < 4 : revision < from || revision > to, `${where}: ${name} is in one only`);
    }
  } else {
    const plain = (value) => (typeof value === 'string' ? value.replace(VOLATILE, '#') : value);
    assert.deepEqual(plain(older), plain(newer), where);
  }
}

const fieldsOf = (params) => Object.values(params?.requestedSchema?.properties ?? {});

// An answer without what its era puts around it.
function bare({ result, error, notes, asked }) {
  const kept = structuredClone({ result, error, notes: notes.map(({ method, params }) => ({ method, params })),
    asked: asked.map(({ method, params }) => ({ method, params })) });
  if (kept.result) {
    for (const name of ['resultType', 'ttlMs', 'cacheScope', 'nextCursor'])
      delete kept.result[name];
    delete kept.result._meta?.[`${META}serverInfo`];
    if (kept.result._meta && Object.keys(kept.result._meta).length === 0)
      delete kept.result._meta;
  }
  if (kept.error) // one mistake, two codes
    kept.error = { code: kept.error.code === -32002 ? -32602 : kept.error.code, ...(kept.error.data && { data: kept.error.data }) };
  let last = -Infinity; // each round of a modern request is a request of its own, with progress of its own
  kept.notes = kept.notes.filter(({ method, params }) => method !== 'notifications/progress' ||
    (params.progress > last && (last = params.progress, true)));
  for (const { params } of kept.notes)
    delete params.progressToken;
  for (const { params } of kept.asked) {
    delete params?.elicitationId;
    delete params?._meta;
    for (const field of fieldsOf(params)) { // one choice of several with titles, as 2025-06-18 writes it
      if (field.oneOf)
        Object.assign(field, { enum: field.oneOf.map((one) => one.const), enumNames: field.oneOf.map((one) => one.title) });
      delete field.oneOf;
    }
  }
  kept.asked.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  return kept;
}

// 2024-11-05 and 2025-03-26 have no elicitation, 2025-06-18 neither pages nor multiple choice: a tool that needs them has
// nothing to say there.
const canAsk = (asked, revision) => asked.every(({ method, params }) => method !== 'elicitation/create' ||
  revision >= (params.mode === 'url' || fieldsOf(params).some(({ type }) => type === 'array') ? 3 : 2));

// wrong arguments were an error of the protocol before 2025-11-25.
const isRefused = ({ result, error }) => error?.code === -32602 || result?.isError;

function compare(answers, what) {
  const newest = bare(answers[4]);
  for (let revision = 0; revision < 4; revision++) {
    const older = bare(answers[revision]);
    if (!canAsk(newest.asked, revision) || (revision < 3 && older.error && isRefused(older) && isRefused(newest)))
      continue;
    if (revision === 0) // progress had no message
      newest.notes.filter((n) => n.method === 'notifications/progress' && !older.notes.some((o) => o.params.message))
        .forEach((n) => delete n.params.message);
    same(older, newest, revision, `${REVISIONS[revision]} ${what}`);
  }
}

// ---- everything that is offered

async function whole(client, method, member) {
  const items = [];
  for (let cursor; ;) {
    const { result } = await client.ask(method, cursor === undefined ? {} : { cursor });
    items.push(...result?.[member] ?? []);
    cursor = result?.nextCursor;
    if (cursor === undefined)
      return items;
  }
}

const expand = (template) => template.replace(/\{[^}]*\}/g, 'x');
const variables = (template) => [...template.matchAll(/\{[+#./;?&]?([^}]*)\}/g)].flatMap(([, names]) => names.split(',')
  .map((name) => name.replace(/[*:].*/, '')));

await eachServer(FIXTURE, ['--workers', '2'], async (up, server) => {
  const clients = [];
  const inAll = (what, method, params, tool) => test(`${server}: ${what}`, async () => {
    const answers = [];
    for (const client of clients)
      answers.push(await client.ask(method, params, tool));
    compare(answers, what);
  });

  await test(`${server}: a client of each revision`, async () => {
    for (const revision of REVISIONS)
      clients.push(await (revision === MODERN ? modernClient(up.url) : legacyClient(up.url, revision)));
  });
  if (clients.length < REVISIONS.length)
    return;
  const offered = {};
  const tasksOnly = new Set();
  for (const [member, method] of Object.entries({ tools: 'tools/list', prompts: 'prompts/list', resources: 'resources/list',
    resourceTemplates: 'resources/templates/list' })) {
    await test(`${server}: ${method}, all pages`, async () => {
      const lists = [];
      for (const client of clients)
        lists.push(await whole(client, method, member));
      offered[member] = lists[4];
      if (member === 'tools')
        lists[3].filter((tool) => tool.execution?.taskSupport === 'required').forEach((tool) => tasksOnly.add(tool.name));
      for (let revision = 0; revision < 4; revision++)
        same(lists[revision], lists[4], revision, `${REVISIONS[revision]} ${method}`);
    });
    await inAll(`${method} with a cursor of nobody`, method, { cursor: 'forged' });
  }
  const { tools = [], prompts = [], resources = [], resourceTemplates = [] } = offered;
  assert.ok(tools.length > 0);
  for (const tool of tools) {
    if (tasksOnly.has(tool.name))
      comment(`${server}: ${tool.name} runs as a task only`);
    else if (OF_THE_CLIENT.includes(tool.name))
      comment(`${server}: ${tool.name} tells what the client can do`);
    else
      await inAll(`tools/call ${tool.name}`, 'tools/call', { name: tool.name, arguments: sample(tool.inputSchema) }, tool);
  }
  for (const { uri } of resources)
    await inAll(`resources/read ${uri}`, 'resources/read', { uri });
  for (const { uriTemplate } of resourceTemplates) {
    await inAll(`resources/read ${expand(uriTemplate)}`, 'resources/read', { uri: expand(uriTemplate) });
    for (const name of variables(uriTemplate))
      await inAll(`completion/complete ${name} of ${uriTemplate}`, 'completion/complete',
        { ref: { type: 'ref/resource', uri: uriTemplate }, argument: { name, value: '' } });
  }
  for (const prompt of prompts) {
    const args = Object.fromEntries((prompt.arguments ?? []).map(({ name }) => [name, 'x']));
    await inAll(`prompts/get ${prompt.name}`, 'prompts/get', { name: prompt.name, arguments: args });
    for (const name of Object.keys(args))
      await inAll(`completion/complete ${name} of ${prompt.name}`, 'completion/complete',
        { ref: { type: 'ref/prompt', name: prompt.name }, argument: { name, value: 't' } });
  }
  await inAll('an unknown tool', 'tools/call', { name: 'nobody', arguments: {} });
  await inAll('an unknown prompt', 'prompts/get', { name: 'nobody' });
  await inAll('an unknown resource', 'resources/read', { uri: 'test://nobody' });
  await inAll('completion for an unknown prompt', 'completion/complete',
    { ref: { type: 'ref/prompt', name: 'nobody' }, argument: { name: 'a', value: '' } });
  for (const client of clients)
    await client.end();
});
await done();
