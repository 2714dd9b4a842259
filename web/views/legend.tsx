/** The designs with their colors; a click shows or hides all runs of one. */
import type { PlacedRun, Store } from '../lib/store.js';

const MOST = 40;

/** The legend of the designs of some runs. */
export function Legend({ store, runs }: { readonly store: Store; readonly runs: readonly PlacedRun[] }) {
  const designs = new Map<string, string[]>();
  for (const { row } of runs) {
    const ids = designs.get(row.design);
    if (ids === undefined) designs.set(row.design, [row.id]);
    else ids.push(row.id);
  }
  const order = store.data?.designs ?? [];
  const listed = [...designs].sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
  return (
    <div class="legend" role="group" aria-label="Designs">
      {listed.slice(0, MOST).map(([design, ids]) => {
        const { color, dash } = store.style(design);
        const isShown = ids.some((id) => store.isShown(id));
        return (
          <button
            key={design}
            type="button"
            aria-pressed={isShown}
            onClick={() => store.show(ids, !isShown)}
            title={isShown ? 'hide' : 'show'}
          >
            <svg width="24" height="10" aria-hidden="true">
              <line x1="0" x2="24" y1="5" y2="5" stroke={color} stroke-width="3" stroke-dasharray={dash.join(',')} />
            </svg>
            <span>{design}</span>
            {ids.length > 1 && <span class="soft">{ids.length}</span>}
          </button>
        );
      })}
      {listed.length > MOST && <span class="soft">{`and ${listed.length - MOST} more designs`}</span>}
    </div>
  );
}
