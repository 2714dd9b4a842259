/**
 * The largest sizes that are taken from files and command lines. What is larger is refused before anything of its size
 * is made: a slip of the keyboard, or a damaged file, must not fill the memory.
 */
import { z } from 'zod';
import { ConfigError } from './errors.js';
import { memoryOfProcess } from './memory.js';
import { showValue } from './messages.js';

interface Limit {
  /** The largest value that is taken. */
  readonly most: number;
  /** What it bounds, for the documentation. */
  readonly of: string;
}

/** Every limit by its kind; the documentation lists this table. */
export const LIMITS = {
  layers: { most: 10_000, of: 'layers of a model' },
  heads: { most: 100_000, of: 'heads and groups of a layer' },
  width: { most: 2 ** 20, of: 'widths of a model, in channels' },
  vocabulary: { most: 2 ** 24, of: 'tokens of a vocabulary' },
  tokens: { most: 2 ** 30, of: 'tokens of a sequence, a window or a context' },
  batch: { most: 2 ** 20, of: 'sequences of a step, batches and samples of a measurement' },
  steps: { most: 2 ** 40, of: 'optimizer steps of a run' },
  devices: { most: 100_000, of: 'threads, and devices along an axis' },
  runs: { most: 10_000, of: 'runs of a study' },
  nesting: { most: 500, of: 'lists and objects inside one another, in JSON' },
  configBytes: { most: 16 * 2 ** 20, of: 'bytes of a YAML file' },
  jsonBytes: { most: 2 ** 29 - 64, of: 'bytes of a file read as one text, such as JSON' },
  lineBytes: { most: 2 ** 28, of: 'bytes of a line of a file of documents' },
  headerBytes: { most: 100_000_000, of: 'bytes of the header of a safetensors file' },
} as const satisfies Readonly<Record<string, Limit>>;

/** Whether a number is one of the limits, which the documentation lists once. */
export const isLimit = (bound: number): boolean => Object.values(LIMITS).some(({ most }) => most === bound);

/** The schema of a size that a file gives: a whole number from `least` to the limit of its kind. */
export function sizeUpTo(kind: keyof typeof LIMITS, least = 1): z.ZodInt {
  return z.int().min(least).max(LIMITS[kind].most);
}

/** The smallest and the largest number above 0 that float32 holds in full; engines take smaller ones for 0. */
const FLOAT32 = { least: 2 ** -126, most: (2 - 2 ** -23) * 2 ** 127 } as const;

/** Whether a number is 0 or one that float32 holds in full, neither infinite nor taken for 0. */
export const fitsFloat32 = (value: number): boolean =>
  value === 0 || (Math.abs(value) >= FLOAT32.least && Math.abs(value) <= FLOAT32.most);

/**
 * The schema of every number of a configuration that is no size: 0, or one that float32 holds, because that is what
 * engines compute with. Chain `min`, `positive` and the like behind it.
 */
export function realNumber(): z.ZodNumber {
  return z.number().superRefine((value, context) => {
    if (fitsFloat32(value)) return;
    const { least, most } = FLOAT32;
    const [much, bound] =
      Math.abs(value) > most
        ? ['large', `the largest is ${most.toExponential(2)}`]
        : ['small', `the smallest is ${least.toExponential(2)}`];
    const message = `${showValue(value)} is too ${much} for float32, in which models compute; ${bound}`;
    context.addIssue({ code: 'custom', message, continue: false });
  });
}

/**
 * Checks that as much memory exists as something is going to take, before it takes any.
 *
 * @param bytes the bytes that it takes at least
 * @param what what takes them, to open the message with, such as `the model`
 * @param remedy what to do
 * @param memory the bytes that this process may use
 * @throws ConfigError if there are fewer
 */
export function checkMemory(bytes: number, what: string, remedy: string, memory = memoryOfProcess()): void {
  if (bytes <= memory) return;
  throw new ConfigError(`${what} takes at least ${inGib(bytes)}, and there is ${inGib(memory)} of memory; ${remedy}`, {
    details: { bytes, memory },
  });
}

const inGib = (bytes: number): string => `${Number((bytes / 2 ** 30).toPrecision(3))} GiB`;
