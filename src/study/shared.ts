/**
 * Runs that begin alike: where configurations differ in nothing but when the learning rate of a `wsd` schedule begins
 * to decay, how long and how far, they are the same run until the first of them does. That part is trained once.
 */
import { canonicalJson } from '../core/index.js';
import { tokensPerStep } from '../train/index.js';
import type { PlannedRun } from './plan.js';

/** The beginning that a run takes over from another of its study. */
export interface SharedBeginning {
  /** The name of the run that trains it. */
  readonly run: string;
  /** The last optimizer step that both have in common. */
  readonly step: number;
}

/** By name of a run, the beginning that it takes over. */
export type SharedBeginnings = ReadonlyMap<string, SharedBeginning>;

/**
 * The step after which the learning rate of a run begins to decay, or the one before the last where it does not decay:
 * a run measures its last step itself. Null where the rate changes otherwise.
 */
function constantUntil({ config: { train } }: PlannedRun): number | null {
  const { schedule, steps, decaySteps, stages = [] } = train;
  return schedule === 'wsd' && stages.length === 0 ? steps - Math.max(1, decaySteps) : null;
}

/** Everything that runs have in common which begin alike. */
function beginningOf({ seed, config }: PlannedRun): string {
  const { name: _name, train, ...rest } = config;
  const { steps: _steps, decaySteps: _decaySteps, minLrRatio: _minLrRatio, ...common } = train;
  return canonicalJson({ ...rest, seed, train: common });
}

/** What runs of a plan take over from others: of those that begin alike, from the one that decays last. */
export function sharedBeginnings(runs: readonly PlannedRun[]): SharedBeginnings {
  const alike = new Map<string, PlannedRun[]>();
  for (const run of runs) {
    if (constantUntil(run) === null) continue;
    const key = beginningOf(run);
    alike.set(key, [...(alike.get(key) ?? []), run]);
  }
  const found = new Map<string, SharedBeginning>();
  for (const group of alike.values()) {
    const [trunk, ...others] = [...group].sort(
      (a, b) => (constantUntil(b) ?? 0) - (constantUntil(a) ?? 0) || b.config.train.steps - a.config.train.steps,
    );
    for (const run of others) {
      const step = constantUntil(run) ?? 0;
      if (trunk !== undefined && step > 0) found.set(run.name, { run: trunk.name, step });
    }
  }
  return found;
}

/** Training tokens of a run that another one trains. */
export function sharedTokens(run: PlannedRun, shared: SharedBeginnings): number {
  return (shared.get(run.name)?.step ?? 0) * tokensPerStep(run.config.train);
}

/** Steps of a run after which others go on from it, ascending. */
export function branchSteps(name: string, shared: SharedBeginnings): number[] {
  const steps = [...shared.values()].flatMap(({ run, step }) => (run === name ? [step] : []));
  return [...new Set(steps)].sort((a, b) => a - b);
}
