import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { HF_MODEL_TYPES, readHfConfig } from '../../../src/checkpoint/index.js';

const ROOT = join(import.meta.dirname, '../../..');

interface HybridTypes {
  readonly transformers: string;
  readonly types: readonly { readonly type: string; readonly class: string; readonly features: readonly string[] }[];
}

const { transformers, types } = JSON.parse(readFileSync(join(ROOT, 'test/data/hf-types.json'), 'utf8')) as HybridTypes;
const page = readFileSync(join(ROOT, 'docs/hugging-face-types.md'), 'utf8');
const rows = page
  .split('\n')
  .filter((line) => line.startsWith('| `'))
  .map((line) => {
    const [type = '', features = '', verdict = '', missing = '', takes = ''] = line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim());
    return { type: type.slice(1, -1), features, verdict, missing, takes };
  });

describe('the table of hybrid types of Transformers', () => {
  it('holds exactly the types that were found in the package, with what their code has', () => {
    expect(rows.map(({ type, features }) => [type, features])).toEqual(
      types.map(({ type, features }) => [type, features.join(', ')]),
    );
  });

  it('marks as read those that can be read, and no other', () => {
    const read = rows.filter(({ verdict }) => verdict === 'read').map(({ type }) => type);
    expect(read).toEqual(types.map(({ type }) => type).filter((type) => HF_MODEL_TYPES.includes(type)));
    expect(page).toContain(`Transformers ${transformers} has ${types.length} causal model types`);
    expect(page).toContain(`Longsight reads ${read.length} of them`);
  });

  it('says of every other what is missing and what it would take', () => {
    const refused = rows.filter(({ verdict }) => verdict !== 'read');
    expect(refused.filter(({ verdict }) => verdict !== 'refused')).toEqual([]);
    expect(refused.filter(({ missing, takes }) => missing === '' || takes === '')).toEqual([]);
    expect(refused).not.toEqual([]);
    for (const { type, missing } of refused) {
      expect(() => readHfConfig({ model_type: type }, 'c.json')).toThrow(
        `c.json: model_type "${type}" is not one that can be read: it has ${missing.replaceAll('`', '')}, not all of which Longsight has`,
      );
    }
  });

  it('lists some features for each type, and each type once', () => {
    const kinds = ['window', 'linear', 'state space', 'convolution', 'nope', 'sink'];
    for (const { features } of types) {
      expect(features.length).toBeGreaterThan(0);
      expect(features.filter((feature) => !kinds.includes(feature))).toEqual([]);
    }
    expect(new Set(types.map(({ type }) => type)).size).toBe(types.length);
  });
});
