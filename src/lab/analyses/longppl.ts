/** `longsight longppl`: perplexity over the tokens that need a long context. */
import { z } from 'zod';
import {
  corpusPerplexities,
  findKeyTokens,
  formatSpans,
  keySpans,
  parseSpans,
  perplexities,
  PUBLISHED_LONGPPL,
  textLosses,
  tokensInSpans,
  type CharSpan,
  type PplScore,
} from '../../analysis/index.js';
import { at, DataError, field, readUtf8, writeFileAtomic, realNumber } from '../../core/index.js';
import { count, file, OPTION_HINTS } from '../analysis-options.js';
import { defineAnalysis, show, type AnalysisContext } from '../analysis.js';
import { openModel, type OpenedModel } from '../open-model.js';
import { readTextFile, tokenizerOf, tokensOf, type NamedText } from '../model-texts.js';

const { trunc, stride, alpha, beta } = PUBLISHED_LONGPPL;
const nats = () => realNumber().register(OPTION_HINTS, { placeholder: 'nats' });
const path = (placeholder: string, identity?: () => null) =>
  z.string().register(OPTION_HINTS, { placeholder, ...(identity === undefined ? {} : { identity }) });

const options = {
  texts: file().describe('texts: prompts of a .jsonl, or one whole file'),
  evaluator: path('model').optional().describe('the model that finds key tokens'),
  spans: file().optional().describe('key spans from a file instead'),
  saveSpans: path('file', () => null)
    .optional()
    .describe('write the key spans that were found'),
  samples: count().default(50).describe('texts at most'),
  trunc: count().default(trunc).describe('tokens of short contexts, at least'),
  stride: count().default(stride).describe('tokens by which short contexts move'),
  alpha: nats().default(alpha).describe('least gain from the long context'),
  beta: nats().default(beta).describe('least log-likelihood'),
};

/** Perplexities of one text, and of all. */
const perplexity = {
  longPpl: field(z.number().nullable(), 'perplexity over key tokens; null without one', 'perplexity'),
  ppl: field(z.number(), 'perplexity over all tokens that have a loss', 'perplexity'),
  keyTokens: field(z.number(), 'key tokens', 'tokens'),
};

type LongPplOptions = z.output<z.ZodObject<typeof options>>;

/** The texts of a session with the characters that are key in each. */
interface KeyedTexts {
  readonly texts: readonly (NamedText & { readonly key: readonly CharSpan[] })[];
  /** Called once with each problem. */
  readonly problem: (text: string) => void;
}

const fields = z.object({
  settings: field(
    z.object({
      trunc: field(z.number().optional(), 'short contexts, at least', 'tokens'),
      stride: field(z.number().optional(), 'by which short contexts move', 'tokens'),
      alpha: field(z.number().optional(), 'least gain of a key token from the long context', 'nats'),
      beta: field(z.number().optional(), 'least log-likelihood of a key token with the long context', 'nats'),
      spans: field(z.string().optional(), 'the file that key spans were read from; then alone'),
    }),
    'how key tokens were found',
  ),
  ...perplexity,
  scoredTokens: field(z.number(), 'tokens that have a loss', 'tokens'),
  texts: field(
    z.array(z.object({ ...perplexity, tokens: field(z.number(), 'tokens that have a loss', 'tokens') })),
    'each text, in the order of the file',
  ),
});

/** Perplexity over the tokens that need a long context, beside that over all tokens. */
export const longppl = defineAnalysis({
  command: 'longppl',
  summary: 'perplexity over the tokens that need a long context',
  description:
    'LongPPL and plain perplexity on texts. Key tokens are found by an evaluator model (the model itself unless named), or ' +
    'read as character spans, one line of [start, end];[start, end] a text. Scale --trunc and --stride down together ' +
    'for short contexts, and say so.',
  question: 'how well are tokens predicted that need a long context?',
  needs: 'text',
  checkpoints: { command: 'all', analyze: 'none' },
  options,
  result: {
    longPpl: realNumber().nullable(),
    ppl: realNumber(),
    keyTokens: realNumber(),
    scoredTokens: realNumber(),
  },
  fields,
  begin: async ({ models, options: chosen, context }): Promise<KeyedTexts> => {
    const texts = readTextFile(chosen.texts).slice(0, chosen.samples);
    const problem = once(context);
    const key = await keysOf(at(models, models.length - 1), texts, chosen, problem);
    if (chosen.saveSpans !== undefined) {
      writeFileAtomic(chosen.saveSpans, key.map((spans) => `${formatSpans(spans)}\n`).join(''));
    }
    return { texts: texts.map((text, i) => ({ ...text, key: at(key, i) })), problem };
  },
  measure: async (model, chosen, { shared }) => {
    const scores: (PplScore & { readonly name: string })[] = [];
    for (const { text, name, key } of shared?.texts ?? []) {
      const { ids, spans, problem } = placed(model, text);
      if (problem !== null) shared?.problem(problem);
      model.noteLength(ids.length);
      if (ids.length < 2) throw new DataError(`${name} has ${ids.length} tokens; a perplexity needs at least two`);
      scores.push({ ...perplexities(await textLosses(model, ids), tokensInSpans(spans ?? [], key)), name });
    }
    const { longPpl, ppl, keyTokens, tokens: scoredTokens } = corpusPerplexities(scores);
    const settings =
      chosen.spans === undefined
        ? { trunc: chosen.trunc, stride: chosen.stride, alpha: chosen.alpha, beta: chosen.beta }
        : { spans: chosen.spans };
    const texts = scores.map(({ name: _, ...score }) => score);
    return { settings, longPpl, ppl, keyTokens, scoredTokens, texts, names: scores.map(({ name }) => name) };
  },
  record: ({ names: _, ...record }) => record,
  print: ({ longPpl, ppl, keyTokens, scoredTokens }, name) => {
    const none = longPpl === null ? ' (no key token)' : '';
    return {
      title:
        `${name}: LongPPL ${show(longPpl, 4)}${none} over ${keyTokens} key tokens, ` +
        `PPL ${show(ppl, 4)} over ${scoredTokens}`,
    };
  },
  csv: ({ texts, names }, { step }) => ({
    columns: ['step', 'text', 'longppl', 'ppl', 'key_tokens', 'tokens'],
    rows: texts.map((s, i) => [step, names[i], s.longPpl, s.ppl, s.keyTokens, s.tokens]),
  }),
  figure: {
    form: 'tokens',
    title: 'LongPPL, while training',
    label: 'LongPPL',
    axis: 'perplexity over key tokens',
    value: ({ longPpl }) => longPpl,
    caption: () => 'Perplexity over the tokens that need a long context.',
  },
});

function once({ note }: AnalysisContext): (text: string) => void {
  const told = new Set<string>();
  return (text) => {
    if (!told.has(text)) note?.(`key tokens not known: ${text}`);
    told.add(text);
  };
}

interface PlacedText {
  readonly ids: Int32Array;
  /** The code points of each token; null where they cannot be told, and why. */
  readonly spans: readonly CharSpan[] | null;
  readonly problem: string | null;
}

/** A text in a model's tokens and their places. A text without places still has a plain perplexity. */
function placed(model: OpenedModel, text: string): PlacedText {
  const ids = tokensOf(model, text);
  try {
    const { spans } = tokenizerOf(model).encodeWithSpans(text, { special: true, trim: true });
    return { ids, spans, problem: null };
  } catch (error) {
    if (error instanceof DataError) return { ids, spans: null, problem: error.message };
    throw error;
  }
}

async function keysOf(
  model: OpenedModel,
  texts: readonly NamedText[],
  chosen: LongPplOptions,
  tell: (problem: string) => void,
): Promise<CharSpan[][]> {
  const { spans: spanFile } = chosen;
  if (spanFile !== undefined) {
    const lines = readUtf8(spanFile, 'drop').replace(/\n$/, '').split('\n');
    if (lines.length < texts.length) {
      throw new DataError(
        `${spanFile} has spans for ${lines.length} texts, but there are ${texts.length}; one line a text`,
      );
    }
    return texts.map((_, i) => parseSpans(at(lines, i), `${spanFile}:${i + 1}`));
  }
  const judge =
    chosen.evaluator === undefined
      ? model
      : openModel(chosen.evaluator, { engine: model.engine, precision: model.precision, weights: model.weightsHeld });
  const found: CharSpan[][] = [];
  for (const { text } of texts) {
    // With what the tokenizer puts in front, as published.
    const { ids, spans, problem } = placed(judge, text);
    if (problem !== null) tell(problem);
    found.push(spans === null ? [] : keySpans(await findKeyTokens(judge, ids, chosen), spans));
  }
  return found;
}
