// A browser, for the tests of pages; who imports this is skipped without one, before there is anything to report.
import { existsSync } from 'node:fs';
import { load, needModules, skipAll } from '../clients/lib.mjs';

needModules();
const PROGRAM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
if (!PROGRAM)
  skipAll('no browser is installed (Debian: apt install chromium)');

// {page, complaints: what the browser's console says is wrong, each violation of a page's policy and each request to another
// site, close()}
export async function open() {
  const browser = await load('playwright-core').chromium.launch({ executablePath: PROGRAM, args: ['--headless', '--no-sandbox',
    '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--disable-sync'] });
  const page = await browser.newPage();
  const complaints = [];

  page.setDefaultTimeout(60000);
  await page.addInitScript(() => document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
    console.error(`policy: ${violatedDirective} forbids ${blockedURI}`)));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (e) => complaints.push(String(e)));
  page.on('request', (request) => {
    const { protocol, origin } = new URL(request.url());
    if (protocol.startsWith('http') && !request.isNavigationRequest() && origin !== new URL(request.frame().url()).origin)
      complaints.push(`it asks another site: ${request.url()}`);
  });
  return { page, complaints, close: () => browser.close() };
}
