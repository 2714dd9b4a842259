/**
 * The study folder: `study.json` (the resolved plan), `study.yaml` (the study file that repeats it), `runs/NAME/` (one
 * run folder each), `logs/NAME.log` (what a worker printed), and the report. A folder continues only the study that it
 * was made for.
 */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import {
  canonicalJson,
  describeDifferences,
  differences,
  fingerprint,
  namesIn,
  readJson,
  showValue,
  StoreError,
  takeLock,
  type HeldLock,
  type LockOptions,
  writeFileAtomic,
  writeJsonAtomic,
  isStudyFolder,
  planPath,
} from '../core/index.js';
import { toYaml } from '../lab/index.js';
import { completeModel, completeTrain } from '../run/index.js';
import { compareSchema, fileNameSchema, studySchema, type PlannedRun, type StudyPlan } from './plan.js';

/** The study file that repeats the study from anywhere. */
const SOURCE_FILE = 'study.yaml';
const LOCK_FILE = 'study.lock';

const plannedRunSchema = z.looseObject({
  name: fileNameSchema,
  arm: z.enum(['main', 'long']),
  architecture: z.string(),
  seed: z.int(),
  point: z.record(z.string(), z.unknown()),
  config: z.looseObject({
    seed: z.int(),
    model: z.looseObject({ layers: z.array(z.looseObject({ mixer: z.string() })).min(1) }),
  }),
});

const planSchema = z.looseObject({
  format: z.literal(1),
  name: fileNameSchema,
  title: z.string(),
  question: z.string().nullable(),
  compare: compareSchema,
  study: studySchema,
  set: z.array(z.tuple([z.string(), z.unknown()])),
  architectures: z.array(z.object({ label: z.string(), layers: z.string() })),
  runs: z.array(plannedRunSchema),
});

/** The folder of a run in a study's folder. */
export function runFolder(studyDir: string, name: string): string {
  return join(studyDir, 'runs', name);
}

/** The plan that a study folder holds. Throws `StoreError` if there is none or it is damaged. */
export function readPlan(dir: string): StudyPlan {
  const path = planPath(dir);
  const value = readJson(path);
  const result = planSchema.safeParse(value);
  if (!result.success)
    throw new StoreError(
      `${path} is not a study plan: ${wrongPlace(value, result.error) || 'the whole'} is wrong or missing`,
      {
        details: { path },
        cause: result.error,
      },
    );
  return result.data as unknown as StudyPlan;
}

/** Where a plan is wrong; runs by their names, where they have one. */
function wrongPlace(value: unknown, { issues }: z.ZodError): string {
  const path = issues[0]?.path ?? [];
  const name = z.object({ runs: z.array(z.unknown()) }).safeParse(value).data?.runs[Number(path[1])];
  const run = path[0] === 'runs' ? z.object({ name: z.string() }).safeParse(name).data : undefined;
  return run === undefined ? path.join('.') : `${path.slice(2).join('.')} of run ${showValue(run.name)}`;
}

/** A study folder that this process alone works in, until its lock is released or lost. */
export interface OpenStudy {
  /** Every run of the folder, those of an earlier, larger call included. */
  readonly plan: StudyPlan;
  readonly lock: HeldLock;
}

/**
 * Makes the folder of a study, or opens it to continue. A plan may have grown since (more seeds, architectures, the
 * long arm) and may compare differently; what is already there must be the same.
 *
 * @param options how to treat the lock of a process that cannot be seen from here, such as one of another host
 * @throws StoreError if the folder holds something else, or another plan (says what differs), or is in use; nothing is
 *   written then
 */
export async function openStudyFolder(dir: string, plan: StudyPlan, options: LockOptions = {}): Promise<OpenStudy> {
  checkFolder(dir, plan);
  const lock = await takeLock(join(dir, LOCK_FILE), dir, options);
  try {
    const merged = checkFolder(dir, plan);
    writeJsonAtomic(planPath(dir), merged);
    writeFileAtomic(join(dir, SOURCE_FILE), toYaml(inOrder(plan)));
    return { plan: merged, lock };
  } catch (error) {
    lock.release();
    throw error;
  }
}

function checkFolder(dir: string, plan: StudyPlan): StudyPlan {
  if (!existsSync(dir)) return plan;
  if (!statSync(dir).isDirectory())
    throw new StoreError(`${dir} is a file; choose another folder (--out)`, { details: { dir } });
  if (isStudyFolder(dir)) return joinPlans(dir, completed(readPlan(dir)), plan);
  if (namesIn(dir).every((name) => name.startsWith(LOCK_FILE))) return plan;
  throw new StoreError(`${dir} exists and is not a study folder; choose another folder (--out)`, {
    details: { dir },
  });
}

/** A stored plan with the models and the training of its runs as this version writes them. */
export function completed(plan: StudyPlan): StudyPlan {
  const runs = plan.runs.map((run) => {
    const model = completeModel(run.config.model) as PlannedRun['config']['model'];
    return { ...run, config: { ...run.config, model, train: completeTrain(run.config.train) } };
  });
  return { ...plan, runs };
}

function joinPlans(dir: string, old: StudyPlan, plan: StudyPlan): StudyPlan {
  const refuse = (what: string): never => {
    throw new StoreError(
      `${dir} holds another study (${what}); choose another folder (--out), or remove it to start again`,
      { details: { dir } },
    );
  };
  if (old.name !== plan.name) refuse(`it is named "${old.name}", this one "${plan.name}"`);
  const runs = keepNames(old.runs, plan.runs);
  const wanted = new Map(runs.map((run) => [run.name, run]));
  const kept: PlannedRun[] = [];
  const seen = new Set<string>();
  for (const run of old.runs) {
    // Two runs of one name shared a folder, which holds the first.
    if (seen.has(run.name)) continue;
    seen.add(run.name);
    const now = wanted.get(run.name);
    if (now === undefined) {
      if (run.arm === 'main') refuse(`its run ${run.name} is not in this plan`);
      kept.push(run);
      continue;
    }
    const stored = JSON.parse(JSON.stringify(now.config)) as unknown;
    const changed = differences(run.config, stored);
    if (changed.length > 0) refuse(`run ${run.name}: ${describeDifferences(changed)}`);
  }
  const labels = new Set(plan.architectures.map((a) => a.label));
  return {
    ...plan,
    architectures: [...plan.architectures, ...old.architectures.filter((a) => !labels.has(a.label))],
    runs: [...runs, ...kept],
  };
}

/** What a run is, whatever it is called. */
function identityOf({ arm, architecture, seed, config }: PlannedRun): string {
  return canonicalJson({ arm, architecture, seed, config: { ...config, name: undefined } });
}

/**
 * The runs of a plan, those that a folder already holds under the name that they have there: names may depend on what
 * else a plan holds, and earlier versions gave others. No new run takes a name that is in use.
 */
function keepNames(old: readonly PlannedRun[], runs: readonly PlannedRun[]): PlannedRun[] {
  const planned = new Set(runs.map(identityOf));
  const names = new Map<string, string>();
  const taken = new Set<string>();
  for (const run of old) {
    if (!planned.has(identityOf(run)) || taken.has(run.name)) continue;
    names.set(identityOf(run), run.name);
    taken.add(run.name);
  }
  return runs.map((run) => {
    const identity = identityOf(run);
    const free = taken.has(run.name) ? `${run.name}-${fingerprint(identity).slice(0, 8)}` : run.name;
    const name = names.get(identity) ?? free;
    return name === run.name ? run : { ...run, name, config: { ...run.config, name } };
  });
}

/** The study as it is stored, its architectures in their order: an object puts names that look like numbers first. */
function inOrder({ study, architectures }: StudyPlan): object {
  const given = new Map(architectures.map(({ label }) => [label, study.architectures[label]]));
  return { ...study, architectures: new Map([...given].filter(([, value]) => value !== undefined)) };
}
