/** `longsight eval RUN|CHECKPOINT`: measures a stored checkpoint. */
import type { Command } from 'commander';
import { formatShare, formatTokens, writeJsonAtomic } from '../../core/index.js';
import type { EvalRecord, RecallBin } from '../../eval/index.js';
import { evaluateCheckpoint } from '../../lab/index.js';
import { withEngine, warnMeasuredBeyond } from '../analyses/subject.js';
import type { CliContext } from '../context.js';
import {
  addMeasuringOptions,
  addOutputOptions,
  addSetOption,
  positiveInteger,
  wholeNumber,
  type EngineFlags,
  type PrecisionFlag,
  type OutputFlags,
  type SetFlag,
} from '../options.js';
import { Output, textTable } from '../output.js';
import { isHfFolder } from '../../checkpoint/index.js';
import { measuringRun } from './checkpoints.js';
import { evaluateImported, IMPORTED_MODEL, type ImportedFlags, type ImportedRecord } from './imported.js';
import { evalPath, findCheckpoint } from '../../run/index.js';

interface Flags extends OutputFlags, EngineFlags, PrecisionFlag, SetFlag, ImportedFlags {
  readonly step?: number;
  readonly run?: string;
  readonly out?: string;
}

/** Registers `longsight eval`. */
export function addEval(program: Command, context: CliContext): void {
  const command = program
    .command('eval')
    .summary('measure a checkpoint')
    .description(
      'Measures held-out loss, recall by distance and the needle grid of a checkpoint, as the run file says, and stores ' +
        'the record in the run folder. With --set or --run, other measurements are taken, and stored only where --out says. ' +
        'Of a model saved by Transformers: the needle grid in its own tokens, and its loss on --texts.',
    )
    .argument('<model>', `run folder (its newest checkpoint), checkpoint folder, or ${IMPORTED_MODEL}`)
    .option('--step <n>', 'the checkpoint of this step', (text) => wholeNumber('--step', text))
    .option('--run <file>', 'run file that says how to measure, as for a checkpoint outside of a run folder')
    .option('--texts <file>', `for ${IMPORTED_MODEL}: text, or .jsonl with prompts, to take the loss of`)
    .option('--length <n>', `for ${IMPORTED_MODEL}: tokens of a sample [1024]`, (t) => positiveInteger('--length', t))
    .option('--out <file>', 'where the record goes');
  addOutputOptions(addMeasuringOptions(addSetOption(command))).action((path: string, flags: Flags) =>
    evaluate(path, flags, context),
  );
}

async function evaluate(path: string, flags: Flags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  if (isHfFolder(path)) {
    const record = await evaluateImported(path, flags, output);
    if (flags.out !== undefined) writeJsonAtomic(flags.out, record);
    const stored = flags.out === undefined ? '' : `\nstored in ${flags.out}`;
    return output.result(`${path}\n${scores(record)}${stored}`, { event: 'eval', file: flags.out ?? null, record });
  }
  const { dir, run } = measuringRun(path, flags.set, flags.run);
  const checkpoint = findCheckpoint(path, flags.step);
  warnMeasuredBeyond({ dir, path, step: checkpoint.state.step }, run, output);
  const record = await withEngine({ run: { run } }, flags, output, (engine) =>
    evaluateCheckpoint(checkpoint, { run, engine, precision: flags.precision }),
  );
  const asStored = flags.set.length === 0 && flags.precision === undefined;
  const own = dir !== null && asStored ? evalPath(dir, record.step) : null;
  const file = flags.out ?? own;
  if (file !== null) writeJsonAtomic(file, record);
  const other = dir === null ? '--run' : flags.set.length === 0 ? '--precision' : '--set';
  const stored = file === null ? `not stored: measured as ${other} says; keep it with --out` : `stored in ${file}`;
  output.result(`${describe(record)}\n${stored}`, { event: 'eval', file, record });
}

function describe(record: EvalRecord): string {
  return `step ${record.step}, ${formatTokens(record.tokens)} tokens\n${scores(record)}`;
}

function scores({ loss, recall, needle }: ImportedRecord): string {
  const show = (value: number | null | undefined) => (value == null ? '-' : value.toFixed(3));
  const lines = [`held-out loss  ${loss?.toFixed(4) ?? '-'} nats`];
  if (recall !== null) {
    const share = (b: RecallBin) =>
      b.accuracy === null ? '-' : formatShare(Math.round(b.accuracy * b.count), b.count, 3);
    const rows = recall.bins.map((b) => [`${b.from}-${b.to}`, show(b.probability), share(b), String(b.count)]);
    lines.push('', textTable([['distance', 'probability', 'accuracy (95 %)', 'targets'], ...rows], new Set([1, 2, 3])));
  }
  if (needle !== null) {
    const head = ['length', ...needle.depths.map((depth) => `depth ${depth}`)];
    const rows = needle.lengths.map((length, i) => [
      String(length),
      ...(needle.accuracy[i] ?? []).map((cell) => formatShare(Math.round(cell * needle.samples), needle.samples)),
    ]);
    lines.push(
      '',
      `needle accuracy (95 %), ${needle.samples} samples a cell`,
      textTable([head, ...rows], new Set(head.map((_, i) => i))),
    );
  }
  return lines.join('\n');
}
