import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { configText } from '../../../src/checkpoint/hf/numbers.js';
import { openHfModel, planExport } from '../../../src/checkpoint/index.js';

const DATA = join(import.meta.dirname, '..', '..', 'data');
const HF = join(DATA, 'hf');
const { types } = JSON.parse(readFileSync(join(DATA, 'hf-numbers.json'), 'utf8')) as {
  types: Record<string, { float: string[]; int: string[] } | undefined>;
};
// The first is a norm, and the second decays, that no class has.
const folders = readdirSync(HF).filter((name) => !['mamba2-whole-norm', 'minimax-slopes'].includes(name));

/** The text of `config.json` where `field` is a whole number. */
const withWhole = (json: Readonly<Record<string, unknown>>, field: string) =>
  configText({ ...json, [field]: Array.isArray(json[field]) ? [7, 7] : 7 }).replace(/\s+/g, '');

describe('config.json of exports', () => {
  // Transformers refuses 7 where the field of its class is a float, and 7.0 where it is an integer.
  it.each(folders)('has whole numbers in the type that the class of %s asks for', (name) => {
    const { config, modelType } = openHfModel(join(HF, name));
    const { json } = planExport(config, modelType);
    const numbers = types[modelType];
    if (numbers === undefined) throw new Error(`no such type in hf-numbers.json: ${modelType}`);
    const has = (field: string) => json[field] !== undefined;
    for (const field of numbers.float.filter(has)) {
      expect(withWhole(json, field), field).toMatch(new RegExp(`"${field}":(7\\.0|\\[7\\.0,7\\.0\\])`));
    }
    for (const field of numbers.int.filter(has)) {
      expect(withWhole(json, field), field).toMatch(new RegExp(`"${field}":(7|\\[7,7\\])[,}]`));
    }
  });

  it('leave out the first token of texts where a class takes none that is null', () => {
    const written = (name: string) => {
      const { config, modelType } = openHfModel(join(HF, name));
      return planExport(config, modelType).json;
    };
    expect('bos_token_id' in written('cwm')).toBe(false);
    expect(written('llama-base')).toHaveProperty('bos_token_id', null);
  });

  it('are valid where a number has an exponent', () => {
    expect(JSON.parse(configText({ rope_theta: 1e21, rms_norm_eps: 1e-7, swiglu_limit: -7 }))).toEqual({
      ...{ rope_theta: 1e21, rms_norm_eps: 1e-7, swiglu_limit: -7 },
    });
  });
});
