import { expect, it } from 'vitest';
import { attention } from './composites.js';

it('attention on scores that are no numbers gives NaN, as on every engine', () => {
  const array = (...data: number[]) => ({ shape: [1, 2, 1, 1], data: Float64Array.from(data) });
  const [out] = attention([array(1, NaN), array(1, 1), array(3, 4)], { window: null, scale: 1 });
  expect([...(out?.data ?? [])]).toEqual([3, NaN]);
  const [infinite] = attention([array(1, -Infinity), array(1, 1), array(3, 4)], { window: 1, scale: 1 });
  expect([...(infinite?.data ?? [])]).toEqual([3, NaN]);
});
