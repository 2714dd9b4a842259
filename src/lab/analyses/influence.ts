/** `longsight influence`: how far back inputs still matter. */
import { z } from 'zod';
import { gradientInfluence, INFLUENCE_TARGETS } from '../../analysis/index.js';
import { field } from '../../core/index.js';
import { count, HELD_OUT, textOptions } from '../analysis-options.js';
import { defineAnalysis, show } from '../analysis.js';
import { sequencesOf } from '../model-texts.js';
import { format, texts } from './described.js';

const fields = z.object({
  format,
  target: field(z.enum(INFLUENCE_TARGETS), 'the output whose gradient is taken'),
  lastTokens: field(z.number(), 'positions at the end of a text that the target averages over', 'tokens'),
  samples: texts,
  mean: field(
    z.array(z.number().nullable()),
    'gradient norms with respect to embeddings, mean at distance 0, 1, 2, ... from the last token; null where no text is so long',
    'of `target` over the embedding',
  ),
  counts: field(z.array(z.number()), 'gradients behind each entry of `mean`', 'gradients'),
  floor: field(
    z
      .object({
        level: field(z.number(), 'median over the farthest quarter of distances', 'as `mean`'),
        distance: field(
          z.number().nullable(),
          'from which means over bins of doubling width stay within 1.5 times the level; null if they never do',
          'tokens',
        ),
      })
      .nullable(),
    'the level that norms settle at; null where texts are too short to tell',
  ),
});

/** Norms of gradients with respect to input embeddings, by distance in tokens. */
export const influence = defineAnalysis({
  command: 'influence',
  summary: 'how far back inputs still matter: gradient norms by distance',
  description:
    'Norm of the gradient of a target at the end of texts with respect to each input embedding, averaged by distance. ' +
    'logit_sum (as published) follows a direction to which probabilities are blind; see also argmax_logit and loss.',
  question: 'how far back do inputs matter to the output?',
  needs: 'text',
  checkpoints: { command: 'all', analyze: 'last' },
  options: {
    target: z.enum(INFLUENCE_TARGETS).default('logit_sum').describe(INFLUENCE_TARGETS.join(', ')),
    last: count().default(20).describe('positions at the end that the target averages over'),
    ...textOptions(32, HELD_OUT),
  },
  result: {
    target: z.string(),
    mean: z.array(z.number().nullable()),
    floor: z.looseObject({ level: z.number(), distance: z.number().nullable() }).nullable(),
  },
  fields,
  measure: (model, { target, last: lastTokens, ...chosen }) =>
    gradientInfluence(model, sequencesOf(model, chosen), { target, lastTokens }),
  record: (result) => result,
  print: ({ mean, floor }, name) => {
    const meets =
      floor === null
        ? 'too short to tell a floor'
        : `floor ${show(floor.level, 5)}, met at ${floor.distance ?? 'no distance'}`;
    return {
      title: `${name}: ${meets}`,
      head: ['distance', 'gradient norm'],
      rows: mean.flatMap((v, d) => (d === 0 || Number.isInteger(Math.log2(d)) ? [[String(d), show(v, 5)]] : [])),
      right: 0,
    };
  },
  csv: ({ mean, counts }, { step }) => ({
    columns: ['step', 'distance', 'mean_grad_norm', 'count'],
    rows: mean.map((v, d) => [step, d, v, counts[d]]),
  }),
  figure: {
    form: 'distance',
    title: 'How far back inputs matter',
    label: 'Gradient influence',
    axis: 'gradient norm',
    curve: ({ mean }) => mean,
    mark: ({ floor }) =>
      floor === null || floor.distance === null ? null : { distance: floor.distance, level: floor.level },
    caption: ({ target }) =>
      `Norm of the gradient of the output (${target}) with respect to the embedding of the token so far back, mean over held-out ` +
      'sequences and seeds. Open marks: where a run meets its floor.',
  },
});
