/** Reads tensors of a Transformers folder, part by part, in the type that they are held in. */
import { got, present, sizeOf, type HalfDType } from '../../core/index.js';
import { SafetensorsFile } from '../safetensors.js';
import type { TensorFiles } from './places.js';

/** What weights are held in: bf16 or f16 where they are stored so, f32 otherwise. */
export type WeightDType = 'f32' | HalfDType;

/** Elements of weights on the host; bf16 and f16 as their 16 bits. */
export type WeightArray = Float32Array | Uint16Array;

/** The types that are held as they are stored. */
const HALVES: Readonly<Partial<Record<string, HalfDType>>> = { BF16: 'bf16', F16: 'f16' };

/** Opens each file of a folder once, when it is first read. */
export class TensorReader implements Disposable {
  readonly #files: TensorFiles;
  readonly #open = new Map<string, SafetensorsFile>();

  constructor(files: TensorFiles) {
    this.#files = files;
  }

  /** Elements `first` to `last` (exclusive) of a tensor of floats, as f32. */
  floats(name: string, first: number, last: number): Float32Array {
    return this.#file(name).readFloats(name, first, last);
  }

  /** All elements of a tensor of floats, as f32. */
  all(name: string): Float32Array {
    return this.floats(name, 0, sizeOf(got(this.#files, name).shape));
  }

  /** Fills `into` with elements of a tensor from number `first` on, which is stored in the type of `into`. */
  fill(name: string, first: number, into: WeightArray): void {
    this.#file(name).readBytes(name, first, new Uint8Array(into.buffer, into.byteOffset, into.byteLength));
  }

  [Symbol.dispose](): void {
    for (const file of this.#open.values()) file[Symbol.dispose]();
    this.#open.clear();
  }

  #file(name: string): SafetensorsFile {
    const { path } = present(this.#files.get(name));
    const file = this.#open.get(path) ?? new SafetensorsFile(path);
    this.#open.set(path, file);
    return file;
  }
}

/** What a stored tensor is held in. */
export function heldAs(files: TensorFiles, name: string): WeightDType {
  return HALVES[got(files, name).stored] ?? 'f32';
}
