import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { folderWith, messageOf } from '../../test/support/folders.js';
import { hubName, refuseHubName } from './hub.js';

describe('names of hub repositories given as folders', () => {
  it.each([
    'meta-llama/Llama-3.2-1B',
    'meta-llama/Llama-3.2-1B/',
    'hf://meta-llama/Llama-3.2-1B',
    'https://huggingface.co/meta-llama/Llama-3.2-1B',
    'huggingface.co/meta-llama/Llama-3.2-1B',
  ])('says how to get %s', (path) => {
    expect(hubName(path)).toBe('meta-llama/Llama-3.2-1B');
    expect(
      messageOf(() => {
        refuseHubName(path);
      }),
    ).toBe(
      `there is no folder ${path}, and Longsight reads local folders only; get that of a model on the Hugging Face hub ` +
        'with "hf download meta-llama/Llama-3.2-1B --local-dir Llama-3.2-1B" and name Llama-3.2-1B',
    );
  });

  it.each(['runs', 'runs/first', './meta-llama/Llama', '/models/llama', '../a/b', 'a/b/c', 'src/none', ''])(
    'leaves %j alone',
    (path) => {
      expect(hubName(path)).toBeNull();
    },
  );

  it('leaves folders alone that are there', () => {
    const folder = join(folderWith({}), 'org');
    mkdirSync(join(folder, 'model'), { recursive: true });
    expect(hubName(join(folder, 'model'))).toBeNull();
  });
});
