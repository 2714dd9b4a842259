/** Reads tensors of a Transformers folder, part by part, in the type that they are held in. */
import { at, got, invariant, sizeOf, toBf16Bits, type HalfDType } from '../../core/index.js';
import { SafetensorsFile } from '../safetensors.js';
import { fromMxfp4, scaleBlocks } from './quantized.js';
import type { Coding, NamedPlace, TensorFiles, TensorPlace } from './stored-tensor.js';

/** What weights are held in: bf16 or f16 where they are stored so, f32 otherwise. */
export type WeightDType = 'f32' | HalfDType;

/** Elements of weights on the host; bf16 and f16 as their 16 bits. */
export type WeightArray = Float32Array | Uint16Array;

/** The types that are held as they are stored. */
const HALVES: Readonly<Partial<Record<string, HalfDType>>> = { BF16: 'bf16', F16: 'f16' };

/**
 * What a stored tensor is held in. Numbers of MXFP4 times a power of 2 are exact in bf16, those of FP8 times a scale
 * are not.
 */
export function heldAs({ stored, coding }: TensorPlace): WeightDType {
  if (coding !== undefined) return coding.kind === 'mxfp4' ? 'bf16' : 'f32';
  return HALVES[stored] ?? 'f32';
}

/** Opens each file of a folder once, when it is first read. */
export class TensorReader implements Disposable {
  readonly #files: TensorFiles;
  readonly #open = new Map<string, SafetensorsFile>();
  /** The scales, and the expert, that were read last. */
  #scales: { readonly of: Coding; readonly values: Float32Array } | null = null;
  #expert: { readonly of: Coding; readonly index: number; readonly values: Float32Array } | null = null;

  constructor(files: TensorFiles) {
    this.#files = files;
  }

  /** Elements `first` to `last` (exclusive) of a tensor of floats, as f32. */
  floats(name: string, first: number, last: number): Float32Array {
    const { path, shape, coding } = got(this.#files, name);
    if (coding === undefined) return this.#file(path).readFloats(name, first, last);
    if (coding.kind === 'mxfp4') return this.#ofExperts(coding, first, last);
    const values = this.#file(coding.weights.path).readFloats(coding.weights.name, first, last);
    scaleBlocks(values, first, { shape, block: coding.block, scales: this.#scalesOf(coding) });
    return values;
  }

  /** All elements of a tensor of floats, as f32. */
  all(name: string): Float32Array {
    return this.floats(name, 0, sizeOf(got(this.#files, name).shape));
  }

  /** Fills `into` with elements of a tensor from number `first` on, in the type of two bytes that it is held in. */
  fill(name: string, first: number, into: Uint16Array): void {
    const { path, coding } = got(this.#files, name);
    if (coding === undefined) {
      const bytes = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
      return this.#file(path).readBytes(name, first, bytes);
    }
    const values = this.floats(name, first, first + into.length);
    for (let i = 0; i < into.length; i++) into[i] = toBf16Bits(at(values, i));
  }

  /** Fills `into` with the bytes of a tensor that is stored as it is, from element `first` on. */
  bytes({ path, name }: NamedPlace, first: number, into: Uint8Array): void {
    this.#file(path).readBytes(name, first, into);
  }

  [Symbol.dispose](): void {
    for (const file of this.#open.values()) file[Symbol.dispose]();
    this.#open.clear();
  }

  #file(path: string): SafetensorsFile {
    const file = this.#open.get(path) ?? new SafetensorsFile(path);
    this.#open.set(path, file);
    return file;
  }

  /** Scales of FP8; bytes stand for powers of 2. */
  #scalesOf(coding: Coding & { readonly kind: 'fp8' }): Float32Array {
    if (this.#scales?.of === coding) return this.#scales.values;
    const { scales } = coding;
    const count = sizeOf(scales.shape);
    let values: Float32Array;
    if (scales.stored === 'U8') {
      const exponents = new Uint8Array(count);
      this.bytes(scales, 0, exponents);
      values = Float32Array.from(exponents, (e) => 2 ** (e - 127));
    } else values = this.#file(scales.path).readFloats(scales.name, 0, count);
    this.#scales = { of: coding, values };
    return values;
  }

  /** Elements of the experts' matrices, one after another. */
  #ofExperts(coding: Coding & { readonly kind: 'mxfp4' }, first: number, last: number): Float32Array {
    const out = new Float32Array(last - first);
    const [, columns, groups, bytes] = coding.blocks.shape;
    invariant(columns && groups && bytes, 'blocks of MXFP4 have four axes');
    const [perExpert, size] = [columns * groups, columns * groups * bytes * 2];
    for (let index = Math.floor(first / size); index * size < last; index++) {
      if (this.#expert?.of !== coding || this.#expert.index !== index) {
        const [packed, exponents] = [new Uint8Array(perExpert * bytes), new Uint8Array(perExpert)];
        this.bytes(coding.blocks, index * packed.length, packed);
        this.bytes(coding.scales, index * perExpert, exponents);
        this.#expert = { of: coding, index, values: fromMxfp4(packed, exponents, columns) };
      }
      const [from, to] = [Math.max(first, index * size), Math.min(last, (index + 1) * size)];
      out.set(this.#expert.values.subarray(from - index * size, to - index * size), from - first);
    }
    return out;
  }
}
