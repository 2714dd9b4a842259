import { describe, expect, it } from 'vitest';
import { folderWith, messageOf } from '../../test/support/folders.js';
import { endTokens } from './end-tokens.js';

describe('endTokens', () => {
  it.each<[object, readonly number[]]>([
    [{}, []],
    [{ eos_token_id: null }, []],
    [{ eos_token_id: 2 }, [2]],
    [{ eos_token_id: [2, 5] }, [2, 5]],
    // Models with images keep it beside the other fields of their text part.
    [{ text_config: { eos_token_id: 7 } }, [7]],
    [{ eos_token_id: 1, text_config: { eos_token_id: 7 } }, [1]],
    [{ text_config: {} }, []],
  ])('of %j are %j', (config, ids) => {
    expect(endTokens(folderWith({ 'config.json': JSON.stringify(config) }))).toEqual(ids);
  });

  it('are first those of generation_config.json', () => {
    const files = { 'config.json': '{"eos_token_id": 1}', 'generation_config.json': '{"eos_token_id": [3]}' };
    expect(endTokens(folderWith(files))).toEqual([3]);
    expect(endTokens(folderWith({ ...files, 'generation_config.json': '{}' }))).toEqual([1]);
    expect(messageOf(() => endTokens(folderWith({ 'config.json': '{"eos_token_id": "x"}' })))).toMatch(
      /eos_token_id must be a token id or a list of ids, got "x"/,
    );
  });
});
