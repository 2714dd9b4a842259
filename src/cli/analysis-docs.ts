/** The table of analyses in `docs/analysis.md`, made from their definitions. */
import { ANALYSES, PRINTED_ANALYSES } from '../lab/index.js';
import { madePart, markdownTable } from './docs-tables.js';

/** The page with its table of commands and questions made anew. */
export function analysisMarkdown(page: string): string {
  const rows = [
    { command: 'trace', question: 'which heads put their attention on the needle?' },
    ...Object.values({ ...PRINTED_ANALYSES, ...ANALYSES }),
    { command: 'fit', question: 'how does the loss fall with size and data, and how sure is that?' },
  ].map(({ command, question }) => [`\`${command}\``, question]);
  return madePart(page, 'analyses', markdownTable(['command', 'question'], rows));
}
