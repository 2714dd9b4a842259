import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { folderWith, messageOf, temporaryFolder } from '../../test/support/folders.js';
import { ConfigError } from '../core/index.js';
import { locate, parseYaml, parseYamlConfig, readYamlFile, toYaml } from './yaml-file.js';

const schema = z.strictObject({
  train: z.strictObject({ steps: z.int().min(1), lr: z.number().default(1) }),
  list: z.array(z.strictObject({ kind: z.string() })).default([]),
});

describe('YAML files', () => {
  it.each([
    ['a: 1\nb: [1, 2\nc: 3\n', /^f\.yaml:3:1: YAML does not parse: /],
    ['a: 1\na: 2\n', /^f\.yaml:2:1: YAML does not parse: Map keys must be unique$/],
    ['a:\n\t- 1\n', /^f\.yaml:2:1: YAML does not parse: /],
    ['a: *nowhere\n', /^f\.yaml(:\d+)*: YAML does not parse: /],
    ['# nothing\n', /^f\.yaml is empty; it needs a configuration$/],
  ])('names the line of %j', (text, message) => {
    expect(() => parseYaml(text, 'f.yaml')).toThrow(ConfigError);
    expect(messageOf(() => parseYaml(text, 'f.yaml'))).toMatch(message);
  });

  it('says that values nest too deeply, not what that did to the reader', () => {
    const text = `a: ${'['.repeat(5000)}`;
    expect(messageOf(() => parseYaml(text, 'f.yaml'))).toMatch(
      /^f\.yaml:1:\d+: YAML nests lists and objects too deeply; use fewer levels$/,
    );
  });

  it('says what is wrong with a path', () => {
    const folder = temporaryFolder();
    expect(messageOf(() => readYamlFile(folder))).toBe(`${folder} is a folder; give a YAML file`);
    const missing = join(folder, 'no.yaml');
    expect(messageOf(() => readYamlFile(missing))).toBe(`cannot read ${missing}: there is no such file`);
  });

  it.each([
    ['train:\n  steps: 1\n  stesp: 2\n', 'f.yaml:3: unknown key "stesp" in train; did you mean "steps"?'],
    ['# c\ntrain:\n  lr: 1\n', 'f.yaml:2: train.steps is missing; expected a number'],
    ['train:\n  steps: 0\n', 'f.yaml:2: train.steps must be at least 1, got 0'],
    ['train: { steps: 1 }\nlist:\n  - kind: a\n  - kind: 3\n', 'f.yaml:4: list[1].kind must be a string, got 3'],
    ['x: 1\ntrain: { steps: 1 }\n', 'f.yaml:1: unknown key "x"; valid keys: train, list'],
  ])('names the line of the key at fault in %j', (text, message) => {
    expect(messageOf(() => parseYamlConfig(schema, parseYaml(text, 'f.yaml')))).toBe(message);
  });

  it('gives the value with defaults, also from JSON', () => {
    const file = readYamlFile(join(folderWith({ 'a.json': '{"train": {"steps": 4}}' }), 'a.json'));
    expect(parseYamlConfig(schema, file)).toEqual({ train: { steps: 4, lr: 1 }, list: [] });
  });

  it('finds the nearest line for a value that is not in the file', () => {
    const file = parseYaml('a:\n  b:\n    c: 1\nd: 2\n', 'f.yaml');
    expect(file.lineOf(['a', 'b', 'c'])).toBe(3);
    expect(file.lineOf(['a', 'b', 'x'])).toBe(2);
    expect(file.lineOf(['d', 'e', 'f'])).toBe(4);
    expect(file.lineOf([])).toBe(1);
  });

  it('opens other configuration errors with the place, and leaves other errors alone', () => {
    const fail = (error: Error) => () => {
      throw error;
    };
    expect(messageOf(() => locate('here', [], fail(new ConfigError('bad'))))).toBe('here: bad');
    expect(messageOf(() => locate('here', [], fail(new Error('bad'))))).toBe('bad');
  });

  it('writes what it reads', () => {
    const value = { a: [1, 'x: y', null], b: { c: 'swa:8 full' } };
    expect(parseYaml(toYaml(value), 'f').value).toEqual(value);
  });
});
