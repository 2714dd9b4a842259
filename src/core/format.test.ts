import { expect, it } from 'vitest';
import { formatBytes, formatFactor, formatRatio } from './format.js';

it.each([
  [2.44, '2.4'],
  [0.53, '0.53'],
  [1.0089, '1.01'],
  [0.9986, '0.999'],
  [1.00012, '1.0'],
  [1, '1.0'],
  [312.4, '312'],
])('prints the ratio %d as %s, so that one beside 1 is on its side of 1', (ratio, text) => {
  expect(formatRatio(ratio)).toBe(text);
  expect(formatFactor(ratio)).toBe(`${text} ×`);
});

it.each([
  [0, '0 bytes'],
  [1023, '1023 bytes'],
  [1024, '1.00 KiB'],
  [1310720, '1.25 MiB'],
  [2 ** 30 - 2 ** 20, '1023 MiB'],
  [30 * 2 ** 30, '30.0 GiB'],
  [2 ** 50, '1.00 PiB'],
])('prints %d bytes as %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});
