/** The optional inputs of the recurrences. */
import type { RecurrenceAttrs, Value } from '../types.js';

/** Segments and initial state behind the `fixed` inputs that are always there. */
export function optionalInputs(
  inputs: readonly Value[],
  fixed: number,
  attrs: RecurrenceAttrs,
): { readonly segments: Value | null; readonly initialState: Value | null } {
  return {
    segments: attrs.segments ? (inputs[fixed] as Value) : null,
    initialState: attrs.initialState ? (inputs[fixed + Number(attrs.segments)] as Value) : null,
  };
}
