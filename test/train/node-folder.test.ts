/** The processes of a run over several nodes: all but the first go on from where the first one is, in folders of their own. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createEngine } from '../../src/engine/index.js';
import { nodePlace, removeNodeFolder, runFolder } from '../../src/study/index.js';
import { trainRun } from '../../src/train/index.js';
import { temporaryFolder, tinyRun } from './support.js';

const RUN = tinyRun({
  train: { schedule: 'wsd', steps: 12, decaySteps: 3, logEvery: 2, evalEvery: 12, checkpointEvery: 4 },
});
const NONE = new Map();

async function train(place: ReturnType<typeof nodePlace>): Promise<number[]> {
  const engine = createEngine('onnx', { threads: 1 });
  const steps: number[] = [];
  const { dir, branch } = place;
  try {
    await trainRun({
      ...{ dir, run: RUN, engine, resume: 'auto' },
      hooks: { evaluate: () => Promise.resolve({}), progress: ({ step }) => void steps.push(step) },
      ...(branch === undefined ? {} : { branch: { ...branch, findings: [] } }),
    });
  } finally {
    await engine.dispose();
  }
  return steps;
}

const weights = (dir: string): string =>
  readFileSync(join(dir, 'checkpoints', 'step-000012', 'model.safetensors')).toString('hex');

describe('a run over several nodes', () => {
  it('goes on at every node from the last checkpoint of the first, to the same weights', async () => {
    const study = temporaryFolder();
    const own = runFolder(study, 'a');
    // Node 0 is stopped after its checkpoint of step 4.
    const stop = new AbortController();
    const engine = createEngine('onnx', { threads: 1 });
    await trainRun({
      ...{ dir: own, run: RUN, engine, resume: 'auto', signal: stop.signal },
      hooks: { evaluate: () => Promise.resolve({}), progress: ({ step }) => void (step === 5 && stop.abort()) },
    }).catch(() => undefined);
    await engine.dispose();
    // What node 1 has from before is of no account.
    const place = { dir: join(study, 'nodes', '1', 'runs', 'a') };
    mkdirSync(place.dir, { recursive: true });
    writeFileSync(join(place.dir, 'config.json'), '{}');
    const one = nodePlace(study, 'a', NONE, 1);
    expect(one.dir).toBe(place.dir);
    expect(existsSync(one.dir)).toBe(false);
    expect(nodePlace(study, 'a', NONE, 0)).toEqual({ dir: own });
    const [first, second] = [await train(one), await train(nodePlace(study, 'a', NONE, 0))];
    expect(first[0]).toBeGreaterThan(4);
    expect(first).toEqual(second);
    expect(weights(one.dir)).toBe(weights(own));
    removeNodeFolder(study, 'a', 1);
    expect(existsSync(one.dir)).toBe(false);
  });

  it('begins at every node with the beginning that another run has trained, unless the first is past it', () => {
    const study = temporaryFolder();
    const shared = new Map([['a', { run: 'b', step: 8 }]]);
    const trunk = { dir: runFolder(study, 'b'), name: 'b', step: 8 };
    const kept = join(trunk.dir, 'branches', 'step-000008');
    mkdirSync(kept, { recursive: true });
    expect(nodePlace(study, 'a', shared, 1).branch).toEqual(trunk);
    expect(nodePlace(study, 'a', shared, 0)).toEqual({ dir: runFolder(study, 'a'), branch: trunk });
    // Nobody has trained it: node 0 trains it itself, and so do the others.
    rmSync(kept, { recursive: true });
    expect(nodePlace(study, 'a', shared, 1)).toEqual({ dir: join(study, 'nodes', '1', 'runs', 'a') });
  });
});
