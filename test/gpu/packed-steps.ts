/**
 * Checks models on packed documents on a device: loss and every gradient by the tile kernels in bf16 against the same
 * model in float32 without any kernel, on the same device, by the norm of the error over the norm of the gradient. The
 * float32 program run once more without bounds of documents shows that the limits would notice a model that sees other
 * documents.
 */
import { tensorFrom, toNumbers, type HostTensor } from '../../src/core/index.js';
import type { XlaEngine } from '../../src/engine/index.js';
import * as L from '../../src/graph/index.js';
import type { Graph, Value } from '../../src/graph/index.js';
import {
  forward,
  initialParameters,
  parameterInputs,
  resolveModelConfig,
  tokenLosses,
  type ModelConfig,
} from '../../src/model/index.js';
import { AT_ONCE, runOn, together } from './run.js';

const [ROWS, TOKENS, VOCABULARY] = [2, 512, 256];
/** Of the first row and the second: of one token, at the ends of blocks and beside them, and one that is the row. */
const DOCUMENTS = [[1, 63, 65, 63, 1, 127, 130, 61, 1], [TOKENS]];
/** Largest error of a gradient that passes, relative to it: roundings to bf16 through a few layers. */
const TOLERANCE = 5e-2;
/** Of what decays are made of, one number a head: sums of differences over all tokens, most of which cancel. */
const DECAY_TOLERANCE = 0.4;
/** Of the loss. */
const LOSS_TOLERANCE = 2e-3;

const WIDTHS = {
  vocabSize: VOCABULARY,
  hiddenSize: 128,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 64,
  intermediateSize: 256,
};
const LAYERS = {
  'a window': 'swa:128',
  'no window': 'full:nope',
  'window and none': 'swa:96 full',
  gdn: 'gdn full',
  mamba2: 'mamba2 full',
  lightning: 'lightning full',
  conv: 'conv full',
} as const;

/** Loss and gradients by parameter, in one precision. */
function graphOf(config: ModelConfig, precision: 'f32' | 'bf16'): Graph {
  const shape = [ROWS, TOKENS];
  const params = parameterInputs(config, 'f32');
  const [tokens, targets, segments] = ['tokens', 'targets', 'segments'].map((n) => L.input(n, 'i32', shape)) as [
    Value,
    Value,
    Value,
  ];
  const weights = L.full('f32', shape, 1 / (ROWS * TOKENS));
  const { logits } = forward(config, params, tokens, { segments });
  const exact = tokenLosses(logits, targets, weights).weightedSum;
  const loss = precision === 'bf16' ? (L.mixedPrecision([exact])[0] as Value) : exact;
  const gradients = L.grad(loss, [...params.values()]);
  return L.makeGraph(
    { ...Object.fromEntries(params), tokens, targets, segments },
    { loss, ...Object.fromEntries([...params.keys()].map((name, i) => [`d ${name}`, gradients[i] as Value])) },
  );
}

function inputsOf(config: ModelConfig): Record<string, HostTensor> {
  const shape = [ROWS, TOKENS];
  const ids = (f: (i: number) => number): HostTensor =>
    tensorFrom(
      'i32',
      shape,
      Float64Array.from({ length: ROWS * TOKENS }, (_, i) => f(i)),
    );
  const numbers = DOCUMENTS.flatMap((row) => row.flatMap((n, i) => Array.from({ length: n }, () => i % 3)));
  const token = (i: number): number => (Math.imul(i, 2654435761) >>> 8) % VOCABULARY;
  return {
    ...Object.fromEntries(initialParameters(config, 1)),
    ...{ tokens: ids(token), targets: ids((i) => token(i + 1)), segments: ids((i) => numbers[i] as number) },
  };
}

const norm = (x: Float64Array): number => Math.sqrt(x.reduce((sum, e) => sum + e * e, 0));

/** The relative error of a gradient that is largest beside what passes, as a part of that, and whose it is. */
function worstOf(got: Record<string, HostTensor>, want: Record<string, HostTensor>): { ratio: number; of: string } {
  const errors = Object.keys(want).flatMap((name) => {
    if (name === 'loss') return [];
    const [a, b] = [toNumbers(got[name] as HostTensor), toNumbers(want[name] as HostTensor)];
    const error = norm(b.map((e, i) => e - (a[i] as number))) / norm(b);
    return [{ ratio: error / (/\.(alog|dtbias)$/.test(name) ? DECAY_TOLERANCE : TOLERANCE), of: name.slice(2) }];
  });
  return errors.reduce((x, y) => (y.ratio > x.ratio ? y : x));
}

export interface PackedStepFinding {
  readonly check: string;
  readonly ok: boolean;
  /**
   * Relative error of the loss; of the worst gradient, and the same where the model sees other documents, as parts of
   * what passes.
   */
  readonly loss: number;
  readonly gradient: number;
  readonly of: string;
  readonly withoutBounds: number;
  readonly kernels: readonly string[];
}

const kernelsOf = (text: string): string[] => [
  ...new Set([...text.matchAll(/ name = "(\w+)"|@(__cudnn\$\w+)/g)].map((m) => m[1] ?? (m[2] as string))),
];

/** One model; kernels take bf16 alone, so that the program in float32 has none. */
async function checkModel(engine: XlaEngine, name: string, layers: string): Promise<PackedStepFinding> {
  const config = resolveModelConfig({ ...WIDTHS, layers, numLayers: 2, init: { scheme: 'normal', std: 0.08 } });
  const [narrow, exact] = [graphOf(config, 'bf16'), graphOf(config, 'f32')];
  const given = inputsOf(config);
  const whole = tensorFrom('i32', [ROWS, TOKENS], new Float64Array(ROWS * TOKENS));
  const [got, want, mixed] = await Promise.all([
    runOn(engine, narrow, given),
    runOn(engine, exact, given),
    runOn(engine, exact, { ...given, segments: whole }),
  ]);
  const number = (x: Record<string, HostTensor>): number => toNumbers(x['loss'] as HostTensor)[0] as number;
  const loss = Math.abs(number(got) / number(want) - 1);
  const { ratio: gradient, of } = worstOf(got, want);
  const withoutBounds = worstOf(mixed, want).ratio;
  const kernels = kernelsOf(engine.lower(narrow));
  const apart = withoutBounds > 2 && kernels.includes('packed_attention_grad');
  const ok = loss <= LOSS_TOLERANCE && gradient <= 1 && apart && kernelsOf(engine.lower(exact)).length === 0;
  return { check: `packed documents, ${name}`, ok, loss, gradient, of, withoutBounds, kernels };
}

/** Every kind of layer. */
export async function checkPackedSteps(engine: XlaEngine, report: (finding: PackedStepFinding) => void): Promise<void> {
  const all = Object.entries(LAYERS);
  await together(all, AT_ONCE, async ([name, layers]) => report(await checkModel(engine, name, layers)));
}
