/** Where two plain values differ. */
import { clip } from './messages.js';

/** One place where two values differ. */
export interface Difference {
  /** Keys joined by points, places in lists in brackets: `data[0].weight`. */
  readonly path: string;
  /** The values there; undefined where there is none. */
  readonly a: unknown;
  readonly b: unknown;
}

/** The places at which two values that JSON can hold differ, in the order of `a`'s keys and then `b`'s. */
export function differences(a: unknown, b: unknown, path = ''): Difference[] {
  const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
  if (isObject(a) && isObject(b) && Array.isArray(a) === Array.isArray(b)) {
    const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])];
    const inside = (key: string) => (Array.isArray(b) ? `${path}[${key}]` : path === '' ? key : `${path}.${key}`);
    return keys.flatMap((key) => differences(a[key], b[key], inside(key)));
  }
  return JSON.stringify(a) === JSON.stringify(b) ? [] : [{ path, a, b }];
}

/** `train.steps was 4, now 8; model.layers was nothing, now []; and 3 more`, with at most `most` places spelt out. */
export function describeDifferences(found: readonly Difference[], most = 4): string {
  const show = (value: unknown) => (value === undefined ? 'nothing' : clip(JSON.stringify(value)));
  const listed = found.slice(0, most).map(({ path, a, b }) => `${path} was ${show(a)}, now ${show(b)}`);
  const more = found.length - listed.length;
  return listed.join('; ') + (more > 0 ? `; and ${more} more` : '');
}
