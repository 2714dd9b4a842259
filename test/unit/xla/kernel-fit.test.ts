/** Kernels say why they do not take a node. */
import { describe, expect, it } from 'vitest';
import * as L from '../../../src/graph/index.js';
import { whyNoWindowKernel } from '../../../src/engine/xla/passes/attention-fit.js';
import { TILE_KERNELS } from '../../../src/engine/xla/passes/fuse.js';
import { Placing } from '../../../src/engine/xla/passes/placing.js';
import { fitsCudnn } from '../../../src/engine/xla/stablehlo/cudnn.js';
import { LEAST_LOG_DECAY } from '../../../src/engine/xla/kernels/recurrence/index.js';
import { fitsRecurrenceKernels } from '../../../src/engine/xla/stablehlo/recurrence.js';

const heads = (dtype: 'bf16' | 'f32', T: number, D: number): L.Value => L.input('x', dtype, [1, T, 2, D]);
const window = (q: L.Value, window: number | null, rest: L.Value[] = [], segments = false): true | string =>
  whyNoWindowKernel(q, q, rest, { window, scale: 1, segments });

describe('the table of tile kernels', () => {
  it('has one family for an op', () => {
    const placing = new Placing({ dividesHeads: false }, new Map(), new Map());
    const ops = TILE_KERNELS.flatMap((family) => Object.keys(family.rules(placing)));
    expect(new Set(ops).size).toBe(ops.length);
    expect(ops).toContain('attentionGrad');
  });
});

describe('kernels', () => {
  it('of windows say why they do not take an attention', () => {
    expect(window(heads('bf16', 64, 32), 256)).toBe(true);
    expect(window(heads('bf16', 64, 32), 257)).toBe('a window of 257, more than 256');
    expect(window(heads('bf16', 64, 32), null)).toBe('no window');
    expect(window(heads('f32', 64, 32), 8)).toBe('f32, not bf16');
    expect(window(heads('bf16', 64, 48), 8)).toBe('heads of 48 channels, not 32 or 64');
    expect(window(heads('bf16', 64, 32), 8, [L.input('sinks', 'bf16', [2])])).toBe('sinks, and rows of one document');
    const capped = { window: 8, scale: 1, softcap: 50 };
    expect(whyNoWindowKernel(heads('bf16', 64, 32), heads('bf16', 64, 32), [], capped)).toBe('soft-capped scores');
    const segments = [L.input('segments', 'i32', [1, 64])];
    expect(window(heads('bf16', 64, 128), null, segments, true)).toBe(true);
    expect(window(heads('bf16', 64, 129), null, segments, true)).toBe('heads of 129 channels, more than 128');
  });

  it('of cuDNN say why they do not take an attention', () => {
    const fits = (q: L.Value, softcap: number | null = null): true | string => {
      const { node } = L.attention(q, q, q, { window: null, scale: 1, softcap }).out;
      if (node.op !== 'attention') throw new Error('no attention');
      return fitsCudnn(node);
    };
    expect(fits(heads('bf16', 64, 32))).toBe(true);
    expect(fits(heads('bf16', 64, 32), 50)).toBe('soft-capped scores');
    expect(fits(heads('bf16', 63, 32))).toBe('an odd number of tokens');
    expect(fits(heads('bf16', 64, 12))).toMatch(/^heads of 12 channels, not a multiple of 8 up to \d+$/);
  });

  it('of recurrences say why they do not take one', () => {
    const fits = (T: number, D: number): true | string => {
      const x = heads('bf16', T, D);
      const { node } = L.linearRecurrence(x, x, x, L.input('g', 'f32', [1, T, 2]), { scale: 1 }).out;
      if (node.op !== 'linearRecurrence') throw new Error('no recurrence');
      return fitsRecurrenceKernels(node);
    };
    expect(fits(64, 128)).toBe(true);
    expect(fits(65, 128)).toBe('65 tokens, not a multiple of 64');
    expect(fits(64, 129)).toBe('heads of 129 channels, more than 128');
    const removing = (D: number, leastDecay: number | null): true | string => {
      const x = heads('bf16', 64, D);
      const [g, key, beta] = [
        [1, 64, 2, D],
        [1, 64, 2, D],
        [1, 64, 2],
      ].map((shape) => L.input('x', 'f32', shape));
      const options = { scale: 1, removal: { read: key!, erase: key! }, leastDecay };
      const { node } = L.deltaRule(x, x, x, g!, beta!, options).out;
      if (node.op !== 'deltaRule') throw new Error('no delta rule');
      return fitsRecurrenceKernels(node);
    };
    expect(removing(64, LEAST_LOG_DECAY)).toBe(true);
    expect(removing(65, -0.5)).toBe('heads of 65 channels, more than 64 beside keys of removal');
    expect(removing(64, null)).toBe('keys of removal, and decays of which no bound is promised');
    expect(removing(64, -2.5)).toBe('keys of removal, and log decays down to -2.5, less than -2');
    expect(() => removing(64, 1)).toThrow('leastDecay 1 must be a log decay, a finite number of at most 0');
  });
});
