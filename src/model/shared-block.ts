/**
 * The forward pass of a shared block in the layer that uses it: attention on the residual stream beside the embedding,
 * an MLP on what attention gives, each behind its norm, without residual sums; then the layer's own matrix.
 */
import { got } from '../core/index.js';
import { concat, linear, type Value } from '../graph/index.js';
import type { ModelConfig } from './config.js';
import type { MixerScope } from './mixer.js';
import { buildMlp } from './mlp.js';
import { gainedNorm, normParameters, type GainedNorm } from './norm.js';
import type { AttentionPlan, SharedPlan } from './plan.js';

/** What a use of a shared block is built from; parameters of the block and of its use are `shared.NAME`. */
export interface SharedInputs extends Pick<MixerScope, 'config' | 'layer' | 'positions' | 'segments'> {
  /** The residual stream before the layer, `[B,T,d]`. */
  readonly x: Value;
  /** The residual stream before the first layer, `[B,T,d]`. */
  readonly embedding: Value;
  readonly params: ReadonlyMap<string, Value>;
}

/** No layer takes keys of a shared block, nor does a block take those of a layer. */
const NOTHING: MixerScope['handed'] = new Map();

/** Attention of a shared block as a layer of its own. */
const attentionOf = ({ beside: _beside, shared: _shared, ...plan }: SharedPlan): AttentionPlan => plan;

/** The product of the two matrices of an adapter with what `normed` holds, `[B,T,n]`. */
const adapter = ({ params }: SharedInputs, { x, matrix }: GainedNorm, name: string): Value =>
  linear(linear(x, matrix(got(params, `shared.w${name}down`))), got(params, `shared.w${name}up`));

/** What the block gives to the layer, `[B,T,d]`, and what `mix`, its attention, returned. */
export function buildShared<M extends { readonly out: Value }>(
  inputs: SharedInputs,
  plan: SharedPlan,
  mix: (scope: MixerScope, plan: AttentionPlan) => M,
): { readonly out: Value; readonly mixed: M } {
  const { config, params, x, embedding, layer, positions, segments } = inputs;
  const param = (name: string) => got(params, `shared.${name}`);
  const norm = (value: Value, name: string) =>
    gainedNorm(config, value, normParameters(config, params, `shared.${name}`));
  const read = norm(concat([x, embedding], 2), 'norm1');
  const adapts = adaptsAttention(config);
  const mixed = mix(
    {
      ...{ config, layer, param, positions, segments, handed: NOTHING, x: read.x },
      inputMatrix: (name) => read.matrix(param(name)),
      ...(adapts ? { adapters: () => ['q', 'k', 'v'].map((name) => adapter(inputs, read, name)) } : {}),
    },
    attentionOf(plan),
  );
  const inner = norm(mixed.out, 'norm2');
  const added = config.shared?.mlpRank == null ? null : adapter(inputs, inner, 'mlp');
  const mlp = buildMlp({ config, param, x: inner.x, inputMatrix: (name) => inner.matrix(param(name)), adapter: added });
  return { out: linear(mlp, param('wout')), mixed };
}

const adaptsAttention = ({ shared }: ModelConfig): boolean => (shared?.attentionRank ?? null) !== null;
