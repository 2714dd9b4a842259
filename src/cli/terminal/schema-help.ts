/**
 * Configuration keys with types, defaults and meanings, read off a zod schema: help texts and documentation come from
 * here.
 */
import { z } from 'zod';
import { isLimit } from '../../core/index.js';

/** A configuration key as help texts list it. */
export interface KeyHelp {
  /** Dotted; keys of one kind of a union carry `[kind: recall]`. */
  readonly path: string;
  /** What may stand there, such as `whole number >= 1`. */
  readonly type: string;
  /** The default value as JSON; null where there is none. */
  readonly default: string | null;
  readonly required: boolean;
  readonly description: string;
  /** Its unit, where the schema names one (`field`). */
  readonly unit: string;
  /** Holds further keys, which follow. */
  readonly group: boolean;
}

type Schema = z.core.$ZodTypes;

interface Unwrapped {
  readonly schema: Schema;
  readonly description: string;
  readonly unit: string;
  readonly default: unknown;
  readonly optional: boolean;
}

/** Every key below an object schema, parents before children, in the order of the schema. */
export function describeKeys(schema: z.ZodType, path = ''): KeyHelp[] {
  return keysOf(unwrap(schema as unknown as Schema).schema, path);
}

function keysOf(schema: Schema, path: string): KeyHelp[] {
  const { def } = schema._zod;
  switch (def.type) {
    case 'object':
      return Object.entries(def.shape).flatMap(([key, child]) =>
        describeKey(child as Schema, path === '' ? key : `${path}.${key}`),
      );
    case 'union': {
      const key = (def as { discriminator?: string }).discriminator;
      return def.options.flatMap((option) => {
        const inner = unwrap(option as Schema).schema;
        if (inner._zod.def.type === 'array') return []; // of the other options: a list where one would do
        if (key === undefined || inner._zod.def.type !== 'object') return isGroup(inner) ? keysOf(inner, path) : [];
        const value = [...(inner._zod.propValues?.[key] ?? [])].join('|');
        return keysOf(inner, `${path}[${key}: ${value}]`).filter((k) => !k.path.endsWith(`].${key}`));
      });
    }
    case 'array':
      return keysOf(unwrap(def.element as Schema).schema, `${path}[]`);
    case 'nullable':
      return keysOf(unwrap(def.innerType as Schema).schema, path);
    default:
      return [];
  }
}

function describeKey(schema: Schema, path: string): KeyHelp[] {
  const { schema: inner, description, unit, default: standard, optional } = unwrap(schema);
  const children = keysOf(inner, path);
  const own: KeyHelp = {
    path,
    type: typeOf(inner),
    default: standard === undefined || JSON.stringify(standard) === '{}' ? null : show(standard),
    required: !optional && standard === undefined,
    description,
    unit,
    group: children.length > 0,
  };
  return [own, ...children];
}

function show(value: unknown): string {
  return JSON.stringify(value).replace(/^0\.00000(\d)$/, '$1e-6');
}

/** The schema below optional, default, pipe and the like, with what was found on the way. */
function unwrap(schema: Schema): Unwrapped {
  let current = schema;
  let description = '';
  let unit = '';
  let standard: unknown;
  let optional = false;
  for (;;) {
    const meta = (current as unknown as z.ZodType).meta();
    if (description === '') description = meta?.description ?? '';
    if (unit === '' && typeof meta?.['unit'] === 'string') unit = meta['unit'];
    const { def } = current._zod;
    if (def.type === 'default' || def.type === 'prefault') standard ??= def.defaultValue;
    if (def.type === 'optional') optional = true;
    if (def.type === 'pipe') current = def.in as Schema;
    else if ('innerType' in def && def.type !== 'nullable') current = def.innerType as Schema;
    else return { schema: current, description, unit, default: standard, optional };
  }
}

function isGroup(schema: Schema): boolean {
  return keysOf(schema, '').length > 0;
}

const NAMES: Readonly<Record<string, string>> = {
  string: 'text',
  boolean: 'true or false',
  record: 'keys and values',
  object: 'keys and values',
  unknown: 'any value',
  null: 'null',
};

function typeOf(schema: Schema): string {
  const { def } = schema._zod;
  switch (def.type) {
    case 'number':
      return numberType(schema);
    case 'enum':
      return Object.values(def.entries).join(' | ');
    case 'literal':
      return def.values.map((v) => JSON.stringify(v)).join(' | ');
    case 'array':
      return `list of ${elementType(unwrap(def.element as Schema).schema)}`;
    case 'tuple':
      return `list of ${def.items.length}`;
    case 'nullable':
      return `${typeOf(unwrap(def.innerType as Schema).schema)} or null`;
    case 'union':
      return [...new Set(def.options.map((option) => typeOf(unwrap(option as Schema).schema)))].join(', or ');
    default:
      return NAMES[def.type] ?? def.type;
  }
}

/** The type of what a list holds; in parentheses where null may stand in it. */
function elementType(schema: Schema): string {
  const type = typeOf(schema);
  return schema._zod.def.type === 'nullable' ? `(${type})` : type;
}

function numberType(schema: Schema): string {
  const { type, minimum, maximum, exclusiveMinimum, exclusiveMaximum } = z.toJSONSchema(schema);
  const within = (bound: unknown): bound is number =>
    typeof bound === 'number' && Math.abs(bound) < Number.MAX_SAFE_INTEGER;
  const limits = [
    within(minimum) ? `>= ${String(minimum)}` : within(exclusiveMinimum) ? `> ${String(exclusiveMinimum)}` : '',
    within(maximum) && !isLimit(maximum)
      ? `<= ${String(maximum)}`
      : within(exclusiveMaximum)
        ? `< ${String(exclusiveMaximum)}`
        : '',
  ].filter((text) => text !== '');
  return [type === 'integer' ? 'whole number' : 'number', limits.join(', ')].filter((text) => text !== '').join(' ');
}

/** The keys as lines for a terminal. */
export function helpText(keys: readonly KeyHelp[], width = 100): string {
  return keys
    .flatMap((key) => {
      const standard = key.default !== null ? ` [${key.default}]` : key.required ? ' (required)' : '';
      const head = key.group && key.default === null ? `  ${key.path}` : `  ${key.path}: ${key.type}${standard}`;
      const [first, ...rest] = head.length <= width ? [head] : wrap(head.replaceAll(',"', ', "'), width - 6);
      return [
        `  ${first?.trimStart() ?? ''}`,
        ...[...rest, ...wrap(key.description, width - 6)].map((line) => `      ${line}`),
      ];
    })
    .join('\n');
}

/** The keys as a Markdown table. */
export function helpMarkdown(keys: readonly KeyHelp[]): string {
  const cell = (text: string) => text.replace(/\|/g, '\\|').replace(/</g, '&lt;');
  const rows = keys.map((key) => {
    const standard = key.default !== null ? `\`${key.default}\`` : key.required ? 'required' : '';
    return `| \`${key.path}\` | ${cell(key.type)} | ${standard} | ${cell(key.description)} |`;
  });
  return ['| key | value | default | meaning |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/).filter((w) => w !== '')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
