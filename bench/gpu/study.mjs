// Studies on a GPU: whether they end, survive kills to the bit, are faster with a shared device, where the time of a real run goes,
// and how far measuring in bf16 is from float32. One JSON line per measurement on standard output.
// usage: node study.mjs HOME FOLDER [--platform cuda] [--tiny] CASE...      CASE: killed undisturbed shared real eval-precision
// HOME holds the built package (dist/). Cases build on those before them in FOLDER. --tiny tries the script on CPUs.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const home = resolve(process.argv[2]);
const folder = resolve(process.argv[3]);
const { values: flags, positionals } = parseArgs({
  args: process.argv.slice(4),
  allowPositionals: true,
  options: { platform: { type: 'string', default: 'cuda' }, tiny: { type: 'boolean', default: false } },
});
const { tiny, platform } = flags;
const main = join(home, 'dist/cli/main.js');
const engine = ['--engine', `xla:${platform}`];
const precision = platform === 'cuda' ? 'bf16' : 'f32';
const emit = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));
const seconds = (since) => Number(((performance.now() - since) / 1000).toFixed(1));
mkdirSync(folder, { recursive: true });

/** Small hybrids on recall, two designs, which repeat to the bit. */
function smallStudy(name, seeds) {
  const [hiddenSize, seqLen, batchSize, steps] = tiny ? [32, 64, 8, 60] : [256, 512, 32, 400];
  const model = { hiddenSize, numLayers: 4, numHeads: 4, intermediateSize: 2 * hiddenSize };
  const data = { kind: 'recall', numKeys: 64, numValues: 64, numFillers: 128 };
  const train = { seqLen, batchSize, steps, lr: 1e-3, logEvery: 20, evalEvery: steps / 4, checkpointEvery: steps / 4 };
  const base = { model, data, train: { ...train, precision }, deterministic: true };
  const file = join(folder, `${name}.json`);
  writeFileSync(file, JSON.stringify({ name, base, seeds, architectures: { swa: 'swa:32 full:nope', full: 'full' } }));
  return { file, out: join(folder, name), steps };
}

/** Starts a command of the package; its events and messages go to NAME.log. */
function start(name, ...args) {
  const log = openSync(join(folder, `${name}.log`), 'a');
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', log, log] });
  closeSync(log);
  const ended = new Promise((done) => child.on('close', (code, signal) => done(signal ?? code)));
  return { child, ended };
}

const runsOf = (out) => readJson(join(out, 'study.json')).runs.map((run) => run.name);
const statusOf = (out, run) => {
  const path = join(out, 'runs', run, 'status.json');
  return existsSync(path) ? readJson(path) : null;
};

/** A digest of the tensors of a run's last checkpoint. */
function digest(out, run) {
  const checkpoints = join(out, 'runs', run, 'checkpoints');
  if (!existsSync(checkpoints)) return null;
  const last = readdirSync(checkpoints)
    .filter((name) => /^step-\d+$/.test(name))
    .sort()
    .at(-1);
  if (last === undefined) return null;
  const hash = createHash('sha256').update(last);
  for (const file of ['model.safetensors', 'optimizer.safetensors'])
    hash.update(readFileSync(join(checkpoints, last, file)));
  return hash.digest('hex').slice(0, 16);
}

async function until(condition, limitSeconds, what) {
  const begin = performance.now();
  while (!condition()) {
    if (seconds(begin) > limitSeconds) throw new Error(`waited ${limitSeconds} s for ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

const resultOf = (name, out, extra) => {
  const runs = existsSync(join(out, 'study.json')) ? runsOf(out) : [];
  const states = runs.map((run) => statusOf(out, run));
  const notDone = runs.filter((_, i) => states[i]?.state !== 'done');
  const places = [...new Set(runs.map((run) => readJson(join(out, 'runs', run, 'config.json')).place ?? 'unknown'))];
  const messages = states.flatMap((s) => (s?.state === 'failed' ? [s.message] : []));
  const timing = Object.fromEntries(
    Object.keys(states[0]?.timing ?? {}).map((phase) => {
      const all = states.map((s) => s?.timing?.[phase] ?? 0);
      return [phase, Number((all.reduce((a, b) => a + b, 0) / all.length).toFixed(2))];
    }),
  );
  emit({ case: name, runs: runs.length, failed: notDone.length, messages, places, meanTiming: timing, ...extra });
};

async function undisturbed(name, ...more) {
  const { file, out } = smallStudy(name, [1, 2, 3, 4]);
  rmSync(out, { recursive: true, force: true });
  const begin = performance.now();
  const exit = await start(name, 'study', file, '--out', out, '--json', ...engine, ...more).ended;
  resultOf(name, out, { exit, seconds: seconds(begin), flags: more });
  return out;
}

/** A worker is killed, then the parent; the same command goes on at once. Compared with the undisturbed study, run by run. */
async function killed() {
  const { file, out, steps } = smallStudy('killed', [1, 2]);
  rmSync(out, { recursive: true, force: true });
  const begin = performance.now();
  const args = ['study', file, '--out', out, '--json', ...engine];
  const first = start('killed', ...args);
  await until(() => existsSync(join(out, 'study.json')), 30, 'the plan');
  const [one, two] = runsOf(out);
  const reached = (run, step) =>
    existsSync(join(out, 'runs', run, 'checkpoints', `step-${String(step).padStart(6, '0')}`));
  await until(() => reached(one, steps / 4), 90, `a checkpoint of ${one}`);
  const worker = readJson(join(out, 'workers', `${one}.json`)).pid;
  process.kill(worker, 'SIGKILL');
  await until(() => reached(two, steps / 4), 90, `a checkpoint of ${two}`);
  first.child.kill('SIGKILL');
  const ending = await first.ended;
  const left = readdirSync(join(out, 'workers')).length;
  const exit = await start('killed', ...args).ended;
  const log = readFileSync(join(folder, 'killed.log'), 'utf8');
  resultOf('killed', out, {
    ...{ exit, seconds: seconds(begin), parentEndedBy: ending, workersLeftByTheParent: left },
    startedAgain: /ended by SIGKILL; starting it again/.test(log),
    waited: log.includes('"event":"waiting"'),
  });
}

function compare() {
  const [a, b] = [join(folder, 'killed'), join(folder, 'undisturbed')];
  if (![a, b].every((out) => existsSync(join(out, 'study.json')))) return;
  const rows = runsOf(a).map((run) => ({ run, same: digest(a, run) !== null && digest(a, run) === digest(b, run) }));
  emit({ case: 'killed = undisturbed', same: rows.every((row) => row.same), runs: rows });
}

/** Real text without a network: the sources of Python's packages, tokenized here. */
function shards() {
  const out = join(folder, 'shards');
  if (existsSync(out)) return out;
  const limit = tiny ? 2e5 : 3e7;
  const roots = spawnSync(
    'python3',
    ['-c', 'import site, sysconfig; print("\\n".join([sysconfig.get_paths()["stdlib"], *site.getsitepackages()]))'],
    { encoding: 'utf8' },
  );
  let size = 0;
  const lines = [];
  const walk = (dir) => {
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      if (size > limit) return;
      const path = join(dir, entry.name);
      if (entry.isDirectory()) walk(path);
      else if (entry.isFile() && entry.name.endsWith('.py')) {
        const text = readFileSync(path, 'utf8');
        if (text.length < 4000 || text.length > 400_000 || text.includes('\ufffd')) continue;
        size += text.length;
        lines.push(JSON.stringify({ text }));
      }
    }
  };
  for (const root of roots.stdout.trim().split('\n').reverse()) if (existsSync(root)) walk(root);
  const texts = join(folder, 'texts.jsonl');
  writeFileSync(texts, lines.join('\n'));
  const run = (...args) => {
    const { status, stderr } = spawnSync(process.execPath, [main, ...args, '--quiet'], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${args[0]} ${args[1]}: ${stderr}`);
  };
  run('tokenizer', 'train', texts, '--out', join(folder, 'tokenizer'), '--vocab-size', tiny ? '512' : '8192');
  run('data', 'prepare', texts, '--out', out, '--tokenizer', join(folder, 'tokenizer'), '--held-out', '0.05');
  return out;
}

/** One run of the study's smallest size: twelve evaluations, six checkpoints with traces, as a run of 240 M tokens has. */
async function real() {
  const begin = performance.now();
  const path = shards();
  const prepared = seconds(begin);
  const [seqLen, batchSize] = tiny ? [256, 2] : [4096, 16];
  const model = tiny
    ? { hiddenSize: 32, numLayers: 4, numHeads: 2, intermediateSize: 64, layers: '3*swa:16 full:nope', vocabSize: 512 }
    : { preset: 's1-swa-128-nope', vocabSize: 8192, tieEmbeddings: true };
  // The second time a third as long: what matters is that its programs were compiled before.
  for (const [name, steps] of [
    ['real', tiny ? 12 : 612],
    ['real, compiled before', tiny ? 12 : 204],
  ]) {
    const often = { logEvery: 25, evalEvery: steps / 12, checkpointEvery: steps / 6 };
    const train = { seqLen, batchSize, steps, lr: 2e-3, ...often, precision };
    const file = join(folder, 'real.json');
    writeFileSync(file, JSON.stringify({ seed: 1, model, data: { kind: 'shards', path, resets: false }, train }));
    const out = join(folder, name === 'real' ? 'real' : 'real-again');
    rmSync(out, { recursive: true, force: true });
    const since = performance.now();
    const exit = await start(name, 'train', file, '--out', out, '--quiet', ...engine).ended;
    const wall = seconds(since);
    const status = existsSync(join(out, 'status.json')) ? readJson(join(out, 'status.json')) : null;
    if (exit !== 0 || status?.timing === undefined) {
      emit({
        case: name,
        exit,
        error: status?.message ?? readFileSync(join(folder, `${name}.log`), 'utf8').slice(-600),
      });
      return;
    }
    const { steps: training, firstStep, total } = status.timing;
    const beside = total - training - firstStep;
    const tokens = status.tokens;
    const tokPerSec = tokens / (training + firstStep);
    emit({
      ...{ case: name, exit, prepared, wall, tokens, tokPerSec: Math.round(tokPerSec), timing: status.timing },
      shareBesideTraining: Number((beside / total).toFixed(4)),
      // The same evaluations, traces and checkpoints beside as many steps as a run of the study has.
      shareAt240M: Number((beside / (beside + 240e6 / tokPerSec)).toFixed(4)),
    });
    if (tiny) return;
  }
}

/** The last checkpoint measured in float32 and in bf16. */
async function evalPrecision() {
  const run = join(folder, 'real');
  if (!existsSync(run)) await real();
  const measured = {};
  for (const name of ['f32', 'bf16']) {
    const file = join(folder, `eval-${name}.json`);
    const since = performance.now();
    const exit = await start(`eval-${name}`, 'eval', run, '--precision', name, '--out', file, '--quiet', ...engine)
      .ended;
    const traced = spawnSync(
      process.execPath,
      [main, 'trace', run, '--step', String(statusStep(run)), '--precision', name, '--json', ...engine],
      { encoding: 'utf8' },
    );
    const heads = traced.stdout
      .split('\n')
      .filter((line) => line.includes('"event":"trace"'))
      .map((line) => JSON.parse(line).heads)[0];
    if (exit !== 0 || heads === undefined) {
      emit({
        case: 'eval-precision',
        precision: name,
        exit,
        error: (readFileSync(join(folder, `eval-${name}.log`), 'utf8') + traced.stderr).slice(-600),
      });
      return;
    }
    measured[name] = {
      record: readJson(file),
      scores: heads.layers.flatMap((l) => l.heads.map((h) => h.score)),
      seconds: seconds(since),
    };
  }
  const { f32, bf16 } = measured;
  const most = (a, b) => a.reduce((m, x, i) => (x === null || b[i] === null ? m : Math.max(m, Math.abs(x - b[i]))), 0);
  const numbers = (value, path = '') =>
    typeof value === 'number'
      ? [[path, value]]
      : typeof value === 'object' && value !== null
        ? Object.entries(value).flatMap(([k, v]) => numbers(v, `${path}/${k}`))
        : [];
  const other = new Map(numbers(bf16.record));
  // The largest difference in each part of the record, whatever parts there are.
  const parts = {};
  for (const [path, value] of numbers(f32.record)) {
    const part = path.split('/')[1];
    if (['format', 'step', 'tokens'].includes(part)) continue;
    parts[part] = Math.max(parts[part] ?? 0, Math.abs(value - (other.get(path) ?? NaN)));
  }
  emit({
    ...{ case: 'eval-precision', lossF32: f32.record.loss, lossBf16: bf16.record.loss },
    lossDifference: bf16.record.loss - f32.record.loss,
    largestDifferences: parts,
    headScores: { heads: f32.scores.length, largest: most(f32.scores, bf16.scores) },
    seconds: { f32: f32.seconds, bf16: bf16.seconds },
  });
}

const statusStep = (run) => readJson(join(run, 'status.json')).step;

const CASES = {
  killed,
  undisturbed: async () => {
    await undisturbed('undisturbed');
    compare();
  },
  shared: () => undisturbed('shared', ...(platform === 'cuda' ? ['--per-device', '2'] : [])),
  real,
  'eval-precision': evalPrecision,
};

for (const name of positionals) {
  const since = performance.now();
  try {
    if (!(name in CASES)) throw new Error(`unknown case ${name}; there are ${Object.keys(CASES).join(', ')}`);
    await CASES[name]();
  } catch (error) {
    emit({ case: name, error: String(error.message).slice(0, 600) });
  }
  process.stderr.write(`${name}: ${seconds(since)} s\n`);
}
