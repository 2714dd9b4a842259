// Writes the pages of docs/ that are made from the code. usage: npm run docs
import { readFileSync, writeFileSync } from 'node:fs';
import { analysisMarkdown } from '../dist/cli/analysis-docs.js';
import { commandsMarkdown } from '../dist/cli/commands-docs.js';
import { configMarkdown } from '../dist/cli/config-docs.js';
import { familiesMarkdown } from '../dist/cli/families-docs.js';
import { formatsMarkdown } from '../dist/cli/formats-docs.js';
import { enginesMarkdown } from '../dist/cli/engines-docs.js';
import { measuresMarkdown } from '../dist/cli/measures-docs.js';

const path = new URL('../docs/config.md', import.meta.url);
writeFileSync(path, configMarkdown());
const analyses = new URL('../docs/analysis.md', import.meta.url);
writeFileSync(analyses, analysisMarkdown(readFileSync(analyses, 'utf8')));
writeFileSync(new URL('../docs/commands.md', import.meta.url), await commandsMarkdown());
writeFileSync(new URL('../docs/hugging-face-families.md', import.meta.url), familiesMarkdown());
writeFileSync(new URL('../docs/formats.md', import.meta.url), formatsMarkdown());
writeFileSync(new URL('../docs/measures.md', import.meta.url), measuresMarkdown());
const engines = new URL('../docs/engines.md', import.meta.url);
writeFileSync(engines, enginesMarkdown(readFileSync(engines, 'utf8')));
console.log(
  'wrote docs/config.md, docs/commands.md, docs/measures.md, docs/formats.md, docs/hugging-face-families.md and parts of docs/analysis.md and docs/engines.md',
);
