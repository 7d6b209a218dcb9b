// An MCP client of revision 2026-07-28, as small as it gets: every message is one POST, complete in itself. The answer is
// a JSON object, or an event stream that ends with it.
'use strict';

const REVISION = '2026-07-28';
const META = 'io.modelcontextprotocol/';
const endpoint = new URL('mcp', location.href).href;
const $ = (id) => document.getElementById(id);

let nextId = 1;
let tools = [];
let running = null; // AbortController of the call that runs

// ---- the wire

function log(incoming, title, headers, message) {
  const item = document.createElement('li');
  const part = (tag, text) => item.appendChild(document.createElement(tag)).append(text);

  item.className = incoming ? 'in' : 'out';
  part('strong', `${incoming ? '←' : '→'} ${title}`);
  if (headers)
    part('span', headers);
  if (message !== undefined)
    part('pre', JSON.stringify(message, null, 2));
  $('wire').append(item);
  $('wire').scrollTop = $('wire').scrollHeight;
}

// A value of Mcp-Name or Mcp-Param-*: what is not visible ASCII is sent as Base64.
function headerValue(value) {
  const text = String(value);

  if (/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(text) && !text.startsWith('=?base64?'))
    return text;
  return `=?base64?${btoa(String.fromCharCode(...new TextEncoder().encode(text)))}?=`;
}

// Arguments that the schema marks are repeated in headers.
function mirrored(schema, args) {
  const headers = {};

  for (const [name, rule] of Object.entries(schema?.properties ?? {})) {
    const value = args?.[name];
    if (rule['x-mcp-header'] && value !== undefined && value !== null)
      headers[`Mcp-Param-${rule['x-mcp-header']}`] = headerValue(value);
    else if (rule.properties && typeof value === 'object')
      Object.assign(headers, mirrored(rule, value));
  }
  return headers;
}

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
      const data = text.slice(0, end).split('\n').filter((line) => line.startsWith('data:'))
        .map((line) => line.slice(5).replace(/^ /, '')).join('\n');
      if (data)
        yield JSON.parse(data);
    }
  }
}

// Sends a request; gives its result. Notifications on the way go to onNotification.
async function request(method, params, { headers = {}, signal, onNotification = () => {} } = {}) {
  const message = {
    jsonrpc: '2.0',
    id: nextId++,
    method,
    params: {
      ...params,
      _meta: {
        [`${META}protocolVersion`]: REVISION,
        [`${META}clientInfo`]: { name: 'mcp-fcgi page', version: '1' },
        [`${META}clientCapabilities`]: {},
        ...params._meta,
      },
    },
  };
  const mcp = { 'MCP-Protocol-Version': REVISION, 'Mcp-Method': method, ...headers };
  const key = $('key').value ? { 'X-API-Key': $('key').value } : {};

  log(false, `POST ${new URL(endpoint).pathname}`, Object.entries(mcp).map(([name, value]) => `${name}: ${value}`).join('\n'), message);
  const response = await fetch(endpoint, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: 'application/json, text/event-stream', ...mcp, ...key },
    body: JSON.stringify(message),
    signal,
  });
  const type = (response.headers.get('Content-Type') ?? '').split(';')[0];
  let answer;

  if (type === 'text/event-stream') {
    log(true, `${response.status} ${type}`, 'a stream: each event as it arrives');
    for await (const event of events(response.body)) {
      log(true, event.method ?? 'answer', '', event);
      if (event.method)
        onNotification(event);
      else
        answer = event;
    }
  } else if (type === 'application/json') {
    answer = await response.json();
    log(true, `${response.status} ${type}`, '', answer);
  } else {
    log(true, `${response.status} ${response.statusText}`);
  }
  if (!answer)
    throw new Error(`the server answered ${response.status} ${response.statusText} and no message`);
  if (answer.error)
    throw new Error(`${answer.error.message} (${answer.error.code})`);
  return answer.result;
}

// ---- the page

function showConnection(name) {
  const json = (value) => JSON.stringify({ mcpServers: { [name]: value } }, null, 2);
  const body = JSON.stringify({
    jsonrpc: '2.0', id: 1, method: 'tools/call',
    params: { name: 'echo', arguments: { text: 'Hello' }, _meta: { [`${META}protocolVersion`]: REVISION, [`${META}clientCapabilities`]: {} } },
  });

  $('url').textContent = endpoint;
  $('config').textContent = json({ type: 'http', url: endpoint });
  $('config-sse').textContent = json({ type: 'sse', url: `${endpoint}/sse` });
  $('curl').textContent = `curl ${endpoint} -H 'Content-Type: application/json' -H 'MCP-Protocol-Version: ${REVISION}' ` +
    `-H 'Mcp-Method: tools/call' -H 'Mcp-Name: echo' -d '${body}'`;
}

// Arguments to begin with, made of a schema.
function example(schema) {
  const value = {};

  for (const [name, rule] of Object.entries(schema?.properties ?? {})) {
    if ((schema.required ?? []).includes(name))
      value[name] = rule.default ?? rule.enum?.[0] ?? { integer: rule.minimum ?? 1, number: rule.minimum ?? 1, boolean: true, array: [], object: {} }[rule.type] ?? '';
  }
  return value;
}

function chooseTool() {
  const tool = tools.find((each) => each.name === $('tool').value);
  const start = { count_down: { from: 5 }, disk_free: { path: '/' }, roll_dice: { sides: 6, count: 3 },
    word_count: { text: 'To be, or not to be' } };

  $('description').textContent = tool?.description ?? '';
  $('arguments').value = JSON.stringify(start[$('tool').value] ?? example(tool?.inputSchema), null, 1).replace(/\n */g, ' ');
  $('arguments-error').textContent = '';
}

function setState(good, text) {
  $('state').className = good ? 'good' : 'bad';
  $('state').textContent = text;
}

async function meet() {
  try {
    const found = await request('server/discover', {});
    const info = found._meta?.[`${META}serverInfo`] ?? {};
    tools = [];
    for (let cursor; ;) {
      const page = await request('tools/list', cursor === undefined ? {} : { cursor });
      tools.push(...page.tools);
      cursor = page.nextCursor;
      if (cursor === undefined)
        break;
    }
    $('name').textContent = info.title ?? info.name ?? 'mcp-fcgi';
    document.title = $('name').textContent;
    if (found.instructions)
      $('about').textContent = found.instructions;
    showConnection(info.name ?? 'mcp-fcgi');
    $('tool').replaceChildren(...tools.map((tool) => new Option(tool.title ? `${tool.name}: ${tool.title}` : tool.name, tool.name)));
    if (tools.some((tool) => tool.name === 'count_down'))
      $('tool').value = 'count_down';
    $('tool').disabled = tools.length === 0;
    chooseTool();
    setState(true, `Ready: ${tools.length} ${tools.length === 1 ? 'tool' : 'tools'}, version ${info.version ?? '?'}`);
  } catch (error) {
    setState(false, `The server does not answer as it should: ${error.message}`);
  }
}

function showResult(output, bad, text) {
  output.hidden = false;
  output.className = bad ? 'bad' : '';
  output.textContent = text;
}

// Calls a tool and shows in output what becomes of it.
async function callTool(name, args, output) {
  const tool = tools.find((each) => each.name === name);

  running?.abort();
  const mine = running = new AbortController();
  $('stop').disabled = false;
  showResult(output, false, 'Waiting …');
  try {
    const result = await request('tools/call', { name, arguments: args, _meta: { progressToken: `page-${nextId}` } }, {
      headers: { 'Mcp-Name': headerValue(name), ...mirrored(tool?.inputSchema, args) },
      signal: mine.signal,
      onNotification: ({ method, params }) => {
        if (method !== 'notifications/progress')
          return;
        $('progress').hidden = false;
        if (params.total === undefined) {
          $('progress').removeAttribute('value');
        } else {
          $('progress').max = params.total;
          $('progress').value = params.progress;
        }
        showResult(output, false, params.message ?? `${params.progress}${params.total === undefined ? '' : ` of ${params.total}`}`);
      },
    });
    showResult(output, result.isError, (result.content ?? []).map((part) => part.text ?? `(${part.type})`).join('\n'));
  } catch (error) {
    // Closing the connection is how a client of this revision cancels.
    showResult(output, true, error.name === 'AbortError' ? 'Stopped: the connection was closed, which ends the tool.' : error.message);
  } finally {
    if (running === mine) {
      running = null;
      $('progress').hidden = true;
      $('stop').disabled = true;
    }
  }
}

function callAny(event) {
  let args;

  event.preventDefault();
  try {
    args = JSON.parse($('arguments').value || '{}');
    $('arguments-error').textContent = '';
  } catch (error) {
    $('arguments-error').textContent = `This is not JSON: ${error.message}`;
    $('arguments').focus();
    return;
  }
  callTool($('tool').value, args, $('result'));
}

function callEcho(event) {
  event.preventDefault();
  callTool('echo', { text: $('text').value }, $('echo-result'));
}

async function copy(event) {
  const button = event.currentTarget;
  const before = button.textContent;
  const source = $(button.dataset.copy);

  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = 'Copied';
  } catch { // not allowed here: select it, so that the keyboard can
    getSelection().selectAllChildren(source);
    button.textContent = 'Selected';
  }
  setTimeout(() => { button.textContent = before; }, 1500);
}

showConnection('mcp-fcgi');
$('echo-form').addEventListener('submit', callEcho);
$('form').addEventListener('submit', callAny);
$('tool').addEventListener('change', chooseTool);
$('stop').addEventListener('click', () => running?.abort());
$('clear').addEventListener('click', () => $('wire').replaceChildren());
$('key').addEventListener('change', meet);
for (const button of document.querySelectorAll('[data-copy]'))
  button.addEventListener('click', copy);
meet();
