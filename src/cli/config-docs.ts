/** `docs/config.md`, made from the schemas. */
import { LAPTOP_PATTERNS, PRESET_NAMES, STUDY_PATTERNS, STUDY_SIZES } from '../model/index.js';
import { studySchema } from '../study/index.js';
import { documentedRunSchema } from '../lab/index.js';
import { formatCount, LIMITS } from '../core/index.js';
import { describeKeys, helpMarkdown } from './terminal/schema-help.js';

/** The page, complete. */
export function configMarkdown(): string {
  const names = (table: object) => Object.keys(table).map((name) => `\`${name}\``);
  return `# Configuration

<!-- Made by \`npm run docs\` from the schemas; a test compares. -->

Run files and study files are YAML (JSON will do). A key that is not in these tables is an error that names the nearest one. The
same tables are in \`longsight train --help\` and \`longsight study --help\`. \`--set PATH=VALUE\` changes one key, such as
\`--set train.steps=100\` or \`--set 'data[0].weight=2'\`.

## Run files

Text files and folders are found relative to the run file, also those that \`--set\` names. \`data\` is one source or a list of sources; \`eval.recall\`, \`eval.needle\` and
\`eval.trace\` are options, or \`true\` or \`false\`.

${helpMarkdown(describeKeys(documentedRunSchema))}

## Study files

${helpMarkdown(describeKeys(studySchema))}

## Limits

The largest sizes that are taken from files; more is refused before anything of that size is made. Beside these, the parameters of a
model and the tokens of a step must fit into the memory of the machine. Numbers that are no sizes are 0 or what float32 holds (1.18e-38 to 3.40e38).

| limit | of |
| --- | --- |
${Object.values(LIMITS)
  .map(({ most, of }) => `| ${formatCount(most)} | ${of} |`)
  .join('\n')}

## Model presets

\`preset: NAME\` puts a named model underneath; other keys of \`model\` replace its fields. \`longsight cost NAME\` says what it costs.
There are ${PRESET_NAMES.length}: \`laptop-PATTERN\` with a pattern of ${names(LAPTOP_PATTERNS).join(', ')}, and \`SIZE-PATTERN\` with a size of
${names(STUDY_SIZES).join(', ')} and a pattern of ${names(STUDY_PATTERNS).join(', ')}.
`;
}
