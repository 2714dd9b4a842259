// The attention kernels for packed documents alone, cut in several ways, and cuDNN's for rows of one document; one JSON line each.
// usage: node packed-kernels.mjs HOME [--platform cuda] [--runs 20] [--tokens 4096]
// HOME holds the built package (dist/).
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
const { kernelNode } = await load('engine/xla/kernels/work.js');
const { values: flags } = parseArgs({
  args: process.argv.slice(3),
  options: {
    platform: { type: 'string', default: 'cuda' },
    runs: { type: 'string', default: '20' },
    tokens: { type: 'string', default: '4096' },
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

/** [tokens of an instance's block, of those that it meets, warps, stages of loads], narrow windows first. */
const FORWARD = {
  128: [
    [64, 64, 4, 2],
    [64, 64, 4, 3],
  ],
  [tokens]: [
    [64, 64, 4, 3],
    [128, 64, 4, 3],
    [128, 64, 8, 3],
    [128, 64, 8, 4],
    [128, 128, 8, 2],
    [128, 128, 8, 3],
  ],
};
const BACKWARD = {
  128: [
    [64, 64, 4, 1],
    [64, 64, 4, 2],
  ],
  [tokens]: [
    [64, 64, 4, 2],
    [64, 64, 4, 3],
    [64, 32, 4, 3],
    [128, 32, 4, 2],
    [128, 32, 4, 3],
    [128, 32, 8, 3],
    [128, 64, 4, 2],
    [128, 64, 8, 2],
    [128, 64, 8, 3],
    [128, 128, 8, 1],
  ],
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

try {
  await timeCudnn();
  await time({ pass: 'delta' }, () => {
    const product = L.reshape(L.mul(L.convert(d, 'f32'), L.convert(e, 'f32')), [batch, tokens, heads, headDim]);
    return [L.transpose(L.reduceSum(product, [3]), [0, 2, 1])];
  });
  for (const window of [128, tokens]) {
    const attention = {
      ...{ batch, tokens, heads, kvHeads, headDim, window, scale: 0.125, documents: true },
      ...{ q: turned[0], k: turned[1], v: places[2] },
    };
    for (const cut of FORWARD[window]) {
      const tuning = tuningOf(cut, { lastFirst: window > 256 });
      await time({ pass: 'forward', window, ...tuning }, () =>
        node(windowAttentionKernel(attention, tuning), [qk, qk, x, starts]),
      );
    }
    for (const givenDelta of window > 256 ? [true] : [false, true]) {
      const targets = { turnBack: true, joined: { q: places[0], k: places[1], v: places[2] }, givenDelta };
      for (const cut of BACKWARD[window]) {
        const tuning = tuningOf(cut);
        await time({ pass: 'backward', window, givenDelta, ...tuning }, () =>
          node(windowAttentionGradKernel(attention, tuning, targets), [
            ...[table, table, qk, qk, x, starts, ends],
            ...[givenDelta ? sums : d, sums, d],
          ]),
        );
      }
    }
  }
} finally {
  await engine.dispose();
}

/** What the kernels for documents stand beside: the whole triangle of rows of one document, from q, k and v that are whole. */
async function timeCudnn() {
  const [q, k, v] = [heads, kvHeads, kvHeads].map((n, i) => L.input(`h${i}`, 'bf16', [batch, tokens, n, headDim]));
  for (const { type, name } of [q, k, v].map((x, i) => ({ type: x.shape, name: `h${i}` }))) given[name] = noise(type);
  const output = () => L.attention(q, k, v, { window: null, scale: 0.125 }).out;
  await time({ pass: 'forward', window: tokens, kernel: 'cuDNN, one document' }, () => [output()]);
  await time({ pass: 'forward and backward', window: tokens, kernel: 'cuDNN, one document' }, () => {
    const out = output();
    const weighted = L.mul(L.convert(out, 'f32'), L.convert(L.reshape(d, out.shape), 'f32'));
    return [out, ...L.grad(L.reduceSum(weighted), [q, k, v])];
  });
}

function tuningOf([block, inner, numWarps, numStages], more = {}) {
  return { block, inner, numWarps, numStages, ...more };
}

/** A few numbers of each result stand for it: what is fetched, and what waits. */
function programOf(build) {
  const few = build().map((y) => L.sliceAxis(L.reshape(y, [y.shape.reduce((a, b) => a * b)]), 0, 0, 8));
  const read = L.nodesOf(few).filter((n) => n.op === 'input');
  const named = Object.fromEntries(read.map((n) => [n.attrs.name, n.outputs[0]]));
  return L.makeGraph(named, Object.fromEntries(few.map((y, i) => [`y${i}`, y])));
}

async function time(what, build) {
  try {
    const graph = programOf(build);
    const program = await engine.compile(graph);
    const values = Object.fromEntries(graph.inputs.map(({ name }) => [name, given[name]]));
    const go = async (n) => {
      let results;
      for (let i = 0; i < n; i++) results = await program.run(values);
      for (const y of Object.values(results)) await engine.download(y);
    };
    await go(3);
    const runs = Number(flags.runs);
    const ms = [];
    for (let round = 0; round < 2; round++) {
      // The difference of two lengths, so that starting and fetching do not count.
      const times = [];
      for (const n of [runs / 4, runs + runs / 4]) {
        const begin = performance.now();
        await go(n);
        times.push(performance.now() - begin);
      }
      ms.push((times[1] - times[0]) / runs);
    }
    await program.dispose();
    emit({ ...what, ms: rounded(Math.min(...ms)), allMs: ms.map(rounded) });
  } catch (error) {
    emit({ ...what, error: String(error.message).slice(0, 300) });
  }
}
