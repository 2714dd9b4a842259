/**
 * Tile kernels: programs on small dense tiles, one instance per cell of a grid, as Triton has them (Tillet et al.
 * 2019). A kernel is data. `KernelBuilder` makes it, `printKernel` writes it as Triton IR for XLA, `runKernel` executes
 * it on host arrays.
 *
 * Values are static single assignments with a dtype and a shape (`[]` is a scalar); the sizes of tiles are powers of
 * two. Everything about the problem (sizes, strides, windows) is a constant of the program.
 */
import type { Shape } from '../../../../core/index.js';

/** `i64` is meant for offsets into large buffers. */
export type TileDType = 'f32' | 'bf16' | 'i32' | 'i64' | 'bool';

/** The element type and shape of a tile; sizes are powers of two. */
export interface TileType {
  readonly dtype: TileDType;
  readonly shape: Shape;
}

/** A value of a kernel. */
export interface Tile extends TileType {
  /** The tile's number in its kernel, from 0. */
  readonly id: number;
}

/** A place in one of the kernel's buffers: the buffer's start, or that moved by a scalar. */
export interface Pointer {
  /** The pointer's number in its kernel, from 0. */
  readonly id: number;
  readonly dtype: BufferDType;
}

/** The element types of a kernel's buffers. */
export type BufferDType = 'f32' | 'bf16' | 'i32';

/** An array in device memory; those written are the results of the call, the others its operands. */
export interface BufferSpec {
  readonly name: string;
  readonly dtype: BufferDType;
  /** The sizes of the array's dimensions. */
  readonly shape: Shape;
  readonly written: boolean;
}

/** Functions of one tile, element by element. */
export type TileUnary = 'exp' | 'exp2' | 'log' | 'log2' | 'sqrt' | 'rsqrt' | 'abs';
/** Functions of two tiles, element by element. */
export type TileBinary = 'add' | 'sub' | 'mul' | 'div' | 'rem' | 'min' | 'max' | 'and' | 'or';
/** Comparisons of two tiles, element by element. */
export type TileCompare = 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge';
/** Reductions along an axis of a tile. */
export type TileReduce = 'add' | 'max' | 'min';

/** What `tl.dot` does with float32 operands; bf16 operands are multiplied exactly and summed in float32 anyway. */
export type DotPrecision = 'ieee' | 'tf32';

/** An operation of a kernel. */
export type TileOp =
  | { readonly op: 'programId'; readonly axis: 0 | 1 | 2; readonly out: Tile }
  | { readonly op: 'constant'; readonly value: number; readonly out: Tile }
  /** 0, 1, ..., n - 1. */
  | { readonly op: 'range'; readonly out: Tile }
  | { readonly op: 'unary'; readonly fn: TileUnary; readonly x: Tile; readonly out: Tile }
  | { readonly op: 'binary'; readonly fn: TileBinary; readonly a: Tile; readonly b: Tile; readonly out: Tile }
  | { readonly op: 'compare'; readonly fn: TileCompare; readonly a: Tile; readonly b: Tile; readonly out: Tile }
  | { readonly op: 'select'; readonly c: Tile; readonly a: Tile; readonly b: Tile; readonly out: Tile }
  | { readonly op: 'convert'; readonly x: Tile; readonly out: Tile }
  | { readonly op: 'expandDims'; readonly x: Tile; readonly axis: number; readonly out: Tile }
  /** Axes of size 1 stretched, or a scalar to any shape. */
  | { readonly op: 'broadcast'; readonly x: Tile; readonly out: Tile }
  /** The left and the right half of a matrix's columns. */
  | { readonly op: 'halves'; readonly x: Tile; readonly outs: readonly [Tile, Tile] }
  /** The two axes of a matrix exchanged. */
  | { readonly op: 'transpose'; readonly x: Tile; readonly out: Tile }
  /** `a [M,K] · b [K,N] + acc [M,N]`, summed in float32. */
  | {
      readonly op: 'dot';
      readonly a: Tile;
      readonly b: Tile;
      readonly acc: Tile;
      readonly precision: DotPrecision;
      readonly out: Tile;
    }
  | { readonly op: 'reduce'; readonly fn: TileReduce; readonly x: Tile; readonly axis: number; readonly out: Tile }
  /** Running sums along an axis, each place included; from the end if `reverse`. */
  | { readonly op: 'cumsum'; readonly x: Tile; readonly axis: number; readonly reverse: boolean; readonly out: Tile }
  /** `pointer` moved by a scalar number of elements. */
  | { readonly op: 'advance'; readonly pointer: Pointer; readonly by: Tile; readonly out: Pointer }
  /** Elements `offsets` from the pointer; `other` where the mask is false, and there memory is not touched. */
  | {
      readonly op: 'load';
      readonly pointer: Pointer;
      readonly offsets: Tile;
      readonly mask: Tile | null;
      readonly other: Tile | null;
      readonly out: Tile;
    }
  | {
      readonly op: 'store';
      readonly pointer: Pointer;
      readonly offsets: Tile;
      readonly value: Tile;
      readonly mask: Tile | null;
    }
  | LoopOp;

/** `for (index = from; index < to; index++)` with values carried from one iteration to the next. */
export interface LoopOp {
  readonly op: 'loop';
  readonly from: Tile;
  readonly to: Tile;
  readonly index: Tile;
  /** The carried values before the first iteration, inside the body, at its end, and after the last iteration. */
  readonly initial: readonly Tile[];
  readonly carried: readonly Tile[];
  readonly next: readonly Tile[];
  readonly outs: readonly Tile[];
  readonly body: readonly TileOp[];
}

/** A kernel: its buffers, its body, and how it is launched. */
export interface Kernel {
  readonly name: string;
  readonly buffers: readonly BufferSpec[];
  /** The start of each buffer, in the same order. */
  readonly pointers: readonly Pointer[];
  readonly body: readonly TileOp[];
  /** Program instances along x, y, z. */
  readonly grid: readonly [number, number, number];
  /** Warps of 32 threads that share an instance. */
  readonly numWarps: number;
  /** Depth of software pipelining of the loads in loops. */
  readonly numStages: number;
  /** Registers that a thread may have, so that more instances share a processor; null leaves it to the compiler. */
  readonly maxRegisters: number | null;
}
