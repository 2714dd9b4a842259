/** Small models of every kind of layer, with parameters that leave nothing at its neutral value. */
import { expect } from 'vitest';
import { Rng, tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { initialParameters, type ModelConfig, type ModelInput } from '../../../src/model/index.js';

export const SMALL = { vocabSize: 11, hiddenSize: 12, numHeads: 4, headDim: 6, intermediateSize: 20, numLayers: 2 };

/** Parameters in f64 with nothing left at 1 or 0, so that a norm weight or a sink that is not used shows. */
export function randomParameters(config: ModelConfig, seed = 1): Map<string, HostTensor> {
  return new Map(
    [...initialParameters(config, seed)].map(([name, tensor]) => {
      const rng = Rng.of(seed, 'test', name);
      const values = toNumbers(tensor);
      const neutral = values.every((v) => v === 0);
      if (tensor.shape.length === 1 || name.endsWith('.bias') || neutral)
        values.forEach((v, i) => (values[i] = v + 0.5 * rng.normal()));
      return [name, tensorFrom('f64', tensor.shape, values)];
    }),
  );
}

/** `tolerance`, or that of GELU, which graphs compute to the precision of float32. */
export const toleranceOf = ({ experts }: Partial<ModelInput>, tolerance: number): number =>
  (experts?.routerSize ?? null) === null ? tolerance : 1e-7;

export function randomTokens(config: ModelConfig, length: number, seed = 1): number[] {
  const rng = Rng.of(seed, 'tokens');
  return Array.from({ length }, () => rng.int(config.vocabSize));
}

/** Largest difference; NaN counts as infinite. */
export function worst(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let most = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs((a[i] as number) - (b[i] as number));
    most = Number.isNaN(difference) ? Infinity : Math.max(most, difference);
  }
  return most;
}

export const CASES: readonly (readonly [string, Partial<ModelInput> & { layers: string }])[] = [
  ['full attention', { layers: 'full' }],
  ['window 1', { layers: 'swa:1' }],
  ['windows of 4 and full', { layers: 'swa:4 full' }],
  ['a window one below the length', { layers: 'swa:8' }],
  ['a window of the length', { layers: 'swa:9' }],
  ['a window one above the length', { layers: 'swa:10' }],
  ['chunks of 4 and full', { layers: 'chunk:4 full' }],
  ['a chunk one below the length', { layers: 'chunk:8' }],
  ['a chunk of the length', { layers: 'chunk:9' }],
  ['a chunk one above the length', { layers: 'chunk:10' }],
  ['chunks of one token and chunks head by head', { layers: 'chunk:1 chunk:3@1/swa:3@1/full:nope', numKvHeads: 4 }],
  [
    'temperatures, fixed and learned, part of each head turning by bases of their own',
    {
      layers: 'swa:4:rope=0.5:temp=learned@1/swa:5:nope@1/full:theta=90:temp=log@2 chunk:3:nope:temp=learned',
      headDim: 8,
    },
  ],
  ['latent attention with temperatures', { layers: 'mla:4:nope:temp=learned mla:temp=log', mla: { ropeDim: 4 } }],
  [
    'chunks, queries and keys normed with their positions, queries without positions that grow',
    {
      layers: 'chunk:3 chunk:4:nope/full',
      qkNorm: 'rope',
      numKvHeads: 2,
      queryScaling: { beta: 0.5, length: 3, offset: 1, nope: true },
    },
  ],
  ['no positions', { layers: 'swa:4 full:nope' }],
  ['grouped queries', { layers: 'swa:4 full', numKvHeads: 2 }],
  ['one key/value head', { layers: 'swa:4 full', numKvHeads: 1 }],
  [
    'a gate by softplus, local positions that turn other channels',
    {
      layers: 'swa:4:local full',
      ...{ outputGate: 'head', outputGateBias: true, outputGateActivation: 'softplus' },
      localRope: { theta: 50, ropeDim: 6 },
      ropeDim: 2,
    },
  ],
  [
    'a gate by softplus of each channel, local positions that turn fewer',
    {
      layers: 'swa:4:local/full',
      outputGate: true,
      outputGateActivation: 'softplus',
      localRope: { theta: 9, ropeDim: 4 },
    },
  ],
  ['heads counted by layer', { layers: 'swa:4#6,3 full#2,1', numKvHeads: 2 }],
  [
    'heads counted by layer and mixed, with everything that has a part a head',
    {
      layers: 'swa:3:nope@2/full@4#6 swa:5/full:nope#8,2',
      ...{ numKvHeads: 3, numHeads: 3, qkNorm: 'width', sinks: true, outputGate: 'head', attentionBias: 'all' },
    },
  ],
  ['queries that grow with their position', { layers: 'swa:4 full', queryScaling: { beta: 0.5, length: 3 } }],
  [
    'queries without positions that grow by a power of theirs',
    { layers: 'swa:4 full:nope', queryScaling: { law: 'power', beta: 0.7, length: 3, offset: 1, nope: true } },
  ],
  ['an MLP without a gate', { layers: 'swa:4 full', mlpGate: false, activation: 'relu2', mlpBias: true }],
  ['an MLP of one SiLU', { layers: 'full', mlpGate: false }],
  ['a bias of the output projection alone', { layers: 'swa:4 full', attentionBias: 'output', numKvHeads: 2 }],
  ['learned positions', { layers: 'swa:4:nope full:nope', learnedPositions: 30 }],
  [
    'learned positions on a scaled and normalized embedding, with rotary ones',
    { layers: 'full', learnedPositions: 25, embeddingScale: 2, embeddingNorm: true, tieEmbeddings: true },
  ],
  ['qk norm', { layers: 'swa:4 full:nope', qkNorm: true, numKvHeads: 2 }],
  ['sinks', { layers: 'swa:4 full', sinks: true }],
  ['an output gate', { layers: 'swa:4 full', outputGate: true }],
  ['an output gate with biases', { layers: 'swa:4 full', outputGate: true, outputGateBias: true, numKvHeads: 2 }],
  ['a tied head', { layers: 'swa:4 full', tieEmbeddings: true }],
  ['windows mixed head by head', { layers: 'swa:3/full swa:2@1/swa:5:nope@1/full@2' }],
  [
    'norms after mixer and MLP, queries and keys normed as a whole',
    { layers: 'swa:4 full:nope', block: { norm: 'post' }, qkNorm: 'width' },
  ],
  [
    'norms before and after, stored as differences from 1, and local positions',
    {
      layers: 'swa:4:local full',
      localRope: { theta: 50 },
      ropeScaling: { type: 'linear', factor: 4 },
      block: { norm: 'both' },
      normOffset: 1,
      qkNorm: true,
      activation: 'gelu_tanh',
      attentionScale: 0.3,
      embeddingScale: 3,
      logitSoftcap: 0.5,
    },
  ],
  [
    'norms on the stream in one layer, before the mixer in the other',
    {
      layers: 'swa:4 full',
      block: [{ norm: 'stream', mixerSkip: 2, mlpSkip: 1.5, mixerScale: 0.7 }, { mlpScale: 0.4 }],
    },
  ],
  [
    'parallel blocks with LayerNorm and biases, turning part of each head',
    {
      layers: 'swa:4 full:nope',
      block: { parallel: true, mlpScale: 0.8 },
      norm: 'layer',
      attentionBias: 'all',
      mlpBias: true,
      activation: 'relu',
      ropeDim: 4,
      logitScale: 0.25,
    },
  ],
  [
    'LayerNorm with biases, before the mixer and on the stream',
    { layers: 'swa:4 full', norm: 'layer', normBias: true, block: [{}, { norm: 'stream' }], tieEmbeddings: true },
  ],
  [
    'norms with biases after mixer and MLP, an embedding that is normalized',
    {
      layers: 'swa:4 full',
      normBias: true,
      normOffset: 1,
      embeddingNorm: true,
      block: { norm: 'both' },
      mlpGate: false,
    },
  ],
  [
    'norms without weights',
    { layers: 'swa:4 full', normWeight: false, embeddingNorm: true, qkNorm: true, block: [{ norm: 'both' }, {}] },
  ],
  ['queries and keys normed as a whole without weights', { layers: 'full', normWeight: false, qkNorm: 'width' }],
  ['an output gate a head with biases', { layers: 'swa:2/full', outputGate: 'head', outputGateBias: true }],
  ['an output gate a head', { layers: 'swa:4 swa:2/full', numKvHeads: 2, outputGate: 'head' }],
  ['soft-capped scores', { layers: 'swa:4 full', attentionSoftcap: 0.5, numKvHeads: 2 }],
  ['soft-capped scores and sinks', { layers: 'swa:3/full', attentionSoftcap: 1, attentionScale: 2, sinks: true }],
  ['xIELU', { layers: 'swa:4 full', activation: 'xielu', mlpGate: false, mlpBias: true }],
  [
    'LayerNorm with biases, a gate a head, xIELU and everything else of the block',
    {
      layers: 'swa:3:nope/full swa:5',
      norm: 'layer',
      normBias: true,
      embeddingNorm: true,
      block: { norm: 'both' },
      activation: 'xielu',
      mlpGate: false,
      mlpBias: true,
      qkNorm: true,
      outputGate: 'head',
      attentionBias: 'all',
      attentionSoftcap: 1,
    },
  ],
  ['xIELU as a gate', { layers: 'full', activation: 'xielu' }],
  ['no MLP in one layer, biases in the other', { layers: 'full', attentionBias: 'qkv', block: [{ mlp: false }, {}] }],
  ['experts', { layers: 'swa:4 full', experts: { count: 5, perToken: 2, intermediateSize: 7 } }],
  [
    'one expert a token of many, a shared one behind a gate, a dense layer',
    {
      layers: 'swa:4 full full',
      numLayers: 3,
      experts: {
        ...{
          count: 16,
          perToken: 1,
          intermediateSize: 4,
          normalize: false,
          sharedSize: 6,
          sharedGate: true,
          dense: [1],
        },
      },
    },
  ],
  [
    'experts by sigmoid within groups, biases, clamped gates, norms after',
    {
      layers: 'swa:4 full',
      block: { norm: 'both' },
      experts: {
        ...{ count: 12, perToken: 3, intermediateSize: 5, scores: 'sigmoid', correctionBias: true, routerBias: true },
        ...{ groups: { count: 4, perToken: 2 }, bias: true, clamped: { limit: 0.5 }, scale: 2.5, normalizeEps: 1e-6 },
      },
    },
  ],
  [
    'experts that read weighted inputs, side by side with the mixer, in layers of their own',
    {
      ...{ layers: 'swa:4 full', block: { parallel: true }, mlpBias: true, mlpGate: false, activation: 'relu2' },
      experts: { count: 6, perToken: 4, intermediateSize: 5, weigh: 'input', latentSize: 8, sharedSize: 5, bias: true },
    },
  ],
  [
    'experts whose routers hand on a state, with a choice of none, a dense layer between',
    {
      ...{ layers: 'swa:4 full full', numLayers: 3 },
      experts: {
        ...{ count: 4, perToken: 1, intermediateSize: 5, normalize: false, routerSize: 6, skip: 0.1, dense: [1] },
        correctionBias: true,
      },
    },
  ],
  [
    'experts by SparseMixer, rows of the embedding beyond the vocabulary',
    {
      ...{ layers: 'swa:4 full', tieEmbeddings: true, extraTokens: 2 },
      experts: { count: 5, perToken: 3, intermediateSize: 5, scores: 'sparsemixer', jitter: 0.6, normalize: false },
    },
  ],
  [
    'experts chosen by capped logits with a correction',
    {
      layers: 'swa:4 full',
      experts: {
        ...{ count: 9, perToken: 3, intermediateSize: 5, scores: 'sigmoid', correctionBias: true },
        ...{ correctionOf: 'logits', logitSoftcap: 0.4 },
      },
    },
  ],
  ['experts in layers of one block', { layers: 'swa:4 mlp', experts: { count: 3, perToken: 3, intermediateSize: 5 } }],
  ['layers of one block', { layers: 'swa:4 mlp full:nope mlp', numLayers: 4, mlpGate: false, activation: 'relu2' }],
  [
    'MLPs alone among layers of both, normed after',
    {
      layers: 'mlp full mlp swa:4',
      numLayers: 4,
      block: [{ norm: 'post' }, { mlp: true, norm: 'both' }, { norm: 'stream', mlpScale: 0.5 }, { mlp: true }],
    },
  ],
  ['a squared relu', { layers: 'full', activation: 'relu2', attentionScale: 0.2, tieEmbeddings: true, normOffset: 1 }],
  ['latent attention', { layers: 'mla' }],
  [
    'latent attention with projected queries, values of their own width, and no positions',
    { layers: 'mla:nope mla', mla: { queryRank: 5, latentRank: 7, nopeDim: 4, ropeDim: 2, valueDim: 3 } },
  ],
  [
    'latent attention in a window beside full attention, with everything',
    {
      layers: 'mla:4:local full:nope mla:4 swa:3',
      numLayers: 4,
      numKvHeads: 2,
      localRope: { theta: 50, scaling: { type: 'linear', factor: 4 } },
      sinks: true,
      outputGate: true,
      attentionBias: 'all',
      attentionScale: 0.4,
      attentionSoftcap: 2,
      mla: { queryRank: 6, valueDim: 8, normEps: 0.1 },
    },
  ],
  [
    'latent attention with a gate a head and biases on latents',
    { layers: 'mla:8 mla:9', outputGate: 'head', attentionBias: 'qkv', mla: { queryRank: 4 } },
  ],
  [
    'keys and values of earlier layers, heads of a width of their own, values that are keys',
    {
      layers: 'swa:3:local full#2,2;width=8;values=keys swa:4:local/full:local;keys=0 full#2,2;width=8;keys=1',
      ...{ numLayers: 4, qkNorm: 'head', valueNorm: true, valueScale: 0.7, sinks: true, attentionScale: 1 },
      ...{ numKvHeads: 2, localRope: { theta: 50, ropeDim: 6 }, ropeDim: 6 },
    },
  ],
  [
    'inputs of layers, factors on layers, MLPs of their own width',
    {
      layers: 'swa:4 full',
      layerInputs: 5,
      layerScale: true,
      block: [{ norm: 'both', mlpWidth: 7 }, { norm: 'both' }],
    },
  ],
  [
    'values of their own width, sinks in windows, twice the keys there',
    {
      layers: 'full;sinks=no swa:3:local#4,4',
      ...{ valueDim: 5, valueScale: 1.3, sinks: true, numKvHeads: 2, outputGate: true, attentionBias: 'qkv' },
      localRope: { theta: 50, ropeDim: 2 },
    },
  ],
  ['positions as a bias of each query', { layers: 'swa:4:nope full:nope', positionBias: { width: 3, extent: 6 } }],
  [
    'biases of other distances, queries that grow where they see all keys, scores by width, short convolutions, factors',
    {
      layers: 'swa:3:nope/full:nope#8,2;width=4;bias=20 swa:5:nope;bias=5',
      ...{ numKvHeads: 2, qkNorm: true, attentionScale: 'width', outputGate: true, embeddingNorm: true },
      positionBias: { width: 2, extent: 1 },
      queryScaling: { law: 'beyond', beta: 0.5, length: 4, offset: 1, full: true },
      ...{ shortConv: { width: 3 }, mlpFactor: true },
    },
  ],
  ['short convolutions of one token, with rotary positions', { layers: 'swa:4 full', shortConv: { width: 1 } }],
  [
    'experts and a shared one in parts that one router scores, past convolutions',
    {
      ...{ layers: 'swa:4 full', shortConv: {}, mlpFactor: true, positionBias: { width: 2, extent: 4 } },
      experts: {
        ...{ count: 5, perToken: 2, intermediateSize: 6, scores: 'sigmoid', correctionBias: true, scale: 1.7 },
        ...{ sharedSize: 8, sharedScores: 2, dense: [1] },
      },
    },
  ],
  ['compressed convolutional attention', { layers: 'swa:4 full#2,1', cca: {}, numKvHeads: 2 }],
  [
    'compressed convolutional attention with biases, longer convolutions, heads apart and positions of part of each head',
    {
      ...{ layers: 'swa:3:nope/full swa:5:local', localRope: { theta: 100 }, ropeDim: 2, attentionBias: 'all' },
      ...{ cca: { width: 3, headWidth: 4 }, numKvHeads: 4, outputGate: true },
    },
  ],
  ['convolutions of one token on queries and keys', { layers: 'full', cca: { width: 1, headWidth: 1 }, numKvHeads: 1 }],
  [
    'learned factors and shifts at every sum, a bias of the head',
    { layers: 'swa:4 full', residualAffine: true, headBias: true, logitScale: 0.5, block: [{ norm: 'both' }, {}] },
  ],
  [
    'learned factors and shifts of parallel blocks on a normalized embedding',
    {
      layers: 'full',
      residualAffine: true,
      block: { parallel: true },
      tieEmbeddings: true,
      headBias: true,
      embeddingNorm: true,
    },
  ],
  [
    'experts beside MLPs, whose router has a norm and whose weights have factors, and a dense layer',
    {
      ...{ layers: 'swa:4 full', block: { norm: 'both' } },
      experts: {
        ...{ count: 5, perToken: 2, intermediateSize: 6, besideMlp: true, routerNorm: true, weightScale: true },
        dense: [1],
      },
    },
  ],
  [
    'experts in place of MLPs, whose router reads the stream and whose weights, not normalized, have factors',
    {
      layers: 'full',
      experts: {
        ...{ count: 4, perToken: 3, intermediateSize: 6, scores: 'sigmoid', normalize: false },
        ...{ routerNorm: true, routerBias: true, weightScale: true, sharedSize: 5 },
      },
    },
  ],
  [
    'a dense layer in the head, no norm before the first mixer',
    {
      ...{ layers: 'full swa:4', norm: 'layer', embeddingNorm: true, block: [{ mixerNorm: false }, {}] },
      ...{ headLayer: { activation: 'silu' }, headBias: true, tieEmbeddings: true },
    },
  ],
  [
    'a dense layer with biases in the head, no norm before any mixer',
    {
      ...{ layers: 'swa:4 full', normBias: true, block: { mixerNorm: false } },
      headLayer: { activation: 'relu', bias: true },
    },
  ],
  [
    'latent attention with a gate that has biases',
    { layers: 'mla', outputGate: true, outputGateBias: true, mla: { valueDim: 8 } },
  ],
  [
    'latent attention with queries that grow',
    { layers: 'mla', queryScaling: { beta: 0.5, length: 3 }, mla: { latentRank: 3 } },
  ],
  [
    'mixed heads, grouped, with everything',
    {
      layers: 'swa:3:nope/full swa:5/full:nope',
      numKvHeads: 2,
      qkNorm: true,
      sinks: true,
      outputGate: true,
      tieEmbeddings: true,
      ropeTheta: 100,
      rmsNormEps: 0.1,
    },
  ],
];

/** Models with each recurrent mixer, plain and with its switches the other way. */
export const RECURRENT_CASES: readonly (readonly [string, Partial<ModelInput> & { layers: string }])[] = [
  ['lightning', { layers: 'lightning full:nope' }],
  [
    'lightning as flash-linear-attention, with positions and norms',
    {
      layers: 'lightning',
      lightning: {
        numKvHeads: 2,
        slopes: 'linear',
        layerFactor: 'fla',
        activation: 'silu',
        scale: 1,
        qkNorm: true,
        rope: true,
        norm: 'layer',
        gate: 'low-rank',
      },
    },
  ],
  ['lightning alone', { layers: 'lightning', lightning: { layerFactor: 'tnl', norm: 'none', gate: 'none' } }],
  ['gla', { layers: 'gla swa:3' }],
  [
    'gla, grouped, without convolution and gate',
    { layers: 'gla', gla: { numKvHeads: 2, keyDim: 3, valueDim: 5, convWidth: 0, gate: false } },
  ],
  ['mlstm', { layers: 'mlstm full', mlstm: { keyDim: 4, valueDim: 5, gateCap: 2 } }],
  ['mamba2', { layers: 'mamba2 full', mamba2: { headDim: 6, stateSize: 5 } }],
  [
    'mamba2 without MLP, with groups and biases',
    {
      layers: 'mamba2',
      block: { mlp: false },
      mamba2: { numHeads: 4, headDim: 3, stateSize: 4, numGroups: 2, bias: true, norm: 'norm-first', dtMax: 0.5 },
    },
  ],
  [
    'mamba2 with one tap and no norm',
    { layers: 'mamba2', mamba2: { headDim: 6, stateSize: 3, convWidth: 1, convBias: false, norm: 'none' } },
  ],
  ['mamba', { layers: 'mamba full', mamba: { stateSize: 3 } }],
  [
    'mamba without MLP, with biases and norms, in chunks',
    {
      layers: 'mamba',
      block: { mlp: false },
      mamba: { innerSize: 10, stateSize: 2, rank: 3, bias: true, convBias: false, norms: 'weighted', chunk: 4 },
    },
  ],
  [
    'mamba with heads',
    {
      layers: 'mamba',
      hiddenSize: 6,
      mamba: { innerSize: 12, numHeads: 3, stateSize: 2, rank: 2, bias: true, chunk: 4 },
    },
  ],
  ['mamba with plain norms and one tap', { layers: 'mamba', mamba: { convWidth: 1, stateSize: 2, norms: 'plain' } }],
  [
    'mamba2 beside attention, with factors',
    {
      layers: 'swa:3/full:nope+mamba2 full+mamba',
      block: { mixerScale: 0.7, besideScale: 1.3 },
      mlpGateScale: 0.6,
      mamba2: { headDim: 6, stateSize: 3, inputScales: [0.5, 1.5, 2, 0.8, 1.2] },
      mamba: { stateSize: 2 },
    },
  ],
  [
    'a shared block that feeds Mamba-2, used twice',
    {
      ...{ layers: 'shared:full:nope+mamba2 mamba2 shared:swa:8+mamba2', numLayers: 3, block: { mlp: false } },
      ...{ hiddenSize: 6, headDim: 4, intermediateSize: 5, attentionScale: 0.5, mamba2: { headDim: 6, stateSize: 3 } },
    },
  ],
  [
    'two shared blocks used in turn, with adapters, windows mixed head by head, MLPs behind the mixers',
    {
      ...{ layers: 'shared:swa:3/full+conv', hiddenSize: 6, headDim: 4, intermediateSize: 5, numLayers: 3 },
      shared: { blocks: 2, attentionRank: 2, mlpRank: 1 },
      ...{ numKvHeads: 2, qkNorm: true, sinks: true, outputGate: 'head', attentionBias: 'all', mlpBias: true },
    },
  ],
  [
    'a shared block with an MLP without a gate and its adapter alone',
    { layers: 'mlp shared:swa:8+conv', mlpGate: false, activation: 'xielu', shared: { mlpRank: 2 }, normBias: true },
  ],
  ['gdn', { layers: 'gdn full:nope' }],
  [
    'gdn with more value heads, negative eigenvalues, no gate and no convolution',
    {
      layers: 'gdn',
      gdn: { numHeads: 2, numValueHeads: 4, keyDim: 5, valueDim: 3, allowNegEigval: true, gate: false, convWidth: 0 },
    },
  ],
  ['kda', { layers: 'kda swa:2/full' }],
  [
    'kda with bounded decays and one matrix for each projection',
    { layers: 'kda', kda: { rank: null, lowerBound: -5 } },
  ],
  ['kda with other widths', { layers: 'kda', kda: { numHeads: 2, keyDim: 5, valueDim: 3, rank: 4, convWidth: 2 } }],
  ['rwkv7', { layers: 'rwkv7 full' }],
  [
    'rwkv7 three times with other widths, values of the first in the others, in chunks',
    {
      layers: 'rwkv7 swa:3 rwkv7 full+rwkv7',
      numLayers: 4,
      rwkv7: {
        ...{ numHeads: 3, keyDim: 4, valueDim: 5, decayRank: 2, removalRank: 3, valueRank: 4, gateRank: 5 },
        ...{ normEps: 0.01, chunk: 4 },
      },
    },
  ],
  ['rglru', { layers: 'rglru swa:3' }],
  [
    'rglru, wider than the model, in blocks, one tap, in chunks',
    { layers: 'rglru', rglru: { width: 18, blocks: 3, convWidth: 1, activation: 'silu', chunk: 4 } },
  ],
  ['conv', { layers: 'conv full' }],
  ['conv with biases over five tokens', { layers: 'conv swa:3', conv: { width: 5, bias: true } }],
  ['conv over one token', { layers: 'conv', conv: { width: 1 } }],
];
