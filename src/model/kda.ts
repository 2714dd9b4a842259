/**
 * Kimi Delta Attention (Kimi Team 2025; flash-linear-attention `fla/layers/kda.py`): the gated delta rule with a decay of its own
 * for every key channel.
 */
import { linear, mul, reshape, rmsNorm, sigmoid, split, type Value } from '../graph/index.js';
import type { KdaConfig } from './recurrent-config.js';
import {
  chunkLength,
  deltaFlops,
  joinHeads,
  lowRank,
  recurrenceStates,
  recurrentMixer,
  shortConv,
  stepDecay,
  stepSize,
  toHeads,
  unitDelta,
} from './recurrent.js';
import { convInit, decayRateInit, matrixInit, NO_DECAY, ONES, stepBiasInit } from './spec.js';

/** Widths of queries, keys and values over all heads. */
const widths = ({ numHeads: H, keyDim, valueDim }: KdaConfig) => [H * keyDim, H * keyDim, H * valueDim] as const;

const channels = (section: KdaConfig) => widths(section).reduce((a, b) => a + b, 0);

export const kdaMixer = recurrentMixer('kda', {
  params: (config, section, spec) => {
    const { hiddenSize: d } = config;
    const { numHeads: H, keyDim: K, valueDim: V, convWidth, rank } = section;
    const all = channels(section);
    const matrix = (name: string, fanIn: number, fanOut: number, residual = false) =>
      spec(name, [fanIn, fanOut], matrixInit(config, fanIn, residual));
    return [
      matrix('wqkv', d, all),
      ...(convWidth > 0 ? [spec('conv.weight', [all, convWidth], convInit(config, convWidth), NO_DECAY)] : []),
      matrix('wdecaydown', d, rank),
      matrix('wdecayup', rank, H * K),
      spec('dtbias', [H * K], stepBiasInit(), NO_DECAY),
      spec('alog', [H], decayRateInit(1, 16), NO_DECAY),
      matrix('wbeta', d, H),
      spec('norm.weight', [V], ONES),
      matrix('wgatedown', d, rank),
      matrix('wgateup', rank, H * V),
      matrix('wo', H * V, d, true),
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
  mix: (scope, section, memory) => {
    const { x, param, inputMatrix } = scope;
    const { numHeads: H, keyDim: K, convWidth, normEps } = section;
    const mixed = shortConv(scope, linear(x, inputMatrix('kda.wqkv')), 'kda', convWidth, false, memory);
    const qkv = split(mixed, 2, widths(section)) as [Value, Value, Value];
    const step = stepSize(lowRank(scope, 'kda.wdecaydown', 'kda.wdecayup'), param('kda.dtbias'));
    const decay = stepDecay(reshape(param('kda.alog'), [H, 1]), toHeads(step, K));
    const write = linear(x, inputMatrix('kda.wbeta'));
    const out = unitDelta(memory, qkv, { decay, write }, section);
    const normed = joinHeads(rmsNorm(out, param('kda.norm.weight'), normEps));
    return linear(mul(normed, sigmoid(lowRank(scope, 'kda.wgatedown', 'kda.wgateup'))), param('kda.wo'));
  },
});
