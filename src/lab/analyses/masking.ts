/** `longsight mask`: needle accuracy with heads switched off. */
import { z } from 'zod';
import { copyHeads, MASK_MODES, maskHeads, topHeads, type NeedleScore } from '../../analysis/index.js';
import { count, headList } from '../analysis-options.js';
import { defineAnalysis, headNames, show } from '../analysis.js';
import { arSamples } from '../ar-samples.js';
import { needlesOf } from '../needles.js';

const score = z.looseObject({ accuracy: z.number(), low: z.number(), high: z.number(), probability: z.number() });
const headIndex = z.looseObject({ layer: z.number(), head: z.number() });

/** Needle accuracy with chosen heads switched off, and with as many random others off. */
export const masking = defineAnalysis({
  command: 'mask',
  summary: 'needle accuracy with heads switched off',
  description:
    'Switches chosen heads off, or the strongest by copying, and as many random others; prints needle accuracy with and ' +
    'without. uniform: equal attention to all visible keys; zero: no output; mean: mean output.',
  question: 'does finding needles need these heads, more than random ones?',
  needs: 'needles',
  checkpoints: { command: 'newest', analyze: 'last' },
  options: {
    heads: headList().optional().describe('heads as LAYER:HEAD, several with commas (default: the strongest)'),
    top: count().default(4).describe('how many of the strongest'),
    mode: z.enum(MASK_MODES).default('zero').describe(MASK_MODES.join(', ')),
    draws: count().default(10).describe('draws of random heads'),
    samples: count().default(200).describe('samples'),
    measure: z
      .enum(['needle', 'ar'])
      .default('needle')
      .describe('what is asked: needles, or far associative recall in the held-out text of the run'),
    length: count().optional().describe('tokens of a sample (default: that of training)'),
  },
  result: {
    mode: z.string(),
    heads: z.array(headIndex),
    baseline: score,
    masked: score,
    random: z.array(z.looseObject({ heads: z.array(headIndex), score })),
  },
  measure: async (model, { heads: given, top, mode, draws, samples, length, measure }, { context }) => {
    const needles = (label: string) => needlesOf(model, { label, samples, length });
    // Chosen on other samples than they are judged on.
    const chosen = given ?? topHeads((await copyHeads(model, needles('copy'))).heads, top);
    const heads = chosen.map(({ layer, head }) => ({ layer, head }));
    const asked = measure === 'ar' ? arSamples(model, samples, (text) => context.note?.(text)) : needles('mask');
    return { measure, ...(await maskHeads(model, asked, { heads, mode, draws })) };
  },
  print: ({ measure, mode, heads, baseline, masked, random, drop, randomDrop }, name) => {
    const line = (what: string, s: NeedleScore) => [
      ...[what, show(s.accuracy), `${show(s.low)} to ${show(s.high)}`, show(s.probability)],
    ];
    const mean = randomDrop === null ? 'too few other heads' : `random ones lose ${show(randomDrop)}`;
    return {
      title: `${name}, ${measure === 'ar' ? 'associative recall' : 'needles'}, mode ${mode}: the chosen heads lose ${show(drop)}, ${mean}`,
      head: ['heads off', 'accuracy', 'interval', 'probability'],
      rows: [
        line('none', baseline),
        line(headNames(heads), masked),
        ...random.map((r) => line(`${headNames(r.heads)} (random)`, r.score)),
      ],
      right: 1,
    };
  },
  csv: ({ measure, mode, heads, baseline, masked, random }, { step }) => ({
    columns: ['step', 'measure', 'mode', 'kind', 'heads', 'accuracy', 'probability', 'accuracy_low', 'accuracy_high'],
    rows: [
      { kind: 'none', off: [], score: baseline },
      { kind: 'chosen', off: heads, score: masked },
      ...random.map((r) => ({ kind: 'random', off: r.heads, score: r.score })),
    ].map(({ kind, off, score: s }) => [
      ...[step, measure, mode, kind, headNames(off)],
      ...[s.accuracy, s.probability, s.low, s.high],
    ]),
  }),
  figure: {
    form: 'dots',
    title: 'Needle accuracy with heads switched off',
    axis: 'needle accuracy',
    panels: [
      ['none', 'no head off'],
      ['strongest', 'the strongest off'],
      ['random', 'random others off'],
    ],
    dots: ({ baseline, masked, heads, random }) => [
      { panel: 'none', value: baseline.accuracy, about: '' },
      { panel: 'strongest', value: masked.accuracy, about: `, without ${headNames(heads)}` },
      ...random.map((r) => ({
        ...{ panel: 'random', value: r.score.accuracy, about: `, without ${headNames(r.heads)}` },
      })),
    ],
    caption: ({ heads }) =>
      `Left: the model as it is; middle: without the ${heads.length} heads that copy most; right: without as many others, each mark one ` +
      'draw. A random draw may hit a head that builds the keys which retrieval needs, so look at single draws.',
  },
});
