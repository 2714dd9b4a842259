/** Processes that do a run together go on from one and the same checkpoint, or not at all. */
import { z } from 'zod';
import { listed, StoreError } from '../core/index.js';
import type { Engine } from '../engine/index.js';
import { checkpointDigest, latestCheckpoint } from '../run/index.js';

/** From where a process is about to go on: the step, 0 for a run's start, and what tells its checkpoint from others. */
const startSchema = z.strictObject({ step: z.int().min(0), digest: z.string() });

type Start = z.infer<typeof startSchema>;

/** Digits of a digest that a message shows. */
const SHOWN_DIGITS = 8;

/**
 * Waits until every process has said from which checkpoint its folder goes on. Nothing for engines of one process.
 *
 * @param continues whether the folder holds the run already; it begins else
 * @throws StoreError, in every process, that names the nodes and steps where they differ, and which checkpoints of its
 *   own folder are damaged; nobody counts as lost then
 * @throws EngineError where another process is lost
 */
export async function checkSameStart(dir: string, engine: Engine, continues: boolean): Promise<void> {
  if (engine.exchange === undefined) return;
  const { checkpoint, damaged } = continues ? latestCheckpoint(dir) : { checkpoint: null, damaged: [] };
  const own: Start = {
    step: checkpoint?.state.step ?? 0,
    digest: checkpoint === null ? '' : checkpointDigest(checkpoint),
  };
  const told = await engine.exchange(JSON.stringify(own));
  const starts = told.map((text) => startSchema.parse(JSON.parse(text)));
  const problem = differentStarts(starts);
  if (problem === null) return;
  engine.atWork?.(false);
  const here = damaged.length === 0 ? '' : `; in ${dir} ${damaged.join('; ')}`;
  throw new StoreError(problem + here, { details: { dir, starts } });
}

/** How the checkpoints of nodes differ, as one sentence that says what to do; null where they are the same. */
export function differentStarts(starts: readonly Start[]): string | null {
  const groups = new Map<string, { readonly start: Start; readonly nodes: number[] }>();
  starts.forEach((start, node) => {
    const key = `${start.step} ${start.digest}`;
    const group = groups.get(key) ?? { start, nodes: [] };
    group.nodes.push(node);
    groups.set(key, group);
  });
  if (groups.size < 2) return null;
  const all = [...groups.values()];
  const stepsOf = all.map(({ start }) => start.step);
  const words = all.map(({ start: { step, digest }, nodes }) => {
    const isShared = stepsOf.filter((other) => other === step).length > 1;
    const from = step === 0 ? 'from the start' : `from step ${step}`;
    return `node${nodes.length === 1 ? '' : 's'} ${rangesOf(nodes)} ${from}${isShared ? ` (${digest.slice(0, SHOWN_DIGITS)})` : ''}`;
  });
  return (
    `the nodes would go on from different checkpoints: ${listed(words)}; give every node the checkpoint of one of them (a ` +
    `study folder must be one folder that all nodes see as it is now), then start all nodes again`
  );
}

/** Ascending numbers in short: `0, 2-4`. */
function rangesOf(numbers: readonly number[]): string {
  const ranges: { readonly first: number; last: number }[] = [];
  for (const number of numbers) {
    const open = ranges.at(-1);
    if (open?.last === number - 1) open.last = number;
    else ranges.push({ first: number, last: number });
  }
  return ranges.map(({ first, last }) => (first === last ? String(first) : `${first}-${last}`)).join(', ');
}
