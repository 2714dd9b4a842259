/** `longsight mask`: needle accuracy with heads switched off. */
import { writeCsv } from '../../core/index.js';
import type { Command } from 'commander';
import { copyHeads, MASK_MODES, maskHeads, topHeads, type HeadIndex, type MaskMode } from '../../analysis/index.js';
import type { MaskingResult } from '../../analysis/index.js';
import type { Engine } from '../../engine/index.js';
import type { CliContext } from '../context.js';
import { positiveInteger } from '../options.js';
import { Output, textTable } from '../output.js';
import {
  addAnalysisOptions,
  HEADS_HELP,
  keepFinding,
  MODEL_ARGUMENT,
  nameOf,
  needlesOf,
  openSubject,
  parseChoice,
  parseHeads,
  show,
  loadedOf,
  withEngine,
  type AnalysisFlags,
  type Subject,
} from './subject.js';

/** Which heads `longsight mask` masks: the `top` ones, beside `draws` of random ones, on needles of `length` tokens. */
export interface MaskOptions {
  /** The strongest by copying unless given. */
  readonly heads?: readonly HeadIndex[];
  readonly top: number;
  readonly mode: MaskMode;
  readonly draws: number;
  readonly samples: number;
  readonly length?: number;
}

type Flags = AnalysisFlags & MaskOptions & { readonly heads?: HeadIndex[] };

/** The defaults of `longsight mask`. */
export const MASK_DEFAULTS = { top: 4, mode: 'zero', draws: 10, samples: 200 } as const;

/** Registers `longsight mask`. */
export function addMask(program: Command, context: CliContext): void {
  const command = program
    .command('mask')
    .summary('needle accuracy with heads switched off')
    .description(
      'Switches chosen heads off, or the strongest by copying, and as many random others; prints needle accuracy with and ' +
        'without. uniform: equal attention to all visible keys; zero: no output; mean: mean output.',
    )
    .argument('<model>', MODEL_ARGUMENT)
    .option('--heads <list>', `${HEADS_HELP} (default: the strongest)`, parseHeads)
    .option('--top <n>', 'how many of the strongest', (t) => positiveInteger('--top', t), MASK_DEFAULTS.top)
    .option(
      '--mode <name>',
      MASK_MODES.join(', '),
      (t) => parseChoice('--mode', MASK_MODES, t),
      MASK_DEFAULTS.mode as MaskMode,
    )
    .option('--draws <n>', 'draws of random heads', (t) => positiveInteger('--draws', t), MASK_DEFAULTS.draws)
    .option('--samples <n>', 'needle samples', (t) => positiveInteger('--samples', t), MASK_DEFAULTS.samples)
    .option('--length <n>', 'tokens of a sample (default: that of training)', (t) => positiveInteger('--length', t));
  addAnalysisOptions(command).action((path: string, flags: Flags) => mask(path, flags, context));
}

/** Needle accuracy without the chosen heads and without random ones. */
export async function measureMask(engine: Engine, subject: Subject, options: MaskOptions): Promise<MaskingResult> {
  const model = loadedOf(engine, subject);
  const { mode, draws, top } = options;
  const needles = (label: string) => needlesOf(subject, { label, samples: options.samples, length: options.length });
  // Chosen on other samples than they are judged on.
  const chosen = options.heads ?? topHeads((await copyHeads(model, needles('copy'))).heads, top);
  const heads = chosen.map(({ layer, head }) => ({ layer, head }));
  return maskHeads(model, needles('mask'), { heads, mode, draws });
}

const names = (all: readonly HeadIndex[]): string => all.map((h) => `${h.layer}:${h.head}`).join(' ');

async function mask(path: string, flags: Flags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const subject = openSubject(path, flags);
  const { step, tokens } = subject;
  const result = await withEngine(subject, flags, output, (engine) => measureMask(engine, subject, flags));
  const file = keepFinding(subject, flags, 'masking', result);
  output.result(describe(subject, result), { event: 'mask', step, tokens, file, ...result });
  const row = (
    kind: string,
    of: readonly HeadIndex[],
    s: { accuracy: number; low: number; high: number; probability: number },
  ) => [...[step, flags.mode, kind, names(of), s.accuracy, s.probability, s.low, s.high]];
  writeCsv(
    flags.csv,
    ['step', 'mode', 'kind', 'heads', 'accuracy', 'probability', 'accuracy_low', 'accuracy_high'],
    [
      row('none', [], result.baseline),
      row('chosen', result.heads, result.masked),
      ...result.random.map((r) => row('random', r.heads, r.score)),
    ],
  );
}

function describe(subject: Subject, result: MaskingResult): string {
  const line = (what: string, s: { accuracy: number; low: number; high: number; probability: number }) => [
    ...[what, show(s.accuracy), `${show(s.low)} to ${show(s.high)}`, show(s.probability)],
  ];
  const table = [
    ['heads off', 'accuracy', 'interval', 'probability'],
    line('none', result.baseline),
    line(names(result.heads), result.masked),
    ...result.random.map((r) => line(`${names(r.heads)} (random)`, r.score)),
  ];
  const mean = result.randomDrop === null ? 'too few other heads' : `random ones lose ${show(result.randomDrop)}`;
  const text = `${nameOf(subject)}, mode ${result.mode}: the chosen heads lose ${show(result.drop)}, ${mean}`;
  return `${text}\n${textTable(table, new Set([1, 2, 3]))}`;
}
