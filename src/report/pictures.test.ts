/** What readers are told of layers. */
import { describe, expect, it } from 'vitest';
import { resolveModelConfig } from '../model/index.js';
import { comparedHtml } from './pictures.js';
import { seriesStyles } from './plot.js';

/** The page's part about one design on sequences of 256 tokens. */
function about(layers: string): string {
  const [style] = seriesStyles(['design']);
  if (style === undefined) throw new Error('there is a style');
  const { layers: plans } = resolveModelConfig({ layers, vocabSize: 16, hiddenSize: 32, numHeads: 2 });
  return comparedHtml([{ style, model: { layers: plans, seqLen: 256 } }], [], 1);
}
const widths = (html: string) => [...html.matchAll(/width:([\d.]+)%/g)].map(([, width]) => Number(width));

describe('the designs of a report', () => {
  it('shows the keys that the last token of a sequence sees, of chunks those of its own', () => {
    // Input at the bottom: 16 keys, all 256, and 256 % 100 = 56 of a chunk.
    expect(widths(about('swa:16 full chunk:100'))).toEqual(
      [56, 256, 16].map((keys) => (100 * keys) / 256).map(oneDigit),
    );
  });

  it('has a word for each kind of layer that there is, and for no other', () => {
    const words = (layers: string) => [...about(layers).matchAll(/<dt>([^<]*)<\/dt>/g)].map(([, word]) => word);
    const common = ['token'];
    expect(words('2*swa:16 full:nope')).toEqual(['full', 'swa:16', 'nope', ...common]);
    expect(words('2*chunk:64')).toEqual(['chunk:64', ...common]);
    expect(words('swa:8~32 swa:32~full')).toEqual(['swa:8~32', 'swa:32~full', ...common]);
  });
});

const oneDigit = (share: number): number => Number(share.toFixed(1));
