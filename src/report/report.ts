/**
 * The report of a study or a run: `report.html` (one self-contained page), `report.json` (everything on the page, with
 * the plotted series) and `report.csv` (one line a run). All three are views of one analysis.
 */
import { basename, dirname, relative, sep } from 'node:path';
import { z } from 'zod';
import type { ScalingOptions } from '../analysis/index.js';
import {
  canonicalJson,
  formatBins,
  formatTokens,
  list,
  LongsightError,
  plural,
  writeFileAtomic,
} from '../core/index.js';
import { environmentHtml, methodHtml } from './about.js';
import { allRuns, analyzeRun, analyzeStudy, type Analyzed, type Group } from './report-data.js';
import { answersHtml } from './answers.js';
import { csvOf } from './csv.js';
import { headlineOf } from './headline.js';
import { gridHeadline, gridHtml, gridsOf } from './grid.js';
import { details, escapeHtml, heading, pageHtml } from './html.js';
import { readPlan, readRun, runFolder, type RunRecord, tokenBudget } from '../study/index.js';
import { seriesStyles, type SeriesStyle } from './plot.js';
import { costFigures } from './cost-figure.js';
import { drawnDesigns } from './curves.js';
import { needleCheckpointsFigure, needleFigure } from './head-maps.js';
import { briefFigure, groupFigures } from './plots.js';
import { mechanismFigures } from './mechanism-plots.js';
import { numbersTable, STATES, type RunLink } from './numbers.js';
import { comparedHtml } from './pictures.js';
import {
  FITTED,
  FITTED_MEASURES,
  fitStudy,
  impliedFigures,
  scalingFigure,
  scalingTable,
  withoutRuns,
} from './scaling.js';
import { timeOf } from './time.js';
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
  /** What lies beside the page, which it links to; left out for a page that stands alone. */
  readonly files?: LinkedFiles;
}

/** Addresses relative to the page. */
interface LinkedFiles {
  readonly csv?: string;
  readonly json?: string;
  /** The folder of all runs. */
  readonly runs?: string;
  /** The folder of a run. */
  readonly run?: RunLink;
}

/** Profiles take minutes and are left to `longsight fit`. */
const SCALING: ScalingOptions = { form: 'no_constant', resamples: 100, profiles: false };

/**
 * Analyses the runs that a study folder holds so far.
 *
 * @param context tokens of the sequence that cache bytes are for (default: 65,536)
 */
export function analyzeStudyFolder(dir: string, context?: number): Analyzed {
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
  return analyzeStudy(plan, records, unreadable, context);
}

/** The report's data of one run folder. */
export function analyzeRunFolder(dir: string): Analyzed {
  return analyzeRun(readRun(dir));
}

/**
 * Writes the three files into `dir`. Throws `StoreError` where it cannot.
 *
 * @param folder the study or run folder itself, which the page links to; left out for a page without such links
 */
export function writeReport(
  dir: string,
  analyzed: Analyzed,
  { folder, repeat }: ReportOptions & { readonly folder?: string },
): ReportFiles {
  const files = reportPaths(dir);
  const linked = {
    ...{ csv: basename(files.csv), json: basename(files.json) },
    ...(folder === undefined ? {} : linksTo(analyzed, (path) => addressOf(relative(dir, path)), folder)),
  };
  writeFileAtomic(files.json, JSON.stringify(reportJson(analyzed)) + '\n');
  writeFileAtomic(files.csv, csvOf(analyzed.analysis));
  writeFileAtomic(files.html, reportHtml(analyzed, { repeat, files: linked }));
  return files;
}

function linksTo({ analysis, records }: Analyzed, address: (path: string) => string, folder: string): LinkedFiles {
  if (analysis.kind === 'run') return { runs: address(folder) };
  return {
    runs: address(dirname(runFolder(folder, 'run'))),
    run: (run) => (records.has(run) ? address(runFolder(folder, run)) : null),
  };
}

/** A relative path as an address. */
const addressOf = (path: string): string =>
  path === '' ? './' : `${path.split(sep).map(encodeURIComponent).join('/')}/`;

/** The analysis with the series that the plots draw: by run, by metric, `[tokens, value]`. */
export function reportJson(analyzed: Analyzed): Record<string, unknown> {
  const { analysis, records } = analyzed;
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
      fitStudy(analyzed, SCALING, measure).map(({ label, result: { bootstrap, ...rest } }) => ({
        ...{ label, measure, intervals: bootstrap?.intervals ?? null },
        ...rest,
      })),
    ),
    findings: Object.fromEntries([...records].map(([name, record]) => [name, record.findings])),
    times: Object.fromEntries([...records].map(([name, record]) => [name, timeOf(record)])),
  };
}

/** The page. */
export function reportHtml(analyzed: Analyzed, { repeat, files = {} }: ReportOptions): string {
  const { analysis } = analyzed;
  const labels = analysis.architectures.map((a) => a.label);
  const styles = seriesStyles(labels);
  const link: RunLink = (run) => files.run?.(run) ?? null;
  const [first] = analysis.groups;
  const soFar = analysis.kind === 'study' && analysis.groups.some(isPreliminary) ? 'So far: ' : '';
  const [grid] = gridsOf(analysis);
  const headline =
    first === undefined ? '' : grid === undefined ? headlineOf(first, labels, analysis.compare) : gridHeadline(grid);
  return pageHtml({
    ...{ title: analysis.title, lead: analysis.question, overview: overview(analyzed) },
    headline: headline === '' ? '' : `${soFar}${headline}`,
    links: [
      ...(files.csv === undefined ? [] : [['one line a run (CSV)', files.csv] as const]),
      ...(files.json === undefined ? [] : [['everything on this page (JSON)', files.json] as const]),
      ...(files.runs === undefined ? [] : [['the runs themselves', files.runs] as const]),
    ],
    body:
      `${introduction(analyzed, styles)}${gridsHtml(analyzed)}${groupsHtml(analyzed, styles, link)}${scalingHtml(analyzed)}${methodHtml(analyzed)}` +
      environmentHtml(analyzed, repeat),
  });
}

/** The pieces of a report as HTML, empty where there is nothing to show. */
export interface ReportParts {
  /** One sentence: what was run. */
  readonly overview: string;
  readonly answers: string;
  readonly needles: string;
  readonly mechanism: string;
  /** What designs cost and what they came to. */
  readonly costs: string;
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
    answers: ofGroups((group) => notes(group, analysis.kind) + answers(group, analysis.kind)),
    needles: ofGroups((_, drawn) => figures(needleFigure(drawn) + needleCheckpointsFigure(drawn))),
    mechanism: ofGroups((group, drawn) => figures(mechanismFigures(group, drawn))),
    costs: costsHtml(analyzed, styles),
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
    return `<section>${heading(`By size and tokens: ${about}`)}${figures}${scalingTable(fits)}</section>`;
  }).join('');
}

/** One sentence: what was run. */
export function overview({ analysis, records }: Analyzed): string {
  const runs = [...records.values()];
  const done = runs.filter((run) => run.status.state === 'done').length;
  const seeds = new Set(runs.map((run) => run.seed)).size;
  const budgets = [...new Set(runs.map((run) => tokenBudget(run)))].sort((a, b) => a - b);
  const sizes = [...new Set(analysis.groups.flatMap((g) => allRuns(g).map((r) => r.parameters)))].sort((a, b) => a - b);
  const size = sizes.length === 0 ? '' : `, ${list([...new Set(sizes.map((n) => formatTokens(n)))])} parameters`;
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

function groupHtml(group: Group, analyzed: Analyzed, styles: readonly SeriesStyle[], link: RunLink): string {
  const { analysis } = analyzed;
  const designs = drawnDesigns(allRuns(group), analyzed, styles);
  // What is drawn as an end is of finished runs.
  const ended = drawnDesigns(group.runs, analyzed, styles);
  const { hero, others } = groupFigures(group, designs, ended, analysis.compare);
  const mechanism = mechanismFigures(group, ended);
  const isTitled = group.title !== '' && analysis.kind !== 'run';
  const figures = (title: string, html: string) =>
    html === '' ? '' : `${heading(title)}<div class="figures">${html}</div>`;
  return (
    `<section>${isTitled ? heading(group.title) : ''}${legend(analyzed, designs)}` +
    `${hero === '' ? '' : `<div class="figures">${hero}</div>`}${notes(group, analysis.kind)}` +
    `${answers(group, analysis.kind)}${figures('Figures', others.join(''))}${figures('The mechanism', mechanism)}` +
    `${titled(COSTS, costFigures([group], styles, analysis.compare))}${heading('Numbers')}${numbersTable(group, analysis.compare, link)}</section>`
  );
}

/** The heading of what designs cost. */
const COSTS = 'What designs cost';

const titled = (title: string, html: string): string => (html === '' ? '' : `${heading(title)}${html}`);

/**
 * What designs cost and what they came to: of each group, or, where there are many, of all points of each arm together
 * if their runs were measured on the same data.
 */
function costsHtml({ analysis, records }: Analyzed, styles: readonly SeriesStyle[]): string {
  const { groups, compare } = analysis;
  if (groups.length <= MOST_WHOLE) {
    return groups
      .map((group) => {
        const html = costFigures([group], styles, compare);
        const title = group.title === '' || analysis.kind === 'run' ? '' : `<h3>${escapeHtml(group.title)}</h3>`;
        return html === '' ? '' : `<section>${title}${html}</section>`;
      })
      .join('');
  }
  return (['main', 'long'] as const)
    .map((arm) => {
      const own = groups.filter((group) => group.arm === arm);
      const measuredOn = new Set(
        own.flatMap(({ runs }) =>
          runs.flatMap(({ name }) => {
            const { config, train } = records.get(name) ?? {};
            return config === undefined ? [] : [canonicalJson([config['data'], config['eval'], train?.seqLen])];
          }),
        ),
      );
      const html = measuredOn.size === 1 ? costFigures(own, styles, compare) : '';
      return html === '' ? '' : `<section>${arm === 'long' ? '<h3>Long arm</h3>' : ''}${html}</section>`;
    })
    .join('');
}

/** With more groups than this, each is folded away and drawn in brief: what is to be seen first is the grid. */
const MOST_WHOLE = 2;

/** One of many points of a grid, folded away. */
function briefHtml(group: Group, analyzed: Analyzed, styles: readonly SeriesStyle[], link: RunLink): string {
  const { analysis } = analyzed;
  const designs = drawnDesigns(allRuns(group), analyzed, styles);
  const drawn = briefFigure(group, designs, analysis.compare, analysis.groups.length);
  const figures = drawn === '' ? '' : `<div class="figures">${drawn}</div>`;
  return details(
    group.title,
    `${notes(group, analysis.kind)}${figures}${answersHtml(group, isPreliminary(group))}${numbersTable(group, analysis.compare, link)}`,
  );
}

/** Every group as a whole, or, of many, each in brief. */
function groupsHtml(analyzed: Analyzed, styles: readonly SeriesStyle[], link: RunLink): string {
  const { groups } = analyzed.analysis;
  if (groups.length <= MOST_WHOLE) return groups.map((group) => groupHtml(group, analyzed, styles, link)).join('');
  const designs = drawnDesigns(groups.flatMap(allRuns), analyzed, styles);
  const brief = groups.map((group) => briefHtml(group, analyzed, styles, link)).join('');
  return `${titled(COSTS, costsHtml(analyzed, styles))}<section>${heading('Each setting')}${legend(analyzed, designs)}${brief}</section>`;
}

/** Maps and tables over the points of a grid; empty for a study without. */
function gridsHtml({ analysis }: Analyzed): string {
  const grids = gridsOf(analysis).filter(({ cells }) => cells.length > 0);
  return grids
    .map((grid) => {
      const title = `All settings${grid.arm === 'long' ? ', long arm' : ''}`;
      return `<section>${heading(title)}<div class="questions">${gridHtml(grid)}</div></section>`;
    })
    .join('');
}

/** What was compared: the task, the designs, the words. */
function introduction({ analysis, records, models }: Analyzed, styles: readonly SeriesStyle[]): string {
  const seeds = new Set([...records.values()].map(({ seed }) => seed)).size;
  const designs = styles.flatMap((style) => {
    const model = models.get(style.label);
    return model === undefined ? [] : [{ style, model }];
  });
  const html = comparedHtml(designs, [...records.values()], seeds);
  return html === ''
    ? ''
    : `<section>${heading(analysis.kind === 'run' ? 'The run' : 'What was compared')}${html}</section>`;
}

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

/** The answers with their heading, and a warning where runs are still to come. */
function answers(group: Group, kind: 'study' | 'run'): string {
  const isSoFar = kind === 'study' && isPreliminary(group);
  const html = answersHtml(group, isSoFar);
  if (html === '') return '';
  const warning = isSoFar
    ? '<p class="note">Not final: runs are still to come, and may change every answer below.</p>'
    : '';
  return `${heading(isSoFar ? 'What the finished runs say so far' : 'What the runs say')}${warning}${html}`;
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
