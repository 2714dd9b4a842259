/**
 * The residual block: a mixer and a gated MLP, each added to the residual stream. Where norms stand, whether the two
 * read the same input and the factors of the sums are configuration (`BlockConfig`). One definition for whole sequences
 * and for steps.
 */
import { at, got } from '../core/index.js';
import { add, mul, reshape, type Value } from '../graph/index.js';
import { blockOf, withMlpWidth, type ModelConfig } from './config.js';
import { expertsOf } from './experts-config.js';
import { buildExperts, type Routing } from './experts.js';
import { withLayerInput } from './layer-inputs.js';
import type { MixerScope, TokenPositions } from './mixer.js';
import type { StateAccess } from './mixers/definition.js';
import { buildMlp } from './mlp.js';
import { gainedNorm, normalize, normParameters, scaled, shifted } from './norm.js';
import { isShared, type LayerPlan, type RecurrentPlan } from './plan.js';
import { buildShared } from './shared-block.js';
import { sharedBlockOf, sharedPrefix } from './shared-params.js';
import { withMlpConv } from './short-conv.js';

/**
 * The parameters of one layer by the end of their names, such as `attn.wqkv`; those of the shared block that it uses
 * are `shared.attn.wqkv`, beside what the layer has of its own of it.
 */
export function layerParameters(
  config: ModelConfig,
  params: ReadonlyMap<string, Value>,
  layer: number,
): Map<string, Value> {
  const block = sharedBlockOf(config, layer);
  const under = (prefix: string, as: string): [string, Value][] =>
    [...params].flatMap(([name, value]) => (name.startsWith(prefix) ? [[as + name.slice(prefix.length), value]] : []));
  return new Map([...(block === null ? [] : under(sharedPrefix(block), 'shared.')), ...under(`layers.${layer}.`, '')]);
}

/** What a residual block is built from. */
export interface BlockInputs {
  /** The model's configuration. */
  readonly config: ModelConfig;
  /** The layer's index, from 0. */
  readonly layer: number;
  /** The residual stream, `[B,T,d]`. */
  readonly x: Value;
  /** The residual stream before the first layer, `[B,T,d]`, which shared blocks read. */
  readonly embedding: Value;
  /** The layer's parameters, as `layerParameters` names them. */
  readonly params: ReadonlyMap<string, Value>;
  readonly positions: TokenPositions | null;
  /** The document index of each token, i32 `[B,T]`; null where each row is one document. */
  readonly segments: Value | null;
  /** What the router of the layers before has handed on, `[B,T,routerSize]`; null where none has. */
  readonly routerState?: Value | null;
  /** What the layers before have handed on, by name. */
  readonly handed: ReadonlyMap<string, Value>;
  /** What the layer keeps of the tokens before behind its MLP. */
  readonly mlpState: StateAccess;
}

/** What a mixer or an MLP reads, and what its result is added to. */
interface Branch extends Pick<MixerScope, 'x' | 'inputMatrix'> {
  readonly skip: Value;
  /** The input as matrices without the norm's gain read it. */
  readonly whole: () => Value;
}

/** What the block gives. */
interface BlockResult<M> {
  /** The residual stream after the block, `[B,T,d]`. */
  readonly out: Value;
  /** What the mixers returned: that of a shared block, and the layer's own. */
  readonly mixed: readonly M[];
  /** What the router did with the tokens; null where the MLP has no experts. */
  readonly routing: Routing | null;
  /** What the next layer's router gets; null where routers hand on nothing. */
  readonly routerState: Value | null;
}

/**
 * The block around `mix`, which runs a mixer: the layer's own, and before it (`feeds`) the attention of the shared
 * block that the layer uses.
 */
export function buildBlock<M extends { readonly out: Value }>(
  inputs: BlockInputs,
  mix: (scope: MixerScope, plan: LayerPlan | RecurrentPlan, feeds: boolean) => M,
): BlockResult<M> {
  const { config, layer, params, positions, segments, handed } = inputs;
  const plan = at(config.layers, layer);
  let routing: Routing | null = null;
  let routerState = inputs.routerState ?? null;
  const block = blockOf(config, layer);
  const experts = expertsOf(config, layer);
  const param = (name: string) => got(params, name);
  /** What MLP or experts give, times the layer's factor, and past its convolution. */
  const given = (y: Value): Value => {
    const factored = config.mlpFactor ? mul(y, reshape(param('mlp.factor'), [1, 1, 1])) : y;
    return leave(inputs, withMlpConv(config, param, factored, inputs.mlpState), 'postnorm2');
  };
  const mlp = (branch: Branch): Value => {
    if (experts === null) return given(buildMlp({ config: withMlpWidth(config, layer), param, ...branch }));
    const { besideMlp } = experts;
    const normed = (y: Value, norm: string) => normalize(config, y, normOf(inputs, norm));
    const read = besideMlp ? normed(branch.skip, 'norm3') : branch.whole();
    const built = buildExperts(config, experts, params, { x: read, stream: branch.skip }, routerState);
    routing = built.routing;
    routerState = built.routerState;
    if (!besideMlp) return given(built.out);
    const dense = buildMlp({ config: withMlpWidth(config, layer), param, ...branch });
    return given(add(normed(dense, 'postmlp'), normed(built.out, 'postnorm3')));
  };
  const behind = (stream: Value): Value => {
    const branch = enter(inputs, stream, 'norm2');
    return joined(inputs, 2, [branch.skip, block.mlpSkip], [mlp(branch), block.mlpScale]);
  };
  if (plan.mixer === 'none') {
    const out = withLayerInput(config, layer, behind(inputs.x), params, handed);
    return { out, mixed: [], routing, routerState };
  }
  const fed = isShared(plan) ? buildShared(inputs, plan, (scope, own) => mix(scope, own, true)) : null;
  // What a shared block gives is read by the mixer alone: the sum behind the mixer has the stream as it was.
  const entered = enter(inputs, fed === null ? inputs.x : add(inputs.x, fed.out), 'norm1');
  const first = fed === null ? entered : { ...entered, skip: inputs.x };
  const own = mix(
    { config, layer, x: first.x, inputMatrix: first.inputMatrix, param, positions, segments, handed },
    isShared(plan) ? plan.beside : plan,
    false,
  );
  const mixed = fed === null ? [own] : [fed.mixed, own];
  // Two mixers side by side have been scaled before they were added.
  const onMixer = isPair(plan) ? 1 : block.mixerScale;
  const middle = joined(inputs, 1, [first.skip, block.mixerSkip], [leave(inputs, own.out, 'postnorm1'), onMixer]);
  const last = (out: Value) => withLayerInput(config, layer, out, params, handed);
  if (!block.mlp) return { out: last(middle), mixed, routing, routerState };
  const out = block.parallel ? joined(inputs, 2, [middle, 1], [mlp(first), block.mlpScale]) : behind(middle);
  return { out: last(out), mixed, routing, routerState };
}

const isPair = (plan: LayerPlan): boolean => plan.mixer === 'attention' && plan.beside !== undefined && !isShared(plan);

const normOf = ({ config, params }: BlockInputs, norm: string) => normParameters(config, params, norm);

/** A term of a sum, and the factor on it. */
type Term = readonly [value: Value, factor: number];

/** The sum of the stream and what is added to it, each times its factor; `which` counts the sums of a layer from 1. */
function joined({ config, params }: BlockInputs, which: 1 | 2, skip: Term, added: Term): Value {
  const term = ([value, factor]: Term, name: string) => shifted(config, params, scaled(value, factor), name);
  return add(term(skip, `skip${which}`), term(added, `add${which}`));
}

/** The way from the residual stream into a mixer or an MLP. */
function enter(inputs: BlockInputs, stream: Value, norm: string): Branch {
  const { config, layer, params } = inputs;
  const plain = (name: string) => got(params, name);
  const { norm: placement, mixerNorm } = blockOf(config, layer);
  switch (mixerNorm === false && norm === 'norm1' ? 'post' : placement) {
    case 'post':
      return { x: stream, inputMatrix: plain, skip: stream, whole: () => stream };
    case 'stream': {
      const normed = normalize(config, stream, normOf(inputs, norm));
      return { x: normed, inputMatrix: plain, skip: normed, whole: () => normed };
    }
    case 'pre':
    case 'both': {
      const { x, matrix } = gainedNorm(config, stream, normOf(inputs, norm));
      const whole = () => normalize(config, stream, normOf(inputs, norm));
      return { x, inputMatrix: (name) => matrix(plain(name)), skip: stream, whole };
    }
  }
}

/** The way out: the norm on what is added to the stream, where there is one. */
function leave(inputs: BlockInputs, y: Value, norm: string): Value {
  const placement = blockOf(inputs.config, inputs.layer).norm;
  return placement === 'post' || placement === 'both' ? normalize(inputs.config, y, normOf(inputs, norm)) : y;
}
