/**
 * Rewrites five kinds of kernels in onnxruntime's WebAssembly for browsers with relaxed SIMD. All other bytes stay, and so
 * do the sizes of functions and sections: what the new code does not fill is `nop`.
 *
 * - Matrix products: a fused multiply-add for each multiplication and addition, and one term of the sum at a time where
 *   the package's loops take two.
 * - Exponentials, their sums (softmax) and sigmoids: fused multiply-adds in the package's own loops.
 * - Rotary positions: vectors where the package takes numbers.
 *
 * The places are those of one version of the package, known by its SHA-256. In another one `wasm-objdump -d` (of wabt)
 * finds the functions:
 *
 * - both instances of `MlasSgemmKernel` (onnxruntime/core/mlas/lib/wasm_simd/SgemmKernelWasmSimd.cpp) are those with the
 *   most `f32x4.mul` and nine or more `v128.load32_splat`. One sets a block of the product, the other adds to it. Each has
 *   a loop over the terms for two rows, and one for a last row, which stays;
 * - `MlasComputeExpF32Kernel`, `MlasComputeSumExpF32Kernel` and `MlasLogisticKernel` have the constants `0xc2cff1b5`,
 *   `0xc2b0c0a5` and `0x2e403551`;
 * - `MlasRotaryEmbedOneRow` has two loops with `i32.rem_u` and calls a kernel of a table.
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
 * Rows of rotary positions whose halves are whole vectors, before the package's loop, which takes a number at a time and
 * finds its place with two remainders. The code takes the room of what sets the library's table of kernels up on its first
 * call: that has none for these rows in WebAssembly, and other functions set it up for themselves.
 */
const ROTARY = { from: 0x259e80, to: 0x259f51 };

/** The function's parameters: pointers to a row, sines and cosines, numbers of the row, whether pairs are neighbours, result. */
function rotary() {
  const [x, sin, cos, count, interleaved, y, half, end] = [0, 1, 2, 3, 4, 5, 6, 7];
  const [low, high, c, s] = [10, 11, 12, 13];
  const [MUL, STORE, NMADD] = [
    [0xfd, 0xe6, 0x01],
    [0xfd, 0x0b, 0x00, 0x00],
    [0xfd, 0x86, 0x02],
  ];
  const skipIf = [0x0d, 0x00];
  const upper = (address) => [...get(address), ...get(half), ADD];
  return [
    // Three i32 and a float, which it has, and four vectors.
    ...[0x03, 0x03, 0x7f, 0x01, 0x7d, 0x04, 0x7b],
    ...[0x02, 0x40],
    ...[...get(interleaved), ...skipIf],
    ...[...get(count), ...i32(7), 0x71, ...skipIf],
    ...[...get(count), 0x45, ...skipIf],
    ...[...get(count), ...i32(1), SHL, ...set(half)],
    ...[...upper(x), ...set(end)],
    ...[0x03, 0x40],
    ...[...load(x, 0), ...set(low), ...upper(x), 0xfd, 0x00, 0x00, 0x00, ...set(high)],
    ...[...load(cos, 0), ...set(c), ...load(sin, 0), ...set(s)],
    ...[...get(y), ...get(high), ...get(s), ...get(low), ...get(c), ...MUL, ...NMADD, ...STORE],
    ...[...upper(y), ...get(low), ...get(s), ...get(high), ...get(c), ...MUL, 0xfd, 0x85, 0x02, ...STORE],
    ...[x, sin, cos, y].flatMap((address) => advanced(address, 16)),
    ...[...get(x), ...get(end), 0x47, 0x0d, 0x00, 0x0b],
    ...[0x0f, 0x0b],
  ];
}

/** Loops of exponentials, their sums and sigmoids, which are polynomials: from the opcode `loop` to behind its `end`. */
const POLYNOMIALS = [
  [0x058036, 0x0581e2],
  [0x0a78db, 0x0a7be9],
  [0x6c9905, 0x6c9ab6],
];

const vector = (opcode) => [0xfd, 0x80 | (opcode & 0x7f), opcode >> 7];
const [F32_MIN, F32_MAX, F32_PMIN, F32_PMAX] = [0xe8, 0xe9, 0xea, 0xeb].map(vector);
const [F32_ADD, F32_MUL, F32_MADD] = [0xe4, 0xe6, 0x105].map(vector);

/** Where each opcode from `from` to `to` begins, with the opcode as it stands in `vector` where it is one of vectors. */
function opcodes(bytes, from, to) {
  const found = [];
  let at = from;
  const number = () => {
    while (bytes[at] >= 0x80) at++;
    at++;
  };
  while (at < to) {
    const start = at;
    const opcode = bytes[at++];
    if (opcode === 0xfd) {
      const kind = bytes[at];
      number();
      found.push({ start, opcode: bytes.slice(start, at) });
      if (kind <= 0x0b) [0, 1].forEach(number);
      else if (kind <= 0x0d) at += 16;
      else if (kind >= 0x15 && kind <= 0x22) at += 1;
    } else {
      found.push({ start, opcode: [opcode] });
      // Blocks, branches, locals and whole numbers have one number behind them, loads and stores two.
      if ([0x02, 0x03, 0x04, 0x0c, 0x0d, 0x20, 0x21, 0x22, 0x41].includes(opcode)) number();
      else if (opcode >= 0x28 && opcode <= 0x3e) [0, 1].forEach(number);
    }
  }
  return found;
}

/**
 * Fuses each product with the sum after it where what is added is a local variable or a constant, and takes smallest and
 * largest values by one comparison: the number comes first, so that NaN stays NaN.
 */
function fuse(bytes, from, to) {
  const found = opcodes(bytes, from, to);
  const is = (i, opcode) =>
    found[i]?.opcode.length === opcode.length && opcode.every((b, k) => found[i].opcode[k] === b);
  const isPlain = (i) => is(i, [0x20]) || is(i, [0xfd, 0x0c]);
  found.forEach(({ start }, i) => {
    if (is(i, F32_MIN)) bytes.set(F32_PMIN, start);
    if (is(i, F32_MAX)) bytes.set(F32_PMAX, start);
    if (!is(i, F32_MUL) || !isPlain(i + 1) || !is(i + 2, F32_ADD)) return;
    const [plain, add] = [found[i + 1].start, found[i + 2].start];
    const term = bytes.slice(plain, add);
    bytes.set([...term, ...F32_MADD, NOP, NOP, NOP], start);
  });
}

/**
 * The bytes of `ort-wasm-simd-threaded.wasm` with kernels that need relaxed SIMD: matrix products, exponentials, sigmoids,
 * rotary positions.
 *
 * @throws Error where the file is not the one whose kernels are known.
 */
export function withRelaxedSimd(file) {
  const found = createHash('sha256').update(file).digest('hex');
  if (found !== KNOWN)
    throw new Error(
      `ort-wasm-simd-threaded.wasm has the SHA-256 ${found}, which scripts/relaxed-simd.mjs does not know: install the onnxruntime-web of package-lock.json (npm ci), or put the places of its loops and its SHA-256 there`,
    );
  const rewritten = Uint8Array.from(file);
  for (const loop of LOOPS) rewritten.fill(NOP, loop.from, loop.to).set(products(loop), loop.from);
  rewritten.fill(NOP, ROTARY.from, ROTARY.to).set(rotary(), ROTARY.from);
  for (const [from, to] of POLYNOMIALS) fuse(rewritten, from, to);
  return rewritten;
}
