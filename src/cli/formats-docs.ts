/** `docs/formats.md`, made from the definitions of files beside their writers. */
import { EXPORT_FILES } from '../checkpoint/index.js';
import type { FileFormat } from '../core/index.js';
import { CORPUS_FILES, SHARD_FILES } from '../data/index.js';
import { ANALYSIS_FILES, MEASURED_FILES, PRINTED_RESULTS } from '../lab/index.js';
import { REPORT_FILES } from '../report/index.js';
import { LOG_FILES, RUN_FILES } from '../run/index.js';
import { STUDY_FILES } from '../study/index.js';
import { beside, cell, fieldsTable, markdownTable } from './docs-tables.js';

/** A folder that Longsight writes, with its files. */
interface Folder {
  readonly title: string;
  readonly about: string;
  readonly files: readonly FileFormat[];
}

/** Every folder whose files the page describes. */
export const FOLDERS = {
  run: {
    title: 'A run',
    about:
      `What \`longsight train\` writes into its folder. [Run folders](${beside('run-folders')}) says how runs are resumed, ` +
      'extended and measured afterwards. [Analyses](' +
      beside('analysis') +
      ') keep the fields that they print with `--json`.',
    files: [...RUN_FILES, ...MEASURED_FILES, ...ANALYSIS_FILES],
  },
  printed: {
    title: 'Analyses that keep nothing',
    about: 'What they print with `--json`, beside `event`, and of runs `step` and `tokens`.',
    files: PRINTED_RESULTS,
  },
  study: {
    title: 'A study',
    about: `What \`longsight study\` writes. [Studies](${beside('studies')}) says what a study is.`,
    files: STUDY_FILES,
  },
  report: {
    title: 'A report',
    about:
      'What `longsight report` writes into the folder of a run or a study, and `longsight train` and `study` at their end.',
    files: REPORT_FILES,
  },
  logs: {
    title: 'An export of metrics',
    about: `What \`longsight log export\` writes ([for other tools](${beside('run-folders')}#for-other-tools)).`,
    files: LOG_FILES,
  },
  export: {
    title: 'An exported model',
    about: `What \`longsight export\` writes, which Transformers loads ([Hugging Face models](${beside('hugging-face')})).`,
    files: EXPORT_FILES,
  },
  corpus: {
    title: 'A corpus',
    about: `What \`longsight data fetch\` writes. [Data](${beside('data')}) says which corpora there are.`,
    files: CORPUS_FILES,
  },
  shards: {
    title: 'Token shards',
    about: `What \`longsight data prepare\` writes. [Data](${beside('data')}) says how it is made and read.`,
    files: SHARD_FILES,
  },
} as const satisfies Readonly<Record<string, Folder>>;

/** The page, complete. */
export function formatsMarkdown(): string {
  return `# Files and fields

<!-- Made by \`npm run docs\` from the definitions of files; a test compares. -->

Every file that runs, analyses, studies, reports, exports, corpora and token shards consist of, and their fields, with types and units.
Words in capitals stand for names and numbers; a step has six digits or more (\`step-000600\`). Every file but \`metrics.jsonl\` and logs is written under a temporary name and renamed when whole
([durability](${beside('durability')})). A field that is _optional_ may be left out.

${Object.values<Folder>(FOLDERS).map(section).join('\n\n')}
`;
}

/** One folder. */
function section({ title, about, files }: Folder): string {
  const list = markdownTable(
    ['file', 'type', 'what it holds'],
    files.map(({ path, type, holds }) => [code(path), cell(type), cell(holds)]),
  );
  const described = files.filter(({ fields, parts }) => fields !== null || parts !== undefined);
  return [`## ${title}`, about, list, ...described.map(fileSection)].join('\n\n');
}

/** The fields of a file, or the parts that it is made of. */
function fileSection({ path, fields, elsewhere, parts }: FileFormat): string {
  return [
    `### ${code(path)}`,
    ...(fields === null ? [] : [fieldsTable(fields, elsewhere?.fields)]),
    ...(elsewhere === undefined ? [] : [elsewhere.where]),
    ...(parts === undefined
      ? []
      : [
          markdownTable(
            parts.head,
            parts.rows.map(([name, what]) => [name, cell(what)]),
          ),
        ]),
  ]
    .filter((part) => part !== '')
    .join('\n\n');
}

const code = (paths: string): string =>
  paths
    .split(', ')
    .map((path) => `\`${path}\``)
    .join(', ');
