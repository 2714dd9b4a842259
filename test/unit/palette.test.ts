/** The colors of designs can be told apart by everybody, on both backgrounds. */
import { describe, expect, it } from 'vitest';
import { STYLE } from '../../src/report/report-style.js';

type Triple = readonly [number, number, number];

/**
 * Linear RGB as it is seen without one kind of cone: Machado, Oliveira and Fernandes, "A Physiologically-based Model for
 * Simulation of Color Vision Deficiency" (2009), severity 1.
 */
const EYES: Readonly<Record<string, readonly Triple[]>> = {
  all: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopia: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};

const times = (rows: readonly Triple[], [r, g, b]: Triple): Triple => {
  const [x = 0, y = 0, z = 0] = rows.map((row) => row[0] * r + row[1] * g + row[2] * b);
  return [x, y, z];
};

const hex = (color: string): Triple => {
  const [r = 0, g = 0, b = 0] = [1, 3, 5]
    .map((at) => Number.parseInt(color.slice(at, at + 2), 16) / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return [r, g, b];
};

/** Linear sRGB in CIE L*a*b* under D65. */
function lab(rgb: Triple): Triple {
  const curve = (t: number): number => (t > 216 / 24389 ? Math.cbrt(t) : ((24389 / 27) * t + 16) / 116);
  const [x, y, z] = times(
    [
      [0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047],
      [0.2126729, 0.7151522, 0.072175],
      [0.0193339 / 1.08883, 0.119192 / 1.08883, 0.9503041 / 1.08883],
    ],
    rgb,
  );
  return [116 * curve(y) - 16, 500 * (curve(x) - curve(y)), 200 * (curve(y) - curve(z))];
}

const seen = (color: string, eyes: readonly Triple[]): Triple => {
  const [r, g, b] = times(eyes, hex(color));
  const clip = (value: number) => Math.min(1, Math.max(0, value));
  return lab([clip(r), clip(g), clip(b)]);
};

const luminance = (color: string): number => times([[0.2126, 0.7152, 0.0722]], hex(color))[0];
const contrast = (a: string, b: string): number => {
  const [x, y] = [luminance(a), luminance(b)];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
};

/** The colors of a theme by their names in the style sheet. */
const themeOf = (name: string): ReadonlyMap<string, string> => {
  const rule = STYLE.split('\n').find((line) => line.startsWith(`:root[data-theme="${name}"]`)) ?? '';
  const block = rule + STYLE.slice(STYLE.indexOf(rule) + rule.length).split('}')[0];
  return new Map([...block.matchAll(/--([a-z0-9]+): (#[0-9a-f]{6})/g)].map(([, key = '', color = '']) => [key, color]));
};

describe.each(['light', 'dark'])('the colors of designs, %s', (name) => {
  const theme = themeOf(name);
  const colors = [...theme].filter(([key]) => /^c\d$/.test(key)).map(([, color]) => color);

  it.each(Object.entries(EYES))('differ for eyes with cones: %s', (_, eyes) => {
    expect(colors).toHaveLength(8);
    for (const [i, a] of colors.entries())
      for (const b of colors.slice(0, i)) {
        const [p, q] = [seen(a, eyes), seen(b, eyes)];
        // A difference of 2.3 is just to be noticed side by side.
        expect(Math.hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2]), `${a} and ${b}`).toBeGreaterThan(20);
      }
  });

  it('stand out from the page and its cards', () => {
    for (const color of colors)
      for (const ground of ['bg', 'card']) expect(contrast(color, theme.get(ground) ?? ''), color).toBeGreaterThan(3);
  });
});
