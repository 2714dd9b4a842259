/**
 * A run over two nodes of which one is killed at a random step, again and again, and which is started again on both each time, as
 * a scheduler does: does it end with the parameters of a run that was left alone?
 *
 *   npm run build && node bench/kill-nodes.mjs [KILLS] [SEED]
 *
 * Each node does what `longsight study run` does, on a CPU engine, with a host name of its own (a UTS namespace, as root; LONGSIGHT_HOST
 * else), joined to the other by the store that node 0 serves. CPU engines compute nothing together: each node trains the whole run.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [KILLS, SEED] = [Number(process.argv[2] ?? 20), Number(process.argv[3] ?? 1)];
const MAIN = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const NODE = fileURLToPath(new URL('kill-nodes-node.mjs', import.meta.url));
const [STEPS, EVERY, MOST] = [40 * KILLS + 40, 10, 40];
const folder = mkdtempSync(join(tmpdir(), 'longsight-kill-nodes-'));
const [study, run] = [join(folder, 'study'), 'full_seed-1'];
writeFileSync(
  join(folder, 's.yaml'),
  `name: tiny
base:
  model: { hiddenSize: 8, numLayers: 2, numHeads: 2, intermediateSize: 16 }
  data: { kind: recall, numKeys: 4, numValues: 4, numFillers: 4 }
  train: { steps: ${STEPS}, seqLen: 16, batchSize: 4, warmupSteps: 2, evalEvery: ${STEPS}, checkpointEvery: ${EVERY}, logEvery: 1 }
  eval: { batches: 1, recall: { batches: 1, bins: [4, 16] }, trace: false }
architectures: { full: full, small: 'swa:4 full' }
seeds: [1]
`,
);

let turns = 0;
let state = (SEED * 2_654_435_761) >>> 0;
/** A whole number from 0 to n - 1 (xorshift). */
function random(n) {
  for (const [left, by] of [
    [true, 13],
    [false, 17],
    [true, 5],
  ])
    state = (state ^ (left ? state << by : state >>> by)) >>> 0;
  return state % n;
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

const hasNamespaces = spawnSync('unshare', ['--uts', 'true']).status === 0;

/** Starts a node in a process group of its own. */
function start(node, env) {
  const own = [process.execPath, NODE, study, run, env.READY];
  const [program, ...args] = hasNamespaces
    ? ['unshare', '--uts', 'sh', '-c', 'hostname "$0" && exec "$@"', `node-${node}`, ...own]
    : own;
  const host = hasNamespaces ? {} : { LONGSIGHT_HOST: `node-${node}` };
  const child = spawn(program, args, {
    env: { ...process.env, ...env, ...host, LONGSIGHT_NODE: String(node), LONGSIGHT_LOCK_SECONDS: '8' },
    ...{ stdio: ['ignore', 'ignore', 'pipe'], detached: true },
  });
  let said = '';
  child.stderr.on('data', (part) => (said += String(part)));
  const ended = new Promise((done) => child.on('close', (code, signal) => done({ code, signal, said })));
  return {
    ended,
    isOver: () => child.exitCode !== null || child.signalCode !== null,
    kill: () => process.kill(-child.pid, 'SIGKILL'),
  };
}

/** The last step that node 0 has logged. */
function lastStep() {
  const path = join(study, 'runs', run, 'metrics.jsonl');
  if (!existsSync(path)) return 0;
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  return lines.length === 0 ? 0 : JSON.parse(lines.at(-1)).step;
}

function weights(dir) {
  const path = join(dir, 'runs', run, 'checkpoints', `step-${String(STEPS).padStart(6, '0')}`, 'model.safetensors');
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

function longsight(...args) {
  const { status, stderr } = spawnSync(process.execPath, [MAIN, ...args], { cwd: folder, encoding: 'utf8' });
  if (status !== 0) throw new Error(`longsight ${args.join(' ')} ended with ${status}: ${stderr}`);
}

/** One turn on both nodes; kills one of them unless `isLast`. */
async function turn(isLast) {
  const env = {
    ...{ LONGSIGHT_COORDINATOR: `127.0.0.1:${await freePort()}`, LONGSIGHT_NODES: '2' },
    LONGSIGHT_COORDINATOR_SECRET: randomBytes(32).toString('hex'),
    READY: join(folder, `ready-${++turns}`),
  };
  const from = lastStep();
  const nodes = [start(0, env), start(1, env)];
  const killed = random(2);
  const after = 1 + random(MOST);
  if (!isLast) {
    // A run that is started again goes back to its last checkpoint first.
    while (!(lastStep() >= from - EVERY + after && lastStep() !== from) && !nodes.some(({ isOver }) => isOver()))
      await new Promise((done) => setTimeout(done, 5));
    if (!nodes.some(({ isOver }) => isOver())) nodes[killed].kill();
  }
  return { killed, step: lastStep(), ends: await Promise.all(nodes.map(({ ended }) => ended)) };
}

try {
  longsight('study', 'plan', 's.yaml', '--out', study);
  const counts = { kills: [0, 0], named: 0, again: 0 };
  const begin = performance.now();
  while (counts.kills[0] + counts.kills[1] < KILLS) {
    const { killed, step, ends } = await turn(false);
    if (ends[killed].signal !== 'SIGKILL') throw new Error(`nobody was killed: ${JSON.stringify(ends)}`);
    const left = ends[1 - killed];
    counts.kills[killed] += 1;
    counts.named += left.said.includes(`node ${killed} (`) && left.said.includes('is gone') ? 1 : 0;
    counts.again += left.code === 75 ? 1 : 0;
    process.stderr.write(`node ${killed} killed at step ${step}: the other ended with ${left.code}\n`);
  }
  const { ends } = await turn(true);
  longsight('study', 's.yaml', '--out', 'whole', '--only', 'full', '--threads', '1');
  const lines = readFileSync(join(study, 'runs', run, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const steps = lines.flatMap((line) => ('train/loss' in line ? [line.step] : []));
  const result = {
    ...{
      kills: counts.kills,
      ofOtherNamed: counts.named,
      ofOtherCode75: counts.again,
      lastCodes: ends.map(({ code }) => code),
    },
    sameParameters: weights(study) === weights(join(folder, 'whole')),
    eachStepOnce: steps.length === STEPS && steps.every((step, i) => step === i + 1),
    seconds: Math.round((performance.now() - begin) / 1000),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
  const isRight = result.sameParameters && result.eachStepOnce && counts.named === KILLS && counts.again === KILLS;
  process.exitCode = isRight ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
