/** `longsight entropy`: how widely heads spread their attention. */
import { writeCsv } from '../../core/index.js';
import type { Command } from 'commander';
import { attentionEntropy, type EntropyResult, type HeadIndex } from '../../analysis/index.js';
import type { Engine } from '../../engine/index.js';
import type { CliContext } from '../context.js';
import { positiveInteger } from '../options.js';
import { Output, textTable } from '../output.js';
import {
  addAnalysisOptions,
  addTextOptions,
  forEachSubject,
  HELD_OUT,
  HEADS_HELP,
  keepFinding,
  MODEL_ARGUMENT,
  nameOf,
  parseHeads,
  sequencesOf,
  show,
  loadedOf,
  type AnalysisFlags,
  type Subject,
  type TextOptions,
} from './subject.js';

/** Which heads and texts `longsight entropy` measures. */
export interface EntropyOptions extends TextOptions {
  readonly heads?: readonly HeadIndex[];
  /** Positions at the end of each text. */
  readonly tail: number;
}

type Flags = AnalysisFlags & EntropyOptions & { readonly heads?: HeadIndex[] };

/** The defaults of `longsight entropy`. */
export const ENTROPY_DEFAULTS = { samples: 64, tail: 4 } as const;

/** Registers `longsight entropy`. */
export function addEntropy(program: Command, context: CliContext): void {
  const command = program
    .command('entropy')
    .summary('attention entropy of heads')
    .description(
      'Mean entropy of attention over the last positions of texts, in nats and normalised: by the causal length (as ' +
        'published) and by the keys that a head can see. All checkpoints of a run, unless --step names one.',
    )
    .argument('<model>', MODEL_ARGUMENT)
    .option('--heads <list>', `${HEADS_HELP} (default: all)`, parseHeads)
    .option(
      '--tail <n>',
      'positions at the end of each text',
      (t) => positiveInteger('--tail', t),
      ENTROPY_DEFAULTS.tail,
    );
  addTextOptions(command, ENTROPY_DEFAULTS.samples, HELD_OUT);
  addAnalysisOptions(command).action((path: string, flags: Flags) => entropy(path, flags, context));
}

/** The entropy of a model's heads on texts or held-out sequences. */
export async function measureEntropy(
  engine: Engine,
  subject: Subject,
  options: EntropyOptions,
): Promise<EntropyResult> {
  const { heads, tail: tailQueries } = options;
  const texts = sequencesOf(subject, options);
  return attentionEntropy(loadedOf(engine, subject), texts, { tailQueries, ...(heads ? { heads } : {}) });
}

async function entropy(path: string, flags: Flags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const rows: (string | number | null)[][] = [];
  await forEachSubject(path, flags, { output, signal: context.signal }, async (engine, subject) => {
    const result = await measureEntropy(engine, subject, flags);
    const file = flags.heads === undefined ? keepFinding(subject, flags, 'entropy', result) : null;
    const { step, tokens } = subject;
    output.result(`${nameOf(subject)}\n${describe(result)}\n`, { event: 'entropy', step, tokens, file, ...result });
    for (const h of result.heads) {
      rows.push([step, tokens, h.layer, h.head, h.label, h.entropy, h.normalised, h.normalisedVisible, h.mass]);
    }
  });
  const columns = ['step', 'tokens', 'layer', 'head', 'kind', 'entropy', 'normalised', 'normalised_visible', 'mass'];
  writeCsv(flags.csv, columns, rows);
}

function describe(result: EntropyResult): string {
  const table = result.heads.map((h) => [
    ...[`${h.layer}:${h.head}`, h.label, show(h.entropy)],
    ...[show(h.normalised), show(h.normalisedVisible), show(h.mass)],
  ]);
  const head = ['head', 'kind', 'nats', 'of causal', 'of visible', 'on keys'];
  const means = ['mean', '', show(result.entropy), show(result.normalised), show(result.normalisedVisible), ''];
  return textTable([head, ...table, means], new Set([2, 3, 4, 5]));
}
