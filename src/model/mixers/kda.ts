/**
 * Kimi Delta Attention (Kimi Team 2025; flash-linear-attention `fla/layers/kda.py`): the gated delta rule with a decay
 * of its own for every key channel.
 */
import { z } from 'zod';
import { linear, mul, reshape, rmsNorm, sigmoid, split, type Value } from '../../graph/index.js';
import { defineMixer, type Resolved } from './definition.js';
import {
  allowNegEigval,
  chunk,
  chunkLength,
  convWidth,
  count,
  deltaFlops,
  joinHeads,
  lowRank,
  normEps,
  numHeads,
  recurrenceStates,
  shortConv,
  stepDecay,
  stepSize,
  toHeads,
  unitDelta,
} from './parts.js';
import { decayRateInit, ONES, stepBiasInit } from './spec.js';

/** The section `model.kda`. */
const schema = z.strictObject({
  numHeads,
  keyDim: count.optional().describe('width of a query and key head (default: headDim of the model)'),
  valueDim: count.optional().describe('width of a value head (default: keyDim)'),
  convWidth,
  allowNegEigval,
  rank: count
    .optional()
    .describe('inner width of the projections of the decays and of the output gate (default: valueDim)'),
  normEps: normEps('rmsNormEps'),
  chunk,
});

/** The resolved section `model.kda`. */
export type KdaConfig = Resolved<typeof schema, 'numHeads' | 'keyDim' | 'valueDim' | 'rank' | 'normEps'>;

/** Widths of queries, keys and values over all heads. */
const widths = ({ numHeads: H, keyDim, valueDim }: KdaConfig) => [H * keyDim, H * keyDim, H * valueDim] as const;

const channels = (section: KdaConfig) => widths(section).reduce((a, b) => a + b, 0);

/** Kimi Delta Attention: delta rule with a decay per key channel and token. */
export const kdaMixer = defineMixer({
  summary: 'Kimi Delta Attention: delta rule with a decay per key channel and token',
  schema,
  resolve: (section, model): KdaConfig => {
    const keyDim = section.keyDim ?? model.headDim;
    const valueDim = section.valueDim ?? keyDim;
    return {
      ...section,
      numHeads: section.numHeads ?? model.numHeads,
      keyDim,
      valueDim,
      rank: section.rank ?? valueDim,
      normEps: section.normEps ?? model.rmsNormEps,
    };
  },
  params: (make, section, { hiddenSize: d }) => {
    const { numHeads: H, keyDim: K, valueDim: V, convWidth, rank } = section;
    const all = channels(section);
    return [
      make.matrix('wqkv', d, widths(section)),
      ...(convWidth > 0 ? make.conv('conv', all, convWidth, false) : []),
      make.matrix('wdecaydown', d, rank),
      make.matrix('wdecayup', rank, H * K),
      make.vector('dtbias', H * K, stepBiasInit()),
      make.vector('alog', H, decayRateInit(1, 16)),
      make.matrix('wbeta', d, H),
      make.vector('norm.weight', V, ONES),
      make.matrix('wgatedown', d, rank),
      make.matrix('wgateup', rank, H * V),
      make.output('wo', H * V),
    ];
  },
  sequenceFlops: (section, seqLen) => {
    const { numHeads, keyDim, valueDim, chunk } = section;
    return deltaFlops(numHeads, keyDim, valueDim, chunkLength(chunk, seqLen), 'channel');
  },
  states: (section) =>
    recurrenceStates({ width: section.convWidth, channels: channels(section) }, [
      section.numHeads,
      section.keyDim,
      section.valueDim,
    ]),
  mix: (scope, section, state) => {
    const { x, param, inputMatrix } = scope;
    const { numHeads: H, keyDim: K, convWidth, normEps } = section;
    const mixed = shortConv(scope, linear(x, inputMatrix('wqkv')), { width: convWidth, bias: false }, state);
    const qkv = split(mixed, 2, widths(section)) as [Value, Value, Value];
    const step = stepSize(lowRank(scope, 'wdecaydown', 'wdecayup'), param('dtbias'));
    const decay = stepDecay(reshape(param('alog'), [H, 1]), toHeads(step, K));
    const write = linear(x, inputMatrix('wbeta'));
    const out = unitDelta(state, qkv, { decay, write }, section);
    const normed = joinHeads(rmsNorm(out, param('norm.weight'), normEps));
    return linear(mul(normed, sigmoid(lowRank(scope, 'wgatedown', 'wgateup'))), param('wo'));
  },
});
