/** Parameters of parts that stand in layers and in shared blocks alike: norms and dense MLPs. */
import { activationParams } from './activation.js';
import type { ModelConfig } from './config.js';
import { halves, ZEROS, type ParamRole, type ParamSpec } from './mixers/spec.js';
import { matrixInit, normInit } from './param-inits.js';

/** Where a part stands: the layer or the shared block that it belongs to, and what names of parameters begin with. */
export interface SpecPlace extends Pick<ParamSpec, 'layer' | 'block'> {
  /** `layers.N.`, `shared.N.`, or nothing. */
  readonly prefix: string;
}

/** The place of a layer's own parameters. */
export const layerPlace = (layer: number): SpecPlace => ({ prefix: `layers.${layer}.`, layer });

/** Outside of layers and blocks. */
export const OUTSIDE: SpecPlace = { prefix: '', layer: null };

/** The weight and the bias of a norm over `width` channels, where norms have them. */
export function normSpecs(
  config: ModelConfig,
  { prefix, ...place }: SpecPlace,
  name: string,
  width = config.hiddenSize,
): ParamSpec[] {
  const spec = (kind: 'weight' | 'bias', init: ParamSpec['init']): ParamSpec => ({
    name: `${prefix}${name}.${kind}`,
    shape: [width],
    init,
    part: 'norm',
    role: 'vector',
    ...place,
  });
  return [
    ...(config.normWeight ? [spec('weight', normInit(config))] : []),
    ...(config.normBias ? [spec('bias', ZEROS)] : []),
  ];
}

/** The parameters of an MLP that every token passes. */
export function mlpSpecs(config: ModelConfig, { prefix, ...place }: SpecPlace): ParamSpec[] {
  const { hiddenSize: d, intermediateSize: f, mlpGate, mlpBias } = config;
  const spec = (name: string, role: ParamRole, shape: number[], init: ParamSpec['init']): ParamSpec => ({
    ...{ name: `${prefix}mlp.${name}`, shape, init, part: 'mlp', role, ...place },
  });
  const [up, width] = mlpGate ? ['gateup', 2 * f] : ['up', f];
  return [
    { ...spec(`w${up}`, 'in', [d, width], matrixInit(config, d, false)), ...halves(mlpGate, f) },
    ...(mlpBias ? [spec(`b${up}`, 'vector', [width], ZEROS)] : []),
    ...activationParams(config.activation).map(({ name, init }) => spec(name, 'vector', [1], init)),
    spec('wdown', 'out', [f, d], matrixInit(config, f, true)),
    ...(mlpBias ? [spec('bdown', 'vector', [d], ZEROS)] : []),
  ];
}
