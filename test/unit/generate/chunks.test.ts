import { describe, expect, it } from 'vitest';
import { chunkLengths, chunksOf, slotsFor } from '../../../src/generate/chunks.js';

const sizes = { batchSize: 1, maxNew: 8 };

describe('lengths of chunks', () => {
  it('are one for short prompts: the power of two that holds them', () => {
    for (const [maxPrompt, only] of [
      [1, 8],
      [9, 16],
      [128, 128],
    ] as const) {
      expect(chunkLengths({ ...sizes, maxPrompt }, false)).toEqual({ large: only, small: only });
    }
  });

  it('keep the tokens of a chunk of all sequences the same, and what is left over small', () => {
    expect(chunkLengths({ ...sizes, maxPrompt: 1100 }, false)).toEqual({ large: 1024, small: 128 });
    expect(chunkLengths({ ...sizes, batchSize: 8, maxPrompt: 1100 }, false)).toEqual({ large: 256, small: 128 });
    expect(chunkLengths({ ...sizes, batchSize: 16, maxPrompt: 4096 }, true)).toEqual({ large: 1024, small: 128 });
    expect(chunkLengths({ ...sizes, maxPrompt: 65_536 }, true)).toEqual({ large: 16_384, small: 1024 });
  });

  it('keep masks small on the host, however long prompts are', () => {
    expect(chunkLengths({ ...sizes, maxPrompt: 65_528 }, false)).toEqual({ large: 256, small: 128 });
    expect(chunkLengths({ ...sizes, maxPrompt: 1_000_000 }, false)).toEqual({ large: 128, small: 128 });
  });

  it('are what is asked for', () => {
    expect(chunkLengths({ ...sizes, maxPrompt: 5000, chunk: 7 }, true)).toEqual({ large: 7, small: 7 });
    expect(() => chunkLengths({ ...sizes, maxPrompt: 5000, chunk: 0 }, true)).toThrow(
      'chunk must be a whole number of at least 1, got 0',
    );
  });
});

describe('chunks of a prompt', () => {
  it('fill its slots, the small ones first', () => {
    const lengths = { large: 512, small: 128 };
    for (const length of [1, 128, 129, 511, 512, 513, 700, 1024, 1025]) {
      const slots = slotsFor(length, lengths);
      const chunks = chunksOf(slots, lengths);
      expect(slots - length).toBeGreaterThanOrEqual(0);
      expect(slots - length).toBeLessThan(128);
      expect(chunks.reduce((a, b) => a + b, 0)).toBe(slots);
      expect(chunks).toEqual([...chunks].sort((a, b) => a - b));
      expect(chunks.filter((n) => n === 128).length).toBeLessThan(4);
    }
  });
});
