/** What accelerators get for a chunk of prompts in bf16: tile kernels on bf16 caches, and the numbers of the plain graph. */
import { describe, expect, it } from 'vitest';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference, lowerToStableHlo } from '../../../src/engine/index.js';
import { withTileKernels } from '../../../src/engine/xla/passes/prepare.js';
import { chunkGraph, donatedStates } from '../../../src/generate/decoder.js';
import * as L from '../../../src/graph/index.js';
import { initialParameters, resolveModelConfig, stateSpecs, type ModelInput } from '../../../src/model/index.js';
import { randomTensor } from '../../support/random.js';

const SMALL = {
  vocabSize: 16,
  hiddenSize: 64,
  numLayers: 2,
  numHeads: 2,
  headDim: 32,
  numKvHeads: 1,
  intermediateSize: 32,
  init: { scheme: 'normal', std: 0.2 },
} as const;

const ROOM = { batchSize: 2, maxLength: 100, dtype: 'bf16' } as const;
const [N, START] = [48, 20];

/** The chunk's graph in mixed precision, as engines in bf16 compile it. */
function chunkInBf16(model: ModelInput): { graph: L.Graph; inputs: Record<string, HostTensor> } {
  const config = resolveModelConfig(model);
  const exact = chunkGraph(config, N, ROOM);
  const outputs = L.mixedPrecision(exact.outputs.map((p) => p.value));
  const graph = L.makeGraph(
    Object.fromEntries(exact.inputs.map((p) => [p.name, p.value])),
    Object.fromEntries(exact.outputs.map((p, i) => [p.name, outputs[i] as L.Value])),
  );
  const parameters = initialParameters(config, 1);
  const states = new Set(stateSpecs(config, ROOM).map((s) => s.name));
  const inputs = graph.inputs.map(({ name, value }): [string, HostTensor] => {
    const own = parameters.get(name);
    if (own) return [name, own];
    if (states.has(name)) return [name, randomTensor(value.dtype, value.shape, name)];
    if (name === 'start') return [name, tensorFrom('i32', [], [START])];
    if (name === 'padding') return [name, tensorFrom('i32', [2], [0, 9])];
    return [
      name,
      tensorFrom(
        'i32',
        value.shape,
        Float64Array.from({ length: 2 * N }, (_, i) => (i * 7) % 16),
      ),
    ];
  });
  return { graph, inputs: Object.fromEntries(inputs) };
}

describe('a chunk of prompts in bf16', () => {
  it.each([
    ['full attention, windows, heads of both', { layers: 'swa:40 full:nope/swa:17', numKvHeads: 2 }, 3],
    ['sinks, softcap, norms of heads', { layers: 'swa:128 full', sinks: true, attentionSoftcap: 5, qkNorm: true }, 2],
  ] as const)('meets caches by kernels, with the numbers of the graph without: %s', (_, settings, count) => {
    const { graph, inputs } = chunkInBf16({ ...SMALL, ...settings });
    const fused = withTileKernels(graph);
    const names = fused.nodes.flatMap((node) => (node.op === 'kernel' ? [node.attrs.name] : []));
    expect(names.filter((name) => name === 'cache_attention')).toHaveLength(count);
    expect(names.filter((name) => name === 'swiglu')).toHaveLength(2);
    const [want, got] = [evaluateReference(graph, inputs), evaluateReference(fused, inputs)];
    for (const name of Object.keys(want)) {
      const [a, b] = [toNumbers(want[name]!), toNumbers(got[name]!)];
      a.forEach((x, i) => expect(Math.abs(x - b[i]!), name).toBeLessThan(1e-6 * (1 + Math.abs(x))));
    }
  });

  it('writes bf16 caches where they lie, and never widens them', () => {
    const config = resolveModelConfig({ ...SMALL, layers: 'swa:40 full:nope' });
    const { graph } = chunkInBf16({ ...SMALL, layers: 'swa:40 full:nope' });
    const text = lowerToStableHlo(graph, { cudnn: true, donate: donatedStates(config, ROOM) });
    expect(text.match(/dynamic_update_slice/g)).toHaveLength(2);
    expect(text).toContain('tensor<2x1x100x32xbf16>');
    expect(text).not.toContain('tensor<2x1x100x32xf32>');
    expect(text).not.toContain('tensor<2x1x40x32xf32>');
    // One score for each head, query and entry would be a tensor of 2 x 2 x 48 x 100 elements.
    expect(text).not.toMatch(/tensor<(2x)+(1x)?(2x)?(48|96)x(100|88)x/);
  });

  it('carries states of recurrent layers, exact ones in float32', () => {
    const config = resolveModelConfig({ ...SMALL, layers: 'gdn full', gdn: { keyDim: 16 } });
    const specs = stateSpecs(config, ROOM);
    expect(new Set(specs.map((s) => s.dtype))).toEqual(new Set(['bf16', 'f32']));
    const { graph } = chunkInBf16({ ...SMALL, layers: 'gdn full', gdn: { keyDim: 16 } });
    const inputs = Object.fromEntries(graph.inputs.map((p) => [p.name, p.value]));
    for (const { name, dtype, shape } of specs) {
      expect(inputs[name]).toMatchObject({ dtype, shape });
    }
    for (const { name, value } of graph.outputs) {
      const spec = specs.find((s) => `next.${s.name}` === name);
      if (spec !== undefined) expect(value).toMatchObject({ dtype: spec.dtype, shape: spec.shape });
    }
    const rule = graph.nodes.find((node) => node.op === 'deltaRule');
    expect(rule?.inputs.map((v) => v.dtype)).toEqual(['bf16', 'bf16', 'bf16', 'f32', 'f32', 'f32']);
  });
});
