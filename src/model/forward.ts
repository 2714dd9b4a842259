/**
 * The forward pass as graph values: decoder-only, residual blocks of a mixer and a gated MLP, a final norm, untied or
 * tied head.
 *
 * Shape letters: B sequences, T tokens, V vocabulary, d hiddenSize, F intermediateSize.
 */
import { present, at, ConfigError, dims, ShapeError, type DType } from '../core/index.js';
import {
  add,
  crossEntropy,
  dot,
  input,
  linear,
  min,
  mul,
  reduceSum,
  remat,
  reshape,
  sliceAxis,
  softcapped,
  take,
  type Value,
} from '../graph/index.js';
import { buildBlock, layerParameters } from './block.js';
import { blockOf, type ModelConfig } from './config.js';
import { expertsOf } from './experts-config.js';
import type { Routing } from './experts.js';
import { branchGate, branchGates } from './branches.js';
import { documentPositions } from './documents.js';
import { layerInput, layerInputsOf } from './layer-inputs.js';
import type { MixerScope } from './mixer.js';
import type { LayerPlan } from './plan.js';
import { buildMixer } from './mixers.js';
import { gainedNorm, normalize, normParameters, scaled, shifted } from './norm.js';
import { parameterSpecs } from './params.js';
import { isShared } from './plan.js';
import { takesHanded } from './recurrent.js';
import { PLAIN } from './mixers/activations.js';
import type { HeadLayer } from './schema.js';
import { wholeSequences } from './state-access.js';
import { noTap, type Tap } from './tap.js';

/** Parameter values by name. */
export type ParameterValues = ReadonlyMap<string, Value>;

/** How a forward pass is built. */
export interface ForwardOptions {
  /**
   * Whether the backward pass recomputes a layer's activations instead of keeping them: all layers, or those for which
   * the function returns true.
   */
  readonly remat?: boolean | ((layer: number) => boolean);
  /**
   * Where rows of tokens hold several documents: the document of each token, i32 `[B,T]`, numbered from 0 in each row.
   * A row is then computed as its documents would be on their own.
   */
  readonly segments?: Value | null;
  /**
   * Reads or replaces values at named sites on the way. Of layers that are recomputed (`remat`) it is called with the
   * stream after them alone.
   */
  readonly tap?: Tap;
  /**
   * How much of each layer's own attention is taken where heads have a second branch (`HeadGroup.branch`),
   * `[numLayers]`, from 0, the branch alone, to 1, none of it; asked for by models with such heads, and by no others.
   */
  readonly gates?: Value;
}

/** The values of a forward pass. */
export interface ForwardResult {
  /** The logits of the next token, `[B,T,V]`. */
  readonly logits: Value;
  /** The residual stream after the last layer, before the final norm, `[B,T,d]`. What is before it, taps read. */
  readonly stream: Value;
  /** What the routers of layers with experts did with the tokens, by layer; empty without experts. */
  readonly routing: ReadonlyMap<number, Routing>;
}

/** A graph input for every parameter, by name, in the order of `parameterSpecs`. */
export function parameterInputs(config: ModelConfig, dtype: DType = 'f32'): Map<string, Value> {
  return new Map(parameterSpecs(config).map(({ name, shape }) => [name, input(name, dtype, shape)]));
}

/**
 * The forward pass of `tokens` (i32 `[B,T]`, ids below vocabSize), computed in the parameters' dtype.
 *
 * @throws ShapeError if a parameter is missing or has another shape than the configuration gives it
 */
export function forward(
  config: ModelConfig,
  params: ParameterValues,
  tokens: Value,
  options: ForwardOptions = {},
): ForwardResult {
  checkParameters(config, params);
  const { tap = noTap } = options;
  let x = tap(
    { kind: 'embedding' },
    embed(config, params, tokens, { positions: null, segments: options.segments ?? null }),
  );
  const embedding = x;
  const routing = new Map<number, Routing>();
  const handed = new Map([...layerInputsOf(config, params, tokens, embedding), ...branchGates(config, options.gates)]);
  let routerState: Value | null = null;
  for (let layer = 0; layer < config.numLayers; layer++) {
    const after: LayerResult = forwardLayer(config, params, layer, { x, embedding, routerState, handed }, options);
    for (const [name, value] of Object.entries(after.hands)) handed.set(name, value);
    x = tap({ kind: 'stream', layer }, after.out);
    routerState = after.routerState;
    if (after.routing !== null) routing.set(layer, after.routing);
  }
  return { logits: headLogits(config, params, x), stream: x, routing };
}

/** Where tokens stand: `TokenPositions` of a chunk, or the documents of whole rows; see `MixerScope`. */
type Places = Pick<MixerScope, 'positions' | 'segments'>;

/** The residual stream before the first layer: tokens i32 `[B,T] -> [B,T,d]`. */
export function embed(config: ModelConfig, params: ParameterValues, tokens: Value, places: Places): Value {
  const own = scaled(take(present(params.get('embed.weight')), tokens), config.embeddingScale);
  const x =
    config.learnedPositions === null ? own : add(own, positionVectors(config.learnedPositions, params, tokens, places));
  const normed = config.embeddingNorm ? normalize(config, x, normParameters(config, params, 'embed.norm')) : x;
  return shifted(config, params, normed, 'embed.affine');
}

/** The learned vectors of the positions of tokens `[B,T]`, `[B,T,d]` or `[1,T,d]`; `count` positions have one. */
function positionVectors(
  count: number,
  params: ParameterValues,
  tokens: Value,
  { positions, segments }: Places,
): Value {
  const table = present(params.get('embed.positions'));
  const [B, T] = dims(tokens, 2);
  // Slots behind the last token of a chunk's sequence may lie beyond the table; what they hold is not used.
  if (positions !== null) return take(table, min(positions.values, count - 1));
  checkLength({ learnedPositions: count }, T);
  if (segments !== null) return take(table, documentPositions([B, T], segments));
  return reshape(sliceAxis(table, 0, 0, T), [1, T, at(table.shape, 1)]);
}

/** Throws `ConfigError` if sequences of `tokens` tokens are longer than the model has positions for. */
export function checkLength({ learnedPositions: count }: Pick<ModelConfig, 'learnedPositions'>, tokens: number): void {
  if (count === null || tokens <= count) return;
  throw new ConfigError(
    `the model has learned ${count} positions, and sequences have ${tokens} tokens; use sequences of up to ${count} tokens`,
    { details: { learnedPositions: count, tokens } },
  );
}

/** The final norm of values of the residual stream after the last layer, `[...,d]`. */
export function finalNorm(config: ModelConfig, params: ParameterValues, x: Value): Value {
  return normalize(config, x, normParameters(config, params, 'norm'));
}

/** The final norm and the output head on values of the residual stream after the last layer: `[...,d] -> [...,V]`. */
export function headLogits(config: ModelConfig, params: ParameterValues, x: Value): Value {
  const { logitScale, logitSoftcap: cap } = config;
  const product = headProduct(config, params, x);
  const biased = config.headBias ? add(product, present(params.get('head.bias'))) : product;
  const logits = scaled(biased, logitScale);
  return softcapped(logits, cap);
}

function headProduct(config: ModelConfig, params: ParameterValues, x: Value): Value {
  const { headLayer } = config;
  const last = headLayer === null ? x : headDense(config, headLayer, params, x);
  const { gain, bias } = normParameters(config, params, headLayer === null ? 'norm' : 'head.norm');
  const norm = gainedNorm(config, last, { gain, bias });
  if (!config.tieEmbeddings) return linear(norm.x, norm.matrix(present(params.get('head.weight'))));
  const rows = present(params.get('embed.weight'));
  const embedding = config.extraTokens === 0 ? rows : sliceAxis(rows, 0, 0, config.vocabSize);
  const gained = gain === null || bias !== null ? embedding : mul(embedding, gain);
  return dot(norm.x, gained, {
    lhsBatch: [],
    rhsBatch: [],
    lhsContract: [x.shape.length - 1],
    rhsContract: [1],
  });
}

/** The head's own dense layer on the final norm of `x`, activated: `[...,d] -> [...,d]`; its norm is left out. */
function headDense(config: ModelConfig, { activation, bias }: HeadLayer, params: ParameterValues, x: Value): Value {
  const norm = gainedNorm(config, x, normParameters(config, params, 'norm'));
  const y = linear(norm.x, norm.matrix(present(params.get('head.dense.weight'))));
  return PLAIN[activation](bias ? add(y, present(params.get('head.dense.bias'))) : y);
}

/** Throws `ShapeError` unless every parameter of the model is there in its shape. */
export function checkParameters(config: ModelConfig, params: ParameterValues): void {
  for (const { name, shape } of parameterSpecs(config)) {
    const found = params.get(name)?.shape;
    if (found?.length === shape.length && shape.every((n, i) => n === found[i])) continue;
    const got = found === undefined ? 'is missing' : `has shape [${found.join(',')}]`;
    throw new ShapeError(`parameter ${name} ${got}; this model needs [${shape.join(',')}]`, {
      details: { name, shape },
    });
  }
}

function forwardLayer(
  config: ModelConfig,
  params: ParameterValues,
  layer: number,
  { x, embedding, routerState, handed }: LayerInputs,
  options: ForwardOptions,
): LayerResult {
  const given = layerParameters(config, params, layer);
  const names = [...given.keys()];
  const wanted = typeof options.remat === 'function' ? options.remat(layer) : (options.remat ?? false);
  const segments = options.segments ?? null;
  const taken = takenFrom(at(config.layers, layer), layer, handed);
  // What a recomputed layer reads is handed to it by place, and only what it reads.
  const places = [
    ...(isShared(config.layers[layer]) ? [embedding] : []),
    ...(routerState === null ? [] : [routerState]),
    ...taken.map(([, value]) => value),
    ...(segments === null ? [] : [segments]),
  ];
  const build = (values: readonly Value[], tap: Tap) => {
    const [first, ...rest] = values as [Value, ...Value[]];
    const own = new Map(names.map((name, i) => [name, at(rest, i)]));
    const inside = (value: Value): Value => at(rest, names.length + places.indexOf(value));
    const read = {
      x: first,
      embedding: places.includes(embedding) ? inside(embedding) : embedding,
      routerState: routerState && inside(routerState),
      handed: new Map(taken.map(([name, value]) => [name, inside(value)])),
    };
    return buildLayer(config, layer, read, own, { tap, segments: segments && inside(segments) });
  };
  const values = [x, ...given.values(), ...places];
  if (!wanted) return build(values, options.tap ?? noTap);
  const routed = blockOf(config, layer).mlp && expertsOf(config, layer) !== null;
  const hands = config.experts !== null && config.experts.routerSize !== null && (routed || routerState !== null);
  let handedOn: string[] = [];
  const [out, ...more] = remat(values, (inner) => {
    const { out, routing, routerState: state, hands: own } = build(inner, noTap);
    handedOn = Object.keys(own);
    return [
      out,
      ...(hands ? [present(state)] : []),
      ...Object.values(own),
      ...(routing === null ? [] : [routing.balance, routing.z, routing.load]),
    ];
  });
  const state = hands ? present(more.shift()) : null;
  const onward = Object.fromEntries(handedOn.map((name) => [name, present(more.shift())]));
  const [balance, z, load] = more;
  const routing = routed ? { balance: present(balance), z: present(z), load: present(load) } : null;
  return { out: present(out), routing, routerState: state, hands: onward };
}

/** What a layer takes of what earlier ones have handed on. */
function takenFrom(plan: LayerPlan, layer: number, handed: ReadonlyMap<string, Value>): [name: string, value: Value][] {
  const source = plan.mixer === 'attention' ? plan.keysOf : undefined;
  const wanted = new Set([
    layerInput(layer),
    branchGate(layer),
    ...(source === undefined ? [] : [`keys.${source}`, `values.${source}`]),
  ]);
  return [...handed].filter(([name]) => wanted.has(name) || takesHanded(plan, name));
}

/** What a layer reads: the residual stream, that before the first layer, and what the layers before handed on. */
interface LayerInputs {
  readonly x: Value;
  readonly embedding: Value;
  readonly routerState: Value | null;
  readonly handed: ReadonlyMap<string, Value>;
}

/** The residual stream after a layer, and what its router did. */
interface LayerResult {
  readonly out: Value;
  readonly routing: Routing | null;
  readonly routerState: Value | null;
  /** What it hands on to later layers, by name. */
  readonly hands: Readonly<Record<string, Value>>;
}

function buildLayer(
  config: ModelConfig,
  layer: number,
  inputs: LayerInputs,
  params: ReadonlyMap<string, Value>,
  { tap, segments }: { readonly tap: Tap; readonly segments: Value | null },
): LayerResult {
  const mlpState = wholeSequences(segments);
  const given = { config, layer, ...inputs, params, positions: null, segments, mlpState };
  const { mixed, ...result } = buildBlock(given, (scope, plan, feeds) => {
    const { out, hands = {} } = buildMixer({ ...scope, tap }, plan);
    return { out: feeds ? out : tap({ kind: 'mixerOut', layer }, out), hands };
  });
  return { ...result, hands: mixed.reduce<LayerResult['hands']>((all, { hands }) => ({ ...all, ...hands }), {}) };
}

/** The cross-entropy loss of every token, and its weighted sum. */
export interface TokenLosses {
  /** Negative log-likelihood of every target, `[B,T]`, in nats. */
  readonly perToken: Value;
  /** Sum over tokens of weight times loss, scalar. */
  readonly weightedSum: Value;
  /** Sum of the weights, scalar; `weightedSum / weightSum` is the training loss. */
  readonly weightSum: Value;
}

/** Losses of logits `[B,T,V]` on targets i32 `[B,T]` with weights `[B,T]` (the logits' dtype). */
export function tokenLosses(logits: Value, targets: Value, weights: Value): TokenLosses {
  const [B, T, V] = dims(logits, 3);
  const { loss } = crossEntropy(reshape(logits, [B * T, V]), reshape(targets, [B * T]));
  const perToken = reshape(loss, [B, T]);
  return { perToken, weightedSum: reduceSum(mul(perToken, weights)), weightSum: reduceSum(weights) };
}
