/**
 * The table of recurrent mixers. A new one is a file of its own and a line here; everything else derives from this
 * list.
 */
import { convMixer } from './conv.js';
import { gdnMixer } from './gdn.js';
import { glaMixer } from './gla.js';
import { kdaMixer } from './kda.js';
import { lightningMixer } from './lightning.js';
import { mambaMixer } from './mamba.js';
import { mamba2Mixer } from './mamba2.js';
import { mlaMixer } from './mla.js';
import { mlstmMixer } from './mlstm.js';
import { rglruMixer } from './rglru.js';
import { rwkv7Mixer } from './rwkv7.js';

/** Mixers that carry a state along the sequence instead of keys and values, by the name that layer patterns use. */
export const RECURRENT = {
  lightning: lightningMixer,
  gla: glaMixer,
  mamba: mambaMixer,
  mamba2: mamba2Mixer,
  gdn: gdnMixer,
  kda: kdaMixer,
  rwkv7: rwkv7Mixer,
  mlstm: mlstmMixer,
  rglru: rglruMixer,
  conv: convMixer,
} as const;

/** The name of a recurrent mixer. */
export type RecurrentMixer = keyof typeof RECURRENT;

/** The names of all recurrent mixers. */
export const RECURRENT_MIXERS = Object.keys(RECURRENT) as [RecurrentMixer, ...RecurrentMixer[]];

/** Mixers with a section of their own in a configuration: the recurrent ones, and attention on latents. */
export const SECTIONS = { ...RECURRENT, mla: mlaMixer } as const;

/** The name of a mixer that has a section. */
export type SectionName = keyof typeof SECTIONS;

/** The names of all mixers that have a section. */
export const SECTION_NAMES = Object.keys(SECTIONS) as [SectionName, ...SectionName[]];

/** A mixer's section of a configuration, resolved. */
export type SectionOf<M extends SectionName> = ReturnType<(typeof SECTIONS)[M]['resolve']>;
