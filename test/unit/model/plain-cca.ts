/** Compressed convolutional attention as plain loops: queries, keys and values of all heads, token by token. */
import type { ModelConfig } from '../../../src/model/index.js';

interface Counts {
  readonly H: number;
  readonly G: number;
}

/**
 * What each token's heads are, positions not applied: `q[t][head][channel]`, and keys and values likewise.
 *
 * @param projected queries, keys, values of the token's own and values for the token after, side by side, with biases
 * @param blank the same of a token before the first, whose input is zero
 * @param numbers parameters of the layer's attention
 */
export function plainCca(
  { headDim: D, cca }: Pick<ModelConfig, 'headDim' | 'cca'>,
  { H, G }: Counts,
  projected: readonly (readonly number[])[],
  blank: readonly number[],
  numbers: (name: string) => Float64Array,
) {
  const { width, headWidth } = cca!;
  const C = (H + G) * D;
  const [taps, bias] = [numbers('conv.weight'), numbers('conv.bias')];
  const [blocks, blockBias, scale] = [numbers('headconv.weight'), numbers('headconv.bias'), numbers('kscale')];
  const input = (t: number, c: number) => (t < 0 ? 0 : projected[t]![c]!);
  const first = (t: number, c: number) => {
    let sum = bias[c]!;
    for (let j = 0; j < width; j++) sum += taps[c * width + j]! * input(t - width + 1 + j, c);
    return sum;
  };
  const second = (t: number, c: number) => {
    const head = Math.floor(c / D);
    let sum = blockBias[c]!;
    for (let i = 0; i < D; i++)
      for (let j = 0; j < headWidth; j++)
        sum += blocks[(c * D + i) * headWidth + j]! * first(t - headWidth + 1 + j, head * D + i);
    return sum;
  };
  const unit = (x: number[], by: number) => {
    const length = Math.sqrt(x.reduce((s, v) => s + v * v, 0));
    return x.map((v) => (v * Math.sqrt(D) * by) / length);
  };
  const channels = Array.from({ length: D }, (_, i) => i);
  const perKv = H / G;
  const meanOf = (t: number, h: number, i: number) =>
    (input(t, h * D + i) + input(t, (H + Math.floor(h / perKv)) * D + i)) / 2;
  const keyMean = (t: number, g: number, i: number) => {
    let sum = 0;
    for (let h = g * perKv; h < (g + 1) * perKv; h++) sum += meanOf(t, h, i);
    return sum / perKv;
  };
  const heads = <T>(n: number, of: (h: number) => T) => Array.from({ length: n }, (_, h) => of(h));
  return projected.map((own, t) => {
    const half = (G * D) / 2;
    const values = [...own.slice(C, C + half), ...(projected[t - 1] ?? blank).slice(C + half)];
    const qOf = (h: number) => channels.map((i) => second(t, h * D + i) + meanOf(t, h, i));
    const kOf = (g: number) => channels.map((i) => second(t, (H + g) * D + i) + keyMean(t, g, i));
    return {
      q: heads(H, (h) => unit(qOf(h), 1)),
      k: heads(G, (g) => unit(kOf(g), scale[g]!)),
      v: heads(G, (g) => values.slice(g * D, (g + 1) * D)),
    };
  });
}
