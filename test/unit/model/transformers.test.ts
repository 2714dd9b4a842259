import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readSafetensors } from '../../../src/checkpoint/index.js';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import { div, grad, input, makeGraph, type Value } from '../../../src/graph/index.js';
import { forward, parameterInputs, tokenLosses, TapReader } from '../../../src/model/index.js';
import { plainForward } from './plain-model.js';
import { readSmolLM3, theirNames } from './hugging-face.js';

const FOLDER = join(import.meta.dirname, '..', '..', 'data', 'smollm3-hybrid');

/** Largest difference relative to the largest value. */
function worst(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let [difference, size] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    const d = Math.abs((a[i] as number) - (b[i] as number));
    difference = Number.isNaN(d) ? Infinity : Math.max(difference, d);
    size = Math.max(size, Math.abs(b[i] as number));
  }
  return difference / size;
}

describe('a SmolLM3 hybrid of windows and full layers without positions', () => {
  const { config, params } = readSmolLM3(FOLDER);
  const expected = readSafetensors(join(FOLDER, 'expected.safetensors'));
  const numbers = (name: string) => toNumbers(expected[name] as HostTensor);
  const [B, T] = expected['input_ids']?.shape as [number, number];
  const ids = numbers('input_ids');

  it('has the logits, hidden states, loss and gradient norms that Transformers computes', () => {
    const values = parameterInputs(config, 'f64');
    const tokens = input('tokens', 'i32', [B, T]);
    const targets = input('targets', 'i32', [B, T]);
    const weights = input('weights', 'f64', [B, T]);
    const { tap, stream: hidden } = new TapReader();
    const { logits } = forward(config, values, tokens, { tap });
    const { weightedSum, weightSum } = tokenLosses(logits, targets, weights);
    const loss = div(weightedSum, weightSum);
    const grads = grad(loss, [...values.values()]);
    const outputs = Object.fromEntries([...values.keys()].map((name, i) => [`grad.${name}`, grads[i] as Value]));
    const states = Object.fromEntries(hidden.map((h, i) => [`hidden.${i}`, h]));
    const graph = makeGraph(
      { ...Object.fromEntries(values), tokens, targets, weights },
      { logits, loss, ...states, ...outputs },
    );
    const isLast = (i: number) => i % T === T - 1;
    const results = evaluateReference(graph, {
      ...Object.fromEntries(params),
      tokens: tensorFrom('i32', [B, T], ids),
      targets: tensorFrom(
        'i32',
        [B, T],
        ids.map((_, i) => (isLast(i) ? 0 : (ids[i + 1] as number))),
      ),
      weights: tensorFrom(
        'f64',
        [B, T],
        ids.map((_, i) => (isLast(i) ? 0 : 1)),
      ),
    });
    const of = (name: string) => toNumbers(results[name] as HostTensor);
    expect(worst(of('logits'), numbers('logits'))).toBeLessThan(1e-5);
    // Theirs of the last layer comes after the final norm.
    for (let i = 0; i < config.numLayers; i++)
      expect(worst(of(`hidden.${i}`), numbers(`hidden.${i}`))).toBeLessThan(1e-5);
    expect(worst(of('loss'), numbers('loss'))).toBeLessThan(1e-6);
    for (const [name, theirs] of theirNames(config)) {
      const squares = theirs.reduce((s, t) => s + (numbers(`gradnorm.${t}`)[0] as number) ** 2, 0);
      const norm = Math.sqrt(of(`grad.${name}`).reduce((s, g) => s + g * g, 0));
      expect(Math.abs(norm / Math.sqrt(squares) - 1), name).toBeLessThan(1e-5);
    }
  });

  it('has its attention probabilities in the plain loops too', () => {
    const { probabilities } = plainForward(config, params, [...ids.subarray(0, T)]);
    probabilities.forEach((layer, n) => expect(worst(layer.flat(2), numbers(`attn.${n}`))).toBeLessThan(1e-5));
  });
});
