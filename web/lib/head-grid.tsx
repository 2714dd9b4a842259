/** A map of layers and heads: each square is a head, the fuller the higher its retrieval-head score. */
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

/** Draws a map of heads. */
export function HeadGrid({ scores: rows, labels, name: title, picked = '', onPick }: HeadGridProps) {
  const most = Math.max(1, ...rows.map((heads) => heads.length));
  const size = most > 24 ? 9 : most > 12 ? 14 : 24;
  const left = 12 + 6.4 * Math.max(1, ...labels.map((label) => label.length));
  const [width, height] = [left + most * size + 2, rows.length * size + 18];
  const cell = (score: number, layer: number, head: number) => {
    const [x, y] = [left + head * size, (rows.length - 1 - layer) * size];
    const name = `layer ${labels[layer] ?? layer}, head ${head}: ${num(score)}`;
    const isPicked = picked === `${layer}:${head}`;
    return (
      <g key={`${layer} ${head}`} class="cell" onClick={() => onPick?.(`${layer}:${head}`)}>
        <title>{name}</title>
        <rect class="empty" x={x + 0.5} y={y + 0.5} width={size - 1} height={size - 1} rx={size > 12 ? 3 : 1} />
        <rect
          class={`heat${score >= RETRIEVAL ? ' marked' : ''}${isPicked ? ' picked' : ''}`}
          x={x + 0.5}
          y={y + 0.5}
          width={size - 1}
          height={size - 1}
          rx={size > 12 ? 3 : 1}
          fill-opacity={Math.min(1, Math.max(0, score)).toFixed(3)}
        />
      </g>
    );
  };
  return (
    <div class="scroll">
      <svg class="grid" width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="img" aria-label={title}>
        {rows.map((_, layer) => (
          <text
            key={layer}
            x={left - 6}
            y={(rows.length - 0.5 - layer) * size}
            dy="0.35em"
            text-anchor="end"
            class="tick"
          >
            {labels[layer]}
          </text>
        ))}
        {rows.map((heads, layer) => heads.map((score, head) => cell(score, layer, head)))}
        {Array.from({ length: most }, (_, head) =>
          head % Math.ceil(20 / size) === 0 ? (
            <text key={head} class="tick" x={left + (head + 0.5) * size} y={height - 4} text-anchor="middle">
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
