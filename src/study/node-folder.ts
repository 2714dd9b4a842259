/**
 * Where each process of a run over several nodes keeps its state: node 0 in the run's folder, which is what counts;
 * every other in `STUDY/nodes/NODE/runs/NAME`, made anew from node 0's at each start, so that all go on from one step.
 */
import { join } from 'node:path';
import { removePath } from '../core/index.js';
import { isBranchThere, latestCheckpoint, type BranchPoint } from '../run/index.js';
import type { SharedBeginnings } from './shared.js';
import { runFolder } from './store.js';

/** The folder that a process trains a run in, and the run that it goes on from if that is ahead of what is there. */
export interface NodePlace {
  readonly dir: string;
  readonly branch?: Omit<BranchPoint, 'findings'>;
}

function nodeFolder(study: string, name: string, node: number): string {
  return runFolder(join(study, 'nodes', String(node)), name);
}

/**
 * Where the process of a node trains a run. For nodes other than 0 it empties their folder: they take over what node 0
 * is about to go on from, its last checkpoint or the beginning that another run has trained for it.
 *
 * @param node the number of the node, from 0
 */
export function nodePlace(study: string, name: string, shared: SharedBeginnings, node: number): NodePlace {
  const own = runFolder(study, name);
  const beginning = shared.get(name);
  const branch =
    beginning === undefined
      ? {}
      : { branch: { dir: runFolder(study, beginning.run), name: beginning.run, step: beginning.step } };
  if (node === 0) return { dir: own, ...branch };
  removeNodeFolder(study, name, node);
  const dir = nodeFolder(study, name, node);
  const step = latestCheckpoint(own).checkpoint?.state.step ?? 0;
  const isBehind = beginning !== undefined && step < beginning.step;
  if (isBehind && isBranchThere(runFolder(study, beginning.run), beginning.step)) return { dir, ...branch };
  return step === 0 ? { dir } : { dir, branch: { dir: own, name, step } };
}

/** Removes what a node other than 0 keeps of a run. */
export function removeNodeFolder(study: string, name: string, node: number): void {
  removePath(nodeFolder(study, name, node));
}
