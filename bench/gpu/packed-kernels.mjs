// The attention kernels for packed documents alone, cut in several ways, and cuDNN's for rows of one document; one JSON line
// each. A cut whose results differ from the shipped one's by more than bf16 rounding is said not to be ok.
// usage: node packed-kernels.mjs HOME [--platform cuda] [--runs 20] [--tokens 4096] [--windows 128 --windows 4096]
//        [--compile-only] [--choose FILE]
// HOME holds the built package (dist/). --compile-only fills the cache of programs; --choose writes the fastest cut of wide
// windows, forward and backward, which packed.mjs --tuning takes. Programs compile side by side (UV_THREADPOOL_SIZE).
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { batches } from './cases.mjs';

const home = resolve(process.argv[2]);
const load = (path) => import(join(home, 'dist', path));
// One after another: Node 20 does not link overlapping dynamic imports reliably.
const { createXlaEngine } = await load('engine/index.js');
const L = await load('graph/index.js');
const { windowAttentionKernel, windowAttentionGradKernel } = await load('engine/xla/kernels/window-attention.js');
const { documentBoundsKernel } = await load('engine/xla/kernels/document-bounds.js');
const { ATTENTION_TUNINGS } = await load('engine/xla/kernels/window-tuning.js');
const { kernelNode } = await load('engine/xla/kernels/work.js');
const { values: flags } = parseArgs({
  args: process.argv.slice(3),
  options: {
    platform: { type: 'string', default: 'cuda' },
    runs: { type: 'string', default: '20' },
    tokens: { type: 'string', default: '4096' },
    windows: { type: 'string', multiple: true },
    'compile-only': { type: 'boolean', default: false },
    choose: { type: 'string' },
  },
});
const emit = (line) => process.stdout.write(`${JSON.stringify({ system: 'longsight kernels', ...line })}\n`);
const rounded = (x) => Number(x.toFixed(3));

/** A layer of the study's first size. */
const [batch, heads, kvHeads, headDim] = [16, 6, 2, 64];
const tokens = Number(flags.tokens);
const [narrow, width] = [(heads + kvHeads) * headDim, (heads + 2 * kvHeads) * headDim];
const places = [0, heads * headDim, narrow].map((offset) => ({ width, offset }));
const turned = [0, heads * headDim].map((offset) => ({ width: narrow, offset }));

const cutOf = ({ block, inner, numWarps, numStages }) => [block, inner, numWarps, numStages];
/** The shipped cut first: the others are held against it. */
const cuts = (shipped, others) => {
  const all = [cutOf(shipped), ...others].map(String);
  return [...new Set(all)].map((cut) => cut.split(',').map(Number));
};
const { narrow: NARROW, wide: WIDE } = ATTENTION_TUNINGS;
/** [tokens of an instance's block, of those that it meets, warps, stages of loads] by window. */
const FORWARD = {
  128: cuts(NARROW.forward, [[64, 64, 4, 3]]),
  [tokens]: cuts(WIDE.forward, [
    [64, 64, 4, 3],
    [128, 64, 4, 3],
    [128, 64, 8, 3],
    [128, 64, 8, 4],
    [128, 128, 8, 2],
    [128, 128, 8, 3],
  ]),
};
const BACKWARD = {
  128: cuts(NARROW.backward, [[64, 64, 4, 2]]),
  [tokens]: cuts(WIDE.backward, [
    [64, 64, 4, 2],
    [64, 64, 4, 3],
    [64, 64, 4, 4],
    [64, 32, 4, 4],
    [128, 64, 8, 3],
    [128, 64, 8, 4],
  ]),
};

const engine = createXlaEngine({ platform: flags.platform });
const host = (dtype, shape, data) => engine.upload({ dtype, shape, data });
/** bf16 numbers of 0.125 to 0.5, of both signs. */
const noise = (shape) => {
  const n = shape.reduce((a, b) => a * b);
  const bits = Uint16Array.from({ length: n }, (_, i) => 0x3e00 | (Math.imul(i, 2654435761) >>> 24) | ((i & 1) << 15));
  return host('bf16', shape, bits);
};
const full = (shape, value) => host('f32', shape, new Float32Array(shape.reduce((a, b) => a * b)).fill(value));
const [{ segments }] = batches(
  { batchSize: batch, seqLen: tokens, packed: true },
  new Int32Array(batch * (tokens + 1)),
);
const given = {
  segments: host('i32', [batch, tokens], segments),
  x: noise([batch, tokens, width]),
  qk: noise([batch, tokens, narrow]),
  d: noise([batch, tokens, heads * headDim]),
  e: noise([batch, tokens, heads * headDim]),
  table: full([tokens, headDim / 2], 0.5),
  sums: full([batch, heads, tokens], 8),
};
const inputs = Object.fromEntries(Object.entries(given).map(([name, t]) => [name, L.input(name, t.dtype, t.shape)]));
const { segments: ids, x, qk, d, e, table, sums } = inputs;
const node = (kernel, operands) => kernelNode({ batch, heads: [], kernel: () => kernel }, operands);
const [starts, ends] = node(documentBoundsKernel(batch, tokens), [ids]);

/** Furthest that a cut's results may be from the shipped cut's, by the norm of the difference over the norm. */
const NEAR = 0.01;
const measurements = [];
const add = (what, build) => measurements.push({ what, build });

addCudnn();
add({ pass: 'delta' }, () => {
  const product = L.reshape(L.mul(L.convert(d, 'f32'), L.convert(e, 'f32')), [batch, tokens, heads, headDim]);
  return [L.transpose(L.reduceSum(product, [3]), [0, 2, 1])];
});
for (const window of flags.windows?.map(Number) ?? [128, tokens]) addWindow(window);
try {
  await measureAll();
} finally {
  await engine.dispose();
}

function addWindow(window) {
  const attention = {
    ...{ batch, tokens, heads, kvHeads, headDim, window, scale: 0.125, documents: true },
    ...{ q: turned[0], k: turned[1], v: places[2] },
  };
  for (const cut of FORWARD[window]) {
    const tuning = tuningOf(cut, { lastFirst: window > 256 });
    add({ pass: 'forward', window, ...tuning }, () =>
      node(windowAttentionKernel(attention, tuning), [qk, qk, x, starts]),
    );
  }
  for (const givenDelta of window > 256 ? [true] : [false, true]) {
    const targets = { rotateBack: true, joined: { q: places[0], k: places[1], v: places[2] }, givenDelta };
    for (const cut of BACKWARD[window]) {
      const tuning = tuningOf(cut);
      add({ pass: 'backward', window, givenDelta, ...tuning }, () =>
        node(windowAttentionGradKernel(attention, tuning, targets), [
          ...[table, table, qk, qk, x, starts, ends],
          ...[givenDelta ? sums : d, sums, d],
        ]),
      );
    }
  }
}

/** Compiles all side by side, then times one after another. */
async function measureAll() {
  const begin = performance.now();
  const ready = await Promise.all(measurements.map(prepare));
  emit({ programs: ready.length, compileSeconds: rounded((performance.now() - begin) / 1000) });
  if (flags['compile-only']) return;
  const shipped = new Map();
  const lines = [];
  for (const one of ready) {
    const line = await time(one, shipped);
    emit(line);
    lines.push(line);
  }
  if (flags.choose !== undefined) choose(lines);
}

/** Writes the fastest cut of wide windows, of those whose results are right; nothing, and code 1, where there is none. */
function choose(lines) {
  const best = ['forward', 'backward'].map((pass) => {
    const right = lines.filter((x) => x.pass === pass && x.window === tokens && x.block !== undefined && x.ok);
    return right.sort((p, q) => p.ms - q.ms)[0];
  });
  if (best.includes(undefined)) {
    emit({ chosen: null, error: 'no cut of wide windows gave right results' });
    process.exitCode = 1;
    return;
  }
  const [forward, backward] = best.map(({ block, inner, numWarps, numStages, lastFirst }) => {
    return { block, inner, numWarps, numStages, ...(lastFirst && { lastFirst }) };
  });
  const chosen = { wide: { forward, backward, givenDelta: true } };
  writeFileSync(flags.choose, JSON.stringify(chosen));
  emit({ chosen, forwardMs: best[0].ms, backwardMs: best[1].ms, shipped: { wide: WIDE } });
}

/** What the kernels for documents stand beside: the whole triangle of rows of one document, from q, k and v that are whole. */
function addCudnn() {
  const [q, k, v] = [heads, kvHeads, kvHeads].map((n, i) => L.input(`h${i}`, 'bf16', [batch, tokens, n, headDim]));
  for (const { type, name } of [q, k, v].map((x, i) => ({ type: x.shape, name: `h${i}` }))) given[name] = noise(type);
  const output = () => L.attention(q, k, v, { window: null, scale: 0.125 }).out;
  add({ pass: 'forward', window: tokens, kernel: 'cuDNN, one document' }, () => [output()]);
  add({ pass: 'forward and backward', window: tokens, kernel: 'cuDNN, one document' }, () => {
    const out = output();
    const weighted = L.mul(L.convert(out, 'f32'), L.convert(L.reshape(d, out.shape), 'f32'));
    return [out, ...L.grad(L.reduceSum(weighted), [q, k, v])];
  });
}

function tuningOf([block, inner, numWarps, numStages], more = {}) {
  return { block, inner, numWarps, numStages, ...more };
}

/** The first rows of each result stand for it: what is fetched, and what waits. */
function programOf(build) {
  const few = build().map((y) => L.sliceAxis(y, 0, 0, 2));
  const read = L.nodesOf(few).filter((n) => n.op === 'input');
  const named = Object.fromEntries(read.map((n) => [n.attrs.name, n.outputs[0]]));
  return L.makeGraph(named, Object.fromEntries(few.map((y, i) => [`y${i}`, y])));
}

function why(error) {
  return { ok: false, error: String(error.message).slice(0, 300) };
}

async function prepare({ what, build }) {
  try {
    const graph = programOf(build);
    const program = await engine.compile(graph);
    const values = Object.fromEntries(graph.inputs.map(({ name }) => [name, given[name]]));
    // A program is made when it is first run.
    const results = await program.run(values);
    for (const y of Object.values(results)) await engine.download(y);
    return { what, program, values };
  } catch (error) {
    return { what, error };
  }
}

/** bf16 as their bits, float32 as they are -> float64. */
function numbersOf({ dtype, data }) {
  if (dtype !== 'bf16') return Float64Array.from(data);
  const bits = new Uint16Array(data.buffer, data.byteOffset, data.length);
  return Float64Array.from(new Float32Array(Uint32Array.from(bits, (x) => x << 16).buffer));
}

/** The norm of a difference over the norm. */
function distance(got, want) {
  let [difference, norm] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    difference += (got[i] - want[i]) ** 2;
    norm += want[i] ** 2;
  }
  return Math.sqrt(difference / norm);
}

async function time({ what, program, values, error }, shipped) {
  if (error) return { ...what, ...why(error) };
  try {
    let results;
    const go = async (n) => {
      for (let i = 0; i < n; i++) results = await program.run(values);
      const fetched = [];
      for (const y of Object.values(results)) fetched.push(await engine.download(y));
      return fetched;
    };
    const last = (await go(3)).map(numbersOf);
    const key = `${what.kernel ?? ''} ${what.pass} ${what.window} ${what.givenDelta ?? ''}`;
    if (!shipped.has(key)) shipped.set(key, last);
    const apart = Math.max(...last.map((y, i) => distance(y, shipped.get(key)[i])));
    const runs = Number(flags.runs);
    const ms = [];
    for (let round = 0; round < 3; round++) {
      // The difference of two lengths, so that starting and fetching do not count.
      const times = [];
      for (const n of [Math.ceil(runs / 4), runs + Math.ceil(runs / 4)]) {
        const begin = performance.now();
        await go(n);
        times.push(performance.now() - begin);
      }
      ms.push((times[1] - times[0]) / runs);
    }
    await program.dispose();
    return { ...what, ok: apart < NEAR, apart: rounded(apart), ms: rounded(Math.min(...ms)), allMs: ms.map(rounded) };
  } catch (failed) {
    return { ...what, ...why(failed) };
  }
}
