import { describe, expect, it } from 'vitest';
import { messageOf } from '../../test/support/folders.js';
import { resolveModelConfig } from './config.js';
import { planTransfer } from './transfer.js';

const BASE = {
  ...{ vocabSize: 32, hiddenSize: 16, numLayers: 4, layers: 'full', numHeads: 4, numKvHeads: 2 },
  intermediateSize: 32,
};
const model = (change: object = {}) => resolveModelConfig({ ...BASE, ...change });
const refusal = (change: object, source = {}) => messageOf(() => planTransfer(model(source), model(change), 'RUN'));

describe('planTransfer', () => {
  it('takes everything over where windows, positions and context change', () => {
    const change = {
      layers: 'swa:3 full:nope',
      ropeTheta: 5e5,
      ropeScaling: { type: 'linear', factor: 2 },
      queryScaling: { beta: 0.1, length: 64 },
    };
    const { kept, fresh, left } = planTransfer(model(), model(change), 'RUN');
    expect([fresh, left]).toEqual([[], []]);
    expect(kept).toContain('layers.3.attn.wqkv');
    expect(kept).toContain('head.weight');
  });

  it('takes Mamba over into a configuration resolved from its own, whatever the order of keys', () => {
    const source = model({ layers: 'mamba full', mamba: { norms: 'none' } });
    const { fresh, left } = planTransfer(source, resolveModelConfig({ ...source }), 'RUN');
    expect([fresh, left]).toEqual([[], []]);
  });

  it('starts mixers of another kind anew and says so by name', () => {
    const { kept, fresh, left } = planTransfer(
      model(),
      model({ layers: 'gdn full', gdn: { numHeads: 2, keyDim: 4 } }),
      'RUN',
    );
    const layersOf = (names: readonly string[]) => [...new Set(names.map((name) => name.split('.')[1]))];
    expect(layersOf(fresh)).toEqual(['0', '2']);
    expect(left).toEqual(['layers.0.attn.wqkv', 'layers.0.attn.wo', 'layers.2.attn.wqkv', 'layers.2.attn.wo']);
    expect(kept).toContain('layers.0.norm1.weight');
    expect(kept).toContain('layers.1.attn.wqkv');
  });

  it('starts parts anew that attention gains, and leaves out those that it loses', () => {
    const gained = planTransfer(model(), model({ sinks: true, qkNorm: true }), 'RUN');
    expect(gained.fresh.filter((name) => name.startsWith('layers.0.'))).toEqual([
      'layers.0.attn.qnorm.weight',
      'layers.0.attn.knorm.weight',
      'layers.0.attn.sinks',
    ]);
    const lost = planTransfer(model({ sinks: true }), model(), 'RUN');
    expect(lost.left).toEqual([0, 1, 2, 3].map((layer) => `layers.${layer}.attn.sinks`));
  });

  it.each([
    [{ vocabSize: 33 }, /RUN knows 32 tokens, and model.vocabSize is 33/],
    [{ hiddenSize: 32 }, /tensor embed.weight is \[32, ?16\] in RUN and \[32, ?32\] in the model/],
    [{ intermediateSize: 64 }, /tensor layers.0.mlp.wgateup is \[16, ?64\] in RUN and \[16, ?128\] in the model/],
    [{ numLayers: 8 }, /RUN has no tensor layers.4.norm1.weight, which the model needs \(4 layers there, 8 here\)/],
    [{ numLayers: 2 }, /no place for tensor layers.2.norm1.weight of RUN \(4 layers there, 2 here\)/],
    [{ tieEmbeddings: true }, /no place for tensor head.weight of RUN/],
    // The same shapes mean something else with these.
    [{ numHeads: 2, numKvHeads: 1, headDim: 8 }, /model.numHeads is 2, and 4 in RUN/],
    [{ normOffset: 1 }, /model.normOffset is 1, and 0 in RUN/],
    [{ activation: 'gelu' }, /model.activation is "gelu", and "silu" in RUN/],
  ])('refuses %j', (change, message) => {
    expect(refusal(change)).toMatch(message);
  });

  it('compares the settings of mixers that stay, but for the tokens that they work on at once', () => {
    const gdn = { numHeads: 2, keyDim: 4 };
    const source = { layers: 'gdn full', gdn };
    expect(planTransfer(model(source), model({ ...source, gdn: { ...gdn, chunk: 16 } }), 'RUN').fresh).toEqual([]);
    expect(refusal({ ...source, gdn: { ...gdn, allowNegEigval: true } }, source)).toMatch(/model.gdn is /);
  });
});
