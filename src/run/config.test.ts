import { configPath } from '../core/index.js';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { messageOf, temporaryFolder } from '../../test/support/folders.js';
import { createReferenceEngine } from '../engine/index.js';
import { resolveModelConfig } from '../model/index.js';
import { checkSameRun, noteResume, writeRunConfig } from './config.js';

const { info } = createReferenceEngine();
const RUN = {
  seed: 1,
  model: { layers: 'full' },
  data: [{ kind: 'recall' }],
  train: { seqLen: 8, batchSize: 2, steps: 4, logEvery: 10 },
  eval: { batches: 4, ar: true },
};

describe('the run that a folder holds', () => {
  it('is the same run if only what changes no number differs, and names what else differs', () => {
    const dir = join(temporaryFolder(), 'run');
    writeRunConfig(dir, { name: 'r', run: RUN, engine: info });
    const refusal = (changes: Partial<typeof RUN>) => messageOf(() => checkSameRun(dir, { ...RUN, ...changes }));
    checkSameRun(dir, { ...RUN, train: { ...RUN.train, logEvery: 1 } });
    expect(refusal({ train: { ...RUN.train, steps: 5 } })).toBe(
      `${dir} holds another run: train.steps was 4, now 5; use the same configuration or another folder`,
    );
    // What is measured belongs to a run: evaluations before and after a resume must mean the same.
    expect(refusal({ eval: { batches: 8, ar: true } })).toContain('eval.batches was 4, now 8');
    expect(refusal({ eval: { batches: 4 } as typeof RUN.eval })).toContain('eval.ar was true, now nothing');
  });

  it('is the same run if it was begun before the model had a setting that the run leaves at its default', () => {
    const dir = join(temporaryFolder(), 'run');
    const model = resolveModelConfig({ vocabSize: 8, hiddenSize: 16, numHeads: 2, layers: 'full' });
    const { mlpGate: _gate, queryScaling: _scaling, ...earlier } = model;
    writeRunConfig(dir, { name: 'r', run: { ...RUN, model: earlier }, engine: info });
    checkSameRun(dir, { ...RUN, model });
    expect(messageOf(() => checkSameRun(dir, { ...RUN, model: { ...model, mlpGate: false } }))).toContain(
      'model.mlpGate was true, now false',
    );
  });

  it('keeps its configuration to the byte when a resume is noted', () => {
    const dir = join(temporaryFolder(), 'run');
    writeRunConfig(dir, { name: 'r', run: RUN, engine: info });
    const before = JSON.parse(readFileSync(configPath(dir), 'utf8')) as { resumes: unknown[] };
    noteResume(dir, { engine: info, step: 3 });
    const after = JSON.parse(readFileSync(configPath(dir), 'utf8')) as { resumes: unknown[] };
    expect(after.resumes).toMatchObject([{ step: 3 }]);
    expect(JSON.stringify({ ...after, resumes: [] })).toBe(JSON.stringify(before));
    expect(existsSync(configPath(join(dir, 'missing')))).toBe(false);
  });
});
