// One session of MCP (revision 2025-11-25) with the server that sent this page, and each message of it.
'use strict';

const ENDPOINT = new URL('/mcp', location.href);
const REVISION = '2025-11-25';
const $ = (id) => document.getElementById(id);
let session = null; // {id, revision}
let stream = null;  // the AbortController of the server's stream
let lastId = 0;

function show(direction, what, message) {
  const item = document.createElement('li');
  const title = document.createElement('div');
  title.className = direction;
  title.textContent = `${new Date().toLocaleTimeString()}  ${direction === 'out' ? '→' : '←'}  ${what}`;
  item.append(title);
  if (message !== undefined) {
    const text = document.createElement('pre');
    text.textContent = JSON.stringify(message, null, 2);
    item.append(text);
  }
  $('log').prepend(item);
}

function answer(text, bad = false) {
  $('answer').textContent = text;
  $('answer').className = bad ? 'bad' : '';
}

function update() {
  $('initialise').disabled = Boolean(session);
  for (const id of ['terminate', 'call', 'prompt', 'read', 'uri'])
    $(id).disabled = !session;
  $('open').disabled = !session || Boolean(stream);
  $('close').disabled = !stream;
  $('state').textContent = session ? `Session ${session.id}, revision ${session.revision}${stream ? ', stream open' : ''}` : 'No session';
  $('state').className = session ? 'good' : '';
}

const headers = () => (session && { 'Mcp-Session-Id': session.id, 'MCP-Protocol-Version': session.revision });

// The messages of an event stream, as they arrive.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done)
      return;
    text += value;
    for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
      const data = text.slice(0, end).split('\n').filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trimStart());
      if (data.join(''))
        yield JSON.parse(data.join('\n'));
    }
  }
}

async function post(message) {
  show('out', `POST ${message.method ?? 'an answer'}`, message);
  const res = await fetch(ENDPOINT, { method: 'POST', body: JSON.stringify(message),
    headers: { 'Content-Type': 'application/json', Accept: 'application/json, text/event-stream', ...headers() } });
  if (res.status === 404 && session)
    lose('The session has ended.');
  return res;
}

// What the server asks us: a ping is answered, all else is more than this page can do.
async function onMessage(message) {
  show('in', message.method ?? 'answer', message);
  if (message.method && message.id !== undefined)
    await post({ jsonrpc: '2.0', id: message.id, ...(message.method === 'ping' ? { result: {} }
      : { error: { code: -32601, message: 'This page can not do that' } }) });
}

async function request(method, params = {}) {
  const id = ++lastId;
  const res = await post({ jsonrpc: '2.0', id, method, params });
  const type = res.headers.get('Content-Type') ?? '';
  let reply;

  if (type.startsWith('text/event-stream')) {
    for await (const message of events(res.body)) {
      if (message.id === id && !message.method)
        reply = message;
      await onMessage(message);
    }
  } else if (type.startsWith('application/json')) {
    reply = await res.json();
    await onMessage(reply);
  }
  if (!reply)
    throw new Error(`The server answered with status ${res.status}.`);
  if (reply.error)
    throw new Error(reply.error.message);
  return { result: reply.result, res };
}

function lose(why) {
  stream?.abort();
  stream = session = null;
  update();
  answer(why);
}

async function initialise() {
  const { result, res } = await request('initialize', { protocolVersion: REVISION, capabilities: {},
    clientInfo: { name: 'page', version: '1' } });
  session = { id: res.headers.get('Mcp-Session-Id'), revision: result.protocolVersion };
  await post({ jsonrpc: '2.0', method: 'notifications/initialized' });
  const { resources } = (await request('resources/list')).result;
  $('uri').replaceChildren(...resources.map(({ uri }) => new Option(uri)));
  answer(`${result.serverInfo.title ?? result.serverInfo.name}: ${resources.length} resources`);
}

async function openStream() {
  const mine = stream = new AbortController();
  show('out', 'GET the server\'s stream');
  update();
  try {
    const res = await fetch(ENDPOINT, { headers: { Accept: 'text/event-stream', ...headers() }, signal: mine.signal });
    show('in', `stream, status ${res.status}`);
    if (!res.ok)
      throw new Error(`The server answered with status ${res.status}.`);
    for await (const message of events(res.body))
      await onMessage(message);
    show('in', 'the server ended the stream');
  } catch (e) {
    if (!mine.signal.aborted)
      throw e;
    show('out', 'closed the stream');
  } finally {
    if (stream === mine)
      stream = null;
  }
}

async function terminate() {
  show('out', 'DELETE the session');
  const res = await fetch(ENDPOINT, { method: 'DELETE', headers: headers() });
  show('in', `status ${res.status}`);
  lose('The session was terminated.');
}

async function call() {
  const { result } = await request('tools/call', { name: 'get_client', arguments: { email: $('email').value } });
  answer(result.structuredContent ? JSON.stringify(result.structuredContent, null, 2) : result.content[0].text, result.isError);
}

async function prompt() {
  const { result } = await request('prompts/get', { name: 'client_summary', arguments: { email: $('email').value } });
  answer(result.messages[0].content.text);
}

async function read() {
  const { result } = await request('resources/read', { uri: $('uri').value });
  answer(JSON.parse(result.contents[0].text).map(({ name, email }) => `${name} <${email}>`).join('\n'));
}

const actions = { initialise, open: openStream, close: () => stream.abort(), terminate, call, prompt, read,
  clear: () => $('log').replaceChildren() };
for (const [id, action] of Object.entries(actions)) {
  $(id).addEventListener('click', async () => {
    try {
      await action();
    } catch (e) {
      answer(e.message, true);
    }
    update();
  });
}
update();
