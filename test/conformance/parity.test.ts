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
    settings: { float64?: boolean; tolerance?: number; values?: Record<string, HostTensor> } = {},
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
    const { float64 = true, values = readSafetensors(join(folder, 'expected.safetensors')), ...tolerances } = settings;
    const result = await compareWithExpected(loadModel(onnx, config, weights), values, {
      ...{ tensors: parts, hiddenStates, aliases: inMemory, ...tolerances },
      ...(float64 && { float64: () => createOnnxEngine({ threads: 1 }) }),
    });
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

  it('are roundings where all terms of a gradient cancel: of the first of two tokens, which sees only itself', async () => {
    const folder = join(DATA, 'hf', 'ministral3');
    const ids = readSafetensors(join(folder, 'expected.safetensors'))['input_ids'] as HostTensor;
    const first = toNumbers(ids).filter((_, i) => i % (ids.shape[1] as number) < 2);
    const input_ids = tensorFrom('i32', [2, 2], first);
    const norm = (value: number) => tensorFrom('f32', [1], [value]);
    // Their gradients are 0, whatever the weights are: one key is all that the only scored query sees.
    const [queries, keys] = [0, 1].flatMap((n) => [
      `gradnorm.model.layers.${n}.self_attn.q_proj.weight`,
      `gradnorm.model.layers.${n}.self_attn.k_proj.weight`,
    ]) as [string, string];
    const head = 'gradnorm.lm_head.weight';
    const { rows } = await judge(folder, {}, { values: { input_ids, [head]: norm(0) }, float64: false });
    const largest = rows[0]?.worstAbsolute as number;
    const zero = await judge(
      folder,
      {},
      { values: { input_ids, [head]: norm(largest), [queries]: norm(0), [keys]: norm(0) } },
    );
    expect(zero.rows.filter((row) => !row.passed)).toEqual([]);
    // Thirty millionths of the largest norm are more than roundings.
    const more = await judge(
      folder,
      {},
      { values: { input_ids, [head]: norm(largest), [queries]: norm(3e-5 * largest) } },
    );
    expect(more.rows.find(({ name }) => name === queries)?.passed).toBe(false);
  });

  it('are explained by the command, which exits with 0', async () => {
    const { code, stdout } = await cli(['parity', DEEP, '--engine', 'onnx', '--threads', '1']);
    expect(stdout).toMatch(/logits .* ok, float32 is no better \(from float64: expected \d.\de-3, ours \d.\de-\d\)/);
    expect(stdout).toMatch(/1 x 128 tokens: \d+ past the tolerance, as float32 is; the rest within it/);
    expect(code).toBe(0);
  });
});
