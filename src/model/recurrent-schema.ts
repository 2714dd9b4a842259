/**
 * Schemas of the recurrent mixers' sections of a model configuration. One section serves all layers of its mixer; fields that
 * are left out follow from the model's widths (`recurrent-config.ts`).
 */
import { z } from 'zod';

const count = z.int().min(1);
const numHeads = count.optional().describe('heads (default: that of the model)');
const normEps = (fallback: string) =>
  z.number().positive().optional().describe(`added to the mean square in the output norm (default: ${fallback})`);
const chunk = count
  .max(1024)
  .refine((n) => Number.isInteger(Math.log2(n)), 'chunk must be a power of two')
  .nullable()
  .default(null)
  .describe('tokens worked on at once, a power of two; null chooses. Results do not depend on it, speed does');
const convWidth = z
  .int()
  .min(0)
  .default(4)
  .describe('tokens under the causal convolution of queries, keys and values, its own included; 0 for none');
const allowNegEigval = z
  .boolean()
  .default(false)
  .describe('double the write strength, so that eigenvalues of a step may be negative (state tracking)');

export const lightningSchema = z.strictObject({
  numHeads,
  numKvHeads: count.optional().describe('key/value heads; divides numHeads (default: numHeads)'),
  headDim: count.optional().describe('width of one head (default: that of the model)'),
  slopes: z
    .enum(['alibi', 'power', 'linear'])
    .default('alibi')
    .describe(
      'decay of a head in nats a token: alibi (2^(-8(h+1)/H), with ALiBi’s rule where H is no power of two), power (the ' +
        'formula alone, as MiniMax), linear (8h/H, as flash-linear-attention)',
    ),
  layerFactor: z
    .enum(['none', 'tnl', 'minimax', 'fla'])
    .default('none')
    .describe(
      'what the slopes of layer l of L are multiplied by: none, tnl (1 - l/(L-1) + 1e-5), minimax (1 - l/(L-1+1e-5) + 1e-5), ' +
        'fla (1 - l/L)',
    ),
  activation: z.enum(['none', 'silu']).default('none').describe('on queries, keys and values'),
  scale: z.number().positive().optional().describe('factor on the result (default: 1/sqrt(headDim))'),
  qkNorm: z.boolean().default(false).describe('RMSNorm on each query and key head'),
  rope: z.boolean().default(false).describe('rotary positions'),
  norm: z.enum(['rms', 'layer', 'none']).default('rms').describe('output norm, over all heads together'),
  gate: z
    .enum(['full', 'low-rank', 'none'])
    .default('full')
    .describe(
      'sigmoid of a projection of the layer input on the normalised output; low-rank goes through headDim channels',
    ),
  normEps: normEps('rmsNormEps'),
  chunk,
});

export const glaSchema = z.strictObject({
  numHeads,
  numKvHeads: count.optional().describe('key/value heads; divides numHeads (default: numHeads)'),
  keyDim: count.optional().describe('width of a query and key head (default: headDim of the model)'),
  valueDim: count.optional().describe('width of a value head (default: headDim of the model)'),
  convWidth,
  gateNormalizer: z
    .number()
    .positive()
    .default(16)
    .describe('log decays are log-sigmoids divided by this: the larger, the longer the memory'),
  gate: z.boolean().default(true).describe('SiLU of a projection of the layer input on the normalised output'),
  normEps: normEps('1e-5'),
  chunk,
});

export const mamba2Schema = z.strictObject({
  expand: z.number().positive().optional().describe('inner width over hiddenSize, for numHeads (default: 2)'),
  numHeads: count.optional().describe('heads (default: expand * hiddenSize / headDim)'),
  headDim: count.default(64).describe('width of one head'),
  stateSize: count.default(128).describe('state of one channel (N)'),
  numGroups: count.default(1).describe('groups of heads that share B and C; divides numHeads'),
  convWidth: count.default(4).describe('tokens under the causal convolution of x, B and C, its own included'),
  convBias: z.boolean().default(true).describe('bias of the convolution'),
  bias: z.boolean().default(false).describe('biases of the input and output projections'),
  norm: z
    .enum(['gate-first', 'norm-first', 'none'])
    .default('gate-first')
    .describe('RMSNorm of the gated output, RMSNorm and then the gate, or the gate alone'),
  normGroups: count
    .optional()
    .describe(
      'groups of channels that the norm takes its statistics over; divides the inner width (default: numGroups)',
    ),
  dtMin: z.number().min(0).default(0).describe('time steps are at least this'),
  dtMax: z.number().positive().nullable().default(null).describe('time steps are at most this; null for no limit'),
  normEps: normEps('1e-5'),
  chunk,
});

export const gdnSchema = z.strictObject({
  numHeads: count.optional().describe('query and key heads (default: numHeads of the model)'),
  numValueHeads: count.optional().describe('value heads, a multiple of numHeads (default: numHeads)'),
  keyDim: count
    .optional()
    .describe('width of a query and key head (default: that makes them 0.75 hiddenSize together)'),
  valueDim: count.optional().describe('width of a value head (default: 2 keyDim)'),
  convWidth,
  allowNegEigval,
  gate: z.boolean().default(true).describe('SiLU of a projection of the layer input on the normalised output'),
  normEps: normEps('rmsNormEps'),
  chunk,
});

export const kdaSchema = z.strictObject({
  numHeads,
  keyDim: count.optional().describe('width of a query and key head (default: headDim of the model)'),
  valueDim: count.optional().describe('width of a value head (default: keyDim)'),
  convWidth,
  allowNegEigval,
  rank: count
    .optional()
    .describe('inner width of the projections of the decays and of the output gate (default: valueDim)'),
  normEps: normEps('rmsNormEps'),
  chunk,
});

/** The sections of recurrent mixers; those of mixers that no layer uses are checked and left out. */
export const recurrentSections = {
  lightning: lightningSchema.optional().describe('Lightning Attention: linear attention with a fixed decay per head'),
  gla: glaSchema.optional().describe('Simple GLA: linear attention with a learned decay per head and token'),
  mamba2: mamba2Schema.optional().describe('Mamba-2: state-space duality'),
  gdn: gdnSchema.optional().describe('Gated DeltaNet: delta rule with a decay per head and token'),
  kda: kdaSchema.optional().describe('Kimi Delta Attention: delta rule with a decay per key channel and token'),
};
