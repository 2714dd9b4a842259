/** A tiny run that takes milliseconds a step on any engine. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { parseConfig } from '../../src/core/index.js';
import { DataConfigSchema } from '../../src/data/index.js';
import { resolveModelConfig } from '../../src/model/index.js';
import { TrainConfigSchema, type RunConfig, type TrainInput } from '../../src/train/index.js';

const TINY_MODEL = {
  vocabSize: 12,
  hiddenSize: 8,
  layers: 'swa:4 full',
  numHeads: 2,
  intermediateSize: 16,
};

export const TINY_TRAIN: TrainInput = {
  seqLen: 16,
  batchSize: 4,
  steps: 12,
  lr: 1e-2,
  warmupSteps: 2,
  logEvery: 3,
  evalEvery: 4,
  checkpointEvery: 5,
};

export const TINY_DATA = { kind: 'recall', numKeys: 4, numValues: 4, numFillers: 4 };

export function tinyRun(
  change: { model?: object; train?: Partial<TrainInput>; data?: unknown; seed?: number } = {},
): RunConfig {
  return {
    seed: change.seed ?? 1,
    model: resolveModelConfig({ ...TINY_MODEL, ...change.model }),
    data: parseConfig(DataConfigSchema, change.data ?? TINY_DATA, 'data'),
    train: parseConfig(TrainConfigSchema, { ...TINY_TRAIN, ...change.train }, 'train'),
  };
}

/** A folder that goes with the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'longsight-train-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
