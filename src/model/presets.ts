/**
 * Named models: the architectures of "Rethinking the Role of Efficient Attention in Hybrid Architectures" (arXiv
 * 2606.15378) at its five sizes, and a laptop-size model, that of the quickstart's long arm.
 *
 * The widths and depths are ours, found so that the non-embedding parameters are exactly those in the authors' scaling
 * data (thunlp/rethinking-hybrid-attention, `src/scaling/data/swa128_longppl.tsv`) for S1 to S4: heads of 64, two
 * key/value heads, SwiGLU of 2.5 times the width. S5 follows the same rule and comes to the published 477 M. Vocabulary
 * and rotary base are not published with the data; presets leave them at the defaults (bytes, 10,000).
 *
 * The shapes of the recurrent mixers are ours as well. All designs of a size have the same depth, width, attention
 * layers and, within 1 %, the same number of parameters: recurrent mixers come as near to attention as their heads
 * allow, and what they have more goes off the SwiGLU's width, the same in every layer (`matchedWidth`).
 */
import type { ModelInput } from './schema.js';

/** Sizes of the study: layers and width; `nonEmbedding` is the parameter count that they come to. */
export const STUDY_SIZES = {
  s1: { numLayers: 10, hiddenSize: 384, nonEmbedding: 14_999_424 },
  s2: { numLayers: 12, hiddenSize: 512, nonEmbedding: 31_470_080 },
  s3: { numLayers: 16, hiddenSize: 640, nonEmbedding: 64_901_760 },
  s4: { numLayers: 18, hiddenSize: 768, nonEmbedding: 104_427_264 },
  s5: { numLayers: 30, hiddenSize: 1280, nonEmbedding: 476_852_480 },
} as const;

/** The name of one of the study's five model sizes. */
export type StudySize = keyof typeof STUDY_SIZES;

type Pattern = (numLayers: number) => string;

/**
 * Three window layers to one full layer; where the depth is not a multiple of four, the extra window layers come first.
 */
const oneToThree: Pattern = (numLayers) => {
  const extra = numLayers % 4;
  const head = extra === 0 ? '' : `${extra}*swa:128 `;
  return head + Array.from({ length: Math.floor(numLayers / 4) }, () => '3*swa:128 full').join(' ');
};

/** Layer patterns of the study. */
export const STUDY_PATTERNS = {
  full: () => 'full',
  'swa-128': () => 'swa:128 full',
  'swa-512': () => 'swa:512 full',
  'swa-2048': () => 'swa:2048 full',
  'swa-128-nope': () => 'swa:128 full:nope',
  'swa-128-1to3': oneToThree,
  'swa-128-headwise': () => 'swa:128/full',
  lightning: () => 'lightning full',
  mamba2: () => 'mamba2 full',
  gdn: () => 'gdn full',
} as const satisfies Readonly<Record<string, Pattern>>;

/** The name of one of the study's architectures. */
export type StudyPattern = keyof typeof STUDY_PATTERNS;

/** Layer patterns of the laptop model, by window of the cheap layers; the quickstart compares some of them. */
export const LAPTOP_PATTERNS = {
  full: 'full',
  'swa-8': 'swa:8 full',
  'swa-24': 'swa:24 full',
  'swa-64': 'swa:64 full',
  'swa-8-nope': 'swa:8 full:nope',
  'swa-64-nope': 'swa:64 full:nope',
  lightning: 'lightning full',
  mamba2: 'mamba2 full',
  gdn: 'gdn full',
} as const;

/** The name of one of the laptop model's layer patterns. */
export type LaptopPattern = keyof typeof LAPTOP_PATTERNS;

type RecurrentDesign = 'lightning' | 'mamba2' | 'gdn';

/** Widths that a model's attention has and that its recurrent mixers follow. */
interface Widths {
  readonly hiddenSize: number;
  readonly headDim: number;
  readonly numKvHeads: number;
}

/** A recurrent mixer's section, and the parameters of one such layer (the terms are those of `params` in `mixers/`). */
interface MatchedMixer {
  readonly section: Pick<ModelInput, RecurrentDesign>;
  readonly parameters: number;
}

/**
 * The recurrent mixers of 1:1 hybrids beside attention of width d with heads of D:
 * - lightning: d/D heads and as many key/value heads as attention, with its output gate;
 * - mamba2: inner width 4/3 d in whole heads of D, states of D, one group;
 * - gdn: d/(2D) heads, keys of D and values of 2D, with its output gate.
 * Their states hold 64 d to 86 d elements a layer where D is 64.
 */
const MATCHED_MIXERS: { readonly [K in RecurrentDesign]: (widths: Widths) => MatchedMixer } = {
  lightning: ({ hiddenSize: d, headDim: D, numKvHeads }) => ({
    section: { lightning: { numKvHeads } },
    parameters: 3 * d * d + 2 * d * numKvHeads * D + d,
  }),
  mamba2: ({ hiddenSize: d, headDim: D }) => {
    const numHeads = Math.round((4 * d) / (3 * D));
    const inner = numHeads * D;
    return {
      section: { mamba2: { numHeads, headDim: D, stateSize: D } },
      parameters: d * (3 * inner + 2 * D + numHeads) + 5 * (inner + 2 * D) + 3 * numHeads + inner,
    };
  },
  gdn: ({ hiddenSize: d, headDim: D }) => {
    const numHeads = d / (2 * D);
    return {
      section: { gdn: { numHeads, keyDim: D, valueDim: 2 * D } },
      parameters: 4 * d * d + 2 * numHeads * (d + 1) + 8 * d + 2 * D,
    };
  },
};

/**
 * The SwiGLU's width, a multiple of `multiple`, that gives a model whose layers are half attention and half a mixer of
 * `parameters` parameters as many parameters as one of attention alone with width `full`.
 */
function matchedWidth(full: number, multiple: number, parameters: number, widths: Widths): number {
  const { hiddenSize: d, headDim, numKvHeads } = widths;
  const attention = 2 * d * d + 2 * d * numKvHeads * headDim;
  return multiple * Math.round((full - (parameters - attention) / 2 / (3 * d)) / multiple);
}

/** The section and MLP width of a design: those of attention unless it has a recurrent mixer. */
function designOf(pattern: string, full: number, multiple: number, widths: Widths): Partial<ModelInput> {
  const mixer = Object.entries(MATCHED_MIXERS).find(([name]) => name === pattern)?.[1](widths);
  if (mixer === undefined) return { intermediateSize: full };
  return { ...mixer.section, intermediateSize: matchedWidth(full, multiple, mixer.parameters, widths) };
}

/** A model of the study. All patterns of one size have the same parameters, those with recurrent mixers within 1 %. */
export function studyModel(size: StudySize, pattern: StudyPattern): ModelInput {
  const { numLayers, hiddenSize } = STUDY_SIZES[size];
  const widths = { hiddenSize, numKvHeads: 2, headDim: 64 };
  return {
    ...widths,
    numLayers,
    layers: STUDY_PATTERNS[pattern](numLayers),
    numHeads: hiddenSize / 64,
    ...designOf(pattern, 2.5 * hiddenSize, 16, widths),
  };
}

/**
 * The laptop model: 4 layers, 64 wide, vocabulary 64, about 0.2 M parameters; small enough to train in minutes on a CPU
 * and large enough to show retrieval forming.
 */
export function laptopModel(pattern: LaptopPattern): ModelInput {
  const widths = { hiddenSize: 64, numKvHeads: 4, headDim: 16 };
  return {
    ...widths,
    vocabSize: 64,
    numLayers: 4,
    layers: LAPTOP_PATTERNS[pattern],
    numHeads: 4,
    ...designOf(pattern, 192, 4, widths),
  };
}

const keys = <K extends string>(table: Readonly<Record<K, unknown>>): K[] => Object.keys(table) as K[];

/** Every preset by name: `laptop-PATTERN` and `SIZE-PATTERN`. */
const PRESETS: ReadonlyMap<string, () => ModelInput> = new Map<string, () => ModelInput>([
  ...keys(LAPTOP_PATTERNS).map((p) => [`laptop-${p}`, () => laptopModel(p)] as const),
  ...keys(STUDY_SIZES).flatMap((s) => keys(STUDY_PATTERNS).map((p) => [`${s}-${p}`, () => studyModel(s, p)] as const)),
]);

/** Names that `preset:` in a model configuration takes. */
export const PRESET_NAMES: readonly string[] = [...PRESETS.keys()];

/** The configuration of a preset, undefined if there is none of that name. */
export function presetInput(name: string): ModelInput | undefined {
  return PRESETS.get(name)?.();
}
