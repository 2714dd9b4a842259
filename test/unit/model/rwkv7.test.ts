/**
 * RWKV-7 against flash-linear-attention and the package of its authors, on what `scripts/make-rwkv7-reference.py` wrote:
 * two layers in float64, outputs, gradients of everything, and how vectors start.
 */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readSafetensors } from '../../../src/checkpoint/index.js';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import * as L from '../../../src/graph/index.js';
import { initialParameters, parameterSpecs, resolveModelConfig } from '../../../src/model/index.js';
import type { MixerOutput } from '../../../src/model/mixer.js';
import { mixerOf } from '../../../src/model/mixers.js';

const theirs = readSafetensors(join(import.meta.dirname, '../../data/mixers/rwkv7.safetensors'));

function stored(name: string): HostTensor {
  const found = theirs[name];
  if (found === undefined) throw new Error(`no tensor ${name}`);
  return found;
}

const LOW = { wdecay: 'w_lora', wrate: 'a_lora', wshare: 'v_lora', wgate: 'g_lora' } as const;
const VECTORS = { removal: 'k_k', amount: 'k_a', bonus: 'r_k' } as const;

/** Their name of a parameter, and whether ours is its transpose. */
function nameOf(name: string): readonly [name: string, transposed: boolean] {
  if (name.startsWith('mix.')) return [`x_${name.slice(4)}`, false];
  if (name.startsWith('norm.')) return [`g_${name}`, false];
  if (name.endsWith('.bias')) {
    const module = LOW[`w${name.slice(0, -5)}` as keyof typeof LOW];
    return [`${module}.lora.2.bias`, false];
  }
  const low = /^(w\w+)(down|up)$/.exec(name);
  if (low) return [`${LOW[low[1] as keyof typeof LOW]}.lora.${low[2] === 'down' ? 0 : 2}.weight`, true];
  if (name in VECTORS) return [VECTORS[name as keyof typeof VECTORS], false];
  return [`${name.slice(1)}_proj.weight`, true];
}

/** Numbers of a tensor of theirs in the order of ours. */
function ordered(tensor: HostTensor, transposed: boolean): number[] {
  const values = [...toNumbers(tensor)];
  if (!transposed) return values;
  const [out, inner] = tensor.shape as [number, number];
  return Array.from({ length: values.length }, (_, i) => values[(i % out) * inner + Math.floor(i / out)] as number);
}

function worst(got: ArrayLike<number>, want: readonly number[]): number {
  expect(got.length).toBe(want.length);
  const scale = want.reduce((m, x) => Math.max(m, Math.abs(x)), 1);
  return want.reduce((m, x, i) => Math.max(m, Math.abs((got[i] as number) - x) / scale), 0);
}

const shape = { vocabSize: 7, hiddenSize: 8, numHeads: 2, headDim: 4, intermediateSize: 4 };
const ranks = { decayRank: 3, removalRank: 2, valueRank: 3, gateRank: 5 };
const config = resolveModelConfig({
  ...{ ...shape, layers: '2*rwkv7', numLayers: 2 },
  rwkv7: { ...ranks, valueDim: 6, normEps: 64e-5, chunk: 4 },
});
const PREFIX = /^layers\.(\d)\.rwkv7\./;
const specs = parameterSpecs(config).filter(({ name }) => PREFIX.test(name));

/** Both layers on inputs of their own, the second with the first one's values, and gradients of everything. */
function layers(dtype: 'f32' | 'f64') {
  const tensors: Record<string, HostTensor> = {};
  const given = (name: string, dims: readonly number[], values: readonly number[]): L.Value => {
    tensors[name] = tensorFrom(dtype, dims, values);
    return L.input(name, dtype, dims);
  };
  const inputs: Record<string, L.Value> = {};
  for (const { name, shape: dims } of specs) {
    const layer = PREFIX.exec(name)?.[1] ?? '';
    const [own, transposed] = nameOf(name.replace(PREFIX, ''));
    inputs[name] = given(name, dims, ordered(stored(`${layer}.${own}`), transposed));
  }
  const outs: L.Value[] = [];
  let handed: MixerOutput['hands'] = {};
  let loss = L.scalar(0, dtype);
  for (const layer of [0, 1]) {
    const x = given(`${layer}.x`, [2, 13, 8], ordered(stored(`${layer}.x`), false));
    inputs[`${layer}.x`] = x;
    const param = (name: string) => inputs[`layers.${layer}.${name}`] as L.Value;
    const scope = { config, layer, x, param, inputMatrix: param, segments: null, positions: null };
    const plan = config.layers[layer] as (typeof config.layers)[number];
    const { out, hands } = mixerOf(plan).build({ ...scope, handed: new Map(Object.entries(handed)) }, plan);
    handed = hands ?? {};
    outs.push(out);
    const weights = L.constant(tensorFrom(dtype, out.shape, ordered(stored(`${layer}.weights`), false)));
    loss = L.add(loss, L.reduceSum(L.mul(out, weights)));
  }
  const grads = L.grad(loss, Object.values(inputs));
  const named = Object.fromEntries(Object.keys(inputs).map((name, i) => [`grad.${name}`, grads[i] as L.Value]));
  return { graph: L.makeGraph(inputs, { out0: outs[0] as L.Value, out1: outs[1] as L.Value, ...named }), tensors };
}

describe('RWKV-7', () => {
  // Expected values are float64 rounded to float32.
  it.each([
    ['token by token, float64', 'f64', (g: L.Graph) => g, 1e-7],
    ['by chunks, float64', 'f64', (g: L.Graph) => L.simplify(L.expand(g)), 1e-7],
    ['by chunks, float32', 'f32', (g: L.Graph) => L.simplify(L.expand(g)), 1e-5],
  ] as const)('is that of its authors and of flash-linear-attention: %s', (_, dtype, through, tolerance) => {
    const { graph, tensors } = layers(dtype);
    const got = evaluateReference(through(graph), tensors);
    for (const { name } of graph.outputs) {
      const layer = (/\d/.exec(name) ?? ['0'])[0];
      const [own, transposed] = name.startsWith('grad.layers')
        ? nameOf(name.slice(5).replace(PREFIX, ''))
        : [name.slice(7), false];
      const of = name.startsWith('out') ? `${layer}.out` : `grad.${layer}.${own}`;
      expect(worst(toNumbers(got[name] as HostTensor), ordered(stored(of), transposed)), name).toBeLessThan(tolerance);
    }
  });

  it('starts its vectors as flash-linear-attention does, and its low-rank maps at nothing', () => {
    const model = resolveModelConfig({
      ...{ ...shape, layers: '3*rwkv7', numLayers: 3 },
      rwkv7: { ...ranks, normEps: 64e-5 },
    });
    const start = initialParameters(model, 0);
    let compared = 0;
    for (const [name, tensor] of start) {
      const layer = PREFIX.exec(name)?.[1];
      if (layer === undefined) continue;
      const want = theirs[`init.${layer}.${nameOf(name.replace(PREFIX, ''))[0]}`];
      if (name.endsWith('down')) expect(toNumbers(tensor).every((x) => x === 0)).toBe(true);
      if (want === undefined) continue;
      compared++;
      expect(worst(toNumbers(tensor), [...toNumbers(want)]), name).toBeLessThan(1e-6);
    }
    // Six shares of the token before, biases of decays and rates, three vectors of keys, two of the norm; and, of the
    // second layer, the bias of the share.
    expect(compared).toBe(2 * 13 + 1);
    const down = model.layers.flatMap((_, layer) => ['wshare', 'wgate'].map((n) => `layers.${layer}.rwkv7.${n}down`));
    expect(down.filter((name) => !start.has(name))).toEqual(['layers.0.rwkv7.wsharedown']);
  });

  it('widths of the low-rank maps follow those of the model', () => {
    const of = (hiddenSize: number, headDim: number) => {
      const { rwkv7 } = resolveModelConfig({ hiddenSize, headDim, numHeads: 4, layers: 'rwkv7' });
      return [rwkv7?.decayRank, rwkv7?.removalRank, rwkv7?.valueRank, rwkv7?.gateRank, rwkv7?.normEps];
    };
    expect(of(768, 64)).toEqual([64, 64, 32, 128, 64e-5]);
    expect(of(4096, 64)).toEqual([160, 160, 96, 320, 64e-5]);
    expect(of(1024, 128)).toEqual([160, 160, 96, 160, 128e-5]);
    expect(of(64, 16).slice(0, 4)).toEqual([32, 32, 32, 32]);
  });
});
