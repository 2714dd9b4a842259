/** The op functions of the linear recurrences and of the short convolution. */
import { build } from '../ir/emit.js';
import type { Value } from '../ir/types.js';
import { RECURRENCE } from './type.js';

/** What the linear recurrences may be given beside their inputs. */
export interface RecurrenceOptions {
  /** Factor of the output. */
  readonly scale: number;
  /** Tokens that the chunkwise form takes at once, a power of two up to 1024; default chosen by the op. */
  readonly chunk?: number | null;
  /** The document of each token, i32 `[B,T]`: the state starts from zero wherever the id changes. */
  readonly segments?: Value | null;
  /** The state before the first token, `[B,H,K,V]`; default zero. It belongs to the first token's document. */
  readonly initialState?: Value | null;
}

/** The outputs of a recurrence. */
export interface Recurrence {
  /** `[B,T,H,V]`, in the dtype of q; of a convolution `[B,T,C]`. */
  readonly out: Value;
  /**
   * The state after the last token, `[B,H,K,V]` (of a selective scan `[B,I,N]`), f32 beside bf16 inputs; of a
   * convolution the last inputs, `[B,W-1,C]`.
   */
  readonly state: Value;
}

/** Attributes and optional inputs from options. */
function given(options: RecurrenceOptions) {
  const { scale, chunk = null, segments = null, initialState = null } = options;
  const optional = [segments, initialState].filter((v) => v !== null);
  return { optional, attrs: { scale, chunk, segments: segments !== null, initialState: initialState !== null } };
}

/**
 * Linear attention with decay: `S_t = exp(logDecay_t) S_{t-1} + k_t^T v_t`, `o_t = scale q_t S_t` per head (Lightning
 * Attention, Simple GLA; Mamba-2 with q = C, k = B, v = dt x, logDecay = dt A). q `[B,T,Hq,K]`, k `[B,T,Hk,K]`, v
 * `[B,T,Hv,V]`, logDecay `[B,T,H]` (natural log, at most 0), or `[H]` for a decay that is the same at every token. Each
 * head count divides H; head h uses head `floor(h / (H/Hq))` of q, and so on. Decays and states are f32 where q, k and
 * v are bf16.
 */
export function linearRecurrence(
  q: Value,
  k: Value,
  v: Value,
  logDecay: Value,
  options: RecurrenceOptions,
): Recurrence {
  const { optional, attrs } = given(options);
  const [out, state] = build(RECURRENCE.linearRecurrence, [q, k, v, logDecay, ...optional], attrs);
  return { out, state };
}

/** Keys of the delta rule's removal, `[B,T,H,K]` each, f32 beside bf16 queries. */
export interface Removal {
  /** What reads the decayed state. */
  readonly read: Value;
  /** What the reading is taken out of the state by. */
  readonly erase: Value;
}

/** What the delta rule may be given beside its inputs. */
export interface DeltaRuleOptions extends RecurrenceOptions {
  /** Keys of removal, beside decays of each key channel; null (the default) removes by the keys. */
  readonly removal?: Removal | null;
  /**
   * A bound on the log decays, at most 0: none is less. Kernels that need one for keys of removal take the recurrence
   * then; results are undefined where it does not hold. null (the default) promises nothing.
   */
  readonly leastDecay?: number | null;
}

/**
 * The gated delta rule: `S' = exp(logDecay_t) S_{t-1}`, `S_t = S' + beta_t k_t^T (v_t - k_t S')`, `o_t = scale q_t S_t`
 * per head (Gated DeltaNet, Yang et al. 2025). Shapes as in `linearRecurrence`, with logDecay `[B,T,H]`, or `[B,T,H,K]`
 * for a decay of each key channel (Kimi Delta Attention), and beta `[B,T,H]`. Keys should have unit length and beta be
 * in 0 to 2: beyond that the recurrence itself diverges.
 *
 * With keys of `removal`, `S_t = S' + beta_t (k_t^T v_t - erase_t^T (read_t S'))`: the generalized delta rule of RWKV-7
 * (Peng et al. 2025), a decay of each key channel plus a matrix of rank one. Then it is `read · erase` times beta that
 * should be in 0 to 2.
 */
export function deltaRule(
  q: Value,
  k: Value,
  v: Value,
  logDecay: Value,
  beta: Value,
  options: DeltaRuleOptions,
): Recurrence {
  const { optional, attrs } = given(options);
  const { removal = null, leastDecay = null } = options;
  const keys = removal === null ? [] : [removal.read, removal.erase];
  const inputs = [q, k, v, logDecay, beta, ...keys, ...optional] as const;
  const [out, state] = build(RECURRENCE.deltaRule, inputs, {
    ...attrs,
    ...(removal === null ? {} : { removal: true }),
    ...(leastDecay === null ? {} : { leastDecay }),
  });
  return { out, state };
}

/** What the selective scan may be given beside its inputs. */
export interface SelectiveScanOptions extends Omit<RecurrenceOptions, 'scale'> {
  /** Whether the gradient is an op of its own, for which engines may have kernels; default false. */
  readonly ownGradient?: boolean;
}

/**
 * The selective scan of Mamba (Gu and Dao 2023): `S_t[i,n] = exp(dt_t[i] A[i,n]) S_{t-1}[i,n] + dt_t[i] u_t[i] B_t[n]`,
 * `y_t[i] = sum_n C_t[n] S_t[i,n]`, for channels i and their states n. u `[B,T,I]`, B and C `[B,T,N]`; dt `[B,T,I]` (at
 * least 0) and A `[I,N]` (at most 0) are f32 where the others are bf16. `initialState` and the state are `[B,I,N]`.
 * With `ownGradient` the derivative is the op `selectiveScanGrad`, and engines may have kernels for both.
 */
export function selectiveScan(
  { u, write, read, step, rates }: SelectiveScanInputs,
  options: SelectiveScanOptions = {},
): Recurrence {
  const { optional, attrs } = given({ ...options, scale: 1 });
  const { scale: _scale, ...own } = attrs;
  const [out, state] = build(RECURRENCE.selectiveScan, [u, write, read, step, rates, ...optional], {
    ...own,
    ...(options.ownGradient ? { ownGradient: true } : {}),
  });
  return { out, state };
}

/** What the selective scan reads, by what it is for; the letters are those of the paper. */
export interface SelectiveScanInputs {
  /** What is written, u `[B,T,I]`. */
  readonly u: Value;
  /** B `[B,T,N]`: how much of it each state takes. */
  readonly write: Value;
  /** C `[B,T,N]`: how states are read. */
  readonly read: Value;
  /** Time steps dt `[B,T,I]`, at least 0. */
  readonly step: Value;
  /** A `[I,N]`, at most 0: `-A` is what a state forgets in nats per unit of time. */
  readonly rates: Value;
}

/**
 * Causal depthwise convolution over tokens: `y_t[c] = bias[c] + sum_m weight[c,m] x_{t-W+1+m}[c]`, x `[B,T,C]`, weight
 * `[C,W]` (the last tap meets the token itself), no activation. What precedes the first token is `initialState
 * [B,W-1,C]`, default zeros; with `segments` (i32 `[B,T]`) taps see zeros beyond the start of the token's document.
 * Returns out `[B,T,C]` and the state `[B,W-1,C]` that continues the last document.
 */
export function causalConv(
  x: Value,
  weight: Value,
  options: {
    readonly bias?: Value | null;
    readonly segments?: Value | null;
    readonly initialState?: Value | null;
  } = {},
): Recurrence {
  const { bias = null, segments = null, initialState = null } = options;
  const optional = [bias, segments, initialState].filter((v) => v !== null);
  const attrs = { bias: bias !== null, segments: segments !== null, initialState: initialState !== null };
  const [out, state] = build(RECURRENCE.causalConv, [x, weight, ...optional], attrs);
  return { out, state };
}
