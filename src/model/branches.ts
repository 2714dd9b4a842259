/**
 * Attention with a second branch: the same queries, keys and values under a smaller window, mixed with the layer's own
 * attention by a gate. How far a trained gate stays open says how much its layer needs full attention.
 */
import { got, invariant } from '../core/index.js';
import { add, mul, reshape, sliceAxis, sub, type Value } from '../graph/index.js';
import type { ModelConfig } from './config.js';
import { headGroups, type HeadGroup } from './plan.js';

/** The name under which a layer finds the gate of its branches among what is handed to it. */
export const branchGate = (layer: number): string => `branches.${layer}`;

/** The gates `[numLayers]` of the layers whose heads have a second branch, a scalar each, by name. */
export function branchGates({ layers }: ModelConfig, gates: Value | undefined): [name: string, gate: Value][] {
  const branched = layers.flatMap((plan, layer) =>
    headGroups(plan).some(({ branch }) => branch !== undefined) ? [layer] : [],
  );
  invariant(branched.length === 0 || gates !== undefined, 'heads with a second branch need the gates of their layers');
  if (gates === undefined) return [];
  return branched.map((layer) => [branchGate(layer), reshape(sliceAxis(gates, 0, layer, layer + 1), [])]);
}

/**
 * What a head group gives, by its branches: `attend` with its own window, or that and the smaller one mixed.
 *
 * @param attend the group's attention under a window
 */
export function mixBranches(
  { handed, layer }: { readonly handed: ReadonlyMap<string, Value>; readonly layer: number },
  group: HeadGroup,
  attend: (group: Pick<HeadGroup, 'window' | 'shares'>) => Value,
): Value {
  const own = attend(group);
  if (group.branch === undefined) return own;
  const near = attend({ window: group.branch });
  return add(near, mul(sub(own, near), got(handed, branchGate(layer))));
}
