/**
 * Mamba-2 (Dao and Gu 2024; state-spaces/mamba `mamba_ssm/modules/mamba2.py`): a linear recurrence with queries C, keys B and
 * values dt x, whose log decay is dt A, after a short convolution.
 *
 * Letters: I = numHeads * headDim inner width, N stateSize, G numGroups, P headDim.
 */
import {
  add,
  linear,
  linearRecurrence,
  max,
  min,
  mul,
  reshape,
  rmsNorm,
  split,
  swiglu,
  type Value,
} from '../graph/index.js';
import type { MixerScope } from './mixer.js';
import type { Mamba2Config } from './recurrent-config.js';
import {
  chunkLength,
  joinHeads,
  linearFlops,
  recur,
  recurrenceStates,
  recurrentMixer,
  shortConv,
  silu,
  stepDecay,
  stepSize,
  toHeads,
} from './recurrent.js';
import { convBiasInit, convInit, decayRateInit, matrixInit, NO_DECAY, ONES, stepBiasInit, ZEROS } from './spec.js';

const inner = ({ numHeads, headDim }: Mamba2Config) => numHeads * headDim;

/** Widths of x, B and C, which go through the convolution. */
const convolved = (section: Mamba2Config) => {
  const states = section.numGroups * section.stateSize;
  return [inner(section), states, states] as const;
};

const channels = (section: Mamba2Config) => convolved(section).reduce((a, b) => a + b, 0);

/** Norm and gate of the output y `[B,T,I]`. */
function gateAndNorm({ param }: MixerScope, { norm, normGroups, normEps }: Mamba2Config, y: Value, z: Value): Value {
  if (norm === 'none') return swiglu(z, y);
  const weight = param('mamba2.norm.weight');
  const normalised = (v: Value): Value => {
    if (normGroups === 1) return rmsNorm(v, weight, normEps);
    const groups = toHeads(v, (v.shape[2] as number) / normGroups);
    return mul(reshape(rmsNorm(groups, null, normEps), v.shape), weight);
  };
  return norm === 'gate-first' ? normalised(swiglu(z, y)) : mul(silu(z), normalised(y));
}

export const mamba2Mixer = recurrentMixer('mamba2', {
  params: (config, section, spec) => {
    const { hiddenSize: d } = config;
    const { numHeads: H, convWidth, convBias, bias, norm } = section;
    const I = inner(section);
    const all = channels(section);
    const columns = I + all + H;
    return [
      spec('win', [d, columns], matrixInit(config, d, false)),
      ...(bias ? [spec('in.bias', [columns], ZEROS)] : []),
      spec('conv.weight', [all, convWidth], convInit(config, convWidth), NO_DECAY),
      ...(convBias ? [spec('conv.bias', [all], convBiasInit(config, convWidth), NO_DECAY)] : []),
      spec('dtbias', [H], stepBiasInit(), NO_DECAY),
      spec('alog', [H], decayRateInit(1, 16), NO_DECAY),
      spec('skip', [H], ONES, NO_DECAY),
      ...(norm === 'none' ? [] : [spec('norm.weight', [I], ONES)]),
      spec('wout', [I, d], matrixInit(config, I, true)),
      ...(bias ? [spec('out.bias', [d], ZEROS)] : []),
    ];
  },
  sequenceFlops: (section, seqLen) => {
    const { numHeads: H, numGroups: G, headDim: P, stateSize: N, chunk } = section;
    const C = chunkLength(chunk, seqLen);
    // C B^T is the same for all heads of a group.
    return linearFlops(H, N, P, C) - 2 * C * N * (H - G);
  },
  states: (section) =>
    recurrenceStates({ width: section.convWidth, channels: channels(section) }, [
      section.numHeads,
      section.stateSize,
      section.headDim,
    ]),
  mix: (scope, section, memory) => {
    const { x: u, param, inputMatrix } = scope;
    const { numHeads: H, headDim: P, stateSize: N, convWidth, convBias, bias, dtMin, dtMax, chunk } = section;
    const projected = linear(u, inputMatrix('mamba2.win'));
    const zxbcdt = bias ? add(projected, param('mamba2.in.bias')) : projected;
    const [z, xbc, rate] = split(zxbcdt, 2, [inner(section), channels(section), H]) as [Value, Value, Value];
    const mixed = shortConv(scope, xbc, 'mamba2', convWidth, convBias, memory);
    const [x, B, C] = split(mixed, 2, convolved(section)) as [Value, Value, Value];
    const step = stepSize(rate, param('mamba2.dtbias'));
    const floored = dtMin > 0 ? max(step, dtMin) : step;
    const dt = dtMax === null ? floored : min(floored, dtMax);
    const heads = toHeads(x, P);
    const column = (v: Value): Value => reshape(v, [...v.shape, 1]);
    const written = memory.tokensOnly(mul(heads, column(dt)));
    const read = recur(memory, (options) =>
      linearRecurrence(toHeads(C, N), toHeads(B, N), written, stepDecay(param('mamba2.alog'), dt), {
        ...options,
        scale: 1,
        chunk,
      }),
    );
    const y = joinHeads(add(read, mul(heads, column(param('mamba2.skip')))));
    const out = linear(gateAndNorm(scope, section, y, z), param('mamba2.wout'));
    return bias ? add(out, param('mamba2.out.bias')) : out;
  },
});
