/** `longsight entropy`: how widely heads spread their attention. */
import { z } from 'zod';
import { attentionEntropy } from '../../analysis/index.js';
import { field } from '../../core/index.js';
import { headTextOptions } from '../analysis-options.js';
import { defineAnalysis, show } from '../analysis.js';
import { sequencesOf } from '../model-texts.js';
import { attentionHead, format, texts } from './described.js';

/** Means of one head, and of all heads. */
const entropies = {
  entropy: field(z.number(), 'entropy of attention, mean over texts and positions', 'nats'),
  normalized: field(
    z.number(),
    'the same, each divided first by the entropy of equal attention to all tokens so far, as published',
    'share',
  ),
  normalizedVisible: field(
    z.number(),
    'the same, each divided first by the entropy of equal attention to the keys that the head sees',
    'share',
  ),
};

const fields = z.object({
  format,
  samples: texts,
  tailQueries: field(z.number(), 'positions at the end of each text that were measured', 'tokens'),
  ...entropies,
  heads: field(
    z.array(
      z.object({
        ...attentionHead,
        ...entropies,
        mass: field(z.number(), 'attention on keys, mean; the rest is on the learned sink of the head', 'share'),
      }),
    ),
    'heads, by layer and number; the three means above are over these',
  ),
});

/** Attention entropy of heads over the last positions of texts, in nats and normalized. */
export const entropy = defineAnalysis({
  command: 'entropy',
  summary: 'attention entropy of heads',
  description:
    'Mean entropy of attention over the last positions of texts, in nats and normalized: by the causal length (as ' +
    'published) and by the keys that a head can see. All checkpoints of a run, unless --step names one.',
  question: 'how widely do heads spread their attention?',
  needs: 'text',
  checkpoints: { command: 'all', analyze: 'all' },
  options: headTextOptions(),
  result: {
    entropy: z.number(),
    heads: z.array(
      z.looseObject({
        ...{ layer: z.number(), head: z.number(), label: z.string(), window: z.number().nullable() },
        ...{ entropy: z.number(), normalized: z.number(), normalizedVisible: z.number() },
      }),
    ),
  },
  fields,
  keeps: ({ heads }) => heads === undefined,
  measure: (model, { heads, tail: tailQueries, ...chosen }) =>
    attentionEntropy(model, sequencesOf(model, chosen), { tailQueries, ...(heads ? { heads } : {}) }),
  record: (result) => result,
  print: ({ heads, entropy, normalized, normalizedVisible }, name) => ({
    title: name,
    head: ['head', 'kind', 'nats', 'of causal', 'of visible', 'on keys'],
    rows: [
      ...heads.map((h) => [
        ...[`${h.layer}:${h.head}`, h.label, show(h.entropy)],
        ...[show(h.normalized), show(h.normalizedVisible), show(h.mass)],
      ]),
      ['mean', '', show(entropy), show(normalized), show(normalizedVisible), ''],
    ],
    right: 2,
  }),
  csv: ({ heads }, { step, tokens }) => ({
    columns: ['step', 'tokens', 'layer', 'head', 'kind', 'entropy', 'normalized', 'normalized_visible', 'mass'],
    rows: heads.map((h) => [
      ...[step, tokens, h.layer, h.head, h.label],
      ...[h.entropy, h.normalized, h.normalizedVisible, h.mass],
    ]),
  }),
  figure: {
    form: 'heads',
    title: 'Attention entropy, while training',
    axis: 'entropy, share of uniform',
    domain: [0, 1],
    heads: ({ heads }) => heads.map(({ layer, head, normalizedVisible: value }) => ({ layer, head, value })),
    caption: () =>
      'Mean entropy of attention over the last positions of held-out sequences, divided by that of equal attention to all ' +
      'keys that a head can see: 1 is spread evenly, 0 is one key.',
  },
});
