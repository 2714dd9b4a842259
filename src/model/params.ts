/**
 * The parameters of a model: names, shapes, order and initial distributions.
 *
 * Matrices are `[in, out]` and applied as `y = x @ W`. The list is the model: checkpoints, the cost model and the forward
 * graph all follow it.
 */
import { blockOf, type ModelConfig } from './config.js';
import { mixerOf } from './mixers.js';
import type { LayerPlan } from './plan.js';
import { matrixInit, normInit, ZEROS, type ParamSpec } from './spec.js';

/** Every parameter, in the order embedding, layers (norm, mixer, norm, MLP), final norm, head. */
export function parameterSpecs(config: ModelConfig): ParamSpec[] {
  const { vocabSize, hiddenSize: d, tieEmbeddings } = config;
  // Rows of the embedding are vectors of the residual stream (and, tied, columns of the head), so their fan-in is the width.
  const embedding: ParamSpec = {
    name: 'embed.weight',
    shape: [vocabSize, d],
    init: matrixInit(config, d, false),
    part: 'embedding',
    layer: null,
  };
  const norm: ParamSpec = { name: 'norm.weight', shape: [d], init: normInit(config), part: 'norm', layer: null };
  const head: ParamSpec = {
    name: 'head.weight',
    shape: [d, vocabSize],
    init: matrixInit(config, d, false),
    part: 'head',
    layer: null,
  };
  const layers = config.layers.flatMap((plan, layer) => layerSpecs(config, plan, layer));
  return [embedding, ...layers, norm, ...(tieEmbeddings ? [] : [head])];
}

function layerSpecs(config: ModelConfig, plan: LayerPlan, layer: number): ParamSpec[] {
  const { hiddenSize: d, intermediateSize: f, mlpBias } = config;
  const { norm: placement, parallel, mlp } = blockOf(config, layer);
  const spec = (name: string, part: ParamSpec['part'], shape: number[], init: ParamSpec['init']): ParamSpec[] => [
    { name: `layers.${layer}.${name}`, shape, init, part, layer },
  ];
  const norm = (name: string, there: boolean) => (there ? spec(`${name}.weight`, 'norm', [d], normInit(config)) : []);
  const [before, after] = [placement !== 'post', placement === 'post' || placement === 'both'];
  return [
    ...norm('norm1', before),
    ...mixerOf(plan).params(config, plan, layer),
    ...norm('postnorm1', after),
    ...(!mlp
      ? []
      : [
          ...norm('norm2', before && !parallel),
          ...spec('mlp.wgateup', 'mlp', [d, 2 * f], matrixInit(config, d, false)),
          ...(mlpBias ? spec('mlp.bgateup', 'mlp', [2 * f], ZEROS) : []),
          ...spec('mlp.wdown', 'mlp', [f, d], matrixInit(config, f, true)),
          ...(mlpBias ? spec('mlp.bdown', 'mlp', [d], ZEROS) : []),
          ...norm('postnorm2', after),
        ]),
  ];
}
