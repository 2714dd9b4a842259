// node bench/memory.mjs [--folder FOLDER --threads N --out FILE]   (after npm run build)
//
// Peak memory of commands on a model of 1.04 billion parameters stored in bfloat16 (2.08 GB): a Llama of 16 layers, 2,048
// wide, its weights drawn at random, written by Longsight's own writer in shards of 500 MB into a temporary folder, which
// is removed at the end (with --folder it is kept, and used again). Each command runs under `/usr/bin/time -v`; its peak
// is put next to the size of the files. A table first; the last line is JSON.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, readdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { streamSafetensors } from '../dist/checkpoint/index.js';
import { HeadTracer } from '../dist/analysis/index.js';
import { Rng, toBf16Bits } from '../dist/core/index.js';
import { openModel } from '../dist/lab/index.js';

const { values: flags } = parseArgs({
  options: {
    folder: { type: 'string' },
    threads: { type: 'string', default: String(Math.min(2, availableParallelism())) },
    trace: { type: 'string' },
    out: { type: 'string' },
  },
});
const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const TIME = '/usr/bin/time';
const SHARD_BYTES = 5e8;

const config = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 32000,
  hidden_size: 2048,
  intermediate_size: 8192,
  num_hidden_layers: 16,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  head_dim: 64,
  hidden_act: 'silu',
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
  max_position_embeddings: 8192,
  tie_word_embeddings: true,
  attention_bias: false,
  mlp_bias: false,
  dtype: 'bfloat16',
};

/** Names and shapes of the model's tensors. */
function shapes() {
  const { hidden_size: d, intermediate_size: f, num_key_value_heads: kv, head_dim: h, vocab_size: v } = config;
  const found = { 'model.embed_tokens.weight': [v, d] };
  for (let n = 0; n < config.num_hidden_layers; n++) {
    const layer = `model.layers.${n}`;
    for (const [name, rows, columns] of [
      ['self_attn.q_proj', d, d],
      ['self_attn.k_proj', kv * h, d],
      ['self_attn.v_proj', kv * h, d],
      ['self_attn.o_proj', d, d],
      ['mlp.gate_proj', f, d],
      ['mlp.up_proj', f, d],
      ['mlp.down_proj', d, f],
    ])
      found[`${layer}.${name}.weight`] = [rows, columns];
    found[`${layer}.input_layernorm.weight`] = [d];
    found[`${layer}.post_attention_layernorm.weight`] = [d];
  }
  return { ...found, 'model.norm.weight': [d] };
}

/** Numbers of a normal distribution of deviation 0.02 in bfloat16, in an order of their own for each tensor. */
const rng = Rng.of(0, 'bench', 'memory');
const drawn = Uint16Array.from({ length: 65536 }, () => toBf16Bits(0.02 * rng.normal()));
let state = 1;
function weights(shape) {
  const data = new Uint16Array(shape.reduce((a, b) => a * b, 1));
  if (shape.length === 1) return { dtype: 'bf16', shape, data: data.fill(toBf16Bits(1)) };
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data[i] = drawn[state >>> 16];
  }
  return { dtype: 'bf16', shape, data };
}

async function makeModel(folder) {
  const sizes = Object.entries(shapes()).map(([name, shape]) => ({ name, shape, dtype: 'bf16' }));
  const shards = [[]];
  let filled = 0;
  for (const spec of sizes) {
    const bytes = 2 * spec.shape.reduce((a, b) => a * b, 1);
    if (filled > 0 && filled + bytes > SHARD_BYTES) [filled] = [0, shards.push([])];
    shards.at(-1).push(spec);
    filled += bytes;
  }
  const map = {};
  for (const [i, own] of shards.entries()) {
    const file = `model-${i + 1}-of-${shards.length}.safetensors`;
    const of = Object.fromEntries(own.map(({ name, shape }) => [name, shape]));
    await streamSafetensors(join(folder, file), own, async (name) => weights(of[name]), { format: 'pt' });
    for (const { name } of own) map[name] = file;
  }
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: map }));
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    cpSync(join(ROOT, 'test/data/tokenizer', file), join(folder, file));
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config, null, 2));
}

/** Traces the heads of a model on two samples, as `longsight trace` does on 32, which takes 16 times as long. */
async function trace(folder) {
  const model = openModel(folder, { engine: 'onnx', threads: Number(flags.threads) });
  const samples = [0, 1].map((s) => ({
    tokens: Int32Array.from({ length: 440 }, (_, i) => 3 + ((7 * i + s) % 3000)),
    ...{ queryPosition: 439, needleSpan: [10, 20] },
  }));
  const tracer = await HeadTracer.create(model, samples);
  const { layers } = await tracer.trace(model.tensors, { step: 0, tokens: 0 });
  console.log(`${layers.length} layers traced`);
  await tracer.dispose();
  await model.dispose();
}

if (flags.trace !== undefined) {
  await trace(flags.trace);
  process.exit(0);
}

/** Runs a command of Longsight, or this script, and gives its peak memory in bytes and its seconds. */
function measure(args) {
  const started = performance.now();
  const bin = args[0] === '--trace' ? fileURLToPath(import.meta.url) : join(ROOT, 'dist/cli/main.js');
  const { status, stdout, stderr } = spawnSync(TIME, ['-v', process.execPath, bin, ...args], { encoding: 'utf8' });
  const peak = Number(/Maximum resident set size \(kbytes\): (\d+)/.exec(stderr)?.[1] ?? NaN) * 1024;
  if (status !== 0 || Number.isNaN(peak)) throw new Error(`longsight ${args.join(' ')} failed (${status}): ${stderr}`);
  return { peak, seconds: (performance.now() - started) / 1000, printed: stdout.trim().split('\n').slice(0, 3) };
}

if (!existsSync(TIME)) throw new Error(`${TIME} is missing; install the package "time"`);
const kept = flags.folder !== undefined;
const folder = flags.folder ?? mkdtempSync(join(tmpdir(), 'longsight-memory-'));
try {
  if (kept) mkdirSync(folder, { recursive: true });
  if (!existsSync(join(folder, 'config.json'))) await makeModel(folder);
  const bytes = readdirSync(folder)
    .filter((name) => name.endsWith('.safetensors'))
    .reduce((n, name) => n + statSync(join(folder, name)).size, 0);
  const engine = ['--engine', 'onnx', '--threads', flags.threads];
  const commands = {
    inspect: ['inspect', folder],
    'heads traced on 2 x 440 tokens': ['--trace', folder, '--threads', flags.threads],
    'generate, 300 + 8 tokens': [
      ...['generate', folder, '--prompt-ids', Array.from({ length: 300 }, (_, i) => 3 + i).join(',')],
      ...['--max-tokens', '8', '--ignore-end', ...engine],
    ],
  };
  const rows = Object.entries(commands).map(([name, args]) => {
    const found = measure(args);
    console.log(
      `${name.padEnd(28)} ${(found.peak / 1e9).toFixed(2)} GB, ${(found.peak / bytes).toFixed(2)} x the files, ` +
        `${found.seconds.toFixed(0)} s`,
    );
    return { name, ...found, share: found.peak / bytes };
  });
  const record = { bytes, threads: Number(flags.threads), cpu: cpus()[0]?.model, rows };
  console.log(JSON.stringify(record));
  if (flags.out !== undefined) writeFileSync(flags.out, `${JSON.stringify(record, null, 2)}\n`);
} finally {
  if (!kept) rmSync(folder, { recursive: true, force: true });
}
