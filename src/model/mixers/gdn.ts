/**
 * Gated DeltaNet (Yang et al. 2025; flash-linear-attention `fla/layers/gated_deltanet.py`): the state predicts each
 * value from its key and is corrected by the error, after a decay per head and token.
 */
import { z } from 'zod';
import { linear, rmsNorm, split, swiglu, type Value } from '../../graph/index.js';
import { defineMixer, type Resolved } from './definition.js';
import { linearParts } from './linear.js';
import {
  allowNegEigval,
  checkMultiple,
  chunk,
  chunkLength,
  convWidth,
  count,
  deltaFlops,
  joinHeads,
  normEps,
  recurrenceStates,
  shortConv,
  stepDecay,
  stepSize,
  unitDelta,
} from './parts.js';
import { decayRateInit, ONES, stepBiasInit } from './spec.js';

/** The section `model.gdn`. */
const schema = z.strictObject({
  numHeads: count.optional().describe('query and key heads (default: numHeads of the model)'),
  numValueHeads: count.optional().describe('value heads, a multiple of numHeads (default: numHeads)'),
  keyDim: count
    .optional()
    .describe('width of a query and key head (default: that makes them 0.75 hiddenSize together)'),
  valueDim: count.optional().describe('width of a value head (default: 2 keyDim)'),
  convWidth,
  allowNegEigval,
  gate: z.boolean().default(true).describe('SiLU of a projection of the layer input on the normalized output'),
  normEps: normEps('rmsNormEps'),
  chunk,
});

/** The resolved section `model.gdn`. */
export type GdnConfig = Resolved<typeof schema, 'numHeads' | 'numValueHeads' | 'keyDim' | 'valueDim' | 'normEps'>;

/** Widths of queries, keys and values over all heads. */
const widths = ({ numHeads, numValueHeads, keyDim, valueDim }: GdnConfig) =>
  [numHeads * keyDim, numHeads * keyDim, numValueHeads * valueDim] as const;

const channels = (section: GdnConfig) => widths(section).reduce((a, b) => a + b, 0);

/** Gated DeltaNet: delta rule with a decay per head and token. */
export const gdnMixer = defineMixer({
  summary: 'Gated DeltaNet: delta rule with a decay per head and token',
  schema,
  grows: ['numHeads', 'numValueHeads'],
  resolve: (section, model, where): GdnConfig => {
    const numHeads = section.numHeads ?? model.numHeads;
    const numValueHeads = section.numValueHeads ?? numHeads;
    checkMultiple(where, ['numValueHeads', numValueHeads], ['numHeads', numHeads]);
    const keyDim = section.keyDim ?? Math.max(1, Math.round((0.75 * model.hiddenSize) / numHeads));
    return {
      ...section,
      numHeads,
      numValueHeads,
      keyDim,
      valueDim: section.valueDim ?? 2 * keyDim,
      normEps: section.normEps ?? model.rmsNormEps,
    };
  },
  withHeads: (section, numHeads) => ({
    ...section,
    numHeads,
    numValueHeads: (section.numValueHeads / section.numHeads) * numHeads,
  }),
  params: (make, section, { hiddenSize: d }) => {
    const { numValueHeads: H, valueDim: V, convWidth, gate } = section;
    const all = channels(section);
    return [
      make.matrix('wqkv', d, widths(section)),
      ...(convWidth > 0 ? make.conv('conv', all, convWidth, false) : []),
      make.matrix('wab', d, [H, H]),
      make.vector('dtbias', H, stepBiasInit()),
      make.vector('alog', H, decayRateInit(0.01, 16)),
      make.vector('norm.weight', V, ONES),
      ...(gate ? [make.matrix('wgate', d, H * V)] : []),
      make.output('wo', H * V),
    ];
  },
  sequenceFlops: (section, seqLen) => {
    const { numValueHeads, keyDim, valueDim, chunk } = section;
    return deltaFlops(numValueHeads, keyDim, valueDim, chunkLength(chunk, seqLen), 'head');
  },
  states: (section) =>
    recurrenceStates({ width: section.convWidth, channels: channels(section) }, [
      section.numValueHeads,
      section.keyDim,
      section.valueDim,
    ]),
  mix: (scope, section, state) => {
    const { x, param, inputMatrix } = scope;
    const { numValueHeads: H, convWidth, gate, normEps } = section;
    const mixed = shortConv(scope, linear(x, inputMatrix('wqkv')), { width: convWidth, bias: false }, state);
    const qkv = split(mixed, 2, widths(section)) as [Value, Value, Value];
    const [rate, write] = linearParts(x, inputMatrix('wab'), [H, H]) as [Value, Value];
    const decay = stepDecay(param('alog'), stepSize(rate, param('dtbias')));
    const out = unitDelta(state, qkv, { decay, write }, section);
    const normed = joinHeads(rmsNorm(out, param('norm.weight'), normEps));
    return linear(gate ? swiglu(linear(x, inputMatrix('wgate')), normed) : normed, param('wo'));
  },
});
