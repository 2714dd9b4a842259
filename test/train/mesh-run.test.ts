/** Whole runs on meshes of virtual CPU devices: measured on the way, stopped on one mesh, resumed on another. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { toNumbers } from '../../src/core/index.js';
import { createXlaEngine, findPlugin, type MeshShape } from '../../src/engine/index.js';
import { performRun, resolveRunConfig, type FullRunConfig } from '../../src/lab/index.js';
import { TINY_DATA, TINY_TRAIN, temporaryFolder } from './support.js';
import { findCheckpoint } from '../../src/run/index.js';
import { worst } from '../unit/model/cases.js';

const { plugin } = findPlugin('cpu');
if (!plugin) console.log('runs on meshes are left out: no PJRT CPU plugin; run node scripts/fetch-pjrt-cpu.mjs');

const STEPS = 12;
const input = {
  seed: 1,
  model: { vocabSize: 16, hiddenSize: 16, layers: 'swa:4 full:nope', numHeads: 4, numKvHeads: 2, intermediateSize: 32 },
  data: TINY_DATA,
  train: { ...TINY_TRAIN, steps: STEPS, batchSize: 8, logEvery: 2, evalEvery: 4, checkpointEvery: 6 },
};
const runOf = (optimizer: 'adamw' | 'muon'): FullRunConfig =>
  resolveRunConfig({ ...input, train: { ...input.train, optimizer } }, { where: 'the test', baseDir: '/' });

/** Compiled programs: several runs here are on the same mesh. */
const programs = mkdtempSync(join(tmpdir(), 'longsight-programs-'));
afterAll(() => rmSync(programs, { recursive: true, force: true }));

/** Trains on a mesh, stopping as on Ctrl-C after step `until`. */
async function train(run: FullRunConfig, dir: string, mesh: MeshShape, until = STEPS): Promise<void> {
  const engine = createXlaEngine({
    ...{ platform: 'cpu', plugin: plugin?.path, cache: programs, mesh },
    clientOptions: { cpu_device_count: 8 },
  });
  const abort = new AbortController();
  try {
    const progress = ({ step }: { step: number }) => {
      if (step >= until) abort.abort();
    };
    const done = performRun({ dir, run, engine, resume: 'auto', signal: abort.signal, progress });
    if (until < STEPS) await expect(done).rejects.toThrow(/stopped after step/);
    else await done;
  } finally {
    await engine.dispose();
  }
}

type Line = Record<string, number>;
const linesOf = (dir: string): Line[] =>
  readFileSync(join(dir, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((text) => JSON.parse(text) as Line);

function expectSameRun(dir: string, whole: string): void {
  const [a, b] = [linesOf(whole), linesOf(dir)];
  expect(b.map((l) => l.step)).toEqual(a.map((l) => l.step));
  a.forEach((line, i) => {
    for (const name of Object.keys(line).filter((n) => /loss|recall/.test(n))) {
      expect(Math.abs((b[i]?.[name] as number) - (line[name] as number)), `${name} at ${line.step}`).toBeLessThan(1e-5);
    }
  });
  const [want, got] = [whole, dir].map((d) => findCheckpoint(d));
  for (const [name, tensor] of want?.parameters() ?? []) {
    const other = toNumbers(got?.parameters().get(name) as typeof tensor);
    expect(worst(toNumbers(tensor), other), name).toBeLessThan(1e-3);
  }
}

describe.skipIf(!plugin)('runs on meshes', () => {
  it('measures and ends as on one device, checkpoints written on N devices resumed on others', async () => {
    const run = runOf('adamw');
    const whole = temporaryFolder();
    await train(run, whole, {});
    const chains: readonly (readonly MeshShape[])[] = [
      [{ fsdp: 2 }, { data: 2, fsdp: 2, tensor: 2 }, {}],
      [{ data: 4 }, { fsdp: 8 }, { tensor: 2 }],
      [{}, { data: 2, fsdp: 2 }, { fsdp: 4 }],
    ];
    for (const [first, second, third] of chains as readonly (readonly [MeshShape, MeshShape, MeshShape])[]) {
      const dir = temporaryFolder();
      await train(run, dir, first, 3);
      await train(run, dir, second, 7);
      await train(run, dir, third);
      expectSameRun(dir, whole);
    }
  });

  it('do the same by Muon, whose matrices are orthogonalized whole', async () => {
    const run = runOf('muon');
    const whole = temporaryFolder();
    await train(run, whole, {});
    const dir = temporaryFolder();
    await train(run, dir, { data: 2, fsdp: 2, tensor: 2 }, 3);
    await train(run, dir, { fsdp: 4 }, 7);
    await train(run, dir, { tensor: 2 });
    expectSameRun(dir, whole);
  });
});
