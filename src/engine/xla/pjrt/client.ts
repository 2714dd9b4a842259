/** A PJRT client: devices, buffers, executables. Handles are destroyed once; using one afterwards throws. */
import { EngineError, allocate, sizeOf, type DType, type HostTensor, type Shape } from '../../../core/index.js';
import { Arguments, readBytes, readHandles, readText, type Handle, type PjrtApi } from './api.js';

/** PJRT_Buffer_Type */
const BUFFER_TYPES: Readonly<Record<DType, number>> = { bool: 1, i32: 4, f16: 10, f32: 11, f64: 12, bf16: 13 };
/** The host data is copied before the call returns. */
const ONLY_DURING_CALL = 0;
const PROGRAM_BYTES = 48;
const NAMED_VALUE_BYTES = 56;

/** A value for `Client_Create`. */
export type ClientOption = string | number | boolean | readonly number[] | { readonly float: number };

/** How much memory of a device is in use. */
export interface MemoryStats {
  /** Bytes of the device's memory that buffers hold. */
  readonly bytesInUse: number;
  /** The most bytes that buffers have held; null where the plugin does not say. */
  readonly peakBytesInUse: number | null;
  /** Bytes that the plugin may take; null where it does not say. */
  readonly bytesLimit: number | null;
  /** What the plugin has taken from the device so far, in use or not; null where the plugin does not say. */
  readonly poolBytes: number | null;
  /** The largest piece of that which is free; null where the plugin does not say. */
  readonly largestFreeBytes: number | null;
}

/** A device of a PJRT client. */
export interface Device {
  readonly handle: Handle;
  /** The device's number over all processes. */
  readonly id: number;
  /** The model of the device, such as `NVIDIA H100 80GB HBM3`. */
  readonly kind: string;
  /** Whether it belongs to this process. */
  readonly own: boolean;
}

/** Something of the plugin's that must be freed exactly once. */
abstract class Owned {
  #handle: Handle;
  constructor(
    protected readonly api: PjrtApi,
    handle: Handle,
  ) {
    this.#handle = handle;
  }

  protected abstract readonly what: string;
  protected abstract free(handle: Handle): void;

  get disposed(): boolean {
    return this.#handle === 0n;
  }

  get handle(): Handle {
    if (this.#handle === 0n) throw new EngineError(`xla: this ${this.what} was disposed of`);
    return this.#handle;
  }

  /** Twice is allowed. */
  [Symbol.dispose](): void {
    const handle = this.#handle;
    this.#handle = 0n;
    if (handle !== 0n) this.free(handle);
  }
}

/** A buffer on a device. */
export class PjrtBuffer extends Owned {
  protected readonly what = 'buffer';

  protected free(handle: Handle): void {
    this.api.call('Buffer_Destroy', new Arguments(handle));
  }

  /** Copies the contents into `target` (dense row-major); waits on a worker thread. */
  async copyTo(target: ArrayBufferView): Promise<void> {
    const args = this.api.call('Buffer_ToHostBuffer', new Arguments(this.handle, null, target, target.byteLength));
    await awaitEvent(this.api, args.get(4));
    args.keep(target);
  }
}

async function awaitEvent(api: PjrtApi, event: Handle): Promise<void> {
  try {
    await api.callAsync('Event_Await', new Arguments(event));
  } finally {
    api.call('Event_Destroy', new Arguments(event));
  }
}

/** A loaded program. */
export class PjrtExecutable extends Owned {
  protected readonly what = 'program';

  protected free(handle: Handle): void {
    this.api.call('LoadedExecutable_Destroy', new Arguments(handle));
  }

  /**
   * Starts the program and returns without waiting: `inputs[device][i]` -> `outputs[device][i]`. Inputs that the
   * program donates are consumed; their handles still have to be disposed of.
   */
  execute(inputs: readonly (readonly PjrtBuffer[])[], numOutputs: number): PjrtBuffer[][] {
    const lists = inputs.map((list) => BigUint64Array.from(list.map((b) => b.handle)));
    const outputs = inputs.map(() => new BigUint64Array(Math.max(1, numOutputs)));
    const args = new Arguments(this.handle, new Arguments().fields, addresses(lists), inputs.length);
    args.set(4, inputs[0]?.length ?? 0);
    args.set(5, addresses(outputs));
    args.keep([lists, outputs, inputs]);
    this.api.call('LoadedExecutable_Execute', args);
    return outputs.map((list) => Array.from(list.subarray(0, numOutputs), (h) => new PjrtBuffer(this.api, h)));
  }

  /** The compiled program as bytes for `PjrtClient.deserialize`. */
  serialize(): Uint8Array {
    return this.#inspect((executable) => {
      const args = this.api.call('Executable_Serialize', new Arguments(executable));
      const bytes = readBytes(args.get(1), args.number(2));
      this.api.callPointer(args.get(4), args.get(3));
      return bytes;
    });
  }

  /** The program as XLA optimized it: an `xla.HloModuleProto`, or one with its configuration. */
  optimizedProgram(): { readonly format: string; readonly bytes: Uint8Array } {
    return this.#inspect((executable) => {
      const program = new Arguments();
      program.fields[0] = BigInt(PROGRAM_BYTES);
      const args = new Arguments(executable, program.fields);
      this.api.call('Executable_OptimizedProgram', args); // says the size
      const bytes = new Uint8Array(Math.max(1, program.number(1)));
      program.set(0, bytes);
      this.api.call('Executable_OptimizedProgram', args);
      args.keep([program, bytes]);
      return { format: readText(program.get(2), program.number(3)), bytes };
    });
  }

  #inspect<T>(what: (executable: Handle) => T): T {
    const executable = this.api.call('LoadedExecutable_GetExecutable', new Arguments(this.handle)).get(1);
    try {
      return what(executable);
    } finally {
      this.api.call('Executable_Destroy', new Arguments(executable));
    }
  }
}

/** Pointers to arrays, kept alive by the caller. */
function addresses(lists: readonly BigUint64Array[]): BigUint64Array {
  return BigUint64Array.from(lists.map((list) => new Arguments(list).get(0)));
}

/** A client of a PJRT plugin: its devices, and what compiles and moves data. */
export class PjrtClient extends Owned {
  protected readonly what = 'client';
  readonly platform: string;
  readonly platformVersion: string;
  /** The devices of all processes, by number. */
  readonly devices: readonly Device[];

  private constructor(api: PjrtApi, handle: Handle) {
    super(api, handle);
    const text = (name: 'Client_PlatformName' | 'Client_PlatformVersion'): string => {
      const args = api.call(name, new Arguments(handle));
      return readText(args.get(1), args.number(2));
    };
    this.platform = text('Client_PlatformName');
    this.platformVersion = text('Client_PlatformVersion');
    const list = (name: 'Client_Devices' | 'Client_AddressableDevices'): Handle[] => {
      const args = api.call(name, new Arguments(handle));
      return readHandles(args.get(1), args.number(2));
    };
    const own = new Set(list('Client_AddressableDevices'));
    this.devices = list('Client_Devices')
      .map((device) => describe(api, device, own.has(device)))
      .sort((a, b) => a.id - b.id);
  }

  /** Starts the plugin's client; with `keyValue` it finds the processes of other hosts. */
  static create(
    api: PjrtApi,
    options: Readonly<Record<string, ClientOption>> = {},
    keyValue: { readonly get: Handle; readonly tryGet: Handle; readonly put: Handle } | null = null,
  ): PjrtClient {
    const values = namedValues(options);
    const args = new Arguments(values.bytes, Object.keys(options).length);
    args.keep(values.kept);
    if (keyValue) {
      args.set(2, keyValue.get);
      args.set(4, keyValue.put);
      args.set(7, keyValue.tryGet);
    }
    return new PjrtClient(api, api.call('Client_Create', args).get(6));
  }

  protected free(handle: Handle): void {
    this.api.call('Client_Destroy', new Arguments(handle));
  }

  /** Compiles StableHLO text. On a worker thread: the process goes on meanwhile. */
  async compile(text: string, options: Uint8Array): Promise<PjrtExecutable> {
    const code = Buffer.from(text, 'utf8');
    const format = Buffer.from('mlir', 'utf8');
    const program = new Arguments(code, code.length, format, format.length);
    program.fields[0] = BigInt(PROGRAM_BYTES);
    const args = new Arguments(this.handle, program.fields, options, options.length);
    args.keep(program);
    await this.api.callAsync('Client_Compile', args);
    return new PjrtExecutable(this.api, args.get(4));
  }

  /** A program that `serialize` wrote under the same plugin. Throws `PjrtError` if it does not fit. */
  async deserialize(bytes: Uint8Array): Promise<PjrtExecutable> {
    const args = new Arguments(this.handle, bytes, bytes.length);
    return new PjrtExecutable(this.api, (await this.api.callAsync('Executable_DeserializeAndLoad', args)).get(3));
  }

  /** Copies a host tensor to a device. The data may be changed as soon as this returns. */
  upload(tensor: HostTensor, device: Device): PjrtBuffer {
    const dims = BigInt64Array.from(tensor.shape.map(BigInt));
    const data = tensor.data.length === 0 ? new Uint8Array(1) : tensor.data;
    const args = new Arguments(this.handle, data, BUFFER_TYPES[tensor.dtype], dims, dims.length);
    args.set(7, ONLY_DURING_CALL);
    args.set(8, device.handle);
    this.api.call('Client_BufferFromHostBuffer', args);
    this.api.call('Event_Destroy', new Arguments(args.get(11)));
    return new PjrtBuffer(this.api, args.get(12));
  }

  async download(buffer: PjrtBuffer, dtype: DType, shape: Shape): Promise<HostTensor> {
    const data = allocate(dtype, sizeOf(shape));
    if (data.length > 0) await buffer.copyTo(data);
    return { dtype, shape, data };
  }

  /** The memory in use on a device; null where the plugin does not keep count. */
  memoryStats(device: Device): MemoryStats | null {
    try {
      const args = this.api.call('Device_MemoryStats', new Arguments(device.handle));
      const optional = (index: number): number | null =>
        (args.get(index + 1) & 1n) === 1n ? args.number(index) : null;
      return {
        bytesInUse: args.number(1),
        ...{ peakBytesInUse: optional(2), bytesLimit: optional(8) },
        ...{ largestFreeBytes: optional(16), poolBytes: optional(18) },
      };
    } catch (error) {
      if (error instanceof EngineError) return null;
      throw error;
    }
  }
}

function describe(api: PjrtApi, handle: Handle, own: boolean): Device {
  const description = api.call('Device_GetDescription', new Arguments(handle)).get(1);
  const id = api.call('DeviceDescription_Id', new Arguments(description)).int32(1);
  const kind = api.call('DeviceDescription_Kind', new Arguments(description));
  return { handle, id, kind: readText(kind.get(1), kind.number(2)), own };
}

/** `PJRT_NamedValue[]`: per value its size, extension, name, type, value, and the number of elements. */
function namedValues(options: Readonly<Record<string, ClientOption>>): { bytes: Uint8Array; kept: unknown[] } {
  const entries = Object.entries(options);
  const bytes = Buffer.alloc(Math.max(1, entries.length) * NAMED_VALUE_BYTES);
  const kept: unknown[] = [];
  const pointer = (value: ArrayBufferView): bigint => {
    kept.push(value);
    return new Arguments(value).get(0);
  };
  entries.forEach(([name, value], i) => {
    const at = i * NAMED_VALUE_BYTES;
    const label = Buffer.from(name, 'utf8');
    bytes.writeBigUInt64LE(BigInt(NAMED_VALUE_BYTES), at);
    bytes.writeBigUInt64LE(pointer(label), at + 16);
    bytes.writeBigUInt64LE(BigInt(label.length), at + 24);
    const put = (type: number, size: number): void => {
      bytes.writeInt32LE(type, at + 32);
      bytes.writeBigUInt64LE(BigInt(size), at + 48);
    };
    if (typeof value === 'string') {
      const content = Buffer.from(value, 'utf8');
      bytes.writeBigUInt64LE(pointer(content), at + 40);
      put(0, content.length);
    } else if (typeof value === 'number') {
      bytes.writeBigInt64LE(BigInt(value), at + 40);
      put(1, 1);
    } else if (typeof value === 'boolean') {
      bytes.writeUInt8(value ? 1 : 0, at + 40);
      put(4, 1);
    } else if ('float' in value) {
      bytes.writeFloatLE(value.float, at + 40);
      put(3, 1);
    } else {
      bytes.writeBigUInt64LE(pointer(BigInt64Array.from(value.map(BigInt))), at + 40);
      put(2, value.length);
    }
  });
  return { bytes, kept };
}
