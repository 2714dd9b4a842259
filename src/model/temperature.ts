/**
 * Attention temperature that falls as texts grow: scores times `s ln n`, n being the keys that the query sees, its own
 * included, so that a softmax over more keys does not go flat (scalable softmax, Nakanishi 2025, arXiv 2501.19399). s
 * is fixed, or learned for each head.
 */
import { at, dims, type DType } from '../core/index.js';
import {
  add,
  constantFrom,
  convert,
  div,
  iota,
  min,
  mul,
  reshape,
  scalar,
  sliceAxis,
  sub,
  take,
  type Value,
} from '../graph/index.js';
import { documentPositions } from './documents.js';
import type { MixerScope } from './mixer.js';
import type { HeadGroup, LayerPlan } from './plan.js';
import { headGroups } from './plan.js';
import type { ParamSpec } from './mixers/spec.js';

/** The s of `temp=log`, and at which `temp=learned` starts: 1 / mean ln n over 1,024 tokens, as in the paper. */
const SCALE = 0.168;

/** Heads of a layer that learn their s. */
const learners = (groups: readonly HeadGroup[]): number =>
  groups.reduce((n, group) => n + (group.temperature === 'learned' ? group.heads : 0), 0);

/** The parameter of the learned s of a layer's heads, `[heads that learn it]`, if there are any. */
export function temperatureParams(
  plan: LayerPlan,
  name: string,
  place: Pick<ParamSpec, 'layer' | 'block'>,
): ParamSpec[] {
  const heads = learners(headGroups(plan));
  if (heads === 0) return [];
  return [{ name, shape: [heads], init: { kind: 'constant', value: SCALE }, part: 'mixer', role: 'vector', ...place }];
}

/**
 * Queries `[B,T,heads,headDim]` of one group of a layer times `s ln n`; the queries themselves where the group has no
 * such temperature.
 *
 * @param name the parameter of the learned s of the layer
 */
export function temperQueries(
  q: Value,
  scope: MixerScope,
  groups: readonly HeadGroup[],
  index: number,
  name: string,
): Value {
  const group = at(groups, index);
  if (group.temperature === undefined) return q;
  const logs = logKeys(q, scope, group);
  if (group.temperature === 'log') return mul(q, mul(logs, SCALE));
  const before = learners(groups.slice(0, index));
  const own = sliceAxis(scope.param(name), 0, before, before + group.heads);
  return mul(q, mul(logs, reshape(convert(own, logs.dtype), [1, 1, group.heads, 1])));
}

/** The logarithm of the keys that each query sees, `[B or 1,T,1,1]`. */
function logKeys(q: Value, { positions, segments }: MixerScope, { window, chunk, shares }: HeadGroup): Value {
  const [B, T] = dims(q, 2);
  const dtype: DType = q.dtype === 'f64' ? 'f64' : 'f32';
  const limit = positions?.limit ?? T;
  const seen = (p: number): number => Math.min((chunk === undefined ? p : p % chunk) + 1, window ?? Infinity);
  const plain = positions === null && segments === null && shares === undefined;
  if (plain)
    return constantFrom(
      dtype,
      [1, T, 1, 1],
      Float64Array.from({ length: T }, (_, t) => Math.log(seen(t))),
    );
  const places =
    positions?.values ?? (segments === null ? iota('i32', [B, T], 1) : documentPositions([B, T], segments));
  const inChunk = chunk === undefined ? places : sub(places, mul(div(places, chunk), chunk));
  const keys = add(inChunk, scalar(1, 'i32'));
  const visible = shares === undefined ? min(keys, scalar(Math.min(window ?? limit, limit), 'i32')) : min(keys, rows());
  const table = constantFrom(
    dtype,
    [limit + 1, 1],
    Float64Array.from({ length: limit + 1 }, (_, n) => Math.log(Math.max(n, 1))),
  );
  return reshape(take(table, visible), [B, T, 1, 1]);

  /** The window of each sequence of a batch, `[B,1]`. */
  function rows(): Value {
    const windows = (shares ?? []).flatMap(({ window: own, share }) =>
      Array.from({ length: Math.round(share * B) }, () => Math.min(own ?? limit, limit)),
    );
    return constantFrom('i32', [B, 1], windows);
  }
}
