/** `longsight eval RUN|CHECKPOINT`: measures a stored checkpoint. */
import type { Command } from 'commander';
import { at, ConfigError, formatTokens, writeJsonAtomic } from '../../core/index.js';
import {
  checkpointAt,
  evalText,
  evaluateCheckpoint,
  evaluateOnTexts,
  measuredBeyond,
  measuringRun,
  modelLeftAside,
  openModel,
  windowMark,
  windowSuffix,
} from '../../lab/index.js';
import { IMPORTED_MODEL, withEngine, withModels } from '../terminal/models.js';
import type { CliContext } from '../terminal/context.js';
import {
  addMeasuringOptions,
  addOutputOptions,
  addSetOption,
  addWindowOption,
  positiveInteger,
  wholeNumber,
  type EngineFlags,
  type PrecisionFlag,
  type OutputFlags,
  type SetFlag,
  windowAsked,
  type WindowFlag,
} from '../terminal/options.js';
import { Output } from '../terminal/output.js';
import { isHfFolder } from '../../checkpoint/index.js';
import { evalPath, findCheckpoint } from '../../run/index.js';

interface Flags extends OutputFlags, EngineFlags, PrecisionFlag, SetFlag, WindowFlag {
  readonly texts?: string;
  readonly length?: number;
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
      'Measures held-out loss, recall by distance, associative recall and the needle grid of a checkpoint, as the run file ' +
        'says, and stores the record in the run folder. With --set or --run, other measurements are taken, and stored only ' +
        'where --out says. With --texts: loss and associative recall on those texts, of any model. Of a model saved by ' +
        'Transformers: the needle grid in its own tokens.',
    )
    .argument('<model>', `run folder (its newest checkpoint), checkpoint folder, or ${IMPORTED_MODEL}`)
    .option('--step <n>', 'the checkpoint of this step', (text) => wholeNumber('--step', text))
    .option('--run <file>', 'run file that says how to measure, as for a checkpoint outside of a run folder')
    .option('--texts <file>', 'text, or .jsonl with prompts, to measure instead of the held-out data')
    .option(
      '--length <n>',
      'with --texts: tokens of a window (default: those of training; 1024 for a model saved by Transformers)',
      (t) => positiveInteger('--length', t),
    )
    .option('--out <file>', 'where the record goes');
  addOutputOptions(addWindowOption(addMeasuringOptions(addSetOption(command)))).action((path: string, flags: Flags) =>
    evaluate(path, flags, context),
  );
}

async function evaluate(path: string, flags: Flags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const window = windowAsked(flags);
  const note = (text: string) => output.note(text);
  if (isHfFolder(path) || flags.texts !== undefined) {
    if (flags.run !== undefined)
      throw new ConfigError('--run says how a run is measured on its own data; leave it out with --texts');
    const model = openModel(path, { ...flags, window });
    const asked = { texts: flags.texts, length: flags.length, note };
    // Needles left out are said within the work, before the engine: what was measured comes last.
    const record = await withModels([model], output, async () => {
      const { needlesLeftOut: why, ...found } = await evaluateOnTexts(model, asked);
      if (why !== null) {
        output.note(`needles not measured: ${why}`);
        output.event({ event: 'needlesLeftOut', why });
      }
      return { ...found.record, ...windowMark(window) };
    });
    if (flags.out !== undefined) writeJsonAtomic(flags.out, record);
    const stored = flags.out === undefined ? '' : `\nstored in ${flags.out}`;
    return output.result(`${path}${windowSuffix(window)}\n${evalText({ step: 0, tokens: 0, ...record })}${stored}`, {
      event: 'eval',
      file: flags.out ?? null,
      record,
    });
  }
  if (flags.length !== undefined)
    throw new ConfigError('--length goes with --texts; a run says how long its samples are');
  const { dir, run } = measuringRun(path, flags.set, flags.run);
  const checkpoint = findCheckpoint(path, flags.step);
  const beyond = measuredBeyond({ dir, path, step: checkpoint.state.step }, run);
  if (beyond !== null) output.warn(beyond);
  const aside = modelLeftAside(flags.run, run, checkpoint);
  if (aside !== null) output.warn(aside);
  const measured = checkpointAt(checkpoint, window);
  const found = await withEngine(run, flags, output, (engine) =>
    evaluateCheckpoint(measured, { run, engine, precision: flags.precision, note }),
  );
  const record = { ...found, ...windowMark(window) };
  // Only what the run's own settings measured may stand in its folder, where the report takes it for the run's own.
  const asStored = flags.set.length === 0 && flags.precision === undefined && window === undefined;
  const own = dir !== null && asStored ? evalPath(dir, record.step) : null;
  const file = flags.out ?? own;
  if (file !== null) writeJsonAtomic(file, record);
  const changes = [
    ...(dir === null ? ['--run'] : []),
    ...(flags.set.length > 0 ? ['--set'] : []),
    ...(window !== undefined ? ['--window'] : []),
    '--precision',
  ];
  const stored =
    file === null ? `not stored: measured as ${at(changes, 0)} says; keep it with --out` : `stored in ${file}`;
  output.result(
    `step ${record.step}, ${formatTokens(record.tokens)} tokens${windowSuffix(window)}\n${evalText(record)}\n${stored}`,
    {
      event: 'eval',
      file,
      record,
    },
  );
}
