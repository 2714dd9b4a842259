/** The studies of windows, ratios, temperatures and heads on real text, small: planned whole, their new designs trained. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCorpus, prepareShards } from '../../src/data/index.js';
import { createOnnxEngine } from '../../src/engine/index.js';
import { performRun, type Setting } from '../../src/lab/index.js';
import { analyzeStudyFolder } from '../../src/report/index.js';
import {
  loadStudy,
  openStudyFolder,
  readRun,
  runFolder,
  trainingFlops,
  type StudyPlan,
} from '../../src/study/index.js';
import { stagesOf } from '../../src/train/index.js';
import { temporaryFolder } from './support.js';

const STUDIES = join(import.meta.dirname, '..', '..', 'presets', 'studies');
const folder = mkdtempSync(join(tmpdir(), 'longsight-studies-'));
const shards = join(folder, 'shards');

beforeAll(async () => {
  const text = openCorpus('moby-dick').text();
  const lines = Array.from({ length: 20 }, (_, i) => JSON.stringify({ text: text.slice(i * 4000, (i + 1) * 4000) }));
  writeFileSync(join(folder, 'documents.jsonl'), lines.join('\n'));
  const files = [join(folder, 'documents.jsonl')];
  await prepareShards({ files, tokenizerFolder: null, dir: shards, heldOut: 0.2, workers: 1 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A few steps of short rows by a model of 32 channels and as many layers as the patterns ask for. */
const small = (numLayers: number): Setting[] => [
  ...[['data.path', shards] as const, ['model.vocabSize', 256] as const, ['model.numLayers', numLayers] as const],
  ...[['model.hiddenSize', 32] as const, ['model.headDim', 8] as const, ['model.intermediateSize', 32] as const],
  ...[['train.seqLen', 160] as const, ['train.batchSize', 2] as const, ['train.precision', 'f32'] as const],
  ...[['train.steps', 3] as const, ['train.warmupSteps', 1] as const, ['train.logEvery', 1] as const],
  ...[['train.evalEvery', 0] as const, ['train.checkpointEvery', 0] as const],
  ...[['eval.batches', 1] as const, ['eval.trace', false] as const, ['eval.ar', { maxCount: 1000 }] as const],
];

/** Trains the first seed of some designs. */
async function perform(plan: StudyPlan, dir: string, designs: readonly string[]): Promise<void> {
  (await openStudyFolder(dir, plan)).lock.release();
  const engine = createOnnxEngine({ threads: 1 });
  mkdirSync(join(dir, 'runs'), { recursive: true });
  for (const run of plan.runs.filter((r) => r.seed === 1 && designs.includes(r.architecture)))
    await performRun({ dir: runFolder(dir, run.name), run: run.config, engine, resume: 'no' });
  await engine.dispose();
}

describe('the study', () => {
  it.each<[string, number, readonly number[]]>([
    ['length', 15, [4096]],
    ['extension', 12, [4096, 16_384]],
  ])('%s plans %d runs, in rows of %j tokens', (name, runs, lengths) => {
    const { runs: planned } = loadStudy(join(STUDIES, `${name}.yaml`), { set: [['data.path', shards]] });
    expect(planned).toHaveLength(runs);
    for (const { config } of planned) {
      const stages = stagesOf(config);
      expect(stages.map(({ train }) => train.seqLen)).toEqual(lengths);
      const tokens = stages.map(({ from, to, train }) => (to - from) * train.batchSize * train.seqLen);
      expect((tokens[1] ?? 0) / tokens.reduce((a, b) => a + b, 0)).toBeCloseTo(lengths.length === 1 ? 0 : 0.1, 2);
    }
    const flops = planned.reduce((sum, run) => sum + trainingFlops(run.config), 0);
    expect(flops).toBeLessThan(0.5 * 3600 * 2.5e14);
  });

  it.each<[string, number, number, readonly string[]]>([
    ['windows-drawn', 15, 2, ['drawn-by-step', 'shared-by-sequence']],
    ['windows-order', 15, 2, ['large-to-small', 'full-warmed-up']],
    ['ratios', 21, 8, ['1-to-3', '1-to-7-middle']],
    ['temperature', 18, 2, ['nope-log', 'quarter-rope-learned']],
    ['headwise', 12, 2, ['heads-nope', 'layers-nope']],
  ])(
    '%s plans %d runs, and trains its designs',
    async (name, runs, numLayers, designs) => {
      const file = join(STUDIES, `${name}.yaml`);
      const whole = loadStudy(file, { set: [['data.path', shards]] });
      expect(whole.runs).toHaveLength(runs);
      const flops = whole.runs.reduce((sum, run) => sum + trainingFlops(run.config), 0);
      // One loan of a device: at most half an hour at 2.5e14 FLOPs a second.
      expect(flops).toBeLessThan(0.5 * 3600 * 2.5e14);
      // The same file, but that schedules end within the few steps.
      const copy = join(folder, `${name}.yaml`);
      const base = join(STUDIES, '..', 'real-text.yaml');
      writeFileSync(
        copy,
        readFileSync(file, 'utf8')
          .replace('base: ../real-text.yaml', `base: ${base}`)
          .replaceAll('until: 1220', 'until: 2'),
      );
      const plan = loadStudy(copy, { set: small(numLayers) });
      const dir = join(temporaryFolder(), 'study');
      await perform(plan, dir, designs);
      for (const run of plan.runs.filter((r) => r.seed === 1 && designs.includes(r.architecture)))
        expect(readRun(runFolder(dir, run.name)).metrics.get('eval/loss')?.length, run.name).toBe(2);
      expect(analyzeStudyFolder(dir).analysis.groups[0]?.runs).toHaveLength(designs.length);
    },
    120_000,
  );
});
