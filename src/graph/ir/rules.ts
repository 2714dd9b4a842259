/** What the rules of ops look like that are built from other ops: derivatives and decompositions. */
import type { NodeOf, OpName, OpSignatures, Value } from './types.js';

/** The derivative of a loss with respect to a value, of the same dtype and shape; null stands for zero. */
export type Cotangent = Value | null;

/** Differentiates a whole subgraph (see `vjp`); passed to rules to keep the tables free of cycles. */
export type Pullback = (
  outputs: readonly Value[],
  cotangents: readonly Cotangent[],
  wrt: readonly Value[],
) => readonly Cotangent[];

type Each<T extends readonly unknown[]> = { readonly [I in keyof T]: Cotangent };

/** One cotangent for each output. A rule runs only where one is not zero: that of a single output never is. */
type Cotangents<K extends OpName> = OpSignatures[K]['outputs'] extends readonly [Value]
  ? readonly [Value]
  : Each<OpSignatures[K]['outputs']>;

/**
 * Given a node and the cotangents of its outputs, the cotangents of its inputs in order (null for zero, and always for
 * integers, booleans and indices). Values built here that nothing uses never reach a graph.
 */
export type DerivativeRule<K extends OpName> = (
  node: NodeOf<K>,
  cts: Cotangents<K>,
  pullback: Pullback,
) => readonly Cotangent[];

/** A composite in terms of primitives (and simpler composites): its outputs from its inputs. */
export type Decomposition<K extends OpName> = (
  inputs: OpSignatures[K]['inputs'],
  attrs: OpSignatures[K]['attrs'],
) => readonly Value[];
