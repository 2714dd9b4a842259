// Writes the programs that bench/gpu/recurrences.py measures: forward and backward of each recurrence in bf16, as the StableHLO
// that the xla engine makes for NVIDIA GPUs, with its kernels and without.
// usage: node bench/gpu/recurrences.mjs HOME FOLDER          HOME holds the built package (dist/)
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const [home, folder] = process.argv.slice(2).map((path) => resolve(path));
const L = await import(join(home, 'dist', 'graph', 'index.js'));
const { lowerToStableHlo } = await import(join(home, 'dist', 'engine', 'xla', 'stablehlo', 'lower.js'));
mkdirSync(folder, { recursive: true });

/** Heads of q, k, v and of the decay, key and value width; of the scan and the convolution, channels and states or taps. */
const MIXERS = {
  lightning: { op: 'linear', heads: [16, 16, 16, 16], K: 64, V: 64, constant: true },
  gla: { op: 'linear', heads: [16, 16, 16, 16], K: 64, V: 64 },
  mamba2: { op: 'linear', heads: [1, 1, 16, 16], K: 128, V: 64 },
  gdn: { op: 'delta', heads: [8, 8, 8, 8], K: 64, V: 128 },
  kda: { op: 'delta', heads: [8, 8, 8, 8], K: 64, V: 64, channels: true },
  rwkv7: { op: 'delta', heads: [8, 8, 8, 8], K: 64, V: 64, channels: true, removal: true, leastDecay: -Math.exp(-0.5) },
  mamba: { op: 'scan', width: 1024, states: 16 },
  conv: { op: 'conv', width: 1024, taps: 4 },
};
const LENGTHS = [
  [8, 2048],
  [2, 8192],
  [1, 32768],
];

function shapesOf({ op, heads, K, V, constant, channels, removal, width, states, taps }, B, T) {
  const rows = ['bf16', [B, T, width]];
  if (op === 'conv') return { x: rows, weight: ['bf16', [width, taps]], do: rows };
  if (op === 'scan') {
    const [shared, step] = [
      ['bf16', [B, T, states]],
      ['f32', [B, T, width]],
    ];
    return { u: rows, write: shared, read: shared, step, rates: ['f32', [width, states]], do: rows };
  }
  const [q, k, v, H] = heads;
  return {
    q: ['bf16', [B, T, q, K]],
    k: ['bf16', [B, T, k, K]],
    v: ['bf16', [B, T, v, V]],
    g: ['f32', constant ? [H] : [B, T, H, ...(channels ? [K] : [])]],
    ...(op === 'delta' ? { beta: ['f32', [B, T, H]] } : {}),
    ...(removal ? { read: ['f32', [B, T, H, K]], erase: ['f32', [B, T, H, K]] } : {}),
    do: ['bf16', [B, T, H, V]],
  };
}

function inputsOf(mixer, B, T) {
  return Object.fromEntries(
    Object.entries(shapesOf(mixer, B, T)).map(([name, [dtype, shape]]) => [name, L.input(name, dtype, shape)]),
  );
}

const OPS = {
  linear: (at, mixer) => L.linearRecurrence(at.q, at.k, at.v, at.g, { scale: mixer.K ** -0.5 }),
  delta: (at, { K, leastDecay = null, removal }) =>
    L.deltaRule(at.q, at.k, at.v, at.g, at.beta, {
      ...{ scale: K ** -0.5, leastDecay },
      removal: removal ? { read: at.read, erase: at.erase } : null,
    }),
  // Kernels take the scan where its gradient is an op of its own, which a mixer has to ask for.
  scan: (at, _, kernels) => L.selectiveScan(at, { ownGradient: kernels }),
  conv: (at) => L.causalConv(at.x, at.weight),
};

function graphOf(mixer, B, T, { backward = true, kernels }) {
  const at = inputsOf(mixer, B, T);
  const { do: dOut, ...rest } = at;
  const { out } = OPS[mixer.op](at, mixer, kernels);
  const wrt = Object.entries(rest).filter(([name]) => !(mixer.constant && name === 'g'));
  const grads = backward
    ? L.vjp(
        [out],
        [dOut],
        wrt.map(([, v]) => v),
      )
    : [];
  return L.makeGraph(at, { out, ...Object.fromEntries(grads.map((g, i) => [`d${wrt[i][0]}`, g])) });
}

const cases = [];
function write(id, graph, options, about) {
  writeFileSync(join(folder, `${id}.mlir`), lowerToStableHlo(graph, { cudnn: true, ...options }));
  const ports = (list) => list.map(({ name, value: { dtype, shape } }) => ({ name, dtype, shape }));
  cases.push({ id, ...about, inputs: ports(graph.inputs), outputs: ports(graph.outputs) });
}

for (const [name, mixer] of Object.entries(MIXERS)) {
  for (const kernels of [true, false]) {
    const form = kernels ? 'kernels' : 'xla';
    write(
      `check-${name}-${form}`,
      graphOf(mixer, 2, 256, { kernels }),
      { kernels },
      { kind: 'check', mixer: name, form },
    );
    for (const [B, T] of LENGTHS) {
      const about = { kind: 'time', mixer: name, form, batch: B, tokens: T };
      write(`${name}-${form}-${T}`, graphOf(mixer, B, T, { kernels }), { kernels }, about);
    }
    write(
      `${name}-${form}-forward`,
      graphOf(mixer, 2, 8192, { backward: false, kernels }),
      { kernels },
      {
        ...{ kind: 'time', mixer: `${name} forward`, form, batch: 2, tokens: 8192 },
      },
    );
  }
}

writeFileSync(join(folder, 'cases.json'), JSON.stringify(cases));
console.log(`${cases.length} programs in ${folder}`);
