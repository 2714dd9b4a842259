/**
 * The safetensors file format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes.
 *
 * Format: https://github.com/huggingface/safetensors (README, "Format"). Files are written with the header's keys in a
 * fixed order (widest dtype first, then by name, so that every tensor is aligned), so equal tensors give equal files.
 * Bytes are little-endian, as on every platform that Node and the engines support.
 *
 * Everything that the header says is checked against the size of the file before any tensor is allocated.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import {
  messageOf,
  entry,
  allocate,
  AtomicFile,
  type DType,
  DTYPE_BYTES,
  fileError,
  formatShape,
  type HostArray,
  hostTensor,
  type HostTensor,
  type Shape,
  sizeOf,
  StoreError,
  clip,
  LIMITS,
  lookUp,
  widenHalf,
} from '../core/index.js';

const MAX_READ_BYTES = 2 ** 28;

const STORED_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  BOOL: 1,
} as const;

/** The dtype names of the format that can be read. */
export type StoredDType = keyof typeof STORED_BYTES;

const STORED_NAME: Readonly<Record<DType, StoredDType>> = {
  f64: 'F64',
  f32: 'F32',
  bf16: 'BF16',
  f16: 'F16',
  i32: 'I32',
  bool: 'BOOL',
};

/** What the header says of one tensor. `begin` and `end` are byte offsets into the file's data section. */
export interface TensorEntry {
  readonly name: string;
  readonly stored: StoredDType;
  /** The dtype that reading gives: floats of one byte widen to f32, every integer becomes i32. */
  readonly dtype: DType;
  /** The shape that the header states. */
  readonly shape: Shape;
  readonly begin: number;
  readonly end: number;
}

/** Name, dtype and shape of a tensor to be written. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: DType;
  /** The shape, outermost dimension first; empty for a scalar. */
  readonly shape: Shape;
}

/**
 * Writes `tensors` to `path`, atomically and without copying their elements.
 *
 * @param metadata text values for the header's `__metadata__`
 * @throws StoreError if the file cannot be written; an older file then stays as it was
 */
export function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, HostTensor>>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const specs = Object.entries(tensors).map(([name, t]) => ({ name, dtype: t.dtype, shape: t.shape }));
  using file = new AtomicFile(path);
  const { header, ordered } = encodeHeader(specs, metadata);
  file.write(header);
  for (const spec of ordered) file.write(bytesOf(entry(tensors, spec.name).data));
  file.commit();
}

/**
 * As `writeSafetensors`, but asks for one tensor at a time, so that only one is on the host at once.
 *
 * @param load gives the tensor of a spec; it must have the dtype and shape that the spec says
 * @param how `behind`: write on another thread while this one goes on
 */
export async function streamSafetensors(
  path: string,
  specs: readonly TensorSpec[],
  load: (name: string) => Promise<HostTensor>,
  metadata: Readonly<Record<string, string>> = {},
  { behind = false }: { readonly behind?: boolean } = {},
): Promise<void> {
  using file = new AtomicFile(path);
  const { header, ordered } = encodeHeader(specs, metadata);
  const write = (part: Uint8Array) => (behind ? file.writeBehind(part) : file.write(part));
  await write(header);
  for (const spec of ordered) {
    const tensor = await load(spec.name);
    if (tensor.dtype !== spec.dtype || tensor.data.length !== sizeOf(spec.shape)) {
      throw new StoreError(
        `cannot write ${path}: tensor ${spec.name} was announced as ${spec.dtype}${formatShape(spec.shape)} ` +
          `but is ${tensor.dtype}${formatShape(tensor.shape)}`,
      );
    }
    await write(bytesOf(tensor.data));
  }
  if (behind) await file.commitBehind();
  else file.commit();
}

/** Every tensor of a file, by name in the order of the header. Throws `StoreError` as `SafetensorsFile` does. */
export function readSafetensors(path: string): Record<string, HostTensor> {
  using file = new SafetensorsFile(path);
  const tensors = Object.create(null) as Record<string, HostTensor>;
  for (const name of file.entries.keys()) tensors[name] = file.read(name);
  return tensors;
}

/**
 * An open file whose header has been read and checked; tensors are read on demand.
 *
 * @throws StoreError naming the file, and the tensor where there is one: a missing or truncated file, a header that is
 *   no JSON or does not fit the file's size, a dtype that is not known, offsets that overlap or leave gaps
 */
export class SafetensorsFile implements Disposable {
  readonly path: string;
  readonly entries: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly #dataStart: number;
  #fd: number | undefined;

  constructor(path: string) {
    this.path = path;
    try {
      this.#fd = openSync(path, 'r');
    } catch (cause) {
      throw fileError('read', path, cause);
    }
    try {
      const size = fstatSync(this.#fd).size;
      const header = this.#readHeader(size);
      this.#dataStart = 8 + header.bytes;
      const { metadata, tensors } = splitHeader(path, header.value);
      this.metadata = metadata;
      this.entries = checkEntries(path, tensors, size - this.#dataStart);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** The tensor called `name`, on the host. Floats of one byte become f32, integers of every width i32. */
  read(name: string): HostTensor {
    const entry = this.#entry(name);
    const count = sizeOf(entry.shape);
    if (entry.stored === STORED_NAME[entry.dtype]) {
      const data = this.#allocate(entry, () => allocate(entry.dtype, count));
      this.#fill(entry, bytesOf(data));
      if (entry.dtype === 'bool' && (data as Uint8Array).some((v) => v > 1)) {
        throw damaged(this.path, `tensor ${clip(name)} of type BOOL holds bytes other than 0 and 1`);
      }
      return hostTensor(entry.dtype, entry.shape, data);
    }
    const bytes = this.#allocate(entry, () => new Uint8Array(entry.end - entry.begin));
    this.#fill(entry, bytes);
    if (isFloatStored(entry.stored)) return hostTensor('f32', entry.shape, WIDEN[entry.stored](bytes.buffer));
    return hostTensor('i32', entry.shape, narrowIntegers(this.path, entry, new DataView(bytes.buffer), count));
  }

  /**
   * Elements `first` to `last` (exclusive) of a tensor of floats, as f32, without reading the rest.
   *
   * @throws StoreError if there is no such tensor, or it does not hold floats
   */
  readFloats(name: string, first: number, last: number): Float32Array {
    const entry = this.#entry(name);
    const { stored } = entry;
    if (!isFloatStored(stored)) throw new StoreError(`${this.path}: tensor ${clip(name)} holds ${stored}, not floats`);
    const bytes = this.#allocate(entry, () => new Uint8Array((last - first) * STORED_BYTES[stored]));
    this.readBytes(name, first, bytes);
    return WIDEN[stored](bytes.buffer);
  }

  /**
   * Elements of a tensor from number `first` on as the file holds them, as many as `into` has room for.
   *
   * @throws StoreError if there is no such tensor, or it has fewer elements
   */
  readBytes(name: string, first: number, into: Uint8Array): void {
    const entry = this.#entry(name);
    const width = STORED_BYTES[entry.stored];
    const last = first + into.length / width;
    if (first < 0 || first > last || last > sizeOf(entry.shape)) {
      throw new StoreError(`${this.path}: tensor ${clip(name)} has no elements ${first} to ${last}`);
    }
    this.#readAt(into, this.#dataStart + entry.begin + first * width, `tensor ${clip(name)}`);
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #entry(name: string): TensorEntry {
    const entry = this.entries.get(name);
    if (entry !== undefined) return entry;
    throw new StoreError(`${this.path} has no tensor ${clip(name)}`, { details: { path: this.path, name } });
  }

  #readHeader(size: number): { value: unknown; bytes: number } {
    if (size < 8) throw damaged(this.path, `it has ${size} bytes, too few for a header`);
    const head = new Uint8Array(8);
    this.#readAt(head, 0, 'the header length');
    const length = new DataView(head.buffer).getBigUint64(0, true);
    if (length > BigInt(LIMITS.headerBytes.most)) {
      throw damaged(this.path, `its header claims ${length} bytes, more than the limit of ${LIMITS.headerBytes.most}`);
    }
    const bytes = Number(length);
    if (8 + bytes > size) throw damaged(this.path, `its header claims ${bytes} bytes but the file has ${size} in all`);
    const text = new Uint8Array(bytes);
    this.#readAt(text, 8, 'the header');
    try {
      return { value: JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text)) as unknown, bytes };
    } catch (cause) {
      throw damaged(this.path, `its header is not valid JSON (${messageOf(cause)})`, cause);
    }
  }

  #allocate<T>(entry: TensorEntry, make: () => T): T {
    try {
      return make();
    } catch (cause) {
      const bytes = entry.end - entry.begin;
      throw new StoreError(`${this.path}: tensor ${clip(entry.name)} of ${bytes} bytes does not fit in memory`, {
        cause,
      });
    }
  }

  #fill(entry: TensorEntry, bytes: Uint8Array): void {
    this.#readAt(bytes, this.#dataStart + entry.begin, `tensor ${clip(entry.name)}`);
  }

  #readAt(into: Uint8Array, position: number, what: string): void {
    if (this.#fd === undefined) throw new StoreError(`${this.path} is closed; open it again to read ${what}`);
    for (let at = 0; at < into.length;) {
      let got: number;
      try {
        got = readSync(this.#fd, into, at, Math.min(into.length - at, MAX_READ_BYTES), position + at);
      } catch (cause) {
        throw fileError(`read ${what} of`, this.path, cause);
      }
      if (got === 0) throw damaged(this.path, `it ends within ${what}`);
      at += got;
    }
  }
}

function damaged(path: string, what: string, cause?: unknown): StoreError {
  const message = `${path} is not a complete safetensors file: ${what}; copy or write it again`;
  return new StoreError(message, { details: { path }, cause });
}

function bytesOf(data: HostArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function encodeHeader(
  specs: readonly TensorSpec[],
  metadata: Readonly<Record<string, string>>,
): { header: Uint8Array; ordered: TensorSpec[] } {
  const ordered = [...specs].sort((a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype] || compareText(a.name, b.name));
  const fields: string[] = [];
  const notes = Object.entries(metadata).sort(([a], [b]) => compareText(a, b));
  if (notes.length > 0) {
    fields.push(`"__metadata__":{${notes.map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`).join(',')}}`);
  }
  let offset = 0;
  for (const [i, { name, dtype, shape }] of ordered.entries()) {
    if (name === '__metadata__' || name === ordered[i - 1]?.name) {
      throw new StoreError(`a tensor cannot be written under the name ${clip(name)}: it is reserved or used twice`);
    }
    const end = offset + sizeOf(shape) * DTYPE_BYTES[dtype];
    const entry = { dtype: STORED_NAME[dtype], shape, data_offsets: [offset, end] };
    fields.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`);
    offset = end;
  }
  const json = Buffer.from(`{${fields.join(',')}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + padded).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(json, 8);
  return { header, ordered };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function splitHeader(
  path: string,
  header: unknown,
): { metadata: Record<string, string>; tensors: [string, unknown][] } {
  if (!isObject(header)) throw damaged(path, 'its header is not a JSON object');
  const notes = header['__metadata__'] ?? {};
  if (!isObject(notes) || !Object.values(notes).every((v) => typeof v === 'string')) {
    throw damaged(path, '__metadata__ of its header is not an object of texts');
  }
  return {
    metadata: notes as Record<string, string>,
    tensors: Object.entries(header).filter(([name]) => name !== '__metadata__'),
  };
}

function checkEntries(
  path: string,
  tensors: readonly [string, unknown][],
  dataBytes: number,
): Map<string, TensorEntry> {
  const entries = tensors.map(([name, value]) => checkEntry(path, name, value, dataBytes));
  let at = 0;
  for (const entry of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (entry.begin !== at) {
      const how =
        entry.begin < at ? 'overlaps the tensor before it' : `leaves a gap of ${entry.begin - at} bytes before it`;
      throw damaged(path, `tensor ${clip(entry.name)} ${how}`);
    }
    at = entry.end;
  }
  if (at !== dataBytes) throw damaged(path, `its tensors take ${at} bytes but ${dataBytes} are there`);
  return new Map(entries.map((e) => [e.name, e]));
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function checkEntry(path: string, name: string, value: unknown, dataBytes: number): TensorEntry {
  const wrong = (what: string) => damaged(path, `tensor ${clip(name)} ${what}`);
  if (!isObject(value)) throw wrong('has no description');
  const { dtype: stored, shape, data_offsets: offsets } = value;
  if (typeof stored !== 'string') throw wrong('has no dtype');
  if (!Object.hasOwn(STORED_BYTES, stored)) {
    const known = Object.keys(STORED_BYTES).join(', ');
    throw new StoreError(`${path}: tensor ${clip(name)} has dtype ${clip(stored)}, which is not one of ${known}`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) throw wrong('has a shape that is not a list of whole numbers');
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw wrong('has data_offsets that are not two whole numbers');
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > dataBytes) {
    throw wrong(`claims bytes ${begin} to ${end} of ${dataBytes}`);
  }
  const bytes = sizeOf(shape) * STORED_BYTES[stored as StoredDType];
  if (bytes !== end - begin) {
    throw wrong(`of type ${stored}${formatShape(shape)} needs ${bytes} bytes but its offsets give it ${end - begin}`);
  }
  return { name, stored: stored as StoredDType, dtype: readAs(stored as StoredDType), shape, begin, end };
}

function readAs(stored: StoredDType): DType {
  for (const [dtype, name] of Object.entries(STORED_NAME)) if (name === stored) return dtype as DType;
  return isFloatStored(stored) ? 'f32' : 'i32';
}

type FloatStored = 'F64' | 'F32' | 'F16' | 'BF16' | 'F8_E4M3' | 'F8_E5M2' | 'F8_E8M0';

/** The numbers of the floats of one byte, by their bits. */
const BYTE_FLOATS = {
  F8_E4M3: byteFloats(4, 3),
  F8_E5M2: byteFloats(5, 2),
  // Powers of 2 alone.
  F8_E8M0: Float32Array.from({ length: 256 }, (_, bits) => (bits === 255 ? NaN : 2 ** (bits - 127))),
} as const;

/**
 * The numbers of one-byte floats with a sign, by their bits, f32 `[256]`: Micikevicius et al. 2022, "FP8 formats for
 * deep learning". E5M2 has infinities as IEEE formats do; of E4M3 only all ones is no number.
 */
function byteFloats(exponentBits: number, fractionBits: number): Float32Array {
  const bias = 2 ** (exponentBits - 1) - 1;
  const [fractions, top] = [2 ** fractionBits, 2 ** exponentBits - 1];
  return Float32Array.from({ length: 256 }, (_, bits) => {
    const exponent = (bits >>> fractionBits) & top;
    const fraction = bits & (fractions - 1);
    const sign = bits & 0x80 ? -1 : 1;
    if (exponent === top && exponentBits === 5) return fraction === 0 ? sign * Infinity : NaN;
    if (exponent === top && fraction === fractions - 1) return NaN;
    if (exponent === 0) return sign * (fraction / fractions) * 2 ** (1 - bias);
    return sign * (1 + fraction / fractions) * 2 ** (exponent - bias);
  });
}

/** Elements of the floating types, widened or rounded to f32. */
const WIDEN: Readonly<Record<FloatStored, (bytes: ArrayBuffer) => Float32Array>> = {
  F64: (bytes) => Float32Array.from(new Float64Array(bytes)),
  F32: (bytes) => new Float32Array(bytes),
  F16: (bytes) => widenHalf('f16', new Uint16Array(bytes)),
  BF16: (bytes) => widenHalf('bf16', new Uint16Array(bytes)),
  F8_E4M3: (bytes) => lookUp(BYTE_FLOATS.F8_E4M3, new Uint8Array(bytes)),
  F8_E5M2: (bytes) => lookUp(BYTE_FLOATS.F8_E5M2, new Uint8Array(bytes)),
  F8_E8M0: (bytes) => lookUp(BYTE_FLOATS.F8_E8M0, new Uint8Array(bytes)),
};

const isFloatStored = (stored: StoredDType): stored is FloatStored => Object.hasOwn(WIDEN, stored);

type IntegerDType = Exclude<StoredDType, FloatStored | 'I32' | 'BOOL'>;

const READ_INTEGER: Readonly<Record<IntegerDType, (view: DataView, i: number) => number | bigint>> = {
  I64: (v, i) => v.getBigInt64(8 * i, true),
  U64: (v, i) => v.getBigUint64(8 * i, true),
  U32: (v, i) => v.getUint32(4 * i, true),
  I16: (v, i) => v.getInt16(2 * i, true),
  U16: (v, i) => v.getUint16(2 * i, true),
  I8: (v, i) => v.getInt8(i),
  U8: (v, i) => v.getUint8(i),
};

function narrowIntegers(path: string, entry: TensorEntry, view: DataView, count: number): Int32Array {
  const read = READ_INTEGER[entry.stored as IntegerDType];
  const out = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const value = Number(read(view, i));
    if (value < -0x80000000 || value > 0x7fffffff) {
      throw new StoreError(
        `${path}: tensor ${clip(entry.name)} of type ${entry.stored} holds ${value}, beyond 32 bits`,
      );
    }
    out[i] = value;
  }
  return out;
}
