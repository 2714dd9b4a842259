/**
 * Experts: an MLP of which each token passes only a few parts, which a router chooses (Shazeer et al. 2017).
 *
 * No token is dropped, and shapes are fixed: tokens are sent to blocks of rows, each of one expert. A block's rows that
 * no token fills are computed and not read.
 *
 * Shape letters: N tokens, E experts, k experts a token, d width (of the latent projection, if there is one), F inner
 * width of an expert, b blocks of m rows, R = b m rows.
 */
import { at, dims, got, invariant, last, sizeOf } from '../core/index.js';
import {
  add,
  argmax,
  broadcast,
  concat,
  convert,
  cumsum,
  div,
  eq,
  exp,
  ge,
  iota,
  linear,
  log,
  lt,
  matmul,
  max,
  min,
  mul,
  neg,
  reduceMax,
  reduceMean,
  reduceSum,
  reshape,
  routeRows,
  scalar,
  scatterAdd,
  select,
  sigmoid,
  sliceAxis,
  softcapped,
  softmax,
  split,
  stopGradient,
  sub,
  full,
  take,
  type Value,
} from '../graph/index.js';
import { activated, gated } from './activation.js';
import type { ModelConfig } from './config.js';
import type { ExpertsConfig } from './experts-config.js';
import { buildRouter, routerSpecs, type MakeSpec } from './router.js';
import { halves, ONES, ZEROS, type ParamSpec } from './mixers/spec.js';
import { affine } from './mixers/linear.js';
import { scaled } from './norm.js';
import { matrixInit } from './param-inits.js';

/** What the router of a layer did with the tokens, for training and for measures. */
export interface Routing {
  /** The load-balancing loss, a scalar: k where all experts get as many tokens and as high scores. */
  readonly balance: Value;
  /** The mean square of the log-sum-exp of the router's logits, a scalar. */
  readonly z: Value;
  /** The share of the choices that each expert got, `[E]`, and last that of none where it is a choice; the sum is 1. */
  readonly load: Value;
}

/** The parameters of a layer's experts. */
export function expertSpecs(config: ModelConfig, experts: ExpertsConfig, layer: number, spec: MakeSpec): ParamSpec[] {
  const { hiddenSize, mlpGate } = config;
  const { count: E, perToken, intermediateSize: F, latentSize, sharedSize } = experts;
  const d = latentSize ?? hiddenSize;
  const share = perToken / E;
  const [up, width] = mlpGate ? ['gateup', 2 * F] : ['up', F];
  return [
    ...routerSpecs(config, experts, layer, spec),
    ...(experts.weightScale ? [spec('weightscale', 'vector', [E], ONES)] : []),
    ...(experts.correctionBias ? [spec('correction', 'vector', [E], ZEROS)] : []),
    ...(latentSize === null
      ? []
      : [
          spec('wlatentin', 'in', [hiddenSize, d], matrixInit(config, hiddenSize, false)),
          ...(config.mlpBias ? [spec('blatentin', 'vector', [d], ZEROS)] : []),
          spec('wlatentout', 'out', [d, hiddenSize], matrixInit(config, d, true)),
          ...(config.mlpBias ? [spec('blatentout', 'vector', [hiddenSize], ZEROS)] : []),
        ]),
    { ...spec(`experts.w${up}`, 'experts', [E, d, width], matrixInit(config, d, false), share), ...halves(mlpGate, F) },
    ...(experts.bias ? [spec(`experts.b${up}`, 'vector', [E, width], ZEROS, share)] : []),
    spec('experts.wdown', 'experts', [E, F, d], matrixInit(config, F, latentSize === null), share),
    ...(experts.bias ? [spec('experts.bdown', 'vector', [E, d], ZEROS, share)] : []),
    ...(sharedSize === null ? [] : sharedSpecs(config, sharedSize, experts, spec)),
  ];
}

function sharedSpecs(
  config: ModelConfig,
  size: number,
  { sharedGate, sharedScores: parts }: ExpertsConfig,
  spec: MakeSpec,
): ParamSpec[] {
  const { hiddenSize: d, mlpGate, mlpBias } = config;
  const [up, width] = mlpGate ? ['gateup', 2 * size] : ['up', size];
  return [
    { ...spec(`shared.w${up}`, 'in', [d, width], matrixInit(config, d, false)), ...halves(mlpGate, size) },
    ...(mlpBias ? [spec(`shared.b${up}`, 'vector', [width], ZEROS)] : []),
    parts === null
      ? spec('shared.wdown', 'out', [size, d], matrixInit(config, size, true))
      : spec('shared.wdown', 'blocks', [parts, size / parts, d], matrixInit(config, size, true)),
    ...(mlpBias ? [spec('shared.bdown', 'vector', [d], ZEROS)] : []),
    ...(sharedGate ? [spec('shared.wgate', 'in', [d, 1], matrixInit(config, d, false))] : []),
  ];
}

/**
 * What a layer's experts make of `x [B,T,d]`; `params` are the layer's, by the end of their names, and `stream [B,T,d]`
 * is what stands before the norm of the layer's MLP.
 */
export function buildExperts(
  config: ModelConfig,
  experts: ExpertsConfig,
  params: ReadonlyMap<string, Value>,
  { x, stream }: { readonly x: Value; readonly stream: Value },
  routerState: Value | null,
): { readonly out: Value; readonly routing: Routing; readonly routerState: Value | null } {
  const param = (name: string): Value => got(params, `mlp.${name}`);
  const bias = (name: string): Value | null => (config.mlpBias ? param(name) : null);
  const flat = (v: Value): Value => reshape(v, [sizeOf(v.shape.slice(0, -1)), last(v.shape)]);
  const tokens = flat(x);
  const router = buildRouter(config, experts, param, { x: tokens, stream: flat(stream) }, routerState);
  const choice = route(experts, param, router.logits);
  const latent = experts.latentSize !== null;
  const read = latent ? affine(tokens, param('wlatentin'), bias('blatentin')) : tokens;
  const mixed = mixExperts(config, experts, param, read, choice);
  const own = latent ? affine(mixed, param('wlatentout'), bias('blatentout')) : mixed;
  const out = experts.sharedSize === null ? own : add(own, sharedExpert(config, experts, param, tokens, choice.shared));
  return { out: reshape(out, x.shape), routing: choice.routing, routerState: router.state };
}

function sharedExpert(
  config: ModelConfig,
  { sharedSize, sharedGate }: ExpertsConfig,
  param: (name: string) => Value,
  x: Value,
  weights: Value | null,
): Value {
  const size = sharedSize ?? 0;
  const bias = (name: string): Value | null => (config.mlpBias ? param(name) : null);
  const up = config.mlpGate ? 'gateup' : 'up';
  const inner = affine(x, param(`shared.w${up}`), bias(`shared.b${up}`));
  const active = innerActivation(config, inner, size);
  const down = reshape(param('shared.wdown'), [size, at(x.shape, 1)]);
  const y = affine(weights === null ? active : weighParts(active, weights), down, bias('shared.bdown'));
  return sharedGate ? mul(y, sigmoid(linear(x, param('shared.wgate')))) : y;
}

/** The channels `[N,S]` of a shared expert, each equal part of them times its weight `[N,n]`. */
function weighParts(active: Value, weights: Value): Value {
  const [N, parts] = dims(weights, 2);
  const own = reshape(active, [N, parts, at(active.shape, 1) / parts]);
  return reshape(mul(own, reshape(weights, [N, parts, 1])), active.shape);
}

/** The activation of an MLP between its projections, on `[..., 2 F]` (gate and up) or `[..., F]` without a gate. */
function innerActivation(config: ModelConfig, inner: Value, size: number): Value {
  const { activation, mlpGate, mlpGateScale } = config;
  // `checkExperts` refuses activations that learn.
  const learned = (name: string): Value => {
    invariant(false, `an activation of experts asks for ${name}`);
  };
  if (!mlpGate) return activated(activation, inner, learned);
  const [gate, up] = split(inner, inner.shape.length - 1, [size, size]);
  return gated(activation, scaled(gate, mlpGateScale), up, learned);
}

/** The choice of a token's experts. */
interface Choice {
  /** The experts of each token, i32 `[N]` each, best first. */
  readonly chosen: readonly Value[];
  /** Whether each expert is one of a token's, i32 `[N,E]` of 0 and 1. */
  readonly mask: Value;
  /** The weights of a token's experts, `[N,k]`. */
  readonly weights: Value;
  /** The weights of the parts of the shared expert, `[N,n]`; null where the router does not score them. */
  readonly shared: Value | null;
  readonly routing: Routing;
}

/** Stands for minus infinity among scores: below all of them, and finite. */
const NEVER = -1e30;

/**
 * The choice of SparseMixer (Liu et al. 2024, arXiv 2409.12136) without its sampling: each expert in turn is the best
 * that is left, and weighs what a softmax gives it over those whose logits are near its own.
 */
function routeSparse(experts: ExpertsConfig, logits: Value): Choice {
  const { perToken, jitter, normalize, normalizeEps, scale } = experts;
  const [N, E] = dims(logits, 2);
  const given = stopGradient(logits);
  const size = max(given, neg(given));
  const numbers = iota('i32', [1, E], 1);
  const never = scalar(NEVER, logits.dtype);
  const chosen: Value[] = [];
  const weights: Value[] = [];
  let [left, mask] = [given, full('i32', [N, E], 0)];
  for (let j = 0; j < perToken; j++) {
    const best = reduceMax(left, [1], true);
    const near = ge(scalar(2 * jitter, logits.dtype), div(sub(best, given), max(size, best)));
    const gates = softmax(select(near, select(eq(mask, 0), logits, never), never));
    const choice = argmax(left, 1);
    const hit = eq(numbers, reshape(choice, [N, 1]));
    chosen.push(choice);
    weights.push(reduceSum(select(hit, gates, scalar(0, gates.dtype)), [1], true));
    mask = add(mask, convert(hit, 'i32'));
    left = select(hit, scalar(2 * NEVER, left.dtype), left);
  }
  const sum = weights.reduce((a, b) => add(a, b));
  const factor = normalize ? div(scalar(scale, sum.dtype), add(sum, normalizeEps)) : scale;
  return {
    ...{ chosen, mask, weights: mul(concat(weights, 1), factor), shared: null },
    routing: routingOf(experts, logits, softmax(logits), mask),
  };
}

function route(experts: ExpertsConfig, param: (name: string) => Value, all: Value): Choice {
  const parts = experts.sharedScores ?? 0;
  const capped = softcapped(all, experts.logitSoftcap);
  const [logits, sharedLogits] = parts === 0 ? [capped, null] : apart(capped, parts);
  if (experts.scores === 'sparsemixer') return routeSparse(experts, logits);
  const { perToken: k, scores: kind, normalize, normalizeEps, scale } = experts;
  const [N, E] = dims(logits, 2);
  const scores = kind === 'softmax' ? softmax(logits) : sigmoid(logits);
  const biased = biasedScores(experts, param, experts.correctionOf === 'logits' ? logits : scores);
  let left = withinGroups(experts, stopGradient(biased));
  const numbers = iota('i32', [1, E], 1);
  const zero = scalar(0, scores.dtype);
  const chosen: Value[] = [];
  const weights: Value[] = [];
  const scales: Value[] = [];
  let mask = full('i32', [N, E], 0);
  for (let j = 0; j < k; j++) {
    const best = argmax(left, 1);
    const hit = eq(numbers, reshape(best, [N, 1]));
    chosen.push(best);
    weights.push(reduceSum(select(hit, scores, zero), [1], true));
    if (experts.weightScale)
      scales.push(reduceSum(mul(convert(hit, scores.dtype), reshape(param('weightscale'), [1, E])), [1], true));
    mask = add(mask, convert(hit, 'i32'));
    left = select(hit, scalar(2 * NEVER, left.dtype), left);
  }
  const sharedScores = sharedLogits && sigmoid(sharedLogits);
  const chosenSum = weights.reduce((a, b) => add(a, b));
  const sum = sharedScores === null ? chosenSum : add(chosenSum, reduceSum(sharedScores, [1], true));
  const factor = normalize ? div(scalar(scale, sum.dtype), normalizeEps === 0 ? sum : add(sum, normalizeEps)) : scale;
  const joined = concat(weights, 1);
  const weighed = scales.length === 0 ? mul(joined, factor) : mul(mul(joined, factor), concat(scales, 1));
  const routing = routingOf(experts, logits, scores, mask);
  return experts.skip !== null
    ? withoutSkipped(experts, { chosen, weights: weighed, routing })
    : { chosen, mask, weights: weighed, shared: sharedScores && mul(sharedScores, factor), routing };
}

/** Logits `[N,C]` of the choices, and of the last `parts`, which are those of a shared expert. */
function apart(logits: Value, parts: number): readonly [logits: Value, shared: Value] {
  const C = at(logits.shape, 1);
  return [sliceAxis(logits, 1, 0, C - parts), sliceAxis(logits, 1, C - parts, C)];
}

/** Scores or logits `[N,C]` with the biases that they have in the choice. */
function biasedScores(
  { count: E, correctionBias, skip }: ExpertsConfig,
  param: (name: string) => Value,
  scores: Value,
): Value {
  const own = correctionBias ? param('correction') : full(scores.dtype, [E], 0);
  if (skip !== null) return add(scores, reshape(concat([own, full(scores.dtype, [1], skip)], 0), [1, E + 1]));
  return correctionBias ? add(scores, reshape(own, [1, E])) : scores;
}

/** Sends tokens that chose no expert to the first one, with weight 0. */
function withoutSkipped(
  { count: E }: ExpertsConfig,
  { chosen, weights, routing }: Omit<Choice, 'mask' | 'shared'>,
): Choice {
  const choice = at(chosen, 0);
  const [N] = dims(weights, 2);
  const skipped = eq(choice, E);
  const sent = select(skipped, scalar(0, 'i32'), choice);
  const mask = convert(eq(iota('i32', [1, E], 1), reshape(sent, [N, 1])), 'i32');
  const kept = select(reshape(skipped, [N, 1]), scalar(0, weights.dtype), weights);
  return { chosen: [sent], mask, weights: kept, shared: null, routing };
}

/** Scores `[N,E]` with those outside of a token's best groups below all others. */
function withinGroups({ groups, count: E }: ExpertsConfig, scores: Value): Value {
  if (groups === null || groups.perToken === groups.count) return scores;
  const { count: G, perToken, best } = groups;
  const N = at(scores.shape, 0);
  let members = reshape(scores, [N, G, E / G]);
  const inGroup = iota('i32', [1, 1, E / G], 2);
  let total: Value | null = null;
  for (let i = 0; i < best; i++) {
    const top = reduceMax(members, [2]);
    total = total === null ? top : add(total, top);
    const hit = eq(inGroup, reshape(argmax(members, 2), [N, G, 1]));
    members = select(hit, scalar(NEVER, members.dtype), members);
  }
  let left = total ?? reduceMax(members, [2]);
  let kept = full('i32', [N, G], 0);
  for (let i = 0; i < perToken; i++) {
    const hit = eq(iota('i32', [1, G], 1), reshape(argmax(left, 1), [N, 1]));
    kept = add(kept, convert(hit, 'i32'));
    left = select(hit, scalar(2 * NEVER, left.dtype), left);
  }
  const open = broadcast(reshape(ge(kept, 1), [N, G, 1]), [N, G, E / G]);
  return select(reshape(open, [N, E]), scores, scalar(NEVER, scores.dtype));
}

function routingOf({ perToken, scores: kind }: ExpertsConfig, logits: Value, scores: Value, mask: Value): Routing {
  const E = at(mask.shape, 1);
  const float = convert(mask, scores.dtype);
  const share = reduceMean(float, [0]);
  const parts = kind !== 'sigmoid' ? scores : div(scores, reduceSum(scores, [1], true));
  const top = stopGradient(reduceMax(logits, [1], true));
  const lse = add(log(reduceSum(exp(sub(logits, top)), [1], true)), top);
  return {
    balance: mul(reduceSum(mul(share, reduceMean(parts, [0]))), E),
    z: reduceMean(mul(lse, lse)),
    load: mul(share, 1 / perToken),
  };
}

/** Where tokens go: blocks of rows, and the expert of each block. */
interface Dispatch {
  /** The token of each row, i32 `[R,1]`; any, where no token fills the row. */
  readonly tokenOfRow: Value;
  /** The row of each choice, i32 `[N,k]`. */
  readonly rowOfChoice: Value;
  /** The choice (n k + j) of each row, i32 `[R,1]`, and whether it has one, `[R,1]`; null where all have. */
  readonly choiceOfRow: Value;
  readonly filled: Value | null;
  /** The expert of each block, i32 `[b]`. */
  readonly expertOfBlock: Value;
  readonly rows: number;
}

/** What it costs to fetch the weights of a block, in rows that a block may have more. */
const FETCH = 16;

/**
 * Rows of a block: few waste less on rows that no token fills, many fetch fewer weights. With one row a block nothing
 * is wasted, as in generation.
 */
function blockRows(N: number, { count: E, perToken: k }: ExpertsConfig): { rows: number; blocks: number } {
  const plans = [1, 2, 4, 8, 16, 32, 64, 128, 256].map((rows) => {
    // The experts that get tokens leave at most a block each partly empty.
    const blocks = Math.min(Math.floor((N * k + Math.min(E, N * k) * (rows - 1)) / rows), E * Math.ceil(N / rows));
    return { rows, blocks };
  });
  return plans.reduce((best, plan) =>
    plan.blocks * (plan.rows + FETCH) < best.blocks * (best.rows + FETCH) ? plan : best,
  );
}

function dispatch(experts: ExpertsConfig, { chosen, mask }: Choice): Dispatch {
  const { count: E, perToken: k } = experts;
  const N = at(mask.shape, 0);
  const { rows: m, blocks } = blockRows(N, experts);
  const rows = blocks * m;
  if (m === 1) {
    const order = iota('i32', [N * k, 1], 0);
    const expert = concat(
      chosen.map((c) => reshape(c, [N, 1])),
      1,
    );
    const tokenOfRow = reshape(broadcast(iota('i32', [N, 1], 0), [N, k]), [N * k, 1]);
    return {
      ...{ tokenOfRow, rowOfChoice: reshape(order, [N, k]), choiceOfRow: order, filled: null },
      ...{ expertOfBlock: reshape(expert, [N * k]), rows },
    };
  }
  const counts = reduceSum(mask, [0]);
  const blocksOf = div(add(counts, m - 1), m);
  const ends = cumsum(blocksOf, 0);
  const starts = mul(sub(ends, blocksOf), m);
  // The row of a token at an expert, sent there or not: the expert's first row, and one for each token before.
  const places = add(cumsum(mask, 0, { exclusive: true }), reshape(starts, [1, E]));
  const numbers = iota('i32', [1, E], 1);
  const none = scalar(0, 'i32');
  const rowOfChoice = concat(
    chosen.map((expert) => reduceSum(select(eq(numbers, reshape(expert, [N, 1])), places, none), [1], true)),
    1,
  );
  // One more than the choice, so that rows without one keep 0. Where scores are not numbers, a token may choose one
  // expert twice, and its row gets the sum of two choices: the bound keeps what diverges within the program.
  const filling = scatterAdd(full('i32', [rows], 0), reshape(rowOfChoice, [N * k]), add(iota('i32', [N * k], 0), 1));
  const choiceOfRow = reshape(min(max(sub(filling, 1), 0), N * k - 1), [rows, 1]);
  const passed = convert(ge(iota('i32', [blocks, 1], 0), reshape(ends, [1, E])), 'i32');
  return {
    tokenOfRow: div(choiceOfRow, k),
    ...{ rowOfChoice, choiceOfRow, filled: reshape(ge(filling, 1), [rows, 1]) },
    expertOfBlock: min(reduceSum(passed, [1]), E - 1),
    rows,
  };
}

/** The weighted sum of what a token's experts make of it: `x [N,d] -> [N,d]`. */
function mixExperts(
  config: ModelConfig,
  experts: ExpertsConfig,
  param: (name: string) => Value,
  x: Value,
  choice: Choice,
): Value {
  const d = at(x.shape, 1);
  const { tokenOfRow, rowOfChoice, choiceOfRow, filled, expertOfBlock, rows } = dispatch(experts, choice);
  const blocks = at(expertOfBlock.shape, 0);
  const weights = reshape(choice.weights, [sizeOf(choice.weights.shape), 1]);
  const routed = routeRows(weights, choiceOfRow, reshape(rowOfChoice, weights.shape));
  const weightOfRow = filled === null ? routed : select(filled, routed, scalar(0, routed.dtype));
  const sent = routeRows(x, tokenOfRow, rowOfChoice);
  const read = experts.weigh === 'input' ? mul(sent, weightOfRow) : sent;
  const product = (v: Value, weight: string, bias: string): Value => {
    const y = matmul(v, take(param(weight), expertOfBlock));
    if (!experts.bias) return y;
    const own = take(param(bias), expertOfBlock);
    return add(y, reshape(own, [blocks, 1, at(own.shape, 1)]));
  };
  const up = config.mlpGate ? 'gateup' : 'up';
  const inner = product(reshape(read, [blocks, rows / blocks, d]), `experts.w${up}`, `experts.b${up}`);
  const y = reshape(product(expertActivation(config, experts, inner), 'experts.wdown', 'experts.bdown'), [rows, d]);
  if (experts.weigh === 'output') return routeRows(mul(y, weightOfRow), rowOfChoice, tokenOfRow);
  return routeRows(filled === null ? y : select(filled, y, scalar(0, y.dtype)), rowOfChoice, tokenOfRow);
}

function expertActivation(config: ModelConfig, { intermediateSize: F, clamped }: ExpertsConfig, inner: Value): Value {
  if (clamped === null) return innerActivation(config, inner, F);
  const { alpha, limit } = clamped;
  const [gate, up] = split(inner, inner.shape.length - 1, [F, F]);
  const [bounded, other] = [clampedTo(gate, null, limit), clampedTo(up, -limit, limit)];
  return mul(add(other, 1), mul(bounded, sigmoid(mul(bounded, alpha))));
}

/** x within bounds; its derivative is that of x inside of them, and 0 outside. */
function clampedTo(x: Value, low: number | null, high: number): Value {
  const upper = select(lt(x, scalar(high, x.dtype)), x, scalar(high, x.dtype));
  return low === null ? upper : select(lt(upper, scalar(low, x.dtype)), scalar(low, x.dtype), upper);
}
