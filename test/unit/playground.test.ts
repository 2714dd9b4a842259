/** The playground without a browser: its numbers are those of a run, its links and words say what is the case. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createEngine } from '../../src/engine/index.js';
import { loadRunFile, performRun } from '../../src/lab/index.js';
import { findingPath, metricsPath, readMetrics } from '../../src/run/index.js';
import { CHEAP_LAYERS, patternOf, runInput, type CheapLayer, type PlaygroundRun } from '../../src/playground/design.js';
import type { MeasuredPoint } from '../../src/playground/protocol.js';
import { Session } from '../../src/playground/session.js';
import { parseRuns, printRuns } from '../../web/playground/link.js';
import type { Lane } from '../../web/playground/lane.js';
import { headline } from '../../web/playground/words.js';
import { folderWith } from '../support/folders.js';

const RUN: PlaygroundRun = { cheap: 'swa', window: 8, cheapCount: 2, nope: false, seed: 3 };

/** The run of the playground as `longsight train` does it, for so many steps. */
async function trained(run: PlaygroundRun, steps: number) {
  const input = runInput(run);
  const folder = folderWith({ 'run.yaml': JSON.stringify({ ...input, train: { ...input.train, steps } }) });
  const dir = join(folder, 'out');
  const engine = createEngine('onnx', { threads: 1 });
  await performRun({ dir, run: loadRunFile(join(folder, 'run.yaml')), engine, resume: 'no' });
  return { series: readMetrics(metricsPath(dir)).series, dir };
}

describe('a session of the playground', () => {
  it('has the losses, recall and heads of longsight train on its run file', async () => {
    const steps = 20;
    const { series, dir } = await trained(RUN, steps);
    const session = await Session.begin(createEngine('onnx', { threads: 1 }), RUN);
    const losses: number[] = [];
    const norms: number[] = [];
    let tenth: MeasuredPoint | null = null;
    for (let i = 0; i < steps; i++) {
      const { loss, gradNorm } = await session.train();
      losses.push(loss);
      norms.push(gradNorm);
      if (session.step === 10) tenth = await session.measure();
    }
    const values = (name: string) => series.get(name)?.map(({ value }) => value);
    expect(values('train/loss')).toEqual(losses);
    expect(values('train/grad_norm')).toEqual(norms);
    for (const { from, to, probability } of tenth?.recall ?? [])
      expect(series.get(`eval/recall/${from}-${to}`)).toContainEqual({ tokens: tenth?.tokens, value: probability });
    expect(tenth?.recall.map(({ to }) => to)).toEqual([8, 16, 32, 64]);
    const { heads } = await session.measure();
    expect(heads.map((own) => own.length)).toEqual([4, 4, 4]);
    expect(JSON.parse(readFileSync(findingPath(dir, 'retrieval-heads', steps), 'utf8'))).toMatchObject({
      step: steps,
      layers: heads.map((own) => ({ heads: own.map((score) => ({ score })) })),
    });
    await session.dispose();
  });

  it.each(Object.keys(CHEAP_LAYERS) as CheapLayer[])('trains with %s layers', async (cheap) => {
    const session = await Session.begin(createEngine('onnx', { threads: 1 }), { ...RUN, cheap, nope: true });
    const { loss: first } = await session.train();
    for (let i = 0; i < 3; i++) await session.train();
    expect((await session.train()).loss).toBeLessThan(first);
    expect(session.labels.at(-1)).toBe('full:nope');
    await session.dispose();
  });
});

describe('patterns of designs', () => {
  it.each([
    [RUN, '2*swa:8 full'],
    [{ ...RUN, cheapCount: 1 as const, nope: true }, 'swa:8 2*full:nope'],
    [{ ...RUN, cheapCount: 0 as const }, '3*full'],
    [{ ...RUN, cheap: 'gdn' as const }, '2*gdn full'],
  ])('%j is %s', (run, pattern) => expect(patternOf(run)).toBe(pattern));
});

describe('links to a race', () => {
  it('name both designs and the seed', () => {
    const runs = [
      { ...RUN, nope: true },
      { ...RUN, cheap: 'mamba2' as const, cheapCount: 1 as const },
    ] as const;
    expect(parseRuns(printRuns(runs))).toEqual(runs);
  });

  it.each(['', '#a=swa-9-2-rope&b=__proto__-8-2-rope&seed=-1', '#seed=1e9&a=<b>'])(
    'that name none (%j) give a small and a large window',
    (hash) =>
      expect(parseRuns(hash)).toEqual([
        { ...RUN, seed: 1 },
        { ...RUN, seed: 1, window: 32 },
      ]),
  );
});

describe('the headline', () => {
  /** A design with far recall at every tenth step. */
  const lane = (window: 8 | 32, far: readonly number[]): Lane => ({
    ...{ run: { ...RUN, window }, state: 'resting', step: 10 * (far.length - 1), steps: [], milliseconds: null },
    ...{ parameters: 0, labels: [], library: '', relaxedSimd: true, threads: 1, problem: null },
    measured: far.map((probability, i) => ({
      ...{ step: 10 * i, tokens: 0, heads: [] },
      recall: [
        { from: 1, to: 8, probability: 0.4 },
        { from: 33, to: 64, probability },
      ],
    })),
  });
  const flat = (count: number) => Array.from({ length: count }, () => 0.1);

  it('says that both train before the first measurement', () => {
    const training = { ...lane(8, [0.1]), state: 'training' as const };
    expect(headline([training, lane(32, [0.1])], 33)).toBe('Both train. What they have learned shows every 10 steps.');
  });

  it.each([
    [[], [], 'Getting ready …'],
    [[0.1], [0.1], 'Neither model has learned anything yet. Press Race.'],
    [[0.1, 0.2], [0.1, 0.2], 'After 10 steps neither model knows numbers from 33 or more tokens back.'],
    [[0.1, 0.2], [0.1, 0.2], 'Recall from nearby (1 to 8): A 40 %, B 40 %.'],
    [
      [0.1, 0.5],
      [0.1, 0.4],
      'A (window of 8) has known numbers from far back since step 10. B (window of 32) does not yet, after 10.',
    ],
    [
      [0.1, 0.5, 0.5],
      [0.1, 0.4, 0.6],
      'B (window of 32) took 20 steps: 2.0 times as many. So here the larger window learned later to',
    ],
    [
      [0.1, 0.4, 0.6],
      [0.1, 0.5, 0.5],
      'A (window of 8) took 20 steps: 2.0 times as many. So here the larger window learned sooner to',
    ],
    [
      [0.1, 0.5],
      [0.1, 0.5],
      'A (window of 8) has known numbers from far back since step 10. So does B (window of 32).',
    ],
    [
      [...flat(60), 0.5],
      flat(61),
      'B (window of 32) does not after all 600 steps. So here the larger window learned later to look far back.',
    ],
  ])('says of %j and %j: %s', (a, b, text) => expect(headline([lane(8, a), lane(32, b)], 33)).toContain(text));
});
