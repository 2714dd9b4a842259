/** The optimizers, by name, and which of them updates a parameter. */
import { got, tensorFrom, type DType, type HostTensor } from '../../core/index.js';
import { input, type Value } from '../../graph/index.js';
import { parameterSpecs, type ModelConfig, type ParamSpec } from '../../model/index.js';
import type { OptimizerLayout } from '../../run/index.js';
import { adamw } from './adamw.js';
import {
  OPTIMIZER_NAMES,
  type Moment,
  type OptimizerConfig,
  type OptimizerDefinition,
  type OptimizerName,
} from './definition.js';
import { muon } from './muon.js';

/** Every optimizer that `train.optimizer` may name. */
export const OPTIMIZERS: { readonly [N in OptimizerName]: OptimizerDefinition } = { adamw, muon };

/** The optimizer that updates a parameter where `chosen` is the run's. */
export function optimizerOf(spec: ParamSpec, chosen: OptimizerName = 'adamw'): OptimizerName {
  return OPTIMIZERS[chosen].takes(spec) ? chosen : 'adamw';
}

/** The optimizers that update the parameters of a run: the chosen one, and AdamW. */
export function optimizersIn(chosen: OptimizerName = 'adamw'): OptimizerName[] {
  return OPTIMIZER_NAMES.filter((name) => name === 'adamw' || name === chosen);
}

/** Graph inputs for what changes from step to step, by name: scalars. */
export function stepInputs(chosen: OptimizerName | undefined, dtype: DType): ReadonlyMap<string, Value> {
  const names = optimizersIn(chosen).flatMap((name) => OPTIMIZERS[name].scalars);
  return new Map(names.map((name) => [name, input(name, dtype, [])]));
}

/** Host tensors for `stepInputs` in step `t` (from 1) at the schedule's learning rate `lr`. */
export function stepTensors(
  config: OptimizerConfig,
  lr: number,
  t: number,
  dtype: DType,
): Readonly<Record<string, HostTensor>> {
  const entries = optimizersIn(config.optimizer).flatMap((name) => {
    const { scalars, scalarsAt } = OPTIMIZERS[name];
    const values = new Map(Object.entries(scalarsAt(config, lr, t)));
    return scalars.map((scalar) => [scalar, tensorFrom(dtype, [], [got(values, scalar)])] as const);
  });
  return Object.fromEntries(entries);
}

/** What the optimizer of a run keeps of a model: by kind of moment, the parameters that it is kept for. */
export function layoutOf(model: ModelConfig, chosen: OptimizerName): OptimizerLayout {
  const specs = parameterSpecs(model);
  const having = (kind: Moment) =>
    specs.filter((spec) => OPTIMIZERS[optimizerOf(spec, chosen)].moments.includes(kind)).map((spec) => spec.name);
  return { name: chosen, m: having('m'), v: having('v') };
}
