/** The table of speeds in the README says what the result files say. */
import { expect, it } from 'vitest';
import { count, type Line, numberOf, recordsOf, rowOf, tablesOf } from '../../support/doc-tables.js';

const GPU = 'bench/gpu/results/h200-2026-11-29.jsonl';
const PROMPTS = 'bench/gpu/results/h200-2026-11-30-prompts.jsonl';
const CPU = 'bench/results/cpu-2026-11-25.json';
const XEON = 'bench/results/cpu-2026-12-01.json';
const READING = 'bench/results/generate-2026-11-30.json';
const [gpu, reader, reading] = [recordsOf(GPU), recordsOf(PROMPTS), recordsOf(READING)];

/** A row of the table: the two speeds of one measurement, in tokens a second, and their ratio. */
function row(what: string, peer: string, measured: string, file: string, speeds: readonly [number, number]): string {
  const [ours, theirs] = speeds;
  const ratio = (ours / theirs).toFixed(2);
  return rowOf(what, count(ours), `${peer}: ${count(theirs)}`, `${ratio} ×`, measured, `[results](${file})`);
}

const BF16 = { precision: 'bf16' };
/** Beside the faster of the peer's precisions. */
const besideTransformers = (what: string, key: string, values: Line, theirs: Line = BF16) =>
  row(what, 'Transformers', '2026-11-30, one H200', PROMPTS, [
    numberOf(reader, key, { system: 'longsight', ...values, ...BF16 }),
    numberOf(reader, key, { system: 'transformers', ...values, ...theirs }),
  ]);

const onCpu = (what: string, peer: string, name: string, measured: string, file: string) => {
  const of = (program: string) => numberOf(recordsOf(file), 'tokensPerSecond', { batch: 8, seq: 512, peer: program });
  return row(what, peer, measured, file, [of('longsight'), of(name)]);
};
const [EPYC_DAY, XEON_DAY] = ['2026-11-25, 2 cores (AMD)', '2026-12-01, 2 cores (Intel)'];

const [prompts, fresh] = ['promptTokensPerSecond', 'newTokensPerSecond'];
const many = { batch: 16, tokens: 4096 };
const hybrid = { design: 'swa:128 full:nope', batch: 1 };
const qwen3 = { case: 'qwen3' };
const ROWS = [
  row('training, 85 M parameters, bf16', 'torch.compile with flex_attention', '2026-11-29, one H200', GPU, [
    numberOf(gpu, 'tokensPerSecond', { system: 'longsight', case: 'main' }),
    numberOf(gpu, 'tokensPerSecond', { system: 'torch.compile + flex_attention', case: 'main' }),
  ]),
  besideTransformers('reading prompts, 16 × 4,096, a hybrid', prompts, { case: 'main', ...many }),
  besideTransformers('reading prompts, 16 × 4,096, a Qwen3 folder', prompts, { ...qwen3, ...many }),
  besideTransformers('reading a prompt, 1 × 65,536, a Qwen3 folder', prompts, { ...qwen3, batch: 1, tokens: 65_536 }),
  besideTransformers('new tokens, batch of 16, a hybrid', fresh, { case: 'main', ...many }, { precision: 'f32' }),
  besideTransformers('new tokens, one sequence, a Qwen3 folder', fresh, { ...qwen3, batch: 1 }, { precision: 'f32' }),
  onCpu('training on CPU, 8 × 512', 'torch.compile, window as a mask', 'torch compile mask', EPYC_DAY, CPU),
  onCpu('the same', 'torch.compile, window by blocks', 'torch compile blocked', EPYC_DAY, CPU),
  onCpu('the same', 'torch.compile, window as a mask', 'torch compile mask', XEON_DAY, XEON),
  onCpu('the same', 'torch.compile, window by blocks', 'torch compile blocked', XEON_DAY, XEON),
  row('reading prompts on CPU, 1,024 tokens, a hybrid', 'Transformers', '2026-11-30, 2 cores', READING, [
    numberOf(reading, 'readPerSecond', { ...hybrid, program: 'longsight' }),
    numberOf(reading, 'readPerSecond', { ...hybrid, program: 'transformers' }),
  ]),
];

it('the README has the speeds of the result files, and no other', () => {
  const table = tablesOf('README.md').find(({ before }) => before.startsWith('How fast'));
  expect(table?.rows).toEqual(ROWS);
});
