/**
 * A node of kill-nodes.mjs: performs a run as `longsight study run STUDY RUN` does on each of several nodes, joined to the other by the
 * store, on a CPU engine, which the command refuses there for want of programs over several processes. SIGTERM and SIGUSR1 ask all
 * nodes to stop; then it ends with 75.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { InterruptedError } from '../dist/core/index.js';
import { createEngine, hostsFromEnvironment } from '../dist/engine/index.js';
import { startKeyValue } from '../dist/engine/xla/pjrt/hosts/callbacks.js';
import { shareStop } from '../dist/engine/xla/pjrt/hosts/shared-stop.js';
import { performRun } from '../dist/lab/index.js';
import { nodePlace, readPlan, removeNodeFolder, sharedBeginnings } from '../dist/study/index.js';

const [study, name, ready] = process.argv.slice(2);
const stop = new AbortController();
for (const signal of ['SIGTERM', 'SIGUSR1']) process.on(signal, () => stop.abort(new InterruptedError('stopped')));
const hosts = hostsFromEnvironment(process.env);
const store = startKeyValue(hosts);
delete process.env.LONGSIGHT_COORDINATOR;
const { runs } = readPlan(study);
const { config } = runs.find((run) => run.name === name);
const place = nodePlace(study, name, sharedBeginnings(runs), hosts.node);
// Nodes go on once all know where from, as plugins do that wait for one another.
writeFileSync(`${ready}-${hosts.node}`, '');
for (let node = 0; node < hosts.nodes; node++)
  while (!existsSync(`${ready}-${node}`)) await new Promise((done) => setTimeout(done, 20));
const engine = createEngine('onnx', { threads: 1 });
let how = 'failed';
const shared = {
  ...engine,
  atWork: (isAtWork) => (how = isAtWork ? 'failed' : 'bye'),
  shareStop: (from, to) => shareStop({ hosts, ask: (request) => store.ask(request), run: 0, from, to }),
};
try {
  await performRun({ ...place, run: config, engine: shared, resume: 'auto', branchAt: [], signal: stop.signal });
} catch (error) {
  if (!(error instanceof InterruptedError)) throw error;
  process.exitCode = 75;
  process.on('exit', () => process.exit()); // as the command does: no signal that comes later ends it
} finally {
  await engine.dispose();
  await store.stop(how);
}
if (hosts.node > 0 && process.exitCode !== 75) removeNodeFolder(study, name, hosts.node);
