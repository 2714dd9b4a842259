/**
 * Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/): momentum, then the nearest matrix whose singular
 * values are near 1, found by five steps of a Newton-Schulz iteration. For hidden matrices; AdamW updates the rest.
 *
 * With g the clipped gradient and mu the momentum:
 *   m <- mu m + (1 - mu) g; u = mu m + (1 - mu) g (Nesterov), or m
 *   p <- p - rate (scale orthogonalized(u) + weightDecay p)
 * as `torch.optim.Muon` has it. Each matrix that acts by itself is orthogonalized by itself: queries, keys and values,
 * a gate and what it gates, each expert and each block, though they are stored in one tensor (`ParamSpec.columns`).
 */
import { at, got, present, sizeOf, type DType } from '../../core/index.js';
import {
  add,
  concat,
  convert,
  div,
  matmul,
  matmulTransposed,
  max,
  mul,
  reduceSum,
  reshape,
  sliceAxis,
  split,
  sqrt,
  sub,
  transpose,
  type Value,
} from '../../graph/index.js';
import { decays, isHiddenMatrix, type ParamSpec } from '../../model/index.js';
import type { OptimizerConfig, OptimizerDefinition, UpdatedGroup, UpdateGroup, UpdateScope } from './definition.js';
import { SCALES, type MuonConfig } from './muon-config.js';

/** Coefficients of the quintic a x + b x^3 + c x^5 of the iteration, and what norms are at least. */
const [A, B, C] = [3.4445, -4.775, 2.0315];
const LEAST_NORM = 1e-7;

/**
 * Matrices `x [n, rows, columns]`, rows <= columns, with their singular values brought to about 0.7 .. 1.2 and their
 * singular vectors kept. Products are computed in `dtype`, batched over n; the result has the dtype of `x`.
 */
export function orthogonalized(x: Value, steps: number, dtype: DType): Value {
  const norm = max(sqrt(reduceSum(mul(x, x), [1, 2], true)), LEAST_NORM);
  let y = convert(div(x, norm), dtype);
  for (let i = 0; i < steps; i++) {
    const gram = matmulTransposed(y, y);
    const polynomial = add(mul(gram, B), mul(matmul(gram, gram), C));
    y = add(mul(y, A), matmul(polynomial, y));
  }
  return convert(y, x.dtype);
}

/** One or several matrices of one shape that a parameter is made of: columns `from` to `to` of its last axis. */
interface Piece {
  readonly from: number;
  readonly to: number;
  /** How many lie one behind the other, as experts do. */
  readonly count: number;
  readonly rows: number;
  readonly columns: number;
}

/** The matrices of a parameter; see `ParamSpec.columns`. */
export function piecesOf({ shape, columns }: Pick<ParamSpec, 'shape' | 'columns'>): Piece[] {
  const [rows, width] = [at(shape, shape.length - 2), at(shape, shape.length - 1)];
  const count = sizeOf(shape.slice(0, -2));
  let from = 0;
  return (columns ?? [width]).map((own) => {
    const piece = { from, to: from + own, count, rows, columns: own };
    from += own;
    return piece;
  });
}

/** `[n, rows, columns]` with the shorter side first. */
const upright = (x: Value): Value => (at(x.shape, 1) <= at(x.shape, 2) ? x : transpose(x, [0, 2, 1]));

/** A piece of one of several values, upright, `[count, shorter side, longer side]`. */
interface Cut {
  readonly owner: number;
  readonly piece: Piece;
  readonly x: Value;
}

function cut(value: Value, spec: ParamSpec, owner: number): Cut[] {
  const axis = value.shape.length - 1;
  return piecesOf(spec).map((piece) => {
    const isWhole = piece.to - piece.from === at(value.shape, axis);
    const own = isWhole ? value : sliceAxis(value, axis, piece.from, piece.to);
    return { owner, piece, x: upright(reshape(own, [piece.count, piece.rows, piece.columns])) };
  });
}

/** Pieces of one shape orthogonalized in batched products, each as it was cut. */
function orthogonalizeAlike(cuts: readonly Cut[], steps: number, products: DType): readonly Value[] {
  const xs = cuts.map(({ x }) => x);
  const counts = cuts.map(({ piece }) => piece.count);
  return split(orthogonalized(xs.length === 1 ? at(xs, 0) : concat(xs, 0), steps, products), 0, counts);
}

/** The reverse of `cut`, each piece times the factor of its shape. */
function joined(value: Value, pieces: readonly (readonly [Piece, Value])[], scale: MuonConfig['scale']): Value {
  const parts = pieces.map(([{ rows, columns }, y]) => {
    const turned = rows <= columns ? y : transpose(y, [0, 2, 1]);
    return mul(reshape(turned, [...value.shape.slice(0, -1), columns]), SCALES[scale].factor(rows, columns));
  });
  return parts.length === 1 ? at(parts, 0) : concat(parts, value.shape.length - 1);
}

/** Orthogonalizes every matrix that values `[..., in, out]` of parameters are made of, and scales it. */
function orthogonalizeAll(
  values: readonly { readonly spec: ParamSpec; readonly value: Value }[],
  { steps, scale }: MuonConfig,
  products: DType,
): Value[] {
  const cuts = values.flatMap(({ spec, value }, owner) => cut(value, spec, owner));
  const byShape = new Map<string, Cut[]>();
  for (const one of cuts) {
    const shape = one.x.shape.slice(1).join(' ');
    byShape.set(shape, [...(byShape.get(shape) ?? []), one]);
  }
  const done = new Map<Cut, Value>();
  for (const alike of byShape.values()) {
    const results = orthogonalizeAlike(alike, steps, products);
    alike.forEach((one, i) => done.set(one, at(results, i)));
  }
  return values.map(({ value }, owner) => {
    const own = cuts.filter((one) => one.owner === owner);
    return joined(
      value,
      own.map((one) => [one.piece, got(done, one)] as const),
      scale,
    );
  });
}

function settingsOf({ muon: settings }: OptimizerConfig): MuonConfig {
  return present(settings);
}

function update(groups: readonly UpdateGroup[], { config, clip, scalar, products }: UpdateScope): UpdatedGroup[] {
  const settings = settingsOf(config);
  const { momentum, nesterov } = settings;
  const means = groups.map(({ gradient, moments }) => {
    const share = mul(clip === null ? gradient : mul(gradient, clip), 1 - momentum);
    const m = add(mul(present(moments.m), momentum), share);
    return { m, u: nesterov ? add(mul(m, momentum), share) : m };
  });
  const directions = orthogonalizeAll(
    groups.map(({ specs }, i) => ({ spec: at(specs, 0), value: at(means, i).u })),
    settings,
    products,
  );
  return groups.map(({ specs, parameters }, i) => {
    const [parameter, spec] = [at(parameters, 0), at(specs, 0)];
    const kept = decays(spec) ? mul(parameter, scalar('muonKeep')) : parameter;
    const next = sub(kept, mul(at(directions, i), scalar('muonRate')));
    return { parameters: [next], moments: { m: at(means, i).m } };
  });
}

/** Muon, for hidden matrices. */
export const muon: OptimizerDefinition = {
  summary: 'Muon for hidden matrices and AdamW for the rest (Jordan et al. 2024)',
  takes: isHiddenMatrix,
  moments: ['m'],
  elementwise: false,
  scalars: ['muonRate', 'muonKeep'],
  scalarsAt: (config, lr) => {
    const settings = settingsOf(config);
    const rate = (settings.lr * lr) / present(config.lr);
    return { muonRate: rate, muonKeep: 1 - rate * settings.weightDecay };
  },
  update,
};
