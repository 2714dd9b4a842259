// Writes the pages of docs/ that are made from the code. usage: npm run docs
import { readFileSync, writeFileSync } from 'node:fs';
import { analysisMarkdown } from '../dist/cli/analysis-docs.js';
import { commandsMarkdown } from '../dist/cli/commands-docs.js';
import { configMarkdown } from '../dist/cli/config-docs.js';

const path = new URL('../docs/config.md', import.meta.url);
writeFileSync(path, configMarkdown());
const analyses = new URL('../docs/analysis.md', import.meta.url);
writeFileSync(analyses, analysisMarkdown(readFileSync(analyses, 'utf8')));
writeFileSync(new URL('../docs/commands.md', import.meta.url), await commandsMarkdown());
console.log('wrote docs/config.md, docs/commands.md and the table of docs/analysis.md');
