/** Grids as figures: retrieval-head scores (layer by head) over checkpoints, and needle grids (depth by length). */
import { RETRIEVAL_HEAD_SCORE } from '../analysis/index.js';
import { escapeHtml, figure } from './html.js';
import type { DrawnDesign } from './curves.js';
import type { RunEval, RunHeads, RunRecord } from '../study/index.js';
import { at, formatTokens, maxOf, wilson } from '../core/index.js';

/** Checkpoints shown side by side. */
const MAX_CHECKPOINTS = 6;
/** Grids wider than this many cells have smaller cells without numbers. */
const MAX_NUMBERED = 12;

interface Cell {
  readonly value: number | null;
  /** What the cell is, for its tooltip. */
  readonly name: string;
  /** Outlined, as a cell of note. */
  readonly marked?: boolean;
}

interface Grid {
  readonly title: string;
  /** What rows and columns are, for the names of the axes. */
  readonly axes: { readonly rows: string; readonly columns: string };
  readonly rows: readonly { readonly label: string; readonly cells: readonly Cell[] }[];
  readonly columns: readonly string[];
}

/** Head scores of every design at up to six checkpoints; the first seed in view, further seeds folded away. */
export function headMapFigure(designs: readonly DrawnDesign[]): string {
  const all = designs.flatMap((design) => design.runs.flatMap((run) => run.record.heads.flatMap((h) => h.layers)));
  const labelChars = Math.max(0, maxOf(all.map((layer) => rowLabel(layer).length)));
  const rows = designs.flatMap(({ style, runs }) => {
    const traced = runs.filter((run) => run.record.heads.length > 0);
    const [first, ...rest] = traced;
    if (first === undefined) return [];
    const more = rest.map(({ record }) => headRow(`${style.label}, seed ${record.seed}`, record, labelChars)).join('');
    const others = rest.length === 1 ? 'the other seed' : `${rest.length} more seeds`;
    const folded = more === '' ? '' : `<details><summary>${others}</summary>${more}</details>`;
    return [
      `<div class="${style.className}">${headRow(`${style.label}, seed ${first.record.seed}`, first.record, labelChars)}${folded}</div>`,
    ];
  });
  if (rows.length === 0) return '';
  return figure(
    'Retrieval heads over checkpoints',
    `<div class="maps">${scale('retrieval-head score')}${rows.join('')}</div>`,
    'Each square is an attention head, each row a layer with its place, counted from the input at the bottom, and what it sees. The score is the mean attention mass from the query ' +
      `position onto the needle; heads from ${RETRIEVAL_HEAD_SCORE} on are outlined. Heads have no order: which one ` +
      'becomes a retrieval head differs between seeds.',
    'wide',
  );
}

function headRow(label: string, record: RunRecord, labelChars: number): string {
  return gridRow(label, evenly(record.heads, MAX_CHECKPOINTS).map(headGrid), labelChars);
}

function rowLabel({ layer, label }: { layer: number; label: string }): string {
  return `${layer} ${label}`;
}

function headGrid({ tokens, layers }: RunHeads): Grid {
  const numHeads = maxOf(layers.map((layer) => layer.heads.length));
  const rows = layers.map(({ layer, label, heads }) => ({
    label: rowLabel({ layer, label }),
    cells: heads.map(({ head, score }) => ({
      value: score,
      name: `layer ${layer} (${label}), head ${head}`,
      marked: score >= RETRIEVAL_HEAD_SCORE,
    })),
  }));
  const columns = Array.from({ length: numHeads }, (_, i) => String(i));
  const axes = { rows: 'layer ↑', columns: 'head →' };
  return { title: `${formatTokens(tokens)} tokens`, axes, rows: rows.reverse(), columns };
}

/** Needle accuracy by depth and length at the last evaluation, mean over seeds. */
export function needleFigure(designs: readonly DrawnDesign[]): string {
  const grids = designs.flatMap(({ style, runs }) => {
    const needles = runs.flatMap(({ record }) => record.evals.at(-1)?.needle ?? []);
    const first = needles[0];
    return first === undefined
      ? []
      : [`<div class="${style.className}">${gridRow('', [needleGrid(style.label, needles)], 6)}</div>`];
  });
  if (grids.length === 0) return '';
  return figure(
    'Needle in a haystack',
    `<div class="maps side">${scale('accuracy')}${grids.join('')}</div>`,
    'A needle is a fact put somewhere into a text that is asked for at the end. Share of needles whose value is named exactly, by length of the context (rows) and depth of the needle in it ' +
      '(columns, 0 is the start), at the last evaluation; mean over seeds.',
    'wide',
  );
}

/** Needle grids of every run at up to six checkpoints, a row a run. */
export function needleCheckpointsFigure(designs: readonly DrawnDesign[]): string {
  const rows = designs.flatMap(({ style, runs }) =>
    runs.flatMap(({ record }) => {
      const measured = record.evals.flatMap(({ tokens, needle }) => (needle == null ? [] : [{ tokens, needle }]));
      const grids = evenly(measured, MAX_CHECKPOINTS).map(({ tokens, needle }) =>
        needleGrid(`${formatTokens(tokens)} tokens`, [needle]),
      );
      return grids.length === 0
        ? []
        : [`<div class="${style.className}">${gridRow(`${style.label}, seed ${record.seed}`, grids, 6)}</div>`];
    }),
  );
  if (rows.length === 0) return '';
  return figure(
    'Needles over checkpoints',
    `<div class="maps">${scale('accuracy')}${rows.join('')}</div>`,
    'Share of needles whose value is named exactly, by length of the context (rows) and depth of the needle in it ' +
      '(columns, 0 is the start), from checkpoint to checkpoint.',
    'wide',
  );
}

type Needle = NonNullable<RunEval['needle']>;

function needleGrid(title: string, needles: readonly Needle[]): Grid {
  const { lengths, depths } = at(needles, 0);
  const mean = (i: number, j: number) => {
    const values = needles.flatMap((n) => n.accuracy[i]?.[j] ?? []);
    return values.length === 0 ? null : values.reduce((a, b) => a + b, 0) / values.length;
  };
  const each = needles.reduce((sum, n) => sum + (n.samples ?? 0), 0);
  const name = (length: number, depth: number, value: number | null) => {
    const place = `length ${length}, depth ${percent(depth)}`;
    if (value === null || each === 0) return place;
    const { low, high } = wilson(Math.round(value * each), each);
    return `${place}, ${each} samples, 95 %: ${low.toFixed(2)} to ${high.toFixed(2)}`;
  };
  const rows = lengths.map((length, i) => ({
    label: String(length),
    cells: depths.map((depth, j) => {
      const value = mean(i, j);
      return { value, name: name(length, depth, value) };
    }),
  }));
  const axes = { rows: 'length (tokens)', columns: 'depth of the needle →' };
  return { title, axes, rows, columns: depths.map(percent) };
}

function percent(depth: number): string {
  return `${Math.round(100 * depth)} %`;
}

/** Up to `count` entries, evenly spread, the first and the last among them. */
function evenly<T>(items: readonly T[], count: number): T[] {
  if (items.length <= count) return [...items];
  const indices = Array.from({ length: count }, (_, i) => Math.round((i * (items.length - 1)) / (count - 1)));
  return [...new Set(indices)].map((i) => at(items, i));
}

function gridRow(label: string, grids: readonly Grid[], labelChars: number): string {
  const heading = label === '' ? '' : `<h4>${escapeHtml(label)}</h4>`;
  const cells = grids.map((grid, i) => drawGrid(grid, i === 0 ? labelChars : 0)).join('');
  return `${heading}<div class="scroll"><div class="grids">${cells}</div></div>`;
}

/** Room for row labels of `chars` characters, in pixels. */
const labelRoom = (chars: number): number => (chars > 0 ? 14 + 8 * chars : 4);

/** One grid as SVG, with room for row labels of `labelChars` characters; none for 0, as grids in a row share theirs. */
function drawGrid({ title, axes, rows, columns }: Grid, labelChars: number): string {
  const large = columns.length > MAX_NUMBERED || rows.length > 2 * MAX_NUMBERED;
  const size = large ? 12 : 38;
  const left = labelRoom(labelChars === 0 ? 0 : Math.max(labelChars, axes.rows.length));
  const top = 40;
  // The titles above and below may be wider than the cells.
  const inner = Math.max(columns.length * size, 7 * Math.max(title.length, axes.columns.length));
  const [width, height] = [left + inner + 4, top + rows.length * size + 36];
  const cells = rows.flatMap(({ cells: list }, i) =>
    list.map((cell, j) => drawCell(cell, left + j * size, top + i * size, size)),
  );
  const text = (x: number, y: number, anchor: string, content: string, more = '') =>
    `<text x="${x}" y="${y}" text-anchor="${anchor}"${more}>${escapeHtml(content)}</text>`;
  const named = labelChars > 0 ? [text(left - 6, top - 8, 'end', axes.rows, ' class="tick"')] : [];
  const labels = rows.map(({ label }, i) => text(left - 6, top + (i + 0.5) * size, 'end', label, ' dy="0.35em"'));
  const every = Math.ceil((8 + 7 * maxOf(columns.map((name) => name.length))) / size);
  const ticks = columns.flatMap((name, j) =>
    j % every === 0
      ? [text(left + (j + 0.5) * size, top + rows.length * size + 14, 'middle', name, ' class="tick"')]
      : [],
  );
  return (
    `<svg role="img" aria-label="${escapeHtml(title)}" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
    `class="grid">${text(left, 14, 'start', title, ' class="title"')}${named.join('')}` +
    `${labelChars > 0 ? labels.join('') : ''}${cells.join('')}${ticks.join('')}` +
    `${text(left, top + rows.length * size + 31, 'start', axes.columns, ' class="tick"')}</svg>`
  );
}

function drawCell({ value, name, marked }: Cell, x: number, y: number, size: number): string {
  const text = value === null ? 'not measured' : value.toFixed(3);
  const opacity = value === null ? 0 : Math.min(1, Math.max(0, value));
  const box = `x="${x + 1}" y="${y + 1}" width="${size - 2}" height="${size - 2}" rx="${size > 20 ? 3 : 1}"`;
  const rect = `<rect ${box} class="empty"/><rect ${box} class="heat${marked === true ? ' marked' : ''}" fill-opacity="${opacity.toFixed(3)}"/>`;
  // Every cell says its number, so that 0.05 can be told from 0 where both look empty.
  const number = value === null ? '' : Number(value.toFixed(2)) === 1 ? '1' : value.toFixed(2).replace(/^0/, '');
  const label =
    size > 20
      ? `<text x="${x + size / 2}" y="${y + size / 2}" dy="0.35em" text-anchor="middle" class="${opacity > 0.5 ? 'on' : 'off'}">${number}</text>`
      : '';
  return `<g><title>${escapeHtml(`${name}: ${text}`)}</title>${rect}${label}</g>`;
}

function scale(label: string): string {
  const steps = Array.from({ length: 11 }, (_, i) => `<i style="opacity:${i / 10}"></i>`).join('');
  return `<div class="scale"><span>0</span><span class="ramp">${steps}</span><span>1</span><span>${escapeHtml(label)}</span></div>`;
}
