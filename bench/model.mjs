// The model of the CPU benchmark and the tokens that it trains on; peers read both from the file that `writeStart` makes.
import { writeSafetensors } from '../dist/checkpoint/index.js';
import { Rng } from '../dist/core/index.js';
import { initialParameters, resolveModelConfig } from '../dist/model/index.js';

export const DEFAULT_LAYERS = '3*swa:64 full';
const VOCAB_SIZE = 512;

export const benchModel = (layers = DEFAULT_LAYERS) =>
  resolveModelConfig({
    vocabSize: VOCAB_SIZE,
    hiddenSize: 256,
    numLayers: 4,
    layers,
    numHeads: 4,
    intermediateSize: 688,
    rmsNormEps: 1e-5,
  });

export const benchParameters = (model) => initialParameters(model, 1);

export function benchBatch(batchSize, seqLen) {
  const rng = Rng.of(1, 'bench');
  const stream = Int32Array.from({ length: batchSize * seqLen + 1 }, () => rng.int(VOCAB_SIZE));
  return {
    batchSize,
    seqLen,
    tokens: stream.slice(0, -1),
    targets: stream.slice(1),
    weights: new Float32Array(batchSize * seqLen).fill(1),
    segments: null,
  };
}

/** Writes parameters, tokens and targets as safetensors. */
export function writeStart(path, layers, batchSize, seqLen) {
  const { tokens, targets } = benchBatch(batchSize, seqLen);
  const matrix = (data) => ({ dtype: 'i32', shape: [batchSize, seqLen], data });
  const model = benchModel(layers);
  const parameters = Object.fromEntries(benchParameters(model));
  writeSafetensors(path, { ...parameters, tokens: matrix(tokens), targets: matrix(targets) });
}

/** The mixer of each layer, as the PyTorch peer takes it. */
export const peerLayers = (layers) =>
  benchModel(layers)
    .layers.map((plan) => {
      if (plan.mixer !== 'attention') return plan.mixer;
      const [{ window }] = plan.groups;
      return window === null ? 'full' : `swa:${window}`;
    })
    .join(',');
