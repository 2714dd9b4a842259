import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { fromF16Bits, type HostTensor, StoreError, tensorFrom, toF16Bits, toNumbers } from '../core/index.js';
import { readSafetensors, SafetensorsFile, streamSafetensors, writeSafetensors } from './safetensors.js';

const folder = mkdtempSync(join(tmpdir(), 'longsight-safetensors-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);

const tensors: Record<string, HostTensor> = {
  flags: tensorFrom('bool', [3], [1, 0, 1]),
  b: tensorFrom('f32', [2, 3], [1, -2, 3.5, 0, NaN, Infinity]),
  a: tensorFrom('f32', [], [7]),
  wide: tensorFrom('f64', [2], [Math.PI, -1e300]),
  half: tensorFrom('bf16', [2, 1], [1.5, -0.25]),
  ieee: tensorFrom('f16', [3], [1.5, -0.25, 65504]),
  ids: tensorFrom('i32', [2], [-5, 2147483647]),
  none: tensorFrom('f32', [0, 4], []),
};

/** A file from a header (text or object) and data bytes. */
function forge(name: string, header: unknown, data: Uint8Array = new Uint8Array(0), length?: bigint): string {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(length ?? BigInt(json.length));
  writeFileSync(at(name), Buffer.concat([head, json, data]));
  return at(name);
}

function messageOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(StoreError);
    return (error as StoreError).message;
  }
  throw new Error('expected a StoreError');
}

const f32 = (shape: unknown, ...offsets: unknown[]) => ({ dtype: 'F32', shape, data_offsets: offsets });

describe('safetensors', () => {
  it('reads back what it wrote, bit for bit, with metadata', () => {
    writeSafetensors(at('all.safetensors'), tensors, { step: '5', format: 'x' });
    const back = readSafetensors(at('all.safetensors'));
    expect(Object.keys(back).sort()).toEqual(Object.keys(tensors).sort());
    for (const [name, t] of Object.entries(tensors)) expect(back[name], name).toEqual(t);
    using file = new SafetensorsFile(at('all.safetensors'));
    expect(file.metadata).toEqual({ step: '5', format: 'x' });
  });

  it('writes the same bytes whatever the order of the tensors, each aligned to its element', async () => {
    writeSafetensors(at('one.safetensors'), tensors);
    const reversed = Object.fromEntries(Object.entries(tensors).reverse());
    writeSafetensors(at('two.safetensors'), reversed);
    const specs = Object.entries(reversed).map(([name, t]) => ({ name, dtype: t.dtype, shape: t.shape }));
    await streamSafetensors(at('three.safetensors'), specs, async (name) => tensors[name] as HostTensor);
    const one = readFileSync(at('one.safetensors'));
    expect(readFileSync(at('two.safetensors')).equals(one)).toBe(true);
    expect(readFileSync(at('three.safetensors')).equals(one)).toBe(true);
    expect(Number(one.readBigUInt64LE(0)) % 8).toBe(0);
    using file = new SafetensorsFile(at('one.safetensors'));
    for (const e of file.entries.values()) {
      const count = e.shape.reduce((n, d) => n * d, 1);
      if (count > 0) expect(e.begin % ((e.end - e.begin) / count), e.name).toBe(0);
    }
  });

  it('reads a file of known bytes', () => {
    const data = new Uint8Array(Float32Array.of(1, 2).buffer);
    expect(toNumbers(readSafetensors(forge('known', { x: f32([2], 0, 8) }, data)).x as HostTensor)).toEqual(
      Float64Array.of(1, 2),
    );
  });

  it('keeps f16 and turns other integers into i32', () => {
    const data = Buffer.alloc(18);
    data.writeUInt16LE(0x3c00, 0);
    data.writeBigInt64LE(-3n, 2);
    data.writeBigUInt64LE(9n, 10);
    const path = forge(
      'widths',
      {
        h: { dtype: 'F16', shape: [1], data_offsets: [0, 2] },
        i: { dtype: 'I64', shape: [1], data_offsets: [2, 10] },
        u: { dtype: 'U64', shape: [1], data_offsets: [10, 18] },
      },
      data,
    );
    const back = readSafetensors(path);
    expect(back.h).toEqual(tensorFrom('f16', [1], [1]));
    expect(back.i).toEqual(tensorFrom('i32', [1], [-3]));
    expect(back.u).toEqual(tensorFrom('i32', [1], [9]));
    data.writeBigInt64LE(2n ** 40n, 2);
    const big = forge('big', { i: { dtype: 'I64', shape: [1], data_offsets: [0, 8] } }, data.subarray(2, 10));
    expect(messageOf(() => readSafetensors(big))).toMatch(/tensor i of type I64 holds 1099511627776, beyond 32 bits/);
  });

  it('decodes half precision: normal, subnormal, infinite, NaN', () => {
    expect([0x0001, 0x0400, 0x3555, 0xc000, 0x7bff].map(fromF16Bits)).toEqual([
      2 ** -24,
      2 ** -14,
      0.333251953125,
      -2,
      65504,
    ]);
    expect(fromF16Bits(0xfc00)).toBe(-Infinity);
    expect(fromF16Bits(0x7e00)).toBeNaN();
  });

  it('rounds to half precision as IEEE does: every number comes back, ties go to even', () => {
    for (let bits = 0; bits < 0x10000; bits++) {
      const value = fromF16Bits(bits);
      if (!Number.isNaN(value)) expect(toF16Bits(value)).toBe(bits);
    }
    // Between 1 and the next number, 1 + 2^-10; between the two after it; just past the middle; the largest, and past it.
    const numbers = [1 + 2 ** -11, 1 + 3 * 2 ** -11, 1 + 2 ** -11 + 2 ** -40, 65519.99, 65520, -1e9, 2 ** -25, 3e-8];
    expect(numbers.map(toF16Bits)).toEqual([0x3c00, 0x3c02, 0x3c01, 0x7bff, 0x7c00, 0xfc00, 0, 1]);
    expect(toF16Bits(NaN)).toBe(0x7e00);
  });

  it('widens floats of one byte to f32', () => {
    // Of E4M3: 1, the smallest, -2, the largest (448), none; of E5M2: 1, the smallest, the largest (57344), -infinity.
    const data = Uint8Array.of(0x38, 0x01, 0xc0, 0x7e, 0x7f, 0x3c, 0x01, 0x7b, 0xfc);
    const header = {
      a: { dtype: 'F8_E4M3', shape: [5], data_offsets: [0, 5] },
      b: { dtype: 'F8_E5M2', shape: [4], data_offsets: [5, 9] },
    };
    const path = forge('bytes', header, data);
    const back = readSafetensors(path);
    expect(back.a).toEqual(tensorFrom('f32', [5], [1, 2 ** -9, -2, 448, NaN]));
    expect(back.b).toEqual(tensorFrom('f32', [4], [1, 2 ** -16, 57344, -Infinity]));
    using file = new SafetensorsFile(path);
    expect(file.readFloats('a', 1, 3)).toEqual(Float32Array.of(2 ** -9, -2));
  });

  it('names the file when it is missing, empty or cut anywhere', () => {
    expect(messageOf(() => readSafetensors(at('nowhere')))).toMatch(/cannot read .*nowhere/);
    const whole = readFileSync(at('one.safetensors')).length;
    for (let size = 0; size < whole; size += 7) {
      const path = at('cut.safetensors');
      writeSafetensors(path, tensors);
      truncateSync(path, size);
      expect(messageOf(() => readSafetensors(path))).toContain('cut.safetensors is not a complete safetensors file');
    }
  });

  const eight = new Uint8Array(8);
  it.each<[string, unknown, Uint8Array, bigint | undefined, RegExp]>([
    ['an absurd header length', '{}', eight, 2n ** 63n, /header claims 9223372036854775808 bytes/],
    ['a header longer than the file', '{}', eight, 1000n, /header claims 1000 bytes but the file has 18/],
    ['a header that is no JSON', '{"x":', eight, undefined, /not valid JSON/],
    ['a header that is a list', '[]', eight, undefined, /not a JSON object/],
    ['metadata that are no texts', { __metadata__: { a: 1 } }, eight, undefined, /__metadata__/],
    ['an entry without dtype', { x: { shape: [2], data_offsets: [0, 8] } }, eight, undefined, /tensor x has no dtype/],
    ['an unknown dtype', { x: { ...f32([2], 0, 8), dtype: 'F7' } }, eight, undefined, /tensor x has dtype F7/],
    ['a dtype named as a method', { x: { ...f32([2], 0, 8), dtype: 'toString' } }, eight, undefined, /dtype toString/],
    ['a negative size', { x: f32([-2], 0, 8) }, eight, undefined, /tensor x has a shape/],
    ['offsets past the end', { x: f32([4], 0, 16) }, eight, undefined, /tensor x claims bytes 0 to 16 of 8/],
    ['offsets in reverse', { x: f32([2], 8, 0) }, eight, undefined, /tensor x claims bytes 8 to 0/],
    ['a fractional offset', { x: f32([2], 0.5, 8) }, eight, undefined, /tensor x has data_offsets/],
    ['a shape larger than its bytes', { x: f32([1e15], 0, 8) }, eight, undefined, /needs 4000000000000000 bytes/],
    [
      'a shape whose size overflows',
      { x: f32([2 ** 52, 2 ** 52, 2 ** 52], 0, 8) },
      eight,
      undefined,
      /tensor x of type/,
    ],
    ['overlap', { x: f32([2], 0, 8), y: f32([1], 4, 8) }, eight, undefined, /tensor y overlaps/],
    ['a gap', { y: f32([1], 4, 8) }, eight, undefined, /tensor y leaves a gap of 4 bytes/],
    ['bytes left over', { y: f32([1], 0, 4) }, eight, undefined, /tensors take 4 bytes but 8 are there/],
    ['a BOOL of 2', { y: { dtype: 'BOOL', shape: [8], data_offsets: [0, 8] } }, eight.map(() => 2), undefined, /BOOL/],
  ])('rejects %s', (_, header, data, length, message) => {
    const path = forge('bad.safetensors', header, data, length);
    const text = messageOf(() => readSafetensors(path));
    expect(text).toMatch(message);
    expect(text).toContain('bad.safetensors');
  });

  it('keeps the older file and leaves nothing behind when writing fails', async () => {
    writeSafetensors(at('keep.safetensors'), { a: tensorFrom('f32', [1], [1]) });
    const specs = [{ name: 'a', dtype: 'f32' as const, shape: [2] }];
    await expect(
      streamSafetensors(at('keep.safetensors'), specs, async () => tensorFrom('f32', [1], [2])),
    ).rejects.toThrow(/tensor a was announced as f32\[2\] but is f32\[1\]/);
    expect(toNumbers(readSafetensors(at('keep.safetensors')).a as HostTensor)).toEqual(Float64Array.of(1));
    expect(readdirSync(folder).filter((f) => f.endsWith('.tmp'))).toEqual([]);
    expect(messageOf(() => writeSafetensors(at('keep.safetensors/x'), {}))).toMatch(/cannot write .*keep/);
  });
});
