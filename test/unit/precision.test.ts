/** Measuring in the precision of training: what is asked for, what is the default, and that it is what it says. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { exportHfModel } from '../../src/checkpoint/index.js';
import { tensorFrom, toNumbers } from '../../src/core/index.js';
import {
  createReferenceEngine,
  createXlaEngine,
  findPlugin,
  inFloat32,
  inPrecision,
  measuringPrecision,
  type Engine,
} from '../../src/engine/index.js';
import * as L from '../../src/graph/index.js';
import { openModel } from '../../src/lab/index.js';
import { initialParameters, resolveModelConfig } from '../../src/model/index.js';

const { plugin } = findPlugin('cpu');
const reference = createReferenceEngine();
const accelerator: Engine = { ...reference, hints: { ...reference.hints, accelerator: true } };

describe('measuringPrecision', () => {
  it.each([
    ['on an accelerator that of training', accelerator, {}, 'bf16', 'bf16'],
    ['elsewhere float32', reference, {}, 'bf16', 'f32'],
    ['float32 for a model without training', accelerator, {}, undefined, 'f32'],
    ['what is asked for', accelerator, { asked: 'f32' as const }, 'bf16', 'f32'],
    ['what is asked for, anywhere', reference, { asked: 'bf16' as const }, 'f32', 'bf16'],
  ] as const)('is %s', (_, engine, asked, trained, expected) => {
    expect(measuringPrecision(engine, { ...asked, trained })).toBe(expected);
  });
});

describe('a saved model', () => {
  const folder = mkdtempSync(join(tmpdir(), 'longsight-precision-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('is measured on accelerators in bf16 where it stores bf16, and in float32 on request', async () => {
    const config = resolveModelConfig({
      ...{ vocabSize: 16, hiddenSize: 8, numLayers: 1, layers: 'full', numHeads: 1, intermediateSize: 8 },
    });
    const precisions: string[] = [];
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const path = join(folder, dtype);
      await exportHfModel(path, config, initialParameters(config, 1), { dtype });
      precisions.push(openModel(path, { engine: accelerator }).precision);
    }
    expect(precisions).toEqual(['f32', 'bf16']);
    const stored = join(folder, 'bfloat16');
    expect(openModel(stored, { engine: accelerator, precision: 'f32' }).precision).toBe('f32');
    expect(openModel(stored, { engine: reference }).precision).toBe('f32');
    expect(openModel(stored, { engine: accelerator }).engine.hints.activations).toBe('bf16');
  });
});

describe('inPrecision', () => {
  const product = () => {
    const x = L.input('x', 'f32', [1, 2]);
    const w = L.input('w', 'f32', [2, 1]);
    return L.makeGraph(
      { x, w },
      { y: L.dot(x, w, { lhsContract: [1], rhsContract: [0], lhsBatch: [], rhsBatch: [] }) },
    );
  };
  const run = async (engine: Engine) => {
    const program = await engine.compile(product());
    const { y } = await program.run({
      x: engine.upload(tensorFrom('f32', [1, 2], [1 + 2 ** -10, 1])),
      w: engine.upload(tensorFrom('f32', [2, 1], [1, 2 ** -4])),
    });
    if (y === undefined) throw new Error('no result');
    expect(y.dtype).toBe('f32');
    return toNumbers(await engine.download(y))[0];
  };

  it('is the engine itself for float32, and gives it back', () => {
    expect(inPrecision(reference, 'f32')).toBe(reference);
    const narrowed = inPrecision(reference, 'bf16');
    expect(narrowed).not.toBe(reference);
    expect(inFloat32(narrowed)).toBe(reference);
    expect(inPrecision(narrowed, 'f32')).toBe(reference);
  });

  it.skipIf(!plugin)('rounds what products take, and leaves inputs and outputs in float32', async () => {
    const engine = createXlaEngine({ plugin: plugin?.path, cache: null });
    expect(engine.hints.accelerator).toBe(false);
    expect(await run(engine)).toBe(1 + 2 ** -10 + 2 ** -4);
    expect(await run(inPrecision(engine, 'bf16'))).toBe(1 + 2 ** -4);
    await engine.dispose();
  });
});
