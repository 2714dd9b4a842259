/** The families of Transformers models as plain data, for the documentation. */
import { WRAPPERS } from './families/wrappers.js';
import { Optional, SHARED, WITHOUT_EFFECT, type ClassFields } from './family/fields.js';
import { FAMILIES } from './registry.js';

/** A field of `config.json` as a class has it. */
export interface HfField {
  readonly name: string;
  /** Its value as JSON where a file does not have it. */
  readonly default: string;
  /** Whether a file may say null. */
  readonly mayBeNull: boolean;
}

/** A family: which files it reads, and what it writes. */
export interface HfFamily {
  /** Values of `model_type`; the first is that of exported models. */
  readonly modelTypes: readonly string[];
  /** The class of exported models; null where none is exported. */
  readonly architecture: string | null;
  /** The fields that say what a model computes. */
  readonly fields: readonly HfField[];
  /** Other names of fields, with the names that they stand for. */
  readonly aliases: Readonly<Record<string, string>>;
}

/** A class that holds a text model under `text_config`. */
export interface HfWrapper {
  readonly modelType: string;
  /** The type of the text model where the file names none. */
  readonly text: string;
  readonly fields: readonly HfField[];
}

/** The fields of a class in the order of its definition. */
const fieldsOf = (fields: ClassFields): HfField[] =>
  Object.entries(fields).map(([name, value]) => ({
    name,
    default: JSON.stringify(value instanceof Optional ? value.value : value),
    mayBeNull: value instanceof Optional || value === null,
  }));

/** Every family, in the order in which exported models look for a class. */
export const HF_FAMILIES: readonly HfFamily[] = FAMILIES.map((family) => ({
  modelTypes: family.modelTypes,
  architecture: family.write === undefined ? null : family.architecture,
  fields: fieldsOf(family.fields),
  aliases: family.aliases ?? {},
}));

/** Every class that holds a text model beside parts for images or sounds, which are left out. */
export const HF_WRAPPERS: readonly HfWrapper[] = WRAPPERS.map(({ modelType, text, fields }) => ({
  modelType,
  text,
  fields: fieldsOf(fields),
}));

/** Fields of any class that change nothing that a model computes from token ids, and are not read. */
export const HF_WITHOUT_EFFECT: readonly string[] = [...WITHOUT_EFFECT];

/**
 * Fields that Transformers heeds in every class, with the values that are read, as JSON; others are refused. How
 * weights are quantized is read apart from them.
 */
export const HF_SHARED_FIELDS: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  Object.entries(SHARED).flatMap(([name, values]) =>
    name === 'quantization_config' ? [] : [[name, values.map((value) => JSON.stringify(value))] as const],
  ),
);
