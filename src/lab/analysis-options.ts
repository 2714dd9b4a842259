/** Options of analyses as schemas: what commands turn into flags, and what findings keep a fingerprint of. */
import { z } from 'zod';
import type { HeadIndex } from '../analysis/index.js';
import { ConfigError, fingerprintFile, parseContexts } from '../core/index.js';

/** What a flag needs to know of an option beside its schema. */
export interface OptionHints {
  /** What stands for the value in help texts, such as `file` in `--texts <file>`. */
  readonly placeholder?: string;
  /** Reads the flag's text, where the type of the schema does not say how. Throws `ConfigError`. */
  readonly read?: (option: string, text: string) => unknown;
  /** What a finding keeps of the value in its fingerprint (default: the value itself). */
  readonly identity?: (value: unknown) => unknown;
}

/** Hints for options, by their innermost schemas. */
export const OPTION_HINTS = z.registry<OptionHints>();

/** A schema below `optional`, `default` and the like, and what was found on the way. */
export interface UnwrappedOption {
  readonly inner: z.core.$ZodType;
  readonly description: string;
  readonly standard: unknown;
  readonly required: boolean;
}

/** Takes `optional` and `default` off an option's schema. */
export function unwrapOption(schema: z.ZodType): UnwrappedOption {
  let [inner, standard, required]: [z.core.$ZodType, unknown, boolean] = [schema, undefined, true];
  const description = schema.description ?? '';
  while (inner instanceof z.ZodOptional || inner instanceof z.ZodDefault) {
    if (inner instanceof z.ZodDefault) standard ??= inner.def.defaultValue;
    required = false;
    inner = inner.def.innerType;
  }
  return { inner, description, standard, required };
}

/** The hints of an option, whether it is optional or not. */
export function hintsOf(schema: z.ZodType): OptionHints {
  const { inner } = unwrapOption(schema);
  return (inner instanceof z.ZodType ? OPTION_HINTS.get(inner) : undefined) ?? {};
}

/** Options as a finding keeps them: plain data, files by their content. */
export function optionIdentity(schema: z.ZodObject, options: Readonly<Record<string, unknown>>): unknown {
  const entries = Object.entries(schema.shape).flatMap(([key, option]) => {
    const value = options[key];
    const { identity } = option instanceof z.ZodType ? hintsOf(option) : {};
    return value === undefined ? [] : [[key, identity === undefined ? value : identity(value)] as const];
  });
  return Object.fromEntries(entries);
}

/** A count of at least 1. */
export const count = () => z.int().min(1).max(999_999_999);

/** A file whose content is what counts. */
export const file = () =>
  z.string().register(OPTION_HINTS, {
    placeholder: 'file',
    identity: (path) => (typeof path === 'string' ? fingerprintFile(path) : null),
  });

/** Lengths in tokens, such as `4k,8192` in flags. */
export const lengthList = () =>
  z.array(count()).min(1).register(OPTION_HINTS, { placeholder: 'list', read: parseContexts });

/** Numbers, with commas between in flags; `schema` says which. */
export const numberList = (schema: z.ZodNumber) =>
  z
    .array(schema)
    .min(1)
    .register(OPTION_HINTS, {
      placeholder: 'list',
      read: (option, text) =>
        text.split(',').map((part) => {
          const result = schema.safeParse(part.trim() === '' ? NaN : Number(part));
          if (result.success) return result.data;
          const issue = result.error.issues[0]?.message ?? 'no number';
          throw new ConfigError(`${option} ${text}: write numbers with commas between (${issue})`);
        }),
    });

/** Some of a few words, with commas between in flags. */
export const wordList = <const W extends readonly [string, ...string[]]>(words: W) =>
  z
    .array(z.enum(words))
    .min(1)
    .register(OPTION_HINTS, {
      placeholder: 'list',
      read: (option, text) =>
        text.split(',').map((part) => {
          if (words.includes(part.trim())) return part.trim();
          throw new ConfigError(`${option} must be some of ${words.join(', ')}, with commas between, got "${text}"`);
        }),
    });

const headIndex = z.strictObject({ layer: z.int().min(0), head: z.int().min(0) });

/** Heads, as `LAYER:HEAD` in flags. */
export const headList = () => z.array(headIndex).register(OPTION_HINTS, { placeholder: 'list', read: readHeads });

/** `1:0,3:2` as heads. Throws `ConfigError`. */
function readHeads(option: string, text: string): HeadIndex[] {
  return text.split(',').map((part) => {
    const match = /^\s*(\d+):(\d+)\s*$/.exec(part);
    if (match === null) {
      throw new ConfigError(`${option} ${text}: write LAYER:HEAD, several with commas, such as 1:0,3:2`);
    }
    return { layer: Number(match[1]), head: Number(match[2]) };
  });
}

/** What analyses of held-out data read where no text is named. */
export const HELD_OUT = 'default: held-out data of the run';

/** Options that choose texts; `without` says what is read where none are named. */
export const textOptions = (samples: number, without: string) => ({
  texts: file().optional().describe(`texts: prompts of a .jsonl, or one whole file (${without})`),
  samples: count().default(samples).describe('texts at most'),
  maxTokens: count().optional().describe('cut texts on the right'),
});

/** Options of analyses that look at heads from the last positions of texts. */
export const headTextOptions = () => ({
  heads: headList().optional().describe('heads as LAYER:HEAD, several with commas (default: all)'),
  tail: count().default(4).describe('positions at the end of each text'),
  ...textOptions(64, HELD_OUT),
});
