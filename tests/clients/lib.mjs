// What the tests of this folder share: TAP, a site behind a web server, and MCP spoken by hand.
//
// MCP_TEST_URL=http://host:port/mcp runs them against a server that is up already and offers the tools of
// tests/conformance/site; what needs its processes is then skipped.
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const TESTS = dirname(here);
export const MODULES = join(here, 'node_modules');
export const FIXTURE = join(TESTS, 'conformance', 'site');
export const EXAMPLES = join(dirname(TESTS), 'examples', 'tools');
export const CLIENTS = join(dirname(TESTS), 'examples', 'clients');
export const SITES = join(TESTS, 'proto', 'sites');
export const MODERN = '2026-07-28';
export const load = createRequire(join(here, 'package.json'));
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// ---- TAP

let count = 0;
let failed = 0;

export const comment = (text) => process.stdout.write(String(text).trimEnd().replace(/^/gm, '# ') + '\n');

const line = (ok, name, directive = '') => {
  count++;
  failed += ok ? 0 : 1;
  process.stdout.write(`${ok ? 'ok' : 'not ok'} ${count} - ${name.replaceAll('#', '\\#')}${directive}\n`);
  return ok;
};

// Runs fn; what it throws, or its taking longer than limit_ms, is the failure. The limits are for what hangs: no machine is so
// slow that it needs them.
export async function test(name, fn, limit_ms = 180000) {
  let timer;
  try {
    await Promise.race([fn(), new Promise((_, fail) => {
      timer = setTimeout(() => fail(new Error(`not done after ${limit_ms} ms`)), limit_ms);
    })]);
    return line(true, name);
  } catch (e) {
    line(false, name);
    comment(e?.stack ?? e);
    if (e?.cause)
      comment(`cause: ${e.cause?.stack ?? e.cause}`);
    return false;
  } finally {
    clearTimeout(timer);
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.once(signal, () => process.exit(1));

export const report = line;
export const skip = (name, why) => line(true, name, ` # SKIP ${why}`);

export function skipAll(why) {
  process.stdout.write(`1..0 # SKIP ${why}\n`);
  process.exit(0);
}

export async function done() {
  if (exchanges)
    await checkWire();
  process.stdout.write(`1..${count}\n`);
  process.exit(failed ? 1 : 0); // a client that a failed test left behind must not keep us alive
}

export function needModules() {
  if (!existsSync(MODULES))
    skipAll('the client packages are not installed: run tests/clients/install.sh');
}

// Tries fn until it gives something true.
export async function until(what, fn, limit_ms = 60000) {
  for (const end = Date.now() + limit_ms; ; await sleep(20)) {
    const got = await fn();
    if (got)
      return got;
    if (Date.now() > end)
      throw new Error(`${what}: not within ${limit_ms} ms`);
  }
}

// ---- what goes over the wire

const WIRE = join(TESTS, 'wire.py');
const NO_VALIDATOR = 77;
const recorded = [];
let exchanges = 0;
const record = (n, more) => recorded.push(JSON.stringify({ n, ...more }));
const plain = globalThis.fetch;

// Keeps a copy of each exchange for tests/wire.py, whoever holds it: our own tests and the SDKs fetch alike.
globalThis.fetch = async (input, init) => {
  const n = ++exchanges;
  const { method, url, headers } = new Request(input, { ...init, body: undefined, signal: undefined });
  const { pathname, search } = new URL(url);
  record(n, { method, path: pathname + search, headers: Object.fromEntries(headers), ...(init?.body && { body: String(init.body) }) });
  const res = await plain(input, init);
  const decoder = new TextDecoder();
  record(n, { status: res.status, headers: Object.fromEntries(res.headers) });
  if (!res.body)
    return res;
  const body = res.body.pipeThrough(new TransformStream({
    transform(chunk, out) {
      record(n, { bytes: decoder.decode(chunk, { stream: true }) });
      out.enqueue(chunk);
    },
    flush: () => record(n, { end: true }),
  }));
  const copy = new Response(body, { status: res.status, statusText: res.statusText, headers: res.headers });
  return Object.defineProperty(copy, 'url', { value: res.url });
};

// Each message of each exchange, by the schema of its revision and the rules of the protocol.
async function checkWire() {
  const child = spawn('python3', [WIRE], { stdio: ['pipe', 'pipe', 'inherit'] });
  let complaints = '';

  child.stdout.on('data', (bytes) => { complaints += bytes; });
  child.stdin.end(recorded.join('\n'));
  const status = await new Promise((ended) => child.on('close', ended));
  const name = `what went over the wire is valid: ${exchanges} exchanges`;
  if (status === NO_VALIDATOR)
    skip(name, 'python3-jsonschema is not installed');
  else if (!line(status === 0, name))
    comment(complaints.split('\n').slice(0, 40).join('\n'));
}

// A transport of the v1 SDK, which asks for its newest revision and takes what the server says: it asks for another.
export function pinned(transport, protocolVersion) {
  const { send } = transport;
  transport.send = (message, options) => send.call(transport, message.method !== 'initialize' ? message
    : { ...message, params: { ...message.params, protocolVersion } }, options);
  return transport;
}

// ---- a site behind a web server

// A copy, until the end: of a site that makes files, from a source tree that may be read only.
export function copyOf(site) {
  const copy = mkdtempSync(join(tmpdir(), 'mcp-site.'));
  process.once('exit', () => rmSync(copy, { recursive: true, force: true }));
  cpSync(site, copy, { recursive: true });
  execFileSync('chmod', ['-R', 'u+w,go+rX', copy]);
  return copy;
}

const NOT_INSTALLED = 77;
export const servers = process.env.MCP_TEST_URL ? ['given'] : ['lighttpd', 'apache'];

// {url, sse, console: with --console, dir: its scratch directory, log(), stop()}; null: that web server is not installed.
export async function serve(site, server, ...options) {
  if (server === 'given') {
    const url = process.env.MCP_TEST_URL;
    return { url, sse: process.env.MCP_TEST_SSE_URL ?? `${url}/sse`, console: new URL('/mcp-console/', url).href, log: () => '',
      stop: async () => {} };
  }
  const child = spawn(join(TESTS, 'serve'), [site, '--server', server, ...options], { stdio: ['ignore', 'pipe', 'pipe'] });
  const up = { log: () => err };
  process.once('exit', () => child.kill('SIGTERM'));
  let out = '';
  let err = '';

  const ended = new Promise((done) => {
    child.on('error', done);
    child.on('close', (code, signal) => done(code ?? signal));
  });
  child.stderr.on('data', (bytes) => { err += bytes; });
  up.stop = async () => {
    child.kill('SIGTERM');
    const status = await ended;
    if (status !== 0)
      throw new Error(`tests/serve: status ${status}`);
  };
  const ready = new Promise((done) => {
    child.stdout.on('data', (bytes) => {
      out += bytes;
      for (let at; (at = out.indexOf('\n')) >= 0; out = out.slice(at + 1)) {
        const [word, value] = out.slice(0, at).split(' ');
        if (word === 'SSE')
          up.sse = value;
        else if (word === 'CONSOLE')
          up.console = value;
        else if (word === 'WORKER-SOCKET')
          up.dir = dirname(value);
        else if (word === 'READY') {
          up.url = value;
          done('ready');
        }
      }
    });
  });
  const status = await Promise.race([ready, ended]);
  if (status === NOT_INSTALLED)
    return null;
  if (status !== 'ready')
    throw new Error(`tests/serve: status ${status}\n${err}`);
  return up;
}

function workerLog(up) {
  try {
    return readFileSync(join(up.dir, 'logs', 'worker.log'), 'utf8');
  } catch (e) {
    return String(e);
  }
}

// Runs fn(up, server) for each web server; its log and that of our programs follow a failure.
export async function eachServer(site, options, fn, among = servers) {
  for (const server of among) {
    const before = failed;
    let up;

    if (!await test(`${server}: starts`, async () => { up = await serve(site, server, ...options); }))
      continue;
    if (!up) {
      skip(server, 'not installed');
      continue;
    }
    try {
      await fn(up, server);
    } finally {
      const logs = failed > before ? workerLog(up) : '';
      await test(`${server}: ends, with nothing to complain about`, () => up.stop());
      if (failed > before)
        comment([up.log(), logs].join('').split('\n').slice(-200).join('\n'));
    }
  }
}

export const parentOf = (pid) => Number(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) . /s, '').split(' ')[0]);
export function isAlive(pid) {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

// Processes of a program that a site runs.
export const pidsOf = (up, program) => readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
  try {
    const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    return argv[0].endsWith(`/${program}`) && argv.some((arg) => arg.includes(up.dir));
  } catch {
    return false; // it is gone
  }
});

// The one broker that runs. Each worker may start one: those that come too late go.
export const brokerOf = (up) => until('one broker', () => {
  const pids = pidsOf(up, 'mcp-broker');
  return pids.length === 1 && pids[0];
});

// Kills the workers that serve; their parent, which starts others in their place, is one too. Others have come then.
export async function renewWorkers(up) {
  const all = pidsOf(up, 'mcp-worker');
  const old = all.filter((pid) => all.includes(parentOf(pid)));
  old.forEach((pid) => process.kill(pid, 'SIGKILL'));
  await until('other workers are there', () => {
    const now = pidsOf(up, 'mcp-worker').filter((pid) => !all.includes(pid));
    return now.length >= old.length && old.every((pid) => !pidsOf(up, 'mcp-worker').includes(pid));
  });
}

// ---- MCP by hand

const META = 'io.modelcontextprotocol/';

export const request = (id, method, params) => ({ jsonrpc: '2.0', id, method, ...(params && { params }) });
export const notification = (method, params) => ({ jsonrpc: '2.0', method, ...(params && { params }) });

export const post = (url, body, headers = {}, options = {}) => fetch(url, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json', Accept: 'application/json, text/event-stream', ...headers },
  body: JSON.stringify(body),
  ...options,
});

// A request of 2026-07-28, with all that it repeats in headers.
export function modern(url, id, method, params = {}, { headers, ...options } = {}) {
  const name = params.name ?? params.uri ?? params.taskId;
  return post(url, request(id, method, { ...params, _meta: {
    [`${META}protocolVersion`]: MODERN,
    [`${META}clientInfo`]: { name: 'hand', version: '1' },
    [`${META}clientCapabilities`]: {},
    ...params._meta,
  } }), { 'MCP-Protocol-Version': MODERN, 'Mcp-Method': method, ...(name && { 'Mcp-Name': name }), ...headers }, options);
}

export const TASKS = 'io.modelcontextprotocol/tasks';

// A client of 2026-07-28 with the extension for tasks: {ask(method, params): result, create(tool, args): task,
// reach(taskId, status): task}
export function taskClient(up, capabilities = { elicitation: {} }) {
  const _meta = { [`${META}clientCapabilities`]: { ...capabilities, extensions: { [TASKS]: {} } } };
  let id = 0;

  const ask = async (method, params) => {
    const message = await answer(await modern(up.url, `t${++id}`, method, { ...params, _meta }));
    if (!message.result)
      throw new Error(JSON.stringify(message));
    return message.result;
  };
  const create = async (name, args = {}) => {
    const task = await ask('tools/call', { name, arguments: args });
    if (task.resultType !== 'task')
      throw new Error(`no task: ${JSON.stringify(task)}`);
    return task;
  };
  const reach = (taskId, status) => until(status, async () => {
    const task = await ask('tasks/get', { taskId });
    return task.status === status ? task : undefined;
  }, 20000);
  return { ask, create, reach };
}

// A session of 2025-11-25: {id, send(message, options), call(id, name, args, meta, options), listen(options),
// resume(lastEventId, options), end()}
export async function session(url, version = '2025-11-25', capabilities = {}) {
  const res = await post(url, request(0, 'initialize', {
    protocolVersion: version, capabilities, clientInfo: { name: 'hand', version: '1' },
  }));
  const id = res.headers.get('mcp-session-id');
  const body = await res.text();
  if (res.status !== 200 || !id)
    throw new Error(`initialize: ${res.status} ${body}`);
  const headers = { 'Mcp-Session-Id': id, 'MCP-Protocol-Version': version };
  const send = (message, options) => post(url, message, headers, options);
  const initialized = await send(notification('notifications/initialized'));
  await initialized.arrayBuffer();
  if (initialized.status !== 202)
    throw new Error(`initialized: ${initialized.status}`);
  return {
    id,
    send,
    call: (number, name, args = {}, meta = undefined, options = {}) =>
      send(request(number, 'tools/call', { name, arguments: args, ...(meta && { _meta: meta }) }), options),
    listen: (options) => fetch(url, { headers: { ...headers, Accept: 'text/event-stream' }, ...options }),
    resume: (last, options) =>
      fetch(url, { headers: { ...headers, Accept: 'text/event-stream', 'Last-Event-ID': last }, ...options }),
    end: () => fetch(url, { method: 'DELETE', headers }),
  };
}

// The events of a response, each with the time at which it was here: {id, event, data, at}
export async function* events(res) {
  const decoder = new TextDecoder();
  let text = '';

  for await (const chunk of res.body) {
    const at = Date.now();
    text += decoder.decode(chunk, { stream: true });
    for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
      const event = { at, event: 'message' };
      for (const field of text.slice(0, end).split('\n')) {
        const [, key, value] = /^([^:]*):? ?(.*)$/s.exec(field);
        if (key === 'data')
          event.data = event.data === undefined ? value : `${event.data}\n${value}`;
        else if (key)
          event[key] = value;
      }
      if (event.data !== undefined)
        yield event;
    }
  }
}

// The messages of an answer, whether JSON or stream: [{message, at, id}]. all: events without one too, for their ids.
export async function* messages(res, all = false) {
  if (res.headers.get('content-type')?.startsWith('text/event-stream')) {
    for await (const event of events(res))
      if ((event.data || all) && event.event === 'message')
        yield { message: event.data ? JSON.parse(event.data) : undefined, at: event.at, id: event.id };
  } else {
    const text = await res.text();
    if (text)
      yield { message: JSON.parse(text), at: Date.now() };
  }
}

// The response among the messages of an answer; notifications before it go to seen.
export async function answer(res, seen = []) {
  for await (const { message } of messages(res)) {
    if (message.method === undefined)
      return message;
    seen.push(message);
  }
  return undefined;
}

export const textOf = (message) => message?.result?.content?.[0]?.text;
