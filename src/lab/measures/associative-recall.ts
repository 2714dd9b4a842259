/**
 * `ar`: associative recall on text, how well a model predicts tokens that it could copy from earlier in their document.
 */
import { z } from 'zod';
import { ConfigError, field, inTurns, list, pending, textTable, turn } from '../../core/index.js';
import type { Batch, GramStatistics } from '../../data/index.js';
import { arBins, ArTally, farFrom, findAssociativeRecall, type ArRow, type ArTargets } from '../../eval/index.js';
import type { Point } from '../../run/index.js';
import {
  binEnds,
  count,
  defineMeasure,
  whileCompiling,
  type MeasuredRun,
  type Stored,
  type SummaryView,
} from './define.js';
import { reachedAt } from './recall.js';
import { crossing, meanOverTokens, type Crossing, type DistanceBin } from './series.js';

/** The options of `eval.ar`. */
export const arEvalSchema = z.strictObject({
  batches: count.optional().describe('held-out batches that are looked at (default: those of the loss)'),
  maxCount: z
    .int()
    .min(0)
    .default(4)
    .describe(
      'a bigram (of bytes: a gram of six) is rare, so that it counts, up to this many times in the training data',
    ),
  bins: binEnds
    .optional()
    .describe('upper ends of the distance bins, in tokens (default: 16, 64, 128, 256, ... up to the sequence length)'),
});

/**
 * Top-1 accuracy of far hits from which associative recall counts as formed, unless a study says otherwise: what small
 * models get to within 50 million tokens, where half would be out of reach of most.
 */
export const AR_THRESHOLD = 0.1;

/** The thresholds of far top-1 accuracy that a study asks for, ascending; at least one. */
export function arThresholds({ arThreshold = AR_THRESHOLD }: Pick<SummaryView, 'arThreshold'>): readonly number[] {
  return typeof arThreshold === 'number' ? [arThreshold] : arThreshold;
}

/** Unit and range of accuracies and of losses. */
const TOP1 = { unit: 'top-1 accuracy', range: '0 to 1' } as const;
const NATS = { unit: 'nats per token', range: '0 and more' } as const;

const number = z.number().nullable();
/** A mean over targets, with its 95 % interval from resampling documents. */
export const documentMean = z.object({
  targets: field(z.number(), 'targets', 'tokens'),
  loss: field(number, 'mean loss; null without targets', 'nats per token'),
  lossLow: field(number, 'lower end of its interval; null where it cannot be resampled', 'nats per token'),
  lossHigh: field(number, 'upper end of its interval', 'nats per token'),
  accuracy: field(number, 'share of targets whose token is the likeliest; null without targets', 'share'),
  accuracyLow: field(number, 'lower end of its interval; null where it cannot be resampled', 'share'),
  accuracyHigh: field(number, 'upper end of its interval', 'share'),
});
/** Hits at distances `from .. to`, both included, by whether they begin a repeated passage or go on in one. */
const bin = z.object({
  from: field(z.number(), 'smallest distance, to the latest earlier occurrence of the gram', 'tokens'),
  to: field(z.number(), 'largest distance, included', 'tokens'),
  onset: field(documentMean, 'hits that begin a repeated passage'),
  inside: field(documentMean, 'hits that go on in one'),
  all: field(documentMean, 'both'),
});
/** Associative recall on text, and how rare grams were told. */
export const arRecord = z.object({
  maxCount: field(z.number(), 'a gram is rare up to this many occurrences', 'occurrences'),
  documents: field(z.number(), 'documents, or parts of them that a row holds, among what was looked at', 'documents'),
  all: field(documentMean, 'every token of the documents that counts, hit or not'),
  fresh: field(documentMean, 'tokens whose gram is new in its document'),
  bins: field(z.array(bin), 'hits by distance, nearest first'),
  far: field(bin, 'hits at long range: from 1,025 tokens on, or in the farthest quarter of a shorter context'),
  order: field(z.number(), 'tokens of a gram: 2, or 6 of bytes', 'tokens'),
  countedIn: field(
    z.enum(['training', 'texts']),
    'where grams were counted: in the training data, or in the other documents of the same texts',
  ),
});
const schema = z.object({
  ar: field(arRecord.optional(), 'associative recall on text; left out where it is not measured'),
});

type ArResult = NonNullable<Stored<typeof schema>['ar']>;
type Run = MeasuredRun<Stored<typeof schema>>;

/** What is measured of associative recall: options, batches, and how rare grams are told. */
export interface ArPlan {
  readonly options: z.output<typeof arEvalSchema>;
  readonly batches: number;
  readonly grams: GramStatistics;
}

/** What associative recall came to in one run: the last measurement, and its course. */
export interface ArSummary extends DistanceBin {
  /** Share of far hits whose token is the likeliest, at the last measurement, and its 95 % interval over documents. */
  readonly accuracy: number | null;
  /** Lower end of the interval of `accuracy`. */
  readonly accuracyLow: number | null;
  /** Upper end of the interval of `accuracy`. */
  readonly accuracyHigh: number | null;
  /** Mean loss of far hits, in nats. */
  readonly loss: number | null;
  /** Mean loss of tokens whose gram is new in its document, in nats. */
  readonly freshLoss: number | null;
  /** Mean over the tokens of the run of far accuracy. */
  readonly meanAccuracy: number | null;
  /** When far accuracy first reached the threshold; of several the lowest. */
  readonly toThreshold: Crossing | null;
  /** Where a study asks for several thresholds: when far accuracy first reached each. */
  readonly thresholds?: readonly { readonly threshold: number; readonly crossing: Crossing | null }[];
  /** Every measurement: far accuracy, and the mean loss of tokens whose gram is new in its document, in nats. */
  readonly course: readonly { readonly tokens: number; readonly freshLoss: number; readonly accuracy: number }[];
  /** By distance, at the last measurement. */
  readonly bins: readonly (DistanceBin & { readonly accuracy: number | null; readonly loss: number | null })[];
}

/** Far top-1 accuracy over training: what designs are compared by. */
export function arSeries({ metrics }: Pick<Run, 'metrics'>): readonly Point[] {
  return metrics.get('eval/ar/far/accuracy') ?? [];
}

/** Far top-1 accuracy beside the loss of tokens whose gram is new in its document, at every measurement of both. */
function courseOf(run: Pick<Run, 'metrics'>): ArSummary['course'] {
  const fresh = new Map((run.metrics.get('eval/ar/fresh/loss') ?? []).map(({ tokens, value }) => [tokens, value]));
  return arSeries(run).flatMap(({ tokens, value }) => {
    const freshLoss = fresh.get(tokens);
    return freshLoss === undefined ? [] : [{ tokens, freshLoss, accuracy: value }];
  });
}

/** When a run first reached a threshold that its study asks for; null where it was not measured. */
export function arCrossing(ar: ArSummary | undefined, threshold: number): Crossing | null {
  if (ar?.thresholds === undefined) return ar?.toThreshold ?? null;
  return ar.thresholds.find((own) => own.threshold === threshold)?.crossing ?? null;
}

function summarize(run: Run, view: SummaryView): { readonly ar?: ArSummary } {
  const last = run.results.at(-1)?.ar;
  const series = arSeries(run);
  if (last === undefined && series.length === 0) return {};
  const end = (name: string): number | null => run.metrics.get(name)?.at(-1)?.value ?? null;
  const bins = last?.bins ?? [];
  const thresholds = arThresholds(view).map((threshold) => ({ threshold, crossing: crossing(series, threshold) }));
  return {
    ar: {
      ...{ from: last?.far.from ?? 0, to: last?.far.to ?? 0 },
      accuracy: series.at(-1)?.value ?? null,
      accuracyLow: last?.far.all.accuracyLow ?? null,
      accuracyHigh: last?.far.all.accuracyHigh ?? null,
      loss: end('eval/ar/far/loss'),
      freshLoss: end('eval/ar/fresh/loss'),
      meanAccuracy: meanOverTokens(series),
      toThreshold: thresholds[0]?.crossing ?? null,
      ...(thresholds.length > 1 ? { thresholds } : {}),
      course: courseOf(run),
      bins: bins.map(({ from, to, all: { accuracy, loss } }) => ({ from, to, accuracy, loss })),
    },
  };
}

/** Associative recall on text. */
export const arMeasure = defineMeasure({
  options: arEvalSchema,
  about:
    'associative recall on text: loss and top-1 accuracy of repeated rare bigrams, by distance; options, or true or false ' +
    '(default: on for token shards that hold documents out)',
  stored: 'record',
  schema,
  absent: {},
  when: 'always',
  plan: ({ data, options: given, asked, shared }): ArPlan | null => {
    const { grams } = data;
    const isText = grams !== null && data.heldOut() !== null;
    if (!isText && asked) {
      throw new ConfigError('eval.ar: the data hold no text out; use text or token shards with held-out documents');
    }
    // Grams of bytes are counted anew by each run, so they are looked at where that is asked for.
    if (!isText || (!asked && grams.keys.order > 2)) return null;
    return { options: given, batches: given.batches ?? shared.batches, grams };
  },
  prepare: async (
    { options: { maxCount, bins }, batches: wanted, grams },
    { scores, data, note, later, batchSize },
  ) => {
    const { seqLen } = data.train;
    const drawn = whileCompiling(() => Array.from({ length: wanted }, (_, i) => scores.stream(i)));
    // What does not depend on the model is found once, while programs are loaded and the first scores computed.
    const tallied = foundOnce(grams, [maxCount, bins, wanted, batchSize, seqLen], later, async () => {
      const batches = await drawn;
      await turn();
      const tally = new ArTally(bins ?? arBins(seqLen), farFrom(seqLen), maxCount);
      const isRare = grams.rarity(maxCount, note);
      await inTurns(batches, ({ host }) => {
        for (const { row, found } of findInRows(host, grams, isRare)) tally.add(row, found);
      });
      return tally;
    });
    const [, batches] = await Promise.all([scores.compile(), drawn]);
    return {
      start: async (tensors) => {
        const started = await scores.start(tensors, batches);
        const read = async () => {
          await started.numbers();
          return tallied;
        };
        return pending(read, (tally) => ({
          ar: { ...tally.record(started.result()), order: grams.keys.order, countedIn: grams.countedIn },
        }));
      },
      dispose: async () => {},
    };
  },
  metrics: ({ ar }) => (ar === undefined ? {} : metricsOf(ar)),
  metricWords: {
    'eval/ar/far/accuracy': {
      ...{ title: 'Far associative recall', ...TOP1 },
      meaning: 'share of the hits at long range whose token is the likeliest',
    },
    'eval/ar/far/loss': {
      ...{ title: 'Loss of far associative recall', ...NATS },
      meaning: 'mean loss of the hits at long range',
    },
    'eval/ar/far/onset': {
      ...{ title: 'Far associative recall at the first token of a repeat', ...TOP1 },
      meaning: 'the same share of the hits at long range that begin a repeated passage',
    },
    'eval/ar/far/inside': {
      ...{ title: 'Far associative recall inside of repeats', ...TOP1 },
      meaning: 'the same share of the hits at long range that go on in a repeated passage',
    },
    'eval/ar/fresh/loss': {
      ...{ title: 'Loss of new bigrams', ...NATS },
      meaning: 'mean loss of tokens whose gram is new in its document',
    },
    'eval/ar/all/loss': {
      ...{ title: 'Loss of all tokens of documents', ...NATS },
      meaning: 'mean loss of every token of the documents that counts, hit or not',
    },
    'eval/ar/accuracy/FROM-TO': {
      ...{ title: 'Associative recall at distances FROM to TO', ...TOP1 },
      meaning: 'share of the hits FROM to TO tokens away, both included, whose token is the likeliest',
    },
    'eval/ar/loss/FROM-TO': {
      ...{ title: 'Loss of associative recall at distances FROM to TO', ...NATS },
      meaning: 'mean loss of the hits FROM to TO tokens away',
    },
  },
  reference: {
    title: 'Associative recall on text',
    measures:
      'How well the model predicts tokens of held-out text that it could copy from earlier in the same document. A token is a hit if the ' +
      'bigram (of bytes: the gram of six) that it ends occurred before in its document and is rare in the training data. The distance is the number of tokens ' +
      'back to the latest earlier occurrence. Hits at long range are *far*.',
    formula:
      'Accuracy: the share of hits whose right token is the likeliest. Loss: the mean of -ln(probability of the right token) over ' +
      'the hits. Both by distance, at long range, for onsets and insides of repeated passages, for tokens whose gram is new in its document, and for all tokens.',
    unit: 'share (accuracy) and nats per token (loss)',
    range: 'accuracy 0 to 1, loss 0 and more',
    interval:
      'Bootstrap over documents, 95 %: 1,000 resamples of the documents with replacement, 2.5 % and 97.5 % quantiles of the means. None with ' +
      'one document.',
    source:
      'The slice of Arora et al. 2023, "Zoology" (arXiv 2312.04927, section 3), split by distance. Computed in ' +
      '`src/eval/associative-recall.ts`; what counts as a hit is in [method](method.md#definitions).',
  },
  forReaders: {
    task: {
      tokens: [
        { text: '…', role: 'other' },
        { text: 'kmem', role: 'key' },
        { text: 'cache', role: 'value' },
        { text: '… thousands of tokens …', role: 'other' },
        { text: 'kmem', role: 'key' },
        { text: '?', role: 'ask' },
      ],
      caption:
        'In text a rare pair of tokens (a bigram) comes back: after its first token, the second can be copied from where the pair ' +
        'stood before. The distance is how many tokens ago that was.',
    },
    terms: {
      'associative recall':
        'How well the second token of a rare pair (bigram) is predicted that stood before in the same document: it can be looked up.',
      'new bigram': 'A pair of tokens that its document has not had before, so that there is nothing to look up.',
      'top-1 accuracy': 'The share of tokens to which the model gives the highest probability.',
    },
  },
  words: ({ ar }) =>
    ar?.far.all.accuracy == null
      ? null
      : `associative recall beyond ${ar.far.from - 1} tokens ${ar.far.all.accuracy.toFixed(3)}`,
  event: ({ ar }) => (ar === undefined ? {} : { ar: ar.far.all.accuracy }),
  text: ({ ar }) => (ar === undefined ? null : tableOf(ar)),
  summarize,
  csv: (runs) =>
    runs.every(({ ar }) => ar === undefined)
      ? []
      : [
          { name: 'ar_far_accuracy', of: ({ ar }) => ar?.accuracy ?? null, last: true },
          { name: 'ar_far_low', of: ({ ar }) => ar?.accuracyLow ?? null, last: true },
          { name: 'ar_far_high', of: ({ ar }) => ar?.accuracyHigh ?? null, last: true },
          { name: 'ar_far_loss', of: ({ ar }) => ar?.loss ?? null, last: true },
          { name: 'ar_new_loss', of: ({ ar }) => ar?.freshLoss ?? null, last: true },
          { name: 'ar_threshold_reached', of: ({ ar }) => ar?.toThreshold?.reached ?? null, last: true },
          { name: 'ar_tokens_to_threshold', of: ({ ar }) => ar?.toThreshold?.tokens ?? null, last: true },
          ...severalThresholds(runs).flatMap((threshold) => [
            {
              name: `ar_reached_${threshold}`,
              of: ({ ar }: { readonly ar?: ArSummary }) => arCrossing(ar, threshold)?.reached ?? null,
              last: true,
            },
            {
              name: `ar_tokens_to_${threshold}`,
              of: ({ ar }: { readonly ar?: ArSummary }) => arCrossing(ar, threshold)?.tokens ?? null,
              last: true,
            },
          ]),
          ...distancesOf(runs).flatMap(({ from, to }) =>
            (['accuracy', 'loss'] as const).map((what) => ({
              name: `ar_${what}_${from}_${to}`,
              of: ({ ar }: { readonly ar?: ArSummary }) =>
                ar?.bins.find((own) => own.from === from && own.to === to)?.[what] ?? null,
              last: true,
            })),
          ),
        ],
  cells: (runs, view) => {
    const first = runs.flatMap(({ ar }) => ar ?? [])[0];
    if (first === undefined) return [];
    return [
      { name: `AR top-1 beyond ${first.from - 1} (95 %)`, of: ({ ar }) => farCell(ar) },
      ...arThresholds(view).map((threshold) => ({
        name: `tokens to ${threshold} of it`,
        of: ({ ar }: { readonly ar?: ArSummary }) => reachedAt(arCrossing(ar, threshold)),
      })),
      { name: 'AR loss beyond (nats)', of: ({ ar }) => ar?.loss?.toFixed(4) ?? '–' },
      { name: 'new-bigram loss (nats)', of: ({ ar }) => ar?.freshLoss?.toFixed(4) ?? '–' },
    ];
  },
  figures: [
    {
      ...{ order: 22, draw: 'panels', heading: 'Associative recall by distance, while training' },
      caption: (view) =>
        'Share of tokens that are the likeliest in the model’s view, among those that end a rare bigram seen before in the same ' +
        `held-out document, by how many tokens ago. Dashed: the threshold${arThresholds(view).length > 1 ? 's' : ''}, ` +
        `${list(arThresholds(view).map(String))}.`,
      panels: (runs, view) =>
        binsOf(runs).map((name, i, all) => ({
          title: `Distance ${name.replace('-', ' to ')}`,
          yLabel: 'top-1 accuracy',
          isMain: i === all.length - 1,
          domain: [0, 1],
          lines: arThresholds(view),
          series: ({ metrics }) => metrics.get(`eval/ar/accuracy/${name}`) ?? [],
        })),
    },
    {
      ...{ order: 24, draw: 'panels', heading: 'Loss of associative recall by distance, while training' },
      caption: () =>
        'Mean loss of the same tokens. The last panel: tokens whose bigram is new in their document, for which there is nothing to copy. Axes are ' +
        'cut where the first steps lie far above all others.',
      panels: (runs) => [
        ...binsOf(runs).map((name) => ({
          title: `Distance ${name.replace('-', ' to ')}`,
          yLabel: 'loss (nats per token)',
          isCut: true,
          series: ({ metrics }: Run) => metrics.get(`eval/ar/loss/${name}`) ?? [],
        })),
        ...(binsOf(runs).length === 0
          ? []
          : [
              {
                title: 'New bigrams',
                yLabel: 'loss (nats per token)',
                isCut: true,
                series: ({ metrics }: Run) => metrics.get('eval/ar/fresh/loss') ?? [],
              },
            ]),
      ],
    },
    {
      ...{ order: 25, draw: 'against', heading: 'Far associative recall against the loss of new bigrams' },
      caption:
        'Each evaluation: the loss of tokens whose bigram is new in their document, for which there is nothing to recall, and top-1 ' +
        'accuracy at long range. Training moves to the right. Designs on one line recall as much once they have learned as much ' +
        'otherwise, however many tokens that takes.',
      xLabel: 'loss of new bigrams (nats per token), falling →',
      yLabel: 'far top-1 accuracy',
      reversed: true,
      points: (run) => courseOf(run).map(({ freshLoss, accuracy }) => ({ x: freshLoss, y: accuracy })),
    },
    {
      ...{ order: 26, draw: 'crossings' },
      views: (view) => arThresholds(view).map((arThreshold) => ({ ...view, arThreshold })),
      heading: (view) => `Tokens until far associative recall reaches ${arThresholds(view).join(', ')}`,
      label: (view) => `Tokens until far associative recall reaches ${arThresholds(view).join(', ')}`,
      caption: () => 'Top-1 accuracy of hits at long range',
      of: ({ ar }, view) => arCrossing(ar, arThresholds(view)[0] ?? AR_THRESHOLD),
    },
  ],
  outcome: {
    name: () => 'associative recall at long range',
    short: 'far associative recall',
    axis: 'top-1 accuracy',
    of: ({ ar }) => ar?.accuracy ?? null,
    series: arSeries,
  },
});

/** Tallies by the grams of opened data, and by what else decides which tokens are hits in its held-out batches. */
const known = new WeakMap<GramStatistics, Map<string, Promise<ArTally>>>();

/** What the same opened data gave before for the same held-out batches, else what `find` finds. */
function foundOnce(
  grams: GramStatistics,
  about: readonly unknown[],
  later: (work: () => Promise<ArTally>) => Promise<ArTally>,
  find: () => Promise<ArTally>,
): Promise<ArTally> {
  const own = known.get(grams) ?? new Map<string, Promise<ArTally>>();
  known.set(grams, own);
  const key = JSON.stringify(about);
  const before = own.get(key);
  if (before !== undefined) return before;
  const found = later(find);
  own.set(key, found);
  found.catch(() => own.delete(key)); // thrown where it is waited for
  return found;
}

/** The thresholds that runs were asked for, where they are several. */
function severalThresholds(runs: readonly { readonly ar?: ArSummary }[]): readonly number[] {
  return (
    runs.flatMap(({ ar }) => (ar?.thresholds === undefined ? [] : [ar.thresholds]))[0]?.map((t) => t.threshold) ?? []
  );
}

/** A row of a held-out batch with the hits in it, which are the same for every model. */
export interface FoundRow {
  readonly row: ArRow;
  readonly found: ArTargets;
}

/**
 * Finds the hits in every row of a batch of text.
 *
 * @param isRare whether a gram, by its number, is rare; `document` is the number of the document that it repeats in
 */
export function findInRows(
  { tokens, targets, documents, seqLen }: Pick<Batch, 'tokens' | 'targets' | 'documents' | 'seqLen'>,
  { keys }: GramStatistics,
  isRare: (gram: number, document: number) => boolean,
): FoundRow[] {
  return Array.from({ length: tokens.length / seqLen }, (_, r) => {
    const from = r * seqLen;
    const own = documents?.subarray(r * (seqLen + 1), (r + 1) * (seqLen + 1)) ?? new Float64Array(seqLen + 1);
    const row: ArRow = {
      tokens: tokens.subarray(from, from + seqLen),
      targets: targets.subarray(from, from + seqLen),
      documents: own.subarray(0, seqLen),
      // Rows that are no text, and first tokens of documents, do not count.
      counts: (t) => (own[t] ?? -1) >= 0 && own[t + 1] === own[t],
    };
    return { row, found: findAssociativeRecall(row, keys, (gram, t) => isRare(gram, own[t] ?? 0)) };
  });
}

function metricsOf({ all, fresh, bins, far }: ArResult): Record<string, number | null> {
  return {
    'eval/ar/far/accuracy': far.all.accuracy,
    'eval/ar/far/loss': far.all.loss,
    'eval/ar/far/onset': far.onset.accuracy,
    'eval/ar/far/inside': far.inside.accuracy,
    'eval/ar/fresh/loss': fresh.loss,
    'eval/ar/all/loss': all.loss,
    ...Object.fromEntries(
      bins.flatMap(({ from, to, all: own }) => [
        [`eval/ar/accuracy/${from}-${to}`, own.accuracy],
        [`eval/ar/loss/${from}-${to}`, own.loss],
      ]),
    ),
  };
}

const METRIC = /^eval\/ar\/loss\/(\d+)-(\d+)$/;

/** The distances at which runs measured it, as `FROM-TO`, nearest first. */
function binsOf(runs: readonly Run[]): string[] {
  const names = runs.flatMap(({ metrics }) => [...metrics.keys()].flatMap((name) => METRIC.exec(name)?.slice(1) ?? []));
  const all = new Set(names.flatMap((from, i) => (i % 2 === 0 ? [`${from}-${names[i + 1]}`] : [])));
  return [...all].sort((a, b) => parseInt(a) - parseInt(b));
}

function tableOf({ all, fresh, bins, far, documents, maxCount, order, countedIn }: ArResult): string {
  const interval = ({ accuracy, accuracyLow, accuracyHigh }: ArResult['all']) =>
    accuracy === null || accuracyLow === null || accuracyHigh === null
      ? (accuracy?.toFixed(3) ?? '-')
      : `${accuracy.toFixed(3)} (${accuracyLow.toFixed(3)} to ${accuracyHigh.toFixed(3)})`;
  const line = (name: string, whole: ArResult['all'], onset?: ArResult['all'], inside?: ArResult['all']) => [
    name,
    String(whole.targets),
    whole.loss?.toFixed(4) ?? '-',
    interval(whole),
    onset === undefined ? '' : (onset.accuracy?.toFixed(3) ?? '-'),
    inside === undefined ? '' : (inside.accuracy?.toFixed(3) ?? '-'),
  ];
  const rows = [
    ['distance', 'targets', 'loss', 'top-1 (95 %)', 'onset', 'inside'],
    ...bins.map((own) => line(`${own.from}-${own.to}`, own.all, own.onset, own.inside)),
    line(`beyond ${far.from - 1}`, far.all, far.onset, far.inside),
    line('new grams', fresh),
    line('all tokens', all),
  ];
  const where = countedIn === 'training' ? 'the training data' : 'the other documents of the texts';
  return (
    `associative recall: tokens that end a gram of ${order} that came before in their document and occurs at most ${maxCount} times ` +
    `in ${where}; ${documents} documents\n${textTable(rows, new Set([1, 2, 3, 4, 5]))}`
  );
}

/** Every distance at which one of the runs ended. */
function distancesOf(runs: readonly { readonly ar?: ArSummary }[]): DistanceBin[] {
  const all = runs.flatMap(({ ar }) => ar?.bins ?? []);
  return [...new Map(all.map(({ from, to }) => [`${from}-${to}`, { from, to }])).values()];
}

/** `0.531 (0.469 to 0.592)`. */
function farCell(ar: ArSummary | undefined): string {
  if (ar?.accuracy == null) return '–';
  if (ar.accuracyLow === null || ar.accuracyHigh === null) return ar.accuracy.toFixed(3);
  return `${ar.accuracy.toFixed(3)} (${ar.accuracyLow.toFixed(3)} to ${ar.accuracyHigh.toFixed(3)})`;
}
