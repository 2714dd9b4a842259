/**
 * A map of layers and heads: each square is a head, the fuller the higher its retrieval-head score. By keyboard it is one
 * stop of the Tab key: arrows, Home and End go from head to head, Enter and the space bar pick one.
 */
import { useRef, useState } from 'preact/hooks';
import { num } from './format.js';

/** From this score on a head counts as a retrieval head. */
export const RETRIEVAL = 0.1;

/** What a map shows. */
export interface HeadGridProps {
  /** Scores from 0 to 1 by layer, the first at the bottom, and head. */
  readonly scores: readonly (readonly number[])[];
  /** Layers in the short form of patterns. */
  readonly labels: readonly string[];
  /** What the map shows, for those who do not see it. */
  readonly name: string;
  /** The head that is picked, as `LAYER:HEAD`; empty for none. */
  readonly picked?: string;
  readonly onPick?: (head: string) => void;
}

/** Where a head is: its layer and its number in the layer. */
type Place = readonly [layer: number, head: number];

/**
 * The head that a key leads to from another, never out of the map; null for other keys. Layers without heads are passed
 * over, and a layer with fewer heads is met at its last one.
 */
function headBeside(rows: HeadGridProps['scores'], [layer, head]: Place, key: string): Place | null {
  const last = (rows[layer]?.length ?? 0) - 1;
  const layerBeyond = (by: 1 | -1): Place => {
    let next = layer + by;
    while (rows[next]?.length === 0) next += by;
    const heads = rows[next]?.length ?? 0;
    return heads === 0 ? [layer, head] : [next, Math.min(head, heads - 1)];
  };
  switch (key) {
    case 'ArrowRight':
      return [layer, Math.min(last, head + 1)];
    case 'ArrowLeft':
      return [layer, Math.max(0, head - 1)];
    // The first layer is at the bottom.
    case 'ArrowUp':
      return layerBeyond(1);
    case 'ArrowDown':
      return layerBeyond(-1);
    case 'Home':
      return [layer, 0];
    case 'End':
      return [layer, last];
    default:
      return null;
  }
}

/** The place in a map that the Tab key leads to, and what keys do there. */
function useHeadKeys({ scores, picked = '', onPick }: HeadGridProps) {
  const svg = useRef<SVGSVGElement>(null);
  const [asked, setAt] = useState<Place | null>(null);
  const [layer = -1, head = -1] = asked ?? picked.split(':').map((part) => (part === '' ? -1 : Number(part)));
  // Maps change under the eyes of who looks at them: a place that is gone gives way to the first head.
  const at: Place =
    scores[layer]?.[head] === undefined ? [scores.findIndex((row) => row.length > 0), 0] : [layer, head];
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const next = headBeside(scores, at, event.key);
    if (next !== null) {
      setAt(next);
      svg.current?.querySelector<SVGElement>(`[data-head="${next.join(':')}"]`)?.focus();
    } else if (onPick !== undefined && (event.key === 'Enter' || event.key === ' ')) onPick(at.join(':'));
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return { svg, at, setAt, onKeyDown };
}

/** Draws a map of heads. */
export function HeadGrid(props: HeadGridProps) {
  const { scores: rows, labels, name: title, picked = '', onPick } = props;
  const { svg, at, setAt, onKeyDown } = useHeadKeys(props);
  const most = Math.max(1, ...rows.map((heads) => heads.length));
  const size = most > 24 ? 9 : most > 12 ? 14 : 24;
  const left = 12 + 6.4 * Math.max(1, ...labels.map((label) => label.length));
  const [width, height] = [left + most * size + 2, rows.length * size + 18];
  const pickable = onPick === undefined ? {} : { 'aria-description': 'Enter shows its score over the training' };
  const cell = (score: number, layer: number, head: number) => {
    const [x, y] = [left + head * size, (rows.length - 1 - layer) * size];
    const place = `${layer}:${head}`;
    const name = `layer ${layer} (${labels[layer] ?? ''}), head ${head}: ${num(score)}${score >= RETRIEVAL ? ', a retrieval head' : ''}`;
    const box = { x: x + 0.5, y: y + 0.5, width: size - 1, height: size - 1, rx: size > 12 ? 3 : 1 };
    return (
      <g
        key={place}
        class="cell"
        role="gridcell"
        data-head={place}
        tabIndex={at[0] === layer && at[1] === head ? 0 : -1}
        aria-label={name}
        aria-selected={picked === place}
        {...pickable}
        onFocus={() => setAt([layer, head])}
        onClick={() => onPick?.(place)}
      >
        <title>{name}</title>
        <rect class="empty" {...box} />
        <rect
          class={`heat${score >= RETRIEVAL ? ' marked' : ''}${picked === place ? ' picked' : ''}`}
          {...box}
          fill-opacity={Math.min(1, Math.max(0, score)).toFixed(3)}
        />
      </g>
    );
  };
  const layers = rows.map((heads, layer) => ({ heads, layer })).reverse();
  return (
    <div class="scroll">
      <svg
        class="grid"
        ref={svg}
        width={width}
        height={height}
        viewBox={`0 0 ${width} ${height}`}
        role="grid"
        aria-label={title}
        onKeyDown={onKeyDown}
      >
        {layers.map(({ heads, layer }) => (
          <g key={layer} role="row">
            <text
              x={left - 6}
              y={(rows.length - 0.5 - layer) * size}
              dy="0.35em"
              text-anchor="end"
              class="tick"
              role="rowheader"
            >
              {labels[layer]}
            </text>
            {heads.map((score, head) => cell(score, layer, head))}
          </g>
        ))}
        {Array.from({ length: most }, (_, head) =>
          head % Math.ceil(20 / size) === 0 ? (
            <text
              key={head}
              class="tick"
              aria-hidden="true"
              x={left + (head + 0.5) * size}
              y={height - 4}
              text-anchor="middle"
            >
              {head}
            </text>
          ) : null,
        )}
      </svg>
    </div>
  );
}

/** What the filling of a square means. */
export function HeadScale() {
  return (
    <span class="scale soft">
      retrieval-head score: 0{' '}
      <span class="ramp">
        {Array.from({ length: 11 }, (_, i) => (
          <i key={i} style={{ opacity: i / 10 }} />
        ))}
      </span>{' '}
      1
    </span>
  );
}
