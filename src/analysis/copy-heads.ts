/**
 * Retrieval heads by copying (Wu et al. 2024, nightdessert/Retrieval_Head `retrieval_head_detection.py`): while the
 * answer is decoded greedily, how often is the token that a head attends to most inside the needle, and the very token
 * that is generated? A head's score is the share of the needle's tokens that it copied, over runs whose answer was
 * found.
 *
 * Unlike the code, and like the paper's definition, a needle token counts once (`repeats: true` counts every copy, so
 * that scores can pass 1), and the needle's place is known and not searched for.
 */
import { at, ConfigError } from '../core/index.js';
import type { NeedleSample } from '../data/index.js';
import type { LoadedModel } from '../loaded/index.js';
import { printLayer } from '../model/index.js';
import { AttentionRows, firstLargest, headGroupsOf, probabilitiesOf, type HeadIndex } from './attention-rows.js';

/** A score at which a head may be called a retrieval head; ours, from where the published score files thin out. */
export const COPY_THRESHOLD = 0.1;

/** How often one head copies. */
export interface CopyHeadScore extends HeadIndex {
  readonly label: string;
  /** Keys that a query sees, its own included; null for full attention. */
  readonly window: number | null;
  /** Mean over counted runs; 0 to 1 unless repeats count. */
  readonly score: number;
}

/** The copy frequency of every head, and how many runs count. */
export interface CopyHeads {
  readonly format: 1;
  readonly definition: 'copy-frequency';
  /** Runs whose answer was found; only these count. */
  readonly counted: number;
  readonly samples: number;
  readonly repeats: boolean;
  readonly heads: readonly CopyHeadScore[];
}

/** What copying needs of a needle sample. */
export type CopySample = Pick<NeedleSample, 'tokens' | 'needleSpan' | 'queryPosition' | 'answer'>;

/** How copying is counted. */
export interface CopyHeadsOptions {
  /** Count every copy of a needle token, as the published code does. */
  readonly repeats?: boolean;
  /** Share of the answer's tokens that must be generated for a run to count (recall of tokens, as ROUGE-1). */
  readonly recall?: number;
  readonly batchTokens?: number;
}

/**
 * Decodes as many tokens as the answer has, one pass a token.
 *
 * @throws ConfigError if samples differ in the length of their answers
 */
export async function copyHeads(
  model: LoadedModel,
  samples: readonly CopySample[],
  { repeats = false, recall = 0.5, batchTokens = 4096 }: CopyHeadsOptions = {},
): Promise<CopyHeads> {
  const steps = samples[0]?.answer.length ?? 0;
  if (steps === 0 || samples.some((s) => s.answer.length !== steps)) {
    throw new ConfigError('copying needs samples whose answers have the same number of tokens, at least one');
  }
  const texts = samples.map((s) => {
    const tokens = new Int32Array(s.queryPosition + 1 + steps);
    tokens.set(s.tokens.subarray(0, s.queryPosition + 1));
    return tokens;
  });
  // Needle positions that each head copied, a sample at a time; with repeats, how often.
  const copied = samples.map(() => new Map<string, number[]>());
  for (let step = 0; step < steps; step++) {
    await decodeStep({ model, samples, texts, step, batchTokens }, (sample, key, from) => {
      const own = at(copied, sample);
      own.set(key, [...(own.get(key) ?? []), from]);
    });
  }
  const found = samples.map(({ answer, queryPosition }, i) => {
    const generated = [...at(texts, i).subarray(queryPosition + 1)];
    return recallOf([...answer], generated) > recall;
  });
  const counted = found.filter(Boolean).length;
  const heads = model.config.layers.flatMap((plan, layer) =>
    headGroupsOf(plan).map((group, head): CopyHeadScore => {
      const scores = samples.flatMap(({ needleSpan: [a, e] }, i) => {
        if (found[i] !== true) return [];
        const positions = copied[i]?.get(`${layer}:${head}`) ?? [];
        return [(repeats ? positions.length : new Set(positions).size) / (e - a)];
      });
      const score = counted === 0 ? 0 : scores.reduce((x, y) => x + y, 0) / counted;
      return { layer, head, label: printLayer(plan), window: group.window, score };
    }),
  );
  return { format: 1, definition: 'copy-frequency', counted, samples: samples.length, repeats, heads };
}

/** One greedy token of every sample, written into `texts`, and what heads copied it. */
async function decodeStep(
  {
    model,
    samples,
    texts,
    step,
    batchTokens,
  }: {
    readonly model: LoadedModel;
    readonly samples: readonly CopySample[];
    readonly texts: readonly Int32Array[];
    readonly step: number;
    readonly batchTokens: number;
  },
  onCopy: (sample: number, key: string, from: number) => void,
): Promise<void> {
  const watched = samples.map((s, i) => ({ tokens: at(texts, i), positions: [s.queryPosition + step] }));
  const rows = await AttentionRows.create(model, watched, { batchTokens, logits: true });
  // The token is known only after the rows of its batch, so top positions are kept until then.
  const tops = samples.map((): [string, number][] => []);
  try {
    await rows.read(
      model.tensors,
      (row) => {
        const best = firstLargest(probabilitiesOf(row));
        tops[row.sample]?.push([`${row.layer}:${row.head}`, row.first + best]);
      },
      {
        onLogits: (sample, logits) => {
          const best = firstLargest(logits);
          const {
            needleSpan: [a, e],
            queryPosition,
          } = at(samples, sample);
          const text = at(texts, sample);
          for (const [key, at] of tops[sample] ?? []) {
            if (at >= a && at < e && text[at] === best) onCopy(sample, key, at);
          }
          text[queryPosition + 1 + step] = best;
        },
      },
    );
  } finally {
    await rows.dispose();
  }
}

/** Share of the reference's tokens, with repeats, that are among the generated ones. */
function recallOf(reference: readonly number[], generated: readonly number[]): number {
  const left = new Map<number, number>();
  for (const t of generated) left.set(t, (left.get(t) ?? 0) + 1);
  const hits = reference.filter((t) => {
    const n = left.get(t) ?? 0;
    if (n > 0) left.set(t, n - 1);
    return n > 0;
  });
  return hits.length / reference.length;
}
