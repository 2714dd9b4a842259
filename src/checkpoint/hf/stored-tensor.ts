/** A stored tensor: the file that holds it, its shape and type, and how it is quantized. */
import type { Shape } from '../../core/index.js';

/** Where a tensor is stored. */
export interface TensorPlace {
  readonly path: string;
  /** The shape that the file's header states. */
  readonly shape: Shape;
  /** The type of the tensor's elements in the file, such as `BF16`. */
  readonly stored: string;
  /** The tensor's size in the file, in bytes. */
  readonly bytes: number;
  /** How it is made of stored tensors, where it is quantized. */
  readonly coding?: Coding;
}

/** Which file holds each tensor. */
export type TensorFiles = ReadonlyMap<string, TensorPlace>;

/** A tensor of a folder by its name and place. */
export interface NamedPlace extends TensorPlace {
  readonly name: string;
}

/** How a tensor is made of stored ones. */
export type Coding =
  | {
      readonly kind: 'fp8';
      readonly weights: NamedPlace;
      readonly scales: NamedPlace;
      /** Rows and columns that share a scale. */
      readonly block: readonly [rows: number, columns: number];
    }
  | { readonly kind: 'mxfp4'; readonly blocks: NamedPlace; readonly scales: NamedPlace };
