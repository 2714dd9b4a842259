/** Causal attention: signatures and type rules. */
import { at, dims } from '../../core/index.js';
import { arity, requireFloat, requireIndex, requireShape, shapeError } from '../ir/checks.js';
import { define } from '../ir/emit.js';
import type { TensorType } from '../ir/types.js';

/**
 * Causal attention. Query `t` sees keys `max(0, t - window + 1) .. t`: `window` keys, its own included; null sees all.
 */
export interface AttentionAttrs {
  readonly window: number | null;
  /** The factor on the scores `q k`. */
  readonly scale: number;
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
function checkAttention(
  op: string,
  inputs: readonly TensorType[],
  fixed: number,
  attrs: AttentionAttrs,
): readonly TensorType[] {
  const { window, scale } = attrs;
  const segments = attrs.segments === true ? 1 : 0;
  arity(op, inputs, fixed + segments, fixed + segments + 1);
  requireFloat(op, inputs.slice(0, inputs.length - segments));
  const [q, k, v] = [at(inputs, 0), at(inputs, 1), at(inputs, 2)];
  if ([q, k, v].some(({ shape }) => shape.length !== 4))
    throw shapeError(op, inputs, 'q, k and v must be [B,T,heads,D]');
  const [b, t, h, d] = dims(q, 4);
  const [kb, kt, g, kd] = dims(k, 4);
  const [vb, vt, vg] = dims(v, 4);
  if (kb !== b || kt !== t || kd !== d) throw shapeError(op, inputs, `k must be [${b},${t},G,${d}]`);
  if (vb !== b || vt !== t || vg !== g) throw shapeError(op, inputs, `v must be [${b},${t},${g},E]`);
  if (g < 1 || h % g !== 0) throw shapeError(op, inputs, `${h} query heads are not a multiple of ${g} key heads`);
  if (window !== null && (!Number.isInteger(window) || window < 1)) {
    throw shapeError(
      op,
      inputs,
      `window ${window} must be a whole number of keys >= 1, the query's own included, or null`,
    );
  }
  if (!Number.isFinite(scale)) throw shapeError(op, inputs, `scale ${scale} is not a number`);
  if (segments === 1) {
    requireIndex(op, inputs, inputs.length - 1, 'segments');
    requireShape(op, inputs, inputs.length - 1, [b, t], 'segments');
  }
  const sinks = inputs.slice(fixed, inputs.length - segments);
  if (sinks.length > 0) requireShape(op, inputs, fixed, [h], 'sinks');
  return sinks;
}

/** Definitions of attention and its gradient. */
export const ATTENTION = {
  attention: define(
    'attention',
    (inputs, attrs) => {
      checkAttention('attention', inputs, 3, attrs);
      const { dtype } = at(inputs, 0);
      const [b, t, h] = dims(at(inputs, 0), 3);
      const [, , , e] = dims(at(inputs, 2), 4);
      return [
        { dtype, shape: [b, t, h, e] },
        { dtype, shape: [b, h, t] },
      ];
    },
    { precision: 'bf16', locality: 'any', merging: 'fold' },
  ),
  attentionGrad: define(
    'attentionGrad',
    (inputs, attrs) => {
      const sinks = checkAttention('attentionGrad', inputs, 6, attrs);
      const [b, t, h] = dims(at(inputs, 0), 3);
      const [, , , e] = dims(at(inputs, 2), 4);
      requireShape('attentionGrad', inputs, 3, [b, t, h, e], 'o');
      requireShape('attentionGrad', inputs, 4, [b, h, t], 'lse');
      requireShape('attentionGrad', inputs, 5, [b, t, h, e], 'do');
      return [at(inputs, 0), at(inputs, 1), at(inputs, 2), ...sinks];
    },
    { precision: 'f32', locality: 'any', merging: 'fold' },
  ),
};
