/**
 * Which tensors of a Transformers model make up a parameter of ours, and row by row in which order: one description for
 * import, export and gradients.
 *
 * Their linear weights are `[out, in]`, ours `[in, out]` with several side by side. Rotary positions turn channels (m,
 * m + D/2) of a head here; where theirs turn neighbors, or only the first channels, the rows of queries and keys are
 * permuted.
 */
import type { Shape } from '../../../core/index.js';
import type { ModelConfig } from '../../../model/index.js';

/** Rows of one of their tensors. */
export interface Source {
  readonly tensor: string;
  /** Rows that their tensor has in all. */
  readonly rows: number;
  /** The rows that are ours, in our order; null takes all as they are. */
  readonly take: readonly number[] | null;
  /** Shape of a row of theirs, where it is not what ours implies. */
  readonly inner?: Shape;
  /** Where the rows are those of one of several matrices in the tensor `[count, rows, ...]`: which one. */
  readonly within?: { readonly index: number; readonly count: number };
  /** What exported tensors hold in rows that no parameter takes (default: 0). */
  readonly rest?: number;
  /** The name of these rows in memory, where the class keeps them as a tensor of their own there. */
  readonly inMemory?: string;
}

/** Which tensors of a Transformers model make up one Longsight parameter, and in which order. */
export interface ParameterLayout {
  /**
   * Whether rows of the tensors are columns of the parameter (matrices); otherwise rows are rows (embeddings, vectors).
   */
  readonly transposed: boolean;
  /** The tensors, concatenated along the parameter's columns or rows. */
  readonly sources: readonly Source[];
  /**
   * The number of members of a parameter that is a stack `[members, ...]`, such as one of experts. The sources are
   * those of the first, then of the second, and so on, as many for each.
   */
  readonly members?: number;
  /** The column of theirs that each of ours is, of parameters whose rows are theirs (default: the same). */
  readonly columns?: readonly number[];
}

/** A tensor that is taken whole, all `rows` of it in order. */
export const whole = (tensor: string, rows: number, inner?: Shape): Source => ({
  tensor,
  rows,
  take: null,
  ...(inner === undefined ? {} : { inner }),
});

/** A parameter `[in, out]` made of matrices `[out, in]`, side by side. */
export const matrix = (...sources: readonly Source[]): ParameterLayout => ({ transposed: true, sources });
/** A parameter made of the tensors' rows, one tensor after another. */
export const rows = (...sources: readonly Source[]): ParameterLayout => ({ transposed: false, sources });

/** A parameter `[members, ...]`, each of whose members is laid out as `of` says. */
export function stack(members: number, of: (index: number) => ParameterLayout): ParameterLayout {
  const layouts = range(0, members).map(of);
  const [first] = layouts;
  return { ...(first ?? matrix()), sources: layouts.flatMap(({ sources }) => sources), members };
}

/** `first, first + 1, ...`, `count` of them. */
export const range = (first: number, count: number): number[] => Array.from({ length: count }, (_, i) => first + i);

/** Which channels of a head of theirs turn with one another: the two halves, neighbors, or the halves the other way. */
export type RotaryPairs = 'halves' | 'neighbors' | 'backward';

/** The channel of Transformers' head that each channel of a Longsight head comes from. */
export function headChannels(
  { headDim, ropeDim }: Pick<ModelConfig, 'headDim' | 'ropeDim'>,
  turns: RotaryPairs,
): number[] {
  const [half, turning] = [headDim / 2, ropeDim / 2];
  const pair = (m: number, second: number) =>
    m >= turning
      ? ropeDim + (m - turning) + second * (half - turning)
      : turns === 'neighbors'
        ? 2 * m + second
        : m + (turns === 'backward' ? 1 - second : second) * turning;
  return headDim % 2 === 1 ? range(0, headDim) : [0, 1].flatMap((second) => range(0, half).map((m) => pair(m, second)));
}

/**
 * The rows of `heads` heads, each `stride` rows (the head's width if not told) after the one before, channels permuted.
 */
export function headRows(heads: number, channels: readonly number[], stride = channels.length): number[] | null {
  const all = Array.from({ length: heads }, (_, h) => channels.map((c) => h * stride + c)).flat();
  return all.every((row, i) => row === i) && stride === channels.length ? null : all;
}
