/** The file of WebAssembly with relaxed SIMD is the package's but for six functions, and is made of no other file. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { withRelaxedSimd } from '../../scripts/relaxed-simd.mjs';

const FILE = createRequire(import.meta.url).resolve('onnxruntime-web/ort-wasm-simd-threaded.wasm');
const CODE_SECTION = 10;
const RELAXED_MADD = Buffer.of(0xfd, 0x85, 0x02);

/** What lies before the bodies of functions, each of these, and what lies behind (WebAssembly's binary format, 5.5). */
function parts(wasm: Buffer) {
  let at = 8;
  const number = () => {
    for (let [value, shift] = [0, 0]; ; shift += 7) {
      const byte = wasm.readUInt8(at++);
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  };
  for (;;) {
    const section = wasm.readUInt8(at++);
    const size = number();
    if (section !== CODE_SECTION) {
      at += size;
      continue;
    }
    const end = at + size;
    const count = number();
    const before = wasm.subarray(0, at);
    const bodies = Array.from({ length: count }, () => {
      const length = number();
      return wasm.subarray(at, (at += length));
    });
    expect(at).toBe(end);
    return { before, bodies, behind: wasm.subarray(end) };
  }
}

const occurrences = (bytes: Buffer, sought: Buffer): number => {
  let count = 0;
  for (let at = bytes.indexOf(sought); at !== -1; at = bytes.indexOf(sought, at + 1)) count++;
  return count;
};

describe('WebAssembly with relaxed SIMD', () => {
  it('is the package’s file but for six functions, with a fused product for each row and block of columns', () => {
    const file = readFileSync(FILE);
    const [old, own] = [parts(file), parts(Buffer.from(withRelaxedSimd(file)))];
    expect(own.before.equals(old.before)).toBe(true);
    expect(own.behind.equals(old.behind)).toBe(true);
    expect(own.bodies.map(({ length }) => length)).toEqual(old.bodies.map(({ length }) => length));
    const changed = own.bodies.filter((body, i) => old.bodies[i]?.equals(body) !== true);
    expect(changed.map((body) => occurrences(body, RELAXED_MADD))).toEqual([9, 14, 8, 8, 1, 7]);
    expect(old.bodies.reduce((sum, body) => sum + occurrences(body, RELAXED_MADD), 0)).toBe(0);
  });

  it('is refused for a file that differs by one bit', () => {
    const file = readFileSync(FILE);
    file[file.length - 1] = (file[file.length - 1] ?? 0) ^ 1;
    expect(() => withRelaxedSimd(file)).toThrow(
      /^ort-wasm-simd-threaded\.wasm has the SHA-256 [0-9a-f]{64}, which scripts\/relaxed-simd\.mjs does not know/,
    );
  });
});
