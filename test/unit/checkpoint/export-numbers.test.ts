import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { configText } from '../../../src/checkpoint/hf/numbers.js';
import { exportHfModel, openHfModel, planExport } from '../../../src/checkpoint/index.js';
import { readJson } from '../../../src/core/index.js';

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

  it('name a token that fills batches, within the vocabulary, where a class takes no null and has a row for it', async () => {
    const at = mkdtempSync(join(tmpdir(), 'longsight-tokens-'));
    const { config, parameters } = openHfModel(join(HF, 'modernbert-decoder'));
    const out = join(at, 'out');
    await exportHfModel(out, config, parameters());
    const stated = readJson(join(out, 'config.json')) as Record<string, unknown>;
    expect([config.vocabSize, stated['pad_token_id'], 'bos_token_id' in stated]).toEqual([64, 63, false]);
    // Nor does a folder that names none put one in.
    const origin = join(at, 'origin');
    cpSync(out, origin, { recursive: true });
    const { pad_token_id: _pad, ...rest } = stated;
    writeFileSync(join(origin, 'config.json'), JSON.stringify(rest));
    await exportHfModel(join(at, 'again'), config, parameters(), { imported: origin });
    expect(readJson(join(at, 'again', 'config.json'))).toEqual(stated);
    rmSync(at, { recursive: true });
  });

  it('are valid where a number has an exponent', () => {
    expect(JSON.parse(configText({ rope_theta: 1e21, rms_norm_eps: 1e-7, swiglu_limit: -7 }))).toEqual({
      ...{ rope_theta: 1e21, rms_norm_eps: 1e-7, swiglu_limit: -7 },
    });
  });
});
