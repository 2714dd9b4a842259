/** `longsight tokenizer train FILES`: a byte-level BPE tokenizer for a small vocabulary. */
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { tokenizerJson, trainBpe, WordCounter } from '../../checkpoint/index.js';
import {
  ConfigError,
  fileError,
  InterruptedError,
  namesIn,
  readJson,
  removeLeftovers,
  StoreError,
  temporaryPath,
  writeFileAtomic,
  writeJsonAtomic,
  turn,
} from '../../core/index.js';
import { listInputs, planChunks, readRange, removeUnpacked, unpackInputs, type ReadOptions } from '../../data/index.js';
import type { CliContext } from '../terminal/context.js';
import { addOutputOptions, positiveInteger, type OutputFlags } from '../terminal/options.js';
import { Output } from '../terminal/output.js';
import { BytesProgress } from '../terminal/progress.js';
import { addInputOptions, inputFiles } from './data.js';

interface TrainFlags extends OutputFlags {
  readonly out: string;
  readonly vocabSize: number;
  readonly minFrequency: number;
  readonly special: readonly string[];
  readonly corpus: readonly string[];
  readonly field: string;
  readonly invalid: ReadOptions['invalid'];
}

/** The token that ends documents; always the first. */
const END_OF_TEXT = '<|endoftext|>';
const CONFIG_FILE = 'tokenizer_config.json';
const TOKENIZER_CONFIG = {
  tokenizer_class: 'PreTrainedTokenizerFast',
  eos_token: END_OF_TEXT,
  clean_up_tokenization_spaces: false,
};
const LEAST_VOCAB = 257;
const CHUNK_BYTES = 32 * 2 ** 20;

/** Registers `longsight tokenizer`. */
export function addTokenizer(program: Command, context: CliContext): void {
  const tokenizer = program.command('tokenizer').summary('train a tokenizer').description('Tokenizers.');
  const train = tokenizer
    .command('train')
    .summary('train a byte-level BPE tokenizer')
    .description(
      "Trains byte-level BPE with GPT-2's words on documents, into a folder that Longsight and the Hugging Face libraries " +
        `load. Token 0 is ${END_OF_TEXT}. Memory grows with the number of different words.`,
    )
    .argument('[files...]', 'files or patterns (*, **, ?, {a,b}), or https:// addresses of Parquet files')
    .requiredOption('--out <dir>', 'folder of the tokenizer; must be free')
    .requiredOption('--vocab-size <n>', 'tokens in all', (text) => positiveInteger('--vocab-size', text))
    .option(
      '--min-frequency <n>',
      'pairs that occur less often are not merged',
      (text) => positiveInteger('--min-frequency', text),
      2,
    )
    .option(
      '--special <token>',
      'a further special token; may be repeated',
      (token: string, all: readonly string[]) => [...all, token],
      [] as readonly string[],
    );
  addOutputOptions(addInputOptions(train)).action((files: string[], flags: TrainFlags) => run(files, flags, context));
}

async function run(patterns: string[], flags: TrainFlags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const specialTokens = [END_OF_TEXT, ...flags.special];
  const least = LEAST_VOCAB + new Set(specialTokens).size - 1;
  if (flags.vocabSize < least) {
    throw new ConfigError(
      `--vocab-size must be at least ${least} (256 bytes and the special tokens), got ${flags.vocabSize}`,
    );
  }
  if (!isFree(flags.out)) {
    throw new StoreError(`${flags.out} exists and is not empty; choose another folder`, {
      details: { dir: flags.out },
    });
  }
  const counter = await countWords(inputFiles(patterns, flags.corpus), flags, output, context.signal);
  const { vocabSize, minFrequency } = flags;
  const trained = trainBpe(counter.counts, { vocabSize, minFrequency, specialTokens });
  const json = tokenizerJson(trained, specialTokens);
  writeJsonAtomic(join(flags.out, CONFIG_FILE), TOKENIZER_CONFIG);
  writeFileAtomic(join(flags.out, 'tokenizer.json'), JSON.stringify(json)); // last: a folder that has it is whole
  const tokens = trained.vocab.size;
  if (tokens < vocabSize) output.note(`the text has pairs for ${tokens} tokens only`);
  output.result(`${tokens} tokens from ${counter.counts.size} different words\nfolder: ${flags.out}`, {
    ...{ event: 'done', dir: resolve(flags.out), tokens, words: counter.counts.size },
  });
}

/** Whether a tokenizer may be made in a folder: nothing is there, or only what a killed command left of its own. */
function isFree(dir: string): boolean {
  try {
    const text = JSON.stringify(TOKENIZER_CONFIG);
    const isOurs = (name: string) => name === CONFIG_FILE && JSON.stringify(readJson(join(dir, name))) === text;
    return namesIn(dir).every(isOurs);
  } catch (cause) {
    throw cause instanceof StoreError ? cause : fileError('make folder', dir, cause);
  }
}

async function countWords(
  files: readonly string[],
  { field, invalid, out }: TrainFlags,
  output: Output,
  signal: AbortSignal,
): Promise<WordCounter> {
  const listed = await listInputs(files, field, signal);
  const unpacked = temporaryPath(`${resolve(out)}.unpacked`);
  removeLeftovers(dirname(unpacked));
  const skipped = { nullTexts: 0 };
  const counter = new WordCounter();
  const progress = new BytesProgress(output);
  let bytes = 0;
  try {
    const inputs = await unpackInputs(listed, field, unpacked, signal);
    const totalBytes = inputs.reduce((sum, input) => sum + input.bytes, 0);
    for (const range of planChunks(inputs, CHUNK_BYTES, true).flat()) {
      for await (const piece of readRange(inputs, range, { field, invalid, cut: true, signal }, skipped)) {
        counter.add(piece.text);
        bytes += piece.bytes;
        progress.update({ bytes, totalBytes, freshBytes: bytes });
        if (signal.aborted) throw new InterruptedError('training of the tokenizer was stopped; start it again');
        await turn();
      }
    }
  } finally {
    progress.stop();
    removeUnpacked(unpacked);
  }
  if (skipped.nullTexts > 0) output.note(`${skipped.nullTexts} documents whose "${field}" is null were left out`);
  return counter;
}
