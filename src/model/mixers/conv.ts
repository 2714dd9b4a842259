/**
 * Gated short convolution (LFM2, Liquid AI 2025; Transformers `Lfm2ShortConv`): a causal depthwise convolution over a
 * few tokens, its input and its output multiplied by projections of the layer input. It remembers `width - 1` tokens
 * and nothing else.
 */
import { z } from 'zod';
import { add, linear, mul, split, type Value } from '../../graph/index.js';
import { defineMixer } from './definition.js';
import { convStates, count, depthwiseConv } from './parts.js';
import { ZEROS } from './spec.js';

/** The section `model.conv`. */
const schema = z.strictObject({
  width: count.default(3).describe('tokens under the convolution, its own included'),
  bias: z.boolean().default(false).describe('biases of the projections and of the convolution'),
});

/** The resolved section `model.conv`. */
export type ConvConfig = Readonly<z.output<typeof schema>>;

/** Gated causal depthwise convolution over a few tokens. */
export const convMixer = defineMixer({
  summary: 'gated short convolution: causal and depthwise, over a few tokens, as in LFM2',
  schema,
  grows: [],
  resolve: (section): ConvConfig => section,
  params: (make, { width, bias }, { hiddenSize: d }) => [
    make.matrix('win', d, [d, d, d]),
    ...(bias ? [make.vector('in.bias', 3 * d, ZEROS)] : []),
    ...make.conv('conv', d, width, bias),
    make.output('wout', d),
    ...(bias ? [make.vector('out.bias', d, ZEROS)] : []),
  ],
  // The convolution and the gates are elementwise work, which costs leave out.
  sequenceFlops: () => 0,
  states: ({ width }, { hiddenSize }) => convStates({ width, channels: hiddenSize }),
  mix: (scope, { width, bias }, state) => {
    const { x, param, inputMatrix, model } = scope;
    const { hiddenSize: d } = model;
    const projected = linear(x, inputMatrix('win'));
    const [before, after, value] = split(bias ? add(projected, param('in.bias')) : projected, 2, [d, d, d]) as [
      Value,
      Value,
      Value,
    ];
    const mixed = depthwiseConv(scope, mul(before, value), { width, bias }, state);
    const out = linear(mul(after, mixed), param('wout'));
    return bias ? add(out, param('out.bias')) : out;
  },
});
