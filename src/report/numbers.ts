/** The table of numbers of a report: a line a run, and below a line a design with the means over its seeds. */
import { formatCount, formatTokens } from '../core/index.js';
import type { CompareOptions, RunSummary } from '../study/index.js';
import { escapeHtml } from './html.js';
import { measureCells } from './measured.js';
import { allRuns, viewOf, type Group } from './report-data.js';

/** What states are called of runs that have not finished; a process that was killed leaves `running` behind. */
export const STATES: Readonly<Record<string, string>> = { running: 'begun' };

/** Where the files of a run are, as a relative address; null where the page has none. */
export type RunLink = (run: string) => string | null;

/** A column: its heading, its cells, whether it is set right. */
interface Column {
  readonly name: string;
  readonly of: (run: RunSummary) => string;
  readonly isText?: boolean;
}

function columnsOf(group: Group, all: readonly RunSummary[], compare: CompareOptions): Column[] {
  // What all runs share stands at the top of the page.
  const differ = (of: (run: RunSummary) => number) => new Set(all.map(of)).size > 1;
  const beside = new Set(group.sideBySide);
  const speed = ({ name, tokPerSec }: RunSummary) =>
    tokPerSec === null ? '–' : `${formatCount(tokPerSec)}${beside.has(name) ? ' *' : ''}`;
  const isUnfinished = group.runs.length < all.length;
  return [
    { name: 'seed', of: (run) => String(run.seed) },
    ...(isUnfinished ? [{ name: 'state', of: ({ state }: RunSummary) => STATES[state] ?? state, isText: true }] : []),
    ...(differ((run) => run.parameters)
      ? [{ name: 'parameters', of: (run: RunSummary) => formatCount(run.parameters) }]
      : []),
    ...(differ((run) => run.tokens) ? [{ name: 'tokens', of: (run: RunSummary) => formatTokens(run.tokens) }] : []),
    ...measureCells(all, viewOf(group, compare)).map((own) => ({ ...own, isText: own.name === 'strongest head' })),
    { name: 'tokens per second', of: speed },
  ];
}

/** Runs as rows; the first column leads to the files of a run where the page has them. */
export function numbersTable(group: Group, compare: CompareOptions, link: RunLink = () => null): string {
  const all = allRuns(group);
  const columns = columnsOf(group, all, compare);
  const side = ({ isText }: Column) => (isText === true ? '' : ' class="n"');
  const head = columns.map((own) => `<th scope="col"${side(own)}>${escapeHtml(own.name)}</th>`).join('');
  const rows = all.map((run) => {
    const to = link(run.name);
    const name = escapeHtml(run.architecture);
    const first = to === null ? name : `<a href="${escapeHtml(to)}" title="${escapeHtml(run.name)}">${name}</a>`;
    const cells = columns.map((own) => `<td${side(own)}>${escapeHtml(own.of(run))}</td>`).join('');
    return `<tr><td>${first}</td>${cells}</tr>`;
  });
  const shared =
    group.sideBySide.length === 0
      ? ''
      : '<p class="footnote">* Ran while other runs of the study did on the same machine: these speeds are not those of the designs, ' +
        'and are not to be compared.</p>';
  return (
    `<div class="scroll"><table class="sortable"><thead><tr><th scope="col">design</th>${head}</tr></thead>` +
    `<tbody>${rows.join('')}</tbody>${meansOf(group, columns, side)}</table></div>${shared}`
  );
}

/** Means over the finished seeds of each design, for columns of plain numbers. */
function meansOf({ runs }: Group, columns: readonly Column[], side: (column: Column) => string): string {
  const designs = [...new Set(runs.map((run) => run.architecture))];
  if (designs.length === runs.length) return '';
  const rows = designs.map((design) => {
    const own = runs.filter((run) => run.architecture === design);
    const cells = columns.map(
      (column) => `<td${side(column)}>${column.name === 'seed' ? '' : mean(own.map(column.of))}</td>`,
    );
    return `<tr><th scope="row">${escapeHtml(design)}, mean of ${own.length}</th>${cells.join('')}</tr>`;
  });
  return `<tfoot>${rows.join('')}</tfoot>`;
}

/** The mean of numbers as they are written, with as many decimals; empty where one is no plain number. */
function mean(cells: readonly string[]): string {
  if (!cells.every((cell) => /^-?\d+\.\d+$/.test(cell))) return '';
  const decimals = cells[0]?.split('.')[1]?.length ?? 0;
  return (cells.map(Number).reduce((a, b) => a + b, 0) / cells.length).toFixed(decimals);
}
