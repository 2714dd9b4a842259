/** Plots as SVG text, drawn at build time: no script and no network is needed to look at them. */
import { at } from '../core/index.js';
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { NUM_COLORS } from './report-style.js';

/** Neighboring designs differ in dashes too: for eyes that confuse colors, and so that equal curves show through. */
const DASHES = [undefined, '10,4', '5,4', '2,3', '12,3,2,3', '7,3,2,3,2,3', '16,5', '1,4'];
const SYMBOLS = ['circle', 'square', 'triangle', 'diamond', 'star', 'wye', 'cross', 'times'] as const;

/** How one design is drawn everywhere in a report. */
export interface SeriesStyle {
  readonly label: string;
  readonly color: string;
  readonly dash: string | undefined;
  readonly symbol: (typeof SYMBOLS)[number];
  /** Place among the designs, from 0. */
  readonly index: number;
  /** Class of every mark of the design, for showing and hiding it. */
  readonly className: string;
}

/** A color and a dash pattern for each label; labels beyond the colors differ by dashes. */
export function seriesStyles(labels: readonly string[]): SeriesStyle[] {
  return labels.map((label, i) => ({
    label,
    color: `var(--c${i % NUM_COLORS})`,
    // One curve alone is solid: a second one on top would hide it where they are equal.
    dash: i === 0 ? undefined : DASHES[1 + ((i - 1 + Math.floor(i / NUM_COLORS)) % (DASHES.length - 1))],
    symbol: at(SYMBOLS, i % SYMBOLS.length),
    index: i,
    className: `series-${i}`,
  }));
}

/**
 * An SVG element as text. Colors are CSS variables or `currentColor`, so that the page's theme applies.
 *
 * @param label what the plot shows, for screen readers
 */
export function drawPlot(label: string, options: Plot.PlotOptions): string {
  // Neither library's types fit without the DOM's own, which this project does not load.
  const page = parseHTML('<!doctype html><html><body></body></html>') as unknown as { document: never };
  const svg: unknown = Plot.plot({
    style: { fontSize: '13px' },
    ...options,
    document: page.document,
    ariaLabel: label,
  });
  return tidied(svg as SvgElement).outerHTML.replace(/^<svg /, '<svg role="img" ');
}

/** What is used of an element of the drawing library's document. */
interface SvgElement {
  readonly outerHTML: string;
  readonly attributes: Iterable<{ readonly name: string; value: string }>;
  querySelectorAll(selector: string): Iterable<SvgElement>;
  remove(): void;
}

/**
 * The drawing without its own style sheet, its coordinates with two decimals. This is done on the elements: in their
 * text, a label may hold what looks like a style sheet or a coordinate. Attributes are escaped, which the
 * library leaves.
 */
function tidied(svg: SvgElement): SvgElement {
  for (const style of svg.querySelectorAll('style')) style.remove();
  for (const element of [svg, ...svg.querySelectorAll('*')]) {
    for (const attribute of element.attributes) {
      const { name, value } = attribute;
      const next = name === 'aria-label' ? escaped(value) : escaped(value).replace(/(\d\.\d\d)\d+/g, '$1');
      if (next !== value) attribute.value = next;
    }
  }
  return svg;
}

const escaped = (text: string): string => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');

/**
 * A scale's range from its values, both ends included: a series that is constant gets room on both sides, so that it
 * lies in the middle and its tick is a number with an end. Values that cannot be negative keep 0 as their least.
 */
export function roomyDomain(values: readonly number[]): readonly [number, number] | undefined {
  const finite = values.filter((value) => Number.isFinite(value));
  if (finite.length === 0) return undefined;
  const [low, high] = finite.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity] as const);
  if (high - low > 1e-9 * Math.max(Math.abs(low), Math.abs(high))) return undefined;
  if (low === 0) return [0, 1];
  const room = 0.1 * Math.abs(low);
  return [low - room, low + room];
}

/**
 * A number at a tick, with digits enough for neighbors that differ by a part in a million: `0.25`, `2.305`, `12 k`,
 * `3e-7`.
 */
export function tickLabel(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e9)) return value.toExponential(1).replace('.0e', 'e').replace('e+', 'e');
  const [scale, unit] = size >= 1e6 ? [1e6, ' M'] : size >= 1e4 ? [1e3, ' k'] : [1, ''];
  return `${Number((value / scale).toPrecision(7))}${unit}`;
}

export { Plot };
