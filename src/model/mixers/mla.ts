/**
 * Multi-head latent attention (DeepSeek-V2, Liu et al. 2024): keys and values of all heads are projections of one
 * normalized latent a token, beside a rotary key that all heads share; generation keeps the latent and that key alone.
 *
 * Shape letters: B sequences, T tokens, d hiddenSize, H heads, C latentRank, N nopeDim, R ropeDim, V valueDim. A query
 * or key of a head has N channels of its own and then R rotary ones.
 */
import { z } from 'zod';
import { ConfigError, dims } from '../../core/index.js';
import { broadcast, concat, dot, linear, reshape, rmsNorm, transpose, type Value } from '../../graph/index.js';
import type { MixerModel, ParamMaker, RecurrentScope, Resolved } from './definition.js';
import { affine, twoParts } from './linear.js';
import { count, normEps, toHeads } from './parts.js';
import { ONES, ZEROS, type ParamSpec } from './spec.js';

/** The section `model.mla`. */
const schema = z.strictObject({
  queryRank: count
    .nullable()
    .default(null)
    .describe('width of the normalized latent that queries are projected from; null projects them from the input'),
  latentRank: count
    .optional()
    .describe('width of the latent that keys and values are projected from (default: 4 times headDim of the model)'),
  nopeDim: count
    .optional()
    .describe('channels of a query and key head without positions (default: headDim of the model)'),
  ropeDim: count
    .optional()
    .describe(
      'channels of a query and key head that turn; those of keys are shared by all heads (default: half of nopeDim)',
    ),
  valueDim: count.optional().describe('width of a value head (default: nopeDim)'),
  normEps: normEps('rmsNormEps'),
});

/** The resolved section `model.mla`. */
export type MlaConfig = Resolved<typeof schema, 'latentRank' | 'nopeDim' | 'ropeDim' | 'valueDim' | 'normEps'>;

/** Channels of a query, and of a key, of one head. */
export const mlaKeyDim = ({ nopeDim, ropeDim }: MlaConfig): number => nopeDim + ropeDim;

/** Channels that generation keeps of a token: the latent, and the rotary key behind it. */
export const mlaKeptDim = ({ latentRank, ropeDim }: MlaConfig): number => latentRank + ropeDim;

/** Which parts of attention a model's latent attention has beside its own. */
export interface MlaParts {
  /** Biases on the projections to latents. */
  readonly latentBias: boolean;
  /** A bias on the output projection. */
  readonly outputBias: boolean;
  /** A learned logit a head that joins the softmax's denominator. */
  readonly sinks: boolean;
  /** A sigmoid gate of the layer's input on the heads' outputs: one a channel, or one a head. */
  readonly outputGate: boolean | 'head';
  /** Whether the gate has a bias, one a head. */
  readonly outputGateBias: boolean;
}

/** What latent attention builds its part of the graph from. */
export type MlaScope = Pick<RecurrentScope, 'x' | 'inputMatrix' | 'param'> & {
  readonly model: Pick<MixerModel, 'numHeads'>;
};

/**
 * What is computed of a layer's input: the queries of all heads, `q` `[B,T,H,N+R]`, not turned, and what is kept of
 * each token: `latent` `[B,T,C]`, normalized, and `shared`, the part of the keys that heads share, `[B,T,R]`, not
 * turned.
 */
function project(
  { model, x, param, inputMatrix }: MlaScope,
  section: MlaConfig,
  parts: MlaParts,
): Readonly<Record<'q' | 'latent' | 'shared', Value>> {
  const { queryRank, latentRank: C, ropeDim: R, normEps } = section;
  const bias = (name: string) => (parts.latentBias ? param(name) : null);
  const [latent, shared] = twoParts(affine(x, inputMatrix('wkvdown'), bias('bkvdown')), C, R);
  const normed = { latent: rmsNorm(latent, param('kvnorm.weight'), normEps), shared };
  const width = mlaKeyDim(section);
  if (queryRank === null) return { q: toHeads(linear(x, inputMatrix('wq')), width), ...normed };
  const down = affine(x, inputMatrix('wqdown'), bias('bqdown'));
  const reduced = rmsNorm(down, param('qnorm.weight'), normEps);
  return { q: reshape(linear(reduced, param('wqup')), [...dims(x, 2), model.numHeads, width]), ...normed };
}

/** Keys `[B,T,H,N+R]` and values `[B,T,H,V]` of all heads, from latents `[B,T,C]` and shared keys `[B,T,R]`, turned. */
function expand(
  { model, param }: Pick<MlaScope, 'model' | 'param'>,
  { nopeDim, ropeDim, valueDim }: MlaConfig,
  latent: Value,
  shared: Value,
): { readonly k: Value; readonly v: Value } {
  const [B, T] = dims(latent, 2);
  const { numHeads: H } = model;
  const own = toHeads(linear(latent, param('wkup')), nopeDim);
  const all = broadcast(reshape(shared, [B, T, 1, ropeDim]), [B, T, H, ropeDim]);
  return { k: concat([own, all], 3), v: toHeads(linear(latent, param('wvup')), valueDim) };
}

/** A matrix of the latents `[C, H*n]` by heads, `[C,H,n]`. */
const byHead = (matrix: Value, H: number): Value => {
  const [C, width] = dims(matrix, 2);
  return reshape(matrix, [C, H, width / H]);
};

/** Queries `[B,T,H,N]` that meet latents in place of keys, `[B,T,H,C]`: the projection of keys goes over to them. */
function absorb({ model, param }: Pick<MlaScope, 'model' | 'param'>, q: Value): Value {
  const product = dot(byHead(param('wkup'), model.numHeads), q, {
    ...{ lhsBatch: [1], rhsBatch: [2], lhsContract: [2], rhsContract: [3] },
  });
  return transpose(product, [2, 3, 0, 1]);
}

/** The outputs `[B,T,H,V]` of heads whose attention has weighed latents, `[B,T,H,C]`. */
function release({ model, param }: Pick<MlaScope, 'model' | 'param'>, out: Value): Value {
  const product = dot(byHead(param('wvup'), model.numHeads), out, {
    ...{ lhsBatch: [1], rhsBatch: [2], lhsContract: [0], rhsContract: [3] },
  });
  return transpose(product, [2, 3, 0, 1]);
}

function params(make: ParamMaker, section: MlaConfig, model: MixerModel, parts: MlaParts): ParamSpec[] {
  const { latentBias, outputBias, sinks, outputGate, outputGateBias } = parts;
  const { queryRank: Q, latentRank: C, nopeDim, ropeDim, valueDim } = section;
  const { hiddenSize: d, numHeads: H } = model;
  const queries = H * mlaKeyDim(section);
  const bias = (condition: boolean, name: string, size: number) => (condition ? [make.vector(name, size, ZEROS)] : []);
  return [
    ...(Q === null
      ? [make.matrix('wq', d, queries)]
      : [
          make.matrix('wqdown', d, Q),
          ...bias(latentBias, 'bqdown', Q),
          make.vector('qnorm.weight', Q, ONES),
          make.matrix('wqup', Q, queries),
        ]),
    make.matrix('wkvdown', d, [C, ropeDim]),
    ...bias(latentBias, 'bkvdown', C + ropeDim),
    make.vector('kvnorm.weight', C, ONES),
    make.matrix('wkup', C, H * nopeDim),
    make.matrix('wvup', C, H * valueDim),
    ...(sinks ? [make.vector('sinks', H, ZEROS)] : []),
    ...(outputGate === false ? [] : [make.matrix('wgate', d, outputGate === 'head' ? H : H * valueDim)]),
    ...bias(outputGate !== false && outputGateBias, 'bgate', H),
    make.output('wo', H * valueDim),
    ...bias(outputBias, 'bo', d),
  ];
}

/** Latent attention as a section of a configuration, its parameters, and the graphs of its projections. */
export const mlaMixer = {
  summary: 'multi-head latent attention: keys and values from one latent a token, which is all that generation keeps',
  schema,
  /** Its widths are those of a head, and of a latent a few heads wide: none follows the width of the model. */
  grows: [],
  /** The section with every default filled in; throws `ConfigError` where its rotary channels are no pairs. */
  resolve: (section: z.output<typeof schema>, model: MixerModel, where: string): MlaConfig => {
    const nopeDim = section.nopeDim ?? model.headDim;
    const ropeDim = section.ropeDim ?? 2 * Math.max(1, Math.round(nopeDim / 4));
    if (ropeDim % 2 !== 0) {
      throw new ConfigError(`${where}: ropeDim ${ropeDim} is odd, but rotary positions turn pairs of channels`, {
        details: { ropeDim },
      });
    }
    return {
      ...section,
      latentRank: section.latentRank ?? 4 * model.headDim,
      nopeDim,
      ropeDim,
      valueDim: section.valueDim ?? nopeDim,
      normEps: section.normEps ?? model.rmsNormEps,
    };
  },
  params,
  project,
  expand,
  absorb,
  release,
};
