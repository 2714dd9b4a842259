/** Plots as SVG text, drawn at build time: no script and no network is needed to look at them. */
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';

/** Colours that the report's style sheet defines for light and dark; designs past the last share them. */
export const NUM_COLORS = 8;
/** Neighbouring designs differ in dashes too: for eyes that confuse colours, and so that equal curves show through. */
const DASHES = [undefined, '10,4', '5,4', '2,3'];
const SYMBOLS = ['circle', 'square', 'triangle', 'diamond', 'star', 'wye', 'cross', 'times'] as const;

/** How one design is drawn everywhere in a report. */
export interface SeriesStyle {
  readonly label: string;
  readonly color: string;
  readonly dash: string | undefined;
  readonly symbol: (typeof SYMBOLS)[number];
  /** Class of every mark of the design, for showing and hiding it. */
  readonly className: string;
}

export function seriesStyles(labels: readonly string[]): SeriesStyle[] {
  return labels.map((label, i) => ({
    label,
    color: `var(--c${i % NUM_COLORS})`,
    dash: DASHES[i % DASHES.length],
    symbol: SYMBOLS[i % SYMBOLS.length] as SeriesStyle['symbol'],
    className: `series-${i}`,
  }));
}

/**
 * An SVG element as text. Colours are CSS variables or `currentColor`, so that the page's theme applies.
 *
 * @param label what the plot shows, for screen readers
 */
export function drawPlot(label: string, options: Plot.PlotOptions): string {
  // Neither library's types fit without the DOM's own, which this project does not load.
  const page = parseHTML('<!doctype html><html><body></body></html>') as unknown as { document: never };
  const svg: unknown = Plot.plot({
    style: { fontSize: '12px' },
    ...options,
    document: page.document,
    ariaLabel: label,
  });
  return (svg as { outerHTML: string }).outerHTML
    .replace(/<style>[\s\S]*?<\/style>/, '')
    .replace(/^<svg /, '<svg role="img" ')
    .replace(/="[^"]*"/g, (attribute) => attribute.replace(/(\d\.\d\d)\d+/g, '$1'));
}

export { Plot };
