/**
 * Retrieval heads exactly as the study's script scores them (`src/tracing/find_retrieval_heads.py` of
 * thunlp/rethinking-hybrid-attention), for comparison with published numbers: the needle is every occurrence in the
 * prompt of the answer's ids under six spellings, and the query is the second token from the end. See
 * `retrieval-heads.ts` for ours.
 */
import { z } from 'zod';
import { present, at, ConfigError, DataError, parseJsonLines } from '../core/index.js';
import type { LoadedModel } from '../loaded/index.js';
import { printLayer } from '../model/index.js';
import { AttentionRows, headGroupsOf, probabilitiesOf, type HeadIndex } from './attention-rows.js';

/** A prompt and the answers hidden in it. */
export interface PromptRow {
  readonly prompt: string;
  readonly needles: readonly string[];
}

/** What is needed of a tokenizer. */
export interface Encoder {
  encode(text: string, options?: { readonly special?: boolean }): Int32Array;
}

const PROMPT_FIELDS = ['input', 'prompt', 'text', 'context', 'question'];
const NEEDLE_FIELDS = ['outputs', 'answer', 'needle', 'target'];

/**
 * Rows of a JSONL file as the script reads them: the first non-empty prompt field, and all needle fields without
 * repeats.
 *
 * @throws DataError naming the line that is no JSON object or has no prompt
 */
export function parsePromptRows(text: string, where: string): PromptRow[] {
  return parseJsonLines(text, where, z.record(z.string(), z.unknown()), { origin: 'user' }).map((line) => {
    const { value: row, where: place } = line;
    const prompt = PROMPT_FIELDS.map((f) => row[f]).find((v): v is string => typeof v === 'string' && v !== '');
    if (prompt === undefined) {
      throw new DataError(`${place} has no prompt; it needs one of ${PROMPT_FIELDS.join(', ')}`, {
        details: { place },
      });
    }
    const all = NEEDLE_FIELDS.flatMap((f) => (Array.isArray(row[f]) ? (row[f] as unknown[]) : [row[f]]));
    const needles = all.filter((v): v is string => typeof v === 'string' && v !== '');
    return { prompt, needles: [...new Set(needles)] };
  });
}

/** Every position that an occurrence of a needle covers, under the script's six spellings; ascending. */
export function spelledPositions(ids: Int32Array, needles: readonly string[], encoder: Encoder): number[] {
  const found = new Set<number>();
  for (const needle of needles) {
    for (const spelling of [needle, ` ${needle}`, `${needle}.`, ` ${needle}.`, `: ${needle}`, `: ${needle}.`]) {
      const pattern = encoder.encode(spelling);
      if (pattern.length === 0) continue;
      for (let start = 0; start + pattern.length <= ids.length; start++) {
        if (!pattern.every((id, k) => ids[start + k] === id)) continue;
        for (let k = 0; k < pattern.length; k++) found.add(start + k);
      }
    }
  }
  return [...found].sort((a, b) => a - b);
}

/** The attention mass of one head on the needle. */
export interface PublishedHeadScore extends HeadIndex {
  readonly label: string;
  /** Mean over used samples of the attention on the needle's positions. */
  readonly score: number;
}

/** The attention mass of every head, as the published script computes it. */
export interface PublishedTrace {
  readonly format: 1;
  readonly definition: 'published-attention-mass';
  /** The query's place from the end of the question: 1 is its last token. */
  readonly queryFromEnd: number;
  /** Samples that the script's rules let in. */
  readonly samplesUsed: number;
  /** Prompts in which no spelling of a needle was found; they count for nothing. */
  readonly samplesMissingNeedle: number;
  /** Prompts cut on the right at `maxTokens`, which may have lost their question. */
  readonly samplesCut: number;
  /** The scores of all heads, by layer and head. */
  readonly heads: readonly PublishedHeadScore[];
}

/** Which samples are used, and which query. */
export interface PublishedTraceOptions {
  /** The query's place from the end of the question: 1 is its last token. */
  readonly queryFromEnd?: number;
  /** The most samples that are used. */
  readonly maxSamples?: number;
  readonly maxTokens?: number;
  readonly batchTokens?: number;
}

/**
 * Scores every head by its attention on the needle exactly as the published script does, its quirks included.
 * @throws ConfigError if the model has no tokenizer, or no prompt holds its needle
 */
export async function tracePublished(
  model: LoadedModel,
  prompts: readonly PromptRow[],
  { queryFromEnd = 2, maxSamples = 200, maxTokens = 8192, batchTokens = 4096 }: PublishedTraceOptions = {},
): Promise<PublishedTrace> {
  const { config, tokenizer } = model;
  if (tokenizer === null)
    throw new ConfigError(`${model.source} has no tokenizer, which the published definition needs`);
  let samplesCut = 0;
  // As the script has it: prompts are cut at the end, and those that lose their needle by that are left out afterwards.
  const prepared = prompts.slice(0, maxSamples).map(({ prompt, needles }) => {
    const all = tokenizer.encode(prompt, { special: true });
    if (all.length > maxTokens) samplesCut += 1;
    const tokens = all.subarray(0, maxTokens);
    const query = Math.min(Math.max(tokens.length - queryFromEnd, 0), tokens.length - 1);
    return { tokens, positions: [query], needle: new Set(spelledPositions(tokens, needles, tokenizer)) };
  });
  const samples = prepared.filter((s) => s.needle.size > 0);
  if (samples.length === 0) {
    throw new ConfigError(`none of ${prepared.length} prompts holds its needle after tokenizing; check the answers`);
  }
  const sums = config.layers.map((plan) => headGroupsOf(plan).map(() => 0));
  const rows = await AttentionRows.create(model, samples, { batchTokens });
  try {
    await rows.read(model.tensors, (row) => {
      const { layer, head, sample, first } = row;
      const probabilities = probabilitiesOf(row);
      let mass = 0;
      for (const j of at(samples, sample).needle) mass += probabilities[j - first] ?? 0;
      at(sums, layer)[head] = present(sums[layer]?.[head]) + mass / samples.length;
    });
  } finally {
    await rows.dispose();
  }
  return {
    format: 1,
    definition: 'published-attention-mass',
    queryFromEnd,
    samplesUsed: samples.length,
    samplesMissingNeedle: prepared.length - samples.length,
    samplesCut,
    heads: sums.flatMap((own, layer) =>
      own.map((score, head) => ({
        layer,
        head,
        label: printLayer(at(config.layers, layer)),
        score,
      })),
    ),
  };
}

/** The heads with the largest scores, best first; equal ones in order. */
export function topHeads<T extends HeadIndex & { readonly score: number }>(heads: readonly T[], count: number): T[] {
  return [...heads].sort((a, b) => b.score - a.score || a.layer - b.layer || a.head - b.head).slice(0, count);
}
