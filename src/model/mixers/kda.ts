/**
 * Kimi Delta Attention (Kimi Team 2025; flash-linear-attention `fla/layers/kda.py`): the gated delta rule with a decay
 * of its own for every key channel.
 */
import { z } from 'zod';
import { realNumber } from '../../core/index.js';
import { add, exp, linear, mul, reshape, rmsNorm, sigmoid, split, type Value } from '../../graph/index.js';
import { defineMixer, type ParamMaker, type Resolved } from './definition.js';
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
import { decayRateInit, ONES, stepBiasInit, type ParamSpec } from './spec.js';

/** The section `model.kda`. */
const schema = z.strictObject({
  numHeads,
  keyDim: count.optional().describe('width of a query and key head (default: headDim of the model)'),
  valueDim: count.optional().describe('width of a value head (default: keyDim)'),
  convWidth,
  allowNegEigval,
  rank: count
    .nullable()
    .optional()
    .describe(
      'inner width of the projections of the decays and of the output gate; null for one matrix each (default: valueDim)',
    ),
  lowerBound: realNumber()
    .negative()
    .nullable()
    .default(null)
    .describe('log decays are this times a sigmoid, and so never below it; null for log decays without a bound'),
  normEps: normEps('rmsNormEps'),
  chunk,
});

/** The resolved section `model.kda`. */
export type KdaConfig = Resolved<typeof schema, 'numHeads' | 'keyDim' | 'valueDim' | 'normEps'> & {
  readonly rank: number | null;
};

/** Widths of queries, keys and values over all heads. */
const widths = ({ numHeads: H, keyDim, valueDim }: KdaConfig) => [H * keyDim, H * keyDim, H * valueDim] as const;

const channels = (section: KdaConfig) => widths(section).reduce((a, b) => a + b, 0);

/** A projection through `rank` channels, or, where that is null, one matrix. */
const projection = (make: ParamMaker, name: string, input: number, rank: number | null, output: number): ParamSpec[] =>
  rank === null
    ? [make.matrix(name, input, output)]
    : [make.matrix(`${name}down`, input, rank), make.matrix(`${name}up`, rank, output)];

/** Kimi Delta Attention: delta rule with a decay per key channel and token. */
export const kdaMixer = defineMixer({
  summary: 'Kimi Delta Attention: delta rule with a decay per key channel and token',
  schema,
  grows: ['numHeads'],
  resolve: (section, model): KdaConfig => {
    const keyDim = section.keyDim ?? model.headDim;
    const valueDim = section.valueDim ?? keyDim;
    return {
      ...section,
      numHeads: section.numHeads ?? model.numHeads,
      keyDim,
      valueDim,
      rank: section.rank === undefined ? valueDim : section.rank,
      normEps: section.normEps ?? model.rmsNormEps,
    };
  },
  withHeads: (section, numHeads) => ({ ...section, numHeads }),
  params: (make, section, { hiddenSize: d }) => {
    const { numHeads: H, keyDim: K, valueDim: V, convWidth, rank } = section;
    const all = channels(section);
    return [
      make.matrix('wqkv', d, widths(section)),
      ...(convWidth > 0 ? make.conv('conv', all, convWidth, false) : []),
      ...projection(make, 'wdecay', d, rank, H * K),
      make.vector('dtbias', H * K, stepBiasInit()),
      make.vector('alog', H, decayRateInit(1, 16)),
      make.matrix('wbeta', d, H),
      make.vector('norm.weight', V, ONES),
      ...projection(make, 'wgate', d, rank, H * V),
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
    const { numHeads: H, keyDim: K, rank, convWidth, normEps, lowerBound } = section;
    const project = (name: string) =>
      rank === null ? linear(x, inputMatrix(name)) : lowRank(scope, `${name}down`, `${name}up`);
    const mixed = shortConv(scope, linear(x, inputMatrix('wqkv')), { width: convWidth, bias: false }, state);
    const qkv = split(mixed, 2, widths(section)) as [Value, Value, Value];
    const rate = project('wdecay');
    const alog = reshape(param('alog'), [H, 1]);
    const decay =
      lowerBound === null
        ? stepDecay(alog, toHeads(stepSize(rate, param('dtbias')), K))
        : mul(sigmoid(mul(exp(alog), toHeads(add(rate, param('dtbias')), K))), lowerBound);
    const write = linear(x, inputMatrix('wbeta'));
    const out = unitDelta(state, qkv, { decay, write }, section);
    const normed = joinHeads(rmsNorm(out, param('norm.weight'), normEps));
    return linear(mul(normed, sigmoid(project('wgate'))), param('wo'));
  },
});
