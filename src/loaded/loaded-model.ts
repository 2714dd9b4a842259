/** The noun of everything that measures or generates: a model whose weights lie on an engine. */
import type { TextTokenizer } from '../checkpoint/index.js';
import { invariant, type HostTensor } from '../core/index.js';
import type { DeviceTensor, Engine, TensorMap } from '../engine/index.js';
import type { ModelConfig } from '../model/index.js';

/**
 * An engine and the configuration of a model: enough to compile its programs, whatever weights they are given later.
 */
export interface ModelOnEngine {
  readonly engine: Engine;
  readonly config: ModelConfig;
}

/** A model on an engine: its configuration, its weights, and what turns texts into its tokens. */
export interface LoadedModel extends ModelOnEngine {
  /** The model's parameters on the engine, by name, perhaps among other tensors. */
  readonly tensors: TensorMap;
  /** The tokenizer of the model; null for models of bytes or of synthetic tokens. */
  readonly tokenizer: TextTokenizer | null;
  /** Where the model came from, such as the path of its folder; messages name it. */
  readonly source: string;
}

/** Places host parameters on an engine, one tensor for each. */
export function uploadParameters(
  engine: Engine,
  parameters: ReadonlyMap<string, HostTensor>,
): Record<string, DeviceTensor> {
  return Object.fromEntries([...parameters].map(([name, tensor]) => [name, engine.upload(tensor)]));
}

/**
 * Places a model on an engine.
 *
 * @param parameters the weights, by the names of `parameterSpecs(config)`
 */
export function loadModel(
  engine: Engine,
  config: ModelConfig,
  parameters: ReadonlyMap<string, HostTensor>,
  { tokenizer = null, source = 'memory' }: Partial<Pick<LoadedModel, 'tokenizer' | 'source'>> = {},
): LoadedModel {
  return { engine, config, tensors: uploadParameters(engine, parameters), tokenizer, source };
}

/** The same weights under another configuration, such as one with smaller windows. */
export function withConfig(model: LoadedModel, config: ModelConfig): LoadedModel {
  const { engine, tensors, tokenizer, source } = model;
  return { engine, config, tensors, tokenizer, source };
}

/** The tensors among `tensors` that a program takes beside its inputs named in `own`. A missing one is our own bug. */
export function parametersFor(
  inputs: readonly { readonly name: string }[],
  own: ReadonlySet<string>,
  tensors: TensorMap,
): TensorMap {
  const names = inputs.map((port) => port.name).filter((name) => !own.has(name));
  return Object.fromEntries(
    names.map((name) => {
      const tensor = tensors[name];
      invariant(tensor, `a program got no parameter ${name}`);
      return [name, tensor];
    }),
  );
}
