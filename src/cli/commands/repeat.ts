/** The commands that make a run or a study again, as reports print them. */
import { join } from 'node:path';
import { configPath } from '../../run/index.js';
import type { StudyPlan } from '../../study/index.js';

/** The command that makes a run again. */
export function repeatCommand(dir: string): string {
  return `longsight train ${configPath(dir)} --out NEW_FOLDER`;
}

/** The commands that make a study again. */
export function repeatCommands(dir: string, plan: StudyPlan): string[] {
  const long = plan.runs.some((run) => run.arm === 'long') ? ' --long' : '';
  const set = plan.set.map(([path, value]) => ` --set '${path}=${JSON.stringify(value)}'`).join('');
  return [`longsight study ${join(dir, 'study.yaml')}${long}${set} --out NEW_FOLDER`];
}
