/** The verdict of parity on errors past the tolerance: those of float32 pass, those of the model fail. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compareWithExpected } from '../../src/analysis/index.js';
import { openHfModel, readSafetensors } from '../../src/checkpoint/index.js';
import { tensorFrom, toNumbers, type HostTensor } from '../../src/core/index.js';
import { createOnnxEngine } from '../../src/engine/index.js';
import { loadModel } from '../../src/loaded/index.js';
import { cli } from '../support/cli.js';

const DATA = join(import.meta.dirname, '..', 'data');
const DEEP = join(DATA, 'hf-deep', 'gdn');

describe('errors past the tolerance', () => {
  /** A model in float32, with a parameter changed or not, judged by float64 or not. */
  async function judge(
    folder: string,
    change: { name?: string; by?: number } = {},
    settings: { float64?: boolean; tolerance?: number } = {},
  ) {
    const onnx = createOnnxEngine({ threads: 1 });
    const { config, parts, inMemory, hiddenStates, parameters } = openHfModel(folder);
    const weights = new Map<string, HostTensor>(parameters());
    const { name, by = 1 } = change;
    if (name !== undefined) {
      const weight = weights.get(name) as HostTensor;
      const values = toNumbers(weight).map((v) => v * by);
      weights.set(name, tensorFrom('f32', weight.shape, values));
    }
    const { float64 = true, ...tolerances } = settings;
    const result = await compareWithExpected(
      loadModel(onnx, config, weights),
      readSafetensors(join(folder, 'expected.safetensors')),
      {
        ...{ tensors: parts, hiddenStates, aliases: inMemory, ...tolerances },
        ...(float64 && { float64: () => createOnnxEngine({ threads: 1 }) }),
      },
    );
    await onnx.dispose();
    return result;
  }
  const logits = ({ rows }: Awaited<ReturnType<typeof judge>>) => rows.find((row) => row.name === 'logits');

  it('are those of float32 in 12 layers of Gated DeltaNet, which passes', async () => {
    expect((await judge(DEEP, {}, { float64: false })).passed).toBe(false);
    const result = await judge(DEEP);
    expect(result.rows.filter((row) => !row.passed)).toEqual([]);
    expect(result.passed).toBe(true);
    const row = logits(result);
    expect(row?.worstRelative).toBeGreaterThan(1e-3);
    expect(row?.float64?.ours).toBeGreaterThan(1e-4);
    expect(row?.float64?.expected).toBeLessThan(0.01);
    // Loss is within the tolerance, so that nothing is said of float64.
    expect(result.rows.find((r) => r.name === 'loss')?.float64).toBeUndefined();
  });

  it('fail a tolerance that was asked for', async () => {
    expect(logits(await judge(DEEP, {}, { tolerance: 2e-4 }))).toMatchObject({ passed: false, tolerance: 2e-4 });
  });

  it.each([
    ['layers.6.gdn.wo', 1.1],
    ['layers.10.mlp.wdown', 0.9],
  ])('of a deep model whose %s is wrong fail', async (name, by) => {
    const row = logits(await judge(DEEP, { name, by }));
    expect(row?.passed).toBe(false);
    expect(row?.float64?.expected).toBeGreaterThan(20 * (row?.float64?.ours as number));
  });

  it('of a shallow model fail where a weight is wrong by two thousandths', async () => {
    const row = logits(await judge(join(DATA, 'hf', 'qwen3-next'), { name: 'layers.0.gdn.wo', by: 1.002 }));
    expect(row?.worstRelative).toBeGreaterThan(1e-4);
    expect(row?.passed).toBe(false);
    expect(row?.float64?.ours).toBeLessThan(1e-4);
  });

  it('are explained by the command, which exits with 0', async () => {
    const { code, stdout } = await cli(['parity', DEEP, '--engine', 'onnx', '--threads', '1']);
    expect(stdout).toMatch(/logits .* ok, float32 is no better \(from float64: expected \d.\de-3, ours \d.\de-\d\)/);
    expect(stdout).toMatch(/1 x 128 tokens: \d+ past the tolerance, as float32 is; the rest within it/);
    expect(code).toBe(0);
  });
});
