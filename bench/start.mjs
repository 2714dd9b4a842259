#!/usr/bin/env node
/**
 * How long `longsight --version`, `--help` and no work at all (`node -e 0`) take to start, and how much memory, in turns in one loop:
 *
 *     node bench/start.mjs [--rounds 15] [--assert]
 *
 * Prints medians, and ratios to `node -e 0`. `--assert` ends with exit code 1 above 1.5 times its memory; time is for people to read:
 * a busy machine must not fail a check (`test/unit/cli/start.test.ts` asserts what a start loads).
 */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '15' }, assert: { type: 'boolean', default: false } },
});
const main = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist', 'cli', 'main.js');
const MOST_MEMORY = 1.5;

// Every process prints its own peak memory, in KiB, as it ends.
const PEAK = 'data:text/javascript,process.on("exit",()=>process.stderr.write("peak "+process.resourceUsage().maxRSS))';
const programs = {
  'node -e 0': ['-e', '0'],
  'longsight --version': [main, '--version'],
  'longsight --help': [main, '--help'],
};

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const seen = Object.fromEntries(Object.keys(programs).map((name) => [name, { wall: [], memory: [] }]));
for (let round = 0; round <= Number(values.rounds); round++) {
  for (const [name, args] of Object.entries(programs)) {
    const start = process.hrtime.bigint();
    spawnSync(process.execPath, args);
    const wall = Number(process.hrtime.bigint() - start) / 1e6;
    const { status, stderr } = spawnSync(process.execPath, ['--import', PEAK, ...args], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${name} ended with ${status}: ${stderr}`);
    if (round === 0) continue; // files come from the disk
    seen[name].wall.push(wall);
    seen[name].memory.push(Number(/peak (\d+)/.exec(stderr)[1]) / 1024);
  }
}
const base = { wall: median(seen['node -e 0'].wall), memory: median(seen['node -e 0'].memory) };
let passed = true;
for (const [name, { wall, memory }] of Object.entries(seen)) {
  const ratio = { wall: median(wall) / base.wall, memory: median(memory) / base.memory };
  console.log(
    `${name.padEnd(20)} ${median(wall).toFixed(0).padStart(5)} ms  ${ratio.wall.toFixed(2)} x   ` +
      `${median(memory).toFixed(0).padStart(4)} MB  ${ratio.memory.toFixed(2)} x`,
  );
  passed &&= ratio.memory <= MOST_MEMORY;
}
if (values.assert && !passed) {
  console.error(`above ${MOST_MEMORY} x the memory of node -e 0`);
  process.exitCode = 1;
}
