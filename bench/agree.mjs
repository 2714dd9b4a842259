#!/usr/bin/env node
/**
 * How long processes that do a run together wait for their agreement on the step after which they stop, at each step:
 *
 *     npm run build && node bench/agree.mjs [--steps 500] [--ms 2,2]
 *
 * One node for each number of `--ms`, the milliseconds of its steps, in which it only waits. Node 0 serves the store, over which they
 * agree as nodes of an accelerator do. Nodes that are faster than node 0 wait for it here too, as they would in a collective.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { cpus, loadavg } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { hostsFromEnvironment } from '../dist/engine/index.js';
import { startKeyValue } from '../dist/engine/xla/pjrt/hosts/callbacks.js';
import { shareStop } from '../dist/engine/xla/pjrt/hosts/shared-stop.js';

const { values } = parseArgs({
  options: { steps: { type: 'string', default: '500' }, ms: { type: 'string', default: '2,2' } },
});
const STEPS = Number(values.steps);
const MS = values.ms.split(',').map(Number);
const isGood = Number.isInteger(STEPS) && STEPS > 0 && MS.length > 1 && MS.every((ms) => ms >= 0);
if (!isGood) throw new Error('--steps takes a whole number above 0, --ms milliseconds of two nodes or more: --ms 2,2');

/** Takes the steps of one node; prints the milliseconds that each waited, as JSON. */
async function takeSteps(hosts) {
  const store = startKeyValue(hosts);
  const ask = (request) => store.ask(request);
  // All begin at once, as plugins wait for one another.
  await ask({ op: 'put', key: `ready/${hosts.node}`, value: '' });
  for (let node = 0; node < hosts.nodes; node++) await ask({ op: 'get', key: `ready/${node}`, timeoutMs: 60_000 });
  const shared = shareStop({ hosts, ask, run: 0, from: 0, to: STEPS });
  const waited = [];
  for (let step = 1; step <= STEPS; step++) {
    const begin = performance.now();
    if (!(await shared.goesOn(step))) throw new Error(`stopped before step ${step}, though nobody asked`);
    waited.push(performance.now() - begin);
    await pause(MS[hosts.node]);
  }
  await shared.finish();
  await store.stop('bye');
  process.stdout.write(JSON.stringify(waited));
}

/** Starts a process for each node; returns the milliseconds that its steps waited, by node. */
async function measure() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  const shared = {
    ...{ LONGSIGHT_COORDINATOR: `127.0.0.1:${port}`, LONGSIGHT_NODES: String(MS.length) },
    LONGSIGHT_COORDINATOR_SECRET: randomBytes(32).toString('hex'),
  };
  return Promise.all(
    MS.map(async (_, node) => {
      const env = { ...process.env, ...shared, LONGSIGHT_NODE: String(node) };
      const args = [fileURLToPath(import.meta.url), '--steps', values.steps, '--ms', values.ms];
      const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
      let out = '';
      child.stdout.on('data', (data) => (out += data));
      const [code] = await once(child, 'close');
      if (code !== 0) throw new Error(`node ${node} ended with ${code}`);
      return JSON.parse(out);
    }),
  );
}

const hosts = hostsFromEnvironment(process.env);
if (hosts !== undefined) {
  await takeSteps(hosts);
} else {
  for (const [node, waited] of (await measure()).entries()) {
    const mean = waited.reduce((sum, ms) => sum + ms, 0) / STEPS;
    const median = waited.toSorted((a, b) => a - b)[STEPS >> 1];
    const of = `node ${node}, ${STEPS} steps of ${MS[node]} ms`;
    console.log(`${of}: waited ${mean.toFixed(3)} ms a step on average, median ${median.toFixed(3)} ms`);
  }
  console.log(`${cpus().length} cores, load ${loadavg()[0].toFixed(1)}`);
}
