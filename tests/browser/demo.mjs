#!/usr/bin/env node
// The page of www/ in a real browser: it shows the endpoint, and its button calls the echo tool.
import assert from 'node:assert/strict';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { done, servers, serve, skipAll, test } from '../clients/lib.mjs';
import { open } from './lib.mjs';

const source = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const up = await serve(join(source, 'examples', 'hello'), servers[0], '--www', join(source, 'www'));
if (!up)
  skipAll(`${servers[0]} is not installed`);
const { page, complaints, close } = await open();

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
await close();
await test('ends, with nothing to complain about', () => up.stop(), 60000);
done();
