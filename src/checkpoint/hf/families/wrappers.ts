/** Models that read images beside text: their text part is one of the other families. */
import type { ClassFields } from '../family/fields.js';
import type { Prefixes } from '../family/names.js';

/** A class that holds a text model under `text_config`. */
export interface Wrapper {
  readonly modelType: string;
  /** The type of the text model where `text_config` names none. */
  readonly text: string;
  /** The fields of the class that matter to a text, with their defaults. */
  readonly fields: ClassFields;
  readonly names: Prefixes;
  /** Whether the class does to logits what the text model's own class does (default: it takes them as they are). */
  readonly ownLogits?: boolean;
}

/** Names of a text model beside a vision tower: in memory, in older files, and in base models. */
const BESIDE_VISION: Prefixes = {
  body: ['model.language_model.', 'language_model.model.', 'language_model.'],
  head: ['', 'language_model.'],
  others: /^(model\.)?(vision_tower|multi_modal_projector|visual|image_newline|mtp)\b/,
};

const beside = (modelType: string, text: string, tied: boolean): Wrapper => ({
  modelType,
  text,
  fields: { tie_word_embeddings: tied },
  names: BESIDE_VISION,
});

/** Names of Gemma 4, which has parts for images and for sounds. */
const BESIDE_SENSES: Prefixes = {
  ...BESIDE_VISION,
  others: /^(model\.)?(vision_tower|audio_tower|embed_vision|vision_embedder|embed_audio)\b/,
};

const besideSenses = (modelType: string, text: string): Wrapper => ({
  ...beside(modelType, text, true),
  names: BESIDE_SENSES,
  ownLogits: true,
});

/** Names of Llama 4, which holds the text model with its head. */
const WHOLE_TEXT: Prefixes = {
  body: ['language_model.model.'],
  head: ['language_model.'],
  others: /^(vision_model|multi_modal_projector)\b/,
};

/** The classes that hold a text model, by `model_type`. */
export const WRAPPERS: readonly Wrapper[] = [
  beside('gemma3', 'gemma3_text', true),
  beside('qwen3_5', 'qwen3_5_text', false),
  beside('qwen3_5_moe', 'qwen3_5_moe_text', false),
  beside('mistral3', 'mistral', true),
  beside('llava', 'llama', false),
  beside('llava_next', 'llama', false),
  beside('vipllava', 'llama', false),
  beside('internvl', 'qwen2', true),
  beside('aya_vision', 'cohere2', true),
  beside('cohere2_vision', 'cohere2', true),
  besideSenses('gemma4', 'gemma4_text'),
  besideSenses('gemma4_unified', 'gemma4_unified_text'),
  { modelType: 'llama4', text: 'llama4_text', fields: {}, names: WHOLE_TEXT },
];
