/**
 * The report of a study or a run: `report.html` (one self-contained page), `report.json` (everything on the page, with
 * the plotted series) and `report.csv` (one line a run). All three are views of one analysis.
 */
import { z } from 'zod';
import type { ScalingOptions } from '../analysis/index.js';
import { formatBins, formatCount, formatTokens, list, LongsightError, plural, writeFileAtomic } from '../core/index.js';
import { printPattern } from '../model/index.js';
import { allRuns, analyzeRun, analyzeStudy, viewOf, type Analyzed, type Group } from './report-data.js';
import { csvOf } from './csv.js';
import { details, escapeHtml, pageHtml, table } from './html.js';
import {
  type CompareOptions,
  QUESTIONS,
  readPlan,
  readRun,
  runFolder,
  type RunRecord,
  type RunSummary,
  tokenBudget,
  type Verdict,
} from '../study/index.js';
import { toYaml } from '../lab/index.js';
import { seriesStyles, type SeriesStyle } from './plot.js';
import { drawnDesigns } from './curves.js';
import { needleCheckpointsFigure, needleFigure } from './head-maps.js';
import { groupFigures } from './plots.js';
import { measureCells } from './measured.js';
import { mechanismFigures } from './mechanism-plots.js';
import {
  FITTED,
  FITTED_MEASURES,
  fitStudy,
  impliedFigures,
  scalingFigure,
  scalingTable,
  withoutRuns,
} from './scaling.js';
import { timeOf, timeTable } from './time.js';
import { isRunFolder, reportPaths } from '../run/index.js';

/** The paths of a report's files. */
export interface ReportFiles {
  readonly html: string;
  readonly json: string;
  readonly csv: string;
}

/** How the report says that it can be made again. */
export interface ReportOptions {
  /** The commands, one a line. */
  readonly repeat: readonly string[];
}

/** Profiles take minutes and are left to `longsight fit`. */
const SCALING: ScalingOptions = { form: 'no_constant', resamples: 100, profiles: false };

/** Analyses the runs that a study folder holds so far. */
export function analyzeStudyFolder(dir: string): Analyzed {
  const plan = readPlan(dir);
  const folders = plan.runs.map((run) => [run.name, runFolder(dir, run.name)] as const);
  const records = new Map<string, RunRecord>();
  const unreadable = new Map<string, string>();
  for (const [name, folder] of folders.filter(([, path]) => isRunFolder(path))) {
    try {
      records.set(name, readRun(folder));
    } catch (error) {
      // One damaged run must not hide the others; the report says which it is, and why.
      if (!(error instanceof LongsightError)) throw error;
      unreadable.set(name, error.message);
    }
  }
  return analyzeStudy(plan, records, unreadable);
}

/** The report's data of one run folder. */
export function analyzeRunFolder(dir: string): Analyzed {
  return analyzeRun(readRun(dir));
}

/** Writes the three files into `dir`. Throws `StoreError` where it cannot. */
export function writeReport(dir: string, analyzed: Analyzed, options: ReportOptions): ReportFiles {
  const files = reportPaths(dir);
  writeFileAtomic(files.json, JSON.stringify(reportJson(analyzed)) + '\n');
  writeFileAtomic(files.csv, csvOf(analyzed.analysis));
  writeFileAtomic(files.html, reportHtml(analyzed, options));
  return files;
}

/** The analysis with the series that the plots draw: by run, by metric, `[tokens, value]`. */
export function reportJson({ analysis, records }: Analyzed): Record<string, unknown> {
  const curves = [...records].map(([name, { metrics }]) => {
    const series = [...metrics].filter(([metric]) => metric.startsWith('eval/') || metric === 'train/loss');
    return [
      name,
      Object.fromEntries(series.map(([m, points]) => [m, points.map((p) => [p.tokens, p.value])])),
    ] as const;
  });
  const heads = [...records].map(([name, record]) => [name, record.heads] as const);
  const needles = [...records].map(([name, record]) => [name, record.evals.at(-1)?.needle ?? null] as const);
  return {
    ...analysis,
    curves: Object.fromEntries(curves),
    heads: Object.fromEntries(heads),
    needles: Object.fromEntries(needles),
    scaling: FITTED_MEASURES.flatMap((measure) =>
      fitStudy({ analysis, records }, SCALING, measure).map(({ label, result: { bootstrap, ...rest } }) => ({
        ...{ label, measure, intervals: bootstrap?.intervals ?? null },
        ...rest,
      })),
    ),
    findings: Object.fromEntries([...records].map(([name, record]) => [name, record.findings])),
    times: Object.fromEntries([...records].map(([name, record]) => [name, timeOf(record)])),
  };
}

/** The page. */
export function reportHtml(analyzed: Analyzed, options: ReportOptions): string {
  const { analysis } = analyzed;
  const styles = seriesStyles(analysis.architectures.map((a) => a.label));
  const groups = analysis.groups.map((group) => groupHtml(group, analyzed, styles)).join('');
  const body = `${groups}${scalingHtml(analyzed)}${methodHtml(analyzed)}${environmentHtml(analyzed, options)}`;
  return pageHtml({ title: analysis.title, lead: analysis.question, overview: overview(analyzed), body });
}

/** The pieces of a report as HTML, empty where there is nothing to show. */
export interface ReportParts {
  /** One sentence: what was run. */
  readonly overview: string;
  readonly answers: string;
  readonly needles: string;
  readonly mechanism: string;
  readonly fits: string;
  readonly numbers: string;
}

/**
 * A report in pieces, for pages that show one at a time; the same figures and tables as on the page.
 *
 * @param options `designs` is an order of designs from which they have their colors; those that it lacks come after it.
 * `without` names runs that laws are fitted without
 */
export function reportParts(
  analyzed: Analyzed,
  { designs = [], without = [] }: { readonly designs?: readonly string[]; readonly without?: readonly string[] } = {},
): ReportParts {
  const { analysis } = analyzed;
  const styles = seriesStyles([...new Set([...designs, ...analysis.architectures.map((a) => a.label)])]);
  const ofGroups = (draw: (group: Group, ended: ReturnType<typeof drawnDesigns>) => string): string =>
    analysis.groups
      .map((group) => {
        const html = draw(group, drawnDesigns(allRuns(group), analyzed, styles));
        const title = group.title === '' || analysis.kind === 'run' ? '' : `<h2>${escapeHtml(group.title)}</h2>`;
        return html === '' ? '' : `<section>${title}${html}</section>`;
      })
      .join('');
  const figures = (html: string): string => (html === '' ? '' : `<div class="figures">${html}</div>`);
  return {
    overview: overview(analyzed),
    answers: ofGroups((group) => notes(group, analysis.kind) + verdictsHtml(group, analysis.kind)),
    needles: ofGroups((_, drawn) => figures(needleFigure(drawn) + needleCheckpointsFigure(drawn))),
    mechanism: ofGroups((group, drawn) => figures(mechanismFigures(group, drawn))),
    fits: scalingHtml(withoutRuns(analyzed, without)),
    numbers: ofGroups((group) => numbersTable(group, analysis.compare)),
  };
}

/** Scaling laws of designs whose runs differ in size and tokens; nothing for other studies. */
function scalingHtml(analyzed: Analyzed): string {
  return FITTED_MEASURES.map((measure) => {
    const fits = fitStudy(analyzed, SCALING, measure);
    if (fits.length === 0) return '';
    const { about } = FITTED[measure];
    const figures = `<div class="figures">${scalingFigure(fits, about)}${impliedFigures(fits)}</div>`;
    return `<section><h2>By size and tokens: ${escapeHtml(about)}</h2>${figures}${scalingTable(fits)}</section>`;
  }).join('');
}

/** One sentence: what was run. */
export function overview({ analysis, records }: Analyzed): string {
  const runs = [...records.values()];
  const done = runs.filter((run) => run.status.state === 'done').length;
  const seeds = new Set(runs.map((run) => run.seed)).size;
  const budgets = [...new Set(runs.map((run) => tokenBudget(run)))].sort((a, b) => a - b);
  const sizes = [...new Set(analysis.groups.flatMap((g) => allRuns(g).map((r) => r.parameters)))].sort((a, b) => a - b);
  const size = sizes.length === 0 ? '' : `, ${list(sizes.map((n) => formatTokens(n)))} parameters`;
  const tokens = budgets.length === 0 ? '' : `, ${list(budgets.map((n) => `${formatTokens(n)} tokens`))} a run`;
  if (analysis.kind === 'run') {
    const state = runs[0]?.status.state ?? 'unknown';
    return `${analysis.architectures[0]?.layers}${size}${tokens}, seed ${runs[0]?.seed}; ${state}.${startedFrom(runs)}${trainedBy(runs)}`;
  }
  const designs = plural(analysis.architectures.length, 'design');
  const planned = analysis.groups.reduce((sum, group) => sum + group.runs.length + group.unfinished.length, 0);
  const finished = planned === done ? plural(done, 'run') : `${done} of ${plural(planned, 'run')} finished`;
  return `${designs}${seeds === 0 ? '' : `, ${plural(seeds, 'seed')}`}, ${finished}${size}${tokens}.${startedFrom(runs)}${trainedBy(runs)}`;
}

const startSchema = z.looseObject({ init: z.looseObject({ folder: z.string() }) });

/** A sentence about runs that start from another model's weights; empty where none does. */
function startedFrom(runs: readonly RunRecord[]): string {
  const folders = runs.map(({ train }) => startSchema.safeParse(train).data?.init.folder ?? null);
  const sources = [...new Set(folders)].flatMap((folder) => folder ?? []);
  if (sources.length === 0) return '';
  const which = folders.includes(null)
    ? `${folders.filter((folder) => folder !== null).length} of them start`
    : runs.length === 1
      ? 'It starts'
      : 'They start';
  return ` ${which} from the weights of ${list(sources)}.`;
}

const optimizerSchema = z.looseObject({ optimizer: z.string().default('adamw') });

/** A sentence about runs that another optimizer than AdamW trains; empty where none does. */
function trainedBy(runs: readonly RunRecord[]): string {
  const names = runs.map(({ train }) => optimizerSchema.safeParse(train).data?.optimizer ?? 'adamw');
  const others = [...new Set(names)].filter((name) => name !== 'adamw');
  return others
    .map((name) => {
      const count = names.filter((own) => own === name).length;
      const which =
        count < runs.length
          ? `${count} of them ${count === 1 ? 'is' : 'are'}`
          : runs.length === 1
            ? 'It is'
            : 'They are';
      return ` ${which} trained by ${name}.`;
    })
    .join('');
}

function groupHtml(group: Group, analyzed: Analyzed, styles: readonly SeriesStyle[]): string {
  const { analysis } = analyzed;
  const designs = drawnDesigns(allRuns(group), analyzed, styles);
  // What is drawn as an end is of finished runs.
  const ended = drawnDesigns(group.runs, analyzed, styles);
  const { hero, others } = groupFigures(group, designs, ended, analysis.compare);
  const figures = others.join('');
  const mechanism = mechanismFigures(group, ended);
  const title = group.title === '' || analysis.kind === 'run' ? '' : `<h2>${escapeHtml(group.title)}</h2>`;
  const first = hero === '' ? '' : `${legend(analyzed, designs)}<div class="figures">${hero}</div>`;
  const drawn = figures === '' ? '' : `<h2>Figures</h2><div class="figures">${figures}</div>`;
  const found = mechanism === '' ? '' : `<h2>The mechanism</h2><div class="figures">${mechanism}</div>`;
  return `<section>${title}${first}${notes(group, analysis.kind)}${verdictsHtml(group, analysis.kind)}${drawn}${found}<h2>Numbers</h2>${numbersTable(group, analysis.compare)}</section>`;
}

/** What states are called of runs that have not finished; a process that was killed leaves `running` behind. */
const STATES: Readonly<Record<string, string>> = { running: 'begun' };

/** `begun: a (31 %), b (30 %); not started: c`: every state once, and every message, with the runs that it is about. */
function unfinishedRuns(unfinished: Group['unfinished']): string {
  const groups = new Map<string, string[]>();
  for (const { name, state, message, soFar } of unfinished) {
    const what = `${STATES[state] ?? state}${message === null ? '' : `, ${message}`}`;
    const share = soFar === null || state === 'failed' ? '' : ` (${Math.floor((100 * soFar.tokens) / soFar.budget)} %)`;
    groups.set(what, [...(groups.get(what) ?? []), `${name}${share}`]);
  }
  return [...groups].map(([what, names]) => `${what}: ${names.join(', ')}`).join('; ');
}

/** Whether runs of a group are still to come: what has finished may then say something else in the end. */
const isPreliminary = ({ unfinished }: Group): boolean => unfinished.some(({ state }) => state !== 'failed');

function notes(group: Group, kind: 'study' | 'run'): string {
  const { unfinished, runs, largestWindow, beyond, bins, far } = group;
  const out: string[] = [];
  if (unfinished.length > 0) {
    const counted = `${runs.length} of ${plural(runs.length + unfinished.length, 'run')} finished so far. `;
    const lead = kind === 'run' ? 'Not finished' : `${isPreliminary(group) ? counted : ''}Runs left out of comparisons`;
    out.push(`${lead}: ${unfinishedRuns(unfinished)}.`);
  }
  if (bins.length > 0 && !beyond)
    out.push(
      largestWindow === null
        ? `No design has a window; far recall is that at ${formatBins(far)}.`
        : `No measured distance lies beyond the window of ${largestWindow}; far recall is that at ${formatBins(far)}.`,
    );
  if (runs.length === 0) out.push('No run has finished yet.');
  return out.map((text) => `<p class="note">${escapeHtml(text)}</p>`).join('');
}

const BADGES: Readonly<Record<Verdict['outcome'], string>> = {
  shown: 'difference',
  none: 'none shown',
  few: 'too few seeds',
  open: 'not judged',
};

function verdictsHtml(group: Group, kind: 'study' | 'run'): string {
  const { verdicts } = group;
  const topics = (Object.keys(QUESTIONS) as Verdict['topic'][]).filter((t) => verdicts.some((v) => v.topic === t));
  if (topics.length === 0) return '';
  const soFar = kind === 'study' && isPreliminary(group);
  const blocks = topics.map((topic) => {
    const items = verdicts
      .filter((v) => v.topic === topic)
      .map(({ outcome, lead, text }) => {
        const badge = soFar
          ? `<span class="badge open">${BADGES[outcome]} so far</span>`
          : `<span class="badge ${outcome}">${BADGES[outcome]}</span>`;
        return `<li>${badge}<span><strong>${escapeHtml(lead)}</strong> ${escapeHtml(text)}</span></li>`;
      });
    return `<div class="question"><h3>${escapeHtml(QUESTIONS[topic])}</h3><ul>${items.join('')}</ul></div>`;
  });
  const title = soFar ? 'What the finished runs say so far' : 'What the runs say';
  const warning = soFar
    ? '<p class="note">Not final: runs are still to come, and may change every answer below.</p>'
    : '';
  return `<h2>${title}</h2>${warning}<div class="questions">${blocks.join('')}</div>`;
}

function legend({ analysis }: Analyzed, designs: ReturnType<typeof drawnDesigns>): string {
  const layersOf = new Map(analysis.architectures.map((a) => [a.label, a.layers]));
  const items = designs.map(({ style }) => {
    const dash = style.dash === undefined ? '' : ` stroke-dasharray="${style.dash}"`;
    const key = `<svg width="26" height="10" aria-hidden="true"><line x1="0" x2="26" y1="5" y2="5" stroke="${style.color}" stroke-width="3"${dash}/></svg>`;
    const layers = layersOf.get(style.label) === style.label ? '' : (layersOf.get(style.label) ?? '');
    return (
      `<button type="button" data-series="${style.className}" aria-pressed="true" title="show or hide">${key}` +
      `<span>${escapeHtml(style.label)}</span><span class="layers">${escapeHtml(layers)}</span></button>`
    );
  });
  return `<div class="legend" role="group" aria-label="Designs">${items.join('')}</div>`;
}

function numbersTable(group: Group, compare: CompareOptions): string {
  const all = allRuns(group);
  const columns: [string, (run: RunSummary) => string][] = [['seed', (run) => String(run.seed)]];
  // What all runs share stands at the top of the page.
  const differ = (of: (run: RunSummary) => number) => new Set(all.map(of)).size > 1;
  if (group.runs.length < all.length) columns.push(['state', ({ state }) => STATES[state] ?? state]);
  if (differ((run) => run.parameters)) columns.push(['parameters', (run) => formatCount(run.parameters)]);
  if (differ((run) => run.tokens)) columns.push(['tokens', (run) => formatTokens(run.tokens)]);
  for (const { name, of } of measureCells(all, viewOf(group, compare))) columns.push([name, of]);
  const beside = new Set(group.sideBySide);
  const speed = ({ name, tokPerSec }: RunSummary) =>
    tokPerSec === null ? '–' : `${formatCount(tokPerSec)}${beside.has(name) ? ' *' : ''}`;
  columns.push(['tokens per second', speed]);
  const rows = all.map((run) => [run.architecture, ...columns.map(([, of]) => of(run))]);
  const numeric = new Set(columns.flatMap(([name], i) => (['strongest head', 'state'].includes(name) ? [] : [i + 1])));
  const shared =
    beside.size === 0
      ? ''
      : '<p class="footnote">* Ran while other runs of the study did on the same machine: these speeds are not those of the designs, ' +
        'and are not to be compared.</p>';
  return table(['design', ...columns.map(([name]) => name)], rows, numeric) + shared;
}

function methodHtml({ analysis }: Analyzed): string {
  const group = analysis.groups[0];
  const window = group?.largestWindow ?? null;
  const recall = (group?.bins.length ?? 0) > 0;
  const { threshold, minLossDifference, minRecallDifference } = analysis.compare;
  const paragraphs = [
    'A window of w means that a query sees w keys, its own included.',
    ...(recall
      ? [
          'Recall is the mean probability of the right value after a key that was seen before; its distance is the number of ' +
            `tokens since the key was last used. Far recall is the mean over ${formatBins(group?.far ?? [])}` +
            (group?.beyond === true ? `, all beyond the largest window compared (${window}).` : '.') +
            ` Tokens to the threshold are counted to the first evaluation at or above ${threshold}; mean far recall is the ` +
            'area under its curve divided by the tokens.',
        ]
      : []),
    ...(analysis.kind === 'study'
      ? [
          analysis.rule,
          `Smallest differences of interest: ${minRecallDifference} in recall, ${minLossDifference} nats in loss.`,
        ]
      : []),
  ];
  return `<section><h2>How to read this</h2>${paragraphs.map((text) => `<p>${escapeHtml(text)}</p>`).join('')}</section>`;
}

function environmentHtml({ analysis, records }: Analyzed, { repeat }: ReportOptions): string {
  const rows = Object.entries(analysis.environment).flatMap(([part, values]) =>
    Object.entries(values as Record<string, unknown>).map(([key, value]) => [part, key, showValue(value)]),
  );
  const first = [...records.values()][0];
  const config =
    first === undefined
      ? ''
      : details(`Configuration of run ${first.name}`, `<pre>${escapeHtml(toYaml(compact(first)))}</pre>`);
  const commands = `<pre>${escapeHtml(repeat.join('\n'))}</pre>`;
  const times = timeTable(records);
  const time = times === '' ? '' : details('Where runs ran, and seconds by what they did', times);
  return (
    `<section><h2>How to repeat this</h2>${commands}${config}${time}` +
    `<h2>Environment</h2>${table(['', 'item', 'value'], rows, new Set())}</section>`
  );
}

/** A run's configuration with its layers in the short form. */
function compact({ config, model }: RunRecord): unknown {
  const { layers: _, ...rest } = model;
  return { ...config, model: { ...rest, layers: printPattern(model.layers) } };
}

function showValue(value: unknown): string {
  if (Array.isArray(value)) return value.map(showValue).join('; ');
  return typeof value === 'string' ? value : JSON.stringify(value);
}
