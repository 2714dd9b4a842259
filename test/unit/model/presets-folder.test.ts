import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { DataConfigSchema, dataVocabSize } from '../../../src/data/index.js';
import { resolveModelConfig } from '../../../src/model/index.js';
import { TrainConfigSchema } from '../../../src/train/index.js';
import { evalSchema } from '../../../src/lab/index.js';

const FOLDER = join(import.meta.dirname, '..', '..', '..', 'presets');

/** The models that files with `train.init` start from, which their `model` changes in part. */
const SOURCES: Readonly<Record<string, object>> = {
  'c-healed.yaml': (parse(readFileSync(join(FOLDER, 'c-full.yaml'), 'utf8')) as { model: object }).model,
  'real-text-healed.yaml': { preset: 's1-full' },
};

describe('run files in presets/', () => {
  const files = readdirSync(FOLDER)
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => ({ name, value: parse(readFileSync(join(FOLDER, name), 'utf8')) as Record<string, unknown> }))
    .filter(({ value }) => 'model' in value);

  it('are there', () => {
    expect(files.map((f) => f.name)).toEqual(expect.arrayContaining(['recall.yaml', 'text.yaml']));
  });

  it.each(files)('$name is valid in every part, and its model holds its data', ({ name, value }) => {
    const model = resolveModelConfig({ ...SOURCES[name], ...(value['model'] as object) });
    const data = DataConfigSchema.parse(value['data']);
    expect(model.vocabSize).toBeGreaterThanOrEqual(dataVocabSize(data));
    TrainConfigSchema.parse(value['train']);
    evalSchema.parse(value['eval']);
  });
});
