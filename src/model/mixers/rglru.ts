/**
 * RG-LRU, the recurrent block of Griffin (De et al. 2024, arXiv 2402.19427; google-deepmind/recurrentgemma): a linear
 * recurrence of one state a channel, whose decay and whose input are gated by the input, after a short convolution; a
 * second branch of the layer's input gates its output.
 *
 * Letters: W width, H blocks, T tokens. `log a_t = -8 sigmoid(r_t) softplus(L)`, `h_t = a_t h_{t-1} + sqrt(1 - a_t^2)
 * sigmoid(i_t) x_t`; the first token of a document enters whole. The published code bounds the derivative of the square
 * root; here it is the function's own.
 */
import { z } from 'zod';
import {
  add,
  div,
  dot,
  full,
  linear,
  max,
  mul,
  reshape,
  select,
  selectiveScan,
  sigmoid,
  softplus,
  split,
  sqrt,
  tanh,
  transpose,
  type Value,
} from '../../graph/index.js';
import { at } from '../../core/index.js';
import { PLAIN, PLAIN_ACTIVATIONS } from './activations.js';
import { defineMixer, type RecurrentScope, type Resolved } from './definition.js';
import { checkMultiple, chunk, count, depthwiseConv, joinHeads, recur, recurrenceStates, toHeads } from './parts.js';
import { ZEROS, type ParamInit } from './spec.js';

/** The section `model.rglru`. */
const schema = z.strictObject({
  width: count.optional().describe('channels of the recurrence (default: hiddenSize)'),
  blocks: count
    .optional()
    .describe('blocks of channels that gates are projected within; divides width (default: numHeads)'),
  convWidth: count.default(4).describe('tokens under the causal convolution, its own included'),
  activation: z.enum(PLAIN_ACTIVATIONS).default('gelu_tanh').describe('activation of the branch that gates the output'),
  chunk,
});

/** The resolved section `model.rglru`. */
export type RglruConfig = Resolved<typeof schema, 'width' | 'blocks'>;

/** `exp(-softplus(L))`, whose 8th power is the decay of an open gate: its square is uniform here (recurrentgemma). */
const DECAYS: ParamInit = { kind: 'uniform', low: 0.9 ** 2, high: 0.999 ** 2, map: 'inverse-softplus-decay' };

/** The exponent of an open gate's decay, the c of the paper. */
const EXPONENT = 8;

/** The smallest log decay: below it states and what they take in are those of a decay of 1. */
const LEAST = 1e-12;

/** A gate of the convolved input x `[B,T,W]`, `[B,T,W]`: the sigmoid of a projection within each block of channels. */
function gate({ param }: RecurrentScope, name: string, x: Value, blocks: number): Value {
  const heads = toHeads(x, at(x.shape, 2) / blocks);
  const own = dot(heads, param(`w${name}`), { lhsBatch: [2], rhsBatch: [0], lhsContract: [3], rhsContract: [1] });
  return sigmoid(joinHeads(add(transpose(own, [1, 2, 0, 3]), param(`${name}.bias`))));
}

/** RG-LRU: a gated linear recurrence of one state a channel. */
export const rglruMixer = defineMixer({
  summary: 'RG-LRU: a gated linear recurrence of one state a channel, as in Griffin and RecurrentGemma',
  schema,
  grows: ['width', 'blocks'],
  resolve: (section, { hiddenSize, numHeads }, where): RglruConfig => {
    const [width, blocks] = [section.width ?? hiddenSize, section.blocks ?? numHeads];
    checkMultiple(where, ['width', width], ['blocks', blocks]);
    return { ...section, width, blocks };
  },
  params: (make, { width, blocks, convWidth }, { hiddenSize: d }) => [
    make.matrix('win', d, [width, width]),
    make.vector('in.bias', 2 * width, ZEROS),
    ...make.conv('conv', width, convWidth, true),
    make.blocks('winput', blocks, width / blocks),
    make.vector('input.bias', [blocks, width / blocks], ZEROS),
    make.blocks('wdecay', blocks, width / blocks),
    make.vector('decay.bias', [blocks, width / blocks], ZEROS),
    make.vector('decay', width, DECAYS),
    make.output('wout', width),
    make.vector('out.bias', d, ZEROS),
  ],
  // Decaying, writing and reading a state are a multiply-add each, but no matrix product.
  sequenceFlops: () => 0,
  states: ({ width, convWidth }) => recurrenceStates({ width: convWidth, channels: width }, [width, 1]),
  mix: (scope, { width, blocks, convWidth, activation, chunk }, state) => {
    const { x, param, inputMatrix, starts } = scope;
    const projected = add(linear(x, inputMatrix('win')), param('in.bias'));
    const halves = split(projected, 2, [width, width]);
    const [branch, input] = [at(halves, 0), at(halves, 1)];
    const mixed = depthwiseConv(scope, input, { width: convWidth, bias: true }, state);
    const [B, T] = [at(x.shape, 0), at(x.shape, 1)];
    // Minus the log decay is the scan's time step, at a rate of 1. The scan writes u times the step.
    const exponent = mul(softplus(param('decay')), EXPONENT);
    const step = max(mul(gate(scope, 'decay', mixed, blocks), exponent), LEAST);
    // 1 - exp(-2 step), without the difference of numbers near 1.
    const t = tanh(step);
    const forgotten = div(mul(t, 2), add(t, 1));
    const whole = reshape(starts(), [B, T, 1]);
    const share = div(select(whole, full(step.dtype, step.shape, 1), sqrt(forgotten)), step);
    const u = mul(mul(mixed, gate(scope, 'input', mixed, blocks)), share);
    const ones = full(x.dtype, [B, T, 1], 1);
    const rates = full(step.dtype, [width, 1], -1);
    const h = recur(state, (options) =>
      selectiveScan({ u: state.maskPadding(u), write: ones, read: ones, step, rates }, { ...options, chunk }),
    );
    return add(linear(mul(h, PLAIN[activation](branch)), param('wout')), param('out.bias'));
  },
});
