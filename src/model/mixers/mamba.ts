/**
 * Mamba (Gu and Dao 2023; state-spaces/mamba `mamba_ssm/modules/mamba_simple.py`): a selective scan, whose decay
 * differs from channel to channel and from state to state, after a short convolution. Falcon Mamba and Jamba norm
 * B, C and the input of the time step.
 *
 * Letters: I innerSize, N stateSize, R rank.
 */
import { z } from 'zod';
import { realNumber } from '../../core/index.js';
import { add, exp, linear, mul, neg, rmsNorm, selectiveScan, split, swiglu, type Value } from '../../graph/index.js';
import { defineMixer, type RecurrentScope, type Resolved } from './definition.js';
import { chunk, count, recur, recurrenceStates, shortConv, stepSize } from './parts.js';
import { ONES, stepBiasInit, ZEROS } from './spec.js';

/** The section `model.mamba`. */
const schema = z.strictObject({
  innerSize: count.optional().describe('channels inside (default: 2 hiddenSize)'),
  stateSize: count.default(16).describe('states of one channel (N)'),
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

/** The inputs of the time step, B and C, each under its norm. */
function selected({ param }: RecurrentScope, section: MambaConfig, mixed: Value): [Value, Value, Value] {
  const sizes = Object.entries(widths(section));
  const parts = split(
    linear(mixed, param('wx')),
    2,
    sizes.map(([, size]) => size),
  );
  return sizes.map(([name], i) => {
    const part = parts[i] as Value;
    if (section.norms === 'none') return part;
    return rmsNorm(part, section.norms === 'weighted' ? param(`${name}.norm.weight`) : null, section.normEps);
  }) as [Value, Value, Value];
}

/** Mamba: a selective scan with a decay per channel and state. */
export const mambaMixer = defineMixer({
  summary: 'Mamba: a selective scan with a decay per channel and state',
  schema,
  resolve: (section, { hiddenSize }): MambaConfig => ({
    ...section,
    innerSize: section.innerSize ?? 2 * hiddenSize,
    rank: section.rank ?? Math.ceil(hiddenSize / 16),
    normEps: section.normEps ?? 1e-6,
  }),
  params: (make, section, { hiddenSize: d }) => {
    const { innerSize: I, stateSize: N, rank, convWidth, convBias, bias, norms } = section;
    return [
      make.matrix('win', d, [I, I]),
      ...(bias ? [make.vector('in.bias', 2 * I, ZEROS)] : []),
      ...make.conv('conv', I, convWidth, convBias),
      make.matrix('wx', I, [rank, N, N]),
      ...(norms === 'weighted'
        ? Object.entries(widths(section)).map(([name, size]) => make.vector(`${name}.norm.weight`, size, ONES))
        : []),
      make.matrix('wdt', rank, I),
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
    const { innerSize: I, convWidth, convBias, bias, chunk } = section;
    const projected = linear(x, inputMatrix('win'));
    const [input, gate] = split(bias ? add(projected, param('in.bias')) : projected, 2, [I, I]) as [Value, Value];
    const mixed = shortConv(scope, input, { width: convWidth, bias: convBias }, state);
    const [rate, write, read] = selected(scope, section, mixed);
    const y = recur(state, (options) =>
      selectiveScan(
        {
          u: state.maskPadding(mixed),
          write,
          read,
          step: stepSize(linear(rate, param('wdt')), param('dtbias')),
          rates: neg(exp(param('alog'))),
        },
        { ...options, chunk },
      ),
    );
    const out = linear(swiglu(gate, add(y, mul(mixed, param('skip')))), param('wout'));
    return bias ? add(out, param('out.bias')) : out;
  },
});
