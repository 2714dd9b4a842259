import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { temporaryFolder } from '../../../test/support/folders.js';
import { readFindings } from './findings.js';

it('reads findings of earlier builds, whose fields had British names', () => {
  const dir = temporaryFolder();
  mkdirSync(join(dir, 'analysis'));
  const head = { layer: 0, head: 1, window: null, label: 'full', entropy: 0.7, mass: 1 };
  const finding = {
    ...{ step: 4, tokens: 64, samples: 2, entropy: 0.7, normalised: 0.25, normalisedVisible: 0.5 },
    heads: [{ ...head, normalised: 0.25, normalisedVisible: 0.5 }],
  };
  writeFileSync(join(dir, 'analysis', 'entropy-step-4.json'), JSON.stringify(finding));
  const [found] = readFindings(dir).entropy;
  expect(found).toMatchObject({ step: 4, normalized: 0.25, normalizedVisible: 0.5 });
  expect(found?.heads[0]).toMatchObject({ head: 1, normalized: 0.25, normalizedVisible: 0.5 });
});
