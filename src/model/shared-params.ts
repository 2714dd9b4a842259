/** Parameters of shared blocks, and what each layer that uses one has of its own: adapters, and a matrix behind it. */
import { invariant } from '../core/index.js';
import { attentionSpecs } from './attention.js';
import type { ModelConfig } from './config.js';
import { ZEROS, type ParamPart, type ParamRole, type ParamSpec } from './mixers/spec.js';
import { matrixInit } from './param-inits.js';
import { mlpSpecs, normSpecs } from './part-specs.js';
import { sharedUse } from './plan.js';

/** The width of what a shared block reads: the residual stream, and the embedding beside it. */
const sharedWidth = ({ hiddenSize }: Pick<ModelConfig, 'hiddenSize'>): number => 2 * hiddenSize;

/** The shared block that a layer uses, counted from 0; null if it uses none. */
export function sharedBlockOf({ layers, shared }: Pick<ModelConfig, 'layers' | 'shared'>, layer: number) {
  const use = sharedUse(layers, layer);
  return use === null || shared === null ? null : use % shared.blocks;
}

/** What the names of a shared block's parameters begin with. */
export const sharedPrefix = (block: number): string => `shared.${block}.`;

/** The parameters of all shared blocks, in order: norm, attention, norm, MLP. */
export function sharedSpecs(config: ModelConfig): ParamSpec[] {
  return Array.from({ length: config.shared?.blocks ?? 0 }, (_, block) => {
    const place = { prefix: sharedPrefix(block), layer: null, block };
    return [
      ...normSpecs(config, place, 'norm1', sharedWidth(config)),
      ...attentionSpecs(config, { mixer: 'attention', groups: [] }, { ...place, width: sharedWidth(config) }),
      ...normSpecs(config, place, 'norm2'),
      ...mlpSpecs(config, place),
    ];
  }).flat();
}

/** The adapters of a use: what they read, and the widths of what they are added to, by the name of the projection. */
function adapters(config: ModelConfig) {
  const { shared, headDim, numHeads, numKvHeads, mlpGate, hiddenSize, intermediateSize: f } = config;
  const of = (part: ParamPart, rank: number | null, input: number, outputs: readonly (readonly [string, number])[]) =>
    rank === null ? [] : outputs.map(([name, output]) => ({ part, rank, input, name, output }));
  return [
    ...of('mixer', shared?.attentionRank ?? null, sharedWidth(config), [
      ['q', numHeads * headDim],
      ['k', numKvHeads * headDim],
      ['v', numKvHeads * headDim],
    ]),
    ...of('mlp', shared?.mlpRank ?? null, hiddenSize, [['mlp', (mlpGate ? 2 : 1) * f]]),
  ];
}

/**
 * What a layer has of its own of the shared block that it uses. Adapters start as nothing (LoRA, Hu et al. 2021): the
 * second of their two matrices is 0.
 */
export function useSpecs(config: ModelConfig, layer: number): ParamSpec[] {
  const { hiddenSize: d } = config;
  invariant(config.shared, 'a model whose layers use shared blocks has no section shared');
  const spec = (
    name: string,
    part: ParamPart,
    role: ParamRole,
    shape: number[],
    init: ParamSpec['init'],
  ): ParamSpec => ({
    ...{ name: `layers.${layer}.shared.${name}`, shape, init, part, role, layer },
  });
  return [
    ...adapters(config).flatMap(({ name, part, rank, input, output }) => [
      spec(`w${name}down`, part, 'in', [input, rank], matrixInit(config, input, false)),
      spec(`w${name}up`, part, 'in', [rank, output], ZEROS),
    ]),
    spec('wout', 'mixer', 'in', [d, d], matrixInit(config, d, false)),
  ];
}
