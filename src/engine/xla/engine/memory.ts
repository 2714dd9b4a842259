/**
 * Who frees device memory. The engine interface hands tensors out and never takes them back, so buffers are freed when
 * their tensor is garbage. V8 does not know how large they are: when much has been handed out since the last sweep, or
 * the device is full, a collection is forced and buffers whose tensors are gone are freed at once.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { PjrtBuffer } from '../pjrt/client.js';
import type { XlaTensor } from './tensor.js';

interface Entry {
  readonly tensor: WeakRef<XlaTensor>;
  readonly buffers: readonly PjrtBuffer[];
  readonly bytes: number;
}

/** Growth of what is held, in bytes, that forces a sweep. */
const SWEEP_BYTES = 2 ** 30;

/**
 * The device buffers of an engine's tensors: frees those of tensors that are gone, and moves tensors off a full device.
 *
 * Most outputs of a step are donated to the next one. So the pool holds what is new itself until two runs have begun
 * since, and only then leaves it to the garbage collector: a finalizer for each output of each step takes a good part
 * of the host's time.
 */
export class BufferPool {
  /** Adopted since the last run began, and since the one before: held here. */
  #young = new Map<XlaTensor, Entry>();
  #older = new Map<XlaTensor, Entry>();
  readonly #entries = new Set<Entry>();
  readonly #byTensor = new WeakMap<XlaTensor, Entry>();
  readonly #registry = new FinalizationRegistry<Entry>((entry) => this.#free(entry));
  /** Held now, and right after the last sweep. */
  #bytes = 0;
  #swept = 0;

  /** Takes charge of a tensor's buffers. */
  adopt(tensor: XlaTensor, buffers: readonly PjrtBuffer[], bytes: number): void {
    // What a weak reference is made of lives until the next turn of the event loop: made later, a sweep would miss it.
    this.#young.set(tensor, { tensor: new WeakRef(tensor), buffers, bytes });
    this.#bytes += bytes;
  }

  /** Frees a tensor's buffers now. */
  release(tensor: XlaTensor): void {
    for (const held of [this.#young, this.#older]) {
      const entry = held.get(tensor);
      if (entry === undefined) continue;
      held.delete(tensor);
      this.#dispose(entry);
      return;
    }
    const entry = this.#byTensor.get(tensor);
    if (!entry) return;
    this.#byTensor.delete(tensor);
    this.#registry.unregister(tensor);
    this.#free(entry);
  }

  /** A run begins. Sweeps if what is held has grown much since the last time: what a step donates does not grow. */
  beginRun(): void {
    this.#age();
    if (this.#bytes - this.#swept >= SWEEP_BYTES) this.sweep();
  }

  /** Collects garbage and frees what it uncovers. */
  sweep(): void {
    this.#age();
    this.#age();
    collectGarbage();
    for (const entry of [...this.#entries]) if (entry.tensor.deref() === undefined) this.#free(entry);
    this.#swept = this.#bytes;
  }

  /** Tensors whose buffers have not been freed. */
  get live(): number {
    return this.#entries.size + this.#young.size + this.#older.size;
  }

  /** Frees the buffers of every tensor; using one afterwards throws. */
  clear(): void {
    this.#age();
    this.#age();
    for (const entry of [...this.#entries]) {
      const tensor = entry.tensor.deref();
      if (tensor) tensor.state = 'released';
      this.#free(entry);
    }
    this.#swept = this.#bytes;
  }

  /** Leaves to the garbage collector what was there when the run before began. */
  #age(): void {
    for (const [tensor, entry] of this.#older) {
      this.#entries.add(entry);
      this.#byTensor.set(tensor, entry);
      this.#registry.register(tensor, entry, tensor);
    }
    this.#older = this.#young;
    this.#young = new Map();
  }

  #free(entry: Entry): void {
    if (this.#entries.delete(entry)) this.#dispose(entry);
  }

  #dispose({ buffers, bytes }: Entry): void {
    this.#bytes -= bytes;
    for (const buffer of buffers) buffer[Symbol.dispose]();
  }
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}
