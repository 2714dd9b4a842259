/** `longsight attention-distance`: how far back heads attend, in tokens. */
import { z } from 'zod';
import {
  AttentionRows,
  checkHeads,
  allHeads,
  headGroupsOf,
  probabilitiesOf,
  type HeadIndex,
} from '../../analysis/index.js';
import { at, ConfigError, field } from '../../core/index.js';
import type { LoadedModel } from '../../loaded/index.js';
import { printLayer, type ModelConfig } from '../../model/index.js';
import { headTextOptions } from '../analysis-options.js';
import { defineAnalysis, show } from '../analysis.js';
import { sequencesOf } from '../model-texts.js';
import { attentionHead, texts } from './described.js';

/** How far back one head attends, from the last positions of texts. */
interface HeadDistance extends HeadIndex {
  /** The layer in the short form of patterns. */
  readonly label: string;
  /** Visible keys, the query's own included; null for full attention. */
  readonly window: number | null;
  /** Mean distance attended to, in tokens: 0 is the query's own. What a learned sink takes counts for nothing. */
  readonly distance: number;
  /** Share of the attention on keys that a window of so many keys would not show, for each window of the model. */
  readonly beyond: readonly { readonly keys: number; readonly share: number }[];
}

/** How far back heads attend. */
export interface AttentionDistance {
  /** Mean over heads, in tokens. */
  readonly distance: number;
  /** Texts that were read. */
  readonly samples: number;
  readonly heads: readonly HeadDistance[];
}

const fields = z.object({
  distance: field(z.number(), 'mean over heads of `heads[].distance`', 'tokens'),
  samples: texts,
  heads: field(
    z.array(
      z.object({
        ...attentionHead,
        distance: field(
          z.number(),
          'mean distance attended to, 0 for the own token; what a learned sink takes counts for nothing',
          'tokens',
        ),
        beyond: field(
          z.array(
            z.object({
              keys: field(z.number(), 'a window of the model', 'keys'),
              share: field(z.number(), 'attention on keys that such a window would not show', 'share'),
            }),
          ),
          'attention beyond each window of the model; the same windows for every head',
        ),
      }),
    ),
    'heads, by layer and number',
  ),
});

/** Mean distances that heads attend to, from the last `tail` positions of texts. */
export const attentionDistance = defineAnalysis({
  command: 'attention-distance',
  summary: 'how far back heads attend, in tokens',
  description:
    'Mean distance between a query and the keys that it attends to, weighted by attention, over the last positions of ' +
    'texts, and the share of attention beyond each window size of the model. All checkpoints of a run, unless --step ' +
    'names one.',
  question: 'how far back do heads attend?',
  needs: 'text',
  checkpoints: { command: 'all', analyze: 'all' },
  options: headTextOptions(),
  result: {
    distance: z.number(),
    heads: z.array(z.looseObject({ layer: z.number(), head: z.number(), label: z.string(), distance: z.number() })),
  },
  fields,
  keeps: ({ heads }) => heads === undefined,
  measure: (model, { heads, tail, ...chosen }) =>
    attentionDistances(model, sequencesOf(model, chosen), { heads: heads ?? allHeads(model.config), tail }),
  record: (result) => result,
  print: ({ distance, heads }, name) => ({
    title: name,
    head: ['head', 'kind', 'distance', ...at(heads, 0).beyond.map(({ keys }) => `beyond ${keys}`)],
    rows: [
      ...heads.map((h) => [
        ...[`${h.layer}:${h.head}`, h.label, show(h.distance, 2)],
        ...h.beyond.map(({ share }) => show(share)),
      ]),
      ['mean', '', show(distance, 2), ...at(heads, 0).beyond.map(() => '')],
    ],
    right: 2,
  }),
  csv: ({ heads }, { step, tokens }) => ({
    columns: [
      ...['step', 'tokens', 'layer', 'head', 'kind', 'distance'],
      ...at(heads, 0).beyond.map(({ keys }) => `beyond_${keys}`),
    ],
    rows: heads.map((h) => [
      ...[step, tokens, h.layer, h.head, h.label, h.distance],
      ...h.beyond.map(({ share }) => share),
    ]),
  }),
  figure: {
    form: 'heads',
    title: 'Distance that heads attend to, while training',
    axis: 'mean distance (tokens)',
    heads: ({ heads }) => heads.map(({ layer, head, distance: value }) => ({ layer, head, value })),
    caption: () =>
      'Mean distance, weighted by attention, between the last positions of held-out sequences and the keys that heads ' +
      'attend to; 0 is the own token.',
  },
});

/** The distinct windows of a model in ascending order, in keys. */
function windowsOf({ layers }: ModelConfig): number[] {
  const all = layers.flatMap((plan) => headGroupsOf(plan).flatMap(({ window }) => window ?? []));
  return [...new Set(all)].sort((a, b) => a - b);
}

/**
 * How far back heads attend, from the last `tail` positions of texts.
 *
 * @throws ConfigError if a head does not exist, a text is shorter than `tail`, or the model has no attention
 */
export async function attentionDistances(
  model: LoadedModel,
  texts: readonly Int32Array[],
  { heads, tail }: { readonly heads: readonly HeadIndex[]; readonly tail: number },
): Promise<AttentionDistance> {
  const { config } = model;
  checkHeads(config, heads);
  const short = texts.find((tokens) => tokens.length < tail);
  if (short !== undefined) {
    throw new ConfigError(
      `a text has ${short.length} tokens, fewer than the ${tail} positions asked for; leave it out`,
    );
  }
  const samples = texts.map((tokens) => ({
    tokens,
    positions: Array.from({ length: tail }, (_, i) => tokens.length - tail + i),
  }));
  const windows = windowsOf(config);
  const sums = new Map(heads.map((h) => [`${h.layer}:${h.head}`, { distance: 0, beyond: windows.map(() => 0) }]));
  const rows = await AttentionRows.create(model, samples);
  try {
    await rows.read(
      model.tensors,
      (row) => {
        const sum = sums.get(`${row.layer}:${row.head}`);
        if (sum === undefined) return;
        const probabilities = probabilitiesOf(row);
        const mass = probabilities.reduce((a, p) => a + p, 0);
        if (mass === 0) return;
        probabilities.forEach((p, i) => {
          const distance = row.position - row.first - i;
          sum.distance += (p / mass) * distance;
          // A window of w keys shows distances 0 to w - 1.
          windows.forEach((keys, k) => (sum.beyond[k] = at(sum.beyond, k) + (distance >= keys ? p / mass : 0)));
        });
      },
      { heads },
    );
  } finally {
    await rows.dispose();
  }
  const seen = texts.length * tail;
  const found = heads.map(({ layer, head }): HeadDistance => {
    const plan = at(config.layers, layer);
    const { distance, beyond } = sums.get(`${layer}:${head}`) ?? { distance: NaN, beyond: [] };
    return {
      ...{ layer, head, label: printLayer(plan), window: headGroupsOf(plan)[head]?.window ?? null },
      distance: distance / seen,
      beyond: windows.map((keys, k) => ({ keys, share: at(beyond, k) / seen })),
    };
  });
  const distance = found.reduce((sum, h) => sum + h.distance, 0) / found.length;
  return { distance, samples: texts.length, heads: found };
}
