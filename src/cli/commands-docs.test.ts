import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { commandsMarkdown } from './commands-docs.js';

it('docs/commands.md is what the commands say (npm run docs makes it)', async () => {
  expect(readFileSync(new URL('../../docs/commands.md', import.meta.url), 'utf8')).toBe(await commandsMarkdown());
});
