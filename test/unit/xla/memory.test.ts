/** Device memory: freed once, and said clearly when it runs out. */
import { describe, expect, it } from 'vitest';
import { DeviceBusyError, EngineError } from '../../../src/core/index.js';
import { createXlaEngine, findPlugin } from '../../../src/engine/index.js';
import { BufferPool } from '../../../src/engine/xla/engine/memory.js';
import { bytesAsked, isFull, outOfMemory } from '../../../src/engine/xla/engine/out-of-memory.js';
import { PjrtError, RESOURCE_EXHAUSTED, checkVersion } from '../../../src/engine/xla/pjrt/api.js';
import type { PjrtBuffer } from '../../../src/engine/xla/pjrt/client.js';
import { XlaTensor } from '../../../src/engine/xla/engine/tensor.js';
import * as L from '../../../src/graph/index.js';
import { randomTensor } from '../../support/random.js';

const { plugin } = findPlugin('cpu');
const UNSAID = { peakBytesInUse: null, poolBytes: null, largestFreeBytes: null };

describe('the pool of buffers', () => {
  const counted = () => {
    const freed: number[] = [];
    const pool = new BufferPool();
    const make = (id: number): XlaTensor => {
      const buffer = { [Symbol.dispose]: () => freed.push(id) } as unknown as PjrtBuffer;
      const tensor = new XlaTensor('f32', [1], { placement: { sharding: [], buffers: [buffer] } });
      pool.adopt(tensor, [buffer], 4);
      return tensor;
    };
    return { freed, pool, make };
  };

  it('frees each buffer exactly once, however its tensor ends', async () => {
    const { freed, pool, make } = counted();
    const [released, kept] = [make(1), make(2)];
    pool.release(released);
    pool.release(released);
    (() => [make(3), make(4)])(); // nobody holds these
    // A turn of the event loop: weak references are cleared between turns only.
    await new Promise((done) => setTimeout(done, 5));
    pool.sweep();
    expect(freed.toSorted()).toEqual([1, 3, 4]);
    expect(pool.live).toBe(1);
    pool.clear();
    pool.clear();
    pool.release(kept);
    expect(freed.toSorted()).toEqual([1, 2, 3, 4]);
    expect(kept.state).toBe('released');
    expect(pool.live).toBe(0);
  });

  it('frees what nobody holds, however many runs have begun since', async () => {
    for (const runs of [0, 1, 2, 3]) {
      const { freed, pool, make } = counted();
      const held = make(1);
      (() => make(2))();
      for (let i = 0; i < runs; i++) pool.beginRun();
      await new Promise((done) => setTimeout(done, 5));
      pool.sweep();
      expect(freed, `${runs} runs`).toEqual([2]);
      pool.release(held);
      expect(freed, `${runs} runs`).toEqual([2, 1]);
      expect(pool.live).toBe(0);
    }
  });
});

describe('a full device', () => {
  it.each([
    ['Out of memory while trying to allocate 4770354232 bytes.\nBufferAssignment OOM Debugging.', 4770354232],
    ['Failed to allocate request for 2.99GiB (3206250496B) on device ordinal 0', 3206250496],
    ['Out of memory while trying to allocate 32.00GiB.', 32 * 2 ** 30],
    [
      'Allocator (GPU_0_bfc) ran out of memory trying to allocate 1.25TiB (rounded to 1374521760000)requested by op',
      1.25 * 2 ** 40,
    ],
    [
      'Ran out of memory in memory space hbm. Used 12.50G of 8.00G hbm. Exceeded hbm capacity by 4.34G.',
      12.5 * 2 ** 30,
    ],
    ['Attempting to reserve 3.5G at the bottom of memory. That was not possible. There are 1.92G free', 3.5 * 2 ** 30],
    ['Out of memory allocating 1099511627776 bytes.', 2 ** 40],
    ['something else', null],
  ])('is understood: %s', (message, bytes) => {
    expect(bytesAsked(message)).toBe(bytes);
  });

  it('is explained: what was asked, what is free, which fields to change', () => {
    const error = new PjrtError(
      'Execute',
      RESOURCE_EXHAUSTED,
      'Failed to allocate request for 3.00GiB (3221225472B) on device ordinal 0\nmore',
    );
    const stats = { ...UNSAID, bytesInUse: 2 ** 30, bytesLimit: 3 * 2 ** 30 };
    const { message, details, cause } = outOfMemory(error, { stats, device: null });
    expect(message).toBe(
      'xla: the device is out of memory: 3.00 GiB asked for, 2.00 GiB of 3.00 GiB free; lower train.batchSize or train.seqLen, ' +
        'raise train.accumulate, set train.remat: true, or divide the model over more devices (mesh.fsdp); the plugin said: ' +
        'Failed to allocate request for 3.00GiB (3221225472B) on device ordinal 0',
    );
    expect(details).toMatchObject({ bytesAsked: 3221225472, bytesFree: 2 ** 31 });
    expect(cause).toBe(error);
    expect(outOfMemory(error, { stats: null, device: null }).message).toMatch(
      /3\.00 GiB asked for, the plugin does not say how much is free; lower/,
    );
  });

  const GIB = 2 ** 30;
  const asked = (text: string, status = RESOURCE_EXHAUSTED) => new PjrtError('Execute', status, text);
  const little = asked('Failed to allocate request for 20.0MiB (20971520B) on device ordinal 0');

  it('that others fill is busy, and no figure says that there is room', () => {
    const stats = { ...UNSAID, bytesInUse: 0, bytesLimit: 104.85 * GIB, poolBytes: 0 };
    const known = outOfMemory(little, { stats, device: { totalBytes: 140 * GIB, usedBytes: 139 * GIB } });
    expect(known).toBeInstanceOf(DeviceBusyError);
    expect(known.message).toBe(
      'xla: the device is busy: 0.02 GiB asked for, this process holds 0.00 GiB of the 104.85 GiB that it may take, other ' +
        'processes hold 139.00 GiB of its 140.00 GiB; wait for them or stop them, or choose another device; the plugin said: ' +
        'Failed to allocate request for 20.0MiB (20971520B) on device ordinal 0',
    );
    const unknown = outOfMemory(little, { stats, device: null });
    expect(unknown).toBeInstanceOf(DeviceBusyError);
    expect(unknown.message).toContain('other processes hold the rest');
    for (const { message } of [known, unknown]) expect(message).not.toMatch(/\d GiB free/);
  });

  it.each([
    'BlasLt is unavailable',
    'INTERNAL: Failed to create cuBLAS handle: CUBLAS_STATUS_ALLOC_FAILED',
    'CUDA_ERROR_OUT_OF_MEMORY: out of memory',
    'CUDA_ERROR_DEVICE_UNAVAILABLE: CUDA-capable device(s) is/are busy or unavailable',
  ])('is busy where a library cannot start: %s', (text) => {
    const error = asked(text, 13);
    expect(isFull(error)).toBe(true);
    expect(outOfMemory(error, { stats: null, device: null })).toBeInstanceOf(DeviceBusyError);
    // Where nobody else is on the device, that is not the cause.
    const alone = outOfMemory(error, { stats: null, device: { totalBytes: 140 * GIB, usedBytes: GIB } });
    expect(alone).not.toBeInstanceOf(DeviceBusyError);
  });

  it('that is full of pieces says so', () => {
    const stats = {
      ...UNSAID,
      bytesInUse: 2 * GIB,
      bytesLimit: 3 * GIB,
      poolBytes: 3 * GIB,
      largestFreeBytes: 2 ** 20,
    };
    const { message } = outOfMemory(little, { stats, device: null });
    expect(message).toContain('2.00 GiB of 3.00 GiB in use and the rest in pieces that are too small');
    expect(message).not.toMatch(/\d GiB free/);
  });

  it('is not one whose program is wrong', () => {
    expect(isFull(asked('INVALID_ARGUMENT: shapes differ', 3))).toBe(false);
  });

  it.skipIf(!plugin)('ends in that error, and the engine goes on', async () => {
    const engine = createXlaEngine({ plugin: plugin?.path, cache: null });
    const x = L.input('x', 'f32', [1]);
    const huge = await engine.compile(L.makeGraph({ x }, { y: L.broadcast(x, [2 ** 25, 2 ** 20]) }));
    const upload = () => engine.upload(randomTensor('f32', [1], 'x', () => 3));
    const failed = huge.run({ x: upload() }).then(({ y }) => engine.download(y as never));
    await expect(failed).rejects.toThrow(/out of memory.*lower train\.batchSize/);
    const small = await engine.compile(L.makeGraph({ x }, { y: L.mul(x, 2) }));
    const { y } = await small.run({ x: upload() });
    expect(Array.from((await engine.download(y as never)).data)).toEqual([6]);
    await engine.dispose();
  });
});

describe('a plugin', () => {
  it('of another major version is refused', () => {
    expect(() => checkVersion('/x.so', { major: 0, minor: 7 })).not.toThrow();
    expect(() => checkVersion('/x.so', { major: 1, minor: 2 })).toThrow(EngineError);
    expect(() => checkVersion('/x.so', { major: 1, minor: 2 })).toThrow(
      '/x.so speaks PJRT 1.2, this package speaks 0.x; install a plugin of that version',
    );
  });

  it.skipIf(!plugin)('gives more tensors at once than worker threads take calls', async () => {
    const engine = createXlaEngine({ plugin: plugin?.path, cache: null });
    const x = L.input('x', 'f32', [1]);
    const many = Array.from({ length: 600 }, (_, i) => [`y${i}`, L.mul(x, i)] as const);
    const program = await engine.compile(L.makeGraph({ x }, Object.fromEntries(many)));
    const results = await program.run({ x: engine.upload(randomTensor('f32', [1], 'x', () => 1)) });
    const values = await Promise.all(
      many.map(async ([name]) => (await engine.download(results[name] as never)).data[0]),
    );
    expect(values).toEqual(many.map((_, i) => i));
    await engine.dispose();
  });

  it.skipIf(!plugin)('is used by nothing that was disposed of; disposing twice is allowed', async () => {
    const engine = createXlaEngine({ plugin: plugin?.path, cache: null });
    const x = L.input('x', 'f32', [1]);
    const program = await engine.compile(L.makeGraph({ x }, { y: L.mul(x, 2) }));
    const input = engine.upload(randomTensor('f32', [1], 'x'));
    const { y } = await program.run({ x: input });
    await program.dispose();
    await program.dispose();
    await expect(program.run({ x: input })).rejects.toThrow(/program was disposed of/);
    await engine.dispose();
    await engine.dispose();
    await expect(engine.download(y as never)).rejects.toThrow(/released, or its engine disposed of/);
    await expect(engine.compile(L.makeGraph({ x }, { y: L.mul(x, 3) }))).rejects.toThrow(/client was disposed of/);
    expect(() => engine.upload(randomTensor('f32', [1], 'x'))).toThrow(/client was disposed of/);
  });
});
