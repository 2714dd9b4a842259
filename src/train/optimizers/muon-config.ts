/** The section `train.muon` of a run file. */
import { z } from 'zod';
import { realNumber } from '../../core/index.js';

/** How long the step of a matrix `[in, out]` is, by name: a factor on the orthogonalized matrix. */
export const SCALES = {
  'match-rms': {
    summary:
      "0.2 sqrt(max(in, out)): entries about as large as in AdamW's steps, so that its rate and decay fit (Liu et al. 2025)",
    factor: (rows: number, columns: number) => 0.2 * Math.sqrt(Math.max(rows, columns)),
  },
  spectral: {
    summary: 'sqrt(max(1, out / in)), as the reference implementation (Jordan et al. 2024)',
    factor: (rows: number, columns: number) => Math.sqrt(Math.max(1, columns / rows)),
  },
} as const;
type Scale = keyof typeof SCALES;
const SCALE_NAMES = Object.keys(SCALES) as [Scale, ...Scale[]];

/** The rate of the reference implementation's scale, where none is given. */
const SPECTRAL_RATE = 0.02;

/** Schema of `train.muon`. */
export const muonSchema = z.strictObject({
  lr: realNumber()
    .positive()
    .optional()
    .describe(
      `peak learning rate of hidden matrices, scheduled as train.lr (default: train.lr; ${SPECTRAL_RATE} with scale spectral)`,
    ),
  momentum: realNumber().min(0).lt(1).default(0.95).describe('decay of the mean of gradients'),
  nesterov: z.boolean().default(true).describe('look one step ahead along the mean of gradients'),
  steps: z.int().min(1).max(20).default(5).describe('steps of the Newton-Schulz iteration'),
  scale: z
    .enum(SCALE_NAMES)
    .default('match-rms')
    .describe(
      'factor on the orthogonalized step: ' +
        SCALE_NAMES.map((name) => `${name}, ${SCALES[name].summary}`).join('; or '),
    ),
  weightDecay: realNumber()
    .min(0)
    .optional()
    .describe('decoupled decay of hidden matrices (default: train.weightDecay)'),
});

/** The settings of Muon, complete. */
export type MuonConfig = Omit<z.output<typeof muonSchema>, 'lr' | 'weightDecay'> & {
  readonly lr: number;
  readonly weightDecay: number;
};

/** The section with what is left out filled in from the settings of AdamW. */
export function resolveMuon(
  section: z.output<typeof muonSchema>,
  { lr, weightDecay }: { readonly lr: number; readonly weightDecay: number },
): MuonConfig {
  const rate = section.scale === 'spectral' ? SPECTRAL_RATE : lr;
  return { ...section, lr: section.lr ?? rate, weightDecay: section.weightDecay ?? weightDecay };
}
