/**
 * The rules of every mixer, keyed by the union of layer plans, so that a plan without its rules does not compile.
 */
import { attentionMixer } from './attention.js';
import type { Mixer } from './mixer.js';
import { RECURRENT_MIXERS, type RecurrentMixer } from './mixers/table.js';
import type { LayerPlan, MixerName, PlanOf } from './plan.js';
import { recurrentMixer } from './recurrent.js';

const MIXERS: { readonly [M in MixerName]: Mixer<PlanOf<M>> } = {
  attention: attentionMixer,
  ...(Object.fromEntries(RECURRENT_MIXERS.map((mixer) => [mixer, recurrentMixer(mixer)])) as {
    [M in RecurrentMixer]: Mixer<PlanOf<M>>;
  }),
};

/** The rules of a layer's mixer. */
export function mixerOf(plan: LayerPlan): Mixer<LayerPlan> {
  return MIXERS[plan.mixer];
}
