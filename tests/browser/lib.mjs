// A browser, for the tests of pages.
import { existsSync } from 'node:fs';
import { load, needModules, skipAll } from '../clients/lib.mjs';

// {page, complaints: what the browser's console says is wrong, and each violation of a page's policy, close()}
export async function open() {
  needModules();
  const program = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
  if (!program)
    skipAll('no browser is installed (Debian: apt install chromium)');
  const browser = await load('playwright-core').chromium.launch({ executablePath: program, args: ['--headless', '--no-sandbox',
    '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--disable-sync'] });
  const page = await browser.newPage();
  const complaints = [];

  page.setDefaultTimeout(20000);
  await page.addInitScript(() => document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
    console.error(`policy: ${violatedDirective} forbids ${blockedURI}`)));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (e) => complaints.push(String(e)));
  return { page, complaints, close: () => browser.close() };
}
