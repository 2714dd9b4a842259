import { describe, expect, it } from 'vitest';
import { seriesStyles } from './plot.js';
import { rangesFigure } from './range-plots.js';

const designs = seriesStyles(['a design']).map((style) => ({ style, runs: [{ record: 'one' }] }));
/** A panel for each name, with ranges up to 65,536 tokens. */
const drawn = (names: readonly string[]) =>
  rangesFigure(
    {
      ...{ form: 'ranges', title: 'Loss', axis: 'loss', xLabel: 'tokens', isShare: false, caption: () => '' },
      mark: () => 4096,
      curves: () =>
        names.map((panel) => ({
          panel,
          points: Array.from({ length: 16 }, (_, i) => ({ from: 2 ** i + 1, to: 2 ** (i + 1), value: 3 - i / 10 })),
        })),
    },
    { designs, last: () => ({}) },
    'caption',
  );

describe('curves over ranges of tokens', () => {
  it('have an axis that doubles, in units of 1,024 from there on', () => {
    const ticks = [...drawn(['as trained']).matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text]) => text);
    expect(ticks).toContain('256');
    expect(ticks).toContain('4k');
    expect(ticks.filter((text) => /^1024$|\d\.\d+ k/.test(text ?? ''))).toEqual([]);
  });

  it('stand in one plot of half the page, or in a panel for each variant', () => {
    expect(drawn(['as trained'])).toMatch(/^<figure class="half"/);
    expect(drawn(['as trained'])).not.toContain('class="panel"');
    const two = drawn(['as trained', 'YaRN 4']);
    expect([two.startsWith('<figure class="panels"'), two.split('class="panel"')]).toEqual([
      true,
      expect.objectContaining({ length: 3 }),
    ]);
  });
});
