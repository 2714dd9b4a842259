/** The kinds of Transformers models that can be read. */
import { DataError, readJson, showValue } from '../../core/index.js';
import { resolveModelConfig, type ModelConfig } from '../../model/index.js';
import type { Family } from './family/family.js';
import { deepseekV2, deepseekV3 } from './families/deepseek.js';
import { bailingHybrid } from './families/bailing.js';
import { inkling } from './families/inkling.js';
import { kimiLinear } from './families/kimi-linear.js';
import { olmoHybrid, qwen3Next } from './families/gdn.js';
import { flint, mellum } from './families/dense.js';
import { lfm2, lfm2Moe, lfm3 } from './families/lfm.js';
import { LLAMA_FAMILIES } from './families/llama.js';
import { bamba, graniteHybrid, mamba2 } from './families/mamba.js';
import { graniteMoeSwa, graniteSwa } from './families/granite-swa.js';
import { cwm, ministral, ministral3, phi3, phi4Multimodal, seedOss } from './families/llama-kin.js';
import { falconH1 } from './families/falcon-h1.js';
import { zamba } from './families/zamba.js';
import { zamba2 } from './families/zamba2.js';
import { falconMamba, jamba, mamba } from './families/mamba1.js';
import { nemotronH } from './families/nemotron.js';
import { beam } from './families/beam.js';
import { cohere2Moe } from './families/cohere2-moe.js';
import { dots1, exaoneMoe } from './families/dots.js';
import { kolibri1 } from './families/kolibri.js';
import { laguna } from './families/laguna.js';
import { cohereCompass } from './families/cohere-compass.js';
import { modernBertDecoder } from './families/modernbert-decoder.js';
import { gptNeo } from './families/gpt-neo.js';
import { llama4 } from './families/llama4.js';
import { recurrentGemma } from './families/recurrent-gemma.js';
import { gemma4, gemma4Unified } from './families/gemma4.js';
import { mimoV2Flash } from './families/mimo.js';
import { minimax } from './families/minimax.js';
import { gemma2, gemma3, vaultGemma } from './families/gemma.js';
import { cohere2, exaone4, olmo2, olmo3 } from './families/windowed.js';
import { apertus, arcee, nanochat, starcoder2 } from './families/ungated.js';
import { qwen35, qwen35Moe } from './families/qwen3-5.js';
import { afmoe, laraMini } from './families/hybrid-experts.js';
import { gptOss, mixtral, olmoe, qwen2Moe, qwen3Moe } from './families/sparse.js';
import { moshi } from './families/moshi.js';
import { phimoe } from './families/phimoe.js';
import { xlstm } from './families/xlstm.js';
import { zaya } from './families/zaya.js';
import { WRAPPERS, type Wrapper } from './families/wrappers.js';
import { Fields } from './family/fields.js';
import { named, type Prefixes } from './family/names.js';
import { readQuantization, type Quantization } from './quantized.js';
import { REFUSED_TYPES } from './refused.js';

/** The families of Transformers models, in the order in which exported models look for a class. */
export const FAMILIES: readonly Family[] = [
  ...LLAMA_FAMILIES,
  olmo2,
  olmo3,
  exaone4,
  cohere2,
  gemma3,
  qwen3Next,
  olmoHybrid,
  mamba2,
  graniteHybrid,
  bamba,
  minimax,
  ministral,
  ministral3,
  cwm,
  seedOss,
  phi3,
  phi4Multimodal,
  arcee,
  graniteSwa,
  qwen35,
  nemotronH,
  mamba,
  falconMamba,
  falconH1,
  zamba2,
  zamba,
  jamba,
  lfm2,
  lfm3,
  starcoder2,
  nanochat,
  apertus,
  gemma2,
  vaultGemma,
  deepseekV3,
  deepseekV2,
  kimiLinear,
  bailingHybrid,
  mellum,
  flint,
  recurrentGemma,
  llama4,
  mixtral,
  qwen3Moe,
  qwen2Moe,
  gptOss,
  qwen35Moe,
  lfm2Moe,
  gptNeo,
  modernBertDecoder,
  xlstm,
  inkling,
  olmoe,
  afmoe,
  laraMini,
  graniteMoeSwa,
  cohereCompass,
  beam,
  zaya,
  phimoe,
  moshi,
  laguna,
  kolibri1,
  dots1,
  exaoneMoe,
  cohere2Moe,
  mimoV2Flash,
  gemma4,
  gemma4Unified,
];

/** Values of `model_type` that can be read. */
export const HF_MODEL_TYPES: readonly string[] = [
  ...FAMILIES.flatMap((f) => f.modelTypes),
  ...WRAPPERS.map((w) => w.modelType),
];

/** A `config.json` as it was read. */
export interface HfConfigReading {
  /** The type of the model, or of its text part. */
  readonly modelType: string;
  readonly family: Family;
  /** The model without what is unsupported. */
  readonly config: ModelConfig;
  /** What cannot be imported, by the names of the file; empty if everything can. */
  readonly unsupported: readonly string[];
  /** What a user should know of how the file was read. */
  readonly notes: readonly string[];
  /** How weights are stored quantized; null if they are not, or in a way that is not supported. */
  readonly quantization: Quantization | null;
}

/**
 * Reads what a Transformers `config.json` describes, noting what cannot be imported.
 *
 * @param value the parsed JSON
 * @param where its path, for messages
 * @throws DataError if the model type is unknown, or a field is missing or wrong
 */
export function inspectHfConfig(value: unknown, where: string): HfConfigReading {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DataError(`${where} holds no JSON object`, { details: { where } });
  }
  const { quantization_config: quantized = null, ...rest } = value as Record<string, unknown>;
  const fields = new Fields(rest, where);
  const quantization = readQuantization(new Fields({ quantization_config: quantized }, where, '', fields));
  const wrapper = WRAPPERS.find((w) => w.modelType === fields.text('model_type'));
  const reading = wrapper === undefined ? readText(fields, fields.text('model_type')) : readWrapped(fields, wrapper);
  return { ...reading, quantization };
}

type TextReading = Omit<HfConfigReading, 'quantization'>;

function readText(fields: Fields, modelType: string, names?: Prefixes): TextReading {
  const { where } = fields;
  const found = FAMILIES.find((f) => f.modelTypes.includes(modelType));
  if (found === undefined) {
    const has = REFUSED_TYPES.get(modelType);
    const why =
      has === undefined ? ` (${HF_MODEL_TYPES.join(', ')})` : `: it has ${has}, not all of which Longsight has`;
    throw new DataError(`${where}: model_type ${showValue(modelType)} is not one that can be read${why}`, {
      details: { where, modelType },
    });
  }
  const own = fields.ofClass(found.fields, found.aliases);
  const family = found.variant?.(own) ?? found;
  const input = family.read(own);
  if (found.headsDivideWidth === true) refuseUndivided(own);
  own.refuseUnread();
  const text = family.exportedAs ?? modelType;
  if (text !== modelType)
    fields.note(`the text part of a ${modelType} model, of type ${text}; the parts for images and sounds are left out`);
  return {
    modelType: text,
    family: named(family, names),
    config: resolveModelConfig(input, where),
    unsupported: fields.unsupported,
    notes: fields.notes,
  };
}

/** Refuses a hidden width that is no multiple of the heads. */
function refuseUndivided(fields: Fields): void {
  const [width, heads] = [fields.count('hidden_size'), fields.count('num_attention_heads')];
  if (width % heads !== 0) fields.refuse(`hidden_size ${width} that is no multiple of num_attention_heads ${heads}`);
}

/** The text part of a model that also reads images; its head is tied if either of the two configurations says so. */
function readWrapped(
  fields: Fields,
  { modelType, text: otherwise, fields: byClass, names, ownLogits = false }: Wrapper,
): TextReading {
  const outer = fields.ofClass(byClass);
  const inner = outer.object('text_config');
  if (inner === null) {
    throw new DataError(`${fields.where}: text_config is missing, which holds the text model of ${modelType}`, {
      details: { where: fields.where, field: 'text_config' },
    });
  }
  const reading = readText(inner, inner.text('model_type', otherwise), names);
  const tied = outer.flag('tie_word_embeddings');
  outer.refuseUnread();
  fields.note(`the text part of a ${modelType} model, of type ${reading.modelType}; the parts for images are left out`);
  const config = ownLogits ? reading.config : withPlainLogits(fields, reading);
  return { ...reading, config: { ...config, tieEmbeddings: reading.config.tieEmbeddings || tied } };
}

/** Classes with images take the logits as the head gives them, whatever the text model's own class does to them. */
function withPlainLogits(fields: Fields, { modelType, config }: TextReading): ModelConfig {
  const { logitScale, logitSoftcap } = config;
  if (logitScale !== 1 || logitSoftcap !== null) {
    const what = [logitScale === 1 ? '' : 'scaled', logitSoftcap === null ? '' : 'soft-capped']
      .filter(Boolean)
      .join(' or ');
    fields.note(
      `logits are not ${what}: as in Transformers, only ${modelType} alone does that, not its class with images`,
    );
  }
  return { ...config, logitScale: 1, logitSoftcap: null };
}

/**
 * The model that a Transformers `config.json` describes.
 *
 * @throws DataError naming a field that is missing or wrong, or everything that Longsight's models do not have
 */
export function readHfConfig(value: unknown, where: string): ModelConfig {
  return supported(inspectHfConfig(value, where), where).config;
}

/** The reading itself; throws `DataError` if it holds anything that cannot be imported. */
export function supported(reading: HfConfigReading, where: string): HfConfigReading {
  const { unsupported } = reading;
  if (unsupported.length === 0) return reading;
  throw new DataError(`${where}: the model has ${unsupported.join(' and ')}, which cannot be imported`, {
    details: { where, unsupported },
  });
}

/** Parses `config.json`; older versions of Transformers write infinities as bare words. */
export function readConfigJson(path: string): unknown {
  return readJson(path, (text) => text.replace(/([[:,]\s*)(-?Infinity|NaN)(?=\s*[,\]}])/g, '$1"$2"'));
}
