/**
 * The logits of a layer's router: one projection of its input, or a router with layers of its own that hands on what it
 * has made of a token to the router of the next layer (ZAYA, Zyphra 2025; Transformers `ZayaRouter`).
 *
 * Shape letters: N tokens, d width, R width of such a router, C choices, and parts of a shared expert that are scored.
 */
import { sizeOf } from '../core/index.js';
import { add, mul, reshape, rmsNorm, type Value } from '../graph/index.js';
import { choicesOf, expertsOf, type ExpertsConfig } from './experts-config.js';
import { blockOf, type ModelConfig } from './config.js';
import { PLAIN } from './mixers/activations.js';
import { affine } from './mixers/linear.js';
import { ONES, ZEROS, type ParamRole, type ParamSpec } from './mixers/spec.js';
import { matrixInit } from './param-inits.js';

/** Makes the specification of a parameter of a layer's MLP; `share` is that of its elements that a token passes. */
export type MakeSpec = (
  name: string,
  role: ParamRole,
  shape: number[],
  init: ParamSpec['init'],
  share?: number,
) => ParamSpec;

/** Whether a router before this layer's hands something on. */
const hasBefore = (config: ModelConfig, layer: number): boolean =>
  config.layers.slice(0, layer).some((_, before) => blockOf(config, before).mlp && expertsOf(config, before) !== null);

/** The parameters of the router of layer `layer`. */
export function routerSpecs(config: ModelConfig, experts: ExpertsConfig, layer: number, spec: MakeSpec): ParamSpec[] {
  const { hiddenSize: d } = config;
  const { routerSize: R, routerBias, routerNorm } = experts;
  const C = choicesOf(experts) + (experts.sharedScores ?? 0);
  const matrix = (name: string, fanIn: number, fanOut: number) =>
    spec(name, 'in', [fanIn, fanOut], matrixInit(config, fanIn, false));
  if (R === null) {
    return [
      matrix('wrouter', d, C),
      ...(routerBias ? [spec('brouter', 'vector', [C], ZEROS)] : []),
      ...(routerNorm ? [spec('routerscale', 'vector', [d], ONES)] : []),
    ];
  }
  const layers = ['router1', 'router2'].flatMap((name) => [
    matrix(`w${name}`, R, R),
    spec(`b${name}`, 'vector', [R], ZEROS),
  ]);
  return [
    matrix('wrouterin', d, R),
    spec('brouterin', 'vector', [R], ZEROS),
    ...(hasBefore(config, layer) ? [spec('routerskip', 'vector', [R], ONES)] : []),
    spec('routernorm.weight', 'vector', [R], ONES),
    ...layers,
    matrix('wrouter', R, C),
  ];
}

/**
 * The logits `[N,C]` of tokens `x [N,d]`, and what the next router gets, of the shape of `before`.
 *
 * @param stream what stands before the norm of the layer's MLP, `[N,d]`, which routers with a norm of their own read
 * @param before what the router before handed on, `[...,R]`, all but the last axes being those of the tokens
 */
export function buildRouter(
  config: ModelConfig,
  { routerSize: R, routerBias, routerNorm }: ExpertsConfig,
  param: (name: string) => Value,
  { x, stream }: { readonly x: Value; readonly stream: Value },
  before: Value | null,
): { readonly logits: Value; readonly state: Value | null } {
  if (R === null && routerNorm) {
    const normed = mul(rmsNorm(stream, param('routerscale'), config.rmsNormEps), 1 / Math.sqrt(config.hiddenSize));
    return { logits: affine(normed, param('wrouter'), routerBias ? param('brouter') : null), state: null };
  }
  if (R === null) return { logits: affine(x, param('wrouter'), routerBias ? param('brouter') : null), state: null };
  const own = affine(x, param('wrouterin'), param('brouterin'));
  const state =
    before === null ? own : add(own, mul(reshape(before, [sizeOf(before.shape) / R, R]), param('routerskip')));
  let y = rmsNorm(state, param('routernorm.weight'), config.rmsNormEps);
  for (const name of ['router1', 'router2']) y = PLAIN.gelu(affine(y, param(`w${name}`), param(`b${name}`)));
  return { logits: affine(y, param('wrouter'), null), state };
}
