/** Random choices that the tasks share. */
import { at, u8At, type Rng } from '../../core/index.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readU8 = u8At;

/** An element of a list, drawn uniformly. */
export function pick<T>(rng: Rng, list: readonly T[]): T {
  return at(list, rng.int(list.length));
}

/** `count` distinct numbers below `n`, in random order. */
export function choose(rng: Rng, n: number, count: number): number[] {
  if (count * 4 > n) return [...rng.permutation(n).subarray(0, count)];
  const chosen = new Set<number>();
  while (chosen.size < count) chosen.add(rng.int(n));
  return [...chosen];
}

/** A list's elements in random order. */
export function shuffled<T>(rng: Rng, list: readonly T[]): T[] {
  return Array.from(rng.permutation(list.length), (i) => at(list, i));
}

const LETTERS = 'abcdefghijklmnopqrstuvwxyz';

/** `count` distinct words of random letters, in the order in which they were drawn. */
export function randomWords(rng: Rng, count: number, length: number): string[] {
  const words = new Set<string>();
  while (words.size < count) words.add(Array.from({ length }, () => LETTERS[rng.int(26)]).join(''));
  return [...words];
}

/** A version 4 UUID (RFC 9562) of 122 random bits. */
export function uuid(rng: Rng): string {
  const bytes = Uint8Array.from({ length: 16 }, () => rng.int(256));
  bytes[6] = (readU8(bytes, 6) & 0x0f) | 0x40;
  bytes[8] = (readU8(bytes, 8) & 0x3f) | 0x80;
  const hex = Buffer.from(bytes).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** A whole number of `digits` digits. */
export function number(rng: Rng, digits: number): string {
  const least = 10 ** (digits - 1);
  return String(least + rng.int(9 * least));
}
