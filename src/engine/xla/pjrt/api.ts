/**
 * The PJRT C API of a plugin, called through koffi. Every call takes one struct: its size, an extension pointer, then
 * fields of 8 bytes; it returns an error or null. `PJRT_Api` holds the functions in a fixed order from byte 40, and
 * only ever grows. Source: xla/pjrt/c/pjrt_c_api.h of OpenXLA.
 */
import koffi, { type TypeObject } from 'koffi';
import pLimit from 'p-limit';
import { present, EngineError, messageOf } from '../../../core/index.js';

/** The API's entries by position. */
const FUNCTIONS = [
  ...['Error_Destroy', 'Error_Message', 'Error_GetCode', 'Plugin_Initialize', 'Plugin_Attributes', 'Event_Destroy'],
  ...['Event_IsReady', 'Event_Error', 'Event_Await', 'Event_OnReady', 'Client_Create', 'Client_Destroy'],
  ...['Client_PlatformName', 'Client_ProcessIndex', 'Client_PlatformVersion', 'Client_Devices'],
  ...['Client_AddressableDevices', 'Client_LookupDevice', 'Client_LookupAddressableDevice'],
  ...['Client_AddressableMemories', 'Client_Compile', 'Client_DefaultDeviceAssignment', 'Client_BufferFromHostBuffer'],
  ...['DeviceDescription_Id', 'DeviceDescription_ProcessIndex', 'DeviceDescription_Attributes'],
  ...['DeviceDescription_Kind', 'DeviceDescription_DebugString', 'DeviceDescription_ToString'],
  ...['Device_GetDescription', 'Device_IsAddressable', 'Device_LocalHardwareId', 'Device_AddressableMemories'],
  ...['Device_DefaultMemory', 'Device_MemoryStats', 'Memory_Id', 'Memory_Kind', 'Memory_DebugString'],
  ...['Memory_ToString', 'Memory_AddressableByDevices', 'Executable_Destroy', 'Executable_Name'],
  ...['Executable_NumReplicas', 'Executable_NumPartitions', 'Executable_NumOutputs'],
  ...['Executable_SizeOfGeneratedCodeInBytes', 'Executable_GetCostAnalysis', 'Executable_OutputMemoryKinds'],
  ...['Executable_OptimizedProgram', 'Executable_Serialize', 'LoadedExecutable_Destroy'],
  ...['LoadedExecutable_GetExecutable', 'LoadedExecutable_AddressableDevices', 'LoadedExecutable_Delete'],
  ...['LoadedExecutable_IsDeleted', 'LoadedExecutable_Execute', 'Executable_DeserializeAndLoad'],
  ...['LoadedExecutable_Fingerprint', 'Buffer_Destroy', 'Buffer_ElementType', 'Buffer_Dimensions'],
  ...['Buffer_UnpaddedDimensions', 'Buffer_DynamicDimensionIndices', 'Buffer_GetMemoryLayout'],
  ...['Buffer_OnDeviceSizeInBytes', 'Buffer_Device', 'Buffer_Memory', 'Buffer_Delete', 'Buffer_IsDeleted'],
  ...['Buffer_CopyToDevice', 'Buffer_ToHostBuffer'],
] as const;

const FIRST_FUNCTION_BYTE = 40;
/** The only major version there has been. */
const SUPPORTED_MAJOR = 0;
/** Larger than every argument struct; a plugin accepts more than it knows. */
const ARGUMENT_BYTES = 512;
const RTLD_NOW_NODELETE = 0x1002;
/** XLA's compilers recurse deeply (default: koffi's worker stacks are 128 KiB). */
const WORKER_STACK_BYTES = 2 ** 24;

/** An address in the plugin's memory; 0 is null. */
export type Handle = bigint;

/** An error that the plugin returned. `details.status` is its code (absl status codes; 8 is out of memory). */
export class PjrtError extends EngineError {
  constructor(
    call: string,
    readonly status: number,
    readonly pluginMessage: string,
  ) {
    super(`xla: ${call} failed: ${pluginMessage}`, { details: { call, status, message: pluginMessage } });
  }
}

/** PJRT's error code for memory that ran out. */
export const RESOURCE_EXHAUSTED = 8;

/** The argument struct of one call. What its fields point to stays alive as long as it does. */
export class Arguments {
  readonly fields = new BigUint64Array(ARGUMENT_BYTES / 8);
  readonly #kept: unknown[] = [];

  constructor(...fields: readonly (Handle | number | ArrayBufferView | null)[]) {
    this.fields[0] = BigInt(ARGUMENT_BYTES);
    fields.forEach((f, i) => this.set(i, f));
  }

  /** Field `index` counted after the head. */
  set(index: number, value: Handle | number | ArrayBufferView | null): void {
    if (typeof value === 'object' && value !== null) {
      this.#kept.push(value);
      this.fields[2 + index] = koffi.address(value);
    } else {
      this.fields[2 + index] = BigInt(value ?? 0);
    }
  }

  get(index: number): Handle {
    return present(this.fields[2 + index]);
  }

  /** A field that is a size or another small number. */
  number(index: number): number {
    return Number(this.get(index));
  }

  /** A field that is a 32-bit integer. */
  int32(index: number): number {
    return Number(BigInt.asIntN(32, this.get(index)));
  }

  /** Keeps `value` alive as long as the struct. */
  keep(value: unknown): void {
    this.#kept.push(value);
  }

  /** How many values are kept; reading it after a call is what keeps them. */
  get kept(): number {
    return this.#kept.length;
  }
}

/** The text of `size` bytes at an address. */
export function readText(address: Handle, size: number): string {
  return size === 0 || address === 0n ? '' : Buffer.from(koffi.view(address, size)).toString('utf8');
}

/** A copy of `size` bytes at an address. */
export function readBytes(address: Handle, size: number): Uint8Array {
  return size === 0 ? new Uint8Array(0) : new Uint8Array(koffi.view(address, size)).slice();
}

/** `count` pointers at an address. */
export function readHandles(address: Handle, count: number): Handle[] {
  return count === 0 ? [] : Array.from(new BigUint64Array(koffi.view(address, count * 8).slice(0)));
}

/** koffi refuses a call while 256 others run or wait, and a model with its moments can be more tensors than that. */
const MAX_ASYNC_CALLS = 128;
const asyncCalls = pLimit(MAX_ASYNC_CALLS);

type Native = ((args: BigUint64Array) => Handle | null) & {
  async(args: BigUint64Array, done: (error: unknown, result: Handle | null) => void): void;
};

/** Throws `EngineError` for a plugin whose structs may be others than ours. */
export function checkVersion(path: string, { major, minor }: PjrtApi['version']): void {
  if (major === SUPPORTED_MAJOR) return;
  throw new EngineError(
    `xla: ${path} speaks PJRT ${major}.${minor}, this package speaks ${SUPPORTED_MAJOR}.x; install a plugin of that version`,
    { details: { path, major, minor } },
  );
}

/** A loaded plugin. It stays in memory until the process ends: its threads would not survive being unloaded. */
export class PjrtApi {
  readonly version: { readonly major: number; readonly minor: number };
  readonly #functions = new Map<string, Native>();
  readonly #table: Handle;
  readonly #size: number;

  /** Throws `EngineError` if the file is no PJRT plugin, does not load, or has another major version. */
  constructor(readonly path: string) {
    this.#table = loadTable(path);
    this.#size = Number(koffi.decode(this.#table, 'uint64_t'));
    const major = Number(koffi.decode(this.#table, 32, 'int32_t'));
    const minor = Number(koffi.decode(this.#table, 36, 'int32_t'));
    this.version = { major, minor };
    checkVersion(path, this.version);
    this.call('Plugin_Initialize', new Arguments());
  }

  /** Calls an entry and returns its arguments, outputs filled in. Throws `PjrtError`. */
  call(name: (typeof FUNCTIONS)[number], args: Arguments): Arguments {
    const error = this.#function(name)(args.fields);
    if (args.kept >= 0 && error) throw this.#take(name, error);
    return args;
  }

  /** The same on a worker thread. Calls beyond `MAX_ASYNC_CALLS` wait, in the order in which they were made. */
  async callAsync(name: (typeof FUNCTIONS)[number], args: Arguments): Promise<Arguments> {
    const native = this.#function(name);
    const error = await asyncCalls(
      () =>
        new Promise<Handle | null>((resolve, reject) => {
          native.async(args.fields, (failure, result) => {
            if (failure)
              reject(new EngineError(`xla: ${name} could not be called on a worker thread`, { cause: failure }));
            else resolve(result);
          });
        }),
    );
    if (args.kept >= 0 && error) throw this.#take(name, error);
    return args;
  }

  /** Calls a function of one pointer that the plugin handed out. */
  callPointer(address: Handle, argument: Handle): void {
    koffi.call(address, voidPrototype(), argument);
  }

  /** Where the extension of a kind is; null if the plugin has none. */
  extension(kind: number): Handle | null {
    for (let at = present(readHandles(this.#table + 8n, 1)[0]); at !== 0n;) {
      const [, type, next] = readHandles(at, 3) as [Handle, Handle, Handle];
      if (Number(BigInt.asIntN(32, type)) === kind) return at;
      at = next;
    }
    return null;
  }

  #function(name: (typeof FUNCTIONS)[number]): Native {
    const known = this.#functions.get(name);
    if (known) return known;
    const offset = FIRST_FUNCTION_BYTE + 8 * FUNCTIONS.indexOf(name);
    if (offset + 8 > this.#size) {
      const { major, minor } = this.version;
      throw new EngineError(
        `xla: the plugin ${this.path} (PJRT ${major}.${minor}) has no ${name}; install a newer one`,
      );
    }
    const address = koffi.decode(this.#table, offset, 'uint64_t') as Handle | number;
    const native = koffi.decode(BigInt(address), callPrototype()) as Native;
    this.#functions.set(name, native);
    return native;
  }

  #take(call: string, error: Handle): PjrtError {
    const message = new Arguments(error);
    this.#function('Error_Message')(message.fields);
    const text = readText(message.get(1), message.number(2));
    const code = new Arguments(error);
    this.#function('Error_GetCode')(code.fields);
    this.#function('Error_Destroy')(new Arguments(error).fields);
    return new PjrtError(call, code.int32(1), text);
  }
}

/** A function of one struct that returns an error or null. */
export const callPrototype = (): TypeObject => koffi.proto('uintptr_t', ['void *']);
const voidPrototype = (): TypeObject => koffi.proto('void', ['uintptr_t']);

/** Gives worker threads room; has to come before the process loads its first library through koffi. */
export function widenWorkerStacks(): void {
  const config = koffi.config();
  if (config.async_stack_size !== WORKER_STACK_BYTES) koffi.config({ ...config, async_stack_size: WORKER_STACK_BYTES });
}

function loadTable(path: string): Handle {
  try {
    const library = koffi.load(path, { lazy: true });
    // koffi unloads libraries when the process ends, under the feet of the plugin's threads: pin it.
    const dlopen = koffi.load(null).func('dlopen', 'void *', ['str', 'int']) as (p: string, flags: number) => unknown;
    dlopen(path, RTLD_NOW_NODELETE);
    const get = library.func('GetPjrtApi', 'void *', []) as () => Handle | null;
    const table = get();
    if (!table) throw new Error('GetPjrtApi returned null');
    return table;
  } catch (cause) {
    const why = messageOf(cause);
    throw new EngineError(`xla: cannot load the plugin ${path}: ${why}`, { details: { path }, cause });
  }
}
