import { describe, expect, it } from 'vitest';
import { trainedLength } from '../../../src/checkpoint/index.js';
import { folderWith } from '../../support/folders.js';

describe('the trained length of an imported model', () => {
  const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32768 };
  const llama3 = { rope_type: 'llama3', factor: 8, original_max_position_embeddings: 8192 };
  it.each([
    ['plain positions', { max_position_embeddings: 4096 }, 4096],
    ['YaRN that the length does not count (Qwen2.5)', { max_position_embeddings: 32768, rope_scaling: yarn }, 131072],
    ['Llama 3.1, whose length counts it', { max_position_embeddings: 131072, rope_scaling: llama3 }, 131072],
    ['the new name of the scaling', { max_position_embeddings: 32768, rope_parameters: yarn }, 131072],
    ['a text model inside of a larger one', { text_config: { max_position_embeddings: 512 } }, 512],
    ['GPT-2', { n_positions: 1024 }, 1024],
    ['a model that does not say', { hidden_size: 8 }, null],
  ])('%s', (_, config, length) => {
    expect(trainedLength(folderWith({ 'config.json': JSON.stringify(config) }))).toBe(length);
  });
});
