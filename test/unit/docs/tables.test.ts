/** Every table of docs/xla.md that has numbers says what the records of its result file say; so do others' tables. */
import { describe, expect, it } from 'vitest';
import { modelCost } from '../../../src/model/cost.js';
import { resolveModelConfig } from '../../../src/model/config.js';
import {
  count,
  decimals,
  type Line,
  numberIn,
  numberOf,
  recordOf,
  recordsOf,
  rowOf,
  tableOf,
  tablesOf,
} from '../../support/doc-tables.js';

const PAGE = 'docs/xla.md';
const FOLDER = 'bench/gpu/results';

interface Expected {
  readonly file: string;
  readonly header: string;
  readonly rows: readonly string[];
}

const tokens = (line: Line) => count(numberIn(line, 'tokensPerSecond'), 100);
const rounds = (line: Line) => [0, 1, 2].map((i) => decimals(numberIn(line, 'allMs', i), 1)).join(', ');
const utilization = (line: Line) => `${decimals(numberIn(line, 'mfu') * 100, 1)} %`;
const compile = (line: Line, digits = 1) => decimals(numberIn(line, 'compileSeconds'), digits);
const gigabytes = (bytes: number) => `${decimals(bytes / 1e9, 1)} GB`;
const memory = (line: Line) => gigabytes(numberIn(line, 'peakBytes'));

/** Two GPUs of one host. Collectives alone: their bytes on the links, over the speed of an all-reduce in call 1. */
function twoGpus(): Expected {
  const file = 'h100x2-2026-11-26.jsonl';
  const lines = recordsOf(`${FOLDER}/${file}`);
  const links = numberOf(lines, 'all-reduce GB/s a link', { figure: 'links' });
  // Of a collective's results, what each of two devices sends; an all-reduce sends its bytes once.
  const sharesOf: Readonly<Record<string, number>> = { 'all-reduce': 1, 'all-gather': 0.5, 'reduce-scatter': 1 };
  const row = (model: string, which: string, mesh: string, name: string) => {
    const line = recordOf(lines, { call: 2, figure: 'scaling', case: which, mesh }, 'tokensPerSecond');
    const start = [model, name, tokens(line)];
    if (mesh === 'one device') return rowOf(...start, '', gigabytes(numberIn(line, 'peakBytes', 0)), '', '');
    const sent = (line.collectives as readonly Line[]).map((one) => ({
      op: String(one.op),
      bytes: numberIn(one, 'bytes'),
    }));
    const alone = sent.reduce((sum, { op, bytes }) => sum + ((sharesOf[op] ?? NaN) * bytes) / links / 1e6, 0);
    return rowOf(
      ...start,
      decimals(numberIn(line, 'ratio'), 3),
      gigabytes(numberIn(line, 'peakBytes', 0)),
      sent.flatMap(({ op, bytes }) => (bytes < 1e6 ? [] : [`${op} ${count(bytes / 1e6)} MB`])).join(', '),
      `${decimals(alone, 1)} ms, ${decimals(numberIn(line, 'collectivesExposedMs'), 1)} ms`,
    );
  };
  const rows = ['main', 's5'].flatMap((which) => [
    row(
      which === 'main' ? 'benchmark hybrid, 8 × 4,096' : '477 M (`s5-swa-128`), 1 × 16,384',
      which,
      'one device',
      'one GPU',
    ),
    row('', which, 'data=2', '`data: 2`'),
    row('', which, 'fsdp=2', '`fsdp: 2`'),
  ]);
  const header =
    '| model, batch a GPU | mesh | tokens/s | ratio | peak memory a GPU | sent a step (bytes of results) | collectives alone, exposed |';
  return { file, header, rows };
}

const MAIN = 'h100-2026-11-26.jsonl';

function systems(): Expected {
  const lines = recordsOf(`${FOLDER}/${MAIN}`);
  const row = (call: number, name: string, system: string) => {
    const line = recordOf(lines, { call, system, case: 'main' }, 'tokensPerSecond');
    return rowOf(`${call}`, name, tokens(line), rounds(line), utilization(line), compile(line), memory(line));
  };
  const torch = 'torch.compile + flex_attention';
  const rows = [
    row(1, 'Longsight', 'longsight'),
    row(1, 'Longsight, second start', 'longsight, second start'),
    row(1, 'PyTorch 2.11, `torch.compile`, flex_attention, fused AdamW', torch),
    row(1, 'JAX, `--xla_gpu_enable_triton_gemm=false`', 'jax, triton gemm off'),
    row(2, 'Longsight', 'longsight'),
    row(2, 'PyTorch, as above', torch),
    row(2, 'JAX 0.11.2, cuDNN attention', 'jax'),
  ];
  const header = '| call | system | tokens/s | ms a step, three rounds | MFU | compile, s | peak memory |';
  return { file: MAIN, header, rows };
}

function sizes(): Expected {
  const lines = recordsOf(`${FOLDER}/${MAIN}`);
  const row = (name: string, batch: string, which: string) => {
    const line = recordOf(lines, { call: 1, system: 'longsight', case: which }, 'tokensPerSecond');
    const again = lines.find((one) => one.system === 'longsight, second start' && one.case === which);
    const compiled = again === undefined ? compile(line) : `${compile(line)}, ${compile(again, 2)}`;
    return rowOf(name, batch, tokens(line), utilization(line), compiled, memory(line));
  };
  const rows = [
    row('the above', '4 × 16,384', 'long-16k'),
    row('the above', '1 × 65,536', 'long-64k'),
    row('all layers `swa:128`', '8 × 4,096', 'swa-4k'),
    row('all layers `swa:128`', '2 × 16,384', 'swa-16k'),
    row('all layers `swa:128`', '1 × 65,536', 'swa-64k'),
    ...['4', '4', '2', '2', '1'].map((batch, i) => {
      const which = `s${i + 1}`;
      const parameters = count(numberOf(lines, 'nonEmbedding', { system: 'longsight', case: which }) / 1e6);
      return row(`\`${which}-swa-128\` (${parameters} M)`, `${batch} × 16,384`, which);
    }),
  ];
  const header = '| model | batch | tokens/s | MFU | compile, s: first, second start | peak memory |';
  return { file: MAIN, header, rows };
}

const IDLE = 'h100-idle.jsonl';

/** Kernels by what they do: the first pattern that fits the name. */
const KERNELS: Readonly<Record<string, RegExp>> = {
  products: /^nvjet|splitKreduce/,
  'full forward': /^cudnn.*fprop/,
  'full backward': /^cudnn.*bprop|compute_dot_do_o|convert_dq/,
  'window forward': /^window_attention$/,
  'window backward': /^window_attention_grad$/,
  rotary: /^rotate$/,
  'swiglu forward': /^swiglu$/,
  'swiglu backward': /^swiglu_grad$/,
  'norm forward': /^rms_norm$/,
  'norm backward': /^rms_norm_grad/,
  adamw: /^loop_add_subtract/,
  loss: /^cross_entropy$/,
  joined: /^input_concatenate/,
  bf16: /convert/,
  rest: /^/,
};

/** The kernels of a step. Work and bytes are those of 12 layers, 768 wide, MLPs 2,048 wide, on 8 × 4,096 tokens. */
function kernels(): Expected {
  const lines = recordsOf(`${FOLDER}/${IDLE}`);
  const line = recordOf(lines, { system: 'longsight train' }, 'kernels');
  const sums = new Map<string, number>();
  for (const kernel of line.kernels as readonly Line[]) {
    const kind = Object.entries(KERNELS).find(([, pattern]) => pattern.test(String(kernel.name)))?.[0] ?? '';
    sums.set(kind, (sums.get(kind) ?? 0) + numberIn(kernel, 'ms'));
  }
  const sum = (kind: string) => sums.get(kind) ?? NaN;
  const ms = (...kinds: readonly string[]) => kinds.map((kind) => decimals(sum(kind), 1)).join(', ');
  const tera = (6 * 8 * 4096 * (numberOf(lines, 'nonEmbedding', { system: 'longsight' }) + 8192 * 768)) / 1e12;
  const swiglu = (8 * 2 * 12 * 8 * 4096 * 2048) / 1e9 / (sum('swiglu forward') + sum('swiglu backward'));
  const rows = [
    rowOf(
      'products',
      ms('products'),
      `${decimals(tera, 1)} TFLOP at ${count((tera * 1000) / sum('products'))} TFLOP/s`,
    ),
    rowOf(
      'full attention, three layers: cuDNN',
      decimals(sum('full forward') + sum('full backward'), 1),
      `${decimals(sum('full forward') / 3, 2)} forward, ${decimals(sum('full backward') / 3, 2)} backward each`,
    ),
    rowOf('window attention, nine layers: forward, backward', ms('window forward', 'window backward'), ''),
    rowOf('rotary, nine layers', ms('rotary'), "at the memory's speed"),
    rowOf(
      'SwiGLU: forward, backward',
      ms('swiglu forward', 'swiglu backward'),
      `at the memory's speed: ${decimals(swiglu, 1)} TB/s`,
    ),
    rowOf('norms: forward, backward', ms('norm forward', 'norm backward'), "at the memory's speed"),
    rowOf('AdamW', ms('adamw'), "at the memory's speed"),
    rowOf('cross-entropy', ms('loss'), ''),
    rowOf('gradients of q, k and v joined for full layers', ms('joined'), ''),
    rowOf('weights to bf16; norms of gradients, embedding, the rest', `${ms('bf16')}; ${ms('rest')}`, ''),
  ];
  return { file: IDLE, header: '| kernels of a step | ms | |', rows };
}

function shorter(): Expected {
  const lines = recordsOf(`${FOLDER}/${IDLE}`);
  const row = (name: string, ...systemsOf: readonly string[]) => {
    const found = systemsOf.flatMap((system) => lines.filter((line) => line.system === system));
    if (found.length === 0) throw new Error(`${IDLE} has no ${systemsOf.join(', ')}`);
    return rowOf(name, found.map(rounds).join('; '), [...new Set(found.map(memory))].join(', '));
  };
  const rows = [
    row('program of the tables above, in two calls', 'longsight, before'),
    row(
      'residual sums in the products, SwiGLU by kernels, fewer kernels for the norm of gradients, products apart for cuDNN',
      ...['longsight', 'longsight, second start'],
    ),
    row('the same, in another call', 'longsight, as in the main line'),
    row(
      'what a step took freed at once (addresses repeat, so recorded launches stay good): in that call',
      'longsight, what a step took is freed at once',
    ),
    row('with `xla_gpu_autotune_level=0`', 'longsight, autotune level 0', 'longsight, autotune level 0, again'),
  ];
  return { file: IDLE, header: '| the benchmark | ms a step, three rounds | peak memory |', rows };
}

function tried(): Expected {
  const file = 'h100-sweep.jsonl';
  const lines = recordsOf(`${FOLDER}/${file}`);
  const of = (system: string) => numberOf(lines, 'tokensPerSecond', { system });
  const slower = (system: string) => `${decimals((of('longsight') / of(system) - 1) * 100, 1)} % slower`;
  const rows = [
    rowOf(
      'cuBLASLt only (`xla_gpu_enable_triton_gemm=false`)',
      `${count(of('triton gemm on'), 100)} to ${count(of('longsight'), 100)} tokens/s`,
    ),
    rowOf('separate products for q, k, v, gate, up instead of fused', slower('separate projections')),
    rowOf('moments in one vector instead of one per parameter', slower('flat moments')),
  ];
  return { file, header: '| change | result |', rows };
}

function packed(): Expected {
  const file = 'h200-2026-11-29.jsonl';
  const lines = recordsOf(`${FOLDER}/${file}`);
  const row = (name: string, which: string, peer: string | null) => {
    // The lines with a tuning are those with the cut of the kernels that ships.
    const line = recordOf(lines, { system: 'longsight', case: which }, 'packedOverUnpacked', 'tuning');
    const [alone, ours] = [numberIn(line, 'alone', 'tokensPerSecond'), numberIn(line, 'packed', 'tokensPerSecond')];
    const theirs = peer && numberOf(lines, 'tokensPerSecond', { system: 'torch.compile + flex_attention', case: peer });
    const beside = theirs ? [count(theirs), `${decimals(ours / theirs, 2)} ×`] : ['', ''];
    return rowOf(name, count(alone), count(ours), decimals(numberIn(line, 'packedOverUnpacked'), 3), ...beside);
  };
  const rows = [
    row('`s1-swa-128`, 16 × 4,096', 'row-s1-swa-128', 'packed-s1-swa-128'),
    row('`s1-full`, 16 × 4,096', 'row-s1-full', null),
    row('`s1-gdn`, 16 × 4,096', 'row-s1-gdn', null),
    row('`s1-mamba2`, 16 × 4,096', 'row-s1-mamba2', null),
    row('12 × 768, 8 × 4,096', 'main', 'packed-main'),
  ];
  const header = '| case | one document, tokens/s | packed | ratio | PyTorch, packed | packed over PyTorch |';
  return { file, header, rows };
}

const RECURRENT = '2026-11-26-h100-recurrences.jsonl';

function recurrences(): Expected {
  const lines = recordsOf(`${FOLDER}/${RECURRENT}`);
  const cell = (mixer: string, batch: number) => {
    const values = { mixer, batch, tokens: (16384 * (batch === 1 ? 2 : 1)) / batch };
    const ours = numberOf(lines, 'ms', { ...values, form: 'kernels' });
    const peer = recordOf(lines, { ...values, form: 'fla' }, 'ms');
    const theirs = Math.min(numberIn(peer, 'ms'), numberIn(peer, 'graphMs'));
    return `${decimals(ours, 3)} (${decimals(theirs, 3)}) ${decimals(theirs / ours, 2)} ×`;
  };
  const row = (name: string, mixer: string) => rowOf(name, ...[8, 2, 1].map((batch) => cell(mixer, batch)));
  const rows = [
    row('Lightning, 16 heads of 64', 'lightning'),
    row('Simple GLA, 16 heads of 64', 'gla'),
    row('Mamba-2, 16 heads of 64, state 128, one group', 'mamba2'),
    row('Gated DeltaNet, 8 heads, keys 64, values 128', 'gdn'),
    row('Kimi Delta Attention, 8 heads of 64', 'kda'),
  ];
  return { file: RECURRENT, header: '| mixer | 8 × 2,048 tokens | 2 × 8,192 | 1 × 32,768 |', rows };
}

function hybrids(): Expected {
  const lines = recordsOf(`${FOLDER}/${RECURRENT}`);
  const rows = ['swa', 'lightning', 'gla', 'mamba2', 'gdn', 'kda'].map((mixer) => {
    const line = recordOf(lines, { case: `hybrid-${mixer}` }, 'tokensPerSecond');
    const speed = count(numberIn(line, 'tokensPerSecond'));
    const name = mixer === 'swa' ? '`swa:128`' : `\`${mixer}\``;
    return rowOf(name, speed, rounds(line), utilization(line), compile(line), memory(line));
  });
  const header = '| every second layer | tokens/s | ms a step, three rounds | MFU | compile, s | peak memory |';
  return { file: RECURRENT, header, rows };
}

function removal(): Expected {
  const file = 'h200-2026-11-30-recurrences.jsonl';
  const lines = recordsOf(`${FOLDER}/${file}`);
  const rows = [8, 2, 1].map((batch) => {
    const values = { mixer: 'rwkv7', batch, tokens: (16384 * (batch === 1 ? 2 : 1)) / batch };
    const ours = numberOf(lines, 'ms', { ...values, form: 'kernels' });
    const peer = recordOf(lines, { ...values, form: 'fla' }, 'ms');
    const theirs = Math.min(numberIn(peer, 'ms'), numberIn(peer, 'graphMs'));
    const kept = Math.min(numberIn(peer, 'keptMs'), numberIn(peer, 'keptGraphMs'));
    const ratios = [theirs, kept].map((ms) => `${decimals(ms / ours, 2)} ×`);
    return rowOf(`${batch} × ${count(values.tokens)} tokens`, decimals(ours, 3), decimals(theirs, 3), ...ratios);
  });
  const header = '| RWKV-7, 8 heads of 64 | ms | theirs, ms | theirs over ours | without the second forward pass |';
  return { file, header, rows };
}

const SMALL = 'h200-2026-12-01.jsonl';

/** Small models beside PyTorch. */
function small(): Expected {
  const lines = recordsOf(`${FOLDER}/${SMALL}`);
  const row = (name: string, which: string, system: string, peer: string | null) => {
    const line = recordOf(lines, { system, case: which }, 'tokensPerSecond');
    const theirs = peer === null ? null : numberOf(lines, 'tokensPerSecond', { system: peer, case: which });
    const ratio = theirs === null ? '' : `${decimals(numberIn(line, 'tokensPerSecond') / theirs, 2)} ×`;
    return rowOf(name, count(numberIn(line, 'tokensPerSecond')), rounds(line), utilization(line), memory(line), ratio);
  };
  const torch = 'torch.compile + flex_attention';
  const rows = [
    row('`s1-swa-128`', 'row-s1-swa-128', 'longsight', torch),
    row('`s1-swa-128` in PyTorch 2.11', 'row-s1-swa-128', torch, null),
    row('`s1-gdn`', 'row-s1-gdn', 'longsight', null),
  ];
  const header = '| 16 × 4,096 tokens | tokens/s | ms a step, three rounds | MFU | peak memory | over PyTorch |';
  return { file: SMALL, header, rows };
}

/** Kinds of work in a step of small models, by the names of their kernels: the first that fits. */
const KINDS: readonly (readonly [name: string, kernels: RegExp])[] = [
  ['matrix products', /nvjet|cublas/],
  ['full attention (cuDNN)', /sdpa|cudnn::fusion/],
  ['delta rule', /^delta_/],
  ['window attention', /window_attention/],
  ['SwiGLU', /swiglu/],
  ['norms', /rms_norm/],
  ['cross-entropy', /cross_entropy/],
  ['rotary positions', /rotate/],
  ['what XLA made: convolutions, gates, sums, the optimizer', /./],
];

function smallKinds(): Expected {
  const lines = recordsOf(`${FOLDER}/${SMALL}`);
  const kernelsOf = (which: string) =>
    recordOf(lines, { system: 'longsight train', case: which }, 'msPerStep').kernels as readonly Line[];
  const kind = (kernel: Line) => KINDS.find(([, names]) => names.test(String(kernel.name)))?.[0];
  const cell = (which: string, name: string) => {
    const own = kernelsOf(which).filter((kernel) => kind(kernel) === name);
    return own.length === 0
      ? ''
      : decimals(
          own.reduce((sum, kernel) => sum + numberIn(kernel, 'ms'), 0),
          2,
        );
  };
  const rows = KINDS.map(([name]) => rowOf(name, cell('row-s1-swa-128', name), cell('row-s1-gdn', name)));
  return { file: SMALL, header: '| ms a step | `s1-swa-128` | `s1-gdn` |', rows };
}

/** The short convolution. */
function convolution(): Expected {
  const lines = recordsOf(`${FOLDER}/${SMALL}`);
  const rows = [8, 2, 1].map((batch) => {
    const values = { mixer: 'conv', batch, tokens: (16384 * (batch === 1 ? 2 : 1)) / batch };
    const ours = numberOf(lines, 'ms', { ...values, form: 'kernels' });
    const [theirs, replayed] = ['ms', 'graphMs'].map((key) => numberOf(lines, key, { ...values, form: 'fla' })) as [
      number,
      number,
    ];
    const ratios = [theirs, replayed].map((ms) => `${decimals(ms, 3)}, ${decimals(ms / ours, 2)} ×`);
    return rowOf(`${batch} × ${count(values.tokens)} tokens`, decimals(ours, 3), ...ratios);
  });
  const header = '| convolution, 1,024 channels, 4 taps | ms | theirs, over ours | theirs as a CUDA graph, over ours |';
  return { file: SMALL, header, rows };
}

/** The selective scan, which XLA has whole, beside the package's layer without the kernels of mamba_ssm. */
function selectiveScan(): Expected {
  const lines = recordsOf(`${FOLDER}/${SMALL}`);
  const rows = [8, 2, 1].map((batch) => {
    const values = { mixer: 'mamba', batch, tokens: (16384 * (batch === 1 ? 2 : 1)) / batch };
    const ours = numberOf(lines, 'ms', { ...values, form: 'kernels' });
    const theirs = lines.find((line) => line.form === 'fla' && line.mixer === 'mamba' && line.batch === batch);
    const beside =
      theirs === undefined ? '' : `${count(numberIn(theirs, 'ms'))}, ${count(numberIn(theirs, 'ms') / ours)} ×`;
    return rowOf(`${batch} × ${count(values.tokens)} tokens`, decimals(ours, 1), beside);
  });
  return { file: SMALL, header: '| selective scan, 1,024 channels of 16 states | ms | theirs, over ours |', rows };
}

const TABLES = [
  ...[twoGpus, systems, sizes, kernels, shorter, tried, small, smallKinds, packed, recurrences, hybrids, removal],
  ...[convolution, selectiveScan],
].map((make) => make());

describe('the tables of docs/xla.md', () => {
  const numbered = tablesOf(PAGE).filter(({ rows }) => rows.some((row) => /\d/.test(row)));

  it('are all compared that have numbers', () => {
    expect(numbered.map(({ header }) => header)).toEqual(TABLES.map(({ header }) => header));
  });

  it.each(TABLES)('have the numbers of $file and name it: $header', ({ file, header, rows }) => {
    const table = tableOf(PAGE, header);
    expect(table.rows).toEqual(rows);
    expect(table.before).toContain(file);
  });
});

it('docs/model.md has the differences between the parameters of presets and of full attention', () => {
  const of = (preset: string) => modelCost(resolveModelConfig({ preset }), 128).parameters.nonEmbedding;
  const difference = (size: string, pattern: string) => {
    const percent = (of(`${size}-${pattern}`) / of(`${size}-full`) - 1) * 100;
    return percent === 0 ? '0' : `${percent > 0 ? '+' : '-'}${decimals(Math.abs(percent), 2)} %`;
  };
  const SIZES = ['s1', 's2', 's3', 's4', 's5'];
  const row = (name: string, mixer: string, pattern: string) =>
    rowOf(`\`${name}\``, mixer, ...SIZES.map((size) => difference(size, pattern)));
  const header = rowOf('', 'mixer', ...SIZES);
  const windows = ['swa-128', 'swa-512', 'swa-2048'].map((pattern) => row('swa-*', 'attention', pattern));
  expect(new Set(windows).size).toBe(1);
  expect(tableOf('docs/model.md', header).rows).toEqual([
    windows[0],
    row('lightning', 'd/64 heads of 64, two key/value heads, sigmoid gate', 'lightning'),
    row('mamba2', 'inner width 4/3 d in heads of 64, state 64, one group', 'mamba2'),
    row('gdn', 'd/128 heads, keys of 64, values of 128, SiLU gate', 'gdn'),
  ]);
});
