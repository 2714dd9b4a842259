/**
 * The parameters of a model: names, shapes, order and initial distributions.
 *
 * Matrices are `[in, out]` and applied as `y = x @ W`. The list is the model: checkpoints, the cost model and the
 * forward graph all follow it.
 */
import { blockOf, withMlpWidth, type ModelConfig } from './config.js';
import { expertsOf } from './experts-config.js';
import { expertSpecs } from './experts.js';
import { mixerOf } from './mixers.js';
import type { LayerPlan } from './plan.js';
import { ONES, ZEROS, type ParamRole, type ParamSpec } from './mixers/spec.js';
import { inputSpecs, layerInputSpecs } from './layer-inputs.js';
import { matrixInit } from './param-inits.js';
import { layerPlace, mlpSpecs, normSpecs, OUTSIDE } from './part-specs.js';
import { sharedSpecs } from './shared-params.js';
import { mlpConvParams } from './short-conv.js';

/**
 * Every parameter, in the order embedding, shared blocks, layers (norm, mixer, norm, MLP), final norm, the head's own
 * layer, head.
 */
export function parameterSpecs(config: ModelConfig): ParamSpec[] {
  const { vocabSize, hiddenSize: d, tieEmbeddings } = config;
  // Rows of the embedding are vectors of the residual stream (and, tied, columns of the head), so their fan-in is the
  // width.
  const embedding: ParamSpec = {
    name: 'embed.weight',
    shape: [vocabSize + config.extraTokens, d],
    init: matrixInit(config, d, false),
    part: 'embedding',
    role: 'embedding',
    layer: null,
  };
  const head: ParamSpec = {
    name: 'head.weight',
    shape: [d, vocabSize],
    init: matrixInit(config, d, false),
    part: 'head',
    role: 'in',
    layer: null,
  };
  const layers = config.layers.flatMap((plan, layer) => layerSpecs(config, plan, layer));
  return [
    embedding,
    ...(config.learnedPositions === null
      ? []
      : [{ ...embedding, name: 'embed.positions', shape: [config.learnedPositions, d] }]),
    ...(config.embeddingNorm ? normSpecs(config, OUTSIDE, 'embed.norm') : []),
    ...affineSpecs(config, null, 'embed.affine'),
    ...inputSpecs(config),
    ...sharedSpecs(config),
    ...layers,
    ...normSpecs(config, OUTSIDE, 'norm'),
    ...headLayerSpecs(config),
    ...(tieEmbeddings ? [] : [head]),
    ...(config.headBias
      ? [{ ...head, name: 'head.bias', shape: [vocabSize], init: ZEROS, role: 'vector' as const }]
      : []),
  ];
}

/** The dense layer and the norm in front of the output head, where there are such. */
function headLayerSpecs(config: ModelConfig): ParamSpec[] {
  const { headLayer, hiddenSize: d } = config;
  if (headLayer === null) return [];
  const weight: ParamSpec = {
    ...{ name: 'head.dense.weight', shape: [d, d], init: matrixInit(config, d, false) },
    ...{ part: 'head', role: 'in', layer: null },
  };
  return [
    weight,
    ...(headLayer.bias
      ? [{ ...weight, name: 'head.dense.bias', shape: [d], init: ZEROS, role: 'vector' as const }]
      : []),
    ...normSpecs(config, OUTSIDE, 'head.norm'),
  ];
}

/** The factor and the shift of a term of a sum, where sums have them. */
function affineSpecs(config: ModelConfig, layer: number | null, ...terms: readonly string[]): ParamSpec[] {
  if (!config.residualAffine) return [];
  const spec = (name: string, init: ParamSpec['init']): ParamSpec => ({
    name: layer === null ? name : `layers.${layer}.${name}`,
    ...{ shape: [config.hiddenSize], init, part: 'norm', role: 'vector', layer },
  });
  return terms.flatMap((term) => [spec(`${term}.weight`, ONES), spec(`${term}.bias`, ZEROS)]);
}

function layerSpecs(config: ModelConfig, plan: LayerPlan, layer: number): ParamSpec[] {
  const { norm: placement, parallel, mlp, mixerNorm } = blockOf(config, layer);
  const norm = (name: string) => normSpecs(config, layerPlace(layer), name);
  const [before, after] = [placement !== 'post', placement === 'post' || placement === 'both'];
  const mixes = plan.mixer !== 'none';
  return [
    ...(mixes && before && mixerNorm !== false ? norm('norm1') : []),
    ...mixerOf(plan).params(config, plan, layer),
    ...(mixes && after ? norm('postnorm1') : []),
    ...(mixes ? affineSpecs(config, layer, 'skip1', 'add1') : []),
    ...(!mlp
      ? []
      : [
          ...(before && !parallel ? norm('norm2') : []),
          ...layerMlpSpecs(config, layer),
          ...mlpFactorSpecs(config, layer),
          ...mlpConvParams(config, layer),
          ...(after ? norm('postnorm2') : []),
          ...affineSpecs(config, layer, 'skip2', 'add2'),
        ]),
    ...layerInputSpecs(config, layer),
  ];
}

/** The factor on what a layer's MLP or its experts give, where there is one. */
function mlpFactorSpecs({ mlpFactor }: ModelConfig, layer: number): ParamSpec[] {
  if (!mlpFactor) return [];
  return [{ name: `layers.${layer}.mlp.factor`, shape: [1], init: ONES, part: 'mlp', role: 'vector', layer }];
}

/** The parameters of a layer's MLP, or of the experts in its place or beside it. */
function layerMlpSpecs(config: ModelConfig, layer: number): ParamSpec[] {
  const experts = expertsOf(config, layer);
  if (experts === null) return mlpSpecs(withMlpWidth(config, layer), layerPlace(layer));
  const own = expertSpecs(
    config,
    experts,
    layer,
    (name: string, role: ParamRole, shape: number[], init: ParamSpec['init'], share?: number): ParamSpec => ({
      ...{ name: `layers.${layer}.mlp.${name}`, shape, init, part: 'mlp', role, layer },
      ...(share === undefined ? {} : { share }),
    }),
  );
  if (!experts.besideMlp) return own;
  const norm = (name: string) => normSpecs(config, layerPlace(layer), name);
  const dense = mlpSpecs(withMlpWidth(config, layer), layerPlace(layer));
  return [...dense, ...norm('postmlp'), ...norm('norm3'), ...own, ...norm('postnorm3')];
}
