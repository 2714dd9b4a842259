/** `longsight trace RUN`: retrieval-head scores of stored checkpoints. */
import type { Command } from 'commander';
import type { HeadScores } from '../../analysis/index.js';
import { ConfigError, formatShare, formatTokens } from '../../core/index.js';
import { writeFinding } from '../../run/index.js';
import {
  checkpointAt,
  HEADS,
  traceCheckpoint,
  tracedHeads,
  windowMark,
  windowSuffix,
  type TracedHeads,
} from '../../lab/index.js';
import {
  CHECKPOINT_USES,
  checkpointsOf,
  traceImported,
  measuredBeyond,
  measuringRun,
  modelLeftAside,
  openModel,
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
import { Output, textTable } from '../terminal/output.js';
import { isHfFolder } from '../../checkpoint/index.js';

interface Flags extends OutputFlags, EngineFlags, PrecisionFlag, SetFlag, WindowFlag {
  readonly length?: number;
  readonly step?: number;
  readonly run?: string;
  readonly top: number;
}

const DEFAULT_TOP = 5;

/** Registers `longsight trace`. */
export function addTrace(program: Command, context: CliContext): void {
  const command = program
    .command('trace')
    .summary('find retrieval heads')
    .description(
      'Scores every head of every checkpoint of a run by the attention that it puts on a needle, prints the strongest, and ' +
        'stores the scores in the run folder (not with --set or --run, which take other measurements).',
    )
    .argument('<model>', `run folder (all checkpoints), checkpoint folder, or ${IMPORTED_MODEL}`)
    .option('--step <n>', 'only the checkpoint of this step', (text) => wholeNumber('--step', text))
    .option('--run <file>', 'run file that says how to measure, as for a checkpoint outside of a run folder')
    .option('--length <n>', `for ${IMPORTED_MODEL}: tokens of a sample [1024]`, (t) => positiveInteger('--length', t))
    .option('--top <n>', 'heads to print', (text) => positiveInteger('--top', text), DEFAULT_TOP);
  addOutputOptions(addWindowOption(addMeasuringOptions(addSetOption(command)))).action((path: string, flags: Flags) =>
    trace(path, flags, context),
  );
}

async function trace(path: string, flags: Flags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const window = windowAsked(flags);
  const report = (name: string, file: string | null, heads: HeadScores): void => {
    const traced = tracedHeads(heads, flags.top);
    output.result(describe(`${name}${windowSuffix(window)}`, heads.samples, traced), {
      ...{ event: 'trace', file, ...windowMark(window), heads },
      sparsity: traced.sparsity,
    });
  };
  if (isHfFolder(path)) {
    if (flags.run !== undefined)
      throw new ConfigError('--run says how a run is traced; leave it out for ' + IMPORTED_MODEL);
    const model = openModel(path, { ...flags, window });
    return report(path, null, await withModels([model], output, () => traceImported(model, flags.length)));
  }
  if (flags.length !== undefined)
    throw new ConfigError(`--length is for ${IMPORTED_MODEL}; of a run, write --set eval.trace.length=${flags.length}`);
  // Heads of runs are traced checkpoint by checkpoint, with the data that the run file names.
  const { dir, run } = measuringRun(path, flags.set, flags.run, CHECKPOINT_USES.tracing);
  const checkpoints = checkpointsOf(path, flags.step);
  for (const checkpoint of checkpoints.slice(-1)) {
    const beyond = measuredBeyond({ dir, path, step: checkpoint.state.step }, run);
    if (beyond !== null) output.warn(beyond);
    const aside = modelLeftAside(flags.run, run, checkpoint);
    if (aside !== null) output.warn(aside);
  }
  await withEngine(run, flags, output, async (engine) => {
    for (const checkpoint of checkpoints) {
      context.signal.throwIfAborted();
      const heads = await traceCheckpoint(checkpointAt(checkpoint, window), {
        run,
        engine,
        precision: flags.precision,
      });
      if (heads === null)
        throw new ConfigError(
          `${dir ?? path}: nothing to trace, as eval.trace is off or the sequences cannot hold a needle; set eval.trace.length`,
        );
      const asStored = flags.set.length === 0 && flags.precision === undefined && window === undefined;
      const file = dir !== null && asStored ? writeFinding(dir, HEADS, heads) : null;
      report(`step ${heads.step}, ${formatTokens(heads.tokens)} tokens`, file, heads);
    }
  });
}

function describe(name: string, samples: number, { strongest, sparsity, cut }: TracedHeads): string {
  const rows = strongest.map((h) => [
    String(h.layer),
    h.label,
    String(h.head),
    h.score.toFixed(3),
    formatShare(Math.round(h.top1 * samples), samples),
  ]);
  const head = ['layer', 'kind', 'head', 'score', 'top-1 (95 %)'];
  const { heads: all, retrievalHeads, topShare, top: most } = sparsity;
  const spread =
    `${retrievalHeads} of ${all} heads score at least ${cut}; the ${most} strongest hold ` +
    `${Math.round(100 * topShare)} % of all scores`;
  return `${name}: ${spread}\n${textTable([head, ...rows], new Set([0, 2, 3, 4]))}\n`;
}
