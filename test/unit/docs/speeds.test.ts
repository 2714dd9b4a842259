/** The table of speeds in the README says what the result files say. */
import { expect, it } from 'vitest';
import { count, type Line, numberOf, recordsOf, rowOf, tablesOf } from '../../support/doc-tables.js';

const GPU = 'bench/gpu/results/h200-2026-11-29.jsonl';
const CPU = 'bench/results/cpu-2026-11-25.json';
const READING = 'bench/results/generate-2026-11-30.json';
const [gpu, cpu, reading] = [recordsOf(GPU), recordsOf(CPU), recordsOf(READING)];

/** A row of the table: the two speeds of one measurement, in tokens a second, and their ratio. */
function row(what: string, peer: string, measured: string, file: string, speeds: readonly [number, number]): string {
  const [ours, theirs] = speeds;
  const ratio = (ours / theirs).toFixed(2);
  return rowOf(what, count(ours), `${peer}: ${count(theirs)}`, `${ratio} ×`, measured, `[results](${file})`);
}

const onGpu = (what: string, peer: string, system: string, key: string, values: Line) =>
  row(what, peer, '2026-11-29, one H200', GPU, [
    numberOf(gpu, key, { system: 'longsight', ...values }),
    numberOf(gpu, key, { system, ...values }),
  ]);

const onCpu = (what: string, peer: string, name: string) =>
  row(what, peer, '2026-11-25, 2 cores', CPU, [
    numberOf(cpu, 'tokensPerSecond', { batch: 8, seq: 512, peer: 'longsight' }),
    numberOf(cpu, 'tokensPerSecond', { batch: 8, seq: 512, peer: name }),
  ]);

const [prompts, fresh] = ['promptTokensPerSecond', 'newTokensPerSecond'];
const many = { batch: 16, tokens: 4096 };
const hybrid = { design: 'swa:128 full:nope', batch: 1 };
const FLEX = 'torch.compile + flex_attention';
const ROWS = [
  onGpu('training, 85 M parameters, bf16', 'torch.compile with flex_attention', FLEX, 'tokensPerSecond', {
    case: 'main',
  }),
  ...[
    { what: 'reading prompts, 16 × 4,096, a hybrid', key: prompts, model: 'main' },
    { what: 'reading prompts, 16 × 4,096, a Qwen3 folder', key: prompts, model: 'qwen3' },
    { what: 'new tokens, batch of 16, a hybrid', key: fresh, model: 'main' },
  ].map(({ what, key, model }) => onGpu(what, 'Transformers', 'transformers', key, { case: model, ...many })),
  onCpu('training on CPU, 8 × 512', 'torch.compile, window as a mask', 'torch compile mask'),
  onCpu('the same', 'torch.compile, window by blocks', 'torch compile blocked'),
  row('reading prompts on CPU, 1,024 tokens, a hybrid', 'Transformers', '2026-11-30, 2 cores', READING, [
    numberOf(reading, 'readPerSecond', { ...hybrid, program: 'longsight' }),
    numberOf(reading, 'readPerSecond', { ...hybrid, program: 'transformers' }),
  ]),
];

it('the README has the speeds of the result files, and no other', () => {
  const table = tablesOf('README.md').find(({ before }) => before.startsWith('How fast'));
  expect(table?.rows).toEqual(ROWS);
});
