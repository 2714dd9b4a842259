/** Positions changed at inference, against models that have them in their configuration from the start. */
import { describe, expect, it } from 'vitest';
import { varyPositions, type PositionVariant } from '../../../src/analysis/index.js';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import { input, makeGraph } from '../../../src/graph/index.js';
import {
  forward,
  parameterInputs,
  parameterSpecs,
  resolveModelConfig,
  type ModelConfig,
  type ModelInput,
} from '../../../src/model/index.js';
import { CASES, randomParameters, randomTokens, SMALL } from '../model/cases.js';

const TRAINED = 8;
const TOKENS = 13;

function logitsOf(config: ModelConfig, length = TOKENS): Float64Array {
  const tokens = input('tokens', 'i32', [1, length]);
  const values = parameterInputs(config, 'f64');
  const { logits } = forward(config, values, tokens, {});
  const results = evaluateReference(makeGraph({ ...Object.fromEntries(values), tokens }, { logits }), {
    ...Object.fromEntries(randomParameters(config)),
    tokens: tensorFrom('i32', [1, length], randomTokens(config, length)),
  });
  return toNumbers(results['logits'] as HostTensor);
}

const model = (given: Partial<ModelInput>): ModelConfig => resolveModelConfig({ ...SMALL, headDim: 8, ...given });
const yarn = { type: 'yarn', factor: 4, originalLength: TRAINED } as const;
const localRope = { theta: 10_000 };
const positionBias = { width: 2, extent: 8 };
const grow = { beta: 1 / Math.log(TRAINED), length: TRAINED, nope: true };
const BASE: PositionVariant = { kind: 'base', theta: 90 };
const YARN: PositionVariant = { kind: 'yarn', factor: 4 };
const LOG: PositionVariant = { kind: 'temperature', law: 'log' };
const GROW: PositionVariant = { kind: 'temperature', law: 'grow' };

describe('positions changed at inference equal those of a configuration', () => {
  it.each<[string, Partial<ModelInput>, PositionVariant, Partial<ModelInput>]>([
    ['base, full', { layers: 'full' }, BASE, { layers: 'full', ropeTheta: 90 }],
    ['base, beside windows', { layers: 'swa:4 full' }, BASE, { layers: 'swa:4 full:theta=90' }],
    ['base, window below', { layers: 'swa:7 full' }, BASE, { layers: 'swa:7 full:theta=90' }],
    ['base, window of the length', { layers: 'swa:8 full' }, BASE, { layers: 'swa:8 full:theta=90' }],
    ['base, window above', { layers: 'swa:9 full' }, BASE, { layers: 'swa:9:theta=90 full:theta=90' }],
    ['base, chunk of the length', { layers: 'chunk:8 full' }, BASE, { layers: 'chunk:8 full:theta=90' }],
    ['base, by heads', { layers: 'swa:4/full:rope=0.5' }, BASE, { layers: 'swa:4/full:rope=0.5:theta=90' }],
    ['YaRN, full', { layers: 'full' }, YARN, { layers: 'full', ropeScaling: yarn }],
    ['YaRN, a share', { layers: 'full:rope=0.5' }, YARN, { layers: 'full:rope=0.5', ropeScaling: yarn }],
    [
      'YaRN, beside windows',
      { layers: 'swa:4 full', ropeDim: 6 },
      YARN,
      { layers: 'swa:4:local full', ropeDim: 6, localRope, ropeScaling: yarn },
    ],
    ['temperature log', { layers: 'swa:4 full:nope' }, LOG, { layers: 'swa:4 full:nope:temp=log' }],
    ['temperature grow', { layers: 'swa:4 full:nope' }, GROW, { layers: 'swa:4 full:nope', queryScaling: grow }],
  ])('%s', (_, given, variant, wanted) => {
    const plain = model(given);
    const varied = varyPositions(plain, variant, TRAINED);
    expect(parameterSpecs(varied)).toEqual(parameterSpecs(plain));
    const found = logitsOf(varied);
    expect(found).toEqual(logitsOf(model(wanted)));
    expect(found).not.toEqual(logitsOf(plain));
  });

  it('a growing temperature changes nothing up to the length trained on, and the first position behind it', () => {
    const plain = model({ layers: 'swa:4 full:nope' });
    const varied = varyPositions(plain, GROW, TRAINED);
    for (const length of [TRAINED - 1, TRAINED]) expect(logitsOf(varied, length)).toEqual(logitsOf(plain, length));
    const [a, b] = [logitsOf(varied, TRAINED + 1), logitsOf(plain, TRAINED + 1)];
    const { vocabSize } = plain;
    expect(a.subarray(0, TRAINED * vocabSize)).toEqual(b.subarray(0, TRAINED * vocabSize));
    expect(a.subarray(TRAINED * vocabSize)).not.toEqual(b.subarray(TRAINED * vocabSize));
  });

  it('of any model are a valid model, or refused', () => {
    let valid = 0;
    for (const [name, given] of CASES) {
      const plain = resolveModelConfig({ ...SMALL, ...given });
      for (const variant of [BASE, YARN, LOG, GROW]) {
        try {
          expect(parameterSpecs(varyPositions(plain, variant, TRAINED)), name).toEqual(parameterSpecs(plain));
          valid++;
        } catch (error) {
          expect((error as Error).message, name).toMatch(/leave (it|temperature \w+) out|leave it out|ropeScaling/);
        }
      }
    }
    expect(valid).toBeGreaterThan(60);
  });
});

describe('positions that cannot be changed are refused', () => {
  it.each<[string, Partial<ModelInput>, PositionVariant, RegExp]>([
    ['no positions', { layers: 'swa:4 full:nope' }, BASE, /no heads with rotary positions that see farther than 8/],
    ['windows alone', { layers: 'swa:8' }, YARN, /YaRN 4 would change nothing/],
    ['no layers without positions', { layers: 'swa:4 full' }, LOG, /\(NoPE\).*temperature log would change nothing/],
    ['scaled already', { layers: 'full', ropeScaling: yarn }, YARN, /scaled already \(yarn\)/],
    ['a bias of each query', { layers: 'full:nope', positionBias }, LOG, /does not go with positions as a bias/],
    ['a temperature', { layers: 'full:nope:temp=log' }, LOG, /have a temperature already/],
    ['queries that grow', { layers: 'full:nope', queryScaling: grow }, GROW, /some that grow already/],
    ['windows without positions', { layers: 'swa:4:nope full:nope' }, GROW, /see no farther than 8 tokens/],
    ['full layers with local positions', { layers: 'full full:local', localRope }, YARN, /full layers have local/],
    [
      'windows of two kinds',
      { numLayers: 3, layers: 'swa:4 swa:4:local full', localRope },
      YARN,
      /positions of two kinds/,
    ],
  ])('%s', (_, given, variant, message) => {
    expect(() => varyPositions(model(given), variant, TRAINED)).toThrow(message);
  });

  it('a temperature that grows from one token on', () => {
    const plain = model({ layers: 'full:nope' });
    expect(() => varyPositions(plain, GROW, 1)).toThrow(/temperature grow divides by the logarithm/);
    expect(varyPositions(plain, GROW, 2).queryScaling).toMatchObject({ length: 2 });
  });
});
