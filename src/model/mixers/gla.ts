/**
 * Simple GLA: linear attention whose heads forget at rates that they work out for every token (Yang et al. 2024; fla's
 * layer).
 */
import { z } from 'zod';
import { ConfigError } from '../../core/index.js';
import { realNumber } from '../../core/index.js';
import {
  add,
  div,
  linear,
  linearRecurrence,
  neg,
  rmsNorm,
  softplus,
  split,
  swiglu,
  type Value,
} from '../../graph/index.js';
import { defineMixer, type Resolved } from './definition.js';
import {
  checkMultiple,
  chunk,
  chunkLength,
  convWidth,
  count,
  joinHeads,
  linearFlops,
  normEps,
  numHeads,
  recur,
  recurrenceStates,
  shortConv,
  toHeads,
} from './parts.js';
import { ONES, ZEROS } from './spec.js';

/** The section `model.gla`. */
const schema = z.strictObject({
  numHeads,
  numKvHeads: count.optional().describe('key/value heads; divides numHeads (default: numHeads)'),
  keyDim: count.optional().describe('width of a query and key head (default: headDim of the model)'),
  valueDim: count.optional().describe('width of a value head (default: headDim of the model)'),
  convWidth,
  gateNormalizer: realNumber()
    .positive()
    .default(16)
    .describe('log decays are log-sigmoids divided by this: the larger, the longer the memory'),
  gate: z.boolean().default(true).describe('SiLU of a projection of the layer input on the normalized output'),
  normEps: normEps('1e-5'),
  chunk,
});

/** The resolved section `model.gla`. */
export type GlaConfig = Resolved<typeof schema, 'numHeads' | 'numKvHeads' | 'keyDim' | 'valueDim' | 'normEps'>;

/** Widths of queries, keys and values over all heads. */
const widths = ({ numHeads, numKvHeads, keyDim, valueDim }: GlaConfig) =>
  [numHeads * keyDim, numKvHeads * keyDim, numKvHeads * valueDim] as const;

const channels = (section: GlaConfig) => widths(section).reduce((a, b) => a + b, 0);

/** Simple GLA: linear attention with a learned decay per head and token. */
export const glaMixer = defineMixer({
  summary: 'Simple GLA: linear attention with a learned decay per head and token',
  schema,
  grows: ['numHeads', 'numKvHeads'],
  resolve: (section, model, where): GlaConfig => {
    const numHeads = section.numHeads ?? model.numHeads;
    const numKvHeads = section.numKvHeads ?? numHeads;
    checkMultiple(where, ['numHeads', numHeads], ['numKvHeads', numKvHeads]);
    return {
      ...section,
      numHeads,
      numKvHeads,
      keyDim: section.keyDim ?? model.headDim,
      valueDim: section.valueDim ?? model.headDim,
      normEps: section.normEps ?? 1e-5,
    };
  },
  withHeads: (section, numHeads) => {
    const perKv = section.numHeads / section.numKvHeads;
    if (numHeads % perKv === 0) return { ...section, numHeads, numKvHeads: numHeads / perKv };
    throw new ConfigError(
      `${numHeads} heads of gla in a layer are no multiple of the ${perKv} that share a key/value head; share out others, or set gla.numKvHeads`,
    );
  },
  params: (make, section, { hiddenSize: d }) => {
    const { numHeads: H, valueDim: V, convWidth, gate } = section;
    const all = channels(section);
    return [
      make.matrix('wqkv', d, widths(section)),
      ...(convWidth > 0 ? make.conv('conv', all, convWidth, false) : []),
      make.matrix('wdecay', d, H),
      make.vector('decay.bias', H, ZEROS),
      make.vector('norm.weight', V, ONES),
      ...(gate ? [make.matrix('wgate', d, H * V)] : []),
      make.output('wo', H * V),
    ];
  },
  sequenceFlops: ({ numHeads, keyDim, valueDim, chunk }, seqLen) =>
    linearFlops(numHeads, keyDim, valueDim, chunkLength(chunk, seqLen)),
  states: (section) =>
    recurrenceStates({ width: section.convWidth, channels: channels(section) }, [
      section.numHeads,
      section.keyDim,
      section.valueDim,
    ]),
  mix: (scope, section, state) => {
    const { x, param, inputMatrix } = scope;
    const { keyDim: K, valueDim: V, convWidth, gate, gateNormalizer, normEps, chunk } = section;
    const mixed = shortConv(scope, linear(x, inputMatrix('wqkv')), { width: convWidth, bias: false }, state);
    const [q, k, v] = split(mixed, 2, widths(section)) as [Value, Value, Value];
    // log sigmoid(r) = -softplus(-r)
    const rate = add(linear(x, inputMatrix('wdecay')), param('decay.bias'));
    const decay = div(neg(softplus(neg(rate))), gateNormalizer);
    const out = recur(state, (options) =>
      linearRecurrence(toHeads(q, K), toHeads(k, K), state.maskPadding(toHeads(v, V)), decay, {
        ...options,
        scale: 1 / Math.sqrt(K),
        chunk,
      }),
    );
    const normed = joinHeads(rmsNorm(out, param('norm.weight'), normEps));
    return linear(gate ? swiglu(linear(x, inputMatrix('wgate')), normed) : normed, param('wo'));
  },
});
