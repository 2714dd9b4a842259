/**
 * The rules of every mixer, keyed by the union of layer plans, so that a plan without its rules does not compile.
 */
import { attentionMixer } from './attention.js';
import type { Mixer } from './mixer.js';
import { RECURRENT_MIXERS, type RecurrentMixer } from './mixers/table.js';
import type { LayerPlan, MixerName, MlpPlan, PlanOf } from './plan.js';
import { recurrentMixer } from './recurrent.js';

/** The rules of layers without a mixer; the block around them runs nothing. */
const NO_MIXER: Mixer<MlpPlan> = {
  params: () => [],
  sequenceFlops: () => 0,
  stateBytes: () => 0,
  build: (scope) => ({ out: scope.x }),
  states: () => [],
  step: (scope) => ({ out: scope.x, state: {} }),
};

const MIXERS: { readonly [M in MixerName]: Mixer<PlanOf<M>> } = {
  attention: attentionMixer,
  none: NO_MIXER,
  ...(Object.fromEntries(RECURRENT_MIXERS.map((mixer) => [mixer, recurrentMixer(mixer)])) as {
    [M in RecurrentMixer]: Mixer<PlanOf<M>>;
  }),
};

/** The rules of a layer's mixer. */
export function mixerOf(plan: LayerPlan): Mixer<LayerPlan> {
  return MIXERS[plan.mixer];
}
