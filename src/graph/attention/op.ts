/** Causal attention: signatures, type rules and op function. */
import { at, dims } from '../../core/index.js';
import type { Operands } from '../ir/checks.js';
import { build, define } from '../ir/emit.js';
import type { TensorType, Value } from '../ir/types.js';

/**
 * Causal attention. Query `t` sees keys `max(0, t - window + 1) .. t`: `window` keys, its own included; null sees all.
 */
export interface AttentionAttrs {
  readonly window: number | null;
  /** The factor on the scores `q k`. */
  readonly scale: number;
  /** The c of scores `c tanh(s / c)` in place of the scaled scores s; not capped where it is left out. */
  readonly softcap?: number;
  /** Whether the last input is the document of each token: then a query sees only keys of its own. */
  readonly segments?: boolean;
}

declare module '../ir/types.js' {
  interface OpSignatures {
    /**
     * q `[B,T,H,D]`, k `[B,T,G,D]`, v `[B,T,G,E]`, [sinks `[H]`], [segments i32 `[B,T]`] -> o `[B,T,H,E]`, log-sum-exp
     * `[B,H,T]` (sinks included).
     */
    readonly attention: Signature<
      AttentionAttrs,
      readonly [q: Value, k: Value, v: Value, ...optional: Value[]],
      readonly [out: Value, lse: Value]
    >;
    /**
     * q, k, v, o, lse, do, [sinks], [segments] -> dq, dk, dv, [dsinks]. Probabilities are recomputed from q, k and lse.
     */
    readonly attentionGrad: Signature<
      AttentionAttrs,
      readonly [q: Value, k: Value, v: Value, out: Value, lse: Value, dOut: Value, ...optional: Value[]],
      readonly [dq: Value, dk: Value, dv: Value, ...dsinks: Value[]]
    >;
  }
}

/** Checks the inputs of an attention, `fixed` of them and then perhaps sinks and segments; gives the sinks. */
function checkAttention(inputs: Operands, fixed: number, attrs: AttentionAttrs): readonly TensorType[] {
  const { window, scale, softcap } = attrs;
  const segments = attrs.segments === true ? 1 : 0;
  inputs.requireCount(fixed + segments, fixed + segments + 1);
  inputs.slice(0, inputs.length - segments).floatDtype();
  const [q, k, v] = [inputs.at(0), inputs.at(1), inputs.at(2)];
  if ([q, k, v].some(({ shape }) => shape.length !== 4)) throw inputs.shapeError('q, k and v must be [B,T,heads,D]');
  const [b, t, h, d] = dims(q, 4);
  const [kb, kt, g, kd] = dims(k, 4);
  const [vb, vt, vg] = dims(v, 4);
  if (kb !== b || kt !== t || kd !== d) throw inputs.shapeError(`k must be [${b},${t},G,${d}]`);
  if (vb !== b || vt !== t || vg !== g) throw inputs.shapeError(`v must be [${b},${t},${g},E]`);
  if (g < 1 || h % g !== 0) throw inputs.shapeError(`${h} query heads are not a multiple of ${g} key heads`);
  if (window !== null && (!Number.isInteger(window) || window < 1)) {
    const wanted = "must be a whole number of keys >= 1, the query's own included, or null";
    throw inputs.shapeError(`window ${window} ${wanted}`);
  }
  if (!Number.isFinite(scale)) throw inputs.shapeError(`scale ${scale} is not a number`);
  if (softcap !== undefined && !(softcap > 0 && Number.isFinite(softcap)))
    throw inputs.shapeError(`softcap ${softcap} is not a number above 0`);
  if (segments === 1) {
    inputs.requireIndex(-1, 'segments');
    inputs.requireShape(-1, [b, t], 'segments');
  }
  const sinks = inputs.types.slice(fixed, inputs.length - segments);
  if (sinks.length > 0) inputs.requireShape(fixed, [h], 'sinks');
  return sinks;
}

/** The types of the output and of the log-sum-exp of checked inputs. */
function resultsOf(inputs: Operands): readonly [out: TensorType, lse: TensorType] {
  const { dtype } = inputs.at(0);
  const [b, t, h] = dims(inputs.at(0), 3);
  return [
    { dtype, shape: [b, t, h, at(inputs.shape(2), 3)] },
    { dtype, shape: [b, h, t] },
  ];
}

/** Definitions of attention and its gradient. */
export const ATTENTION = {
  attention: define('attention', null, { precision: 'bf16', locality: 'any', merging: 'fold' }, (inputs, attrs) => {
    checkAttention(inputs, 3, attrs);
    return resultsOf(inputs);
  }),
  attentionGrad: define(
    'attentionGrad',
    null,
    { precision: 'f32', locality: 'any', merging: 'fold' },
    (inputs, attrs) => {
      const sinks = checkAttention(inputs, 6, attrs);
      const [out, lse] = resultsOf(inputs);
      inputs.requireShape(3, out.shape, 'o');
      inputs.requireShape(4, lse.shape, 'lse');
      inputs.requireShape(5, out.shape, 'do');
      return [...inputs.types.slice(0, 3), ...sinks];
    },
  ),
};

/**
 * Causal attention with grouped queries: q `[B,T,H,D]`, k `[B,T,G,D]`, v `[B,T,G,E]` with G dividing H (query head h
 * uses key head `floor(h / (H/G))`), sinks `[H]` or null, and segments, the document of each token (i32 `[B,T]`, a new
 * one wherever the id changes): a query then sees only keys of its own document. `softcap` caps the scaled scores.
 * Returns o `[B,T,H,E]` and the
 * log-sum-exp `[B,H,T]`, which is a statistic for the derivative and for analyses: asking for its own derivative
 * throws.
 */
export function attention(
  q: Value,
  k: Value,
  v: Value,
  options: Omit<AttentionAttrs, 'segments' | 'softcap'> & {
    readonly softcap?: number | null;
    readonly sinks?: Value | null;
    readonly segments?: Value | null;
  },
): { readonly out: Value; readonly lse: Value } {
  const { window, scale, softcap = null, sinks = null, segments = null } = options;
  const attrs = {
    ...{ window, scale },
    ...(softcap === null ? {} : { softcap }),
    ...(segments ? { segments: true } : {}),
  };
  const optional = [sinks, segments].filter((x) => x !== null);
  const [out, lse] = build(ATTENTION.attention, [q, k, v, ...optional], attrs);
  return { out, lse };
}
