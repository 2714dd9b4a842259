/** The studies of real text, small: the same files with a few steps of short rows, on whatever engine this machine has. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCorpus, prepareShards } from '../../src/data/index.js';
import { createEngine } from '../../src/engine/index.js';
import { performRun, type Setting } from '../../src/lab/index.js';
import { analyzeStudyFolder, reportHtml } from '../../src/report/index.js';
import { loadStudy, openStudyFolder, readRun, runFolder } from '../../src/study/index.js';
import { temporaryFolder } from './support.js';

const STUDIES = join(import.meta.dirname, '..', '..', 'presets', 'studies');
const DOCUMENT_BYTES = 8000;

/** Shards of Moby-Dick in bytes, a document every few pages. */
async function smallShards(): Promise<string> {
  const folder = temporaryFolder();
  const text = openCorpus('moby-dick')
    .text()
    .slice(0, 60 * DOCUMENT_BYTES);
  const lines = Array.from({ length: 60 }, (_, i) =>
    JSON.stringify({ text: text.slice(i * DOCUMENT_BYTES, (i + 1) * DOCUMENT_BYTES) }),
  );
  writeFileSync(join(folder, 'documents.jsonl'), lines.join('\n'));
  const dir = join(folder, 'shards');
  await prepareShards({
    files: [join(folder, 'documents.jsonl')],
    tokenizerFolder: null,
    dir,
    heldOut: 0.2,
    workers: 1,
  });
  return dir;
}

const small = (path: string): Setting[] => [
  ...[['data.path', path] as const, ['model.numLayers', 2] as const, ['model.vocabSize', 256] as const],
  ...[['train.seqLen', 128] as const, ['train.batchSize', 2] as const, ['train.precision', 'f32'] as const],
  ...[['train.warmupSteps', 1] as const, ['train.evalEvery', 2] as const, ['train.checkpointEvery', 4] as const],
  ...[['train.steps', 4] as const, ['train.logEvery', 1] as const],
  ...[
    ['eval.batches', 2] as const,
    ['eval.trace', { samples: 2, length: 288 }] as const,
    ['eval.ar', { maxCount: 1000 }] as const,
  ],
];

describe('the study real-text', () => {
  it('trains every design, and its report compares the pairs that it names', async () => {
    const plan = loadStudy(join(STUDIES, 'real-text.yaml'), { set: small(await smallShards()) });
    const dir = join(temporaryFolder(), 'study');
    (await openStudyFolder(dir, plan)).lock.release();
    const engine = createEngine('auto', { threads: 1 });
    const runs = plan.runs.filter(({ seed }) => seed === 1);
    try {
      for (const run of runs) {
        mkdirSync(join(dir, 'runs'), { recursive: true });
        await performRun({ dir: runFolder(dir, run.name), run: run.config, engine, resume: 'no' });
      }
    } finally {
      await engine.dispose();
    }
    expect(runs).toHaveLength(8);
    const record = readRun(runFolder(dir, runs[0]?.name ?? ''));
    for (const name of ['eval/loss', 'eval/ar/fresh/loss']) expect(record.metrics.get(name), name).toHaveLength(3);
    const analyzed = analyzeStudyFolder(dir);
    const group = analyzed.analysis.groups[0];
    expect(group?.runs).toHaveLength(8);
    expect(group?.pairs.map(({ a, b }) => [a, b].sort())).toEqual(plan.compare.pairs?.map((pair) => [...pair].sort()));
    for (const pair of group?.pairs ?? []) {
      expect(pair.freshLoss, `${pair.a} and ${pair.b}`).toMatchObject({ finding: 'unknown', values: [{ seed: 1 }] });
    }
    expect(reportHtml(analyzed, { repeat: [] })).toContain('Long-range recall on real text');
    expect(readFileSync(join(dir, 'study.yaml'), 'utf8')).toContain('seedsFor');
  }, 300_000);
});
