/** Run folders in the stored format with made-up numbers, for tests of what reads them. */
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Rng } from '../../src/core/index.js';
import {
  headGroups,
  laptopModel,
  printLayer,
  printPeriod,
  resolveModelConfig,
  type LaptopPattern,
  type ModelConfig,
} from '../../src/model/index.js';

export interface FakeRun {
  readonly name: string;
  readonly pattern: LaptopPattern;
  readonly seed: number;
  /** Tokens at which far recall passes one half; Infinity for never. */
  readonly formsAt: number;
  readonly steps?: number;
  readonly state?: 'done' | 'running' | 'failed' | 'interrupted';
  readonly message?: string;
  readonly startedAt?: string;
  /** Metrics up to this step only. */
  readonly upTo?: number;
  readonly finalLoss?: number;
  /** Bytes and needles in place of recall. */
  readonly text?: boolean;
  /** Associative recall on text, beside what `text` has. */
  readonly ar?: boolean;
}

const BINS = [
  [1, 16],
  [17, 32],
  [33, 64],
  [65, 128],
] as const;
const STEP_TOKENS = 32 * 128;
const EVAL_EVERY = 25;
const CHECKPOINT_EVERY = 100;

/** The run configuration that a fake run resolves to. */
export function fakeConfig({ pattern, seed, steps = 600, text = false }: FakeRun) {
  return {
    seed,
    model: resolveModelConfig({ ...laptopModel(pattern), vocabSize: text ? 256 : 64 }),
    data: [text ? { kind: 'text', files: ['a.txt'], weight: 1 } : { kind: 'recall', weight: 1, numValues: 16 }],
    train: { seqLen: 128, batchSize: 32, steps, lr: 4e-3 },
  };
}

/** Writes one run folder. */
export function writeFakeRun(dir: string, run: FakeRun): void {
  const { seed, steps = 600, upTo = steps, state = 'done', text = false } = run;
  const config = fakeConfig(run);
  mkdirSync(dir, { recursive: true });
  writeJson(join(dir, 'config.json'), {
    format: 1,
    name: run.name,
    run: config,
    versions: { longsight: '0.1.0', node: process.versions.node, onnxruntime: '1.30.0' },
    engine: { name: 'onnx', threads: 1, reason: 'onnxruntime-node is installed' },
    hardware: { cpu: 'Some CPU', cores: 2, memoryBytes: 16e9 },
    startedAt: run.startedAt ?? '2026-01-01T00:00:00.000Z',
  });
  writeJson(join(dir, 'status.json'), { state, step: upTo, tokens: upTo * STEP_TOKENS, message: run.message });
  writeFileSync(join(dir, 'metrics.jsonl'), '');
  const rng = Rng.of(seed, run.name);
  for (let step = EVAL_EVERY; step <= upTo; step += EVAL_EVERY) writeMetrics(dir, run, step, steps, rng);
  for (let step = CHECKPOINT_EVERY; step <= upTo; step += CHECKPOINT_EVERY) {
    writeHeads(dir, run, config.model, step, rng);
    writeEval(dir, run, step, text);
  }
}

function recallAt(run: FakeRun, bin: number, tokens: number): number {
  const center = run.formsAt === Infinity ? [0.4e6, 1.2e6, 8e6, Infinity][bin] : run.formsAt * [0.5, 0.8, 0.9, 1][bin]!;
  if (center === Infinity || center === undefined) return 0.08;
  return 0.06 + 0.935 / (1 + Math.exp(-(tokens - center) / (0.06 * center)));
}

function writeMetrics(dir: string, run: FakeRun, step: number, steps: number, rng: Rng): void {
  const tokens = step * STEP_TOKENS;
  const time = step * 0.1;
  const noise = () => 0.004 * rng.normal();
  const end = run.finalLoss ?? (run.formsAt === Infinity ? 1.9 : 1.45);
  const loss = end + 2 * Math.exp((-4 * step) / steps) + noise();
  const append = (line: Record<string, number>) =>
    appendFileSync(join(dir, 'metrics.jsonl'), JSON.stringify({ step, tokens, time, ...line }) + '\n');
  append({ 'train/loss': loss + noise(), 'train/lr': 4e-3, 'train/grad_norm': 0.5, 'train/tok_per_sec': 35_000 });
  const recall = run.text
    ? {}
    : Object.fromEntries(
        BINS.map(([from, to], i) => [
          `eval/recall/${from}-${to}`,
          Math.min(1, Math.max(0, recallAt(run, i, tokens) + noise())),
        ]),
      );
  const formed = run.ar === true ? 0.7 * recallAt(run, 3, tokens) + noise() : 0;
  const ar =
    run.ar === true
      ? { 'eval/ar/far/accuracy': formed, 'eval/ar/far/loss': 4 - 3 * formed, 'eval/ar/fresh/loss': loss + 1 }
      : {};
  append({ 'eval/loss': loss, ...recall, ...ar });
}

function writeHeads(dir: string, run: FakeRun, model: ModelConfig, step: number, rng: Rng): void {
  const formed = recallAt(run, 3, step * STEP_TOKENS);
  const special = `${run.seed % 2 === 0 ? 3 : 1}.${run.seed % 4}`;
  const layers = model.layers.map((plan, layer) => ({
    layer,
    label: printLayer(plan),
    heads: headGroups(plan).flatMap((group) =>
      Array.from({ length: group.heads }, (_, head) => ({
        head,
        window: group.window,
        rope: group.rope,
        score: `${layer}.${head}` === special ? 0.7 * formed : 0.02 + 0.03 * rng.uniform(),
        massPerToken: 0.01,
        top1: 0,
      })),
    ),
  }));
  writeJson(join(dir, 'analysis', `retrieval-heads-step-${String(step).padStart(6, '0')}.json`), {
    ...{
      format: 1,
      step,
      tokens: step * STEP_TOKENS,
      definition: 'attention-mass',
      queryFromEnd: 2,
      samples: 64,
      layers,
    },
  });
}

function writeEval(dir: string, run: FakeRun, step: number, text: boolean): void {
  const tokens = step * STEP_TOKENS;
  const bins = BINS.map(([from, to], i) => {
    const probability = recallAt(run, i, tokens);
    return { from, to, probability, accuracy: probability, count: 1000 };
  });
  const grid = [128, 64].map((length) =>
    [0, 0.5, 1].map((depth) => Math.min(1, (step / 600) * (0.5 + depth / 2) * (64 / length))),
  );
  writeJson(join(dir, 'evals', `step-${String(step).padStart(6, '0')}.json`), {
    ...{ format: 1, step, tokens, loss: run.finalLoss ?? 1.5 },
    perPositionLoss: Array.from({ length: 128 }, (_, i) => 1.4 + 2 / (1 + i)),
    recall: text ? null : { bins, overall: { probability: 0.5, accuracy: 0.5 } },
    ...(run.ar === true ? { ar: arRecord(recallAt(run, 3, tokens)) } : {}),
    needle: text ? { lengths: [128, 64], depths: [0, 0.5, 1], accuracy: grid, probability: grid, samples: 32 } : null,
  });
}

/** Associative recall whose far hits come to 0.7 of `formed`. */
function arRecord(formed: number) {
  const score = (accuracy: number) => ({
    ...{ targets: 1000, accuracy, accuracyLow: accuracy - 0.02, accuracyHigh: accuracy + 0.02 },
    ...{ loss: 4 - 3 * accuracy, lossLow: 3.9 - 3 * accuracy, lossHigh: 4.1 - 3 * accuracy },
  });
  const bin = (from: number, to: number, accuracy: number) => ({
    ...{ from, to, onset: score(accuracy), inside: score(accuracy), all: score(accuracy) },
  });
  return {
    ...{ maxCount: 4, documents: 40, order: 2, countedIn: 'training', all: score(0.3), fresh: score(0.2) },
    bins: [bin(1, 64, 0.75), bin(65, 128, 0.7 * formed)],
    far: bin(97, 128, 0.7 * formed),
  };
}

/** The quickstart's designs with two seeds each, as they come out on the recipe. */
export const FAKE_DESIGNS: readonly { label: string; pattern: LaptopPattern; formsAt: readonly number[] }[] = [
  { label: 'full', pattern: 'full', formsAt: [Infinity, Infinity] },
  { label: 'swa:8 + full', pattern: 'swa-8', formsAt: [0.95e6, 1.05e6] },
  { label: 'swa:64 + full', pattern: 'swa-64', formsAt: [Infinity, Infinity] },
  { label: 'swa:8 + full:nope', pattern: 'swa-8-nope', formsAt: [0.65e6, 0.66e6] },
];

/** Writes a study folder with its runs. */
export function writeFakeStudy(
  dir: string,
  runs: readonly (FakeRun & { readonly architecture: string; readonly arm?: 'main' | 'long' })[],
  change: object = {},
): void {
  for (const run of runs) writeFakeRun(join(dir, 'runs', run.name), run);
  const architectures = [...new Map(runs.map((run) => [run.architecture, run])).values()].map((run) => ({
    label: run.architecture,
    layers: printPeriod(fakeConfig(run).model.layers),
  }));
  writeJson(join(dir, 'study.json'), {
    ...{ format: 1, name: 'demo', title: 'Demo', question: 'Does it work?', architectures, set: [] },
    compare: { threshold: 0.9, minRecallDifference: 0.02, minLossDifference: 0.01 },
    study: {
      ...{ name: 'demo', base: {}, seeds: [1, 2], grid: {} },
      architectures: Object.fromEntries(architectures.map((a) => [a.label, a.layers])),
    },
    runs: runs.map((run) => ({
      ...{ name: run.name, arm: run.arm ?? 'main', architecture: run.architecture, seed: run.seed, point: {} },
      config: fakeConfig(run),
    })),
    ...change,
  });
}

function writeJson(path: string, value: unknown): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, JSON.stringify(value));
}
