/**
 * Tensors that are stored quantized, as the tensors that they stand for: FP8 with scales by block (DeepSeek-V3's
 * `weight_scale_inv`), and MXFP4 (gpt-oss's `_blocks` and `_scales`). They are dequantized when they are read; other
 * ways to quantize are refused by name.
 */
import { at, formatShape, invariant, showValue, sizeOf, StoreError, type Shape } from '../../core/index.js';
import type { Fields } from './family/fields.js';
import type { Coding, TensorFiles, TensorPlace } from './stored-tensor.js';

/** How the weights of a folder are quantized. */
export type Quantization =
  | {
      readonly method: 'fp8';
      /** Rows and columns that share a scale; null for one scale a tensor. */
      readonly block: readonly [rows: number, columns: number] | null;
    }
  | { readonly method: 'mxfp4' };

/** FP8's blocks in Transformers unless told. */
const BLOCK = [128, 128];

/**
 * What `quantization_config` says; null where there is none. A method that cannot be read is noted as unsupported.
 *
 * @param fields those of `config.json`
 */
export function readQuantization(fields: Fields): Quantization | null {
  const own = fields.object('quantization_config');
  if (own === null) return null;
  const method = own.value('quant_method');
  if (method === 'mxfp4') return { method };
  if (method !== 'fp8') {
    fields.refuse(`quantization_config with quant_method ${method === undefined ? 'missing' : showValue(method)}`);
    return null;
  }
  own.only('expert_dtype', 'fp8');
  own.only('scale_fmt', 'float', 'ue8m0');
  own.only('activation_scheme', 'dynamic', 'static');
  const block = own.states('weight_block_size') ? own.value('weight_block_size') : BLOCK;
  if (block === null) return { method, block };
  if (isBlock(block)) return { method, block };
  fields.refuse(`quantization_config.weight_block_size ${showValue(block)}`);
  return null;
}

const isBlock = (value: unknown): value is readonly [number, number] =>
  Array.isArray(value) && value.length === 2 && value.every((n) => Number.isSafeInteger(n) && n > 0);

/** A quantization as people read it. */
export function describeQuantization(quantization: Quantization): string {
  if (quantization.method === 'mxfp4') return 'MXFP4 (4 bits, a scale for each 32), dequantized to bf16';
  const { block } = quantization;
  const scales = block === null ? 'a scale for each tensor' : `scales by blocks of ${block[0]} x ${block[1]}`;
  return `FP8 (${scales}), dequantized to f32`;
}

/**
 * The tensors that a folder's files stand for.
 *
 * @throws StoreError naming a tensor whose scales do not fit it, or where no tensor has scales
 */
export function dequantized(files: TensorFiles, quantization: Quantization | null): TensorFiles {
  if (quantization === null) return files;
  const found = new Map(files);
  let pairs = 0;
  for (const [name, place] of files) {
    const pair = quantization.method === 'fp8' ? fp8Of(name, files, quantization.block) : mxfp4Of(name, files);
    if (pair === null) {
      // Transformers leaves them out where it dequantizes, too.
      if (quantization.method === 'fp8' && name.endsWith('activation_scale')) found.delete(name);
      continue;
    }
    pairs += 1;
    found.delete(name);
    found.delete(pair.scales);
    found.set(pair.name, { ...pair.place, bytes: place.bytes + (files.get(pair.scales)?.bytes ?? 0) });
  }
  const [first] = files.values();
  if (pairs === 0 && first !== undefined) {
    throw new StoreError(
      `${first.path}: config.json says that weights are quantized (${quantization.method}), but no tensor has scales; ` +
        'take quantization_config out of it if the weights are plain ones',
    );
  }
  return found;
}

interface Pair {
  readonly name: string;
  readonly scales: string;
  readonly place: TensorPlace;
}

function fp8Of(name: string, files: TensorFiles, block: readonly [number, number] | null): Pair | null {
  const scales = `${name}_scale_inv`;
  const [weight, scale] = [files.get(name), files.get(scales)];
  if (weight === undefined || scale === undefined) return null;
  const sides = blockOf(weight.shape, scale.shape, block);
  if (!weight.stored.startsWith('F') && !weight.stored.startsWith('BF')) {
    throw new StoreError(`${weight.path}: tensor ${name} holds ${weight.stored} with scales; only FP8 can be read so`);
  }
  if (sides === null) {
    throw new StoreError(
      `${scale.path}: tensor ${scales} is ${formatShape(scale.shape)}, which is no grid of scales for ${name} ` +
        formatShape(weight.shape),
      { details: { name, shape: weight.shape, scales: scale.shape } },
    );
  }
  const coding: Coding = {
    ...{ kind: 'fp8', block: sides },
    ...{ weights: { name, ...weight }, scales: { name: scales, ...scale } },
  };
  return { name, scales, place: { ...weight, coding } };
}

/**
 * Rows and columns that share a scale: those of the configuration, the last of them perhaps cut off; else, as in
 * Transformers, what the grid of scales divides the matrix into. Null if neither fits.
 */
function blockOf(shape: Shape, scales: Shape, block: readonly [number, number] | null): [number, number] | null {
  if (shape.length < 2) return null;
  const [rows, columns] = [at(shape, shape.length - 2), at(shape, shape.length - 1)];
  if (sizeOf(scales) === 1 && shape.length === 2) return [rows, columns];
  if (scales.length !== shape.length || scales.some((d, i) => i < shape.length - 2 && d !== shape[i])) return null;
  const [down, across] = [at(scales, scales.length - 2), at(scales, scales.length - 1)];
  if (block !== null && down === Math.ceil(rows / block[0]) && across === Math.ceil(columns / block[1]))
    return [...block];
  const fits = down > 0 && across > 0 && rows % down === 0 && columns % across === 0;
  return fits ? [rows / down, columns / across] : null;
}

/** Numbers in a byte of MXFP4, and in what shares a scale. */
const [PER_BYTE, GROUP_BYTES] = [2, 16];

/** Bytes `[experts, columns, groups, 16]` stand for `[experts, 32 groups, columns]`, as Transformers turns them. */
function mxfp4Of(blocks: string, files: TensorFiles): Pair | null {
  if (!blocks.endsWith('_blocks')) return null;
  const name = blocks.slice(0, -'_blocks'.length);
  const scales = `${name}_scales`;
  const [block, scale] = [files.get(blocks), files.get(scales)];
  if (block === undefined || scale === undefined) return null;
  const { shape } = block;
  const fits = shape.length === 4 && shape[3] === GROUP_BYTES && scale.shape.join() === shape.slice(0, 3).join();
  if (!fits || block.stored !== 'U8' || scale.stored !== 'U8') {
    throw new StoreError(
      `${block.path}: tensors ${blocks} ${block.stored}${formatShape(shape)} and ${scales} ` +
        `${scale.stored}${formatShape(scale.shape)} are not blocks and scales of MXFP4`,
      { details: { name, blocks: shape, scales: scale.shape } },
    );
  }
  const rows = at(shape, 2) * GROUP_BYTES * PER_BYTE;
  const coding: Coding = { kind: 'mxfp4', blocks: { name: blocks, ...block }, scales: { name: scales, ...scale } };
  return { name, scales, place: { ...block, shape: [at(shape, 0), rows, at(shape, 1)], coding } };
}

/**
 * Multiplies elements from number `first` on by their scales, in place.
 *
 * @param shape of the whole tensor, whose last two axes have scales by `block`
 * @param scales row by row, f32
 */
export function scaleBlocks(
  values: Float32Array,
  first: number,
  { shape, block, scales }: { shape: Shape; block: readonly [number, number]; scales: Float32Array },
): void {
  const [rows, columns] = [at(shape, shape.length - 2), at(shape, shape.length - 1)];
  const [down, across] = [Math.ceil(rows / block[0]), Math.ceil(columns / block[1])];
  for (let i = 0; i < values.length;) {
    const [row, column] = [Math.floor((first + i) / columns), (first + i) % columns];
    const line = Math.floor(row / rows) * down + Math.floor((row % rows) / block[0]);
    const place = Math.floor(column / block[1]);
    const scale = at(scales, line * across + place);
    const end = Math.min(values.length, i + Math.min(columns, (place + 1) * block[1]) - column);
    for (; i < end; i++) values[i] = at(values, i) * scale;
  }
}

/** Numbers of FP4 (E2M1) by their bits: OCP Microscaling Formats 1.0. */
const FP4 = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6];

/**
 * The matrix of one expert, f32 `[rows, columns]`.
 *
 * @param bytes `[columns, groups, 16]`: two numbers each, the lower four bits first
 * @param exponents `[columns, groups]`, of 2, less 127
 */
export function fromMxfp4(bytes: Uint8Array, exponents: Uint8Array, columns: number): Float32Array {
  const out = new Float32Array(bytes.length * PER_BYTE);
  const rows = out.length / columns;
  invariant(exponents.length * GROUP_BYTES === bytes.length, 'MXFP4 needs a scale for each 16 bytes');
  let row = 0;
  let column = 0;
  for (let i = 0; i < bytes.length; i++) {
    const scale = 2 ** (at(exponents, Math.floor(i / GROUP_BYTES)) - 127);
    const byte = at(bytes, i);
    out[row * columns + column] = at(FP4, byte & 15) * scale;
    out[(row + 1) * columns + column] = at(FP4, byte >>> 4) * scale;
    row += PER_BYTE;
    if (row === rows) [row, column] = [0, column + 1];
  }
  return out;
}
