/** What Longsight knows of one kind of Transformers model. */
import type { Shape } from '../../../core/index.js';
import type { ModelConfig, ModelInput } from '../../../model/index.js';
import type { ClassFields, Fields } from './fields.js';
import type { ParameterLayout } from './layout.js';

/** Shapes of the tensors of a folder by name; undefined for those that it does not have. */
export type TensorShapes = (name: string) => Shape | undefined;

/** The values of a stored tensor and the type of its elements in the file; undefined if there is none. */
export type StoredValues = (name: string) => { readonly values: Float32Array; readonly stored: string } | undefined;

/** A tensor that follows from the configuration. */
export interface ConstantTensor {
  readonly name: string;
  /** The tensor's shape in the Transformers model. */
  readonly shape: Shape;
  readonly values: () => Float32Array<ArrayBuffer>;
  /**
   * Whether files must hold these values, since Transformers computes with them; false if no value changes a result.
   */
  readonly fixed: boolean;
  /** By how much values of files may differ, relative (default: by the rounding of their stored type). */
  readonly relative?: number;
  /** The type of its elements in exports, where rounding it would make another model (default: that of the weights). */
  readonly dtype?: 'f32';
}

/** Fields of a `config.json`. */
export type HfConfigJson = Record<string, unknown>;

/** A family of Transformers models: how its configuration and tensors map to a Longsight model, and back. */
export interface Family {
  /** Values of `model_type`; the first is the one that exported models get. */
  readonly modelTypes: readonly string[];
  /** The fields of the class in Transformers that matter, with their defaults. */
  readonly fields: ClassFields;
  /** Other names of fields of the class, with the names that they stand for. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** The class of exported models; null if models are not exported as this family. */
  readonly architecture: string | null;
  /** The type of the text model in classes that also read images or sounds, where it is another family's. */
  readonly exportedAs?: string;
  /**
   * What Transformers gives as hidden states: `embedding` (the default) begins with the embedding, `layers` with the
   * first layer's output. Both end with the final norm's.
   */
  readonly hiddenStates?: 'embedding' | 'layers';
  /** Whether the class takes `rope_scaling` beside `rope_parameters`, for older readers (default: true). */
  readonly takesRopeScaling?: boolean;
  /** Whether the class refuses a hidden width that is no multiple of its heads, whatever the width of a head is. */
  readonly headsDivideWidth?: boolean;
  /**
   * Whether attention maps of Transformers leave out the mass that sinks take; where it makes of them a factor on the
   * output (the default), their rows add up to 1.
   */
  readonly sinksInMaps?: boolean;
  /** The family as it is with these fields, where one of them changes in which order tensors hold their rows. */
  variant?(fields: Fields): Family;
  /** The model that `config.json` describes; what cannot be imported goes to `fields.refuse`. */
  read(fields: Fields): ModelInput;
  /**
   * Their tensors for a parameter of ours; `layer` is null outside of layers and `name` has no `layers.N.`. `shapes`
   * tells apart ways in which files have been written.
   */
  layout(config: ModelConfig, layer: number | null, name: string, shapes: TensorShapes): ParameterLayout | null;
  /**
   * Whether a tensor of a file has no effect on the result, or follows from the configuration (those of `constants` are
   * compared).
   */
  ignored?(name: string, config: ModelConfig): boolean;
  /** Other names of tensors in memory than in files, as gradients are named: from the name in memory. */
  alias?(name: string, config: ModelConfig): readonly string[];
  /**
   * What exported models hold beside their parameters; `stored` gives the shapes of files that are compared with it.
   */
  constants?(config: ModelConfig, stored: TensorShapes): readonly ConstantTensor[];
  /**
   * The model that the files hold, where Transformers computes with stored values that `config.json` gives too; `read`
   * gives a stored tensor's values, undefined if there is none. Notes say what a user should know of it.
   */
  adopt?(config: ModelConfig, read: StoredValues): { readonly config: ModelConfig; readonly notes: readonly string[] };
  /** `config.json` of a model as nearly as the family can express it; see `export.ts` for how the rest is found. */
  write?(config: ModelConfig): HfConfigJson;
}
