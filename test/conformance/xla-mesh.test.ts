/** Training on a mesh of virtual CPU devices: the same losses as on one device. */
import { afterAll, describe, expect, it } from 'vitest';
import { createXlaEngine, findPlugin, type MeshShape, type Sharding, type XlaEngine } from '../../src/engine/index.js';
import * as L from '../../src/graph/index.js';
import { initialParameters, resolveModelConfig } from '../../src/model/index.js';
import { RecallOptionsSchema, RecallSource, nextBatch } from '../../src/data/index.js';
import { TrainConfigSchema, Trainer } from '../../src/train/index.js';

const DEVICES = 8;
const STEPS = 10;
const { plugin } = findPlugin('cpu');
if (!plugin) console.log('meshes are left out: no PJRT CPU plugin; run node scripts/fetch-pjrt-cpu.mjs');

const model = resolveModelConfig({
  ...{ vocabSize: 16, hiddenSize: 32, layers: 'swa:4 full:nope', numHeads: 4, numKvHeads: 2, intermediateSize: 64 },
  ...{ qkNorm: true, sinks: true, outputGate: true },
});
const data = RecallOptionsSchema.parse({ numKeys: 4, numValues: 4, numFillers: 8 });

const engineOn = (mesh: MeshShape): XlaEngine =>
  createXlaEngine({
    ...{ platform: 'cpu', plugin: plugin?.path, cache: null, mesh },
    clientOptions: { cpu_device_count: DEVICES },
  });

async function losses(mesh: MeshShape, accumulate = 1): Promise<{ losses: number[]; weight: Float32Array }> {
  const config = TrainConfigSchema.parse({ seqLen: 16, batchSize: 8, steps: STEPS, accumulate });
  const engine = engineOn(mesh);
  try {
    const source = new RecallSource(data, config.seqLen, 1, 'mesh');
    const trainer = await Trainer.create({ engine, model, config, parameters: initialParameters(model, 1) });
    const found: number[] = [];
    for (let t = 1; t <= STEPS; t++) {
      found.push((await trainer.step(nextBatch(source, config.batchSize), 1e-2, t)).loss);
    }
    const weight = await trainer.tensors().parameter('layers.0.attn.wqkv');
    await trainer.dispose();
    return { losses: found, weight: weight.data as Float32Array };
  } finally {
    await engine.dispose();
  }
}

const MESHES: readonly MeshShape[] = [
  { data: 2 },
  { fsdp: 2 },
  { tensor: 2 },
  { data: 4 },
  { data: 2, tensor: 2 },
  { fsdp: 8 },
  { data: 2, fsdp: 2, tensor: 2 },
];

describe.skipIf(!plugin)('meshes of virtual CPU devices', () => {
  const one = plugin ? losses({}) : Promise.resolve({ losses: [], weight: new Float32Array(0) });
  const worst: string[] = [];
  afterAll(() => console.log(['largest difference of a loss from one device', ...worst].join('\n')));

  it.each(MESHES.map((mesh) => ({ mesh, name: JSON.stringify(mesh) })))('$name', async ({ mesh, name }) => {
    const expected = await one;
    expect(expected.losses[STEPS - 1]).toBeLessThan(expected.losses[0] as number);
    const got = await losses(mesh);
    const off = Math.max(...got.losses.map((x, i) => Math.abs(x - (expected.losses[i] as number))));
    worst.push(`${name.padEnd(36)} ${off.toExponential(1)}`);
    expect(off).toBeLessThan(1e-5);
    const apart = got.weight.reduce((m, x, i) => Math.max(m, Math.abs(x - (expected.weight[i] as number))), 0);
    expect(apart).toBeLessThan(1e-3);
  });

  it.each<[MeshShape, string[]]>([
    [{ data: 2, fsdp: 2, tensor: 2 }, []],
    [{ data: 4 }, []],
    [{ tensor: 2 }, []],
  ])('gathers nothing for attention on %j', async (mesh, expected) => {
    const engine = engineOn(mesh);
    const q = L.input('q', 'f32', [8, 32, 4, 8]);
    const [k, v] = [L.input('k', 'f32', [8, 32, 2, 8]), L.input('v', 'f32', [8, 32, 2, 8])];
    const { out } = L.attention(q, k, v, { window: 5, scale: 0.5 });
    const [dq, dk, dv] = L.grad(L.reduceSum(L.mul(out, out)), [q, k, v]) as [L.Value, L.Value, L.Value];
    const lies: Sharding = [['data', 'fsdp'], [], ['tensor']];
    const shardings = Object.fromEntries(['q', 'k', 'v', 'dq', 'dk', 'dv'].map((name) => [name, lies]));
    const program = await engine.compile(L.makeGraph({ q, k, v }, { dq, dk, dv }), { shardings });
    expect(engine.collectives(program).map((c) => c.op)).toEqual(expected);
    await engine.dispose();
  });

  it('gathers parameters that lie divided, each once, and moves no activations', async () => {
    const engine = engineOn({ fsdp: 4 });
    const config = TrainConfigSchema.parse({ seqLen: 64, batchSize: 8, steps: 1 });
    const parameters = initialParameters(model, 1);
    const trainer = await Trainer.create({ engine, model, config, parameters });
    const sent = new Map(engine.collectives(trainer.program).map((c) => [c.op, c.bytes]));
    const size = [...parameters.values()].reduce((sum, t) => sum + 4 * t.data.length, 0);
    expect(sent.get('all-gather')).toBeLessThan(1.1 * size);
    expect([...sent.keys()].sort()).toEqual(['all-gather', 'all-reduce']);
    await trainer.dispose();
    await engine.dispose();
  });

  it('moves parts of matrices, not of activations, where products are divided', async () => {
    const engine = engineOn({ tensor: 2 });
    const config = TrainConfigSchema.parse({ seqLen: 256, batchSize: 8, steps: 1 });
    const parameters = initialParameters(model, 1);
    const trainer = await Trainer.create({ engine, model, config, parameters });
    const moved = engine
      .collectives(trainer.program)
      .filter((c) => c.op === 'all-to-all' || c.op === 'collective-permute');
    const size = [...parameters.values()].reduce((sum, t) => sum + 4 * t.data.length, 0);
    const bytes = moved.reduce((sum, c) => sum + c.bytes, 0);
    expect(bytes).toBeLessThan(size);
    await trainer.dispose();
    await engine.dispose();
  });

  it('counts what a program sends', async () => {
    const engine = engineOn({ data: 4 });
    const x = L.input('x', 'f32', [8, 16]);
    const program = await engine.compile(L.makeGraph({ x }, { sum: L.reduceSum(x, [0]) }), {
      shardings: { x: [['data']] },
    });
    expect(engine.collectives(program)).toEqual([{ op: 'all-reduce', count: 1, bytes: 64 }]);
    await engine.dispose();
  });

  it('accumulates on a mesh', async () => {
    const [expected, got] = [await one, await losses({ data: 2, tensor: 2 }, 2)];
    expect(Math.abs((got.losses[STEPS - 1] as number) - (expected.losses[STEPS - 1] as number))).toBeLessThan(1e-4);
  });

  it('refuses more devices than there are, and batches that do not divide', async () => {
    expect(() => engineOn({ data: 16 })).toThrow(/needs 16 devices .* has 8/);
    expect(() => engineOn({ data: 1.5 })).toThrow(/mesh: data must be a whole number/);
    const engine = engineOn({ data: 8 });
    const config = TrainConfigSchema.parse({ seqLen: 16, batchSize: 12, steps: 1 });
    const parameters = initialParameters(model, 1);
    await expect(Trainer.create({ engine, model, config, parameters })).rejects.toThrow(
      /batchSize 12 .* multiple of 8/,
    );
    await engine.dispose();
  });
});
