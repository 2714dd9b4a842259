/** The tasks by name: RULER's 13, and more of the same kind. */
import { ConfigError, nearest } from '../../core/index.js';
import { commonWordsTask, frequentWordsTask } from './frequency.js';
import { niahTask, passkeyTask, type NeedleSpec } from './niah.js';
import { questionTask } from './qa.js';
import { trackingTask } from './tracking.js';
import type { RulerTask } from './types.js';

const niah = (change: Partial<NeedleSpec>): RulerTask =>
  niahTask({ haystack: 'essay', keyType: 'words', valueType: 'numbers', keys: 1, values: 1, queries: 1, ...change });

const withoutFile = (task: string, option: string, file: string): string =>
  `${task} asks questions of ${file}, which does not come with Longsight; name its file (${option} FILE), or take qa_book`;

const TASKS = {
  niah_single_1: niah({ haystack: 'noise' }),
  niah_single_2: niah({}),
  niah_single_3: niah({ valueType: 'uuids' }),
  niah_multikey_1: niah({ keys: 4 }),
  niah_multikey_2: niah({ haystack: 'needle' }),
  niah_multikey_3: niah({ haystack: 'needle', keyType: 'uuids', valueType: 'uuids' }),
  niah_multivalue: niah({ values: 4 }),
  niah_multiquery: niah({ queries: 4 }),
  vt: trackingTask,
  cwe: commonWordsTask,
  fwe: frequentWordsTask,
  qa_1: questionTask((s) => s.squad, withoutFile('qa_1', '--squad', 'SQuAD 2.0 (dev)')),
  qa_2: questionTask((s) => s.hotpot, withoutFile('qa_2', '--hotpot', 'HotpotQA (dev, distractor)')),
  passkey: passkeyTask,
  qa_book: questionTask((s) => s.book, 'qa_book needs a corpus with chapters; take another (--corpus moby-dick)'),
} as const satisfies Readonly<Record<string, RulerTask>>;

/** The name of a RULER task, such as `niah_single_1`. */
export type RulerTaskName = keyof typeof TASKS;

/** The names of all RULER tasks that can be made. */
export const RULER_TASKS: readonly RulerTaskName[] = Object.keys(TASKS) as RulerTaskName[];

/** The names of the 13 tasks of the RULER paper (Hsieh et al. 2024). */
export const RULER_13: readonly RulerTaskName[] = RULER_TASKS.slice(0, 13);

/**
 * The tasks that need no file of the user: those of RULER's 13 without questions, and a substitute for the questions.
 */
export const OFFLINE_TASKS: readonly RulerTaskName[] = [...RULER_13.slice(0, 11), 'qa_book'];

/**
 * Checks the name of a task.
 * @throws ConfigError listing the tasks if `name` is none of them
 */
export function taskName(name: string): RulerTaskName {
  const found = RULER_TASKS.find((t) => t === name);
  if (found !== undefined) return found;
  const near = nearest(name, RULER_TASKS);
  const hint = near === undefined ? `tasks are ${RULER_TASKS.join(', ')}` : `did you mean "${near}"?`;
  throw new ConfigError(`there is no RULER task "${name}"; ${hint}`);
}

/** The task of a name. */
export function rulerTask(name: RulerTaskName): RulerTask {
  return TASKS[name];
}
