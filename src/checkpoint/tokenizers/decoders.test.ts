import { describe, expect, it } from 'vitest';
import { decoderOf } from './decoders.js';

describe('byte fallback', () => {
  it('gives one U+FFFD a token for a run that is no UTF-8, however long the run', () => {
    const decode = decoderOf({ type: 'ByteFallback' });
    expect(decode(['a', '<0xFF>', '<0xFE>', 'b'])).toBe('a\ufffd\ufffdb');
    const length = 300_000;
    expect(decode(Array.from({ length }, () => '<0xFF>'))).toHaveLength(length);
  });
});
