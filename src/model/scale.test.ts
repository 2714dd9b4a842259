import { describe, expect, it } from 'vitest';
import { resolveModelConfig } from './config.js';
import { modelCost } from './cost.js';
import { laptopModel, studyModel, STUDY_PATTERNS } from './presets.js';
import { layerPeriod, scaledModel } from './scale.js';

const parametersOf = (config: Parameters<typeof modelCost>[0]): number => modelCost(config, 1).parameters.total;
const labelsOf = (config: Parameters<typeof modelCost>[0]) => modelCost(config, 1).layers.map(({ label }) => label);

describe('a design at another size', () => {
  it('is itself at its own', () => {
    for (const pattern of ['full', 'swa-8', 'gdn', 'mamba2', 'lightning'] as const) {
      const model = resolveModelConfig(laptopModel(pattern));
      expect(scaledModel(model, parametersOf(model))).toEqual(model);
    }
  });

  it('has the parameters asked for, the layers in their order, and more heads of the same width', () => {
    for (const pattern of Object.keys(STUDY_PATTERNS) as (keyof typeof STUDY_PATTERNS)[]) {
      const model = resolveModelConfig(studyModel('s2', pattern));
      const big = scaledModel(model, 400e6);
      expect(Math.abs(parametersOf(big) / 400e6 - 1), pattern).toBeLessThan(0.01);
      const period = layerPeriod(model);
      expect(big.numLayers % period).toBe(0);
      expect(labelsOf(big).slice(0, period)).toEqual(labelsOf(model).slice(0, period));
      expect(new Set(labelsOf(big))).toEqual(new Set(labelsOf(model)));
      expect([big.headDim, big.numHeads * big.headDim]).toEqual([64, big.hiddenSize]);
      expect(big.numHeads / big.numKvHeads).toBe(model.numHeads / model.numKvHeads);
      // Deeper and wider by about the same factor.
      const [deeper, wider] = [big.numLayers / model.numLayers, big.hiddenSize / model.hiddenSize];
      expect(Math.max(deeper / wider, wider / deeper), pattern).toBeLessThan(2);
      const { gdn, mamba2 } = big;
      if (gdn !== undefined) expect(gdn).toMatchObject({ keyDim: 64, valueDim: 128, numHeads: big.hiddenSize / 128 });
      if (mamba2 !== undefined) expect(mamba2).toMatchObject({ headDim: 64, stateSize: 64 });
    }
  });

  it('is smaller where fewer are asked for', () => {
    const small = scaledModel(resolveModelConfig(studyModel('s2', 'swa-128')), 10e6);
    expect(Math.abs(parametersOf(small) / 10e6 - 1)).toBeLessThan(0.02);
    expect(small.hiddenSize).toBeLessThan(512);
  });

  it('is found among shapes of hundreds of layers, whose parameters follow from those of shallow ones', () => {
    const design = resolveModelConfig(laptopModel('swa-8'));
    const deep = scaledModel(design, 2e12);
    expect(deep.numLayers).toBeGreaterThan(400);
    expect(parametersOf(deep) / 2e12).toBeCloseTo(1, 3);
  });

  it('is refused where no shape is within a quarter of the parameters', () => {
    const model = resolveModelConfig(laptopModel('full'));
    // Two layers of one head and the vocabulary: nothing of it is smaller.
    expect(() => scaledModel(model, 1000)).toThrow(
      /^no shape of it has about 1000 parameters \(the nearest has .*\); ask for more$/,
    );
  });

  it('is refused in one sentence where widths follow no rule', () => {
    const shared = resolveModelConfig({ ...laptopModel('full'), layers: 'shared:full+mamba2' });
    expect(() => scaledModel(shared, 1e6)).toThrow(/^a model with shared blocks is not scaled to other sizes; leave/);
  });
});
