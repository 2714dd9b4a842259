/** What the page of one run shows, and the heads that were traced in runs. */
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { isPlain, LongsightError, messageOf, readJson, stateOf } from '../core/index.js';
import { toYaml } from '../lab/index.js';
import { checkpointsFolder, configPath, evalsFolder, findingsFolder, isRunFolder, readStatus } from '../run/index.js';
import { tracedRunHeads } from '../study/index.js';
import type { RunAnswer, RunHeadsAnswer, RunRow } from './api.js';
import { BY_NAME, insidePath, type Root } from './folders.js';
import { endOf, holderOf } from './run-progress.js';

const LOG_BYTES = 64 * 1024;

/** What is asked of a run: where it lies, and what the table says of it. */
export interface AskedRun {
  readonly path: string;
  /** The folder of its study; null for a run of its own. */
  readonly study: string | null;
  readonly row: RunRow;
}

/** Everything about one run beside its curves. */
export function runAnswer(roots: readonly Root[], { path, study, row }: AskedRun, canControl: boolean): RunAnswer {
  const holder = holderOf(path);
  const state = holder === null ? 'gone' : stateOf(holder);
  const held =
    holder !== null && state !== 'gone' ? { pid: holder.pid, host: holder.host, here: state === 'alive' } : null;
  const stored = storedConfig(path);
  return {
    ...{ row, path, holder: held },
    config: stored.text,
    environment: environmentOf(stored.value),
    log: logOf(roots, path, study),
    evals: namesIn(evalsFolder(path)).flatMap((name) => stepOf(name) ?? []),
    findings: namesIn(findingsFolder(path)),
    timing: timingOf(path),
    ...controls(path, study, row, { held, canControl }),
    canSample: canControl && existsSync(checkpointsFolder(path)),
    problem: stored.problem,
  };
}

function storedConfig(path: string): {
  readonly text: string;
  readonly value: unknown;
  readonly problem: string | null;
} {
  try {
    const value = readJson(configPath(path));
    const run = isPlain(value) ? value['run'] : value;
    return { text: toYaml(run), value, problem: null };
  } catch (error) {
    return { text: '', value: null, problem: messageOf(error) };
  }
}

/** Everything but the configuration that `config.json` holds, as names and texts. */
function environmentOf(value: unknown): [string, string][] {
  if (!isPlain(value)) return [];
  const { run: _run, format: _format, name: _name, ...rest } = value;
  const rows: [string, string][] = [];
  const add = (name: string, inner: unknown): void => {
    if (isPlain(inner)) for (const [key, v] of Object.entries(inner)) add(`${name}.${key}`, v);
    else if (Array.isArray(inner)) inner.forEach((v: unknown, i) => add(`${name}[${i}]`, v));
    else rows.push([name, typeof inner === 'string' ? inner : JSON.stringify(inner)]);
  };
  for (const [name, inner] of Object.entries(rest)) add(name, inner);
  return rows;
}

/** The end of what the run's worker printed, or of what a run that was continued from here prints. */
function logOf(roots: readonly Root[], path: string, study: string | null): string | null {
  const candidates = [
    ...(study === null ? [] : [join(study, 'logs', `${basename(path)}.log`)]),
    join(path, CONTINUED_LOG),
  ];
  const logs = candidates.flatMap((file) => {
    const inside = existsSync(file) ? insidePath(roots, file) : null;
    return inside === null ? [] : [endOf(inside, LOG_BYTES)];
  });
  return logs.length === 0 ? null : logs.join('\n');
}

/** What a run that was continued from the dashboard prints goes here, in its folder. */
export const CONTINUED_LOG = 'continued.log';

function timingOf(path: string): Readonly<Record<string, number>> | null {
  try {
    return readStatus(path)?.timing ?? null;
  } catch {
    return null;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith('.json'))
      .sort((a, b) => BY_NAME.compare(a, b));
  } catch {
    return [];
  }
}

const stepOf = (name: string): number | null => {
  const match = /^step-(\d+)\.json$/.exec(name);
  return match === null ? null : Number(match[1]);
};

/** What can be done about a run, in words. */
function controls(
  path: string,
  study: string | null,
  row: RunRow,
  { held, canControl }: { readonly held: RunAnswer['holder']; readonly canControl: boolean },
): Pick<RunAnswer, 'stop' | 'resume' | 'resumeArgs' | 'resumeCommand'> {
  const resumeArgs = study === null ? ['train', path, '--resume'] : ['study', 'run', study, basename(path)];
  const resumeCommand = ['longsight', ...resumeArgs.map(quoted)].join(' ');
  const canStop = canControl && held?.here === true && row.state === 'running';
  const canResume = canControl && held === null && ['killed', 'interrupted'].includes(row.state);
  const stop = canStop
    ? `Sends process ${held.pid} of this machine the signal of Ctrl-C: it finishes its step, writes a checkpoint and ends. ` +
      `Nothing is lost. ${study === null ? '' : 'The study then goes on with its other runs, or ends with this one interrupted. '}` +
      `To go on later: ${resumeCommand}`
    : null;
  const resume = canResume
    ? `Starts "${resumeCommand}" on this machine, which goes on from the newest complete checkpoint${study === null ? '' : ' of this run of the study'}. It keeps running when the dashboard is closed; ` +
      `what it prints goes to ${CONTINUED_LOG} in the run's folder.`
    : null;
  return { stop, resume, resumeArgs, resumeCommand };
}

/** A path as a shell takes it. */
function quoted(path: string): string {
  return /^[\w./:@%+-]+$/.test(path) ? path : `'${path.replace(/'/g, `'\\''`)}'`;
}

/** The heads of a run over its checkpoints. */
export function headsAnswer(id: string, path: string): RunHeadsAnswer {
  try {
    if (!isRunFolder(path)) return { run: id, labels: [], checkpoints: [], problem: 'The folder is gone.' };
    const traced = tracedRunHeads(path);
    const labels = traced.at(-1)?.layers.map(({ layer, label }) => `${layer} ${label}`) ?? [];
    const checkpoints = traced.map(({ step, tokens, layers }) => ({
      ...{ step, tokens },
      scores: layers.map(({ heads }) => heads.map(({ score }) => score)),
    }));
    return { run: id, labels, checkpoints, problem: null };
  } catch (error) {
    if (!(error instanceof LongsightError)) throw error;
    return { run: id, labels: [], checkpoints: [], problem: error.message };
  }
}
