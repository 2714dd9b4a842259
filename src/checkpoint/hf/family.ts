/** What Longsight knows of one kind of Transformers model. */
import type { ModelConfig, ModelInput } from '../../model/index.js';
import type { Fields } from './fields.js';
import type { ParameterLayout } from './layout.js';

/** Fields of a `config.json`. */
export type HfConfigJson = Record<string, unknown>;

export interface Family {
  /** Values of `model_type`; the first is the one that exported models get. */
  readonly modelTypes: readonly string[];
  /** The class of exported models; null if models are not exported as this family. */
  readonly architecture: string | null;
  /** The model that `config.json` describes; what cannot be imported goes to `fields.refuse`. */
  read(fields: Fields): ModelInput;
  /** Their tensors for a parameter of ours; `layer` is null outside of layers and `name` has no `layers.N.`. */
  layout(config: ModelConfig, layer: number | null, name: string): ParameterLayout | null;
  /** Whether a tensor of the file holds nothing of use, such as a buffer. */
  ignored?(name: string, config: ModelConfig): boolean;
  /** Other names of tensors in memory than in files, as gradients are named: from the name in memory. */
  alias?(name: string, config: ModelConfig): readonly string[];
  /** `config.json` of a model as nearly as the family can express it; see `export.ts` for how the rest is found. */
  write?(config: ModelConfig): HfConfigJson;
}
