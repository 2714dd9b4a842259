/** Numbers as people read them; used by the report, the verdicts and the command line alike. */
import { ConfigError } from './errors.js';
import { maxOf, minOf } from './lists.js';
import { printable } from './messages.js';

/** Tokens as `2.46 M`, `310 k`, `512`. */
export function formatTokens(tokens: number): string {
  if (tokens >= 1e9) return `${significant(tokens / 1e9)} B`;
  if (tokens >= 1e6) return `${significant(tokens / 1e6)} M`;
  if (tokens >= 1e4) return `${Math.round(tokens / 1e3)} k`;
  return String(Math.round(tokens));
}

/** A count with thousands separated: `205,312`. */
export function formatCount(n: number): string {
  return Math.round(n)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ',');
}

/** Bytes in binary units with three significant digits: `512 bytes`, `1.25 MiB`, `30.0 GiB`. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  const power = units.findLastIndex((_, i) => bytes >= 1024 ** i);
  if (power < 1) return `${bytes} bytes`;
  const value = bytes / 1024 ** power;
  return `${value >= 1000 ? Math.round(value) : value.toPrecision(3)} ${units[power]}`;
}

/** A number with three significant digits. */
export function significant(x: number): string {
  if (x === 0 || !Number.isFinite(x)) return String(x);
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(x))));
  return x.toFixed(Math.min(digits, 6));
}

/** FLOPs with three digits: `980,000`, `1.23e15`. */
export function formatFlops(flops: number): string {
  return flops < 1e6 ? formatCount(flops) : flops.toExponential(2).replace('e+', 'e');
}

/** A ratio with two digits, `2.4`; near 1 with as many as say on which side it lies: `1.01`, `0.998`. */
export function formatRatio(x: number): string {
  if (x >= 100) return String(Math.round(x));
  const digits = [2, 3, 4].find((n) => Number(x.toPrecision(n)) !== 1) ?? 2;
  return x.toPrecision(digits);
}

/** A factor as `2.4 ×`, with the digits of {@link formatRatio}. */
export function formatFactor(x: number): string {
  return `${formatRatio(x)} ×`;
}

/** The smallest and largest of some values as `a to b`, or one value if both print alike. */
export function formatRange(values: readonly number[], format: (x: number) => string): string {
  const low = format(minOf(values));
  const high = format(maxOf(values));
  return low === high ? low : `${low} to ${high}`;
}

/** Bins of distances in words: `distances 33 to 256` where they join, else each range. */
export function formatBins(bins: readonly { from: number; to: number }[]): string {
  const first = bins[0];
  if (first === undefined) return 'no distances';
  const joined = bins.every((bin, i) => i === 0 || bin.from === (bins[i - 1]?.to ?? 0) + 1);
  if (joined) return `distances ${first.from} to ${bins.at(-1)?.to}`;
  return `distances ${bins.map((bin) => `${bin.from} to ${bin.to}`).join(', ')}`;
}

/** A count with its noun, which gets an `s` unless the count is one: `1 seed`, `2 seeds`. */
export function plural(n: number, word: string): string {
  return `${n} ${word}${n === 1 ? '' : 's'}`;
}

/** A text that begins a sentence: its first letter is a capital. */
export function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Items joined as prose does: `a`, `a and b`, `a, b and c`. */
export function list(items: readonly string[]): string {
  if (items.length < 2) return items[0] ?? '';
  return `${items.slice(0, -1).join(', ')} and ${items.at(-1)}`;
}

/** A table of text, columns padded, its cells printable; columns in `right` are set right. */
export function textTable(table: readonly (readonly string[])[], right: ReadonlySet<number> = new Set()): string {
  const rows = table.map((row) => row.map((cell) => printable(cell)));
  const widths = (rows[0] ?? []).map((_, i) => maxOf(rows.map((row) => row[i]?.length ?? 0)));
  const pad = (text: string, i: number) => (right.has(i) ? text.padStart(widths[i] ?? 0) : text.padEnd(widths[i] ?? 0));
  return rows.map((row) => row.map(pad).join('  ').trimEnd()).join('\n');
}

/** `4k,65536,1M` as whole numbers of at least 1, k being 1,024 and M its square. Throws `ConfigError`. */
export function parseContexts(option: string, text: string): number[] {
  const contexts = text.split(',').map((part) => {
    const [, digits, unit = ''] = /^([1-9]\d{0,8})([kM]?)$/.exec(part.trim()) ?? [];
    return Number(digits) * (unit === 'M' ? 2 ** 20 : unit === 'k' ? 2 ** 10 : 1);
  });
  if (contexts.every((n) => n < 1e9)) return contexts;
  throw new ConfigError(
    `${option} must be tokens, below 1,000,000,000 and with commas between, such as 4k,65536,1M, got "${text}"`,
  );
}
