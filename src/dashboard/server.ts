/** The dashboard's server: pages and answers over HTTP, changes as server-sent events. */
import type { Hono } from 'hono';
import { streamSSE } from 'hono/streaming';
import { z } from 'zod';
import type { ChangeEvent, HelloEvent } from './api.js';
import { curvesOf, detailOf } from './curves.js';
import { Figures } from './figures.js';
import { openRoots } from './folders.js';
import { HEADERS, isLocalHost } from './guard.js';
import { Hub } from './hub.js';
import { GuardedServer } from './guarded-server.js';
import { pageShell, readPageFiles } from './page.js';

/** Milliseconds that a request for curves waits for files that are being read, if it wants no early curves of them. */
const CURVES_WAIT_MS = 150;
/** Milliseconds between two signs of life to a page. */
const BEAT_MS = 10_000;
const MOST_BODY_BYTES = 4 << 20;
/** Runs that one request leaves out of fits, at most. */
const MOST_LEFT_OUT = 2000;

const curvesSchema = z.object({
  metrics: z.array(z.string().max(1000)).max(200),
  axis: z.enum(['step', 'tokens', 'time']),
  runs: z.array(z.string().max(40)).max(100_000),
  range: z.tuple([z.number(), z.number()]).nullable().default(null),
  most: z.int().min(1).default(256),
  sampled: z.boolean().default(false),
  soon: z.boolean().default(false),
});

const sampleSchema = z.object({ prompt: z.string().min(1).max(20_000), isIds: z.boolean() });

/** How a dashboard is served. */
export interface DashboardOptions {
  /** Folders of runs and studies. */
  readonly folders: readonly string[];
  /** The address to listen at. */
  readonly host: string;
  /** The port; null for the first that is free from 8642 on. */
  readonly port: number | null;
  /** The folder for what can be made again; null for none. */
  readonly cache: string | null;
  /** The script of the command line, which runs that are continued are started with; null where none can be. */
  readonly mainPath: string | null;
}

/** A dashboard that is being served. */
export interface ServedDashboard {
  /** The address for a browser, with the token where one is needed. */
  readonly url: string;
  /** How many run folders there are at first. */
  readonly runs: number;
  /** How many study folders there are at first. */
  readonly studies: number;
  close(): Promise<void>;
}

/**
 * Serves a dashboard over folders.
 *
 * @throws StoreError for a folder that is not there, or where the page is not built
 * @throws ConfigError where the address or port cannot be used
 */
export async function serveDashboard(options: DashboardOptions): Promise<ServedDashboard> {
  const { folders, host, cache, mainPath } = options;
  const roots = openRoots(folders);
  const files = readPageFiles();
  const hub = new Hub(roots, cache, isLocalHost(host) && mainPath !== null);
  const figures = new Figures(hub);
  const server = new GuardedServer(host, HEADERS);
  const { app } = server;
  addPages(app, files, hub);
  addAnswers(app, hub, figures);
  addEvents(app, hub);
  addControl(app, hub, mainPath);
  app.onError((error, c) => c.json({ problem: error.message }, 500));

  const url = await server.listen(options.port);
  void hub.open();
  hub.watch();
  return {
    url,
    ...hub.catalog.found,
    close: async () => {
      hub.close();
      figures.close();
      await server.close();
    },
  };
}

function addPages(app: Hono, files: ReturnType<typeof readPageFiles>, hub: Hub): void {
  const shell = pageShell('Longsight', { styles: ['app.css'], scripts: ['app.js'], answers: ['api/state'] });
  app.get('/', (c) => {
    hub.page.sent();
    return c.html(shell);
  });
  const file = (name: keyof typeof files, type: string) =>
    app.get(`/${name}`, (c) => c.body(new Uint8Array(files[name]), 200, { 'Content-Type': type }));
  file('app.js', 'text/javascript; charset=utf-8');
  file('app.css', 'text/css; charset=utf-8');
}

const NOT_THERE = { problem: 'There is no such run or study any more.' };

function addAnswers(app: Hono, hub: Hub, figures: Figures): void {
  app.get('/api/state', (c) => c.json(hub.state()));
  app.get('/api/titles', async (c) => {
    await hub.page.over;
    return c.json(await figures.titles());
  });
  app.post('/api/curves', async (c) => {
    if (Number(c.req.header('content-length') ?? 0) > MOST_BODY_BYTES) return c.json({ problem: 'too long' }, 413);
    const asked = curvesSchema.safeParse(await c.req.json().catch(() => null));
    if (!asked.success) return c.json({ problem: 'The request is none for curves.' }, 400);
    const { metrics, range, runs, most, sampled, soon } = asked.data;
    if (range === null && sampled) {
      // What is to be read whole takes the processor in turns: the first curve comes before that.
      if (soon) hub.page.sent();
      else hub.store.want(runs);
      await hub.store.look(runs, metrics, { most, soon });
    } else if (range === null) await hub.store.settle(runs, CURVES_WAIT_MS);
    const bytes = range === null ? curvesOf(hub.store, asked.data) : await detailOf(hub.store, asked.data, range);
    hub.page.done();
    return c.body(new Uint8Array(bytes), 200, { 'Content-Type': 'application/octet-stream' });
  });
  app.get('/api/run/:id', async (c) => {
    const answer = await hub.run(c.req.param('id'));
    return answer === null ? c.json(NOT_THERE, 404) : c.json(answer);
  });
  app.get('/api/heads/:id', async (c) => {
    const answer = await hub.heads(c.req.param('id'));
    return answer === null ? c.json(NOT_THERE, 404) : c.json(answer);
  });
  app.get('/api/figures/:id', async (c) => {
    const without = (c.req.queries('without') ?? []).slice(0, MOST_LEFT_OUT);
    const answer = await figures.of(c.req.param('id'), without);
    return answer === null ? c.json(NOT_THERE, 404) : c.json(answer);
  });
}

/** Sends changes to a page until it goes away, and a sign of life where there are none. */
function addEvents(app: Hono, hub: Hub): void {
  app.get('/api/events', (c) => {
    hub.page.runs();
    return streamSSE(c, async (stream) => {
      const queue: ChangeEvent[] = [];
      const [state, wake] = [{ open: true }, { up: (): void => undefined }];
      const forget = hub.listen((event) => {
        queue.push(event);
        wake.up();
      });
      stream.onAbort(() => {
        state.open = false;
        wake.up();
      });
      const hello: HelloEvent = { revision: hub.revision };
      await stream.writeSSE({ event: 'hello', data: JSON.stringify(hello) });
      while (state.open) {
        const event = queue.shift();
        if (event !== undefined) await stream.writeSSE({ event: 'change', data: JSON.stringify(event) });
        else if (!(await isWoken(wake))) await stream.writeSSE({ event: 'beat', data: '' });
      }
      forget();
    });
  });
}

/** Waits until `wake.up` is called; false where it was not for some time. */
function isWoken(wake: { up: () => void }): Promise<boolean> {
  return new Promise((done) => {
    const timer = setTimeout(() => done(false), BEAT_MS);
    wake.up = () => {
      clearTimeout(timer);
      done(true);
    };
  });
}

function addControl(app: Hono, hub: Hub, mainPath: string | null): void {
  app.post('/api/run/:id/stop', async (c) => {
    const { stopRun } = await import('./control.js');
    const answer = await hub.run(c.req.param('id'));
    if (answer === null) return c.json(NOT_THERE, 404);
    const problem = stopRun(answer);
    return c.json({ problem }, problem === null ? 200 : 409);
  });
  app.post('/api/run/:id/continue', async (c) => {
    const { continueRun } = await import('./control.js');
    const answer = await hub.run(c.req.param('id'));
    if (answer === null) return c.json(NOT_THERE, 404);
    const problem = mainPath === null ? 'Runs cannot be started from here.' : continueRun(answer, mainPath);
    return c.json({ problem }, problem === null ? 200 : 409);
  });
  let isSampling = false;
  app.post('/api/run/:id/sample', async (c) => {
    const { sampleRun } = await import('./control.js');
    const answer = await hub.run(c.req.param('id'));
    if (answer === null) return c.json(NOT_THERE, 404);
    const asked = sampleSchema.safeParse(await c.req.json().catch(() => null));
    if (!asked.success) return c.json({ text: null, problem: 'The request is none for a sample.' }, 400);
    if (mainPath === null || !answer.canSample)
      return c.json({ text: null, problem: 'Nothing is generated here.' }, 409);
    if (isSampling) return c.json({ text: null, problem: 'Another prompt is being continued; try again.' }, 409);
    isSampling = true;
    const sample = await sampleRun(answer.path, mainPath, asked.data).finally(() => (isSampling = false));
    return c.json(sample);
  });
}
