/** `longsight probe`: layer by layer, what the last token knows of the needle. */
import type { Command } from 'commander';
import {
  extractFeatures,
  PROBE_KINDS,
  probeLayers,
  probeSample,
  type ProbeResult,
  type ProbeKind,
  type ProbeSample,
} from '../../analysis/index.js';
import { ConfigError, Rng, writeCsv, type CsvCell } from '../../core/index.js';
import type { Engine } from '../../engine/index.js';
import { needleSamples } from '../../eval/index.js';
import type { CliContext } from '../context.js';
import { positiveInteger, wholeNumber } from '../options.js';
import { Output, textTable } from '../output.js';
import {
  addAnalysisOptions,
  FAR_DEPTHS,
  keepFinding,
  MODEL_ARGUMENT,
  nameOf,
  needlePlan,
  openSubject,
  parseChoice,
  show,
  loadedOf,
  withEngine,
  type AnalysisFlags,
  type Subject,
} from './subject.js';

/** The study's candidates: eight digits runs that differ from the first digit on, and eight that differ in the last. */
const CANDIDATES = {
  easy: ['1234567', '2345678', '3456789', '4567890', '5678901', '6789012', '7890123', '8901234'],
  hard: ['31415920', '31415921', '31415922', '31415923', '31415924', '31415925', '31415926', '31415927'],
} as const;

/** What `longsight probe` fits: `classes` values hidden in samples of `length` tokens. */
export interface ProbeOptions {
  /** Both unless given. */
  readonly kind?: ProbeKind;
  readonly classes: number;
  readonly samples: number;
  readonly length?: number;
  readonly seed: number;
  readonly difficulty: keyof typeof CANDIDATES;
}

type Flags = AnalysisFlags & ProbeOptions;

/** The defaults of `longsight probe`. */
export const PROBE_DEFAULTS = { classes: 4, samples: 800, seed: 0, difficulty: 'easy' } as const;

/** Registers `longsight probe`. */
export function addProbe(program: Command, context: CliContext): void {
  const command = program
    .command('probe')
    .summary('layer by layer, what the last token knows of the needle')
    .description(
      "Reads the needle's value, one of a few, from the state of the last token after each layer (residual) or from what " +
        'the layer added (delta), with logistic regression; accuracy on held-out samples with 95 % intervals.',
    )
    .argument('<model>', MODEL_ARGUMENT)
    .option('--kind <name>', `${PROBE_KINDS.join(', ')} (default: both)`, (t) => parseChoice('--kind', PROBE_KINDS, t))
    .option(
      '--classes <n>',
      'values to tell apart, 2 to 8 for text',
      (t) => positiveInteger('--classes', t),
      PROBE_DEFAULTS.classes,
    )
    .option('--samples <n>', 'needle samples', (t) => positiveInteger('--samples', t), PROBE_DEFAULTS.samples)
    .option('--length <n>', 'tokens of a sample (default: that of training)', (t) => positiveInteger('--length', t))
    .option(
      '--difficulty <name>',
      'easy or hard numbers, for text',
      (t) => parseChoice('--difficulty', ['easy', 'hard'], t),
      PROBE_DEFAULTS.difficulty as Flags['difficulty'],
    )
    .option('--seed <n>', 'seed of classes and split', (t) => wholeNumber('--seed', t), PROBE_DEFAULTS.seed);
  addAnalysisOptions(command).action((path: string, flags: Flags) => probe(path, flags, context));
}

/** Accuracy by layer, one entry a kind of features. */
export async function measureProbes(engine: Engine, subject: Subject, options: ProbeOptions): Promise<ProbeResult[]> {
  const { model } = subject;
  const samples = probeSamples(subject, options);
  const features = await extractFeatures(loadedOf(engine, subject), samples);
  const kinds = options.kind === undefined ? PROBE_KINDS : [options.kind];
  return kinds.map((kind) => probeLayers(features, model, kind, { seed: options.seed }));
}

async function probe(path: string, flags: Flags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const subject = openSubject(path, flags);
  const { step, tokens } = subject;
  const probes = await withEngine(subject, flags, output, (engine) => measureProbes(engine, subject, flags));
  const file = keepFinding(subject, flags, 'probes', { probes });
  const rows: CsvCell[][] = [];
  for (const result of probes) {
    output.result(describe(subject, result), { event: 'probe', step, tokens, file, ...result });
    for (const l of result.layers)
      rows.push([step, result.kind, l.layer, l.label, l.accuracy, l.low, l.high, l.tested]);
  }
  writeCsv(flags.csv, ['step', 'kind', 'layer', 'label', 'accuracy', 'low', 'high', 'tested'], rows);
}

function describe(subject: Subject, result: ProbeResult): string {
  const table = result.layers.map((l) => [
    ...[String(l.layer), l.label, show(l.accuracy), `${show(l.low)} to ${show(l.high)}`],
  ]);
  const first = result.embedding === null ? [] : [['-', 'embedding', show(result.embedding.accuracy), '']];
  const text = textTable([['layer', 'kind', 'accuracy', 'interval'], ...first, ...table], new Set([2, 3]));
  return `${nameOf(subject)}, ${result.kind}, ${result.classes} classes (chance ${show(result.chance)})\n${text}\n`;
}

/** Needle samples whose value is one of a few, and which one it is. */
function probeSamples(subject: Subject, options: ProbeOptions): ProbeSample[] {
  const { classes } = options;
  const { task, length } = needlePlan(subject, options.length);
  const rng = Rng.of(options.seed, 'probe', 'classes');
  const labels = Array.from({ length: options.samples }, () => rng.int(classes));
  const draw = { label: 'probe', length, depths: FAR_DEPTHS, count: options.samples };
  if (task.task === 'recall') {
    const source = subject.run?.run.data.find((s) => s.kind === 'recall');
    const [first, count] = source?.kind === 'recall' ? [source.numKeys, source.numValues] : [0, 0];
    if (classes < 2 || classes > count) {
      throw new ConfigError(`--classes must be 2 to ${count}, the values of the recall task, got ${classes}`);
    }
    const candidates = Array.from({ length: classes }, (_, k) => [first + k]);
    return needleSamples(task, draw).map((s, i) => probeSample(s, candidates, labels[i] as number));
  }
  const texts = CANDIDATES[options.difficulty];
  if (classes < 2 || classes > texts.length) {
    throw new ConfigError(`--classes must be 2 to ${texts.length}, got ${classes}`);
  }
  const textOf = (i: number): string => texts[labels[i] as number] as string;
  return needleSamples(task, { ...draw, textOf }).map((s, i) => ({
    ...{ tokens: s.tokens, position: s.queryPosition, label: labels[i] as number },
  }));
}
