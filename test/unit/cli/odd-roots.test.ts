/** Folders that nothing can be written to: one sentence, as for reports. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { cli } from '../../support/cli.js';
import { temporaryFolder } from '../../support/folders.js';

const MODEL = fileURLToPath(new URL('../../data/texts/model', import.meta.url));

const NO_FOLDER =
  /(a file is where a folder should be|a part of the path is a file, not a folder); choose another path/;

describe.each([
  ['/proc/x/y', 'no files can be made there; choose another folder'],
  ['/dev/null/x', NO_FOLDER],
  ['FILE/x', NO_FOLDER],
])('below %s', (named, why) => {
  it.each(['export', 'ruler run'])('%s says why nothing is written', async (command) => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'file'), '');
    writeFileSync(join(folder, 'asked.jsonl'), '{"input": "the quick", "outputs": ["fox"]}\n');
    const out = named.replace('FILE', join(folder, 'file'));
    const asked = ['--data', join(folder, 'asked.jsonl'), '--max-tokens', '1', '--lengths', '16', '--out', out];
    const args = command === 'export' ? ['export', MODEL, out] : ['ruler', 'run', MODEL, ...asked];
    const { code, stderr } = await cli(args);
    expect({ code, stderr }).toMatchObject({ code: 2 });
    expect(stderr).toMatch(/^longsight: cannot (write|lock) [^\n]*\n$/);
    expect(stderr).toContain(`${out}`);
    expect(stderr).toMatch(why);
  });
});
