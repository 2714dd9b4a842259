/** `longsight advise STUDY...`: which of the studied designs to build for a budget, and how sure that is. */
import { resolve } from 'node:path';
import { Option, type Command } from 'commander';
import {
  at,
  ConfigError,
  formatBytes,
  formatCount,
  formatTokens,
  refuseHubName,
  StoreError,
} from '../../core/index.js';
import type { CacheDtype } from '../../model/index.js';
import {
  adviseOn,
  analyzeStudyFolder,
  COST_CONTEXT,
  type AdvisedDesign,
  type StudyAdvice,
} from '../../report/index.js';
import { isStudyFolder } from '../../study/index.js';
import { cacheDtypeOption } from '../terminal/cache-size.js';
import type { CliContext } from '../terminal/context.js';
import {
  addOutputOptions,
  parseAmount,
  parseBytes,
  parseChoice,
  parseContext,
  type OutputFlags,
} from '../terminal/options.js';
import { Output, textTable } from '../terminal/output.js';

const RANKS = ['recall', 'loss'] as const;

interface Flags extends OutputFlags {
  readonly context: number;
  readonly kvBudget?: number;
  readonly cacheDtype: CacheDtype;
  readonly params?: number;
  readonly flops?: number;
  readonly by: (typeof RANKS)[number];
}

/** Registers `longsight advise`. */
export function addAdvise(program: Command, context: CliContext): void {
  // A budget has many sides; all but the context are left out by default, so that the plain command ranks a study.
  const command = program
    .command('advise')
    .summary('which studied design fits a budget, and how sure that is')
    .description(
      'Says which designs of a study fit a budget of cache bytes, ranks them by far recall (associative recall, needles) or by the loss, ' +
        'with intervals paired over seeds, and says how sure that is and what run would settle it. --params scales each design: ' +
        'width and depth grow together, layers repeat as they did, heads and states stay as wide and grow in number, and the ' +
        'vocabulary stays. Designs of several studies are ranked study by study, as their runs share no data.',
    )
    .argument('<studies...>', 'study folders with finished runs')
    .addOption(
      new Option(
        '--context <tokens>',
        'length of the sequence that the cache is for, such as 4k or 1M; k is 1,024 and M its square',
      )
        .argParser((text) => parseContext('--context', text))
        .default(COST_CONTEXT, '64k'),
    )
    .option(
      '--kv-budget <bytes>',
      'bytes that the cache of one sequence may have, such as 1GB (10^9) or 1GiB',
      (text) => parseBytes('--kv-budget', text),
    )
    .addOption(cacheDtypeOption())
    .option(
      '--params <n>',
      'parameters of the model, embeddings included, such as 100M (default: as measured)',
      (text) => parseAmount('--params', text),
    )
    .option('--flops <n>', 'training FLOPs that may be spent, such as 1e18: says how many tokens they are', (text) =>
      parseAmount('--flops', text),
    )
    .option(
      '--by <name>',
      'what ranks designs: recall (or what is measured at long range in its place), or loss',
      (text) => parseChoice('--by', RANKS, text),
      'recall' satisfies Flags['by'],
    );
  addOutputOptions(command).action((studies: string[], flags: Flags) => advise(studies, flags, context));
}

/** Models beyond this are not described: their layers alone take long to list. */
const MOST_PARAMETERS = 1e13;

function advise(studies: readonly string[], flags: Flags, context: CliContext): void {
  const places = studies.map((folder) => resolve(folder));
  const twice = studies.find((_, i) => places.indexOf(at(places, i)) !== i);
  if (twice !== undefined) throw new ConfigError(`${twice} is named twice; name each study once`);
  const { kvBudget = null, params = null, flops = null, cacheDtype, by } = flags;
  if (params !== null && params > MOST_PARAMETERS)
    throw new ConfigError(`--params ${params} is too many; give at most ${MOST_PARAMETERS}`);
  const request = { context: flags.context, kvBudget, params, flops, cacheDtype, by };
  const advice = studies.map((folder) => {
    if (!isStudyFolder(folder)) {
      refuseHubName(folder);
      throw new StoreError(`${folder} is not a study folder (study.json); give one that longsight study has made`, {
        details: { folder },
      });
    }
    return { folder, ...adviseOn(analyzeStudyFolder(folder), request) };
  });
  const text = advice.map((own) => describe(own, flags)).join('\n\n');
  // No length is too long for some designs; JSON has no number for that.
  const studiesJson = advice.map(({ designs, ...own }) => ({
    ...own,
    designs: designs.map(({ longest, ...design }) => ({
      ...design,
      longest: longest === Infinity ? 'any' : longest,
    })),
  }));
  new Output(context, flags).result(text, { event: 'advice', request, studies: studiesJson });
}

function describe(advice: StudyAdvice & { readonly folder: string }, flags: Flags): string {
  const { folder, title, setting, answer, designs, sureness, settle, measure, basis } = advice;
  const heading = `${folder}: ${title}${setting === '' ? '' : ` (${setting})`}`;
  const hasBudget = flags.kvBudget !== undefined;
  const head = [
    ...['design', 'fits', 'size', 'parameters', `cache at ${formatCount(flags.context)}`],
    ...(hasBudget ? ['longest in budget'] : []),
    ...(flags.flops === undefined ? [] : ['tokens for the FLOPs']),
    ...[`${measure}${basis === 'law' ? ' by law' : ''} (95 %)`, 'less the first (95 %)', 'seeds'],
  ];
  const rows = designs.map((design) => rowOf(design, flags));
  const table = textTable([head, ...rows], new Set(head.map((_, i) => i).slice(3)));
  const why = designs.flatMap(({ label, why: reason }) =>
    reason === null ? [] : [`${label} does not fit: ${reason}.`],
  );
  const part = (title: string, lines: readonly string[]) =>
    lines.length === 0 ? [] : [`${title}\n${lines.map((line) => `  ${line}`).join('\n')}`];
  return [
    ...[heading, answer, table, ...part('Left out', why)],
    ...[...part('How sure', sureness), ...part('What would settle it', settle)],
  ].join('\n\n');
}

function rowOf(design: AdvisedDesign, { kvBudget, flops }: Flags): string[] {
  const { label, fits, model, cacheBytes, longest, tokens, value, interval, toFirst, seeds } = design;
  const number = (x: number) => (Math.abs(x) < 1 ? x.toFixed(3) : x.toFixed(4));
  const band = (own: { readonly low: number; readonly high: number } | null) =>
    own === null ? '' : ` (${number(own.low)} to ${number(own.high)})`;
  const length = longest === null ? '-' : longest === Infinity ? 'any' : formatCount(longest);
  const apart =
    toFirst?.meanDifference == null
      ? '-'
      : `${number(toFirst.meanDifference)}${band(toFirst.interval)}${wordOf(toFirst.finding)}`;
  return [
    ...[label, fits ? 'yes' : 'no', model === null ? '-' : `${model.layers} x ${model.hiddenSize}`],
    ...[model === null ? '-' : formatTokens(model.parameters), cacheBytes === null ? '-' : formatBytes(cacheBytes)],
    ...(kvBudget === undefined ? [] : [length]),
    ...(flops === undefined ? [] : [tokens === null ? '-' : formatTokens(tokens)]),
    ...[value === null ? '-' : `${number(value)}${band(interval)}`, apart, String(seeds)],
  ];
}

const wordOf = (finding: NonNullable<AdvisedDesign['toFirst']>['finding']): string =>
  ({ a: ', shown', b: ', shown', none: ', none shown', few: ', too few seeds', unknown: ', one seed' })[finding];
