/** `deterministic` on its way from a run file to the engine. */
import { describe, expect, it } from 'vitest';
import { createEngine, createXlaEngine, findPlugin } from '../../src/engine/index.js';
import * as L from '../../src/graph/index.js';
import { engineChoice, resolveRunConfig } from '../../src/lab/index.js';

const run = (more: object) =>
  resolveRunConfig(
    {
      model: { layers: 'full', hiddenSize: 8, numHeads: 1 },
      data: { kind: 'recall', numKeys: 4, numValues: 4, numFillers: 4 },
      train: { steps: 1 },
      ...more,
    },
    { where: 'the test', baseDir: '.' },
  );

describe('deterministic', () => {
  it('is handed to the engine as the run file says, and left out otherwise', () => {
    expect(engineChoice({}, run({ deterministic: true }))).toEqual({ deterministic: true });
    expect(engineChoice({ threads: 2 }, run({ deterministic: false }))).toEqual({ threads: 2, deterministic: false });
    expect(engineChoice({}, run({}))).toEqual({});
    expect(() => run({ deterministic: 'yes' })).toThrow(/deterministic/);
  });

  it('is taken by engines on CPUs, which need nothing for it', async () => {
    const engine = createEngine('onnx', { threads: 1, deterministic: true });
    expect(engine.info.name).toBe('onnx');
    await engine.dispose();
    const { plugin } = findPlugin('cpu');
    if (!plugin) return;
    const [table, ids] = [L.input('table', 'f32', [3, 2]), L.input('ids', 'i32', [4])];
    const graph = L.makeGraph({ table, ids }, { d: L.grad(L.reduceSum(L.take(table, ids)), [table])[0]! });
    const xla = createXlaEngine({ platform: 'cpu', plugin: plugin.path, deterministic: true });
    expect(xla.lower(graph)).toContain('"stablehlo.scatter"');
    await xla.dispose();
  });
});
