/** The language of the filter: words, and conditions on columns and configuration keys. No DOM. */
import type { ConfigColumn, RunRow } from '../../src/dashboard/api.js';

/** What a run can be asked for beside its configuration. */
const FIELDS: Readonly<Record<string, (row: RunRow) => Value>> = {
  name: (row) => row.name,
  design: (row) => row.design,
  layers: (row) => row.layers,
  folder: (row) => row.folder,
  state: (row) => row.state,
  engine: (row) => row.engine,
  device: (row) => row.device,
  seed: (row) => row.seed,
  step: (row) => row.step,
  steps: (row) => row.steps,
  tokens: (row) => row.tokens,
  budget: (row) => row.budget,
  parameters: (row) => row.parameters,
  progress: (row) => (row.budget > 0 ? (100 * row.tokens) / row.budget : null),
  eta: (row) => row.eta,
};

/** A value that conditions are about. */
export type Value = string | number | boolean | null | undefined;

/** The configurations of runs: by key a column, whose places follow the list of runs. */
export type Config = Readonly<Record<string, ConfigColumn>>;

/** Reads one value of a run, `at` being its place in the list of runs. */
export type Reader = (row: RunRow, at: number) => Value;

/** A filter, ready to be asked; `problem` says what of it was not understood. */
export interface Filter {
  readonly matches: (row: RunRow, at: number) => boolean;
  readonly problem: string | null;
}

/** The names that conditions may use: fields, and the keys of configurations. */
export function filterKeys(config: Config): string[] {
  return [...Object.keys(FIELDS), ...Object.keys(config).filter((key) => !(key in FIELDS))];
}

/** How to read a key: a field, the last value of a metric, a key of the configuration or the end of one. */
export function readerOf(key: string, config: Config): Reader | null {
  const field = Object.hasOwn(FIELDS, key) ? FIELDS[key] : undefined;
  if (field !== undefined) return field;
  if (Object.hasOwn(config, key)) return configReader(config[key]);
  if (key.includes('/')) return (row) => (Object.hasOwn(row.last, key) ? row.last[key] : undefined);
  const ends = Object.keys(config).filter((name) => name.endsWith(`.${key}`));
  return ends.length > 0 ? configReader(config[ends[0] ?? '']) : null;
}

function configReader(column: ConfigColumn | undefined): Reader {
  return (_, at) => {
    const place = column?.of[at] ?? -1;
    return place < 0 ? undefined : column?.values[place];
  };
}

const CONDITION = /^(-?)([^\s=!<>~"]+)(!=|>=|<=|=|>|<|~)(.*)$/s;

/** Words that hold blanks stand in quotation marks. */
function partsOf(text: string): string[] {
  return [...text.matchAll(/(?:[^\s"]+|"[^"]*"?)+/g)].map(([part]) => part);
}

const bare = (text: string): string => text.replace(/"/g, '');

/** Reads a filter. An empty one lets every run through. */
export function parseFilter(text: string, config: Config): Filter {
  const tests: ((row: RunRow, at: number) => boolean)[] = [];
  const problems: string[] = [];
  for (const part of partsOf(text)) {
    const condition = CONDITION.exec(part);
    if (condition === null) {
      const isNot = part.startsWith('-') && part.length > 1;
      const word = bare(isNot ? part.slice(1) : part).toLowerCase();
      tests.push((row) => textOf(row).includes(word) !== isNot);
      continue;
    }
    const [, minus = '', key = '', operator = '=', value = ''] = condition;
    const reader = readerOf(key, config);
    if (reader === null) problems.push(`no run has a key "${key}"`);
    else if (bare(value) === '') problems.push(`"${part}" lacks a value`);
    else {
      const test = compare(operator, bare(value));
      tests.push((row, at) => test(reader(row, at)) !== (minus === '-'));
    }
  }
  return {
    matches: (row, at) => tests.every((test) => test(row, at)),
    problem: problems.length === 0 ? null : problems.join('; '),
  };
}

const textOf = (row: RunRow): string => `${row.name}\n${row.design}\n${row.folder}\n${row.layers}`.toLowerCase();

function compare(operator: string, wanted: string): (value: Value) => boolean {
  const options = wanted.split(',');
  const number = Number(wanted);
  const isEqual = (value: Value) =>
    value !== undefined &&
    options.some((option) => String(value).toLowerCase() === option.toLowerCase() || isSame(value, option));
  switch (operator) {
    case '=':
      return isEqual;
    case '!=':
      return (value) => !isEqual(value);
    case '~':
      return (value) => value !== undefined && String(value).toLowerCase().includes(wanted.toLowerCase());
    case '>':
      return (value) => typeof value === 'number' && value > number;
    case '>=':
      return (value) => typeof value === 'number' && value >= number;
    case '<':
      return (value) => typeof value === 'number' && value < number;
    default:
      return (value) => typeof value === 'number' && value <= number;
  }
}

const isSame = (value: Value, option: string): boolean =>
  typeof value === 'number' && option.trim() !== '' && value === Number(option);

/** Made once: `localeCompare` with options makes one for each call. */
const BY_NAME = new Intl.Collator('en', { numeric: true });

/** Orders two values: numbers by size, texts by their letters and numbers within, those that are not there last. */
export function compareValues(a: Value, b: Value): number {
  const [noA, noB] = [a === undefined || a === null, b === undefined || b === null];
  if (noA || noB) return noA && noB ? 0 : noA ? 1 : -1;
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return BY_NAME.compare(String(a), String(b));
}
