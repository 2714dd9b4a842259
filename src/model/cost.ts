/**
 * What a model costs: parameters, FLOPs and the state that generation keeps.
 *
 * Parameters come from the same list as the built model. FLOPs count matrix products only, a multiply-add as 2: norms,
 * softmax, rotary turns, activations, gates, short convolutions and residual additions are left out, and so is the
 * embedding look-up. Recurrent mixers are counted in their chunkwise form, without the products that combine the states
 * of chunks. A training step costs three times the forward pass (recomputation not included).
 */
import { at, sizeOf } from '../core/index.js';
import type { ModelConfig } from './config.js';
import { mixerOf } from './mixers.js';
import { parameterSpecs } from './params.js';
import { printLayer } from './pattern.js';
import { headGroups, type WindowShare } from './plan.js';
import { sharedBlockOf } from './shared-params.js';
import { mlpConvStates } from './short-conv.js';
import { equalShares, withWindowShares, type Window } from './windows.js';
import { countActiveElements, countElements, countMatrixElements, type ParamPart } from './mixers/spec.js';

/** Bytes of an element of a key/value cache, by dtype: bf16 as with `--precision bf16`, or f32. */
export const CACHE_BYTES = { bf16: 2, f32: 4 } as const;

/** What a key/value cache is held in; recurrent states are f32 in both. */
export type CacheDtype = keyof typeof CACHE_BYTES;

/** Every dtype of caches, by name. */
export const CACHE_DTYPES: readonly CacheDtype[] = ['bf16', 'f32'];

/** What one layer costs. A shared block that it uses counts among its FLOPs, and not among its parameters. */
export interface LayerCost {
  /** The layer's index, from 0. */
  readonly layer: number;
  /** The layer in the short form of patterns. */
  readonly label: string;
  readonly parameters: { readonly mixer: number; readonly mlp: number; readonly norm: number; readonly total: number };
  /**
   * Forward FLOPs per token: the mixer's projections, its part that depends on the sequence (a mean over positions),
   * the MLP.
   */
  readonly flops: {
    readonly projections: number;
    readonly sequence: number;
    readonly mlp: number;
    readonly total: number;
  };
  /** Bytes kept for one sequence of `seqLen` tokens to generate the next one. */
  readonly cacheBytes: number;
}

/** What a model costs at a sequence length: parameters, FLOPs per token, and bytes of cache. */
export interface ModelCost {
  /** Tokens of a sequence, which FLOPs and cache bytes are for. */
  readonly seqLen: number;
  readonly parameters: {
    readonly total: number;
    /** Those that one token passes: of experts, the ones that it is sent to. Without experts, all. */
    readonly active: number;
    /** Everything but the embedding and what counts to the head; shared blocks once. */
    readonly nonEmbedding: number;
    readonly embedding: number;
    /** 0 when tied, but for a bias of the head and its own layer, where it has them. */
    readonly head: number;
    /** Those of blocks that several layers use, each once. */
    readonly shared: number;
    readonly finalNorm: number;
    readonly layers: number;
  };
  readonly layers: readonly LayerCost[];
  /** FLOPs per token of the output head, its own layer included. */
  readonly headFlops: number;
  /** FLOPs per token, mean over a sequence. */
  readonly forwardFlops: number;
  /**
   * FLOPs per token of a training step, three times those of the forward pass; the mean over training where windows
   * move.
   */
  readonly trainFlops: number;
  /** Bytes that all layers keep for one sequence of `seqLen` tokens to generate the next one. */
  readonly cacheBytes: number;
}

/** What `modelCost` assumes. */
export interface CostOptions {
  /** Bytes of one element of a key/value cache (default 4, f32). Recurrent states stay in f32. */
  readonly cacheElementBytes?: number;
  /** The shares that moving windows have of the training (default: equal ones). */
  readonly windowShares?: (windows: readonly Window[]) => readonly WindowShare[];
}

/** The costs of a model on sequences of `seqLen` tokens (>= 1). */
export function modelCost(config: ModelConfig, seqLen: number, options: CostOptions = {}): ModelCost {
  const bytes = options.cacheElementBytes ?? 4;
  const specs = parameterSpecs(config);
  const elements = (part: ParamPart, layer: number | null) =>
    countElements(specs.filter((s) => s.part === part && s.layer === layer && s.block === undefined));
  const layers = config.layers.map((plan, layer): LayerCost => {
    const block = sharedBlockOf(config, layer);
    const used = specs.filter((s) => s.layer === layer || (block !== null && s.block === block));
    const matrixFlops = (part: ParamPart) => 2 * countMatrixElements(used.filter((s) => s.part === part));
    const sequence = mixerOf(plan).sequenceFlops(config, plan, seqLen);
    const [projections, mlp] = [matrixFlops('mixer'), matrixFlops('mlp')];
    const parameters = { mixer: elements('mixer', layer), mlp: elements('mlp', layer), norm: elements('norm', layer) };
    return {
      layer,
      label: printLayer(plan),
      parameters: { ...parameters, total: parameters.mixer + parameters.mlp + parameters.norm },
      flops: { projections, sequence, mlp, total: projections + sequence + mlp },
      cacheBytes:
        mixerOf(plan).stateBytes(config, plan, seqLen, bytes, layer) +
        bytes * mlpConvStates(config, layer).reduce((n, { shape }) => n + sizeOf(shape), 0),
    };
  });
  const sum = (of: (layer: LayerCost) => number) => layers.reduce((n, layer) => n + of(layer), 0);
  const outer = {
    embedding: elements('embedding', null),
    head: elements('head', null),
    finalNorm: elements('norm', null),
  };
  // A tied head has no parameters of its own, but its product costs the same.
  const inLayers = sum((l) => l.parameters.total);
  const shared = countElements(specs.filter((s) => s.block !== undefined));
  const dense = config.headLayer === null ? 0 : config.hiddenSize;
  const headFlops = 2 * config.hiddenSize * (config.vocabSize + dense);
  const forwardFlops = sum((l) => l.flops.total) + headFlops;
  return {
    seqLen,
    parameters: {
      total: outer.embedding + outer.head + outer.finalNorm + shared + inLayers,
      active: countActiveElements(specs),
      nonEmbedding: outer.finalNorm + shared + inLayers,
      ...outer,
      shared,
      layers: inLayers,
    },
    layers,
    headFlops,
    forwardFlops,
    trainFlops: 3 * (forwardFlops + addedByMoving(config, seqLen, options)),
    cacheBytes: sum((l) => l.cacheBytes),
  };
}

/** What moving windows add to the forward FLOPs per token, mean over the training; below 0 where they are smaller. */
function addedByMoving(config: ModelConfig, seqLen: number, { windowShares = equalShares }: CostOptions): number {
  const moving = withWindowShares(config, windowShares);
  return moving.layers.reduce((sum, plan, i) => {
    const own = at(config.layers, i);
    if (!headGroups(own).some(({ windows }) => windows !== undefined)) return sum;
    const mixer = mixerOf(plan);
    return sum + mixer.sequenceFlops(config, plan, seqLen) - mixer.sequenceFlops(config, own, seqLen);
  }, 0);
}
