/** A metric's words, and behind them its name in files and filters. */
import type { Store } from '../lib/store.js';

/** The heading of a chart. */
export function MetricName({ store, metric }: { readonly store: Store; readonly metric: string }) {
  const title = store.titleOf(metric);
  return title === metric ? (
    <>{metric}</>
  ) : (
    <>
      {title}{' '}
      <code class="key">{metric.split('/').map((part, i) => (i === 0 ? part : ['/', <wbr key={i} />, part]))}</code>
    </>
  );
}
