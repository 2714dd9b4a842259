/** Where the page's data come from: the server that sent it, or the files of a static site. */
import type {
  ChangeEvent,
  CurveAxis,
  CurvesHeader,
  CurvesRequest,
  DashboardData,
  FiguresAnswer,
  HelloEvent,
  RunAnswer,
  RunHeadsAnswer,
  SampleAnswer,
} from '../../src/dashboard/api.js';
import type { Curve } from './curve.js';
import type { Followed, Listener } from './follower.js';

/** Curves that are there, and runs that are still being read. */
interface Curves {
  readonly curves: readonly Curve[];
  readonly pending: readonly string[];
  /** Those of them that the server had no time for: to be asked for at once. */
  readonly unseen: readonly string[];
}

/** How fine curves are wanted, whether of runs that are not read a few points are, and whether some come first. */
type CurvesWanted = Pick<CurvesRequest, 'most' | 'sampled' | 'soon'>;

/** How the page asks. */
export interface Source extends Followed {
  readonly isLive: boolean;
  /** Metrics in words, by name. */
  titles(): Promise<Readonly<Record<string, string>>>;
  curves(metrics: readonly string[], axis: CurveAxis, runs: readonly string[], how: CurvesWanted): Promise<Curves>;
  /** Curves in a part of the axis, point by point where that is not too much to read. */
  detail(
    metrics: readonly string[],
    axis: CurveAxis,
    runs: readonly string[],
    range: readonly [number, number],
  ): Promise<readonly Curve[]>;
  run(id: string): Promise<RunAnswer>;
  heads(id: string): Promise<RunHeadsAnswer>;
  /** Figures; laws are fitted without the runs that are named. */
  figures(id: string, without?: readonly string[]): Promise<FiguresAnswer>;
  sample(id: string, prompt: string, isIds: boolean): Promise<SampleAnswer>;
  control(id: string, what: 'stop' | 'continue'): Promise<string | null>;
}

/** The most buckets that the server keeps of a curve. */
export const FINEST = 256;

/** A column of a static site: lists of equal length. */
interface SiteColumn {
  readonly perBucket: number;
  readonly end: Readonly<Record<CurveAxis, number>>;
  readonly step: readonly number[];
  readonly tokens: readonly number[];
  readonly time: readonly number[];
  readonly low: readonly number[];
  readonly high: readonly number[];
  readonly mean: readonly number[];
}

/** What the script of a static site leaves behind. */
interface SiteData {
  readonly state: DashboardData;
  readonly titles: Readonly<Record<string, string>>;
  readonly curves: Readonly<Record<string, Readonly<Record<string, SiteColumn>>>>;
  readonly runs: Readonly<Record<string, RunAnswer>>;
  readonly heads: Readonly<Record<string, RunHeadsAnswer>>;
  readonly figures: Readonly<Record<string, FiguresAnswer>>;
}

declare global {
  interface Window {
    LONGSIGHT_SITE?: SiteData;
  }
}

async function json<T>(path: string, init?: RequestInit): Promise<T> {
  const answer = await fetch(path, init);
  const value = (await answer.json()) as T & { readonly problem?: string | null };
  if (!answer.ok) throw new Error(value.problem ?? `The server answered with ${answer.status}.`);
  return value;
}

/** The server of this page. */
class LiveSource implements Source {
  readonly isLive = true;
  state = () => json<DashboardData>('api/state');
  titles = () => json<Readonly<Record<string, string>>>('api/titles');
  run = (id: string) => json<RunAnswer>(`api/run/${id}`);
  heads = (id: string) => json<RunHeadsAnswer>(`api/heads/${id}`);
  figures = (id: string, without: readonly string[] = []) => {
    const query = new URLSearchParams(without.map((name) => ['without', name])).toString();
    return json<FiguresAnswer>(`api/figures/${id}${query === '' ? '' : `?${query}`}`);
  };

  async sample(id: string, prompt: string, isIds: boolean): Promise<SampleAnswer> {
    const body = JSON.stringify({ prompt, isIds });
    const init = { method: 'POST', body, headers: { 'Content-Type': 'application/json' } };
    return (await (await fetch(`api/run/${id}/sample`, init)).json()) as SampleAnswer;
  }

  async curves(
    metrics: readonly string[],
    axis: CurveAxis,
    runs: readonly string[],
    how: CurvesWanted,
  ): Promise<Curves> {
    return this.#ask({ metrics, axis, runs, range: null, ...how });
  }

  async detail(
    metrics: readonly string[],
    axis: CurveAxis,
    runs: readonly string[],
    range: readonly [number, number],
  ): Promise<readonly Curve[]> {
    return (await this.#ask({ metrics, axis, runs, range, most: FINEST, sampled: false })).curves;
  }

  async #ask(asked: CurvesRequest): Promise<Curves> {
    const body = JSON.stringify(asked);
    const answer = await fetch('api/curves', { method: 'POST', body, headers: { 'Content-Type': 'application/json' } });
    if (!answer.ok) throw new Error(`The server answered with ${answer.status}.`);
    return unpacked(await answer.arrayBuffer(), asked.most);
  }

  async control(id: string, what: 'stop' | 'continue'): Promise<string | null> {
    const answer = await fetch(`api/run/${id}/${what}`, { method: 'POST' });
    return ((await answer.json()) as { readonly problem: string | null }).problem;
  }

  listen(listener: Listener): void {
    const events = new EventSource('api/events');
    events.addEventListener('hello', (event) => listener.hello(JSON.parse(String(event.data)) as HelloEvent));
    events.addEventListener('change', (event) => listener.change(JSON.parse(String(event.data)) as ChangeEvent));
    events.onerror = () => {
      listener.gone();
      // The browser tries again by itself, unless the server has answered with an error.
      if (events.readyState !== EventSource.CLOSED) return;
      events.close();
      setTimeout(() => this.listen(listener), 2000);
    };
  }
}

/** Reads the bytes of `api/curves`. */
function unpacked(bytes: ArrayBuffer, most: number): Curves {
  const length = new DataView(bytes).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length))) as CurvesHeader;
  let at = 8 * Math.ceil((4 + length) / 8);
  const curves = header.curves.map(({ run, metric, n, perBucket, end, sampled }): Curve => {
    const x = new Float64Array(bytes, at, n);
    const values = (i: number) => new Float32Array(bytes, at + 8 * n + 4 * n * i, n);
    const curve = { run, metric, perBucket, end, most, sampled, x, low: values(0), high: values(1), mean: values(2) };
    at += 8 * n + 8 * Math.ceil((12 * n) / 8);
    return curve;
  });
  return { curves, pending: header.pending, unseen: header.unseen };
}

/** The data that lie beside the page. */
class SiteSource implements Source {
  readonly isLive = false;
  readonly #data: SiteData;
  constructor(data: SiteData) {
    this.#data = data;
  }
  state = () => Promise.resolve(this.#data.state);
  titles = () => Promise.resolve(this.#data.titles);
  run = (id: string) => found(this.#data.runs, id);
  heads = (id: string) => found(this.#data.heads, id);
  figures = (id: string) => found(this.#data.figures, id);
  control = () => Promise.resolve('A static page controls no runs.');
  sample = () => Promise.resolve({ text: null, problem: 'A static page generates nothing.' });
  // All that a site has is in its curves.
  detail = (): Promise<readonly Curve[]> => Promise.resolve([]);
  listen = (): void => undefined;

  curves(metrics: readonly string[], axis: CurveAxis, runs: readonly string[]): Promise<Curves> {
    const curves = runs.flatMap((run) =>
      metrics.flatMap((metric): Curve[] => {
        const own = Object.hasOwn(this.#data.curves, run) ? this.#data.curves[run] : undefined;
        const column = own !== undefined && Object.hasOwn(own, metric) ? own[metric] : undefined;
        if (column === undefined) return [];
        const [low, high, mean] = [column.low, column.high, column.mean].map((list) => Float32Array.from(list));
        if (low === undefined || high === undefined || mean === undefined) return [];
        const known = { perBucket: column.perBucket, end: column.end[axis], most: FINEST, sampled: false };
        return [{ run, metric, ...known, x: Float64Array.from(column[axis]), low, high, mean }];
      }),
    );
    return Promise.resolve({ curves, pending: [], unseen: [] });
  }
}

function found<T>(all: Readonly<Record<string, T>>, id: string): Promise<T> {
  const value = Object.hasOwn(all, id) ? all[id] : undefined;
  return value === undefined
    ? Promise.reject(new Error('This is not part of the static page.'))
    : Promise.resolve(value);
}

/** The source of this page. */
export function openSource(): Source {
  return window.LONGSIGHT_SITE === undefined ? new LiveSource() : new SiteSource(window.LONGSIGHT_SITE);
}
