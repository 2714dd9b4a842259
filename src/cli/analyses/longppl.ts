/** `longsight longppl`: perplexity over the tokens that need a long context. */
import type { Command } from 'commander';
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
  type LongPplSettings,
} from '../../analysis/index.js';
import { DataError, readUtf8, writeFileAtomic, writeCsv, type CsvCell } from '../../core/index.js';
import type { Engine } from '../../engine/index.js';
import type { CliContext } from '../context.js';
import { positiveInteger } from '../options.js';
import { Output } from '../output.js';
import {
  addAnalysisOptions,
  keepFinding,
  MODEL_ARGUMENT,
  nameOf,
  noteLength,
  openSubject,
  openSubjects,
  parseNumber,
  readTextFile,
  show,
  tokenizerOf,
  tokensOf,
  loadedOf,
  withEngine,
  type AnalysisFlags,
  type Subject,
} from './subject.js';

interface LongPplFlags extends AnalysisFlags {
  readonly texts: string;
  readonly evaluator?: string;
  readonly spans?: string;
  readonly saveSpans?: string;
  readonly samples: number;
  readonly trunc: number;
  readonly stride: number;
  readonly alpha: number;
  readonly beta: number;
}

/** Registers `longsight longppl`. */
export function addLongPpl(program: Command, context: CliContext): void {
  const { trunc, stride, alpha, beta } = PUBLISHED_LONGPPL;
  const command = program
    .command('longppl')
    .summary('perplexity over the tokens that need a long context')
    .description(
      'LongPPL and plain perplexity on texts. Key tokens are found by an evaluator model (the model itself unless named), or ' +
        'read as character spans, one line of [start, end];[start, end] a text. Scale --trunc and --stride down together ' +
        'for short contexts, and say so.',
    )
    .argument('<model>', MODEL_ARGUMENT)
    .requiredOption('--texts <file>', 'texts: prompts of a .jsonl, or one whole file')
    .option('--evaluator <model>', 'the model that finds key tokens')
    .option('--spans <file>', 'key spans from a file instead')
    .option('--save-spans <file>', 'write the key spans that were found')
    .option('--samples <n>', 'texts at most', (t) => positiveInteger('--samples', t), 50)
    .option('--trunc <n>', 'tokens of short contexts, at least', (t) => positiveInteger('--trunc', t), trunc)
    .option('--stride <n>', 'tokens by which short contexts move', (t) => positiveInteger('--stride', t), stride)
    .option('--alpha <nats>', 'least gain from the long context', (t) => parseNumber('--alpha', t), alpha)
    .option('--beta <nats>', 'least log-likelihood', (t) => parseNumber('--beta', t), beta);
  addAnalysisOptions(command).action((path: string, flags: LongPplFlags) => measureLongPpl(path, flags, context));
}

interface PlacedText {
  readonly ids: Int32Array;
  /** The code points of each token; null where they cannot be told, and why. */
  readonly spans: readonly CharSpan[] | null;
  readonly problem: string | null;
}

/** A text in a model's tokens and their places. A text without places still has a plain perplexity. */
function placed(subject: Subject, text: string): PlacedText {
  const ids = tokensOf(subject, text);
  try {
    const { spans } = tokenizerOf(subject).encodeWithSpans(text, { special: true, trim: true });
    return { ids, spans, problem: null };
  } catch (error) {
    if (error instanceof DataError) return { ids, spans: null, problem: error.message };
    throw error;
  }
}

async function measureLongPpl(path: string, flags: LongPplFlags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const subjects = openSubjects(path, flags);
  const texts = readTextFile(flags.texts).slice(0, flags.samples);
  const rows: CsvCell[][] = [];
  const problems = new Set<string>();
  await withEngine(subjects[0] as Subject, flags, output, async (engine) => {
    // Key tokens are found once, by the last checkpoint, so that all checkpoints are scored on the same tokens.
    const key = await keysOf(engine, subjects.at(-1) as Subject, texts, flags, problems);
    if (flags.saveSpans !== undefined) {
      writeFileAtomic(flags.saveSpans, key.map((spans) => `${formatSpans(spans)}\n`).join(''));
    }
    for (const subject of subjects) {
      context.signal.throwIfAborted();
      const { step, tokens } = subject;
      const model = loadedOf(engine, subject);
      const scores = [];
      for (const [i, { text, name }] of texts.entries()) {
        const { ids, spans, problem } = placed(subject, text);
        if (problem !== null) problems.add(problem);
        noteLength(subject, ids.length);
        if (ids.length < 2) throw new DataError(`${name} has ${ids.length} tokens; a perplexity needs at least two`);
        const losses = await textLosses(model, ids);
        scores.push(perplexities(losses, tokensInSpans(spans ?? [], key[i] ?? [])));
        rows.push([step, name, scores[i]?.longPpl, scores[i]?.ppl, scores[i]?.keyTokens, scores[i]?.tokens]);
      }
      const all = corpusPerplexities(scores);
      const { trunc, stride, alpha, beta } = flags;
      const settings = flags.spans === undefined ? { trunc, stride, alpha, beta } : { spans: flags.spans };
      const none = all.longPpl === null ? ' (no key token)' : '';
      const text =
        `${nameOf(subject)}: LongPPL ${show(all.longPpl, 4)}${none} over ${all.keyTokens} key tokens, ` +
        `PPL ${show(all.ppl, 4)} over ${all.tokens}`;
      const { longPpl, ppl, keyTokens, tokens: scored } = all;
      const record = { settings, longPpl, ppl, keyTokens, scoredTokens: scored, texts: scores };
      const file = keepFinding(subject, flags, 'longppl', record);
      output.result(text, { event: 'longppl', step, tokens, file, ...record });
    }
  });
  for (const problem of problems) output.note(`key tokens not known: ${problem}`);
  writeCsv(flags.csv, ['step', 'text', 'longppl', 'ppl', 'key_tokens', 'tokens'], rows);
}

async function keysOf(
  engine: Engine,
  subject: Subject,
  texts: readonly { readonly text: string }[],
  flags: LongPplFlags,
  problems: Set<string>,
): Promise<CharSpan[][]> {
  if (flags.spans !== undefined) {
    const { spans: file } = flags;
    const content = readUtf8(file, 'drop');
    const lines = content.replace(/\n$/, '').split('\n');
    if (lines.length < texts.length) {
      throw new DataError(
        `${file} has spans for ${lines.length} texts, but there are ${texts.length}; one line a text`,
      );
    }
    return texts.map((_, i) => parseSpans(lines[i] as string, `${file}:${i + 1}`));
  }
  const judge = flags.evaluator === undefined ? subject : openSubject(flags.evaluator, { set: [] });
  const loaded = loadedOf(engine, judge);
  const settings: LongPplSettings = { trunc: flags.trunc, stride: flags.stride, alpha: flags.alpha, beta: flags.beta };
  const found: CharSpan[][] = [];
  for (const { text } of texts) {
    // With what the tokenizer puts in front, as published.
    const { ids, spans, problem } = placed(judge, text);
    if (problem !== null) problems.add(problem);
    found.push(spans === null ? [] : keySpans(await findKeyTokens(loaded, ids, settings), spans));
  }
  return found;
}
