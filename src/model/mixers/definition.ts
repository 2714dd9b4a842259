/**
 * The definition of a recurrent mixer: one file that holds everything which is true of it alone. `table.ts` lists them;
 * the schema, the layer grammar, parameters, costs, sharding, states and documentation follow from the list.
 *
 * Shape letters: B sequences, T tokens, d hiddenSize.
 */
import type { z } from 'zod';
import type { Value } from '../../graph/index.js';
import type { ParamInit, ParamSpec } from './spec.js';

/** What a mixer knows of the model that it is a layer of. */
export interface MixerModel {
  readonly hiddenSize: number;
  readonly numHeads: number;
  readonly headDim: number;
  /** The base of the rotary frequencies. */
  readonly ropeTheta: number;
  /** The epsilon of the norms. */
  readonly rmsNormEps: number;
}

/** Where in the model a layer stands. */
export interface MixerPlace {
  /** The layer's index, and the number of layers of the model. */
  readonly layer: number;
  readonly numLayers: number;
  /** Whether no layer before has the same mixer. */
  readonly first: boolean;
}

/** Makes the parameters of one layer; names are put behind `layers.N.MIXER.`. */
export interface ParamMaker {
  /**
   * A matrix `[fanIn, fanOut]` whose output goes on inside of the mixer; several widths are matrices stored side by
   * side in one, `[fanIn, sum of widths]`.
   */
  matrix(name: string, fanIn: number, fanOut: number | readonly number[]): ParamSpec;
  /** A matrix `[fanIn, hiddenSize]` that writes to the residual stream. */
  output(name: string, fanIn: number): ParamSpec;
  /**
   * Matrices `NAMEdown [fanIn, rank]`, which starts at 0, and `NAMEup [rank, fanOut]`, N(0, 0.01 / fanOut): a map of
   * low rank that starts at nothing.
   */
  correction(name: string, fanIn: number, rank: number, fanOut: number): ParamSpec[];
  /**
   * `count` matrices `[count, fanIn, fanOut]` (square if `fanOut` is not told), each for its own channels: a
   * block-diagonal map.
   */
  blocks(name: string, count: number, fanIn: number, fanOut?: number): ParamSpec;
  /**
   * Taps `NAME.weight [channels, width]` of a depthwise convolution, and `NAME.bias [channels]` where there is a bias.
   */
  conv(name: string, channels: number, width: number, bias: boolean): ParamSpec[];
  /** Logarithms of decay rates `[channels, states]`, 1 to `states` in every channel (S4D-Real, Gu et al. 2022). */
  rates(name: string, channels: number, states: number): ParamSpec;
  /** A vector `[size]`, or of the shape that is given. */
  vector(name: string, size: number | readonly number[], init: ParamInit): ParamSpec;
}

/** A state that a mixer keeps for one sequence. */
export interface SequenceState {
  readonly name: string;
  /** The state's shape for one sequence, without the batch. */
  readonly shape: readonly number[];
  /** Whether the state is kept in float32 whatever dtype the parameters have. */
  readonly exact: boolean;
}

/** What a mixer builds its part of the graph from. */
export interface RecurrentScope {
  readonly model: MixerModel;
  /** The layer's index, and the number of layers of the model. */
  readonly layer: number;
  readonly numLayers: number;
  /** The input of the layer, `[B,T,d]`, normalized but without the norm's gain, which `inputMatrix` applies. */
  readonly x: Value;
  /** A matrix `[d, n]` of this mixer that multiplies `x`, its rows times the gain of the norm. */
  readonly inputMatrix: (name: string) => Value;
  /** A parameter of this mixer. */
  readonly param: (name: string) => Value;
  /** Which tokens no token of their document precedes, bool `[B,T]`. */
  readonly starts: () => Value;
  /**
   * What the first layer with this mixer has handed on by that name, `[B,T,...]`; null in that layer itself, which
   * hands on `value`.
   */
  readonly fromFirst: (name: string, value: Value) => Value | null;
  /** Rotary positions on heads `[B,T,heads,width]`, with the model's base. */
  readonly rotate: (heads: Value) => Value;
}

/**
 * The state of a mixer around the tokens that it is given: what it reads before the first and hands on after the last.
 * One definition on top of it mixes whole sequences and chunks of them alike.
 */
export interface StateAccess {
  /**
   * The document index of each token, i32 `[B,T]`; nothing may pass from one document to another; null where each row
   * is one document.
   */
  readonly segments: Value | null;
  /** The state of that name before the first token; null stands for zeros. */
  read(name: string): Value | null;
  /** Hands on the state after the last token. */
  write(name: string, state: Value): void;
  /**
   * `x [B,T,...]` with zeros where there is no token. Where inputs of a convolution and values are zero, padding, which
   * comes before every token of its row, leaves convolutions and states at the zeros that they start from.
   */
  maskPadding(x: Value): Value;
}

/** The definition of one recurrent mixer; `C` is its section of a configuration, resolved. */
export interface RecurrentDefinition<S extends z.ZodType, C> {
  /** One line for the documentation of the section. */
  readonly summary: string;
  /** Schema of the section `model.MIXER`; `{}` must be valid. */
  readonly schema: S;
  /**
   * The fields of the section, resolved, that grow with the width of the model: counts of heads, and widths that are no
   * single head's.
   */
  readonly grows: readonly (keyof C & string)[];
  /**
   * The section with every default filled in from the model's widths.
   *
   * @param where names the section in messages
   * @throws ConfigError where widths or counts of heads do not fit one another
   */
  resolve(section: z.output<S>, model: MixerModel, where: string): C;
  /**
   * The same section with another number of heads, each as wide as before; left out by mixers whose channels are not
   * those of heads.
   */
  withHeads?(section: C, heads: number): C;
  /** The parameters of one layer, in order. */
  params(make: ParamMaker, section: C, model: MixerModel, place: MixerPlace): ParamSpec[];
  /**
   * Forward FLOPs per token that are not products with parameters (scores and values, state updates), mean over the
   * positions of a sequence of `seqLen` tokens; a multiply-add is 2.
   */
  sequenceFlops(section: C, seqLen: number): number;
  /** The states of one layer, in order. */
  states(section: C, model: MixerModel): SequenceState[];
  /** What is added to the residual stream, `[B,T,d]`. */
  mix(scope: RecurrentScope, section: C, state: StateAccess): Value;
}

/** Defines a recurrent mixer; `table.ts` lists the definitions. It only checks the types against one another. */
export function defineMixer<S extends z.ZodType, C>(definition: RecurrentDefinition<S, C>): RecurrentDefinition<S, C> {
  return definition;
}

/**
 * Every field of a section that is not left to be worked out, and those in `F` worked out; `Dropped` are gone
 * afterwards.
 */
export type Resolved<
  S extends z.ZodType,
  F extends keyof z.output<S>,
  Dropped extends keyof z.output<S> = never,
> = Readonly<Omit<z.output<S>, F | Dropped> & { [K in F]-?: NonNullable<z.output<S>[K]> }>;
