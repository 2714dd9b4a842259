import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cli } from '../../support/cli.js';

const HF = join(import.meta.dirname, '..', '..', 'data', 'hf');

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'longsight-hf-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A copy of a model with other fields in its config.json. */
function changed(name: string, fields: object): string {
  const copy = mkdtempSync(join(folder, `${name}-`));
  cpSync(join(HF, name), copy, { recursive: true });
  const path = join(copy, 'config.json');
  writeFileSync(path, JSON.stringify({ ...(JSON.parse(readFileSync(path, 'utf8')) as object), ...fields }));
  return copy;
}

async function refused(message: RegExp, ...args: string[]): Promise<void> {
  const { code, stdout, stderr } = await cli(args);
  expect(stderr).toMatch(message);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(stdout).toBe('');
  expect(code).toBe(2);
}

describe('longsight inspect', () => {
  it('prints the layer plan and costs, and as JSON', async () => {
    const { code, stdout } = await cli(['inspect', join(HF, 'exaone4-windows')]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/swa:\d+/);
    expect(stdout).toContain('Everything can be imported.');
    const json = await cli(['inspect', join(HF, 'granite-hybrid'), '--json']);
    const value = JSON.parse(json.stdout) as { layers: string; importable: boolean; cost: { parameters: object } };
    expect(value.importable).toBe(true);
    expect(value.layers).toContain('mamba2');
  });

  it('names what is not supported, with exit code 1, and refuses what is no model', async () => {
    const { code, stdout } = await cli(['inspect', changed('llama-linear', { hidden_act: 'relu6' })]);
    expect(stdout).toMatch(/not supported: .*relu6/);
    expect(code).toBe(1);
    const unknown = await cli(['inspect', changed('qwen2', { model_type: 'gpt_unknown' })]);
    expect(unknown.stdout).toMatch(/model_type "gpt_unknown" is not one that can be read/);
    expect(unknown.code).toBe(1);
    await refused(/config\.json/, 'inspect', folder);
  });
});

describe('longsight parity', () => {
  it('compares everything that the file holds, and fails past the tolerance', async () => {
    const args = ['parity', join(HF, 'qwen3-bias-windows'), '--engine', 'onnx', '--threads', '1'];
    const { code, stdout } = await cli([...args, '--json']);
    expect(code).toBe(0);
    const result = JSON.parse(stdout) as { passed: boolean; rows: { name: string }[] };
    expect(result.passed).toBe(true);
    const names = result.rows.map((r) => r.name.replace(/\..*/, ''));
    expect(new Set(names)).toEqual(new Set(['logits', 'hidden', 'attn', 'loss', 'gradnorm']));
    const strict = await cli([...args, '--tolerance', '1e-12']);
    expect(strict.code).toBe(1);
    expect(strict.stdout).toMatch(/past 1e-12 \(from float64: expected \S+e-\d, ours \S+e-\d\)/);
  });

  it('refuses a folder without expected values, and tolerances that are none', async () => {
    const bare = changed('qwen2', {});
    rmSync(join(bare, 'expected.safetensors'));
    await refused(/expected\.safetensors/, 'parity', bare);
    await refused(/--tolerance/, 'parity', join(HF, 'qwen2'), '--tolerance', 'small');
  });
});

describe('longsight export', () => {
  const train = async (name: string, layers: string): Promise<string> => {
    const file = join(folder, `${name}.yaml`);
    writeFileSync(
      file,
      `model: { hiddenSize: 16, numHeads: 2, intermediateSize: 24, layers: "${layers}" }\n` +
        'data: { kind: recall }\n' +
        'train: { seqLen: 32, batchSize: 4, steps: 2, lr: 1e-3, warmupSteps: 1, evalEvery: 2, checkpointEvery: 2 }\n' +
        'eval: { batches: 1, trace: false }\nengine: onnx\nthreads: 1\n',
    );
    const run = join(folder, name);
    const { stderr } = await cli(['train', file, '--out', run, '--quiet']);
    expect(stderr).toBe('');
    return run;
  };

  it('writes a window hybrid with NoPE on its full layers as smollm3, which inspect reads back', async () => {
    const run = await train('run', 'swa:8 full:nope');
    const out = join(folder, 'exported');
    const { code, stdout } = await cli(['export', run, out, '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ event: 'export', architecture: 'SmolLM3ForCausalLM' });
    const { stdout: read } = await cli(['inspect', out, '--json']);
    expect(JSON.parse(read)).toMatchObject({ importable: true, layers: 'swa:8 full:nope' });
    await refused(/exported/, 'export', run, out);
  });

  it('says which feature has no home, and writes nothing', async () => {
    const run = await train('mixed', 'swa:8/full full');
    const out = join(folder, 'homeless');
    await refused(/no class|window/i, 'export', run, out);
    expect(existsSync(out)).toBe(false);
    await refused(/--type|model_type|gpt9/, 'export', run, out, '--type', 'gpt9');
  });
});
