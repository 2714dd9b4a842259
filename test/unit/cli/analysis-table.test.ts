/** Every analysis of the table has its command, its line in the documentation, and options that flags can give. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { analysisMarkdown } from '../../../src/cli/analysis-docs.js';
import { COMMANDS } from '../../../src/cli/command-table.js';
import { ANALYSES, analysisOf, PRINTED_ANALYSES, unwrapOption, type AnalysisKind } from '../../../src/lab/index.js';
import { cli } from '../../support/cli.js';

const kinds = [...Object.keys(ANALYSES), ...Object.keys(PRINTED_ANALYSES)] as AnalysisKind[];

describe('docs/analysis.md', () => {
  it('has the table that the definitions say (npm run docs makes it)', () => {
    const page = readFileSync(join(import.meta.dirname, '..', '..', '..', 'docs', 'analysis.md'), 'utf8');
    expect(page).toBe(analysisMarkdown(page));
    expect(page).toContain('| `attention-distance` | how far back do heads attend? |');
  });
});

describe.each(kinds)('%s', (kind) => {
  const { command, summary, options, description } = analysisOf(kind);

  it('has the command of its name and summary', () => {
    expect(COMMANDS.find(({ name }) => name === command)).toMatchObject({ summary });
  });

  it('has a flag for every option, with its default', async () => {
    const { code, stdout } = await cli([command, '--help']);
    expect(code).toBe(0);
    const help = stdout.replace(/\s+/g, ' ');
    expect(help).toContain(description.replace(/\s+/g, ' ').slice(0, 60));
    for (const [key, schema] of Object.entries<unknown>(options.shape)) {
      if (!(schema instanceof z.ZodType)) throw new Error(`${key} has no schema`);
      const { description: meaning, standard } = unwrapOption(schema);
      expect(meaning).not.toBe('');
      expect(help).toContain(`--${key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)} `);
      const shown = Array.isArray(standard) ? standard.join(',') : JSON.stringify(standard);
      if (standard !== undefined && standard !== false) expect(help).toContain(`(default: ${shown})`);
    }
  });
});
