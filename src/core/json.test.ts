import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { DataError, StoreError } from './errors.js';
import { parseJson, parseJsonLines, readJson, timesGiven } from './json.js';
import { checkMemory, sizeUpTo } from './limits.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'longsight-json-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const message = (read: () => unknown): string => {
  try {
    read();
  } catch (error) {
    return String(error);
  }
  return 'nothing was thrown';
};
const nested = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`;

describe('JSON', () => {
  it('nests at most 500 levels; brackets in texts do not count', () => {
    expect(JSON.stringify(parseJson(nested(500), 'f.json'))).toBe(nested(500));
    expect(() => parseJson(nested(501), 'f.json')).toThrow('f.json nests lists and objects deeper than 500 levels');
    expect(() => parseJson(nested(1e6), 'f.json')).toThrow(StoreError);
    expect(parseJson(JSON.stringify(['\\"', '['.repeat(1000)]), 'f.json')).toEqual(['\\"', '['.repeat(1000)]);
  });

  it('is no file with bytes that are no UTF-8, and names what cannot be read', () => {
    const path = join(folder, 'a.json');
    writeFileSync(path, Buffer.from([0x22, 0xff, 0x22]));
    expect(message(() => readJson(path))).toBe(`StoreError: ${path} is not valid JSON: byte 1 is not valid UTF-8`);
    expect(message(() => readJson(join(folder, 'b.json')))).toMatch(/^StoreError: cannot read .*b\.json/);
  });
});

describe('lines of JSON', () => {
  const row = z.looseObject({ index: z.int(), names: z.array(z.string()).default([]) });
  const lines = (text: string) =>
    parseJsonLines(text, 'f.jsonl', row, { origin: 'user', remedy: '; correct the line' }).map(({ value }) => value);

  it('are objects as a schema reads them; blank lines are passed over', () => {
    expect(lines('{"index":0}\n\n  \r\n{"index":1,"names":["a"],"b":2}\n')).toEqual([
      { index: 0, names: [] },
      { index: 1, names: ['a'], b: 2 },
    ]);
  });

  it.each([
    ['null', 'f.jsonl:2 must be a JSON object, got null; correct the line'],
    ['[1]', 'f.jsonl:2 must be a JSON object, got a list of 1; correct the line'],
    ['{"index":"a"}', 'f.jsonl:2: index must be a number, got "a"; correct the line'],
    ['{"index":1e999}', 'f.jsonl:2: index must be a number, got Infinity; correct the line'],
    ['{"index":1,"names":["a",{}]}', 'f.jsonl:2: names[1] must be a string, got an object; correct the line'],
    ['{"index":1,"a":{"b":1,"b":2}}', 'f.jsonl:2 has "b" twice; keep one'],
    ['{"index":1,"\\u0061":1,"a":2}', 'f.jsonl:2 has "a" twice; keep one'],
    ['{"index":1,"a":[{"b":"c"},{"c":"b","c":"b"}]}', 'f.jsonl:2 has "c" twice; keep one'],
    [`{"index":1,"a":${nested(600)}}`, 'f.jsonl:2 nests lists and objects deeper than 500 levels; correct the line'],
  ])('%s is refused by file, line and field', (line, said) => {
    expect(message(() => lines(`{"index":0}\n${line}\n`))).toBe(`DataError: ${said}`);
  });

  it('may hold texts of tens of megabytes', () => {
    const text = 'x'.repeat(2e7);
    expect(lines(JSON.stringify({ index: 1, text }))).toHaveLength(1);
    expect(timesGiven(`{"a":"${text}","text":"a","a":1}`, 'a')).toBe(2);
    expect(timesGiven('{"b":{"a":1},"a":["a"],"c":"a"}', 'a')).toBe(1);
  });

  it('get the error of their origin', () => {
    expect(() => parseJsonLines('x', 'f', row, { origin: 'user' })).toThrow(DataError);
    expect(() => parseJsonLines('x', 'f', row, { origin: 'store' })).toThrow(StoreError);
  });
});

describe('limits', () => {
  it('are part of the schemas of sizes', () => {
    expect([1, 10_000, 10_001, 0, 1.5].map((n) => sizeUpTo('layers').safeParse(n).success)).toEqual([
      ...[true, true, false, false, false],
    ]);
  });

  it('compare with memory before anything is taken', () => {
    expect(() => checkMemory(2 ** 30, 'the model', 'make it smaller', 2 ** 30)).not.toThrow();
    expect(() => checkMemory(3 * 2 ** 30, 'the model', 'make it smaller', 2 ** 30)).toThrow(
      'the model takes at least 3 GiB, and there is 1 GiB of memory; make it smaller',
    );
    expect(() => checkMemory(2 ** 60, 'the model', 'make it smaller')).toThrow(/of memory/);
  });
});
