/** Weights of two bytes by kind of layer, and products with large ones; on every engine in the conformance tier. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Rng, sizeOf, tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference, lowerToOnnx } from '../../../src/engine/index.js';
import { convert, dot, input, makeGraph, mul, reshape } from '../../../src/graph/index.js';
import { ENGINES, runOn } from '../../support/engines.js';
import { asStored, compareHeld, halved } from '../../support/stored-weights.js';

const scratch = mkdtempSync(join(tmpdir(), 'longsight-stored-'));
afterAll(() => rmSync(scratch, { recursive: true }));

describe.each(ENGINES.slice(0, 1))('weights of two bytes on $name, by kind of layer', ({ make }) => {
  it('stay half precision in files of Transformers', () => compareHeld(asStored('llama-fp16'), 'f16', make));
  it.each([
    'gemma3-tied',
    'qwen3-next',
    'mamba2',
    'falcon-h1',
    'lfm2',
    'minimax',
    'phi3-window',
    'nemotron-h',
    'jamba',
  ])('compute in bf16 what they do in float32: %s', (name) => compareHeld(halved(scratch, name, 'bf16'), 'bf16', make));
});

describe('products with matrices too large to be converted at once', () => {
  const { make } = ENGINES[0] as (typeof ENGINES)[number];
  const random = (shape: readonly number[], seed: number) => {
    const rng = Rng.of(seed, 'halves');
    return tensorFrom(
      'f32',
      shape,
      Float64Array.from({ length: sizeOf(shape) }, () => rng.normal()),
    );
  };

  // Made once: most of the time would go to it.
  const [x, g, numbers] = [random([2, 3, 1030], 1), random([1030], 3), random([1030, 4100], 2).data];

  it.each([
    ['columns', [1030, 4100], 0],
    ['rows', [4100, 1030], 1],
    ['columns times gains', [1030, 4100], 0],
    ['rows times gains', [4100, 1030], 1],
  ] as const)('are the same in blocks of %s', async (name, shape, contract) => {
    const w = tensorFrom('bf16', shape, numbers);
    const values = { x: input('x', 'f32', x.shape), w: input('w', 'bf16', shape), g: input('g', 'f32', [1030]) };
    const wide = convert(values.w, 'f32');
    const gained = mul(wide, contract === 0 ? reshape(values.g, [1030, 1]) : values.g);
    const matrix = name.includes('gains') ? gained : wide;
    const attrs = { lhsBatch: [], rhsBatch: [], lhsContract: [2], rhsContract: [contract] };
    const graph = makeGraph(values, { y: dot(values.x, matrix, attrs) });
    expect(lowerToOnnx(graph).onnx.nodes.filter(({ op }) => op === 'BitCast').length).toBeGreaterThan(1);
    const engine = make();
    const { y } = await runOn(engine, graph, { x, w, g });
    await engine.dispose();
    const expected = evaluateReference(graph, { x, w, g })['y'];
    expect(expected?.shape).toEqual(y?.shape);
    const theirs = toNumbers(expected as HostTensor);
    toNumbers(y as HostTensor).forEach((v, i) => expect(Math.abs(v - (theirs[i] as number))).toBeLessThan(1e-3));
  });
});
