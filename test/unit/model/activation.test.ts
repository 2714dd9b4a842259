import { describe, expect, it } from 'vitest';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import { input, makeGraph } from '../../../src/graph/index.js';
import { erf } from '../../../src/model/mixers/activations.js';
import { erf as integral } from './plain-parts.js';

describe('erf', () => {
  it('is the integral, to the precision of f32, everywhere', () => {
    const at = Array.from({ length: 121 }, (_, i) => (i - 60) / 10);
    const x = input('x', 'f64', [at.length]);
    const result = evaluateReference(makeGraph({ x }, { y: erf(x) }), { x: tensorFrom('f64', [at.length], at) });
    toNumbers(result['y'] as HostTensor).forEach((y, i) =>
      expect(Math.abs(y - integral(at[i] ?? NaN))).toBeLessThan(1e-7),
    );
  });
});
