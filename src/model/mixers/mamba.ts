/**
 * Mamba (Gu and Dao 2023; state-spaces/mamba `mamba_ssm/modules/mamba_simple.py`): a selective scan, whose decay
 * differs from channel to channel and from state to state, after a short convolution. Falcon Mamba and Jamba norm
 * B, C and the input of the time step. Zamba's heads are groups of channels with B, C and time steps of their own.
 *
 * Letters: I innerSize, H numHeads, P = I / H, N stateSize, R rank.
 */
import { z } from 'zod';
import { at, ConfigError, realNumber } from '../../core/index.js';
import {
  add,
  concat,
  dot,
  exp,
  linear,
  mul,
  neg,
  reshape,
  rmsNorm,
  selectiveScan,
  sliceAxis,
  split,
  swiglu,
  transpose,
  type Recurrence,
  type SelectiveScanInputs,
  type Value,
} from '../../graph/index.js';
import { defineMixer, type RecurrentScope, type Resolved } from './definition.js';
import {
  checkMultiple,
  chunk,
  count,
  joinHeads,
  recur,
  recurrenceStates,
  shortConv,
  stepSize,
  toHeads,
  type ScanOptions,
} from './parts.js';
import { ONES, stepBiasInit, ZEROS } from './spec.js';

/** The section `model.mamba`. */
const schema = z.strictObject({
  innerSize: count.optional().describe('channels inside (default: 2 hiddenSize)'),
  stateSize: count.default(16).describe('states of one channel (N)'),
  numHeads: count
    .default(1)
    .describe(
      'heads, each with B, C and time steps from its own channels; divides innerSize, and 1 where there are norms',
    ),
  rank: count.optional().describe('width that time steps are projected from (default: hiddenSize / 16, rounded up)'),
  convWidth: count.default(4).describe('tokens under the causal convolution, its own included'),
  convBias: z.boolean().default(true).describe('bias of the convolution'),
  bias: z.boolean().default(false).describe('biases of the input and output projections'),
  norms: z
    .enum(['none', 'plain', 'weighted'])
    .default('none')
    .describe('RMSNorm on B, C and what time steps are projected from, without weights (plain) or with'),
  normEps: realNumber().positive().optional().describe('added to the mean square in these norms (default: 1e-6)'),
  chunk,
});

/** The resolved section `model.mamba`. */
export type MambaConfig = Resolved<typeof schema, 'innerSize' | 'rank' | 'normEps'>;

/** What is projected from the convolved input, by the name of its norm. */
const widths = ({ rank, stateSize }: MambaConfig) => ({ dt: rank, b: stateSize, c: stateSize });

/** A projection of heads x `[B,T,H,n]` by matrices of their own `[H,n,m]`, `[B,T,H,m]`. */
function byHead(x: Value, matrices: Value): Value {
  const own = dot(x, matrices, { lhsBatch: [2], rhsBatch: [0], lhsContract: [3], rhsContract: [1] });
  return transpose(own, [1, 2, 0, 3]);
}

/** The inputs of the time step, B and C, each under its norm; `[B,T,n]`, or of heads `[B,T,H,n]`. */
function selected({ param }: RecurrentScope, section: MambaConfig, mixed: Value): [Value, Value, Value] {
  const sizes = Object.entries(widths(section));
  const { numHeads: H, innerSize: I } = section;
  const projected = H === 1 ? linear(mixed, param('wx')) : byHead(toHeads(mixed, I / H), param('wx'));
  const parts = split(
    projected,
    projected.shape.length - 1,
    sizes.map(([, size]) => size),
  );
  return sizes.map(([name], i) => {
    const part = parts[i] as Value;
    if (section.norms === 'none') return part;
    return rmsNorm(part, section.norms === 'weighted' ? param(`${name}.norm.weight`) : null, section.normEps);
  }) as [Value, Value, Value];
}

/** What a scan meets, its B and C of each head. */
interface Scanned extends Omit<SelectiveScanInputs, 'write' | 'read'> {
  /** `[B,T,N]`, or of heads `[B,T,H,N]`. */
  readonly write: Value;
  readonly read: Value;
}

/** The scan of all channels, or head by head: the channels of a head follow one another. */
function scan(inputs: Scanned, { numHeads: H, innerSize: I, chunk }: MambaConfig, options: ScanOptions): Recurrence {
  if (H === 1) return selectiveScan(inputs, { ...options, chunk });
  const P = I / H;
  const heads = Array.from({ length: H }, (_, h) => {
    const channels = (x: Value, axis: number) => sliceAxis(x, axis, h * P, (h + 1) * P);
    const own = (x: Value) => reshape(sliceAxis(x, 2, h, h + 1), [at(x.shape, 0), at(x.shape, 1), at(x.shape, 3)]);
    return selectiveScan(
      {
        u: channels(inputs.u, 2),
        write: own(inputs.write),
        read: own(inputs.read),
        step: channels(inputs.step, 2),
        rates: channels(inputs.rates, 0),
      },
      { ...options, initialState: options.initialState && channels(options.initialState, 1), chunk },
    );
  });
  return {
    out: concat(
      heads.map(({ out }) => out),
      2,
    ),
    state: concat(
      heads.map(({ state }) => state),
      1,
    ),
  };
}

/** Mamba: a selective scan with a decay per channel and state. */
export const mambaMixer = defineMixer({
  summary: 'Mamba: a selective scan with a decay per channel and state',
  schema,
  grows: ['innerSize', 'rank'],
  resolve: (section, { hiddenSize }, where): MambaConfig => {
    const { numHeads, norms } = section;
    const innerSize = section.innerSize ?? 2 * hiddenSize;
    checkMultiple(where, ['innerSize', innerSize], ['numHeads', numHeads]);
    if (numHeads > 1 && norms !== 'none') {
      throw new ConfigError(`${where}: heads have no norms on B and C; leave norms out, or set numHeads to 1`, {
        details: { numHeads, norms },
      });
    }
    const rank = section.rank ?? Math.ceil(hiddenSize / 16);
    return { ...section, innerSize, rank, normEps: section.normEps ?? 1e-6 };
  },
  params: (make, section, { hiddenSize: d }) => {
    const { innerSize: I, numHeads: H, stateSize: N, rank, convWidth, convBias, bias, norms } = section;
    return [
      make.matrix('win', d, [I, I]),
      ...(bias ? [make.vector('in.bias', 2 * I, ZEROS)] : []),
      ...make.conv('conv', I, convWidth, convBias),
      H === 1 ? make.matrix('wx', I, [rank, N, N]) : make.blocks('wx', H, I / H, rank + 2 * N),
      ...(norms === 'weighted'
        ? Object.entries(widths(section)).map(([name, size]) => make.vector(`${name}.norm.weight`, size, ONES))
        : []),
      H === 1 ? make.matrix('wdt', rank, I) : make.blocks('wdt', H, rank, I / H),
      make.vector('dtbias', I, stepBiasInit()),
      make.rates('alog', I, N),
      make.vector('skip', I, ONES),
      make.output('wout', I),
      ...(bias ? [make.vector('out.bias', d, ZEROS)] : []),
    ];
  },
  // Decaying, writing and reading a state are a multiply-add each, but no matrix product.
  sequenceFlops: () => 0,
  states: ({ innerSize, stateSize, convWidth }) =>
    recurrenceStates({ width: convWidth, channels: innerSize }, [innerSize, stateSize]),
  mix: (scope, section, state) => {
    const { x, param, inputMatrix } = scope;
    const { innerSize: I, numHeads: H, convWidth, convBias, bias } = section;
    const projected = linear(x, inputMatrix('win'));
    const [input, gate] = split(bias ? add(projected, param('in.bias')) : projected, 2, [I, I]) as [Value, Value];
    const mixed = shortConv(scope, input, { width: convWidth, bias: convBias }, state);
    const [rate, write, read] = selected(scope, section, mixed);
    const wdt = param('wdt');
    const step = stepSize(H === 1 ? linear(rate, wdt) : joinHeads(byHead(rate, wdt)), param('dtbias'));
    const y = recur(state, (options) => {
      const inputs = { u: state.maskPadding(mixed), write, read, step, rates: neg(exp(param('alog'))) };
      return scan(inputs, section, options);
    });
    const out = linear(swiglu(gate, add(y, mul(mixed, param('skip')))), param('wout'));
    return bias ? add(out, param('out.bias')) : out;
  },
});
