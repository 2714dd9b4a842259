import { present, i32At } from './at.js';
/**
 * Seeded random numbers: xoshiro128** (Blackman and Vigna) seeded through splitmix32 from text, so that every use names
 * its own stream (`rng(seed, 'init', 'layers.0.attn.wqkv')`) and adding one draw somewhere moves no other.
 */

/** The whole state of an `Rng`, JSON-safe. */
export interface RngState {
  /** The four 32-bit words of xoshiro128**. */
  readonly s: readonly [number, number, number, number];
  /** The second normal of the last pair that the polar method made, if it was not yet given out. */
  readonly spare: number | null;
}

function hashText(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    h ^= text.charCodeAt(i);
    h = Math.imul(h, 0x01000193);
  }
  return h >>> 0;
}

/** A deterministic stream of random numbers: xoshiro128** (Blackman and Vigna), seeded through splitmix32. */
export class Rng {
  #s: Uint32Array;
  #spare: number | null;

  private constructor(s: Uint32Array, spare: number | null) {
    this.#s = s;
    this.#spare = spare;
  }

  /** The stream that a seed and any number of labels name, such as `Rng.of(seed, 'init', 'layers.0.attn.wqkv')`. */
  static of(seed: number, ...labels: (string | number)[]): Rng {
    let x = hashText(JSON.stringify([seed, ...labels]));
    let y = hashText(JSON.stringify([...labels, seed, 'second']));
    const s = new Uint32Array(4);
    for (let i = 0; i < 4; i++) {
      x = (x + 0x9e3779b9) >>> 0;
      y = (y + 0x7f4a7c15) >>> 0;
      let z = (x ^ Math.imul(y, 0x85ebca6b)) >>> 0;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      s[i] = (z ^ (z >>> 15)) >>> 0;
    }
    if (s.every((v) => v === 0)) s[0] = 1;
    return new Rng(s, null);
  }

  /** A stream that goes on where `state()` was taken. */
  static fromState(state: RngState): Rng {
    return new Rng(Uint32Array.from(state.s), state.spare);
  }

  /** The whole state, as JSON-safe numbers. */
  state(): RngState {
    const s = this.#s;
    return { s: [present(s[0]), present(s[1]), present(s[2]), present(s[3])], spare: this.#spare };
  }

  /** A uniform 32-bit unsigned integer. */
  u32(): number {
    const s = this.#s as unknown as [number, number, number, number];
    const r = Math.imul(s[1], 5);
    const result = Math.imul((r << 7) | (r >>> 25), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 11) | (s[3] >>> 21);
    return result;
  }

  /** A uniform number in [0, 1) with 53 random bits. */
  uniform(): number {
    return ((this.u32() >>> 5) * 67108864 + (this.u32() >>> 6)) / 9007199254740992;
  }

  /** A uniform integer in [0, n), without modulo bias. */
  int(n: number): number {
    const limit = 4294967296 - (4294967296 % n);
    let x = this.u32();
    while (x >= limit) x = this.u32();
    return x % n;
  }

  /** A standard normal number (polar method). */
  normal(): number {
    if (this.#spare !== null) {
      const v = this.#spare;
      this.#spare = null;
      return v;
    }
    for (;;) {
      const u = 2 * this.uniform() - 1;
      const v = 2 * this.uniform() - 1;
      const q = u * u + v * v;
      if (q === 0 || q >= 1) continue;
      const f = Math.sqrt((-2 * Math.log(q)) / q);
      this.#spare = v * f;
      return u * f;
    }
  }

  /**
   * Fills `target` with `std` times standard normal numbers: those of as many calls of `normal`, in less time.
   */
  fillNormal(target: Float32Array | Float64Array, std = 1): void {
    const length = target.length;
    let i = 0;
    if (this.#spare !== null && length > 0) target[i++] = std * this.normal();
    // The words of the state as variables that no function shares: most of `u32` is reading and writing them.
    let [a, b, c, d] = Int32Array.from(this.#s) as unknown as [number, number, number, number];
    const drawn = new Int32Array(4) as unknown as [number, number, number, number];
    while (i < length) {
      for (let k = 0; k < 4; k++) {
        const r = Math.imul(b, 5);
        drawn[k] = Math.imul((r << 7) | (r >>> 25), 9);
        const t = b << 9;
        c ^= a;
        d ^= b;
        b ^= c;
        a ^= d;
        c ^= t;
        d = (d << 11) | (d >>> 21);
      }
      const u = (2 * ((drawn[0] >>> 5) * 67108864 + (drawn[1] >>> 6))) / 9007199254740992 - 1;
      const v = (2 * ((drawn[2] >>> 5) * 67108864 + (drawn[3] >>> 6))) / 9007199254740992 - 1;
      const q = u * u + v * v;
      if (q === 0 || q >= 1) continue;
      const f = Math.sqrt((-2 * Math.log(q)) / q);
      target[i++] = std * (u * f);
      if (i < length) target[i++] = std * (v * f);
      else this.#spare = v * f;
    }
    this.#s.set([a, b, c, d]);
  }

  /** A random order of 0 .. n-1: i32 [n]. */
  permutation(n: number): Int32Array {
    const p = Int32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.int(i + 1);
      const t = i32At(p, i);
      p[i] = i32At(p, j);
      p[j] = t;
    }
    return p;
  }
}
