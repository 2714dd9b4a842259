/** The optional inputs of the recurrences. */
import type { Value } from '../ir/types.js';
import type { RecurrenceAttrs } from './type.js';

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
