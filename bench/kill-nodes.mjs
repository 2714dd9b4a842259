/**
 * A run over several nodes of which one is killed at a random step, or any are asked to stop at random moments, again and again, and
 * which is started again on all each time, as a scheduler does: does it end with the parameters of a run that was left alone?
 *
 *   npm run build && node bench/kill-nodes.mjs [TURNS] [SEED] [kill|stop] [NODES] [cpu|fsdp|data]
 *
 * cpu (default): each node does what `longsight study run` does, on a CPU engine, with a host name of its own (a UTS namespace, as root;
 * LONGSIGHT_HOST else), joined to the others by the store that node 0 serves. CPU engines compute nothing together: each node trains the
 * whole run. fsdp, data: each node is `longsight study run` on a GPU of its own (NVIDIA, as many as nodes), and the mesh of all of them
 * divides the parameters or the batch; programs are deterministic, and the same nodes left alone say what the run is. HOME_OF_BUNDLE=FOLDER
 * names an unpacked bundle whose program and Node are used.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [KILLS, SEED, NODES] = [2, 3, 5].map((at, i) => Number(process.argv[at] ?? [20, 1, 2][i]));
const STOPS = process.argv[4] === 'stop';
const MESH = ['fsdp', 'data'].find((axis) => axis === process.argv[6]);
/** Channels of the model: on GPUs as many as their programs take well. */
const WIDTH = MESH === undefined ? 8 : 128;
const BUNDLE = process.env.HOME_OF_BUNDLE;
const MAIN = BUNDLE ? join(BUNDLE, 'dist/cli/main.js') : fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const NODE = fileURLToPath(new URL('kill-nodes-node.mjs', import.meta.url));
const [STEPS, EVERY, MOST] = [40 * KILLS + 40, 10, 40];
const folder = mkdtempSync(join(tmpdir(), 'longsight-kill-nodes-'));
const [study, run] = [join(folder, 'study'), 'full_seed-1'];
writeFileSync(
  join(folder, 's.yaml'),
  `name: tiny
base:
  ${MESH === undefined ? 'engine: auto' : `engine: xla:cuda\n  mesh: { ${MESH}: ${NODES} }\n  deterministic: true`}
  model: { hiddenSize: ${WIDTH}, numLayers: 2, numHeads: 2, intermediateSize: ${2 * WIDTH} }
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

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

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
  const own = [process.execPath, MESH === undefined ? NODE : MAIN, 'study', 'run', env.STUDY ?? study, run];
  const [program, ...args] = hasNamespaces
    ? ['unshare', '--uts', 'sh', '-c', 'hostname "$0" && exec "$@"', `node-${node}`, ...own]
    : own;
  const host = hasNamespaces ? {} : { LONGSIGHT_HOST: `node-${node}` };
  const child = spawn(program, args, {
    env: {
      ...{ ...process.env, ...env, ...host, LONGSIGHT_NODE: String(node), LONGSIGHT_LOCK_SECONDS: '8' },
      ...(MESH === undefined ? {} : { CUDA_VISIBLE_DEVICES: String(node), NCCL_NVLS_ENABLE: '0' }),
    },
    ...{ stdio: ['ignore', 'ignore', 'pipe'], detached: true },
  });
  let said = '';
  child.stderr.on('data', (part) => (said += String(part)));
  const ended = new Promise((done) => child.on('close', (code, signal) => done({ code, signal, said })));
  return {
    ended,
    isOver: () => child.exitCode !== null || child.signalCode !== null,
    kill: () => process.kill(-child.pid, 'SIGKILL'),
    ask: (signal) => child.kill(signal),
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

/** What nodes need to find one another. */
async function meeting() {
  return {
    ...{ LONGSIGHT_COORDINATOR: `127.0.0.1:${await freePort()}`, LONGSIGHT_NODES: String(NODES) },
    LONGSIGHT_COORDINATOR_SECRET: randomBytes(32).toString('hex'),
    READY: join(folder, `ready-${++turns}`),
  };
}

/** The run that nobody kills: the whole of it on one CPU engine, or the same nodes on GPUs. */
async function leaveAlone() {
  if (MESH === undefined) return longsight('study', 's.yaml', '--out', 'whole', '--only', 'full', '--threads', '1');
  const whole = join(folder, 'whole');
  longsight('study', 'plan', 's.yaml', '--out', whole);
  const env = { ...(await meeting()), STUDY: whole };
  const ends = await Promise.all(Array.from({ length: NODES }, (_, node) => start(node, env).ended));
  if (ends.some(({ code }) => code !== 0)) throw new Error(`the run left alone failed: ${JSON.stringify(ends)}`);
}

/** One turn on all nodes; kills one of them unless `isLast`. */
async function turn(isLast) {
  const env = await meeting();
  const from = lastStep();
  const nodes = Array.from({ length: NODES }, (_, node) => start(node, env));
  if (STOPS && !isLast) return stopTurn(nodes, env.READY, from);
  const killed = random(NODES);
  const after = 1 + random(MOST);
  if (!isLast) {
    // A run that is started again goes back to its last checkpoint first.
    while (!(lastStep() >= from - EVERY + after && lastStep() !== from) && !nodes.some(({ isOver }) => isOver()))
      await pause(5);
    if (!nodes.some(({ isOver }) => isOver())) nodes[killed].kill();
  }
  return { killed, step: lastStep(), ends: await Promise.all(nodes.map(({ ended }) => ended)) };
}

/** Where a node's folder of the run stands. */
function statusOf(node) {
  const dir = node === 0 ? study : join(study, 'nodes', String(node));
  return JSON.parse(readFileSync(join(dir, 'runs', run, 'status.json'), 'utf8'));
}

/** Asks some of the nodes to stop, each at a moment of its own: before the first step, or after some. */
async function stopTurn(nodes, ready, from) {
  const asked = nodes.map((_, node) => node).filter(() => random(2) === 0);
  if (asked.length === 0) asked.push(random(NODES));
  const isOver = () => nodes.some((node) => node.isOver());
  while (!nodes.every((_, node) => existsSync(`${ready}-${node}`)) && !isOver()) await pause(5);
  await Promise.all(
    asked.map(async (node) => {
      const [early, after, ms] = [random(4) === 0, 1 + random(MOST), random(200)];
      while (!early && lastStep() < from + after && !isOver()) await pause(5);
      await pause(ms);
      nodes[node].ask(random(2) === 0 ? 'SIGTERM' : 'SIGUSR1');
    }),
  );
  const ends = await Promise.all(nodes.map(({ ended }) => ended));
  return { asked, step: lastStep(), steps: nodes.map((_, node) => statusOf(node).step), ends };
}

try {
  longsight('study', 'plan', 's.yaml', '--out', study);
  const counts = { kills: Array(NODES).fill(0), named: 0, again: 0 };
  const begin = performance.now();
  const stops = { turns: 0, sameStep: 0, allCode75: 0 };
  while (STOPS && stops.turns < KILLS) {
    const { asked, steps, ends } = await turn(false);
    if (steps[0] === STEPS) throw new Error('the run is done before the last turn: make it longer');
    stops.turns += 1;
    stops.sameStep += new Set(steps).size === 1 ? 1 : 0;
    stops.allCode75 += ends.every(({ code }) => code === 75) ? 1 : 0;
    const codes = ends.map(({ code, signal }) => code ?? signal).join(' ');
    process.stderr.write(`nodes ${asked.join(' ')} asked: steps ${steps.join(' ')}, codes ${codes}\n`);
  }
  while (!STOPS && counts.kills.reduce((a, b) => a + b) < KILLS) {
    const { killed, step, ends } = await turn(false);
    if (ends[killed].signal !== 'SIGKILL') throw new Error(`nobody was killed: ${JSON.stringify(ends)}`);
    const left = ends.filter((_, node) => node !== killed);
    counts.kills[killed] += 1;
    counts.named += left.every(({ said }) => said.includes(`node ${killed} (`) && said.includes('is gone')) ? 1 : 0;
    counts.again += left.every(({ code }) => code === 75) ? 1 : 0;
    const codes = left.map(({ code }) => code).join(' ');
    process.stderr.write(`node ${killed} killed at step ${step}: the others ended with ${codes}\n`);
  }
  const { ends } = await turn(true);
  await leaveAlone();
  const lines = readFileSync(join(study, 'runs', run, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const steps = lines.flatMap((line) => ('train/loss' in line ? [line.step] : []));
  const result = {
    ...(STOPS ? stops : { kills: counts.kills, ofOtherNamed: counts.named, ofOtherCode75: counts.again }),
    lastCodes: ends.map(({ code }) => code),
    sameParameters: weights(study) === weights(join(folder, 'whole')),
    eachStepOnce: steps.length === STEPS && steps.every((step, i) => step === i + 1),
    seconds: Math.round((performance.now() - begin) / 1000),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
  const turnsRight = STOPS ? [stops.sameStep, stops.allCode75] : [counts.named, counts.again];
  const isRight = result.sameParameters && result.eachStepOnce && turnsRight.every((count) => count === KILLS);
  process.exitCode = isRight ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
