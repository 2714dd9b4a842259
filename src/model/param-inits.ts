/** Initial distributions that depend on the model's configuration. */
import { blockOf, type ModelConfig } from './config.js';
import { ONES, ZEROS, type ParamInit } from './mixers/spec.js';

/**
 * A matrix `[fanIn, fanOut]`; `residual` ones write to the residual stream and start smaller by 1/sqrt(n), where n
 * counts the mixers and MLPs that do so.
 */
export function matrixInit(config: ModelConfig, fanIn: number, residual: boolean): ParamInit {
  const { init, layers } = config;
  const std = init.scheme === 'fan-in' ? 1 / Math.sqrt(fanIn) : init.std;
  const blocks = layers.map((plan, layer) => Number(plan.mixer !== 'none') + Number(blockOf(config, layer).mlp));
  const writers = blocks.reduce((n, count) => n + count, 0);
  return { kind: 'normal', std: residual ? std / Math.sqrt(writers) : std };
}

/** A norm's weight: the gain starts at 1. */
export function normInit({ normOffset }: ModelConfig): ParamInit {
  return normOffset === 0 ? ONES : { kind: 'constant', value: 1 - normOffset };
}

/** Taps of a convolution: uniform in ±1/sqrt(width), as PyTorch and mamba_ssm; N(0, std^2) under `normal`, as fla. */
export function convInit({ init }: ModelConfig, width: number): ParamInit {
  const bound = 1 / Math.sqrt(width);
  return init.scheme === 'fan-in' ? { kind: 'uniform', low: -bound, high: bound } : { kind: 'normal', std: init.std };
}

/** The bias of a convolution: as its taps under `fan-in`, zero under `normal`. */
export function convBiasInit(config: ModelConfig, width: number): ParamInit {
  return config.init.scheme === 'fan-in' ? convInit(config, width) : ZEROS;
}
