/**
 * Initial parameters: seeded, and the same whatever the layers' mixers and windows are, so that designs start alike.
 */
import { checkMemory, formatTokens, hostTensor, last, Rng, sizeOf, type HostTensor } from '../core/index.js';
import type { ModelConfig } from './config.js';
import { parameterSpecs } from './params.js';
import type { ParamInit, ParamSpec } from './mixers/spec.js';

/** Parameters by name, in the order of `parameterSpecs`. */
export type HostParameters = Map<string, HostTensor<'f32'>>;

/**
 * The initial parameters of a model, f32. Throws `ConfigError` if they are more than the memory holds.
 *
 * Each tensor draws from its own random stream, named by the seed and the tensor's name: two configurations that differ
 * in windows, positions or optional parts share every tensor that has the same name, shape and distribution in both.
 * - `fan-in`: matrices N(0, 1/fan-in); embedding N(0, 1/hiddenSize).
 * - `normal`: matrices and embedding N(0, std^2).
 * - both: matrices that write to the residual stream (`attn.wo`, `mlp.wdown`, ...) times 1/sqrt(mixers and MLPs), norm
 *   weights 1, sink logits 0; decay rates and step sizes of recurrent mixers as their authors have them (`spec.ts`).
 */
export function initialParameters(config: ModelConfig, seed: number): HostParameters {
  checkParameterMemory(config);
  return initialTensors(parameterSpecs(config), seed);
}

/** The initial values of some of a model's parameters, the same as those that `initialParameters` gives to them. */
export function initialTensors(specs: readonly ParamSpec[], seed: number): HostParameters {
  return new Map(specs.map((spec) => [spec.name, initialTensor(spec, seed)]));
}

/** Throws `ConfigError` if the parameters of a model, f32, are more than the memory of this process holds. */
export function checkParameterMemory(config: ModelConfig): void {
  const numbers = parameterSpecs(config).reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  checkMemory(4 * numbers, `a model of ${formatTokens(numbers)} parameters`, 'make it smaller');
}

function draw({ low, high, map }: Extract<ParamInit, { kind: 'uniform' }>, rng: Rng): number {
  const x = low + (high - low) * rng.uniform();
  if (map === undefined) return x;
  if (map === 'log') return Math.log(x);
  const y = map === 'inverse-softplus-decay' ? -0.5 * Math.log(x) : Math.exp(x);
  return y + Math.log(-Math.expm1(-y));
}

function ramp({ from, to, over, power, swing, period }: Extract<ParamInit, { kind: 'ramp' }>, i: number): number {
  const z = period === 1 ? 0 : (2 * (i % period)) / (period - 1) - 1;
  return from + (to - from) * (i / over) ** power + swing * z * Math.abs(z);
}

function initialTensor({ name, shape, init }: ParamSpec, seed: number): HostTensor<'f32'> {
  const data = new Float32Array(sizeOf(shape));
  if (init.kind === 'constant') {
    data.fill(init.value);
  } else if (init.kind === 'log-counting') {
    for (let i = 0; i < data.length; i++) data[i] = Math.log((i % last(shape)) + 1);
  } else if (init.kind === 'ramp') {
    for (let i = 0; i < data.length; i++) data[i] = ramp(init, i);
  } else {
    const rng = Rng.of(seed, 'init', name);
    if (init.kind === 'normal') rng.fillNormal(data, init.std);
    else for (let i = 0; i < data.length; i++) data[i] = draw(init, rng);
  }
  return hostTensor('f32', shape, data);
}
