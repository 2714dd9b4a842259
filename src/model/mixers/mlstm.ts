/**
 * The mLSTM of xLSTM (Beck et al. 2024, arXiv 2405.04517; the layer of xLSTM 7B, arXiv 2503.13427): linear attention
 * whose heads write by an exponential gate, forget by a sigmoid, and are divided by how much they have written.
 *
 * With the capped gates i and f of a head: `S_t = sigmoid(f) S_{t-1} + e^i k v^T`, `n_t = sigmoid(f) n_{t-1} + e^i k`,
 * `o_t = q S_t / max(|q n_t|, 1)`, q times `1 / sqrt(keyDim)`. Implementations divide S and n by the largest
 * exponential so far, which cancels in o; here the cap bounds it. n is a column more of S, whose values are 1.
 */
import { z } from 'zod';
import { at, realNumber } from '../../core/index.js';
import {
  add,
  concat,
  div,
  exp,
  full,
  linear,
  linearRecurrence,
  max,
  mul,
  neg,
  reshape,
  sigmoid,
  softcapped,
  softplus,
  type Value,
} from '../../graph/index.js';
import { defineMixer, type Resolved } from './definition.js';
import { linearParts, twoParts } from './linear.js';
import {
  chunk,
  chunkLength,
  count,
  headNorm,
  linearFlops,
  normEps,
  numHeads,
  recur,
  recurrenceStates,
  toHeads,
} from './parts.js';
import { ONES } from './spec.js';

/** The section `model.mlstm`. */
const schema = z.strictObject({
  numHeads,
  keyDim: count.optional().describe('width of a query and key head (default: half of headDim, rounded up)'),
  valueDim: count.optional().describe('width of a value head (default: headDim of the model)'),
  gateCap: realNumber()
    .positive()
    .max(40)
    .default(15)
    .describe('the c of c tanh(x / c) on the logits of what is written and of what is kept'),
  normEps: normEps('rmsNormEps'),
  chunk,
});

/** The resolved section `model.mlstm`. */
export type MlstmConfig = Resolved<typeof schema, 'numHeads' | 'keyDim' | 'valueDim' | 'normEps'>;

/** Widths of queries, keys and values over all heads. */
const widths = ({ numHeads: H, keyDim: K, valueDim: V }: MlstmConfig) => [H * K, H * K, H * V] as const;

/** The logits of what heads write at first. */
const FIRST_WRITE = -10;

/** The logits of what heads keep at first, from the first head to the last. */
const FIRST_KEEP = { from: 3, to: 6 } as const;

/** The mLSTM: linear attention with an exponential input gate and a normalizer. */
export const mlstmMixer = defineMixer({
  summary: 'mLSTM (xLSTM): a matrix memory with an exponential input gate, a forget gate and a normalizer per head',
  schema,
  grows: ['numHeads'],
  resolve: (section, { numHeads, headDim, rmsNormEps }): MlstmConfig => ({
    ...section,
    numHeads: section.numHeads ?? numHeads,
    keyDim: section.keyDim ?? Math.ceil(headDim / 2),
    valueDim: section.valueDim ?? headDim,
    normEps: section.normEps ?? rmsNormEps,
  }),
  withHeads: (section, numHeads) => ({ ...section, numHeads }),
  params: (make, section, { hiddenSize: d }) => {
    const { numHeads: H, valueDim: V } = section;
    const keep = { kind: 'ramp', ...FIRST_KEEP, over: Math.max(1, H - 1), power: 1, swing: 0, period: 1 } as const;
    return [
      make.matrix('wqkv', d, widths(section)),
      make.matrix('wgates', d, [H, H]),
      make.vector('write.bias', H, { kind: 'constant', value: FIRST_WRITE }),
      make.vector('keep.bias', H, keep),
      make.vector('norm.weight', H * V, ONES),
      make.matrix('wgate', d, H * V),
      make.output('wo', H * V),
    ];
  },
  sequenceFlops: ({ numHeads, keyDim, valueDim, chunk }, seqLen) =>
    linearFlops(numHeads, keyDim, valueDim + 1, chunkLength(chunk, seqLen)),
  states: ({ numHeads, keyDim, valueDim }) => recurrenceStates(null, [numHeads, keyDim, valueDim + 1]),
  mix: ({ x, param, inputMatrix }, section, state) => {
    const { numHeads: H, keyDim: K, valueDim: V, gateCap, normEps, chunk } = section;
    const parts = linearParts(x, inputMatrix('wqkv'), widths(section));
    const [q, k, v] = [toHeads(at(parts, 0), K), toHeads(at(parts, 1), K), toHeads(at(parts, 2), V)];
    const [B, T] = [at(x.shape, 0), at(x.shape, 1)];
    const capped = (logits: Value, bias: string): Value => softcapped(add(logits, param(bias)), gateCap);
    const [forWrite, forKeep] = twoParts(linear(x, inputMatrix('wgates')), H, H);
    const written = reshape(exp(capped(forWrite, 'write.bias')), [B, T, H, 1]);
    // log sigmoid(f) = -softplus(-f)
    const decay = neg(softplus(neg(capped(forKeep, 'keep.bias'))));
    const keys = mul(k, written);
    const values = concat([v, full(v.dtype, [B, T, H, 1], 1)], 3);
    const out = recur(state, (options) =>
      linearRecurrence(q, keys, state.maskPadding(values), decay, {
        ...options,
        scale: 1 / Math.sqrt(K),
        chunk,
      }),
    );
    const [sum, amount] = twoParts(out, V, 1);
    const heads = div(sum, max(max(amount, neg(amount)), 1));
    const normed = headNorm(heads, normEps);
    const gate = sigmoid(linear(x, inputMatrix('wgate')));
    return linear(mul(gate, mul(normed, param('norm.weight'))), param('wo'));
  },
});
