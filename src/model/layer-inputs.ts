/**
 * Inputs of single layers beside the residual stream, and a factor on what each layer gives (Gemma 4): a second, narrow
 * embedding of each token for each layer, to which a projection of the first embedding is added, opens a gate of the
 * stream after the MLP.
 *
 * Shape letters: B sequences, T tokens, d width of the stream, L layers, P width of a layer's input.
 */
import { dims, got, invariant } from '../core/index.js';
import { add, linear, mul, reshape, rmsNorm, sliceAxis, take, type Value } from '../graph/index.js';
import { activated } from './activation.js';
import type { ModelConfig } from './config.js';
import { ONES, type ParamSpec } from './mixers/spec.js';
import { normalize, normParameters, scaled, withOffset } from './norm.js';
import { matrixInit, normInit } from './param-inits.js';
import { layerPlace, normSpecs } from './part-specs.js';

/** Names of the parameters outside of layers. */
const [TABLE, PROJECTION, NORM] = ['embed.layers.weight', 'embed.layers.project', 'embed.layers.norm.weight'] as const;

/** The name under which a layer finds its input among what earlier ones hand on. */
export const layerInput = (layer: number): string => `inputs.${layer}`;

/** The parameters of the inputs of all layers. */
export function inputSpecs(config: ModelConfig): ParamSpec[] {
  const { layerInputs: P, hiddenSize: d, vocabSize, extraTokens, numLayers } = config;
  if (P === null) return [];
  const spec = (name: string, shape: number[], more: Pick<ParamSpec, 'init' | 'part' | 'role'>): ParamSpec => ({
    ...{ name, shape, layer: null },
    ...more,
  });
  const width = numLayers * P;
  const table = { init: matrixInit(config, P, false), part: 'embedding', role: 'embedding' } as const;
  const projection = { init: matrixInit(config, d, false), part: 'embedding', role: 'in' } as const;
  const norm = { init: normInit(config), part: 'norm', role: 'vector' } as const;
  return [
    spec(TABLE, [vocabSize + extraTokens, width], table),
    spec(PROJECTION, [d, width], projection),
    ...(config.normWeight ? [spec(NORM, [P], norm)] : []),
  ];
}

/** The parameters of a layer for its input, and its factor. */
export function layerInputSpecs(config: ModelConfig, layer: number): ParamSpec[] {
  const { layerInputs: P, layerScale, hiddenSize: d } = config;
  const matrix = (name: string, role: 'in' | 'out', rows: number, columns: number): ParamSpec => ({
    ...{ name: `layers.${layer}.input.${name}`, shape: [rows, columns], part: 'mlp', role, layer },
    init: matrixInit(config, rows, role === 'out'),
  });
  const factor: ParamSpec = {
    ...{ name: `layers.${layer}.scale`, shape: [1], init: ONES, part: 'norm', role: 'vector', layer },
  };
  return [
    ...(P === null
      ? []
      : [
          matrix('wgate', 'in', d, P),
          matrix('wout', 'out', P, d),
          ...normSpecs(config, layerPlace(layer), 'input.norm'),
        ]),
    ...(layerScale ? [factor] : []),
  ];
}

/** The inputs of all layers by name, `[B,T,P]` each, from tokens i32 `[B,T]` and their embedding `[B,T,d]`. */
export function layerInputsOf(
  config: ModelConfig,
  params: ReadonlyMap<string, Value>,
  tokens: Value,
  embedding: Value,
): Map<string, Value> {
  const { layerInputs: P, hiddenSize: d, numLayers: L, rmsNormEps } = config;
  if (P === null) return new Map();
  const [B, T] = dims(tokens, 2);
  const own = scaled(take(got(params, TABLE), tokens), Math.sqrt(P));
  const gain = config.normWeight ? withOffset(config, got(params, NORM)) : null;
  const projected = reshape(scaled(linear(embedding, got(params, PROJECTION)), 1 / Math.sqrt(d)), [B, T, L, P]);
  const both = mul(add(rmsNorm(projected, gain, rmsNormEps), reshape(own, [B, T, L, P])), Math.SQRT1_2);
  return new Map(
    Array.from({ length: L }, (_, layer) => [
      layerInput(layer),
      reshape(sliceAxis(both, 2, layer, layer + 1), [B, T, P]),
    ]),
  );
}

/** The residual stream `x [B,T,d]` after what the layer's own input adds to it, times the layer's factor. */
export function withLayerInput(
  config: ModelConfig,
  layer: number,
  x: Value,
  params: ReadonlyMap<string, Value>,
  handed: ReadonlyMap<string, Value>,
): Value {
  const { layerInputs, layerScale, activation } = config;
  // `resolveModelConfig` refuses activations that learn.
  const learned = (name: string): Value => {
    invariant(false, `the activation of an input of layer ${layer} asks for ${name}`);
  };
  const added = (): Value => {
    const gate = activated(activation, linear(x, got(params, 'input.wgate')), learned);
    const y = linear(mul(gate, got(handed, layerInput(layer))), got(params, 'input.wout'));
    return add(x, normalize(config, y, normParameters(config, params, 'input.norm')));
  };
  const sum = layerInputs === null ? x : added();
  return layerScale ? mul(sum, reshape(got(params, 'scale'), [1, 1, 1])) : sum;
}
