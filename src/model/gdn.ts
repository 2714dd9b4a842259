/**
 * Gated DeltaNet (Yang et al. 2025; flash-linear-attention `fla/layers/gated_deltanet.py`): the state predicts each value from
 * its key and is corrected by the error, after a decay per head and token.
 */
import { linear, rmsNorm, split, swiglu, type Value } from '../graph/index.js';
import { linearParts } from './linear.js';
import type { GdnConfig } from './recurrent-config.js';
import {
  chunkLength,
  deltaFlops,
  joinHeads,
  recurrenceStates,
  recurrentMixer,
  shortConv,
  stepDecay,
  stepSize,
  unitDelta,
} from './recurrent.js';
import { convInit, decayRateInit, matrixInit, NO_DECAY, ONES, stepBiasInit } from './spec.js';

/** Widths of queries, keys and values over all heads. */
const widths = ({ numHeads, numValueHeads, keyDim, valueDim }: GdnConfig) =>
  [numHeads * keyDim, numHeads * keyDim, numValueHeads * valueDim] as const;

const channels = (section: GdnConfig) => widths(section).reduce((a, b) => a + b, 0);

export const gdnMixer = recurrentMixer('gdn', {
  params: (config, section, spec) => {
    const { hiddenSize: d } = config;
    const { numValueHeads: H, valueDim: V, convWidth, gate } = section;
    const all = channels(section);
    return [
      spec('wqkv', [d, all], matrixInit(config, d, false)),
      ...(convWidth > 0 ? [spec('conv.weight', [all, convWidth], convInit(config, convWidth), NO_DECAY)] : []),
      spec('wab', [d, 2 * H], matrixInit(config, d, false)),
      spec('dtbias', [H], stepBiasInit(), NO_DECAY),
      spec('alog', [H], decayRateInit(0.01, 16), NO_DECAY),
      spec('norm.weight', [V], ONES),
      ...(gate ? [spec('wgate', [d, H * V], matrixInit(config, d, false))] : []),
      spec('wo', [H * V, d], matrixInit(config, H * V, true)),
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
  mix: (scope, section, memory) => {
    const { x, param, inputMatrix, splitProjections } = scope;
    const { numValueHeads: H, convWidth, gate, normEps } = section;
    const mixed = shortConv(scope, linear(x, inputMatrix('gdn.wqkv')), 'gdn', convWidth, false, memory);
    const qkv = split(mixed, 2, widths(section)) as [Value, Value, Value];
    const [rate, write] = linearParts(x, inputMatrix('gdn.wab'), [H, H], splitProjections) as [Value, Value];
    const decay = stepDecay(param('gdn.alog'), stepSize(rate, param('gdn.dtbias')));
    const out = unitDelta(memory, qkv, { decay, write }, section);
    const normed = joinHeads(rmsNorm(out, param('gdn.norm.weight'), normEps));
    return linear(gate ? swiglu(linear(x, inputMatrix('gdn.wgate')), normed) : normed, param('gdn.wo'));
  },
});
