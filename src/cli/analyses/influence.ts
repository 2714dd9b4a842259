/** `longsight influence`: how far back inputs still matter. */
import { writeCsv, type CsvCell } from '../../core/index.js';
import type { Command } from 'commander';
import {
  gradientInfluence,
  INFLUENCE_TARGETS,
  type InfluenceCurve,
  type InfluenceTarget,
} from '../../analysis/index.js';
import { inFloat32, type Engine } from '../../engine/index.js';
import type { CliContext } from '../context.js';
import { positiveInteger } from '../options.js';
import { Output, textTable } from '../output.js';
import {
  addAnalysisOptions,
  addTextOptions,
  forEachSubject,
  HELD_OUT,
  keepFinding,
  MODEL_ARGUMENT,
  nameOf,
  parseChoice,
  sequencesOf,
  show,
  loadedOf,
  type AnalysisFlags,
  type Subject,
  type TextOptions,
} from './subject.js';

/** Which gradient `longsight influence` takes, on which texts. */
export interface InfluenceOptions extends TextOptions {
  readonly target: InfluenceTarget;
  /** Positions at the end that the target averages over. */
  readonly last: number;
}

type Flags = AnalysisFlags & InfluenceOptions;

/** The defaults of `longsight influence`. */
export const INFLUENCE_DEFAULTS = { target: 'logit_sum', samples: 32, last: 20 } as const;

/** Registers `longsight influence`. */
export function addInfluence(program: Command, context: CliContext): void {
  const command = program
    .command('influence')
    .summary('how far back inputs still matter: gradient norms by distance')
    .description(
      'Norm of the gradient of a target at the end of texts with respect to each input embedding, averaged by distance. ' +
        'logit_sum (as published) follows a direction to which probabilities are blind; see also argmax_logit and loss.',
    )
    .argument('<model>', MODEL_ARGUMENT)
    .option(
      '--target <name>',
      INFLUENCE_TARGETS.join(', '),
      (t) => parseChoice('--target', INFLUENCE_TARGETS, t),
      INFLUENCE_DEFAULTS.target as InfluenceTarget,
    )
    .option(
      '--last <n>',
      'positions at the end that the target averages over',
      (t) => positiveInteger('--last', t),
      INFLUENCE_DEFAULTS.last,
    );
  addTextOptions(command, INFLUENCE_DEFAULTS.samples, HELD_OUT);
  addAnalysisOptions(command).action((path: string, flags: Flags) => influence(path, flags, context));
}

/** Gradient norms of a model by distance, on texts or held-out sequences. */
export async function measureInfluence(
  engine: Engine,
  subject: Subject,
  options: InfluenceOptions,
): Promise<InfluenceCurve> {
  const texts = sequencesOf(subject, options);
  return gradientInfluence(loadedOf(inFloat32(engine), subject), texts, {
    target: options.target,
    lastTokens: options.last,
  });
}

async function influence(path: string, flags: Flags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const rows: CsvCell[][] = [];
  await forEachSubject(path, flags, { output, signal: context.signal }, async (engine, subject) => {
    const { step, tokens } = subject;
    const result = await measureInfluence(engine, subject, flags);
    const file = keepFinding(subject, flags, 'influence', result);
    output.result(describe(subject, result), { event: 'influence', step, tokens, file, ...result });
    result.mean.forEach((v, d) => rows.push([step, d, v, result.counts[d]]));
  });
  writeCsv(flags.csv, ['step', 'distance', 'mean_grad_norm', 'count'], rows);
}

function describe(subject: Subject, { mean, floor }: InfluenceCurve): string {
  const shown = mean.flatMap((v, d) => (d === 0 || Number.isInteger(Math.log2(d)) ? [[String(d), show(v, 5)]] : []));
  const meets =
    floor === null
      ? 'too short to tell a floor'
      : `floor ${show(floor.level, 5)}, met at ${floor.distance ?? 'no distance'}`;
  return `${nameOf(subject)}: ${meets}\n${textTable([['distance', 'gradient norm'], ...shown], new Set([0, 1]))}\n`;
}
