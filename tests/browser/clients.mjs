#!/usr/bin/env node
// The page of examples/clients in a real browser: a session from its beginning to its end, each button pressed.
import assert from 'node:assert/strict';
import { CLIENTS, copyOf, done, eachServer, skipAll, test } from '../clients/lib.mjs';
import { open } from './lib.mjs';

if (process.env.MCP_TEST_URL)
  skipAll('the server that is given offers something else');
await eachServer(copyOf(CLIENTS), ['--www', `${CLIENTS}/www`], async (up, server) => {
  const { page, complaints, close } = await open();
  const press = (name) => page.getByRole('button', { name }).click();
  const answers = (hasText) => page.getByLabel('Answer', { exact: true }).filter({ hasText }).waitFor();
  const says = (hasText) => page.getByRole('status').filter({ hasText }).waitFor();
  const shown = (hasText) => page.getByLabel('Messages', { exact: true }).getByRole('listitem').filter({ hasText }).first().waitFor();

  await test(`${server}: the page opens, and initialises a session`, async () => {
    assert.equal((await page.goto(new URL('/', up.url).href)).status(), 200);
    assert.equal(await page.getByRole('button', { name: 'Call get_client' }).isDisabled(), true);
    await press('Initialise');
    await answers('Our clients: 4 resources');
    await says(/^Session \S+, revision 2025-11-25$/);
    await shown('notifications/initialized');
  });
  await test(`${server}: the server's stream opens, closes, and opens again`, async () => {
    for (let i = 0; i < 2; i++) {
      await press("Open the server's stream");
      await shown('stream, status 200');
      await says(/stream open$/);
      await press('Close the stream');
      await shown('closed the stream');
      await says(/2025-11-25$/);
    }
  });
  await test(`${server}: a tool is called, a prompt got, a page of a resource read`, async () => {
    await press('Call get_client');
    await answers('"name": "Tessa Tester"');
    await shown('structuredContent');
    await press('Get client_summary');
    await answers('Bookings so far: 3. Client since: 2021-03-14.');
    await page.getByLabel('Resource').selectOption('db://clients/page/3');
    await press('Read');
    await answers('Client 250 <client250@example.com>');
  });
  await test(`${server}: who is not there is not found, and nothing that is typed becomes SQL or HTML`, async () => {
    for (const email of ['nobody@example.com', "' OR ''='", '<b>bold</b>']) {
      await page.getByLabel('E-mail address').fill(email);
      await press('Call get_client');
      await answers('nothing was found');
      await press('Get client_summary');
      await answers('nothing was found for these arguments');
    }
  });
  await test(`${server}: a session is terminated, with its stream, and another one begins`, async () => {
    await press("Open the server's stream");
    await says(/stream open$/);
    await press('Terminate');
    await says('No session');
    await press('Initialise');
    await says(/^Session/);
  });
  await test(`${server}: the browser has nothing to complain about`, () => assert.deepEqual(complaints, []));
  await close();
});
done();
