import { describe, expect, it } from 'vitest';
import { Rng, sizeOf, tensorFrom, toNumbers, type HostTensor } from '../../src/core/index.js';
import { evaluateReference } from '../../src/engine/index.js';
import { input, makeGraph } from '../../src/graph/index.js';
import {
  adamwMoments,
  adamwScalars,
  applyStep,
  clipFactor,
  globalNorm,
  scalarInputs,
  scalarTensors,
  type AdamWConfig,
} from '../../src/train/index.js';

const SHAPES = { matrix: [3, 4], vector: [5] } as const;
type Name = keyof typeof SHAPES;
const NAMES: readonly Name[] = ['matrix', 'vector'];

/** AdamW in plain float64, after algorithm 2 of the paper and independent of the graph. */
function plainAdamW(
  config: AdamWConfig,
  rates: readonly number[],
  start: Record<Name, number[]>,
  gradients: Record<Name, number[]>[],
) {
  const p = structuredClone(start);
  const zeros = () => Object.fromEntries(NAMES.map((n) => [n, p[n].map(() => 0)])) as Record<Name, number[]>;
  const [m, v] = [zeros(), zeros()];
  const norms: number[] = [];
  gradients.forEach((g, i) => {
    const norm = Math.sqrt(NAMES.flatMap((n) => g[n]).reduce((sum, x) => sum + x * x, 0));
    norms.push(norm);
    const clip = config.clipNorm > 0 && norm > config.clipNorm ? config.clipNorm / norm : 1;
    const t = i + 1;
    for (const n of NAMES) {
      for (let k = 0; k < p[n].length; k++) {
        const gradient = g[n][k]! * clip;
        m[n][k] = config.beta1 * m[n][k]! + (1 - config.beta1) * gradient;
        v[n][k] = config.beta2 * v[n][k]! + (1 - config.beta2) * gradient ** 2;
        const mHat = m[n][k]! / (1 - config.beta1 ** t);
        const vHat = v[n][k]! / (1 - config.beta2 ** t);
        const decay = n === 'matrix' ? config.weightDecay * p[n][k]! : 0;
        p[n][k] = p[n][k]! - rates[i]! * (mHat / (Math.sqrt(vHat) + config.eps) + decay);
      }
    }
  });
  return { p, norms };
}

function graphAdamW(
  config: AdamWConfig,
  rates: readonly number[],
  start: Record<Name, number[]>,
  gradients: Record<Name, number[]>[],
) {
  const inputsOf = (kind: string) => NAMES.map((n) => input(`${kind}.${n}`, 'f64', SHAPES[n]));
  const [ps, gs, ms, vs] = [inputsOf('p'), inputsOf('g'), inputsOf('m'), inputsOf('v')];
  const scalars = scalarInputs('f64');
  const { norm, squares } = globalNorm(gs);
  const clip = clipFactor(norm, config.clipNorm);
  const outputs = NAMES.flatMap((n, i) => {
    const parts = { gradient: gs[i]!, square: squares[i]!, m: ms[i]!, v: vs[i]!, clip };
    const { m, v, step } = adamwMoments(config, parts, scalars);
    return [
      [`p.${n}`, applyStep(ps[i]!, step, scalars, ps[i]!.shape.length >= 2)] as const,
      [`m.${n}`, m] as const,
      [`v.${n}`, v] as const,
    ];
  });
  const named = (kind: string, values: typeof ps) =>
    Object.fromEntries(values.map((x, i) => [`${kind}.${NAMES[i]}`, x]));
  const graph = makeGraph(
    { ...named('p', ps), ...named('g', gs), ...named('m', ms), ...named('v', vs), ...scalars },
    { ...Object.fromEntries(outputs), norm },
  );
  const hosts = (kind: string, values: Record<Name, number[]>) =>
    Object.fromEntries(NAMES.map((n) => [`${kind}.${n}`, tensorFrom('f64', SHAPES[n], values[n])]));
  const nothing = Object.fromEntries(NAMES.map((n) => [n, Array<number>(sizeOf(SHAPES[n])).fill(0)])) as Record<
    Name,
    number[]
  >;
  let state: Record<string, HostTensor> = { ...hosts('p', start), ...hosts('m', nothing), ...hosts('v', nothing) };
  const norms: number[] = [];
  gradients.forEach((g, i) => {
    const scalarValues = scalarTensors('f64', adamwScalars(config, rates[i]!, i + 1));
    const out = evaluateReference(graph, { ...state, ...hosts('g', g), ...scalarValues });
    norms.push(toNumbers(out.norm!)[0]!);
    state = Object.fromEntries(Object.keys(state).map((name) => [name, out[name]!]));
  });
  return { p: Object.fromEntries(NAMES.map((n) => [n, [...toNumbers(state[`p.${n}`]!)]])), norms };
}

describe('AdamW', () => {
  const rng = Rng.of(7, 'adamw');
  const draw = (scale: number) =>
    Object.fromEntries(
      NAMES.map((n) => [n, Array.from({ length: sizeOf(SHAPES[n]) }, () => scale * rng.normal())]),
    ) as Record<Name, number[]>;

  it.each([
    ['with clipping', { clipNorm: 1, weightDecay: 0.05 }],
    ['without clipping', { clipNorm: 0, weightDecay: 0.05 }],
    ['without decay', { clipNorm: 1, weightDecay: 0 }],
  ])('follows the paper over several steps, %s', (_, change) => {
    const config = { beta1: 0.9, beta2: 0.98, eps: 1e-8, ...change };
    const start = draw(1);
    const gradients = [0.01, 5, 1, 0.2, 30].map(draw); // some below the clipping norm, some above
    const rates = [1e-3, 2e-3, 4e-3, 4e-3, 0];
    const [expected, got] = [plainAdamW(config, rates, start, gradients), graphAdamW(config, rates, start, gradients)];
    expect(expected.norms.some((n) => n > 1) && expected.norms.some((n) => n < 1)).toBe(true);
    got.norms.forEach((n, i) => expect(n).toBeCloseTo(expected.norms[i]!, 12));
    for (const name of NAMES) {
      got.p[name]!.forEach((x, k) => {
        expect(x).not.toBe(start[name][k]);
        expect(Math.abs(x - expected.p[name][k]!)).toBeLessThan(1e-14);
      });
    }
  });

  it('leaves a parameter whose gradient was always zero as it is, but for the decay', () => {
    const config = { beta1: 0.9, beta2: 0.98, eps: 1e-8, clipNorm: 1, weightDecay: 0.5 };
    const start = draw(1);
    const { p } = graphAdamW(config, [0.1], start, [draw(0)]);
    expect(p.vector).toEqual(start.vector);
    p.matrix!.forEach((x, k) => expect(x).toBeCloseTo(start.matrix[k]! * 0.95, 14));
  });
});
