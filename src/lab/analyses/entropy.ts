/** `longsight entropy`: how widely heads spread their attention. */
import { z } from 'zod';
import { attentionEntropy } from '../../analysis/index.js';
import { headTextOptions } from '../analysis-options.js';
import { defineAnalysis, show } from '../analysis.js';
import { sequencesOf } from '../model-texts.js';

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
  keeps: ({ heads }) => heads === undefined,
  measure: (model, { heads, tail: tailQueries, ...texts }) =>
    attentionEntropy(model, sequencesOf(model, texts), { tailQueries, ...(heads ? { heads } : {}) }),
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
