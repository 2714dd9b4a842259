/**
 * Runs that several processes do together go on from one checkpoint, and stop after the same step, whichever of them are
 * asked to. The nodes here are runs of one process, joined by a store over real sockets; each computes the whole run, at
 * a pace of its own.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { fingerprintFile, InterruptedError, StoppedTogetherError, StoreError } from '../../src/core/index.js';
import { createEngine, type Engine, type Hosts } from '../../src/engine/index.js';
import { StoreClient } from '../../src/engine/xla/pjrt/hosts/client.js';
import { exchange } from '../../src/engine/xla/pjrt/hosts/exchange.js';
import { shareStop } from '../../src/engine/xla/pjrt/hosts/shared-stop.js';
import { serveStore } from '../../src/engine/xla/pjrt/hosts/store.js';
import { checkpointDigest, openCheckpoint, readStatus } from '../../src/run/index.js';
import { differentStarts } from '../../src/train/same-start.js';
import { trainRun, type RunConfig, type TrainHooks } from '../../src/train/index.js';
import { freePort } from '../support/ports.js';
import { temporaryFolder, tinyRun } from './support.js';

const STEPS = 24;
const RUN = tinyRun({ train: { steps: STEPS, evalEvery: 6, checkpointEvery: 8, logEvery: 1 } });
/** Steps that may lie between the last one that node 0 has begun and the last one of all. */
const MOST_AFTER = 2;

/** What happens at a node on its way, which may ask it to stop. */
type Way = (
  event: `step ${number}` | `evaluation ${number}` | 'begin' | 'compile',
  ask: () => void,
  /** Waits until another node than 0 has asked. */
  asked: () => Promise<unknown>,
) => unknown;

interface Ended {
  readonly step: number;
  readonly error: unknown;
}

/** One turn of a run on nodes with these folders. */
async function turnOf(folders: readonly string[], ways: readonly Way[], run: RunConfig = RUN): Promise<Ended[]> {
  const coordinator = `127.0.0.1:${await freePort()}`;
  const hosts = folders.map((_, node): Hosts => ({ node, nodes: folders.length, coordinator }));
  const server = await serveStore({ node: 0, nodes: folders.length, coordinator }, () => undefined);
  onTestFinished(() => server.close('bye'));
  const clients = await Promise.all(hosts.map((host) => StoreClient.connect(host)));
  const ends = await Promise.all(
    folders.map((dir, node) => trainNode(dir, hosts[node] as Hosts, clients[node] as StoreClient, ways[node], run)),
  );
  await Promise.all(clients.map((client) => client.close()));
  return ends;
}

async function trainNode(dir: string, hosts: Hosts, client: StoreClient, way: Way | undefined, run: RunConfig) {
  const own = createEngine('onnx', { threads: 1 });
  const stop = new AbortController();
  const ask = () => stop.abort(new InterruptedError('stopped'));
  const asked = () => client.ask({ op: 'get', key: 'longsight/run/0/asked', timeoutMs: 3_600_000 });
  const engine: Engine = {
    ...{ info: own.info, hints: own.hints, upload: own.upload.bind(own), download: own.download.bind(own) },
    compile: async (...given) => {
      await way?.('compile', ask, asked);
      return own.compile(...given);
    },
    shareStop: (from, to) => shareStop({ hosts, ask: (request) => client.ask(request), run: 0, from, to }),
    exchange: (text) => exchange({ hosts, ask: (request) => client.ask(request), number: 0, text }),
    dispose: () => own.dispose(),
  };
  const hooks: TrainHooks = {
    progress: ({ step }) => void way?.(`step ${step}`, ask, asked),
    evaluate: async ({ step }) => {
      await way?.(`evaluation ${step}`, ask, asked);
      return {};
    },
  };
  try {
    await way?.('begin', ask, asked);
    await trainRun({ dir, run, engine, resume: 'auto', signal: stop.signal, hooks });
    return { step: readStatus(dir)?.step ?? -1, error: null };
  } catch (error) {
    return { step: readStatus(dir)?.step ?? -1, error };
  } finally {
    await engine.dispose();
  }
}

const lastCheckpoint = (dir: string) => readdirSync(join(dir, 'checkpoints')).sort().at(-1) ?? '';
const weights = (dir: string) =>
  readFileSync(join(dir, 'checkpoints', lastCheckpoint(dir), 'model.safetensors')).toString('base64');
const loggedSteps = (dir: string) =>
  readFileSync(join(dir, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line): Record<string, number> => JSON.parse(line) as Record<string, number>)
    .flatMap((line) => ('train/loss' in line ? [line['step']] : []));
const ALL = Array.from({ length: STEPS }, (_, i) => i + 1);

const at =
  (event: Parameters<Way>[0]): Way =>
  (now, ask) => {
    if (now === event) ask();
  };

describe('processes that do a run together', () => {
  it.each<{ what: string; ways: Way[]; stopsAt: (step: number) => boolean }>([
    { what: 'node 0 is asked at step 5', ways: [at('step 5')], stopsAt: (s) => s >= 5 && s <= 5 + MOST_AFTER },
    { what: 'node 1 is asked at step 5', ways: [() => 0, at('step 5')], stopsAt: (s) => s >= 5 },
    { what: 'both are, at steps apart', ways: [at('step 9'), at('step 5')], stopsAt: (s) => s >= 5 && s <= 11 },
    { what: 'node 0 is while it compiles', ways: [at('compile')], stopsAt: (s) => s === 0 },
    { what: 'node 0 is before it begins', ways: [at('begin')], stopsAt: (s) => s === 0 },
    { what: 'node 1 is before it begins', ways: [() => 0, at('begin')], stopsAt: (s) => s >= 0 },
    { what: 'node 0 is in an evaluation', ways: [at('evaluation 6')], stopsAt: (s) => s >= 6 && s <= 8 },
    { what: 'node 0 is at a checkpoint', ways: [at('evaluation 8')], stopsAt: (s) => s >= 8 && s <= 10 },
    { what: 'node 1 is in its last step', ways: [() => 0, at(`step ${STEPS}`)], stopsAt: (s) => s === STEPS },
    { what: 'node 0 is in its last step', ways: [at(`step ${STEPS}`)], stopsAt: (s) => s === STEPS },
  ])('stop after the same step where $what', async ({ ways, stopsAt }) => {
    const folders = [temporaryFolder(), temporaryFolder()];
    const ends = await turnOf(folders, ways);
    const [{ step }] = ends as [Ended];
    expect(ends.map((end) => end.step)).toEqual([step, step]);
    expect(stopsAt(step), `step ${step}`).toBe(true);
    for (const { error } of ends) {
      if (step === STEPS) expect(error).toBe(null);
      else expect(error).toBeInstanceOf(InterruptedError);
    }
    if (step > 0) {
      expect(folders.map(lastCheckpoint)).toEqual(Array(2).fill(`step-${String(step).padStart(6, '0')}`));
      expect(weights(folders[0] as string)).toBe(weights(folders[1] as string));
    }
  });

  it('get no further than node 0 allows, which stops there', async () => {
    const folders = [temporaryFolder(), temporaryFolder()];
    let reached = (): void => undefined;
    const far = new Promise<void>((resolve) => (reached = resolve));
    const ends = await turnOf(folders, [
      async (now, ask) => {
        if (now !== 'evaluation 6') return;
        await far; // node 1 is at the last step that is allowed, and waits
        ask();
      },
      (now) => {
        if (now === `step ${6 + MOST_AFTER}`) reached();
      },
    ]);
    expect(ends.map((end) => end.step)).toEqual([6 + MOST_AFTER, 6 + MOST_AFTER]);
  });

  it('go on from there, also with another number of nodes, to the parameters of a run that was left alone', async () => {
    const folders = [temporaryFolder(), temporaryFolder(), temporaryFolder()];
    const [first, second, third] = folders as [string, string, string];
    const waits: Way = (now, _ask, asked) => (now === 'evaluation 12' ? asked() : null);
    const stopped = await turnOf(folders, [waits, () => 0, at('step 4')]);
    expect(new Set(stopped.map((end) => end.step)).size).toBe(1);
    // Those that were not asked end with the code of a scheduler, too.
    for (const { error } of stopped.slice(0, 2)) {
      expect(error).toBeInstanceOf(StoppedTogetherError);
      expect(error).toMatchObject({ exitCode: 75 });
    }
    const from = stopped[0]?.step ?? 0;
    expect(from).toBeLessThanOrEqual(14);
    await turnOf([first, second], [at(`step ${from + 2}`)]);
    await turnOf([first, second], []);
    await turnOf([third], []);
    const alone = temporaryFolder();
    await turnOf([alone], []);
    for (const dir of folders) {
      expect(loggedSteps(dir)).toEqual(ALL);
      expect(weights(dir)).toBe(weights(alone));
    }
  });
});

describe('processes that would go on from different checkpoints', () => {
  /** Folders of three nodes, stopped after the same step behind 9. */
  async function stopped(): Promise<{ folders: [string, string, string]; step: number }> {
    const folders: [string, string, string] = [temporaryFolder(), temporaryFolder(), temporaryFolder()];
    const [first, ...others] = folders;
    const [end] = await turnOf([first], [at('step 9')]);
    for (const folder of others) cpSync(first, folder, { recursive: true });
    return { folders, step: end?.step ?? -1 };
  }

  const filesOf = (dir: string) =>
    readdirSync(dir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name))
      .filter((path) => !path.includes('run.lock')) // which counts its holders
      .sort()
      .map((path) => `${path} ${fingerprintFile(path)}`);
  const digestOf = (dir: string) => checkpointDigest(openCheckpoint(join(dir, 'checkpoints', lastCheckpoint(dir))));

  it.each<{
    what: string;
    change: (dir: string) => void;
    says: (step: number, dirs: string[]) => string;
    /** What node 1 says beside that. */
    alone?: (step: number, dir: string) => string;
  }>([
    {
      what: 'the newest of one is damaged',
      change: (dir) => truncateSync(join(dir, 'checkpoints', lastCheckpoint(dir), 'model.safetensors'), 100),
      says: (step) => `nodes 0, 2 from step ${step}, node 1 from step 8`,
      alone: (step, dir) => `; in ${dir} checkpoint step-${String(step).padStart(6, '0')} is damaged and not used (`,
    },
    {
      what: 'one sees an older one',
      change: (dir) => rmSync(join(dir, 'checkpoints', lastCheckpoint(dir)), { recursive: true }),
      says: (step) => `nodes 0, 2 from step ${step}, node 1 from step 8`,
    },
    {
      what: 'one has none',
      change: (dir) => {
        rmSync(dir, { recursive: true });
        mkdirSync(dir);
      },
      says: (step) => `nodes 0, 2 from step ${step}, node 1 from the start`,
    },
    {
      what: 'one has other parameters',
      change: (dir) => {
        const path = join(dir, 'checkpoints', lastCheckpoint(dir), 'model.safetensors');
        const bytes = readFileSync(path);
        bytes.writeUInt8(bytes.readUInt8(bytes.length - 4) ^ 1, bytes.length - 4);
        writeFileSync(path, bytes);
      },
      says: (step, [first = '', second = '']) => {
        const [a, b] = [first, second].map((dir) => digestOf(dir).slice(0, 8));
        return `nodes 0, 2 from step ${step} (${a}), node 1 from step ${step} (${b})`;
      },
    },
    {
      what: 'one would draw other sequences',
      change: (dir) => {
        const path = join(dir, 'checkpoints', lastCheckpoint(dir), 'state.json');
        writeFileSync(path, readFileSync(path, 'utf8').replace(/("seed": *)\d+/g, '$17'));
      },
      says: (step, [first = '', second = '']) => {
        const [a, b] = [first, second].map((dir) => digestOf(dir).slice(0, 8));
        return `nodes 0, 2 from step ${step} (${a}), node 1 from step ${step} (${b})`;
      },
    },
  ])('do not begin where $what', async ({ change, says, alone }) => {
    const { folders, step } = await stopped();
    change(folders[1]);
    const before = folders.map(filesOf);
    const sentence =
      `the nodes would go on from different checkpoints: ${says(step, folders)}; give every node the checkpoint of one of them ` +
      '(a study folder must be one folder that all nodes see as it is now), then start all nodes again';
    for (const [node, { error }] of (await turnOf(folders, [])).entries()) {
      const own = node === 1 ? alone?.(step, folders[1]) : undefined;
      const message: unknown = own === undefined ? sentence : expect.stringContaining(sentence + own);
      expect(error).toBeInstanceOf(StoreError);
      expect(error).toMatchObject({ message, exitCode: 2 });
    }
    expect([0, 2].map((node) => filesOf(folders[node] ?? ''))).toEqual([before[0], before[2]]);
  });

  it('begin where only times differ', async () => {
    const { folders } = await stopped();
    const path = join(folders[1], 'checkpoints', lastCheckpoint(folders[1]), 'state.json');
    writeFileSync(path, readFileSync(path, 'utf8').replace(/("time": *)[\d.e-]+/, '$112345.5'));
    for (const { step, error } of await turnOf(folders, [])) expect([step, error]).toEqual([STEPS, null]);
    expect(new Set(folders.map(weights)).size).toBe(1);
  });

  it('are told in the same words, many of them in short', () => {
    const start = (step: number, digest = String(step)) => ({ step, digest });
    expect(differentStarts([start(4), start(4)])).toBe(null);
    expect(differentStarts([4, 4, 4, 8, 4, 4, 0].map((step) => start(step)))).toMatch(
      /checkpoints: nodes 0-2, 4-5 from step 4, node 3 from step 8, node 6 from the start; give/,
    );
  });
});
