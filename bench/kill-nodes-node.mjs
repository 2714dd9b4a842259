/**
 * A node of kill-nodes.mjs: performs a run as `longsight study run STUDY RUN` does on each of several nodes, joined to the other by the
 * store, on a CPU engine, which the command refuses there for want of programs over several processes.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { createEngine, hostsFromEnvironment } from '../dist/engine/index.js';
import { startKeyValue } from '../dist/engine/xla/pjrt/hosts/callbacks.js';
import { performRun } from '../dist/lab/index.js';
import { nodePlace, readPlan, removeNodeFolder, sharedBeginnings } from '../dist/study/index.js';

const [study, name, ready] = process.argv.slice(2);
const hosts = hostsFromEnvironment(process.env);
const store = startKeyValue(hosts);
delete process.env.LONGSIGHT_COORDINATOR;
const { runs } = readPlan(study);
const { config } = runs.find((run) => run.name === name);
const place = nodePlace(study, name, sharedBeginnings(runs), hosts.node);
// Nodes go on once all know where from, as plugins do that wait for one another.
writeFileSync(`${ready}-${hosts.node}`, '');
while (!existsSync(`${ready}-${1 - hosts.node}`)) await new Promise((done) => setTimeout(done, 20));
const engine = createEngine('onnx', { threads: 1 });
let how = 'failed';
try {
  await performRun({ ...place, run: config, engine, resume: 'auto', branchAt: [] });
  how = 'bye';
} finally {
  await engine.dispose();
  await store.stop(how);
}
if (hosts.node > 0) removeNodeFolder(study, name, hosts.node);
