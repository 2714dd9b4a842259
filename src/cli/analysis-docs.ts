/** The table of analyses in `docs/analysis.md`, made from their definitions. */
import { ANALYSES, PRINTED_ANALYSES } from '../lab/index.js';

const [BEGIN, END] = [
  '<!-- Made by `npm run docs` from the definitions of analyses; a test compares. -->',
  '<!-- End of what is made. -->',
];

/** The page with its table of commands and questions made anew. */
export function analysisMarkdown(page: string): string {
  const rows = [
    { command: 'trace', question: 'which heads put their attention on the needle?' },
    ...Object.values({ ...PRINTED_ANALYSES, ...ANALYSES }),
    { command: 'fit', question: 'how does the loss fall with size and data, and how sure is that?' },
  ].map(({ command, question }) => `| \`${command}\` | ${question} |`);
  const table = ['| command | question |', '| --- | --- |', ...rows].join('\n');
  const [before, rest = ''] = page.split(BEGIN);
  return `${before}${BEGIN}\n\n${table}\n\n${END}${rest.split(END)[1] ?? ''}`;
}
