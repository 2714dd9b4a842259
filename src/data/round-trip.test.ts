/** Whatever texts are written as JSON lines or as text, the same are read, wherever files are cut. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { Utf8Check } from '../core/index.js';
import { listInputs, planChunks, readRange, unpackInputs, type ReadOptions } from './documents.js';

const folder = mkdtempSync(join(tmpdir(), 'longsight-round-trip-'));
afterAll(() => rmSync(folder, { recursive: true }));

const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.constantFrom('\n', '\r', ' ', '\ufeff', '"', '\\', 'é', '🙂', 'a') }),
);

async function read(path: string, chunkBytes: number, options: ReadOptions): Promise<string[]> {
  const inputs = await unpackInputs(await listInputs([path], options.field), options.field, folder);
  const texts: string[] = [];
  for (const range of planChunks(inputs, chunkBytes, options.cut).flat()) {
    for await (const piece of readRange(inputs, range, options, { nullTexts: 0 })) {
      if (piece.first) texts.push('');
      texts.push((texts.pop() ?? '') + piece.text);
    }
  }
  return texts;
}

describe('texts', () => {
  it('come back from JSON lines, cut anywhere', async () => {
    const path = join(folder, 'docs.jsonl');
    await fc.assert(
      fc.asyncProperty(fc.array(text, { maxLength: 8 }), fc.integer({ min: 1, max: 60 }), async (texts, chunkBytes) => {
        writeFileSync(path, texts.map((t) => `${JSON.stringify({ id: 1, text: t })}\n`).join(''));
        const got = await read(path, chunkBytes, { field: 'text', invalid: 'refuse', cut: false });
        expect(got).toEqual(texts.filter((t) => t !== ''));
      }),
      { numRuns: 25 },
    );
  });

  it('come back from text files, cut anywhere', async () => {
    const path = join(folder, 'doc.txt');
    await fc.assert(
      fc.asyncProperty(text, fc.integer({ min: 1, max: 40 }), async (whole, chunkBytes) => {
        writeFileSync(path, whole);
        const got = await read(path, chunkBytes, { field: 'text', invalid: 'refuse', cut: true });
        expect(got.join('')).toBe(whole);
      }),
      { numRuns: 25 },
    );
  });

  it('are checked as UTF-8 alike, however the bytes come', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 12 }),
      text.map((t) => Uint8Array.from(Buffer.from(t))),
    );
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 4 }), fc.integer({ min: 1, max: 5 }), (parts, size) => {
        const all = Buffer.concat(parts);
        const firstWrong = (step: number) => {
          const check = new Utf8Check();
          for (let at = 0; at < all.length; at += step) {
            const wrong = check.add(all.subarray(at, at + step));
            if (wrong !== null) return wrong;
          }
          return check.add(new Uint8Array(0), true);
        };
        const expected = firstWrong(Math.max(1, all.length));
        expect(firstWrong(size)).toBe(expected);
        expect(expected === null).toBe(Buffer.from(all.toString()).equals(all));
      }),
      { numRuns: 300 },
    );
  });
});
