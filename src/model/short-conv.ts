/**
 * Short convolutions beside attention and MLPs (Inkling; Transformers `InklingShortConvolution`): causal and depthwise,
 * added to what they read. Keys, values, what attention gives and what the MLP gives pass one each.
 */
import { at } from '../core/index.js';
import { add, causalConv, type Value } from '../graph/index.js';
import { blockOf, type ModelConfig } from './config.js';
import { headSizes } from './heads.js';
import type { SequenceState, StateAccess } from './mixers/definition.js';
import type { ParamInit, ParamRole, ParamSpec } from './mixers/spec.js';
import { convInit } from './param-inits.js';
import type { AttentionPlan } from './plan.js';

/** What passes a convolution in the mixer: keys, values, and its output. */
type MixerPlace = 'keyconv' | 'valueconv' | 'outconv';

/** The parameters of a mixer's convolutions; none where the model has no such. */
export function mixerConvParams(
  config: ModelConfig,
  plan: AttentionPlan,
  spec: (name: string, shape: number[], role: ParamRole, init: ParamInit) => ParamSpec,
): ParamSpec[] {
  return mixerChannels(config, plan).map(([place, channels, width]) =>
    spec(`${place}.weight`, [channels, width], 'conv', convInit(config, width)),
  );
}

/** What a mixer keeps of the tokens before for its convolutions. */
export const mixerConvStates = (config: ModelConfig, plan: AttentionPlan): SequenceState[] =>
  mixerChannels(config, plan).flatMap(([place, channels, width]) => kept(place, channels, width));

function mixerChannels(
  config: ModelConfig,
  plan: AttentionPlan,
): (readonly [place: MixerPlace, channels: number, width: number])[] {
  const { shortConv, hiddenSize } = config;
  if (shortConv === null) return [];
  const { numKvHeads, keyDim, valueDim } = headSizes(config, plan);
  const { width } = shortConv;
  return [
    ['keyconv', numKvHeads * keyDim, width],
    ['valueconv', numKvHeads * valueDim, width],
    ['outconv', hiddenSize, width],
  ];
}

const MLP_STATE = 'mlpconv';

/** The parameter of the convolution behind the MLP of a layer; none where the model has no such. */
export function mlpConvParams(config: ModelConfig, layer: number): ParamSpec[] {
  const { shortConv, hiddenSize: d } = config;
  if (shortConv === null) return [];
  const { width } = shortConv;
  return [
    {
      ...{ name: `layers.${layer}.mlp.outconv.weight`, shape: [d, width], part: 'mlp', role: 'conv', layer },
      init: convInit(config, width),
    },
  ];
}

/** What a layer keeps of the tokens before for the convolution behind its MLP. */
export function mlpConvStates(config: ModelConfig, layer: number): SequenceState[] {
  const { shortConv, hiddenSize } = config;
  return shortConv === null || !blockOf(config, layer).mlp ? [] : kept(MLP_STATE, hiddenSize, shortConv.width);
}

const kept = (name: string, channels: number, width: number): SequenceState[] =>
  width === 1 ? [] : [{ name, shape: [width - 1, channels], exact: false }];

/** `x [B,T,C]` and the convolution of it, added; x itself where the model has none. */
export function withMixerConv(
  { shortConv }: ModelConfig,
  param: (name: string) => Value,
  x: Value,
  place: MixerPlace,
  state: StateAccess,
): Value {
  return shortConv === null ? x : convolved(x, param(`attn.${place}.weight`), place, state);
}

/** The same of what an MLP gives. */
export function withMlpConv(
  { shortConv }: ModelConfig,
  param: (name: string) => Value,
  x: Value,
  state: StateAccess,
): Value {
  return shortConv === null ? x : convolved(x, param('mlp.outconv.weight'), MLP_STATE, state);
}

function convolved(x: Value, weight: Value, name: string, state: StateAccess): Value {
  const remembers = at(weight.shape, 1) > 1;
  const read = state.maskPadding(x);
  const initialState = remembers ? state.read(name) : null;
  const { out, state: after } = causalConv(read, weight, { segments: state.segments, initialState });
  if (remembers) state.write(name, after);
  return add(x, out);
}
