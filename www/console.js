// console.js - the page: connects, and gives each panel the client. The others, from the wire to the page:
//
//   events.js                       event streams
//   client.js                       what clients share: HTTP, the journal, streams
//   modern.js session.js oldsse.js  an era each (legacy.js: what the last two share); connect.js chooses
//   journal.js                      all that went over the wire
//   schema.js form.js               forms made from JSON Schemas
//   tools.js resources.js prompts.js tasks.js calls.js list.js complete.js template.js content.js
//   questions.js                    what the server asks, answered by hand
//   timeline.js streams.js setup.js the other panels
//   dom.js                          how elements are made, of what nobody trusts
//
// Nothing is kept: neither key nor messages outlive the page. It talks to the site that it came from and to nobody else,
// which its Content-Security-Policy sees to.
import { $, announce, el, shorten } from './dom.js';
import { REVISIONS, connect } from './connect.js';
import { coalesce } from './coalesce.js';
import { EXTENSION } from './tasks.js';
import { MODERN } from './modern.js';
import { Journal } from './journal.js';
import { Prompts } from './prompts.js';
import { Questions } from './questions.js';
import { Resources } from './resources.js';
import { showSetup } from './setup.js';
import { Streams } from './streams.js';
import { Timeline } from './timeline.js';
import { Tools } from './tools.js';

const journal = new Journal();
const questions = new Questions($('questions'));
const resources = new Resources($('resources-panel'));
const read = (uri) => {
  choosePanel($('resources-tab'));
  resources.read(uri);
};
const tools = new Tools($('tools-panel'), read);
const prompts = new Prompts($('prompts-panel'), read);
const streams = new Streams($('streams'));
let client = null;

new Timeline($('timeline'), journal);

// ---- the connection

function setState(kind, text) {
  $('state').className = kind;
  $('state').textContent = text;
}

// The endpoint is of this site: the policy of this page allows no other.
function endpoint() {
  const url = URL.canParse($('endpoint').value, location.href) ? new URL($('endpoint').value, location.href) : null;

  if (url?.origin !== location.origin)
    throw new Error('The endpoint has to be on the site that this page came from');
  return url.href.replace(/\/$/, '');
}

// What we say that we can do, in the words of the revision. "auto" is more than any: there the newest words.
function capabilities(revision) {
  const has = (id) => $(id).checked;

  return {
    ...(has('can-sample') && { sampling: {} }),
    ...(has('can-elicit') && { elicitation: revision >= '2025-11-25' ? { form: {}, url: {} } : {} }),
    ...(has('can-list-roots') && { roots: {} }),
    ...(has('can-run-tasks') && revision >= MODERN && { extensions: { [EXTENSION]: {} } }),
  };
}

async function open() {
  await close();
  const revision = $('revision').value;

  let mine = null;

  setState('', 'Connecting …');
  $('connect').disabled = true;
  try {
    const options = { endpoint: endpoint(), key: $('key').value.trim(), mine: capabilities(revision), journal,
      asked: (...question) => questions.ask(...question) };
    mine = await connect(revision, options);
    use(mine);
    await Promise.all([tools.show(client), resources.show(client), prompts.show(client)]);
    if ($('level').value)
      await setLevel();
    tellReady();
  } catch (e) {
    if (mine !== client)
      return; // disconnected meanwhile, and said so
    setState('bad', e.status === 401 ? 'The server asks for an API key' : `${mine ? 'Connected, but' : 'Not connected'}: ${shorten(e.message, 300)}`);
    if (e.status === 401) {
      $('settings').open = true;
      $('key').focus();
    }
  } finally {
    $('connect').disabled = false;
  }
}

function use(given) {
  client = given;
  const { name, title } = client.server;
  const shown = shorten(title ?? name ?? 'MCP server', 100);

  $('name').textContent = document.title = shown;
  $('about').textContent = shorten(client.instructions, 2000);
  $('disconnect').disabled = false;
  $('connect').textContent = 'Reconnect';
  showSetup($('setup-panel'), client.endpoint, name ?? 'mcp-fcgi');
  streams.show(client);
  client.addEventListener('notification', ({ detail }) => onNotification(detail));
  client.addEventListener('trouble', ({ detail }) => announce(shorten(detail.message, 300)));
  client.addEventListener('closed', ({ detail }) => lose(detail));
}

function tellReady() {
  if (!client)
    return; // it went meanwhile
  const { version } = client.server;
  const session = client.sessionId ? `, session ${shorten(client.sessionId, 12)}` : '';
  const many = (list, one) => `${list.items.length} ${one}${list.items.length === 1 ? '' : 's'}`;

  setState('good', `Ready: ${many(tools.list, 'tool')}, ${many(resources.list, 'resource')}, ${many(prompts.list, 'prompt')} · ` +
    `${client.revision}${session} · version ${shorten(version ?? '?', 40)}`);
}

function lose(why) {
  client = null;
  streams.show(null);
  for (const panel of [tools, resources, prompts])
    panel.show(null);
  $('disconnect').disabled = true;
  $('connect').textContent = 'Connect';
  setState('', why);
}

async function close() {
  const old = client;

  if (!old)
    return;
  lose('Not connected');
  try {
    await old.close();
  } catch (e) {
    announce(shorten(e.message, 300));
  }
}

async function setLevel() {
  try {
    await client?.setLogLevel($('level').value);
  } catch (e) {
    announce(shorten(e.message, 300));
  }
}

// ---- what comes by itself

const reload = (panel) => coalesce(async () => {
  try {
    await panel.show(client);
    tellReady();
    announce(`The list of ${panel.list.what} has changed`);
  } catch (e) {
    announce(shorten(e.message, 300));
  }
});

const changes = {
  'notifications/resources/updated': ({ uri }) => resources.changed(String(uri)),
  'notifications/tools/list_changed': reload(tools),
  'notifications/resources/list_changed': reload(resources),
  'notifications/prompts/list_changed': reload(prompts),
};

function onNotification({ method, params }) {
  if (Object.hasOwn(changes, method))
    changes[method](params ?? {});
}

// ---- tabs: arrows go from one to the next, as they do everywhere

const tabs = [...document.querySelectorAll('[role=tab]')];

function choosePanel(tab) {
  for (const each of tabs) {
    each.setAttribute('aria-selected', String(each === tab));
    each.tabIndex = each === tab ? 0 : -1;
    $(each.getAttribute('aria-controls')).hidden = each !== tab;
  }
}

function onTabKey(event) {
  const at = tabs.indexOf(event.target);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];

  if (at < 0 || to === undefined)
    return;
  event.preventDefault();
  const tab = tabs[(to + tabs.length) % tabs.length];
  choosePanel(tab);
  tab.focus();
}

for (const tab of tabs)
  tab.addEventListener('click', () => choosePanel(tab));
$('tabs').addEventListener('keydown', onTabKey);

// ---- begin

// A page that shows this one in a frame could have somebody press our buttons.
if (window.top !== window.self) {
  setState('bad', 'This console does not run in a frame.');
} else {
  $('settings').open = matchMedia('(min-width: 44rem)').matches; // a small screen is for the tools
  // By conf/ it has a directory of its own, beside the endpoint; else it may be anywhere, and is thought to be beside it itself.
  const beside = /\/mcp-console\/[^/]*$/.test(location.pathname) ? '../mcp' : 'mcp';
  $('endpoint').value = new URL(beside, location.href).pathname;
  $('revision').append(...REVISIONS.map((revision) => el('option', { value: revision }, revision)));
  $('connection').addEventListener('submit', (event) => {
    event.preventDefault();
    open();
  });
  $('disconnect').addEventListener('click', close);
  $('level').addEventListener('change', setLevel);
  showSetup($('setup-panel'), endpoint(), 'mcp-fcgi');
  open();
}
