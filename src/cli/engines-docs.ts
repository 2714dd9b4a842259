/** The engines in `docs/engines.md`, made from their definitions. */
import { ENGINES } from '../engine/index.js';
import { cell, madePart, markdownTable } from './docs-tables.js';

/** The page with what it says of each engine made anew. */
export function enginesMarkdown(page: string): string {
  const all = Object.entries(ENGINES);
  const table = markdownTable(
    ['`--engine`', 'what computes', 'when `auto` takes it'],
    all.map(([name, { computes, auto }]) => [`\`${name}\``, cell(computes), cell(auto)]),
  );
  const sections = all.map(
    ([name, { use, devices, dtypes, precision, needs, limits }]) => `### \`${name}\`

- **For**: ${use}
- **Devices**: ${devices}
- **Dtypes**: ${dtypes.map((dtype) => `\`${dtype}\``).join(', ')}. ${precision}
- **Needs**: ${needs}
- **Limits**: ${limits}`,
  );
  return madePart(page, 'engines', [table, ...sections].join('\n\n'));
}
