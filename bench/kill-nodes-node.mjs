/**
 * A node of a run over several, in place of `longsight study run STUDY RUN`: performs the run as that does, joined to the others by the
 * store, on a CPU engine (that of the run), which the command refuses there for want of programs over several processes. So each node
 * computes the whole run. SIGTERM and SIGUSR1 ask all nodes to stop; then it ends with 75.
 *
 *   node bench/kill-nodes-node.mjs study run STUDY RUN
 *
 * READY=PATH has each node write the file PATH-NODE once all are there.
 */
import { writeFileSync } from 'node:fs';
import { InterruptedError, LongsightError } from '../dist/core/index.js';
import { createEngine, hostsFromEnvironment } from '../dist/engine/index.js';
import { startKeyValue } from '../dist/engine/xla/pjrt/hosts/callbacks.js';
import { exchange } from '../dist/engine/xla/pjrt/hosts/exchange.js';
import { shareStop } from '../dist/engine/xla/pjrt/hosts/shared-stop.js';
import { performRun } from '../dist/lab/index.js';
import { readStatus } from '../dist/run/index.js';
import { nodePlace, readPlan, removeNodeFolder, runFolder, sharedBeginnings } from '../dist/study/index.js';

const [study, name] = process.argv.slice(4);
const stop = new AbortController();
for (const signal of ['SIGTERM', 'SIGUSR1']) process.on(signal, () => stop.abort(new InterruptedError('stopped')));
const hosts = hostsFromEnvironment(process.env);
// Told before the others are waited for, who may have ended.
if (readStatus(runFolder(study, name))?.state === 'done') process.exit(0);
const store = startKeyValue(hosts);
const ask = (request) => store.ask(request);
delete process.env.LONGSIGHT_COORDINATOR;
const { runs } = readPlan(study);
const { config } = runs.find((run) => run.name === name);
const place = nodePlace(study, name, sharedBeginnings(runs), hosts.node);
let exchanges = 0;
const tell = (text) => exchange({ hosts, ask, number: exchanges++, text });
await tell('here'); // as plugins do that wait for one another
if (process.env.READY) writeFileSync(`${process.env.READY}-${hosts.node}`, '');
const engine = createEngine(config.engine === 'auto' ? 'onnx' : config.engine, { threads: 1 });
let how = 'failed';
const shared = {
  ...engine,
  atWork: (isAtWork) => (how = isAtWork ? 'failed' : 'bye'),
  shareStop: (from, to) => shareStop({ hosts, ask, run: 0, from, to }),
  exchange: tell,
};
try {
  await performRun({
    ...{ ...place, run: config, engine: shared, resume: 'auto', branchAt: [], signal: stop.signal },
    note: (text) => process.stderr.write(`node ${hosts.node}: ${text}\n`),
  });
} catch (error) {
  if (!(error instanceof LongsightError)) throw error;
  process.stderr.write(`longsight: node ${hosts.node}: ${error.message}\n`);
  process.exitCode = error instanceof InterruptedError ? 75 : error.exitCode;
  process.on('exit', () => process.exit()); // as the command does: no signal that comes later ends it
} finally {
  await engine.dispose();
  await store.stop(how);
}
if (hosts.node > 0 && process.exitCode === undefined) removeNodeFolder(study, name, hosts.node);
