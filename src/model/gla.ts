/** Simple GLA: linear attention whose heads forget at rates that they work out for every token (Yang et al. 2024; fla's layer). */
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
} from '../graph/index.js';
import type { GlaConfig } from './recurrent-config.js';
import {
  chunkLength,
  joinHeads,
  linearFlops,
  recur,
  recurrenceStates,
  recurrentMixer,
  shortConv,
  toHeads,
} from './recurrent.js';
import { convInit, matrixInit, NO_DECAY, ONES, ZEROS } from './spec.js';

/** Widths of queries, keys and values over all heads. */
const widths = ({ numHeads, numKvHeads, keyDim, valueDim }: GlaConfig) =>
  [numHeads * keyDim, numKvHeads * keyDim, numKvHeads * valueDim] as const;

const channels = (section: GlaConfig) => widths(section).reduce((a, b) => a + b, 0);

export const glaMixer = recurrentMixer('gla', {
  params: (config, section, spec) => {
    const { hiddenSize: d } = config;
    const { numHeads: H, valueDim: V, convWidth, gate } = section;
    const all = channels(section);
    return [
      spec('wqkv', [d, all], matrixInit(config, d, false)),
      ...(convWidth > 0 ? [spec('conv.weight', [all, convWidth], convInit(config, convWidth), NO_DECAY)] : []),
      spec('wdecay', [d, H], matrixInit(config, d, false)),
      spec('decay.bias', [H], ZEROS),
      spec('norm.weight', [V], ONES),
      ...(gate ? [spec('wgate', [d, H * V], matrixInit(config, d, false))] : []),
      spec('wo', [H * V, d], matrixInit(config, H * V, true)),
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
  mix: (scope, section, memory) => {
    const { x, param, inputMatrix } = scope;
    const { keyDim: K, valueDim: V, convWidth, gate, gateNormalizer, normEps, chunk } = section;
    const mixed = shortConv(scope, linear(x, inputMatrix('gla.wqkv')), 'gla', convWidth, false, memory);
    const [q, k, v] = split(mixed, 2, widths(section)) as [Value, Value, Value];
    // log sigmoid(r) = -softplus(-r)
    const rate = add(linear(x, inputMatrix('gla.wdecay')), param('gla.decay.bias'));
    const decay = div(neg(softplus(neg(rate))), gateNormalizer);
    const out = recur(memory, (options) =>
      linearRecurrence(toHeads(q, K), toHeads(k, K), memory.tokensOnly(toHeads(v, V)), decay, {
        ...options,
        scale: 1 / Math.sqrt(K),
        chunk,
      }),
    );
    const normed = joinHeads(rmsNorm(out, param('gla.norm.weight'), normEps));
    return linear(gate ? swiglu(linear(x, inputMatrix('gla.wgate')), normed) : normed, param('gla.wo'));
  },
});
