import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openTokenizer } from '../../../src/checkpoint/index.js';
import { Rng } from '../../../src/core/index.js';
import { ByteNeedleSchema } from '../../../src/data/index.js';
import { needleSamples, tokenNeedleTask } from '../../../src/eval/index.js';

const tokenizer = openTokenizer(join(import.meta.dirname, '..', '..', 'data', 'tokenizer'));
const task = tokenNeedleTask(tokenizer, ByteNeedleSchema.parse({}));

describe('needles in the tokens of a tokenizer', () => {
  it('have the length that is asked for, hide the answer where they say, and ask for it at the end', () => {
    const depths = [0, 0.3, 0.7, 1];
    for (const length of [task.minLength, 400]) {
      const samples = needleSamples(task, { label: 'test', length, depths, count: 12 });
      for (const s of samples) {
        expect(s.tokens).toHaveLength(length);
        const text = tokenizer.decode(s.tokens);
        const value = /([0-9]+)$/.exec(text)?.[1] ?? '';
        expect(value).toMatch(/^[1-9][0-9]{4}$/);
        expect(tokenizer.decode(s.tokens.subarray(...s.needleSpan))).toContain(value);
        expect(tokenizer.decode(s.tokens.subarray(...s.contextSpan))).toContain(`is: ${value}.`);
        expect(tokenizer.decode(s.answer)).toContain(value);
        expect([...s.tokens.subarray(s.queryPosition + 1)]).toEqual([...s.answer]);
        expect(text.split(value)).toHaveLength(3);
      }
      expect(new Set(samples.map((s) => s.answer.length)).size).toBe(1);
      const [start] = samples.map((s) => s.contextSpan[0]);
      expect(start).toBeLessThan(16);
      expect(samples[3]?.contextSpan[1]).toBeGreaterThan((samples[3]?.queryPosition ?? 0) / 2);
    }
  });

  it('hide a value that is named', () => {
    const sample = task.draw(Rng.of(1, 'x'), { length: 300, depth: 0.5, value: '1234567' });
    expect(sample.tokens).toHaveLength(300);
    expect(tokenizer.decode(sample.tokens).split('1234567')).toHaveLength(3);
  });
});
