/** A chart of many lines: axes, zoom and cursor by uPlot, lines drawn here, so that a thousand of them are no burden. */
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import { num, tick } from './format.js';
import { logTicks, lowerBound, rangeOf, valueAt, type Line } from './lines.js';

/** What a chart shows, and how. */
export interface ChartProps {
  readonly title: string;
  readonly xLabel: string;
  readonly lines: readonly Line[];
  readonly logX: boolean;
  readonly logY: boolean;
  /** The part of the x axis that is shown; null for all of it. */
  readonly zoom: readonly [number, number] | null;
  readonly onZoom: (range: readonly [number, number] | null) => void;
  /** A value of y that is marked by a line; null for none. */
  readonly threshold: number | null;
  readonly height: number;
  /** Values of y that are shown whatever the lines are; those of the lines alone if left out. */
  readonly domain?: readonly [number, number];
  /** A place of x that is marked by an upright line. */
  readonly mark?: number | null;
  readonly onPick?: (id: string) => void;
}

/** Pixels from a line within which it is the one that is pointed at. */
const NEAR = 28;
/** Lines beyond which none is dashed: no one tells dashes of so many apart, and a browser draws them at half the speed. */
const MOST_DASHED = 400;
/** Lines beyond which all are thin. */
const MOST_WIDE = 60;
/**
 * Pixels of lines beyond which all are thin too: of lines that go up and down from point to point a wide one covers
 * itself, and a browser without a graphics processor draws it at a tenth of the speed.
 */
const MOST_WIDE_PIXELS = 150_000;
/** Lines that the tooltip lists. */
const MOST_LISTED = 8;

interface Tip {
  readonly left: number;
  readonly top: number;
  readonly x: number;
  readonly lines: readonly { readonly line: Line; readonly value: number }[];
  readonly near: string | null;
}

const cssColor = (element: Element, color: string): string => {
  const name = /^var\((--[\w-]+)\)$/.exec(color)?.[1];
  return name === undefined ? color : getComputedStyle(element).getPropertyValue(name).trim();
};

/** Draws the lines of a chart; dragging zooms, a double click shows everything again. */
export function Chart(props: ChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const current = useRef(props);
  current.current = props;
  const [tip, setTip] = useState<Tip | null>(null);
  const near = useRef<string | null>(null);
  const key = `${props.logX} ${props.logY} ${props.xLabel}`;

  useLayoutEffect(() => {
    const element = host.current;
    if (element === null) return undefined;
    const made = makePlot(element, current, near, setTip);
    plot.current = made;
    const sized = new ResizeObserver(() => {
      const [width, { height }] = [element.clientWidth, current.current];
      // It tells of the first size too, which the plot was made with: a thousand lines are drawn once.
      if (width !== made.width || height !== made.height) made.setSize({ width, height });
    });
    sized.observe(element);
    const themed = () => {
      made.redraw(false, true);
    };
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    scheme.addEventListener('change', themed);
    const attribute = new MutationObserver(themed);
    attribute.observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] });
    return () => {
      sized.disconnect();
      attribute.disconnect();
      scheme.removeEventListener('change', themed);
      made.destroy();
    };
  }, [key]);

  // With the making of the plot, not after its first picture: both are one drawing then.
  useLayoutEffect(() => {
    plot.current?.setData([xExtent(props), [null, null]] as uPlot.AlignedData, true);
  }, [props.lines, props.zoom?.[0], props.zoom?.[1], props.threshold, props.mark, key]);

  const describe = `${props.title} against ${props.xLabel}: ${props.lines.length} ${props.lines.length === 1 ? 'line' : 'lines'}`;
  return (
    <div class="chart" role="img" aria-label={describe} data-end={xExtent(props)[1]}>
      <div ref={host} class="plot-host" />
      {tip !== null && <Tooltip tip={tip} xLabel={props.xLabel} />}
    </div>
  );
}

function Tooltip({ tip, xLabel }: { readonly tip: Tip; readonly xLabel: string }) {
  return (
    <div class="tip" style={{ left: `${tip.left}px`, top: `${tip.top}px` }}>
      <div class="soft">
        {tick(tip.x)} {xLabel}
      </div>
      {tip.lines.map(({ line, value }) => (
        <div key={line.id} class={line.id === tip.near ? 'near' : ''}>
          <span class="swatch" style={{ background: line.color }} />
          <b>{num(value)}</b> {line.label}
        </div>
      ))}
    </div>
  );
}

/** From the least to the largest place of all lines. */
function xExtent({ lines, logX }: ChartProps): [number, number] {
  let [least, most] = [Infinity, -Infinity];
  for (const { x } of lines) {
    if (x.length === 0) continue;
    const first = logX ? (x[lowerBound(x, Number.MIN_VALUE)] ?? Infinity) : (x[0] ?? Infinity);
    if (first < least) least = first;
    if ((x[x.length - 1] ?? -Infinity) > most) most = x[x.length - 1] ?? 0;
  }
  return least <= most ? [least, most] : logX ? [1, 10] : [0, 1];
}

/** The part of the x axis that is shown. */
const shownX = (props: ChartProps): readonly [number, number] => props.zoom ?? xExtent(props);

const padded = ([least, most]: readonly [number, number], isLog: boolean): [number, number] => {
  if (isLog) return least === most ? [least / 2, most * 2] : [least / 1.05, most * 1.05];
  const room = least === most ? 0.1 * Math.abs(least) || 1 : 0.05 * (most - least);
  return [least - room, most + room];
};

function makePlot(
  element: HTMLElement,
  current: { readonly current: ChartProps },
  near: { current: string | null },
  setTip: (tip: Tip | null) => void,
): uPlot {
  const { logX, logY, height } = current.current;
  const soft = () => cssColor(element, 'var(--soft)');
  const grid = { stroke: () => cssColor(element, 'var(--line)'), width: 1 };
  const axis = { stroke: soft, grid, ticks: grid, font: '12px system-ui, sans-serif' };
  const labels = (_: uPlot, values: (number | null)[]) => values.map((v) => (v === null ? '' : tick(v)));
  const logAxis = {
    splits: (_: uPlot, __: number, least: number, most: number) => logTicks(least, most),
    // Labels that would touch the one before are left out.
    filter: (u: uPlot, splits: number[], axis: number) => {
      const [scale, room] = axis === 0 ? (['x', 36] as const) : (['y', 14] as const);
      let last = Infinity;
      return splits.map((value) => {
        const at = u.valToPos(value, scale);
        if (Math.abs(at - last) < room) return null;
        last = at;
        return value;
      });
    },
  };
  return new uPlot(
    {
      ...{ width: Math.max(50, element.clientWidth), height },
      legend: { show: false },
      // Half of the last label of x lies beside the plot.
      padding: [10, 24, 0, 0],
      cursor: { drag: { x: true, y: false, setScale: false }, points: { show: false }, y: false },
      scales: {
        x: {
          time: false,
          distr: logX ? 3 : 1,
          range: () => {
            const [from, to] = shownX(current.current);
            return from < to ? [from, to] : logX ? [from / 2, from * 2] : [from - 1, from + 1];
          },
        },
        y: {
          distr: logY ? 3 : 1,
          range: () => {
            const { lines, threshold, domain } = current.current;
            if (domain !== undefined) return padded(domain, logY);
            const [from, to] = shownX(current.current);
            const range = rangeOf(lines, from, to, logY);
            const [least, most] = range ?? (logY ? [0.1, 1] : [0, 1]);
            const line = threshold === null || (logY && threshold <= 0) ? least : threshold;
            return padded([Math.min(least, line), Math.max(most, line)], logY);
          },
        },
      },
      axes: [
        {
          ...axis,
          values: labels,
          label: `${current.current.xLabel} →`,
          labelSize: 20,
          labelFont: axis.font,
          size: 34,
          space: 70,
          ...(logX ? logAxis : {}),
        },
        { ...axis, values: labels, size: 56, ...(logY ? logAxis : {}) },
      ],
      series: [{}, { show: true, paths: () => null, points: { show: false } }],
      hooks: {
        draw: [(u) => drawLines(u, current.current, near.current, element)],
        setSelect: [
          (u) => {
            if (u.select.width < 4) return;
            const [from, to] = [u.posToVal(u.select.left, 'x'), u.posToVal(u.select.left + u.select.width, 'x')];
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            current.current.onZoom([from, to]);
          },
        ],
        setCursor: [
          (u) => {
            const tip = tipAt(u, current.current);
            if ((tip?.near ?? null) !== near.current) {
              near.current = tip?.near ?? null;
              u.redraw(false, false);
            }
            setTip(tip);
          },
        ],
        ready: [
          (u) => {
            u.over.addEventListener('dblclick', () => current.current.onZoom(null));
            u.over.addEventListener('click', () => {
              if (near.current !== null) current.current.onPick?.(near.current);
            });
            u.over.addEventListener('mouseleave', () => {
              near.current = null;
              setTip(null);
              u.redraw(false, false);
            });
          },
        ],
      },
    },
    [xExtent(current.current), [null, null]] as uPlot.AlignedData,
    element,
  );
}

/** Where values lie on the canvas along an axis: what `valToPos` says, for a hundred thousand points at once. */
function placeOn(u: uPlot, axis: 'x' | 'y', isLog: boolean): (value: number) => number {
  const { min = 0, max = 1 } = u.scales[axis] ?? {};
  const [least, most] = [min ?? 0, max ?? 1];
  const of = isLog ? Math.log10 : (value: number) => value;
  const start = u.valToPos(least, axis, true);
  const slope = (u.valToPos(most, axis, true) - start) / (of(most) - of(least));
  const from = of(least);
  return (value) => start + slope * (of(value) - from);
}

/** Whether lines are so many, or so long where they are seen, that they are thin. */
function areThin(
  { bbox: { left, width } }: uPlot,
  lines: readonly Line[],
  toX: (value: number) => number,
  toY: (value: number) => number,
): boolean {
  if (lines.length > MOST_WIDE) return true;
  let rest = MOST_WIDE_PIXELS * uPlot.pxRatio;
  for (const { x, y } of lines) {
    for (let i = 1; i < x.length; i++) {
      const [from, to] = [toX(x[i - 1] ?? 0), toX(x[i] ?? 0)];
      if (to < left || from > left + width) continue;
      const step = to - from + Math.abs(toY(y[i] ?? 0) - toY(y[i - 1] ?? 0));
      if (Number.isFinite(step)) rest -= step;
    }
    if (rest < 0) return true;
  }
  return false;
}

function drawLines(
  u: uPlot,
  { lines, threshold, mark = null, logX, logY }: ChartProps,
  near: string | null,
  element: HTMLElement,
): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  const ratio = uPlot.pxRatio;
  const many = lines.length > MOST_WIDE;
  const toX = placeOn(u, 'x', logX);
  const xOf = (v: number) => toX(logX ? Math.max(v, Number.MIN_VALUE) : v);
  const yOf = placeOn(u, 'y', logY);
  const isDrawn = (v: number) => Number.isFinite(v) && (!logY || v > 0);
  const colors = new Map<string, string>();
  const colorOf = (color: string) => {
    let known = colors.get(color);
    if (known === undefined) colors.set(color, (known = cssColor(element, color)));
    return known;
  };
  if (threshold !== null) {
    ctx.strokeStyle = colorOf('var(--soft)');
    ctx.setLineDash([5 * ratio, 4 * ratio]);
    ctx.lineWidth = ratio;
    ctx.beginPath();
    ctx.moveTo(bbox.left, yOf(threshold));
    ctx.lineTo(bbox.left + bbox.width, yOf(threshold));
    ctx.stroke();
  }
  if (mark !== null) {
    ctx.strokeStyle = colorOf('var(--soft)');
    ctx.setLineDash([]);
    ctx.lineWidth = ratio;
    ctx.beginPath();
    ctx.moveTo(xOf(mark), bbox.top);
    ctx.lineTo(xOf(mark), bbox.top + bbox.height);
    ctx.stroke();
  }
  for (const { x, band, color } of lines) {
    if (band === null || x.length < 2) continue;
    ctx.fillStyle = colorOf(color);
    ctx.globalAlpha = 0.16;
    ctx.beginPath();
    for (let i = 0; i < x.length; i++)
      if (isDrawn(band.high[i] ?? NaN)) ctx.lineTo(xOf(x[i] ?? 0), yOf(band.high[i] ?? 0));
    for (let i = x.length - 1; i >= 0; i--)
      if (isDrawn(band.low[i] ?? NaN)) ctx.lineTo(xOf(x[i] ?? 0), yOf(band.low[i] ?? 0));
    ctx.fill();
  }
  const ordered =
    near === null ? lines : [...lines.filter((l) => l.id !== near), ...lines.filter((l) => l.id === near)];
  const isThin = areThin(u, lines, xOf, yOf);
  for (const { id, x, y, color, dash } of ordered) {
    ctx.strokeStyle = colorOf(color);
    ctx.fillStyle = ctx.strokeStyle;
    ctx.globalAlpha = near === null || id === near ? (many && near === null ? 0.55 : 1) : 0.25;
    ctx.lineWidth = ratio * (id === near ? 2.6 : isThin ? 1 : 1.6);
    ctx.setLineDash(lines.length > MOST_DASHED ? [] : dash.map((d) => d * ratio));
    ctx.beginPath();
    let isOpen = false;
    for (let i = 0; i < x.length; i++) {
      const value = y[i] ?? NaN;
      if (!isDrawn(value)) {
        isOpen = false;
        continue;
      }
      if (isOpen) ctx.lineTo(xOf(x[i] ?? 0), yOf(value));
      else ctx.moveTo(xOf(x[i] ?? 0), yOf(value));
      isOpen = true;
    }
    ctx.stroke();
    if (x.length === 1 && isDrawn(y[0] ?? NaN)) {
      ctx.beginPath();
      ctx.arc(xOf(x[0] ?? 0), yOf(y[0] ?? 0), 3 * ratio, 0, 2 * Math.PI);
      ctx.fill();
    }
  }
  ctx.restore();
}

/** The lines at the cursor, the nearest first in weight and all in the order of their values. */
function tipAt(u: uPlot, { lines }: ChartProps): Tip | null {
  const { left = -1, top = -1 } = u.cursor;
  if (left < 0 || top < 0) return null;
  const x = u.posToVal(left, 'x');
  const found = lines.flatMap((line) => {
    const value = valueAt(line, x);
    if (Number.isNaN(value)) return [];
    return [{ line, value, distance: Math.abs(u.valToPos(value, 'y') - top) }];
  });
  if (found.length === 0) return null;
  found.sort((a, b) => a.distance - b.distance);
  const nearest = found[0];
  const near = nearest !== undefined && nearest.distance < NEAR ? nearest.line.id : null;
  const listed = found.slice(0, MOST_LISTED).sort((a, b) => b.value - a.value);
  const width = u.over.clientWidth;
  const offset = u.over.offsetLeft;
  const side = left > width / 2 ? Math.max(0, left + offset - 250) : left + offset + 16;
  return { left: side, top: Math.min(top, u.over.clientHeight - 20) + 8, x, lines: listed, near };
}
