/** The resolved sections of recurrent mixers: every default filled in from the model's widths, fields checked together. */
import type { z } from 'zod';
import { ConfigError } from '../core/index.js';
import { RECURRENT_MIXERS, type LayerPlan, type RecurrentMixer } from './plan.js';
import {
  gdnSchema,
  glaSchema,
  kdaSchema,
  lightningSchema,
  mamba2Schema,
  type recurrentSections,
} from './recurrent-schema.js';

/** Every field of a section that is not left to be worked out, and those in `F` worked out. */
type Resolved<S extends z.ZodType, F extends keyof z.output<S>, Dropped extends keyof z.output<S> = never> = Readonly<
  Omit<z.output<S>, F | Dropped> & { [K in F]-?: NonNullable<z.output<S>[K]> }
>;

export type LightningConfig = Resolved<
  typeof lightningSchema,
  'numHeads' | 'numKvHeads' | 'headDim' | 'scale' | 'normEps'
>;
export type GlaConfig = Resolved<typeof glaSchema, 'numHeads' | 'numKvHeads' | 'keyDim' | 'valueDim' | 'normEps'>;
export type Mamba2Config = Resolved<typeof mamba2Schema, 'numHeads' | 'normGroups' | 'normEps', 'expand'>;
export type GdnConfig = Resolved<typeof gdnSchema, 'numHeads' | 'numValueHeads' | 'keyDim' | 'valueDim' | 'normEps'>;
export type KdaConfig = Resolved<typeof kdaSchema, 'numHeads' | 'keyDim' | 'valueDim' | 'rank' | 'normEps'>;

/** A section for each recurrent mixer that the model's layers use. */
export interface RecurrentConfigs {
  readonly lightning?: LightningConfig;
  readonly gla?: GlaConfig;
  readonly mamba2?: Mamba2Config;
  readonly gdn?: GdnConfig;
  readonly kda?: KdaConfig;
}

/** What sections take their defaults from. */
export interface ModelWidths {
  readonly hiddenSize: number;
  readonly numHeads: number;
  readonly headDim: number;
  readonly rmsNormEps: number;
}

type Sections = { readonly [K in keyof typeof recurrentSections]?: z.output<(typeof recurrentSections)[K]> };

/** Fills in one section; `where` names it in messages. */
type Resolver<M extends RecurrentMixer> = (
  given: Sections[M],
  model: ModelWidths,
  where: string,
) => NonNullable<RecurrentConfigs[M]>;

/**
 * The sections of the mixers that `layers` use, defaults filled in.
 *
 * @throws ConfigError if widths or head counts of a section, used or not, do not fit one another
 */
export function resolveRecurrent(
  sections: Sections,
  layers: readonly LayerPlan[],
  model: ModelWidths,
  where: string,
): RecurrentConfigs {
  const used = new Set<string>(layers.map((plan) => plan.mixer));
  const entries = RECURRENT_MIXERS.flatMap((mixer) => {
    const given = sections[mixer];
    if (given === undefined && !used.has(mixer)) return [];
    const resolve = RESOLVERS[mixer] as Resolver<RecurrentMixer>;
    const resolved = resolve(given, model, `${where}.${mixer}`);
    return used.has(mixer) ? [[mixer, resolved] as const] : [];
  });
  return Object.fromEntries(entries);
}

const RESOLVERS: { readonly [M in RecurrentMixer]: Resolver<M> } = {
  lightning: (given, model, where) => {
    const section = given ?? lightningSchema.parse({});
    const numHeads = section.numHeads ?? model.numHeads;
    const numKvHeads = section.numKvHeads ?? numHeads;
    const headDim = section.headDim ?? model.headDim;
    checkMultiple(where, { numHeads }, { numKvHeads });
    if (section.rope) checkEven(where, { headDim });
    const scale = section.scale ?? 1 / Math.sqrt(headDim);
    return { ...section, numHeads, numKvHeads, headDim, scale, normEps: section.normEps ?? model.rmsNormEps };
  },
  gla: (given, model, where) => {
    const section = given ?? glaSchema.parse({});
    const numHeads = section.numHeads ?? model.numHeads;
    const numKvHeads = section.numKvHeads ?? numHeads;
    checkMultiple(where, { numHeads }, { numKvHeads });
    return {
      ...section,
      numHeads,
      numKvHeads,
      keyDim: section.keyDim ?? model.headDim,
      valueDim: section.valueDim ?? model.headDim,
      normEps: section.normEps ?? 1e-5,
    };
  },
  mamba2: (given, model, where) => {
    const { expand, ...section } = given ?? mamba2Schema.parse({});
    const numHeads = mamba2Heads({ ...section, ...(expand === undefined ? {} : { expand }) }, model, where);
    const { headDim, numGroups } = section;
    const normGroups = section.normGroups ?? numGroups;
    checkMultiple(where, { numHeads }, { numGroups });
    checkMultiple(where, { 'numHeads * headDim': numHeads * headDim }, { normGroups });
    if (section.dtMax !== null && section.dtMax < section.dtMin) {
      throw new ConfigError(`${where}: dtMax ${section.dtMax} is below dtMin ${section.dtMin}`);
    }
    return { ...section, numHeads, normGroups, normEps: section.normEps ?? 1e-5 };
  },
  gdn: (given, model, where) => {
    const section = given ?? gdnSchema.parse({});
    const numHeads = section.numHeads ?? model.numHeads;
    const numValueHeads = section.numValueHeads ?? numHeads;
    checkMultiple(where, { numValueHeads }, { numHeads });
    const keyDim = section.keyDim ?? Math.max(1, Math.round((0.75 * model.hiddenSize) / numHeads));
    return {
      ...section,
      numHeads,
      numValueHeads,
      keyDim,
      valueDim: section.valueDim ?? 2 * keyDim,
      normEps: section.normEps ?? model.rmsNormEps,
    };
  },
  kda: (given, model) => {
    const section = given ?? kdaSchema.parse({});
    const keyDim = section.keyDim ?? model.headDim;
    const valueDim = section.valueDim ?? keyDim;
    return {
      ...section,
      numHeads: section.numHeads ?? model.numHeads,
      keyDim,
      valueDim,
      rank: section.rank ?? valueDim,
      normEps: section.normEps ?? model.rmsNormEps,
    };
  },
};

function mamba2Heads(
  { numHeads, expand, headDim }: { numHeads?: number | undefined; expand?: number; headDim: number },
  { hiddenSize }: ModelWidths,
  where: string,
): number {
  const inner = (expand ?? 2) * hiddenSize;
  if (numHeads !== undefined && (expand === undefined || inner === numHeads * headDim)) return numHeads;
  if (numHeads !== undefined) {
    throw new ConfigError(
      `${where}: expand ${expand} makes the inner width ${inner}, but ${numHeads} heads of ${headDim} make ` +
        `${numHeads * headDim}; give only one of expand and numHeads`,
      { details: { expand, numHeads, headDim } },
    );
  }
  if (Number.isInteger(inner / headDim)) return inner / headDim;
  throw new ConfigError(
    `${where}: the inner width ${inner} (expand ${expand ?? 2} times hiddenSize ${hiddenSize}) is not a multiple of ` +
      `headDim ${headDim}; change headDim or expand, or give numHeads`,
    { details: { expand, headDim } },
  );
}

function checkMultiple(where: string, whole: Record<string, number>, part: Record<string, number>): void {
  const [[name, n], [partName, p]] = [Object.entries(whole)[0], Object.entries(part)[0]] as [
    [string, number],
    [string, number],
  ];
  if (n % p === 0) return;
  throw new ConfigError(`${where}: ${name} ${n} is not a multiple of ${partName} ${p}; change one of them`, {
    details: { [name]: n, [partName]: p },
  });
}

function checkEven(where: string, { headDim }: { headDim: number }): void {
  if (headDim % 2 === 0) return;
  throw new ConfigError(`${where}: headDim ${headDim} is odd, but rotary positions turn pairs of channels`, {
    details: { headDim },
  });
}
