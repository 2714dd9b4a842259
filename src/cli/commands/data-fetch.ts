/** `longsight data fetch NAME`: a corpus from its archive to JSON Lines. */
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { ConfigError } from '../../core/index.js';
import {
  FETCHED_CORPORA,
  fetchedCorpus,
  makeCorpus,
  type CorpusDefinition,
  type CorpusRecord,
} from '../../data/index.js';
import type { CliContext } from '../terminal/context.js';
import {
  addOutputOptions,
  addTakeOverOption,
  positiveInteger,
  type OutputFlags,
  type TakeOverFlag,
} from '../terminal/options.js';
import { Output } from '../terminal/output.js';
import { BytesProgress } from '../terminal/progress.js';

interface FetchFlags extends OutputFlags, TakeOverFlag {
  readonly out?: string;
  readonly from?: string;
  readonly anyVersion?: true;
  readonly mb?: number;
}

/** Registers `longsight data fetch`. */
export function addFetch(data: Command, context: CliContext): void {
  const names = FETCHED_CORPORA.map(({ name, description }) => `${name} (${description})`).join('; ');
  const fetch = data
    .command('fetch')
    .summary('make a corpus by name: load its archive, shuffle its documents')
    .description(
      `Makes a corpus as JSON Lines, ready for \`tokenizer train\` and \`data prepare\`: ${names}. The archive is loaded by https and ` +
        'its SHA-256 compared; the same command goes on where it was stopped.',
    )
    .argument('<name>', 'corpus')
    .option('--out <dir>', 'folder of the corpus (default: corpora/NAME)')
    .option('--from <file>', 'the archive, if you have it already; nothing is loaded')
    .option('--any-version', 'take the file of --from though it is another version')
    .option('--mb <n>', "megabytes of text to take (default: the corpus's own)", (text) =>
      positiveInteger('--mb', text),
    );
  addOutputOptions(addTakeOverOption(fetch)).action((name: string, flags: FetchFlags) => run(name, flags, context));
}

/** Share of the documents that the advice holds out. */
const HELD_OUT = 0.03;

async function run(name: string, flags: FetchFlags, context: CliContext): Promise<void> {
  const definition = fetchedCorpus(name);
  if (flags.anyVersion === true && flags.from === undefined) {
    throw new ConfigError(
      '--any-version goes with --from FILE: an archive that is loaded is always the one that is named',
    );
  }
  const output = new Output(context, flags);
  const dir = flags.out ?? join('corpora', name);
  const bars = new Map<string, BytesProgress>();
  const startMs = performance.now();
  try {
    const { record, existed } = await makeCorpus(definition, {
      ...{ dir, from: flags.from, anyVersion: flags.anyVersion, takeOver: flags.takeOver, signal: context.signal },
      waiting: (text) => output.note(text),
      ...{ bytes: flags.mb === undefined ? undefined : flags.mb * 1e6 },
      // One bar for each phase: loading and reading count different bytes.
      progress: (phase, progress) => {
        if (!bars.has(phase)) {
          bars.forEach((bar) => bar.stop());
          output.note(phase === 'load' ? `loading ${definition.archive.file}` : 'reading the archive');
          bars.set(phase, new BytesProgress(output));
        }
        bars.get(phase)?.update(progress);
      },
    });
    bars.forEach((bar) => bar.stop());
    if (existed) output.note(`${dir} was complete already`);
    output.result(describe(record, dir, definition), {
      ...{ event: 'done', dir: resolve(dir), seconds: (performance.now() - startMs) / 1000 },
      ...{
        name,
        documents: record.documents,
        bytes: record.bytes,
        archive: record.archive,
        next: next(record, dir, definition),
      },
    });
  } finally {
    bars.forEach((bar) => bar.stop());
  }
}

/** The commands that make shards of the corpus. */
function next({ files, name }: CorpusRecord, dir: string, { vocabSize }: CorpusDefinition): string[] {
  const vocabulary = join(dir, 'vocabulary');
  return [
    `longsight tokenizer train ${join(dir, files[0]?.file ?? '')} --vocab-size ${vocabSize} --out ${vocabulary}`,
    `longsight data prepare '${join(dir, `${name}-*.jsonl`)}' --tokenizer ${vocabulary} --out ${join(dir, 'shards')} --held-out ${HELD_OUT}`,
  ];
}

function describe(record: CorpusRecord, dir: string, definition: CorpusDefinition): string {
  const { documents, bytes, files, license } = record;
  return [
    `${documents} documents, ${(bytes / 1e6).toFixed(1)} MB of text in ${files.length} files, in shuffled order`,
    `license: ${license}`,
    `folder: ${dir}`,
    'next, a vocabulary and shards with 3 % of the documents held out:',
    ...next(record, dir, definition).map((line) => `  ${line}`),
  ].join('\n');
}
