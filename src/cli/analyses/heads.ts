/** `longsight heads`: retrieval heads by copying (Wu et al. 2024), or exactly as the study scores them. */
import type { Command } from 'commander';
import { copyHeads, parsePromptRows, topHeads, tracePublished } from '../../analysis/index.js';
import { ConfigError, readUtf8, writeCsv } from '../../core/index.js';
import type { CliContext } from '../context.js';
import { positiveInteger } from '../options.js';
import { Output, textTable } from '../output.js';
import {
  addAnalysisOptions,
  MODEL_ARGUMENT,
  nameOf,
  needlesOf,
  openSubjects,
  parseChoice,
  show,
  loadedOf,
  withEngine,
  type AnalysisFlags,
  type Subject,
} from './subject.js';

const DEFAULT_TOP = 5;

const DEFINITIONS = ['copy', 'published'] as const;

interface DefinitionFlags extends AnalysisFlags {
  readonly top: number;
  readonly definition: (typeof DEFINITIONS)[number];
  readonly prompts?: string;
  readonly samples: number;
  readonly length?: number;
  readonly queryFromEnd: number;
  readonly repeats?: boolean;
}

/** Registers `longsight heads`. */
export function addHeads(program: Command, context: CliContext): void {
  const command = program
    .command('heads')
    .summary('retrieval heads by other definitions than trace')
    .description(
      'copy: how often the most attended token is copied from the needle while the answer is decoded (Wu et al. 2024). ' +
        'published: attention mass exactly as the study scores it, on prompts of a JSONL file (input, outputs), for models ' +
        'with a tokenizer.',
    )
    .argument('<model>', MODEL_ARGUMENT)
    .option('--definition <name>', DEFINITIONS.join(' or '), (t) => parseChoice('--definition', DEFINITIONS, t), 'copy')
    .option('--prompts <file>', 'JSONL prompts, for published')
    .option('--samples <n>', 'needle samples or prompts at most', (t) => positiveInteger('--samples', t), 200)
    .option('--length <n>', 'tokens of a needle sample, for copy', (t) => positiveInteger('--length', t))
    .option(
      '--query-from-end <n>',
      'row of the attention, for published',
      (t) => positiveInteger('--query-from-end', t),
      2,
    )
    .option('--repeats', 'count every copy of a needle token, as the published code does, for copy')
    .option('--top <n>', 'heads to print', (t) => positiveInteger('--top', t), DEFAULT_TOP);
  addAnalysisOptions(command).action((path: string, flags: DefinitionFlags) => heads(path, flags, context));
}

async function heads(path: string, flags: DefinitionFlags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const subjects = openSubjects(path, flags);
  const rows: (string | number | null)[][] = [];
  await withEngine(subjects[0] as Subject, flags, output, async (engine) => {
    for (const subject of subjects) {
      context.signal.throwIfAborted();
      const { step, tokens } = subject;
      const model = loadedOf(engine, subject);
      const result =
        flags.definition === 'published'
          ? await tracePublished(model, promptsOf(subject, flags), {
              queryFromEnd: flags.queryFromEnd,
              maxSamples: flags.samples,
            })
          : await copyHeads(
              model,
              needlesOf(subject, { label: 'copy', samples: flags.samples, length: flags.length }),
              { repeats: flags.repeats === true },
            );
      const best = topHeads<(typeof result.heads)[number]>(result.heads, flags.top);
      const table = best.map((h) => [`${h.layer}:${h.head}`, h.label, show(h.score)]);
      const used =
        'counted' in result
          ? `${result.counted} of ${result.samples} samples answered`
          : `${result.samplesUsed} prompts, ${result.samplesMissingNeedle} without their needle, ${result.samplesCut} cut`;
      const text = textTable([['head', 'kind', 'score'], ...table], new Set([2]));
      output.result(`${nameOf(subject)}: ${used}\n${text}\n`, { event: 'heads', step, tokens, ...result });
      for (const h of result.heads) rows.push([step, tokens, h.layer, h.head, h.label, h.score]);
    }
  });
  writeCsv(flags.csv, ['step', 'tokens', 'layer', 'head', 'kind', 'score'], rows);
}

function promptsOf({ tokenizer, path }: Subject, { prompts }: DefinitionFlags) {
  if (prompts === undefined)
    throw new ConfigError('--definition published needs prompts; name them with --prompts FILE');
  if (tokenizer === null) throw new ConfigError(`${path} has no tokenizer.json, which --definition published needs`);
  return parsePromptRows(readUtf8(prompts, 'drop'), prompts);
}
