import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DataError } from './errors.js';
import { clip, listed, oneLine, printable, quoted, showValue } from './messages.js';

describe('messages', () => {
  it('are one line without control characters or marks of direction, whatever they quote', () => {
    expect(new DataError('a\r\n  b\u001b[31m\u0085 \u202ec\u2028d\ud800').message).toBe(
      'a b\\u001b[31m\\u0085 \\u202ec d\\ud800',
    );
    expect(printable('a\nb\tc\u2066', '\n')).toBe('a\nb\\u0009c\\u2066');
    expect(printable('ö 漢 🙂 "x"')).toBe('ö 漢 🙂 "x"');
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(oneLine(text)).not.toMatch(/[\p{Cc}\p{Bidi_Control}\u2028\u2029]/u);
      }),
    );
  });

  it('quote at most 80 characters of a value', () => {
    expect(clip('🙂'.repeat(80))).toBe('🙂'.repeat(80));
    expect(clip('🙂'.repeat(81))).toBe(`${'🙂'.repeat(77)}...`);
    expect(clip('a'.repeat(10_000_000))).toBe(`${'a'.repeat(77)}...`);
    expect(showValue('a\n"')).toBe('"a\\n\\""');
    expect(showValue('x'.repeat(1e6))).toBe(`"${'x'.repeat(76)}...`);
    expect(['x'.repeat(77), 'x'.repeat(78), 'x'.repeat(79)].map((text) => showValue(text).length)).toEqual([
      79, 80, 80,
    ]);
    expect([undefined, null, true, 1e300, [1, 2], {}, 5n].map(showValue)).toEqual([
      ...['nothing', 'null', 'true', '1e+300', 'a list of 2', 'an object', '5'],
    ]);
  });

  it('list at most 20 names', () => {
    expect(quoted(['a'])).toBe('"a"');
    expect(quoted(['a', 'b', 'c\n'])).toBe('"a", "b" and "c\\u000a"');
    const many = Array.from({ length: 100_000 }, (_, i) => `k${i}`);
    expect(quoted(many)).toMatch(/^"k0", .*"k19" and 99980 more$/);
    expect(listed(many)).toMatch(/^k0, .*k19, and 99980 more$/);
  });

  it('have at most 2,000 characters; the start and the end stay', () => {
    const { message } = new DataError(`start ${'x'.repeat(1e6)} end`);
    expect(message).toHaveLength(2000);
    expect(message).toMatch(/^start x+ \.\.\. x+ end$/);
  });
});
