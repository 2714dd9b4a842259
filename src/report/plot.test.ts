import { parseHTML } from 'linkedom';
import { expect, it } from 'vitest';
import { drawPlot, Plot } from './plot.js';

it('keeps labels as they are, whatever they look like', () => {
  const label = '<script>alert(1)</script> a="0.123456" & \'q\' <style>x</style> 1.23456';
  const svg = drawPlot(label, { marks: [Plot.text([label], { text: (d: string) => d, title: (d: string) => d })] });
  expect(svg).not.toMatch(/<script|<style/);
  expect(svg).toMatch(/^<svg role="img" /);
  const read = parseHTML(`<html><body>${svg}</body></html>`) as unknown as {
    document: { querySelector(selector: string): { textContent: string; getAttribute(name: string): string } };
  };
  expect(read.document.querySelector('svg').getAttribute('aria-label')).toBe(label);
  expect(read.document.querySelector('svg title').textContent).toBe(label);
});

it('gives coordinates two decimals', () => {
  const svg = drawPlot('p', {
    marks: [
      Plot.dot([
        [1 / 3, 1],
        [1, 2],
        [2, 3 + 1 / 7],
      ]),
    ],
  });
  expect(svg).toMatch(/cy="206\.66"/);
  expect(svg).not.toMatch(/\d\.\d{3,}/);
});
