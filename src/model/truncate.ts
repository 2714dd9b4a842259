/**
 * Recurrent mixers with a truncated history: at every token the mixer runs over that token and the `reach - 1` before
 * it alone, from an empty state, as a window shows an attention its last keys. For analyses: it costs `reach` times the
 * work.
 */
import { dims } from '../core/index.js';
import { constantFrom, convert, eq, ne, reshape, scalar, select, sliceAxis, take, type Value } from '../graph/index.js';
import { firstTokens } from './documents.js';
import type { Mixer, MixerOutput, MixerScope } from './mixer.js';
import type { RecurrentPlan } from './plan.js';

/** The document number of what stands before the start of a sequence; no document has it. */
const BEFORE_START = -1;

/**
 * For each of B*T windows the tokens that it shows, as rows of sequences laid end to end, and which lie before the
 * start.
 */
function windows(B: number, T: number, reach: number): { readonly rows: Value; readonly before: Value } {
  const count = B * T * reach;
  const place = (i: number): number => (Math.floor(i / reach) % T) - reach + 1 + (i % reach);
  const rows = Array.from({ length: count }, (_, i) => Math.floor(i / (T * reach)) * T + Math.max(0, place(i)));
  const before = Array.from({ length: count }, (_, i) => Number(place(i) < 0));
  return { rows: constantFrom('i32', [count], rows), before: constantFrom('i32', [count], before) };
}

/** The forward pass of a mixer that remembers at most `reach` tokens, the token's own included. */
export function buildTruncated(
  mixer: Mixer<RecurrentPlan>,
  scope: MixerScope,
  plan: RecurrentPlan,
  reach: number,
): MixerOutput {
  const { x, segments } = scope;
  const [B, T] = dims(x, 3);
  const { rows, before } = windows(B, T, reach);
  const starts = reshape(convert(firstTokens([B, T], segments), 'i32'), [B * T]);
  const own = segments ? take(reshape(segments, [B * T]), rows) : scalar(0, 'i32');
  // A window shows what earlier layers have handed on of its tokens, and a token hands on what it has in its own.
  const shown = (value: Value): Value => {
    const rest = value.shape.slice(2);
    return reshape(take(reshape(value, [B * T, ...rest]), rows), [B * T, reach, ...rest]);
  };
  const last = (value: Value): Value => reshape(sliceAxis(value, 1, reach - 1, reach), [B, T, ...value.shape.slice(2)]);
  const { out, hands = {} } = mixer.build(
    {
      ...scope,
      x: shown(x),
      handed: new Map([...scope.handed].map(([name, value]) => [name, shown(value)])),
      starts: ne(reshape(take(starts, rows), [B * T, reach]), 0),
      segments: reshape(select(eq(before, 1), scalar(BEFORE_START, 'i32'), own), [B * T, reach]),
    },
    plan,
  );
  return {
    out: last(out),
    hands: Object.fromEntries(Object.entries(hands).map(([name, value]) => [name, last(value)])),
  };
}
