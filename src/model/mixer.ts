/**
 * What the model asks of a mixer: to run over whole sequences, and over a sequence chunk by chunk with a state between.
 */
import type { DType, Shape } from '../core/index.js';
import type { Value } from '../graph/index.js';
import type { ModelConfig } from './config.js';
import type { LayerPlan } from './plan.js';
import type { ParamSpec } from './mixers/spec.js';
import type { Tap } from './tap.js';

/** What a mixer builds its part of the graph from. */
export interface MixerScope {
  readonly config: ModelConfig;
  /**
   * The input of the layer, `[B,T,hiddenSize]`, normalized but without the norm's gain, which `inputMatrix` applies.
   */
  readonly x: Value;
  /** A matrix `[hiddenSize, n]` of this layer that multiplies `x`, its rows times the gain of the norm. */
  readonly inputMatrix: (name: string) => Value;
  /** A parameter of this layer by the end of its name, such as `attn.wqkv`. */
  readonly param: (name: string) => Value;
  /** What a use of shared attention adds to its queries, keys and values, `[B,T,n]` each. */
  readonly adapters?: () => readonly Value[];
  /** Index of the layer. */
  readonly layer: number;
  /** Called with the queries, the keys and the outputs of heads (default: leaves values as they are). */
  readonly tap?: Tap;
  /**
   * The document index of each token where a row holds several documents, i32 `[B,T]`; nothing may pass from one
   * document to another.
   */
  readonly segments: Value | null;
  /**
   * Where x holds rows cut from longer texts: which tokens are the first of their document there, bool `[B,T]`.
   */
  readonly starts?: Value;
  /** What earlier layers have handed on, by name. */
  readonly handed: ReadonlyMap<string, Value>;
  /** Where the tokens stand in their sequences; null where x holds whole sequences, token t at position t. */
  readonly positions: TokenPositions | null;
}

/** The positions of a chunk's tokens in their sequences. */
export interface TokenPositions {
  /** Positions from 0, i32 `[B,T]`. */
  readonly values: Value;
  /** All positions are below this. */
  readonly limit: number;
}

/** What a mixer gives for whole sequences. */
export interface MixerOutput {
  /** What is added to the residual stream, `[B,T,hiddenSize]`. */
  readonly out: Value;
  /** What it hands on to later layers, by name (default: nothing). */
  readonly hands?: Readonly<Record<string, Value>>;
}

/** A tensor that a mixer keeps from one chunk of its sequences to the next. It starts as zeros. */
export interface StateSpec {
  /** The state's name, unique within the layer. */
  readonly name: string;
  /** The state's shape, the batch included. */
  readonly shape: Shape;
  readonly dtype: DType;
}

/** What states are for: `batchSize` sequences of up to `maxLength` tokens, padding included. */
export interface StateRoom {
  readonly batchSize: number;
  readonly maxLength: number;
  /** The dtype of the parameters, which states have unless they must be exact. */
  readonly dtype: DType;
}

/**
 * Where a chunk of n tokens lies. Sequences of different lengths are padded on the left, so that all end in the same
 * slot: slot s of row b holds token `s - padding[b]`, and padding if that is negative. Padding comes before every token
 * of its row and must leave no trace: no key may be seen and no state may change because of it. What a mixer returns
 * for it is not used, but must be finite.
 */
export interface ChunkPlace {
  /**
   * Slot of the chunk's first token, i32 `[]`; the chunk fills slots `start .. start + n - 1`, all below `maxLength`.
   */
  readonly start: Value;
  /** Padding slots of each row, i32 `[B]`. */
  readonly padding: Value;
  /** Which of the chunk's slots hold tokens, bool `[B,n]`. */
  readonly valid: Value;
  /** The most slots of a sequence, padding included. */
  readonly maxLength: number;
}

/** What a mixer builds its part of a step from: x is a chunk `[B,n,hiddenSize]`, n >= 1, with known positions. */
export interface StepScope extends MixerScope {
  readonly place: ChunkPlace;
  /** A state of this layer by its name, as the chunks before have left it. */
  readonly state: (name: string) => Value;
}

/** What a mixer gives for a chunk: its output, and the state that the next chunk starts from. */
export interface StepOutput {
  /** What is added to the residual stream, `[B,n,hiddenSize]`. */
  readonly out: Value;
  /** What it hands on to later layers, by name (default: nothing). */
  readonly hands?: Readonly<Record<string, Value>>;
  /** Every state of the layer after the chunk, by name. */
  readonly state: Readonly<Record<string, Value>>;
}

/** A token mixer: its parameters, its costs, and its forward pass over whole sequences and chunk by chunk. */
export interface Mixer<P extends LayerPlan> {
  /** Parameters of layer `layer`, in order; names start with `layers.N.`. */
  params(config: ModelConfig, plan: P, layer: number): ParamSpec[];
  /**
   * Forward FLOPs per token that depend on the sequence (scores and values, state updates), mean over the positions of
   * a sequence of `seqLen` tokens; a multiply-add is 2. Projections are counted from the parameters.
   */
  sequenceFlops(config: ModelConfig, plan: P, seqLen: number): number;
  /**
   * Bytes of state kept per sequence to generate the token after `length` tokens, where what need not be exact is held
   * in elements of `elementBytes`.
   */
  stateBytes(config: ModelConfig, plan: P, length: number, elementBytes: number, layer: number): number;
  /** The forward pass of the mixer. */
  build(scope: MixerScope, plan: P): MixerOutput;
  /** The states of the mixer in layer `layer`, in order. */
  states(config: ModelConfig, plan: P, room: StateRoom, layer: number): StateSpec[];
  /** A chunk of the sequences: `build` on whole sequences and steps over their chunks, however they are cut, agree. */
  step(scope: StepScope, plan: P): StepOutput;
}
