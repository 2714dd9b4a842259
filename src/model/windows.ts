/**
 * Windows that move while a model trains: `swa:128~2048` names the windows of a layer, of which training gives it one
 * at a time. Everywhere else the layer has the last of them.
 */
import { last } from '../core/index.js';
import { attends, headGroups, type HeadGroup, type LayerPlan, type WindowShare } from './plan.js';

/** Keys that queries see, their own included; null for all before them. */
export type Window = number | null;

/** What holds layers, such as a model's configuration. */
interface Layered {
  readonly layers: readonly LayerPlan[];
}

/** The windows of every head group whose window moves in training, in the order of the layers. */
export function movingWindows({ layers }: Layered): (readonly Window[])[] {
  return layers.flatMap((plan) => headGroups(plan).flatMap(({ windows }) => (windows === undefined ? [] : [windows])));
}

/** The same model with head groups replaced; parameters stay as they are. */
function mapGroups<M extends Layered>(model: M, change: (group: HeadGroup) => HeadGroup): M {
  const layers = model.layers.map((plan): LayerPlan => {
    return attends(plan) ? { ...plan, groups: plan.groups.map(change) } : plan;
  });
  return { ...model, layers };
}

/** The same model with moving windows held at what `choose` gives for each of them. */
export function atWindows<M extends Layered>(model: M, choose: (windows: readonly Window[]) => Window): M {
  return mapGroups(model, ({ windows, ...group }) =>
    windows === undefined ? group : { ...group, window: choose(windows) },
  );
}

/**
 * The same model whose moving windows differ between the sequences of a batch, by the shares that `choose` gives; also
 * what the mean cost over such windows is taken from.
 */
export function withWindowShares<M extends Layered>(
  model: M,
  choose: (windows: readonly Window[]) => readonly WindowShare[],
): M {
  return mapGroups(model, ({ windows, ...group }) =>
    windows === undefined ? group : { ...group, window: last(windows), shares: choose(windows) },
  );
}

/** Equal shares of all windows. */
export const equalShares = (windows: readonly Window[]): WindowShare[] =>
  windows.map((window) => ({ window, share: 1 / windows.length }));

/**
 * The same model with `window` in place of the windows that moved in its training; in a model without such, in place of
 * every window. Full layers, chunks and recurrent layers stay as they are. Null if there is no window to replace.
 */
export function heldAt<M extends Layered>(model: M, window: Window): M | null {
  const groups = model.layers.flatMap(headGroups);
  const moving = groups.some((group) => group.windows !== undefined);
  const isHeld = (group: HeadGroup): boolean =>
    moving ? group.windows !== undefined : group.window !== null && group.chunk === undefined;
  if (!groups.some(isHeld)) return null;
  return mapGroups(model, (group) => {
    if (!isHeld(group)) return group;
    const { windows: _, ...rest } = group;
    return { ...rest, window };
  });
}
