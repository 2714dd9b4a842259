/** How parts of a layer meet the states that they keep: over whole sequences, and chunk by chunk. */
import { convert, reshape, select, type Value } from '../graph/index.js';
import type { StepScope } from './mixer.js';
import type { StateAccess } from './mixers/definition.js';

/** Whole sequences: states start as zeros and nobody reads them afterwards. */
export function wholeSequences(segments: Value | null): StateAccess {
  return { segments, read: () => null, write: () => undefined, maskPadding: (x: Value) => x };
}

/** `x [B,T,...]` where `valid` (bool `[B,T]`), else 0. */
function onlyWhere(valid: Value, x: Value): Value {
  return select(reshape(valid, [...valid.shape, ...x.shape.slice(2).map(() => 1)]), x, 0);
}

/**
 * A chunk's states: what is written is kept in `after`, in the dtype of the state. States that are not `exact` may be
 * kept in another dtype than that of the parameters.
 */
export function chunkStates(
  scope: Pick<StepScope, 'place' | 'state' | 'x'>,
  exact: (name: string) => boolean,
): { readonly access: StateAccess; readonly after: Record<string, Value> } {
  const after: Record<string, Value> = {};
  const access: StateAccess = {
    segments: null,
    read: (name) => (exact(name) ? scope.state(name) : convert(scope.state(name), scope.x.dtype)),
    write: (name, value) => void (after[name] = convert(value, scope.state(name).dtype)),
    maskPadding: (x) => onlyWhere(scope.place.valid, x),
  };
  return { access, after };
}
