/** What the page shows, as the part of the URL behind `#`: every view can be linked to. */

/** The views, in the order of their keys 1 to 9. */
export const VIEWS = ['runs', 'curves', 'heads', 'distance', 'needles', 'mechanism', 'fits', 'compare', 'run'] as const;

/** A view by its name in the URL. */
export type View = (typeof VIEWS)[number];

/** A view with its settings. */
export interface Route {
  readonly view: View;
  readonly params: Readonly<Record<string, string>>;
}

/** Settings that go along from view to view: the filter, and which runs are shown. */
const SHARED: readonly string[] = ['q', 'hide', 'only', 'study'];

/** Reads `#/curves?m=train%2Floss`. What is not understood is the table of runs. */
export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#?\/?/, '').split(/\?(.*)/s);
  const view = VIEWS.find((name) => name === path) ?? 'runs';
  return { view, params: Object.fromEntries(new URLSearchParams(query)) };
}

/** The text behind the address. */
export function printRoute({ view, params }: Route): string {
  const set = Object.entries(params).filter(([, value]) => value !== '');
  const query = new URLSearchParams(set).toString();
  return `#/${view}${query === '' ? '' : `?${query}`}`;
}

/** Another view with what is shared of the settings. */
export function toView(route: Route, view: View, more: Readonly<Record<string, string>> = {}): Route {
  const shared = Object.entries(route.params).filter(([name]) => SHARED.includes(name));
  return { view, params: { ...Object.fromEntries(shared), ...more } };
}
