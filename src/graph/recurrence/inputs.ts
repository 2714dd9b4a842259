/** The optional inputs of the recurrences. */
import { at } from '../../core/index.js';
import type { Value } from '../ir/types.js';
import type { RecurrenceAttrs } from './type.js';

/** Segments and initial state behind the `fixed` inputs that are always there. */
export function optionalInputs(
  inputs: readonly Value[],
  fixed: number,
  attrs: RecurrenceAttrs,
): { readonly segments: Value | null; readonly initialState: Value | null } {
  return {
    segments: attrs.segments ? at(inputs, fixed) : null,
    initialState: attrs.initialState ? at(inputs, fixed + Number(attrs.segments)) : null,
  };
}
