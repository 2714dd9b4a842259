import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { messageOf, temporaryFolder } from '../../test/support/folders.js';
import { canonicalJson } from './canonical.js';
import { fingerprint, fingerprintBytes, fingerprintFile } from './fingerprint.js';

/** Values as they are after a trip through JSON. */
const json = fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as unknown);

describe('fingerprints of values', () => {
  it('are equal for equal values only', () => {
    fc.assert(
      fc.property(json, json, (a, b) => {
        expect(fingerprint(a) === fingerprint(b)).toBe(isDeepStrictEqual(a, b));
        expect(fingerprint(structuredClone(a))).toBe(fingerprint(a));
      }),
    );
  });

  it.each([
    [1, '1'],
    [-1, 1],
    [null, 'null'],
    [null, NaN],
    [Infinity, -Infinity],
    [Infinity, '#Infinity'],
    [[], {}],
    [
      [1, 2],
      [2, 1],
    ],
    [['a,b'], ['a', 'b']],
    [[undefined], []],
    ['\ud800', '\ud801'],
    ['\ud800', '\ufffd'],
    [Uint8Array.of(1, 0), Uint16Array.of(1)],
    [Uint8Array.of(1), [1]],
  ])('tell %j from %j', (a, b) => {
    expect(fingerprint(a)).not.toBe(fingerprint(b));
  });

  it('do not depend on the order of keys, nor on keys without a value', () => {
    expect(fingerprint({ b: [{ y: 1, x: 2 }], a: undefined })).toBe(fingerprint({ b: [{ x: 2, y: 1 }] }));
    expect(canonicalJson({ b: 1, a: 'x' })).toBe('{"a":"x","b":1}');
    expect(() => fingerprint({ f: () => 1 })).toThrow('a function has no canonical text');
  });
});

describe('fingerprints of files', () => {
  it('are SHA-256 of their bytes, whatever their name and time', () => {
    const folder = temporaryFolder();
    const bytes = Buffer.alloc(9 * 2 ** 20 + 5, 'longsight');
    for (const name of ['a', 'b']) writeFileSync(join(folder, name), bytes);
    utimesSync(join(folder, 'b'), 1, 1);
    const expected = createHash('sha256').update(bytes).digest('hex');
    expect(fingerprintFile(join(folder, 'a'))).toBe(expected);
    expect(fingerprintFile(join(folder, 'b'))).toBe(expected);
    expect(fingerprintBytes(bytes)).toBe(expected);
    bytes[bytes.length - 1] = 0;
    writeFileSync(join(folder, 'a'), bytes);
    expect(fingerprintFile(join(folder, 'a'))).not.toBe(expected);
    expect(messageOf(() => fingerprintFile(join(folder, 'none')))).toMatch(/^cannot read .*none: a part of the path/);
  });
});
