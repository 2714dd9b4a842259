/**
 * The profiler of a plugin, an extension of its API: what the devices ran and when, as a serialized `XSpace`. Its
 * structs begin with their size alone; errors are its own. Source: xla/pjrt/c/pjrt_c_api_profiler_extension.h and
 * xla/backends/profiler/plugin/profiler_c_api.h of OpenXLA.
 */
import koffi from 'koffi';
import { present, at, EngineError } from '../../../core/index.js';
import { callPrototype, readBytes, readHandles, readText, type Handle, type PjrtApi } from './api.js';

const PROFILER_EXTENSION = 1;
/** Larger than every argument struct. */
const ARGUMENT_BYTES = 64;

/** The functions by position, after the struct's size and a pointer of the plugin's own. */
const FUNCTIONS = [
  'error_destroy',
  'error_message',
  'error_get_code',
  'create',
  'destroy',
  'start',
  'stop',
  'collect_data',
];

/** `tensorflow.ProfileOptions`: version 1, nothing of the host, device level 1. */
const OPTIONS = Uint8Array.of(0x28, 1, 0x18, 1);

/** One recording. */
export class PluginProfiler {
  readonly #table: readonly Handle[];
  readonly #profiler: Handle;

  /** Begins to record. Throws `EngineError` if the plugin has no profiler or it does not start. */
  constructor(api: PjrtApi) {
    const extension = api.extension(PROFILER_EXTENSION);
    const table = extension === null ? 0n : at(readHandles(extension, 4), 3);
    if (table === 0n)
      throw new EngineError(`xla: the plugin ${api.path} has no profiler; use one that has (CUDA's has)`);
    this.#table = readHandles(table, 2 + FUNCTIONS.length);
    this.#profiler = present(this.#call('create', koffi.address(OPTIONS), BigInt(OPTIONS.length), 0n)[3]);
    this.#call('start', this.#profiler);
  }

  /** Ends the recording and gives it. Only once. */
  stop(): Uint8Array {
    this.#call('stop', this.#profiler);
    const found = this.#call('collect_data', this.#profiler, 0n, 0n);
    const bytes = readBytes(present(found[2]), Number(found[3]));
    this.#call('destroy', this.#profiler);
    return bytes;
  }

  /** Calls a function on a struct of `fields` and returns the struct. */
  #call(name: string, ...fields: readonly Handle[]): BigUint64Array {
    const [args, error] = this.#raw(name, fields);
    if (error === 0n) return args;
    const [message] = this.#raw('error_message', [0n, error, 0n, 0n]);
    const text = readText(present(message[3]), Number(message[4]));
    this.#raw('error_destroy', [0n, error]);
    throw new EngineError(`xla: the plugin's profiler failed (${name}): ${text}`);
  }

  #raw(name: string, fields: readonly Handle[]): readonly [BigUint64Array, Handle] {
    const args = new BigUint64Array(ARGUMENT_BYTES / 8);
    args.set([BigInt(ARGUMENT_BYTES), ...fields]);
    const native = koffi.decode(this.#table[2 + FUNCTIONS.indexOf(name)], callPrototype()) as (
      args: BigUint64Array,
    ) => Handle | number | null;
    return [args, BigInt(native(args) ?? 0)];
  }
}
