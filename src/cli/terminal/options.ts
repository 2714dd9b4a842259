/** Options that several commands share, and how their values are read. */
import type { Command } from 'commander';
import { parse as parseYamlText } from 'yaml';
import { messageOf, ConfigError, nearest, parseContexts } from '../../core/index.js';
import { ENGINE_NAMES, type EngineName, type Precision } from '../../engine/index.js';
import { parsePath, WEIGHTS_HELD, type Setting, type WeightsHeld } from '../../lab/index.js';

export { addOutputOptions, type OutputFlags } from './output-options.js';

/** The options `--engine` and `--threads`. */
export interface EngineFlags {
  readonly engine?: EngineName;
  /** Threads of the engine. */
  readonly threads?: number;
}

/** The option `--set`, which may be repeated. */
export interface SetFlag {
  readonly set: readonly Setting[];
}

/** Adds `--engine` and `--threads` to a command. */
export function addEngineOptions(command: Command): Command {
  return command
    .option('--engine <name>', `what computes: ${ENGINE_NAMES.join(', ')}`, engineName)
    .option('--threads <n>', 'threads of the engine', (text) => positiveInteger('--threads', text));
}

/** The option `--weights`. */
export interface WeightsFlag {
  readonly weights?: WeightsHeld;
}

/** Adds `--weights` to a command. */
export function addWeightsOption(command: Command): Command {
  return command.option(
    '--weights <how>',
    'what the weights of an imported model are held in: stored (bf16 and fp16 stay so; default) or float32, which computes the same',
    (text) => parseChoice('--weights', WEIGHTS_HELD, text),
  );
}

/** The options `--precision` and `--weights`. */
export interface PrecisionFlag extends WeightsFlag {
  readonly precision?: Precision;
}

const PRECISIONS: readonly Precision[] = ['f32', 'bf16'];

/** Options of commands that measure models. */
export function addMeasuringOptions(command: Command): Command {
  return addWeightsOption(addEngineOptions(command)).option(
    '--precision <name>',
    'f32 or bf16 (default on accelerators: that of training, or bf16 where a saved model stores it; else f32)',
    (text) => {
      const name = PRECISIONS.find((p) => p === text);
      if (name !== undefined) return name;
      throw new ConfigError(`--precision ${text}: there is no such precision; choose one of ${PRECISIONS.join(', ')}`);
    },
  );
}

/** The option `--window`. */
export interface WindowFlag {
  /** Keys that queries see. */
  readonly window?: number | 'full';
}

/** What `--window` says: null for full attention, undefined where it is not given. */
export function windowAsked({ window }: WindowFlag): number | null | undefined {
  return window === 'full' ? null : window;
}

/** Adds `--window` to a command. */
export function addWindowOption(command: Command): Command {
  return command.option(
    '--window <keys>',
    'measure at this window, or full, in place of those that moved in training, or else of every window; stored in no run folder',
    (text) => (text === 'full' ? text : positiveInteger('--window', text)),
  );
}

/** The option `--take-over`. */
export interface TakeOverFlag {
  readonly takeOver?: boolean;
}

/** Adds `--take-over` to a command. */
export function addTakeOverOption(command: Command): Command {
  return command.option(
    '--take-over',
    'wait a quarter of the usual minute for a sign of life of the process of another host that holds the folder',
  );
}

/** Adds `--reuse` to a command. */
export function addReuseOption(command: Command): Command {
  return command.option(
    '--reuse <list>',
    'study folders, with commas, whose finished runs are copied where they are the same in all but their name, not trained again',
    (text) => text.split(',').map((folder) => folder.trim()),
  );
}

/** The value of `--reuse`. */
export interface ReuseFlag {
  readonly reuse?: readonly string[];
}

/** Adds `--set` to a command. */
export function addSetOption(command: Command): Command {
  return command.option(
    '--set <path=value>',
    'change one key of the configuration, such as train.steps=100; may be repeated',
    (text: string, all: readonly Setting[]) => [...all, parseSetting(text)],
    [] as readonly Setting[],
  );
}

/** `path=value`, the value read as YAML. Throws `ConfigError`. */
function parseSetting(text: string): Setting {
  const equals = text.indexOf('=');
  if (equals < 1) throw new ConfigError(`--set ${text}: write PATH=VALUE, such as train.steps=100`);
  const path = text.slice(0, equals).trim();
  parsePath(path);
  try {
    return [path, parseYamlText(text.slice(equals + 1)) as unknown];
  } catch (cause) {
    const why = messageOf(cause).split('\n')[0] ?? '';
    throw new ConfigError(`--set ${path}: the value does not parse as YAML: ${why}`, { cause });
  }
}

function engineName(text: string): EngineName {
  const name = ENGINE_NAMES.find((n) => n === text);
  if (name !== undefined) return name;
  const near = nearest(text, ENGINE_NAMES);
  const hint = near === undefined ? '' : `; did you mean "${near}"?`;
  throw new ConfigError(`--engine ${text}: there is no such engine; choose one of ${ENGINE_NAMES.join(', ')}${hint}`);
}

/**
 * Reads the text of an option as a whole number of at least 1.
 * @throws ConfigError naming the option
 */
export function positiveInteger(option: string, text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new ConfigError(`${option} must be a whole number of at least 1, got "${text}"`);
}

/**
 * Reads the text of an option as a whole number of at least 0.
 * @throws ConfigError naming the option
 */
export function wholeNumber(option: string, text: string): number {
  if (/^\d{1,12}$/.test(text)) return Number(text);
  throw new ConfigError(`${option} must be a whole number, got "${text}"`);
}

/**
 * Reads the text of an option as a number above 0.
 * @throws ConfigError naming the option
 */
export function positiveNumber(option: string, text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value > 0) return value;
  throw new ConfigError(`${option} must be a number above 0, got "${text}"`);
}

/** `8,16,32` as whole numbers of at least 1. Throws `ConfigError`. */
export function parseCounts(option: string, text: string): number[] {
  return text.split(',').map((part) => positiveInteger(option, part.trim()));
}

/** One of the values that `parseContexts` takes. Throws `ConfigError`. */
export function parseContext(option: string, text: string): number {
  const [tokens, ...more] = parseContexts(option, text);
  if (tokens !== undefined && more.length === 0) return tokens;
  throw new ConfigError(`${option} must be one number of tokens, such as 64k, got "${text}"`);
}

const COUNT_UNITS = { k: 1e3, M: 1e6, B: 1e9, T: 1e12 } as const;
const BYTE_UNITS = {
  ...{ B: 1, kB: 1e3, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 },
  ...{ KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 },
} as const;

/** A number above 0 with a unit behind it; null for what is none. */
function withUnit(text: string, units: Readonly<Record<string, number>>): number | null {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?(?:e\+?\d{1,2})?) ?([A-Za-z]*)$/.exec(text.trim()) ?? [];
  const size = unit === '' ? 1 : Object.entries(units).find(([name]) => name === unit)?.[1];
  const value = size === undefined ? NaN : Number(digits) * size;
  return Number.isFinite(value) && value > 0 ? value : null;
}

/** `100M`, `1.5B`, `2e8`: a count in thousands, millions, 10^9 or 10^12. Throws `ConfigError`. */
export function parseAmount(option: string, text: string): number {
  const value = withUnit(text, COUNT_UNITS);
  if (value !== null && value >= 1) return value;
  throw new ConfigError(`${option} must be a number of at least 1, such as 100M or 1.5B, got "${text}"`);
}

/** `1GB` (10^9 bytes), `1GiB` (2^30), `500MB` or plain bytes. Throws `ConfigError`. */
export function parseBytes(option: string, text: string): number {
  const value = withUnit(text, BYTE_UNITS);
  if (value !== null && value >= 1) return value;
  throw new ConfigError(`${option} must be bytes, such as 1GB, 512MiB or 1000000, got "${text}"`);
}

/** A number. Throws `ConfigError`. */
export function parseNumber(option: string, text: string): number {
  const value = text.trim() === '' ? NaN : Number(text);
  if (Number.isFinite(value)) return value;
  throw new ConfigError(`${option} must be a number, got "${text}"`);
}

/** One of a few words. Throws `ConfigError`. */
export function parseChoice<T extends string>(option: string, choices: readonly T[], text: string): T {
  const found = choices.find((c) => c === text);
  if (found !== undefined) return found;
  throw new ConfigError(`${option} must be one of ${choices.join(', ')}, got "${text}"`);
}
