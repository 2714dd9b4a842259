/**
 * The table of mixers, keyed by the union of layer plans: adding a plan without its rules does not compile.
 */
import { attentionMixer } from './attention.js';
import { gdnMixer } from './gdn.js';
import { glaMixer } from './gla.js';
import { kdaMixer } from './kda.js';
import { lightningMixer } from './lightning.js';
import { mamba2Mixer } from './mamba2.js';
import type { Mixer } from './mixer.js';
import type { LayerPlan, MixerName, PlanOf } from './plan.js';

export const MIXERS: { readonly [M in MixerName]: Mixer<PlanOf<M>> } = {
  attention: attentionMixer,
  lightning: lightningMixer,
  gla: glaMixer,
  mamba2: mamba2Mixer,
  gdn: gdnMixer,
  kda: kdaMixer,
};

/** The rules of a layer's mixer. */
export function mixerOf(plan: LayerPlan): Mixer<LayerPlan> {
  return MIXERS[plan.mixer];
}
