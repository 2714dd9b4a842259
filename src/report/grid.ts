/** A grid of settings at one look: a map and a table over all points, the best setting of each design, the effects. */
import { capitalized, maxOf, meanOf, minOf, significant } from '../core/index.js';
import type { FigureView } from '../lab/index.js';
import type { CompareOptions, RunSummary } from '../study/index.js';
import { effectsOf, type Effects, type GridValue } from './effects.js';
import { escapeHtml, table } from './html.js';
import { outcomeOf } from './measured.js';
import { viewOf, type Analysis, type Group } from './report-data.js';

/** What settings are judged by. */
interface Judged {
  /** In the middle of a sentence. */
  readonly name: string;
  readonly of: (run: RunSummary) => number | null;
  readonly isHighBest: boolean;
}

/** A design at one point of the grid. */
interface Cell {
  readonly design: string;
  /** The place of its point. */
  readonly at: number;
  readonly values: readonly number[];
  readonly mean: number;
  readonly loss: number | null;
}

/** A grid: points in the order of the study, and what each design came to at each. */
export interface Grid {
  readonly arm: Group['arm'];
  readonly points: readonly string[];
  readonly designs: readonly string[];
  readonly judged: Judged;
  readonly cells: readonly Cell[];
  /** What varies: designs, then the settings of the grid; fewer than two levels are left out. */
  readonly factors: readonly {
    readonly name: string;
    readonly levels: readonly string[];
    readonly of: (cell: Cell) => string;
  }[];
  readonly effects: Effects | null;
}

/** `lr = 0.004, window = 8`: the last parts of the paths say what is set. */
function pointName(point: Group['point']): string {
  return Object.entries(point)
    .map(([path, value]) => `${nameOf(path)} = ${textOf(value)}`)
    .join(', ');
}

const nameOf = (path: string): string => path.split('.').at(-1) ?? path;
const textOf = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));

function judgedBy(groups: readonly Group[], compare: CompareOptions): Judged {
  const runs = groups.flatMap((group) => group.runs);
  const outcome = outcomeOf(runs);
  const [first] = groups;
  // Where no setting has recalled anything yet, the loss tells them apart.
  const values = outcome === null ? [] : runs.flatMap((run) => outcome.of(run) ?? []);
  if (outcome === null || first === undefined || maxOf(values) - minOf(values) < compare.minRecallDifference)
    return { name: 'held-out loss at the end (nats)', of: (run) => run.finalLoss, isHighBest: false };
  const view: FigureView = { ...viewOf(first, compare), beyond: first.beyond, chance: first.chance };
  return { name: `${outcome.name(view)} at the end`, of: outcome.of, isHighBest: true };
}

/** The grids of a study, one for each arm that has several points. */
export function gridsOf({ groups, compare, architectures }: Analysis): Grid[] {
  return (['main', 'long'] as const).flatMap((arm) => {
    const own = groups.filter((group) => group.arm === arm);
    return own.length < 2
      ? []
      : [
          gridOf(
            arm,
            own,
            compare,
            architectures.map(({ label }) => label),
          ),
        ];
  });
}

function gridOf(arm: Grid['arm'], groups: readonly Group[], compare: CompareOptions, labels: readonly string[]): Grid {
  const judged = judgedBy(groups, compare);
  const cells = labels.flatMap((design) =>
    groups.flatMap(({ runs }, at): Cell[] => {
      const own = runs.filter((run) => run.architecture === design);
      const values = own.flatMap((run) => judged.of(run) ?? []);
      if (values.length === 0) return [];
      const losses = own.flatMap((run) => run.finalLoss ?? []);
      return [{ design, at, values, mean: meanOf(values), loss: losses.length === 0 ? null : meanOf(losses) }];
    }),
  );
  const designs = labels.filter((label) => cells.some((cell) => cell.design === label));
  const paths = [...new Set(groups.flatMap(({ point }) => Object.keys(point)))];
  const settings = paths.map((path) => ({
    name: nameOf(path),
    levels: [...new Set(groups.map(({ point }) => textOf(point[path] ?? null)))],
    of: (at: number) => textOf(groups[at]?.point[path] ?? null),
  }));
  const all = [
    { name: 'design', levels: designs, of: ({ design }: Cell) => design },
    ...settings.map(({ name, levels, of }) => ({ name, levels, of: ({ at }: Cell) => of(at) })),
  ].filter(({ levels }) => levels.length > 1);
  const values = cells.flatMap((cell): GridValue[] => {
    const levels = all.map(({ levels: names, of }) => names.indexOf(of(cell)));
    return cell.values.map((value) => ({ levels, value }));
  });
  const sizes = all.map(({ levels }) => levels.length);
  const points = groups.map(({ point }) => pointName(point));
  return { arm, points, designs, judged, cells, factors: all, effects: effectsOf(values, sizes) };
}

/** The cells of a design, best first. */
function ranked({ cells, judged }: Grid, design: string): Cell[] {
  const sign = judged.isHighBest ? -1 : 1;
  return cells.filter((cell) => cell.design === design).sort((x, y) => sign * (x.mean - y.mean));
}

const percent = (share: number): string => `${Math.round(100 * share)} %`;

/** What a grid says in two sentences: the best setting of the best designs, and what the spread goes with. */
export function gridHeadline(grid: Grid): string {
  const sign = grid.judged.isHighBest ? -1 : 1;
  const best = grid.designs
    .flatMap((design) => ranked(grid, design)[0] ?? [])
    .sort((x, y) => sign * (x.mean - y.mean))
    .slice(0, 3)
    .map(({ design, at, mean }) => `${design} at ${grid.points[at]} (${significant(mean)})`);
  if (best.length === 0) return '';
  const { effects, factors } = grid;
  const spread =
    effects === null
      ? ''
      : ` Of the spread over all runs, ${factors.map(({ name }, i) => `${percent(effects.main[i] ?? 0)} goes with ${name === 'design' ? 'the design' : name}`).join(', ')}, ` +
        `${percent(effects.seeds)} with the seed${factors.length > 1 ? '; the rest with combinations of settings' : ''}.`;
  return `Best ${grid.judged.name} over ${grid.points.length} settings: ${best.join('; ')}.${spread}`;
}

/** The map, the best settings, the effects, and every cell as a table. */
export function gridHtml(grid: Grid): string {
  return (
    `<div class="question"><h3>${escapeHtml(capitalized(grid.judged.name))}, mean over seeds</h3>${mapHtml(grid)}` +
    '<p class="footnote">Darker is better; outlined is the best setting of each design. Settings are compared by what they ended at, ' +
    'and the best of several looks better than it is: part of its lead is chance.</p></div>' +
    `<div class="question"><h3>The best setting of each design</h3>${bestTable(grid)}</div>` +
    `<div class="question"><h3>What the spread goes with</h3>${effectsHtml(grid)}</div>` +
    `<details><summary>Every design at every setting</summary>${cellTable(grid)}</details>`
  );
}

/** A row a design, a column a point; long lists of points stand in rows. */
function mapHtml(grid: Grid): string {
  const { points, designs, cells, judged } = grid;
  const means = cells.map(({ mean }) => mean);
  const [low, high] = [minOf(means), maxOf(means)];
  const isWide = points.length <= designs.length || points.length <= 8;
  const best = new Map(designs.map((design) => [design, ranked(grid, design)[0]]));
  const cellOf = (design: string, at: number): string => {
    const cell = cells.find((own) => own.design === design && own.at === at);
    if (cell === undefined) return '<td class="cell">–</td>';
    const rank = high > low ? (cell.mean - low) / (high - low) : 0.5;
    const share = Math.round(100 * (judged.isHighBest ? rank : 1 - rank));
    const mark = best.get(design) === cell ? ' best' : '';
    const range = `${significant(minOf(cell.values))} to ${significant(maxOf(cell.values))}`;
    const about = `${design}, ${points[at]}: ${range} over ${cell.values.length} seeds`;
    return `<td class="cell${share > 55 ? ' on' : ''}${mark}" style="--share:${share}%" title="${escapeHtml(about)}">${significant(cell.mean)}</td>`;
  };
  const [rows, columns] = isWide ? [designs, points] : [points, designs];
  const head = columns.map((name) => `<th scope="col">${escapeHtml(name)}</th>`).join('');
  const body = rows.map((name, i) => {
    const own = columns.map((other, j) => (isWide ? cellOf(name, j) : cellOf(other, i)));
    return `<tr><th scope="row">${escapeHtml(name)}</th>${own.join('')}</tr>`;
  });
  return `<div class="scroll"><table class="map"><thead><tr><td></td>${head}</tr></thead><tbody>${body.join('')}</tbody></table></div>`;
}

const spanOf = ({ mean, values }: Cell): string =>
  values.length === 1
    ? significant(mean)
    : `${significant(mean)} (${significant(minOf(values))} to ${significant(maxOf(values))})`;

function bestTable(grid: Grid): string {
  const rows = grid.designs.map((design) => {
    const [first, second] = ranked(grid, design);
    const about = (cell: Cell | undefined) =>
      cell === undefined ? ['–', '–'] : [grid.points[cell.at] ?? '', spanOf(cell)];
    return [design, ...about(first), ...about(second), first?.loss == null ? '–' : first.loss.toFixed(4)];
  });
  const head = ['design', 'best', 'over seeds', 'second', 'over seeds', 'held-out loss of the best (nats)'];
  return table(head, rows, new Set([2, 4, 5]));
}

/** Means of each level, and shares of the spread; a grid with holes has no shares. */
function effectsHtml({ factors, cells, effects, judged }: Grid): string {
  const shares = effects === null ? null : effects.main;
  const rows = factors.map(({ name, levels, of }, i) => {
    const means = levels.map((level) => {
      const own = cells.filter((cell) => of(cell) === level);
      return `${level}: ${own.length === 0 ? '–' : significant(meanOf(own.map(({ mean }) => mean)))}`;
    });
    return [name, means.join('; '), shares === null ? '–' : percent(shares[i] ?? 0)];
  });
  const pairs = (effects?.pairs ?? []).map(({ a, b, share }) => [
    `${factors[a]?.name} with ${factors[b]?.name}`,
    'how far the effect of the one depends on the other (interaction)',
    percent(share),
  ]);
  const rest =
    effects === null
      ? []
      : [
          ...(factors.length > 2 ? [['three and more together', '', percent(effects.higher)]] : []),
          ['seed', 'runs that differ in nothing else', percent(effects.seeds)],
        ];
  const note =
    effects === null
      ? '<p class="footnote">Shares need a grid without holes, with as many finished seeds in each cell.</p>'
      : `<p class="footnote">Shares of the sum of squares of ${escapeHtml(judged.name)} over all runs.</p>`;
  return (
    table(['factor', 'mean of each level', 'share of the spread'], [...rows, ...pairs, ...rest], new Set([2])) + note
  );
}

function cellTable(grid: Grid): string {
  const rows = grid.designs.flatMap((design) =>
    ranked(grid, design).map((cell) => [
      ...[design, grid.points[cell.at] ?? '', String(cell.values.length), spanOf(cell)],
      cell.loss === null ? '–' : cell.loss.toFixed(4),
    ]),
  );
  return table(['design', 'setting', 'seeds', grid.judged.name, 'held-out loss (nats)'], rows, new Set([2, 3, 4]));
}
