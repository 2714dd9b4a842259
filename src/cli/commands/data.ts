/** `longsight data prepare FILES` and `longsight data check DIR`: token shards; `data fetch` is in `data-fetch.ts`. */
import { join, resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { ConfigError, formatTokens } from '../../core/index.js';
import {
  CORPUS_NAMES,
  DEFAULT_CHUNK_BYTES,
  expandFiles,
  isUrl,
  openCorpus,
  prepareShards,
  readManifest,
  ShardFile,
  tokenizerOfShards,
  type Manifest,
} from '../../data/index.js';
import type { CliContext } from '../terminal/context.js';
import {
  addOutputOptions,
  positiveInteger,
  type OutputFlags,
  addTakeOverOption,
  type TakeOverFlag,
} from '../terminal/options.js';
import { Output } from '../terminal/output.js';
import { BytesProgress } from '../terminal/progress.js';
import { addFetch } from './data-fetch.js';

interface PrepareFlags extends OutputFlags, TakeOverFlag {
  readonly out: string;
  readonly tokenizer: string;
  readonly corpus: readonly string[];
  readonly heldOut?: number;
  readonly field: string;
  readonly invalid: 'refuse' | 'replace';
  readonly endOfText?: string;
  readonly workers?: number;
  readonly chunkMb: number;
}

/** Registers `longsight data`. */
export function addData(program: Command, context: CliContext): void {
  const data = program
    .command('data')
    .summary('fetch corpora, make token shards of text')
    .description('Corpora and token shards of text.');
  addFetch(data, context);
  const prepare = data
    .command('prepare')
    .summary('turn text, JSONL and Parquet files into token shards')
    .description(
      'Encodes documents (text files, lines of .jsonl, rows of .parquet; also .gz and .zst) into token shards. The same command ' +
        'goes on where it was stopped. The shards are the same whatever the number of workers.',
    )
    .argument('[files...]', 'files or patterns (*, **, ?, {a,b}), or https:// addresses of Parquet files')
    .requiredOption('--out <dir>', 'folder of the shards')
    .requiredOption('--tokenizer <dir>', 'folder with a tokenizer.json; or "bytes"');
  addInputOptions(prepare)
    .option('--held-out <fraction>', 'share of documents held out, by the hash of their text (default: 0.01)', fraction)
    .option('--end-of-text <token>', "token that ends documents (default: the tokenizer's)")
    .option('--workers <n>', 'threads (default: all cores)', (text) => positiveInteger('--workers', text))
    .option(
      '--chunk-mb <n>',
      'MiB of text in a shard; a worker holds about twice that',
      (text) => positiveInteger('--chunk-mb', text),
      DEFAULT_CHUNK_BYTES / 2 ** 20,
    );
  addOutputOptions(addTakeOverOption(prepare)).action((files: string[], flags: PrepareFlags) =>
    runPrepare(files, flags, context),
  );
  addOutputOptions(
    data
      .command('check')
      .summary('read shards and compare their checksums')
      .description(
        'Reads every shard of a folder, compares checksums and counts with the manifest, and prints the totals.',
      )
      .argument('<dir>', 'folder of shards'),
  ).action((dir: string, flags: OutputFlags) => runCheck(dir, flags, context));
}

/** Options that say which documents are read. */
export function addInputOptions(command: Command): Command {
  return command
    .option(
      '--corpus <name>',
      `a public-domain text by name: ${CORPUS_NAMES.join(', ')}; may be repeated`,
      (name: string, all: readonly string[]) => [...all, name],
      [] as readonly string[],
    )
    .option('--field <name>', 'key of JSONL lines and column of Parquet files that holds the text', 'text')
    .addOption(
      new Option('--invalid <policy>', 'bytes that are no UTF-8: an error, or U+FFFD in their place')
        .choices(['refuse', 'replace'])
        .default('refuse'),
    );
}

/** The files that arguments and `--corpus` name. Throws `ConfigError` if there is none. */
export function inputFiles(patterns: readonly string[], corpora: readonly string[]): string[] {
  const local = expandFiles(
    patterns.filter((p) => !isUrl(p)),
    process.cwd(),
  );
  const files = [...local, ...patterns.filter(isUrl), ...corpora.flatMap((name) => openCorpus(name).files)];
  if (files.length === 0) throw new ConfigError('name files to read, or a corpus with --corpus');
  return files;
}

function fraction(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= 0 && value < 1) return value;
  throw new ConfigError(`--held-out must be a number from 0 to below 1, got "${text}"`);
}

async function runPrepare(patterns: string[], flags: PrepareFlags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const progress = new BytesProgress(output);
  const startMs = performance.now();
  try {
    const { manifest, resumed } = await prepareShards({
      files: inputFiles(patterns, flags.corpus),
      tokenizerFolder: flags.tokenizer === 'bytes' ? null : flags.tokenizer,
      dir: flags.out,
      heldOut: flags.heldOut ?? 0.01,
      ...{ field: flags.field, invalid: flags.invalid, chunkBytes: flags.chunkMb * 2 ** 20 },
      ...(flags.workers === undefined ? {} : { workers: flags.workers }),
      ...(flags.endOfText === undefined ? {} : { endOfText: flags.endOfText }),
      takeOver: flags.takeOver,
      waiting: (text) => output.note(text),
      signal: context.signal,
      progress: (p) => progress.update(p),
    });
    progress.stop();
    if (resumed === null) output.note(`${flags.out} was complete already`);
    if (manifest.nullTexts > 0) {
      output.note(`${manifest.nullTexts} documents whose "${flags.field}" is null were left out`);
    }
    if (manifest.heldOut > 0 && manifest.heldOutSplit.documents === 0) {
      output.note(
        `none of the ${manifest.train.documents} documents is held out: they are too few for a share of ${manifest.heldOut}`,
      );
    }
    output.result(describe(flags.out, manifest), {
      ...{ event: 'done', dir: resolve(flags.out), seconds: (performance.now() - startMs) / 1000 },
      ...{ resumed, ...totals(manifest) },
    });
  } finally {
    progress.stop();
  }
}

function totals({ train, heldOutSplit, textBytes, nullTexts, tokenizer }: Manifest) {
  const of = ({ tokens, documents, shards }: Manifest['train']) => ({ tokens, documents, shards: shards.length });
  return { textBytes, nullTexts, tokenizer: tokenizer.fingerprint, train: of(train), heldOut: of(heldOutSplit) };
}

function describe(dir: string, manifest: Manifest): string {
  const { train, heldOutSplit, textBytes } = manifest;
  const line = (name: string, { tokens, documents, shards }: Manifest['train']) =>
    `${name}: ${formatTokens(tokens)} tokens, ${documents} documents, ${shards.length} shards`;
  const tokens = train.tokens + heldOutSplit.tokens;
  return [
    line('train', train),
    line('held out', heldOutSplit),
    `text: ${(textBytes / 1e6).toFixed(1)} MB, ${(textBytes / tokens).toFixed(2)} bytes a token`,
    `folder: ${dir}`,
  ].join('\n');
}

function runCheck(dir: string, flags: OutputFlags, context: CliContext): void {
  const output = new Output(context, flags);
  const manifest = readManifest(dir);
  tokenizerOfShards(dir, manifest);
  for (const entry of [...manifest.train.shards, ...manifest.heldOutSplit.shards]) {
    using shard = new ShardFile(join(dir, entry.file));
    shard.expect(entry);
    shard.ends();
    shard.verify();
  }
  output.result(`${describe(dir, manifest)}\nevery shard has its checksum`, { event: 'checked', ...totals(manifest) });
}
