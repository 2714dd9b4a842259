/**
 * Mamba-2 (Dao and Gu 2024; state-spaces/mamba `mamba_ssm/modules/mamba2.py`): a linear recurrence with queries C, keys
 * B and values dt x, whose log decay is dt A, after a short convolution.
 *
 * Letters: I = numHeads * headDim inner width, N stateSize, G numGroups, P headDim.
 */
import { z } from 'zod';
import { at, ConfigError, realNumber } from '../../core/index.js';
import {
  add,
  constantFrom,
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
} from '../../graph/index.js';
import { defineMixer, type MixerModel, type RecurrentScope, type Resolved } from './definition.js';
import {
  checkMultiple,
  chunk,
  chunkLength,
  count,
  joinHeads,
  linearFlops,
  normEps,
  recur,
  recurrenceStates,
  shortConv,
  silu,
  stepDecay,
  stepSize,
  toHeads,
} from './parts.js';
import { decayRateInit, ONES, stepBiasInit, ZEROS } from './spec.js';

/** The section `model.mamba2`. */
const schema = z.strictObject({
  expand: realNumber().positive().optional().describe('inner width over hiddenSize, for numHeads (default: 2)'),
  numHeads: count.optional().describe('heads (default: expand * hiddenSize / headDim)'),
  headDim: count.default(64).describe('width of one head'),
  stateSize: count.default(128).describe('state of one channel (N)'),
  numGroups: count.default(1).describe('groups of heads that share B and C; divides numHeads'),
  convWidth: count.default(4).describe('tokens under the causal convolution of x, B and C, its own included'),
  convBias: z.boolean().default(true).describe('bias of the convolution'),
  bias: z.boolean().default(false).describe('biases of the input and output projections'),
  norm: z
    .enum(['gate-first', 'norm-first', 'none'])
    .default('gate-first')
    .describe('RMSNorm of the gated output, RMSNorm and then the gate, or the gate alone'),
  normGroups: count
    .optional()
    .describe(
      'groups of channels that the norm takes its statistics over; divides the inner width (default: numGroups)',
    ),
  inputScales: z
    .array(realNumber())
    .length(5)
    .optional()
    .describe('factors on the projected gate, x, B, C and time step, in this order (default: 1)'),
  dtMin: realNumber().min(0).default(0).describe('time steps are at least this'),
  dtMax: realNumber().positive().nullable().default(null).describe('time steps are at most this; null for no limit'),
  normEps: normEps('1e-5'),
  chunk,
});

/** The resolved section `model.mamba2`. */
export type Mamba2Config = Resolved<typeof schema, 'numHeads' | 'normGroups' | 'normEps', 'expand'>;

const inner = ({ numHeads, headDim }: Mamba2Config) => numHeads * headDim;

/** Widths of x, B and C, which go through the convolution. */
const convolved = (section: Mamba2Config) => {
  const states = section.numGroups * section.stateSize;
  return [inner(section), states, states] as const;
};

const channels = (section: Mamba2Config) => convolved(section).reduce((a, b) => a + b, 0);

/**
 * The number of heads, from whichever of `numHeads` and `expand` is given. Throws `ConfigError` where they disagree.
 */
function mamba2Heads(
  { numHeads, expand, headDim }: { numHeads?: number | undefined; expand?: number | undefined; headDim: number },
  { hiddenSize }: MixerModel,
  where: string,
): number {
  const inner = (expand ?? 2) * hiddenSize;
  if (numHeads !== undefined && (expand === undefined || inner === numHeads * headDim)) return numHeads;
  if (numHeads !== undefined) {
    throw new ConfigError(
      `${where}: expand ${expand} makes the inner width ${inner}, but ${numHeads} heads of ${headDim} make ` +
        `${numHeads * headDim}; give only one of expand and numHeads`,
      { details: { expand, numHeads, headDim } },
    );
  }
  if (Number.isInteger(inner / headDim)) return inner / headDim;
  throw new ConfigError(
    `${where}: the inner width ${inner} (expand ${expand ?? 2} times hiddenSize ${hiddenSize}) is not a multiple of ` +
      `headDim ${headDim}; change headDim or expand, or give numHeads`,
    { details: { expand, headDim } },
  );
}

/** The projections `[B,T,columns]` times the factors of their parts. */
function scaledInputs(projected: Value, section: Mamba2Config): Value {
  const { inputScales, numHeads } = section;
  if (inputScales === undefined) return projected;
  const sizes = [inner(section), ...convolved(section), numHeads];
  const factors = sizes.flatMap((size, i) => new Array<number>(size).fill(at(inputScales, i)));
  return mul(projected, constantFrom(projected.dtype, [factors.length], factors));
}

/** Norm and gate of the output y `[B,T,I]`. */
function gateAndNorm(
  { param }: RecurrentScope,
  { norm, normGroups, normEps }: Mamba2Config,
  y: Value,
  z: Value,
): Value {
  if (norm === 'none') return swiglu(z, y);
  const weight = param('norm.weight');
  const normalized = (v: Value): Value => {
    if (normGroups === 1) return rmsNorm(v, weight, normEps);
    const groups = toHeads(v, at(v.shape, 2) / normGroups);
    return mul(reshape(rmsNorm(groups, null, normEps), v.shape), weight);
  };
  return norm === 'gate-first' ? normalized(swiglu(z, y)) : mul(silu(z), normalized(y));
}

/** Mamba-2: state-space duality. */
export const mamba2Mixer = defineMixer({
  summary: 'Mamba-2: state-space duality',
  schema,
  grows: ['numHeads'],
  resolve: ({ expand, ...section }, model, where): Mamba2Config => {
    const numHeads = mamba2Heads({ ...section, expand }, model, where);
    const { headDim, numGroups } = section;
    const normGroups = section.normGroups ?? numGroups;
    checkMultiple(where, ['numHeads', numHeads], ['numGroups', numGroups]);
    checkMultiple(where, ['numHeads * headDim', numHeads * headDim], ['normGroups', normGroups]);
    if (section.dtMax !== null && section.dtMax < section.dtMin) {
      throw new ConfigError(`${where}: dtMax ${section.dtMax} is below dtMin ${section.dtMin}`);
    }
    return { ...section, numHeads, normGroups, normEps: section.normEps ?? 1e-5 };
  },
  params: (make, section, { hiddenSize: d }) => {
    const { numHeads: H, convWidth, convBias, bias, norm } = section;
    const I = inner(section);
    const all = channels(section);
    const columns = [I, ...convolved(section), H];
    return [
      make.matrix('win', d, columns),
      ...(bias ? [make.vector('in.bias', I + all + H, ZEROS)] : []),
      ...make.conv('conv', all, convWidth, convBias),
      make.vector('dtbias', H, stepBiasInit()),
      make.vector('alog', H, decayRateInit(1, 16)),
      make.vector('skip', H, ONES),
      ...(norm === 'none' ? [] : [make.vector('norm.weight', I, ONES)]),
      make.output('wout', I),
      ...(bias ? [make.vector('out.bias', d, ZEROS)] : []),
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
  mix: (scope, section, state) => {
    const { x: u, param, inputMatrix } = scope;
    const { numHeads: H, headDim: P, stateSize: N, convWidth, convBias, bias, dtMin, dtMax, chunk } = section;
    const projected = linear(u, inputMatrix('win'));
    const zxbcdt = bias ? add(projected, param('in.bias')) : projected;
    const parts = split(scaledInputs(zxbcdt, section), 2, [inner(section), channels(section), H]);
    const [z, xbc, rate] = parts as [Value, Value, Value];
    const mixed = shortConv(scope, xbc, { width: convWidth, bias: convBias }, state);
    const [x, B, C] = split(mixed, 2, convolved(section)) as [Value, Value, Value];
    const step = stepSize(rate, param('dtbias'));
    const floored = dtMin > 0 ? max(step, dtMin) : step;
    const dt = dtMax === null ? floored : min(floored, dtMax);
    const heads = toHeads(x, P);
    const column = (v: Value): Value => reshape(v, [...v.shape, 1]);
    const written = state.maskPadding(mul(heads, column(dt)));
    const read = recur(state, (options) =>
      linearRecurrence(toHeads(C, N), toHeads(B, N), written, stepDecay(param('alog'), dt), {
        ...options,
        scale: 1,
        chunk,
      }),
    );
    const y = joinHeads(add(read, mul(heads, column(param('skip')))));
    const out = linear(gateAndNorm(scope, section, y, z), param('wout'));
    return bias ? add(out, param('out.bias')) : out;
  },
});
