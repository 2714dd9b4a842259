/**
 * The rules of every mixer, keyed by the union of layer plans, so that a plan without its rules does not compile.
 */
import { attentionMixer } from './attention.js';
import { add, type Value } from '../graph/index.js';
import { mlaRules } from './latent-attention.js';
import { blockOf } from './config.js';
import type { Mixer, MixerOutput, MixerScope } from './mixer.js';
import { RECURRENT_MIXERS, type RecurrentMixer } from './mixers/table.js';
import { scaled } from './norm.js';
import {
  isShared,
  type AttentionPlan,
  type LayerPlan,
  type MixerName,
  type MlpPlan,
  type PlanOf,
  type RecurrentPlan,
} from './plan.js';
import { recurrentMixer } from './recurrent.js';
import { useSpecs } from './shared-params.js';
import { buildTruncated } from './truncate.js';

/** The rules of layers without a mixer; the block around them runs nothing. */
const NO_MIXER: Mixer<MlpPlan> = {
  params: () => [],
  sequenceFlops: () => 0,
  stateBytes: () => 0,
  build: (scope) => ({ out: scope.x }),
  states: () => [],
  step: (scope) => ({ out: scope.x, state: {} }),
};

/**
 * Attention, with a recurrent mixer beside it where its plan names one: both read one input, and are added. Of a layer
 * that uses a shared block the two are built one after the other (`block.ts`).
 */
const ATTENTION: Mixer<AttentionPlan> = {
  params: (config, plan, layer) =>
    withBeside(
      plan,
      isShared(plan) ? useSpecs(config, layer) : attentionMixer.params(config, plan, layer),
      (mixer, beside) => mixer.params(config, beside, layer),
    ),
  sequenceFlops: (config, plan, seqLen) =>
    attentionMixer.sequenceFlops(config, plan, seqLen) +
    (plan.beside === undefined ? 0 : mixerOf(plan.beside).sequenceFlops(config, plan.beside, seqLen)),
  stateBytes: (config, plan, ...rest) =>
    attentionMixer.stateBytes(config, plan, ...rest) +
    (plan.beside === undefined ? 0 : mixerOf(plan.beside).stateBytes(config, plan.beside, ...rest)),
  states: (config, plan, room, layer) =>
    withBeside(plan, attentionMixer.states(config, plan, room, layer), (mixer, beside) =>
      mixer.states(config, beside, room, layer),
    ),
  build: (scope, plan) => {
    const own = attentionMixer.build(scope, plan);
    if (plan.beside === undefined) return own;
    const other = buildRecurrent(mixerOf(plan.beside), scope, plan.beside);
    return { out: together(scope, own.out, other.out), hands: { ...own.hands, ...other.hands } };
  },
  step: (scope, plan) => {
    const own = attentionMixer.step(scope, plan);
    if (plan.beside === undefined) return own;
    const other = mixerOf(plan.beside).step(scope, plan.beside);
    return {
      out: together(scope, own.out, other.out),
      hands: { ...own.hands, ...other.hands },
      state: { ...own.state, ...other.state },
    };
  },
};

/** A list of attention's, and behind it that of the mixer beside it. */
function withBeside<T>(
  { beside }: AttentionPlan,
  own: readonly T[],
  of: (mixer: Mixer<LayerPlan>, beside: RecurrentPlan) => readonly T[],
): T[] {
  return [...own, ...(beside === undefined ? [] : of(mixerOf(beside), beside))];
}

/** The sum of attention and the mixer beside it, each times its factor. */
function together({ config, layer }: MixerScope, attention: Value, other: Value): Value {
  const { mixerScale, besideScale } = blockOf(config, layer);
  return add(scaled(attention, mixerScale), scaled(other, besideScale));
}

/** The forward pass of a recurrent mixer, which may be made to forget (`reach`). */
function buildRecurrent(mixer: Mixer<LayerPlan>, scope: MixerScope, plan: RecurrentPlan): MixerOutput {
  return plan.reach === undefined ? mixer.build(scope, plan) : buildTruncated(mixer, scope, plan, plan.reach);
}

const MIXERS: { readonly [M in MixerName]: Mixer<PlanOf<M>> } = {
  attention: ATTENTION,
  mla: mlaRules,
  none: NO_MIXER,
  ...(Object.fromEntries(RECURRENT_MIXERS.map((mixer) => [mixer, recurrentMixer(mixer)])) as {
    [M in RecurrentMixer]: Mixer<PlanOf<M>>;
  }),
};

/** The rules of a layer's mixer. */
export function mixerOf(plan: LayerPlan | RecurrentPlan): Mixer<LayerPlan> {
  return MIXERS[plan.mixer];
}

/** The forward pass of a layer's mixer over whole sequences. */
export function buildMixer(scope: MixerScope, plan: LayerPlan | RecurrentPlan): MixerOutput {
  if (plan.mixer === 'attention' || plan.mixer === 'mla' || plan.mixer === 'none')
    return mixerOf(plan).build(scope, plan);
  return buildRecurrent(mixerOf(plan), scope, plan);
}
