// What the GPU benchmarks train, shared by Longsight and the peers.

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
  tiny: {
    model: { ...base, vocabSize: 256, hiddenSize: 64, numLayers: 4, numHeads: 2, headDim: 32, intermediateSize: 128 },
    ...{ batchSize: 2, seqLen: 256, lossSteps: 12 },
  },
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

/** The whole batches of a stream, in order. */
export function batches({ batchSize, seqLen }, tokens) {
  const size = batchSize * (seqLen + 1);
  const count = Math.floor(tokens.length / size);
  const weights = new Float32Array(batchSize * seqLen).fill(1);
  return Array.from({ length: count }, (_, i) => {
    const inputs = new Int32Array(batchSize * seqLen);
    const targets = new Int32Array(batchSize * seqLen);
    for (let b = 0; b < batchSize; b++) {
      const row = tokens.subarray(i * size + b * (seqLen + 1), i * size + (b + 1) * (seqLen + 1));
      inputs.set(row.subarray(0, seqLen), b * seqLen);
      targets.set(row.subarray(1), b * seqLen);
    }
    return { batchSize, seqLen, tokens: inputs, targets, weights, segments: null };
  });
}
