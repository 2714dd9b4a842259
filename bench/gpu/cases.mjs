// What the GPU benchmarks train, shared by Longsight and the peers.
import { readFileSync } from 'node:fs';

const base = {
  vocabSize: 8192,
  hiddenSize: 768,
  numLayers: 12,
  layers: '3*swa:128 full:nope',
  numHeads: 12,
  intermediateSize: 2048,
  tieEmbeddings: true,
  init: { scheme: 'normal', std: 0.02 },
};

const study = (preset) => ({ preset, vocabSize: 8192, tieEmbeddings: true });

/** The study's fourth size with a mixer that it has no preset of, its MLP narrowed to about as many parameters. */
const fourth = (layers, sections) => ({ ...study('s4-swa-128'), layers, ...sections });
const hybrid = (model) => ({ model, batchSize: 1, seqLen: 16384 });

/** The study's first size, 16 rows of 4,096 tokens. */
const row = (preset) => ({ model: study(preset), batchSize: 16, seqLen: 4096 });

const tiny = {
  model: { ...base, vocabSize: 256, hiddenSize: 64, numLayers: 4, numHeads: 2, headDim: 32, intermediateSize: 128 },
  ...{ batchSize: 2, seqLen: 256, lossSteps: 12 },
};

/** name -> model and batch. `swa`: only window layers, for the time per token of one layer against the length. */
export const CASES = {
  main: { model: base, batchSize: 8, seqLen: 4096, lossSteps: 200 },
  'long-16k': { model: base, batchSize: 4, seqLen: 16384 },
  'long-64k': { model: base, batchSize: 1, seqLen: 65536 },
  'swa-4k': { model: { ...base, layers: 'swa:128' }, batchSize: 8, seqLen: 4096 },
  'swa-16k': { model: { ...base, layers: 'swa:128' }, batchSize: 2, seqLen: 16384 },
  'swa-64k': { model: { ...base, layers: 'swa:128' }, batchSize: 1, seqLen: 65536 },
  s1: { model: study('s1-swa-128'), batchSize: 4, seqLen: 16384 },
  s2: { model: study('s2-swa-128'), batchSize: 4, seqLen: 16384 },
  s3: { model: study('s3-swa-128'), batchSize: 2, seqLen: 16384 },
  s4: { model: study('s4-swa-128'), batchSize: 2, seqLen: 16384 },
  s5: { model: study('s5-swa-128'), batchSize: 1, seqLen: 16384 },
  'hybrid-swa': hybrid(study('s4-swa-128')),
  'hybrid-lightning': hybrid(study('s4-lightning')),
  'hybrid-gla': hybrid(fourth('gla full', { gla: { numKvHeads: 2 }, intermediateSize: 1792 })),
  'hybrid-mamba2': hybrid(study('s4-mamba2')),
  'hybrid-gdn': hybrid(study('s4-gdn')),
  'hybrid-kda': hybrid(fourth('kda full', { kda: { numHeads: 6, keyDim: 64, valueDim: 128 }, intermediateSize: 1728 })),
  'hybrid-rwkv7': hybrid(fourth('rwkv7 full', { rwkv7: { numHeads: 12, keyDim: 64 }, intermediateSize: 1600 })),
  ...Object.fromEntries(
    ['swa-128', 'swa-512', 'swa-2048', 'full', 'lightning', 'mamba2', 'gdn'].map((x) => [
      `row-s1-${x}`,
      row(`s1-${x}`),
    ]),
  ),
  'packed-main': { model: base, batchSize: 8, seqLen: 4096, packed: true, lossSteps: 60 },
  'packed-s1-swa-128': { ...row('s1-swa-128'), packed: true, lossSteps: 60 },
  tiny,
  'packed-tiny': { ...tiny, seqLen: 6000, batchSize: 1, packed: true },
};

export const OPTIMIZER = { lr: 6e-4, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clipNorm: 1 };

/** A seeded stream with something to learn: each token is, nine times in ten, a fixed function of the one before. */
export function tokenStream(vocabSize, length) {
  const tokens = new Int32Array(length);
  let state = 12345;
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  for (let i = 1; i < length; i++) {
    const followed = (tokens[i - 1] * 37 + 11) % vocabSize;
    tokens[i] = next() < 0.9 ? followed : Math.floor(next() * vocabSize);
  }
  return tokens;
}

/** Lengths in tokens of C files, about as a tokenizer of 8,192 entries cuts them. */
function documentLengths() {
  const { bytes, bytesPerToken } = JSON.parse(readFileSync(new URL('document-bytes.json', import.meta.url), 'utf8'));
  return bytes.map((n) => Math.round(n / bytesPerToken));
}

/** Whether a document begins at each of the first `length` tokens of a stream. */
function documentStarts(length) {
  const starts = new Uint8Array(length);
  const lengths = documentLengths();
  for (let i = 0, at = 0; at < length; at += lengths[i++ % lengths.length]) starts[at] = 1;
  return starts;
}

/** The whole batches of a stream, in order; `packed` rows say which document each token belongs to, numbered from 0 in each. */
export function batches({ batchSize, seqLen, packed = false }, tokens) {
  const size = batchSize * (seqLen + 1);
  const count = Math.floor(tokens.length / size);
  const weights = new Float32Array(batchSize * seqLen).fill(1);
  const starts = packed ? documentStarts(tokens.length) : null;
  return Array.from({ length: count }, (_, i) => {
    const inputs = new Int32Array(batchSize * seqLen);
    const targets = new Int32Array(batchSize * seqLen);
    const segments = packed ? new Int32Array(batchSize * seqLen) : null;
    for (let b = 0; b < batchSize; b++) {
      const from = i * size + b * (seqLen + 1);
      const row = tokens.subarray(from, from + seqLen + 1);
      inputs.set(row.subarray(0, seqLen), b * seqLen);
      targets.set(row.subarray(1), b * seqLen);
      for (let t = 1; segments && t < seqLen; t++) {
        segments[b * seqLen + t] = segments[b * seqLen + t - 1] + starts[from + t];
      }
    }
    return { batchSize, seqLen, tokens: inputs, targets, weights, segments };
  });
}
