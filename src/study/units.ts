/**
 * The runs of a study as units of work that any scheduler can start, kill, and start again: which there are, how far
 * each is, who works on it, and what it waits for. All of it is read from the study folder, which several hosts may
 * share.
 */
import { join } from 'node:path';
import { lockHolder, stateOf } from '../core/index.js';
import { trainingTokens } from '../train/index.js';
import { isBranchThere, LOCK_FILE, readStatus, removeBranch } from '../run/index.js';
import type { PlannedRun, StudyPlan } from './plan.js';
import { sharedBeginnings, type SharedBeginning, type SharedBeginnings } from './shared.js';
import { runFolder } from './store.js';

/**
 * `planned`: not begun; `waiting`: not begun, and goes on from a state that another run has not trained yet; `running`:
 * a process holds its folder; `killed`: it says that it runs, and no process holds it; `interrupted`: stopped with its
 * state saved; `failed` and `done` as their names say.
 */
export type UnitState = 'planned' | 'waiting' | 'running' | 'killed' | 'interrupted' | 'failed' | 'done';

/** One run of a study, and how far it is. */
export interface Unit {
  /** The name of the run: what `longsight study run FOLDER ID` takes. */
  readonly id: string;
  /** Its place in the plan, from 0. */
  readonly index: number;
  readonly architecture: string;
  readonly seed: number;
  readonly state: UnitState;
  readonly step: number;
  readonly steps: number;
  readonly tokens: number;
  /** Tokens when it is done. */
  readonly budget: number;
  /** Why it failed or stopped; null if there is nothing to say. */
  readonly message: string | null;
  /** The process that works on it; null if there is none. */
  readonly holder: { readonly host: string; readonly pid: number } | null;
  /** The engine of its configuration (`auto` takes what the host that runs it has), and the devices that it takes. */
  readonly resources: { readonly engine: string; readonly devices: number };
  /** The run whose state it goes on from, and the optimizer step of that state; null if it begins by itself. */
  readonly after: SharedBeginning | null;
}

/**
 * Every run of a plan, in its order, as the study folder says at this moment.
 *
 * @throws StoreError if the status or the lock of a run is damaged
 */
export function studyUnits(studyDir: string, { runs }: StudyPlan): Unit[] {
  const shared = sharedBeginnings(runs);
  return runs.map((run, index) => unitNow(studyDir, run, index, shared));
}

/**
 * One run of a plan, as the study folder says at this moment.
 *
 * @param index its place in the plan, from 0
 * @throws StoreError if its status or its lock is damaged
 */
export function unitNow(studyDir: string, run: PlannedRun, index: number, shared: SharedBeginnings): Unit {
  const { name: id, architecture, seed, config } = run;
  const folder = runFolder(studyDir, id);
  const status = readStatus(folder);
  const lock = status?.state === 'done' ? null : lockHolder(join(folder, LOCK_FILE));
  const holder = lock !== null && stateOf(lock) !== 'gone' ? { host: lock.host, pid: lock.pid } : null;
  const { data = 1, fsdp = 1, tensor = 1 } = config.mesh ?? {};
  return {
    ...{ id, index, architecture, seed },
    state: stateFrom(status?.state ?? null, holder !== null, waitsFor(studyDir, id, shared) !== null),
    ...{ step: status?.step ?? 0, steps: config.train.steps },
    ...{ tokens: status?.tokens ?? 0, budget: trainingTokens(config.train) },
    ...{ message: status?.message ?? null, holder },
    resources: { engine: config.engine, devices: data * fsdp * tensor },
    after: shared.get(id) ?? null,
  };
}

function stateFrom(stored: string | null, isHeld: boolean, waits: boolean): UnitState {
  if (stored === 'done') return 'done';
  if (isHeld) return 'running';
  if (stored === 'running') return 'killed';
  if (stored === 'failed' || stored === 'interrupted') return stored;
  return waits ? 'waiting' : 'planned';
}

/**
 * The beginning that a run has to wait for: another run trains it and is not there yet, though it has neither ended nor
 * failed. Null if the run can go on now: from that state, from its own, or, where nobody keeps the state any more, by
 * itself.
 */
export function waitsFor(studyDir: string, name: string, shared: SharedBeginnings): SharedBeginning | null {
  const beginning = shared.get(name);
  if (beginning === undefined || isBranchThere(runFolder(studyDir, beginning.run), beginning.step)) return null;
  if ((readStatus(runFolder(studyDir, name))?.step ?? 0) >= beginning.step) return null;
  const trainer = readStatus(runFolder(studyDir, beginning.run))?.state;
  return trainer === 'done' || trainer === 'failed' ? null : beginning;
}

/** Removes the states that runs kept for others which are all done. */
export function removeSpentBranches(studyDir: string, shared: SharedBeginnings): void {
  const key = ({ run, step }: SharedBeginning) => `${run} ${step}`;
  const isDone = (name: string) => readStatus(runFolder(studyDir, name))?.state === 'done';
  const needed = new Set([...shared].flatMap(([name, beginning]) => (isDone(name) ? [] : [key(beginning)])));
  for (const beginning of shared.values())
    if (!needed.has(key(beginning))) removeBranch(runFolder(studyDir, beginning.run), beginning.step);
}
