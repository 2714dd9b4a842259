/** `longsight fit DATA`: scaling laws, with what the data say of their certainty. */
import type { Command } from 'commander';
import { basename } from 'node:path';
import {
  parametersOf,
  readScalingTable,
  SCALING_FORMS,
  type ScalingAnalysis,
  type ScalingForm,
} from '../../analysis/index.js';
import { ConfigError, DataError, writeFileAtomic, writeCsv } from '../../core/index.js';
import {
  analyzeStudyFolder,
  FITTED,
  FITTED_MEASURES,
  scalingPage,
  studyPoints,
  type FittedMeasure,
  type NamedFit,
  type NamedPoints,
} from '../../report/index.js';
import { isStudyFolder } from '../../study/index.js';
import type { CliContext } from '../terminal/context.js';
import { parseChoice, parseNumber, addOutputOptions, wholeNumber, type OutputFlags } from '../terminal/options.js';
import { Output, textTable } from '../terminal/output.js';
import { fitScalingLaw, show, type ScalingCurves } from '../../lab/index.js';

interface Flags extends OutputFlags {
  readonly form: ScalingForm;
  readonly longppl?: boolean;
  readonly holdOut?: boolean;
  readonly measure?: FittedMeasure;
  readonly compat?: boolean;
  readonly resamples: number;
  readonly profiles: boolean;
  readonly seed: number;
  readonly csv?: string;
  readonly html?: string;
  readonly at?: { N: number; D: number }[];
  readonly flops?: number[];
  readonly iso?: number;
}

/** Registers `longsight fit`. */
export function addFit(program: Command, context: CliContext): void {
  const command = program
    .command('fit')
    .summary('fit a scaling law to a table of trained models')
    .description(
      'Fits y = [a +] b N^-alpha + c D^-beta to a TSV or CSV with columns model_size, token_multiplier, n, loss (tokens D = ' +
        'token_multiplier times n). The best of many starts, with bootstrap and likelihood intervals, fits without each size, ' +
        'and warnings where the data do not decide. Exponents move with optimizer tolerance and bounds alone: on the ' +
        "study's 23 public points that of N is anything from 0.25 to 0.47.",
    )
    .argument(
      '<data>',
      'table of trained models, or study folder (its runs: non-embedding parameters, tokens, final loss)',
    )
    .option(
      '--form <name>',
      `${SCALING_FORMS.join(' or ')} (the latter with a)`,
      (t) => parseChoice('--form', SCALING_FORMS, t),
      'no_constant',
    )
    .option(
      '--measure <name>',
      `what of a study is fitted: ${FITTED_MEASURES.map((name) => `${name} (${FITTED[name].about})`).join(' or ')} (default: loss)`,
      (t) => parseChoice('--measure', FITTED_MEASURES, t),
    )
    .option('--longppl', 'the loss column holds LongPPL; its logarithm is fitted')
    .option('--hold-out', 'keep the largest size out of the fit and predict it')
    .option('--compat', "the study's bounds: alpha within 0.2 to 0.3 without a constant")
    .option('--resamples <n>', 'bootstrap resamples; 0 for none', (t) => wholeNumber('--resamples', t), 200)
    .option('--no-profiles', 'leave profile likelihoods out')
    .option('--seed <n>', 'seed of the bootstrap', (t) => wholeNumber('--seed', t), 0)
    .option('--at <list>', 'predict at N:D, several with commas, such as 1e9:2e10', parsePlaces)
    .option('--flops <list>', 'best N and D for these training FLOPs (6 N D)', (t) => parsePositives('--flops', t))
    .option('--iso <y>', 'tokens that each size needs to reach y', (t) => parseNumber('--iso', t))
    .option('--csv <file>', 'also write the predictions of all rows as CSV')
    .option('--html <file>', 'also write a page with the law, its bands and the points');
  addOutputOptions(command).action((path: string, flags: Flags) => fit(path, flags, context));
}

function parsePositives(option: string, text: string): number[] {
  return text.split(',').map((part) => {
    const value = parseNumber(option, part);
    if (value > 0) return value;
    throw new ConfigError(`${option} must be positive, got ${part}`);
  });
}

function parsePlaces(text: string): { N: number; D: number }[] {
  return text.split(',').map((part) => {
    const [N, D, ...rest] = part.split(':').map(Number);
    if (rest.length === 0 && N !== undefined && D !== undefined && N > 0 && D > 0) return { N, D };
    throw new ConfigError(`--at ${part}: write parameters and tokens as N:D, such as 1e9:2e10`);
  });
}

/** What is fitted: the rows of a table, or the finished runs of every design of a study. */
function pointsOf(path: string, flags: Flags): NamedPoints[] {
  if (!isStudyFolder(path)) {
    if (flags.measure !== undefined)
      throw new ConfigError('--measure belongs to studies; a table has one column, loss');
    return [{ label: basename(path), points: readScalingTable(path, { longppl: flags.longppl === true }).points }];
  }
  if (flags.longppl === true)
    throw new ConfigError('--longppl belongs to tables; of a study, --measure says what is fitted');
  const measure = flags.measure ?? 'loss';
  const found = studyPoints(analyzeStudyFolder(path), measure);
  if (found.length > 0) return found;
  throw new DataError(
    `${path}: no design has five finished runs with ${FITTED[measure].about} that differ in size and in tokens; a scaling law needs them ` +
      '(grid: { model.preset: [...], train.steps: [...] } in the study file)',
  );
}

function fit(path: string, flags: Flags, context: CliContext): void {
  const output = new Output(context, flags);
  const sources = pointsOf(path, flags);
  const fits = sources.map(({ label, points }) => {
    const { result, curves } = fitScalingLaw(points, {
      form: flags.form,
      compat: flags.compat === true,
      holdOutLargest: flags.holdOut === true,
      resamples: flags.resamples,
      profiles: flags.profiles,
      seed: flags.seed,
      ...{ at: flags.at, flops: flags.flops, iso: flags.iso },
    });
    printFit(output, { label, result }, curves, sources.length > 1);
    return { label, result };
  });
  const columns = ['model_size', 'n', 'tokens', 'y', 'predicted', 'low', 'high', 'split'];
  const named = sources.length > 1 ? ['design'] : [];
  const rows = fits.flatMap(({ label, result }) =>
    result.rows.map((r) => [
      ...(named.length > 0 ? [label] : []),
      ...[r.size, r.N, r.D, r.y, r.predicted, r.interval?.low, r.interval?.high, r.split],
    ]),
  );
  writeCsv(flags.csv, [...named, ...columns], rows);
  if (flags.html !== undefined) {
    const y =
      flags.longppl === true ? 'ln LongPPL' : flags.measure ? FITTED[flags.measure].about : 'loss (nats per token)';
    const page = scalingPage(`Scaling laws: ${basename(path)}`, fits, y, `longsight fit ${path} --html ${flags.html}`);
    writeFileAtomic(flags.html, page);
    output.note(`page: ${flags.html}`);
  }
}

function printFit(output: Output, { label, result }: NamedFit, curves: ScalingCurves, titled: boolean): void {
  // The resampled laws are many; their intervals are what programs want.
  const { bootstrap, ...rest } = result;
  const summary =
    bootstrap === null
      ? null
      : { resamples: bootstrap.resamples, coverage: bootstrap.coverage, intervals: bootstrap.intervals };
  output.result(`${titled ? `${label}\n` : ''}${describe(result)}${describeCurves(curves)}`, {
    event: 'fit',
    ...(titled ? { label } : {}),
    ...rest,
    bootstrap: summary,
    ...curves,
  });
}

const number = (v: number | null | undefined): string =>
  v === null || v === undefined ? '-' : v >= 1e6 ? v.toExponential(4) : String(Number(v.toPrecision(5)));

function describe(result: ScalingAnalysis): string {
  const { fit: law, bootstrap, profiles, heldOut } = result;
  const names = parametersOf(law.form);
  const table = names.map((name) => {
    const boot = bootstrap?.intervals[name];
    const seen = profiles.find((p) => p.name === name);
    const side = law.onBound.find((b) => b.name === name);
    return [
      ...[name, number(law.parameters[name]), boot ? `${number(boot.low)} to ${number(boot.high)}` : '-'],
      ...[seen ? `${number(seen.low)} to ${number(seen.high)}` : '-', side ? `on its ${side.side} bound` : ''],
    ];
  });
  const metrics = (m: { points: number; r2: number; rmse: number; mae: number }) =>
    `${m.points} points, R2 ${m.r2.toFixed(5)}, RMSE ${m.rmse.toFixed(5)}, MAE ${m.mae.toFixed(5)}`;
  const form = law.form === 'default' ? 'y = a + b N^-alpha + c D^-beta' : 'y = b N^-alpha + c D^-beta';
  const rows = result.rows.map((r) => [
    ...[r.size, number(r.N), number(r.D), show(r.y, 4), show(r.predicted, 4)],
    ...[
      r.interval ? `${show(r.interval.low, 4)} to ${show(r.interval.high, 4)}` : '-',
      r.split === 'train' ? '' : r.split,
    ],
  ]);
  return [
    form,
    textTable([['', 'estimate', 'bootstrap 95 %', 'profile 95 %', ''], ...table], new Set([1, 2, 3])),
    '',
    `objective ${law.objective.toExponential(4)}, found from ${(100 * law.agreement).toFixed(0)} % of ${law.starts} starts`,
    `condition number ${number(result.condition)}`,
    `fitted    ${metrics(result.train)}`,
    ...(heldOut === null ? [] : [`held out  ${heldOut.size}: ${metrics(heldOut)}`]),
    ...result.leaveOneSizeOut.map(
      (l) =>
        `without ${l.size}: alpha ${number(l.parameters.alpha)}, beta ${number(l.parameters.beta)}, RMSE on it ${number(l.rmse)}`,
    ),
    ...result.warnings.map((w) => `warning: ${w}`),
    '',
    textTable([['size', 'N', 'D', 'y', 'predicted', 'band', ''], ...rows], new Set([1, 2, 3, 4, 5])),
  ].join('\n');
}

function describeCurves(curves: ScalingCurves): string {
  const band = (i: { low: number; high: number } | null | undefined) =>
    i ? `${number(i.low)} to ${number(i.high)}` : '-';
  const parts: string[] = [];
  if (curves.at.length > 0) {
    const rows = curves.at.map((e) => [number(e.N), number(e.D), show(e.y, 4), band(e.interval)]);
    parts.push(textTable([['N', 'D', 'y', 'band'], ...rows], new Set([0, 1, 2, 3])));
  }
  if (curves.computeOptimal.length > 0) {
    const rows = curves.computeOptimal.map((o) => [
      ...[number(o.flops), number(o.N), band(o.intervals?.N), number(o.D), band(o.intervals?.D), show(o.y, 4)],
    ]);
    parts.push(textTable([['FLOPs', 'best N', 'band', 'best D', 'band', 'y'], ...rows], new Set([0, 1, 2, 3, 4, 5])));
  }
  if (curves.isoLoss.length > 0) {
    const rows = curves.isoLoss.map((p) => [number(p.N), p.D === null ? 'never' : number(p.D), band(p.interval)]);
    parts.push(textTable([['N', 'tokens to reach it', 'band'], ...rows], new Set([0, 1, 2])));
  }
  return parts.map((p) => `\n\n${p}`).join('');
}
