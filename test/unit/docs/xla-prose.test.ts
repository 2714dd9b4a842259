/**
 * Measurements in the sentences of docs/xla.md say what the records of its result files say: each sentence is made here from the
 * records, and a measurement in no such sentence fails. Tables are those of tables.test.ts.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../../support/doc-commands.js';
import {
  count,
  decimals,
  type Line,
  numberIn,
  numberOf,
  recordOf,
  recordsOf as recordsAt,
} from '../../support/doc-tables.js';

const recordsOf = (file: string) => recordsAt(`bench/gpu/results/${file}`);
const main = recordsOf('h100-2026-11-26.jsonl');
const two = recordsOf('h100x2-2026-11-26.jsonl');
const twoBefore = recordsOf('h100x2-2026-11-25.jsonl');
const idle = recordsOf('h100-idle.jsonl');
const sweep = recordsOf('h100-sweep.jsonl');
const packed = recordsOf('h200-2026-11-29.jsonl');
const hybrids = recordsOf('h200-2026-11-30.jsonl');
const removing = recordsOf('h200-2026-11-30-recurrences.jsonl');
const recurrent = recordsOf('2026-11-26-h100-recurrences.jsonl');
const recurrentBefore = recordsOf('2026-11-26-h100-recurrences-before.jsonl');

const percent = (share: number, digits = 0) => `${decimals(share * 100, digits)} %`;
/** A bound that holds: the number rounded up. */
const atMost = (value: number, digits: number) =>
  (Math.ceil(value * 10 ** digits - 1e-9) / 10 ** digits).toFixed(digits);
const scientific = (value: number, digits = 1) => {
  const power = Math.floor(Math.log10(value));
  return `${atMost(value / 10 ** power, digits)}e${power}`;
};
const median = (line: Line) => [0, 1, 2].map((i) => numberIn(line, 'allMs', i)).sort((a, b) => a - b)[1] ?? NaN;
const list = (line: Line, key: string) => (line[key] as readonly unknown[]).map(Number);
const range = (values: readonly number[], digits: number) =>
  `${decimals(Math.min(...values), digits)} to ${decimals(Math.max(...values), digits)}`;
const largest = (lines: readonly Line[], key: string) =>
  Math.max(...lines.map((line) => numberIn(line, 'errors', key)));

const speed = (system: string, values: Line = {}) =>
  numberOf(main, 'tokensPerSecond', { call: 1, system, case: 'main', ...values });
const [torch, second] = ['torch.compile + flex_attention', 'longsight, second start'];
const at = (system: string, call: number) => recordOf(main, { call, system, case: 'main' }, 'allMs');

/** Speed-ups over PyTorch and JAX, the run of 200 steps, and long rows. */
function speeds(): string[] {
  const over = (call: number, ours: string, theirs: string) => speed(ours, { call }) / speed(theirs, { call });
  const byMedian = [
    median(at(torch, 1)) / median(at('longsight', 1)),
    median(at(torch, 1)) / median(at(second, 1)),
    median(at(torch, 2)) / median(at('longsight', 2)),
  ];
  const loss = (system: string) =>
    decimals(
      list(recordOf(main, { system }, 'losses'), 'losses')
        .slice(100)
        .reduce((a, b) => a + b, 0) / 100,
      4,
    );
  const trained = ['longsight', 'jax', 'torch'].map((name) => `${name}, losses`);
  const [ours = NaN, jax = NaN, theirs = NaN] = trained.map((system) => speed(system));
  const slower = [speed('longsight') / ours, speed('jax', { call: 2 }) / jax, speed(torch) / theirs].map(
    (r) => 100 * (r - 1),
  );
  const long = (which: string) => recordOf(main, { call: 2, system: torch, case: which }, 'tokensPerSecond');
  const ahead = (which: string) =>
    decimals(speed('longsight', { case: which }) / numberIn(long(which), 'tokensPerSecond'), 2);
  const gigabytes = (which: string) => `${decimals(numberIn(long(which), 'peakBytes') / 1e9, 1)} GB`;
  const rate = (which: string) => count(numberIn(long(which), 'tokensPerSecond'), 100);
  return [
    `That is **${decimals(over(1, 'longsight', torch), 2)} × \`torch.compile\`** (${decimals(over(1, 'longsight', torch), 3)} and, on the second start, ${decimals(over(1, second, torch), 3)} in call 1, ${decimals(over(2, 'longsight', torch), 3)} in call 2; by medians ${range(byMedian, 2)}), **${decimals(over(2, 'longsight', 'jax'), 2)} × plain JAX** (call 2)`,
    `and ${decimals(over(1, 'longsight', 'jax, triton gemm off'), 2)} × JAX with the flag`,
    `that would be ${decimals(numberIn(at(torch, 2), 'allMs', 0) / 1.25, 0)} ms a step`,
    `the mean loss of steps 100 to 199 is ${loss('longsight, losses')}, ${loss('jax, losses')} in JAX, ${loss('torch, losses')} in PyTorch`,
    `all three are ${range(slower, 1)} % slower and the ratios are the same: ${count(ours, 100)}, ${count(jax, 100)} and ${count(theirs, 100)} tokens/s, ${decimals(ours / jax, 2)} × and ${decimals(ours / theirs, 2)} ×`,
    `differs by ${percent(speed('longsight', { case: 'swa-64k' }) / speed('longsight', { case: 'swa-4k' }) - 1, 1)} from 4,096 to 65,536 tokens`,
    `takes ${rate('long-16k')} tokens/s and ${gigabytes('long-16k')} at 4 × 16,384, ${rate('long-64k')} and ${gigabytes('long-64k')} at 1 × 65,536`,
    `whose card was ${percent(speed('longsight', { call: 2 }) / speed('longsight') - 1)} faster: ours of call 1 are ${ahead('long-16k')} × and ${ahead('long-64k')} × that`,
  ];
}

/** Errors against float64 and against the reference engine. */
function errors(): string[] {
  const named = (begins: string, call: number) =>
    main.filter(({ check, call: own }) => String(check).startsWith(begins) && own === call);
  const f32 = named('f32', 1);
  const failed = named('bf16', 2).filter(({ ok }) => ok === false);
  const worst = numberIn(failed[0] ?? {}, 'worst');
  const compared = named('attention window', 1).filter(({ errors: own }) => own !== undefined);
  const isOurs = ({ kernels }: Line) => String(kernels).includes('window_attention');
  const [own, cudnn] = [compared.filter(isOurs), compared.filter((line) => !isOurs(line))];
  const gradients = Math.max(largest(own, 'dq'), largest(own, 'dk'));
  const others = main.filter(({ check }) => /^(norm|rotary|SwiGLU|cross-entropy)/.test(String(check)));
  const blocks = named('attention window', 1).filter(({ worst: value }) => value !== undefined);
  const checked = recurrent.filter(({ check, errors: found }) => check !== undefined && found !== undefined);
  const recurrence = Math.max(...checked.flatMap(({ errors: found }) => Object.values(found as Line).map(Number)));
  expect([failed.length, checked.length]).toEqual([1, 17]);
  return [
    `every op and derivative (${f32.length} checks), at most ${scientific(Math.max(...f32.map((line) => numberIn(line, 'worst'))))}`,
    `bf16 (${named('bf16', 2).length} checks,`,
    `is off by ${decimals(worst, 3)} where ${decimals(worst / numberIn(failed[0] ?? {}, 'ratio'), 3)} passes`,
    `largest error ${decimals(Math.max(...blocks.map((line) => numberIn(line, 'worst'))), 3)} on gradients`,
    `at most ${scientific(largest(own, 'out'))} for o, ${scientific(gradients)} for dq and dk (zero at window 1), ${scientific(largest(own, 'dv'))} for dv; cuDNN in the same check without a window ${scientific(largest(cudnn, 'out'))}, ${scientific(largest(cudnn, 'dq'))}, ${scientific(largest(cudnn, 'dk'))} and ${scientific(largest(cudnn, 'dv'))};`,
    `forward and backward, at most ${scientific(Math.max(largest(others, 'out'), largest(others, 'dx')))}.`,
    `norm of the error over the norm of the result at most ${atMost(recurrence * 100, 1)} %`,
  ];
}

/** One GPU: options, where the time goes. */
function oneGpu(): string[] {
  const fast = recordOf(sweep, { system: 'longsight' }, 'compileSeconds');
  const slow = recordOf(sweep, { system: 'triton gemm on' }, 'compileSeconds');
  const ratio = (key: string) => numberIn(fast, key) / numberIn(slow, key);
  const train = recordOf(idle, { system: 'longsight train' }, 'idle');
  const waiting = recordOf(idle, { system: 'longsight train, metrics wait for the device' }, 'idle');
  const call1 = recordOf(main, { system: 'longsight train' }, 'idle');
  const products = (train.kernels as readonly Line[])
    .filter(({ name }) => /^nvjet|splitKreduce/.test(String(name)))
    .reduce((sum, kernel) => sum + numberIn(kernel, 'ms'), 0);
  const before = idle.filter(({ system }) => system === 'longsight, before');
  const after = ['longsight', second].map((system) => recordOf(idle, { system }, 'allMs'));
  const shorter = before.map((line, i) => numberIn(line, 'allMs', 0) - numberIn(after[i] ?? {}, 'allMs', 0));
  const between = numberIn(train, 'idleBetween');
  return [
    `(${percent(ratio('tokensPerSecond') - 1)} faster on the benchmark, in ${percent(ratio('compileSeconds'))} of the compile time;`,
    `**The device is idle for ${percent(numberIn(train, 'idle'), 1)} of the time**, of which ${percent(between, 2)} (${decimals(between * numberIn(train, 'msPerStep') * 1000, 0)} µs a step) between steps`,
    `(in call 1 above again ${percent(numberIn(call1, 'idle'), 1)} and ${percent(numberIn(call1, 'idleBetween'), 2)})`,
    `it was ${percent(numberIn(waiting, 'idle'), 1)}, of which ${percent(numberIn(waiting, 'idleBetween'), 1)} between steps`,
    `the products (${percent(products / numberIn(train, 'msPerStep'))})`,
    `made the step ${range(shorter, 1)} ms shorter`,
  ];
}

/** Two GPUs, two processes, runs that repeat. */
function twoGpus(): string[] {
  const scaling = (mesh: string, values: Line = { call: 2 }, lines = two) =>
    recordOf(lines, { figure: 'scaling', case: 'main', mesh, ...values }, 'tokensPerSecond');
  const ratio = (mesh: string, call: number) => decimals(numberIn(scaling(mesh, { call }), 'ratio'), 3);
  const former = (mesh: string) => decimals(numberIn(scaling(mesh, {}, twoBefore), 'ratio'), 3);
  const byMedian = (mesh: string) => decimals((2 * median(scaling('one device'))) / median(scaling(mesh)), 2);
  const single = numberIn(scaling('one device'), 'tokensPerSecond');
  const slower = 1 - numberIn(scaling('one device', { call: 1 }), 'tokensPerSecond') / single;
  const apart = Math.max(...['data=2', 'fsdp=2'].map((mesh) => numberIn(scaling(mesh, { call: 1 }), 'lossDifference')));
  const again = numberOf(two, 'again', { figure: 'losses' });
  const [data = [], fsdp = []] = ['data=2', 'fsdp=2'].map((mesh) =>
    list(recordOf(two, { call: 2, case: 's5', mesh }, 'losses'), 'losses'),
  );
  const large = recordOf(twoBefore, { figure: 'large', mesh: 'fsdp=2' }, 'tokensPerSecond');
  const moved = numberOf(twoBefore, 'lossDifference', { figure: 'killed and moved' });
  const option = (mesh: string, options: string) =>
    numberOf(twoBefore, 'msPerStep', { figure: 'options', mesh, options }) /
    numberOf(twoBefore, 'msPerStep', { figure: 'options', mesh, options: 'plain' });
  for (const mesh of ['data=2', 'fsdp=2'])
    for (const options of ['overlap', 'overlap, combined'])
      expect(Math.abs(option(mesh, options) - 1)).toBeLessThan(0.01);
  const hosts = (name: string, records = two) =>
    atMost(Math.max(...list(recordOf(records, { name }, 'lossDifferences'), 'lossDifferences')), 5);
  const repeat = (options: string) => numberOf(two, 'msPerStep', { figure: 'deterministic', options });
  const plain = numberIn(scaling('one device'), 'msPerStep');
  return [
    `differs by up to ${atMost(again, 4)} in the loss within twenty steps`,
    `by medians it has ${byMedian('data=2')} (\`data\`) and ${byMedian('fsdp=2')} (\`fsdp\`)`,
    `one GPU ${percent(slower)} slower, it had ${ratio('data=2', 1)} and ${ratio('fsdp=2', 1)} (call 1, the same day); before tile kernels worked on meshes, ${former('data=2')} and ${former('fsdp=2')}`,
    `on the same links (${decimals(numberOf(two, 'all-reduce GB/s a link', { figure: 'links' }), 0)} GB/s)`,
    `by at most ${atMost(apart, 4)}, one GPU repeated differs from itself by up to ${atMost(again, 4)} (call 1)`,
    `differ by up to ${atMost(Math.max(...data.map((x, i) => Math.abs(x - (fsdp[i] ?? NaN)))), 4)}.`,
    `trains it, ${count(numberIn(large, 'tokensPerSecond'), 100)} tokens/s, ${decimals(numberIn(large, 'peakBytes', 0) / 1e9, 1)} GB a GPU`,
    `every logged loss within ${atMost(moved, 4)} of one`,
    'the latency-hiding scheduler (within 1 %), collectives combined to 128 MiB (within 1 %)',
    `by at most ${hosts('plain')} (\`data: 2\`), ${hosts('divided')} (\`fsdp: 2\`, whose checkpoints are gathered from both) and, killed with SIGKILL after 10 steps and resumed, by ${hosts('killed')}.`,
    `\`data: 2\` differs by at most ${hosts('plain', hybrids)} and, killed and resumed, by ${hosts('killed', hybrids)};`,
    `takes ${decimals(repeat('deterministic'), 1)} ms a step then, not ${decimals(plain, 1)}: ${percent(repeat('deterministic') / plain - 1)} more; without the last point ${decimals(repeat('deterministic, tuned'), 1)}.`,
  ];
}

/** Packed documents, and the peer of the recurrences. */
function kernels(): string[] {
  const row = recordOf(packed, { case: 'row-s1-full' }, 'tuning');
  const layers = 10;
  const ms = (begins: string, column: 1 | 2) =>
    (row.kernels as readonly (readonly [string, number, number])[])
      .filter(([name]) => name.startsWith(begins))
      .reduce((sum, kernel) => sum + kernel[column], 0) / layers;
  const forward = ms('packed_attention', 2) - ms('packed_attention_grad', 2);
  const masks = packed.filter(({ maskMs }) => maskMs !== undefined).map((line) => numberIn(line, 'maskMs'));
  const peer = (lines: readonly Line[], values: Line) => {
    const line = recordOf(lines, { ...values, form: 'fla' }, 'graphMs');
    return Math.min(numberIn(line, 'ms'), numberIn(line, 'graphMs'));
  };
  const sizes = [8, 2, 1].map((batch) => ({ batch, tokens: (16384 * (batch === 1 ? 2 : 1)) / batch }));
  const gdn = sizes.map((size) => peer(recurrentBefore, { mixer: 'gdn', ...size }));
  const over = gdn.map(
    (theirs, i) => theirs / numberOf(recurrent, 'ms', { mixer: 'gdn', form: 'kernels', ...sizes[i] }),
  );
  const change = ['mamba2', 'kda'].flatMap((mixer) =>
    sizes.map((size) => Math.abs(peer(recurrentBefore, { mixer, ...size }) / peer(recurrent, { mixer, ...size }) - 1)),
  );
  const [first, middle, last] = gdn.map((value) => decimals(value, 3));
  const [ratio, ...ratios] = over.map((value) => decimals(value, 2));
  return [
    `(${range(masks, 1)} ms)`,
    `${decimals(ms('packed_attention_grad', 2), 2)} ms a layer of \`s1-full\`, cuDNN's ${decimals(ms('cudnn_generated_fort_native_sdpa_sm90_flash_bprop', 1), 2)} on whole rows (${decimals(ms('void cudnn::fusion::compute_dot_do_o', 1), 2)} more for \`sum(do * o)\`); forward ${decimals(forward, 2)} ms and ${decimals(ms('cudnn_generated_fort_native_sdpa_sm90_flash_fprop', 1), 2)}.`,
    `took it ${first}, ${middle} and ${last} ms, ${ratio}, ${ratios.join(' and ')} × ours; Mamba-2 and Kimi Delta Attention differ by up to ${percent(Math.max(...change), 1)}.`,
  ];
}

/** RWKV-7, whose kernels came after the others. */
function removal(): string[] {
  const errors = Object.values(
    recordOf(removing, { check: 'check-rwkv7-kernels' }, 'relativeErrors').relativeErrors as Line,
  );
  const trained = (lines: readonly Line[], layers: string) =>
    numberOf(lines, 'tokensPerSecond', { case: `hybrid-${layers}` });
  const plain = numberOf(removing, 'ms', { mixer: 'rwkv7', form: 'xla', batch: 2, tokens: 8192 });
  const ours = trained(removing, 'rwkv7');
  return [
    `within ${percent(Number(atMost(Math.max(...errors.map(Number)), 3)), 1)} of the recurrence in float64.`,
    `take ${decimals(plain, 2)} ms.`,
    `trains at ${count(ours)} tokens/s, ${decimals(ours / trained(removing, 'gdn'), 2)} × Gated DeltaNet in its place; without kernels it was ${count(trained(hybrids, 'rwkv7'))} (`,
  ];
}

/** Numbers that look like measurements and are none: constants of the card, bounds of tests, goals. */
const STATED = [
  'over 989.4 TFLOP/s',
  "less than the test's bound of 1e-5",
  'within 0.03 plus 3 % of the largest element',
  'The goals of 1.15 × and 1.05 × are met; 1.25 × `torch.compile` is not',
  'The goal of 1.9 × is met by all four',
  'waits 0 to 2^31 - 1 ms',
];

const MEASUREMENT =
  /\d[\d,.]* ?(?:tokens\/s|ms\b|µs|GB\/s|GB\b|MB\b|TB\/s|TFLOP|%|×(?! [\d,]{4,}| tensor| [TN]\b))|\d\.?\d*e-\d|\b0\.\d{3,}|\b\d\.\d\d\b(?!\.)/;

/** The sentences of the page on one line, without code blocks and tables, names of cards, meshes and versions. */
const prose = readFileSync(join(ROOT, 'docs/xla.md'), 'utf8')
  .replaceAll(/^```[\s\S]*?^```/gm, '')
  .replaceAll(/^\|.*$/gm, '')
  .replaceAll(/\s+/g, ' ')
  .replaceAll(/80GB HBM3|0\.11\.2|(PyTorch|torch) 2\.11|(data|tensor|fsdp) 2 ×|\d × [\d,]{4,}/g, '');

describe('the measurements in the sentences of docs/xla.md', () => {
  const made = [...speeds(), ...errors(), ...oneGpu(), ...twoGpus(), ...kernels(), ...removal()];
  const plain = (text: string) => text.replaceAll(/\d × [\d,]{4,}/g, '');

  it.each(made)('are those of the records: %s', (sentence) => {
    expect(prose).toContain(plain(sentence));
  });

  it('are in no other sentence', () => {
    const rest = [...made, ...STATED].reduce((text, sentence) => text.replaceAll(plain(sentence), '()'), prose);
    const open = rest.split(/(?<=[.;:]) /).filter((sentence) => MEASUREMENT.test(sentence));
    expect(open).toEqual([]);
  });
});
