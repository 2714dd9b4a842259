/**
 * Rewrites the matrix products in onnxruntime's WebAssembly for browsers with relaxed SIMD: a fused multiply-add for each
 * multiplication and addition, and one term of the sum at a time where the package's loops take two. All other bytes stay,
 * and so do the sizes of functions and sections: what the new loops do not fill is `nop`.
 *
 * The loops are those of one version of the package, known by its SHA-256. In another one the two functions are those
 * with the most `f32x4.mul` and nine or more `v128.load32_splat` in `wasm-objdump -d` (of wabt): both instances of
 * `MlasSgemmKernel` (onnxruntime/core/mlas/lib/wasm_simd/SgemmKernelWasmSimd.cpp). One sets a block of the product, the other
 * adds to it. Each has a loop over the terms for two rows, and one for a last row, which stays.
 */
import { createHash } from 'node:crypto';

/** What the rewritten file is called. */
export const RELAXED_FILE = 'ort-wasm-simd-threaded.relaxed.wasm';

/** `ort-wasm-simd-threaded.wasm` of onnxruntime-web 1.30.0. */
const KNOWN = '3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2';

/**
 * Where the loops lie, from the opcode `loop` to behind its `end`, in bytes of the file, and the local variables of the
 * function around each: pointers to terms of the left matrix `a` and of the right one `b`, terms left `k`, floats from one
 * row of the left matrix to the next `stride`, sums by row and by block of four columns, first column first. What the
 * package's loop overwrites is free: a pointer to the second row, a vector for each row and one for columns.
 */
const LOOPS = [
  {
    ...{ from: 0x0c87cd, to: 0x0c88fe, a: 4, b: 1, k: 27, stride: 6, second: 29, rows: [9, 10], column: 23 },
    ...{
      sums: [
        [22, 21, 20, 19],
        [16, 12, 11, 14],
      ],
    },
  },
  {
    ...{ from: 0x19f130, to: 0x19f261, a: 4, b: 1, k: 28, stride: 6, second: 30, rows: [9, 13], column: 20 },
    ...{
      sums: [
        [19, 18, 17, 16],
        [14, 10, 12, 11],
      ],
    },
  },
];

const NOP = 0x01;
const get = (local) => [0x20, local];
const set = (local) => [0x21, local];
const tee = (local) => [0x22, local];
const i32 = (value) => (value < 64 ? [0x41, value] : [0x41, 0x80 | (value & 0x7f), value >> 7]);
const [ADD, SUB, SHL] = [0x6a, 0x6b, 0x74];
const advanced = (local, bytes) => [...get(local), ...i32(bytes), ADD, ...set(local)];
/** Four floats at `address` + `offset` bytes, which are aligned to none. */
const load = (address, offset) => [...get(address), 0xfd, 0x00, 0x00, offset];
/** The float at `address` in all four lanes. */
const splat = (address) => [...get(address), 0xfd, 0x09, 0x02, 0x00];
/** `sum` + `left` × `right` with one rounding or two, as the processor has it. */
const fused = (left, right, sum) => [...get(left), ...get(right), ...get(sum), 0xfd, 0x85, 0x02, ...set(sum)];

/** The opcodes of a loop that takes all terms, one at a time; there are two or more when it begins. */
function products({ a, b, k, stride, second, rows, column, sums }) {
  return [
    ...[...get(a), ...get(stride), ...i32(2), SHL, ADD, ...set(second)],
    ...[0x03, 0x40],
    ...[a, second].flatMap((address, row) => [...splat(address), ...set(rows[row])]),
    ...[0, 1, 2, 3].flatMap((block) => [
      ...[...load(b, 16 * block), ...set(column)],
      ...rows.flatMap((row, i) => fused(row, column, sums[i][block])),
    ]),
    ...[...advanced(a, 4), ...advanced(second, 4), ...advanced(b, 64)],
    ...[...get(k), ...i32(1), SUB, ...tee(k)],
    ...[0x0d, 0x00, 0x0b],
  ];
}

/**
 * The bytes of `ort-wasm-simd-threaded.wasm` with matrix products that need relaxed SIMD.
 *
 * @throws Error where the file is not the one whose loops are known.
 */
export function withRelaxedSimd(file) {
  const found = createHash('sha256').update(file).digest('hex');
  if (found !== KNOWN)
    throw new Error(
      `ort-wasm-simd-threaded.wasm has the SHA-256 ${found}, which scripts/relaxed-simd.mjs does not know: install the onnxruntime-web of package-lock.json (npm ci), or put the places of its loops and its SHA-256 there`,
    );
  const rewritten = Uint8Array.from(file);
  for (const loop of LOOPS) rewritten.fill(NOP, loop.from, loop.to).set(products(loop), loop.from);
  return rewritten;
}
