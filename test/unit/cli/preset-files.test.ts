/** The package's own run and study files, by name: for those who installed the package, who have no folder `presets`. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { COMMANDS } from '../../../src/cli/command-table.js';
import { givenFile } from '../../../src/cli/terminal/preset-files.js';
import { cli } from '../../support/cli.js';
import { shellWords } from '../../support/doc-commands.js';
import { temporaryFolder } from '../../support/folders.js';

describe('a file of the package', () => {
  it('is named with preset:, from any folder', () => {
    const path = givenFile('preset:studies/quickstart', temporaryFolder());
    expect(path).toMatch(/presets.studies.quickstart\.yaml$/);
    expect(existsSync(path)).toBe(true);
  });

  it('that there is not is refused, and those that there are are listed', async () => {
    const { code, stderr } = await cli(['cost', 'preset:recal']);
    expect(code).toBe(2);
    expect(stderr).toMatch(/preset:recal is no file of the package; there are .*recall, .*studies\/quickstart/);
    expect(() => givenFile('preset:../package')).toThrow('no file of the package');
  });

  it('is named where its path is given in a folder without it; a file that is there is taken', () => {
    const folder = temporaryFolder();
    expect(() => givenFile('presets/recall.yaml', folder)).toThrow(
      "there is no file presets/recall.yaml here; the package's own is preset:recall",
    );
    expect(() => givenFile('./presets/studies/quickstart.yaml', folder)).toThrow('preset:studies/quickstart');
    expect(givenFile('presets/other.yaml', folder)).toBe('presets/other.yaml');
    mkdirSync(join(folder, 'presets'));
    writeFileSync(join(folder, 'presets', 'recall.yaml'), '');
    expect(givenFile('presets/recall.yaml', folder)).toBe('presets/recall.yaml');
  });

  it('is what train, study, study plan and cost take', async () => {
    for (const command of [['train'], ['study'], ['study', 'plan'], ['cost']])
      expect((await cli([...command, 'preset:none'])).stderr, command.join(' ')).toContain('no file of the package');
    expect((await cli(['cost', 'preset:recall'])).code).toBe(0);
  });
});

it('examples of the help name no file of a clone', () => {
  const words = COMMANDS.flatMap(({ example }) => shellWords(example)[0] ?? []);
  expect(words.filter((word) => word.startsWith('presets/'))).toEqual([]);
  for (const word of words.filter((own) => own.startsWith('preset:')))
    expect(existsSync(givenFile(word, temporaryFolder())), word).toBe(true);
});
