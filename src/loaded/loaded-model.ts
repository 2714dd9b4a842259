/** The noun of everything that measures or generates: a model whose weights lie on an engine. */
import type { TextTokenizer } from '../checkpoint/index.js';
import { invariant, type HostTensor } from '../core/index.js';
import { withStoredWeights, type DeviceTensor, type Engine, type TensorMap } from '../engine/index.js';
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

/** Weights by name, one after another: a map of them, or what reads them as they are asked for. */
export type NamedWeights = Iterable<readonly [name: string, tensor: HostTensor]>;

/** Places host parameters on an engine, one tensor for each. */
export function uploadParameters(engine: Engine, parameters: NamedWeights): Record<string, DeviceTensor> {
  const placed: Record<string, DeviceTensor> = {};
  for (const [name, tensor] of parameters) placed[name] = engine.upload(tensor);
  return placed;
}

/**
 * Places a model on an engine. Weights in bf16 or f16 stay so, and the model's engine converts them where they are
 * used.
 *
 * @param parameters the weights, by the names of `parameterSpecs(config)`
 */
export function loadModel(
  engine: Engine,
  config: ModelConfig,
  parameters: NamedWeights,
  { tokenizer = null, source = 'memory' }: Partial<Pick<LoadedModel, 'tokenizer' | 'source'>> = {},
): LoadedModel {
  const tensors = uploadParameters(engine, parameters);
  const held = new Map(Object.entries(tensors).map(([name, { dtype }]) => [name, dtype]));
  return { engine: withStoredWeights(engine, held), config, tensors, tokenizer, source };
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
