/** `longsight heads`: retrieval heads by copying (Wu et al. 2024), or exactly as the study scores them. */
import { z } from 'zod';
import {
  allHeads,
  checkHeads,
  copyHeads,
  parsePromptRows,
  topHeads,
  tracePublished,
  type PromptRow,
} from '../../analysis/index.js';
import { ConfigError, field, readUtf8 } from '../../core/index.js';
import { count, file } from '../analysis-options.js';
import { defineAnalysis, show } from '../analysis.js';
import { needlesOf } from '../needles.js';
import type { OpenedModel } from '../open-model.js';
import { attentionHead, format } from './described.js';

const DEFINITIONS = ['copy', 'published'] as const;

const fields = z.object({
  format,
  definition: field(z.enum(['copy-frequency', 'published-attention-mass']), 'what `score` is'),
  counted: field(
    z.number().optional(),
    'of copying: samples of whose answer more than half of the tokens were generated; only these count',
    'samples',
  ),
  samples: field(z.number().optional(), 'of copying: needle samples', 'samples'),
  repeats: field(z.boolean().optional(), 'of copying: whether every copy of a needle token counts'),
  queryFromEnd: field(
    z.number().optional(),
    'of the published definition: row of the attention, 1 = the last token of the prompt',
    'tokens',
  ),
  samplesUsed: field(
    z.number().optional(),
    'of the published definition: prompts that the rules of its script let in',
    'prompts',
  ),
  samplesMissingNeedle: field(
    z.number().optional(),
    'of the published definition: prompts in which no spelling of a needle was found',
    'prompts',
  ),
  samplesCut: field(
    z.number().optional(),
    'of the published definition: prompts cut at their end, which may have lost their question',
    'prompts',
  ),
  heads: field(
    z.array(
      z.object({
        ...attentionHead,
        window: attentionHead.window.optional(),
        score: field(
          z.number(),
          'of copying: tokens of the needle that the head copied over those of the needle, mean over `counted`; of the published definition: ' +
            'attention on the needle, mean over `samplesUsed`',
          'share; of copying with `repeats` it can exceed 1',
        ),
      }),
    ),
    'all heads, by layer and number; `window` is of copying alone',
  ),
});

/** Retrieval heads by other definitions than attention mass on the needle; printed, not kept. */
export const heads = defineAnalysis({
  command: 'heads',
  summary: 'retrieval heads by other definitions than trace',
  description:
    'copy: how often the most attended token is copied from the needle while the answer is decoded (Wu et al. 2024). ' +
    'published: attention mass exactly as the study scores it, on prompts of a JSONL file (input, outputs), for models ' +
    'with a tokenizer.',
  question: 'the same by copying (Wu et al. 2024), or exactly as the study scores it',
  needs: 'needles',
  checkpoints: { command: 'all', analyze: 'none' },
  options: {
    definition: z.enum(DEFINITIONS).default('copy').describe(DEFINITIONS.join(' or ')),
    prompts: file().optional().describe('JSONL prompts, for published'),
    samples: count().default(200).describe('needle samples or prompts at most'),
    length: count().optional().describe('tokens of a needle sample, for copy'),
    queryFromEnd: count().default(2).describe('row of the attention, for published'),
    repeats: z
      .boolean()
      .default(false)
      .describe('count every copy of a needle token, as the published code does, for copy'),
    top: count().default(5).describe('heads to print'),
  },
  result: {},
  fields,
  keeps: () => false,
  measure: async (model, { definition, samples, length, queryFromEnd, repeats, top, prompts }) => {
    checkHeads(model.config, allHeads(model.config));
    const found =
      definition === 'published'
        ? await tracePublished(model, promptsOf(model, prompts), { queryFromEnd, maxSamples: samples })
        : await copyHeads(model, needlesOf(model, { label: 'copy', samples, length }), { repeats });
    return { found, top };
  },
  record: ({ found }) => found,
  print: ({ found, top }, name) => {
    const best = topHeads<(typeof found.heads)[number]>(found.heads, top);
    const used =
      'counted' in found
        ? `${found.counted} of ${found.samples} samples answered`
        : `${found.samplesUsed} prompts, ${found.samplesMissingNeedle} without their needle, ${found.samplesCut} cut`;
    return {
      title: `${name}: ${used}`,
      head: ['head', 'kind', 'score'],
      rows: best.map((h) => [`${h.layer}:${h.head}`, h.label, show(h.score)]),
      right: 2,
    };
  },
  csv: ({ found }, { step, tokens }) => ({
    columns: ['step', 'tokens', 'layer', 'head', 'kind', 'score'],
    rows: found.heads.map((h) => [step, tokens, h.layer, h.head, h.label, h.score]),
  }),
});

function promptsOf({ tokenizer, source }: OpenedModel, prompts: string | undefined): PromptRow[] {
  if (prompts === undefined)
    throw new ConfigError('the definition "published" needs prompts; name a file of them (--prompts FILE)');
  if (tokenizer === null)
    throw new ConfigError(`${source} has no tokenizer.json, which the definition "published" needs`);
  return parsePromptRows(readUtf8(prompts, 'drop'), prompts);
}
