#!/usr/bin/env node
// The page of www/ in a real browser: it shows the endpoint, and its button calls the echo tool.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { done, load, needModules, servers, serve, skipAll, test } from '../clients/lib.mjs';

needModules();
const source = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const program = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
if (!program)
  skipAll('no browser is installed (Debian: apt install chromium)');
const { chromium } = load('playwright-core');

const up = await serve(join(source, 'examples', 'hello'), servers[0], '--www', join(source, 'www'));
if (!up)
  skipAll(`${servers[0]} is not installed`);
const browser = await chromium.launch({ executablePath: program, args: ['--headless', '--no-sandbox', '--disable-gpu',
  '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'] });
const page = await browser.newPage();
const complaints = [];

page.setDefaultTimeout(10000);
page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
page.on('pageerror', (e) => complaints.push(String(e)));

await test('the page opens, shows the endpoint and finds the tools', async () => {
  const res = await page.goto(new URL('/', up.url).href);
  assert.equal(res.status(), 200);
  await page.getByRole('status').filter({ hasText: /^Ready: \d+ tools/ }).waitFor();
  assert.equal(await page.getByLabel('URL of the endpoint').textContent(), up.url);
  const config = JSON.parse(await page.getByLabel("JSON for a client's configuration").textContent());
  assert.equal(Object.values(config.mcpServers)[0].url, up.url);
});
await test('the button calls echo and its answer is seen', async () => {
  const text = 'Zürich <b>"1"</b> & more';
  await page.getByLabel('Text for the tool echo').fill(text);
  await page.getByRole('button', { name: 'Call echo' }).click();
  await page.getByLabel('Answer of echo').filter({ hasText: text }).waitFor();
});
await test('a call with progress shows it, then its answer', async () => {
  await page.getByLabel('Tool', { exact: true }).selectOption('count_down');
  await page.getByLabel('Arguments, as JSON').fill('{"from": 2}');
  await page.getByRole('button', { name: 'Call the tool' }).click();
  await page.getByLabel('Progress of the call').waitFor();
  await page.getByLabel('Progress of the call').waitFor({ state: 'hidden' });
  assert.equal(await page.getByLabel('Answer of the tool').getAttribute('class'), '');
  assert.notEqual(await page.getByLabel('Answer of the tool').textContent(), '');
});
await test('Stop ends a call', async () => {
  await page.getByLabel('Arguments, as JSON').fill('{"from": 30}');
  await page.getByRole('button', { name: 'Call the tool' }).click();
  await page.getByLabel('Progress of the call').waitFor();
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.getByLabel('Answer of the tool').filter({ hasText: 'Stopped' }).waitFor();
});
await test('the browser has nothing to complain about', () => assert.deepEqual(complaints, []));
await browser.close();
await test('ends, with nothing to complain about', () => up.stop(), 60000);
done();
