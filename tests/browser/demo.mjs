#!/usr/bin/env node
// The page of the demo in a real browser: it shows the endpoint, and its button calls the echo tool.
import assert from 'node:assert/strict';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { done, servers, serve, skipAll, test } from '../clients/lib.mjs';
import { open } from './lib.mjs';

const source = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const up = await serve(join(source, 'examples', 'hello'), servers[0], '--console');
if (!up)
  skipAll(`${servers[0]} is not installed`);
const { page, complaints, close } = await open();

const panel = page.locator('#tools-panel');
const choose = (name) => panel.getByRole('button', { name: new RegExp(`^${name}`) }).first().click();
const press = (name) => page.getByRole('button', { name, exact: true }).click();
const last = panel.getByLabel('Answers').getByRole('listitem').first();

await test('the page opens, shows the endpoint and finds the tools', async () => {
  const res = await page.goto(up.console);
  assert.equal(res.status(), 200);
  await page.getByRole('status').filter({ hasText: /^Ready: \d+ tools/ }).waitFor();
  await page.getByRole('tab', { name: 'Connect a client' }).click();
  assert.equal(await page.getByLabel('URL of the endpoint').textContent(), up.url);
  const config = JSON.parse(await page.getByLabel("JSON for a client's configuration").textContent());
  assert.equal(Object.values(config.mcpServers)[0].url, up.url);
  await page.getByRole('tab', { name: 'Tools' }).click();
});
await test('the button calls echo, which is there at once, and its answer is seen', async () => {
  const text = 'Zürich <b>"1"</b> & more';
  await page.getByLabel('text', { exact: true }).fill(text);
  await press('Call echo');
  await page.getByLabel('Answer of echo').filter({ hasText: text }).waitFor();
});
await test('a call with progress shows it, then its answer', async () => {
  await choose('count_down');
  await page.getByLabel('from', { exact: true }).fill('2');
  await press('Call count_down');
  await last.getByLabel('Progress of the call').waitFor();
  await last.locator('.state').filter({ hasText: /^Done/ }).waitFor();
  assert.notEqual(await last.getByLabel('Answer of count_down').textContent(), '');
});
await test('Cancel ends a call', async () => {
  await page.getByLabel('from', { exact: true }).fill('30');
  await press('Call count_down');
  await last.getByLabel('Progress of the call').waitFor();
  await press('Cancel');
  await last.locator('.state').filter({ hasText: /^Cancelled/ }).waitFor();
});
await test('the browser has nothing to complain about', () => assert.deepEqual(complaints, []));
await close();
await test('ends, with nothing to complain about', () => up.stop());
done();
