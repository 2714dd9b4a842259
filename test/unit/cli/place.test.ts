/** `longsight place` on models of which it is known which layer carries what. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readSafetensors, writeSafetensors } from '../../../src/checkpoint/index.js';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { measure, openModel, ANALYSES } from '../../../src/lab/index.js';
import { loadStudy } from '../../../src/study/index.js';
import { cli } from '../../support/cli.js';

const DATA = join(import.meta.dirname, '..', '..', 'data');
const PROMPTS = join(DATA, 'analysis', 'niah.jsonl');

interface Found {
  readonly score: string;
  readonly whole: number;
  readonly alone: readonly { readonly layer: number; readonly value: number }[];
  readonly order: readonly { readonly layer: number; readonly value: number }[];
  readonly gates: readonly { readonly layer: number; readonly gate: number }[] | null;
  readonly placements: readonly { readonly name: string; readonly layers: number[]; readonly value: number }[];
}

let folder: string;
let run: string;

/** A SmolLM3 with full attention in its four layers, of which only `heard` add what they attend to, times `factor`. */
function modelThatHears(name: string, heard: readonly number[], factor = 1): string {
  const dir = join(folder, name);
  mkdirSync(dir);
  cpSync(join(DATA, 'retrieval-heads'), dir, { recursive: true });
  const config = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as object;
  const full = { layer_types: Array<string>(4).fill('full_attention'), no_rope_layers: [1, 1, 1, 1] };
  writeFileSync(join(dir, 'config.json'), JSON.stringify({ ...config, ...full, use_sliding_window: false }));
  const file = join(dir, 'model.safetensors');
  const silenced = Object.entries(readSafetensors(file)).map(([key, tensor]): [string, HostTensor] => {
    const layer = /layers\.(\d+)\.self_attn\.o_proj/.exec(key)?.[1];
    if (layer === undefined) return [key, tensor];
    const times = heard.includes(Number(layer)) ? factor : 0;
    return [
      key,
      tensorFrom(
        'f32',
        tensor.shape,
        toNumbers(tensor).map((x) => x * times),
      ),
    ];
  });
  writeSafetensors(file, Object.fromEntries(silenced));
  return dir;
}

const TEXTS = '--samples 1 --max-tokens 64 --trunc 32 --stride 32 --needles 1 --length 200'
  .split(' ')
  .concat('--texts', PROMPTS);

async function place(model: string, ...args: string[]): Promise<Found> {
  const { code, stdout, stderr } = await cli(['place', model, '--json', '--threads', '1', ...args]);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return JSON.parse(stdout.trim()) as Found;
}

async function refused(message: string | RegExp, ...args: string[]): Promise<void> {
  const { code, stdout, stderr } = await cli(['place', ...args]);
  expect(stderr).toMatch(message);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect([code, stdout]).toEqual([2, '']);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'longsight-place-'));
  run = join(folder, 'run');
  const file = join(folder, 'tiny.yaml');
  writeFileSync(
    file,
    'model: { hiddenSize: 16, numHeads: 2, intermediateSize: 24, layers: "3*full:nope swa:4 full" }\ndata: { kind: recall }\n' +
      'train: { seqLen: 64, batchSize: 4, steps: 2, lr: 1e-3, warmupSteps: 1, evalEvery: 2, checkpointEvery: 2 }\n' +
      'eval: { batches: 1, recall: { batches: 1 }, trace: false }\nengine: onnx\nthreads: 1\n',
  );
  expect((await cli(['train', file, '--out', run, '--quiet'])).code).toBe(0);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('longsight place', () => {
  // On this text the model is better off without what layer 0 hears from afar, and worse without what layers 2 and 3 do.
  it.each([
    ['gives up first', 0],
    ['keeps', 2],
    ['keeps', 3],
  ])('%s full attention where alone it is heard: layer %i', async (what, heard) => {
    const dir = modelThatHears(`hears-${heard}`, [heard], 4);
    const found = await place(dir, '--full', '1', '--keys', '2', ...TEXTS);
    // A layer that adds nothing may see as few keys as it likes.
    for (const { layer, value } of found.alone) expect(value === found.whole).toBe(layer !== heard);
    const [placed] = found.placements;
    if (what === 'keeps') expect(placed).toEqual({ name: 'placed', layers: [heard], value: found.whole });
    else expect([found.order[0]?.layer, placed?.layers.includes(heard)]).toEqual([heard, false]);
  });

  it('limits at each turn what costs least, as a search by hand does', async () => {
    const dir = modelThatHears('hears-all', [0, 1, 2, 3]);
    const found = await place(dir, '--full', '2', '--keys', '4', ...TEXTS);
    // It finds no needle, so that needles say nothing of its layers.
    expect(found.score).toBe('loss');
    // By another command: what is left where these layers, written as windows, see four keys.
    const leftOf = async (layers: readonly number[]): Promise<number> => {
      const windows = join(folder, `windows-${layers.join('-')}`);
      if (!existsSync(windows)) {
        cpSync(dir, windows, { recursive: true });
        const file = join(windows, 'config.json');
        const config = JSON.parse(readFileSync(file, 'utf8')) as object;
        const types = [0, 1, 2, 3].map((i) => (layers.includes(i) ? 'sliding_attention' : 'full_attention'));
        writeFileSync(
          file,
          JSON.stringify({ ...config, layer_types: types, use_sliding_window: true, sliding_window: 4 }),
        );
      }
      const opened = openModel(windows, { threads: 1 });
      const options = {
        texts: PROMPTS,
        samples: 1,
        maxTokens: 64,
        trunc: 32,
        stride: 32,
        needles: 1,
        length: 200,
        keys: [4096],
      };
      const { rows } = await measure(ANALYSES.limits, opened, options);
      await opened.dispose();
      const [whole] = rows;
      return whole?.loss ?? NaN;
    };
    for (const { layer, value } of found.alone) expect(value).toBeCloseTo(await leftOf([layer]), 5);
    const first = found.order[0];
    expect(first?.value).toBe(Math.min(...found.alone.map(({ value }) => value)));
    const gone = found.order.map(({ layer }) => layer);
    expect(found.order[1]?.value).toBeCloseTo(await leftOf(gone), 5);
    const names = found.placements.map(({ name }) => name);
    expect(names).toEqual(['placed', 'even', 'first', 'last', 'random-1', 'random-2']);
    expect(found.placements.slice(1, 4).map(({ layers }) => layers)).toEqual([
      [1, 3],
      [0, 1],
      [2, 3],
    ]);
    expect(new Set(found.placements.slice(1).map(({ layers }) => layers.join())).size).toBe(5);
    for (const { layers, value } of found.placements)
      expect(value).toBeCloseTo(await leftOf([0, 1, 2, 3].filter((layer) => !layers.includes(layer))), 5);
  });

  it('writes a study of the placements of a run, each design once', async () => {
    const file = join(folder, 'study.yaml');
    const found = await place(run, '--full', '2', '--keys', '8', '--others', 'gdn', '--seeds', '4,5', '--out', file);
    expect(found.score).toBe('recall');
    expect(found.alone.map(({ layer }) => layer)).toEqual([0, 1, 2, 4]);
    const study = loadStudy(file);
    expect(new Set(study.runs.map(({ seed }) => seed))).toEqual(new Set([4, 5]));
    const pattern = (layers: readonly number[]) =>
      [0, 1, 2, 3, 4]
        .map((i) => (i === 3 ? 'swa:4' : !layers.includes(i) ? 'gdn' : i === 4 ? 'full' : 'full:nope'))
        .join(' ');
    const text = readFileSync(file, 'utf8');
    const designs = new Set(found.placements.map(({ layers }) => pattern(layers)));
    for (const design of designs) expect(text.split(`: ${design}\n`)).toHaveLength(2);
    expect(study.runs).toHaveLength(2 * designs.size);
    // It stands in the run folder, and in its report.
    expect((await cli(['report', run, '--quiet'])).code).toBe(0);
    expect(readFileSync(join(run, 'report.html'), 'utf8')).toContain('Placement: which full layers are needed');
  });

  // The texts are those that the gates are learned on, and those that placements are measured on.
  it.each([2, 3])('opens the gate where alone it is heard: layer %i', async (heard) => {
    const dir = modelThatHears(`gate-${heard}`, [heard], 4);
    const found = await place(dir, '--full', '1', '--keys', '2', '--by', 'gates', '--gate-steps', '20', ...TEXTS);
    expect(found).toMatchObject({ by: 'gates', alone: [], order: [] });
    expect(found.gates?.map(({ layer }) => layer)).toEqual([0, 1, 2, 3]);
    expect(found.gates?.[heard]?.gate).toBeGreaterThan(0.5);
    expect(found.gates?.reduce((sum, { gate }) => sum + gate, 0)).toBeCloseTo(1, 5);
    expect(found.placements[0]).toEqual({ name: 'gated', layers: [heard], value: found.whole });
    expect(found.placements.map(({ name }) => name)).not.toContain('placed');
  });

  it('learns gates of a run on its training data, and trains both choices beside the usual places', async () => {
    const file = join(folder, 'both.yaml');
    const asked = ['--full', '1', '--keys', '8', '--by', 'both', '--gate-steps', '4'];
    const found = await place(run, ...asked, '--seeds', '1', '--out', file);
    const again = await place(run, ...asked);
    expect(again).toEqual(found);
    expect(found.order).toHaveLength(3);
    expect(found.gates?.map(({ layer }) => layer)).toEqual([0, 1, 2, 4]);
    const [placed, gated, ...usual] = found.placements;
    expect([placed?.name, gated?.name]).toEqual(['placed', 'gated']);
    expect(usual.map(({ name }) => name)).toEqual(['even', 'first', 'last', 'random-1', 'random-2']);
    const study = loadStudy(file);
    // A choice that is one of the usual places, or the other choice, is trained once, under the first of its names.
    const designs = new Set(found.placements.map(({ layers }) => layers.join()));
    expect(study.runs).toHaveLength(designs.size);
    const text = readFileSync(file, 'utf8');
    expect(text).toContain('stayed open at');
    const table = await cli(['place', run, ...asked, '--threads', '1']);
    expect(table.stdout).toMatch(/layer +gate +limited alone +turn +left then/);
    const only = await cli(['place', run, ...asked, '--by', 'gates', '--threads', '1']);
    expect(only.stdout).toMatch(/layer +gate\n/);
  });

  it('says what it needs', async () => {
    await refused('the model has 4 full layers, and --full 4 keeps all; ask for fewer', run, '--full', '4');
    await refused(
      'batches of gates (--gate-steps) are for layers that gates choose (--by gates, or both); leave them out',
      run,
      '--full',
      '1',
      '--gate-steps',
      '5',
    );
    await refused(
      'other layers (--others) are of the study that is written; name its file (--out)',
      run,
      '--full',
      '1',
      '--others',
      'gdn',
    );
    // Rows have 64 tokens: a window of 64 shows all of them, one of 63 hides the first from the last.
    for (const keys of [[], ['--keys', '65'], ['--keys', '64']])
      await refused('tokens at most that are measured, so that no limit would cost', run, '--full', '2', ...keys);
    expect((await place(run, '--full', '3', '--keys', '63')).order).toHaveLength(1);
    const out = join(folder, 'refused.yaml');
    await refused('write one layer, such as swa:128', run, '--full', '1', '--out', out, '--others', 'gdn swa:8');
    const model = join(DATA, 'retrieval-heads');
    await refused('the model belongs to none', model, '--full', '1', '--out', out, ...TEXTS);
    const { code, stderr } = await cli(['place', run]);
    expect([code, stderr]).toEqual([2, expect.stringContaining("required option '--full <n>' not specified")]);
    expect(existsSync(out)).toBe(false);
  });
});
